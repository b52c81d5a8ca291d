"""``benchmarks/small_sets.py`` and ``benchmarks/trials.py``: sets can be trained on; trials differ in a setting."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the extra [train] brings torch")


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
