"""The training loop: batches in, a better network out, and a checkpoint that survives a kill at any moment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opencv_squeezedet.files import temporary_beside
from opencv_squeezedet.training.data import Batch, Feed
from opencv_squeezedet.training.head import Predictions, predictions
from opencv_squeezedet.training.losses import AlignedLoss, Losses, Targets
from opencv_squeezedet.training.module import TorchNetwork

_LOGITS = ("delta_bbox", "soft_class_reg", "sig_conf_reg")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the network is changed.

    Parameters
    ----------
    rate : float
        Highest learning rate of AdamW, for new layers.
    trunk_rate : float
        Factor on it for layers that began with weights.
    warm_up : int
        Pictures over which the rate rises; after that it falls along a cosine.
    last_rate : float
        Factor on the rate at the end.
    decay : float
        Weight decay of kernels.
    average : float
        Decay of the exponential moving average of the weights, a step; the average is what is kept and measured.
    clip : float
        Largest norm of the gradient.
    bfloat16 : bool
        Whether the network runs in bfloat16, where that is faster.
    """

    rate: float = 1.2e-3
    trunk_rate: float = 0.33
    warm_up: int = 4000
    last_rate: float = 0.02
    decay: float = 0.02
    average: float = 0.998
    clip: float = 10.0
    bfloat16: bool = True

    def factor(self, seen: int, total: int) -> float:
        """Return the factor on the rate after this many pictures."""
        if seen < self.warm_up:
            return (seen + 1) / self.warm_up
        done = (seen - self.warm_up) / max(1, total - self.warm_up)
        return self.last_rate + (1 - self.last_rate) * (1 + math.cos(math.pi * min(1.0, done))) / 2


@dataclass
class Trainer:
    """Trains one network; `run` goes on where the checkpoint ends.

    Parameters
    ----------
    model : TorchNetwork
        The network; its trainable weights are changed.
    loaded : list of str
        The layers that began with weights.
    feed : Feed
        The pictures.
    losses : function
        From an input size to the loss for it.
    schedule : Schedule
        The rates.
    checkpoint : Path
        File that keeps everything that `run` needs to go on.
    """

    model: TorchNetwork
    loaded: list[str]
    feed: Feed
    losses: Callable[[tuple[int, int]], AlignedLoss]
    schedule: Schedule
    checkpoint: Path
    seen: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the optimizer and the average, and take up what the checkpoint holds."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.to(self.device, memory_format=torch.channels_last)
        self.average = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self._groups(), lr=self.schedule.rate, betas=(0.9, 0.99))
        self.best = -1.0
        if self.checkpoint.is_file():
            self._load(torch.load(self.checkpoint, map_location=self.device, weights_only=True))

    def _groups(self) -> list[dict[str, Any]]:
        trunk = {self.model.filters[name.replace(".", "_")] for name in self.loaded}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for module in self.model.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.requires_grad:
                    groups.setdefault((module in trunk, parameter.ndim > 1), []).append(parameter)
        return [
            {
                "params": parameters,
                "factor": self.schedule.trunk_rate if in_trunk else 1.0,
                "weight_decay": self.schedule.decay if is_kernel else 0.0,
            }
            for (in_trunk, is_kernel), parameters in groups.items()
        ]

    def run(self) -> Iterator[Losses]:
        """Train to the end, and yield the losses of each step."""
        mean = torch.tensor(self.feed.mean, device=self.device)
        start = time.monotonic() - self.seconds
        for batch in self.feed.batches(self.seen):
            losses = self.step(batch, mean)
            self.seen += len(batch.images)
            self.seconds = time.monotonic() - start
            yield losses

    def step(self, batch: Batch, mean: Tensor) -> Losses:
        """Change the weights for one batch."""
        self.model.train()
        factor = self.schedule.factor(self.seen, self.feed.pictures)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate * factor * group["factor"]
        blob = (batch.images.to(self.device).float() - mean).permute(0, 3, 1, 2)
        targets = Targets(*(tensor.to(self.device) for tensor in batch.targets))
        size = blob.shape[3], blob.shape[2]
        loss = self.losses(size)
        losses = loss(self.predict(blob, loss), targets)
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        self.optimizer.step()
        self._follow()
        return Losses(*(part.detach() for part in losses))

    def predict(self, blob: Tensor, loss: AlignedLoss) -> Predictions:
        """Run the network."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.schedule.bfloat16):
            blobs = self.model(blob, _LOGITS)
        return predictions(blobs[0], blobs[1], blobs[2], loss.config)

    def _follow(self) -> None:
        steps = self.seen / self.feed.batch
        decay = min(self.schedule.average, (1 + steps) / (20 + steps))
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                if tensor.is_floating_point():
                    self.average[name].lerp_(tensor, 1 - decay)
                else:
                    self.average[name].copy_(tensor)

    def averaged(self) -> TorchNetwork:
        """Return a network with the averaged weights."""
        model = TorchNetwork(self.model.network, [key for key in self.model.norms])
        model.load_state_dict(self.average)
        return model.eval()

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        temporary = temporary_beside(self.checkpoint)
        try:
            torch.save(
                {
                    "model": self.model.state_dict(),
                    "average": self.average,
                    "optimizer": self.optimizer.state_dict(),
                    "seen": self.seen,
                    "seconds": self.seconds,
                    "best": self.best,
                    "history": self.history,
                },
                temporary,
            )
            temporary.replace(self.checkpoint)
        finally:
            temporary.unlink(missing_ok=True)

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.seen, self.seconds, self.best, self.history = (state[name] for name in ("seen", "seconds", "best", "history"))
