"""A program written for OpenCV 4 and Caffe's files: on OpenCV 5 it needs the two marked lines in addition.

python samples/caffe_on_opencv5.py photo.jpg [deploy.prototxt net.caffemodel]
"""

import sys

import cv2

import opencv_squeezedet.caffe  # 1

opencv_squeezedet.caffe.install()  # 2: before the first call of cv2.dnn


def main(path: str, prototxt: str = "", caffemodel: str = "") -> None:
    """Run the network, by default the embedded one, on a picture, and print what its layers give."""
    image = cv2.imread(path)
    if image is None:
        sys.exit(f"cannot read {path}")
    prototxt = prototxt or "models/squeezedet_shuffle_voc.prototxt"
    net = cv2.dnn.readNetFromCaffe(prototxt, caffemodel or prototxt.replace(".prototxt", ".caffemodel"))
    net.setInput(cv2.dnn.blobFromImage(image, 1.0, (384, 384), (104, 117, 123)))

    names = net.getLayerNames()
    outputs = [names[i - 1] for i in net.getUnconnectedOutLayers()]
    for name, blob in zip(outputs, net.forward(outputs), strict=True):
        print(f"output {name}: {blob.shape}, mean {blob.mean():.3f}")
    inner = names[len(names) // 2]
    print(f"layer {net.getLayerId(inner)} of {len(names)}, {inner}: {net.forward(inner).shape}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or sys.exit(__doc__)))
