#!/usr/bin/env python3
"""What `geoglot embed` does, as a Python script with rasterio and PyTorch: a Sentinel-2 scene to one vector a tile.

    benches/pytorch/embed_scene.py SCENE MODEL OUT.npz [--threads 2] [--batch 32]

MODEL is a folder that `geoglot train` wrote. Tiles of the model's size, the last row and column ending at the border; a thread reads and prepares
batches ahead; OUT.npz gets vectors and windows (column, row).
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio
import torch
from anyband_vit import Vit
from rasterio.windows import Window
from safetensors.numpy import load_file

# Centre wavelengths of the thirteen bands in µm, and the reflectance shown as white by its true-colour product.
WAVELENGTHS = [0.443, 0.490, 0.560, 0.665, 0.705, 0.740, 0.783, 0.842, 0.865, 0.945, 1.375, 1.610, 2.190]
WHITE = np.float32(0.3558)


def starts(length, tile):
    """Where tiles begin, so that the whole length is covered."""
    at = list(range(0, length - tile + 1, tile))
    return at if at[-1] + tile == length else at + [length - tile]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = json.loads((args.model / "config.json").read_text())["tower"]
    model = Vit(config["vit"])
    weights = {k: torch.from_numpy(v) for k, v in load_file(args.model / "model.safetensors").items()}
    weights.setdefault("logit_bias", torch.zeros(1))
    model.load_state_dict(weights)
    model.eval()
    tile = config["preprocess"]["size"][0]
    waves = torch.tensor(WAVELENGTHS)
    with rasterio.Env(GDAL_NUM_THREADS=str(args.threads)), rasterio.open(args.scene) as scene, torch.inference_mode():
        windows = [(col, row) for row in starts(scene.height, tile) for col in starts(scene.width, tile)]

        def prepared(batch):
            tiles = [scene.read(window=Window(col, row, tile, tile)) for col, row in batch]
            values = np.stack(tiles).astype(np.float32) * np.float32(1e-4)
            values = np.round(np.clip(values / WHITE, 0, 1) * np.float32(255))
            return torch.from_numpy((values / np.float32(255) - np.float32(0.5)) / np.float32(0.5))

        batches = [windows[k : k + args.batch] for k in range(0, len(windows), args.batch)]
        vectors = []
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(prepared, batches[0])
            for k in range(len(batches)):
                images = waiting.result()
                if k + 1 < len(batches):
                    waiting = ahead.submit(prepared, batches[k + 1])
                vectors.append(model(images, waves).numpy())
    np.savez(args.out, vectors=np.concatenate(vectors), windows=np.array(windows))


if __name__ == "__main__":
    main()
