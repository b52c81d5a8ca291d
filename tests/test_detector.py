"""SqueezeDet on pictures of every form, and its parts on the way."""

from __future__ import annotations

import itertools
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from embedded import STEM, output, read_net

import opencv_squeezedet as sd
from opencv_squeezedet.options import NMS_KINDS


@pytest.fixture(scope="module")
def detector() -> sd.SqueezeDet:
    return sd.SqueezeDet()


def test_the_cat_is_found(detector: sd.SqueezeDet, photo: np.ndarray) -> None:
    found = detector.detect(photo)
    assert found.labels == ["cat"]
    assert found.confidence[0] > 0.6
    height, width = photo.shape[:2]
    x1, y1, x2, y2 = found.xyxy[0]
    assert 0 <= x1 < 0.2 * width < 0.8 * width < x2 <= width
    assert 0 <= y1 < 0.2 * height < 0.7 * height < y2 <= height


def test_detect_is_forward_and_postprocess(detector: sd.SqueezeDet, photo: np.ndarray) -> None:
    blobs = detector.forward(photo)
    assert [blob.shape for blob in blobs] == [(1, 23, 23, 36), (1, 4761, 20), (1, 23, 23, 9)]
    assert blobs.class_scores.sum(axis=2) == pytest.approx(1, abs=1e-5)
    size = (photo.shape[1], photo.shape[0])
    assert detector.detect(photo) == sd.postprocess(*blobs, detector.config, image_size=size)


def test_forward_runs_the_network_as_cv2_does(photo: np.ndarray) -> None:
    net = read_net()
    net.setInput(cv2.dnn.blobFromImage(photo, 1.0, (384, 384), (104, 117, 123)))
    blobs = sd.SqueezeDet(STEM).forward(photo)
    assert np.array_equal(net.forward(output("class_scores")), blobs.class_scores)
    assert np.array_equal(net.forward(output("conf_scores")), blobs.conf_scores)


def test_one_forward_pass(photo: np.ndarray) -> None:
    detector = sd.SqueezeDet()
    with mock.patch.object(detector.backend, "net", mock.Mock(wraps=detector.net)) as net:
        detector.detect(photo)
        detector.detect_batch([photo, photo[::2, ::2]])
    assert sum(name.startswith("forward") for name, *_ in net.method_calls) == 2


def test_options_are_passed_on(detector: sd.SqueezeDet, photo: np.ndarray) -> None:
    blobs, size = detector.forward(photo), (photo.shape[1], photo.shape[0])
    for options in (
        {"score_threshold": 0.02, "nms_threshold": 1},
        {"score_threshold": 0.02, "nms_threshold": 1, "top_n": 5},
        *({"score_threshold": 0.001, "nms_threshold": 0.9, "nms_kind": kind, "top_n": 2000} for kind in NMS_KINDS),
        {"score_threshold": 0.001, "vote_threshold": 0.5},
        {"score_threshold": 0.001, "multi_label": True, "top_n": 20000},
        {"score_threshold": 0.001, "nms_threshold": 0.9, "class_agnostic": True, "top_n": 2000},
    ):
        expected = sd.postprocess(*blobs, detector.config, image_size=size, **options)
        assert detector.detect(photo, **options) == expected
        assert detector.detect_batch([photo], **options) == [expected]
        assert expected != detector.detect(photo)
    for refuse in (lambda: detector.detect(photo, thresh=1), lambda: detector.detect_batch([], thresh=1)):
        with pytest.raises(TypeError, match=r"'thresh'.*score_threshold, "):
            refuse()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2), (37, 1211), (2000, 1500)])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_any_size_and_number_of_channels(detector: sd.SqueezeDet, size: tuple[int, int], channels: int | None) -> None:
    width, height = size
    image = np.full((height, width) if channels is None else (height, width, channels), 90, np.uint8)
    found = detector.detect(image, score_threshold=0)
    assert len(found)
    assert (found.xyxy >= 0).all()
    assert (found.xyxy <= [width, height, width, height]).all()
    assert (found.xyxy[:, :2] < found.xyxy[:, 2:]).all()


def test_grey_and_alpha_are_the_same_picture(photo: np.ndarray) -> None:
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    preprocess = sd.Preprocess((416, 416))
    same = preprocess.blob(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    assert np.array_equal(preprocess.blob(grey), same)
    assert np.array_equal(preprocess.blob(grey[:, :, None]), same)
    assert np.array_equal(preprocess.blob(cv2.cvtColor(photo, cv2.COLOR_BGR2BGRA)), preprocess.blob(photo))


@pytest.mark.parametrize(
    "convert",
    [
        lambda p: p.astype(np.uint16) * 257,
        lambda p: (p.astype(np.uint16) * 257).astype(">u2"),
        lambda p: (p / 255.0).astype(np.float32),
        lambda p: p / 255.0,
        lambda p: p.astype(np.float32),
        lambda p: p.astype(np.float16),
        lambda p: p.astype(">f8"),
    ],
    ids=["uint16", "uint16, >", "float32 to 1", "float64 to 1", "float32 to 255", "float16 to 255", "float64, >"],
)
def test_types_are_the_same_picture(detector: sd.SqueezeDet, photo: np.ndarray, convert: Any) -> None:
    assert detector.detect(convert(photo)) == detector.detect(photo)


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-1], np.s_[::2, ::3], np.s_[:, :, ::-1]])
def test_views_are_read_as_they_are_seen(detector: sd.SqueezeDet, photo: np.ndarray, view: Any) -> None:
    assert detector.detect(photo[view]) == detector.detect(np.ascontiguousarray(photo[view]))


def test_the_picture_is_not_changed(detector: sd.SqueezeDet, photo: np.ndarray) -> None:
    frozen = photo.copy()
    frozen.setflags(write=False)
    assert detector.detect(frozen) == detector.detect(photo)
    sd.draw(frozen, detector.detect(frozen))
    assert np.array_equal(frozen, photo)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (None, TypeError, "cv2.imread returns None"),
        ("photo.jpg", TypeError, "must be an array, got str"),
        (np.zeros((4, 4, 3), np.int32), TypeError, "uint8, uint16 or floats, got int32"),
        (np.zeros((4, 4, 3), bool), TypeError, "got bool"),
        (np.zeros((4, 4, 2), np.uint8), ValueError, r"got \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"got \(0, 4, 3\)"),
        (np.zeros(4, np.uint8), ValueError, r"got \(4,\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), ValueError, r"got \(1, 4, 4, 3\)"),
        (np.broadcast_to(np.uint8(0), (1, 3_000_000_000)), ValueError, "1073741824 pixels.*got 3000000000x1"),
        (np.broadcast_to(np.uint8(0), (40_000, 40_000, 3)), ValueError, "got 40000x40000"),
        (np.full((4, 4, 3), np.nan), ValueError, "got.*nan"),
        (np.full((4, 4, 3), np.inf), ValueError, "got values from inf"),
        (np.full((4, 4, 3), 65535.0), ValueError, "got values from 65535"),
        (np.linspace(-1, 1, 48).reshape(4, 4, 3), ValueError, "got values from -1"),
    ],
)
def test_what_is_no_picture(detector: sd.SqueezeDet, image: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        detector.detect(image)


def test_batch_gives_what_single_pictures_give(detector: sd.SqueezeDet, photo: np.ndarray) -> None:
    pictures = [photo, photo[:200, 100:], cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)]
    batch = detector.detect_batch(iter(pictures), score_threshold=0.1)
    for one, picture in zip(batch, pictures, strict=True):
        alone = detector.detect(picture, score_threshold=0.1)
        assert one.labels == alone.labels
        assert one.xyxy == pytest.approx(alone.xyxy, abs=0.01)
    assert detector.detect_batch([]) == []
    assert detector.detect_batch([photo]) == [detector.detect(photo)]
    assert len(detector.detect_batch(np.stack([photo[..., 0], photo[..., 1]]))) == 2  # an array of pictures


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 3), (8, 9, 4)])
def test_a_single_picture_is_no_batch(detector: sd.SqueezeDet, shape: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match=r"shape \(8, 9.*detect\(image\).*detect_batch\(\[image\]\)"):
        detector.detect_batch(np.zeros(shape, np.uint8))


def test_eight_threads_on_one_detector(detector: sd.SqueezeDet, photo: np.ndarray) -> None:
    pictures = [photo[10 * i :, 5 * i :] for i in range(8)]
    alone = [detector.detect(picture, score_threshold=0.05) for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            together = list(pool.map(lambda p: detector.detect(p, score_threshold=0.05), pictures))
            assert together == alone
    assert all(one != other for one, other in itertools.combinations(alone, 2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of POSIX")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_detects(detector: sd.SqueezeDet, photo: np.ndarray) -> None:
    """The new process has the lock, but not the thread that would let it go."""
    expected = detector.detect(photo)
    with detector.lock:
        child = os.fork()
        if not child:
            os._exit(0 if detector.detect(photo) == expected else 1)
    for _ in range(300):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the new process waits for ever")
    assert status == 0
