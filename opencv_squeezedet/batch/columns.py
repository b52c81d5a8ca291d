"""`Detect`: maps a batch of rows with pictures to a batch of rows with detections, for any engine that holds the rows."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa

from opencv_squeezedet import _checks
from opencv_squeezedet._opencv import silent_opencv
from opencv_squeezedet.backends import BackendName
from opencv_squeezedet.batch import storage
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.errors import reason
from opencv_squeezedet.files import StrPath
from opencv_squeezedet.model import Model
from opencv_squeezedet.pictures import decode_picture
from opencv_squeezedet.pipeline import chunks, ordered_map
from opencv_squeezedet.preprocess import Picture, Resize

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("class_id", pa.list_(pa.int32())),
        ("label", pa.list_(pa.string())),
        ("confidence", pa.list_(pa.float32())),
        ("xyxy", pa.list_(pa.list_(pa.float32()))),
        ("error", pa.string()),
        ("milliseconds", pa.float32()),
    ]
)
"""The columns of detections, as a `pyarrow.Schema`: one row per picture, its objects in lists, highest confidence first.

``error`` is the reason why a picture could not be read or decoded; its lists are then empty, and width and height 0.
``milliseconds`` is the time of decoding and detection, for a batch an equal share.
"""

_COLUMNS = ("image", "bytes", "path")  # tried in this order
_FAULTS = (OSError, ValueError, TypeError, MemoryError, RuntimeError, cv2.error)
_MOST_DETECTORS = 4  # per process; a long-lived worker drops the oldest
_detectors: dict[str, SqueezeDet] = {}
_lock = threading.Lock()


class _Loaded(NamedTuple):
    image: Picture | None
    error: str | None
    seconds: float


class _Outcome(NamedTuple):
    size: tuple[int, int]
    detections: Detections | None
    error: str | None
    seconds: float


class Detect:
    """Detects objects in a batch of rows; a callable for Ray's ``map_batches``, Dask's ``map_partitions`` and the like.

    Its pickle includes the model's files. The detector is created on first use, once for all copies in a process.

    Parameters
    ----------
    model, weights, resize, backend, target : optional
        As for `SqueezeDet`; the target is that of the worker processes, not of the process that creates this object.
    column : str, optional
        The column with the pictures. Its values are the bytes of picture files, their paths or addresses (``s3://...``), or
        pictures as for `SqueezeDet.detect` (BGR). Default: the first of ``image``, ``bytes`` and ``path`` that exists.
    keep : sequence of str
        Input columns to copy to the output, before those of `SCHEMA`.
    batch, readers : int
        Number of pictures per pass of the network, on which the last digits of scores may depend; number of threads that read
        and decode pictures ahead.
    threads : int, optional
        Number of OpenCV's threads in the worker processes, which run the network. Default: unchanged.
    **options
        Keyword options of `SqueezeDet.detect`, such as ``score_threshold``.

    Raises
    ------
    FileNotFoundError, ModelError, ValueError, TypeError, ImportError
        As for `SqueezeDet` and its ``detect``; ValueError also for a name in ``keep`` that is in `SCHEMA`.

    Examples
    --------
    >>> rows = Detect(score_threshold=0.4)({"path": ["samples/chelsea.jpg"]})
    >>> rows["label"][0]
    ['cat']
    """

    def __init__(
        self,
        model: StrPath | Model | None = None,
        weights: StrPath | None = None,
        *,
        resize: Resize | None = None,
        backend: BackendName = "opencv",
        target: str | None = None,
        column: str | None = None,
        keep: Sequence[str] = (),
        batch: int = 1,
        readers: int = 2,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        if reserved := [name for name in keep if name in SCHEMA.names]:
            raise ValueError(f"keep must not name columns of detections, got {', '.join(map(repr, reserved))}")
        self.column, self.keep = column, tuple(keep)
        self.batch, self._readers = _checks.count("batch", batch), _checks.count("readers", readers)
        self._threads = None if threads is None else _checks.count("threads", threads)
        self._target, self._options, self._key = target, options, uuid.uuid4().hex
        loaded = model if isinstance(model, Model) else Model.load(model, weights, task="detector")
        self._make: Callable[..., SqueezeDet] = partial(SqueezeDet, loaded, resize=resize, backend=backend)
        # Fail early, in the driver process, and read the model's files, which workers may not have.
        self._make().detect(np.zeros((8, 8, 3), np.uint8), **options)

    @property
    def detector(self) -> SqueezeDet:
        """The detector of this process."""
        with _lock:
            if self._key not in _detectors:
                while len(_detectors) >= _MOST_DETECTORS:
                    _detectors.pop(next(iter(_detectors)))
                if self._threads is not None:
                    cv2.setNumThreads(self._threads)  # before the network is created: onnxruntime reads it then
                with silent_opencv():
                    _detectors[self._key] = self._make(target=self._target)
            return _detectors[self._key]

    def __call__(self, rows: Any) -> Any:
        """Return the detections in a batch of rows, in a container of the same kind.

        Parameters
        ----------
        rows : dict of arrays or lists, pandas.DataFrame or pyarrow.Table
            With the column of the pictures. If that is another column, ``path`` is copied to the result.

        Raises
        ------
        KeyError
            If the column of the pictures, or a column in ``keep``, is missing.
        """
        table = self.table(rows)
        if isinstance(rows, pa.Table):
            return table
        if isinstance(rows, Mapping):
            return {name: _array(table[name]) for name in table.column_names}
        frame = table.to_pandas()
        frame.index = rows.index
        return frame

    def table(self, rows: Any) -> Any:
        """Return the detections in a batch of rows of any kind as a `pyarrow.Table`."""
        names = list(rows.column_names if isinstance(rows, pa.Table) else rows.keys())
        known = [self.column] if self.column is not None else [name for name in _COLUMNS if name in names]
        if not known or not {*known[:1], *self.keep} <= set(names):
            wanted = ", ".join(map(repr, [*known[:1], *self.keep])) or " or ".join(map(repr, _COLUMNS))
            raise KeyError(f"rows must have the column {wanted}; they have {', '.join(map(repr, names))}")
        contents = _values(rows, known[0])
        paths = _values(rows, "path") if "path" in names else [c if isinstance(c, str) else None for c in contents]
        detector = self.detector
        with silent_opencv():
            batches = chunks(ordered_map(_load, contents, [None] * self._readers), self.batch)
            table = _table(paths, [row for loaded in batches for row in self._detect(detector, loaded)])
        for i, name in enumerate(self.keep):
            table = table.add_column(i, name, rows[name] if isinstance(rows, pa.Table) else pa.array(_values(rows, name)))
        return table

    def _detect(self, detector: SqueezeDet, loaded: list[_Loaded]) -> Iterator[_Outcome]:
        images = [each.image for each in loaded if each.image is not None]
        start = time.perf_counter()
        try:
            detections = iter(detector.detect_batch(images, **self._options))
        except _FAULTS as error:
            detector.forward(np.zeros((8, 8, 3), np.uint8))  # raises if the network fails, and not the picture
            if len(loaded) > 1:
                for each in loaded:
                    yield from self._detect(detector, [each])
            else:
                yield _Outcome((0, 0), None, reason(error), loaded[0].seconds)
            return
        share = (time.perf_counter() - start) / max(1, len(images))
        for each in loaded:
            if each.image is None:
                yield _Outcome((0, 0), None, each.error, each.seconds)
            else:
                yield _Outcome((each.image.shape[1], each.image.shape[0]), next(detections), None, each.seconds + share)


def _load(_: None, content: Any) -> _Loaded:
    start = time.perf_counter()
    try:
        if isinstance(content, str):
            content = storage.read(content)
            start = time.perf_counter()  # does not include waiting for a disk or a store
        image, error = _picture(content), None
    except _FAULTS as fault:
        image, error = None, reason(fault)
    return _Loaded(image, error, time.perf_counter() - start)


def _picture(content: Any) -> Picture:
    if isinstance(content, np.ndarray) and content.ndim:
        return content
    if isinstance(content, Mapping):  # as in Hugging Face's data sets
        content = content["bytes"] if content.get("bytes") is not None else storage.read(content["path"])
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"bytes, a path or a picture was expected, got {content!r:.80}")
    return decode_picture(bytes(content))


def _values(rows: Any, name: str) -> list[Any]:
    return list(rows[name].to_pylist() if isinstance(rows, pa.Table) else rows[name])


def _table(paths: Sequence[Any], rows: Sequence[_Outcome]) -> Any:
    detections = [row.detections for row in rows]
    columns = {
        "path": [None if path is None else _utf8(str(path)) for path in paths],
        "width": [row.size[0] for row in rows],
        "height": [row.size[1] for row in rows],
        "class_id": [[] if d is None else d.class_id.tolist() for d in detections],
        "label": [[] if d is None else d.labels for d in detections],
        "confidence": [[] if d is None else d.confidence.tolist() for d in detections],
        "xyxy": [[] if d is None else d.xyxy.tolist() for d in detections],
        "error": [row.error if row.error is None else _utf8(row.error) for row in rows],
        "milliseconds": [1e3 * row.seconds for row in rows],
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def failed_row(path: str | None, error: str) -> Any:
    """Return a `pyarrow.Table` of one row, for a picture that could not be processed."""
    return _table([path], [_Outcome((0, 0), None, error, 0.0)])


def _utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()  # a file name may contain any bytes


def _array(column: Any) -> Any:
    """A column as a NumPy array; lists stay lists, as arrays of objects."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.to_numpy()
    values = np.empty(len(column), object)
    values[:] = column.to_pylist()
    return values
