"""Deep Compression's own case: SqueezeNet v1.0 by `squeezedet compress`, beside the file that its authors published.

    python benchmarks/squeezenet.py WEIGHTS TRAIN VAL

WEIGHTS is a folder with ``squeezenet_v1.0_imagenet.npz`` and ``compressed_SqueezeNet.net``; TRAIN and VAL are data sets, of
which only the pictures count: ``compress`` is given some of the first, and those of the second are classified. "first" is the
share of them that get the same class as from the floats, "five" of those for which it is among the first five. The published
file is coded again without changing a weight, which tells coding from everything else.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from _timing import table
from numpy.typing import NDArray

import opencv_squeezedet as sd
from opencv_squeezedet.cli import main as squeezedet
from opencv_squeezedet.datasets import load_dataset
from opencv_squeezedet.formats import read_sdz
from opencv_squeezedet.formats.sdz import CompressedModel
from opencv_squeezedet.formats.shared_weights import REACH, SPARSE
from opencv_squeezedet.model import Model
from opencv_squeezedet.model_files import models_folder
from opencv_squeezedet.pictures import read_picture
from opencv_squeezedet.preprocess import Picture

DEFINITION = os.path.join(models_folder(), "squeezenet_v1.0.prototxt")
SIZES = (675_763, 545_628, 481_280)
"""Bytes of the published file, of the same coded by us, and 0.47 MB, the paper's with 6 bits, which was not published."""
Classes = NDArray[np.intp]


def first_five(model: str, weights: Path | None, pictures: list[Picture]) -> Classes:
    """The classes of each picture, most probable first, (N, 5)."""
    classifier = sd.SqueezeNet(model, weights, backend="auto")
    return np.array([[one.class_id for one in classifier.classify(picture)] for picture in pictures])


def entropy(symbols: NDArray[np.integer]) -> float:
    """Bytes that it takes at least to code symbols one by one, all by one table."""
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def streams_of(model: CompressedModel) -> tuple[int, float, float]:
    """Bytes of all codes and gaps, of their entropy, and of the entropy of the weights they stand for, with the zeros."""
    taken, of_entries, of_weights = 0, 0.0, 0.0
    for layer, blobs in model.weights().items():
        for blob, values in zip((one for one in model.blobs if one.layer == layer), blobs, strict=True):
            layout = blob.layout
            if not layout.centroids:
                continue
            used, codes = np.unique(values, return_inverse=True)
            codes = codes.ravel()
            taken += layout.codes + layout.gaps
            of_weights += entropy(codes)
            if layout.form == SPARSE:
                zero = np.searchsorted(used, 0)
                places = np.flatnonzero(codes != zero)
                runs = np.diff(places, prepend=-1, append=codes.size) - 1
                fillers = layout.entries - len(places)
                codes = np.append(codes[places], np.full(fillers, zero))
                of_entries += entropy(np.append(runs[:-1] % REACH, np.full(fillers, REACH - 1)))
            of_entries += entropy(codes)
    return taken, of_entries, of_weights


def main() -> None:
    """Read the options, compress, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="the folder of both files")
    parser.add_argument("train", help="a data set whose pictures compress is given")
    parser.add_argument("val", help="a data set whose pictures are classified")
    parser.add_argument("--given", type=int, default=48, help="how many compress is given (default 48)")
    parser.add_argument("--count", type=int, default=700, help="how many are classified (default 700)")
    options = parser.parse_args()
    floats, published = (options.weights / name for name in ("squeezenet_v1.0_imagenet.npz", "compressed_SqueezeNet.net"))
    pictures = [read_picture(one.path) for one in load_dataset(options.val).pictures[: options.count]]
    expected = first_five(DEFINITION, floats, pictures)[:, :1]
    rows = []

    def add(name: str, size: int, model: str, weights: Path | None = None) -> None:
        kept = sum(np.count_nonzero(blobs[0]) for blobs in Model.load(model, weights).weights.values())
        same = first_five(model, weights, pictures) == expected
        rows.append((name, f"{size:,}", f"{kept:,}", *(f"{100 * part.mean():.1f}" for part in (same[:, 0], same.any(1)))))

    model = Model.load(DEFINITION, published)
    found = model.weights
    add("float32", 4 * model.network.parameters, DEFINITION, floats)
    add("published, retrained", published.stat().st_size, DEFINITION, published)
    with TemporaryDirectory() as folder:
        out, given = Path(folder) / "it.sdz", Path(folder) / "given"
        model.save(out)
        add("the same, coded by us", out.stat().st_size, str(out))
        recoded = read_sdz(out)
        given.mkdir()
        for one in load_dataset(options.train).pictures:
            (given / one.path.name).symlink_to(one.path.resolve())
        with_pictures = ["--pictures", str(given), "--count", str(options.given)]
        for what, more in (("", []), (f", {options.given} pictures", with_pictures)):
            for size in SIZES:
                arguments = [DEFINITION, "--weights", str(floats), "-o", str(out), "--size", str(size), "--quiet", *more]
                if squeezedet(["compress", *arguments]):
                    raise SystemExit(1)
                add(f"compress{what}", out.stat().st_size, str(out))
    print(f"{len(pictures)} pictures")
    print(table(("SqueezeNet v1.0", "bytes", "weights left", "first, %", "five, %"), rows))
    taken, of_entries, of_weights = streams_of(recoded)
    again = recoded.weights()
    same = all(np.array_equal(one, other) for name in found for one, other in zip(found[name], again[name], strict=True))
    print(f"\nThe published file, coded by us: {'bit-equal' if same else 'OTHER'} weights, codes and gaps {taken:,} bytes;")
    print(f"at least {of_entries:,.0f} by the entropy of both, {of_weights:,.0f} by that of the weights with their zeros")


if __name__ == "__main__":
    main()
