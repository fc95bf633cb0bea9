#!/usr/bin/env python3
"""Tokens a second of greedy decoding: geoglot's example `llm_speed` and transformers in turn, on one language model.

    cargo build --release -p geoglot-models --example llm_speed
    python benches/llm_speed.py MODEL.gguf --threads 2 --rounds 3 --out benches/runs/llm-speed.json

The GGUF file's weights are made f32 once, for transformers and for geoglot's f32 runs; Q8_0 and Q4_0 are geoglot's blocks of the same
weights. Both programs continue one prompt by the same number of tokens; what is reported is the median of the rounds and the ratio to
transformers. Needs torch, transformers, gguf.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def transformers_speed(model, prompt, new):
    import torch

    with torch.no_grad():
        out = model(torch.tensor([prompt]), use_cache=True)
        token = out.logits[0, -1].argmax()
        start = time.perf_counter()
        for _ in range(new):
            out = model(token.view(1, 1), past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[0, -1].argmax()
        return new / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/examples/llm_speed")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"

    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.model.parent, gguf_file=args.model.name, dtype=torch.float32).eval()
    prompt = [1, 4093, 198] + list(range(1000, 1029))
    speeds = {"transformers f32": []}
    for _ in range(args.rounds):
        speeds["transformers f32"].append(transformers_speed(model, prompt, args.new))
        for form in ["f32", "stored", "q8_0", "q4_0"]:
            command = [args.binary, args.model, form, str(args.new), ",".join(map(str, prompt))]
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            speeds.setdefault(f"geoglot {form}", []).append(result["tokens_per_second"])
    reference = statistics.median(speeds["transformers f32"])
    result = {
        "model": args.model.name,
        "processor": platform.processor() or platform.machine(),
        "threads": args.threads,
        "new_tokens": args.new,
        "tokens_per_second": {k: [round(v, 2) for v in s] for k, s in speeds.items()},
        "ratio_to_transformers": {k: round(statistics.median(s) / reference, 3) for k, s in speeds.items()},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
