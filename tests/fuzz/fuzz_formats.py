"""Feed the readers of network files mutations of real files, for as long as you like.

    python tests/fuzz/fuzz_formats.py --seconds 300
    python tests/fuzz/fuzz_formats.py --seconds 300 --kind sdz-parts

By atheris, that follows which lines are reached, where it is installed; else, or with ``--mutations``, by the mutations of the
test suite. ``sdz`` corrects the size and the checksum of a compressed model, ``sdz-parts`` also packs its head, so that
mutations get past them. Prints how many cases were read in what time, and in full each case that raised anything but
ModelError; exit status 1 if there was one.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

try:
    import atheris
except ImportError:
    atheris = None
with nullcontext() if atheris is None else atheris.instrument_imports(include=["opencv_squeezedet"]):
    from format_seeds import READERS, mutated, read_it, seeds

    seeds()  # imports what the package imports where it is used

HANGS_AFTER = 20  # seconds


class Fuzzer:
    """Runs cases and keeps the account."""

    def __init__(self, kinds: list[str], seconds: float, folder: Path) -> None:
        self.folder, self.start, self.end = folder, time.monotonic(), time.monotonic() + seconds
        self.kinds, self.how = kinds, "by mutations of its own"
        self.cases = dict.fromkeys(kinds, 0)
        self.findings: list[str] = []
        signal.signal(signal.SIGALRM, self._hang)

    def case(self, kind: str, content: bytes) -> None:
        signal.alarm(HANGS_AFTER)
        try:
            read_it(kind, content, self.folder / f"case.{kind}")
        except Exception:
            trace = traceback.format_exc()
            if trace.splitlines()[-3:] not in [finding.splitlines()[-3:] for finding in self.findings]:
                self.findings.append(f"{kind}, {len(content)} bytes: {content[:2000].hex()}\n{trace}")
                print(self.findings[-1], flush=True)
        finally:
            signal.alarm(0)
        self.cases[kind] += 1

    def report(self) -> int:
        seconds = time.monotonic() - self.start
        print(f"{sum(self.cases.values()):,} cases {self.cases} in {seconds:.0f} s {self.how}; {len(self.findings)} findings")
        return 1 if self.findings else 0

    @staticmethod
    def _hang(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"a case took more than {HANGS_AFTER} s")


def by_mutations(fuzzer: Fuzzer, seed: int) -> int:
    rng = random.Random(seed)
    files = seeds()
    while time.monotonic() < fuzzer.end:
        for kind in fuzzer.kinds:
            fuzzer.case(kind, mutated(rng.choice(files[kind]), rng))
    return fuzzer.report()


def by_atheris(fuzzer: Fuzzer, seed: int) -> None:
    """The first byte of a case names the reader. libFuzzer ends the process itself, so the end is found here."""
    fuzzer.how, kinds = "by atheris", fuzzer.kinds
    corpus = fuzzer.folder / "corpus"
    corpus.mkdir()
    for number, kind in enumerate(kinds):
        for i, content in enumerate(seeds()[kind]):
            (corpus / f"{kind}{i}").write_bytes(bytes([number]) + content)

    def case(data: bytes) -> None:
        if time.monotonic() > fuzzer.end:
            status = fuzzer.report()
            sys.stdout.flush()
            signal.alarm(0)
            shutil.rmtree(fuzzer.folder)
            os._exit(status)
        fuzzer.case(kinds[data[0] % len(kinds)] if data else kinds[0], data[1:])

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.5 and len(data) > 1:
            return (data[:1] + mutated(data[1:], rng))[:most]
        return atheris.Mutate(data, most)

    arguments = [sys.argv[0], str(corpus), f"-seed={seed}", "-max_len=30000", "-rss_limit_mb=4096", "-verbosity=0"]
    atheris.Setup(arguments, case, custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=READERS, action="append", help="which readers; default: all")
    parser.add_argument("--mutations", action="store_true", help="those of the test suite, even where atheris is installed")
    args = parser.parse_args()
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a disk takes longer for a file than its reader
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        fuzzer = Fuzzer(args.kind or list(READERS), args.seconds, Path(folder))
        if atheris is None or args.mutations:
            return by_mutations(fuzzer, args.seed)
        by_atheris(fuzzer, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
