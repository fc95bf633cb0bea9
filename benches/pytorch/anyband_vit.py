#!/usr/bin/env python3
"""The any-band tower of `geoglot train` in PyTorch: same first weights, texts, batches, crops and learning rates.

    geoglot train recipes/rsicd-anyband.toml --export EXPORT
    geoglot train recipes/rsicd-anyband.toml --out OURS
    geoglot evaluate zero-shot --model OURS --data DATA --save-embeddings --out ZERO
    geoglot evaluate retrieval --model OURS --data DATA --save-embeddings --out FIND
    benches/pytorch/anyband_vit.py EXPORT --ours OURS --zero-shot ZERO --retrieval FIND --out benches/runs/anyband-rsicd.json

Trains on EXPORT's plan, scores the images listed in ZERO and FIND against the text vectors stored there, and writes both sides' figures,
losses and seconds a step with the machine. `--check` compares the vectors of both implementations on the first weights' plan only.
"""

import argparse
import datetime
import json
import math
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import load_file
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from compare import machine  # noqa: E402


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = (f(x).view(b, n, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        return self.output(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    """Pre-norm, or post-norm for the generator's encoder layer."""

    def __init__(self, width, heads, hidden, eps, pre):
        super().__init__()
        self.pre = pre
        self.attention = Attention(width, heads)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        if self.pre:
            x = x + self.attention(self.norm1(x))
            return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.fc2(F.gelu(self.fc1(x))))


class Generator(nn.Module):
    """Kernels of the patch embedding from wavelengths (GeoLangBind)."""

    def __init__(self, c, patch, width):
        super().__init__()
        d = c["embedding"]
        self.patch, self.width, self.tokens = patch, width, c["weight_tokens"]
        self.fc1, self.fc2 = nn.Linear(d, d), nn.Linear(d, d)
        self.weight_tokens = nn.Parameter(torch.empty(self.tokens, d))
        self.bias_token = nn.Parameter(torch.empty(1, d))
        self.encoder = Block(d, c["heads"], c["hidden"], 1e-5, pre=False)
        self.kernel, self.bias = nn.Linear(d, patch * patch * width), nn.Linear(d, width)
        self.register_buffer("omega", 1.0 / 10000 ** (torch.arange(d // 2) / (d // 2)), persistent=False)

    def forward(self, images, waves):
        angle = (waves * 1000)[:, None] * self.omega
        code = torch.cat([angle.sin(), angle.cos()], 1)
        bands = code + F.relu(self.fc2(F.relu(self.fc1(code))))
        states = self.encoder(torch.cat([self.weight_tokens, bands, self.bias_token])[None])[0]
        kernel = self.kernel(states[self.tokens : -1] + bands) * 0.01
        kernel = kernel.view(len(waves), self.patch, self.patch, self.width).permute(3, 0, 1, 2)
        bias = self.bias(states[-1]) * 0.01
        return F.conv2d(images, kernel, bias, stride=self.patch).flatten(2).transpose(1, 2)


class MapPool(nn.Module):
    def __init__(self, width, heads, hidden, eps):
        super().__init__()
        self.heads = heads
        self.latent = nn.Parameter(torch.empty(1, width))
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width, eps)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        b, _, d = x.shape
        split = lambda t: t.view(t.shape[0], t.shape[1], self.heads, -1).transpose(1, 2)
        q = split(self.query(self.latent)[None]).expand(b, -1, -1, -1)
        x = F.scaled_dot_product_attention(q, split(self.key(x)), split(self.value(x)))
        x = self.output(x.transpose(1, 2).reshape(b, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm(x))))


class Vit(nn.Module):
    def __init__(self, c):
        super().__init__()
        w, eps = c["width"], c["epsilon"]
        self.wavelength = Generator(c["embed"]["wavelength"], c["patch"], w)
        self.position = nn.Parameter(torch.empty(c["grid"][0] * c["grid"][1], w))
        self.blocks = nn.ModuleList(Block(w, c["heads"], c["hidden"], eps, pre=True) for _ in range(c["depth"]))
        self.norm = nn.LayerNorm(w, eps)
        self.pool = MapPool(w, c["heads"], c["hidden"], eps)
        self.projection = nn.Linear(w, c["projection"], bias=c["projection_bias"]) if c["projection"] else nn.Identity()
        self.logit_scale = nn.Parameter(torch.empty(1))
        self.logit_bias = nn.Parameter(torch.empty(1))

    def forward(self, images, waves):
        x = self.wavelength(images, waves) + self.position
        for block in self.blocks:
            x = block(x)
        return F.normalize(self.projection(self.pool(self.norm(x))), dim=1)


class Pictures:
    """Decoded once; cropped, resized by Pillow's bicubic and turned as the plan says."""

    def __init__(self, files, size, only=None):
        self.images = [Image.open(f).convert("RGB") if only is None or i in only else None for i, f in enumerate(files)]
        self.size = size

    def one(self, item, crop=None):
        image = self.images[item]
        turn = 0
        if crop is not None:
            area, row, column, turn = crop
            w, h = image.size
            side = lambda n: min(max(math.floor(n * math.sqrt(area) + 0.5), 1), n)
            rows, columns = side(h), side(w)
            top, left = min(int(row * (h - rows + 1)), h - rows), min(int(column * (w - columns + 1)), w - columns)
            image = image.crop((left, top, left + columns, top + rows))
        plane = np.asarray(image.resize((self.size, self.size), Image.BICUBIC), np.float32).transpose(2, 0, 1)
        if turn & 4:
            plane = plane.transpose(0, 2, 1)
        if turn & 2:
            plane = plane[:, ::-1]
        if turn & 1:
            plane = plane[:, :, ::-1]
        return (plane / np.float32(255) - np.float32(0.5)) / np.float32(0.5)

    def batch(self, items, crops=None):
        crops = crops or [None] * len(items)
        return torch.from_numpy(np.stack([self.one(i, c) for i, c in zip(items, crops)]))


def loss_of(logits, texts, options):
    same = torch.tensor(texts)[:, None] == torch.tensor(texts)[None]
    if options["targets"] == "diagonal":
        same = torch.eye(len(texts), dtype=torch.bool)
    if options["loss"] == "sigmoid":
        return -F.logsigmoid(logits * (same.float() * 2 - 1)).sum() / len(texts)
    target = same.float() / same.float().sum(1, keepdim=True)
    rows = lambda s: -(F.log_softmax(s, 1) * target).sum() / len(texts)
    return 0.5 * (rows(logits) + rows(logits.T))


def train(plan, start, texts):
    options, tower = plan["options"], plan["tower"]
    model = Vit(tower["vit"])
    state = {k: torch.from_numpy(v) for k, v in start.items()}
    state.setdefault("logit_bias", torch.zeros(1))
    model.load_state_dict({k: v.view_as(model.state_dict()[k]) for k, v in state.items()})
    model.logit_bias.requires_grad_(options["loss"] == "sigmoid")
    named = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in named if p.dim() >= 2], "weight_decay": options["weight_decay"]},
        {"params": [p for p in named if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=tuple(options["betas"]), eps=options["epsilon"])
    shown = lambda m: {i for step in plan["steps"] if step["modality"] == m for i in step["items"]}
    sets = [Pictures(m["files"], tower["preprocess"]["size"][0], shown(k)) for k, m in enumerate(plan["modalities"])]
    waves = [torch.tensor(m["wavelengths"]) for m in plan["modalities"]]
    limit = math.log(options["max_scale"]) - 1e-6
    losses, seconds, cpu = [], [], []
    with ThreadPoolExecutor(1) as ahead:
        load = lambda s: ahead.submit(sets[s["modality"]].batch, s["items"], s["crops"])
        waiting = load(plan["steps"][0])
        for k, step in enumerate(plan["steps"]):
            begin, used = time.perf_counter(), time.process_time()
            images = waiting.result()
            if k + 1 < len(plan["steps"]):
                waiting = load(plan["steps"][k + 1])
            for group in optimizer.param_groups:
                group["lr"] = step["rate"]
            vectors = model(images, waves[step["modality"]])
            logits = vectors @ texts[step["texts"]].T * model.logit_scale.exp()
            if options["loss"] == "sigmoid":
                logits = logits + model.logit_bias
            loss = loss_of(logits, step["texts"], options)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(max=limit)
            losses.append(loss.item())
            seconds.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - used)
            if k % 18 == 17:
                print(f"step {k + 1}: loss {np.mean(losses[-18:]):.4f}, {np.mean(seconds[-18:]):.2f} s a step", file=sys.stderr)
    return model, losses, seconds, cpu


@torch.no_grad()
def embed(model, files, size, waves):
    pictures = Pictures(files, size)
    return torch.cat([model(pictures.batch(range(k, min(k + 50, len(files)))), waves) for k in range(0, len(files), 50)]).numpy()


def figures(images, zero, find):
    """Top-1 and top-5 over the classes, R@1/5/10 both ways: of equal scores the first counts as better."""
    classes, truth = np.array(zero["classes"]), np.array(zero["truth"], int)[:, 0]
    scores = images @ classes.T
    rank = lambda s, own: np.array([(row > row[o]).sum() + (row[:o] == row[o]).sum() for row, o in zip(s, own)])
    ranks = rank(scores, truth)
    out = {"zero-shot top-1": float((ranks < 1).mean()), "zero-shot top-5": float((ranks < 5).mean())}
    texts, owners = np.array(find["texts"]), np.array(find["owners"], int)[:, 0]
    similar = images @ texts.T
    best = [max(np.flatnonzero(owners == i), key=lambda t: similar[i, t]) for i in range(len(images))]
    to_text, to_image = rank(similar, best), rank(similar.T, owners)
    for k in (1, 5, 10):
        out[f"image to text R@{k}"] = float((to_text < k).mean())
        out[f"text to image R@{k}"] = float((to_image < k).mean())
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--ours", type=Path, help="model folder that geoglot trained")
    parser.add_argument("--zero-shot", type=Path, help="folder of `geoglot evaluate zero-shot --save-embeddings`")
    parser.add_argument("--retrieval", type=Path, help="folder of `geoglot evaluate retrieval --save-embeddings`")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, help="only so many steps, and no file: losses are printed")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    plan = json.loads((args.export / "plan.json").read_text())
    texts = torch.from_numpy(load_file(args.export / "texts.safetensors")["texts"])
    if args.steps:
        plan["steps"] = plan["steps"][: args.steps]
    model, losses, seconds, cpu = train(plan, load_file(args.export / "start.safetensors"), texts)
    if args.steps:
        # The first steps also touch their memory for the first time.
        seconds, cpu = seconds[2:] or seconds, cpu[2:] or cpu
        print(json.dumps({"losses": losses, "seconds": float(np.median(seconds)), "least_seconds": min(seconds), "cpu_seconds": float(np.median(cpu))}))
        return
    zero = json.loads((args.zero_shot / "embeddings.json").read_text())
    find = json.loads((args.retrieval / "embeddings.json").read_text())
    size, waves = plan["tower"]["preprocess"]["size"][0], torch.tensor(plan["modalities"][0]["wavelengths"])
    theirs = embed(model, find["files"], size, waves)
    # The same weights in both implementations: what the vectors differ by.
    trained = {k: torch.from_numpy(v) for k, v in load_file(args.ours / "model.safetensors").items()}
    trained.setdefault("logit_bias", torch.zeros(1))
    model.load_state_dict({k: v.view_as(model.state_dict()[k]) for k, v in trained.items()})
    same = embed(model, find["files"], size, waves)
    ours = np.array(find["images"], np.float32)
    history = [json.loads(line) for line in (args.ours / "history.jsonl").read_text().splitlines()]
    per_epoch = len(plan["steps"]) // len(history)
    epochs = [float(np.mean(losses[k : k + per_epoch])) for k in range(0, len(losses), per_epoch)]
    run = {
        "name": "anyband-rsicd",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "torch": torch.__version__,
        "threads": args.threads,
        "steps": len(plan["steps"]),
        "batch": plan["options"]["batch"],
        "loss": plan["options"]["loss"],
        "test_images": len(ours),
        "ours": figures(ours, zero, find) | {
            "mean seconds a step": sum(e["seconds"] for e in history) / len(plan["steps"]),
            "least epoch's seconds a step": min(e["seconds"] for e in history) / per_epoch,
            "loss by epoch": [e["loss"] for e in history],
        },
        "theirs": figures(theirs, zero, find) | {
            "mean seconds a step": float(np.mean(seconds)),
            "least epoch's seconds a step": min(float(np.mean(seconds[k : k + per_epoch])) for k in range(0, len(seconds), per_epoch)),
            "loss by epoch": epochs,
        },
        "largest difference of vectors for the same weights": float(np.abs(same - ours).max()),
        "note": "Both sides begin with the same weights and see the same texts, batches, crops and learning rates.",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(run, indent=2) + "\n")
    print(json.dumps({k: run[k] for k in ("ours", "theirs", "largest difference of vectors for the same weights")}, indent=2))


if __name__ == "__main__":
    main()
