"""The commands convert and inspect."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import PHOTO, copy_photo, error_line
from embedded import ONNX
from format_seeds import compressed_file
from networks import MODELS, a_blob, by_onnx, load_network, random_weights, same_weights

import opencv_squeezedet as sd
from opencv_squeezedet import registry
from opencv_squeezedet.activations import layer_maps
from opencv_squeezedet.cli import main
from opencv_squeezedet.formats import caffemodel_bytes, prototxt_text
from opencv_squeezedet.model import Model
from opencv_squeezedet.model_files import models_folder
from opencv_squeezedet.network import architectures

EMBEDDED = MODELS / "squeezedet_shuffle_voc"
INSTALLED = Path(models_folder(), EMBEDDED.name)
error_of = partial(error_line, main)


@pytest.fixture(autouse=True)
def model(folder: Path) -> None:
    """A copy of the embedded model in Caffe's files, alone in the current folder, as ``mine``."""
    for suffix in (".prototxt", ".caffemodel", ".json"):
        shutil.copy(f"{EMBEDDED}{suffix}", f"mine{suffix}")


def contents() -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in Path().iterdir()}


# ---- convert -----------------------------------------------------------------------------------------------------------


def test_from_caffe_to_onnx_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "mine", "other.onnx", "--half"]) == 0
    sizes = {name: f"{name}: {Path(name).stat().st_size:,} bytes" for name in ("other.onnx", "other.json")}
    assert capsys.readouterr().out.splitlines() == list(sizes.values())
    assert Path("other.onnx").read_bytes() == Path(ONNX).read_bytes()
    assert Path("other.json").read_bytes() == Path("mine.json").read_bytes()
    assert main(["convert", "other.onnx", "third.caffemodel", "--half"]) == 0
    names = {f"{stem}{suffix}" for stem in ("mine", "third") for suffix in (".prototxt", ".caffemodel", ".json")}
    assert contents().keys() == names | sizes.keys()
    assert Path("third.prototxt").read_bytes() == Path("mine.prototxt").read_bytes()
    (network, weights), (_, expected) = load_network("third"), load_network(EMBEDDED)
    assert same_weights(weights, expected)
    assert network == architectures.squeezedet_shuffle()


def test_from_deep_compression() -> None:
    Path("compressed.net").write_bytes(compressed_file())
    for target in ("whole.onnx", "whole.caffemodel"):
        assert main(["convert", "compressed.net", target]) == 0
    (network, weights), (other, others) = load_network("whole.onnx"), load_network("whole")
    assert network == other == architectures.squeezenet_v1_0()
    assert same_weights(weights, others)
    assert same_weights(weights, load_network("compressed.net")[1])
    assert np.isfinite(by_onnx(network, weights, a_blob(network))["prob"]).all()


def test_the_description_is_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.caffemodel").rename("weights.bin")
    arguments = ["convert", "mine.prototxt", "--weights", "weights.bin"]
    assert main([*arguments, "mine.onnx"]) == 0  # beside its own description
    assert len(capsys.readouterr().out.splitlines()) == 1
    Path("other.json").write_text("{}")
    assert "'other.json' already exists and describes another model" in error_of([*arguments, "other.onnx"], capsys)
    assert Path("other.json").read_text() == "{}"
    assert not Path("other.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *(
            (f"mine {target} --half", "is the source itself")
            for target in ("mine.caffemodel", "../here/mine.prototxt", "link.prototxt")
        ),
        ("nothing other.onnx", "'nothing.prototxt', and the published models are embedded, "),
        ("mine other.net", ".onnx, .sdz, .caffemodel or .prototxt was expected, got"),
        ("mine nowhere/other.onnx", "No such file or directory"),
        ("own.onnx other.onnx --weights mine.caffemodel", "has weights of its own"),
        ("mine other.onnx --weights damaged", "damaged': "),
        ("mine other.onnx --weights five", "layer 'convdet': weights of 225x128x2x2 and 225 were expected"),
        ("alone other.onnx", "no weights at '"),
        ("mine blocked.prototxt", "Is a directory"),
    ],
)
def test_what_cannot_be_converted(arguments: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link.prototxt").symlink_to("mine.prototxt")
    other = architectures.squeezedet_shuffle(anchors=5)
    Path("damaged").write_bytes(b"nothing")
    Path("five").write_bytes(caffemodel_bytes(other, random_weights(other)))
    shutil.copy("mine.prototxt", "alone.prototxt")
    shutil.copy(ONNX, "own.onnx")
    Path("blocked.json").mkdir()
    Path("blocked.caffemodel").write_text("older")
    before = contents()
    assert words in error_of(["convert", *arguments.split()], capsys)
    assert contents() == before


# ---- inspect -----------------------------------------------------------------------------------------------------------


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect"]) == 0
    lines = capsys.readouterr().out.splitlines()
    network = architectures.squeezedet_shuffle()
    assert lines[0].startswith(f"SqueezeDetShuffle: {INSTALLED}.sdz (")
    assert lines[3].split()[:5] == ["conv1", "Convolution", "1x24x191x191", "672", "23,639,688"]
    assert [line.split()[0] for line in lines[3 : 3 + len(network.layers)]] == [layer.name for layer in network.layers]
    total, outputs, head, config, *rest = lines[3 + len(network.layers) :]
    assert total.split()[:3] == ["total", "1,291,403", "654,625,800"]
    assert "delta_bbox, class_scores, conf_scores" in outputs
    assert "9 anchors a cell, 4,761 in all, 20 classes" in head
    assert f"{INSTALLED}.sdz" in config
    assert ["nms_kind", "greedy"] in map(str.split, rest)


@pytest.mark.parametrize("suffix", ["", ".prototxt", ".sdz", ".caffemodel"])
def test_json_of_every_form(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", f"{EMBEDDED}{suffix}", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    network = architectures.squeezedet_shuffle()
    assert (printed["name"], printed["parameters"], printed["macs"]) == ("SqueezeDetShuffle", network.parameters, network.macs)
    assert printed["input"] == {"name": "data", "shape": [1, 3, 384, 384]}
    assert [layer["name"] for layer in printed["layers"]] == [layer.name for layer in network.layers]
    assert sum(layer["macs"] for layer in printed["layers"]) == printed["macs"]
    assert printed["layers"][0]["weights"] == [[24, 3, 3, 3], [24]]
    assert printed["head"]["outputs"]["delta_bbox"] == ["slice", 2]
    assert sd.HeadConfig.from_dict(printed["config"]) == sd.SqueezeDet().config
    assert printed["problems"] == []


def test_networks_without_weights_head_or_description(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(MODELS / "SqueezeDet_deploy.prototxt", "alone.prototxt")
    assert main(["inspect", "alone"]) == 0
    text = capsys.readouterr().out
    assert "\nhead     input 416x416, grid 23x23, 9 anchors a cell, 4,761 in all, 20 classes" in text
    assert "config" not in text
    assert main(["inspect", str(MODELS / "SqueezeNet_deploy.prototxt")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "outputs  predictions"
    Path("compressed.net").write_bytes(compressed_file())
    assert main(["inspect", "compressed.net"]) == 0
    assert capsys.readouterr().out.startswith("SqueezeNet v1.0: ")


def test_maps_of_a_layer(capsys: pytest.CaptureFixture[str]) -> None:
    """As many as the layer has channels, after its leaky ReLU; the last layer's are the blobs themselves."""
    draw = ["inspect", "--activations", str(PHOTO), "-o", "maps.png"]
    assert main([*draw, "--layer", "reduce2"]) == 0
    assert capsys.readouterr().out.startswith("reduce2: 96 maps of 48x48, ")
    assert cv2.imread("maps.png").shape == (10 * 50, 10 * 50, 3)
    assert main(draw) == 0
    assert capsys.readouterr().out.startswith("head: 128 maps of 24x24, ")

    model, image = Model.load("embedded"), cv2.imread(str(PHOTO))
    name, maps = layer_maps(model, image)
    assert (name, maps.shape) == ("head", (128, 24, 24))
    assert -5 < maps.min() < 0 < maps.max()
    _, logits = layer_maps(model, image, "convdet")
    delta_bbox = sd.SqueezeDet().forward(image).delta_bbox
    np.testing.assert_allclose(logits.transpose(2, 1, 0)[..., 189:], delta_bbox.reshape(23, 23, 36), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nothing", "'nothing.prototxt'"),
        ("small.prototxt", "layer 'reshape': a bottom of (1, 22, 22, 180)"),
        ("--activations x.png", "need each other"),
        ("--layer conv1", "need each other"),
        ("--activations photo.jpg -o x.gif", ".png or .jpg was expected"),
        ("--activations none.png -o x.png", "none.png"),
        ("--activations photo.jpg -o x.png --layer fire99", "no layer 'fire99'; it has conv1, "),
        ("--activations photo.jpg -o x.png --layer softmax", "layer 'softmax' puts out 1x4761x20, not maps"),
    ],
)
def test_what_cannot_be_inspected_or_drawn(arguments: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    copy_photo("photo.jpg")
    Path("small.prototxt").write_text(prototxt_text(architectures.squeezedet_lite()).replace("416", "400"))
    before = contents()
    assert words in error_of(["inspect", *arguments.split()], capsys)
    assert contents() == before


def test_parts_that_are_inconsistent(capsys: pytest.CaptureFixture[str]) -> None:
    description = Path("mine.json")
    description.write_text(description.read_text().replace('"grid": [23, 23]', '"grid": [22, 23]'))
    error = error_of(["inspect", "mine"], capsys, status=1)
    assert error.endswith("layer 'slice': it gives delta_bbox of a head with grid (23, 23), the config has (22, 23)")
    description.write_text("[]")
    assert f"'{description}': a JSON object with" in error_of(["inspect", "mine"], capsys, status=1)
    description.unlink()
    other = architectures.squeezedet_shuffle(anchors=5)
    Path("mine.caffemodel").write_bytes(caffemodel_bytes(other, random_weights(other)))
    assert main(["inspect", "mine", "--json"]) == 1
    out, error = capsys.readouterr()
    assert "layer 'convdet': weights of 225x128x2x2 and 225 were expected, got 125x128x2x2 and 125" in error
    assert json.loads(out)["problems"] == [error.split(": ", 1)[1].rstrip("\n")]


def test_names_of_published_models(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With random weights: the published files are not at hand."""
    monkeypatch.setenv(registry.CACHE, str(folder))
    monkeypatch.setenv(registry.MIRROR, str(MODELS))  # where only pyramid-voc is
    for name in registry.names():
        entry = registry.find_entry(name)
        network, options = architectures.ARCHITECTURES[entry.architecture].build(), []
        if not entry.shipped and name != "pyramid-voc":
            Path("own.net").write_bytes(compressed_file())
            Path("own.caffemodel").write_bytes(caffemodel_bytes(network, random_weights(network)))
            options = ["--weights", f"own{Path(entry.file).suffix}"]
        assert main(["inspect", name, "--json", *options]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert (printed["name"], printed["parameters"]) == (network.name, network.parameters)
        assert main(["convert", name, f"{name}.onnx", *options]) == 0
        assert load_network(f"{name}.onnx")[0].layers == network.layers
        assert Path(f"{name}.json").is_file()
        capsys.readouterr()
