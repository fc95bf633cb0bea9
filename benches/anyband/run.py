#!/usr/bin/env python3
"""Trains, merges and scores towers on the small any-band benchmark of `make.py`, over seeds, and writes one JSON and one table.

    python benches/anyband/run.py --data DATA --bench out/anyband --seeds 1 2 3 --json benches/runs/anyband.json

Every step's result is kept below BENCH/runs, so that a stopped run goes on. The towers of a seed:

- start: colour images only (RSICD photographs and generated pictures), 8 passes; the place of SigLIP in the paper
- rgb, others: from `start`, 3 more passes over the colour images, or 3 passes over everything else (Sentinel-2, radar, thermal, heights)
- mixed: from `start`, 3 passes over both, as many steps as `rgb` and `others` together
- merged: 0.1·start + 0.9·rgb, then 0.5·that + 0.5·others: the published ratios
- searched: the same with the second ratio chosen on the validation tiles
- bare, plain, maka: from `start`, 3 passes over Sentinel-2 and radar; without teachers, or with `rgb` and a tower of RSICD alone as teachers,
  distilled with an ordinary norm (plain) or with wavelength-dependent ones (maka). Scored by decode heads on the frozen tower as well
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from pathlib import Path

TOWER = """
[model]
size = 96
patch = 16
width = 192
depth = 4
heads = 3
wavelength = { embedding = 64, weight_tokens = 16, heads = 4, hidden = 256, layout = "band-row-column-width", padding = 0 }
values = "sensor-range"
license = "research use only, as the images"
%s
[text]
tower = "minilm"

[train]
epochs = %d
batch = 100
learning_rate = %s
warmup = 30
weight_decay = 0.05
crop = [0.4, 1.0]
turns = true
loss = "softmax"
targets = "same-label"
"""
COLOUR = [("rsicd", "{data}/rsicd-aid", "rgb"), ("rgb", "synthetic/rgb.json", "rgb")]
OTHERS = [
    ("sentinel-2", "synthetic/sentinel-2.json", "sentinel-2-land"),
    ("sar", "synthetic/sar.json", "sar-land"),
    ("thermal", "synthetic/thermal.json", "thermal-8bit"),
    ("heights", "synthetic/heights.json", "heights-land"),
    ("terramind-s2", "terramind/sentinel-2.json", "sentinel-2-land"),
    ("terramind-sar", "terramind/sar.json", "sar-land"),
    ("terramind-terrain", "terramind/terrain.json", "elevation"),
    ("hit-uav", "shards/hit-uav", None),
    ("bigearthnet-s2", "shards/bigearthnet-s2", None),
    ("bigearthnet-s1", "shards/bigearthnet-s1", None),
]
LANDSAT = [
    ("landsat", "synthetic/landsat.json", "landsat-8-land"),
    ("landsat, reflective", "synthetic/landsat-reflective.json", "landsat-8-land"),
    ("landsat, colour only", "synthetic/landsat-rgb.json", "rgb"),
]
SCORED = [s for s in COLOUR + OTHERS[:7] + LANDSAT]


class Bench:
    def __init__(self, args):
        self.args, self.folder = args, args.bench / "runs"
        self.sensors = Path(__file__).resolve().parent / "sensors.toml"
        self.cpu = {}

    def call(self, log, *words):
        """Runs geoglot; returns CPU seconds."""
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
        log.parent.mkdir(parents=True, exist_ok=True)
        env = dict(os.environ, GEOGLOT_DATA=str(self.args.data))
        with open(log, "w") as out:
            done = subprocess.run([str(self.args.geoglot), *map(str, words)], stdout=out, stderr=subprocess.STDOUT, env=env)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, words))}\n{log.read_text()[-2000:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{time.strftime('%H:%M:%S')} {log.stem}: CPU {cpu:.0f} s, wall {time.time() - begin:.0f} s", flush=True)
        return cpu

    def train(self, seed, name, sets, epochs, rate, start=None, teachers=()):
        home = self.folder / f"seed-{seed}"
        out, recipe = home / name, home / f"{name}.toml"
        if (out / "model.safetensors").exists() and (out / "cpu.json").exists():
            return out
        home.mkdir(parents=True, exist_ok=True)
        text = f'name = "{name}"\n\n[data]\nroot = "{self.args.bench}"\n'
        for label, path, sensor in sets:
            text += f'[[data.set]]\nname = "{label}"\npath = "{path.format(data=self.args.data)}"\n'
            text += f'sensor = "{sensor}"\n' if sensor else ""
        text += TOWER % (f'start = "{start}"\n' if start else "", epochs, rate)
        for teacher, conditional in teachers:
            text += f'\n[[distill]]\nteacher = "{teacher}"\nname = "{teacher.parent.name}-{teacher.name}"\nconditional = {str(conditional).lower()}\nhead = "maka"\n'
        recipe.write_text(text)
        resume = ["--resume"] if out.exists() else []
        cpu = self.call(home / f"{name}.log", "train", recipe, "--out", out, "--seed", seed, "--sensors", self.sensors, *resume)
        (out / "cpu.json").write_text(json.dumps(cpu))
        return out

    def merge(self, seed, name, models, ratios, *more):
        home = self.folder / f"seed-{seed}"
        out = home / name
        if not (out / "model.safetensors").exists():
            given = [w for r in ratios for w in ("--ratio", r)]
            self.call(home / f"{name}.log", "merge", *models, *given, "--out", out, *more)
        return out

    def score(self, model):
        """Task → score in percent."""
        scores = {}
        for label, path, sensor in SCORED:
            protocols = ("zero-shot", "retrieval") if label == "rsicd" else ("zero-shot",)
            for protocol in protocols:
                out = model.parent / "scores" / model.name / f"{label.replace(', ', '-').replace(' ', '-')}-{protocol}"
                report = out / "report.json"
                if not report.exists():
                    data = Path(path.format(data=self.args.data))
                    options = ["--sensor", sensor, "--sensors", self.sensors, "--split", "test", "--no-tsne", "--replicates", 100]
                    if protocol == "zero-shot":
                        options += ["--templates", "skyscript" if label == "rsicd" else "land-cover"]
                    self.call(out.with_suffix(".log"), "evaluate", protocol, "--model", model, "--data", self.args.bench / data, "--out", out, *options)
                scores |= read_scores(label, protocol, json.loads(report.read_text()))
        return scores


def read_scores(label, protocol, report):
    rows = report["sections"][0]["table"]["rows"]
    if protocol == "retrieval":
        return {f"{label}, retrieval mean R@1/5/10": 100 * rows[-1]["values"][3]["value"]}
    return {f"{label}, zero-shot": 100 * rows[0]["values"][0]["value"]}


def dense(bench, seed, name):
    """Mean IoU in percent of a decode head on the frozen tower `name`, by sensor: four fresh scenes train it, two others test it."""
    home, scores, scenes = bench.folder / f"seed-{seed}", {}, bench.args.bench / "dense"
    if not (scenes / "scene-105").exists():
        sensors = "sentinel-2-l2a,landsat-8-l2"
        bench.call(bench.folder / "dense.log", "synth", "--out", scenes, "--size", 192, "--gsd", 10, "--sensor", sensors, "--seed", 100, "--count", 6)
    for sensor, file in (
        ("sentinel-2", "sentinel-2-l2a.tif:sensor=sentinel-2-land"),
        ("sar", "sar.tif:sensor=sar-land"),
    ):
        out = home / "dense" / f"{name}-{sensor}"
        recipe = out.with_suffix(".toml")
        recipe.parent.mkdir(parents=True, exist_ok=True)
        text = f'kind = "segmentation"\nname = "{out.name}"\n\n[data]\nroot = "{scenes}"\nlegend = "{scenes}/scene-100/legend.toml"\nsensors = "{bench.sensors}"\n'
        for k in range(100, 106):
            text += f'[[data.scene]]\nname = "scene-{k}"\ninputs = {{ image = "scene-{k}/{file}" }}\nlabels = "scene-{k}/labels.tif"\n'
        text += '[split]\nkind = "scenes"\ntest_scenes = ["scene-104", "scene-105"]\nat_most = 1500\n'
        text += f'[model]\ntower = "{home / name}"\ntile = 32\nstride = 32\nchannels = 32\nauxiliary = 0\nscales = [1, 2]\n[train]\nepochs = 8\nbatch = 16\nlearning_rate = 1e-3\n'
        recipe.write_text(text)
        if not (out / "report.json").exists():
            bench.call(out.with_suffix(".log"), "evaluate", recipe, "--out", out, "--seed", seed)
        for method in json.loads((out / "report.json").read_text())["methods"][:2]:
            task = f"{sensor}, mIoU of a decode head" if "UPerNet" in method["name"] else f"{sensor}, mIoU of a {method['name']}"
            scores[task] = 100 * method["scores"]["mean_iou"]["value"]
    return scores


def interval(values):
    """Mean and half width of the 95 % t-interval."""
    factor = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}.get(len(values))
    half = factor * statistics.stdev(values) / len(values) ** 0.5 if factor else None
    return {"mean": statistics.mean(values), "half_width": half, "values": values}


def summarise(results):
    """Task → tower → mean and interval; and the differences that the issue asks for, paired by seed."""
    seeds = sorted(results)
    towers = [t for t in results[seeds[0]] if all(t in results[s] for s in seeds)]
    tasks = list(dict.fromkeys(task for t in towers for task in results[seeds[0]][t]))
    has = lambda task, t: all(task in results[s][t] for s in seeds)
    scores = {task: {t: interval([results[s][t][task] for s in seeds]) for t in towers if has(task, t)} for task in tasks}
    pairs = [("merged", "mixed"), ("searched", "mixed"), ("mixed", "rgb"), ("others", "rgb"), ("merged", "rgb"), ("maka", "bare"), ("maka", "plain"), ("plain", "bare")]
    differences = {
        f"{a} - {b}": {task: interval([results[s][a][task] - results[s][b][task] for s in seeds]) for task in tasks if has(task, a) and has(task, b)}
        for a, b in pairs
        if a in towers and b in towers
    }
    return scores, differences


def show(table, first):
    columns = list(dict.fromkeys(c for row in table.values() for c in row))
    print(f"{first:<46}" + "".join(f"{c:>20}" for c in columns))
    for name, row in table.items():
        cells = [f"{row[c]['mean']:.1f} ± {row[c]['half_width'] or 0:.1f}" if c in row else "" for c in columns]
        print(f"{name:<46}" + "".join(f"{c:>20}" for c in cells))


def machine():
    info = Path("/proc/cpuinfo").read_text()
    model = next((l.split(":")[1].strip() for l in info.splitlines() if l.startswith("model name")), platform.processor())
    return {"processor": model, "cores": os.cpu_count(), "system": platform.platform()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bench", type=Path, default=Path("out/anyband"))
    parser.add_argument("--geoglot", type=Path, default=Path("target/release/geoglot"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--parts", nargs="+", choices=["merge", "maka", "plain"], default=["merge", "maka"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.geoglot, args.data, args.bench = args.geoglot.resolve(), args.data.resolve(), args.bench.resolve()
    bench, results = Bench(args), {}
    for seed in args.seeds:
        found = results[seed] = {}
        start = bench.train(seed, "start", COLOUR, 8, 1e-3)
        rgb = bench.train(seed, "rgb", COLOUR, 3, 3e-4, start)
        mixed = bench.train(seed, "mixed", COLOUR + OTHERS, 3, 3e-4, start)
        towers = {"start": start, "rgb": rgb, "mixed": mixed}
        if "merge" in args.parts:
            towers["others"] = others = bench.train(seed, "others", OTHERS, 3, 3e-4, start)
            towers["merged"] = bench.merge(seed, "merged", (start, rgb, others), (0.9, 0.5))
            check = ("--data", args.bench / "synthetic/sentinel-2.json", "--sensor", "sentinel-2-land", "--sensors", bench.sensors, "--search", "zero-shot")
            towers["searched"] = bench.merge(seed, "searched", (start, rgb, others), (0.9, "search"), *check)
        distilled = [(n, c) for n, c in (("plain", False), ("maka", True)) if n in args.parts]
        if distilled:
            photos = bench.train(0, "photos", COLOUR[:1], 12, 1e-3)
            towers["bare"] = bench.train(seed, "bare", OTHERS[:2], 3, 3e-4, start)
            for name, conditional in distilled:
                towers[name] = bench.train(seed, name, OTHERS[:2], 3, 3e-4, start, [(rgb, conditional), (photos, conditional)])
        for name, tower in towers.items():
            found[name] = {} if name in ("start", "bare", "plain", "maka") else bench.score(tower)
        if distilled:
            for name in ("bare", *(n for n, _ in distilled)):
                found[name] |= dense(bench, seed, name)
    scores, differences = summarise(results)
    show(scores, "percent, mean of seeds ± 95 % interval")
    names = list(dict.fromkeys(task for row in differences.values() for task in row))
    by_task = {task: {pair: row[task] for pair, row in differences.items() if task in row} for task in names}
    show(by_task, "difference, paired by seed")
    if args.json:
        cpu = {str(p.relative_to(bench.folder).parent): json.loads(p.read_text()) for p in sorted(bench.folder.glob("*/*/cpu.json"))}
        report = {"name": "anyband", "machine": machine(), "seeds": args.seeds, "scores": scores, "differences": differences, "training_cpu_seconds": cpu}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
