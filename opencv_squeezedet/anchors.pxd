# cython: cdivision=True
"""The arithmetic of one anchor, for any Cython program: its score and its box.

Header only, GIL-free, unchecked. All arithmetic that decides a result is in double precision; blobs are contiguous float32.
"""
from libc.math cimport INFINITY, NAN, exp, isfinite

from opencv_squeezedet.boxes cimport Box, clip

cdef enum Corners:
    PLAIN                   # centre -+ size / 2, clipped to [0, length - 1]
    PLUS_ONE_AFTER_CLIP     # as PLAIN, then x2 + 1 and y2 + 1 (TensorFlow original)
    MINUS_ONE_BEFORE_CLIP   # centre -+ (size - 1) / 2, then clipped (PyTorch port)


# Distances in a blob, in floats.
cdef struct Strides:
    Py_ssize_t cell         # from one grid cell to the next; the second axis varies fastest
    Py_ssize_t anchor       # from one anchor of a cell to the next
    Py_ssize_t item         # from one delta, or class, of an anchor to the next


# The conventions of a head. Anchor a = (i * n1 + j) * per_cell + k; i, j: position on the first and second grid axis.
cdef struct Head:
    Py_ssize_t n0                   # cells along the first axis
    Py_ssize_t n1                   # cells along the second axis
    Py_ssize_t per_cell             # anchors in a cell
    Py_ssize_t classes
    double width                    # network input, pixels
    double height
    const double* anchors_wh        # per_cell pairs (width, height), pixels; owned by the caller
    bint first_axis_is_x            # the first grid axis gives x, not y
    bint inner_centers              # (i + 1) * length / (n + 1), not (i + 0.5) * length / n
    bint height_first               # deltas in the order x, y, h, w, not x, y, w, h
    bint activated                  # class and conf blobs hold probabilities, not logits
    double exp_threshold            # above this delta, the exponential is replaced by its tangent; INFINITY: never
    Corners corners
    double iou_epsilon
    const double* score_calibration  # calibration_points pairs (raw, calibrated score), rising in (0, 1); owned by the caller
    Py_ssize_t calibration_points   # 0: scores are not calibrated
    Strides delta
    Strides class_
    Strides conf


cdef inline double interpolate(const double* pairs, Py_ssize_t count, int source, double value) noexcept nogil:
    """Maps ``value`` by the piecewise linear curve from (0, 0) through rising pairs to (1, 1).

    ``source`` 0 maps x to y, 1 maps y to x. A value outside (0, 1) is returned unchanged.
    """
    cdef double x0 = 0.0, y0 = 0.0, x1 = 1.0, y1 = 1.0
    cdef Py_ssize_t i
    if not 0.0 < value < 1.0:
        return value
    for i in range(count):
        if value < pairs[2 * i + source]:
            x1 = pairs[2 * i + source]
            y1 = pairs[2 * i + 1 - source]
            break
        x0 = pairs[2 * i + source]
        y0 = pairs[2 * i + 1 - source]
    return y0 + (value - x0) * (y1 - y0) / (x1 - x0)


cdef inline double calibrated_score(const Head* head, double score) noexcept nogil:
    """The calibrated score for a raw one, confidence x class score."""
    return interpolate(head.score_calibration, head.calibration_points, 0, score) if head.calibration_points else score


cdef inline double raw_score(const Head* head, double score) noexcept nogil:
    """The raw score, confidence x class score, for a calibrated one."""
    return interpolate(head.score_calibration, head.calibration_points, 1, score) if head.calibration_points else score


cdef inline double anchor_center(Py_ssize_t i, Py_ssize_t n, double length, bint inner) noexcept nogil:
    """Centre of position ``i`` of ``n`` along an axis of ``length`` pixels; multiplies first, as InferBbox does."""
    if inner:
        return (i + 1) * length / (n + 1)
    return (i + 0.5) * length / n


cdef inline double safe_exp(double delta, double threshold) noexcept nogil:
    """e^d up to the threshold, its tangent e^T * (d - T + 1) above (``safe_exp`` of the SqueezeDet original)."""
    if delta <= threshold:
        return exp(delta)
    return exp(threshold) * (delta - threshold + 1.0)


cdef inline bint finite_deltas(const Head* head, const float* delta, Py_ssize_t cell, Py_ssize_t k) noexcept nogil:
    """Whether the four deltas of anchor ``k`` of ``cell`` are finite."""
    cdef const float* d = delta + cell * head.delta.cell + k * head.delta.anchor
    cdef Py_ssize_t item
    for item in range(4):
        if not isfinite(d[item * head.delta.item]):
            return False
    return True


cdef inline void anchor_box(const Head* head, const float* delta, Py_ssize_t cell, Py_ssize_t k, Box* box) noexcept nogil:
    """Writes the corners of anchor ``k`` of ``cell`` from its (finite) deltas, and whether they are empty."""
    cdef const float* d = delta + cell * head.delta.cell + k * head.delta.anchor
    cdef Py_ssize_t i = cell // head.n1
    cdef Py_ssize_t j = cell - i * head.n1
    cdef Py_ssize_t step = head.delta.item
    cdef double dw = d[(3 if head.height_first else 2) * step]
    cdef double dh = d[(2 if head.height_first else 3) * step]
    cdef double anchor_w = head.anchors_wh[2 * k]
    cdef double anchor_h = head.anchors_wh[2 * k + 1]
    cdef double x, y, width, height
    if head.first_axis_is_x:
        x = anchor_center(i, head.n0, head.width, head.inner_centers)
        y = anchor_center(j, head.n1, head.height, head.inner_centers)
    else:
        x = anchor_center(j, head.n1, head.width, head.inner_centers)
        y = anchor_center(i, head.n0, head.height, head.inner_centers)
    x = x + anchor_w * d[0]
    y = y + anchor_h * d[step]
    width = anchor_w * safe_exp(dw, head.exp_threshold)
    height = anchor_h * safe_exp(dh, head.exp_threshold)
    if head.corners == MINUS_ONE_BEFORE_CLIP:
        width -= 1.0
        height -= 1.0
    box.x1 = clip(x - width / 2, 0.0, head.width - 1)
    box.y1 = clip(y - height / 2, 0.0, head.height - 1)
    box.x2 = clip(x + width / 2, 0.0, head.width - 1)
    box.y2 = clip(y + height / 2, 0.0, head.height - 1)
    box.empty = box.x2 <= box.x1 or box.y2 <= box.y1
    if head.corners == PLUS_ONE_AFTER_CLIP:
        box.x2 += 1.0
        box.y2 += 1.0


cdef inline double anchor_score(const Head* head, const float* class_scores, const float* conf_scores,
                                Py_ssize_t cell, Py_ssize_t k, int* class_id) noexcept nogil:
    """The highest confidence x class score of anchor ``k`` of ``cell``; its class (the first maximum) goes to ``class_id``.

    NAN, and class -1, if the confidence or a class score is not finite.
    """
    cdef const float* scores = class_scores + cell * head.class_.cell + k * head.class_.anchor
    cdef Py_ssize_t step = head.class_.item
    cdef double conf = conf_scores[cell * head.conf.cell + k * head.conf.anchor]
    cdef double sign = -1.0 if head.activated and conf < 0.0 else 1.0   # a negative confidence reverses the order
    cdef double best = -INFINITY
    cdef double value, total
    cdef Py_ssize_t c
    class_id[0] = -1
    if not isfinite(conf):
        return NAN
    for c in range(head.classes):
        value = sign * scores[c * step]
        if not isfinite(value):
            class_id[0] = -1
            return NAN
        if value > best:
            best = value
            class_id[0] = <int>c
    if head.activated:
        if conf == 0.0:
            class_id[0] = 0     # all products are equal
        return conf * (sign * best)     # two floats multiply exactly in double
    total = 0.0
    for c in range(head.classes):
        total += exp(scores[c * step] - best)
    return (1.0 / (1.0 + exp(-conf))) / total


cdef inline double class_score(const Head* head, const float* class_scores, const float* conf_scores, Py_ssize_t cell,
                               Py_ssize_t k, Py_ssize_t c, double best, Py_ssize_t best_class) noexcept nogil:
    """The score of class ``c`` of anchor ``k`` of ``cell``, for which `anchor_score` gave a finite ``best``."""
    cdef const float* scores = class_scores + cell * head.class_.cell + k * head.class_.anchor
    cdef Py_ssize_t step = head.class_.item
    if head.activated:
        return <double>conf_scores[cell * head.conf.cell + k * head.conf.anchor] * scores[c * step]
    return best * exp(<double>scores[c * step] - scores[best_class * step])
