#!/usr/bin/env python3
"""Run two commands in turn and record the ratio of what they measured.

Each command prints, as its last line, one JSON object whose numeric values are measurements (milliseconds, seconds, MiB).
The commands alternate (ours, theirs, ours, theirs, ...) so that a machine whose speed drifts hits both sides; the medians and
the ratio of the medians of every key that both sides print are written with a description of the machine.

    benches/compare.py --name mmlgnet-step --rounds 5 \
        --ours 'target/release/examples/train_step' --theirs 'python3 benches/pytorch/mmlgnet_step.py'
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from pathlib import Path


def machine() -> dict:
    """Processor, cores, memory and kernel: what a reader needs to place the numbers."""
    cpu = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        cpu.setdefault(key.strip(), value.strip())
    flags = set(cpu.get("flags", "").split())
    memory = next(l.split()[1] for l in Path("/proc/meminfo").read_text().splitlines() if l.startswith("MemTotal"))
    return {
        "processor": f"{cpu.get('model name', platform.processor())} family {cpu.get('cpu family')} model {cpu.get('model')}",
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / 2**20, 1),
        "features": sorted(flags & {"avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16"}),
        "system": f"{platform.system()} {platform.release()}",
    }


def last_json(command: str) -> dict:
    """The JSON object on the last line that the command prints."""
    done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"`{command}` ended with {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="name of the benchmark; the run is written to benches/runs/NAME.json")
    parser.add_argument("--ours", required=True)
    parser.add_argument("--theirs", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs")
    args = parser.parse_args()

    ours, theirs = [], []
    for number in range(args.rounds):
        ours.append(last_json(args.ours))
        theirs.append(last_json(args.theirs))
        print(f"round {number + 1}: ours {ours[-1]}\n         theirs {theirs[-1]}", file=sys.stderr)

    def median(rows: list, key: str) -> float:
        return statistics.median(row[key] for row in rows)

    numeric = [k for k, v in ours[0].items() if isinstance(v, (int, float)) and not isinstance(v, bool) and k in theirs[0]]
    run = {
        "name": args.name,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "ours": args.ours,
        "theirs": args.theirs,
        "rounds": args.rounds,
        "median": {k: {"ours": median(ours, k), "theirs": median(theirs, k)} for k in numeric},
        "ratio_ours_to_theirs": {k: round(median(ours, k) / median(theirs, k), 4) for k in numeric if median(theirs, k)},
        "raw": {"ours": ours, "theirs": theirs},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{args.name}.json"
    path.write_text(json.dumps(run, indent=2) + "\n")
    print(json.dumps(run["ratio_ours_to_theirs"]))


if __name__ == "__main__":
    main()
