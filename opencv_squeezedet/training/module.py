"""A `Network` as a torch module, made from its description and converted back to Caffe's blobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

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
    ShuffleChannel,
    Sigmoid,
    Slice,
    Softmax,
    Upsample,
    Weights,
)
from opencv_squeezedet.training.parallel import BatchNorm, dropout

_Filter = nn.Conv2d | nn.ConvTranspose2d


class TorchNetwork(nn.Module):
    """Runs a network's layers one after the other.

    Parameters
    ----------
    network : Network
        The description.
    normalized : collection of str
        Convolutions that get batch normalisation while they are trained; `weights` folds it into their blobs, so that the
        description does not change.
    """

    def __init__(self, network: Network, normalized: Collection[str] = ()) -> None:
        super().__init__()
        self.network = network
        self.filters = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        for step in self.network.trained():
            layer = step.layer
            assert isinstance(layer, (Convolution, Deconvolution))
            key = _key(layer.name)
            self.filters[key] = _filter(layer, step.bottoms[0][1])
            if layer.name in normalized:
                self.norms[key] = BatchNorm(layer.outputs)
        for key in self.filters:
            _initialize(self._filter(key))

    def forward(self, blob: Tensor, outputs: Sequence[str] | None = None) -> tuple[Tensor, ...]:
        """Run the network on a blob (N, C, H, W) and return the named blobs; by default those that no layer reads."""
        wanted = self.network.output_names if outputs is None else tuple(outputs)
        blobs = {self.network.input_name: blob}
        for layer in self.network.layers:
            if all(name in blobs for name in wanted) and not set(layer.tops) & set(wanted):
                break
            tops = self._run(layer, [blobs[name] for name in layer.bottoms])
            blobs.update(zip(layer.tops, tops, strict=True))
        return tuple(blobs[name] for name in wanted)

    def _run(self, layer: Layer, bottoms: list[Tensor]) -> Sequence[Tensor]:
        if isinstance(layer, (Convolution, Deconvolution)):
            key = _key(layer.name)
            x = self._filtered(layer, key, bottoms[0])
            return (self._norm(key)(x) if key in self.norms else x,)
        return _OPERATIONS[type(layer)](layer, bottoms, self.training)

    def _filter(self, key: str) -> _Filter:
        return cast(_Filter, self.filters[key])

    def _norm(self, key: str) -> nn.BatchNorm2d:
        return cast(nn.BatchNorm2d, self.norms[key])

    def _filtered(self, layer: Convolution | Deconvolution, key: str, x: Tensor) -> Tensor:
        if isinstance(layer, Deconvolution) and x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):  # on the CPU it is far slower in bfloat16
                return cast(Tensor, self._filter(key)(x.float()))
        return cast(Tensor, self._filter(key)(x))

    def load_weights(self, weights: Mapping[str, Sequence[NDArray[np.float32]]], *, strict: bool = True) -> list[str]:
        """Load a network's blobs, and return the names of the layers that got theirs.

        If ``strict`` is false, a layer whose weights are missing or have another shape keeps its own.

        Raises
        ------
        ModelError
            If ``strict`` is true and a layer's weights are missing or do not fit; the message names the layer.
        """
        if strict:
            self.network.check_weights(weights)
        loaded = []
        for step in self.network.trained():
            blobs = weights.get(step.layer.name, ())
            if [tuple(blob.shape) for blob in blobs] != step.weights:
                continue
            module = self.filters[_key(step.layer.name)]
            with torch.no_grad():
                for parameter, blob in zip(module.parameters(), blobs, strict=True):
                    parameter.copy_(torch.from_numpy(np.array(blob, np.float32)))
            loaded.append(step.layer.name)
        return loaded

    def weights(self) -> Weights:
        """Return the blobs of each layer, batch normalisation folded in."""
        weights = self.network.zero_weights()  # which has the fixed ones
        return weights | {step.layer.name: self._folded(_key(step.layer.name)) for step in self.network.trained()}

    def _folded(self, key: str) -> list[NDArray[np.float32]]:
        blobs = [parameter.detach().double().cpu() for parameter in self.filters[key].parameters()]
        if key in self.norms:
            norm = self._norm(key)
            kernel, bias = blobs
            names = ("weight", "bias", "running_mean", "running_var")
            gain, offset, mean, variance = (getattr(norm, name).detach().double().cpu() for name in names)
            scale = gain / torch.sqrt(variance + norm.eps)
            shift = offset - mean * scale
            blobs = [kernel * scale[:, None, None, None], bias * scale + shift]
        return [blob.float().numpy() for blob in blobs]

    def kernel(self, layer: str) -> Tensor:
        """Return a layer's kernel, without its batch normalisation."""
        return self._filter(_key(layer)).weight

    def settle(self, layers: Collection[str], blob: Tensor) -> None:
        """Give the named layers' batch normalisation the statistics of a blob, so that it changes nothing at first."""
        norms = [self._norm(_key(name)) for name in layers if _key(name) in self.norms]
        hooks = [norm.register_forward_pre_hook(_neutral) for norm in norms]
        *_, last = self.network.weighted()
        try:
            with torch.no_grad():
                self.eval()(blob, last.layer.tops)
        finally:
            for hook in hooks:
                hook.remove()

    def freeze(self, layers: Collection[str]) -> None:
        """Keep the named layers as they are while the rest is trained."""
        for step in self.network.trained():
            for parameter in self.filters[_key(step.layer.name)].parameters():
                parameter.requires_grad_(step.layer.name not in layers)


def _neutral(module: nn.Module, inputs: tuple[Tensor]) -> None:
    norm = cast(nn.BatchNorm2d, module)
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
    for tensor, value in (
        (norm.running_mean, mean),
        (norm.running_var, variance),
        (norm.bias, mean),
        (norm.weight, (variance + norm.eps).sqrt()),
    ):
        cast(Tensor, tensor).copy_(value)


def _key(name: str) -> str:
    return name.replace(".", "_")  # torch does not allow dots in names


def _filter(layer: Convolution | Deconvolution, inputs: int) -> _Filter:
    kind: type[_Filter] = nn.Conv2d if isinstance(layer, Convolution) else nn.ConvTranspose2d
    return kind(
        inputs,
        layer.outputs,
        layer.kernel,
        stride=layer.stride,
        padding=layer.pad,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias,
    )


def _initialize(module: _Filter) -> None:
    weight, bias = module.weight, module.bias
    if isinstance(module, nn.ConvTranspose2d):  # starts as an interpolation
        sides = [1 - torch.linspace(-1, 1, side + 2)[1:-1].abs() for side in module.kernel_size]
        nn.init.zeros_(weight)
        with torch.no_grad():
            weight.copy_(torch.outer(sides[0], sides[1]).expand_as(weight) / (weight.shape[0] // module.groups))
    else:
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
    if bias is not None:
        nn.init.zeros_(bias)


def _relu(layer: ReLU, bottoms: list[Tensor], training: bool) -> Sequence[Tensor]:
    in_place = layer.tops == layer.bottoms
    if layer.slope:
        return (functional.leaky_relu(bottoms[0], layer.slope, in_place),)
    return (functional.relu(bottoms[0], in_place),)


def _pool(layer: Pooling, bottoms: list[Tensor], training: bool) -> Sequence[Tensor]:
    x = bottoms[0]
    if layer.kernel is None:
        return (x.amax((2, 3), keepdim=True) if layer.method == "max" else x.mean((2, 3), keepdim=True),)
    if layer.method == "max":
        return (functional.max_pool2d(x, layer.kernel, layer.stride, layer.pad, ceil_mode=True),)
    return (functional.avg_pool2d(x, layer.kernel, layer.stride, layer.pad, ceil_mode=True),)


def _slice(layer: Slice, bottoms: list[Tensor], training: bool) -> Sequence[Tensor]:
    return torch.tensor_split(bottoms[0], layer.points, dim=layer.axis)


def _reshape(layer: Reshape, bottoms: list[Tensor], training: bool) -> Sequence[Tensor]:
    shape = bottoms[0].shape
    return (bottoms[0].reshape([shape[i] if dim == 0 else dim for i, dim in enumerate(layer.dims)]),)


def _upsample(layer: Upsample, bottoms: list[Tensor], training: bool) -> Sequence[Tensor]:
    return (functional.interpolate(bottoms[0], scale_factor=layer.factor, mode="nearest"),)


def _shuffle(layer: ShuffleChannel, bottoms: list[Tensor], training: bool) -> Sequence[Tensor]:
    return (functional.channel_shuffle(bottoms[0], layer.groups),)


_OPERATIONS: dict[type[Layer], Callable[..., Sequence[Tensor]]] = {
    ReLU: _relu,
    Dropout: lambda layer, bottoms, training: (dropout(bottoms[0], layer.ratio, training),),
    Sigmoid: lambda layer, bottoms, training: (bottoms[0].sigmoid(),),
    Softmax: lambda layer, bottoms, training: (bottoms[0].softmax(layer.axis),),
    Concat: lambda layer, bottoms, training: (torch.cat(bottoms, layer.axis),),
    Eltwise: lambda layer, bottoms, training: (sum(bottoms[1:], bottoms[0]),),
    Permute: lambda layer, bottoms, training: (bottoms[0].permute(layer.order),),
    Pooling: _pool,
    Slice: _slice,
    Reshape: _reshape,
    Upsample: _upsample,
    ShuffleChannel: _shuffle,
}
