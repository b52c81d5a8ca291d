"""The networks of the family, each described once; prototxt, caffemodel, ONNX and training derive from these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from opencv_squeezedet import _checks
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.network import (
    Concat,
    Convolution,
    Deconvolution,
    Dropout,
    Eltwise,
    Layer,
    Network,
    Permute,
    Pooling,
    ReLU,
    Reshape,
    Shape,
    ShuffleChannel,
    Sigmoid,
    Slice,
    Softmax,
    Upsample,
)

__all__ = [
    "ARCHITECTURES",
    "TRAINABLE",
    "Architecture",
    "Task",
    "squeezedet_gsoc",
    "squeezedet_kitti",
    "squeezedet_lite",
    "squeezedet_pyramid",
    "squeezedet_shuffle",
    "squeezenet_gsoc",
    "squeezenet_v1_0",
    "squeezenet_v1_1",
]

Task = Literal["detector", "classifier"]

_ROWS_FIRST, _COLUMNS_FIRST = (0, 2, 3, 1), (0, 3, 2, 1)

_V1_0 = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""Squeeze and expand outputs of fire2 to fire9, which v1.1 shares."""


def squeezenet_v1_0(classes: int = 1000, input_size: tuple[int, int] = (227, 227)) -> Network:
    """Return DeepScale's SqueezeNet v1.0 (Iandola et al., arXiv:1602.07360), under the layer names of its release.

    Parameters
    ----------
    classes : int
        Number of outputs of ``conv10``.
    input_size : (int, int)
        Width and height, pixels.
    """
    net = _Builder("SqueezeNet v1.0", input_size, _DEEPSCALE)
    net.convolution("conv1", 96, 7, stride=2)
    _trunk(net, pools=(4, 8))
    net.add(Dropout, "drop9", in_place=True, ratio=0.5)
    _classifier(net, classes, pad=1)
    return net.network()


def squeezenet_v1_1(classes: int = 1000, input_size: tuple[int, int] = (227, 227)) -> Network:
    """Return DeepScale's SqueezeNet v1.1, under the layer names of its release; parameters as for `squeezenet_v1_0`."""
    net = _Builder("SqueezeNet v1.1", input_size, _DEEPSCALE)
    net.convolution("conv1", 64, 3, stride=2)
    _trunk(net, pools=(3, 5))
    net.add(Dropout, "drop9", in_place=True, ratio=0.5)
    _classifier(net, classes, pad=0)
    return net.network()


def squeezenet_gsoc(classes: int = 1000, input_size: tuple[int, int] = (416, 416)) -> Network:
    """Return the SqueezeNet of opencv_contrib's dnn_objdetect: v1.0 with leaky ReLU; parameters as for `squeezenet_v1_0`."""
    net = _Builder("SqueezeNet", input_size, _GSOC)
    net.convolution("conv1", 96, 7, stride=2)
    _trunk(net, pools=(4, 8))
    _classifier(net, classes, pad=0, output="predictions")
    return net.network()


def squeezedet_gsoc(classes: int = 20, anchors: int = 9, input_size: tuple[int, int] = (416, 416)) -> Network:
    """Return the SqueezeDet of opencv_contrib's dnn_objdetect.

    Parameters
    ----------
    classes, anchors : int
        Number of classes, and of anchor shapes per cell.
    input_size : (int, int)
        Width and height, pixels.

    Raises
    ------
    ModelError
        If the input is too small; the message names the layer.
    """
    net = _Builder("SqueezeDet", input_size, _GSOC)
    net.convolution("conv1", 96, 7, stride=2)
    _trunk(net, pools=(4, 8))
    net.convolution("conv10", 1000, 1)
    net.fire(10, 96, 384)
    net.fire(11, 96, 384)
    _head(net, "conv11", classes, anchors, _ROWS_FIRST, kernel=3)
    return net.network()


def squeezedet_kitti(classes: int = 3, anchors: int = 9, input_size: tuple[int, int] = (1248, 384)) -> Network:
    """Return the SqueezeDet of Wu et al. (arXiv:1612.01051) for KITTI; parameters as for `squeezedet_gsoc`.

    ``conv1`` pads one pixel on each side, as the Caffe port does; TensorFlow pads on the right and at the bottom.
    """
    net = _Builder("SqueezeDet KITTI", input_size, _DEEPSCALE)
    net.convolution("conv1", 64, 3, stride=2, pad=1)
    _trunk(net, pools=(3, 5))
    net.fire(10, 96, 384)
    net.fire(11, 96, 384)
    net.add(Dropout, "drop11", in_place=True, ratio=0.5)
    _head(net, "conv12", classes, anchors, _ROWS_FIRST, kernel=3, pad=1)
    return net.network()


def squeezedet_lite(classes: int = 20, anchors: int = 9, input_size: tuple[int, int] = (416, 416)) -> Network:
    """Return a SqueezeDet on the v1.1 trunk; parameters as for `squeezedet_gsoc`.

    Its first grid axis is the picture's x, as opencv_contrib's decoder expects.
    """
    net = _Builder("SqueezeDetLite", input_size, _LITE)
    net.convolution("conv1", 64, 3, stride=2)
    _trunk(net, pools=(3, 5))
    net.fire(10, 96, 192)
    net.fire(11, 96, 192)
    _head(net, "conv12", classes, anchors, _COLUMNS_FIRST, kernel=3)
    return net.network()


def squeezedet_pyramid(classes: int = 20, anchors: int = 9, input_size: tuple[int, int] = (416, 416)) -> Network:
    """Return a SqueezeDet on the v1.1 trunk that combines three depths; parameters as for `squeezedet_gsoc`.

    Large objects need more context than the trunk's last map has, and small objects need finer features. A map at half its
    resolution, in which two dilated fire modules (Yu and Koltun, arXiv:1511.07122) with a bypass see the whole picture, is
    scaled up by a deconvolution; a map at twice its resolution is scaled down by a strided convolution; and a fire module
    combines the three. Its first grid axis is the picture's x.
    """
    net = _Builder("SqueezeDetPyramid", input_size, _LITE)
    net.convolution("conv1", 64, 3, stride=2)
    _trunk(net, pools=(3, 5))
    net.pool("pool9", 3, 2)
    net.fire(10, 64, 256)
    net.fire(11, 64, 256)
    net.dilated_fire(13, 48, 256, 2)
    net.dilated_fire(14, 48, 256, 4)
    net.convolution("coarse", 128, 1)
    coarse = net.upsample("upsampled", 128, like="fire9")
    middle = net.convolution("middle", 128, 1, bottom="fire9")
    net.convolution("fine_squeeze", 48, 1, bottom="fire5")
    fine = net.downsample("fine", 64)
    net.add(Concat, "pyramid", bottoms=(coarse, middle, fine))
    net.fire(12, 96, 128)
    net.convolution("conv15_squeeze", 96, 1)
    net.convolution("conv15", 192, 3)
    _head(net, "conv16", classes, anchors, _COLUMNS_FIRST, kernel=1)
    return net.network()


def squeezedet_shuffle(
    classes: int = 20, anchors: int = 9, input_size: tuple[int, int] = (384, 384), width: Literal["1.0x", "1.5x"] = "1.0x"
) -> Network:
    """Return a SqueezeDet on the trunk and the neck of NanoDet-Plus.

    The trunk is ShuffleNetV2 (Ma et al., arXiv:1807.11164) with leaky ReLU, the neck NanoDet-Plus's path aggregation of
    ghost modules (Han et al., arXiv:1911.11907) at strides 8 to 64, followed at strides 16, 32 and 64 by the two separable
    convolutions of its head. These layers have the shapes of NanoDet-Plus-m and -m-1.5x, so that weights trained on COCO
    fit. The three maps, scaled up to stride 16, are combined by a 1x1 and a separable convolution. The ConvDet is 2x2
    without padding: one cell less than the map has on each axis, with centres where the decoder expects them. Its first
    grid axis is the picture's x.

    Parameters
    ----------
    classes, anchors : int
        Number of classes, and of anchor shapes per cell.
    input_size : (int, int)
        Width and height, pixels: multiples of 64.
    width : {"1.0x", "1.5x"}
        Of the trunk.

    Raises
    ------
    ModelError
        If a side is not a multiple of 64.
    """
    if any(side % 64 for side in input_size):
        raise ModelError(f"the sides of this network's input must be multiples of 64, got {input_size[0]}x{input_size[1]}")
    stages, neck = {"1.0x": ((116, 232, 464), 96), "1.5x": ((176, 352, 704), 128)}[width]
    net = _Builder("SqueezeDetShuffle", input_size, _SHUFFLE)
    net.convolution("conv1", 24, 3, stride=2)
    net.add(Pooling, "pool1", kernel=(3, 3), stride=(2, 2), pad=(1, 1))
    fine, middle, coarse = [
        net.shuffle_stage(f"stage{number}", channels, units)
        for number, channels, units in zip((2, 3, 4), stages, (4, 8, 4), strict=True)
    ]
    coarse = reduced = net.convolution("reduce4", neck, 1, bottom=coarse)
    middle = net.convolution("reduce3", neck, 1, bottom=middle)
    fine = net.convolution("reduce2", neck, 1, bottom=fine)
    middle = net.ghost("down3", neck, net.double(coarse, "up4", neck), middle)
    fine = net.ghost("down2", neck, net.double(middle, "up3", neck), fine)
    middle = net.ghost("up_path3", neck, net.separable("halve2", neck, 5, stride=2, bottom=fine), middle)
    coarse = net.ghost("up_path4", neck, net.separable("halve3", neck, 5, stride=2, bottom=middle), coarse)
    coarsest = net.separable("halve_reduced4", neck, 5, stride=2, bottom=reduced)
    coarsest = net.add(Eltwise, "up_path5", bottoms=(coarsest, net.separable("halve4", neck, 5, stride=2, bottom=coarse)))
    middle, coarse, coarsest = [
        net.separable(f"tower{level}_2", neck, 5, bottom=net.separable(f"tower{level}_1", neck, 5, bottom=bottom))
        for level, bottom in ((3, middle), (4, coarse), (5, coarsest))
    ]
    coarse = net.add(Concat, "coarse", bottoms=(coarse, net.double(coarsest, "up6", neck)))
    net.add(Concat, "pyramid", bottoms=(middle, net.double(coarse, "up5", 2 * neck)))
    net.convolution("mix", 128, 1)
    net.separable("head", 128, 3)
    _head(net, "convdet", classes, anchors, _COLUMNS_FIRST, kernel=2)
    return net.network()


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One network of the family.

    Parameters
    ----------
    name : str
        Its name in the registry.
    build : function
        Builds the network from ``(classes, anchors, input_size)`` for a detector, ``(classes, input_size)`` for a classifier.
    task : {"detector", "classifier"}
        What it is for.
    trained_as : str or None
        Its name in `training.Recipe` and in ``squeezedet train --network``; None if it cannot be trained here.
    start : str
        The published model whose weights a training starts with by default.
    """

    name: str
    build: Callable[..., Network]
    task: Task
    trained_as: str | None = None
    start: str = "pyramid-voc"


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(name="squeezenet-v1.0", build=squeezenet_v1_0, task="classifier"),
        Architecture(name="squeezenet-v1.1", build=squeezenet_v1_1, task="classifier"),
        Architecture(name="squeezenet-gsoc", build=squeezenet_gsoc, task="classifier"),
        Architecture(
            name="squeezedet-shuffle", build=squeezedet_shuffle, task="detector", trained_as="shuffle", start="embedded"
        ),
        Architecture(name="squeezedet-pyramid", build=squeezedet_pyramid, task="detector", trained_as="pyramid"),
        Architecture(name="squeezedet-lite", build=squeezedet_lite, task="detector", trained_as="lite"),
        Architecture(name="squeezedet-gsoc", build=squeezedet_gsoc, task="detector", trained_as="gsoc"),
        Architecture(name="squeezedet-kitti", build=squeezedet_kitti, task="detector"),
    )
}
"""Every network of the family, by its name."""

TRAINABLE: dict[str, Architecture] = {each.trained_as: each for each in ARCHITECTURES.values() if each.trained_as is not None}
"""Those that can be trained, by the name that `training.Recipe` takes; the first is the default."""


# ---- building blocks ---------------------------------------------------------------------------------------------------


class _Names:
    """How a release names the parts of a fire module and the activations."""

    def __init__(self, squeeze: str, expand_1x1: str, expand_3x3: str, concat: str, relu: str, slope: float = 0.0) -> None:
        self.squeeze, self.expand_1x1, self.expand_3x3, self.concat = squeeze, expand_1x1, expand_3x3, concat
        self.slope = slope
        self._relu = relu

    def relu(self, layer: str) -> str:
        """The activation's name: the prefix comes after the slash in the layer's name, if any."""
        group, slash, name = layer.rpartition("/")
        return f"{group}{slash}{self._relu}_{name}"


_DEEPSCALE = _Names("fire{}/squeeze1x1", "fire{}/expand1x1", "fire{}/expand3x3", "fire{}/concat", "relu")
_GSOC = _Names("fire{}_squeeze", "fire{}_expand_1x1", "fire{}_expand_3x3", "fire{}", "rect", slope=0.01)
_LITE = _Names("fire{}_squeeze", "fire{}_expand_1x1", "fire{}_expand_3x3", "fire{}", "relu")
_SHUFFLE = _Names("", "", "", "", "relu", slope=0.1)  # it has no fire modules


class _Builder:
    """Collects layers; each reads the previous layer's top by default."""

    def __init__(self, name: str, input_size: tuple[int, int], names: _Names) -> None:
        width, height = _checks.size("input_size", input_size)
        self._name, self._shape = name, (1, 3, height, width)
        self._names = names
        self._layers: list[Layer] = []
        self._top = "data"

    def network(self) -> Network:
        network = Network(self._name, "data", self._shape, tuple(self._layers))
        _ = network.steps  # checks the shapes
        return network

    def top_shape(self) -> Shape:
        return self._shape_of(self._top)

    def _shape_of(self, top: str) -> Shape:
        return self.network().shape_of(top)

    def add(
        self,
        kind: Callable[..., Layer],
        name: str,
        *,
        bottoms: tuple[str, ...] = (),
        top: str | None = None,
        in_place: bool = False,
        **options: object,
    ) -> str:
        bottoms = bottoms or (self._top,)
        if top is None:
            top = bottoms[0] if in_place else name
        self._layers.append(kind(name=name, bottoms=bottoms, tops=(top,), **options))
        self._top = top
        return top

    def convolution(
        self,
        name: str,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bottom: str | None = None,
        relu: bool = True,
    ) -> str:
        sides = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation}
        pairs: dict[str, Any] = {option: (side, side) for option, side in sides.items()}
        bottoms = () if bottom is None else (bottom,)
        self.add(Convolution, name, bottoms=bottoms, outputs=outputs, groups=groups, **pairs)
        if relu:
            self.add(ReLU, self._names.relu(name), in_place=True, slope=self._names.slope)
        return self._top

    def upsample(self, name: str, outputs: int, *, like: str) -> str:
        """Double the sides by a deconvolution of each channel, back to those before a 3x3 pool of stride 2."""
        *_, height, width = self._shape_of(like)
        kernel = 2 + height % 2, 2 + width % 2
        return self.add(Deconvolution, name, outputs=outputs, kernel=kernel, stride=(2, 2), groups=outputs, bias=False)

    def downsample(self, name: str, outputs: int) -> str:
        """Halve the sides by a convolution, to those that a 3x3 pool of stride 2 gives."""
        *_, height, width = self.top_shape()
        pad = 1 - height % 2, 1 - width % 2
        self.add(Convolution, name, outputs=outputs, kernel=(3, 3), stride=(2, 2), pad=pad)
        return self.add(ReLU, self._names.relu(name), in_place=True, slope=self._names.slope)

    def pool(self, name: str, kernel: int, stride: int) -> str:
        return self.add(Pooling, name, kernel=(kernel, kernel), stride=(stride, stride))

    def dilated_fire(self, number: int, squeeze: int, expand: int, dilation: int) -> str:
        """Add to a map what a fire module sees farther away."""
        bottom = self._top
        top = self.fire(number, squeeze, expand, dilation)
        return self.add(Eltwise, f"sum{number}", bottoms=(bottom, top))

    def fire(self, number: int, squeeze: int, expand: int, dilation: int = 1) -> str:
        names = self._names
        squeezed = self.convolution(names.squeeze.format(number), squeeze, 1)
        narrow = self.convolution(names.expand_1x1.format(number), expand, 1, bottom=squeezed)
        expand_3x3 = names.expand_3x3.format(number)
        wide = self.convolution(expand_3x3, expand, 3, pad=dilation, dilation=dilation, bottom=squeezed)
        return self.add(Concat, names.concat.format(number), bottoms=(narrow, wide))

    def depthwise(self, name: str, channels: int, kernel: int, *, stride: int = 1, bottom: str, relu: bool = False) -> str:
        """A convolution of each channel, padded to keep the sides or halve them."""
        return self.convolution(
            name, channels, kernel, stride=stride, pad=kernel // 2, groups=channels, bottom=bottom, relu=relu
        )

    def separable(self, name: str, channels: int, kernel: int, *, stride: int = 1, bottom: str | None = None) -> str:
        """A depthwise convolution and a 1x1 convolution."""
        self.depthwise(f"{name}_dw", channels, kernel, stride=stride, bottom=bottom or self._top, relu=True)
        return self.convolution(name, channels, 1)

    def double(self, bottom: str, name: str, channels: int) -> str:
        return self.add(Upsample, name, bottoms=(bottom,), channels=channels)

    def shuffle_stage(self, name: str, channels: int, units: int) -> str:
        """A stage of ShuffleNetV2, whose first unit halves the sides."""
        half, bottom = channels // 2, self._top
        left = self.depthwise(f"{name}_1_left_dw", self._shape_of(bottom)[1], 3, stride=2, bottom=bottom)
        left = self.convolution(f"{name}_1_left", half, 1, bottom=left)
        self.convolution(f"{name}_1_in", half, 1, bottom=bottom)
        for number in range(1, units + 1):
            unit = f"{name}_{number}"
            if number > 1:
                left, right = f"{unit}_kept", f"{unit}_right"
                self.slice(f"{unit}_slice", (left, right), (half,), axis=1)
                self.convolution(f"{unit}_in", half, 1, bottom=right)
            right = self.depthwise(f"{unit}_dw", half, 3, stride=2 if number == 1 else 1, bottom=self._top)
            right = self.convolution(f"{unit}_out", half, 1, bottom=right)
            self.add(Concat, f"{unit}_concat", bottoms=(left, right))
            self.add(ShuffleChannel, f"{unit}_shuffle")
        return self._top

    def ghost(self, name: str, channels: int, *bottoms: str) -> str:
        """NanoDet-Plus's ghost bottleneck: two ghost modules, and a depthwise 5x5 and a 1x1 convolution as their bypass."""
        half = channels // 2
        concat = self.add(Concat, f"{name}_concat", bottoms=bottoms)
        first = self.convolution(f"{name}_expand", half, 1, bottom=concat)
        cheap = self.depthwise(f"{name}_expand_dw", half, 3, bottom=first, relu=True)
        self.add(Concat, f"{name}_expand_concat", bottoms=(first, cheap))
        first = self.convolution(f"{name}_squeeze", half, 1, relu=False)
        cheap = self.depthwise(f"{name}_squeeze_dw", half, 3, bottom=first)
        main = self.add(Concat, f"{name}_squeeze_concat", bottoms=(first, cheap))
        self.depthwise(f"{name}_bypass_dw", len(bottoms) * channels, 5, bottom=concat)
        bypass = self.convolution(f"{name}_bypass", channels, 1, relu=False)
        return self.add(Eltwise, name, bottoms=(main, bypass))

    def slice(self, name: str, tops: tuple[str, ...], points: tuple[int, ...], axis: int) -> None:
        self._layers.append(Slice(name=name, bottoms=(self._top,), tops=tops, points=points, axis=axis))


def _trunk(net: _Builder, pools: tuple[int, ...]) -> None:
    """Fire modules 2 to 9, with pools before them and after the given modules."""
    net.pool("pool1", 3, 2)
    for number, (squeeze, expand) in enumerate(_V1_0, start=2):
        net.fire(number, squeeze, expand)
        if number in pools:
            net.pool(f"pool{number}", 3, 2)


def _classifier(net: _Builder, classes: int, pad: int, output: str = "prob") -> None:
    net.convolution("conv10", classes, 1, pad=pad)
    net.add(Pooling, "pool10", method="average")
    net.add(Softmax, output, axis=1)


def _head(
    net: _Builder, convolution: str, classes: int, anchors: int, order: tuple[int, ...], *, kernel: int, pad: int = 0
) -> None:
    """The last convolution, and the tail shared by every SqueezeDet of opencv_contrib's kind."""
    classes, anchors = _checks.count("classes", classes), _checks.count("anchors", anchors)
    net.convolution(convolution, anchors * (classes + 5), kernel, pad=pad, relu=False)
    net.add(Permute, "permute", top=f"permute_{convolution}", order=order)
    _, first, second, _ = net.top_shape()
    points = anchors * classes, anchors * (classes + 1)
    net.slice("slice", ("soft_class_reg", "sig_conf_reg", "delta_bbox"), points, axis=3)
    dims = 0, first * second * anchors, classes
    net.add(Reshape, "reshape", bottoms=("soft_class_reg",), top="reshape_soft_class_reg", dims=dims)
    net.add(Softmax, "softmax", top="class_scores", axis=2)
    net.add(Sigmoid, "sigmoid", bottoms=("sig_conf_reg",), top="conf_scores")
