"""Faces by an SSD network of Caffe's files, on any OpenCV, with the boxes by `ssd_postprocess`.

python samples/face_ssd.py deploy.prototxt res10_300x300_ssd_iter_140000.caffemodel photo.jpg
"""

import sys

import cv2

import opencv_squeezedet as sd
from opencv_squeezedet.caffe import readNetFromCaffe


def main(prototxt: str, caffemodel: str, path: str) -> None:
    """Print the faces in the picture, and write it with boxes to faces.png."""
    image = cv2.imread(path)
    if image is None:
        sys.exit(f"cannot read {path}")
    net = readNetFromCaffe(prototxt, caffemodel)
    net.setInput(cv2.dnn.blobFromImage(image, 1.0, (300, 300), (104, 177, 123)))
    loc, conf, prior = net.forward(["mbox_loc", "mbox_conf_flatten", "mbox_priorbox"])  # the bottoms of its DetectionOutput

    height, width = image.shape[:2]
    for _, _, score, *corners in sd.ssd_postprocess(loc, conf, prior, confidence_threshold=0.5, keep_top_k=100):
        x1, y1, x2, y2 = (round(corner * side) for corner, side in zip(corners, (width, height) * 2, strict=True))
        print(f"{score:.2f} at {x1} {y1} {x2} {y2}")
        cv2.rectangle(image, (x1, y1), (x2, y2), (0, 255, 0), 2)
    cv2.imwrite("faces.png", image)


if __name__ == "__main__":
    main(*(sys.argv[1:] if len(sys.argv) == 4 else sys.exit(__doc__)))
