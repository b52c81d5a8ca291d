"""Compares what runs a network: OpenCV 4 with Caffe's files, OpenCV with ONNX, onnxruntime; and the C++ sample's three passes.

Milliseconds for the forward pass alone and from the picture to its boxes, and the peak memory of a process that does only
that, for the embedded model, for pyramid-voc and for the GSoC network with random weights. Two OpenCVs cannot be in one
process: each Python that is named measures what it has, in its own processes, and the tables are put together.

The embedded model's weights are taken from plain files; how long they take to load, and how long the compressed file that
`SqueezeDet()` reads, is told in the end. With ``--int8 NAME.int8.onnx`` the embedded model as ``squeezedet quantize`` made it
has rows too.

The variants are measured in turn, in blocks; "gain" is the median of the blocks' ratios to three passes in the same OpenCV.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from _processes import Processes
from _timing import Call, alternate, machine, ratio, sampler, table, typical

import opencv_squeezedet as sd
from opencv_squeezedet.backends import CaffeNet
from opencv_squeezedet.model import Model

PICTURE = Path(__file__).resolve().parents[1] / "samples" / "chelsea.jpg"
MODELS = Path(__file__).resolve().parents[1] / "models"
NETWORKS = {
    "embedded": "embedded model, 0.65 GMAC",
    "pyramid": "pyramid-voc, 1.36 GMAC",
    "gsoc": "GSoC network, 4.34 GMAC",
}
THREE = "three passes"
Row = dict[str, Any]


# ---- what is compared --------------------------------------------------------------------------------------------------


def engines(int8: str | None = None) -> dict[str, Callable[[str], sd.SqueezeDet]]:
    """What this Python has, by name; each makes a detector from the files of a stem, or from those of 8-bit numbers."""
    found: dict[str, Callable[[str], sd.SqueezeDet]] = {}
    opencv = f"cv2 {cv2.__version__}"
    if hasattr(cv2.dnn, "readNetFromCaffe"):
        found[f"{opencv} Caffe"] = sd.SqueezeDet
    found[f"{opencv} ONNX"] = lambda stem: sd.SqueezeDet(f"{stem}.onnx")
    if int8 is not None:
        found[f"{opencv} ONNX, 8 bits"] = lambda stem: sd.SqueezeDet(int8)
    try:
        import onnxruntime
    except ImportError:
        return found
    found[f"onnxruntime {onnxruntime.__version__}"] = lambda stem: sd.SqueezeDet(f"{stem}.onnx", backend="onnxruntime")
    if int8 is not None:
        found[f"onnxruntime {onnxruntime.__version__}, 8 bits"] = lambda stem: sd.SqueezeDet(int8, backend="onnxruntime")
    return found


def three_passes(detector: sd.SqueezeDet, image: np.ndarray) -> list[sd.InferBboxObject]:
    """Detect as OpenCV's C++ sample of 2017 does: the input is set and the network run separately for each output."""
    p, net = detector.preprocess, detector.net
    blob = cv2.dnn.blobFromImage(image, p.scale, p.size, p.mean, p.swap_rb, crop=False)
    blobs = []
    for i, (name, layer) in enumerate(zip(detector.backend.blobs, ("slice", "softmax", "sigmoid"), strict=True)):
        net.setInput(blob)
        if isinstance(detector.backend, CaffeNet):
            blobs.append(net.forwardAndRetrieve([layer])[0][2 if i == 0 else 0])
        else:
            blobs.append(detector.backend.predict(blob)[detector.backend.blobs.index(name)])
    found = sd.InferBbox(*blobs)
    found.filter(detector.config.score_threshold)
    return found.detections


def write_networks(folder: Path) -> None:
    """Write the files of the embedded model and of pyramid-voc, and those of the GSoC network with random weights."""
    from opencv_squeezedet.network import architectures

    network, rng = architectures.squeezedet_gsoc(), np.random.default_rng(0)
    weights = {
        step.layer.name: [rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32) for shape in step.weights]
        for step in network.weighted()
    }
    gsoc = Model(network, weights, sd.VOC, sd.Preprocess((416, 416)))
    for suffix in (".caffemodel", ".onnx"):
        gsoc.save(folder / f"gsoc{suffix}")
        Model.load().save(folder / f"embedded{suffix}", half=True)
        Model.load(MODELS / "squeezedet_pyramid_voc.sdz").save(folder / f"pyramid{suffix}", half=True)


# ---- one Python's measurements -----------------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """Measure everything that this Python has."""
    for network in options.networks:
        for threads in options.threads:
            cv2.setNumThreads(threads)
            int8 = options.int8 if network == "embedded" else None
            for row in measure_network(os.path.join(options.folder, network), options.blocks, int8):
                yield {"network": network, "threads": threads, **row}


def measure_network(stem: str, blocks: int, int8: str | None = None) -> Iterator[Row]:
    """Measure one network with OpenCV's present number of threads; the three passes are run by the first engine."""
    image, made = cv2.imread(str(PICTURE)), engines(int8)
    detectors = {name: make(stem) for name, make in made.items()}
    first = next(iter(made))
    three = f"{first}, {THREE}"
    ways: dict[str, Call] = {three: partial(three_passes, made[first](stem), image)}
    ways |= {name: partial(detector.detect, image) for name, detector in detectors.items()}
    blob = detectors[first].preprocess.blob(image)
    passes: dict[str, Call] = {name: partial(detector.backend.forward, blob) for name, detector in detectors.items()}
    boxes = alternate({name: sampler(call) for name, call in ways.items()}, blocks, samples=3)
    forward = alternate({name: sampler(call) for name, call in passes.items()}, blocks, samples=3)
    for name in ways:
        row: Row = {"way": name, "boxes": typical(boxes, name) * 1e3, "gain": ratio(boxes, three, name)}
        if name in passes:
            row["forward"] = typical(forward, name) * 1e3
            row["memory"] = [peak_of(what, name, stem, int8) for what in ("forward", "boxes")]
        yield row


def peak_of(what: str, engine: str, stem: str, int8: str | None) -> float:
    """Peak MiB of a fresh process that makes a detector and runs it a few times, with as many threads as OpenCV has here."""
    command = [sys.executable, __file__, "--peak", what, engine, stem, "--threads", str(cv2.getNumThreads())]
    command += [] if int8 is None else ["--int8", int8]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def tell_peak(what: str, engine: str, stem: str, threads: int, int8: str | None) -> None:
    """Run one detector, and print this process' peak memory."""
    cv2.setNumThreads(threads)
    detector, image = engines(int8)[engine](stem), cv2.imread(str(PICTURE))
    blob = detector.preprocess.blob(image)
    for _ in range(5):
        _ = detector.backend.forward(blob) if what == "forward" else detector.detect(image)
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, getrusage's value starts at the parent's peak
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        print(int(lines[0].split()[1]) / 1024)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


# ---- loading -----------------------------------------------------------------------------------------------------------

_PACKAGE = "import cv2, opencv_squeezedet as sd"
_PLAIN = """
import json
from opencv_squeezedet.model import Model
plain = Model.load({stem!r})
plain.source.trusted = True
"""  # nothing is checked, as with the embedded model


def loads(stem: str) -> dict[str, str]:
    """What is loaded: the embedded model, and its plain files of this stem."""
    plain = _PACKAGE + _PLAIN.format(stem=stem)
    return {
        "import cv2": "import cv2",
        "and the package": _PACKAGE,
        "and SqueezeDet()": f"{_PACKAGE}; sd.SqueezeDet()",
        "and its plain files": f"{plain}sd.SqueezeDet(plain)",
        "and SqueezeDet(backend='onnxruntime')": f"{_PACKAGE}; sd.SqueezeDet(backend='onnxruntime')",
        "and its plain files in onnxruntime": f"{plain}sd.SqueezeDet(plain, backend='onnxruntime')",
    }


def loading(python: str, count: int, stem: str) -> list[tuple[str, ...]]:
    """Median milliseconds of processor time of fresh processes, started in turn, beyond ``import cv2``."""
    statements = loads(stem)
    seconds: dict[str, list[float]] = {name: [] for name in statements}
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(folder, python)
        processes.with_one_thread()  # those that only spin take more time than what is measured
        for _ in range(count + 1):  # the first of each writes bytecode
            for name, code in statements.items():
                try:
                    seconds[name].append(processes.seconds(code))
                except subprocess.CalledProcessError:  # no onnxruntime
                    seconds[name].append(float("nan"))
    typical = {name: median(times[1:]) * 1e3 for name, times in seconds.items()}
    base = typical["import cv2"]
    return [(name, f"{time:.0f}", f"{time - base:.0f}") for name, time in typical.items()]


# ---- tables ------------------------------------------------------------------------------------------------------------


def shown(rows: list[Row], network: str, threads: int) -> str:
    """A table of one network on this number of threads."""
    title = f"{NETWORKS[network]}, {threads} thread{'s' * (threads > 1)}"
    lines = []
    for row in rows:
        if (row["network"], row["threads"]) == (network, threads):
            forward = f"{row['forward']:.1f}" if "forward" in row else ""
            memory = [f"{peak:.0f}" for peak in row.get("memory", ())] or ["", ""]
            lines.append((row["way"], forward, f"{row['boxes']:.1f}", f"{row['gain']:.2f}", *memory))
    return table((title, "forward, ms", "to boxes, ms", "gain", "MiB", "MiB"), lines)


def main() -> None:
    """Read the options, measure in separate processes, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], help="another Python to measure as well, with another OpenCV")
    parser.add_argument("--blocks", type=int, default=9, help="alternating blocks (default 9; 0: only loading)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default 1 2)")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--int8", metavar="FILE", help="the embedded model of 8-bit numbers")
    parser.add_argument("--loads", type=int, default=9, help="fresh processes that load the embedded model (default 9)")
    parser.add_argument("--folder", help=argparse.SUPPRESS)  # where the networks lie: measure, and print JSON
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        tell_peak(*options.peak, options.threads[0], options.int8)
        return
    if options.folder:
        print(json.dumps({"machine": machine(), "rows": list(measure(options))}))
        return
    pythons = [sys.executable, *options.python]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        write_networks(Path(folder))
        for python in pythons if options.blocks else ():
            numbers = ["--blocks", str(options.blocks), "--threads", *map(str, options.threads)]
            command = [python, __file__, "--folder", folder, *numbers, "--networks", *options.networks]
            command += [] if options.int8 is None else ["--int8", options.int8]
            told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            print(told["machine"])
            rows += told["rows"]
        if rows:
            print("\nMiB: the peak memory of a process that only runs forward passes, and of one that goes to the boxes.")
        for network in options.networks if rows else ():
            for threads in options.threads:
                print(f"\n{shown(rows, network, threads)}")
        for python in pythons:
            header = (f"processor time of a fresh process, {python}", "ms", "beyond import cv2")
            print(f"\n{table(header, loading(python, options.loads, os.path.join(folder, 'embedded')))}")


if __name__ == "__main__":
    main()
