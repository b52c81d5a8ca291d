# cython: cdivision=True
"""Non-maximum suppression by each of its rules, for any Cython program.

    from opencv_squeezedet.boxes cimport Box
    from opencv_squeezedet.candidates cimport sort_boxes
    from opencv_squeezedet.nms cimport GREEDY, Limits, default_limits, suppress

    cdef Limits limits = default_limits()
    limits.nms_kind = GREEDY
    limits.nms_threshold = 0.45
    sort_boxes(boxes, count)
    count = suppress(boxes, count, &limits, 0.0)

Header only, GIL-free, unchecked; nothing allocates. A rule takes boxes sorted best first, moves the ones it keeps to the
front, again best first, and returns their number.
"""
from libc.math cimport INFINITY, exp
from libc.string cimport memcpy

from opencv_squeezedet.boxes cimport Box, comes_before, iou_xyxy

# The rules that `HeadConfig.nms_kind` names, in the order of `opencv_squeezedet.options.NMS_KINDS`.
cdef enum NmsRule:
    REFERENCE       # a box is dropped if any higher one overlaps it, dropped or not (InferBbox, the SqueezeDet original)
    GREEDY          # dropped boxes drop no others (cv2.dnn.NMSBoxes)
    SOFT            # what a kept box overlaps loses score instead (Gaussian soft-NMS)


# Thresholds and options of candidate selection and NMS. Start from `default_limits`: in a struct literal, a field without
# a value stays uninitialised.
cdef struct Limits:
    double score_threshold      # a box is kept when its score is above (strict); may be negative
    double nms_threshold        # in [0, 1]: a box is dropped when its IoU with a higher one is above (strict)
    NmsRule nms_kind
    double soft_sigma           # above 0: width of soft NMS's Gaussian
    double vote_threshold       # in [0, 1]: candidates whose IoU with a kept box is above (strict) vote; 1 or more: no voting
    double cross_class_threshold    # in [0, 1]: IoU (strict) above which boxes of two classes are one object; 1 or more: off
    Py_ssize_t top_n            # candidates before NMS, at least 1
    bint class_agnostic         # NMS across classes
    bint multi_label            # every class above the score threshold is a candidate, not only an anchor's best
    bint drop_empty             # remove empty boxes after NMS


cdef inline Limits default_limits() noexcept nogil:
    """The published rules of opencv_contrib's head, those of `opencv_squeezedet.VOC`."""
    return Limits(
        score_threshold=0.7, nms_threshold=0.1, nms_kind=REFERENCE, soft_sigma=0.5, vote_threshold=INFINITY,
        cross_class_threshold=INFINITY, top_n=64, class_agnostic=False, multi_label=False, drop_empty=True)


# ---- the rules ----------------------------------------------------------------------------------------------------------

cdef inline bint overlaps(const Box* boxes, Py_ssize_t count, const Box* box, double threshold, bint agnostic,
                          double iou_epsilon) noexcept nogil:
    """Whether the IoU of ``box`` with any of ``boxes`` of its class, or of any if ``agnostic``, is above ``threshold``."""
    cdef Py_ssize_t i
    for i in range(count):
        if (agnostic or boxes[i].class_id == box.class_id) and iou_xyxy(&boxes[i], box, iou_epsilon) > threshold:
            return True
    return False


cdef inline Py_ssize_t suppress_reference(Box* boxes, Py_ssize_t count, const Limits* limits,
                                          double iou_epsilon) noexcept nogil:
    """Every higher box drops others: works from the lowest up, while all higher boxes are still present."""
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
    """Only kept boxes drop others; they move to the front."""
    cdef Py_ssize_t i
    cdef Py_ssize_t kept = 0
    for i in range(count):
        if not overlaps(boxes, kept, &boxes[i], limits.nms_threshold, limits.class_agnostic, iou_epsilon):
            boxes[kept] = boxes[i]
            kept += 1
    return kept


cdef inline Py_ssize_t suppress_soft(Box* boxes, Py_ssize_t count, const Limits* limits, double iou_epsilon) noexcept nogil:
    """Each kept box multiplies the scores of the remaining ones by exp(-IoU^2 / sigma), until none is above the threshold.

    Gaussian soft-NMS of Bodla et al. 2017 (arXiv:1704.04503). Scores and score threshold are at least 0; the NMS threshold
    has no effect.
    """
    cdef double threshold = limits.score_threshold
    cdef double sigma = limits.soft_sigma
    cdef bint agnostic = limits.class_agnostic
    cdef Py_ssize_t kept = 0
    cdef Py_ssize_t i, best
    cdef double iou
    cdef Box box
    while kept < count:
        best = kept
        for i in range(kept + 1, count):
            if comes_before(&boxes[i], &boxes[best]):
                best = i
        if not boxes[best].score > threshold:
            break
        box = boxes[best]
        boxes[best] = boxes[kept]
        boxes[kept] = box
        kept += 1
        i = kept
        while i < count:
            if agnostic or boxes[i].class_id == box.class_id:
                iou = iou_xyxy(&box, &boxes[i], iou_epsilon)
                if iou > 0.0:
                    boxes[i].score *= exp(-iou * iou / sigma)
                    if not boxes[i].score > threshold:  # scores never rise: replace it by the last box
                        count -= 1
                        boxes[i] = boxes[count]
                        continue
            i += 1
    return kept


cdef inline Py_ssize_t suppress(Box* boxes, Py_ssize_t count, const Limits* limits, double iou_epsilon) noexcept nogil:
    """NMS by the rule of ``limits.nms_kind``."""
    if limits.nms_kind == SOFT:
        return suppress_soft(boxes, count, limits, iou_epsilon)
    if limits.nms_kind == GREEDY:
        return suppress_greedy(boxes, count, limits, iou_epsilon)
    return suppress_reference(boxes, count, limits, iou_epsilon)


# ---- box voting ---------------------------------------------------------------------------------------------------------

cdef inline bint votes(const Limits* limits) noexcept nogil:
    """Whether box voting is on: no IoU is above a threshold of 1."""
    return limits.vote_threshold < 1.0


cdef inline void vote(Box* kept, Py_ssize_t kept_count, const Box* candidates, Py_ssize_t count, const Limits* limits,
                      double iou_epsilon) noexcept nogil:
    """Moves each kept box to the mean of the candidates of its class that overlap it, weighted by score x IoU^2.

    Box voting of Gidaris and Komodakis 2015 (arXiv:1505.01749), where the weight is the score alone. A box that no candidate
    overlaps stays as it is; ``empty`` never changes.
    """
    cdef double threshold = limits.vote_threshold
    cdef double iou, weight, total, x1, y1, x2, y2
    cdef Py_ssize_t i, j
    for i in range(kept_count):
        total = x1 = y1 = x2 = y2 = 0.0
        for j in range(count):
            if candidates[j].class_id != kept[i].class_id or not candidates[j].score > 0.0:
                continue
            iou = iou_xyxy(&kept[i], &candidates[j], iou_epsilon)
            if iou > threshold:
                weight = candidates[j].score * iou * iou
                total += weight
                x1 += weight * candidates[j].x1
                y1 += weight * candidates[j].y1
                x2 += weight * candidates[j].x2
                y2 += weight * candidates[j].y2
        if total > 0.0:
            kept[i].x1 = x1 / total
            kept[i].y1 = y1 / total
            kept[i].x2 = x2 / total
            kept[i].y2 = y2 / total


# ---- one object under two classes ---------------------------------------------------------------------------------------

cdef inline Py_ssize_t demote_cross_class(Box* boxes, Py_ssize_t count, const Limits* limits,
                                          double iou_epsilon) noexcept nogil:
    """Multiplies the score of each box that overlaps a higher one of another class by 1 - (the other's score) x IoU.

    An object that is a cat with probability p is something else with probability 1 - p at most. Among several higher boxes,
    the lowest factor counts, computed from scores before demotion. Boxes are sorted best first before and after; those no
    longer above the score threshold are dropped.
    """
    cdef double threshold = limits.cross_class_threshold
    cdef double iou, factor
    cdef Py_ssize_t i, j
    cdef Py_ssize_t kept = 0
    cdef Box box
    for i in range(count - 1, 0, -1):   # from the lowest up: those above still have their original scores
        factor = 1.0
        for j in range(i):
            if boxes[j].class_id != boxes[i].class_id:
                iou = iou_xyxy(&boxes[j], &boxes[i], iou_epsilon)
                if iou > threshold:
                    factor = min(factor, 1.0 - boxes[j].score * iou)
        boxes[i].score *= max(factor, 0.0)
    for i in range(count):      # almost sorted, hence an insertion sort
        box = boxes[i]
        if not box.score > limits.score_threshold:
            continue
        j = kept
        while j > 0 and comes_before(&box, &boxes[j - 1]):
            boxes[j] = boxes[j - 1]
            j -= 1
        boxes[j] = box
        kept += 1
    return kept


# ---- all steps ----------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t run_nms(Box* boxes, Py_ssize_t count, const Limits* limits, double iou_epsilon) noexcept nogil:
    """`suppress`, then `vote` and `demote_cross_class` if they are on. Voting needs room for 2 * ``count`` boxes."""
    cdef Py_ssize_t kept
    if votes(limits):
        memcpy(boxes + count, boxes, count * sizeof(Box))
    kept = suppress(boxes, count, limits, iou_epsilon)
    if votes(limits):
        vote(boxes, kept, boxes + count, count, limits, iou_epsilon)
    if limits.cross_class_threshold < 1.0:
        kept = demote_cross_class(boxes, kept, limits, iou_epsilon)
    return kept
