"""Scenes, tiles, captions and conversations of the Spectral-LLaVA benchmark (`run.py`)."""

import json
import os
import random
import re
import subprocess
from pathlib import Path

import numpy as np
import rasterio
from tiles import legend_of, write

QUIET = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
TILE = 32
# Clouds, snow, haze: both white things with and without the other, and air that is seen through.
WEATHER = [(0, 0, 1), (0.35, 0, 1), (0, 0.35, 1), (0, 0, 9), (0.25, 0.25, 1), (0.2, 0.2, 7)]
# Numbers of the scenes of each part, and their side in pixels; those of the probe lie under a clear sky.
SCENES = {"train": (range(6), 480), "air": (range(6), 480), "test": (range(20, 26), 288), "probe": (range(30, 32), 480)}
# One class covers this share of a tile that the probe may use.
SHARE = 0.45
# What lies under more clouds and snow, or thicker haze, than these percentages is not described.
HIDDEN, HAZE = 15, 30
# A scene is hazy from this much haze on; clouds and snow are there from this share in percent on.
HAZY, THERE = 5, 1
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


def haze(scene, part):
    """How much haze a scene of a part lies under; scenes of `air` are those of `train` in the other air."""
    real = WEATHER[scene % len(WEATHER)][2]
    return real if part != "air" else (1 if real >= HAZY else 8)


def scenes(args):
    for part, k, side in [(part, k, side) for part, (numbers, side) in SCENES.items() for k in numbers]:
        folder = args.work / "scenes" / f"{'air' if part == 'air' else 'scene'}-{k}"
        if not (folder / "run.json").is_file():
            clouds, snow, _ = WEATHER[0 if part == "probe" else k % len(WEATHER)]
            command = [args.geoglot, "synth", "--size", side, "--gsd", 10, "--sensor", "sentinel-2-l2a", "--seed", 500 + k]
            command += ["--clouds", clouds, "--snow", snow, "--haze", 1 if part == "probe" else haze(k, part), "--out", folder]
            subprocess.run(list(map(str, command)), check=True, **QUIET)


def tiles(args):
    """Cuts the scenes; lists of the tiles of each part, with the class that covers most where one does."""
    if (args.work / "probe.json").is_file():
        return
    for part, (numbers, side) in SCENES.items():
        records = []
        for k in numbers:
            scene = args.work / "scenes" / f"{'air' if part == 'air' else 'scene'}-{k}"
            legend = legend_of(scene / "legend.toml")
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


def spread(entries, count):
    keep = min(count, len(entries))
    return [entries[k * len(entries) // keep] for k in range(keep)]


class Sky:
    """What the generator laid over each tile: clouds, snow that no cloud hides, haze. Rules on reflectance (`geoglot instruct`) are no truth to test by: that of
    haze is a difference of two colours and calls bright ground hazy (`rules`)."""

    def __init__(self, args):
        self.scenes, self.masks = args.work / "scenes", {}

    def mask(self, scene, name):
        if (scene, name) not in self.masks:
            path = self.scenes / f"scene-{scene}" / f"{name}.tif"
            self.masks[scene, name] = rasterio.open(path).read(1) == 1 if path.is_file() else None
        return self.masks[scene, name]

    def over(self, entry):
        """(snow, clouds, haze), each true or false."""
        path = Path(entry["image"].split(":")[0])
        scene, row, col = map(int, path.stem.split("-"))
        place = (slice(row, row + TILE), slice(col, col + TILE))
        cut = lambda mask: np.zeros((TILE, TILE), bool) if mask is None else mask[place]
        clouds, snow = cut(self.mask(scene, "clouds")), cut(self.mask(scene, "snow"))
        there = lambda mask: bool(100 * mask.mean() >= THERE)
        return there(snow & ~clouds), there(clouds), haze(scene, path.parent.name) >= HAZY

    def words(self, entry):
        there = [word for word, is_there in zip(["snow", "cloud", "haze"], self.over(entry)) if is_there]
        return f"There is {' and '.join(there)}." if there else "The sky is clear."

    def tell(self, entry):
        """A description with what lies over the ground."""
        asked, told = entry["conversations"]
        return entry | {"conversations": [asked, told | {"value": f"{told['value']} {self.words(entry)}"}]}

    def tell_alone(self, entry, number):
        """What lies over the ground, which may hide it."""
        said = [{"from": "human", "value": "<image>\nWhat lies over the ground?"}, {"from": "gpt", "value": self.words(entry)}]
        return entry | {"id": f"{entry['id']}-sky-{number}", "conversations": said}

    def ask(self, entry):
        """The three questions about a tile, in an order of its own."""
        things = ["snow or ice", "any cloud", "haze"]
        turns = [(f"Is there {thing} in this scene?", "Yes." if there else "No.") for thing, there in zip(things, self.over(entry))]
        random.Random(entry["id"]).shuffle(turns)
        turns[0] = ("<image>\n" + turns[0][0], turns[0][1])
        said = [{"from": who, "value": text} for turn in turns for who, text in zip(["human", "gpt"], turn)]
        return entry | {"conversations": said}


def in_other_air(entry):
    moved = {"id": entry["id"] + "-air", "image": entry["image"].replace("/train/", "/air/")}
    return {key: value for key, value in entry.items() if key != "spectral"} | moved


def rules(sky, entries):
    """Balanced accuracy of what rules on reflectance say, against the generator."""
    found = {}
    for k, name in enumerate(["snow", "cloud", "haze"]):
        pairs = [(sky.over(e)[k], e["spectral"][name] >= THERE) for e in entries]
        sides = [[said == there for there, said in pairs if there == side] for side in [True, False]]
        found[name] = round(sum(sum(right) / len(right) for right in sides) / 2, 4)
    return found


def conversations(args):
    """`geoglot instruct`: descriptions; class labels (table I's two alignments); and questions about the sky, answered by the generator."""
    for part in ["train", "test"]:
        manifest = args.work / f"{part}-captions" / "seen.jsonl"
        for name, flags in [("all", []), ("labels", ["--labels-only"])]:
            out = args.work / f"{part}-{name}.instruct.json"
            if not out.is_file():
                subprocess.run([args.geoglot, "instruct", manifest, "--out", out, *flags], check=True, **QUIET)
    # What spectra say is asked in questions of its own; a short caption costs half the training time, a list of classes says again what it does.
    everything = {part: json.loads((args.work / f"{part}-all.instruct.json").read_text()) for part in ["train", "test"]}
    for turn in (turn for entries in everything.values() for entry in entries for turn in entry["conversations"]):
        turn["value"] = turn["value"].split(" Spectrally,")[0]
    described = {part: [e for e in entries if e["id"].endswith("-caption") and visible(e)] for part, entries in everything.items()}
    sky = Sky(args)
    asked = {part: [sky.ask(e) for e in entries if e["id"].endswith("-spectra")] for part, entries in everything.items()}
    # The same ground in the other air, so that haze is not learned as the ground of two scenes; questions about both, descriptions of one.
    asked["train"] += [sky.ask(in_other_air(e)) for e in asked["train"]]
    clear = {e["image"] for e in described["train"]}
    draw = random.Random(0)
    described["train"] = [in_other_air(e) if draw.random() < 0.5 else e for e in described["train"]]
    described = {part: [sky.tell(e) for e in entries] for part, entries in described.items()}
    tested = spread(described["test"], args.described) + spread(asked["test"], args.asked)
    (args.work / "test-asked.json").write_text(json.dumps(tested))
    (args.work / "rules.json").write_text(json.dumps(rules(sky, tested[-args.asked :])))
    kinds = [sky.over(e) for e in asked["train"]]
    rare = [1 / kinds.count(kind) for kind in kinds]
    labelled = [e for e in json.loads((args.work / "train-labels.instruct.json").read_text()) if e["image"] in clear]
    for seed in args.seeds:
        draw = random.Random(seed)
        some = lambda entries, count: draw.sample(entries, min(count, len(entries)))
        # As often each combination of snow, clouds and haze, so that none can be guessed from another.
        under = lambda count: draw.choices(asked["train"], rare, k=count)
        skies = [sky.tell_alone(e, k) for k, e in enumerate(under(args.skies))]
        for name, chosen in [("scene", some(described["train"], args.align)), ("label", some(labelled, args.align))]:
            (args.work / f"{name}-{seed}.json").write_text(json.dumps(chosen + skies))
        tune = some(described["train"], args.descriptions) + under(args.questions)
        (args.work / f"tune-{seed}.json").write_text(json.dumps(tune))


def make(args):
    args.work.mkdir(parents=True, exist_ok=True)
    for step in [scenes, tiles, terramind, captions, conversations]:
        step(args)
