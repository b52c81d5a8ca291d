"""Accuracy of the embedded model's float weights for several input sizes, and how its cost depends on them.

python benchmarks/input_sizes.py DATASET [--model STEM] [--sizes 448 384 320 256] [--backend auto]

No layer depends on the size of the input, so the same weights suit all sizes; anchors keep theirs in pixels. Objects are
small, medium and large as COCO has them, up to 32x32, up to 96x96 and above, in pixels of the pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _timing import table

import opencv_squeezedet as sd
from opencv_squeezedet.datasets import load_dataset
from opencv_squeezedet.evaluation import detect_dataset, evaluate
from opencv_squeezedet.evaluation.run import LOWEST_SCORE
from opencv_squeezedet.model import EMBEDDED, Model

HEADER = ("input", "MACs", "VOC07", "VOC10", "AP", "AP75", "small", "medium", "large")
COCO = ("AP", "AP75", "AP_small", "AP_medium", "AP_large")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="annotated pictures")
    embedded = str(Path(__file__).parents[1] / "models" / EMBEDDED)  # an installed package has only the compressed file
    parser.add_argument("--model", default=embedded, help="a detector (the embedded one)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[448, 384, 320, 256], help="sides, multiples of 64")
    parser.add_argument("--backend", default="auto", help="(auto)")
    options = parser.parse_args()
    rows = []
    for side in options.sizes:
        model = Model.load(options.model).resized((side, side))
        detector = sd.SqueezeDet(model, backend=options.backend)
        dataset = load_dataset(options.dataset, labels=detector.config.labels)
        found = detect_dataset(dataset, [detector], score_threshold=LOWEST_SCORE).detections
        evaluation = evaluate(dataset, found)
        values = (evaluation.map_voc07, evaluation.map_voc10, *(evaluation.coco[name] for name in COCO))
        rows.append([f"{side}x{side}", f"{model.network.macs / 1e9:.2f} G", *(f"{100 * value:.1f}" for value in values)])
    print(table(HEADER, rows))


if __name__ == "__main__":
    main()
