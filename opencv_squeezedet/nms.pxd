"""Non-maximum suppression by each of its rules, for any Cython program.

    from opencv_squeezedet.boxes cimport Box
    from opencv_squeezedet.candidates cimport sort_boxes
    from opencv_squeezedet.nms cimport GREEDY, Limits, default_limits, suppress

    cdef Limits limits = default_limits()
    limits.nms_kind = GREEDY
    limits.nms_threshold = 0.45
    sort_boxes(boxes, count)
    count = suppress(boxes, count, &limits, 0.0)

Header only, GIL-free, unchecked; nothing allocates. A rule takes boxes with the best first, moves those that it keeps to the
front, the best first again, and returns their number.
"""
from opencv_squeezedet.boxes cimport Box, iou_xyxy

# What `HeadConfig.nms_kind` names, in the order of `opencv_squeezedet.config.NMS_KINDS`.
cdef enum NmsRule:
    REFERENCE       # a box goes if any higher one overlaps it, dropped or not (InferBbox, the SqueezeDet original)
    GREEDY          # dropped boxes drop no others (cv2.dnn.NMSBoxes)


# Which candidates there are, and which of them are reported. Begin with `default_limits`: in a struct literal, a field
# without a value stays uninitialised.
cdef struct Limits:
    double score_threshold      # a box is reported when its score is above (strict); may be negative
    double nms_threshold        # in [0, 1]: a box goes when its IoU with a higher one is above (strict)
    NmsRule nms_kind
    Py_ssize_t top_n            # candidates before NMS, at least 1
    bint class_agnostic         # NMS across classes
    bint drop_empty             # remove empty boxes after NMS


cdef inline Limits default_limits() noexcept nogil:
    """The published rules of opencv_contrib's head, those of `opencv_squeezedet.VOC`."""
    return Limits(score_threshold=0.7, nms_threshold=0.1, nms_kind=REFERENCE, top_n=64, class_agnostic=False, drop_empty=True)


cdef inline Py_ssize_t suppress_reference(Box* boxes, Py_ssize_t count, const Limits* limits,
                                          double iou_epsilon) noexcept nogil:
    """Every higher box counts: goes from the lowest up, while all the higher ones still stand in their places."""
    cdef double threshold = limits.nms_threshold
    cdef bint agnostic = limits.class_agnostic
    cdef Py_ssize_t i, j
    cdef Py_ssize_t kept = 0
    cdef Box box
    for i in range(count - 1, -1, -1):
        for j in range(i):
            if ((agnostic or boxes[j].class_id == boxes[i].class_id)
                    and iou_xyxy(&boxes[j], &boxes[i], iou_epsilon) > threshold):
                boxes[i].anchor = -1
                break
    for i in range(count):
        if boxes[i].anchor >= 0:
            box = boxes[i]
            boxes[kept] = box
            kept += 1
    return kept


cdef inline Py_ssize_t suppress_greedy(Box* boxes, Py_ssize_t count, const Limits* limits, double iou_epsilon) noexcept nogil:
    """The kept ones move to the front, and only they are looked at."""
    cdef double threshold = limits.nms_threshold
    cdef bint agnostic = limits.class_agnostic
    cdef Py_ssize_t i, j
    cdef Py_ssize_t kept = 0
    for i in range(count):
        for j in range(kept):
            if ((agnostic or boxes[j].class_id == boxes[i].class_id)
                    and iou_xyxy(&boxes[j], &boxes[i], iou_epsilon) > threshold):
                break
        else:
            boxes[kept] = boxes[i]
            kept += 1
    return kept


cdef inline Py_ssize_t suppress(Box* boxes, Py_ssize_t count, const Limits* limits, double iou_epsilon) noexcept nogil:
    """NMS by the rule of ``limits.nms_kind``."""
    if limits.nms_kind == GREEDY:
        return suppress_greedy(boxes, count, limits, iou_epsilon)
    return suppress_reference(boxes, count, limits, iou_epsilon)
