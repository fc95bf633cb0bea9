#!/usr/bin/env python3
"""Evaluate a segmentation recipe with several seeds beside its random forests and keep OA, mIoU and the IoU of each class in benches/runs/.

Every method is trained and tested on the same folds. Finished folds are kept in WORK, so that the same command continues a run that was cut.

    GEOGLOT_DATA=path/to/data benches/segmentation.py recipes/terramind-segmentation.toml --work out/segmentation
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path

from compare import machine

# Two-sided 95 % of Student's t for n − 1 degrees of freedom.
T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


def over_seeds(values):
    """Mean, its 95 % interval by Student's t, and the values."""
    values = [v for v in values if v is not None]
    if not values:
        return None
    mean = statistics.fmean(values)
    half = T[len(values)] * statistics.stdev(values) / len(values) ** 0.5 if len(values) in T else None
    return {"mean": mean, "interval": half and [mean - half, mean + half], "seeds": values}


def value(figure):
    return figure and figure["value"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--geoglot", default="target/release/geoglot")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="override a value of the recipe")
    parser.add_argument("--work", type=Path, required=True, help="folder of the evaluations")
    parser.add_argument("--name", help="name of the result [the recipe's]")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    args = parser.parse_args()
    reports, seconds = [], []
    for seed in range(args.seeds):
        folder = args.work / f"seed-{seed}"
        if not (folder / "report.json").is_file():
            command = [args.geoglot, "evaluate", str(args.recipe), "--out", str(folder), "--resume", "--set", f"train.seed={seed}"]
            for change in args.set:
                command += ["--set", change]
            subprocess.run(command, check=True)
        reports.append(json.loads((folder / "report.json").read_text()))
        run = json.loads((folder / "run.json").read_text())
        seconds.append(run["seconds"])
    methods = []
    for k, method in enumerate(reports[0]["methods"]):
        scores = [r["methods"][k]["scores"] for r in reports]
        classes = {}
        for c, entry in enumerate(reports[0]["legend"]["class"]):
            support = scores[0]["classes"][c]["support"]
            classes[entry["name"]] = {"support": support, "iou": over_seeds([value(s["classes"][c].get("iou")) for s in scores])}
        methods.append({
            "name": method["name"],
            "oa": over_seeds([value(s["oa"]) for s in scores]),
            "mean_iou": over_seeds([value(s["mean_iou"]) for s in scores]),
            "spatial_interval_of_first_seed": {name: [scores[0][name]["low"], scores[0][name]["high"]] for name in ["oa", "mean_iou"]},
            "classes": classes,
        })
        print(f"{method['name']}: OA {methods[-1]['oa']['mean']:.4f}, mIoU {methods[-1]['mean_iou']['mean']:.4f}")
    kept = {
        "recipe": str(args.recipe),
        "set": args.set,
        "machine": machine(),
        "geoglot": run["version"],
        "summary": reports[0]["summary"],
        "split": reports[0]["split"],
        "seconds": seconds,
        "methods": methods,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    name = args.name or f"segmentation-{args.recipe.stem.removesuffix('-segmentation')}"
    (args.out / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
