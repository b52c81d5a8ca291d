"""Builds the extension; everything else is in pyproject.toml."""

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g", "-O1"]


class BuildExt(build_ext):
    """Knows the compilers' flags, and leaves the extension in the source tree too."""

    def build_extensions(self) -> None:
        """Build with the flags that the results depend on."""
        if self.compiler.compiler_type == "unix":
            # No fused multiply-add: results must be those of the C++ class, bit for bit, on arm64 too. Functions begin at a
            # cache line: else code added elsewhere shifts the hot loops, which has cost up to 10 percent.
            flags, link = ["-O3", "-ffp-contract=off", "-falign-functions=64"], []
            if os.environ.get("SQUEEZEDET_SANITIZE"):
                flags += SANITIZE
                link += [flag for flag in SANITIZE if flag.startswith("-fsanitize")]
            elif sys.platform.startswith("linux"):
                link += ["-Wl,--strip-all"]  # symbols and debugging data are two thirds of the extension
            for extension in self.extensions:
                extension.extra_compile_args, extension.extra_link_args = flags, link
        super().build_extensions()

    def run(self) -> None:
        """Copy it beside its Python files, so that ``import opencv_squeezedet`` works in the clone's root as elsewhere."""
        super().run()
        if not self.inplace:
            try:
                self.copy_extensions_to_source()
            except OSError as error:
                self.announce(f"the source tree stays without the extension: {error}", level=3)


setup(
    ext_modules=cythonize([Extension("opencv_squeezedet._kernel", ["cython/_kernel.pyx"])], build_dir="build"),
    cmdclass={"build_ext": BuildExt},
)
