"""Compressed models: their bytes, against coders written out here; damaged ones; the same boxes wherever they load."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from embedded import DEFINITION, HAS_CAFFE, ONNX, STEM, WEIGHTS
from format_seeds import parts_of, sealed, seeds, shared, small_network
from hypothesis import given
from hypothesis import strategies as st
from networks import ROOT, load_network, random_weights, same_weights
from numpy.typing import NDArray
from shared import DATA, needs

import opencv_squeezedet as sd
from opencv_squeezedet.cli import main
from opencv_squeezedet.formats import onnx_bytes, read_sdz, sdz_bytes
from opencv_squeezedet.formats.bare_weights import with_weights
from opencv_squeezedet.formats.onnx_writer import onnx_skeleton
from opencv_squeezedet.formats.sdz import parse_sdz, stored_of
from opencv_squeezedet.formats.shared_weights import (
    FLOAT16,
    FLOAT32,
    SHARED,
    SPARSE,
    layout_of,
    read_values,
    values_bytes,
)
from opencv_squeezedet.network import Convolution, Network, PSROIPooling, Upsample, architectures

PUBLISHED = DATA / "weights" / "compressed_SqueezeNet.net"


def bits(values: NDArray[np.float32]) -> list[int]:
    found: list[int] = values.view(np.uint32).tolist()
    return found


def decoded_step_by_step(content: bytes, count: int) -> NDArray[np.float32]:
    """One value after the other, by the description of the format in models/README.md."""
    form = content[0]
    if form < 2:
        return np.frombuffer(content, {0: "<f4", 1: "<f2"}[form], offset=1).astype(np.float32)
    float_form, last = content[1:3]
    entries, code_bytes = struct.unpack_from("<II", content, 3) if form == 3 else (count, None)
    start, size = {2: 3, 3: 11}[form], {0: 4, 1: 2}[float_form]
    centroids = struct.unpack_from(f"<{last + 1}{'fe'[float_form]}", content, start)
    streams = content[start + size * (last + 1) :]
    codes = zlib.decompress(streams[:code_bytes], -15)
    gaps = bytes(count) if code_bytes is None else zlib.decompress(streams[code_bytes:], -15)
    assert len(codes) == entries
    values, at = [0.0] * count, -1
    for code, gap in zip(codes, gaps, strict=True):
        at += gap + 1
        values[at] = centroids[code]
    return np.array(values, np.float32)


# ---- arrays ------------------------------------------------------------------------------------------------------------


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[np.float32]:
    """Of any share of zeros and any number of values, some of which only float32 holds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, values = draw(st.integers(1, 3000)), draw(st.sampled_from([1, 2, 3, 15, 255, 256, 257, 3000]))
    some = rng.standard_normal(values).astype(draw(st.sampled_from([np.float16, np.float32]))).astype(np.float32)
    array = some[rng.integers(0, values, count)]
    array[rng.random(count) >= draw(st.sampled_from([0.0, 0.002, 0.05, 0.4, 1.0]))] = 0
    if draw(st.booleans()):
        array[rng.integers(0, count, 3)] = draw(st.sampled_from([-0.0, np.nan, np.inf, 1e-45, 65519.0, 3e38]))
    return array


@given(values=arrays())
def test_what_is_coded_is_decoded_bit_for_bit(values: NDArray[np.float32]) -> None:
    content = values_bytes(values)
    assert bits(read_values(content, values.size)) == bits(values)
    assert bits(decoded_step_by_step(content, values.size)) == bits(values)
    assert len(content) <= 1 + 4 * values.size


def made(count: int, density: float, values: int, seed: int = 0) -> NDArray[np.float32]:
    """An array like a pruned layer: normal weights shared by centroids at equal distances."""
    rng = np.random.default_rng(seed)
    weights = np.round(rng.standard_normal(count) * values / 6).clip(-values // 2, values // 2).astype(np.float32)
    weights[weights == 0] = 1
    weights[rng.random(count) >= density] = 0
    return weights


@pytest.mark.parametrize("density", [0.02, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("values", [4, 30, 200])
def test_streams_are_near_the_entropy(density: float, values: int) -> None:
    """As near as Huffman's code is (Gallager 1978): above it by the most frequent symbol's share and 0.086 bits at most."""
    array = made(200_000, density, values)
    layout = layout_of(values_bytes(array), array.size)
    assert layout.form == {0.02: SPARSE, 1.0: SHARED}.get(density, layout.form)
    gaps, codes, before = [], [], -1
    for place in np.flatnonzero(array).tolist() if layout.form == SPARSE else range(array.size):
        fillers, gap = divmod(place - before - 1, 256)
        gaps += [255] * fillers + [gap]
        codes += [0.0] * fillers + [float(array[place])]
        before = place
    for symbols, size in ((codes, layout.codes), (gaps, layout.gaps)):
        used, counts = np.unique(symbols, return_counts=True)
        share = counts / len(symbols)
        entropy = float(-(share * np.log2(share)).sum())
        assert len(symbols) <= layout.entries <= len(symbols) + 1  # a filler behind the last
        if size:
            tables = (len(symbols) // 32_000 + 1) * (20 + len(used))  # of each of deflate's blocks
            assert 0.98 * entropy * len(symbols) / 8 <= size
            assert size <= (entropy + share.max() + 0.086) * layout.entries / 8 + tables
    assert layout.tables <= 11 + 2 * 256


def test_long_runs_of_zeros_are_bridged() -> None:
    for count in (255, 256, 257, 10_000):
        nothing = np.zeros(count, np.float32)
        assert bits(read_values(values_bytes(nothing), count)) == bits(nothing)
        for place in (0, 255, 256, 511, count - 1):
            one = nothing.copy()
            one[min(place, count - 1)] = 2
            assert bits(read_values(values_bytes(one), count)) == bits(one)
    assert layout_of(values_bytes(np.zeros(10_000, np.float32)), 10_000).entries == 39


def test_arrays_that_nobody_shares_stay_floats() -> None:
    whole = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    halves = whole.astype(np.float16).astype(np.float32)
    assert (values_bytes(whole)[0], values_bytes(halves)[0]) == (FLOAT32, FLOAT16)
    assert values_bytes(np.sign(whole))[0] == SHARED


# ---- damaged arrays ----------------------------------------------------------------------------------------------------

GOOD = values_bytes(made(5000, 0.3, 20))
LAYOUT = layout_of(GOOD, 5000)
DENSE = values_bytes(made(5000, 1.0, 20))


def changed(at: int, value: bytes) -> bytes:
    return GOOD[:at] + value + GOOD[at + len(value) :]


def deflated(symbols: bytes) -> bytes:
    return zlib.compress(symbols, 9)[2:-4]


def shared_by_one(stream: bytes) -> bytes:
    """An array of codes without gaps, and of one centroid."""
    return b"\x02\x01\x00" + np.float16(1).tobytes() + stream


def sparse(codes: bytes, gaps: bytes, entries: int) -> bytes:
    return struct.pack("<BBBII", 3, 1, 0, entries, len(codes)) + np.float16(1).tobytes() + codes + gaps


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "weights of form 0 to 3 were expected, got nothing"),
        (b"\x04" + bytes(50), "weights of form 0 to 3 were expected, got 04"),
        (b"\x00" + bytes(19999), "5000 values of 4 bytes were expected, got 19999 bytes"),
        (DENSE[:2], "weights of form 0 to 3 were expected, got 02"),
        (GOOD[:8], "weights of form 0 to 3 were expected, got 03"),
        (GOOD[:40], "tables of [0-9]+ bytes and codes of [0-9]+ were expected, got 40 bytes"),
        (DENSE[:40], "tables of [0-9]+ bytes and codes of .* were expected, got 40 bytes"),
        (changed(1, b"\x02"), "centroids of form 0 or 1 were expected, got 2"),
        (changed(2, b"\x01"), "codes below 2 were expected|deflate"),
        (changed(3, struct.pack("<I", 5001)), "5001 entries in .* cannot be 5000 values"),
        (changed(3, struct.pack("<I", 3)), "3 entries in .* cannot be 5000 values"),
        (changed(3, struct.pack("<I", 0)), "0 entries in .* cannot be 5000 values"),
        (changed(3, struct.pack("<I", LAYOUT.entries - 9)), "a deflate stream of .* bytes was expected, got more"),
        (changed(3, struct.pack("<I", LAYOUT.entries + 9)), "a deflate stream of .* bytes was expected, got [0-9]+"),
        (changed(7, struct.pack("<I", LAYOUT.codes + 1)), "a deflate stream of .* bytes was expected, got more"),
        (changed(7, struct.pack("<I", LAYOUT.codes - 1)), "a deflate stream of .* bytes was expected, got [0-9]+, and no end"),
        (changed(7, struct.pack("<I", 1 << 31)), "tables of [0-9]+ bytes and codes of 2147483648 were expected"),
        (GOOD[:-2], "no end"),
        (GOOD + b"\0", "got more"),
        (DENSE[:-2], "no end"),
        (DENSE + b"\0", "got more"),
        (GOOD[: LAYOUT.tables] + b"\xff" + GOOD[LAYOUT.tables + 1 :], "a deflate stream was expected"),
        (shared_by_one(deflated(bytes(1 << 24))), "a deflate stream of 5000 bytes was expected, got more"),  # a bomb
        (shared_by_one(deflated(bytes(5000))), "5000 entries in .* cannot be 5000 values"),
        (shared_by_one(deflated(bytes(5000)) + bytes(700)), "got more"),
        (shared_by_one(b"\x01\x88\x13\x77\xec" + bytes(4999) + b"\x01"), "codes below 1 were expected, got 1"),
        (sparse(deflated(bytes(20)), deflated(b"\xff" * 20), 20), "entries within 5000 values .*, one is at index 5119"),
        (sparse(deflated(bytes(1 << 20)), deflated(bytes(40)), 40), "a deflate stream of 40 bytes was expected, got more"),
        (sparse(deflated(bytes(100)), deflated(b"\xff" * 100), 100), "100 entries in .* cannot be 5000 values"),
    ],
)
def test_damaged_arrays(content: bytes, message: str) -> None:
    with pytest.raises(sd.ModelError, match=message):
        read_values(content, 5000)


# ---- files -------------------------------------------------------------------------------------------------------------


def test_a_file_holds_all_of_a_model(tmp_path: Path) -> None:
    network = small_network()
    for weights in (random_weights(network), shared(random_weights(network))):
        (tmp_path / "it.sdz").write_bytes(sdz_bytes(network, weights, b'{"a": "\xc3\xa9"}'))
        model = read_sdz(tmp_path / "it.sdz")
        assert model.description == b'{"a": "\xc3\xa9"}'
        read, found = load_network(tmp_path / "it")
        assert read == network
        assert same_weights(found, weights)
        assert all(blob.flags.writeable for blobs in found.values() for blob in blobs)
        stored = stored_of(model, found)
        assert sum(one.size for one in stored.values()) == sum(len(blob.content) for blob in model.blobs)
        assert stored["conv"].kept == np.count_nonzero(weights["conv"][0]) / weights["conv"][0].size


@pytest.mark.parametrize("index", [0, 1])
def test_the_skeleton_and_the_weights_are_the_onnx_file(index: int) -> None:
    """With weights that are float16, and with others."""
    model = parse_sdz(seeds()["sdz"][index])
    stored = model.weights(as_stored=True)
    kinds = {values.dtype.name for blobs in stored.values() for values in blobs}
    assert "float16" in kinds if index == 0 else kinds == {"float32"}
    network = model.network()
    weights = model.checked_weights(network)
    assert same_weights(weights, {name: [v.astype(np.float32) for v in blobs] for name, blobs in stored.items()})
    blob = np.random.default_rng(0).standard_normal(network.input_shape).astype(np.float32)
    outputs = []
    for content in (with_weights(model.skeleton, stored), onnx_bytes(network, weights)):
        net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
        net.setInput(blob)
        outputs.append(net.forward(network.output_names))
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_fixed_weights_are_stored_but_not_in_the_onnx_file() -> None:
    """A kernel of ones, which Caffe's files need and ONNX's Resize does not: no initializer that no node reads."""
    layers = (
        Convolution(name="conv", bottoms=("data",), tops=("conv",), outputs=4, kernel=(1, 1)),
        Upsample(name="up", bottoms=("conv",), tops=("up",), channels=4),
    )
    network = Network("it", "data", (1, 3, 4, 4), layers)
    weights = random_weights(network)
    model = parse_sdz(sdz_bytes(network, weights))
    assert same_weights(model.checked_weights(model.network()), weights)
    for content in (with_weights(model.skeleton, model.weights()), onnx_bytes(network, weights)):
        assert b"conv.weight" in content
        assert b"up.weight" not in content


def test_without_an_equal_in_onnx_there_is_no_skeleton() -> None:
    layer = PSROIPooling(name="p", bottoms=("data", "regions"), tops=("p",), outputs=1, grid=1)
    network = Network("it", "data", (1, 1, 5, 5), (layer,), (("regions", (2, 5)),))
    with pytest.raises(sd.ModelError, match="layer 'p'"):
        onnx_bytes(network, {})
    model = parse_sdz(sdz_bytes(network, {}))
    assert model.skeleton == b""
    assert model.network() == network


def changed_head(change: Any) -> bytes:
    head, blobs = parts_of(seeds()["sdz"][0])
    values = json.loads(head)
    values = change(values) or values
    return sealed(json.dumps(values).encode(), blobs)


def set_to(name: str, value: Any) -> bytes:
    return changed_head(lambda head: {**head, name: value})


def claim(head: bytes, length: int) -> bytes:
    return json.dumps({**json.loads(head), "blobs": [["conv", [1 << 28], length]]}).encode()


def test_damaged_files(tmp_path: Path) -> None:
    good = seeds()["sdz"][0]
    path = tmp_path / "it.sdz"
    head, blobs = parts_of(good)
    bomb = deflated(bytes(1 << 24))
    of_bomb = struct.pack("<8sHHIIII", good[:8], 2, 0, 32 + len(bomb), len(bomb), 1 << 20, 1) + bomb
    for content, message in (
        (b"PK\3\4" + good[4:], "a compressed model, which begins with"),
        (good[:20], "a file of at least 32 bytes was expected, it has 20"),
        (good[:8] + b"\1\0" + good[10:], "version 2 of .* expected, got version 1: an earlier release converts it"),
        (good[:8] + b"\3\0" + good[10:], "version 2 of .* expected, got version 3: a newer release may read it"),
        (good[:-1], r"a file of \d+ bytes was expected from its beginning, it has \d+"),
        (good + b"\0", r"a file of \d+ bytes was expected from its beginning, it has \d+"),
        (
            of_bomb + struct.pack("<I", zlib.crc32(of_bomb)),
            "its head .*: a deflate stream of 1048576 bytes was expected, got more",
        ),
        (sealed(b"[", blobs), "its head cannot be read"),
        (sealed(b"[" * 1_500, blobs), "its head cannot be read"),
        (sealed(b"[" * 100_000, blobs), "a head of at most 1048576 bytes, and 100 times those it is packed to"),
        (sealed(b"[]", blobs), "a head that is a JSON object was expected"),
        (sealed(b"{}", blobs), "a head with a description, a definition and blobs was expected: KeyError"),
        (set_to("description", 5), "AttributeError"),
        (set_to("definition", None), "a head with a definition was expected"),
        (set_to("definition", "layer {"), "no prototxt"),
        (
            set_to("definition", 'input: "data" input_dim: [1, 3, 9, 9]'),
            "definition's layers were expected, got those of 'around' too",
        ),
        (set_to("blobs", 3), "TypeError"),
        (set_to("blobs", [["conv", [2, 2]]]), "ValueError"),
        (set_to("blobs", [["conv", [2, "a"], 2]]), "ValueError"),
        (set_to("blobs", [["conv", [], 2]]), "ValueError"),
        (set_to("blobs", [["conv", [0], 2]]), "ValueError"),
        (set_to("blobs", [["conv", [1] * 9, 2]]), "ValueError"),
        (set_to("blobs", [["conv", [1 << 20, 1 << 20], len(blobs)]]), "at most 4096 blobs of 268435456 weights"),
        (set_to("blobs", [[f"conv{i}", [1], 1] for i in range(4097)]), "at most 4096 blobs"),
        (set_to("blobs", [["conv", [1 << 28], len(blobs)]]), "layer 'conv': .* cannot be 268435456 values"),
        (sealed(claim(head, len(GOOD)), GOOD), "layer 'conv': .* cannot be 268435456 values"),
        (set_to("blobs", []), r"blobs up to byte \d+ were expected, they end at \d+"),
        (sealed(head, blobs[:-1]), r"blobs up to byte \d+ were expected"),
        (changed_head(lambda head: head["blobs"][0].__setitem__(1, [9, 3, 9])), "weights of 9x3x3x3 and 9 were expected"),
        (changed_head(lambda head: head["blobs"][0].__setitem__(0, "other")), "layer 'conv': weights of"),
    ):
        path.write_bytes(content)
        with pytest.raises(sd.ModelError, match=rf"it\.sdz': .*{message}"):
            load_network(path)
        with pytest.raises(sd.ModelError, match=r"it\.sdz': "):
            sd.SqueezeDet(path, config=sd.VOC)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    good = bytearray(seeds()["sdz"][0])
    for at in range(0, len(good), 7):
        good[at] ^= 1 << at % 8
        (tmp_path / "it.sdz").write_bytes(good)
        with pytest.raises(sd.ModelError):
            read_sdz(tmp_path / "it.sdz")
        good[at] ^= 1 << at % 8


# ---- models ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, whole, and nothing beside it."""
    path = tmp_path_factory.mktemp("model") / "it.sdz"
    network, weights = load_network(STEM)
    path.write_bytes(sdz_bytes(network, weights, Path(f"{STEM}.json").read_bytes()))
    return path


def photo() -> NDArray[np.uint8]:
    return cv2.imread(str(ROOT / "samples" / "chelsea.jpg"))  # type: ignore[return-value]


@pytest.mark.parametrize("backend", ["opencv", "onnxruntime"])
@pytest.mark.parametrize("name", ["it.sdz", "it"])
def test_a_detector(model: Path, name: str, backend: Any) -> None:
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    found = sd.SqueezeDet(model.with_name(name), backend=backend).detect(photo())
    expected = sd.SqueezeDet(STEM, backend=backend).detect(photo())
    assert found.labels == expected.labels
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=1e-3)
    if backend == "opencv" and HAS_CAFFE:
        np.testing.assert_array_equal(found.xyxy, expected.xyxy)


@pytest.mark.parametrize("backend", ["opencv", "onnxruntime"])
def test_the_embedded_model_is_the_same_checked_or_not(backend: Any) -> None:
    """Unchecked it opens by the ONNX file that it has in it, otherwise by its definition."""
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    found, expected = (sd.SqueezeDet(model, backend=backend).forward(photo()) for model in (None, f"{STEM}.sdz"))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_embedded_model_has_the_float_models_definition() -> None:
    model = read_sdz(f"{STEM}.sdz")
    assert model.definition == Path(DEFINITION).read_bytes()
    assert model.description == Path(f"{STEM}.json").read_bytes()
    assert model.skeleton == onnx_skeleton(model.network())
    assert Path(f"{STEM}.sdz").stat().st_size <= 1_000_000


def test_opencvs_interface(model: Path) -> None:
    boxes = sd.DetectionModel(model).detect(photo())
    for one, other in zip(boxes, sd.DetectionModel(ONNX).detect(photo()), strict=True):
        np.testing.assert_allclose(one, other, atol=1.001)


def test_weights_of_its_own(model: Path) -> None:
    with pytest.raises(sd.ModelError, match="has weights of its own"):
        sd.SqueezeDet(model, f"{STEM}.caffemodel")


def test_without_a_description(tmp_path: Path) -> None:
    network, weights = load_network(STEM)
    (tmp_path / "it.sdz").write_bytes(sdz_bytes(network, weights))
    with pytest.raises(FileNotFoundError, match="no model description at"):
        sd.SqueezeDet(tmp_path / "it.sdz")
    config = sd.SqueezeDet().config
    assert sd.SqueezeDet(tmp_path / "it.sdz", config=config).detect(photo()).labels == ["cat"]


def test_whole_files_are_preferred(model: Path, tmp_path: Path) -> None:
    for suffix in (".prototxt", ".caffemodel", ".json"):
        shutil.copy(f"{STEM}{suffix}", tmp_path / f"it{suffix}")
    shutil.copy(model, tmp_path)
    assert sd.model_files.find_files(tmp_path / "it").definition == str(tmp_path / "it.prototxt")
    assert sd.model_files.find_files(tmp_path / "it.sdz").definition == str(tmp_path / "it.sdz")


def test_convert_there_and_back(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target in ("a.onnx", "b.caffemodel", "c.prototxt"):
        assert main(["convert", str(model), str(tmp_path / target), "--half"]) == 0
    written = {"a.onnx": ONNX, "b.caffemodel": WEIGHTS, "c.prototxt": DEFINITION, "a.json": f"{STEM}.json"}
    for name, other in written.items():
        assert (tmp_path / name).read_bytes() == Path(other).read_bytes()
    assert main(["convert", str(tmp_path / "b.caffemodel"), str(tmp_path / "d.sdz")]) == 0
    assert (tmp_path / "d.sdz").read_bytes() == model.read_bytes()
    capsys.readouterr()
    assert main(["convert", str(model), str(model)]) == 2
    assert "is the source itself" in capsys.readouterr().err


def test_inspect(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-3:] == ["kept", "centroids", "bytes"]
    kernel, _ = load_network(STEM)[1]["conv1"]
    kept = np.count_nonzero(kernel) / kernel.size
    assert lines[3].split()[-3:] == [f"{kept:.1%}", "floats", f"{2 + 2 * 672:,}"]
    assert "\nhead     input 384x384, grid 23x23" in "\n".join(lines)
    assert main(["inspect", str(model), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["layers"][0]["stored"]["kept"] == pytest.approx(kept)
    assert told["problems"] == []


def a_classifier() -> Network:
    return architectures.squeezenet_v1_1(classes=7)


def test_a_classifier(tmp_path: Path) -> None:
    network = a_classifier()
    weights = shared(random_weights(network), density=0.9, values=200)
    (tmp_path / "it.sdz").write_bytes(sdz_bytes(network, weights, b'{"labels": ["a", "b", "c", "d", "e", "f", "g"]}'))
    (tmp_path / "plain.sdz").write_bytes(sdz_bytes(network, weights))
    found = sd.SqueezeNet(tmp_path / "it.sdz")
    assert found.labels == tuple("abcdefg")
    other = sd.SqueezeNet(tmp_path / "plain.sdz", labels=found.labels)
    np.testing.assert_array_equal(found.forward(photo()), other.forward(photo()))


@needs("weights")
def test_the_published_file_gets_smaller_and_keeps_every_bit(tmp_path: Path) -> None:
    network, weights = load_network(PUBLISHED)
    content = sdz_bytes(network, weights)
    assert len(content) < 0.82 * PUBLISHED.stat().st_size
    (tmp_path / "it.sdz").write_bytes(content)
    _, found = load_network(tmp_path / "it.sdz")
    for name, blobs in weights.items():
        for one, other in zip(found[name], blobs, strict=True):
            assert bits(one.ravel()) == bits(other.ravel())


def test_more_weights_than_a_file_may_have() -> None:
    network = small_network()
    weights = random_weights(network)
    del weights["conv"]
    with pytest.raises(sd.ModelError, match="layer 'conv': weights of 9x3x3x3 and 9 were expected, got none"):
        sdz_bytes(network, weights)
