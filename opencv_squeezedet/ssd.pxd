# cython: cdivision=True
"""Post-processing of SSD, the layer DetectionOutput of Caffe, for any Cython program.

    from libc.stdlib cimport free, malloc
    from opencv_squeezedet.boxes cimport Box
    from opencv_squeezedet.ssd cimport Ssd, count_candidates, find_boxes

    cdef Py_ssize_t[21] ends, counts
    cdef Py_ssize_t room = count_candidates(&ssd, conf, ends)
    cdef Box* boxes = <Box*>malloc(max(room, 1) * sizeof(Box))
    cdef Py_ssize_t count = find_boxes(&ssd, loc, conf, ends, counts, boxes)

Header only, GIL-free, unchecked; nothing allocates. Arithmetic is in double precision; blobs are contiguous float32.
"""
from libc.math cimport exp, fabs, isfinite
from libc.string cimport memmove

from opencv_squeezedet.boxes cimport Box, clip
from opencv_squeezedet.candidates cimport heapify, push, sift_down
from opencv_squeezedet.nms cimport overlaps

# The options of DetectionOutput.
cdef struct Ssd:
    Py_ssize_t priors
    Py_ssize_t classes          # the background included
    Py_ssize_t background       # this class is skipped; -1: none
    const float* prior          # (priors, 4) xyxy
    const float* variance       # (priors, 4) factors of the location; NULL: the location contains them
    bint shared                 # the location is (priors, 4), not (priors, classes, 4)
    bint center_size            # the location moves the centre and scales the size; else it moves the corners
    bint clipped                # boxes are clipped to [0, 1] before NMS
    bint plus_one               # pixels: a side is x2 - x1 + 1; find_boxes still returns x2, not x2 + 1
    float score_threshold       # a box takes part when its score is above (strict)
    double nms_threshold        # a box is dropped when its IoU with a kept one of its class is above (strict)
    Py_ssize_t top_k            # boxes of each class before NMS, at least 1
    Py_ssize_t keep_top_k       # boxes of all classes after NMS, at least 1


cdef inline bint decode_prior(const Ssd* ssd, const float* loc, Py_ssize_t prior, Py_ssize_t class_id,
                              Box* box) noexcept nogil:
    """Writes the corners of one box, x2 and y2 increased by 1 with ``plus_one``; false if a corner is not a finite float32."""
    cdef const float* d = loc + 4 * (prior if ssd.shared else prior * ssd.classes + class_id)
    cdef const float* p = ssd.prior + 4 * prior
    cdef double one = 1.0 if ssd.plus_one else 0.0
    cdef double dx = d[0]
    cdef double dy = d[1]
    cdef double dw = d[2]
    cdef double dh = d[3]
    cdef double x, y, width, height
    if ssd.variance != NULL:
        dx *= ssd.variance[4 * prior]
        dy *= ssd.variance[4 * prior + 1]
        dw *= ssd.variance[4 * prior + 2]
        dh *= ssd.variance[4 * prior + 3]
    if ssd.center_size:
        width = <double>p[2] - p[0] + one
        height = <double>p[3] - p[1] + one
        x = p[0] + 0.5 * width + dx * width
        y = p[1] + 0.5 * height + dy * height
        width *= exp(dw)
        height *= exp(dh)
        box.x1 = x - 0.5 * width
        box.y1 = y - 0.5 * height
        box.x2 = x + 0.5 * width
        box.y2 = y + 0.5 * height
    else:
        box.x1 = p[0] + dx
        box.y1 = p[1] + dy
        box.x2 = p[2] + dw
        box.y2 = p[3] + dh
    if not (fabs(box.x1) < 3e38 and fabs(box.y1) < 3e38 and fabs(box.x2) < 3e38 and fabs(box.y2) < 3e38):   # or NaN
        return False
    if ssd.clipped:
        box.x1 = clip(box.x1, 0.0, 1.0)
        box.y1 = clip(box.y1, 0.0, 1.0)
        box.x2 = clip(box.x2, 0.0, 1.0)
        box.y2 = clip(box.y2, 0.0, 1.0)
    box.x2 += one
    box.y2 += one
    return True


cdef inline Py_ssize_t count_candidates(const Ssd* ssd, const float* conf, Py_ssize_t* ends) noexcept nogil:
    """The room that `find_boxes` needs for a picture, in boxes; ``ends`` receives where that of each class ends."""
    cdef float threshold = ssd.score_threshold
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t prior, c
    for c in range(ssd.classes):
        ends[c] = 0
    for prior in range(ssd.priors):
        for c in range(ssd.classes):
            ends[c] += conf[prior * ssd.classes + c] > threshold
    for c in range(ssd.classes):
        total += 0 if c == ssd.background else min(ends[c], ssd.top_k)
        ends[c] = total
    return total


cdef inline Py_ssize_t gather_boxes(const Ssd* ssd, const float* conf, const Py_ssize_t* ends, Py_ssize_t* counts,
                                    Box* boxes) noexcept nogil:
    """Writes the best ``top_k`` of each class (score, class and anchor only) as a heap with the best at its root.

    Returns their number. A box's ``anchor`` is class * priors + prior, by which equal scores rank. Scores and anchors are
    negated at the end, because the root of a heap ranks lowest. ``counts`` has room for one number for each class.
    """
    cdef float threshold = ssd.score_threshold
    cdef Py_ssize_t prior, c, start, i
    cdef Py_ssize_t total = 0
    cdef Box box
    for c in range(ssd.classes):
        counts[c] = 0
    for prior in range(ssd.priors):
        for c in range(ssd.classes):
            if conf[c] > threshold and c != ssd.background and isfinite(conf[c]):
                start = ends[c - 1] if c else 0
                box.score = conf[c]
                box.anchor = c * ssd.priors + prior
                box.class_id = <int>c
                counts[c] = push(boxes + start, counts[c], ends[c] - start, &box)
        conf += ssd.classes
    for c in range(ssd.classes):
        start = ends[c - 1] if c else 0
        for i in range(start, start + counts[c]):
            boxes[total] = boxes[i]
            boxes[total].score = -boxes[i].score
            boxes[total].anchor = -boxes[i].anchor
            total += 1
    heapify(boxes, total)
    return total


cdef inline Py_ssize_t find_boxes(const Ssd* ssd, const float* loc, const float* conf, const Py_ssize_t* ends,
                                  Py_ssize_t* counts, Box* boxes) noexcept nogil:
    """Writes the boxes of a picture by descending score, equal scores by class, then by prior; returns their number.

    ``boxes`` has the room that `count_candidates` returned; ``counts``, room for one number for each class, is overwritten.
    The candidates of all classes are visited best first until ``keep_top_k`` boxes are kept: later ones rank below them.
    """
    cdef Py_ssize_t total = gather_boxes(ssd, conf, ends, counts, boxes)
    cdef Py_ssize_t left = total
    cdef Py_ssize_t kept = 0        # at the end of the room, in reverse
    cdef Py_ssize_t i
    cdef Box box
    while left > 0 and kept < ssd.keep_top_k:
        box = boxes[0]
        box.score = -box.score
        box.anchor = -box.anchor
        left -= 1
        boxes[0] = boxes[left]
        sift_down(boxes, left, 0)
        if (decode_prior(ssd, loc, box.anchor % ssd.priors, box.anchor // ssd.priors, &box)
                and not overlaps(boxes + total - kept, kept, &box, ssd.nms_threshold, False, 0.0)):
            kept += 1
            boxes[total - kept] = box
    for i in range(kept // 2):
        box = boxes[total - kept + i]
        boxes[total - kept + i] = boxes[total - 1 - i]
        boxes[total - 1 - i] = box
    memmove(boxes, boxes + total - kept, kept * sizeof(Box))
    if ssd.plus_one:
        for i in range(kept):
            boxes[i].x2 -= 1.0
            boxes[i].y2 -= 1.0
    return kept
