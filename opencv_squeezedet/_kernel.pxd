"""The fused pass from the three blobs to the final boxes, for any Cython program.

    from opencv_squeezedet._kernel cimport HeadKernel, postprocess_blobs
    from opencv_squeezedet.boxes cimport Box
    from opencv_squeezedet.nms cimport Limits, default_limits
    import opencv_squeezedet as sd

    cdef HeadKernel kernel = sd.VOC.kernel
    cdef Box[64] boxes
    cdef Limits limits = default_limits()
    limits.score_threshold = 0.4
    with nogil:
        count = postprocess_blobs(&kernel.head, delta_bbox, class_scores, conf_scores, &limits, 0.0, boxes)

GIL-free; validates nothing, allocates nothing.
"""
from opencv_squeezedet.anchors cimport Head
from opencv_squeezedet.boxes cimport Box
from opencv_squeezedet.nms cimport Limits

# `boxes` has room for `opencv_squeezedet.candidates.boxes_needed`: top_n, or twice as many with voting or multi_label. Returns
# the number of boxes, which are sorted best first.
# `class_bound`: an upper bound of |class score| if the caller knows one (1 for a softmax), or 0 to compute it.
cdef Py_ssize_t postprocess_blobs(const Head* head, const float* delta_bbox, const float* class_scores,
                                  const float* conf_scores, const Limits* limits, double class_bound,
                                  Box* boxes) noexcept nogil

# A head in the kernel's form; in Python, `HeadConfig.kernel`.
cdef class HeadKernel:
    cdef Head head
    cdef double* anchors_wh
    cdef double* score_calibration
    cdef readonly Py_ssize_t anchors    # in the whole grid
    cdef Box* _run(self, object delta_bbox, object class_scores, object conf_scores, Py_ssize_t pictures,
                   const Limits* limits, double class_bound, Py_ssize_t* counts) except NULL
