"""Caffe's layer messages and the layers of `opencv_squeezedet.network`: each kind in both directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opencv_squeezedet import network as nw
from opencv_squeezedet.errors import ModelError, UnknownLayerError
from opencv_squeezedet.formats._schema import Record

Options = dict[str, Any]

TRAINING = frozenset(
    {"Data", "DummyData", "HDF5Data", "HDF5Output", "ImageData", "MemoryData", "WindowData", "AnnotatedData"}
    | {"Accuracy", "ContrastiveLoss", "EuclideanLoss", "HingeLoss", "InfogainLoss", "MultiBoxLoss", "SoftmaxWithLoss"}
    | {"MultinomialLogisticLoss", "SigmoidCrossEntropyLoss", "SqueezeDetLoss"}
)
"""Types that only a network in training has."""


def layer_of(message: Any, kind: str) -> nw.Layer:
    """Return the layer that a LayerParameter, or one of V1, describes.

    Raises
    ------
    UnknownLayerError
        That names the layer, if its type is none of `opencv_squeezedet.network`, or has an option that those do not have.
    ModelError
        If it is a layer for training, or has too many bottoms or tops.
    """
    name, bottoms, tops = message.name, tuple(message.bottom), tuple(message.top)
    if kind in TRAINING:
        raise ModelError(
            f"layer {name!r}: {kind} is a layer for training; a deployment prototxt was expected, that starts with the input "
            "blob and ends with the network's outputs"
        )
    if kind not in _KINDS:
        raise UnknownLayerError(f"layer {name!r}: the type {kind!r} is not one of {', '.join(sorted(_KINDS))}")
    make, counts, read, _ = _KINDS[kind]
    for what, blobs, most in (("bottom", bottoms, counts[0]), ("top", tops, counts[1])):
        if not blobs or (most and len(blobs) != most):
            raise ModelError(f"layer {name!r}: {kind} has {most or 'at least one'} {what}, got {len(blobs)}")
    try:
        if foreign := sorted(field for field in message.given if field.endswith("_param") and field != _PARAMS.get(kind)):
            raise _OptionError(f"a {kind} has no {foreign[0]}")  # OpenCV would take the options in it for the layer's own
        return make(name=name, bottoms=bottoms, tops=tops, **read(message))
    except _OptionError as error:
        raise UnknownLayerError(f"layer {name!r}: {error}") from None


def net_record(network: nw.Network, blobs: Mapping[str, Sequence[Record]] | None = None) -> Record:
    """Return the NetParameter of a network, the layers with their blobs, if there are any."""
    blobs = {} if blobs is None else blobs
    return {
        "name": network.name,
        "input": [network.input_name],
        "input_shape": [{"dim": network.input_shape}],
        "layer": [_record_of(layer) | {"blobs": blobs.get(layer.name, ())} for layer in network.layers],
    }


def _record_of(layer: nw.Layer) -> Options:
    """The LayerParameter of a layer."""
    kind = "Deconvolution" if isinstance(layer, nw.Upsample) else type(layer).__name__
    record = {"name": layer.name, "type": kind, "bottom": layer.bottoms, "top": layer.tops}
    if not layer.trained:
        record["param"] = [{"lr_mult": 0.0}]
    write = _KINDS[kind][3]
    options = write(layer)
    return record | {_PARAMS[kind]: options} if options else record


class _OptionError(ValueError):
    """An option that a layer cannot have here."""


# ---- convolution and deconvolution -------------------------------------------------------------------------------------


def _read_filter(message: Any) -> Options:
    param = message.convolution_param
    if param.axis != 1:
        raise _OptionError(f"channels on axis 1 were expected, got axis {param.axis}")
    if not param.num_output or not param.group:
        raise _OptionError(f"num_output and group must be at least 1, got {param.num_output} and {param.group}")
    return {
        "outputs": param.num_output,
        "kernel": _pair("kernel_size", param.kernel_size, param, "kernel", None, least=1),
        "stride": _pair("stride", param.stride, param, "stride", 1, least=1),
        "pad": _pair("pad", param.pad, param, "pad", 0, least=0),
        "dilation": _pair("dilation", param.dilation, param, None, 1, least=1),
        "groups": param.group,
        "bias": param.bias_term,
    }


def _deconvolution(**options: Any) -> nw.Layer:
    """A Deconvolution; or an Upsample, where the file says that its kernel of ones is never trained."""
    if not options.pop("ones"):
        return nw.Deconvolution(**options)
    blobs = {key: options[key] for key in ("name", "bottoms", "tops")}
    return nw.Upsample(**blobs, channels=options["outputs"], factor=options["kernel"][0])


def _read_deconvolution(message: Any) -> Options:
    param, options = message.convolution_param, _read_filter(message)
    filler = param.weight_filler
    fixed = param.has("weight_filler") and filler.type == "constant" and filler.value == 1 and len(message.param) == 1
    size = options["kernel"][0]
    plain = {"outputs": param.group, "kernel": (size, size), "stride": (size, size), "pad": (0, 0), "dilation": (1, 1)}
    ones = fixed and message.param[0].has("lr_mult") and message.param[0].lr_mult == 0 and not options["bias"]
    return options | {"ones": ones and all(options[name] == value for name, value in plain.items())}


def _write_deconvolution(layer: nw.Deconvolution | nw.Upsample) -> Options:
    if isinstance(layer, nw.Deconvolution):
        return _write_filter(layer)
    return {
        "num_output": layer.channels,
        "bias_term": False,
        "kernel_size": [layer.factor],
        "group": layer.channels,
        "stride": [layer.factor],
        "weight_filler": {"type": "constant", "value": 1.0},
    }


def _write_filter(layer: nw.Convolution | nw.Deconvolution) -> Options:
    options: Options = {"num_output": layer.outputs}
    if not layer.bias:
        options["bias_term"] = False
    if layer.groups != 1:
        options["group"] = layer.groups
    if layer.dilation != (1, 1):
        options["dilation"] = layer.dilation
    for name, stem, pair, default in (
        ("pad", "pad", layer.pad, 0),
        ("kernel_size", "kernel", layer.kernel, None),
        ("stride", "stride", layer.stride, 1),
    ):
        written = _write_pair(name, stem, pair, default)
        options |= {key: [value] if key == name else value for key, value in written.items()}  # there may be many of them
    return options


def _pair(name: str, values: Sequence[int], param: Any, stem: str | None, default: int | None, *, least: int) -> nw.Pair:
    """(vertical, horizontal), from one value for both, one for each, or the fields ``*_h`` and ``*_w``."""
    if stem is not None and (param.has(f"{stem}_h") or param.has(f"{stem}_w")):
        values = getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w")
    pair = tuple(values) * 2 if len(values) == 1 else tuple(values)
    if not pair and default is not None:
        pair = default, default
    if len(pair) != 2 or min(pair) < least:
        raise _OptionError(f"{name} must be one or two integers of at least {least}, got {list(values)}")
    return pair[0], pair[1]


def _write_pair(name: str, stem: str, pair: nw.Pair, default: int | None) -> Options:
    if pair == (default, default):
        return {}
    return {name: pair[0]} if pair[0] == pair[1] else {f"{stem}_h": pair[0], f"{stem}_w": pair[1]}


# ---- pooling -----------------------------------------------------------------------------------------------------------

_METHODS = {0: "max", 1: "average"}


def _read_pooling(message: Any) -> Options:
    param = message.pooling_param
    if param.pool not in _METHODS:
        raise _OptionError("the pooling must be MAX or AVE, got STOCHASTIC")
    if param.round_mode != 0:
        raise _OptionError("round_mode must be CEIL, got FLOOR")
    method = _METHODS[param.pool]
    if param.global_pooling:
        return {"method": method}
    options: Options = {"method": method}
    for name, stem, field, least in (
        ("kernel", "kernel", "kernel_size", 1),
        ("stride", "stride", "stride", 1),
        ("pad", "pad", "pad", 0),
    ):
        values = [getattr(param, field)] if name != "kernel" or param.has(field) else []
        options[name] = _pair(field, values, param, stem, None, least=least)
    if any(pad >= kernel for pad, kernel in zip(options["pad"], options["kernel"], strict=True)):
        raise _OptionError(f"pad must be smaller than the kernel of {options['kernel']}, got {options['pad']}")
    return options


def _write_pooling(layer: nw.Pooling) -> Options:
    options: Options = {"pool": {name: number for number, name in _METHODS.items()}[layer.method]}
    if layer.kernel is None:
        return options | {"global_pooling": True}
    return (
        options
        | _write_pair("kernel_size", "kernel", layer.kernel, None)
        | _write_pair("stride", "stride", layer.stride, 1)
        | _write_pair("pad", "pad", layer.pad, 0)
    )


# ---- the others --------------------------------------------------------------------------------------------------------


def _axis(param: Any, old: str) -> int:
    """The axis, under its name or that which it had before."""
    return int(getattr(param, old) if param.has(old) else param.axis)


def _read_eltwise(message: Any) -> Options:
    param = message.eltwise_param
    if param.operation != 1 or any(value != 1 for value in param.coeff):
        raise _OptionError("an Eltwise must be a plain SUM")
    return {}


def _read_reshape(message: Any) -> Options:
    param = message.reshape_param
    if param.axis != 0 or param.num_axes != -1:
        raise _OptionError("a Reshape must be of all axes, without 'axis' and 'num_axes'")
    return {"dims": tuple(param.shape.dim)}


def _read_permute(message: Any) -> Options:
    return {"order": tuple(message.permute_param.order)}


def _nothing(*_: Any) -> Options:
    return {}


_Write = Callable[[Any], Options]
_KINDS: dict[str, tuple[Callable[..., nw.Layer], tuple[int, int], Callable[[Any], Options], _Write]] = {
    "Convolution": (nw.Convolution, (1, 1), _read_filter, _write_filter),
    "Deconvolution": (_deconvolution, (1, 1), _read_deconvolution, _write_deconvolution),
    "ReLU": (
        nw.ReLU,
        (1, 1),
        lambda m: {"slope": nw.shortest(m.relu_param.negative_slope)},
        lambda layer: {"negative_slope": layer.slope} if layer.slope else {},
    ),
    "Dropout": (
        nw.Dropout,
        (1, 1),
        lambda m: {"ratio": nw.shortest(m.dropout_param.dropout_ratio)},
        lambda layer: {"dropout_ratio": layer.ratio},
    ),
    "Sigmoid": (nw.Sigmoid, (1, 1), _nothing, _nothing),
    "Softmax": (nw.Softmax, (1, 1), lambda m: {"axis": m.softmax_param.axis}, lambda layer: {"axis": layer.axis}),
    "Pooling": (nw.Pooling, (1, 1), _read_pooling, _write_pooling),
    "Concat": (
        nw.Concat,
        (0, 1),
        lambda m: {"axis": _axis(m.concat_param, "concat_dim")},
        lambda layer: {"axis": layer.axis} if layer.axis != 1 else {},
    ),
    "Eltwise": (nw.Eltwise, (0, 1), _read_eltwise, _nothing),
    "ShuffleChannel": (
        nw.ShuffleChannel,
        (1, 1),
        lambda m: {"groups": m.shuffle_channel_param.group},
        lambda layer: {"group": layer.groups},
    ),
    "Permute": (nw.Permute, (1, 1), _read_permute, lambda layer: {"order": layer.order}),
    "Slice": (
        nw.Slice,
        (1, 0),
        lambda m: {"points": tuple(m.slice_param.slice_point), "axis": _axis(m.slice_param, "slice_dim")},
        lambda layer: {"slice_point": layer.points, "axis": layer.axis},
    ),
    "Reshape": (nw.Reshape, (1, 1), _read_reshape, lambda layer: {"shape": {"dim": layer.dims}}),
}
"""For each type: the class, how many bottoms and tops it has (0: any number), and both directions."""

_PARAMS = {kind: f"{kind.lower()}_param" for kind in _KINDS} | {
    "Deconvolution": "convolution_param",
    "ShuffleChannel": "shuffle_channel_param",
}
"""Which of its messages has a layer's options."""
