#!/usr/bin/env python3
"""Reading speed of image-text shards, ours against Python's webdataset, on the same tar files.

    pip install webdataset numpy torch
    cargo build --release -p geoglot-data --example shards_read
    python3 benches/shards.py

Both sides read every sample once and in order, and make batches of 32 with images as stored, stacked to [32, H, W, C], texts and
wavelengths. webdataset runs in the process itself (its fastest way where decoding is a copy) and in a DataLoader with 1 and 2 workers,
which stack in the worker and hand over tensors in shared memory; ours runs with 1 and 2 reading threads. The sides alternate; medians of
the rounds and their ratios are written to benches/runs/shards-read.json. The files are read once before, so that they come from the
page cache.
"""

import argparse
import datetime
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from compare import machine

BATCH = 32
SETS = {
    "rgb-u8": {"shape": (224, 224, 3), "type": "uint8", "wavelengths": [0.665, 0.56, 0.49], "samples": 512},
    "sentinel2-u16": {"shape": (224, 224, 9), "type": "uint16",
                      "wavelengths": [0.665, 0.56, 0.49, 0.705, 0.74, 0.783, 0.842, 1.61, 2.19], "samples": 192},
}


def make(folder: Path, spec: dict) -> None:
    """Writes shards of random images with webdataset."""
    import webdataset as wds

    rng = np.random.default_rng(0)
    with wds.ShardWriter(str(folder / "shard-%06d.tar"), maxcount=spec["samples"] // 4, encoder=False, verbose=0) as writer:
        for i in range(spec["samples"]):
            stream = io.BytesIO()
            np.save(stream, rng.integers(0, 250, spec["shape"]).astype(spec["type"]))
            writer.write({"__key__": f"{i:06d}", "image": stream.getvalue(), "text": f"a satellite image, number {i}".encode(),
                          "wavelength": json.dumps(spec["wavelengths"]).encode()})


def decode(sample: dict) -> tuple:
    return np.load(io.BytesIO(sample["image"])), sample["text"].decode(), json.loads(sample["wavelength"])


def stack(samples: list) -> tuple:
    import torch

    images, texts, waves = zip(*samples)
    return torch.from_numpy(np.stack(images)), list(texts), list(waves)


def theirs(folder: Path, workers: int) -> None:
    """One pass with webdataset; prints the same line as ours."""
    import torch
    import webdataset as wds

    torch.set_num_threads(1)
    start = time.perf_counter()
    urls = sorted(map(str, folder.glob("*.tar")))
    data = wds.WebDataset(urls, shardshuffle=False, workersplitter=wds.split_by_worker).map(decode).batched(BATCH, collation_fn=stack)
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers, prefetch_factor=4) if workers else data
    samples = size = check = 0
    for images, texts, waves in loader:
        raw = images.view(torch.uint8).reshape(-1)
        samples += len(texts)
        size += len(raw)
        check += int(raw[::4096].to(torch.int64).sum()) + sum(map(len, texts)) + sum(map(len, waves))
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": round(seconds, 4), "samples_per_s": round(samples / seconds, 1),
                      "mb_per_s": round(size / 1e6 / seconds, 1), "samples": samples, "check": check}))


def last_line(command: list) -> dict:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--program", default="target/release/examples/shards_read")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs" / "shards-read.json")
    parser.add_argument("--theirs", nargs=2, metavar=("FOLDER", "WORKERS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.theirs:
        theirs(Path(args.theirs[0]), int(args.theirs[1]))
        return

    import torch
    import webdataset

    run = {
        "name": "shards-read", "date": datetime.date.today().isoformat(), "machine": machine(),
        "versions": {"webdataset": webdataset.__version__, "numpy": np.__version__, "torch": torch.__version__,
                     "python": sys.version.split()[0]},
        "ours": "target/release/examples/shards_read FOLDER THREADS 32", "theirs": "python3 benches/shards.py --theirs FOLDER WORKERS",
        "rounds": args.rounds, "load_before": os.getloadavg()[0], "sets": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name, spec in SETS.items():
            folder = Path(scratch) / name
            folder.mkdir()
            make(folder, spec)
            sides = {f"ours, {n} threads": [args.program, str(folder), str(n), str(BATCH)] for n in (1, 2)}
            sides |= {f"webdataset, {n} workers" if n else "webdataset, in process":
                      [sys.executable, __file__, "--theirs", str(folder), str(n)] for n in (0, 1, 2)}
            raw = {side: [] for side in sides}
            for number in range(args.rounds + 1):
                for side, command in sides.items():
                    found = last_line(command)
                    if number:
                        raw[side].append(found)
                print(f"{name} round {number}: " + "; ".join(f"{s} {r[-1]['samples_per_s']}/s" for s, r in raw.items() if r), file=sys.stderr)
            # Two workers stack shards apart, so that only what does not depend on the grouping is compared.
            counts = {row["samples"] for rows in raw.values() for row in rows}
            checks = {row["check"] for side, rows in raw.items() for row in rows}
            if counts != {spec["samples"]} or len(checks) != 1:
                sys.exit(f"{name}: the sides read different things: {counts} samples, checks {checks}")
            median = {side: {k: statistics.median(r[k] for r in rows) for k in ("seconds", "samples_per_s", "mb_per_s")} for side, rows in raw.items()}
            speed = {side: m["samples_per_s"] for side, m in median.items()}
            run["sets"][name] = {
                **spec, "median": median,
                "speed_ratio_ours_to_theirs": {
                    "1 thread / in process": round(speed["ours, 1 threads"] / speed["webdataset, in process"], 2),
                    "1 thread / 1 worker": round(speed["ours, 1 threads"] / speed["webdataset, 1 workers"], 2),
                    "2 threads / 2 workers": round(speed["ours, 2 threads"] / speed["webdataset, 2 workers"], 2),
                },
                "raw": raw,
            }
    args.out.write_text(json.dumps(run, indent=1) + "\n")
    for name, found in run["sets"].items():
        print(name, json.dumps(found["median"]), json.dumps(found["speed_ratio_ours_to_theirs"]))


if __name__ == "__main__":
    main()
