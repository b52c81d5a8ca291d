"""Compares Caffe networks on OpenCV 5 with OpenCV 4, which ``--python`` names; each is measured in a process of its own.

The SSD pass beside OpenCV 4's layer DetectionOutput: 8,732 priors, 21 classes, confidence threshold 0.01. Scores are a softmax
in which the background leads by so much that few, many or most of the scores are above the threshold.

Whole networks, if any are given: the processor time of a forward pass, and the ratios (here / OpenCV 4) of that, of the time
until the first pass, without one pass, and of the most memory that both add. Both are measured in turn, in blocks; a ratio of
times is the median of the blocks' ratios, those of loading and memory are of the medians of several processes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _timing import machine, pin_to_one_core, ratio, sampler, table, typical

PRIORS, CLASSES = 8732, 21
LOADS = 5
LEADS = {"few scores": 8.0, "many scores": 4.0, "most scores": 0.0}
LAYER = f"""
input: "loc" input_shape {{ dim: 1 dim: {PRIORS * 4} }}
input: "conf" input_shape {{ dim: 1 dim: {PRIORS * CLASSES} }}
input: "prior" input_shape {{ dim: 1 dim: 2 dim: {PRIORS * 4} }}
layer {{ name: "detections" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "detections"
  detection_output_param {{ num_classes: {CLASSES} share_location: true background_label_id: 0 code_type: CENTER_SIZE
    nms_param {{ nms_threshold: 0.45 top_k: 400 }} keep_top_k: 200 confidence_threshold: 0.01 }} }}
"""


def blobs(lead: float) -> dict[str, np.ndarray[Any, Any]]:
    """Random blobs of one picture; the same in every process."""
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 0.7, (PRIORS, 2)), rng.uniform(0.05, 0.35, (PRIORS, 2))
    scores = np.exp(rng.normal(scale=1.5, size=(PRIORS, CLASSES)) + lead * np.eye(1, CLASSES))
    scores /= scores.sum(1, keepdims=True)
    prior = np.stack([np.hstack([corner, corner + size]).ravel(), np.tile([0.1, 0.1, 0.2, 0.2], PRIORS)])[None]
    values = {"loc": rng.normal(size=(1, PRIORS * 4)), "conf": scores.reshape(1, -1), "prior": prior}
    return {name: blob.astype(np.float32) for name, blob in values.items()}


def layer(lead: float) -> Callable[[], np.ndarray[Any, Any]]:
    """OpenCV 4's layer."""
    import cv2

    cv2.setNumThreads(1)
    net = cv2.dnn.readNetFromCaffe(bytearray(LAYER.encode()))

    values = blobs(lead)

    def forward() -> Any:
        for name, blob in values.items():
            net.setInput(blob, name)
        return net.forward()

    return forward


def kernel(lead: float) -> Callable[[], np.ndarray[Any, Any]]:
    """The package's pass."""
    import opencv_squeezedet as sd

    values = blobs(lead)
    return lambda: sd.ssd_postprocess(**values)


class Worker:
    """A process of a Python that prints what it has found, and then the seconds of a call for each line that it gets."""

    def __init__(self, python: str, *arguments: str) -> None:
        command = [python, __file__, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.found = json.loads(self._ask())

    def __call__(self, line: str = "") -> float:
        """Return the seconds of one call."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return float(self._ask())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _ask(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def serve_layer() -> None:
    """Measure OpenCV 4's layer once for each line of standard input, which names a row of `LEADS`."""
    calls = {name: layer(lead) for name, lead in LEADS.items()}
    samplers = {name: sampler(call) for name, call in calls.items()}
    print(json.dumps({name: call()[0, 0].tolist() for name, call in calls.items()}), flush=True)
    for line in sys.stdin:
        print(samplers[line.strip()](), flush=True)


def serve_network(stem: str, shape: tuple[int, ...]) -> None:
    """Load a network and run it; then measure it once for each line of standard input."""
    import cv2

    cv2.setNumThreads(1)
    if hasattr(cv2.dnn, "readNetFromCaffe"):
        read = cv2.dnn.readNetFromCaffe
    else:
        from opencv_squeezedet.caffe.read import read
    blob = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, start = _memory("VmRSS"), time.process_time()
    net = read(f"{stem}.prototxt", f"{stem}.caffemodel")

    def forward() -> float:
        begin = time.process_time()
        net.setInput(blob)
        net.forward()
        return time.process_time() - begin

    forward()
    loaded = time.process_time() - start
    found = {"load": loaded - min(forward() for _ in range(3)), "memory": _memory("VmHWM") - before}
    print(json.dumps(found), flush=True)
    for _ in sys.stdin:
        print(forward(), flush=True)


def _memory(what: str) -> float:
    """Linux's VmRSS, what this process has in memory, or VmHWM, the most it had; MiB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def compare_layers(python: str, blocks: int) -> str:
    """Return the table of SSD's layer."""
    worker, rows = Worker(python, "--serve"), []
    for name, lead in LEADS.items():
        call = kernel(lead)
        np.testing.assert_allclose(call(), worker.found[name], atol=1e-5)
        own = sampler(call)
        found = [{"own": own(), "opencv": worker(name)} for _ in range(blocks)]
        milliseconds = [f"{1000 * typical(found, engine):.2f}" for engine in ("opencv", "own")]
        rows.append([name, *milliseconds, f"{ratio(found, 'opencv', 'own'):.1f}"])
    worker.close()
    return table(["DetectionOutput", "OpenCV 4, ms", "ssd_postprocess, ms", "gain"], rows)


def compare_networks(python: str, stems: Sequence[str], blocks: int) -> str:
    """Return the table of whole networks."""
    from opencv_squeezedet.caffe.read import read

    rows = []
    for stem in stems:
        (shape,) = read(f"{stem}.prototxt", None).inputs.values()
        arguments = "--network", stem, "--shape", *map(str, shape)
        loads: dict[str, list[dict[str, float]]] = {"opencv": [], "own": []}
        for _ in range(LOADS):
            workers = {"opencv": Worker(python, *arguments), "own": Worker(sys.executable, *arguments)}
            for name, worker in workers.items():
                loads[name].append(worker.found)
                worker.close()
        workers = {"opencv": Worker(python, *arguments), "own": Worker(sys.executable, *arguments)}
        found = [{name: worker() for name, worker in workers.items()} for _ in range(blocks)]
        for worker in workers.values():
            worker.close()
        milliseconds = [f"{1000 * typical(found, engine):.1f}" for engine in ("opencv", "own")]
        more = [typical(loads["own"], what) / typical(loads["opencv"], what) for what in ("load", "memory")]
        rows.append(
            [Path(stem).name, *milliseconds, f"{ratio(found, 'own', 'opencv'):.2f}", *(f"{value:.2f}" for value in more)]
        )
    return table(["network", "OpenCV 4, ms", "here, ms", "time", "loading", "memory"], rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="STEM", help="NAME of NAME.prototxt and NAME.caffemodel")
    parser.add_argument("--python", metavar="PYTHON", help="the Python of an environment with OpenCV 4")
    parser.add_argument("--blocks", type=int, default=15, metavar="N", help="blocks of measurements (default: 15)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--network", help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_layer()
    elif arguments.network is not None:
        serve_network(arguments.network, tuple(arguments.shape))
    elif arguments.python is None:
        parser.error("--python is required")
    else:
        print(f"{machine()}; {pin_to_one_core()}\n")
        print(compare_layers(arguments.python, arguments.blocks))
        if arguments.networks:
            print(f"\n{compare_networks(arguments.python, arguments.networks, arguments.blocks)}")


if __name__ == "__main__":
    main()
