"""Patch-by-patch MMLGNet map in PyTorch, on the weights and scene that `map_bench` wrote.

python mmlgnet_map.py FOLDER SIZE CHANNELS [THREADS] [SECONDS_OF_MAP_BENCH]

Batch 1024, f32, inference mode; patches are strided views gathered one batch at a time. Prints one line of JSON with the time, the largest difference
of embeddings, and the ratio to map_bench's seconds if given.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn


def encoder(channels, filters, width):
    blocks = []
    for a, b in zip([channels] + filters, filters):
        blocks += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.ModuleDict({"conv": nn.Sequential(*blocks), "fc": nn.Linear(filters[-1], width)})


class Mmlgnet(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.encoders = nn.ModuleList([encoder(channels, [64, 128, 256], 512), encoder(1, [32, 64, 128], 256)])
        self.fusion = nn.Linear(768, 384)

    def forward(self, *inputs):
        features = [e["fc"](e["conv"](x).flatten(1)) for e, x in zip(self.encoders, inputs)]
        return F.normalize(self.fusion(torch.cat(features, 1)), dim=1)


def load(model, path):
    state = {}
    for name, value in load_file(path).items():
        if name.startswith("temperature"):
            continue
        parts = name.split(".")
        if "blocks" in parts:
            step = 4 * int(parts[3]) + (1 if parts[4] == "bn" else 0)
            name = f"encoders.{parts[1]}.conv.{step}.{parts[5]}"
        state[name] = value
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("num_batches_tracked" in m for m in missing), (missing, unexpected)


def main():
    folder, size, channels = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(int(sys.argv[4]) if len(sys.argv) > 4 else 2)
    model = Mmlgnet(channels)
    load(model, folder / "weights.safetensors")
    model.eval()
    views = []
    for name, c in (("hsi", channels), ("lidar", 1)):
        scene = torch.from_numpy(np.fromfile(folder / f"{name}.f32", "<f4").reshape(c, size, size))
        padded = F.pad(scene[None], (5, 5, 5, 5), mode="reflect")[0]
        views.append(padded.unfold(1, 11, 1).unfold(2, 11, 1).permute(1, 2, 0, 3, 4))
    out = torch.empty(size * size, 384)
    rows = torch.arange(size * size)
    with torch.inference_mode():
        model(*(v[:8, :8].reshape(-1, *v.shape[2:]) for v in views))  # warm up
        start = time.perf_counter()
        for begin in range(0, size * size, 1024):
            at = rows[begin : begin + 1024]
            y, x = at // size, at % size
            out[begin : begin + 1024] = model(*(v[y, x] for v in views))
        seconds = time.perf_counter() - start
    result = {
        "what": "PyTorch, patch by patch",
        "torch": torch.__version__,
        "size": size,
        "channels": channels,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "pixels_per_second": size * size / seconds,
    }
    ours = folder / "embeddings.f32"
    if ours.exists():
        difference = np.abs(out.numpy() - np.fromfile(ours, "<f4").reshape(-1, 384)).max()
        result["largest_difference"] = float(difference)
    if len(sys.argv) > 5:
        result["ratio"] = seconds / float(sys.argv[5])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
