"""Time of an image tower's forward pass in PyTorch on the CPU, random weights: the peer of the example `vit_speed`.

python vit_speed.py [MODEL] [BATCH] [THREADS] [RUNS] [f32|bf16]

MODEL is a timm name with the shape of the preset: vit_base_patch16_clip_224 (open-clip-vit-b-16), vit_so400m_patch14_siglip_384
(siglip-so400m-14-384), … Inference mode, scaled-dot-product attention. Prints one line of JSON.
"""

import contextlib
import json
import sys
import time

import timm
import torch


def main():
    args = dict(enumerate(sys.argv[1:]))
    name, batch, threads = args.get(0, "vit_base_patch16_clip_224"), int(args.get(1, 8)), int(args.get(2, 1))
    runs, kind = int(args.get(3, 5)), args.get(4, "f32")
    torch.set_num_threads(threads)
    # CLIP's projection is one small linear layer.
    model = timm.create_model(name, num_classes=512 if "clip" in name else 0).eval()
    height, width = model.patch_embed.img_size
    images = torch.randn(batch, 3, height, width)
    cast = torch.autocast("cpu", dtype=torch.bfloat16) if kind == "bf16" else contextlib.nullcontext()
    seconds = []
    with torch.inference_mode(), cast:
        model(images)
        before = time.process_time()
        for _ in range(runs):
            start = time.perf_counter()
            model(images)
            seconds.append(time.perf_counter() - start)
        processor = (time.process_time() - before) / runs
    seconds.sort()
    print(json.dumps({
        "model": name, "engine": f"pytorch-{kind}", "version": torch.__version__, "batch": batch, "threads": threads, "runs": runs,
        "seconds_min": round(seconds[0], 4), "seconds_median": round(seconds[runs // 2], 4),
        "cpu_seconds": round(processor, 4), "tiles_per_second": round(batch / seconds[0], 2)}))


if __name__ == "__main__":
    main()
