"""Scenes, tiles, captions and conversations of the Spectral-LLaVA benchmark (`run.py`)."""

import json
import os
import random
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import rasterio

QUIET = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
TILE = 32
# Clouds, snow, haze: both white things with and without the other, and air that is seen through.
WEATHER = [(0, 0, 1), (0.35, 0, 1), (0, 0.35, 1), (0, 0, 9), (0.25, 0.25, 1), (0.2, 0.2, 7)]
# Numbers of the scenes of each part, and their side in pixels; those of the probe lie under a clear sky.
SCENES = {"train": (range(6), 480), "test": (range(6, 12), 288), "probe": (range(12, 14), 480)}
# One class covers this share of a tile that the probe may use.
SHARE = 0.45
# What lies under more clouds and snow, or thicker haze, than these percentages is not described.
HIDDEN, HAZE = 15, 30
# What nobody sees: 43 % from 44 %; and places, as pre-training turns the tiles.
LEFT_OUT = re.compile(r"(?<!Sentinel-)\d|\b(left|right|upper|lower|top|bottom|middle|centre|corner|half|edge)\w*", re.I)
WORDS = """
[words]
"road or car park" = { one = "road", many = "roads" }
"flat-roofed building" = { one = "flat-roofed building", many = "flat-roofed buildings" }
"tiled-roof house" = { one = "tiled-roof house", many = "tiled-roof houses" }
"meadow or lawn" = { one = "meadow", many = "meadows" }
"cereal crop" = { one = "cereal field", many = "cereal fields" }
orchard = { one = "orchard", many = "orchards" }
"""


def scenes(args):
    for part, k, side in [(part, k, side) for part, (numbers, side) in SCENES.items() for k in numbers]:
        folder = args.work / "scenes" / f"scene-{k}"
        if not (folder / "run.json").is_file():
            clouds, snow, haze = WEATHER[0 if part == "probe" else k % len(WEATHER)]
            command = [args.geoglot, "synth", "--size", side, "--gsd", 10, "--sensor", "sentinel-2-l2a", "--seed", 500 + k]
            command += ["--clouds", clouds, "--snow", snow, "--haze", haze, "--out", folder]
            subprocess.run(list(map(str, command)), check=True, **QUIET)


def write(path, data, transform, crs, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = dict(driver="GTiff", height=data.shape[1], width=data.shape[2], count=data.shape[0], dtype=data.dtype)
    with rasterio.open(path, "w", transform=transform, crs=crs, **profile) as out:
        out.write(data)
        out.descriptions = names


def tiles(args):
    """Cuts the scenes; lists of the tiles of each part, with the class that covers most where one does."""
    if (args.work / "probe.json").is_file():
        return
    for part, (numbers, side) in SCENES.items():
        records = []
        for k in numbers:
            scene = args.work / "scenes" / f"scene-{k}"
            legend = {c["id"]: c["name"] for c in tomllib.loads((scene / "legend.toml").read_text())["class"]}
            with rasterio.open(scene / "sentinel-2-l2a.tif") as src, rasterio.open(scene / "labels.tif") as truth:
                data, labels = src.read(), truth.read()
                transform, crs, names = src.transform, src.crs, src.descriptions
            for row in range(0, side, TILE):
                for col in range(0, side, TILE):
                    place = (slice(None), slice(row, row + TILE), slice(col, col + TILE))
                    moved = transform * rasterio.Affine.translation(col, row)
                    key = f"{k}-{row}-{col}"
                    write(args.work / part / f"{key}.tif", np.ascontiguousarray(data[place]), moved, crs, names)
                    write(args.work / f"{part}-labels" / f"{key}.tif", labels[place].astype(np.uint8), moved, crs, ["label"])
                    ids, counts = np.unique(labels[place], return_counts=True)
                    best = counts.argmax()
                    clear = counts[best] >= SHARE * TILE * TILE
                    records.append({"file": f"{part}/{key}.tif", "class": legend.get(int(ids[best])) if clear else None})
        (args.work / f"{part}-all.json").write_text(json.dumps([{"file": r["file"], "class": "tile"} for r in records]))
        known = [r for r in records if r["class"]]
        frequent = {c for c in {r["class"] for r in known} if sum(r["class"] == c for r in known) >= 12}
        (args.work / f"{part}.json").write_text(json.dumps([r for r in known if r["class"] in frequent], indent=0))


def terramind(args):
    """TerraMind's example tiles in parts of 56 pixels, for pre-training."""
    data, side, records = os.environ.get("GEOGLOT_DATA"), 56, []
    if not data or (args.work / "terramind.json").is_file():
        return
    names = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
    for path in sorted(Path(data, "terramind/examples/S2L2A").glob("*.tif")):
        with rasterio.open(path) as src:
            data, transform, crs = src.read(), src.transform, src.crs
        for row in range(0, data.shape[1] - side + 1, side):
            for col in range(0, data.shape[2] - side + 1, side):
                part = np.ascontiguousarray(data[:, row : row + side, col : col + side])
                file = f"terramind/{path.stem}-{row}-{col}.tif"
                write(args.work / file, part, transform * rasterio.Affine.translation(col, row), crs, names)
                records.append({"file": file, "class": "tile"})
    (args.work / "terramind.json").write_text(json.dumps(records))


def captions(args):
    """`geoglot caption`, its sentences without numbers and places kept."""
    for part in ["train", "test"]:
        folder = args.work / f"{part}-captions"
        if (folder / "seen.jsonl").is_file():
            continue
        recipe = args.work / f"caption-{part}.toml"
        recipe.write_text(
            f'name = "{part}"\nkind = "land-cover"\nimage = "Sentinel-2 image"\nroot = "."\n'
            f'images = "{part}/{{tile}}.tif:sensor=sentinel-2-l2a"\nlabels = "{part}-labels/{{tile}}.tif"\n'
            f'legend = "scenes/scene-0/legend.toml"\nparaphrases = 8\nsmallest_region = 10\nseed = 1\n{WORDS}'
        )
        subprocess.run([args.geoglot, "caption", recipe, "--out", folder], check=True, **QUIET)
        lines = []
        for line in (folder / "captions.jsonl").read_text().splitlines():
            record = json.loads(line)
            seen = [t for t in record["short"] + record["long"] if not LEFT_OUT.search(t)]
            names = [c["noun"]["words"] for c in record["facts"]["cover"]["classes"] if c["percent"] >= 5]
            record["facts"]["cover"]["classes"] = [c for c in record["facts"]["cover"]["classes"] if c["percent"] >= 5]
            record["short"] = seen[:4] or [f"A Sentinel-2 image of {' and '.join(names[:3])}."]
            record["long"] = []
            lines.append(json.dumps(record))
        (folder / "seen.jsonl").write_text("\n".join(lines) + "\n")


def visible(entry):
    sky = entry["spectral"]
    return sky["cloud"] + sky["snow"] < HIDDEN and sky["haze"] < HAZE


def conversations(args):
    """`geoglot instruct`: descriptions, classes and questions; descriptions alone; class labels alone (table I's two alignments)."""
    for part in ["train", "test"]:
        manifest = args.work / f"{part}-captions" / "seen.jsonl"
        for name, flags in [("all", []), ("labels", ["--labels-only"])]:
            out = args.work / f"{part}-{name}.instruct.json"
            if not out.is_file():
                subprocess.run([args.geoglot, "instruct", manifest, "--out", out, *flags], check=True, **QUIET)
    # What spectra say is asked in questions of its own; a short caption costs half the training time.
    everything = {part: json.loads((args.work / f"{part}-all.instruct.json").read_text()) for part in ["train", "test"]}
    for turn in (turn for entries in everything.values() for entry in entries for turn in entry["conversations"]):
        turn["value"] = turn["value"].split(" Spectrally,")[0]
    described = {part: [e for e in entries if e["id"].endswith("-caption") and visible(e)] for part, entries in everything.items()}
    # Lists of classes say again what descriptions do; questions cost the most tokens and teach what colours cannot show.
    asked = {part: [e for e in entries if e["id"].endswith("-spectra")] for part, entries in everything.items()}
    (args.work / "test-asked.json").write_text(json.dumps(described["test"] + asked["test"]))
    clear = {e["image"] for e in described["train"]}
    labelled = [e for e in json.loads((args.work / "train-labels.instruct.json").read_text()) if e["image"] in clear]
    for seed in args.seeds:
        draw = random.Random(seed)
        some = lambda entries, count: draw.sample(entries, min(count, len(entries)))
        for name, chosen in [("scene", some(described["train"], args.align)), ("label", some(labelled, args.align))]:
            (args.work / f"{name}-{seed}.json").write_text(json.dumps(chosen))
        # Snow lies on one tile of eight; half of the questions are about such tiles.
        snowy = [e for e in asked["train"] if e["spectral"]["snow"] >= 3]
        others = [e for e in asked["train"] if e["spectral"]["snow"] < 3]
        questions = some(snowy, args.questions // 2) + some(others, args.questions - args.questions // 2)
        tune = some(described["train"], args.descriptions) + questions
        (args.work / f"tune-{seed}.json").write_text(json.dumps(tune))


def make(args):
    args.work.mkdir(parents=True, exist_ok=True)
    for step in [scenes, tiles, terramind, captions, conversations]:
        step(args)
