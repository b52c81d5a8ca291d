"""Accuracy of the embedded model's float weights for several input sizes, and how its cost depends on them.

python benchmarks/input_sizes.py DATASET [--model STEM] [--sizes 416 384 352 320] [--backend auto]

No layer depends on the size of the input, so the same weights suit all sizes; anchors keep theirs in pixels. Objects are
small, medium and large as COCO has them, up to 32x32, up to 96x96 and above, in pixels of the pictures.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from _timing import table

import opencv_squeezedet as sd
from opencv_squeezedet.datasets import load_dataset
from opencv_squeezedet.evaluation import detect_dataset, evaluate
from opencv_squeezedet.evaluation.run import LOWEST_SCORE
from opencv_squeezedet.model import EMBEDDED, Model, detector_parts
from opencv_squeezedet.network.architectures import squeezedet_pyramid
from opencv_squeezedet.network.head import head_of

HEADER = ("input", "MACs", "VOC07", "VOC10", "AP", "AP75", "small", "medium", "large")
COCO = ("AP", "AP75", "AP_small", "AP_medium", "AP_large")


def resized(stem: str, side: int, folder: Path) -> tuple[Path, int]:
    """Write the model for another input size, and return its stem and MACs."""
    model = Model.load(stem)
    head, preprocess = detector_parts(model.head, model.preprocess)
    network = squeezedet_pyramid(input_size=(side, side))
    head = replace(head, input_size=(side, side), grid=head_of(network).grid)
    Model(network, model.weights, head, replace(preprocess, size=(side, side))).save(folder / f"{side}.onnx")
    return folder / str(side), network.macs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="annotated pictures")
    embedded = str(Path(__file__).parents[1] / "models" / EMBEDDED)  # an installed package has only the compressed file
    parser.add_argument("--model", default=embedded, help="of squeezedet_pyramid (the embedded one)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[416, 384, 352, 320], help="sides, multiples of 32")
    parser.add_argument("--backend", default="auto", help="(auto)")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for side in options.sizes:
            model, macs = resized(options.model, side, Path(folder))
            detector = sd.SqueezeDet(model, backend=options.backend)
            dataset = load_dataset(options.dataset, labels=detector.config.labels)
            found = detect_dataset(dataset, [detector], score_threshold=LOWEST_SCORE).detections
            evaluation = evaluate(dataset, found)
            values = (evaluation.map_voc07, evaluation.map_voc10, *(evaluation.coco[name] for name in COCO))
            rows.append([f"{side}x{side}", f"{macs / 1e9:.2f} G", *(f"{100 * value:.1f}" for value in values)])
    print(table(HEADER, rows))


if __name__ == "__main__":
    main()
