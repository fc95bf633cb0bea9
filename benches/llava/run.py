#!/usr/bin/env python3
"""Spectral-LLaVA from nothing: encoders, alignment, tuning, and what each part is worth, with several seeds.

    geoglot models pull smollm2-135m-q4 --via pip
    GEOGLOT_DATA=… benches/llava/run.py --geoglot target/release/geoglot --seeds 1 2 3

Generated Sentinel-2 scenes under clear sky, clouds, snow and haze are cut into tiles of 32 pixels; other scenes train than test, and settings were chosen on a third part. Each seed trains a
SpectralGPT of 12 bands and one of red, green and blue on masked tokens (with the tiles of BigEarthNet and TerraMind in GEOGLOT_DATA), aligns projectors on
descriptions and on class labels, each with what lies over the ground, and tunes SmolLM2-135M by adapters on descriptions and questions about snow, clouds and haze.
Measured on the test scenes: linear probes before and after alignment, captions beside those of other scenes, answers of 12 bands beside those of colours.
Finished steps are kept in `--work` and not repeated. Writes benches/runs/llava.json. Needs numpy and rasterio.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from compare import machine  # noqa: E402
from make import make  # noqa: E402
from summary import summary  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = ["scene", "colours", "label", "random"]
# Of each step, as the program measured it; of a resumed training only what came last.
SECONDS = {}
COLOURS = 'bands = ["B02", "B03", "B04"]'


def masked(args, name, seed, bands):
    data = os.environ.get("GEOGLOT_DATA", "")
    paths = [args.work / "train-all.json"] + ([args.work / "terramind.json"] if data else [])
    sets = [f'[[data.set]]\npath = "{p}"\nsensor = "sentinel-2-l2a"' for p in paths]
    sets += [f'[[data.set]]\npath = "{data}/bigearthnet"'] if data else []
    return (
        f'name = "{name}"\nkind = "masked"\n[data]\n' + "\n".join(sets) + f"\n[model]\nsize = 32\nwidth = 128\ndepth = 4\nheads = 4\nown_statistics = true\n{bands}\n"
        "decoder = { width = 96, depth = 2, heads = 4 }\n"
        f"[train]\nepochs = {args.epochs}\nbatch = 32\nlearning_rate = 1e-3\nwarmup = 60\ncrop = [0.3, 1.0]\nseed = {seed}\n"
    )


def llava(args, name, seed, tower, stage, start=None):
    start = f'start = "{start}"\n' if start else 'begin = "random"\n' if name == "random" else ""
    return (
        f'name = "{name}"\nkind = "spectral-llava"\nseed = {seed}\n[data]\nconversations = "{stage["file"]}"\n'
        f'[model]\ntower = "{tower}"\nllm = "{args.llm}"\ntemplate = "chatml"\ntokens = "spectral-concat"\ncontext = 512\n{start}'
        f"[model.lora]\nrank = 16\nalpha = 32.0\ndropout = 0.0\n"
        'targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]\n'
        f'[{stage["name"]}]\nepochs = {stage["epochs"]}\nbatch = 4\neffective_batch = 4\nlearning_rate = {stage["rate"]}\n'
    )


def train(args, name, recipe):
    """Trains a recipe once; an interrupted training goes on."""
    out, file = args.work / "models" / name, args.work / "recipes" / f"{name}.toml"
    if not (out / "run.json").is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(recipe)
        subprocess.run([args.geoglot, "train", file, "--out", out, "--resume"], check=True)
    return timed(out)


def timed(out):
    SECONDS[out.name] = round(sum(json.loads((out / "run.json").read_text())["seconds"].values()))
    return out


def evaluate(args, what, name, *options):
    out = args.work / "scores" / name
    if not (out / "run.json").is_file():
        subprocess.run([args.geoglot, "evaluate", what, "--out", out, *map(str, options)], check=True, stdout=subprocess.DEVNULL)
    return timed(out)


def seed_run(args, seed, variant):
    """One variant of one seed; the folders of its scores."""
    work, found = args.work, {}
    bands = COLOURS if variant == "colours" else ""
    name = "tower-colours" if variant == "colours" else "tower"
    tower = train(args, f"{name}-{seed}", masked(args, name, seed, bands))
    align = dict(name="align", file=work / f"{'label' if variant == 'label' else 'scene'}-{seed}.json", epochs=1, rate=1e-3)
    tune = dict(name="tune", file=work / f"tune-{seed}.json", epochs=1, rate=args.rate)
    aligned = train(args, f"{variant}-{seed}", llava(args, variant, seed, tower, align))
    if variant in ("scene", "label"):
        probes = ["--model", aligned, "--data", work / "probe.json", "--sensor", "sentinel-2-l2a", "--language", "--strengths", 1, "--seed", seed]
        found[f"alignment, {variant}"] = evaluate(args, "alignment", f"alignment-{variant}-{seed}", *probes)
    # Class labels are compared by their features (table I), a random start by what is said.
    if args.probes_only or variant == "label":
        return found
    tuned = train(args, f"tuned-{variant}-{seed}", llava(args, f"tuned-{variant}", seed, tower, tune, start=aligned))
    asked = ["--model", tuned, "--data", work / "test-asked.json", "--max-tokens", 48]
    found[f"captions, {variant}"] = evaluate(args, "captions", f"captions-{variant}-{seed}", *asked)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geoglot", default="target/release/geoglot")
    parser.add_argument("--llm", default="smollm2-135m-q4")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=10, help="passes of masked pre-training")
    parser.add_argument("--align", type=int, default=450, help="descriptions or lists of classes of stage 1")
    parser.add_argument("--skies", type=int, default=300, help="conversations of stage 1 about what lies over the ground")
    parser.add_argument("--descriptions", type=int, default=400, help="descriptions of stage 2")
    parser.add_argument("--questions", type=int, default=1000, help="conversations of three questions of stage 2")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate of stage 2")
    parser.add_argument("--described", type=int, default=48, help="test scenes that are described")
    parser.add_argument("--asked", type=int, default=240, help="test scenes that are asked the three questions")
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--probes-only", action="store_true", help="stop before stage 2: figures 3 and 4 alone")
    parser.add_argument("--work", type=Path, default=ROOT / "out/llava-bench")
    parser.add_argument("--out", type=Path, default=ROOT / "benches/runs/llava.json")
    args = parser.parse_args()
    args.geoglot, args.work = str(Path(args.geoglot).resolve()), args.work.resolve()
    make(args)
    folders = {seed: {} for seed in args.seeds}
    for variant in [v for v in args.variants if not args.probes_only or v in ("scene", "label")]:
        for seed in args.seeds:
            folders[seed] |= seed_run(args, seed, variant)
            report(args, folders)


def report(args, folders):
    """Writes what is there of all variants and seeds."""
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "settings": {k: v for k, v in vars(args).items() if k not in ("geoglot", "work", "out")},
        "seconds of each step": SECONDS,
        **summary(args, folders),
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
