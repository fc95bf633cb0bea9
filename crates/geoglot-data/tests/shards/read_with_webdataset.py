#!/usr/bin/env python3
"""Reads a folder of shards with Python's webdataset and prints one JSON line a sample: key, text, shape, type and sum of the image,
wavelengths, teachers.

    python3 read_with_webdataset.py FOLDER
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
import webdataset as wds


def load(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data), allow_pickle=False)


for sample in wds.WebDataset(sorted(map(str, Path(sys.argv[1]).glob("*.tar"))), shardshuffle=False):
    image = load(sample["image"])
    teachers = {k[8:-4]: load(v).shape for k, v in sample.items() if k.startswith("teacher-")}
    print(json.dumps({
        "key": sample["__key__"], "text": sample["text"].decode(), "shape": image.shape, "type": str(image.dtype),
        "sum": float(image.astype(np.float64).sum()), "wavelength": json.loads(sample["wavelength"]), "teachers": teachers,
    }))
