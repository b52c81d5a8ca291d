"""Finds objects in a folder's pictures with Dask, in processes: python samples/batch_dask.py FOLDER OUT.parquet."""

import sys
from pathlib import Path

import dask.dataframe as dd
import pandas as pd

from opencv_squeezedet import batch


def main(folder: str, out: str) -> None:
    """Write a row for each picture, and print how many objects of each class there are."""
    paths = sorted(str(path) for path in Path(folder).iterdir())
    pictures = dd.from_pandas(pd.DataFrame({"path": paths}), npartitions=-(-len(paths) // 64))
    detect = batch.Detect(score_threshold=0.3, threads=1)
    found = pictures.map_partitions(detect, meta=batch.SCHEMA.empty_table().to_pandas())
    found.to_parquet(out, schema=batch.SCHEMA, write_index=False, compute_kwargs={"scheduler": "processes"})
    for label, count in pd.read_parquet(out)["label"].explode().value_counts().items():
        print(label, count)


if __name__ == "__main__":
    main(*(sys.argv[1:] if len(sys.argv) == 3 else sys.exit(__doc__)))
