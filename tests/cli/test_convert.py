"""The commands convert and inspect."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from embedded import ONNX
from format_seeds import compressed_file
from networks import MODELS, ROOT, a_blob, by_onnx, load_network, random_weights, same_weights

import opencv_squeezedet as sd
from opencv_squeezedet import registry
from opencv_squeezedet.activations import layer_maps
from opencv_squeezedet.cli import main
from opencv_squeezedet.formats import caffemodel_bytes, prototxt_text
from opencv_squeezedet.model import Model
from opencv_squeezedet.model_files import models_folder
from opencv_squeezedet.network import Reshape, architectures

EMBEDDED = MODELS / "squeezedet_shuffle_voc"
INSTALLED = Path(models_folder(), EMBEDDED.name)


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    """A copy of the embedded model in Caffe's files, which is at home alone in its folder."""
    for suffix in (".prototxt", ".caffemodel", ".json"):
        shutil.copy(f"{EMBEDDED}{suffix}", tmp_path / f"mine{suffix}")
    return tmp_path / "mine"


def error_of(capsys: pytest.CaptureFixture[str], *args: object, status: int = 2) -> str:
    assert main([*map(str, args)]) == status
    out, error = capsys.readouterr()
    assert error.count("\n") == 1, error
    assert status == 1 or not out
    return error.rstrip("\n")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- convert -----------------------------------------------------------------------------------------------------------


def test_from_caffe_to_onnx_and_back(stem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stem.parent
    assert main(["convert", str(stem), str(folder / "other.onnx"), "--half"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{folder / 'other.onnx'}: {(folder / 'other.onnx').stat().st_size:,} bytes",
        f"{folder / 'other.json'}: {Path(f'{stem}.json').stat().st_size:,} bytes",
    ]
    assert (folder / "other.onnx").read_bytes() == Path(ONNX).read_bytes()
    assert (folder / "other.json").read_bytes() == Path(f"{EMBEDDED}.json").read_bytes()
    assert main(["convert", str(folder / "other.onnx"), str(folder / "third.caffemodel"), "--half"]) == 0
    assert files(folder) == {
        *("mine.prototxt", "mine.caffemodel", "mine.json", "other.onnx", "other.json"),
        *("third.prototxt", "third.caffemodel", "third.json"),
    }
    assert (folder / "third.prototxt").read_bytes() == Path(f"{EMBEDDED}.prototxt").read_bytes()
    (network, weights), (_, expected) = load_network(folder / "third"), load_network(EMBEDDED)
    assert same_weights(weights, expected)
    assert network == architectures.squeezedet_shuffle()


def test_half_and_whole(stem: Path) -> None:
    folder = stem.parent
    for name, options in (("whole", []), ("half", ["--half"])):
        for suffix in (".onnx", ".prototxt"):
            assert main(["convert", str(stem), str(folder / f"{name}{suffix}"), *options]) == 0
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    for suffix in (".onnx", ".caffemodel"):
        assert 1.9 < sizes[f"whole{suffix}"] / sizes[f"half{suffix}"] < 2.05
    for name in ("whole.onnx", "half.onnx", "whole", "half"):  # the weights were float16 from the first
        assert same_weights(load_network(folder / name)[1], load_network(EMBEDDED)[1])


def test_from_deep_compression(tmp_path: Path) -> None:
    source = tmp_path / "compressed.net"
    source.write_bytes(compressed_file())
    assert main(["convert", str(source), str(tmp_path / "whole.onnx")]) == 0
    assert main(["convert", str(source), str(tmp_path / "whole.caffemodel")]) == 0
    (network, weights), (other, others) = load_network(tmp_path / "whole.onnx"), load_network(tmp_path / "whole")
    assert network == other == architectures.squeezenet_v1_0()
    assert same_weights(weights, others)
    assert same_weights(weights, load_network(source)[1])
    assert np.isfinite(by_onnx(network, weights, a_blob(network))["prob"]).all()


def test_weights_of_another_name(stem: Path) -> None:
    Path(f"{stem}.caffemodel").rename(stem.parent / "weights.bin")
    target = stem.parent / "other.onnx"
    assert main(["convert", f"{stem}.prototxt", str(target), "--weights", str(stem.parent / "weights.bin")]) == 0
    assert load_network(target)[0] == architectures.squeezedet_shuffle()


def test_the_description_is_the_users(stem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = stem.parent / "mine.onnx"
    assert main(["convert", str(stem), str(target)]) == 0  # beside its own description
    assert len(capsys.readouterr().out.splitlines()) == 1
    target.unlink()
    other = stem.parent / "other.json"
    other.write_text("{}")
    error = error_of(capsys, "convert", stem, stem.parent / "other.onnx")
    assert error == f"squeezedet convert: '{other}' already exists and describes another model; it is not overwritten"
    assert other.read_text() == "{}"
    assert not (stem.parent / "other.onnx").exists()


@pytest.mark.parametrize("target", ["mine.caffemodel", "mine.prototxt", "../{}/mine.prototxt", "link.prototxt"])
def test_the_source_is_not_overwritten(stem: Path, capsys: pytest.CaptureFixture[str], target: str) -> None:
    (stem.parent / "link.prototxt").symlink_to(f"{stem}.prototxt")
    before = {path: path.read_bytes() for path in stem.parent.iterdir()}
    error = error_of(capsys, "convert", stem, stem.parent / target.format(stem.parent.name), "--half")
    assert "is the source itself, which is not overwritten" in error
    assert {path: path.read_bytes() for path in stem.parent.iterdir()} == before


def test_what_cannot_be_converted(stem: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = files(tmp_path)
    target = tmp_path / "other.onnx"
    assert f"no network definition at '{tmp_path / 'nothing.prototxt'}', and no" in error_of(
        capsys, "convert", tmp_path / "nothing", target
    )
    assert ".onnx, .sdz, .caffemodel or .prototxt was expected, got" in error_of(
        capsys, "convert", stem, tmp_path / "other.net"
    )
    assert "No such file or directory" in error_of(capsys, "convert", stem, tmp_path / "nowhere" / "other.onnx")
    assert "has weights of its own" in error_of(capsys, "convert", ONNX, target, "--weights", f"{stem}.caffemodel")
    Path(f"{stem}.caffemodel").write_bytes(b"nothing")
    assert "mine.caffemodel': " in error_of(capsys, "convert", stem, target)
    other = architectures.squeezedet_shuffle(anchors=5)
    Path(f"{stem}.caffemodel").write_bytes(caffemodel_bytes(other, random_weights(other)))
    assert "layer 'convdet': weights of 225x128x2x2 and 225 were expected" in error_of(capsys, "convert", stem, target)
    Path(f"{stem}.caffemodel").unlink()
    assert "no weights at '" in error_of(capsys, "convert", stem, target)
    assert "the following arguments are required: TARGET" in error_of(capsys, "convert", stem)
    assert files(tmp_path) == before - {"mine.caffemodel"}


@pytest.mark.parametrize("blocked", [".caffemodel", ".prototxt", ".json"])
def test_all_files_or_none(stem: Path, blocked: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = stem.parent / "other"
    Path(f"{target}.caffemodel").write_text("older")
    Path(f"{target}{blocked}").unlink(missing_ok=True)
    Path(f"{target}{blocked}").mkdir()
    before = files(stem.parent)
    assert "Is a directory" in error_of(capsys, "convert", stem, f"{target}.prototxt")
    assert files(stem.parent) == before
    assert blocked == ".caffemodel" or Path(f"{target}.caffemodel").read_text() == "older"


def test_circles_of_links(stem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = stem.parent / "loop.onnx"
    loop.symlink_to(loop)
    assert error_of(capsys, "convert", stem, loop) == f"squeezedet convert: {loop}: Too many levels of symbolic links"
    assert f"{str(loop)!r}" in error_of(capsys, "convert", loop, stem.parent / "new.onnx")


# ---- inspect -----------------------------------------------------------------------------------------------------------


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect"]) == 0
    lines = capsys.readouterr().out.splitlines()
    network = architectures.squeezedet_shuffle()
    assert lines[0].startswith(f"SqueezeDetShuffle: {INSTALLED}.sdz (")
    assert lines[1].split() == ["layer", "type", "output", "parameters", "MACs", "kept", "centroids", "bytes"]
    assert lines[2].split() == ["data", "Input", "1x3x384x384"]
    assert lines[3].split()[:5] == ["conv1", "Convolution", "1x24x191x191", "672", "23,639,688"]
    table = lines[3 : 3 + len(network.layers)]
    assert [line.split()[0] for line in table] == [layer.name for layer in network.layers]
    assert lines[3 + len(network.layers)].split()[:3] == ["total", "1,291,403", "654,625,800"]
    assert table[-4].split() == ["slice", "Slice", "1x23x23x180", "+", "1x23x23x9", "+", "1x23x23x36"]
    rest = lines[4 + len(network.layers) :]
    assert rest[0] == "outputs  delta_bbox, class_scores, conf_scores"
    assert rest[1] == ("head     input 384x384, grid 23x23, 9 anchors a cell, 4,761 in all, 20 classes, hwc, probabilities")
    assert rest[2] == f"config   {INSTALLED}.sdz"
    assert "  nms_kind         greedy" in rest
    assert any(line.startswith("  anchors          348x342.462, 59.0769x108.923, ") for line in rest)


@pytest.mark.parametrize("suffix", ["", ".prototxt", ".sdz", ".caffemodel"])
def test_json_of_every_form(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", f"{EMBEDDED}{suffix}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    network = architectures.squeezedet_shuffle()
    assert (told["name"], told["parameters"], told["macs"]) == ("SqueezeDetShuffle", network.parameters, network.macs)
    assert told["input"] == {"name": "data", "shape": [1, 3, 384, 384]}
    assert [layer["name"] for layer in told["layers"]] == [layer.name for layer in network.layers]
    assert sum(layer["macs"] for layer in told["layers"]) == told["macs"]
    assert told["layers"][0]["weights"] == [[24, 3, 3, 3], [24]]
    assert told["head"]["outputs"]["delta_bbox"] == ["slice", 2]
    assert sd.HeadConfig.from_dict(told["config"]) == sd.SqueezeDet().config
    assert told["problems"] == []


def test_networks_without_weights_head_or_description(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    alone = shutil.copy(MODELS / "SqueezeDet_deploy.prototxt", tmp_path)
    assert main(["inspect", alone]) == 0
    text = capsys.readouterr().out
    assert "\nhead     input 416x416, grid 23x23, 9 anchors a cell, 4,761 in all, 20 classes" in text
    assert "config" not in text
    assert main(["inspect", str(MODELS / "SqueezeNet_deploy.prototxt")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "outputs  predictions"
    (tmp_path / "compressed.net").write_bytes(compressed_file())
    assert main(["inspect", str(tmp_path / "compressed.net")]) == 0
    assert capsys.readouterr().out.startswith("SqueezeNet v1.0: ")


def test_maps_of_a_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many as the layer has channels, after its leaky ReLU; the last layer's are the blobs themselves."""
    photo = str(Path(__file__).parents[2] / "samples" / "chelsea.jpg")
    out = tmp_path / "maps.png"
    assert main(["inspect", "--activations", photo, "--layer", "reduce2", "-o", str(out)]) == 0
    assert capsys.readouterr().out.startswith("reduce2: 96 maps of 48x48, ")
    drawn = cv2.imread(str(out))
    assert drawn.shape == (10 * 50, 10 * 50, 3)
    assert main(["inspect", "--activations", photo, "-o", str(out)]) == 0
    assert capsys.readouterr().out.startswith("head: 128 maps of 24x24, ")

    where, image = Model.load("embedded"), cv2.imread(photo)
    name, maps = layer_maps(where, image)
    assert (name, maps.shape) == ("head", (128, 24, 24))
    assert -5 < maps.min() < 0 < maps.max()
    _, logits = layer_maps(where, image, "convdet")
    delta_bbox = sd.SqueezeDet().forward(image).delta_bbox
    np.testing.assert_allclose(logits.transpose(2, 1, 0)[..., 189:], delta_bbox.reshape(23, 23, 36), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--activations", "x.png"], "--activations and --output need each other"),
        (["--layer", "conv1"], "--activations and --output need each other"),
        (["--activations", "{photo}", "-o", "x.gif"], "--output: a name that ends in .png or .jpg was expected"),
        (["--activations", "none.png", "-o", "x.png"], "none.png"),
        (["--activations", "{photo}", "-o", "x.png", "--layer", "fire99"], "no layer 'fire99'; it has conv1, "),
        (["--activations", "{photo}", "-o", "x.png", "--layer", "softmax"], "layer 'softmax' puts out 1x4761x20, not maps"),
    ],
)
def test_maps_that_cannot_be(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photo = str(Path(__file__).parents[2] / "samples" / "chelsea.jpg")
    assert message in error_of(capsys, "inspect", *(argument.format(photo=photo) for argument in arguments))
    assert not list(tmp_path.iterdir())


def test_parts_that_do_not_fit_are_told_after_the_table(stem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    description = Path(f"{stem}.json")
    description.write_text(description.read_text().replace('"grid": [23, 23]', '"grid": [22, 23]'))
    error = error_of(capsys, "inspect", stem, status=1)
    assert error.endswith("layer 'slice': it gives delta_bbox of a head with grid (23, 23), the config has (22, 23)")
    description.write_text("[]")
    assert f"squeezedet inspect: '{description}': a JSON object with 'preprocess', 'head' and" in error_of(
        capsys, "inspect", stem, status=1
    )
    description.unlink()
    other = architectures.squeezedet_shuffle(anchors=5)
    Path(f"{stem}.caffemodel").write_bytes(caffemodel_bytes(other, random_weights(other)))
    assert main(["inspect", str(stem), "--json"]) == 1
    out, error = capsys.readouterr()
    assert "layer 'convdet': weights of 225x128x2x2 and 225 were expected, got 125x128x2x2 and 125" in error
    assert json.loads(out)["problems"] == [error.split(": ", 1)[1].rstrip("\n")]


def test_what_cannot_be_inspected(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no network definition at" in error_of(capsys, "inspect", tmp_path / "nothing")
    network = architectures.squeezedet_lite()
    text = prototxt_text(network).replace("416", "400")
    (tmp_path / "small.prototxt").write_text(text)
    assert isinstance(network.step("reshape").layer, Reshape)
    assert "layer 'reshape': a bottom of (1, 22, 22, 180)" in error_of(capsys, "inspect", tmp_path / "small.prototxt")


def test_names_of_published_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With weights of one's own, for the published ones were never at hand."""
    monkeypatch.setenv(registry.CACHE, str(tmp_path))
    monkeypatch.setenv(registry.MIRROR, str(MODELS))  # where only pyramid-voc is
    monkeypatch.chdir(tmp_path)
    for name in registry.names():
        entry = registry.find_entry(name)
        network, options = architectures.ARCHITECTURES[entry.architecture].build(), []
        if not entry.shipped and name != "pyramid-voc":
            Path("own.net").write_bytes(compressed_file())
            Path("own.caffemodel").write_bytes(caffemodel_bytes(network, random_weights(network)))
            options = ["--weights", f"own{Path(entry.file).suffix}"]
        assert main(["inspect", name, "--json", *options]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["name"], told["parameters"]) == (network.name, network.parameters)
        assert main(["convert", name, f"{name}.onnx", *options]) == 0
        assert load_network(f"{name}.onnx")[0].layers == network.layers
        assert Path(f"{name}.json").is_file()
        capsys.readouterr()


def test_a_name_is_fetched_and_a_file_wins(
    stem: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("requests", reason="of the extra fetch")
    monkeypatch.setenv(registry.CACHE, str(stem.parent / "cache"))
    monkeypatch.setenv(registry.MIRROR, str(stem.parent / "nowhere"))
    monkeypatch.setattr("opencv_squeezedet.registry.download.BACKOFF", 0)
    assert main(["convert", "gsoc-voc", str(stem.parent / "other.onnx")]) == 2
    fetching, error = capsys.readouterr().err.splitlines()
    assert fetching.startswith("fetching ")
    assert error.startswith("squeezedet convert: cannot fetch 'gsoc-voc': ")
    monkeypatch.chdir(stem.parent)
    shutil.copy("mine.prototxt", "gsoc-voc.prototxt")
    assert main(["inspect", "gsoc-voc"]) == 0
    assert capsys.readouterr().out.startswith("SqueezeDetShuffle: gsoc-voc.prototxt")


# ---- both --------------------------------------------------------------------------------------------------------------


def test_no_extra_is_needed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('onnx', 'google.protobuf')))\n"
        "from opencv_squeezedet.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    for command in (
        *(("inspect", f"{EMBEDDED}{suffix}") for suffix in (".prototxt", ".sdz")),
        *(("convert", str(EMBEDDED), str(tmp_path / f"x{suffix}")) for suffix in (".prototxt", ".onnx")),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *command],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert (done.returncode, done.stderr) == (0, "")
