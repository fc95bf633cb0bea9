#!/usr/bin/env python3
"""TSMNet on generated scenes under clouds, and on real tiles: modality, text, fusion, held-out classes, each with several seeds.

    benches/tsmnet.py synthetic --geoglot target/release/geoglot --seeds 1 2 3
    GEOGLOT_DATA=… benches/tsmnet.py terramind --seeds 1 2 3

Every variant is one command, `geoglot evaluate RECIPE --set …`; the figures of all are written to benches/runs/tsmnet-synthetic.json and
tsmnet-terramind.json with the machine. `--epochs` shortens the trainings. Runs that are finished are kept in `--work` and not repeated.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
from pathlib import Path

from compare import machine

ROOT = Path(__file__).parents[1]
HELD = 'data.hold_out=["woodland", "bare soil"]'
# What is changed against the recipe.
SYNTHETIC = {
    "optical + SAR, all text": [],
    "optical": ["model.modality=optical"],
    "SAR": ["model.modality=sar"],
    "fusion off (mean)": ["model.fusion=mean"],
    "text: classes": ["model.text=classes"],
    "text: description": ["model.text=description"],
    "text: none": ["model.text=none"],
    "two classes held out": [HELD],
    "two classes held out, as published": [HELD, "model.variant=published"],
    "as published": ["model.variant=published"],
}
TERRAMIND = {
    "blocks": [],
    "blocks, optical": ["model.modality=optical"],
    "blocks, SAR": ["model.modality=sar"],
    "one tile out": ["split.kind=scenes"],
}


def evaluate(args, recipe: Path, changes: list, seed: int, out: Path, env: dict) -> dict:
    """Results of one variant and seed."""
    result = out / "run.json"
    if not result.is_file():
        command = [args.geoglot, "evaluate", recipe, "--out", out, "--seed", str(seed), "--resume"]
        for change in changes + ([f"train.epochs={args.epochs}"] if args.epochs else []):
            command += ["--set", change]
        subprocess.run(command, check=True, env=env)
    run = json.loads(result.read_text())
    return run["results"]


def value(v):
    return v["value"] if isinstance(v, dict) else v


def collect(args, recipe: Path, variants: dict, env_of) -> dict:
    table = {}
    for name, changes in variants.items():
        if args.only and not any(word in name for word in args.only):
            continue
        figures: dict = {}
        for seed in args.seeds:
            out = Path(args.work) / args.what / name.replace(" ", "-").replace(":", "").replace(",", "") / f"seed-{seed}"
            for key, v in evaluate(args, recipe, changes, seed, out, env_of(seed)).items():
                figures.setdefault(key, []).append(value(v))
        table[name] = {
            key: {"values": v, "mean": statistics.mean(v), "deviation": statistics.stdev(v) if len(v) > 1 else None}
            for key, v in figures.items()
        }
    return table


def synthetic(args) -> dict:
    def scenes(seed: int) -> dict:
        folder = Path(args.work) / "scenes" / f"clouds-{args.clouds}"
        if not (folder / "scene-108" / "labels.tif").is_file():
            command = [args.geoglot, "synth", "--seed", "101", "--count", "8", "--size", "256", "--gsd", "10"]
            subprocess.run(command + ["--sensor", "sentinel-2-l2a", "--clouds", str(args.clouds), "--out", folder], check=True)
        return {**os.environ, "SYNTHETIC_CLOUDS": str(folder.resolve())}

    return collect(args, ROOT / "recipes" / "synthetic-tsmnet.toml", SYNTHETIC, scenes)


def terramind(args) -> dict:
    return collect(args, ROOT / "recipes" / "terramind-tsmnet.toml", TERRAMIND, lambda _: dict(os.environ))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["synthetic", "terramind"])
    parser.add_argument("--geoglot", default="target/release/geoglot")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--clouds", type=float, default=0.4)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--only", nargs="+", help="words of the variants to run")
    parser.add_argument("--work", default="out/tsmnet-bench")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.geoglot = str(Path(args.geoglot).resolve())
    table = synthetic(args) if args.what == "synthetic" else terramind(args)
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "seeds": args.seeds,
        "clouds": args.clouds if args.what == "synthetic" else None,
        "epochs": args.epochs,
        "results": table,
    }
    out = args.out or Path(__file__).parent / "runs" / f"tsmnet-{args.what}.json"
    out.write_text(json.dumps(record, indent=2) + "\n")
    for name, figures in table.items():
        for key, f in figures.items():
            if key.startswith("mIoU") and "geoglot" in key:
                print(f"{name:<36} {key:<60} {100 * f['mean']:6.2f}")


if __name__ == "__main__":
    main()
