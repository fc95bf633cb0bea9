#!/usr/bin/env python3
"""Evaluate recipes with the program and keep the table of methods, with a description of the machine, in benches/runs/.

Every method (the model, random forests, coordinates only) is trained and tested on the same folds in one run.

    GEOGLOT_DATA=path/to/data benches/scenes.py --geoglot target/release/geoglot recipes/dfc2018.toml recipes/terramind.toml
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from compare import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--geoglot", default="target/release/geoglot")
    parser.add_argument("--set", action="append", default=[], help="override a value of every recipe")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    args = parser.parse_args()
    for recipe in args.recipes:
        with tempfile.TemporaryDirectory() as folder:
            command = [args.geoglot, "evaluate", str(recipe), "--out", folder]
            for change in args.set:
                command += ["--set", change]
            subprocess.run(command, check=True)
            report = json.loads((Path(folder) / "report.json").read_text())
            run = json.loads((Path(folder) / "run.json").read_text())
        kept = {
            "recipe": str(recipe),
            "set": args.set,
            "machine": machine(),
            "geoglot": run["version"],
            "seconds": run["seconds"],
            "split": report["split"],
            "methods": [{"name": m["name"], "scores": m["scores"]} for m in report["methods"]],
        }
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / f"mmlgnet-{recipe.stem}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
