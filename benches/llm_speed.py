#!/usr/bin/env python3
"""SmolLM2's decoding and training beside llama.cpp, transformers and peft: tokens a second, time of a step, CPU time, peak memory.

    cargo build --release -p geoglot-models --example llm_speed && cargo build --release -p geoglot-train --example llava_step
    python benches/llm_speed.py MODEL.gguf --threads 1 --rounds 3 --new 48 --steps 2 --out benches/runs/llm-speed.json

The GGUF file's weights are written once as f32, Q8_0 and Q4_0 (all matrices of them), and every program decodes the same files: geoglot's example
`llm_speed`, llama.cpp through llama-cpp-python, and transformers (f32). A training step is that of stage 2: frozen f32 weights, adapters of rank 16
on all projections, a projector; peft and PyTorch beside geoglot, with gradient checkpointing and without. The programs take turns, each in a
process of its own; reported are medians of the rounds and their ratios. Needs torch, transformers, peft, gguf and llama-cpp-python,
which pip builds for the processor at hand (0.3.36 in the committed run): the ready-made wheel cyllama leaves out AVX-512.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare import machine

ROOT = Path(__file__).resolve().parent.parent
PROMPT = [1, 4093, 198] + list(range(1000, 1061))
FORMS = ["f32", "q8_0", "q4_0"]
BATCH, IMAGE, TEXT, WIDTH, RANK = 4, 64, 96, 192, 16


def write_forms(model, folder):
    """The model's matrices as f32, Q8_0 and Q4_0; everything else as it is."""
    import gguf
    import numpy as np

    kinds = {"f32": gguf.GGMLQuantizationType.F32, "q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_0": gguf.GGMLQuantizationType.Q4_0}
    for form, kind in kinds.items():
        path = folder / f"{form}.gguf"
        if path.exists():
            continue
        reader = gguf.GGUFReader(model)
        writer = gguf.GGUFWriter(path.with_suffix(".part"), "llama")
        for field in reader.fields.values():
            if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
                continue
            value, of = field.contents(), field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, value, field.types[0], sub_type=of)
        for tensor in reader.tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(list(reversed(tensor.shape)))
            if values.ndim == 2 and form != "f32":
                writer.add_tensor(tensor.name, gguf.quantize(values, kind), raw_dtype=kind)
            else:
                writer.add_tensor(tensor.name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        path.with_suffix(".part").rename(path)


def decode_llama_cpp(path, new, threads):
    import llama_cpp as cpp

    quiet = cpp.llama_log_callback(lambda *_: None)
    cpp.llama_log_set(quiet, None)
    cpp.llama_backend_init()
    model = cpp.llama_model_load_from_file(str(path).encode(), cpp.llama_model_default_params())
    settings = cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_threads, settings.n_threads_batch = 1024, 512, threads, threads
    context = cpp.llama_init_from_model(model, settings)
    greedy = cpp.llama_sampler_init_greedy()

    def next_after(tokens):
        ids = (cpp.llama_token * len(tokens))(*tokens)
        assert cpp.llama_decode(context, cpp.llama_batch_get_one(ids, len(ids))) == 0
        return cpp.llama_sampler_sample(greedy, context, -1)

    start = time.perf_counter()
    token = next_after(PROMPT)
    read, start = time.perf_counter() - start, time.perf_counter()
    for _ in range(new):
        token = next_after([token])
    return new / (time.perf_counter() - start), len(PROMPT) / read


def decode_transformers(path, new, threads):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    with torch.no_grad():
        start = time.perf_counter()
        out = model(torch.tensor([PROMPT]), use_cache=True)
        token, read = out.logits[0, -1].argmax(), time.perf_counter() - start
        start = time.perf_counter()
        for _ in range(new):
            out = model(token.view(1, 1), past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[0, -1].argmax()
        return new / (time.perf_counter() - start), len(PROMPT) / read


def step_torch(path, steps, threads, again):
    """Seconds of each step after the first."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=16, lora_dropout=0.0, target_modules=targets))
    if again:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    width = model.config.hidden_size
    projector = torch.nn.Linear(WIDTH, width)
    learn = [p for p in model.parameters() if p.requires_grad] + list(projector.parameters())
    optimizer = torch.optim.Adam(learn, lr=2e-4)
    states = torch.sin(torch.arange(BATCH * IMAGE * WIDTH, dtype=torch.float32)).reshape(BATCH, IMAGE, WIDTH)
    ids = torch.tensor([[1000 + i * 37 + k * 11 for k in range(TEXT)] for i in range(BATCH)])
    words = model.get_input_embeddings()(ids).detach()
    half, seconds = TEXT // 2, []
    for _ in range(steps):
        start = time.perf_counter()
        inputs = torch.cat([words[:, :1], projector(states), words[:, 1:]], 1)
        hidden = model.model.model(inputs_embeds=inputs, use_cache=False).last_hidden_state
        # The loss is that of the answers' tokens; only their scores are computed.
        scores = model.model.lm_head(hidden[:, IMAGE + half - 1 : IMAGE + TEXT - 1])
        loss = torch.nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), ids[:, half:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learn, 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def child(args):
    """The model's forms, or one measurement of a Python side, as a JSON line."""
    if args.side == "forms":
        return write_forms(args.model, args.work)
    if args.side.startswith("step"):
        return {"step_seconds": step_torch(args.model, args.steps, args.threads, args.side == "step again")}
    side = {"llama.cpp": decode_llama_cpp, "transformers": decode_transformers}[args.side]
    new, read = side(args.model, args.new, args.threads)
    return {"tokens_per_second": new, "prompt_tokens_per_second": read}


def measured(command, env):
    """The last line a command prints, with its CPU seconds and peak memory."""
    # Not a pipe, which would be full before it is read.
    with tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=err, text=True, env=env)
        out = process.stdout.read()
        err.seek(0)
        err = err.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed:\n{err[-2000:]}")
    found = json.loads(out.strip().splitlines()[-1])
    return {**found, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--examples", type=Path, default=Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples")
    parser.add_argument("--work", type=Path, default=ROOT / "out/llm-speed")
    parser.add_argument("--without", nargs="*", default=[], help="sides to leave out, such as llama.cpp")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(child(args)))
        return
    args.work.mkdir(parents=True, exist_ok=True)
    # In a process of its own: its memory would count as that of the processes measured.
    subprocess.run([sys.executable, __file__, args.model, "--side", "forms", "--work", args.work], check=True, stdout=subprocess.DEVNULL)
    threads = {n: str(args.threads) for n in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]}
    env = {**os.environ, **threads, "HF_HUB_OFFLINE": "1"}
    ids = ",".join(map(str, PROMPT))
    python = lambda side, form: [sys.executable, __file__, args.work / f"{form}.gguf", "--side", side, "--threads", args.threads, "--new", args.new, "--steps", args.steps]
    ours = lambda form: [args.examples / "llm_speed", args.work / f"{form}.gguf", "stored", args.new, ids]
    step = [args.examples / "llava_step", args.work / "f32.gguf", args.steps, BATCH, IMAGE, TEXT, WIDTH, RANK]
    sides = {}
    for form in FORMS:
        sides[f"decode {form}, geoglot"] = ours(form)
        sides[f"decode {form}, llama.cpp"] = python("llama.cpp", form)
    sides["decode f32, transformers"] = python("transformers", "f32")
    sides |= {"step, geoglot": step, "step, peft": python("step", "f32")}
    sides |= {"step again, geoglot": [*step, "again"], "step again, peft": python("step again", "f32")}
    sides = {k: v for k, v in sides.items() if not any(w in k for w in args.without)}
    runs = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, command in sides.items():
            runs[name].append(measured(command, env))
    median = lambda name, of: statistics.median(of(r) for r in runs[name])
    figures = {}
    for name, all_runs in runs.items():
        speed = {"tokens_per_second": lambda r: r["tokens_per_second"], "prompt_tokens_per_second": lambda r: r["prompt_tokens_per_second"]}
        times = {"step_seconds": lambda r: statistics.median(r["step_seconds"])}
        keys = (times if name.startswith("step") else speed) | {"peak_mib": lambda r: r["peak_mib"], "cpu_seconds_of_the_process": lambda r: r["cpu_seconds"]}
        figures[name] = {k: round(median(name, of), 3) for k, of in keys.items()}
        figures[name]["rounds"] = [round(next(iter(keys.values()))(r), 3) for r in all_runs]
    ratios = {}
    for name, f in figures.items():
        what, side = name.split(", ")
        peers = [p for p in figures if p.startswith(what + ",") and side == "geoglot" and not p.endswith("geoglot")]
        for peer in peers:
            key = "step_seconds" if "step" in what else "tokens_per_second"
            ratios[f"{name} / {peer.split(', ')[1]}"] = {k: round(f[k] / figures[peer][k], 3) for k in [key, "peak_mib"]}
    record = {
        "date": datetime.date.today().isoformat(), "machine": machine(), "model": args.model.name, "threads": args.threads, "new_tokens": args.new,
        "prompt_tokens": len(PROMPT), "step": {"batch": BATCH, "image_tokens": IMAGE, "text_tokens": TEXT, "rank": RANK}, "figures": figures, "ratios": ratios,
    }
    print(json.dumps({"figures": figures, "ratios": ratios}, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
