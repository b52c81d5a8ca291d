"""Compression with fine-tuning between its stages: kept weights adapt to pruning, shared weights move together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from opencv_squeezedet import _checks
from opencv_squeezedet.compression.compress import Compressed, Settings, compress, plan, rounded
from opencv_squeezedet.compression.pruning import kernels_of, prune_layers
from opencv_squeezedet.compression.reference_outputs import input_hessians
from opencv_squeezedet.compression.sharing import half
from opencv_squeezedet.compression.table import layer_rows, total_row
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.evaluation import detect_dataset, evaluate
from opencv_squeezedet.files import write_whole
from opencv_squeezedet.formats import sdz_bytes
from opencv_squeezedet.formats.sdz import parse_sdz, stored_of
from opencv_squeezedet.model import Model, detector_parts
from opencv_squeezedet.network import Network, Weights
from opencv_squeezedet.network.architectures import TRAINABLE
from opencv_squeezedet.pictures import read_picture
from opencv_squeezedet.preprocess import Preprocess
from opencv_squeezedet.progress import OnProgress
from opencv_squeezedet.training import PseudoLabels, Recipe, Schedule, Training
from opencv_squeezedet.training.lock import FolderLock, lock_folder
from opencv_squeezedet.training.training_set import examples_of, fingerprint

_CALIBRATION_PICTURES = 32
_THRESHOLD_BYTES = 16  # by which a score threshold of other digits may lengthen the file


@dataclass(frozen=True)
class Retraining:
    """The amount of training between the stages."""

    pictures: int = 20_000  # seen after each pruning step, and after sharing
    steps: int = 2  # of pruning; each reduces the density by the same factor
    rate: float = 5e-5  # highest learning rate
    batch: int = 32
    seed: int = 0
    workers: int = 2  # data-loading workers

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("pictures", "steps", "batch"):
            _checks.count(name, getattr(self, name))
        _checks.positive("rate", self.rate)


def compress_trained(
    model: Model,
    settings: Settings,
    dataset: Dataset,
    folder: Path,
    *,
    validation: Dataset | None = None,
    teacher: PseudoLabels | None = None,
    retraining: Retraining | None = None,
    report: OnProgress = lambda what, done, total: None,
) -> Compressed:
    """Compress a detector, and fine-tune it after each stage under the constraints of that stage.

    Pruned weights stay exactly 0. Weights are shared by optimal brain quantization on some of the pictures. The weights of a
    cluster have one gradient, the sum of their own, so that the centroids are trained (figure 3 of "Deep Compression"). The
    folder keeps each finished stage and the checkpoints of training, so the same call resumes an interrupted compression.
    With a validation set each stage is evaluated, and the file has the score threshold that is best on it.

    Raises
    ------
    ModelError
        If the network cannot be trained, or cannot be that small.
    ValueError
        If the data set does not fit the model, the folder holds another compression, or another process works in it.
    """
    head, preprocess = detector_parts(model.as_detector().head, model.preprocess)
    if dataset.labels != head.labels:
        raise ValueError(f"the model's labels are {head.labels}, the data set's {dataset.labels}")
    retraining = retraining or Retraining()
    pictures = fingerprint(examples_of(dataset, teacher, validation), validation)
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(folder)
    identity = {"settings": asdict(settings), "retraining": asdict(retraining), "model": model.fingerprint}
    _keep(folder, {**identity, "pictures": pictures})
    stages = _Stages(model.network, head, preprocess, dataset, folder, lock, validation, teacher, retraining, report)
    if validation is not None:  # whose score threshold the file has, so that its size is that of such a description
        settings = settings if settings.size is None else replace(settings, size=settings.size - _THRESHOLD_BYTES)
        model = Model(model.network, model.weights, replace(head, score_threshold=0.99), preprocess, outputs=model.outputs)
    weights = model.weights
    accuracies = stages.accuracy("float", weights)
    densities = {name: choice.density for name, choice in plan(model, settings, report=report).best().items()}
    for step in range(1, retraining.steps + 1):
        at = {name: density ** (step / retraining.steps) for name, density in densities.items()}
        if min(at.values()) < 1:
            weights = stages.trained(f"pruned{step}", prune_layers(weights, at), _mask)
            accuracies |= stages.accuracy(f"pruned{step}", weights)
    pruned = Model(model.network, weights, description=model.description)
    blobs = _inputs(preprocess, dataset)
    hessians = input_hessians(pruned, blobs, lambda done, total: report("inputs", done, total))
    compressed = compress(pruned, settings, densities=densities, hessians=hessians, report=report)
    shared = compressed.model.weights
    accuracies |= stages.accuracy("shared", shared)
    tuned = _joined(shared, stages.trained("tuned", shared, _groups), compressed.choices)
    accuracies |= stages.accuracy("tuned", tuned)
    chosen = "tuned"
    if accuracies and accuracies["tuned"] < accuracies["shared"]:
        chosen, tuned = "shared", shared
    final = Model(model.network, tuned, description=model.description)
    if chosen in stages.thresholds:  # training changes the scores
        head = replace(head, score_threshold=stages.thresholds[chosen])
        final = Model(model.network, tuned, head, preprocess, outputs=model.outputs)
    content = sdz_bytes(model.network, tuned, final.description)
    rows = layer_rows(model.network, stored_of(parse_sdz(content), tuned))
    all_rows = (*rows, total_row(rows, len(content)))
    return replace(compressed, content=content, model=final, rows=all_rows, accuracies=accuracies)


def _inputs(preprocess: Preprocess, dataset: Dataset) -> list[NDArray[np.float32]]:
    """The network's input for some of the readable pictures."""
    blobs = []
    for picture in dataset.pictures[:: -(-len(dataset.pictures) // _CALIBRATION_PICTURES)]:
        with suppress(OSError, ValueError):
            blobs.append(preprocess.blob(read_picture(picture.path)))
    return blobs


def _keep(folder: Path, identity: dict[str, Any]) -> None:
    """Record the compression that the folder belongs to; ValueError if it belongs to another."""
    path, content = folder / "compression.json", json.dumps(identity, indent=1).encode()
    if path.is_file() and path.read_bytes() != content:
        raise ValueError(f"{str(folder)!r} holds another compression, see {path.name}: choose another folder")
    write_whole(path, content)


# ---- constraints ------------------------------------------------------------------------------------------------------


def _mask(kernel: NDArray[np.float32]) -> NDArray[np.int64]:
    """Groups of weights with one gradient: each weight is its own group, but zeros are group 0, which has none."""
    groups = np.arange(1, kernel.size + 1).reshape(kernel.shape)
    return np.where(kernel == 0, 0, groups)


def _groups(kernel: NDArray[np.float32]) -> NDArray[np.int64]:
    """The groups of shared weights: a group for each value."""
    _, codes = np.unique(np.where(kernel == 0, np.float32(0), kernel), return_inverse=True)
    codes = codes.reshape(kernel.shape) + 1
    return np.where(kernel == 0, 0, codes)


def hold(parameter: nn.Parameter, group_of_each: NDArray[np.int64], optimizer: torch.optim.Optimizer) -> None:
    """Keep the weights of a group, which are equal, equal while the optimizer updates them, and those of group 0 zero."""
    groups = torch.from_numpy(group_of_each).to(parameter.device).reshape(-1)
    count = int(groups.max()) + 1
    alone = torch.bincount(groups, minlength=count)[1:].max() <= 1
    first = torch.zeros(count, dtype=torch.int64, device=groups.device)
    first.scatter_(0, groups.flip(0), torch.arange(len(groups) - 1, -1, -1, device=groups.device))
    left = groups != 0

    def summed(changed: Tensor) -> None:
        assert isinstance(changed.grad, Tensor)
        gradient = changed.grad.reshape(-1)
        if not alone:
            gradient = torch.zeros(count, dtype=gradient.dtype, device=gradient.device).index_add_(0, groups, gradient)[groups]
        changed.grad = (gradient * left).reshape(changed.shape)

    def together(*_: Any) -> None:
        """Weights with one gradient move alike except for the last bit, because vectorized code rounds differently."""
        with torch.no_grad():
            values = parameter.reshape(-1)
            parameter.copy_(torch.where(left, values if alone else values[first][groups], 0).reshape(parameter.shape))

    parameter.register_post_accumulate_grad_hook(summed)  # type: ignore[no-untyped-call]
    optimizer.register_step_post_hook(together)


def _joined(shared: Weights, trained: Weights, names: Iterable[str]) -> Weights:
    """The trained weights with a float16 value for each value of the shared weights; biases are rounded to float16."""
    joined = dict(trained)
    for name in names:
        kernel, *others = trained[name]
        groups = _groups(shared[name][0]).ravel()
        sums = np.bincount(groups, kernel.ravel().astype(np.float64))
        means = half(sums / np.maximum(np.bincount(groups), 1))
        means[0] = 0
        joined[name] = [means[groups].reshape(kernel.shape), *map(rounded, others)]
    return joined


# ---- stages ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stages:
    """Trains and evaluates stages; finished stages are read from the folder."""

    network: Network
    head: HeadConfig
    preprocess: Preprocess
    dataset: Dataset
    folder: Path
    lock: FolderLock
    validation: Dataset | None
    teacher: PseudoLabels | None
    retraining: Retraining
    report: OnProgress
    thresholds: dict[str, float] = field(default_factory=dict)

    def trained(self, stage: str, weights: Weights, groups: Callable[[NDArray[np.float32]], NDArray[np.int64]]) -> Weights:
        """Return the weights after training under the constraints of their groups."""
        done = self.folder / f"{stage}.sdz"
        if done.is_file():
            return Model.load(done).weights
        training = Training(
            self._recipe(),
            self.dataset,
            self.folder / stage,
            validation=self.validation,
            teacher=self.teacher,
            start=weights,
            workers=self.retraining.workers,
        )
        trainer = training.trainer
        for name, kernel in kernels_of(Model(self.network, weights)).items():
            parameter, *_ = trainer.model.filters[name.replace(".", "_")].parameters()
            hold(parameter, groups(kernel), trainer.optimizer)
        with closing(training.run(every=max(1, self.retraining.pictures // 4))) as progress:
            for step in progress:
                self.report(stage, step.seen, step.pictures)
        trained = Model(self.network, trainer.ema_network(best=True).weights())
        trained.save(done)
        return trained.weights

    def _recipe(self) -> Recipe:
        config, retraining = self.head, self.retraining
        for name, architecture in TRAINABLE.items():
            try:
                built = architecture.build(len(config.labels), len(config.anchors), config.input_size)
            except ModelError:  # not for this input size
                continue
            if built.layers == self.network.layers:
                return Recipe(
                    network=name,
                    input_size=config.input_size,
                    anchors=config.anchors,
                    pictures=retraining.pictures,
                    batch=retraining.batch,
                    small=0.0,
                    frozen=(),
                    schedule=Schedule(rate=retraining.rate, trunk_rate=1.0),
                    seed=retraining.seed,
                )
        raise ModelError(f"{self.network.name!r} is none of the networks that can be trained: {', '.join(TRAINABLE)}")

    def accuracy(self, stage: str, weights: Weights) -> dict[str, float]:
        """Return the VOC07 mAP under the stage's name, and record the best score threshold; empty without validation."""
        if self.validation is None:
            return {}
        kept = self.folder / f"{stage}.accuracy"
        if kept.is_file():
            accuracy, self.thresholds[stage] = json.loads(kept.read_bytes())
            return {stage: accuracy}
        self.report(f"mAP, {stage}", 0, len(self.validation.pictures))
        detector = SqueezeDet(Model(self.network, weights, self.head, self.preprocess), backend="auto")
        detections = detect_dataset(self.validation, [detector]).detections
        evaluation = evaluate(self.validation, detections, coco=False)
        accuracy, best = evaluation.map_voc07, evaluation.pooled.best.threshold
        self.thresholds[stage] = math.floor(100 * best) / 100
        write_whole(kept, json.dumps([accuracy, self.thresholds[stage]]).encode())
        return {stage: accuracy}
