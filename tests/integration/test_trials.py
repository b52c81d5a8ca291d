"""``benchmarks/trials.py``: trials differ in one setting, are kept, and are resumed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")

from training_cases import squares  # noqa: E402


@pytest.fixture
def trials(benchmark_script):
    return benchmark_script("trials")


def test_each_trial_changes_one_thing(trials) -> None:
    base = asdict(trials.BASE)
    for name, changes in trials.CHANGES.items():
        recipe = asdict(trials.changed(trials.BASE, changes))
        differing = {key for key in base if base[key] != recipe[key]}
        assert differing == set(changes), name
        assert name == "base" or changes, name
    assert len({trials.trial_folder(Path(), name, 0) for name in trials.CHANGES}) == len(trials.CHANGES)


def test_two_trials(trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    base = replace(trials.BASE, pictures=8, input_size=(64, 64))
    result = trials.done(base, tmp_path / "trials" / "base-0")
    assert result["recipe"] == json.loads(base.to_json())
    assert 0 <= result["accuracy"]["VOC10"] <= 1
    assert trials.done(replace(base, seed=1), tmp_path / "trials" / "base-0") is None


def test_a_trial_that_does_not_exist(trials, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["trials.py", "train", "magic", "--val", "val", "--folder", "x"])
    with pytest.raises(SystemExit):
        trials.main()
    assert "magic" in capsys.readouterr().err
