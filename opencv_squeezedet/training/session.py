"""From annotated pictures to a model's files."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from opencv_squeezedet.blobs import BLOBS
from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.datasets import Annotated, Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.draw import draw
from opencv_squeezedet.evaluation import Evaluation, evaluate
from opencv_squeezedet.files import write_together, write_whole
from opencv_squeezedet.formats import caffemodel_bytes, onnx_bytes, prototxt_text
from opencv_squeezedet.network import Network, Weights
from opencv_squeezedet.pipeline import chunks
from opencv_squeezedet.postprocess import postprocess_batch
from opencv_squeezedet.preprocess import Picture, Preprocess
from opencv_squeezedet.training.advice import what_next
from opencv_squeezedet.training.calibration import MEASURED_FROM, Calibration, Logits, calibrate
from opencv_squeezedet.training.data import Example, Feed, read_or_empty, reader_errors
from opencv_squeezedet.training.diagnostics import (
    LayerState,
    assigned_sheet,
    layer_states,
    mostly_dead,
    sheet,
    states_csv,
    states_png,
    table_of,
)
from opencv_squeezedet.training.interrupts import deferred_signals
from opencv_squeezedet.training.lock import lock_folder
from opencv_squeezedet.training.loop import LOGITS, Trainer
from opencv_squeezedet.training.losses import AlignedLoss, Assigned, Loss, Losses, PublishedLoss
from opencv_squeezedet.training.module import TorchNetwork
from opencv_squeezedet.training.parallel import from_first, gathered, own
from opencv_squeezedet.training.predictions import anchors_of
from opencv_squeezedet.training.recipe import Recipe
from opencv_squeezedet.training.start import begin, describe, start_anchors
from opencv_squeezedet.training.teacher import Opinions

_BATCH = 16  # pictures per forward pass while measuring
_LOOKED_AT = 8  # pictures for the layers' activations
_OF_CLASS = "voc07 "
_CALIBRATED_ON = 1000  # at most this many pictures, whose logits are all in memory


@dataclass(frozen=True)
class Progress:
    """The progress of a training run.

    Parameters
    ----------
    seen, pictures : int
        Pictures seen so far, and to see in total.
    losses : Losses
        Means since the last progress.
    evaluation : Evaluation or None
        Of the averaged weights on the validation set, if they have just been measured.
    rate, gradient : float
        The learning rate of new layers, and the mean norm of the gradient since the last progress.
    layers : list of LayerState
        The layers of the averaged network, if it has just been measured, or was due to be.
    problems : list of str
        Files that could not be read, each reported once; training continues without them.
    """

    seen: int
    pictures: int
    losses: Losses
    evaluation: Evaluation | None = None
    problems: Sequence[str] = ()
    rate: float = 0.0
    gradient: float = 0.0
    layers: Sequence[LayerState] = ()


class Training:
    """One training run in one folder, by one process at a time; a run that the folder already holds is resumed.

    Parameters
    ----------
    recipe : Recipe
        The settings.
    dataset : Dataset
        The annotated pictures.
    folder : Path
        Where the checkpoint, the logs and the model are kept.
    validation : Dataset, optional
        Pictures to measure on, never to train on; their labels must be the data set's.
    teacher : Opinions, optional
        What a teacher sees in the pictures, and in others.
    workers : int
        Processes that read pictures.

    Raises
    ------
    ValueError
        If the data set or the validation set has no object, the validation set's labels are different, the folder holds a
        training run with another recipe (apart from its length), or another process is training in it.
    ModelError
        If the folder's checkpoint cannot be resumed, the input's sides do not suit the network, or none of the weights to
        start from fits it.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        folder: Path,
        *,
        validation: Dataset | None = None,
        teacher: Opinions | None = None,
        workers: int = 2,
    ) -> None:
        if validation is not None and validation.labels != dataset.labels:
            raise ValueError(f"the validation set's labels are {validation.labels}, the data set's {dataset.labels}")
        self.recipe, self.folder, self.validation = recipe, folder, validation
        made = replace(recipe, anchors=start_anchors(recipe))  # read once
        self.network, self.config = describe(made, dataset.labels)
        examples = examples_of(dataset, teacher, validation, recipe.teaching)
        if not any((example.quality > 0).any() for example in examples):
            raise ValueError(f"none of the {len(examples)} pictures has an object to be found")
        if validation is not None and all(picture.difficult.all() for picture in validation.pictures):
            raise ValueError(f"none of the {len(validation.pictures)} pictures to measure on has an object to be found")
        self.preprocess = Preprocess(recipe.input_size)
        model, self._first = begin(self.network, recipe)
        feed = Feed(
            examples=examples,
            pictures=recipe.pictures,
            batch=recipe.batch,
            sizes=recipe.sizes,
            mean=self.preprocess.mean,
            augmentation=recipe.augmentation,
            plain_end=recipe.plain_end,
            unlabelled=recipe.unlabelled,
            workers=workers,
            seed=recipe.seed,
        )
        looked_at = (dataset if validation is None else validation).pictures
        self._looked_at = [picture.path for picture in looked_at[:: -(-len(looked_at) // _LOOKED_AT)]]
        weights = class_weights(examples, recipe.rare)
        sizes = {size for sizes, _ in recipe.sizes for size in sizes}
        losses = {size: _loss(recipe, describe(made, dataset.labels, size)[1], weights) for size in sizes}
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(folder)
        self._keep_recipe()
        if recipe.normalized == "all" and not from_first((folder / "checkpoint.pt").is_file):
            model.settle(self._first, _some(feed))
        self._problems: dict[str, None] = {}  # of all files, in the order in which they were met
        self._start = self._layers(model.eval())
        self.trainer = Trainer(
            model,
            list(self._first),
            feed,
            losses.__getitem__,
            recipe.schedule,
            folder / "checkpoint.pt",
            self.config.labels,
            mark_of(examples, validation),
        )
        self._pictures, self._unread = len(examples), set[str]()
        self._told = 0
        self._dead = set[str]()
        self._dataset = dataset
        self._last: tuple[list[Detections], Evaluation] | None = None

    def _keep_recipe(self) -> None:
        path = self.folder / "recipe.json"
        if (self.folder / "checkpoint.pt").is_file() and path.is_file() and not self._is_recipe(path.read_bytes()):
            raise ValueError(f"{self.folder} holds a training run with another recipe, see {path.name}: choose another folder")
        write_whole(path, self.recipe.to_json().encode())

    def _is_recipe(self, content: bytes) -> bool:
        try:
            return replace(Recipe.from_json(content.decode()), pictures=self.recipe.pictures) == self.recipe
        except (ValueError, TypeError):  # edited by hand
            return False

    def run(
        self, *, every: int = 20_000, patience: int | None = None, log_every: int = 20, save_seconds: float = 60
    ) -> Generator[Progress]:
        """Train to the end and yield the progress; may be stopped anywhere, and resumed.

        The folder gets ``log.csv`` with losses, rate, norm of the gradient and accuracy, ``classes.csv`` with the accuracy of
        each class, ``layers.csv`` and ``layers.png`` with the layers' weights and activations, ``assigned.jpg`` with pictures
        as they were fed and the anchors assigned to their objects, and in ``predictions`` detections in the same pictures
        after each measurement.

        Parameters
        ----------
        every : int
            Pictures between measurements.
        patience : int, optional
            Stops after this many measurements in a row without improvement.
        log_every : int
            Steps between rows of the log.
        save_seconds : float
            Seconds between checkpoints. One more is written at the end, when this generator is closed, and after Ctrl-C,
            which takes effect between two steps.

        Raises
        ------
        ValueError
            If none of the pictures can be read.
        ChildProcessError
            If a process that reads them, or another process of this training, is killed.
        """
        trainer, saved = self.trainer, time.monotonic()
        batches = trainer.run()
        try:
            with reader_errors():
                yield from self._owed(every, log_every)  # after an interrupt between a step and its report
                while not self._has_stalled(patience) and (batch := next(batches, None)) is not None:
                    self._note(batch.problems)
                    yield from self._owed(every, log_every)
                    if time.monotonic() - saved > save_seconds:
                        trainer.save()
                        saved = time.monotonic()
                trainer.save()
        except (KeyboardInterrupt, GeneratorExit, ChildProcessError):
            trainer.save()
            raise

    def _owed(self, every: int, log_every: int) -> Iterator[Progress]:
        """Yield the progress if it is to be reported before the next step: ``pending`` has the steps since the last report."""
        seen, batch, pending = self.trainer.seen, self.recipe.batch, len(self.trainer.pending)
        due = seen >= self.recipe.pictures or seen // every > (seen - batch) // every
        if pending and (due or pending >= log_every):
            evaluation = self.measure() if due and self.validation is not None else None
            layers = self._look() if due else ()
            with deferred_signals():
                progress = self._progress(evaluation, layers)
            yield progress

    def _has_stalled(self, patience: int | None) -> bool:
        """Whether so many measurements in a row brought no improvement."""
        if patience is None:
            return False
        measured = [row["map_voc07"] for row in self.trainer.history if "map_voc07" in row]
        stalled = bool(measured) and len(measured) - 1 - int(np.argmax(measured)) >= patience
        return from_first(lambda: stalled)  # all processes stop together

    def _note(self, problems: Sequence[str]) -> None:
        self._problems.update(dict.fromkeys(problems))
        self._unread.update(problems)
        if len(self._unread) >= self._pictures:
            raise ValueError(f"none of the {self._pictures} pictures can be read: {next(iter(self._problems))}")

    def _progress(self, evaluation: Evaluation | None, layers: Sequence[LayerState]) -> Progress:
        *losses, gradient = torch.tensor(self.trainer.pending).mean(0)
        self.trainer.pending.clear()
        problems = [*list(self._problems)[self._told :], *self._newly_dead(layers)]
        self._told = len(self._problems)
        progress = Progress(
            self.trainer.seen,
            self.recipe.pictures,
            Losses(*losses),
            evaluation,
            problems,
            self.trainer.rate,
            float(gradient),
            layers,
        )
        self._log(progress)
        return progress

    def _newly_dead(self, layers: Sequence[LayerState]) -> list[str]:
        """Return a line about each layer that is mostly dead for the first time in this run."""
        if not layers or len(self._looked_at) <= _LOOKED_AT // 2:
            return []  # in very few pictures most channels of a healthy layer may be 0
        dead = {state.name: state.dead for state in layers if mostly_dead(state)}
        new = [name for name in dead if name not in self._dead]
        self._dead |= dead.keys()
        return [f"{name}: {100 * dead[name]:.0f} % of its channels are dead (0 in all pictures looked at)" for name in new]

    def _log(self, progress: Progress) -> None:
        row = {
            "seen": float(progress.seen),
            "seconds": round(self.trainer.seconds, 1),
            "rate": float(f"{progress.rate:.4g}"),
            **{name: round(float(value), 4) for name, value in zip(Losses._fields, progress.losses, strict=True)},
            "gradient": float(f"{progress.gradient:.4g}"),
        }
        history = self.trainer.history
        history.append(row)
        if progress.evaluation is not None:
            row["map_voc07"] = round(progress.evaluation.map_voc07, 4)
            row |= {_OF_CLASS + one.label: round(one.voc07, 4) for one in progress.evaluation.classes if one.objects}
            labels = [_OF_CLASS + label for label in self.config.labels]
            measured = [one for one in history if "map_voc07" in one]
            write_whole(self.folder / "classes.csv", table_of(measured, ["seen", "map_voc07", *labels]))
        columns = ["seen", "seconds", "rate", *Losses._fields, "gradient", "map_voc07"]
        write_whole(self.folder / "log.csv", table_of(history, columns))

    def _look(self) -> list[LayerState]:
        """Draw how the network is taught and what it is like, and return its layers."""
        last = (self.trainer.seen - 1) // self.recipe.batch * self.recipe.batch
        batch = next(replace(self.trainer.feed, workers=0).batches(last))
        size = batch.images.shape[2], batch.images.shape[1]
        anchors = anchors_of(self.trainer.losses(size).config)
        assigned = Assigned(*(tensor.cpu() for tensor in self.trainer.assigned(batch)))
        write_whole(self.folder / "assigned.jpg", assigned_sheet(batch, assigned, anchors))
        layers = self._layers(self.trainer.averaged())
        write_whole(self.folder / "layers.csv", states_csv(layers))
        write_whole(self.folder / "layers.png", states_png(self._start, layers))
        return layers

    def _layers(self, model: TorchNetwork) -> list[LayerState]:
        blob = np.concatenate([self.preprocess.blob(self._read(path)) for path in self._looked_at])
        return layer_states(model, torch.from_numpy(blob).to(next(model.parameters())))

    def detections(self, dataset: Dataset) -> list[Detections]:
        """Return the averaged network's detections in a data set's pictures, down to low scores."""
        found: list[Detections] = []
        model, pictures = self.trainer.averaged(), own(list(dataset.pictures))
        for (delta_bbox, class_scores, conf_scores), sizes in self._passes(model, pictures, BLOBS):
            found += postprocess_batch(
                delta_bbox, class_scores, conf_scores, self.config, score_threshold=MEASURED_FROM, image_size=sizes
            )
        self._problems.update(dict.fromkeys(gathered(list(self._problems))))
        return gathered(found)

    def _passes(
        self, model: TorchNetwork, pictures: Sequence[Annotated], names: Sequence[str]
    ) -> Iterator[tuple[list[NDArray[np.float32]], list[tuple[int, int]]]]:
        """Run a network on pictures, and yield the named blobs and the pictures' widths and heights."""
        for part in chunks(pictures, _BATCH):
            images = [self._read(picture.path) for picture in part]
            blob = np.concatenate([self.preprocess.blob(image) for image in images])
            with torch.inference_mode():
                blobs = model(torch.from_numpy(blob).to(self.trainer.device), names)
            yield [blob.cpu().numpy() for blob in blobs], [(image.shape[1], image.shape[0]) for image in images]

    def _read(self, path: Path) -> Picture:
        image, problems = read_or_empty(path, self.preprocess.mean)
        self._problems.update(dict.fromkeys(problems))
        return image

    def measure(self) -> Evaluation:
        """Return the metrics of the averaged network on the validation set, and keep its weights if they are the best.

        Raises
        ------
        ValueError
            If there is no validation set.
        """
        dataset = self._validation_set()
        detections = self.detections(dataset)
        evaluation = evaluate(dataset, detections, coco=False)
        self._last = detections, evaluation
        self.trainer.measured(evaluation.map_voc07)
        folder = self.folder / "predictions"
        folder.mkdir(exist_ok=True)
        write_whole(folder / f"{self.trainer.seen:08d}.jpg", self._sheet(dataset, detections))
        return evaluation

    def advice(self) -> list[str]:
        """Return what to try for a higher accuracy than that of the last measurement, a line each; see `what_next`.

        Raises
        ------
        ValueError
            If there is no validation set.
        """
        validation = self._validation_set()
        if self._last is None:
            detections = self.detections(validation)
            self._last = detections, evaluate(validation, detections, coco=False)
        curve = [row["map_voc07"] for row in self.trainer.history if "map_voc07" in row]
        return what_next(self._dataset, validation, *self._last, self.recipe.input_size, curve)

    def _validation_set(self) -> Dataset:
        if self.validation is None:
            raise ValueError("there is no validation set to measure on")
        return self.validation

    def _sheet(self, dataset: Dataset, detections: Sequence[Detections]) -> bytes:
        """Some pictures, chosen at even intervals, with their detections."""
        places = np.linspace(0, len(dataset.pictures) - 1, 12).round().astype(int)
        shown = [detections[place][detections[place].confidence > self.config.score_threshold] for place in places]
        return sheet(
            [draw(self._read(dataset.pictures[place].path), found) for place, found in zip(places, shown, strict=True)]
        )

    def calibrate(self) -> Calibration:
        """Choose the logits' scale and the thresholds of the network that measured best, on up to 1000 validation pictures.

        Raises
        ------
        ValueError
            If there is no validation set.
        """
        dataset = self._validation_set()
        step = -(-len(dataset.pictures) // _CALIBRATED_ON)
        dataset = replace(dataset, pictures=dataset.pictures[::step])
        passes = list(self._passes(self._chosen(), dataset.pictures, LOGITS))
        delta_bbox, classes, confidence = map(np.concatenate, zip(*(blobs for blobs, _ in passes), strict=True))
        sizes = [size for _, sizes in passes for size in sizes]
        return calibrate(Logits(delta_bbox, classes, confidence, sizes), dataset, self.config)

    def _chosen(self) -> TorchNetwork:
        """The network that measured best, or its mean with the weights that it started from."""
        model, share = self.trainer.chosen(), np.float32(self.recipe.start_share)
        if not share:
            return model
        weights = model.weights()
        for name, blobs in self._first.items():
            weights[name] = [share * old + (1 - share) * new for old, new in zip(blobs, weights[name], strict=True)]
        mean = TorchNetwork(self.network)
        mean.load_weights(weights)
        return mean.to(self.trainer.device).eval()

    def write(self, stem: Path, *, calibration: Calibration | None = None, half: bool = True) -> list[Path]:
        """Write the network that measured best as a model: ``.prototxt``, ``.caffemodel``, ``.onnx`` and ``.json``.

        Parameters
        ----------
        stem : Path
            The files' common stem.
        calibration : Calibration, optional
            The result of `calibrate`.
        half : bool
            Whether to store weights in float16, at half the size.
        """
        weights, config = self._chosen().weights(), self.config
        if calibration is not None:
            weights, config = calibration.weights(self.network, weights), calibration.head(config)
        return write_model(stem, self.network, weights, config, self.preprocess, half=half)


def _loss(recipe: Recipe, config: HeadConfig, weights: torch.Tensor) -> Loss:
    if recipe.loss == "published":
        return PublishedLoss(config)
    options = {name: getattr(recipe, name) for name in ("candidates", "alpha", "beta", "box")}
    return AlignedLoss(config, weights, **options)


def _some(feed: Feed) -> torch.Tensor:
    """The first pictures of a training, as the network sees them."""
    images = torch.cat(gathered([next(replace(feed, workers=0).batches()).images]))
    return (images.float() - torch.tensor(feed.mean)).permute(0, 3, 1, 2)


def examples_of(
    dataset: Dataset, teacher: Opinions | None = None, validation: Dataset | None = None, teaching: float = 0.5
) -> list[Example]:
    """Return a data set's pictures as they are trained on, with a teacher's opinions of them and of others.

    The teacher's classes have the weight ``teaching`` in those of annotated objects. Pictures to measure on are never among
    the others, whatever the teacher has seen.
    """
    eye = np.eye(len(dataset.labels), dtype=np.float32)
    examples = [
        Example(picture.path, picture.xyxy, eye[picture.class_id], (~picture.difficult).astype(np.float32))
        for picture in dataset.pictures
    ]
    if teacher is not None:
        measured = () if validation is None else validation.pictures
        others = teacher.pictures(
            (picture.path.name for picture in (*dataset.pictures, *measured)),
            dataset.labels,
            teacher.reliability(examples, dataset.labels),
        )
        examples = [teacher.taught(example, teaching) for example in examples] + others
    return examples


def mark_of(examples: Sequence[Example], validation: Dataset | None) -> str:
    """Return what tells data sets apart: a checksum of the file names, wherever the files are, and of their objects."""
    rows: list[tuple[Path, tuple[NDArray[Any], ...]]] = [(one.path, (one.xyxy, one.classes, one.quality)) for one in examples]
    if validation is not None:
        rows += [(one.path, (one.xyxy, one.class_id, one.difficult)) for one in validation.pictures]
    mark = hashlib.sha256()
    for path, arrays in rows:
        mark.update(os.fsencode(path.name))
        for array in arrays:
            mark.update(str(array.shape).encode() + array.tobytes())
    return mark.hexdigest()


def class_weights(examples: Sequence[Example], rare: float) -> torch.Tensor:
    """Return the weight of each class's objects: (mean count / count) ** rare, scaled so that objects weigh 1 on average."""
    counts = sum((example.classes * example.quality[:, None]).sum(0) for example in examples)
    counts = np.maximum(counts, 1.0)
    weights = (counts.mean() / counts) ** rare
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def write_model(
    stem: Path, network: Network, weights: Weights, config: HeadConfig, preprocess: Preprocess, *, half: bool
) -> list[Path]:
    """Write a model's four files, all or none, and return their paths."""
    contents = {
        ".prototxt": prototxt_text(network).encode(),
        ".caffemodel": caffemodel_bytes(network, weights, half=half),
        ".onnx": onnx_bytes(network, weights, half=half),
        ".json": description_json(config, preprocess).encode(),
    }
    files = {stem.with_name(stem.name + suffix): content for suffix, content in contents.items()}
    write_together(files)
    return list(files)


def description_json(config: HeadConfig, preprocess: Preprocess) -> str:
    """Return the text of a model's JSON file."""
    return f'{{\n"preprocess": {json.dumps(asdict(preprocess))},\n"head": {config.to_json()}\n}}\n'
