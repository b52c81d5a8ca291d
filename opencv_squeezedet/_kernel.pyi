import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from opencv_squeezedet.preprocess import Placement

_Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]
_Floats = NDArray[np.float32]
_Limits = tuple[float, float, int, float, float, float, int, bool, bool, bool]  # the fields of `options.Limits`

__pyx_capi__: dict[str, object]  # C functions that other modules can cimport

@disjoint_base
class HeadKernel:
    @property
    def anchors(self) -> int: ...
    def __new__(
        cls,
        *,
        input_size: tuple[int, int],
        grid: tuple[int, int],
        anchors: tuple[tuple[float, float], ...],
        classes: int,
        first_axis_is_x: bool,
        inner_centers: bool,
        height_first: bool,
        exp_threshold: float,
        corners: int,
        iou_epsilon: float,
        planes: bool,
        activated: bool,
        score_calibration: tuple[tuple[float, float], ...],
    ) -> HeadKernel: ...
    def postprocess(
        self,
        delta_bbox: _Floats,
        class_scores: _Floats,
        conf_scores: _Floats,
        limits: _Limits,
        placement: Placement,
        class_bound: float = 0.0,
    ) -> _Arrays: ...
    def postprocess_batch(
        self,
        delta_bbox: _Floats,
        class_scores: _Floats,
        conf_scores: _Floats,
        limits: _Limits,
        placements: list[Placement],
    ) -> list[_Arrays]: ...
    def infer(
        self,
        delta_bbox: _Floats,
        class_scores: _Floats,
        conf_scores: _Floats,
        limits: _Limits,
    ) -> list[tuple[float, float, float, float, int, float]]: ...
    def decode(self, delta_bbox: _Floats) -> NDArray[np.float32]: ...
    def score(self, class_scores: _Floats, conf_scores: _Floats) -> tuple[NDArray[np.float64], NDArray[np.int32]]: ...

def nms(
    xyxy: NDArray[np.float64],
    scores: NDArray[np.float64],
    class_ids: NDArray[np.int32] | None,
    limits: _Limits,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]: ...
def ssd(
    loc: _Floats,
    conf: _Floats,
    prior: _Floats,
    variance: _Floats | None,
    pictures: int,
    priors: int,
    classes: int,
    background: int,
    shared: bool,
    center_size: bool,
    clipped: bool,
    plus_one: bool,
    score_threshold: float,
    nms_threshold: float,
    top_k: int,
    keep_top_k: int,
) -> list[_Floats]: ...
