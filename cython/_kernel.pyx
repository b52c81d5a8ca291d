# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: auto_pickle=False, autotestdict=False, freethreading_compatible=True
"""Score, decode and NMS over whole blobs, and the fused pass of the three.

Private: `opencv_squeezedet.postprocess` checks shapes, types and values. This module checks only the lengths of buffers, for
memory safety.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport NAN, isfinite
from libc.stdlib cimport free, malloc, realloc

from opencv_squeezedet.anchors cimport (
    Corners, Head, Strides, anchor_box, anchor_score, calibrated_score, finite_deltas, raw_score,
)
from opencv_squeezedet.boxes cimport Box, clip
from opencv_squeezedet.candidates cimport boxes_needed, find_candidates, push, sort_boxes
from opencv_squeezedet.nms cimport Limits, run_nms, suppress
from opencv_squeezedet.ssd cimport Ssd, count_candidates, find_boxes

import numpy as np


# ---- the fused pass -----------------------------------------------------------------------------------------------------

cdef Py_ssize_t postprocess_blobs(const Head* head, const float* delta_bbox, const float* class_scores,
                                  const float* conf_scores, const Limits* limits, double class_bound,
                                  Box* boxes) noexcept nogil:
    cdef Limits raw = limits[0]
    cdef Py_ssize_t count
    cdef Py_ssize_t kept = 0
    cdef Py_ssize_t i, anchor, cell
    raw.score_threshold = raw_score(head, limits.score_threshold)
    limits = &raw
    count = find_candidates(head, delta_bbox, class_scores, conf_scores, limits, class_bound, boxes)
    for i in range(count):
        anchor = boxes[i].anchor // head.classes if limits.multi_label else boxes[i].anchor
        cell = anchor // head.per_cell
        anchor_box(head, delta_bbox, cell, anchor - cell * head.per_cell, &boxes[i])
    count = run_nms(boxes, count, limits, head.iou_epsilon)
    for i in range(count):
        boxes[i].score = calibrated_score(head, boxes[i].score)
    if limits.multi_label:
        for i in range(count):
            boxes[i].anchor = boxes[i].anchor // head.classes
    if not limits.drop_empty:
        return count
    for i in range(count):
        if not boxes[i].empty:
            boxes[kept] = boxes[i]
            kept += 1
    return kept


# ---- what Python calls --------------------------------------------------------------------------------------------------

cdef int _open(object array, Py_buffer* view, Py_ssize_t length, Py_ssize_t item_size, bint writable=False) except -1:
    """Opens a contiguous buffer of ``length`` items of ``item_size`` bytes; its shape is not checked."""
    PyObject_GetBuffer(array, view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    if view.len != length * item_size:
        size = view.len
        PyBuffer_Release(view)
        raise ValueError(f"a buffer of {length * item_size} bytes was expected, got {size}")
    return 0


cdef object _new(object shape, object dtype, Py_buffer* view, Py_ssize_t length, Py_ssize_t item_size):
    """An uninitialised array, and its buffer opened for writing."""
    array = np.empty(shape, dtype)
    _open(array, view, length, item_size, True)
    return array


_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)
_INT32 = np.dtype(np.int32)
_INTP = np.dtype(np.intp)


cdef Limits _limits(object record) except *:
    """The struct for an `opencv_squeezedet.options.Limits`, whose fields are in the same order."""
    cdef Limits limits
    if not isinstance(record, tuple):
        raise TypeError(f"limits must be Limits, got {record!r}")
    (limits.score_threshold, limits.nms_threshold, limits.nms_kind, limits.soft_sigma, limits.vote_threshold,
     limits.cross_class_threshold, limits.top_n, limits.class_agnostic, limits.multi_label, limits.drop_empty) = <tuple>record
    return limits


cdef tuple _to_arrays(const Box* boxes, Py_ssize_t count, object placement):
    """Boxes as (count, 4) float32 xyxy in picture pixels, clipped to the picture; (count,) float32 scores; int32 classes."""
    cdef Py_buffer xyxy_view, score_view, class_view
    cdef double left, top, x_factor, y_factor, width, height
    cdef float* xyxy
    cdef Py_ssize_t i
    left, top, x_factor, y_factor, width, height = placement
    xyxy_array = _new((count, 4), _FLOAT32, &xyxy_view, 4 * count, 4)
    PyBuffer_Release(&xyxy_view)    # the array keeps the memory alive
    score_array = _new(count, _FLOAT32, &score_view, count, 4)
    PyBuffer_Release(&score_view)
    class_array = _new(count, _INT32, &class_view, count, 4)
    PyBuffer_Release(&class_view)
    for i in range(count):
        xyxy = <float*>xyxy_view.buf + 4 * i
        xyxy[0] = <float>clip((boxes[i].x1 - left) * x_factor, 0.0, width)
        xyxy[1] = <float>clip((boxes[i].y1 - top) * y_factor, 0.0, height)
        xyxy[2] = <float>clip((boxes[i].x2 - left) * x_factor, 0.0, width)
        xyxy[3] = <float>clip((boxes[i].y2 - top) * y_factor, 0.0, height)
        (<float*>score_view.buf)[i] = <float>boxes[i].score
        (<int*>class_view.buf)[i] = boxes[i].class_id
    return xyxy_array, score_array, class_array


cdef double* _pairs(tuple pairs) except NULL:
    """Pairs of numbers, flattened, in memory that the caller frees."""
    cdef Py_ssize_t i
    cdef double* values = <double*>malloc(max(2 * len(pairs), 1) * sizeof(double))
    if values == NULL:
        raise MemoryError
    for i in range(len(pairs)):
        values[2 * i], values[2 * i + 1] = pairs[i]
    return values


cdef class HeadKernel:
    """The conventions of a head in the kernel's form; see `opencv_squeezedet.HeadConfig` for their meaning.

    Blobs are C-contiguous float32 buffers whose lengths are those of the head's blobs.
    """
    def __cinit__(self, *, tuple input_size, tuple grid, tuple anchors, Py_ssize_t classes, bint first_axis_is_x,
                  bint inner_centers, bint height_first, double exp_threshold, int corners, double iou_epsilon, bint planes,
                  bint activated, tuple score_calibration):
        cdef Head* head = &self.head
        cdef Py_ssize_t per_cell = len(anchors)
        cdef Py_ssize_t cells
        head.width, head.height = input_size
        head.n0, head.n1 = grid
        cells = head.n0 * head.n1
        self.anchors = cells * per_cell
        self.anchors_wh = _pairs(anchors)
        self.score_calibration = _pairs(score_calibration)
        head.anchors_wh = self.anchors_wh
        head.per_cell = per_cell
        head.classes = classes
        head.first_axis_is_x = first_axis_is_x
        head.inner_centers = inner_centers
        head.height_first = height_first
        head.activated = activated
        head.exp_threshold = exp_threshold
        head.corners = <Corners>corners
        head.iou_epsilon = iou_epsilon
        head.score_calibration = self.score_calibration
        head.calibration_points = len(score_calibration)
        if planes:      # (channels, n0, n1)
            head.delta = Strides(cell=1, anchor=4 * cells, item=cells)
            head.class_ = Strides(cell=1, anchor=classes * cells, item=cells)
            head.conf = Strides(cell=1, anchor=cells, item=0)
        else:           # (n0, n1, channels)
            head.delta = Strides(cell=4 * per_cell, anchor=4, item=1)
            head.class_ = Strides(cell=classes * per_cell, anchor=classes, item=1)
            head.conf = Strides(cell=per_cell, anchor=1, item=0)

    def __dealloc__(self):
        free(self.anchors_wh)
        free(self.score_calibration)

    cdef Box* _run(self, object delta_bbox, object class_scores, object conf_scores, Py_ssize_t pictures, const Limits* limits,
                   double class_bound, Py_ssize_t* counts) except NULL:
        """The boxes of all pictures, concatenated, in memory that the caller frees; ``counts`` receives the number in each."""
        cdef Py_buffer delta, classes, conf
        cdef Py_ssize_t room = boxes_needed(&self.head, limits)
        cdef Py_ssize_t capacity = room
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t i
        cdef Box* boxes = NULL
        cdef Box* larger
        cdef Py_ssize_t n_classes = self.head.classes
        _open(delta_bbox, &delta, pictures * self.anchors * 4, 4)
        try:
            _open(class_scores, &classes, pictures * self.anchors * n_classes, 4)
            try:
                _open(conf_scores, &conf, pictures * self.anchors, 4)
                with nogil:
                    boxes = <Box*>malloc(capacity * sizeof(Box))
                    i = 0
                    while boxes != NULL and i < pictures:
                        if capacity - used < room:
                            capacity = 2 * capacity + room
                            larger = <Box*>realloc(boxes, capacity * sizeof(Box))
                            if larger == NULL:
                                free(boxes)
                            boxes = larger
                            continue
                        counts[i] = postprocess_blobs(
                            &self.head, <const float*>delta.buf + i * self.anchors * 4,
                            <const float*>classes.buf + i * self.anchors * n_classes,
                            <const float*>conf.buf + i * self.anchors, limits, class_bound, boxes + used)
                        used += counts[i]
                        i += 1
                PyBuffer_Release(&conf)
            finally:
                PyBuffer_Release(&classes)
        finally:
            PyBuffer_Release(&delta)
        if boxes == NULL:
            raise MemoryError
        return boxes

    def postprocess(self, delta_bbox, class_scores, conf_scores, limits, placement, double class_bound=0.0):
        """One picture: float32 (n, 4) xyxy, float32 (n,) and int32 (n,), best first.

        ``placement`` (left, top, x_factor, y_factor, width, height) is the picture's position in the network's input: corners
        are returned as ((x - left) * x_factor, (y - top) * y_factor), clipped to the picture. A ``class_bound`` above 0 is an
        upper bound of |class score| that the caller guarantees; 0 computes it.
        """
        cdef Limits own = _limits(limits)
        cdef Py_ssize_t count
        cdef Box* boxes = self._run(delta_bbox, class_scores, conf_scores, 1, &own, class_bound, &count)
        try:
            return _to_arrays(boxes, count, placement)
        finally:
            free(boxes)

    def postprocess_batch(self, delta_bbox, class_scores, conf_scores, limits, list placements):
        """The result of `postprocess` for each picture."""
        cdef Limits own = _limits(limits)
        cdef Py_ssize_t pictures = len(placements)
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t i
        cdef Box* boxes = NULL
        cdef Py_ssize_t* counts = <Py_ssize_t*>malloc(pictures * sizeof(Py_ssize_t))
        if counts == NULL:
            raise MemoryError
        results = []
        try:
            boxes = self._run(delta_bbox, class_scores, conf_scores, pictures, &own, 0.0, counts)
            for i in range(pictures):
                results.append(_to_arrays(boxes + used, counts[i], placements[i]))
                used += counts[i]
        finally:
            free(boxes)
            free(counts)
        return results

    def infer(self, delta_bbox, class_scores, conf_scores, limits):
        """One picture for `InferBbox`: (x1, y1, x2, y2, class, score) in double precision, best first."""
        cdef Limits own = _limits(limits)
        cdef Py_ssize_t count, i
        cdef Box* boxes = self._run(delta_bbox, class_scores, conf_scores, 1, &own, 0.0, &count)
        try:
            return [(boxes[i].x1, boxes[i].y1, boxes[i].x2, boxes[i].y2, boxes[i].class_id, boxes[i].score)
                    for i in range(count)]
        finally:
            free(boxes)

    def decode(self, delta_bbox):
        """All boxes, (anchors, 4) float32 xyxy; NaN if a delta is not finite."""
        cdef Py_buffer delta, out
        cdef Py_ssize_t cell, k
        cdef float* xyxy
        cdef Box box
        result = _new((self.anchors, 4), _FLOAT32, &out, 4 * self.anchors, 4)
        PyBuffer_Release(&out)
        _open(delta_bbox, &delta, 4 * self.anchors, 4)
        with nogil:
            xyxy = <float*>out.buf
            for cell in range(self.head.n0 * self.head.n1):
                for k in range(self.head.per_cell):
                    if finite_deltas(&self.head, <const float*>delta.buf, cell, k):
                        anchor_box(&self.head, <const float*>delta.buf, cell, k, &box)
                    else:
                        box.x1 = box.y1 = box.x2 = box.y2 = NAN
                    xyxy[0] = <float>box.x1
                    xyxy[1] = <float>box.y1
                    xyxy[2] = <float>box.x2
                    xyxy[3] = <float>box.y2
                    xyxy += 4
        PyBuffer_Release(&delta)
        return result

    def score(self, class_scores, conf_scores):
        """Best score and class of all anchors, (anchors,) float64 and int32; NaN and -1 if an input is not finite."""
        cdef Py_buffer classes, conf, score_out, class_out
        cdef Py_ssize_t cell, k, anchor
        scores = _new(self.anchors, _FLOAT64, &score_out, self.anchors, 8)
        PyBuffer_Release(&score_out)
        class_ids = _new(self.anchors, _INT32, &class_out, self.anchors, 4)
        PyBuffer_Release(&class_out)
        _open(class_scores, &classes, self.anchors * self.head.classes, 4)
        try:
            _open(conf_scores, &conf, self.anchors, 4)
            with nogil:
                for cell in range(self.head.n0 * self.head.n1):
                    for k in range(self.head.per_cell):
                        anchor = cell * self.head.per_cell + k
                        (<double*>score_out.buf)[anchor] = anchor_score(
                            &self.head, <const float*>classes.buf, <const float*>conf.buf, cell, k,
                            <int*>class_out.buf + anchor)
            PyBuffer_Release(&conf)
        finally:
            PyBuffer_Release(&classes)
        return scores, class_ids


def nms(const double[:, ::1] xyxy, const double[::1] scores, const int[::1] class_ids, limits):
    """Indices (intp) and scores (float64) of the kept boxes, best first; boxes and scores that are not finite are dropped.

    ``class_ids`` None: all boxes have the same class.
    """
    cdef Limits own = _limits(limits)
    cdef Py_ssize_t total = scores.shape[0]
    cdef Py_ssize_t room = max(min(own.top_n, total), 1)
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t i
    cdef bint one_class = class_ids is None
    cdef Py_buffer index_view, score_view
    cdef Box box
    cdef Box* boxes = <Box*>malloc(room * sizeof(Box))
    if boxes == NULL:
        raise MemoryError
    try:
        with nogil:
            for i in range(total):
                box = Box(xyxy[i, 0], xyxy[i, 1], xyxy[i, 2], xyxy[i, 3], scores[i], i, 0, False)
                if not one_class:
                    box.class_id = class_ids[i]
                if (isfinite(box.x1) and isfinite(box.y1) and isfinite(box.x2) and isfinite(box.y2)
                        and isfinite(box.score)):
                    count = push(boxes, count, room, &box)
            sort_boxes(boxes, count)
            count = suppress(boxes, count, &own, 0.0)
        indices = _new(count, _INTP, &index_view, count, sizeof(Py_ssize_t))
        PyBuffer_Release(&index_view)
        kept_scores = _new(count, _FLOAT64, &score_view, count, 8)
        PyBuffer_Release(&score_view)
        for i in range(count):
            (<Py_ssize_t*>index_view.buf)[i] = boxes[i].anchor
            (<double*>score_view.buf)[i] = boxes[i].score
        return indices, kept_scores
    finally:
        free(boxes)


def ssd(loc, conf, prior, variance, Py_ssize_t pictures, Py_ssize_t priors, Py_ssize_t classes, Py_ssize_t background,
        bint shared, bint center_size, bint clipped, bint plus_one, double score_threshold, double nms_threshold,
        Py_ssize_t top_k, Py_ssize_t keep_top_k):
    """Rows of `opencv_squeezedet.ssd_postprocess`, a float32 array (n, 7) for each picture; ``variance`` may be None."""
    cdef Py_buffer loc_view, conf_view, prior_view, variance_view, row_view
    cdef Ssd options
    cdef Py_ssize_t picture, i
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t values = 4 * priors * (1 if shared else classes)
    cdef Box* boxes = NULL
    cdef Py_ssize_t* ends = <Py_ssize_t*>malloc(max(2 * classes, 1) * sizeof(Py_ssize_t))
    cdef float* row
    if ends == NULL:
        raise MemoryError
    rows = []
    try:
        _open(loc, &loc_view, pictures * values, 4)
        PyBuffer_Release(&loc_view)     # the argument keeps the memory alive
        _open(conf, &conf_view, pictures * priors * classes, 4)
        PyBuffer_Release(&conf_view)
        _open(prior, &prior_view, 4 * priors, 4)
        PyBuffer_Release(&prior_view)
        variance_view.buf = NULL
        if variance is not None:
            _open(variance, &variance_view, 4 * priors, 4)
            PyBuffer_Release(&variance_view)
        options = Ssd(
            priors=priors, classes=classes, background=background, prior=<const float*>prior_view.buf,
            variance=<const float*>variance_view.buf, shared=shared, center_size=center_size, clipped=clipped,
            plus_one=plus_one, score_threshold=<float>score_threshold, nms_threshold=nms_threshold,
            top_k=top_k, keep_top_k=keep_top_k)
        for picture in range(pictures):
            with nogil:
                count = count_candidates(&options, <const float*>conf_view.buf + picture * priors * classes, ends)
                boxes = <Box*>malloc(max(count, 1) * sizeof(Box))
                if boxes != NULL:
                    count = find_boxes(&options, <const float*>loc_view.buf + picture * values,
                                       <const float*>conf_view.buf + picture * priors * classes, ends, ends + classes, boxes)
            if boxes == NULL:
                raise MemoryError
            rows.append(_new((count, 7), _FLOAT32, &row_view, 7 * count, 4))
            row = <float*>row_view.buf
            PyBuffer_Release(&row_view)
            for i in range(count):
                row[0] = <float>picture
                row[1] = boxes[i].class_id
                row[2] = <float>boxes[i].score
                row[3] = <float>boxes[i].x1
                row[4] = <float>boxes[i].y1
                row[5] = <float>boxes[i].x2
                row[6] = <float>boxes[i].y2
                row += 7
            free(boxes)
            boxes = NULL
        return rows
    finally:
        free(boxes)
        free(ends)
