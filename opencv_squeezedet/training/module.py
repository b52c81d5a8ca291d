"""A `Network` as a torch module, made from its description and turned back into Caffe's blobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

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
    Sigmoid,
    Slice,
    Softmax,
    Weights,
)


class TorchNetwork(nn.Module):
    """Runs a network's layers one after the other.

    Parameters
    ----------
    network : Network
        The description.
    normalized : collection of str
        Convolutions that get batch normalisation while they are trained; `weights` folds it into their blobs, so that the
        description stays what it is.
    """

    def __init__(self, network: Network, normalized: Collection[str] = ()) -> None:
        super().__init__()
        self.network = network
        self.filters = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        for step in network.weighted():
            layer = step.layer
            assert isinstance(layer, (Convolution, Deconvolution))
            key = _key(layer.name)
            self.filters[key] = _filter(layer, step.bottoms[0][1])
            if layer.name in normalized:
                self.norms[key] = nn.BatchNorm2d(layer.outputs)
        for module in self.filters.values():
            _initialize(module)

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
            return (self.norms[key](x) if key in self.norms else x,)
        return _OPERATIONS[type(layer)](layer, bottoms, self.training)

    def _filtered(self, layer: Convolution | Deconvolution, key: str, x: Tensor) -> Tensor:
        if isinstance(layer, Deconvolution) and x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):  # far slower in bfloat16 there
                return self.filters[key](x.float())
        return self.filters[key](x)

    def load_weights(self, weights: Mapping[str, Sequence[NDArray[np.float32]]], *, strict: bool = True) -> list[str]:
        """Take a network's blobs, and return the names of the layers that got theirs.

        With ``strict`` false a layer whose weights are missing, or of another shape, keeps what it has.

        Raises
        ------
        ModelError
            With ``strict``, that names the layer whose weights are missing or do not fit.
        """
        if strict:
            self.network.check_weights(weights)
        loaded = []
        for step in self.network.weighted():
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
        return {step.layer.name: self._folded(_key(step.layer.name)) for step in self.network.weighted()}

    def _folded(self, key: str) -> list[NDArray[np.float32]]:
        blobs = [parameter.detach().double().cpu() for parameter in self.filters[key].parameters()]
        if key in self.norms:
            norm = self.norms[key]
            scale = norm.weight.detach().double().cpu() / torch.sqrt(norm.running_var.double().cpu() + norm.eps)
            kernel, bias = blobs
            shift = norm.bias.detach().double().cpu() - norm.running_mean.double().cpu() * scale
            blobs = [kernel * scale[:, None, None, None], bias * scale + shift]
        return [blob.float().numpy() for blob in blobs]

    def freeze(self, layers: Collection[str]) -> None:
        """Keep the named layers as they are while the rest is trained."""
        for step in self.network.weighted():
            for parameter in self.filters[_key(step.layer.name)].parameters():
                parameter.requires_grad_(step.layer.name not in layers)


def _key(name: str) -> str:
    return name.replace(".", "_")  # torch wants no dots in names


def _filter(layer: Convolution | Deconvolution, inputs: int) -> nn.Module:
    kind = nn.Conv2d if isinstance(layer, Convolution) else nn.ConvTranspose2d
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


def _initialize(module: nn.Module) -> None:
    weight, bias = module.weight, module.bias
    if isinstance(module, nn.ConvTranspose2d):  # interpolates, to begin with
        sides = [1 - torch.linspace(-1, 1, side + 2)[1:-1].abs() for side in module.kernel_size]
        nn.init.zeros_(weight)
        with torch.no_grad():
            weight.copy_(torch.outer(*sides).expand_as(weight) / (weight.shape[0] // module.groups))
    else:
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
    if bias is not None:
        nn.init.zeros_(bias)


def _relu(layer: ReLU, bottoms: list[Tensor], training: bool) -> Sequence[Tensor]:
    in_place = layer.tops == layer.bottoms
    if layer.slope:
        return (F.leaky_relu(bottoms[0], layer.slope, in_place),)
    return (F.relu(bottoms[0], in_place),)


def _pool(layer: Pooling, bottoms: list[Tensor], training: bool) -> Sequence[Tensor]:
    if layer.kernel is None:
        pool = F.adaptive_max_pool2d if layer.method == "max" else F.adaptive_avg_pool2d
        return (pool(bottoms[0], 1),)
    pool = F.max_pool2d if layer.method == "max" else F.avg_pool2d
    return (pool(bottoms[0], layer.kernel, layer.stride, layer.pad, ceil_mode=True),)


def _slice(layer: Slice, bottoms: list[Tensor], training: bool) -> Sequence[Tensor]:
    return torch.tensor_split(bottoms[0], layer.points, dim=layer.axis)


def _reshape(layer: Reshape, bottoms: list[Tensor], training: bool) -> Sequence[Tensor]:
    shape = bottoms[0].shape
    return (bottoms[0].reshape([shape[i] if dim == 0 else dim for i, dim in enumerate(layer.dims)]),)


_OPERATIONS: dict[type[Layer], Callable[..., Sequence[Tensor]]] = {
    ReLU: _relu,
    Dropout: lambda layer, bottoms, training: (F.dropout(bottoms[0], layer.ratio, training),),
    Sigmoid: lambda layer, bottoms, training: (bottoms[0].sigmoid(),),
    Softmax: lambda layer, bottoms, training: (bottoms[0].softmax(layer.axis),),
    Concat: lambda layer, bottoms, training: (torch.cat(bottoms, layer.axis),),
    Eltwise: lambda layer, bottoms, training: (sum(bottoms[1:], bottoms[0]),),
    Permute: lambda layer, bottoms, training: (bottoms[0].permute(layer.order),),
    Pooling: _pool,
    Slice: _slice,
    Reshape: _reshape,
}
