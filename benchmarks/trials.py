"""Short trainings that differ in one setting each, and a table of their accuracies.

python benchmarks/trials.py TRAIN --val VAL --teacher teacher.json --folder trials --table trials.md

Every trial sees 60,000 pictures at 320x320, starts with the embedded weights, differs from the base recipe in one setting, and
is measured at its end on VAL at that size. The table has the mean over the seeds, and the difference between them. A trial
close to the base needs a second seed: --seeds 0 1. The folder keeps all results: finished trials are not repeated, and an
interrupted one is resumed. NAMEs select some of the trials.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from _timing import table

from opencv_squeezedet.cli.memory import keep_memory
from opencv_squeezedet.datasets import Dataset, load_dataset
from opencv_squeezedet.evaluation import diagnose, evaluate
from opencv_squeezedet.files import write_whole
from opencv_squeezedet.training import Augmentation, PseudoLabels, Recipe, Schedule, Training

BASE = Recipe(
    input_size=(320, 320),
    pictures=60_000,
    small=0.0,
    normalized="all",
    augmentation=Augmentation(mosaic=0.3, crop=0.65, crop_area=(0.2, 1.0), zoom_out=0.13),
    schedule=Schedule(rate=1e-3, trunk_rate=0.45, flat=0.1, decay=0.05, last_rate=0.01, ema=0.995),
    plain_end=0.12,
    unlabelled=0.4,
    distillation=0.0,
)
"""The recipe that all trials change in one setting."""

CHANGES: dict[str, dict[str, Any]] = {
    "base": {},
    "mosaics to the end": {"plain_end": 0.0},
    "mosaics 0.6": {"augmentation": {"mosaic": 0.6}},
    "no mosaics": {"augmentation": {"mosaic": 0.0}},
    "distillation 0.5": {"distillation": 0.5},
    "distillation 1": {"distillation": 1.0},
    "no unlabelled pictures": {"unlabelled": 0.0},
    "unlabelled 0.2": {"unlabelled": 0.2},
    "unlabelled 0.6": {"unlabelled": 0.6},
    "nothing frozen": {"frozen": ()},
    "trunk_rate 1": {"schedule": {"trunk_rate": 1.0}},
    "rate 5e-4": {"schedule": {"rate": 5e-4}},
    "rate 2e-3": {"schedule": {"rate": 2e-3}},
    "decay 0.02": {"schedule": {"decay": 0.02}},
    "5 anchors per object": {"candidates": 5},
    "20 anchors per object": {"candidates": 20},
    "alpha 1, beta 6 (TOOD's)": {"alpha": 1.0, "beta": 6.0},
    "boxes weigh 2.5": {"box": 2.5},
    "boxes weigh 10": {"box": 10.0},
    "rare 0": {"rare": 0.0},
    "whole pictures more often": {"augmentation": {"crop": 0.4}},
    "no batch normalisation in loaded layers": {"normalized": "new"},
    "from ImageNet's weights": {"start": "squeezenet-v1.1"},
}
"""The trials: fields of the recipe that differ from the base's."""


def changed(base: Recipe, changes: dict[str, Any]) -> Recipe:
    """Return the base with some fields changed; a dict changes fields of augmentation or schedule."""
    parts = {name: replace(getattr(base, name), **value) for name, value in changes.items() if isinstance(value, dict)}
    return replace(base, **{**changes, **parts})


def run(recipe: Recipe, folder: Path, train: Dataset, val: Dataset, teacher: PseudoLabels | None, workers: int) -> None:
    """Train to the end and measure, unless the result exists."""
    if done(recipe, folder) is not None:
        return
    training = Training(recipe, train, folder, validation=val, teacher=teacher, workers=workers)
    for progress in training.run(every=recipe.pictures):
        print(f"\r{folder.name}: {progress.seen} of {progress.pictures} pictures", end="", flush=True)
    print()
    found = training.detections(val)
    evaluation = evaluate(val, found)
    costs = {error.name: error.cost for error in diagnose(val, found, evaluation.pooled.best.threshold).errors}
    result = {
        "recipe": plain(recipe),
        "accuracy": {
            "VOC07": evaluation.map_voc07,
            "VOC10": evaluation.map_voc10,
            **{name: evaluation.coco[name] for name in ("AP", "AP75")},
            **{f"{name} costs": costs[name] for name in ("localization", "class", "background")},
        },
        "hours": training.trainer.seconds / 3600,
    }
    write_whole(folder / "result.json", json.dumps(result, indent=1).encode())


def done(recipe: Recipe, folder: Path) -> dict[str, Any] | None:
    """Return the result of a trial, if it was run with this recipe."""
    file = folder / "result.json"
    result: dict[str, Any] | None = json.loads(file.read_bytes()) if file.is_file() else None
    return None if result is None or result["recipe"] != plain(recipe) else result


def plain(recipe: Recipe) -> Any:
    """Return a recipe in JSON's types."""
    return json.loads(recipe.to_json())


def rows(folder: Path, seeds: Sequence[int], base: Recipe) -> list[list[str]]:
    """Return a row for each finished trial: means over the seeds, in percent, the best first."""
    found: list[tuple[float, list[str]]] = []
    for name, changes in CHANGES.items():
        recipes = {seed: replace(changed(base, changes), seed=seed) for seed in seeds}
        results = [done(recipe, trial_folder(folder, name, seed)) for seed, recipe in recipes.items()]
        known = [result for result in results if result is not None]
        if known:
            means = {key: mean(one["accuracy"][key] for one in known) for key in known[0]["accuracy"]}
            reached = [one["accuracy"]["VOC10"] for one in known]
            apart = f"{100 * (max(reached) - min(reached)):.1f}" if len(known) > 1 else ""
            hours = mean(one["hours"] for one in known)
            cells = [*(f"{100 * value:.1f}" for value in means.values()), f"{hours:.1f}", str(len(known)), apart]
            found.append((-means["VOC10"], [name, *cells]))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def trial_folder(folder: Path, name: str, seed: int) -> Path:
    """Return the folder of a trial."""
    letters = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in name)
    return folder / f"{letters}-{seed}"


HEADER = (
    "trial",
    "VOC07",
    "VOC10",
    "AP",
    "AP75",
    "localization costs",
    "class costs",
    "background costs",
    "hours",
    "seeds",
    "apart",
)


def main() -> None:
    """Read the options, train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="the training set")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"trials to run (default: all): {', '.join(CHANGES)}")
    parser.add_argument("--val", required=True, help="the validation set")
    parser.add_argument("--teacher", action="append", type=Path, default=[], help="from squeezedet label")
    parser.add_argument("--folder", type=Path, required=True, help="folder for the trials")
    parser.add_argument("--pictures", type=int, default=BASE.pictures, help="pictures that each trial sees (default: 60000)")
    parser.add_argument("--size", type=int, default=BASE.input_size[0], help="side of the input (default: 320)")
    parser.add_argument("--start", default=BASE.start, help="weights to start from (default: embedded)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="random seeds (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="number of data-loading workers (default: 2)")
    parser.add_argument("--table", type=Path, help="Markdown file for the table")
    options = parser.parse_args()
    keep_memory()
    names = options.names or list(CHANGES)
    if unknown := [name for name in names if name not in CHANGES]:
        parser.error(f"no trial {', '.join(unknown)}; there are {', '.join(CHANGES)}")
    train = load_dataset(options.dataset)
    val = load_dataset(options.val, labels=train.labels)
    teacher = (
        PseudoLabels.merged(PseudoLabels.read(file, train.labels) for file in options.teacher) if options.teacher else None
    )
    base = replace(BASE, pictures=options.pictures, input_size=(options.size, options.size), start=options.start)
    for seed in options.seeds:
        for name in names:
            recipe = replace(changed(base, CHANGES[name]), seed=seed)
            run(recipe, trial_folder(options.folder, name, seed), train, val, teacher, options.workers)
            text = table(HEADER, rows(options.folder, options.seeds, base))
            print(text)
            if options.table is not None:
                write_whole(options.table, f"{text}\n".encode())


if __name__ == "__main__":
    main()
