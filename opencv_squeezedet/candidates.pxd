# cython: cdivision=True
"""Finds the candidates for NMS, the top-n scores above the score threshold; most anchors are skipped by their confidence.

Header only, GIL-free, unchecked; nothing allocates. Candidates are kept in a heap whose root ranks lowest.
"""
from libc.math cimport INFINITY, NAN, fabsf, log
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset

from opencv_squeezedet.anchors cimport Head, anchor_score, class_score, finite_deltas
from opencv_squeezedet.boxes cimport Box, comes_before
from opencv_squeezedet.nms cimport Limits, votes

cdef enum:
    BLOCK = 64      # floats tested at a time


# ---- the heap -----------------------------------------------------------------------------------------------------------

cdef inline void sift_down(Box* heap, Py_ssize_t count, Py_ssize_t at) noexcept nogil:
    """Moves the box at ``at`` down to its position in a heap whose parents rank below their children."""
    cdef Box box = heap[at]
    cdef Py_ssize_t child
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        if child + 1 < count and comes_before(&heap[child], &heap[child + 1]):
            child += 1
        if not comes_before(&box, &heap[child]):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = box


cdef inline void heapify(Box* boxes, Py_ssize_t count) noexcept nogil:
    """Arranges boxes as a heap."""
    cdef Py_ssize_t at
    for at in range(count // 2 - 1, -1, -1):
        sift_down(boxes, count, at)


cdef inline void sort_heap(Box* heap, Py_ssize_t count) noexcept nogil:
    """Sorts a heap, best first."""
    cdef Box worst
    while count > 1:
        count -= 1
        worst = heap[0]
        heap[0] = heap[count]
        heap[count] = worst
        sift_down(heap, count, 0)


cdef inline Py_ssize_t push(Box* heap, Py_ssize_t count, Py_ssize_t room, const Box* box) noexcept nogil:
    """Adds the box if it ranks among the best ``room``; returns the new count."""
    if count < room:
        heap[count] = box[0]
        count += 1
        if count == room:
            heapify(heap, count)    # not needed before it is full
    elif comes_before(box, &heap[0]):
        heap[0] = box[0]
        sift_down(heap, count, 0)
    return count


cdef inline void sort_boxes(Box* boxes, Py_ssize_t count) noexcept nogil:
    """Sorts boxes, best first."""
    heapify(boxes, count)
    sort_heap(boxes, count)


# ---- skipping anchors by their confidence -------------------------------------------------------------------------------

cdef inline double magnitude_bound(const float* values, Py_ssize_t count) noexcept nogil:
    """An upper bound of the values' magnitude, below 2 for values in [-1, 1]; not finite if a value is not finite.

    Non-negative floats are ordered as their bit patterns, and a bitwise OR is at least each of its terms: one load and one
    OR per value. Independent lanes let the compiler keep them in vector registers.
    """
    cdef uint32_t[BLOCK] lanes
    cdef uint32_t seen = 0
    cdef uint32_t bits
    cdef float bound
    cdef Py_ssize_t block, i
    memset(lanes, 0, sizeof(lanes))
    for block in range(count // BLOCK):
        for i in range(BLOCK):
            memcpy(&bits, values + block * BLOCK + i, 4)
            lanes[i] |= bits
    for i in range(BLOCK):
        seen |= lanes[i]
    for i in range(count - count % BLOCK, count):
        memcpy(&bits, values + i, 4)
        seen |= bits
    seen &= 0x7fffffff
    memcpy(&bound, &seen, 4)
    return bound


cdef inline float confidence_cutoff(const Head* head, double class_bound, double threshold) noexcept nogil:
    """The confidence (magnitude or logit) up to which no score exceeds ``threshold``; NAN or -INFINITY if there is none.

    Smaller than the exact value by more than any rounding error, so that exact scores decide borderline anchors.
    """
    cdef double cutoff
    if threshold < 0.0:
        return -INFINITY
    if head.activated:
        cutoff = threshold / class_bound * (1.0 - 1e-6)
        return <float>cutoff if cutoff > 1e-30 else (NAN if cutoff != cutoff else 0.0)
    if threshold == 0.0:
        return -INFINITY
    threshold = min(threshold, 1.0 - 1e-9)  # closer to 1, many logits give the same score
    cutoff = log(threshold / (1.0 - threshold))
    return <float>(cutoff - 1e-6 * (1.0 + abs(cutoff)))


cdef inline bint below_cutoff(float conf, float cutoff, bint activated) noexcept nogil:
    """Whether the confidence is at most the cut-off; false for NaN, which the exact path removes."""
    return (fabsf(conf) if activated else conf) <= cutoff


cdef inline bint any_above(const float* conf, Py_ssize_t count, float cutoff, bint activated) noexcept nogil:
    """Whether any confidence is above the cut-off, or NaN."""
    cdef int above = 0
    cdef Py_ssize_t i
    if activated:
        for i in range(count):
            above |= not (fabsf(conf[i]) <= cutoff)
    else:
        for i in range(count):
            above |= not (conf[i] <= cutoff)
    return above != 0


cdef inline bint scores_below(const float* scores, Py_ssize_t count, float conf, double threshold) noexcept nogil:
    """Whether a positive confidence times every class score is below ``threshold``; scores are contiguous, NaN is ignored."""
    cdef float a = 0.0
    cdef float b = 0.0
    cdef float c = 0.0
    cdef float d = 0.0
    cdef Py_ssize_t i = 0
    while i + 4 <= count:
        a = scores[i] if scores[i] > a else a
        b = scores[i + 1] if scores[i + 1] > b else b
        c = scores[i + 2] if scores[i + 2] > c else c
        d = scores[i + 3] if scores[i + 3] > d else d
        i += 4
    while i < count:
        a = scores[i] if scores[i] > a else a
        i += 1
    return <double>conf * max(max(a, b), max(c, d)) < threshold


# ---- the candidates of one picture --------------------------------------------------------------------------------------

cdef inline Py_ssize_t max_candidates(const Head* head, const Limits* limits) noexcept nogil:
    """The largest possible number of candidates in a picture."""
    return min(limits.top_n, head.n0 * head.n1 * head.per_cell * (head.classes if limits.multi_label else 1))


cdef inline Py_ssize_t boxes_needed(const Head* head, const Limits* limits) noexcept nogil:
    """The boxes `postprocess_blobs` needs room for: one for each candidate, or two with voting or ``multi_label``."""
    return max_candidates(head, limits) * (2 if limits.multi_label or votes(limits) else 1)


cdef inline Py_ssize_t gather(const Head* head, const float* delta_bbox, const float* class_scores, const float* conf_scores,
                              const Limits* limits, double class_bound, Box* heap) noexcept nogil:
    """Fills ``heap`` with the best ``top_n`` anchors (score, class and anchor only), in any order; returns their number.

    Once the heap is full, its worst score is the effective threshold.
    """
    cdef Py_ssize_t cells = head.n0 * head.n1
    cdef Py_ssize_t total = cells * head.per_cell
    cdef Py_ssize_t room = min(limits.top_n, total)
    cdef bint by_cell = head.conf.anchor == 1       # confidences in anchor order; else one plane of cells for each k
    cdef bint rows = head.activated and head.class_.item == 1
    cdef Py_ssize_t block, start, stop, at, cell, k
    cdef Py_ssize_t kept = 0
    cdef double score_threshold = limits.score_threshold
    cdef double threshold = score_threshold
    cdef float cutoff
    cdef Box box
    if class_bound <= 0.0 and head.activated:
        class_bound = magnitude_bound(class_scores, total * head.classes)
    cutoff = confidence_cutoff(head, class_bound, threshold)
    for block in range((total + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        stop = min(start + BLOCK, total)
        if not (any_above(conf_scores + start, BLOCK, cutoff, head.activated) if stop - start == BLOCK
                else any_above(conf_scores + start, stop - start, cutoff, head.activated)):
            continue
        for at in range(start, stop):
            if below_cutoff(conf_scores[at], cutoff, head.activated):
                continue
            if by_cell:
                cell = at // head.per_cell
                k = at - cell * head.per_cell
            else:
                k = at // cells
                cell = at - k * cells
            if (kept == room and rows and conf_scores[at] > 0.0
                    and scores_below(class_scores + at * head.classes, head.classes, conf_scores[at], threshold)):
                continue
            box.score = anchor_score(head, class_scores, conf_scores, cell, k, &box.class_id)
            if not box.score > score_threshold or not finite_deltas(head, delta_bbox, cell, k):
                continue
            box.anchor = cell * head.per_cell + k
            kept = push(heap, kept, room, &box)
            if kept == room and heap[0].score > threshold:
                threshold = heap[0].score
                cutoff = confidence_cutoff(head, class_bound, threshold)
    return kept


cdef inline Py_ssize_t gather_classes(const Head* head, const float* class_scores, const float* conf_scores,
                                      const Limits* limits, const Box* anchors, Py_ssize_t count, Box* heap) noexcept nogil:
    """Fills ``heap`` with the best ``top_n`` classes of the given anchors, in any order; returns their number.

    The best classes of all anchors belong to the best ``top_n`` anchors. A box's ``anchor`` is anchor * classes + class, by
    which equal scores rank.
    """
    cdef Py_ssize_t room = max_candidates(head, limits)
    cdef Py_ssize_t kept = 0
    cdef Py_ssize_t i, c, cell, k
    cdef Box box
    for i in range(count):
        cell = anchors[i].anchor // head.per_cell
        k = anchors[i].anchor - cell * head.per_cell
        for c in range(head.classes):
            box.score = class_score(head, class_scores, conf_scores, cell, k, c, anchors[i].score, anchors[i].class_id)
            if box.score > limits.score_threshold:
                box.anchor = anchors[i].anchor * head.classes + c
                box.class_id = <int>c
                kept = push(heap, kept, room, &box)
    return kept


cdef inline Py_ssize_t find_candidates(const Head* head, const float* delta_bbox, const float* class_scores,
                                       const float* conf_scores, const Limits* limits, double class_bound,
                                       Box* boxes) noexcept nogil:
    """Writes the candidates, best first (score, class and anchor only), and returns their number.

    ``boxes`` has room for `boxes_needed`; ``class_bound`` is an upper bound of |class score|, or 0 to compute it. With
    ``multi_label`` a box's ``anchor`` is anchor * classes + class, by which equal scores rank.
    """
    cdef Box* anchors = boxes + max_candidates(head, limits) if limits.multi_label else boxes
    cdef Py_ssize_t count = gather(head, delta_bbox, class_scores, conf_scores, limits, class_bound, anchors)
    if limits.multi_label:
        count = gather_classes(head, class_scores, conf_scores, limits, anchors, count, boxes)
    if count < max_candidates(head, limits):
        heapify(boxes, count)
    sort_heap(boxes, count)
    return count
