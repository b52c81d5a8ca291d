"""The published heads: opencv_contrib's for PASCAL VOC, and the TensorFlow original's for KITTI."""

from __future__ import annotations

from opencv_squeezedet.config import HeadConfig

VOC = HeadConfig(
    input_size=(416, 416),
    grid=(23, 23),
    anchors=((377, 371), (64, 118), (129, 326), (172, 126), (34, 46), (353, 204), (89, 214), (249, 361), (209, 239)),
    labels=(
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
        *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    ),
)
"""opencv_contrib's head for PASCAL VOC (2017), with its sample's thresholds."""

KITTI = HeadConfig(
    input_size=(1248, 384),
    grid=(24, 78),
    anchors=((36, 37), (366, 174), (115, 59), (162, 87), (38, 90), (258, 173), (224, 108), (78, 170), (72, 43)),
    labels=("car", "pedestrian", "cyclist"),
    first_axis="y",
    centers="inner",
    delta_order="xywh",
    exp_threshold=1.0,
    corners="plus_one_after_clip",
    iou_epsilon=0.0,
    score_threshold=0.4,
    nms_threshold=0.4,
)
"""The TensorFlow original's head for KITTI (Wu et al., arXiv:1612.01051)."""
