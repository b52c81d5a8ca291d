"""The training loop, and its checkpoint, which survives a kill at any moment."""

from __future__ import annotations

import io
import math
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opencv_squeezedet import _checks
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.files import named_errors
from opencv_squeezedet.training import parallel
from opencv_squeezedet.training.data import Batch, BatchStream
from opencv_squeezedet.training.interrupts import deferred_signals
from opencv_squeezedet.training.losses import Assigned, Loss, Losses, Targets
from opencv_squeezedet.training.module import TorchNetwork
from opencv_squeezedet.training.precision import StepTimes, set_layout, supports_bfloat16, time_steps
from opencv_squeezedet.training.predictions import Predictions, predictions

LOGITS = ("delta_bbox", "soft_class_reg", "sig_conf_reg")
_KEPT = ("ema", "seen", "seconds", "pending", "best", "best_ema", "history")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate, weight decay, EMA and precision.

    Parameters
    ----------
    rate : float
        Highest learning rate of AdamW, for new layers.
    trunk_rate : float
        Factor on the rate for layers that started from loaded weights.
    warm_up : float
        Fraction of the training over which the rate rises.
    flat : float
        Fraction of the training until which the rate is constant; then it falls along a cosine. Until then a training can be
        made longer or shorter without any other effect.
    last_rate : float
        Factor on the rate at the end.
    decay : float
        Weight decay of kernels.
    ema : float
        Decay per step of the exponential moving average (EMA) of the weights, which is measured and written.
    clip : float
        Largest norm of the gradient.
    bfloat16 : bool
        Whether the network may be trained in bfloat16: on GPUs that support it, and on CPUs with AVX512-BF16 or AMX if two
        steps in each precision show that it is faster. Otherwise it is trained in float32.

    Raises
    ------
    ValueError, TypeError
        If a field is invalid; the message names it, what was expected and what was given.
    """

    rate: float = 1.2e-3
    trunk_rate: float = 0.33
    warm_up: float = 0.03
    flat: float = 0.0
    last_rate: float = 0.02
    decay: float = 0.02
    ema: float = 0.998
    clip: float = 10.0
    bfloat16: bool = True

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("warm_up", "flat", "last_rate", "ema"):
            _checks.fraction(name, getattr(self, name))
        for name in ("rate", "trunk_rate", "decay", "clip"):
            if _checks.finite(name, getattr(self, name)) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        _checks.flag("bfloat16", self.bfloat16)

    def factor(self, seen: int, total: int) -> float:
        """Return the factor on the rate after ``seen`` of ``total`` pictures."""
        rise = self.warm_up * total
        if seen < rise:
            return min(1.0, (seen + 1) / rise)
        begin = max(rise, self.flat * total)
        done = (seen - begin) / max(1.0, total - begin)
        return self.last_rate + (1 - self.last_rate) * (1 + math.cos(math.pi * min(1.0, max(0.0, done)))) / 2


@dataclass
class Trainer:
    """Trains a network; `run` resumes from the checkpoint.

    ModelError if the checkpoint cannot be read, or is of another network, other classes or other pictures.
    """

    model: TorchNetwork  # its trainable weights are updated in place
    loaded: list[str]  # the layers that started from loaded weights
    stream: BatchStream
    losses: Callable[[tuple[int, int]], Loss]  # from an input size to its loss
    schedule: Schedule
    checkpoint: Path  # the file with everything that `run` needs to resume
    labels: tuple[str, ...]  # a checkpoint with other classes is refused
    fingerprint: str  # of the pictures and their objects; a checkpoint with another fingerprint is refused
    seen: int = 0  # pictures, and the time that took
    seconds: float = 0.0
    pending: list[list[float]] = field(default_factory=list)  # losses and gradient norm of each step since the last log row
    history: list[dict[str, float]] = field(default_factory=list)  # rows of the log

    def __post_init__(self) -> None:
        """Make the optimizer and the EMA, and load the checkpoint, if any."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.to(self.device)
        if parallel.from_first(lambda: self.fingerprint) != self.fingerprint:
            raise ValueError("the processes have different pictures or objects")
        for size in {self.stream.batch, self.stream.pictures % self.stream.batch} - {0}:
            if size < parallel.count():
                raise ValueError(
                    f"a batch of {size} is too small for {parallel.count()} processes: choose other pictures or batch"
                )
        content = parallel.from_first(lambda: self.checkpoint.read_bytes() if self.checkpoint.is_file() else None)
        state = None if content is None else self._read(content)
        self.step_times: StepTimes | None = None
        self.bfloat16 = self._chooses_bfloat16(None if state is None else state["bfloat16"])
        set_layout(self.model)
        self.ema = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self._groups(), lr=self.schedule.rate, betas=(0.9, 0.99))
        self.best, self.best_ema = -1.0, self.ema
        if state is not None:
            self._take_up(state)

    def _chooses_bfloat16(self, saved: bool | None) -> bool:
        """Whether to train in bfloat16: as the checkpoint says; without it, on a CPU, if two steps show that it is faster."""
        if not self.schedule.bfloat16 or not supports_bfloat16(self.device):
            return False
        if self.device.type == "cuda" or saved is not None:
            return self.device.type == "cuda" or bool(saved)
        requests = self.stream.requests(0)
        width, height = requests[0].size
        shape = (len(parallel.own(requests)), height, width)
        self.step_times = parallel.from_first(lambda: time_steps(self.model, LOGITS, shape))
        return self.step_times.bfloat16 < self.step_times.float32

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

    def run(self) -> Iterator[Batch]:
        """Train to the end, and yield each batch after its step; between two of them `save` may be called.

        Ctrl-C and the death of a data-loading worker are handled between two steps. If another process of this training ends
        during a step, that step has no effect.
        """
        start = time.monotonic() - self.seconds
        for batch in self.stream.batches(self.seen):
            with deferred_signals():
                problems = parallel.gathered(batch.problems)
                losses, norm = self.step(batch)
                self.seen = min(self.seen + self.stream.batch, self.stream.pictures)
                self.seconds = time.monotonic() - start
                self.pending.append(torch.stack([*losses, norm]).tolist())
            yield batch._replace(problems=problems)

    @property
    def rate(self) -> float:
        """The learning rate of new layers."""
        return self.schedule.rate * self.schedule.factor(self.seen, self.stream.pictures)

    def step(self, batch: Batch) -> tuple[Losses, Tensor]:
        """Update the weights with one batch, and return its losses and the norm of the gradient.

        The result depends only on the weights, the batch and ``seen``.
        """
        torch.manual_seed(self.seen)  # for dropout
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        with self._statistics_kept():
            loss, predicted, targets = self.forward(batch)
            losses = torch.stack(loss(predicted, targets))
            losses.sum().backward()  # type: ignore[no-untyped-call]
            parallel.sum_gradients(self.model.parameters())
            losses = parallel.summed(losses.detach())
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        self.optimizer.step()
        self._update_ema()
        return Losses(*losses), norm

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """Undo the update of batch normalisation's statistics if another process of this training ends in the block."""
        before = [buffer.clone() for buffer in self.model.buffers()] if parallel.count() > 1 else []
        try:
            yield
        except ChildProcessError:
            for buffer, old in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(old)
            raise

    def assigned(self, batch: Batch) -> Assigned:
        """Return the anchors that are assigned to the objects of a batch, given the current weights."""
        self.model.eval()
        with torch.no_grad():
            loss, predicted, targets = self.forward(batch)
        return loss.assigned(predicted, targets)

    def forward(self, batch: Batch) -> tuple[Loss, Predictions, Targets]:
        """Return the loss for a batch's size, the network's predictions, and the batch's objects on the same device."""
        blob = batch.blob(self.stream.mean, self.device)
        targets = Targets(*(tensor.to(self.device) for tensor in batch.targets))
        loss = self.losses((blob.shape[3], blob.shape[2]))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            delta_bbox, classes, confidence = self.model(blob, LOGITS)
        return loss, predictions(delta_bbox, classes, confidence, loss.config), targets

    def _update_ema(self) -> None:
        steps = self.seen / self.stream.batch
        decay = min(self.schedule.ema, (1 + steps) / (20 + steps))
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                if tensor.is_floating_point():
                    self.ema[name].lerp_(tensor, 1 - decay)
                else:
                    self.ema[name].copy_(tensor)

    def ema_network(self, *, best: bool = False) -> TorchNetwork:
        """Return a network with the EMA of the weights: the last or, if accuracy was measured, the ``best`` EMA."""
        model = TorchNetwork(self.model.network, list(self.model.norms))
        model.load_state_dict(self.best_ema if best and self.best >= 0 else self.ema)
        return model.to(self.device).eval()

    def keep_best(self, accuracy: float) -> None:
        """Keep the EMA if it is the best so far."""
        if accuracy > self.best:
            with deferred_signals():
                self.best = accuracy
                self.best_ema = {name: tensor.clone() for name, tensor in self.ema.items()}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        with deferred_signals():
            content = io.BytesIO()  # torch.save does not raise OSError when the disk is full
            kept = {name: getattr(self, name) for name in ("bfloat16", *_KEPT)}
            states = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            torch.save({"labels": list(self.labels), "fingerprint": self.fingerprint, **states, **kept}, content)
            new = self.checkpoint.with_suffix(".new")  # a fixed name, so that the file a kill leaves behind is overwritten
            try:
                with named_errors(self.checkpoint):
                    with new.open("wb") as file:
                        file.write(content.getbuffer())
                        file.flush()
                        os.fsync(file.fileno())  # a power cut must not leave the new name without its content
                    new.replace(self.checkpoint)
            finally:
                new.unlink(missing_ok=True)

    def _read(self, content: bytes) -> dict[str, Any]:
        try:
            state = torch.load(io.BytesIO(content), map_location=self.device, weights_only=True)
            labels, fingerprint = tuple(state["labels"]), state["fingerprint"]
            kept = {name: state[name] for name in ("model", "optimizer", "bfloat16", *_KEPT)}
        except (RuntimeError, ValueError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise ModelError(f"{self.checkpoint} is damaged: remove it, or choose another folder") from error
        if labels != self.labels or fingerprint != self.fingerprint:
            run = f"with the classes {', '.join(labels)}" if labels != self.labels else "on other pictures or objects"
            raise ModelError(f"{self.checkpoint} belongs to a training run {run}: choose another folder")
        return kept

    def _take_up(self, state: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{self.checkpoint} belongs to a network that started from other weights: choose another folder"
            ) from error
        for name in _KEPT:
            setattr(self, name, state[name])
