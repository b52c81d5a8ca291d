"""Network files: Caffe's prototxt and caffemodel, ONNX, ``.sdz``, Deep Compression's; read and written without any extra.

Each module is imported when a name of it is first used, because a detector needs few of them to start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opencv_squeezedet.formats.caffemodel import caffemodel_bytes, read_caffemodel
    from opencv_squeezedet.formats.deep_compression import read_compressed
    from opencv_squeezedet.formats.load import read_weights
    from opencv_squeezedet.formats.onnx_reader import read_onnx
    from opencv_squeezedet.formats.onnx_writer import onnx_bytes
    from opencv_squeezedet.formats.prototxt import prototxt_text, read_prototxt
    from opencv_squeezedet.formats.sdz import read_sdz, sdz_bytes

__all__ = [
    "caffemodel_bytes",
    "onnx_bytes",
    "prototxt_text",
    "read_caffemodel",
    "read_compressed",
    "read_onnx",
    "read_prototxt",
    "read_sdz",
    "read_weights",
    "sdz_bytes",
]

_HOMES = {
    "caffemodel": ("caffemodel_bytes", "read_caffemodel"),
    "deep_compression": ("read_compressed",),
    "load": ("read_weights",),
    "onnx_reader": ("read_onnx",),
    "onnx_writer": ("onnx_bytes",),
    "prototxt": ("prototxt_text", "read_prototxt"),
    "sdz": ("read_sdz", "sdz_bytes"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
