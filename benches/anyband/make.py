#!/usr/bin/env python3
"""Makes the small any-band benchmark: tiles of many modalities with captions and classes, as lists that `geoglot train` and `evaluate` read.

    python benches/anyband/make.py --data DATA --out out/anyband [--geoglot target/release/geoglot]

DATA is the folder of sample data with `rsicd-aid`, `terramind`, `bigearthnet` and `hit-uav`. Needs `pip install rasterio numpy`.

- synthetic scenes of `geoglot synth` (14 train, 2 validation, 5 test), rendered for Sentinel-2, Landsat 8, radar, a thermal camera, an RGB camera and
  as heights above the ground, cut into tiles of 32 pixels. A tile is kept where one class covers 45 % of it; that class is its label. Captions come
  from `geoglot caption`; those that name places are left out, as training turns the tiles, and those with numbers, as nobody sees 43 % from 44 %. Landsat is for testing only.
- TerraMind's example tiles cut the same way (Sentinel-2, Sentinel-1, heights): the left half trains, the right half tests, one column between them
  is left out.
- HIT-UAV (thermal) and BigEarthNet (Sentinel-2 and Sentinel-1 patches, as shards): training only, as they are few.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tiles import legend_of, write  # noqa: E402

TILE = 32
SHARE = 0.45
SPLITS = ["train"] * 14 + ["val"] * 2 + ["test"] * 5
SCENE = 480
LEFT_OUT = re.compile(r"(?<!Sentinel-)\d|\b(left|right|upper|lower|top|bottom|middle|centre|center|corner|half|edge|north|south|east|west)\w*", re.I)
# Band names say what the tile holds, so that it is bound without a sensor given by hand.
MODALITIES = {
    "rgb": ("aerial image", "rgb", ["red", "green", "blue"]),
    "sentinel-2": ("Sentinel-2 image", "sentinel-2-l2a", None),
    "sar": ("SAR image", "sar", ["VV", "VH"]),
    "thermal": ("thermal infrared image", "thermal-8bit", ["TIR"]),
    "heights": ("height map", "flair-aerial", ["nDSM"]),
    "landsat": ("Landsat image", "landsat-8-l2", None),
    "landsat-reflective": ("Landsat image", "landsat-8-l2", None),
    "landsat-rgb": ("Landsat image", "rgb", ["red", "green", "blue"]),
}
SENSORS = Path(__file__).resolve().parent / "sensors.toml"
WORDS = """
[words]
"road or car park" = { one = "road", many = "roads and car parks" }
"flat-roofed building" = { one = "flat-roofed building", many = "flat-roofed buildings" }
"tiled-roof house" = { one = "tiled-roof house", many = "tiled-roof houses" }
"meadow or lawn" = { one = "meadow", many = "meadows and lawns" }
"cereal crop" = { one = "cereal field", many = "cereal fields" }
orchard = { one = "orchard", many = "orchards" }
"""


def read(path):
    with rasterio.open(path) as src:
        return src.read(), src.transform, src.crs, src.descriptions


def true_colour(reflectance):
    """8-bit picture of red, green and blue reflectance, brightened 2.5 times as quick-looks of the agencies are."""
    return np.clip(np.round(255 * 2.5 * reflectance), 0, 255).astype(np.uint8)


def modalities_of(scene):
    """Name → ([C, H, W], band names) of a generated scene."""
    s2, transform, crs, s2_names = read(scene / "sentinel-2-l2a.tif")
    l8, _, _, l8_names = read(scene / "landsat-8-l2.tif")
    sar, _, _, sar_names = read(scene / "sar.tif")
    rgb = read(scene / "rgb.tif")[0]
    kelvin = read(scene / "thermal-camera.tif")[0].astype(np.float32)
    surface, terrain = read(scene / "lidar.tif")[0]
    low, high = np.percentile(kelvin, [2, 98])
    thermal = np.clip(np.round(255 * (kelvin - low) / max(high - low, 1.0)), 0, 255).astype(np.uint8)
    heights = np.clip(np.round((surface - terrain) / 0.2), 0, 255).astype(np.uint8)[None]
    landsat_rgb = true_colour(l8[[3, 2, 1]] * 0.0000275 - 0.2)
    return transform, crs, {
        "rgb": (true_colour(rgb / 255.0), ["red", "green", "blue"]),
        "sentinel-2": (s2, s2_names),
        "sar": (sar, sar_names),
        "thermal": (thermal, ["TIR"]),
        "heights": (heights, ["nDSM"]),
        "landsat": (l8, l8_names),
        "landsat-reflective": (l8[:7], l8_names[:7]),
        "landsat-rgb": (landsat_rgb, ["red", "green", "blue"]),
    }


def cut(labels, legend, columns=None):
    """(row, column, class name) of the tiles that one class dominates."""
    for row in range(0, labels.shape[0] - TILE + 1, TILE):
        for col in range(0, labels.shape[1] - TILE + 1, TILE):
            if columns and not columns(col):
                continue
            ids, counts = np.unique(labels[row : row + TILE, col : col + TILE], return_counts=True)
            best = counts.argmax()
            if counts[best] >= SHARE * TILE * TILE and ids[best] in legend:
                yield row, col, legend[ids[best]]


def tiles_of(out, stem, labels, legend, rasters, transform, crs, columns=None):
    found = {}
    for row, col, name in cut(labels, legend, columns):
        key = f"{stem}-{row}-{col}"
        moved = transform * rasterio.Affine.translation(col, row)
        for modality, (data, names) in rasters.items():
            part = data[:, row : row + TILE, col : col + TILE]
            write(out / modality / f"{key}.tif", np.ascontiguousarray(part), moved, crs, names)
        write(out / "labels" / f"{key}.tif", labels[None, row : row + TILE, col : col + TILE].astype(np.uint8), moved, crs, ["label"])
        found[key] = name
    return found


def caption(args, folder, modality, sensor, image, legend, words, seed):
    """Captions of every tile by `geoglot caption`: key → texts without places."""
    recipe = folder / f"caption-{modality}.toml"
    bands = MODALITIES[modality][2] if modality in MODALITIES else None
    options = f"sensor={sensor}" + (f",bands={'+'.join(bands)}" if bands and modality == "heights" else "")
    recipe.write_text(
        f'name = "{modality}"\nkind = "land-cover"\nimage = "{image}"\nroot = "."\nimages = "{modality}/{{tile}}.tif:{options}"\n'
        f'labels = "labels/{{tile}}.tif"\nlegend = "{legend}"\nparaphrases = 4\nsmallest_region = 10\nseed = {seed}\n{words}'
    )
    result = folder / "captions" / modality
    if not (result / "captions.jsonl").exists():
        subprocess.run([args.geoglot, "caption", recipe, "--sensors", SENSORS, "--out", result], check=True, stdout=subprocess.DEVNULL)
    texts = {}
    for line in (result / "captions.jsonl").read_text().splitlines():
        record = json.loads(line)
        texts[record["key"]] = [t for t in record["short"] + record["long"] if not LEFT_OUT.search(t) and len(t.split()) <= 30]
    return texts


def lists(folder, modality, classes, splits, texts):
    records = []
    for key, name in sorted(classes.items()):
        captions = texts.get(key) or [f"{name}."]
        records.append({"file": f"{modality}/{key}.tif", "captions": captions, "class": name, "split": splits(key)})
    (folder / f"{modality}.json").write_text(json.dumps(records, indent=0) + "\n")
    return len(records)


def synthetic(args):
    scenes, folder = args.out / "scenes", args.out / "synthetic"
    if not (scenes / f"scene-{len(SPLITS) - 1}").exists():
        sensors = "sentinel-2-l2a,landsat-8-l2,thermal-camera,rgb"
        call = [args.geoglot, "synth", "--out", scenes, "--size", str(SCENE), "--gsd", "10", "--sensor", sensors, "--count", str(len(SPLITS))]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    legend = legend_of(scenes / "scene-0" / "legend.toml")
    classes = {}
    for k in range(len(SPLITS)):
        transform, crs, rasters = modalities_of(scenes / f"scene-{k}")
        labels = read(scenes / f"scene-{k}" / "labels.tif")[0][0]
        classes |= tiles_of(folder, f"{k}", labels, legend, rasters, transform, crs)
    toml = os.path.relpath(scenes / "scene-0" / "legend.toml", folder)
    for seed, (modality, (image, sensor, _)) in enumerate(MODALITIES.items()):
        texts = caption(args, folder, modality, sensor, image, toml, WORDS, seed)
        print(modality, lists(folder, modality, classes, lambda key: SPLITS[int(key.split("-")[0])], texts))


def terramind(args):
    source, folder = args.data / "terramind" / "examples", args.out / "terramind"
    legend_file = Path(__file__).resolve().parents[2] / "recipes" / "legends" / "terramind.toml"
    legend, classes = legend_of(legend_file), {}
    for path in sorted((source / "LULC").glob("*.tif")):
        labels, transform, crs, _ = read(path)
        rasters = {}
        for modality, part in (("sentinel-2", "S2L2A"), ("sar", "S1RTC"), ("terrain", "DEM")):
            data, _, _, names = read(source / part / path.name)
            named = {"sar": ["VV", "VH"], "terrain": ["DEM"]}.get(modality)
            rasters[modality] = (data, named or [n or f"{i + 1}" for i, n in enumerate(names)])
        # Seven columns of tiles: three train, the fourth is left out, three test.
        classes |= tiles_of(folder, path.stem, labels[0], legend, rasters, transform, crs, lambda col: col // TILE != 3)
    split = lambda key: "train" if int(key.rsplit("-", 1)[1]) // TILE < 3 else "test"
    sensors = {"sentinel-2": ("Sentinel-2 image", "sentinel-2-l2a"), "sar": ("SAR image", "sentinel-1-rtc"), "terrain": ("elevation map", "elevation")}
    for seed, (modality, (image, sensor)) in enumerate(sensors.items()):
        words = '[words]\n"built area" = "built-up land"\n'
        texts = caption(args, folder, modality, sensor, image, os.path.relpath(legend_file, folder), words, seed)
        print("terramind", modality, lists(folder, modality, classes, split, texts))


def few(args):
    """HIT-UAV and BigEarthNet: captions and shards by geoglot alone."""
    recipes = Path(__file__).resolve().parents[2] / "recipes" / "captions"
    env = dict(os.environ, GEOGLOT_DATA=str(args.data))
    for name, recipe, options in (
        ("hit-uav", "ir-ship.toml", ["--sensors", SENSORS, "--set", "images=test:sensor=thermal-8bit,bands=TIR,variable=grey"]),
        ("bigearthnet-s2", "bigearthnet.toml", []),
        ("bigearthnet-s1", "bigearthnet.toml", ["--set", "dataset.sentinel1=true", "--set", "image=SAR image"]),
    ):
        shards, made = args.out / "shards" / name, args.out / "captions" / name
        if (shards / "shards.json").exists():
            continue
        subprocess.run([args.geoglot, "caption", recipes / recipe, *options, "--out", made], check=True, stdout=subprocess.DEVNULL, env=env)
        subprocess.run([args.geoglot, "shards", "write", made / "captions.jsonl", "--sensors", SENSORS, "--out", shards], check=True, stdout=subprocess.DEVNULL)
        print(name, sum(1 for _ in open(made / "captions.jsonl")))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out/anyband"))
    parser.add_argument("--geoglot", type=Path, default=Path("target/release/geoglot"))
    args = parser.parse_args()
    args.geoglot, args.data, args.out = args.geoglot.resolve(), args.data.resolve(), args.out.resolve()
    synthetic(args)
    terramind(args)
    few(args)


if __name__ == "__main__":
    main()
