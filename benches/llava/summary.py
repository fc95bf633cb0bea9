"""Figures of all seeds, with 95 % intervals over the seeds (Student's t)."""

import json
import math
import statistics

import numpy as np

T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def over_seeds(values):
    n = len(values)
    half = T.get(n - 1, 2.0) * statistics.stdev(values) / math.sqrt(n) if n > 1 else None
    return {"mean": round(statistics.mean(values), 4), "half_width": half and round(half, 4), "seeds": [round(v, 4) for v in values]}


def alignment(reports):
    """Accuracy at every share, and gains over the encoder's own features on the same divisions."""
    table = {}
    for k, features in enumerate(reports[0]["features"]):
        for probe, points in features["curves"].items():
            shares = [p["share"] for p in points]
            entry = {"accuracy": {s: over_seeds([r["features"][k]["curves"][probe][i]["mean"] for r in reports]) for i, s in enumerate(shares)}}
            if k > 0:
                gains = [[a["mean"] - b["mean"] for a, b in zip(r["features"][k]["curves"][probe], r["features"][0]["curves"][probe])] for r in reports]
                entry["gain"] = {s: over_seeds([g[i] for g in gains]) for i, s in enumerate(shares)}
                entry["gain, mean over the shares"] = over_seeds([statistics.mean(g) for g in gains])
                entry["shares with a gain in every seed"] = [s for i, s in enumerate(shares) if min(g[i] for g in gains) > 0]
            table.setdefault(probe, {})[features["features"]] = entry
    return {"images": reports[0]["images"], "classes": reports[0]["classes"], "probes": table}


def captions(reports):
    table = {}
    for kind in [k for k in ["caption", "classification"] if reports[0][k]]:
        scores = [r[kind] for r in reports]
        entry = {"answers": scores[0]["answers"]}
        for figure in ["recall", "precision", "hallucinated"]:
            entry[figure] = {w: over_seeds([s[w][figure]["value"] for s in scores]) for w in ["own", "shuffled", "difference"]}
        for figure, of in [("BLEU-4", lambda w: w["bleu"][3]), ("ROUGE-L", lambda w: w["rouge_l"]), ("CIDEr", lambda w: w["cider"])]:
            entry[figure] = {"own": over_seeds([of(s["wording"]) for s in scores]), "shuffled": over_seeds([of(s["wording_shuffled"]) for s in scores])}
        table[kind] = entry
    return table


def answers(folder):
    lines = (folder / "answers.jsonl").read_text().splitlines()
    return [a for a in map(json.loads, lines) if a["kind"] == "question"]


def verdict(text):
    word = text.strip().lower().split(" ")[0].strip(".,!")
    return {"yes": True, "no": False}.get(word)


def questions(folders, variants):
    """Balanced accuracy by subject and variant, and what 12 bands add to three colours: seed by seed, and with 95 % of the resamples of the test scenes."""
    told = {v: [answers(f[f"captions, {v}"]) for f in folders] for v in variants}
    subjects = sorted({a["question"] for a in told[variants[0]][0]})
    table = {}
    for name, asked in ({s: [s] for s in subjects} | {"all three": subjects}).items():
        right = {v: np.array([[scored(seed, q) for q in asked] for seed in told[v]]) for v in variants}
        truth = np.array([truths(told[variants[0]][0], q) for q in asked])
        # [seeds, subjects, scenes] of answers that are right: how often among scenes of either truth.
        balanced = lambda v, weight: np.mean(
            [[(right[v] * (truth == side) * weight).sum(2) / np.maximum(((truth == side) * weight).sum(1), 1)] for side in [True, False]], axis=(0, 1, 3)
        )
        flat = np.ones(truth.shape[1])
        entry = {v: over_seeds(balanced(v, flat).tolist()) for v in variants}
        entry["scenes"] = truth.shape[1]
        gain = lambda weight: balanced("scene", weight) - balanced("colours", weight)
        entry["12 bands less colours"] = over_seeds(gain(flat).tolist())
        draws = np.random.default_rng(1).multinomial(truth.shape[1], flat / flat.size, size=2000)
        low, high = np.quantile([gain(w).mean() for w in draws], [0.025, 0.975])
        entry["12 bands less colours"]["over the scenes"] = [round(float(low), 4), round(float(high), 4)]
        table[name] = entry
    return table


def scored(items, question):
    return [verdict(a["answer"]) == verdict(a["reference"]) for a in items if a["question"] == question]


def truths(items, question):
    return [verdict(a["reference"]) for a in items if a["question"] == question]


def summary(args, folders):
    done = lambda name: [folders[s] for s in sorted(folders) if name in folders[s]]
    read = lambda name, file: [json.loads((f[name] / file).read_text()) for f in done(name)]
    variants = {"scene": "aligned on descriptions, 12 bands", "colours": "aligned on descriptions, red, green and blue", "label": "aligned on class labels, 12 bands", "random": "as scene, the projector begun randomly"}
    asked = [v for v in variants if done(f"captions, {v}")]
    both = [f for f in done("captions, scene") if "captions, colours" in f]
    return {
        "variants": variants,
        "linear probe": {v: alignment(read(f"alignment, {v}", "alignment.json")) for v in ["scene", "label"] if done(f"alignment, {v}")},
        "captions": {v: captions(read(f"captions, {v}", "captions.json")) for v in asked},
        "rules on reflectance, balanced accuracy": json.loads((args.work / "rules.json").read_text()),
        "questions, balanced accuracy": questions(both, ["scene", "colours"]) if both else {},
    }
