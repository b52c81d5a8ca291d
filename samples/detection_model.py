"""An application written for cv2.dnn.DetectionModel, moved to SqueezeDet: only the three marked lines are new.

python samples/detection_model.py photo.jpg
"""

import sys

import cv2

import opencv_squeezedet as sd  # 1: the import


def main(path: str) -> None:
    """Print the objects in the picture, and write it with boxes to detection_model.png."""
    # model = cv2.dnn.DetectionModel("yolov4-tiny.weights", "yolov4-tiny.cfg")
    model = sd.DetectionModel("models/squeezedet_shuffle_voc.caffemodel", "models/squeezedet_shuffle_voc.prototxt")  # 2
    names = sd.VOC.labels  # 3: the class names
    model.setInputParams(size=(384, 384), scale=1, swapRB=False)
    model.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)

    frame = cv2.imread(path)
    classes, scores, boxes = model.detect(frame, confThreshold=0.3, nmsThreshold=0.4)
    for class_id, score, box in zip(classes, scores, boxes, strict=True):
        print(f"{names[class_id]} {score:.2f} {box.tolist()}")
        cv2.rectangle(frame, box, (0, 255, 0), 2)
        cv2.putText(frame, names[class_id], (box[0], box[1] + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 0), 1)
    cv2.imwrite("detection_model.png", frame)


if __name__ == "__main__":
    main(*(sys.argv[1:] or sys.exit(__doc__)))
