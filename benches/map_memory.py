#!/usr/bin/env python3
"""Peak resident memory and time of `geoglot map` over scenes of growing size, 64 bands of 16 bits, kept in benches/runs/map-memory.json.

A model is trained for one step on a small scene (weights do not change what mapping costs); each scene is written by rasterio as a tiled GeoTIFF.

    benches/map_memory.py --geoglot target/release/geoglot --sides 500 2000 4000      (needs numpy and rasterio, 3 GB of disk)
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from compare import machine

BANDS = 64
LEGEND = '[[class]]\nid = 1\nname = "water"\n[[class]]\nid = 2\nname = "trees"\n'
RECIPE = """
name = "memory"
[data]
legend = "legend.toml"
[[data.scene]]
name = "scene"
inputs = { hsi = "train.tif" }
labels = "labels.tif"
[split]
kind = "random"
per_class = 200
[text]
tower = "hashed-words"
[train]
epochs = 1
steps_per_epoch = 1
"""


def write(path: Path, side: int, count: int, dtype: str, low: int, high: int, seed: int) -> None:
    """A tiled GeoTIFF of smooth noise, written in strips of 256 rows."""
    rng = numpy.random.default_rng(seed)
    profile = dict(driver="GTiff", width=side, height=side, count=count, dtype=dtype, crs="EPSG:32632", BIGTIFF="IF_SAFER",
                   transform=from_origin(500000, 5000000, 1, 1), tiled=True, blockxsize=256, blockysize=256, interleave="pixel")
    with rasterio.open(path, "w", **profile) as out:
        for row in range(0, side, 256):
            rows = min(256, side - row)
            out.write(rng.integers(low, high, (count, rows, side)).astype(dtype), window=Window(0, row, side, rows))


def run(command: list, folder: Path) -> tuple[float, float]:
    """Seconds and peak MiB of a command."""
    start = time.time()
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.chdir(folder)
        os.execv(command[0], command)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return time.time() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geoglot", type=Path, default=Path("target/release/geoglot"))
    parser.add_argument("--sides", type=int, nargs="+", default=[500, 2000, 4000])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs" / "map-memory.json")
    args = parser.parse_args()
    program = str(args.geoglot.resolve())
    rows = []
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "legend.toml").write_text(LEGEND)
        (folder / "recipe.toml").write_text(RECIPE)
        write(folder / "train.tif", 200, BANDS, "uint16", 0, 4000, 0)
        write(folder / "labels.tif", 200, 1, "uint8", 1, 3, 1)
        run([program, "train", "recipe.toml", "--out", "model"], folder)
        for side in args.sides:
            write(folder / "scene.tif", side, BANDS, "uint16", 0, 4000, side)
            seconds, peak = run([program, "map", "--model", "model", "--scene", "hsi=scene.tif", "--out", f"map-{side}"], folder)
            rows.append({"side": side, "megapixels": side * side / 1e6, "seconds": round(seconds, 1), "peak_mib": round(peak, 1)})
            print(rows[-1], flush=True)
    last, largest = rows[-2:] if len(rows) > 1 else (rows[0], rows[0])
    growth = (largest["peak_mib"] - last["peak_mib"]) / max(largest["side"] - last["side"], 1)
    per_pixel = largest["seconds"] / largest["megapixels"]
    estimate = {
        "side": 20000,
        "seconds": round(per_pixel * 400),
        "peak_mib": round(largest["peak_mib"] + growth * (20000 - largest["side"])),
        "how": "the last two sides continued: time by pixel, memory by row length (blocks of rows are held, never the scene)",
    }
    result = {"bands": BANDS, "machine": machine(), "measured": rows, "estimate": estimate}
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(estimate)


if __name__ == "__main__":
    main()
