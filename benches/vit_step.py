#!/usr/bin/env python3
"""A training step of the any-band vision transformer against PyTorch f32: seconds, and losses from the same first weights.

    cargo build --release --bin geoglot && cargo build --release -p geoglot-train --example pretrain_steps
    GEOGLOT_DATA=… benches/vit_step.py --data $GEOGLOT_DATA/rsicd-aid

The images are copied as PNG first, because decoders of JPEG differ in single bytes: with the same pixels, losses can be compared to
the last digit. For each size of the tower, `geoglot train --export` writes first weights, text features and the plan of all steps.
Both sides then train on it: first `--losses` steps whose losses are compared and whose time does not count, then rounds of `--steps`
steps in turns, so that a machine whose speed drifts hits both. A side prints the median, the least and the median CPU seconds of its steps behind the first two; the
medians over the rounds, the least of all and their ratios are written to `runs/vit-step.json` with the machine and its load.
`--append` keeps the sizes that the file already has and adds rounds to those asked for again.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from compare import last_json, machine

ROOT = Path(__file__).parent.parent
# Width 192, depth 4, 96 pixels, batches of 100, as in the recipe; and ViT-B/16.
SIZES = {
    "recipe": {},
    "base": {
        "model.size": 224, "model.width": 768, "model.depth": 12, "model.heads": 12, "train.batch": 8, "train.learning_rate": 0.0001,
        "model.wavelength": '{ embedding = 128, weight_tokens = 128, heads = 4, hidden = 2048, layout = "band-row-column-width", padding = 0 }',
    },
}


def copy_images(data: Path, folder: Path) -> Path:
    """`data` with PNG images, made once."""
    place = folder / "rsicd-aid"
    if not (place / "captions.json").exists():
        (place / "images").mkdir(parents=True, exist_ok=True)
        captions = json.loads((data / "captions.json").read_text())
        for entry in captions:
            name = Path(entry["file"]).with_suffix(".png").name
            Image.open(data / "images" / entry["file"]).convert("RGB").save(place / "images" / name, compress_level=1)
            entry["file"] = name
        (place / "captions.json").write_text(json.dumps(captions))
    return place


def export(args, size: str, folder: Path) -> Path:
    """The plan of a size for the images in `folder`, made once."""
    place = folder / size
    if not (place / "plan.json").exists():
        settings = [word for key, value in SIZES[size].items() for word in ("--set", f"{key}={value}")]
        command = [args.geoglot, "pretrain", str(ROOT / "recipes/rsicd-anyband.toml"), "--export", str(place), *settings]
        subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | {"GEOGLOT_DATA": str(folder)})
    return place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder of rsicd-aid")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--losses", type=int, default=50, help="steps whose losses are compared; 0 to leave them as they are")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="steps of a round")
    parser.add_argument("--geoglot", default=str(ROOT / "target/release/geoglot"))
    parser.add_argument("--ours", default=str(ROOT / "target/release/examples/pretrain_steps"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--exports", type=Path, help="folder where images and plans are kept between runs")
    parser.add_argument("--append", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "benches/runs/vit-step.json")
    args = parser.parse_args()

    run = {"name": "vit-step", "sizes": {}}
    if args.append and args.out.exists():
        run = json.loads(args.out.read_text())
    run |= {"date": datetime.date.today().isoformat(), "machine": machine(), "threads": 2}
    torch = subprocess.run([args.python, "-c", "import torch; print(torch.__version__)"], check=True, stdout=subprocess.PIPE, text=True)
    run["torch"] = torch.stdout.strip()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.exports or Path(temporary)
        images = copy_images(args.data, folder)
        for size in args.sizes:
            place = export(args, size, folder)
            sides = {
                "ours": lambda n: last_json(f"{args.ours} {place} {images} {n}"),
                "theirs": lambda n: last_json(f"{args.python} {ROOT}/benches/pytorch/anyband_vit.py {place} --threads 2 --steps {n}"),
            }
            entry = run["sizes"].setdefault(size, {"raw": {"ours": [], "theirs": []}, "load": []})
            plan = json.loads((place / "plan.json").read_text())
            vit = plan["tower"]["vit"]
            entry["tower"] = {k: vit[k] for k in ("width", "depth", "heads", "hidden", "patch", "grid")} | {
                "batch": plan["options"]["batch"], "learning_rate": plan["options"]["learning_rate"],
            }
            if args.losses:
                entry["losses"] = {side: go(args.losses)["losses"] for side, go in sides.items()}
            for number in range(args.rounds):
                # Who else computes: the load of the last minute before the round.
                entry["load"].append(round(os.getloadavg()[0], 2))
                both = {side: go(args.steps) for side, go in sides.items()}
                for side, values in both.items():
                    values.pop("losses")
                    entry["raw"][side].append(values)
                print(f"{size}, round {number + 1}: {both}", file=sys.stderr)
            summarise(entry)
            args.out.write_text(json.dumps(run, indent=2) + "\n")
    print(json.dumps({s: {k: v for k, v in e.items() if k not in ("raw", "losses")} for s, e in run["sizes"].items()}, indent=2))


def summarise(entry: dict) -> None:
    """Figures of a size from its rounds."""
    if "losses" in entry:
        both = list(zip(entry["losses"]["ours"], entry["losses"]["theirs"]))
        entry["steps_compared"] = len(both)
        entry["largest_difference_of_losses"] = max(abs(a - b) for a, b in both)
    raw = entry["raw"]
    if not raw["ours"]:
        return
    of = lambda how, key: {side: how(row[key] for row in raw[side]) for side in raw}
    ratio = lambda pair: round(pair["ours"] / pair["theirs"], 4)
    entry["seconds_a_step"] = {
        "median": of(statistics.median, "seconds"), "least": of(min, "least_seconds"), "cpu": of(statistics.median, "cpu_seconds"),
    }
    pairs = [a["seconds"] / b["seconds"] for a, b in zip(raw["ours"], raw["theirs"])]
    entry["ratio_ours_to_theirs"] = {k: ratio(v) for k, v in entry["seconds_a_step"].items()} | {
        "rounds": [round(p, 4) for p in pairs],
    }


if __name__ == "__main__":
    main()
