"""A `Network` as a torch module, made from its description and converted back to Caffe's blobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from opencv_squeezedet.network import Network, Weights
from opencv_squeezedet.network.layers.interfaces import TorchRun
from opencv_squeezedet.training.parallel import BatchNorm, dropout


class TorchNetwork(nn.Module):
    """Runs a network's layers one after the other.

    The convolutions in ``normalized`` get batch normalisation while they are trained; `weights` folds it into their blobs, so
    that the description does not change.
    """

    def __init__(self, network: Network, normalized: Collection[str] = ()) -> None:
        super().__init__()
        self.network = network
        self.filters = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        for step in network.trained():
            key = _key(step.layer.name)
            self.filters[key] = step.layer.torch_module(step.bottoms)
            if step.layer.name in normalized:
                self.norms[key] = BatchNorm(step.tops[0][1])
        for step in network.trained():
            step.layer.torch_initialize(self.filters[_key(step.layer.name)])

    def forward(self, blob: Tensor, outputs: Sequence[str] | None = None) -> tuple[Tensor, ...]:
        """Run the network on a blob (N, C, H, W) and return the named blobs; by default those that no layer reads."""
        wanted = self.network.output_names if outputs is None else tuple(outputs)
        blobs = {self.network.input_name: blob}
        for layer in self.network.layers:
            if all(name in blobs for name in wanted) and not set(layer.tops) & set(wanted):
                break
            key = _key(layer.name)
            own = self.filters[key] if key in self.filters else nn.Identity()
            run = TorchRun(own, lambda x, ratio: dropout(x, ratio, self.training))
            tops = layer.torch_forward([blobs[name] for name in layer.bottoms], run)
            blobs.update(zip(layer.tops, [self._norm(key)(tops[0])] if key in self.norms else tops, strict=True))
        return tuple(blobs[name] for name in wanted)

    def _norm(self, key: str) -> nn.BatchNorm2d:
        return cast(nn.BatchNorm2d, self.norms[key])

    def load_weights(self, weights: Mapping[str, Sequence[NDArray[np.float32]]], *, strict: bool = True) -> list[str]:
        """Load a network's blobs, and return the names of the layers that got theirs.

        If ``strict`` is false, a layer whose weights are missing or have another shape keeps its own. ModelError if ``strict``
        is true and a layer's weights are missing or do not fit; the message names the layer.
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
        weights = self.network.zero_weights()  # with the fixed weights
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
        return cast(Tensor, self.filters[_key(layer)].weight)

    def init_batchnorm(self, layers: Collection[str], blob: Tensor) -> None:
        """Give the named layers' batch normalisation the statistics of a blob, so that it changes nothing at first."""
        norms = [self._norm(_key(name)) for name in layers if _key(name) in self.norms]
        self.eval()._run_with(_neutral, norms, blob)

    def init_inputs(self, layers: Collection[str], blob: Tensor) -> None:
        """Scale the named layers' kernels as if each input channel had a mean square of 1, so that quiet channels count.

        Channels that are 0 in this blob, but perhaps not in the next blob, are scaled like the layer's average channel.
        """
        statistics = [buffer.clone() for buffer in self.buffers()]
        self.train()._run_with(_scale_inputs, [self.filters[_key(name)] for name in layers], blob)  # as in the first step
        for buffer, before in zip(self.buffers(), statistics, strict=True):
            buffer.copy_(before)

    def _run_with(self, hook: Callable[[nn.Module, Any], None], modules: Sequence[nn.Module], blob: Tensor) -> None:
        """Run the network on a blob, and the hook before each of these modules."""
        hooks = [module.register_forward_pre_hook(hook) for module in modules]
        *_, last = self.network.trained()
        try:
            with torch.no_grad():
                self(blob, last.layer.tops)
        finally:
            for handle in hooks:
                handle.remove()

    def freeze(self, layers: Collection[str]) -> None:
        """Keep the named layers as they are while the rest is trained."""
        for step in self.network.trained():
            for parameter in self.filters[_key(step.layer.name)].parameters():
                parameter.requires_grad_(step.layer.name not in layers)


def _neutral(module: nn.Module, inputs: tuple[Tensor]) -> None:
    norm = cast(nn.BatchNorm2d, module)
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
    tensors = norm.running_mean, norm.running_var, norm.bias, norm.weight
    for tensor, value in zip(tensors, (mean, variance, mean, (variance + norm.eps).sqrt()), strict=True):
        cast(Tensor, tensor).copy_(value)


def _scale_inputs(module: nn.Module, inputs: tuple[Tensor]) -> None:
    conv = cast(nn.Conv2d, module)
    squares = inputs[0].square().mean((0, 2, 3))
    average = squares.mean().clamp(min=1e-12)
    rms = squares.where(squares > 1e-10 * average, average).sqrt().view(conv.groups, -1)  # a row for each group
    per_group = conv.out_channels // conv.groups
    conv.weight.div_(rms.repeat_interleave(per_group, dim=0)[:, :, None, None])


def _key(name: str) -> str:
    return name.replace(".", "_")  # torch does not allow dots in names
