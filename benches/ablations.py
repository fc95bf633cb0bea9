#!/usr/bin/env python3
"""The paper's ablations on generated scenes, each repeated with other scenes and another training seed.

For seed k a scene of seed 100+k is trained on and one of seed 200+k tested on. Written to benches/runs/mmlgnet-ablations.json.

    benches/ablations.py --geoglot target/release/geoglot --seeds 1 2 3
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from compare import machine

RECIPE = Path(__file__).parents[1] / "recipes" / "synthetic.toml"


def ablate(geoglot: str, seed: int, folder: Path) -> dict:
    """The report of one seed."""
    for name, scene_seed in [("train", 100 + seed), ("test", 200 + seed)]:
        subprocess.run([geoglot, "synth", "--seed", str(scene_seed), "--size", "300", "--out", folder / name], check=True)
    command = [geoglot, "ablate", RECIPE, "--seed", str(seed), "--out", folder / "out"]
    subprocess.run(command, check=True, env={**os.environ, "SYNTHETIC": str(folder)})
    return json.loads((folder / "out" / "ablation.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geoglot", default="target/release/geoglot")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs" / "mmlgnet-ablations.json")
    args = parser.parse_args()
    tables: dict = {}
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            report = ablate(str(Path(args.geoglot).resolve()), seed, Path(folder))
        for table in report["tables"]:
            rows = tables.setdefault(table["title"], {})
            for row in table["rows"]:
                rows.setdefault(row["variant"], []).extend(row["runs"])
    for rows in tables.values():
        for name, runs in rows.items():
            mean = {k: round(statistics.mean(r[k] for r in runs), 4) for k in ("oa", "aa", "kappa")}
            rows[name] = {**mean, "runs": runs}
            print(f"{name:24} OA {mean['oa']:.4f} AA {mean['aa']:.4f} kappa {mean['kappa']:.4f}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"recipe": "recipes/synthetic.toml", "seeds": args.seeds, "machine": machine(), "tables": tables}
    args.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
