#!/usr/bin/env python3
"""`geoglot embed` against a Python script that does the same (rasterio + PyTorch): wall time, processor time, peak memory.

    benches/embed_scene.py MODEL [--work FOLDER] [--size 10980]

MODEL is a folder that `geoglot train` wrote. Makes a 13-band 16-bit scene of SIZE² px (tiled, deflate) and a scene of one tile, embeds each with
both programs in turns, checks that the vectors agree, and writes benches/runs/embed-scene.json. One tile shows start-up. Needs torch, rasterio,
safetensors and pyarrow in `python3`.
"""

import argparse
import datetime
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import rasterio
from compare import machine
from rasterio.transform import from_origin

BLOCK = 512


def make_scene(path: Path, size: int) -> None:
    """Smooth fields of 640 m with grain, in 13 bands of a tiled 10 m GeoTIFF."""
    random = np.random.default_rng(7)
    profile = dict(driver="GTiff", width=size, height=size, count=13, dtype="uint16", crs="EPSG:32632", transform=from_origin(4e5, 5.2e6, 10, 10),
                   tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="deflate", predictor=2, zlevel=1, BIGTIFF="YES")
    cells = -(-size // 64) + 2
    coarse = random.uniform(300, 4000, (13, cells, cells)).astype(np.float32)
    with rasterio.open(path, "w", **profile) as out:
        for row in range(0, size, BLOCK):
            rows = min(BLOCK, size - row)
            y = (np.arange(row, row + rows) / 64).astype(np.float32)
            x = (np.arange(size) / 64).astype(np.float32)
            iy, ix, fy, fx = y.astype(int), x.astype(int), (y % 1)[:, None], (x % 1)[None]
            for band in range(13):
                c = coarse[band]
                upper = c[iy][:, ix] * (1 - fx) + c[iy][:, ix + 1] * fx
                lower = c[iy + 1][:, ix] * (1 - fx) + c[iy + 1][:, ix + 1] * fx
                values = upper * (1 - fy) + lower * fy + random.integers(0, 64, (rows, size))
                out.write(values.astype(np.uint16), band + 1, window=((row, row + rows), (0, size)))


def timed(command: str) -> dict:
    """Wall and processor seconds and peak memory of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"`{command}` failed: {message.decode()}")
    return {"seconds": time.perf_counter() - start, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}


def largest_difference(ours: Path, theirs: Path) -> float:
    """Of any number of any tile's vector; tiles are matched by window."""
    table = pyarrow.parquet.read_table(ours)
    column = table.column("embedding").combine_chunks()
    vectors = column.flatten().to_numpy().reshape(table.num_rows, -1)
    windows = np.array(table.column("window").to_pylist())
    order = np.lexsort((windows[:, 0], windows[:, 1]))
    other = np.load(theirs)
    expected = np.lexsort((other["windows"][:, 0], other["windows"][:, 1]))
    assert table.num_rows == len(expected), (table.num_rows, len(expected))
    return float(np.abs(vectors[order] - other["vectors"][expected]).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, default=Path("bench-scene"))
    parser.add_argument("--size", type=int, default=10980)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs" / "embed-scene.json")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tile = json.loads((args.model / "config.json").read_text())["tower"]["preprocess"]["size"][0]
    runs = []
    for size, rounds in ((tile, 5), (args.size, args.rounds)):
        scene = args.work / f"scene-{size}.tif"
        if not scene.exists():
            make_scene(scene, size)
        ours, theirs = args.work / f"ours-{size}", args.work / f"theirs-{size}.npz"
        commands = {
            "ours": f"target/release/geoglot embed {scene}:sensor=sentinel-2-l1c,layout=standard --model {args.model} --batch 32 --out {ours}",
            "theirs": f"python3 benches/pytorch/embed_scene.py {scene} {args.model} {theirs} --batch 32",
        }
        raw = {"ours": [], "theirs": []}
        for _ in range(rounds):
            for side, command in commands.items():
                if side == "ours":
                    shutil.rmtree(ours, ignore_errors=True)
                raw[side].append(timed(command))
                print(size, side, raw[side][-1], file=sys.stderr)
        median = {side: {k: round(statistics.median(r[k] for r in rows), 3) for k in rows[0]} for side, rows in raw.items()}
        runs.append({
            "size": size,
            "tiles": len(np.load(theirs)["windows"]),
            "bytes": scene.stat().st_size,
            "median": median,
            "ratio_ours_to_theirs": {k: round(median["ours"][k] / median["theirs"][k], 4) for k in median["ours"]},
            "largest_difference_of_vectors": largest_difference(ours / "embeddings.parquet", theirs),
            "raw": raw,
        })
    run = {"name": "embed-scene", "date": datetime.date.today().isoformat(), "machine": machine(),
           "what": "13-band 16-bit scene, any-band tower of recipes/rsicd-anyband.toml, batch 32, two threads", "runs": runs}
    args.out.write_text(json.dumps(run, indent=2) + "\n")
    for row in runs:
        print(row["size"], row["median"], row["ratio_ours_to_theirs"], row["largest_difference_of_vectors"])


if __name__ == "__main__":
    main()
