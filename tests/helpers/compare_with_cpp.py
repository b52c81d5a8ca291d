"""Compares InferBbox with the C++ class on seeded blobs: python tests/helpers/compare_with_cpp.py --count 200000

Prints how many blobs were compared, how many had equal scores (there C++ leaves the order open), and how many mismatched.
With --golden it writes what C++ finds on a few blobs to tests/golden/infer_bbox.json, for machines that lack the class.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blobs import KINDS, Blobs, has_ties, make
from cpp_oracle import CppDetection, CppInferBbox

import opencv_squeezedet as sd
from opencv_squeezedet.pipeline import available_cores

THRESHOLDS = (0.7, 0.3, 0.0, 0.8, 0.05, -1.0, 0.999, 1.5, 1e-9)
GOLDEN = Path(__file__).parents[1] / "golden" / "infer_bbox.json"


class Case(NamedTuple):
    kind: str
    seed: int
    threshold: float


def cases(first: int, count: int) -> Iterator[Case]:
    """Every kind in turn, each with thresholds of its own."""
    kinds = list(KINDS)
    for i in range(first, first + count):
        yield Case(kinds[i % len(kinds)], i, THRESHOLDS[i // len(kinds) % len(THRESHOLDS)])


def ours(blobs: Blobs, threshold: float) -> list[CppDetection]:
    boxes = sd.InferBbox(*blobs)
    boxes.filter(threshold)
    return [(d.xmin, d.ymin, d.xmax, d.ymax, d.class_idx, d.label_name, d.class_prob) for d in boxes.detections]


def compare(first_and_count: tuple[int, int]) -> list[tuple[Case, bool, bool]]:
    """Whether each case of a range has equal scores, and whether it mismatches; each call starts a C++ process."""
    results = []
    with CppInferBbox() as cpp:
        for case in cases(*first_and_count):
            blobs = make(case.kind, case.seed)
            cpp.load(blobs)
            results.append((case, has_ties(blobs), cpp.filter(case.threshold) != ours(blobs, case.threshold)))
    return results


def write_golden(count: int) -> None:
    with CppInferBbox() as cpp:
        golden = []
        for case in cases(0, count):
            blobs = make(case.kind, case.seed)
            if has_ties(blobs):
                continue
            cpp.load(blobs)
            found = [[*row[:6], row[6].hex()] for row in cpp.filter(case.threshold)]
            golden.append({**case._asdict(), "detections": found})
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in golden) + "\n]\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=9000, help="how many blobs (default: 9000)")
    parser.add_argument("--jobs", type=int, default=available_cores(), help="how many processes")
    parser.add_argument("--golden", action="store_true", help="write the golden cases instead")
    args = parser.parse_args()
    if args.golden:
        write_golden(81)
        return 0
    chunks = [(start, min(500, args.count - start)) for start in range(0, args.count, 500)]
    results = []
    with multiprocessing.Pool(args.jobs) as pool:
        for done in pool.imap(compare, chunks):
            results += done
            if sys.stderr.isatty():
                print(f"\r{len(results)} of {args.count}", end="", file=sys.stderr)
    mismatches = [case for case, tied, wrong in results if wrong and not tied]
    print(f"{len(results)} blobs compared, {sum(tied for _, tied, _ in results)} of them with equal scores")
    print(f"{len(mismatches)} mismatches, and {sum(tied and wrong for _, tied, wrong in results)} where scores are equal")
    for case in mismatches[:20]:
        print(f"mismatch: {case}")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
