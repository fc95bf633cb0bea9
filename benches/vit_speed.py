#!/usr/bin/env python3
"""Image towers on the CPU: geoglot, PyTorch f32, PyTorch bf16 autocast and ONNX Runtime, in turns.

    cargo build --release -p geoglot-models --example vit_speed
    benches/vit_speed.py

Random weights of the published shapes, two threads. Needs torch, timm, onnx, onnxscript and onnxruntime in `python3`.
"""

import argparse
import datetime
import json
import statistics
import sys
from pathlib import Path

from compare import last_json, machine

MODELS = [
    ("CLIP ViT-B/16, 224 px", "open-clip-vit-b-16", "vit_base_patch16_clip_224"),
    ("SigLIP SO400M/14, 384 px", "siglip-so400m-14-384", "vit_so400m_patch14_siglip_384"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--models", type=int, nargs="+", default=[0, 1], help="which of the list in this file")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs" / "vit-speed.json")
    args = parser.parse_args()
    rows = []
    for title, preset, timm_name in (MODELS[k] for k in args.models):
        for batch in args.batches:
            # The large tower needs minutes a batch: one pass a round.
            runs = 3 if preset.startswith("open-clip") else 1
            peer = f"python3 benches/pytorch/vit_speed.py {timm_name} {batch} {args.threads} {runs}"
            commands = {
                "geoglot": f"target/release/examples/vit_speed {preset} {batch} {args.threads} {runs}",
                **{kind: f"{peer} {kind}" for kind in ("f32", "bf16", "onnx")},
            }
            raw = {kind: [] for kind in commands}
            for _ in range(args.rounds if runs > 1 else 1):
                for kind, command in commands.items():
                    raw[kind].append(last_json(command))
                    print(raw[kind][-1], file=sys.stderr)
            seconds = {kind: statistics.median(r["seconds_median"] for r in results) for kind, results in raw.items()}
            rows.append({
                "model": title,
                "batch": batch,
                "tiles_per_second": {kind: round(batch / s, 2) for kind, s in seconds.items()},
                "geoglot_time_as_ratio_to": {kind: round(seconds["geoglot"] / s, 3) for kind, s in seconds.items() if kind != "geoglot"},
                "versions": {kind: results[0]["version"] for kind, results in raw.items() if "version" in results[0]},
                "commands": commands,
                "raw": raw,
            })
    run = {"name": "vit-speed", "date": datetime.date.today().isoformat(), "machine": machine(), "threads": args.threads, "rows": rows}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(run, indent=2) + "\n")
    for row in rows:
        print(row["model"], row["batch"], row["tiles_per_second"], row["geoglot_time_as_ratio_to"])


if __name__ == "__main__":
    main()
