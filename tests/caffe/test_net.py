"""`Net` behaves as the network that OpenCV 4 makes of Caffe's files; with OpenCV 4 the tests run on that too."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
import pytest
from caffe_networks import CHAIN, ENGINES, HAS_IMPORTER, MANY, OLDER, SSD, a_blob, inputs, layer, made, own
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.caffe import Net, NetError

engines = pytest.mark.parametrize("engine", ENGINES)
own_only = pytest.mark.parametrize("engine", [own])
ADD = inputs(a=(1, 2, 3, 4), b=(1, 2, 3, 4)) + layer("Eltwise", "sum", "a b", "", "eltwise_param { coeff: 1 coeff: -2 }")


@pytest.fixture
def net(engine: Any) -> Any:
    made_net = engine(*made(CHAIN))
    made_net.setInput(a_blob(1, 3, 12, 10))
    return made_net


def close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, atol=1e-5))


# ---- layers -------------------------------------------------------------------------------------------------------------


@engines
def test_layers(net: Any) -> None:
    names = ("conv1", "relu1", "pool1", "conv2", "scale", "slice", "sigmoid", "last")  # a Convolution has its top's name
    assert tuple(net.getLayerNames()) == names
    assert [net.getLayerId(name) for name in names] == list(range(1, 9))
    assert [net.getLayerId(name) for name in ("first", "data", "a", "")] == [-1] * 4
    kinds = ["Convolution", "ReLU", "Pooling", "Convolution", "Scale", "Slice", "Sigmoid", "TanH"]
    assert [net.getLayer(i).type for i in range(1, 9)] == kinds
    assert [net.getLayer(name).name for name in names] == list(names)
    assert net.getLayer(0).outputNameToIndex("data") == 0
    assert net.getLayer(0).outputNameToIndex("im_info") == -1
    assert tuple(net.getUnconnectedOutLayersNames()) == ("sigmoid", "last")
    ids = net.getUnconnectedOutLayers()
    assert [names[i - 1] for i in ids] == ["sigmoid", "last"]
    assert ids.dtype == np.int32
    assert not net.empty()


@engines
def test_any_layer_can_be_asked_for(net: Any) -> None:
    conv, relu, pool = net.forward(["conv1", "relu1", "pool1"])
    assert conv.min() < 0
    assert close(relu, np.maximum(conv, 0))
    assert close(pool, relu.reshape(1, 4, 6, 2, 5, 2).max((3, 5)))
    assert close(net.forward("conv1"), conv)
    ((sliced, rest),) = net.forwardAndRetrieve(["slice"])
    assert close(net.forward("slice"), sliced)
    assert close(net.forward("scale"), np.concatenate([sliced, rest], 1))
    assert close(net.forward("sigmoid"), 1 / (1 + np.exp(-sliced)))
    assert close(net.forward(), np.tanh(rest))
    assert close(net.forward(outputName="last"), np.tanh(rest))
    assert len(net.forward(outBlobNames=["last", "sigmoid"])) == 2


@engines
def test_layers_of_one_name_are_numbered(engine: Any) -> None:
    text = inputs(data=(1, 2, 3, 4)) + layer("TanH", "same", "data", "a") + layer("AbsVal", "same", "a", "b")
    net = engine(text.encode() + layer("Power", "same", "b", "c", "power_param { scale: 3 }").encode())
    assert tuple(net.getLayerNames()) == ("same", "same_1", "same_2")
    blob = a_blob(1, 2, 3, 4)
    net.setInput(blob)
    assert close(net.forward("same_1"), np.abs(np.tanh(blob)))
    assert close(net.forward("same_2"), 3 * np.abs(np.tanh(blob)))


@engines
def test_what_reads_a_blob_before_it_changes_in_place_reads_the_old_one(engine: Any) -> None:
    text = inputs(data=(1, 2, 3, 4)) + layer("Power", "data_times_two", "data", "", "power_param { scale: 2 }")
    text += layer("AbsVal", "abs", "data_times_two") + layer("ReLU", "relu", "data_times_two", "=")
    net = engine((text + layer("Eltwise", "sum", "abs data_times_two")).encode())
    blob = a_blob(1, 2, 3, 4)
    net.setInput(blob)
    assert close(net.forward(), np.abs(2 * blob) + np.maximum(2 * blob, 0))


@own_only
def test_a_layer_may_have_the_name_of_the_input(engine: Any) -> None:
    text = inputs(data=(1, 2, 3, 4)) + layer("ReLU", "data", "data", "=") + layer("AbsVal", "abs", "data")
    net = engine(text.encode())
    blob = a_blob(1, 2, 3, 4)
    net.setInput(blob, "data")
    assert close(net.forward(), np.maximum(blob, 0))
    assert close(net.forward("data"), np.maximum(blob, 0))


@engines
def test_silence_and_the_places_of_maxima_are_outputs(engine: Any) -> None:
    text = inputs(data=(1, 2, 4, 6)) + layer("AbsVal", "abs", "data")
    text += 'layer { name: "quiet" type: "Silence" bottom: "abs" }'
    blob = a_blob(1, 2, 4, 6)
    net = engine(text.encode())
    net.setInput(blob)
    assert tuple(net.getUnconnectedOutLayersNames()) == ("quiet",)
    assert close(net.forward(), np.abs(blob))
    pooling = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
    net = engine((inputs(data=(1, 2, 4, 6)) + layer("Pooling", "pool", "data", "", pooling)).encode())
    net.setInput(blob)
    ((values, places),) = net.forwardAndRetrieve(["pool"])
    flat = blob.reshape(2, 24)
    assert close(np.take_along_axis(flat, places.reshape(2, 6).astype(int), 1).reshape(1, 2, 2, 3), values)


# ---- inputs -------------------------------------------------------------------------------------------------------------


@engines
@pytest.mark.parametrize("shape", [(1, 3, 12, 10), (5, 3, 12, 10), (1, 3, 17, 31), (2, 3, 8, 9)])
def test_other_sizes_and_batches(engine: Any, shape: tuple[int, ...]) -> None:
    net = engine(*made(CHAIN))
    blob = a_blob(*shape)
    net.setInput(blob)
    pooled = net.forward("pool1")
    assert pooled.shape == (shape[0], 4, -(-shape[2] // 2), -(-shape[3] // 2))
    singly = []
    for picture in blob:
        net.setInput(picture[None])
        singly.append(net.forward())
    assert np.allclose(np.concatenate(singly), _after(net, blob), atol=1e-5)


def _after(net: Any, blob: NDArray[Any], name: str = "") -> NDArray[Any]:
    net.setInput(blob)
    return np.asarray(net.forward(name) if name else net.forward())


@engines
def test_scale_and_mean_and_bytes(net: Any, engine: Any) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (1, 3, 12, 10), np.uint8)
    prepared = (picture.astype(np.float32) - np.float32([10, 20, 30]).reshape(3, 1, 1)) * np.float32(0.01)
    expected = _after(net, prepared)
    net.setInput(picture, "data", 0.01, (10, 20, 30))
    assert close(net.forward(), expected)
    net.setInput(picture, scalefactor=1.0)
    assert close(net.forward(), _after(net, picture.astype(np.float32)))


@engines
def test_several_inputs(engine: Any) -> None:
    net = engine(ADD.encode())
    a, b = a_blob(1, 2, 3, 4), a_blob(1, 2, 3, 4, seed=1)
    net.setInput(b, "b")
    net.setInput(a)  # the first
    assert close(net.forward(), a - 2 * b)
    net.setInput(b, "a")
    assert close(net.forward(), b - 2 * b)


@own_only
def test_a_blob_is_copied_and_may_have_any_layout(engine: Any) -> None:
    net = engine(*made(CHAIN))
    blob = a_blob(1, 3, 12, 10)
    expected = _after(net, blob)
    net.setInput(np.asfortranarray(blob.astype(np.float64)))
    assert close(net.forward(), expected)
    net.setInput(blob)
    blob[:] = 0
    assert close(net.forward(), expected)


@own_only
def test_renamed_inputs(engine: Any) -> None:
    net = engine(ADD.encode())
    net.setInputsNames(["x", "y"])
    a, b = a_blob(1, 2, 3, 4), a_blob(1, 2, 3, 4, seed=1)
    net.setInput(b, "y")
    net.setInput(a, "x")
    assert close(net.forward(), a - 2 * b)
    with pytest.raises(cv2.error, match="'a'"):
        net.setInput(a, "a")


# ---- weights ------------------------------------------------------------------------------------------------------------


@engines
def test_assigned_blobs_take_effect_at_the_next_pass(net: Any, engine: Any) -> None:
    other = engine(*made(CHAIN))
    before = _after(other, a_blob(1, 3, 12, 10), "conv2")
    scale = net.getLayer("scale")
    assert [np.size(blob) for blob in scale.blobs] == [4, 4]
    scale.blobs = [np.float32([[1, 2, 3, 4]]), np.float32([[0.5, 0.5, 0.5, 0.5]])]
    assert close(net.forward("scale"), before * np.float32([1, 2, 3, 4]).reshape(1, 4, 1, 1) + 0.5)
    number = other.getLayerId("conv2")
    assert other.getParam(number).shape == (4, 4, 3, 3)


@engines
def test_a_convolution_without_a_second_blob_has_no_bias(net: Any) -> None:
    kernel, bias = net.getLayer("conv1").blobs
    before = net.forward("conv1") if isinstance(net, Net) else None
    net.getLayer("conv1").blobs = [kernel]
    after = net.forward("conv1")
    assert before is None or close(after + bias.reshape(1, 4, 1, 1), before)


@own_only
def test_blobs_may_change_between_passes(net: Any, engine: Any) -> None:
    before = net.forward("conv2")
    number = net.getLayerId("conv2")
    kernel = net.getParam(number)
    net.setParam(number, 0, 2 * kernel)
    net.setParam("conv2", 1, np.zeros(4, np.float32))
    assert np.array_equal(net.getParam(number, 0), 2 * kernel)
    doubled = net.forward("conv2")
    net.setParam(number, 0, kernel)
    assert close(doubled, 2 * net.forward("conv2"))
    assert not close(doubled, before)
    for call in (lambda: net.getParam(number, 2), lambda: net.setParam(number, 2, kernel), lambda: net.getParam("relu1")):
        with pytest.raises(cv2.error, match="blobs"):
            call()


@engines
def test_missing_and_wrong_weights_are_errors_of_the_pass(engine: Any) -> None:
    definition, _ = made(CHAIN)
    for weights in (None, made(CHAIN.replace("num_output: 4", "num_output: 6"))[1]):
        net = engine(definition, weights)
        assert net.getLayerNames()[0] == "conv1"
        net.setInput(a_blob(1, 3, 12, 10))
        with pytest.raises(cv2.error):
            net.forward()


# ---- SSD ----------------------------------------------------------------------------------------------------------------


@engines
@pytest.mark.parametrize("size", [(32, 40), (48, 32)])
def test_detection_output(engine: Any, size: tuple[int, int]) -> None:
    net = engine(*made(SSD))
    net.setInput(a_blob(2, 3, *size))
    loc, conf, prior, rows = net.forward(["loc_flat", "conf_flat", "prior", "detection_out"])
    found = sd.ssd_postprocess(loc, conf, prior, confidence_threshold=0.9, top_k=100, keep_top_k=60)
    assert rows.shape == (1, 1, 120, 7)
    assert 10 < len(found) < 120
    assert np.allclose(rows[0, 0, : len(found)], found, atol=1e-5)
    assert not rows[0, 0, len(found) :].any()
    assert close(net.forward(), rows)


# ---- errors -------------------------------------------------------------------------------------------------------------


@engines
def test_errors_are_cv2_errors(engine: Any) -> None:
    net = engine(*made(CHAIN))
    with pytest.raises(cv2.error):  # no input
        net.forward()
    net.setInput(a_blob(1, 3, 12, 10))
    for name in ("first", "data", "a", "nothing"):
        with pytest.raises(cv2.error, match=name):
            net.forward(name)
    with pytest.raises(cv2.error):
        net.forward(["conv1", "nothing"])
    with pytest.raises(cv2.error):
        net.setInput(a_blob(1, 3, 12, 10), "nothing")
    with pytest.raises(cv2.error):
        net.getLayer(99)
    net.setInput(a_blob(1, 4, 12, 10))  # the first Convolution has kernels of three channels
    with pytest.raises(cv2.error):
        net.forward()


@own_only
def test_errors_are_model_errors_too(engine: Any) -> None:
    net = engine(*made(CHAIN))
    net.setInput(a_blob(1, 3, 1, 1))
    with pytest.raises(NetError, match="pool1") as caught:
        net.forward()
    assert isinstance(caught.value, sd.ModelError)
    assert caught.value.code < 0
    assert caught.value.err == str(caught.value)
    with pytest.raises(cv2.error, match="numbers"):
        net.setInput(np.full((1, 3, 12, 10), "x"))
    with pytest.raises(cv2.error, match="no input"):
        net.setInputShape("nothing", (1, 3, 12, 10))
    with pytest.raises(cv2.error, match="pool1"):
        net.setInputShape("data", (1, 3, 1, 1))


@own_only
def test_an_empty_network(engine: Any) -> None:
    for net in (engine(b"  \n"), Net()):
        assert net.empty()
        assert net.getLayerNames() == ()
        for call in (net.forward, net.onnx, net.real, lambda net=net: net.setInput(a_blob(1, 3, 2, 2))):
            with pytest.raises(cv2.error, match="empty"):
                call()


# ---- the real networks --------------------------------------------------------------------------------------------------


@own_only
def test_options_reach_the_real_networks(engine: Any) -> None:
    net = engine(*made(CHAIN))
    blob = a_blob(1, 3, 12, 10)
    expected = _after(net, blob)
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
    net.enableFusion(False)
    assert close(_after(net, blob), expected)
    ticks, timings = net.getPerfProfile()
    assert ticks > 0
    assert np.ndim(timings) == 1
    assert isinstance(net.real(), cv2.dnn.Net)
    assert set(net.real().getUnconnectedOutLayersNames()) == {"sigmoid", "last"}
    with pytest.raises(AttributeError):
        _ = net.nothing


@own_only
def test_few_real_networks_are_kept(engine: Any) -> None:
    net = engine(*made(CHAIN))
    for side in range(8, 50):
        net.setInput(a_blob(1, 3, side, side))
        assert net.forward("conv1").shape == (1, 4, side, side)
    assert len(net._plans) <= 16


@own_only
def test_threads_take_turns(engine: Any) -> None:
    net = engine(*made(CHAIN))
    net.setInput(a_blob(1, 3, 12, 10))
    expected, results = net.forward(["conv1", "last"]), []
    threads = [threading.Thread(target=lambda: results.append(net.forward(["conv1", "last"]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(close(one, other) for result in results for one, other in zip(result, expected, strict=True))


@own_only
def test_onnx_is_for_any_library(engine: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = engine(*made(CHAIN))
    blob = a_blob(1, 3, 12, 10)
    net.setInput(blob)
    session = onnxruntime.InferenceSession(net.onnx(), providers=["CPUExecutionProvider"])
    outputs = {output.name for output in session.get_outputs()}
    values = dict(zip(sorted(outputs), session.run(sorted(outputs), {"data": blob}), strict=True))
    assert close(values["last"], net.forward("last"))


@pytest.mark.skipif(OLDER, reason="this OpenCV computes some layers of ONNX otherwise")
@own_only
def test_many_kinds_of_layers(engine: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = engine(*made(MANY))
    blobs = {"data": a_blob(1, 4, 16, 20), "rois": np.float32([[0, 0, 0, 9, 7], [0, 3, 2, 19, 15]])}
    for name, blob in blobs.items():
        net.setInput(blob, name)
    session = onnxruntime.InferenceSession(net.onnx(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for name, value in zip(names, session.run(names, blobs), strict=True):
        assert np.allclose(net.forward(name), value, atol=1e-4 * np.abs(value).max())


@pytest.mark.skipif(HAS_IMPORTER, reason="OpenCV 4 has no such need")
def test_the_dialect_is_checked_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from opencv_squeezedet.caffe import plan

    blob = a_blob(1, 3, 32, 40)
    net = own(*made(SSD))
    expected = _after(net, blob)
    assert plan.has_dialect()
    plan.has_dialect.cache_clear()
    real = plan.onnx_bytes
    monkeypatch.setattr(plan, "onnx_bytes", lambda *a, **k: real(*a, **k).replace(b"PriorBox", b"PrlorBox"))
    try:
        assert not plan.has_dialect()
        net = own(*made(SSD))  # by standard ONNX alone
        assert close(_after(net, blob), expected)
    finally:
        plan.has_dialect.cache_clear()
