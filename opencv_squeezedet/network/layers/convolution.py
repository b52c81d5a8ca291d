"""Layers with kernels: Convolution, Deconvolution, InnerProduct, and Upsample, whose kernel is fixed."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from opencv_squeezedet.network.layers.base import MOST_BLOB, SLOWER, Layer
from opencv_squeezedet.network.layers.interfaces import (
    CaffeParameter,
    OnnxNode,
    OnnxOperator,
    OnnxWriter,
    OptionError,
    Options,
    Pair,
    Shape,
    TorchRun,
)
from opencv_squeezedet.network.layers.windows import ONNX_WINDOW, read_pair, write_pair

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Convolution", "ConvolutionDepthwise", "Deconvolution", "InnerProduct", "Upsample"]

_FIELD = "106 convolution_param ConvolutionParameter"
_CONTENT = """
    1 num_output uint32; 2 bias_term bool=true; 3 pad uint32*; 4 kernel_size uint32*; 5 group uint32=1; 6 stride uint32*;
    7 weight_filler FillerParameter; 8 bias_filler FillerParameter; 9 pad_h uint32; 10 pad_w uint32; 11 kernel_h uint32;
    12 kernel_w uint32; 13 stride_h uint32; 14 stride_w uint32; 15 engine Engine; 16 axis int32=1;
    17 force_nd_im2col bool; 18 dilation uint32*"""
_PARAMETER = CaffeParameter(_FIELD, _CONTENT, v1=10)


@dataclass(frozen=True, kw_only=True)
class _Filter(Layer):
    """What convolution and deconvolution share; pairs are (vertical, horizontal). Several bottoms have a top each."""

    outputs: int
    kernel: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = True

    arity = (0, 0)
    caffe = _PARAMETER

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        if len(self.tops) != len(bottoms) or any(shape[1:2] != bottoms[0][1:2] for shape in bottoms):
            raise self.error(
                f"{len(bottoms)} tops, and bottoms of the same channels, were expected, got {len(self.tops)} and {bottoms}"
            )
        return list(map(self._top_shape, bottoms))

    def _top_shape(self, bottom: Shape) -> Shape:
        n, channels, *sides = self._four_axes(bottom)
        self._not_too_long(*self.kernel, *self.stride, *self.pad, *self.dilation)
        if channels % self.groups or self.outputs % self.groups:
            raise self.error(f"{channels} inputs and {self.outputs} outputs cannot be split into {self.groups} groups")
        new = [self._side(*values) for values in zip(sides, self.kernel, self.stride, self.pad, self.dilation, strict=True)]
        if min(new) < 1:
            raise self.error(
                f"a bottom of {sides[1]}x{sides[0]} is smaller than the kernel of {self.kernel[1]}x{self.kernel[0]}"
            )
        return (n, self.outputs, *new)

    @staticmethod
    @abstractmethod
    def _side(side: int, kernel: int, stride: int, pad: int, dilation: int) -> int: ...

    def _with_bias(self, kernel: Shape) -> list[Shape]:
        return [kernel, (self.outputs,)] if self.bias else [kernel]

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        if param.axis != 1:
            raise OptionError(f"channels on axis 1 were expected, got axis {param.axis}")
        if not param.num_output or not param.group:
            raise OptionError(f"num_output and group must be at least 1, got {param.num_output} and {param.group}")
        return {
            "outputs": param.num_output,
            "kernel": read_pair("kernel_size", param.kernel_size, param, "kernel", None, least=1),
            "stride": read_pair("stride", param.stride, param, "stride", 1, least=1),
            "pad": read_pair("pad", param.pad, param, "pad", 0, least=0),
            "dilation": read_pair("dilation", param.dilation, param, None, 1, least=1),
            "groups": param.group,
            "bias": param.bias_term,
        }

    def write_caffe(self) -> Options:
        options: Options = {"num_output": self.outputs}
        if not self.bias:
            options["bias_term"] = False
        if self.groups != 1:
            options["group"] = self.groups
        if self.dilation != (1, 1):
            options["dilation"] = self.dilation
        for name, stem, pair, default in (
            ("pad", "pad", self.pad, 0),
            ("kernel_size", "kernel", self.kernel, None),
            ("stride", "stride", self.stride, 1),
        ):
            written = write_pair(name, stem, pair, default)
            options |= {key: [value] if key == name else value for key, value in written.items()}  # a repeated field
        return options

    def _onnx_window(self) -> Options:
        return {
            "kernel_shape": self.kernel,
            "strides": self.stride,
            "pads": self.pad * 2,
            "dilations": self.dilation,
            "group": self.groups,
        }

    @staticmethod
    def _read_onnx(node: OnnxNode) -> tuple[Shape, Options]:
        """The kernel's shape, and all fields but the outputs and the pad; its weights are noted."""
        blobs = [node.constant_floats(index) for index in range(1, len(node.inputs))]
        if not 1 <= len(blobs) <= 2 or blobs[0].ndim != 4 or any(blob.dtype.kind != "f" for blob in blobs):
            raise node.error(f"a kernel of four axes and perhaps a bias were expected, got {[blob.shape for blob in blobs]}")
        node.keep_weights(blobs)
        shape: Shape = blobs[0].shape
        kernel, groups = (shape[2], shape[3]), node.integer("group", 1)
        if groups < 1 or min(shape) < 1 or node.pair("kernel_shape", kernel) != kernel:
            raise node.damage(f"its group {groups} or kernel_shape does not fit weights of {shape}")
        return shape, {
            **node.blobs(constants=2),
            "kernel": kernel,
            "stride": node.pair("strides", (1, 1)),
            "dilation": node.pair("dilations", (1, 1)),
            "groups": groups,
            "bias": len(blobs) == 2,
        }

    def _torch_options(self) -> Options:
        return {
            "kernel_size": self.kernel,
            "stride": self.stride,
            "padding": self.pad,
            "dilation": self.dilation,
            "groups": self.groups,
            "bias": self.bias,
        }

    @property
    def _slow_in_bfloat16(self) -> bool:
        """Whether torch's kernel for CPUs is far slower in bfloat16 than in float32."""
        return self.groups > 1

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        """Return the filtered blob; where bfloat16 is slow, it is computed in float32."""
        import torch

        if bottoms[0].device.type != "cpu" or not self._slow_in_bfloat16:
            return (run.module(bottoms[0]),)
        with torch.autocast("cpu", enabled=False):
            return (run.module(bottoms[0].float()),)


@dataclass(frozen=True, kw_only=True)
class Convolution(_Filter):
    """Caffe's Convolution."""

    onnx: ClassVar = {"Conv": OnnxOperator(f"{ONNX_WINDOW} group", optional=2)}

    @staticmethod
    def _side(side: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (O, I / groups, h, w) and (O,)."""
        return self._with_bias((self.outputs, bottoms[0][1] // self.groups, *self.kernel))

    def macs(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        return sum(map(math.prod, tops)) * bottoms[0][1] // self.groups * math.prod(self.kernel)

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        window, inputs = self._onnx_window(), writer.bottoms
        if self.kernel == self.stride == (1, 1) and any(self.pad):
            # OpenCV 5.0 leaves the border of such a convolution's output to chance; zeros put around its input do the same
            pads = writer.constant(f"{self.name}.pads", [0, 0, *self.pad] * 2)
            parts = [f"padded{i or ''}" for i in range(len(inputs))]
            inputs = [writer.node("Pad", [value, pads], part=part) for value, part in zip(inputs, parts, strict=True)]
            window["pads"] = (0, 0, 0, 0)
        weights = writer.weights()
        for i, value in enumerate(inputs):
            writer.node("Conv", [value, *weights], top=i, **window)

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Convolution:
        pads, around = node.pads(), node.take_pad()
        shape, options = cls._read_onnx(node)
        return cls(**options, outputs=shape[0], pad=(pads[0] + around[0], pads[1] + around[1]))

    def torch_module(self, bottoms: Sequence[Shape]) -> nn.Conv2d:
        from torch import nn

        return nn.Conv2d(bottoms[0][1], self.outputs, **self._torch_options())

    def torch_initialize(self, module: nn.Conv2d) -> None:
        """Draw the kernel as He et al. (arXiv:1502.01852)."""
        from torch import nn

        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@dataclass(frozen=True, kw_only=True)
class ConvolutionDepthwise(Convolution):
    """A Convolution with a group for each channel, as some forks of Caffe call it."""

    onnx: ClassVar = {}

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        options = super().read_caffe(param)
        return options if param.has("group") else options | {"groups": options["outputs"]}


@dataclass(frozen=True, kw_only=True)
class Deconvolution(_Filter):
    """Caffe's Deconvolution: a transposed convolution."""

    onnx: ClassVar = {"ConvTranspose": OnnxOperator(f"{ONNX_WINDOW} group output_padding output_shape", optional=2)}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        tops = super().top_shapes(bottoms)
        columns = max(math.prod(bottom[2:]) for bottom in bottoms) * self.outputs * math.prod(self.kernel)
        if columns > MOST_BLOB:
            raise self.error(f"it takes {columns} values before they are summed, at most {MOST_BLOB} are possible")
        return tops

    @staticmethod
    def _side(side: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return (side - 1) * stride + dilation * (kernel - 1) + 1 - 2 * pad

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return (I, O / groups, h, w) and (O,)."""
        return self._with_bias((bottoms[0][1], self.outputs // self.groups, *self.kernel))

    def macs(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        return sum(map(math.prod, bottoms)) * self.outputs // self.groups * math.prod(self.kernel)

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return kernel size times input and output values: OpenCV 5 searches all inputs that a value may come from."""
        return SLOWER * (sum(map(math.prod, tops)) * math.prod(self.kernel) + self.macs(bottoms, tops))

    @classmethod
    def from_caffe(cls, message: Any) -> Layer:
        """Return the layer; an `Upsample` where the file has a kernel of ones that is never trained."""
        layer = super().from_caffe(message)
        assert isinstance(layer, cls)
        filler = message.convolution_param.weight_filler
        ones = message.convolution_param.has("weight_filler") and filler.type == "constant" and filler.value == 1
        rates = [spec.lr_mult for spec in message.param if not isinstance(spec, str) and spec.has("lr_mult")]  # V1: names
        upsample = Upsample(
            name=layer.name, bottoms=layer.bottoms, tops=layer.tops, channels=layer.groups, factor=layer.kernel[0]
        )
        return upsample if ones and rates == [0] and layer == upsample.as_deconvolution() else layer

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        weights = writer.weights()
        for i, value in enumerate(writer.bottoms):
            writer.node("ConvTranspose", [value, *weights], top=i, **self._onnx_window())

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Deconvolution:
        if any(node.integers("output_padding", ())) or node.has("output_shape"):
            raise node.error("neither output_padding nor output_shape was expected")
        shape, options = cls._read_onnx(node)
        return cls(**options, outputs=shape[1] * options["groups"], pad=node.pads())

    def torch_module(self, bottoms: Sequence[Shape]) -> nn.ConvTranspose2d:
        from torch import nn

        return nn.ConvTranspose2d(bottoms[0][1], self.outputs, **self._torch_options())

    def torch_initialize(self, module: nn.ConvTranspose2d) -> None:
        """Let it interpolate."""
        import torch
        from torch import nn

        sides = [1 - torch.linspace(-1, 1, side + 2)[1:-1].abs() for side in module.kernel_size]
        with torch.no_grad():
            inputs = module.weight.shape[0] // module.groups
            module.weight.copy_(torch.outer(sides[0], sides[1]).expand_as(module.weight) / inputs)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

    @property
    def _slow_in_bfloat16(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class InnerProduct(Layer):
    """Caffe's InnerProduct: a matrix times the values of the axes from ``axis`` on.

    OpenCV 4 ignores ``transposed``.
    """

    outputs: int
    axis: int = 1
    bias: bool = True
    transposed: bool = False

    caffe = CaffeParameter(
        "117 inner_product_param InnerProductParameter",
        """1 num_output uint32; 2 bias_term bool=true; 3 weight_filler FillerParameter; 4 bias_filler FillerParameter;
        5 axis int32=1; 6 transpose bool""",
        v1=17,
    )
    caffe_fields: ClassVar = {"outputs": "num_output", "bias": "bias_term", "axis": "axis"}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][: self._axis(self.axis, bottoms[0])], self.outputs)]

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape = self.outputs, math.prod(bottoms[0][self.axis % len(bottoms[0]) :])
        return [shape[::-1] if self.transposed else shape, *[(self.outputs,)] * self.bias]

    def macs(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        return math.prod(bottoms[0]) * self.outputs

    @classmethod
    def read_caffe(cls, param: Any) -> Options:
        if not param.num_output:
            raise OptionError("num_output must be at least 1")
        return super().read_caffe(param) | {"transposed": param.transpose}

    def write_caffe(self) -> Options:
        return super().write_caffe() | ({"transpose": True} if self.transposed else {})

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        """Write Gemm, between Flatten and Reshape where there are more axes."""
        axis, value = self.axis % len(bottoms[0]), writer.bottoms[0]
        weights = writer.weights()
        if (len(bottoms[0]), axis) != (2, 1):
            value = writer.node("Flatten", [value], part="flat", axis=axis)
        value = writer.node("Gemm", [value, *weights], part="" if axis == 1 else "product", transB=int(not self.transposed))
        if axis != 1:
            writer.node("Reshape", [value, writer.constant(f"{self.name}.shape", [-1, *tops[0][1:]])])


@dataclass(frozen=True, kw_only=True)
class Upsample(Layer):
    """Nearest-neighbour upsampling by an integer factor.

    Caffe has no layer for it. Its files have a Deconvolution of each channel whose kernel of ones is never trained, and a
    caffemodel has that kernel as the layer's weights; ONNX has Resize, which OpenCV 5 runs forty times faster.
    """

    channels: int
    factor: int = 2

    trained = False
    caffe = _PARAMETER
    caffe_type = "Deconvolution"
    onnx: ClassVar = {"Resize": OnnxOperator("coordinate_transformation_mode mode nearest_mode cubic_coeff_a", optional=1)}

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        n, channels, height, width = self._four_axes(bottoms[0])
        self._not_too_long(self.factor)
        if channels != self.channels:
            raise self.error(f"a bottom of {self.channels} channels was expected, got {channels}")
        return [(n, channels, height * self.factor, width * self.factor)]

    def weight_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(self.channels, 1, self.factor, self.factor)]

    def work(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Return the cost of the Deconvolution in Caffe's files."""
        return SLOWER * math.prod(tops[0]) * self.factor**2

    def as_deconvolution(self) -> Deconvolution:
        """Return the Deconvolution that does the same with a kernel of ones."""
        size = self.factor, self.factor
        return Deconvolution(
            name=self.name,
            bottoms=self.bottoms,
            tops=self.tops,
            outputs=self.channels,
            kernel=size,
            stride=size,
            groups=self.channels,
            bias=False,
        )

    def write_caffe(self) -> Options:
        return self.as_deconvolution().write_caffe() | {"weight_filler": {"type": "constant", "value": 1.0}}

    def to_onnx(self, writer: OnnxWriter, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> None:
        region = writer.constant(f"{self.name}.roi", np.array([]))  # before opset 13 its name must not be empty
        scales = writer.constant(f"{self.name}.scales", [1.0, 1.0, float(self.factor), float(self.factor)])
        how: Options = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
        writer.node("Resize", [*writer.bottoms, region, scales], **how)

    @classmethod
    def from_onnx(cls, node: OnnxNode) -> Upsample:
        """Read Resize that repeats each row and column; its weights are the kernel of ones."""
        modes = (
            node.text("mode", "nearest"),
            node.text("coordinate_transformation_mode", "half_pixel"),
            node.text("nearest_mode", "round_prefer_floor"),
        )
        if modes != ("nearest", "asymmetric", "floor") or len(node.inputs) != 3:
            raise node.error(f"a Resize by scales, nearest, asymmetric and floor, was expected, got {', '.join(modes)}")
        blobs, scales = node.blobs(constants=2), node.constant_floats(2)
        factor = int(scales[-1]) if scales.shape == (4,) and np.isfinite(scales).all() else 0
        if factor < 1 or len(node.shape) != 4 or scales.tolist() != [1, 1, factor, factor]:
            raise node.error(f"the same whole scale on the last two of four axes was expected, got {scales.tolist()[:8]}")
        layer = cls(**blobs, channels=node.shape[1], factor=factor)
        layer.top_shapes([node.shape])  # before its weights take memory
        node.keep_weights([np.broadcast_to(np.float32(1), layer.weight_shapes([])[0])])
        return layer

    def torch_forward(self, bottoms: list[Tensor], run: TorchRun) -> Sequence[Tensor]:
        from torch.nn import functional

        return (functional.interpolate(bottoms[0], scale_factor=self.factor, mode="nearest"),)
