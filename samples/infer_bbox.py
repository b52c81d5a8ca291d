"""The steps of opencv_contrib's C++ sample obj_detect.cpp, in Python: network in cv2, three blobs, InferBbox.

python samples/infer_bbox.py photo.jpg [NAME.prototxt NAME.caffemodel [threshold]]
"""

import sys

import cv2

import opencv_squeezedet as sd
from opencv_squeezedet.model import models_folder

SIZE = 416


def main(path: str, definition: str = "", weights: str = "", threshold: str = "0.3") -> None:
    """Print the objects in the picture, as the C++ sample does, and write it with boxes to infer_bbox.png."""
    embedded = f"{models_folder()}/squeezedet_lite_voc"
    net = cv2.dnn.readNetFromCaffe(definition or f"{embedded}.prototxt", weights or f"{embedded}.caffemodel")
    image = cv2.imread(path)
    if image is None:
        sys.exit(f"cannot read {path}")

    # The C++ sample runs the network once for each blob; all three come from one pass.
    net.setInput(cv2.dnn.blobFromImage(image, 1.0, (SIZE, SIZE), (104, 117, 123), swapRB=False, crop=False))
    slices, class_scores, conf_scores = net.forwardAndRetrieve(["slice", "softmax", "sigmoid"])

    inf = sd.InferBbox(slices[2], class_scores[0], conf_scores[0])
    inf.filter(float(threshold))

    x_scale, y_scale = image.shape[1] / SIZE, image.shape[0] / SIZE
    for found in inf.detections:
        print(f"{found.label_name} {found.class_prob:.6f}: {found.xmin} {found.ymin} {found.xmax} {found.ymax}")
        corner = int(found.xmin * x_scale), int(found.ymin * y_scale)
        opposite = int(found.xmax * x_scale), int(found.ymax * y_scale)
        cv2.rectangle(image, corner, opposite, (0, 255, 0), 2)
        cv2.putText(image, found.label_name, (corner[0], corner[1] + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 0), 1)
    cv2.imwrite("infer_bbox.png", image)


if __name__ == "__main__":
    main(*(sys.argv[1:] or sys.exit(__doc__)))
