"""TSMNet in PyTorch: the reference for parity and for speed.

    python tsmnet.py export FOLDER       weights, inputs, outputs and gradients of two small networks
    python tsmnet.py speed [--steps N]   seconds of a training step and of inference, peak memory

The parameters have the names and layouts that geoglot writes, so that a state is a checkpoint for either.
"""

import argparse
import json
import math
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn


def tokens(x):
    return x.flatten(2).transpose(1, 2)


def to_map(x, grid):
    return x.transpose(1, 2).reshape(x.shape[0], -1, *grid)


def unit(x):
    return x / x.square().sum(-1, keepdim=True).clamp_min(1e-24).sqrt()


def resize(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def attention(q, k, v, heads, mask=None):
    b, m, d = q.shape
    split = lambda t: t.reshape(b, t.shape[1], heads, d // heads).transpose(1, 2)
    mask = None if mask is None else mask[:, None, None, :].bool()
    out = F.scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=mask)
    return out.transpose(1, 2).reshape(b, m, d)


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.heads = heads

    def forward(self, x, causal=False):
        b, n, d = x.shape
        split = lambda t: t.reshape(b, n, self.heads, d // self.heads).transpose(1, 2)
        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.output(out.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, width, heads, activation="quick"):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.activation = (lambda x: x * torch.sigmoid(1.702 * x)) if activation == "quick" else F.gelu

    def forward(self, x, causal=False):
        x = x + self.attention(self.norm1(x), causal)
        return x + self.fc2(self.activation(self.fc1(self.norm2(x))))


class Weight(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape) * 0.3)


class Vit(nn.Module):
    def __init__(self, c):
        super().__init__()
        w, self.patch_size, self.grid = c["width"], c["patch"], c["grid"]
        self.patch = Weight(w, 3, c["patch"], c["patch"])
        self.class_token = nn.Parameter(torch.randn(1, w) * 0.3)
        self.position = nn.Parameter(torch.randn(1 + self.grid[0] * self.grid[1], w) * 0.3)
        self.pre_norm, self.norm = nn.LayerNorm(w), nn.LayerNorm(w)
        self.blocks = nn.ModuleList(Block(w, c["heads"]) for _ in range(c["depth"]))
        self.projection = nn.Linear(w, c["projection"], bias=False)
        self.taps = c["taps"]

    def forward(self, x):
        x = F.conv2d(x, self.patch.weight, stride=self.patch_size)
        grid = x.shape[2:]
        x = tokens(x)
        x = torch.cat([self.class_token.expand(x.shape[0], 1, -1), x], 1) + self.position
        x = self.pre_norm(x)
        states = []
        for block in self.blocks:
            x = block(x)
            states.append(x)
        maps = [to_map(states[t][:, 1:], grid) for t in self.taps]
        out = self.projection(self.norm(x))
        return maps, out[:, :1], out[:, 1:], grid


class Scales(nn.Module):
    def __init__(self, w):
        super().__init__()
        up = lambda: nn.ConvTranspose2d(w, w, 2, 2)
        self.quadruple1, self.quadruple2, self.double = up(), up(), up()
        self.quadruple_norm = nn.BatchNorm2d(w)


class Pyramid(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(1, w) for _ in range(4))
        self.scales = Scales(w)

    def forward(self, maps):
        a, b, c, d = (n(m) for n, m in zip(self.norms, maps))
        s = self.scales
        a = s.quadruple2(F.gelu(s.quadruple_norm(s.quadruple1(a))))
        # `double` is also a method of modules, which attribute access would find.
        return [a, s._modules["double"](b), c, F.max_pool2d(d, 2)]


class Branch(nn.Module):
    def __init__(self, c, bands):
        super().__init__()
        self.lift = nn.Conv2d(bands, 3, 1) if bands != 3 else None
        self.vit = Vit(c)
        self.pyramid = Pyramid(c["width"])

    def forward(self, x):
        x = x if self.lift is None else self.lift(x)
        maps, whole, dense, grid = self.vit(x)
        return [tokens(m) for m in self.pyramid(maps)] + [whole, dense], grid


class Rectify(nn.Module):
    def __init__(self, c, reduction):
        super().__init__()
        self.channel1 = nn.Linear(4 * c, max(4 * c // reduction, 1))
        self.channel2 = nn.Linear(max(4 * c // reduction, 1), 2 * c)
        self.spatial1 = nn.Linear(2 * c, max(c // reduction, 1))
        self.spatial2 = nn.Linear(max(c // reduction, 1), 2)

    def forward(self, x1, x2):
        c = x1.shape[2]
        both = torch.cat([x1, x2], 2)
        pooled = torch.cat([both.mean(1), both.amax(1)], 1)
        channel = torch.sigmoid(self.channel2(F.relu(self.channel1(pooled))))[:, None]
        spatial = torch.sigmoid(self.spatial2(F.relu(self.spatial1(both))))
        out1 = x1 + 0.5 * channel[..., c:] * x2 + 0.5 * spatial[..., 1:] * x2
        out2 = x2 + 0.5 * channel[..., :c] * x1 + 0.5 * spatial[..., :1] * x1
        return out1, out2


class Side(nn.Module):
    def __init__(self, c, inner):
        super().__init__()
        self.enter = nn.Linear(c, 2 * inner)
        self.keys = nn.Linear(inner, 2 * inner, bias=False)
        self.leave = nn.Linear(2 * inner, c)
        self.norm = nn.LayerNorm(c)


class Fuse(nn.Module):
    def __init__(self, c, heads, reduction, depthwise):
        super().__init__()
        self.heads = heads
        self.sides = nn.ModuleList(Side(c, c // reduction) for _ in range(2))
        self.residual = nn.Linear(2 * c, c, bias=False)
        self.branch1, self.branch2 = nn.Linear(2 * c, c), nn.Linear(c, c)
        self.depthwise = nn.Conv2d(c, c, 3, padding=1, groups=c) if depthwise else None
        self.norm = nn.LayerNorm(c)

    def forward(self, x, grid):
        b, n, _ = x[0].shape
        split = lambda t: t.reshape(b, n, self.heads, -1).transpose(1, 2)
        kept, asking, contexts = [], [], []
        for side, t in zip(self.sides, x):
            y, u = F.relu(side.enter(t)).chunk(2, -1)
            k, v = (split(p) for p in side.keys(u).chunk(2, -1))
            contexts.append(((k.transpose(-2, -1) @ v) * k.shape[-1] ** -0.5).softmax(-2))
            kept.append(y)
            asking.append(split(u))
        out = []
        for i, (side, t) in enumerate(zip(self.sides, x)):
            a = (asking[i] @ contexts[1 - i]).transpose(1, 2).reshape(b, n, -1)
            out.append(side.norm(t + side.leave(torch.cat([kept[i], a], -1))))
        both = torch.cat(out, -1)
        branch = self.branch1(both)
        if self.depthwise is not None:
            branch = tokens(self.depthwise(to_map(branch, grid)))
        return self.norm(self.residual(both) + self.branch2(F.relu(branch)))


class Level(nn.Module):
    def __init__(self, c, width):
        super().__init__()
        self.gates = nn.Parameter(torch.tensor(c["gates"]))
        self.absent = nn.Parameter(torch.randn(2, width) * 0.3)
        self.rectify = Rectify(width, c["reduction"])
        self.fuse = Fuse(width, c["fusion_heads"], c["reduction"], c["variant"] == "paper")


class Cross(nn.Module):
    def __init__(self, q, m, inner, heads):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(q, inner), nn.Linear(m, inner), nn.Linear(m, inner)
        self.output = nn.Linear(inner, q)
        self.heads = heads

    def forward(self, x, memory, mask=None):
        return self.output(attention(self.query(x), self.key(memory), self.value(memory), self.heads, mask))


class DecoderBlock(nn.Module):
    def __init__(self, w, heads):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(w) for _ in range(3))
        self.own, self.cross = Cross(w, w, w, heads), Cross(w, w, w, heads)
        self.fc1, self.fc2 = nn.Linear(w, 4 * w), nn.Linear(4 * w, w)


class Decoder(nn.Module):
    def __init__(self, d, w, depth, heads, dropout):
        super().__init__()
        self.memory_norm, self.memory_in, self.memory_out = nn.LayerNorm(d), nn.Linear(d, w), nn.LayerNorm(w)
        self.text_norm, self.text_in = nn.LayerNorm(d), nn.Linear(d, w)
        self.blocks = nn.ModuleList(DecoderBlock(w, heads) for _ in range(depth))
        self.norm, self.output = nn.LayerNorm(w), nn.Linear(w, d)
        self.gamma = nn.Parameter(torch.full((d,), 1e-4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, texts, memory):
        memory = self.memory_out(self.memory_in(self.memory_norm(memory)))
        x = self.text_in(self.text_norm(texts))
        for b in self.blocks:
            own = b.norm1(x)
            x = x + self.dropout(b.own(own, own))
            x = x + self.dropout(b.cross(b.norm2(x), memory))
            x = x + self.dropout(b.fc2(F.gelu(b.fc1(b.norm3(x)))))
        return texts + self.output(self.norm(x)) * self.gamma


class Fpn(nn.Module):
    def __init__(self, widths, channels):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Linear(w, channels) for w in widths)
        self.outputs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in widths)

    def forward(self, levels, grids):
        above, sums = None, []
        for level, lateral, grid in reversed(list(zip(levels, self.laterals, grids))):
            own = to_map(lateral(level), grid)
            above = own if above is None else own + resize(above, grid)
            sums.insert(0, above)
        return [tokens(conv(s)) for s, conv in zip(sums, self.outputs)]


class ConvNorm(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Head(nn.Module):
    def __init__(self, channels, hidden, output):
        super().__init__()
        branch = lambda n: nn.ModuleList(ConvNorm(channels if k == 0 else hidden, hidden) for k in range(n))
        self.branches = nn.ModuleList(branch(n) for n in (1, 1, 2, 3))
        self.output = nn.Linear(hidden, output)

    def forward(self, levels, grids):
        total = 0
        for k, (level, branch) in enumerate(zip(levels, self.branches)):
            x = to_map(level, grids[k])
            for step, conv in enumerate(branch):
                x = resize(conv(x), grids[max(k - step - 1, 0)])
            total = total + x
        return self.output(tokens(total))


class SceneLevel(nn.Module):
    def __init__(self, channels, states, heads):
        super().__init__()
        self.align, self.norm = nn.Linear(channels, channels), nn.LayerNorm(channels)
        self.attention = Cross(channels, states, channels, heads)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-4))


class Scene(nn.Module):
    def __init__(self, channels, states, d, heads):
        super().__init__()
        self.text = nn.Linear(d, channels)
        self.levels = nn.ModuleList(SceneLevel(channels, states, heads) for _ in range(4))

    def alignment(self, levels, described, ids):
        rows = [i for i, k in enumerate(ids) if k is not None]
        text = F.normalize(self.text(described[rows]), dim=-1)
        ids = torch.tensor([ids[i] for i in rows])
        target = (ids[:, None] == ids[None]).float()
        target = target / target.sum(1, keepdim=True)
        total = 0
        for side, level in zip(self.levels, levels):
            image = F.normalize(side.align(level.mean(1)[rows]), dim=-1)
            logits = image @ text.T / 0.07
            total = total + 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
        return total / 4

    def fuse(self, levels, states, mask, fused):
        has = torch.tensor(fused, dtype=torch.float32)[:, None, None]
        return [
            level + side.attention(side.norm(level), states, mask) * side.gamma * has
            for side, level in zip(self.levels, levels)
        ]


class Temperature(nn.Module):
    def __init__(self):
        super().__init__()
        self.tau = nn.Parameter(torch.tensor([math.log(1 / 0.07)]))


class TsmNet(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        w, p, d = c["width"], c["projection"], c["embed"]
        paper = c["variant"] == "paper"
        self.optical, self.sar = (Branch(c, n) for n in c["bands"])
        self.fusion = nn.ModuleList(Level(c, n) for n in ([w, w, w, w, p, p] if paper else [w]))
        self.to_text = nn.Linear(p, d) if p != d else None
        self.contexts = nn.Parameter(torch.randn(c["contexts"], c["context_width"]) * 0.3) if c["contexts"] else None
        self.decoder = Decoder(d, c["decoder_width"], c["decoder_depth"], c["decoder_heads"], c["dropout"])
        extra = d if paper else c["classes"]
        self.neck = Fpn([w, w, w + extra, w], c["channels"])
        self.scene = Scene(c["channels"], c["states"], d, c["fusion_heads"]) if paper else None
        self.head = Head(c["channels"], c["hidden"], d if paper else c["classes"])
        self.temperature = Temperature() if paper else None

    def encode(self, optical, sar, present):
        x1, grid = self.optical(optical)
        x2, _ = self.sar(sar)
        h, w = grid
        grids = [(4 * h, 4 * w), (2 * h, 2 * w), (h, w), (h // 2, w // 2), (1, 1), (h, w)]
        here = torch.tensor(present, dtype=torch.float32)[:, :, None, None]
        g0, g1 = self.c["gates"]
        out = []
        for k, (a, b) in enumerate(zip(x1, x2)):
            if self.c["variant"] == "paper":
                f = self.fusion[k]
                a = a * here[:, 0] + f.absent[0] * (1 - here[:, 0])
                b = b * here[:, 1] + f.absent[1] * (1 - here[:, 1])
                out.append(f.fuse(f.rectify(a * f.gates[0], b * f.gates[1]), grids[k]))
            elif k < 4:
                f = self.fusion[0]
                a, b = f.rectify(a * g0, b * g1)
                out.append(f.fuse((a * g0, b * g1), grids[k]))
            else:
                out.append((a * g0 + b * g1) / (g0 + g1))
        dense, whole = out.pop(), out.pop()
        if self.to_text is not None:
            dense, whole = self.to_text(dense), self.to_text(whole)
        return out, whole, dense, grids

    def forward(self, optical, sar, present, classes, description=None):
        levels, whole, dense, grids = self.encode(optical, sar, present)
        b = dense.shape[0]
        texts = unit(self.decoder(classes[None].expand(b, -1, -1), torch.cat([whole, dense], 1)))
        score = unit(dense) @ texts.transpose(1, 2)
        extra = (score / 0.07).softmax(2) @ texts if self.c["variant"] == "paper" else score
        levels[2] = torch.cat([levels[2], extra], 2)
        levels = self.neck(levels, grids)
        alignment = None
        if self.scene is not None and description is not None:
            states, mask, described, fused, ids = description
            alignment = self.scene.alignment(levels, described, ids)
            levels = self.scene.fuse(levels, states, mask, fused)
        out = self.head(levels, grids)
        scale = torch.ones(1)
        if self.temperature is not None:
            out = unit(out) @ texts.transpose(1, 2)
            scale = self.temperature.tau.exp().clamp_max(100)
        return to_map(out, grids[0]), scale, to_map(score, grids[2]), alignment


def dice(logits, labels):
    k = logits.shape[1]
    valid = (labels != 255)[:, None].float()
    target = F.one_hot(labels.clamp_max(k - 1), k).permute(0, 3, 1, 2).float() * valid
    p = logits.softmax(1) * valid
    by = lambda t: t.sum((0, 2, 3))
    return 1 - ((2 * by(p * target) + 1) / (by(p * p) + by(target) + 1)).mean()


def losses(answer, labels):
    out, scale, score, alignment = answer
    size = labels.shape[1:]
    logits = resize(out * scale, size)
    ce = lambda x: F.cross_entropy(x, labels, ignore_index=255)
    parts = {"object": ce(resize(score / 0.07, size)), "cross_entropy": ce(logits), "dice": dice(logits, labels)}
    if alignment is not None:
        parts["scene"] = alignment
    return parts


class Table(nn.Module):
    def __init__(self, n, w):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, w) * 0.3)


class ClipText(nn.Module):
    """CLIP's text transformer behind learnable contexts; its own weights are frozen."""

    def __init__(self, vocabulary, context, width, depth, heads, projection):
        super().__init__()
        self.token, self.position = Table(vocabulary, width), Table(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.projection = nn.LayerNorm(width), nn.Linear(width, projection, bias=False)
        self.requires_grad_(False)

    def forward(self, ids, end, contexts):
        words = self.token.weight[ids]
        n = contexts.shape[0]
        x = torch.cat([words[:, :1], contexts[None].expand(len(ids), -1, -1), words[:, 1:]], 1)
        x = x + self.position.weight[: x.shape[1]]
        for block in self.blocks:
            x = block(x, causal=True)
        return self.projection(self.norm(x[torch.arange(len(ids)), torch.tensor(end) + n]))


SMALL = dict(
    variant="paper", bands=[4, 2], width=8, patch=4, grid=(6, 5), heads=2, depth=4, taps=[0, 1, 2, 3], projection=6,
    embed=6, states=7, contexts=2, context_width=8, classes=0, channels=8, hidden=6, fusion_heads=2, reduction=1,
    decoder_width=8, decoder_depth=2, decoder_heads=2, dropout=0.0, gates=[0.9, 0.1],
)


def export(folder):
    from safetensors.torch import save_file

    def write(name, tensors):
        kept = {k: v.detach().float().contiguous().clone() for k, v in tensors.items() if "num_batches" not in k}
        save_file(kept, f"{folder}/{name}.safetensors")

    torch.manual_seed(5)
    text = ClipText(20, 9, 8, 1, 2, 6)
    write("text", dict(text.state_dict()))
    text.double()
    published = dict(SMALL, variant="published", bands=[3, 1], embed=5, contexts=0, context_width=0, classes=4)
    for name, c in [("paper", SMALL), ("published", published)]:
        net = TsmNet(c)
        with torch.no_grad():
            for key, value in net.named_parameters():
                if key.endswith("gamma"):
                    value.copy_(torch.randn_like(value) * 0.5)
                elif "norm" in key or ".bn." in key:
                    value.add_(torch.randn_like(value) * 0.2)
            for key, value in net.named_buffers():
                if key.endswith("running_mean"):
                    value.copy_(torch.randn_like(value) * 0.3)
                elif key.endswith("running_var"):
                    value.copy_(torch.rand_like(value) + 0.5)
        write(name, dict(net.state_dict()))
        optical, sar = torch.randn(3, c["bands"][0], 24, 20), torch.randn(3, c["bands"][1], 24, 20)
        labels = torch.randint(0, 4, (3, 24, 20))
        labels[torch.rand(labels.shape) < 0.2] = 255
        numbers = {"optical": optical, "sar": sar, "labels": labels.float()}
        if name == "paper":
            ids, end = torch.tensor([[18, 3, 5, 19], [18, 7, 19, 19], [18, 1, 2, 19], [18, 9, 19, 19]]), [3, 2, 3, 2]
            numbers["ids"] = ids.float()
            make_classes = lambda: text(ids, end, net.contexts)
            states, mask = torch.randn(3, 5, 7), torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
            described = torch.randn(3, 6)
            numbers |= {"states": states, "mask": mask.float(), "described": described}
            description = (states.double(), mask, described.double(), [True, False, True], [0, None, 1])
            present = [[1, 1], [1, 0], [0, 1]]
        else:
            classes = torch.randn(4, 5)
            numbers["classes"] = classes
            make_classes, description, present = (lambda: classes.double()), None, [[1, 1]] * 3
        # In f64: f32 gradients of this small network are off by up to 7e-5 here.
        net.double()
        optical, sar = optical.double(), sar.double()
        net.eval()
        with torch.no_grad():
            answer = net(optical, sar, present, make_classes(), description)
        numbers |= {"eval.map": answer[0], "eval.score": answer[2]}
        net.train()
        parts = losses(net(optical, sar, present, make_classes(), description), labels)
        sum(parts.values()).backward()
        numbers |= {f"loss.{k}": v.reshape(1) for k, v in parts.items()}
        numbers |= {f"grad.{k}": v.grad for k, v in net.named_parameters() if v.grad is not None}
        write(f"{name}_numbers", numbers)


def speed(args):
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    c = dict(
        variant="paper", bands=[3, 1], width=768, patch=16, grid=(args.side // 16,) * 2, heads=12, depth=12,
        taps=[3, 5, 7, 11], projection=512, embed=512, states=512, contexts=0, context_width=0, classes=0,
        channels=256, hidden=128, fusion_heads=8, reduction=args.reduction, decoder_width=256, decoder_depth=3,
        decoder_heads=4, dropout=0.0, gates=[0.9, 0.1],
    )
    if args.small:
        c |= dict(width=192, heads=3, projection=384, embed=384, states=384, depth=4, taps=[0, 1, 2, 3], channels=64, hidden=64)
        c |= dict(patch=8, grid=(args.side // 8,) * 2)
    net = TsmNet(c)
    b, n = args.batch, args.classes
    optical, sar = torch.randn(b, 3, args.side, args.side), torch.randn(b, 1, args.side, args.side)
    labels = torch.randint(0, n, (b, args.side, args.side))
    classes = torch.randn(n, c["embed"])
    description = (torch.randn(b, 20, c["states"]), torch.ones(b, 20), torch.randn(b, c["embed"]), [True] * b, list(range(b)))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=1e-4)
    steps, infer = [], []
    before = time.process_time()
    for _ in range(args.steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        sum(losses(net(optical, sar, [[1, 1]] * b, classes, description), labels).values()).backward()
        optimizer.step()
        steps.append(time.perf_counter() - start)
    step_cpu = (time.process_time() - before) / args.steps
    net.eval()
    before = time.process_time()
    with torch.no_grad():
        for _ in range(args.steps):
            start = time.perf_counter()
            out, scale, _, _ = net(optical, sar, [[1, 1]] * b, classes, description)
            resize(out, (args.side, args.side)).argmax(1)
            infer.append(time.perf_counter() - start)
    inference_cpu = (time.process_time() - before) / args.steps
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    parameters = sum(p.numel() for p in net.parameters())
    seconds = dict(step=min(steps), step_cpu=step_cpu, inference=min(infer), inference_cpu=inference_cpu)
    print(json.dumps(dict(seconds, peak_mib=peak, parameters=parameters)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    e = commands.add_parser("export")
    e.add_argument("folder")
    e.set_defaults(run=lambda a: export(a.folder))
    s = commands.add_parser("speed")
    for flag, value in [("steps", 3), ("batch", 2), ("side", 256), ("classes", 7), ("threads", 1), ("reduction", 1)]:
        s.add_argument(f"--{flag}", type=int, default=value)
    s.add_argument("--small", action="store_true")
    s.set_defaults(run=speed)
    args = parser.parse_args()
    args.run(args)
