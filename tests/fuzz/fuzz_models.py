"""Open and run mutations of a model's files, each in a process that may die of it.

    python tests/fuzz/fuzz_models.py --count 20000 --kind onnx --backend opencv

Prints, for each kind of file, how many cases ended how: opened (and ran), refused by which error, both before or after a probe
in a child process, which may have crashed; or a finding: a signal, a hang, too much memory, or an error that is none of the
package's. Each finding is shown with its number, by which
`--first NUMBER --count 1` repeats it; exit status 1 if there was one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import opencv_squeezedet as sd
from opencv_squeezedet.backends import probe
from opencv_squeezedet.caffe.read import read
from opencv_squeezedet.model import Model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))
from model_mutations import KINDS, Case, make, sound

HANGS_AFTER = 20.0 + probe.SECONDS  # seconds, with those of a probe
MOST_MEMORY = 2 << 30
MOST_INPUT = 1 << 24  # values; a program that sets more needs more memory
MOST_WAITS = 10  # as long, of a worker that gets no processor
FINDINGS = ("signal", "hang", "memory", "unclean")
PROBES: list[list[str]] = []  # those of one case
PICTURE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


# ---- in the worker -----------------------------------------------------------------------------------------------------


def outcome(case: Case, backend: Any) -> str:
    """Open the case's model and run it: what came of that, in one line."""
    status = Path("/proc/self/status")
    if status.exists():
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    PROBES.clear()
    result = _outcome(case, backend)
    if PROBES:
        what, colon, message = result.partition(":")
        result = f"{what} after a probe{colon}{message}"
    peak = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    if peak and int(peak[1]) * 1024 > MOST_MEMORY:
        return f"memory: {int(peak[1]) // 1024} MiB, {result}"
    return result


def _outcome(case: Case, backend: Any) -> str:
    try:
        if case.blob is not None:
            model = Model(Model.load(case.path).source, preprocess=sd.Preprocess(case.size))
            opened = model.open(backend)
            opened.shapes(case.size)
            opened.forward(case.blob)
        elif case.public:
            run_public(case)
        elif case.classifier:
            sd.SqueezeNet(case.path, preprocess=sd.Preprocess(case.size), backend=backend).classify(PICTURE)
        else:
            sd.SqueezeDet(case.path, config=case.config, backend=backend).detect(PICTURE, score_threshold=0)
    except sd.ModelError as error:
        return f"{'crash' if 'crashes on it' in str(error) else type(error).__name__}: {str(error)[:300]}"
    except OSError as error:
        return f"OSError: {error}"[:300]
    except cv2.error as error:
        return f"{'' if case.public else 'unclean '}cv2.error: {error}"[:600]
    except Exception as error:
        return f"unclean {type(error).__name__}: {error}"[:600]
    return "opened"


def run_public(case: Case) -> None:
    """Read the network as `readNetFromCaffe` does on OpenCV 5, and run it to its end and to a layer in the middle."""
    net = read(case.path, case.path.replace(".prototxt", ".caffemodel"))
    rng = np.random.default_rng(0)
    for name, shape in net.inputs.items():
        if np.prod(shape, dtype=float) > MOST_INPUT:
            raise sd.ModelError(f"an input of {shape} is too large to be set")
        net.setInput(rng.uniform(0, 0.9, shape).astype(np.float32), name)
    net.forward(net.getUnconnectedOutLayersNames())
    names = net.getLayerNames()
    net.forward(names[len(names) // 2])


def forked(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the probe in a copy of this process, which has loaded the libraries already, instead of a new one."""
    PROBES.append(command)
    with tempfile.TemporaryFile() as request:
        request.write(options["input"])
        request.seek(0)
        result, to_parent = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(request.fileno(), 0)
            os.dup2(to_parent, 1)
            sys.stdin = open(0)  # noqa: SIM115
            probe.answer(json.loads(sys.stdin.buffer.readline()))
        os.close(to_parent)
        with os.fdopen(result, "rb") as answers:
            answer = answers.read()
        return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), answer)


def work(kind: str, backend: str, first: int, count: int, seed: int) -> None:
    """Print the number of each case before it is tried, and its outcome after."""
    cv2.setNumThreads(1)  # and no others, which a copy of the process would not have
    probe.subprocess.run = forked  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        sound()  # before the clock of the first case runs
        for number in range(first, first + count):
            case = make(kind, random.Random(f"{seed} {kind} {number}"), Path(folder))
            print(number, flush=True)
            print(json.dumps(outcome(case, backend)), flush=True)


# ---- in the parent -----------------------------------------------------------------------------------------------------


def outcomes(kind: str, backend: str, first: int, count: int, seed: int) -> Iterator[tuple[int, str]]:
    """The outcome of each case; a worker that dies is followed by another."""
    number, end = first, first + count
    while number < end:
        command = [sys.executable, __file__, "--worker", "--kind", kind, "--backend", backend]
        command += ["--first", str(number), "--count", str(end - number), "--seed", str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
            for line in _lines(worker):
                if line.isdigit():
                    number = int(line)
                else:
                    yield number, json.loads(line)
                    number += 1
            if worker.poll() is None:
                worker.kill()
                yield number, f"hang: no answer in {HANGS_AFTER} s"
                number += 1
            elif number < end:
                yield number, f"signal: {_name(worker.wait())}"
                number += 1


def _name(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _lines(worker: subprocess.Popen[str]) -> Iterator[str]:
    """What a worker prints, until it is through, dead or hangs, which is not to wait for a processor."""
    assert worker.stdout is not None
    patience = 60.0  # for the imports before the first case
    waits, used = 0, 0.0
    while waits < MOST_WAITS and _processor_seconds(worker) - used < patience / 2:
        if not select.select([worker.stdout], [], [], patience)[0]:
            waits += 1
            continue
        line = worker.stdout.readline()
        if not line:
            worker.wait()
            return
        yield line.strip()
        patience, waits, used = HANGS_AFTER, 0, _processor_seconds(worker)


def _processor_seconds(worker: subprocess.Popen[str]) -> float:
    """What a process and those that it has waited for have used; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def campaign(kind: str, backend: str, first: int, count: int, seed: int, limit: float) -> Counter[str]:
    """Run cases until all are done or the time is over; prints findings as they come, and returns the counts."""
    counts: Counter[str] = Counter()
    shown: set[str] = set()
    start = time.monotonic()
    with contextlib.closing(outcomes(kind, backend, first, count, seed)) as found:
        for number, result in found:
            what = result.split(":")[0]
            counts[what] += 1
            alike = f"{number if what == 'signal' else ''}{re.sub(r'[0-9]', '', result)[:120]}"  # a signal tells nothing
            if what.split()[0] in FINDINGS and alike not in shown:
                shown.add(alike)
                print(f"  {kind} {number}: {result}", flush=True)
            if time.monotonic() - start > limit:
                break
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--backend", default="opencv")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most, for each kind")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    kinds = args.kind or list(KINDS)
    if args.worker:
        work(kinds[0], args.backend, args.first, args.count, args.seed)
        return 0
    failed = False
    for kind in kinds:
        start = time.monotonic()
        counts = campaign(kind, args.backend, args.first, args.count, args.seed, args.seconds)
        print(
            f"{kind} in {args.backend}, OpenCV {cv2.__version__}: {sum(counts.values()):,} cases in "
            f"{time.monotonic() - start:.0f} s: {', '.join(f'{what} {n:,}' for what, n in counts.most_common())}",
            flush=True,
        )
        failed = failed or any(what.split()[0] in FINDINGS for what in counts)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
