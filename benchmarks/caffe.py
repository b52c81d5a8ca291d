"""Compares the SSD pass with OpenCV 4's layer DetectionOutput: 8,732 priors, 21 classes, confidence threshold 0.01.

``--python`` names the Python of an environment with OpenCV 4, whose layer is measured in a process of its own. The two are
measured in turn, in blocks; "gain" is the median of the blocks' ratios. Scores are a softmax in which the background leads by
so much that few, many or most of the scores are above the threshold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from _timing import machine, pin_to_one_core, ratio, sampler, table, typical

PRIORS, CLASSES = 8732, 21
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


def serve() -> None:
    """Measure OpenCV 4's layer once for each line of standard input, which names a row of `LEADS`."""
    calls = {name: layer(lead) for name, lead in LEADS.items()}
    samplers = {name: sampler(call) for name, call in calls.items()}
    print(json.dumps({name: call()[0, 0].tolist() for name, call in calls.items()}), flush=True)
    for line in sys.stdin:
        print(samplers[line.strip()](), flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", metavar="PYTHON", required=True, help="the Python of an environment with OpenCV 4")
    parser.add_argument("--blocks", type=int, default=15, metavar="N", help="blocks of measurements (default: 15)")
    arguments = parser.parse_args()
    print(f"{machine()}; {pin_to_one_core()}\n")
    command = [arguments.python, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        reader, writer = process.stdout, process.stdin
        expected = json.loads(reader.readline())

        def opencv(name: str) -> float:
            writer.write(f"{name}\n")
            writer.flush()
            return float(reader.readline())

        rows = []
        for name, lead in LEADS.items():
            call = kernel(lead)
            np.testing.assert_allclose(call(), expected[name], atol=1e-5)
            own = sampler(call)
            blocks = [{"own": own(), "opencv": opencv(name)} for _ in range(arguments.blocks)]
            milliseconds = [f"{1000 * typical(blocks, engine):.2f}" for engine in ("opencv", "own")]
            rows.append([name, *milliseconds, f"{ratio(blocks, 'opencv', 'own'):.1f}"])
        writer.close()
    print(table(["DetectionOutput", "OpenCV 4, ms", "ssd_postprocess, ms", "gain"], rows))


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()
