"""The fused pass from the three blobs to the final boxes, for any Cython program.

    from opencv_squeezedet._kernel cimport Box, HeadKernel, Limits, postprocess_blobs
    import opencv_squeezedet as sd

    cdef HeadKernel kernel = sd.VOC.kernel
    cdef Box[64] boxes
    cdef Limits limits = Limits(score_threshold=0.7, nms_threshold=0.1, top_n=64, greedy=False, class_agnostic=False,
                                drop_empty=True)
    with nogil:
        found = postprocess_blobs(&kernel.head, delta_bbox, class_scores, conf_scores, &limits, 0.0, boxes)

GIL-free; validates nothing, allocates nothing.
"""
from opencv_squeezedet.anchors cimport Head
from opencv_squeezedet.boxes cimport Box

cdef struct Limits:
    double score_threshold      # a box is reported when its score is above (strict); may be negative
    double nms_threshold        # in [0, 1]: a box goes when its IoU with a higher one is above (strict)
    Py_ssize_t top_n            # candidates before NMS, at least 1
    bint greedy                 # dropped boxes drop no others (False: they do, as in InferBbox)
    bint class_agnostic         # NMS across classes
    bint drop_empty             # remove empty boxes after NMS

# `boxes` has room for min(top_n, n0 * n1 * per_cell); returns how many are found, best first.
# `class_bound`: an upper bound of |class score| where the caller knows one (1 for a softmax), or 0 to have it found.
cdef Py_ssize_t postprocess_blobs(const Head* head, const float* delta_bbox, const float* class_scores,
                                  const float* conf_scores, const Limits* limits, double class_bound,
                                  Box* boxes) noexcept nogil

# A head in the form that the kernels take, as `HeadConfig.kernel` gives it to Python.
cdef class HeadKernel:
    cdef Head head
    cdef double* anchors_wh
    cdef readonly Py_ssize_t anchors    # in the whole grid
    cdef Box* _run(self, object delta_bbox, object class_scores, object conf_scores, Py_ssize_t pictures,
                   const Limits* limits, double class_bound, Py_ssize_t* counts) except NULL

# The last steps alone: sort `count` boxes, best first; drop those that a higher one overlaps. Returns how many are left.
cdef void sort_boxes(Box* boxes, Py_ssize_t count) noexcept nogil
cdef Py_ssize_t suppress(Box* boxes, Py_ssize_t count, double nms_threshold, bint greedy, bint class_agnostic,
                         double iou_epsilon) noexcept nogil
