"""Small networks of Caffe's files with random weights, and the shared material with OpenCV 4's answers."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from networks import random_weights
from numpy.typing import NDArray
from shared import DATA

from opencv_squeezedet.caffe.read import read
from opencv_squeezedet.formats import caffemodel_bytes
from opencv_squeezedet.formats.prototxt import parse_prototxt
from opencv_squeezedet.network import BatchNorm

Array = NDArray[Any]
FOLDER = DATA / "caffe"
HAS_IMPORTER = hasattr(cv2.dnn, "readNetFromCaffe")
OLDER = tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 14)
"""Whether some layers of this OpenCV give other values than those of 4.14, which the references have."""


def layer(kind: str, name: str, bottom: str, top: str = "", options: str = "") -> str:
    """One layer of a prototxt; its top is its name unless given, ``=`` its bottom; several are separated by spaces."""
    tops = bottom if top == "=" else top or name
    blobs = [f'bottom: "{one}"' for one in bottom.split()] + [f'top: "{one}"' for one in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(blobs)} {options} }}\n'


def inputs(**shapes: tuple[int, ...]) -> str:
    """The inputs of a prototxt."""
    dims = {name: " ".join(f"dim: {length}" for length in shape) for name, shape in shapes.items()}
    return "".join(f'input: "{name}" input_shape {{ {dim} }}\n' for name, dim in dims.items())


CONV = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"
CHAIN = (
    inputs(data=(1, 3, 12, 10))
    + layer("Convolution", "first", "data", "conv1", CONV)
    + layer("ReLU", "relu1", "conv1", "=")
    + layer("Pooling", "pool1", "conv1", "", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + layer("Convolution", "second", "pool1", "conv2", CONV)
    + layer("Scale", "scale", "conv2", "=", "scale_param { bias_term: true }")
    + layer("Slice", "slice", "conv2", "a b", "slice_param { axis: 1 slice_point: 1 }")
    + layer("Sigmoid", "sigmoid", "a")
    + layer("TanH", "last", "b")
)
"""Every layer's name is another than its top's, some work in place, one has two tops, and two have no readers."""

_PRIOR = "prior_box_param {{ min_size: {} aspect_ratio: 2 flip: true clip: false variance: 0.1 }}"
_FLAT = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
_HEAD = "convolution_param {{ num_output: {} kernel_size: 1 }}"
SSD = (
    inputs(data=(1, 3, 32, 40))
    + layer("Convolution", "conv", "data", "", "convolution_param { num_output: 4 kernel_size: 4 stride: 4 }")
    + layer("Convolution", "loc", "conv", "", _HEAD.format(12))
    + layer("Permute", "loc_perm", "loc", "", _FLAT)
    + layer("Flatten", "loc_flat", "loc_perm")
    + layer("Convolution", "conf", "conv", "", _HEAD.format(9))
    + layer("Permute", "conf_perm", "conf", "", _FLAT)
    + layer("Reshape", "conf_rows", "conf_perm", "", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }")
    + layer("Softmax", "softmax", "conf_rows", "", "softmax_param { axis: 2 }")
    + layer("Flatten", "conf_flat", "softmax")
    + layer("PriorBox", "prior", "conv data", "", _PRIOR.format(8))
    + layer(
        "DetectionOutput",
        "detection_out",
        "loc_flat conf_flat prior",
        "",
        "detection_output_param { num_classes: 3 share_location: true background_label_id: 0 code_type: CENTER_SIZE "
        "nms_param { nms_threshold: 0.45 top_k: 100 } keep_top_k: 60 confidence_threshold: 0.9 }",
    )
)


MANY = (
    inputs(data=(1, 4, 16, 20), rois=(2, 5))
    + layer("Convolution", "conv", "data", "", CONV)
    + layer("BatchNorm", "bn", "conv", "=")
    + layer("Scale", "scale", "conv", "=", "scale_param { bias_term: true }")
    + layer("PReLU", "prelu", "conv", "=")
    + layer("LRN", "lrn", "conv", "", "lrn_param { local_size: 3 alpha: 0.1 beta: 0.75 }")
    + layer("Pooling", "pool", "lrn", "", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }")
    + layer("Pooling", "max", "lrn", "", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    + layer("Deconvolution", "up", "max", "", "convolution_param { num_output: 4 kernel_size: 4 stride: 2 group: 4 pad: 1 }")
    + layer("Crop", "crop", "up max", "", "crop_param { axis: 2 offset: 1 }")
    + layer("Interp", "interp", "pool", "", "interp_param { height: 8 width: 10 }")
    + layer("Eltwise", "sum", "crop interp", "", "eltwise_param { operation: SUM coeff: 1 coeff: -1 }")
    + layer("Normalize", "norm", "sum", "", "norm_param { across_spatial: false channel_shared: false }")
    + layer("MVN", "mvn", "norm", "", "mvn_param { normalize_variance: true }")
    + layer("ShuffleChannel", "shuffle", "mvn", "", "shuffle_channel_param { group: 2 }")
    + layer("Power", "power", "shuffle", "", "power_param { power: 2 scale: 0.5 shift: 1 }")
    + layer("ELU", "elu", "power", "", "elu_param { alpha: 0.5 }")
    + layer("Slice", "slice", "elu", "s1 s2", "slice_param { axis: 1 slice_point: 1 }")
    + layer("Concat", "concat", "s2 s1", "", "concat_param { axis: 1 }")
    + layer("ROIPooling", "roi", "concat rois", "", "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }")
    + layer("InnerProduct", "fc", "roi", "", "inner_product_param { num_output: 6 }")
    + layer("Dropout", "drop", "fc", "=")
    + layer("Softmax", "prob", "fc")
    + layer("Reorg", "reorg", "concat", "", "reorg_param { stride: 2 }")
    + layer("BNLL", "bnll", "reorg")
    + layer("Flatten", "flat", "bnll")
)
"""One layer of most other kinds."""


def made(text: str, seed: int = 0) -> tuple[bytes, bytes]:
    """The prototxt and a caffemodel of random weights."""
    network = parse_prototxt(text.encode())
    weights = random_weights(network, seed)
    for step in network.weighted():
        if isinstance(step.layer, BatchNorm):
            mean, variance, _ = weights[step.layer.name]
            weights[step.layer.name] = [mean, np.abs(variance) + 1, np.ones(1, np.float32)]
    return text.encode(), caffemodel_bytes(network, weights)


def written(folder: Path, text: str, seed: int = 0) -> tuple[Path, Path]:
    """The paths of both files."""
    paths = folder / "deploy.prototxt", folder / "net.caffemodel"
    for path, content in zip(paths, made(text, seed), strict=True):
        path.write_bytes(content)
    return paths


def own(definition: bytes, weights: bytes | None = None) -> Any:
    """The package's network."""
    return read(definition, weights)


def opencv(definition: bytes, weights: bytes | None = None) -> Any:
    """That of OpenCV 4."""
    contents = [np.frombuffer(content, np.uint8) for content in (definition, weights) if content is not None]
    return cv2.dnn.readNetFromCaffe(*contents)


ENGINES = [
    pytest.param(own, id="own"),
    pytest.param(opencv, id="opencv", marks=pytest.mark.skipif(not HAS_IMPORTER, reason="this OpenCV has no importer")),
]
"""What the tests of behaviour run on: with OpenCV 4 they check themselves."""


def a_blob(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---- the shared material ------------------------------------------------------------------------------------------------


@cache
def material(name: str) -> ModuleType:
    """A module of the shared folder, where names of modules are those of this folder too."""
    known = sys.modules.get("reference")
    sys.path.insert(0, str(FOLDER))
    try:
        sys.modules.pop("reference", None)
        spec = importlib.util.spec_from_file_location(f"caffe_material_{name}", FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(FOLDER))
        if known is not None:
            sys.modules["reference"] = known


@cache
def config() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "config.json").read_text())) if FOLDER.exists() else {}


def seed_of(name: str) -> str:
    """The network whose weights and inputs a network has."""
    return str(config().get(name, {}).get("seed", name))


def files_of(name: str) -> tuple[bytes, bytes]:
    """The prototxt of a network of the shared folder, and its real weights, or seeded ones."""
    small = FOLDER / "prototxts" / f"{name}.small.prototxt"
    definition = small if small.exists() else FOLDER / "prototxts" / f"{name}.prototxt"
    real = FOLDER / "caffemodels" / f"{'pcn1' if name == 'pcn2' else name}.caffemodel"
    if real.exists():
        return definition.read_bytes(), real.read_bytes()
    return definition.read_bytes(), material("make_weights").make(
        definition.read_text(), seed_of(name), config().get(name, {})
    )[0]
