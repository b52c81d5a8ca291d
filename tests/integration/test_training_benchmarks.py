"""``benchmarks/small_sets.py`` and ``benchmarks/trials.py``: sets can be trained on; trials differ in a setting."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")

from training_cases import squares  # noqa: E402

from opencv_squeezedet.datasets import load_dataset  # noqa: E402


def test_a_set_is_written_and_trained_on(benchmark_script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_sets = benchmark_script("small_sets")
    monkeypatch.setitem(small_sets.SETS, "animals", small_sets.SETS["animals"]._replace(train=8, val=4))
    monkeypatch.setattr(sys, "argv", ["small_sets.py", str(tmp_path), "animals", "--pictures", "32"])
    small_sets.main()
    for split, count in (("train", 8), ("val", 4)):
        dataset = load_dataset(tmp_path / "animals" / f"{split}.json")
        assert len(dataset.pictures) == count
        assert not dataset.problems


def test_two_trials(benchmark_script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = benchmark_script("trials")
    base = asdict(trials.BASE)
    for name, changes in trials.CHANGES.items():
        recipe = asdict(trials.changed(trials.BASE, changes))
        assert {key for key in base if base[key] != recipe[key]} == set(changes), name
    squares(tmp_path, 4)
    data = tmp_path / "data.yaml"
    for split in ("train", "val"):
        (tmp_path / f"{split}.yaml").write_text(data.read_text().replace("images/train", f"images/{split}"))
    arguments = ["--val", str(tmp_path / "val.yaml"), "--folder", str(tmp_path / "trials"), "--pictures", "8", "--size", "64"]
    arguments += ["--workers", "0", "--table", str(tmp_path / "table.md")]
    command = ["trials.py", str(tmp_path / "train.yaml"), "base", "5 anchors per object", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    trials.main()
    assert (tmp_path / "table.md").read_text()
    kept = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "trials").glob("*/result.json")}
    assert set(kept) == {"base-0", "5_anchors_per_object-0"}
    trials.main()  # nothing is repeated
    assert {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "trials").glob("*/result.json")} == kept
    recipe = replace(trials.BASE, pictures=8, input_size=(64, 64))
    result = trials.done(recipe, tmp_path / "trials" / "base-0")
    assert result["recipe"] == json.loads(recipe.to_json())
    assert 0 <= result["accuracy"]["VOC10"] <= 1
    assert trials.done(replace(recipe, seed=1), tmp_path / "trials" / "base-0") is None
