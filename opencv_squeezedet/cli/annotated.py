"""Annotated pictures and videos, in files and in a window."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import cv2

from opencv_squeezedet.cli.results import Output, RunInfo, Seen, picture_suffix
from opencv_squeezedet.cli.sources import Video, is_utf8
from opencv_squeezedet.files import real_path, temporary_beside, write_whole
from opencv_squeezedet.pictures import encode_picture
from opencv_squeezedet.show import display_works

_CODECS = {".avi": "MJPG", ".m4v": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".mp4": "mp4v"}
_LEAST_FREE_BYTES = 8 << 20  # OpenCV does not report that a video no longer fits on the disk


class VideoOutput(Output):
    """Annotated copies of videos, one after the other; a copy is playable even if the run ends early.

    ``paths`` maps each video to the path of its copy; other videos are not copied. Of the
    frames, every N-th is copied, for N = ``every``.
    """

    def __init__(self, paths: dict[Video, Path], every: int) -> None:
        self._paths, self._every = paths, every
        self._video: Video | None = None
        self._writer: cv2.VideoWriter | None = None
        self._path = self._temporary = Path()
        self._size = (0, 0)
        self._written = 0

    def write(self, seen: Seen) -> None:
        """Draw a frame that is copied, in parallel with the detection of others."""
        if seen.frame.video in self._paths:
            _ = seen.annotated

    def add(self, seen: Seen) -> None:
        """Take the next frame; OSError if the disk is nearly full or the video cannot be written."""
        if seen.frame.video is not self._video:
            self._finish()
            self._video = seen.frame.video
            if self._video is not None and self._video in self._paths:
                self._begin(self._paths[self._video], seen)
        if self._writer is None:
            return
        if shutil.disk_usage(self._temporary.parent).free < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._writer.write(seen.annotated if seen.size == self._size else cv2.resize(seen.annotated, self._size))
        self._written += 1

    def __exit__(self, *exception: Any) -> None:
        self._finish()

    def _begin(self, path: Path, seen: Seen) -> None:
        self._path, self._size, self._written = path, seen.size, 0
        target = real_path(path)
        if not is_utf8(str(target.parent)):
            raise OSError(errno.EILSEQ, "OpenCV cannot write a video to a folder whose name is not UTF-8", str(path))
        self._temporary = temporary_beside(target)
        rate = seen.frame.frames_per_second
        rate = (rate if 1 <= rate <= 1000 else 25.0) / self._every
        codec = cv2.VideoWriter.fourcc(*_CODECS[path.suffix.lower()])
        for digits in (3, 2, 1, 0):  # MPEG-4 does not support every fraction
            writer = cv2.VideoWriter(str(self._temporary), codec, max(round(rate, digits), 1.0), self._size)
            if writer.isOpened():
                self._writer = writer
                return
        self._temporary.unlink(missing_ok=True)
        raise OSError(errno.EIO, "OpenCV cannot write this video", str(path))

    def _finish(self) -> None:
        """Close the video, check that it is complete (OpenCV does not report a full disk), and rename it to its target."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            capture = cv2.VideoCapture(str(self._temporary))
            complete = capture.grab() and capture.get(cv2.CAP_PROP_FRAME_COUNT) >= self._written
            capture.release()
            if not complete:
                raise OSError(errno.EIO, "OpenCV could not write the whole video; is the disk full?", str(self._path))
            self._temporary.replace(real_path(self._path))
        finally:
            self._temporary.unlink(missing_ok=True)


class Copies(VideoOutput):
    """Annotated copies, in a folder, of pictures and of the videos in ``paths``."""

    def __init__(self, folder: Path, paths: dict[Video, Path], every: int) -> None:
        super().__init__(paths, every)
        self._folder = folder

    def write(self, seen: Seen) -> None:
        """Write the annotated picture as a file of the source's type."""
        super().write(seen)
        if seen.frame.video is None:
            suffix = picture_suffix(seen.frame.suffix)
            write_whole(self._folder / (seen.stem + suffix), encode_picture(seen.annotated, suffix))


def copies(folder: Path, run_info: RunInfo) -> Output:
    """Return the output of a folder: copies of pictures and video files."""
    files = [] if run_info.video_out else [v for v in run_info.sources.frames if isinstance(v, Video) and v.path is not None]
    return Copies(folder, {video: folder / (run_info.names.stem(video, ".mp4") + ".mp4") for video in files}, run_info.every)


def video_copy(path: Path, run_info: RunInfo) -> Output:
    """Return the output of a file: a copy of the only video, camera or stream; ValueError if there is not exactly one."""
    videos = [source for source in run_info.sources.frames if isinstance(source, Video)]
    if len(videos) != 1:
        raise ValueError(f"one video, camera or stream among the sources was expected, there are {len(videos)}")
    if path.suffix.lower() not in _CODECS:
        raise ValueError(f"a video file {', '.join(sorted(_CODECS))} was expected, got {str(path)!r}")
    return VideoOutput({videos[0]: path}, run_info.every)


class Window(Output):
    """A window that shows every frame; q, Escape or closing it ends the command."""

    _title = "detect"

    def __enter__(self) -> Window:
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL)
        return self

    def write(self, seen: Seen) -> None:
        """Draw a frame, in parallel with the detection of others."""
        _ = seen.annotated

    def add(self, seen: Seen) -> None:
        """Show the next frame; KeyboardInterrupt if the user ends it."""
        cv2.imshow(self._title, seen.annotated)
        key = cv2.waitKey(1) & 0xFF
        if key in (ord("q"), 27) or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            raise KeyboardInterrupt

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        cv2.destroyAllWindows()


def window(_: bool, __: RunInfo) -> Output:
    """Return a window; ValueError if there is no display."""
    if not display_works():
        raise ValueError("no window can be opened (no display, or an OpenCV without windows)")
    return Window()
