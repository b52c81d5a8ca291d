"""A training run: from annotated pictures to a model's files."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from opencv_squeezedet.config import HeadConfig
from opencv_squeezedet.datasets import Dataset
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.evaluation import Evaluation, evaluate
from opencv_squeezedet.files import write_together, write_whole
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Convolution, Weights
from opencv_squeezedet.preprocess import Preprocess
from opencv_squeezedet.training.advice import what_next
from opencv_squeezedet.training.calibration import Calibration, calibrate
from opencv_squeezedet.training.data import BatchStream, worker_errors
from opencv_squeezedet.training.diagnostics import LayerState, assigned_sheet, layer_states, states_csv, states_png
from opencv_squeezedet.training.inference import Inference
from opencv_squeezedet.training.interrupts import deferred_signals
from opencv_squeezedet.training.lock import lock_folder
from opencv_squeezedet.training.logs import Progress, curves_png, log_row, write_logs
from opencv_squeezedet.training.loop import LOGITS, Trainer
from opencv_squeezedet.training.losses import AlignedLoss, Assigned, Loss, Losses, PublishedLoss
from opencv_squeezedet.training.module import TorchNetwork
from opencv_squeezedet.training.parallel import count as parallel_count
from opencv_squeezedet.training.parallel import from_first, gathered
from opencv_squeezedet.training.precision import step_seconds
from opencv_squeezedet.training.predictions import anchors_of
from opencv_squeezedet.training.pseudo_labels import PseudoLabels
from opencv_squeezedet.training.recipe import Recipe
from opencv_squeezedet.training.start import build_model, keep_head_rows, network_and_head, start_anchors
from opencv_squeezedet.training.training_set import class_weights, examples_of, fingerprint

_FORWARD_SHARE = 0.4  # of a step's time
_SAMPLE = 8  # pictures for the layers' activations
_DEAD = (
    "{seen} pictures: {share:.0%} of the channels of {name} are dead: 0 in all sample pictures. That is harmless while the "
    "mAP rises; otherwise halve schedule.rate in recipe.json and start again with --recipe.\n"
)
_CALIBRATED_ON = 1000  # at most this many pictures, whose logits are all in memory


class Training:
    """A training run in a folder; a run that the folder already holds is resumed.

    Only one process at a time may train in a folder.

    Parameters
    ----------
    recipe : Recipe
        The settings.
    dataset : Dataset
        The annotated pictures.
    folder : Path
        The folder of the checkpoint, the logs and the model.
    validation : Dataset, optional
        The validation set, which is never trained on; its labels must be the data set's.
    teacher : PseudoLabels, optional
        A teacher's detections in these pictures, and in others to train on.
    start : Weights, optional
        The weights to start with. Default: those of ``recipe.start``.
    workers : int
        Number of data-loading workers.

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
        teacher: PseudoLabels | None = None,
        start: Weights | None = None,
        workers: int = 2,
    ) -> None:
        if validation is not None and validation.labels != dataset.labels:
            raise ValueError(f"the validation set's labels are {validation.labels}, the data set's {dataset.labels}")
        self.recipe, self.folder, self.validation = recipe, folder, validation
        resolved = replace(recipe, anchors=tuple(start_anchors(recipe)))  # read once
        self.network, self.config = network_and_head(resolved, dataset.labels)
        examples = examples_of(dataset, teacher, validation, recipe.distillation)
        if not any((example.quality > 0).any() for example in examples):
            raise ValueError(f"none of the {len(examples)} pictures has an object that is not ignored")
        if validation is not None and all(picture.difficult.all() for picture in validation.pictures):
            raise ValueError(f"none of the {len(validation.pictures)} validation pictures has an object that is not ignored")
        self.preprocess = Preprocess(recipe.input_size)
        model, self._first = build_model(self.network, recipe, start, dataset.labels if start is None else None)
        stream = BatchStream(
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
        pictures = (dataset if validation is None else validation).pictures
        self._sample = [picture.path for picture in pictures[:: -(-len(pictures) // _SAMPLE)]]
        weights = class_weights(examples, recipe.rare)
        sizes = {size for sizes, _ in recipe.sizes for size in sizes}
        losses = {size: _loss(recipe, network_and_head(resolved, dataset.labels, size)[1], weights) for size in sizes}
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(folder)
        self._keep_recipe()
        if not from_first((folder / "checkpoint.pt").is_file):
            first = next(replace(stream, workers=0).batches())
            blob = torch.cat(gathered([first.blob(stream.mean, torch.device("cpu"))]))
            if recipe.normalized == "all":
                model.init_batchnorm(self._first, blob)
            new = [step.layer for step in self.network.trained() if step.layer.name not in self._first]
            model.init_inputs([layer.name for layer in new if isinstance(layer, Convolution)], blob)
            if start is None and new and new[-1].name == [*self.network.trained()][-1].layer.name:
                keep_head_rows(model, self.config, recipe.start)
        self._inference = Inference(self.preprocess, self.config)
        self._start = layer_states(model.eval(), self._inference.blob(self._sample))
        self.trainer = Trainer(
            model,
            list(self._first),
            stream,
            losses.__getitem__,
            recipe.schedule,
            folder / "checkpoint.pt",
            self.config.labels,
            fingerprint(examples, validation),
        )
        self._pictures, self._unread = len(examples), set[str]()
        self._reported = 0
        self._dead = set[str]()
        self._dataset = dataset
        self._last: tuple[list[Detections], Evaluation] | None = None

    def _keep_recipe(self) -> None:
        path, kept = self.folder / "recipe.json", None
        if (self.folder / "checkpoint.pt").is_file() and path.is_file():
            with suppress(ValueError, TypeError):  # edited by hand
                kept = replace(Recipe.from_json(path.read_bytes().decode()), pictures=self.recipe.pictures)
            if kept != self.recipe:
                problem = f"holds a training run with another recipe, see {path.name}: choose another folder"
                raise ValueError(f"{self.folder} {problem}")
        write_whole(path, self.recipe.to_json().encode())

    def run(
        self, *, every: int = 20_000, patience: int | None = None, log_every: int = 20, save_seconds: float = 60
    ) -> Generator[Progress]:
        """Train to the end and yield the progress; a run may be stopped at any point, and resumed.

        These files are written to the folder: ``log.csv`` with losses, learning rate, norm of the gradient and accuracy;
        ``classes.csv`` with the accuracy of each class; ``layers.csv`` and ``layers.png`` with statistics of the layers'
        weights and activations; ``assigned.jpg`` with augmented pictures and the anchors assigned to their objects;
        ``curves.png`` with losses and accuracy; ``log.txt`` with layers whose channels are mostly dead; and, after each
        measurement, objects and detections in a fixed choice of pictures in ``predictions``.

        Parameters
        ----------
        every : int
            Pictures between measurements.
        patience : int, optional
            Number of measurements in a row without improvement after which training stops.
        log_every : int
            Steps between rows of the log.
        save_seconds : float
            Seconds between checkpoints. Another checkpoint is written at the end, when this generator is closed, and after
            Ctrl-C, which takes effect between two steps.

        Raises
        ------
        ValueError
            If none of the pictures can be read.
        ChildProcessError
            If a data-loading worker, or another process of this training, is killed. A checkpoint is written before.
        """
        trainer, saved = self.trainer, time.monotonic()
        batches = trainer.run()
        try:
            with worker_errors():
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

    def seconds_left(self, every: int) -> float | None:
        """Estimate how long `run` will take, measurements included, from the steps so far or from a timed step.

        None where several processes train.
        """
        trainer, batch = self.trainer, self.recipe.batch
        if parallel_count() > 1:
            return None
        left = self.recipe.pictures - trainer.seen
        if trainer.seen:
            return trainer.seconds / trainer.seen * left
        sizes = [(np.mean([w * h for w, h in choices]), start) for choices, start in self.recipe.sizes]
        ends = [start for _, start in sizes[1:]] + [1.0]
        area = sum(size * max(0.0, end - start) for (size, start), end in zip(sizes, ends, strict=True))
        width, height = self.recipe.sizes[0][0][0]
        if trainer.step_times is None:
            seconds = step_seconds(trainer.model, LOGITS, (batch, height, width), bfloat16=trainer.bfloat16)
        else:
            seconds = trainer.step_times.bfloat16 if trainer.bfloat16 else trainer.step_times.float32
        per_pixel = seconds / (batch * width * height)
        full = self.recipe.input_size[0] * self.recipe.input_size[1]
        validated = 0 if self.validation is None else len(self.validation.pictures) * -(-left // every)
        return float(per_pixel * (area * left + _FORWARD_SHARE * full * validated))

    def _owed(self, every: int, log_every: int) -> Iterator[Progress]:
        """Yield the progress if it is to be reported before the next step: ``pending`` has the steps since the last report."""
        seen, batch, pending = self.trainer.seen, self.recipe.batch, len(self.trainer.pending)
        due = seen >= self.recipe.pictures or seen // every > (seen - batch) // every
        if pending and (due or pending >= log_every):
            evaluation = self.measure() if due and self.validation is not None else None
            layers = self._draw_diagnostics() if due else ()
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
        self._inference.problems.update(dict.fromkeys(problems))
        self._unread.update(problems)
        if len(self._unread) >= self._pictures:
            raise ValueError(f"none of the {self._pictures} pictures can be read: {next(iter(self._unread))}")

    def _progress(self, evaluation: Evaluation | None, layers: Sequence[LayerState]) -> Progress:
        trainer = self.trainer
        *losses, gradient = torch.tensor(trainer.pending).mean(0)
        trainer.pending.clear()
        problems = list(self._inference.problems)
        new, self._reported = problems[self._reported :], len(problems)
        rate, gradient, pictures = trainer.rate, float(gradient), self.recipe.pictures
        progress = Progress(trainer.seen, pictures, Losses(*losses), evaluation, new, rate, gradient, layers)
        trainer.history.append(log_row(progress, trainer.seconds))
        write_logs(self.folder, trainer.history, self.config.labels)
        if layers:
            write_whole(self.folder / "curves.png", curves_png(trainer.history))
            self._log_dead(layers)
        return progress

    def _log_dead(self, layers: Sequence[LayerState]) -> None:
        """Log each layer that is mostly dead for the first time in this run."""
        if len(self._sample) <= _SAMPLE // 2:
            return  # in very few pictures most channels of a healthy layer may be 0
        dead = {state.name: state.dead for state in layers if state.is_mostly_dead and state.name not in self._dead}
        self._dead |= dead.keys()
        if dead:
            with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
                file.writelines(_DEAD.format(seen=self.trainer.seen, name=name, share=dead[name]) for name in dead)

    def _draw_diagnostics(self) -> list[LayerState]:
        """Write the pictures and the table of the current state, and return the layers' states."""
        last = (self.trainer.seen - 1) // self.recipe.batch * self.recipe.batch
        batch = next(replace(self.trainer.stream, workers=0).batches(last))
        size = batch.images.shape[2], batch.images.shape[1]
        anchors = anchors_of(self.trainer.losses(size).config)
        assigned = Assigned(*(tensor.cpu() for tensor in self.trainer.assigned(batch)))
        write_whole(self.folder / "assigned.jpg", assigned_sheet(batch, assigned, anchors))
        layers = layer_states(self.trainer.ema_network(), self._inference.blob(self._sample))
        write_whole(self.folder / "layers.csv", states_csv(layers))
        write_whole(self.folder / "layers.png", states_png(self._start, layers))
        return layers

    def detections(self, dataset: Dataset) -> list[Detections]:
        """Return the EMA network's detections in a data set's pictures, down to low scores."""
        return self._inference.detections(self.trainer.ema_network(), dataset)

    def measure(self) -> Evaluation:
        """Return the metrics of the EMA network on the validation set, and keep its weights if they are the best so far.

        Raises
        ------
        ValueError
            If there is no validation set.
        """
        dataset = self._validation_set()
        detections = self.detections(dataset)
        evaluation = evaluate(dataset, detections, coco=False)
        self._last = detections, evaluation
        self.trainer.keep_best(evaluation.map_voc07)
        folder = self.folder / "predictions"
        folder.mkdir(exist_ok=True)
        picture = self._inference.contact_sheet(dataset, detections)
        write_whole(folder / f"{self.trainer.seen:08d}.jpg", picture)
        return evaluation

    def advice(self) -> list[str]:
        """Return suggestions for a higher accuracy, given the last measurement, a line each; see `what_next`.

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
            raise ValueError("there is no validation set")
        return self.validation

    def calibrate(self) -> Calibration:
        """Calibrate the network that measured best, on up to 1000 validation pictures; see `Calibration`.

        Raises
        ------
        ValueError
            If there is no validation set.
        """
        dataset = self._validation_set()
        step = -(-len(dataset.pictures) // _CALIBRATED_ON)
        dataset = replace(dataset, pictures=dataset.pictures[::step])
        return calibrate(self._inference.logits(self._chosen(), dataset), dataset, self.config)

    def _chosen(self) -> TorchNetwork:
        """The network that measured best, or the weighted mean of its weights and those that it started from."""
        model, share = self.trainer.ema_network(best=True), np.float32(self.recipe.start_share)
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
        model = Model(self.network, weights, config, self.preprocess)
        files = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".prototxt", ".caffemodel", ".onnx", ".json")]
        contents = model.encode(files[1], half=half) | model.encode(files[2], half=half)
        write_together({path: contents[path] for path in files})
        return files


def _loss(recipe: Recipe, config: HeadConfig, weights: torch.Tensor) -> Loss:
    if recipe.loss == "published":
        return PublishedLoss(config)
    options = {name: getattr(recipe, name) for name in ("candidates", "alpha", "beta", "box")}
    return AlignedLoss(config, weights, **options)
