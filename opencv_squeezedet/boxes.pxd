# cython: cdivision=True
"""Box arithmetic, for any Cython program: ``from opencv_squeezedet.boxes cimport Box, iou_xyxy``.

Header only: everything here is inlined where it is cimported. Nothing needs the GIL, allocates or checks its arguments.
Coordinates are double pixels, x to the right and y down, in the order x1, y1, x2, y2.
"""

cdef struct Box:
    double x1
    double y1
    double x2
    double y2
    double score        # confidence x class score
    Py_ssize_t anchor   # breaks ties between equal scores: the lower index comes first
    int class_id
    bint empty          # x2 <= x1 or y2 <= y1, before any +1 of a corner rule


cdef inline bint comes_before(const Box* a, const Box* b) noexcept nogil:
    """Whether ``a`` ranks above ``b``: by descending score, then by ascending anchor."""
    return a.score > b.score or (a.score == b.score and a.anchor < b.anchor)


cdef inline double clip(double value, double low, double high) noexcept nogil:
    """``value`` clamped to [low, high]; NaN gives ``low``."""
    return high if value > high else (value if value > low else low)


cdef inline double iou_xyxy(const Box* a, const Box* b, double epsilon) noexcept nogil:
    """Intersection over (union + epsilon), a side being x2 - x1 (no +1); 0 for disjoint boxes.

    The order of operations is that of ``cv::dnn_objdetect::InferBbox::intersection_over_union``.
    """
    cdef double width = min(a.x2, b.x2) - max(a.x1, b.x1)
    cdef double height = min(a.y2, b.y2) - max(a.y1, b.y1)
    cdef double intersection
    if width <= 0.0 or height <= 0.0:
        return 0.0
    intersection = width * height
    return intersection / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - intersection + epsilon)
