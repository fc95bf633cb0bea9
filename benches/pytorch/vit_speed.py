"""Time of an image tower's forward pass in Python on the CPU, random weights: the peer of the example `vit_speed`.

python vit_speed.py [MODEL] [BATCH] [THREADS] [RUNS] [f32|bf16|onnx]

MODEL is a timm name with the shape of the preset: vit_base_patch16_clip_224 (open-clip-vit-b-16), vit_so400m_patch14_siglip_384
(siglip-so400m-14-384), … f32 and bf16 (autocast) are PyTorch in inference mode with scaled-dot-product attention; onnx is ONNX Runtime on the
exported graph. Prints one line of JSON.
"""

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import timm
import torch


def onnx_session(model, name, size, threads):
    """The model in ONNX Runtime, any batch size."""
    import onnxruntime

    path = Path(tempfile.gettempdir()) / f"geoglot-bench-{name}.onnx"
    if not path.exists():
        example = (torch.randn(2, 3, *size),)
        torch.onnx.export(model, example, path, dynamic_shapes=({0: torch.export.Dim("batch")},), dynamo=True, external_data=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    key = session.get_inputs()[0].name
    return lambda images: session.run(None, {key: images.numpy()}), onnxruntime.__version__


def main():
    args = dict(enumerate(sys.argv[1:]))
    name, batch, threads = args.get(0, "vit_base_patch16_clip_224"), int(args.get(1, 8)), int(args.get(2, 1))
    runs, kind = int(args.get(3, 5)), args.get(4, "f32")
    torch.set_num_threads(threads)
    # CLIP's projection is one small linear layer.
    model = timm.create_model(name, num_classes=512 if "clip" in name and "siglip" not in name else 0).eval()
    size, version = model.patch_embed.img_size, torch.__version__
    if kind == "onnx":
        model, version = onnx_session(model, name, size, threads)
    cast = torch.autocast("cpu", dtype=torch.bfloat16) if kind == "bf16" else contextlib.nullcontext()
    images = torch.randn(batch, 3, *size)
    seconds = []
    with torch.inference_mode(), cast:
        model(images[:2])
        before = time.process_time()
        for _ in range(runs):
            start = time.perf_counter()
            model(images)
            seconds.append(time.perf_counter() - start)
        processor = (time.process_time() - before) / runs
    seconds.sort()
    print(json.dumps({
        "model": name, "engine": "onnxruntime" if kind == "onnx" else f"pytorch-{kind}", "version": version, "batch": batch, "threads": threads,
        "runs": runs, "seconds_min": round(seconds[0], 4), "seconds_median": round(seconds[runs // 2], 4),
        "cpu_seconds": round(processor, 4), "tiles_per_second": round(batch / seconds[0], 2)}))


if __name__ == "__main__":
    main()
