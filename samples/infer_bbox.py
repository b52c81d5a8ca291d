"""The steps of opencv_contrib's C++ sample obj_detect.cpp, in Python: network in cv2, three blobs, InferBbox.

python samples/infer_bbox.py photo.jpg [NAME.onnx | NAME.prototxt NAME.caffemodel] [threshold]

Every OpenCV reads ONNX; Caffe's files need OpenCV 4. Without files it takes the embedded model.
InferBbox returns corners in a picture stretched to 416x416, for networks of another input size too.
"""

import sys
from collections.abc import Sequence

import cv2
import numpy as np
from cv2.typing import MatLike

import opencv_squeezedet as sd
from opencv_squeezedet.formats import onnx_bytes
from opencv_squeezedet.model import Model

SIDE = 416  # pixels, of InferBbox's coordinates


def three_blobs(image: MatLike, files: list[str]) -> Sequence[MatLike]:
    """Run the network once; the C++ sample runs it once for each blob."""
    model = Model.load(*files)
    blob = cv2.dnn.blobFromImage(image, 1.0, model.network.input_size, (104, 117, 123), swapRB=False, crop=False)
    if len(files) < 2:
        net = cv2.dnn.readNetFromONNX(*files) if files else as_onnx(model)
        net.setInput(blob)
        return net.forward(["delta_bbox", "class_scores", "conf_scores"])
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        sys.exit(
            f"OpenCV {cv2.__version__} does not read Caffe's files, OpenCV 4 does. Convert them for this one: "
            f"squeezedet convert {files[0]} model.onnx"
        )
    net = cv2.dnn.readNetFromCaffe(*files)
    net.setInput(blob)
    slices, class_scores, conf_scores = net.forwardAndRetrieve(["slice", "softmax", "sigmoid"])
    return slices[2], class_scores[0], conf_scores[0]


def as_onnx(model: Model) -> cv2.dnn.Net:
    """Read a model as the ONNX file that ``squeezedet convert`` makes of it."""
    content = onnx_bytes(model.network, model.weights)
    return cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))


def main(path: str, *arguments: str) -> None:
    """Print the objects in the picture, as the C++ sample does, and write it with boxes to infer_bbox.png."""
    files = [argument for argument in arguments if argument.endswith((".onnx", ".prototxt", ".caffemodel"))]
    threshold = float(arguments[-1]) if len(arguments) > len(files) else 0.3
    image = cv2.imread(path)
    if image is None:
        sys.exit(f"cannot read {path}")

    inf = sd.InferBbox(*three_blobs(image, files))
    inf.filter(threshold)

    x_scale, y_scale = image.shape[1] / SIDE, image.shape[0] / SIDE
    for found in inf.detections:
        print(f"{found.label_name} {found.class_prob:.6f}: {found.xmin} {found.ymin} {found.xmax} {found.ymax}")
        corner = int(found.xmin * x_scale), int(found.ymin * y_scale)
        opposite = int(found.xmax * x_scale), int(found.ymax * y_scale)
        cv2.rectangle(image, corner, opposite, (0, 255, 0), 2)
        cv2.putText(image, found.label_name, (corner[0], corner[1] + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 0), 1)
    cv2.imwrite("infer_bbox.png", image)


if __name__ == "__main__":
    main(*(sys.argv[1:] or sys.exit(__doc__)))
