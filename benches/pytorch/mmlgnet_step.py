"""One MMLGNet training step in PyTorch: the yardstick of `cargo run --release -p geoglot-nn --example train_step`.

The network of the paper's section III (models.md, section 1): two CNN encoders, fusion, symmetric contrastive loss
against the class prompts, Adam. f32, two threads, the same shapes and optimiser settings as the Rust example.
Prints one JSON object: median milliseconds of a step and of its phases.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


class Encoder(nn.Module):
    """Three blocks f(x) = MaxPool2x2(ReLU(BN(Conv3x3(x)))), flatten, fully connected."""

    def __init__(self, bands, filters, out, patch):
        super().__init__()
        self.blocks = nn.ModuleList()
        channels = bands
        for width in filters:
            block = nn.ModuleDict({"conv": nn.Conv2d(channels, width, 3, padding=1), "bn": nn.BatchNorm2d(width)})
            self.blocks.append(block)
            channels = width
            patch //= 2
        self.fc = nn.Linear(channels * patch * patch, out)

    def forward(self, x):
        for block in self.blocks:
            x = F.max_pool2d(F.relu(block["bn"](block["conv"](x))), 2)
        return self.fc(x.flatten(1))


class Mmlgnet(nn.Module):
    """HSI and LiDAR encoders, fusion to the text width, learnable temperature."""

    def __init__(self, bands, lidar_bands, patch, width):
        super().__init__()
        self.hsi = Encoder(bands, (64, 128, 256), 512, patch)
        self.lidar = Encoder(lidar_bands, (32, 64, 128), 256, patch)
        self.fusion = nn.Linear(512 + 256, width)
        self.tau = nn.Parameter(torch.log(torch.tensor(1 / 0.07)))

    def forward(self, hsi, lidar):
        return F.normalize(self.fusion(torch.cat([self.hsi(hsi), self.lidar(lidar)], 1)), dim=1)


def contrastive(v, t, tau):
    """Symmetric InfoNCE with the diagonal as the target."""
    logits = tau.exp().clamp(max=100.0) * v @ t.T
    target = torch.arange(len(v))
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bands", type=int, default=144)
    parser.add_argument("--lidar-bands", type=int, default=1)
    parser.add_argument("--patch", type=int, default=11)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--classes", type=int, default=15)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--channels-last", action="store_true", help="give PyTorch its channels-last memory format")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    memory = torch.channels_last if args.channels_last else torch.contiguous_format
    model = Mmlgnet(args.bands, args.lidar_bands, args.patch, args.width).to(memory_format=memory).train()
    optim = torch.optim.Adam(model.parameters(), lr=1e-3)
    hsi = torch.randn(args.batch, args.bands, args.patch, args.patch).to(memory_format=memory)
    lidar = torch.randn(args.batch, args.lidar_bands, args.patch, args.patch).to(memory_format=memory)
    prompts = F.normalize(torch.randn(args.classes, args.width), dim=1)
    labels = torch.arange(args.batch) % args.classes
    text = prompts[labels]

    phases = {"forward_ms": [], "backward_ms": [], "optimizer_ms": [], "step_ms": []}
    for step in range(args.warmup + args.steps):
        t0 = time.perf_counter()
        loss = contrastive(model(hsi, lidar), text, model.tau)
        t1 = time.perf_counter()
        optim.zero_grad(set_to_none=True)
        loss.backward()
        t2 = time.perf_counter()
        optim.step()
        t3 = time.perf_counter()
        if step >= args.warmup:
            for name, seconds in zip(phases, (t1 - t0, t2 - t1, t3 - t2, t3 - t0)):
                phases[name].append(seconds * 1e3)
    result = {
        "framework": f"pytorch {torch.__version__}",
        "bands": args.bands,
        "lidar_bands": args.lidar_bands,
        "patch": args.patch,
        "batch": args.batch,
        "threads": args.threads,
        "channels_last": args.channels_last,
        "steps": args.steps,
        "loss": round(loss.item(), 5),
    }
    result.update({name: round(statistics.median(values), 3) for name, values in phases.items()})
    print(json.dumps(result))


if __name__ == "__main__":
    main()
