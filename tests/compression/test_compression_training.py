"""Compression with training in between: what is held, the gradients of centroids, the whole chain on a made-up data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from networks import load_network  # noqa: E402
from torch import nn  # noqa: E402
from training_cases import locked_elsewhere, recipe, squares  # noqa: E402

from opencv_squeezedet.cli import main  # noqa: E402
from opencv_squeezedet.compression import Compressed, Settings, prune, share  # noqa: E402
from opencv_squeezedet.compression.retraining import Retraining, compress_trained, hold  # noqa: E402
from opencv_squeezedet.model import Model  # noqa: E402
from opencv_squeezedet.training import Training  # noqa: E402


def groups_of(kernel: np.ndarray) -> np.ndarray:
    _, codes = np.unique(kernel, return_inverse=True)
    return np.where(kernel == 0, 0, codes.reshape(kernel.shape) + 1)


def test_a_centroid_has_the_sum_of_its_members_gradients() -> None:
    """Figure 3 of the paper, against numerical gradients of a loss by the centroids themselves."""
    rng = np.random.default_rng(0)
    kernel = share(prune(rng.standard_normal((6, 4, 3, 3)).astype(np.float32), 0.6), 3)
    groups, blob = groups_of(kernel), torch.from_numpy(rng.standard_normal((2, 4, 9, 9)))

    def loss(weights: torch.Tensor) -> torch.Tensor:
        return (nn.functional.conv2d(blob, weights).tanh() ** 2).sum()

    parameter = nn.Parameter(torch.from_numpy(kernel).double())
    hold(parameter, groups, torch.optim.SGD([parameter], lr=0.1))
    loss(parameter).backward()
    assert parameter.grad is not None
    for group in range(groups.max() + 1):
        step = torch.from_numpy((groups == group) * 1e-6)
        with torch.no_grad():
            expected = float((loss(parameter + step) - loss(parameter - step)) / 2e-6) if group else 0.0
        found = parameter.grad[torch.from_numpy(groups == group)]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_held_stays(shared: bool) -> None:
    """Pruned weights stay exactly 0, and shared ones exactly equal, whatever the optimizer does with them."""
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 16, 3)
    kernel = prune(layer.weight.detach().numpy(), 0.4)
    if shared:
        kernel = share(kernel, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel))
    groups = groups_of(kernel) if shared else np.where(kernel == 0, 0, np.arange(1, kernel.size + 1).reshape(kernel.shape))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01, weight_decay=0.1)
    hold(layer.weight, groups, optimizer)
    for _ in range(20):
        optimizer.zero_grad()
        (layer(torch.randn(2, 8, 9, 9)) ** 3).sum().backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()
    after = layer.weight.detach().numpy()
    np.testing.assert_array_equal(after == 0, kernel == 0)
    assert np.abs(after - kernel).max() > 0.01
    if shared:
        assert len(np.unique(after)) == len(np.unique(kernel))
        for value in np.unique(kernel):
            assert len(np.unique(after[kernel == value])) == 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a data set, and of a detector trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    train, validation = squares(folder / "data")
    training = Training(recipe(pictures=16), train, folder / "run", validation=validation, workers=0)
    list(training.run(every=1000))
    training.write(folder / "model")
    return folder


def test_the_whole_chain(trained: Path, tmp_path: Path) -> None:
    train, validation = squares(tmp_path / "data", 6)
    model = Model.load(trained / "model")
    stages: list[str] = []

    def compressed(seen: int = 8) -> Compressed:
        return compress_trained(
            model,
            Settings(density=0.5, bits=5),
            train,
            tmp_path / "stages",
            validation=validation,
            retraining=Retraining(pictures=seen, steps=2, batch=4, workers=0),
            report=lambda what, done, total: stages.append(what),
        )

    result = compressed()
    assert list(result.accuracies) == ["float", "pruned1", "pruned2", "shared", "tuned"]
    weights = result.model.weights
    kernels = [weights[name][0] for name in result.choices]
    assert sum(map(np.count_nonzero, kernels)) / sum(each.size for each in kernels) == pytest.approx(
        0.5, abs=0.05
    )  # sharing revives a few
    assert max(len(np.unique(each)) for each in kernels) <= 32
    first, second = (load_network(tmp_path / "stages" / f"pruned{step}.sdz")[1] for step in (1, 2))
    assert all(np.any(first[name][0] != blobs[0]) for name, blobs in model.weights.items())  # all layers were trained
    for name, choice in result.choices.items():
        assert not second[name][0][prune(first[name][0], choice.density) == 0].any()
    slopes = weights["relu_conv1"][0]  # they are trained, and neither pruned nor shared
    assert "relu_conv1" not in result.choices
    assert len(slopes) == 64
    assert len(np.unique(slopes)) > 32  # codes; in float16 some may be equal by chance
    assert {"pruned1", "pruned2", "tuned", "mAP, float"} <= set(stages)
    stages.clear()
    assert compressed().content == result.content
    assert set(stages) == {"choices", "inputs", "weights"}  # nothing was trained or measured again
    with pytest.raises(ValueError, match=r"holds another compression, see compression\.json"):
        compressed(seen=20)
    validation = train  # whose accuracies are others
    with pytest.raises(ValueError, match=r"holds another compression, see compression\.json"):
        compressed()


def test_one_process_at_a_time(trained: Path, tmp_path: Path) -> None:
    train, _ = squares(tmp_path / "data", 3)
    (tmp_path / "stages").mkdir()
    with locked_elsewhere(tmp_path / "stages"), pytest.raises(ValueError, match="another process is training in "):
        compress_trained(Model.load(trained / "model"), Settings(), train, tmp_path / "stages")


def test_the_command(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    squares(tmp_path / "data", 6)
    out = tmp_path / "small.sdz"
    command = ["compress", str(trained / "model"), "-o", str(out), "--train", str(tmp_path / "data" / "data.yaml")]
    command += ["--density", "0.5", "--bits", "4", "--seen", "8", "--steps", "1", "--json", str(tmp_path / "it.json")]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "total"
    assert json.loads((tmp_path / "it.json").read_text())["map_voc07"] == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "it.json", "small.sdz"]


def test_labels_of_another_data_set(trained: Path, tmp_path: Path) -> None:
    train, _ = squares(tmp_path / "data", labels=1)
    with pytest.raises(ValueError, match=r"the model's labels are \('red', 'blue'\), the data set's \('red',\)"):
        compress_trained(Model.load(trained / "model"), Settings(), train, tmp_path / "stages")
