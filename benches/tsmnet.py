#!/usr/bin/env python3
"""TSMNet on generated scenes under clouds and on real tiles, with several seeds, and the memory of `geoglot segment`.

    benches/tsmnet.py synthetic                       # modalities, text, fusion, as published, U-Net, forest; three skies; held-out classes
    GEOGLOT_DATA=… benches/tsmnet.py terramind        # block folds and one tile out, beside a U-Net and a random forest
    benches/tsmnet.py memory --model out/tsmnet-bench/synthetic/runs/whole-network-1/fold-1
    benches/tsmnet.py picture --out docs/images/open-segmentation.png        # after `synthetic`; needs rasterio and Pillow

Every table is one command, `geoglot ablate RECIPE --seeds 3`; it is called seed by seed here so that a stopped run has whole seeds. Finished runs
lie in `--work` and are not repeated. Written to benches/runs/tsmnet-synthetic.json, tsmnet-terramind.json and tsmnet-memory.json.
"""

import argparse
import datetime
import json
import os
import subprocess
from pathlib import Path

from compare import machine

ROOT = Path(__file__).parents[1]
# Share of the test scenes under clouds; networks are trained under 0.2.
SKIES = [0.0, 0.2, 0.6]
TRAINED = 0.2
HELD = ["woodland", "bare soil"]
HELD_ROWS = ["whole network", "as published"]
# Added to the cosines of held-out classes.
LIFTS = [0.1, 0.15, 0.2, 0.25]
RUNS = Path(__file__).parent / "runs"


def ablate(args, name: str, recipe: str, changes: list, variants: list, env: dict) -> dict:
    """The table of one ablation."""
    out = Path(args.work) / name
    command = [args.geoglot, "ablate", ROOT / "recipes" / recipe, "--out", out, "--resume"]
    for change in changes + args.set:
        command += ["--set", change]
    for variant in variants:
        command += ["--variant", variant]
    for seed in range(1, args.seeds + 1):
        subprocess.run([*command, "--seed", str(seed), "--seeds", "1"], check=True, env=env, stdout=subprocess.DEVNULL)
    subprocess.run([*command, "--seed", "1", "--seeds", str(args.seeds)], check=True, env=env, stdout=subprocess.DEVNULL)
    print((out / "ablation.txt").read_text())
    table = json.loads((out / "ablation.json").read_text())
    columns = table["columns"]
    named = lambda values: {c: v for c, v in zip(columns, values) if v is not None}
    rows = [
        {
            "variant": row["variant"],
            "runs": [{"seed": r["seed"], **named([v and v["value"] for v in r["figures"]])} for r in row["runs"]],
            "mean": named(row["figures"]),
            f"difference to {table['rows'][0]['variant']}": named(row["differences"]),
        }
        for row in table["rows"]
    ]
    return {"recipe": f"recipes/{recipe}", "set": changes + args.set, "rows": rows, "notes": table["notes"]}


def scenes(args) -> Path:
    """Eight scenes, the same ground under each sky."""
    folder = Path(args.work).resolve() / "scenes"
    for clouds in SKIES:
        out = folder / f"clouds-{clouds}"
        if not (out / "scene-108" / "labels.tif").is_file():
            command = [args.geoglot, "synth", "--seed", "101", "--count", "8", "--size", "128", "--gsd", "10"]
            command += ["--sensor", "sentinel-2-l2a", "--clouds", str(clouds), "--out", out]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def chance(folder: Path) -> dict:
    """IoU that a class would have if each pixel of the test scenes were given one of all classes by lot."""
    shares: dict = {}
    tests = [json.loads((folder / f"scene-{k}" / "facts.json").read_text()) for k in (107, 108)]
    for facts in tests:
        for cover in facts["cover"]["classes"]:
            shares[cover["name"]] = shares.get(cover["name"], 0) + cover["percent"] / 100 / len(tests)
    p = 1 / 12
    return {name: shares[name] * p / (shares[name] + p - shares[name] * p) for name in HELD if name in shares}


def synthetic(args) -> dict:
    folder = scenes(args)
    env = {**os.environ, "SYNTHETIC_CLOUDS": str(folder / f"clouds-{TRAINED}")}
    others = ", ".join(f'"{int(100 * c)} % clouds" = "{folder}/clouds-{c}"' for c in SKIES if c != TRAINED)
    skies = f"data.covers={{ {others} }}"
    held = ["data.hold_out=" + json.dumps(HELD), f"data.lift={LIFTS}"]
    variants = args.variant
    record = {
        "trained under": f"{int(100 * TRAINED)} % clouds",
        "all classes seen": ablate(args, "synthetic", "synthetic-tsmnet.toml", [skies], variants, env),
        "two classes held out": ablate(
            args, "held-out", "synthetic-tsmnet.toml", held, [v for v in HELD_ROWS if not variants or v in variants], env
        ),
        "held out": HELD,
        "IoU of held-out classes by chance": chance(folder / f"clouds-{TRAINED}"),
    }
    for part in ("all classes seen", "two classes held out"):
        record[part]["set"] = [s.replace(str(folder), "SCENES") for s in record[part]["set"]]
    return record


def terramind(args) -> dict:
    rows = args.variant or ["whole network", "optical alone", "SAR alone", "U-Net", "random forest"]
    env = dict(os.environ)
    return {
        "blocks": ablate(args, "terramind-blocks", "terramind-tsmnet.toml", [], rows, env),
        "one tile out": ablate(args, "terramind-tiles", "terramind-tsmnet.toml", ["split.kind=scenes"], rows, env),
    }


def memory(args) -> dict:
    """Peak memory and seconds of `geoglot segment` over growing scenes."""
    rows = []
    for size in (256, 512, 1024):
        folder = Path(args.work).resolve() / "memory" / str(size)
        if not (folder / "labels.tif").is_file():
            command = [args.geoglot, "synth", "--seed", "7", "--size", str(size), "--gsd", "10", "--sensor", "sentinel-2-l2a"]
            subprocess.run([*command, "--clouds", "0.3", "--out", folder], check=True, stdout=subprocess.DEVNULL)
        command = [args.geoglot, "segment", "--model", args.model, "--out", folder / "mask.tif", "--classes", "water; woodland; road"]
        command += ["--scene", f"optical={folder}/sentinel-2-l2a.tif:sensor=sentinel-2-l2a,sar={folder}/sar.tif:sensor=sentinel-1-rtc"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{command} failed")
        seconds = used.ru_utime + used.ru_stime
        rows.append({"side": size, "peak_mib": round(used.ru_maxrss / 1024), "cpu_seconds": round(seconds, 1)})
        print(rows[-1])
    return {"classes": 3, "rows": rows}


def picture(args) -> None:
    """A test scene: optical, SAR, labels, the map, and the map of a network that never saw two of the classes, asked by their words."""
    import numpy
    import rasterio
    from PIL import Image, ImageDraw

    folder = scenes(args) / f"clouds-{TRAINED}" / "scene-107"
    read = lambda path: rasterio.open(path).read()
    legend = {}
    for block in (folder / "legend.toml").read_text().split("[[class]]")[1:]:
        entry = dict(line.split(" = ", 1) for line in block.strip().splitlines() if " = " in line)
        legend[int(entry["id"])] = json.loads(entry["name"])
    palette = [(60, 110, 200), (90, 90, 90), (200, 60, 60), (230, 130, 60), (150, 210, 110), (0, 220, 160), (170, 120, 70), (240, 220, 100)]
    palette += [(150, 70, 150), (120, 160, 60), (90, 140, 110), (20, 90, 40)]
    colours = {name: palette[k % len(palette)] for k, name in enumerate(legend.values())}

    def classes(path, names):
        ids = read(path)[0]
        image = numpy.full((*ids.shape, 3), 255, numpy.uint8)
        for number, name in names.items():
            image[ids == number] = colours[name]
        return image

    def stretched(bands, low, high):
        return (numpy.clip((bands - low) / (high - low), 0, 1) * 255).astype(numpy.uint8).transpose(1, 2, 0)

    def segment(table, extra):
        out = Path(args.work) / "picture" / f"{table}.tif"
        command = [args.geoglot, "segment", "--model", Path(args.work) / table / "runs" / "whole-network-1" / "fold-1", "--out", out, *extra]
        command += ["--scene", f"optical={folder}/sentinel-2-l2a.tif:sensor=sentinel-2-l2a,sar={folder}/sar.tif:sensor=sentinel-1-rtc"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return out

    optical = read(folder / "sentinel-2-l2a.tif")[[3, 2, 1]].astype(float) / 10_000
    vv, vh = read(folder / "sar.tif").astype(float)
    words = list(legend.values())
    unseen = segment("held-out", ["--classes", "; ".join(words), "--lift", "0.2"])
    panels = [
        ("optical, clouds and shadows", stretched(optical, 0.0, 0.3)),
        ("SAR: VV, VH, VV", stretched(numpy.stack([vv, vh + 7, vv]), -25, 0)),
        ("labels", classes(folder / "labels.tif", legend)),
        ("map, all classes trained", classes(segment("synthetic", []), legend)),
        (f"never trained: {' and '.join(HELD)}", classes(unseen, dict(enumerate(words, 1)))),
    ]
    side, gap, top = 256, 8, 22
    canvas = Image.new("RGB", (len(panels) * (side + gap) - gap, top + side + 46), "white")
    draw = ImageDraw.Draw(canvas)
    for k, (title, image) in enumerate(panels):
        canvas.paste(Image.fromarray(image).resize((side, side), Image.NEAREST), (k * (side + gap), top))
        draw.text((k * (side + gap) + 2, 5), title, fill="black")
    for k, (name, colour) in enumerate(colours.items()):
        x, y = 4 + (k % 6) * 215, top + side + 8 + 18 * (k // 6)
        draw.rectangle((x, y, x + 12, y + 12), fill=colour)
        draw.text((x + 18, y), name, fill="black")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(args.out, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["synthetic", "terramind", "memory", "picture"])
    parser.add_argument("--geoglot", default="target/release/geoglot")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variant", action="append", default=[], help="only rows of this name")
    parser.add_argument("--set", action="append", default=[], help="changes of the recipe, such as train.epochs=2")
    parser.add_argument("--model", help="trained model for `memory`")
    parser.add_argument("--work", default="out/tsmnet-bench")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.geoglot = str(Path(args.geoglot).resolve())
    if args.what == "memory" and not args.model:
        parser.error("memory needs --model")
    if args.what == "picture":
        args.out = args.out or ROOT / "docs" / "images" / "open-segmentation.png"
        return picture(args)
    record = {"date": datetime.date.today().isoformat(), "machine": machine()}
    record |= {"synthetic": synthetic, "terramind": terramind, "memory": memory}[args.what](args)
    out = args.out or RUNS / f"tsmnet-{args.what}.json"
    out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
