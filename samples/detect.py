"""Finds objects in the pictures named on the command line: python samples/detect.py photo.jpg ..."""

import sys
from pathlib import Path

import cv2

import opencv_squeezedet as sd


def main(paths: list[str]) -> None:
    """Print what is in each picture, and write an annotated copy into the current folder."""
    detector = sd.SqueezeDet()
    for path in paths:
        image = cv2.imread(path)
        if image is None:
            sys.exit(f"cannot read {path}")
        detections = detector.detect(image, score_threshold=0.3)
        for d in detections:
            print(d.label, round(d.confidence, 2), [round(v) for v in d.xyxy])
        cv2.imwrite(f"{Path(path).stem}_detections.png", sd.draw(image, detections))


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
