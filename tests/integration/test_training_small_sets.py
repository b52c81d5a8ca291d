"""``benchmarks/small_sets.py``: what is drawn is what it says, and can be trained on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra [train] brings torch")

from opencv_squeezedet.datasets import load_dataset


@pytest.fixture
def small_sets(benchmark_script):
    return benchmark_script("small_sets")


def test_cells(small_sets) -> None:
    rng = np.random.default_rng(1)
    sides: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for _ in range(30):
        _, boxes = small_sets.cells(rng)
        for label, (x, y, width, height) in boxes:
            assert 0 <= x <= 640 - width
            assert 0 <= y <= 480 - height
            sides[label].append(max(width, height))
    assert min(sides[1]) > np.median(sides[0]) > max(sides[2])


def test_boxes_of_animals_are_where_they_are(small_sets) -> None:
    """Nothing is drawn outside the box, and something at each of its sides."""
    rng = np.random.default_rng(2)
    for _ in range(10):
        before = np.full((400, 600, 3), 255.0)
        after = before.copy()
        small_sets.add_animal(after, np.array([300.0, 200.0]), 60.0, rng)
        x, y, width, height = small_sets.box_of(before, after)
        drawn = (after != before).any(2)
        inside = drawn[y : y + height, x : x + width]
        assert inside.sum() == drawn.sum()
        assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_a_set_is_written_and_trained_on(small_sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(small_sets.SETS, "animals", small_sets.SETS["animals"]._replace(train=8, val=4))
    monkeypatch.setattr(sys, "argv", ["small_sets.py", str(tmp_path), "animals", "--pictures", "32"])
    small_sets.main()
    for split, count in (("train", 8), ("val", 4)):
        dataset = load_dataset(tmp_path / "animals" / f"{split}.json")
        assert len(dataset.pictures) == count
        assert not dataset.problems
