"""Measures the post-processing: against the C++ class and NumPy, another build, with two threads, and over a million calls.

Without an option that says otherwise: the same boxes from the same blobs by several methods, in one run on one core. Each
block takes its own frame, checks that all methods find the same boxes, and times one method after the other. The figures are
medians over the blocks. A method handles the block's frame again and again: its blobs are in the cache, and its branches well
predicted. With ``--fresh`` each call gets a frame that the method has not seen in a while and that has just been written, as
by a network: that is slower for all methods, and most of all for the short ones.

A second table has the settings that are off by default, each beside the head's own. With ``--against`` the public functions
are timed in two processes on one core: this package in one, and in the other a package that was built in place in another
folder. The processes take turns, and ratios are those of the blocks.

The C++ class is timed if the tests' program for it can be built: g++ and Debian's libopencv-contrib-dev.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from itertools import count, cycle
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import cv2
import numpy as np
from _timing import Call, Sampler, block, machine, pin_to_one_core, ratio, sampler, seconds, table, typical
from numpy.typing import NDArray

import opencv_squeezedet as sd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from blobs import Blobs, has_ties, make
from cpp_oracle import MISSING, CppInferBbox

HEAD = dataclasses.replace(sd.VOC, drop_empty=False)  # as the C++ class: empty boxes are reported
PER_CELL = len(HEAD.anchors)
TOP_N = HEAD.top_n
NO_PICTURE = (0.0, 0.0, 1.0, 1.0, np.inf, np.inf)  # boxes in pixels of the network's input
PIXELS = 1e-3  # the methods may differ by this much, and the C++ class by its truncation to int
SCORES = 1e-6


class Case(NamedTuple):
    """Blobs of a kind, and the score threshold."""

    kind: str
    threshold: float

    def __str__(self) -> str:
        return f"{self.kind}, threshold {self.threshold:g}"


CASES = [Case("quiet", 0.5), Case("crowded", 0.3), Case("quiet", 0.0), Case("random", 0.5)]


def frames(kind: str) -> Iterator[Blobs]:
    """Yield one frame after the other, without those whose order the C++ class leaves open."""
    return (blobs for blobs in map(partial(make, kind), count()) if not has_ties(blobs))


# ---- the methods ----------------------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """The boxes that one method reports."""

    xyxy: NDArray[np.floating]
    confidence: NDArray[np.floating]
    class_id: NDArray[np.integer]

    def in_order(self) -> Found:
        """By class, then by descending score, as the C++ class returns them."""
        return self.pick(np.lexsort((-self.confidence, self.class_id)))

    def without_empty(self) -> Found:
        """The boxes that have an area."""
        return self.pick((self.xyxy[:, 2:] > self.xyxy[:, :2]).all(axis=1))

    def pick(self, which: NDArray[Any]) -> Found:
        """Some of the boxes: a mask, or indices."""
        return Found(self.xyxy[which], self.confidence[which], self.class_id[which])


def _anchors() -> NDArray[np.float64]:
    """Centre x, centre y, width and height of all anchors."""
    first, second = np.divmod(np.arange(HEAD.kernel.anchors) // PER_CELL, HEAD.grid[1])
    centers = np.stack([first, second], axis=1) + 1.0
    centers = centers * HEAD.input_size / (np.array(HEAD.grid) + 1)
    return np.hstack([centers, np.tile(HEAD.anchors, (len(centers) // PER_CELL, 1))])


ANCHORS = _anchors()
ROW_STARTS = np.arange(HEAD.kernel.anchors) * len(HEAD.labels)


def numpy_candidates(blobs: Blobs, threshold: float) -> Found:
    """Vectorised: the best class of all anchors, the 64 highest scores, and the boxes of those above the threshold."""
    products = blobs.class_scores * blobs.conf_scores.reshape(-1, 1)
    class_id = products.argmax(axis=1)
    score = products.reshape(-1).take(ROW_STARTS + class_id)
    top = np.argpartition(score, len(score) - TOP_N)[-TOP_N:]
    top = top[score[top] > threshold]
    top = top[np.argsort(-score[top])]
    deltas, anchors = blobs.delta_bbox.reshape(-1, 4)[top], ANCHORS[top]
    centers = anchors[:, :2] + anchors[:, 2:] * deltas[:, :2]
    halves = anchors[:, 2:] * np.exp(deltas[:, :1:-1]) / 2  # deltas come as x, y, h, w
    xyxy = np.hstack([centers - halves, centers + halves]).clip(0, HEAD.input_size[0] - 1)
    return Found(xyxy, score[top], class_id[top])


def with_numpy(blobs: Blobs, threshold: float) -> Found:
    """NumPy alone, with the NMS of the C++ class: a box is dropped when any higher one of its class overlaps it."""
    found = numpy_candidates(blobs, threshold)
    xyxy, class_id = found.xyxy, found.class_id
    sides = np.minimum(xyxy[:, None, 2:], xyxy[:, 2:]) - np.maximum(xyxy[:, None, :2], xyxy[:, :2])
    common = sides.clip(0).prod(axis=2)
    area = (xyxy[:, 2:] - xyxy[:, :2]).prod(axis=1)
    iou = common / (area[:, None] + area - common + HEAD.iou_epsilon)
    overlaps = (iou > HEAD.nms_threshold) & (class_id[:, None] == class_id)
    kept = ~np.triu(overlaps, 1).any(axis=0)
    return found.pick(kept)


def with_cv2_nms(blobs: Blobs, threshold: float) -> Found:
    """NumPy, and OpenCV's own NMS, which is greedy."""
    found = numpy_candidates(blobs, threshold)
    xyxy, score, class_id = found
    xywh = np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]])
    kept = cv2.dnn.NMSBoxesBatched(xywh.tolist(), score.tolist(), class_id.tolist(), threshold, HEAD.nms_threshold)
    return found.pick(np.asarray(kept, np.intp))


def arrays_only(blobs: Blobs, threshold: float, class_bound: float = 0.0) -> Call:
    """The compiled function with checked arguments; a ``class_bound`` saves it looking at all class scores."""
    limits = HEAD.limits._replace(score_threshold=threshold)
    return partial(HEAD.kernel.postprocess, *blobs, limits, NO_PICTURE, class_bound)


def calls(blobs: Blobs, threshold: float) -> dict[str, Call]:
    """Return all methods but the C++ class."""
    return {
        "NumPy": partial(with_numpy, blobs, threshold),
        "NumPy, NMSBoxesBatched": partial(with_cv2_nms, blobs, threshold),
        "sd.postprocess": partial(sd.postprocess, *blobs, HEAD, score_threshold=threshold),
        "arrays only": arrays_only(blobs, threshold),
        "arrays only, class_bound=1": arrays_only(blobs, threshold, 1.0),
    }


# ---- the comparison -------------------------------------------------------------------------------------------------------


def ours(blobs: Blobs, threshold: float, kind: sd.options.NmsKind = "reference") -> Found:
    """Return the boxes that `opencv_squeezedet.postprocess` finds."""
    found = sd.postprocess(*blobs, HEAD, score_threshold=threshold, nms_kind=kind)
    return Found(found.xyxy, found.confidence, found.class_id)


def check(blobs: Blobs, threshold: float, cpp: CppInferBbox | None) -> int:
    """Raise RuntimeError unless all methods report the same boxes; return their number."""
    expected = ours(blobs, threshold)
    greedy = ours(blobs, threshold, "greedy").without_empty()  # NMSBoxesBatched treats two empty boxes as equal
    for name, call in calls(blobs, threshold).items():
        if name == "NumPy, NMSBoxesBatched":
            _compare(name, with_cv2_nms(blobs, threshold).without_empty(), greedy)
        elif name != "sd.postprocess":
            _compare(name, Found(*call()), expected)  # type: ignore[misc]
    if cpp:
        cpp.load(blobs)
        rows = np.array([(*box, score, class_id) for *box, class_id, _, score in cpp.filter(threshold)]).reshape(-1, 6)
        _compare("C++", Found(rows[:, :4], rows[:, 4], rows[:, 5].astype(int)), expected, truncated=True)
    return len(expected.xyxy)


def _compare(name: str, found: Found, expected: Found, truncated: bool = False) -> None:
    found, expected = found.in_order(), expected.in_order()
    same = len(found.xyxy) == len(expected.xyxy) and np.array_equal(found.class_id, expected.class_id)
    if same:
        more = expected.xyxy - found.xyxy
        same = bool((more >= -PIXELS).all() and (more <= PIXELS + truncated).all())
        same &= np.allclose(found.confidence, expected.confidence, rtol=0, atol=SCORES)
    if not same:
        raise RuntimeError(f"{name} reports other boxes:\n{found}\nthan sd.postprocess:\n{expected}")


def compare(cases: Iterable[Case], blocks: int, fresh: bool) -> None:
    """Print the table of all methods."""
    print(f"{machine()}; {pin_to_one_core()}, one OpenCV thread")
    cv2.setNumThreads(1)
    if MISSING:
        print(f"Without the C++ column, and with NumPy's for comparison: {MISSING}.")
    with nullcontext() if MISSING else CppInferBbox() as cpp:
        rows = [_row(case, blocks, cpp, fresh) for case in cases]
    print(f"Microseconds per frame{', a fresh one each call' * fresh}, medians of {blocks} blocks.")
    print("In brackets how many times faster than the first column.\n")
    print(table(["blobs", "boxes", *(["C++"] if cpp else []), *calls(make("zero", 0), 1.0)], rows))
    print(
        f"\nAll reported the same boxes in every frame: within {PIXELS:g} pixels and {SCORES:g} in score, C++ coordinates "
        "after truncation to int.\nNMSBoxesBatched is greedy: compared with nms_kind='greedy', without empty boxes."
    )


def _row(case: Case, blocks: int, cpp: CppInferBbox | None, fresh: bool) -> list[str]:
    boxes: list[int] = []
    measured = []
    for i, blobs in zip(range(blocks), frames(case.kind), strict=False):
        boxes.append(check(blobs, case.threshold, cpp))
        samplers = _fresh_samplers(case, i, cpp) if fresh else _samplers(blobs, case.threshold, cpp)
        measured.append(block(samplers, 20 if fresh else 5, backwards=i % 2 == 1))
    first, *others = samplers
    cells = [f"{typical(measured, name) * 1e6:.1f} ({ratio(measured, first, name):.1f}x)" for name in others]
    return [str(case), f"{median(boxes):.0f}", f"{typical(measured, first) * 1e6:.1f}", *cells]


def _samplers(blobs: Blobs, threshold: float, cpp: CppInferBbox | None) -> dict[str, Sampler]:
    samplers: dict[str, Sampler] = {}
    if cpp:
        cpp.load(blobs)
        samplers["C++"] = partial(cpp.seconds, threshold, 10)
    return samplers | {name: sampler(call) for name, call in calls(blobs, threshold).items()}


def _fresh_samplers(case: Case, start: int, cpp: CppInferBbox | None) -> dict[str, Sampler]:
    """Samplers that take one frame after the other, and time a single call."""
    some = cycle(_some(case.kind, 20, start))

    def one_call(name: str) -> float:
        if cpp and name == "C++":
            cpp.load(next(some))
            return cpp.seconds(case.threshold, 1)
        return seconds(calls(Blobs(*map(np.copy, next(some))), case.threshold)[name])

    return {name: partial(one_call, name) for name in [*(["C++"] if cpp else []), *calls(make("zero", 0), 1.0)]}


# ---- settings that are off by default -------------------------------------------------------------------------------------

SETTINGS: dict[str, dict[str, Any]] = {
    "as the head": {},
    **{f"nms_kind={kind}": {"nms_kind": kind} for kind in sd.options.NMS_KINDS if kind != HEAD.nms_kind},
    "vote_threshold=0.5": {"vote_threshold": 0.5},
    "multi_label": {"multi_label": True},
    "multi_label, soft, voting": {"multi_label": True, "nms_kind": "soft", "vote_threshold": 0.5},
}


def settings(cases: Iterable[Case], blocks: int) -> None:
    """Print what each setting costs."""
    print(f"\nsd.postprocess with other settings: microseconds a frame, medians of {blocks} blocks.")
    print("In brackets how many times as long as with those of the head.\n")
    print(table(["blobs", *SETTINGS], [_settings_row(case, blocks) for case in cases]))


def _settings_row(case: Case, blocks: int) -> list[str]:
    measured = []
    for i, blobs in zip(range(blocks), frames(case.kind), strict=False):
        go = partial(sd.postprocess, *blobs, HEAD, score_threshold=case.threshold)
        samplers = {name: sampler(partial(go, **options)) for name, options in SETTINGS.items()}
        measured.append(block(samplers, backwards=i % 2 == 1))
    plain, *others = SETTINGS
    times = {name: typical(measured, name) * 1e6 for name in SETTINGS}
    cells = [f"{times[name]:.1f} ({ratio(measured, name, plain):.2f}x)" for name in others]
    return [str(case), f"{times[plain]:.1f}", *cells]


# ---- another build --------------------------------------------------------------------------------------------------------


def public_calls(case: Case, seed: int) -> dict[str, Call]:
    """Return the calls that every build has."""
    blobs = make(case.kind, seed)
    batch = [np.stack([blob] * 10) for blob in blobs]
    boxes = sd.decode(blobs.delta_bbox)[:200].astype(np.float64)
    scores = blobs.conf_scores.reshape(-1)[:200].astype(np.float64)
    return {
        "postprocess": partial(sd.postprocess, *blobs, HEAD, score_threshold=case.threshold),
        "three options": partial(
            sd.postprocess, *blobs, HEAD, score_threshold=case.threshold, nms_threshold=0.45, nms_kind="greedy"
        ),
        "without options": partial(sd.postprocess, *blobs),
        "batch of 10": partial(sd.postprocess_batch, *batch, HEAD, score_threshold=case.threshold),
        "InferBbox": partial(_infer, blobs, case.threshold),
        "nms of 200": partial(sd.nms, boxes, scores, nms_threshold=0.45),
    }


def _infer(blobs: Blobs, threshold: float) -> None:
    sd.InferBbox(*blobs).filter(threshold)


def serve() -> None:
    """For each line on standard input, kind, threshold and seed of blobs, print the seconds of the public calls."""
    for line in sys.stdin:
        kind, threshold, seed = line.rsplit(maxsplit=2)
        timed = block({name: sampler(call) for name, call in public_calls(Case(kind, float(threshold)), int(seed)).items()})
        print(json.dumps(timed), flush=True)


class Build:
    """A process that times the package in a folder."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder.resolve())}
        command = [sys.executable, __file__, "--serve"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def seconds(self, case: Case, seed: int) -> dict[str, float]:
        """Seconds of each public call with blobs of this seed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{case.kind} {case.threshold!r} {seed}\n")
        timed: dict[str, float] = json.loads(self.process.stdout.readline())
        return timed


def against(cases: Iterable[Case], blocks: int, folder: Path) -> None:
    """Print the times of the public functions here, and how many times as long they take in another build."""
    print(f"{machine()}; {pin_to_one_core()}")
    builds = {"this": Build(Path(sd.__file__).parents[1]), "other": Build(folder)}
    print(f"Microseconds with this build, medians of {blocks} blocks; in brackets the ratio to {folder}, the median of the")
    print("blocks' ratios: below 1 this one is faster.\n")
    rows = []
    for case in cases:
        measured = []
        for seed in range(blocks):
            timed = {name: builds[name].seconds(case, seed) for name in sorted(builds, reverse=seed % 2 == 1)}
            measured.append({f"{call} {name}": value for name in builds for call, value in timed[name].items()})
        names = list(public_calls(case, 0))
        both = [(typical(measured, f"{name} this") * 1e6, ratio(measured, f"{name} this", f"{name} other")) for name in names]
        rows.append([str(case), *(f"{time:.1f} ({quotient:.3f})" for time, quotient in both)])
    print(table(["blobs", *names], rows))
    for build in builds.values():
        build.process.communicate()


# ---- two threads ----------------------------------------------------------------------------------------------------------

FRAMES = 1000  # in all
Work = Callable[[list[int]], Call]  # for a thread, with the numbers of its halves
Stack = list[NDArray[np.float32]]  # blobs of several frames
DURATION = 0.05  # of a measurement, seconds; the frames are handled as many times as fit


def threads(cases: Iterable[Case], rounds: int, chunk: int) -> None:
    """Print how much faster two threads are than one, compared with pure arithmetic that releases the GIL."""
    print(machine())
    print(f"{FRAMES} frames by one thread and by two, medians of {rounds} alternating rounds. The loop: SHA-256, for as long;")
    print("it gains nearly 2 if two cores are free. Quotient: gain of postprocess_batch / gain of the loop, round by round.\n")
    header = [f"postprocess_batch of {chunk}", "us per frame", "gain", "gain of the loop", "quotient", "postprocess, gain"]
    print(table(header, [_threads_row(case, rounds, chunk) for case in cases]))


def _threads_row(case: Case, rounds: int, chunk: int) -> list[str]:
    halves = [[np.stack(blob) for blob in zip(*_some(case.kind, chunk, seed), strict=True)] for seed in (0, chunk)]
    times = max(1, FRAMES // 2 // chunk)
    once = _together([partial(_batches, halves, case.threshold, times)])
    times *= max(1, round(DURATION / once))
    hashes = max(1, round(max(DURATION, once) / seconds(_hash, 20) / 2))
    work: dict[str, Work] = {
        "batch": lambda mine: partial(_batches, [halves[i] for i in mine], case.threshold, times),
        "single": lambda mine: partial(_singles, [halves[i] for i in mine], case.threshold, times),
        "loop": lambda mine: partial(seconds, _hash, hashes * len(mine)),
    }
    measured = [_round(work, backwards=i % 2 == 1) for i in range(rounds)]
    gains = {name: [m[f"{name} by one"] / m[f"{name} by two"] for m in measured] for name in work}
    gains["quotient"] = [batch / loop for batch, loop in zip(gains["batch"], gains["loop"], strict=True)]
    each = typical(measured, "batch by one") / (2 * times * chunk) * 1e6
    return [str(case), f"{each:.1f}", *(f"{median(gains[name]):.2f}" for name in ("batch", "loop", "quotient", "single"))]


def _round(work: dict[str, Work], backwards: bool) -> dict[str, float]:
    measured = {}
    for name in sorted(work, reverse=backwards):
        measured[f"{name} by one"] = _together([work[name]([0, 1])])
        measured[f"{name} by two"] = _together([work[name]([0]), work[name]([1])])
    return measured


def _together(works: list[Call]) -> float:
    """Seconds until all are done, each in its own thread; excluding the start of the threads."""
    ready = threading.Barrier(len(works) + 1)

    def wait_and(work: Call) -> None:
        ready.wait()
        work()

    started = [threading.Thread(target=wait_and, args=(work,)) for work in works]
    for thread in started:
        thread.start()
    ready.wait()
    start = perf_counter()
    for thread in started:
        thread.join()
    return perf_counter() - start


def _some(kind: str, number: int, seed: int) -> list[Blobs]:
    return [make(kind, seed + i) for i in range(number)]


def _batches(stacks: list[Stack], threshold: float, times: int) -> None:
    for stack in stacks * times:
        sd.postprocess_batch(*stack, score_threshold=threshold)


def _singles(stacks: list[Stack], threshold: float, times: int) -> None:
    for stack in stacks * times:
        for blobs in zip(*stack, strict=True):
            sd.postprocess(*blobs, score_threshold=threshold)


_BUFFER = bytes(1 << 18)


def _hash() -> None:
    hashlib.sha256(_BUFFER)


# ---- memory ---------------------------------------------------------------------------------------------------------------


def memory(total: int, warm_up: int = 10_000) -> None:
    """Print how much the process grows over a million calls with all sorts of inputs."""
    print(machine())
    mixed = _mixed_calls()
    _run(mixed, warm_up)
    before = _resident()
    start = perf_counter()
    done = _run(mixed, total)
    spent = perf_counter() - start
    after = _resident()
    print(f"{done} calls of sd.postprocess, {len(mixed)} sorts of input in turn, {spent:.1f} s")
    print(f"resident set {before} KiB after {warm_up} calls, {after} KiB at the end: an increase of {after - before} KiB")


def _run(mixed: list[Call], total: int) -> int:
    rounds = -(-total // len(mixed))
    for _ in _progress(range(rounds), len(mixed)):
        for call in mixed:
            call()
    return rounds * len(mixed)


def _progress(rounds: range, each: int) -> Iterable[int]:
    if sys.stderr.isatty():
        with suppress(ImportError):
            from tqdm import tqdm

            return tqdm(rounds, unit=" calls", unit_scale=each, leave=False)
    return rounds


def _mixed_calls() -> list[Call]:
    """Return a hundred calls: mostly plain ones, some of every option, shape and type, some that are rejected."""
    mixed: list[Call] = []
    for seed in range(4):
        for case in CASES[:2]:
            blobs = make(case.kind, seed)
            go = partial(sd.postprocess, *blobs, score_threshold=case.threshold)
            options = ({"image_size": (640, 480)}, {"nms_kind": "greedy"}, {"class_agnostic": True}, {"top_n": 10})
            options += ({"vote_threshold": 0.5}, {"multi_label": True})
            mixed += [go] * 5 + [partial(go, **option) for option in options]
    blobs = make("crowded", 4)
    mixed += [partial(sd.postprocess, *blobs, score_threshold=0), partial(sd.postprocess, *make("random", 0))]
    mixed += [partial(sd.postprocess, *other) for other in _other_forms(blobs)]
    return mixed + [partial(_refused, *arguments) for arguments in _wrong(blobs)]


def _other_forms(blobs: Blobs) -> Iterator[Iterable[object]]:
    """The same data in other shapes and types, and data that is not finite."""
    yield [blob[None] for blob in blobs]
    yield [blobs.delta_bbox.reshape(-1, 4), blobs.class_scores.reshape(23, 23, 180), blobs.conf_scores.reshape(-1)]
    yield [blob.astype(np.float64) for blob in blobs]
    yield [np.asfortranarray(blob) for blob in blobs]
    for bad in (np.nan, np.inf):
        conf = blobs.conf_scores.copy()
        conf[::2] = bad
        yield [blobs.delta_bbox, blobs.class_scores, conf]


def _wrong(blobs: Blobs) -> Iterator[tuple[Iterable[object], dict[str, object]]]:
    """Arguments that are rejected."""
    delta, classes, conf = blobs
    yield (delta[1:], classes, conf), {}
    yield (delta, conf, classes), {}
    yield (np.stack([delta, delta]), classes, conf), {}
    yield (delta.astype(int), classes, conf), {}
    yield (delta, classes, None), {}
    for name, values in {
        "score_threshold": (2, "high"),
        "nms_threshold": (float("nan"), -1),
        "nms_kind": ("hard", 1),
        "soft_sigma": (0, "wide"),
        "vote_threshold": (2, "all"),
        "multi_label": ("no",),
        "top_n": (0, 1.5),
        "class_agnostic": ("no",),
        "image_size": ((1.5, 2), (0, 0), 640),
    }.items():
        yield from ((blobs, {name: value}) for value in values)


def _refused(blobs: Iterable[object], options: dict[str, object]) -> None:
    try:
        sd.postprocess(*blobs, **options)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return
    raise RuntimeError(f"was not rejected: {options}")


def _resident() -> int:
    """KiB; the peak so far if the current value is not available."""
    gc.collect()
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def main() -> None:
    """Read the options, and run what they ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=21, help="blocks, and rounds of --threads (default 21)")
    kinds = list(dict.fromkeys(case.kind for case in CASES))
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds, help="kinds of blobs (default: all)")
    parser.add_argument("--fresh", action="store_true", help="compare with a fresh frame in each call")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="compare with another build, in the folder")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--threads", action="store_true", help="measure two threads against one")
    parser.add_argument("--chunk", type=int, default=50, help="frames in a batch of --threads (default 50)")
    parser.add_argument("--memory", action="store_true", help="measure the growth over many calls")
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls of --memory (default 1000000)")
    options = parser.parse_args()
    cases = [case for case in CASES if case.kind in options.kinds]
    if options.serve:
        serve()
    elif options.against:
        against(cases, options.blocks, options.against)
    if options.threads:
        threads(cases, options.blocks, options.chunk)
    if options.memory:
        memory(options.calls)
    if not (options.threads or options.memory or options.serve or options.against):
        compare(cases, options.blocks, options.fresh)
        settings(cases, options.blocks)


if __name__ == "__main__":
    main()
