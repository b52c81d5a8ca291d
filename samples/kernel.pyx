# cython: language_level=3, boundscheck=False, wraparound=False
# Another project's Cython module that uses the kernel by cimport, without Python in between:
#
#     cythonize -i samples/kernel.pyx
#     cd samples && python -c "import kernel; kernel.demo('chelsea.jpg')"
from opencv_squeezedet._kernel cimport HeadKernel, postprocess_blobs
from opencv_squeezedet.boxes cimport Box, iou_xyxy
from opencv_squeezedet.nms cimport GREEDY, Limits, default_limits

import cv2

import opencv_squeezedet as sd


def largest(HeadKernel kernel, const float[::1] delta_bbox, const float[::1] class_scores, const float[::1] conf_scores,
            double score_threshold):
    """The largest box of one picture's blobs, as (x1, y1, x2, y2, class id, score), or None; no GIL while it is sought."""
    cdef Box[64] boxes
    cdef Limits limits = default_limits()
    cdef Py_ssize_t found, i
    cdef Py_ssize_t best = -1
    cdef double area
    cdef double best_area = 0.0
    limits.score_threshold = score_threshold
    limits.nms_kind, limits.nms_threshold = GREEDY, 0.45
    with nogil:
        found = postprocess_blobs(&kernel.head, &delta_bbox[0], &class_scores[0], &conf_scores[0], &limits, 0.0, boxes)
        for i in range(found):
            area = (boxes[i].x2 - boxes[i].x1) * (boxes[i].y2 - boxes[i].y1)
            if area > best_area:
                best, best_area = i, area
    if best < 0:
        return None
    return boxes[best].x1, boxes[best].y1, boxes[best].x2, boxes[best].y2, boxes[best].class_id, boxes[best].score


def overlap(first, second):
    """IoU of two boxes (x1, y1, x2, y2)."""
    cdef Box a, b
    a.x1, a.y1, a.x2, a.y2 = first
    b.x1, b.y1, b.x2, b.y2 = second
    return iou_xyxy(&a, &b, 0.0)


def demo(path):
    detector = sd.SqueezeDet()
    blobs = [blob.reshape(-1) for blob in detector.forward(cv2.imread(path))]
    x1, y1, x2, y2, class_id, score = largest(detector.config.kernel, *blobs, 0.3)
    width, height = detector.config.input_size
    print(f"{detector.config.labels[class_id]} {score:.2f} at {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f} of the {width}x{height} input,")
    print(f"of which it covers {overlap((x1, y1, x2, y2), (0, 0, width, height)):.0%}")
