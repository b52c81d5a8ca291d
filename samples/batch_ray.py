"""Finds objects in a folder's pictures with Ray Data, one network a core: python samples/batch_ray.py FOLDER OUT.parquet."""

import sys
from collections import Counter
from pathlib import Path

import ray

from opencv_squeezedet import batch


def main(folder: str, out: str) -> None:
    """Write a row for each picture, and print how many objects of each class there are."""
    paths = [{"path": str(path.absolute())} for path in sorted(Path(folder).iterdir())]
    pictures = ray.data.from_items(paths, override_num_blocks=-(-len(paths) // 64))  # the actors read, on all cores
    found = batch.detect(pictures, score_threshold=0.3).materialize()
    found.write_parquet(str(Path(out).absolute()))  # workers may have another current folder
    for label, count in Counter(label for row in found.iter_rows() for label in row["label"]).most_common():
        print(label, count)


if __name__ == "__main__":
    main(*(sys.argv[1:] if len(sys.argv) == 3 else sys.exit(__doc__)))
