"""`Detect`: a batch of rows with pictures in, a batch of rows with detections out, whatever engine holds the rows."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np

from opencv_squeezedet import _checks
from opencv_squeezedet._opencv import silent_opencv
from opencv_squeezedet.backends import BackendName
from opencv_squeezedet.batch import places
from opencv_squeezedet.detections import Detections
from opencv_squeezedet.detector import SqueezeDet
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import StrPath, decode_picture
from opencv_squeezedet.model import Model
from opencv_squeezedet.pipeline import chunks, in_order
from opencv_squeezedet.preprocess import Picture, Resize

with needs("ray", what="opencv_squeezedet.batch"):
    import pyarrow as pa

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
"""The columns of detections, as a `pyarrow.Schema`: a row a picture, its objects in lists, highest confidence first.

``error`` says why a picture could not be read or decoded; its lists are then empty, and width and height 0. ``milliseconds``
is what decoding and detecting took, a share of the pass where several pictures went through the network together.
"""

_COLUMNS = ("image", "bytes", "path")  # tried in this order
_FAULTS = (OSError, ValueError, TypeError, MemoryError, RuntimeError, cv2.error)
_MOST_DETECTORS = 4  # in a process; those of a long-lived worker that are no longer used make room
_detectors: dict[str, SqueezeDet] = {}
_making = threading.Lock()


class _Loaded(NamedTuple):
    image: Picture | None
    error: str | None
    seconds: float


class _Row(NamedTuple):
    size: tuple[int, int]
    detections: Detections | None
    error: str | None
    seconds: float


class Detect:
    """Finds the objects in a batch of rows; to be given to Ray's ``map_batches``, Dask's ``map_partitions`` and their like.

    It can be pickled, takes the model's files along, and makes its detector when a process first uses it, once for all copies
    in that process.

    Parameters
    ----------
    model, weights, resize, backend : optional
        As `SqueezeDet` takes them.
    target : str, optional
        As `SqueezeDet` takes it; of the processes that detect, not of the one that makes this object.
    column : str, optional
        The column with the pictures. Its values are bytes of picture files, their paths or addresses (``s3://...``), or
        pictures as `SqueezeDet.detect` takes them (BGR). Default: ``image``, ``bytes`` or ``path``, the first that is there.
    keep : sequence of str
        More columns of the rows that come, to be handed on before those of `SCHEMA`.
    batch : int
        Pictures in one pass of the network. Above 1 the last digits of a score may differ from those of 1.
    readers : int
        Threads that read and decode the next pictures meanwhile.
    threads : int, optional
        OpenCV's threads in the processes that detect, which is what a network runs on. Default: not changed.
    **options
        Keywords of `SqueezeDet.detect`: ``score_threshold``, ``nms_threshold`` and others.

    Raises
    ------
    FileNotFoundError, ModelError, ValueError, TypeError, ImportError
        As `SqueezeDet` and its ``detect``, and ValueError for a name in ``keep`` that `SCHEMA` has.

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
        if taken := [name for name in keep if name in SCHEMA.names]:
            raise ValueError(f"keep must name columns that detections do not have, got {', '.join(map(repr, taken))}")
        self.column, self.keep = column, tuple(keep)
        self.batch, self._readers = _checks.count("batch", batch), _checks.count("readers", readers)
        self._threads = None if threads is None else _checks.count("threads", threads)
        self._target, self._options, self._key = target, options, uuid.uuid4().hex
        loaded = model if isinstance(model, Model) else Model.load(model, weights, task="detector")
        self._make: Callable[..., SqueezeDet] = partial(SqueezeDet, loaded, resize=resize, backend=backend)
        # What is wrong shows here, where someone is looking; and the model's content is read, which workers may not have.
        self._make().detect(np.zeros((8, 8, 3), np.uint8), **options)

    @property
    def detector(self) -> SqueezeDet:
        """The detector of this process."""
        with _making:
            if self._key not in _detectors:
                while len(_detectors) >= _MOST_DETECTORS:
                    _detectors.pop(next(iter(_detectors)))
                if self._threads is not None:
                    cv2.setNumThreads(self._threads)  # before the network is made: onnxruntime asks then
                with silent_opencv():
                    _detectors[self._key] = self._make(target=self._target)
            return _detectors[self._key]

    def __call__(self, rows: Any) -> Any:
        """Return the detections in a batch of rows, in a container of the same kind.

        Parameters
        ----------
        rows : dict of arrays or lists, pandas.DataFrame or pyarrow.Table
            With the column of the pictures. A column ``path`` names them in the result too, where another has the pictures.

        Raises
        ------
        KeyError
            If the column of the pictures, or one to be kept, is missing.
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
        """Return the detections in a batch of rows as a `pyarrow.Table`, whatever kind the batch has."""
        names = _names(rows)
        known = [self.column] if self.column is not None else [name for name in _COLUMNS if name in names]
        if not known or not {*known[:1], *self.keep} <= set(names):
            wanted = ", ".join(map(repr, [*known[:1], *self.keep])) or " or ".join(map(repr, _COLUMNS))
            raise KeyError(f"rows must have the column {wanted}; they have {', '.join(map(repr, names))}")
        contents = _values(rows, known[0])
        paths = _values(rows, "path") if "path" in names else [c if isinstance(c, str) else None for c in contents]
        table = _table(paths, list(self._rows(contents)))
        for i, name in enumerate(self.keep):
            table = table.add_column(i, name, rows[name] if isinstance(rows, pa.Table) else pa.array(_values(rows, name)))
        return table

    def _rows(self, contents: Iterable[Any]) -> Iterator[_Row]:
        detector = self.detector
        with silent_opencv():
            for loaded in chunks(in_order(_load, contents, [None] * self._readers), self.batch):
                yield from self._look(detector, loaded)

    def _look(self, detector: SqueezeDet, loaded: list[_Loaded]) -> Iterator[_Row]:
        images = [one.image for one in loaded if one.image is not None]
        start = time.perf_counter()
        try:
            found = iter(detector.detect_batch(images, **self._options))
        except _FAULTS as error:
            detector.forward(np.zeros((8, 8, 3), np.uint8))  # raises where it is the network's fault, and no picture's
            if len(loaded) > 1:
                for one in loaded:
                    yield from self._look(detector, [one])
            else:
                yield _Row((0, 0), None, reason(error), loaded[0].seconds)
            return
        share = (time.perf_counter() - start) / max(1, len(images))
        for one in loaded:
            if one.image is None:
                yield _Row((0, 0), None, one.error, one.seconds)
            else:
                yield _Row((one.image.shape[1], one.image.shape[0]), next(found), None, one.seconds + share)


def _load(_: None, content: Any) -> _Loaded:
    start = time.perf_counter()
    try:
        if isinstance(content, str):
            content = places.read(content)
            start = time.perf_counter()  # waiting for a disk or a store is not the picture's time
        image, error = _picture(content), None
    except _FAULTS as fault:
        image, error = None, reason(fault)
    return _Loaded(image, error, time.perf_counter() - start)


def _picture(content: Any) -> Picture:
    if isinstance(content, np.ndarray) and content.ndim:
        return content
    if isinstance(content, Mapping):  # as Hugging Face's data sets have them
        content = content["bytes"] if content.get("bytes") is not None else places.read(content["path"])
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"bytes, a path or a picture was expected, got {content!r:.80}")
    return decode_picture(bytes(content))


def reason(error: Exception) -> str:
    """Return what an exception says, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _names(rows: Any) -> list[str]:
    return list(rows.column_names if isinstance(rows, pa.Table) else rows.keys())


def _values(rows: Any, name: str) -> list[Any]:
    column = rows[name]
    if isinstance(column, pa.ChunkedArray):
        return list(column.to_pylist())
    return list(column)


def _table(paths: Sequence[Any], rows: Sequence[_Row]) -> Any:
    found = [row.detections for row in rows]
    columns = {
        "path": [None if path is None else _utf8(str(path)) for path in paths],
        "width": [row.size[0] for row in rows],
        "height": [row.size[1] for row in rows],
        "class_id": [[] if d is None else d.class_id.tolist() for d in found],
        "label": [[] if d is None else d.labels for d in found],
        "confidence": [[] if d is None else d.confidence.tolist() for d in found],
        "xyxy": [[] if d is None else d.xyxy.tolist() for d in found],
        "error": [row.error if row.error is None else _utf8(row.error) for row in rows],
        "milliseconds": [1e3 * row.seconds for row in rows],
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def failed(path: str | None, error: str) -> Any:
    """Return a `pyarrow.Table` of one row, for a picture that nothing was found out about."""
    return _table([path], [_Row((0, 0), None, error, 0.0)])


def _utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()  # a file's name may be any bytes


def _array(column: Any) -> Any:
    """A column as a NumPy array; lists stay lists, as arrays of objects."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.to_numpy()
    values = np.empty(len(column), object)
    values[:] = column.to_pylist()
    return values
