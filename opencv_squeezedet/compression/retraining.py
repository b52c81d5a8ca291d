"""Compression with training in between: weights that are left learn to do without the others, shared ones move together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from opencv_squeezedet import _checks
from opencv_squeezedet.compression.compress import Compressed, Report, Settings, compress, key_of
from opencv_squeezedet.compression.outputs import layer_moments
from opencv_squeezedet.compression.pruning import prune
from opencv_squeezedet.compression.sharing import half
from opencv_squeezedet.compression.table import rows_of, total_of
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.evaluation import detect_dataset, evaluate
from opencv_squeezedet.files import read_picture, write_whole
from opencv_squeezedet.formats import sdz_bytes
from opencv_squeezedet.formats.sdz import parse_sdz, stored_of
from opencv_squeezedet.model import Model, detector_parts
from opencv_squeezedet.network import Network, Weights
from opencv_squeezedet.network.architectures import TRAINABLE
from opencv_squeezedet.preprocess import Preprocess
from opencv_squeezedet.training import PseudoLabels, Recipe, Schedule, Training
from opencv_squeezedet.training.lock import FolderLock, lock_folder
from opencv_squeezedet.training.loop import Trainer
from opencv_squeezedet.training.training_set import examples_of, fingerprint

_LOOKED_AT = 32  # pictures, by what layers read of which shared weights make up for each other's errors


@dataclass(frozen=True)
class Retraining:
    """How much is trained between the stages.

    Parameters
    ----------
    pictures : int
        How many are seen after each step of pruning, and after sharing.
    steps : int
        In how many steps weights are pruned: the density falls by the same factor in each.
    rate : float
        Highest learning rate.
    batch : int
        Pictures in a step of training.
    seed : int
        Of everything that is random.
    workers : int
        Processes that read pictures.
    """

    pictures: int = 20_000
    steps: int = 2
    rate: float = 5e-5
    batch: int = 32
    seed: int = 0
    workers: int = 2

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
    report: Report = lambda what, done, total: None,
) -> Compressed:
    """Compress a detector, and train it after each step with what that decided held.

    Pruned weights stay exactly 0. When weights are shared, they make up for each other's errors as far as some of the pictures
    show them. Shared ones have one gradient, the sum of all their own, so that the centroids are what is
    trained (figure 3 of "Deep Compression"). Each stage is kept in the folder when it is done, and training has its own
    checkpoints, so that a compression that was stopped is resumed by the same call.

    Parameters
    ----------
    model : Model
        The detector.
    settings : Settings
        How far.
    dataset : Dataset
        The pictures to train on; its labels must be the model's.
    folder : Path
        Where the stages are kept.
    validation : Dataset, optional
        Pictures to measure each stage on; the score threshold in the file is then the one that is best on them.
    teacher : PseudoLabels, optional
        As for `Training`.
    retraining : Retraining, optional
        How much is trained.
    report : function, optional
        Is told the progress.

    Raises
    ------
    ModelError
        If the network is not one that can be trained.
    ValueError
        If the data set does not fit the model, the folder holds another compression, or another process works in it.
    """
    head, preprocess = detector_parts(model.as_detector().head, model.preprocess)
    if dataset.labels != head.labels:
        raise ValueError(f"the model's labels are {head.labels}, the data set's {dataset.labels}")
    weights = model.weights
    retraining = retraining or Retraining()
    told = {"settings": asdict(settings), "retraining": asdict(retraining), "weights": key_of(weights)}
    pictures = fingerprint(examples_of(dataset, teacher, validation), validation)
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(folder)
    _keep(folder, {**told, "pictures": pictures, "head": head.to_dict()})
    stages = _Stages(model.network, head, preprocess, dataset, folder, lock, validation, teacher, retraining, report)
    accuracies = stages.accuracy("float", weights)
    first = compress(model, settings, report=report)
    densities = {name: choice.density for name, choice in first.choices.items()}
    for step in range(1, retraining.steps + 1):
        at = {name: density ** (step / retraining.steps) for name, density in densities.items()}
        if min(at.values()) < 1:
            weights = stages.trained(f"pruned{step}", _pruned(weights, at), _mask)
            accuracies |= stages.accuracy(f"pruned{step}", weights)
    pruned = Model(model.network, weights, description=model.description)
    blobs = _inputs(preprocess, dataset)
    moments = layer_moments(pruned, blobs, lambda done, total: report("inputs", done, total))
    found = compress(pruned, settings, densities=densities, moments=moments, report=report)
    shared = found.model.weights
    accuracies |= stages.accuracy("shared", shared)
    tuned = _joined(shared, stages.trained("tuned", shared, _groups))
    accuracies |= stages.accuracy("tuned", tuned)
    chosen = "tuned"
    if accuracies and accuracies["tuned"] < accuracies["shared"]:
        chosen, tuned = "shared", shared
    compressed = Model(model.network, tuned, description=model.description)
    if chosen in stages.thresholds:  # training moves the scores
        head = replace(head, score_threshold=stages.thresholds[chosen])
        compressed = Model(model.network, tuned, head, preprocess, outputs=model.outputs)
    content = sdz_bytes(model.network, tuned, compressed.description)
    rows = rows_of(model.network, stored_of(parse_sdz(content), tuned))
    return replace(found, content=content, model=compressed, rows=(*rows, total_of(rows, len(content))), accuracies=accuracies)


def _inputs(preprocess: Preprocess, dataset: Dataset) -> list[NDArray[np.float32]]:
    """The network's input for some of the pictures, those that can be read."""
    blobs = []
    for picture in dataset.pictures[:: -(-len(dataset.pictures) // _LOOKED_AT)]:
        with suppress(OSError, ValueError):
            blobs.append(preprocess.blob(read_picture(picture.path)))
    return blobs


def _keep(folder: Path, told: dict[str, Any]) -> None:
    """Write down what the folder is for; ValueError if it is for something else."""
    path, content = folder / "compression.json", json.dumps(told, indent=1).encode()
    if path.is_file() and path.read_bytes() != content:
        raise ValueError(f"{str(folder)!r} holds another compression, see {path.name}: choose another folder")
    write_whole(path, content)


def _pruned(weights: Weights, densities: Mapping[str, float]) -> Weights:
    return {name: [prune(kernel, densities[name]), *others] for name, (kernel, *others) in weights.items()}


# ---- what is held ------------------------------------------------------------------------------------------------------


def _mask(kernel: NDArray[np.float32]) -> NDArray[np.int64]:
    """Groups of weights that have one gradient: each its own, and those that are zero, group 0, none."""
    groups = np.arange(1, kernel.size + 1).reshape(kernel.shape)
    return np.where(kernel == 0, 0, groups)


def _groups(kernel: NDArray[np.float32]) -> NDArray[np.int64]:
    """The same for shared weights: a group for each value."""
    _, codes = np.unique(np.where(kernel == 0, np.float32(0), kernel), return_inverse=True)
    codes = codes.reshape(kernel.shape) + 1
    return np.where(kernel == 0, 0, codes)


def hold(
    parameters: Mapping[str, nn.Parameter], groups: Mapping[str, NDArray[np.int64]], optimizer: torch.optim.Optimizer
) -> None:
    """Let the weights of a group have one value while they are trained, and those of group 0 none.

    Parameters
    ----------
    parameters : dict
        The kernel of each layer.
    groups : dict
        The group of each of its weights; in one group they have one value.
    optimizer : Optimizer
        What updates them.
    """
    for name, of_each in groups.items():
        _hold(parameters[name], torch.from_numpy(of_each), optimizer)


def _hold(parameter: nn.Parameter, groups: Tensor, optimizer: torch.optim.Optimizer) -> None:
    groups = groups.to(parameter.device).reshape(-1)
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
        """Members with one gradient move alike, but for the last bit where a processor computes several at a time."""
        with torch.no_grad():
            values = parameter.reshape(-1)
            parameter.copy_(torch.where(left, values if alone else values[first][groups], 0).reshape(parameter.shape))

    parameter.register_post_accumulate_grad_hook(summed)  # type: ignore[no-untyped-call]
    optimizer.register_step_post_hook(together)


def _joined(shared: Weights, trained: Weights) -> Weights:
    """The trained weights with one value, float16's, for each that the shared ones had; biases rounded too."""
    found: Weights = {}
    for name, (kernel, *others) in trained.items():
        groups = _groups(shared[name][0]).ravel()
        sums = np.bincount(groups, kernel.ravel().astype(np.float64))
        means = half(sums / np.maximum(np.bincount(groups), 1))
        means[0] = 0
        kept = means[groups].reshape(kernel.shape)
        found[name] = [kept, *(blob.astype(np.float16).astype(np.float32) for blob in others)]
    return found


# ---- stages ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stages:
    """Trains and measures; what is done is read from the folder."""

    network: Network
    head: HeadConfig
    preprocess: Preprocess
    dataset: Dataset
    folder: Path
    lock: FolderLock
    validation: Dataset | None
    teacher: PseudoLabels | None
    retraining: Retraining
    report: Report
    thresholds: dict[str, float] = field(default_factory=dict)

    def trained(self, stage: str, weights: Weights, groups: Callable[[NDArray[np.float32]], NDArray[np.int64]]) -> Weights:
        """Return the weights after training, with the groups of weights held."""
        done = self.folder / f"{stage}.sdz"
        if done.is_file():
            return Model.load(done).weights
        start = self.folder / f"{stage}_start.sdz"
        Model(self.network, weights).save(start)
        training = Training(
            self._recipe(start),
            self.dataset,
            self.folder / stage,
            validation=self.validation,
            teacher=self.teacher,
            workers=self.retraining.workers,
        )
        trainer = training.trainer
        hold(_kernels(trainer), {name: groups(kernel) for name, (kernel, *_) in weights.items()}, trainer.optimizer)
        with closing(training.run(every=max(1, self.retraining.pictures // 4))) as progress:
            for step in progress:
                self.report(stage, step.seen, step.pictures)
        found = trainer.best_network().weights()
        Model(self.network, found).save(done)
        return found

    def _recipe(self, start: Path) -> Recipe:
        config, retraining = self.head, self.retraining
        for name, architecture in TRAINABLE.items():
            built = architecture.build(len(config.labels), len(config.anchors), config.input_size)
            if built.layers == self.network.layers:
                return Recipe(
                    network=name,
                    input_size=config.input_size,
                    anchors=config.anchors,
                    pictures=retraining.pictures,
                    batch=retraining.batch,
                    small=0.0,
                    start=str(start),
                    frozen=(),
                    schedule=Schedule(rate=retraining.rate, trunk_rate=1.0),
                    seed=retraining.seed,
                )
        raise ModelError(f"{self.network.name!r} is none of the networks that can be trained: {', '.join(TRAINABLE)}")

    def accuracy(self, stage: str, weights: Weights) -> dict[str, float]:
        """Return the VOC07 mAP under the stage's name, and note the best score threshold; nothing without pictures."""
        if self.validation is None:
            return {}
        kept = self.folder / f"{stage}.accuracy"
        if kept.is_file():
            accuracy, self.thresholds[stage] = json.loads(kept.read_bytes())
            return {stage: accuracy}
        self.report(f"mAP, {stage}", 0, len(self.validation.pictures))
        detector = SqueezeDet(Model(self.network, weights, self.head, self.preprocess), backend="auto")
        found = detect_dataset(self.validation, [detector])
        evaluation = evaluate(self.validation, found.detections, coco=False)
        accuracy, best = evaluation.map_voc07, evaluation.pooled.best.threshold
        self.thresholds[stage] = math.floor(100 * best) / 100
        write_whole(kept, json.dumps([accuracy, self.thresholds[stage]]).encode())
        return {stage: accuracy}


def _kernels(trainer: Trainer) -> dict[str, nn.Parameter]:
    """The kernel of each layer in training."""
    found = {}
    for step in trainer.model.network.weighted():
        kernel, *_ = trainer.model.filters[step.layer.name.replace(".", "_")].parameters()
        found[step.layer.name] = kernel
    return found
