"""Deep Compression's stages, against plain arithmetic and kept libraries; the command from end to end."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import error_line
from embedded import STEM
from format_seeds import small_network
from hypothesis import given
from hypothesis import strategies as st
from networks import ROOT, a_blob, by_onnx, load_network, random_weights, same_weights
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.cli import main
from opencv_squeezedet.compression import (
    ReferenceOutputs,
    Settings,
    compress,
    input_hessians,
    measure_sensitivity,
    prune,
    share,
    textbook_ratio,
)
from opencv_squeezedet.compression.budget import Choice, apply, best_choices, choices_of
from opencv_squeezedet.compression.compress import REMOVED, plan
from opencv_squeezedet.compression.hessian import InputHessian, optimal_brain_quantization
from opencv_squeezedet.compression.sharing import SortedWeights, nearest
from opencv_squeezedet.formats import prototxt_text
from opencv_squeezedet.formats.shared_weights import values_bytes
from opencv_squeezedet.model import Model
from opencv_squeezedet.network import Convolution, Deconvolution, Network, PReLU, ReLU, Upsample, architectures

Array = NDArray[np.float32]


def kernel(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(count=st.integers(1, 500), density=st.floats(0, 1), seed=st.integers(0, 1000), coarse=st.booleans())
def test_the_largest_weights_are_left(count: int, density: float, seed: int, coarse: bool) -> None:
    weights = kernel(count, seed=seed)
    if coarse:  # many of one size
        weights = np.round(weights)
    pruned = prune(weights, density)
    left = pruned != 0
    assert left.sum() == min(round(density * count), np.count_nonzero(weights))
    np.testing.assert_array_equal(pruned[left], weights[left])
    if left.any() and not left.all():
        assert np.abs(weights[left]).min() >= np.abs(weights[~left]).max()


@pytest.mark.parametrize("count", [2, 7, 16])
def test_clusters_are_those_of_scikit_learn(count: int) -> None:
    """From the same start; none of these leaves a cluster without weights, which scikit-learn would move elsewhere."""
    cluster = pytest.importorskip("sklearn.cluster")
    values = np.sort(kernel(5000, seed=count).astype(np.float64))
    start = np.linspace(values[0], values[-1], count)
    other = cluster.KMeans(count, init=start[:, None], n_init=1, max_iter=200, tol=0, algorithm="lloyd").fit(values[:, None])
    found = SortedWeights(values).clusters(count)
    assert found.inertia == pytest.approx(other.inertia_, rel=1e-9)
    np.testing.assert_allclose(found.centroids, np.sort(other.cluster_centers_[:, 0]), atol=1e-9)
    np.testing.assert_array_equal(found.counts, np.bincount(nearest(found.centroids, values), minlength=count))


@given(count=st.integers(1, 300), clusters=st.integers(1, 20), seed=st.integers(0, 100))
def test_clusters_of_any_numbers(count: int, clusters: int, seed: int) -> None:
    values = np.sort(np.round(kernel(count, seed=seed) * 4).astype(np.float64))
    found = SortedWeights(values).clusters(clusters)
    assert found.counts.sum() == count
    distances = np.abs(values[:, None] - found.centroids).min(axis=1)
    assert found.inertia == pytest.approx((distances**2).sum(), abs=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_shared_weights(bits: int, density: float) -> None:
    weights = prune(kernel(64, 16, 3, 3), density)
    shared = share(weights, bits)
    np.testing.assert_array_equal(shared == 0, weights == 0)
    assert len(np.unique(shared)) <= 1 << bits
    np.testing.assert_array_equal(shared, shared.astype(np.float16))
    assert len(values_bytes(shared)) <= weights.size * bits / 8 + 800


def test_small_centroids_do_not_become_zeros() -> None:
    weights = np.array([1e-9, -1e-9, 0, 1], np.float32)
    np.testing.assert_array_equal(share(weights, 8) == 0, weights == 0)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_choices(seed: int) -> None:
    """Against all combinations, of which the best need not be found, but nearly."""
    rng = np.random.default_rng(seed)

    def choice(bits: int) -> Choice:
        return Choice(1, bits, 100 / 2**-bits * rng.uniform(0.9, 1.1), 2.0 ** (-2 * bits) * rng.uniform(0.5, 2))

    choices = {name: [choice(bits) for bits in range(6)] for name in "abcd"}
    every = [[sum(values) for values in zip(*some, strict=True)][2:] for some in itertools.product(*choices.values())]
    for most in (500.0, 1000.0, 3000.0):
        chosen = best_choices(choices, dict.fromkeys("abcd", 1.0), lambda choice: choice.size, most).values()
        assert sum(choice.size for choice in chosen) <= most
        best = min(error for size, error in every if size <= most)
        assert best <= sum(choice.error for choice in chosen) <= 1.2 * best


def test_a_choice_takes_what_it_says() -> None:
    weights = kernel(96, 64, 3, 3)
    power = float((weights.astype(np.float64) ** 2).sum())
    for choice in choices_of(weights, (1.0, 0.6, 0.1), (2, 5, 8)):
        stored = apply(weights, choice)
        assert len(values_bytes(stored)) == pytest.approx(choice.size, rel=0.01)
        assert float(((stored - weights).astype(np.float64) ** 2).sum()) / power == pytest.approx(choice.error, rel=0.01)


@pytest.mark.parametrize(
    ("stride", "pad", "size"), [((1, 1), (1, 1), (3, 3)), ((2, 1), (0, 2), (3, 2)), ((1, 1), (0, 0), (1, 1))]
)
def test_the_hessian_gives_the_power_of_a_change_of_the_outputs(stride: Any, pad: Any, size: Any) -> None:
    """The power of D x is the sum of D H D^T, here by another program's convolution."""
    layer = Convolution(name="c", bottoms=("data",), tops=("c",), outputs=5, kernel=size, stride=stride, pad=pad, bias=False)
    network = Network("one", "data", (1, 4, 20, 23), (layer,))
    blob, change = kernel(1, 4, 20, 23, seed=1), kernel(5, 4, *size)
    hessian = InputHessian(layer)
    hessian.add(blob)
    flat = change.reshape(5, -1).astype(np.float64)
    expected = float((by_onnx(network, {"c": [change]}, blob)["c"].astype(np.float64) ** 2).sum())
    assert np.einsum("oi,ij,oj", flat, hessian.matrix, flat) == pytest.approx(expected, rel=1e-4)


def test_optimal_brain_quantization_compensates_for_errors() -> None:
    """The outputs of inputs that depend on each other change several times less."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((2000, 12)) @ rng.standard_normal((12, 48)) + 0.1 * rng.standard_normal((2000, 48))
    weights = kernel(32, 48)

    def error(rounded: Any) -> float:
        return float(((inputs @ (rounded - weights).T) ** 2).sum())

    found = optimal_brain_quantization(weights, inputs.T @ inputs, lambda values: np.round(values * 2) / 2)
    np.testing.assert_array_equal(found * 2, np.round(found * 2))
    assert error(found) < error(np.round(weights * 2) / 2) / 4


def small() -> tuple[Model, list[Array]]:
    network = small_network()
    return Model(network, random_weights(network)), [a_blob(network, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def trunk() -> Model:
    """The embedded model's first layers."""
    network, weights = load_network(STEM)
    layers = network.layers[: 1 + [layer.name for layer in network.layers].index("stage3_2_out")]
    first = Network("trunk", "data", (1, 3, 64, 64), layers)
    return Model(first, {step.layer.name: weights[step.layer.name] for step in first.weighted()})


@pytest.mark.parametrize("bytes_per_weight", [0.3, 0.6])
def test_a_size_is_kept_and_used(trunk: Model, tmp_path: Path, bytes_per_weight: float) -> None:
    settings = Settings(size=int(bytes_per_weight * trunk.network.parameters))
    compressed = compress(trunk, settings)
    assert 0.98 * settings.size < len(compressed.content) <= settings.size
    planned = plan(trunk, settings).best()  # without weights or a file
    assert sum(abs(planned[name].density - choice.density) for name, choice in compressed.choices.items()) < 1
    (tmp_path / "it.sdz").write_bytes(compressed.content)
    assert same_weights(load_network(tmp_path / "it.sdz")[1], compressed.model.weights)
    assert compressed.rows[-1].size == len(compressed.content)
    assert sum(row.size for row in compressed.rows[:-1]) < len(compressed.content)


def test_density_and_bits(trunk: Model) -> None:
    compressed = compress(trunk, Settings(density=0.3, bits=5))
    kernels = [blobs[0] for blobs in compressed.model.weights.values()]
    assert sum(map(np.count_nonzero, kernels)) / sum(each.size for each in kernels) == pytest.approx(0.3, abs=0.01)
    assert max(len(np.unique(each)) for each in kernels) <= 32
    assert {choice.bits for choice in compressed.choices.values()} == {5}
    densities = [choice.density for choice in compressed.choices.values()]
    assert min(densities) < 0.3 < max(densities)


def test_fixed_weights_and_slopes_stay_as_they_are(tmp_path: Path) -> None:
    layers = (
        Convolution(name="a", bottoms=("data",), tops=("a",), outputs=8, kernel=(3, 3)),
        PReLU(name="slopes", bottoms=("a",), tops=("a",)),
        Upsample(name="up", bottoms=("a",), tops=("up",), channels=8),
        Convolution(name="b", bottoms=("up",), tops=("b",), outputs=3, kernel=(1, 1)),
        Deconvolution(name="grouped", bottoms=("b",), tops=("grouped",), outputs=3, kernel=(2, 2), groups=3),
    )
    network = Network("it", "data", (1, 3, 8, 8), layers)
    weights = {**random_weights(network), "up": [np.ones((8, 1, 2, 2), np.float32)]}
    model, blobs = Model(network, weights), [a_blob(network)]
    outputs = ReferenceOutputs(model, blobs)
    curves, hessians = measure_sensitivity(model, outputs), input_hessians(model, blobs)
    assert set(hessians) == {"a", "b"}
    compressed = compress(model, Settings(density=0.5, bits=3), outputs=outputs, curves=curves, hessians=hessians)
    assert set(compressed.choices) == set(curves) == {"a", "b", "grouped"}
    (tmp_path / "it.sdz").write_bytes(compressed.content)
    stored = load_network(tmp_path / "it.sdz")[1]
    for name in ("up", "slopes"):
        np.testing.assert_array_equal(stored[name][0], weights[name][0])


@pytest.mark.parametrize(("name", "value"), [("size", 0), ("density", 0), ("density", 1.5), ("bits", 1), ("bits", 9)])
def test_wrong_settings(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must"):
        Settings(**{name: value})


def test_pictures_tell_errors_and_which_inputs_are_zero() -> None:
    model, blobs = small()
    network, weights = model.network, model.weights
    outputs = ReferenceOutputs(model, blobs)
    assert outputs.error(weights) == pytest.approx(0, abs=1e-12)
    changed = {**weights, "conv": [weights["conv"][0] * 1.1, weights["conv"][1]]}
    parts = []
    for name in network.output_names:
        before, after = (np.stack([by_onnx(network, some, blob)[name] for blob in blobs]) for some in (weights, changed))
        parts.append(float(((before - after) ** 2).sum() / (before**2).sum()))
    assert outputs.error(changed) == pytest.approx(np.mean(parts), rel=1e-3)
    layers = (
        Convolution(name="a", bottoms=("data",), tops=("a",), outputs=3, kernel=(1, 1)),
        ReLU(name="r", bottoms=("a",), tops=("a",)),
        Convolution(name="b", bottoms=("a",), tops=("b",), outputs=3, kernel=(1, 1)),
    )
    two = Network("two", "data", (1, 3, 8, 8), layers)
    known = random_weights(two)
    values = np.maximum(by_onnx(Network("one", "data", (1, 3, 8, 8), layers[:1]), known, a_blob(two))["a"], 0)
    active = ReferenceOutputs(Model(two, known), [a_blob(two)]).active_inputs(known)
    assert active == {"a": 1.0, "b": pytest.approx(np.count_nonzero(values) / values.size)}


def test_sensitivity_is_resumed(tmp_path: Path) -> None:
    model, blobs = small()
    outputs, stage = ReferenceOutputs(model, blobs), tmp_path / "stage.json"
    curves = measure_sensitivity(model, outputs, stage=stage)
    assert list(curves) == [step.layer.name for step in model.network.weighted()]
    assert all(len(errors) == len(REMOVED) for errors in curves.values())
    content = json.loads(stage.read_text())
    content["errors"]["conv"] = [1, 2, 3, 4]
    del content["errors"]["around"]
    part = json.dumps(content)
    others = json.dumps({**content, "errors": 5}), json.dumps({**content, "fingerprint": "other"})
    for text, expected in ((part, {**curves, "conv": (1, 2, 3, 4)}), *((text, curves) for text in ("{", "[]", *others))):
        stage.write_text(text)
        assert measure_sensitivity(model, outputs, stage=stage) == expected
    stage.write_text(part)
    of_others = ReferenceOutputs(model, blobs[1:])
    assert measure_sensitivity(model, of_others, stage=stage) == measure_sensitivity(model, of_others)


def test_hessians_make_it_better() -> None:
    model, blobs = small()
    outputs, settings = ReferenceOutputs(model, blobs), Settings(density=0.7, bits=3)
    alone = compress(model, settings, outputs=outputs)
    compensated = compress(model, settings, outputs=outputs, hessians=input_hessians(model, blobs))
    assert compensated.errors["shared"] < alone.errors["shared"]
    assert compensated.rows[0].active == 1.0


def test_the_textbooks_ratio() -> None:
    """The example of the courses: 1,000 weights of 32 bits that share 256 values."""
    assert textbook_ratio(1000, 256) == pytest.approx(1.98, abs=0.005)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.sdz"
    options = ["--size", "1M", "--bits", "6", "--json", str(tmp_path / "it.json")]
    assert main(["compress", str(STEM), "-o", str(out), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["layer", "weights", "MACs"]
    assert lines[-1].split()[0] == "total"
    assert out.stat().st_size <= 1_000_000
    content = json.loads((tmp_path / "it.json").read_text())
    assert content["bytes"] == out.stat().st_size == content["total"]["size"]
    assert [row["layer"] for row in content["layers"]] == [step.layer.name for step in load_network(STEM)[0].weighted()]
    photo = cv2.imread(str(ROOT / "samples" / "chelsea.jpg"))
    assert sd.SqueezeDet(out).detect(photo).labels == ["cat"]


def test_the_command_with_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small()[0].save(tmp_path / "it.onnx")
    (tmp_path / "photos").mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (30, 40, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), picture)
    command = ["compress", str(tmp_path / "it.onnx"), "-o", str(tmp_path / "it.sdz"), "--density", "0.6", "--bits", "4"]
    command += ["--pictures", str(tmp_path / "photos")]
    command += ["--html", str(tmp_path / "it.html"), "--json", str(tmp_path / "content.json")]
    pytest.importorskip("matplotlib")
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "output error, pruned: " in out
    assert "output error, shared: " in out
    content = json.loads((tmp_path / "content.json").read_text())
    assert list(content["sensitivity"]["errors"]) == [row["layer"] for row in content["layers"]]
    html = (tmp_path / "it.html").read_text()
    assert html.count("<h2>") == 4
    assert "http" not in html.replace("http://www.w3.org", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["content.json", "it.html", "it.onnx", "it.sdz", "photos"]
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_a_folder_of_the_users_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one for work in progress is removed at the end, and had the name of one that was there before."""
    small()[0].save(tmp_path / "it.onnx")
    stages = tmp_path / "it.stages"
    stages.mkdir()
    (stages / "mine.txt").write_text("years of work")
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((9, 9, 3), np.uint8))
    command = ["compress", str(tmp_path / "it.onnx"), "-o", str(tmp_path / "it.sdz"), "--density", "0.6", "--bits", "4"]
    assert main([*command, "--pictures", str(tmp_path)]) == 2
    assert "it.stages, which has other files" in capsys.readouterr().err
    assert main(command) == 0  # which needs no such folder
    assert (stages / "mine.txt").read_text() == "years of work"
    (stages / "mine.txt").rename(stages / ".0123456789abcdef.json")  # what a kill leaves behind
    assert main([*command, "--pictures", str(tmp_path)]) == 0
    assert not stages.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.onnx"], "--output: a name that ends in .sdz was expected, got x.onnx"),
        (["-o", "no/x.sdz"], "--output: no/x.sdz: its folder does not exist"),
        (["-o", "x.sdz", "--size", "0"], "bytes, as in 900000, 900K or 1M, were expected, got '0'"),
        (["-o", "x.sdz", "--size", "9"], "a file of at most 9 bytes was expected"),
        (["-o", "x.sdz", "--bits", "9"], "bits must be from 2 to 8, got 9"),
        (["-o", "x.sdz", "--pictures", "."], "no pictures in '.'"),
        (["-o", "x.sdz", "--pictures", "photos", "--train", "d"], "--pictures: with --train"),
        (["-o", "x.sdz", "--pictures", "nowhere"], "nowhere: No such file or directory"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small()[0].save("it.onnx")
    Path("photos").mkdir()
    cv2.imwrite("photos/it.png", np.zeros((9, 9, 3), np.uint8))
    assert message in error_line(main, ["compress", "it.onnx", *arguments], capsys)
    assert sorted(path.name for path in Path().iterdir()) == ["it.onnx", "photos"]


def test_a_classifier_agrees_with_itself(tmp_path: Path) -> None:
    """Its weights are from an archive, whose names have no slashes."""
    network = architectures.squeezenet_v1_0(classes=9, input_size=(99, 99))
    weights = random_weights(network)
    arrays = {name.replace("/", "_"): blobs for name, blobs in weights.items()}
    np.savez(tmp_path / "it.npz", **{f"{name}_{part}": blob for name in arrays for part, blob in zip("wb", arrays[name])})  # noqa: B905
    (tmp_path / "it.prototxt").write_text(prototxt_text(network))
    model = Model.load(tmp_path / "it.prototxt", tmp_path / "it.npz")
    assert (model.network, same_weights(model.weights, weights)) == (network, True)
    outputs = ReferenceOutputs(model, [a_blob(network, seed=seed) for seed in range(3)])
    assert compress(model, Settings(density=1, bits=8), outputs=outputs).agreement == 1.0
    assert outputs.agreement(random_weights(network, seed=1)) < 1.0
