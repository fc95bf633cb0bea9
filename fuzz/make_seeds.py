"""Writes the seeds of the fuzz targets: tiny whole files of every kind, `python make_seeds.py`.

Needs numpy, scipy, h5py, pandas with pyarrow, rasterio, torch and safetensors, and cargo. The seeds are committed, so that fuzzing and the tests need only cargo.
"""

import io
import json
import os
import pickle
import struct
import subprocess
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas
import rasterio
import scipy.io
import torch
from rasterio.transform import from_origin
from safetensors.numpy import save as save_safetensors

HERE = Path(__file__).parent
REPO = HERE.parent
NUL = b"\0"


def put(target, name, data):
    folder = HERE / "seeds" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def memory(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def npy(array):
    return memory(lambda b: np.save(b, array))


def mat(compress):
    cube = np.arange(5 * 4 * 2, dtype=np.int16).reshape(5, 4, 2)
    variables = {"cube": cube, "text": "abc", "more": {"a": 1.0}, "map": np.eye(5) > 0}
    return memory(lambda b: scipy.io.savemat(b, variables, do_compression=compress))


def hdf5(write, **options):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        write(file)
    return buffer.getvalue()


def cube(file):
    file.create_dataset("cube", data=np.arange(60, dtype="f4").reshape(3, 5, 4), chunks=(1, 5, 4), compression="gzip", shuffle=True)
    file.create_dataset("labels", data=np.ones((5, 4), "u1"))


def cf(file):
    for name, values, units in [("lat", np.linspace(46, 45, 5), "degrees_north"), ("lon", np.linspace(11, 12, 4), "degrees_east")]:
        axis = file.create_dataset(name, data=values)
        axis.make_scale(name)
        axis.attrs["units"] = np.bytes_(units)
    data = file.create_dataset("t2m", data=np.arange(20, dtype="i2").reshape(5, 4))
    data.attrs.update({"scale_factor": 0.01, "add_offset": 273.15, "_FillValue": np.array([-1], "i2")})
    data.dims[0].attach_scale(file["lat"])
    data.dims[1].attach_scale(file["lon"])


def netcdf3():
    buffer = io.BytesIO()
    file = scipy.io.netcdf_file(buffer, "w", mmap=False)
    file.createDimension("y", 5)
    file.createDimension("x", 4)
    variable = file.createVariable("height", "f4", ("y", "x"))
    variable[:] = np.arange(20).reshape(5, 4)
    variable.units = "m"
    file.flush()
    return buffer.getvalue()


def tiff(**options):
    bands, kind = options.pop("bands", 2), options.pop("dtype", "uint16")
    profile = dict(driver="GTiff", width=20, height=17, count=bands, dtype=kind, crs="EPSG:32632",
                   transform=from_origin(500000, 5000000, 10, 10), nodata=0)
    profile.update(options)
    with rasterio.MemoryFile() as held:
        with held.open(**profile) as file:
            file.write((np.arange(bands * 17 * 20) % 251).reshape(bands, 17, 20).astype(kind))
            file.scales = [0.5] * bands
            file.set_band_description(1, "B04 & red")
            file.update_tags(1, wavelength="665")
        return held.read()


ENVI = """ENVI
description = { a scene }
samples = 4
lines = 5
bands = 3
header offset = 0
data type = 1
interleave = bil
byte order = 0
map info = {UTM, 1.0, 1.0, 500000.0, 5000000.0, 10.0, 10.0, 32, North, WGS-84, units=Meters, rotation=10}
wavelength units = Nanometers
wavelength = { 450.0,
 550.0, 650.5 }
fwhm = {10, 10, 10}
band names = {blue, green, red}
data ignore value = 255
data gain values = {0.1, 0.1, 0.2}
"""
WKT = 'PROJCS["WGS_1984_UTM_Zone_33S",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137,298.257]]],UNIT["Meter",1],AUTHORITY["EPSG","32733"]]'


def rasters():
    put("envi_header", "utm", ENVI)
    wkt = f"coordinate system string = {{{WKT}}}\n"
    put("envi_header", "wkt", "\n".join(l for l in ENVI.splitlines() if "map info" not in l) + "\nreflectance scale factor = 10000\n" + wkt)
    put("envi_header", "latlon", "ENVI\nsamples=2\nlines=2\ndata type=4\nmap info={Geographic Lat/Lon,1,1,11,46,0.01,0.01,WGS-84}\n")
    for name, array in [("hwc", np.zeros((5, 4, 2), "f4")), ("fortran", np.asfortranarray(np.zeros((5, 4), ">i2"))), ("bool", np.eye(5) > 0)]:
        put("npy_header", name, npy(array))
        put("array_file", f"npy-{name}", npy(array) + b"\1")
    for name, compress in [("plain", False), ("deflate", True)]:
        put("mat5", name, mat(compress))
        put("array_file", f"mat-{name}", mat(compress) + b"\0")
    put("array_file", "hdf5", hdf5(cube) + b"\2")
    put("array_file", "hdf5-latest", hdf5(cube, libver="latest") + b"\2")
    put("array_file", "netcdf4", hdf5(cf, libver="latest", track_order=True) + b"\3")
    put("array_file", "netcdf3", netcdf3() + b"\3")
    put("array_file", "envi", ENVI.encode() + b"\4")
    put("tiff", "strips", tiff())
    put("tiff", "tiles-deflate", tiff(tiled=True, blockxsize=16, blockysize=16, compress="deflate", predictor=2))
    put("tiff", "big-planar-lzw", tiff(BIGTIFF="YES", interleave="band", compress="lzw", ENDIANNESS="BIG"))
    put("tiff", "float-zstd", tiff(dtype="float32", compress="zstd", crs="EPSG:4326", bands=1))
    put("tiff", "custom-crs", tiff(dtype="uint8", bands=1, crs="+proj=laea +lat_0=10 +lon_0=20 +ellps=GRS80", SPARSE_OK=True))
    product = "S2A_MSIL2A_20200601T101031_N0400_R022_T32TPS\n"
    put("folder_names", "sentinel-2", product + "T32TPS_B02_10m\nT32TPS_B8A_20m\nT32TPS_SCL_20m\n")
    put("folder_names", "landsat", "LC08_L2SP_192028_20200601\nLC08_L2SP_192028_SR_B4\nLC08_L2SP_192028_ST_B10\n")
    put("folder_names", "numbers", "scene\nband_1\nband_10\nband_9\n")
    for name, text in [("keys", "hsi=scene.mat:sensor=aisa-eagle,variable=HSI,axes=chw"), ("bands", r"dem=C:\a.tif:B02+B03"),
                       ("numbers", "./a=b.tif:scale=0.1,offset=-1,nodata=-9999,resampling=nearest")]:
        put("scene_arg", name, text)
    put("axes", "one", "cube[3,0]")
    put("axes", "many", "a/b[1],c, d[0,2]")
    put("axes", "shape", bytes([0, 0, 2, 0, 0, 100, 0, 0, 100]))


def tables():
    put("sensors", "other", (REPO / "crates/geoglot-core/sensors/other.toml").read_text())
    put("sensors", "even", '[[sensor]]\nid = "a"\nname = "A"\nkind = "hyperspectral"\nunit = "reflectance"\n'
        'evenly_spaced = { prefix = "B", count = 3, first = 0.45, last = 0.65, fwhm = 0.02 }\n')
    legend = (REPO / "recipes/legends/trento.toml").read_text()
    put("legend", "toml", legend)
    put("legend", "json", json.dumps({"unlabelled": 0, "class": [{"id": 1, "name": "water", "color": "#0011ff", "prompts": ["the sea"]}]}))
    for name, used in [("trento", "hsi"), ("terramind-transfer", "s2")]:
        overrides = f'train.epochs=3\ndata.scene.0.labels=m.tif\nmodel.inputs=["{used}"]'
        put("recipe", name, (REPO / f"recipes/{name}.toml").read_bytes() + NUL + overrides.encode())
    for name, tensor in [("albert", "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"), ("clip", "text_model.encoder.layers.1.self_attn.q_proj.weight")]:
        put("key_map", name, (REPO / f"crates/geoglot-models/src/text/keymaps/{name}.toml").read_bytes() + NUL + tensor.encode())
    put("model_registry", "one", '[[model]]\nname = "small"\naliases = ["s"]\nabout = "x"\nkind = "text-tower"\nspace = "small-4"\nwidth = 4\nlicence = "MIT"\n'
        'repo = "o/small"\nfiles = ["config.json"]\nweights = ["model.safetensors"]\n[model.sha256]\n"config.json" = "00"\n')
    put("model_registry", "repository", "owner/name@main")


def weights():
    state = {"w": torch.arange(6.0).reshape(3, 2).t(), "b": torch.zeros(3, dtype=torch.float16)}
    for name, value in [("flat", state), ("nested", {"state_dict": state, "epoch": 3, "best": 0.5, "args": ("x", None, [1, 2])})]:
        data = memory(lambda b: torch.save(value, b))
        put("torch_zip", name, data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            put("pickle", name, archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl"))))
    data = save_safetensors({"a": np.zeros((2, 3), "f4"), "b": np.zeros(3, "i8")}, {"format": "pt"})
    length = struct.unpack("<Q", data[:8])[0]
    put("safetensors_header", "two", struct.pack("<Q", len(data) - 8 - length) + data[8 : 8 + length])
    floats = np.array([1.0, -2.5], "f4")
    state = json.dumps({"run": "a", "epochs": 3, "best_epoch": 2, "history": []})
    put("checkpoint", "two", save_safetensors({"weights": floats, "best": floats, "ema": floats, "optimizer": np.array([1, 2], "u1")}, {"state": state}))
    members = [("x/__init__.py", b"pass"), ("x/model/config.json", b"{}"), ("x/model/model.safetensors", b"weights"), ("x/model/1_Pooling/config.json", b"{}")]
    for name, method in [("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)]:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for member, content in members:
                archive.writestr(zipfile.ZipInfo(member), content, method)
        put("wheel", name, buffer.getvalue())
    bert = {"model_type": "bert", "vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
            "hidden_act": "gelu", "max_position_embeddings": 16, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 1}
    put("text_config", "bert", json.dumps(bert))
    put("text_config", "albert", json.dumps({**bert, "embedding_size": 4, "num_hidden_groups": 1, "inner_group_num": 1}))
    put("text_config", "clip", json.dumps({"projection_dim": 8, "text_config": {**bert, "hidden_act": "quick_gelu"}}))
    text = {"context_length": 77, "vocab_size": 50, "width": 8, "heads": 2, "layers": 2}
    put("text_config", "open-clip", json.dumps({"model_cfg": {"embed_dim": 8, "quick_gelu": True, "text_cfg": text}}))
    put("clip_merges", "merges", b"#version: 0.2\nt h\nth e</w>\n")
    vocabulary = {token: k for k, token in enumerate(["w", "a", "t", "e", "r</w>", "<|startoftext|>", "<|endoftext|>", "wa"])}
    put("clip_merges", "vocabulary", b"w a\n" + NUL + json.dumps(vocabulary).encode())
    card = {"system": "mmlgnet", "layout": 1,
            "architecture": {"patch": 11, "encoders": {"hsi": {"channels": 4, "filters": [8, 8], "width": 8}}, "embed": 3, "padding": "reflect"},
            "space": "small-3", "bands": {"hsi": [{"name": "B1"}]}, "normalisation": {"hsi": {}},
            "legend": {"unlabelled": 0, "class": [{"id": 1, "name": "water"}]}, "templates": ["{c}"], "class_features": [[0.0, 0.6, 0.8]],
            "split": "blocks", "license": "MIT", "weights_sha256": "", "training": None}
    put("model_card", "small", json.dumps(card))


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def message(number, data):
    """A field of a protocol-buffer message: a number, or bytes with their length."""
    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    return varint(number << 3 | 2) + varint(len(data)) + data


def towers():
    pieces = [("<unk>", 0.0, 2), ("</s>", 0.0, 3), ("\u2581", -2.0, 1), ("\u2581water", -3.0, 1), ("sea", -3.5, 1), ("a", -4.0, 1), ("<x>", 0.0, 4)]
    model = b"".join(
        message(1, message(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + message(3, kind)) for text, score, kind in pieces
    )
    trainer = message(2, message(3, 1) + message(40, 0))
    put("sentencepiece", "unigram", model + trainer)
    # A character map: length and units of a trie in which `a` leads to a leaf, and what replaces it.
    units = [0] * 512
    units[0], units[256 ^ 97], units[258] = 256 << 10, (256 ^ 97 ^ 258) << 10 | 1 << 8 | 97, 1 << 31
    trie = struct.pack("<512I", *units)
    put("sentencepiece", "charsmap", model + trainer + message(3, message(1, b"nmt") + message(2, struct.pack("<I", len(trie)) + trie + b"bc\0")))
    fixtures = REPO / "crates/geoglot-models/tests/fixtures/vision"
    for name in ["clip-hf", "siglip-hf", "dinov2-reg-hf", "siglip-timm", "timm-dinov2-reg", "geolangbind", "dofa-v2"]:
        processor = fixtures / name / "preprocessor_config.json"
        more = NUL + processor.read_bytes() if processor.exists() else b""
        put("vision_config", name, (fixtures / name / "config.json").read_bytes() + more)
    put("vision_config", "open-clip", (fixtures / "open-clip-gelu/open_clip_config.json").read_bytes())
    put("segment_recipe", "terramind", (REPO / "recipes/terramind-segmentation.toml").read_bytes() + NUL + b"model.taps=[0, 1, 2, 3]\ntrain.epochs=3")
    put("merge_plan", "rounds", "0.9,0.5\n^wavelength=1,0.25\n^blocks\\.(0|1)\\.=0.5,0")
    put("pretrain_recipe", "rsicd", (REPO / "recipes/rsicd-anyband.toml").read_bytes() + NUL + b"train.epochs=3\ntrain.batch=8")


def captions():
    box = lambda *numbers: {"image_id": 7, "category_id": 2, "bbox": list(numbers)}
    images = [{"id": 7, "file_name": "a.png", "width": 100, "height": 50}]
    coco = {"images": images, "annotations": [box(1, 2, 3, 4), box(95.5, 0, 5, 5.25)], "categories": [{"id": 2, "name": "Car"}]}
    put("coco_boxes", "two", json.dumps(coco))
    for path in sorted((REPO / "recipes/captions").glob("*.toml")):
        put("caption_recipe", path.stem, path.read_bytes())
    # Facts and manifests as the program writes them of real data: GEOGLOT is the binary, GEOGLOT_DATA the data of the recipes.
    with tempfile.TemporaryDirectory() as folder:
        for name in ["terramind", "terramind-elevation", "sen1floods11", "ir-ship", "bigearthnet"]:
            out = Path(folder) / name
            subprocess.run([os.environ["GEOGLOT"], "caption", REPO / f"recipes/captions/{name}.toml", "--out", out], check=True)
            line = json.loads((out / "captions.jsonl").read_text().splitlines()[0])
            put("caption_facts", name, json.dumps(line["facts"]).encode() + NUL + line["long"][0].encode())
            put("caption_manifest", name, json.dumps({**line, "image": Path(line["image"]).name}) + "\n")
        source = Path(folder) / "sen1floods11/captions.jsonl"
        subprocess.run([os.environ["GEOGLOT"], "shards", "write", source, "--out", Path(folder) / "shards"], check=True)
        put("shard_index", "floods", (Path(folder) / "shards/shards.json").read_bytes())
    shards = REPO / "crates/geoglot-data/tests/shards/fixtures"
    for path in sorted(shards.glob("*.tar")):
        put("shard", path.stem, path.read_bytes())


class BandInfo:
    """Stands for a class of GEO-Bench, of which a pickle keeps the name and the attributes."""

    def __init__(self, **values):
        self.__dict__.update(values)


def lists():
    info = BandInfo(name="04 - Red", wavelength=0.665, spatial_resolution=10)
    sample = {"label": 3, "04 - Red": {"band_info": info, "spatial_resolution": 10.0, "transform": None}}
    specs = BandInfo(dataset_name="m-x", label_type=BandInfo(n_classes=2, _class_names=["a", "b"]))
    for target in ["pickle_records", "geobench_record"]:
        put(target, "sample", pickle.dumps(sample, 4))
        put(target, "multi", pickle.dumps({**sample, "label": np.array([0, 1, 1])}, 2))
        put(target, "specs", pickle.dumps(specs, 4))
    put("geobench_record", "text", repr(pickle.dumps(sample, 4)))
    sentences = [{"raw": "a lake"}, {"raw": "water", "tokens": ["water"]}]
    put("caption_json", "karpathy", json.dumps({"images": [{"filename": "a.png", "split": "train", "sentences": sentences}]}))
    put("caption_json", "records", json.dumps([{"file": "a.png", "captions": ["a", "b"], "class": "lake"}, {"file": "b.png", "labels": ["x", "y"]}]))
    put("caption_table", "captions", "filepath,title,split\na.png,\"a road, with trees\",train\nb.png,water,test\n")
    put("caption_table", "classes", b"filepath,label\na.png,1\nb.png,dam\n" + NUL + b"dam\nbridge\n")
    put("caption_lists", "two", b"a.tif\nb.tif\n" + NUL + b"a1\na2\nb1\nb2\n")
    put("bigearthnet_labels", "patch", json.dumps({"labels": ["Peatbogs", "Airports"], "projection": ""}).encode() + NUL + b"S2A_1,S1A_1\n")
    rows = {"patch_id": ["S2A_1_T_1_2", "S2B_2_T_3_4"], "labels": [["Pastures", "Marine waters"], ["Arable land"]], "split": ["train", "test"], "s1_name": ["S1A_1_2_3", None]}
    put("bigearthnet_table", "parquet", memory(lambda b: pandas.DataFrame(rows).to_parquet(b)))
    put("bigearthnet_table", "csv", "patch_id,labels,split,s1_name\nS2A_1_T_1_2,\"['Pastures' 'Marine waters']\",train,S1A_1_2_3\n")


def language_models():
    """A GGUF model of one block and six tokens; configurations, templates and adapters of the fixtures of geoglot-models."""

    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def number(key, value):
        return text(key) + struct.pack("<II", 4, value)

    def array(key, kind, values):
        return text(key) + struct.pack("<IIQ", 9, kind, len(values)) + b"".join(values)

    sizes = {"block_count": 1, "embedding_length": 4, "feed_forward_length": 4, "attention.head_count": 1, "attention.head_count_kv": 1, "context_length": 16}
    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        *[number(f"llama.{k}", v) for k, v in sizes.items()],
        text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5),
        text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("llama"),
        array("tokenizer.ggml.tokens", 8, [text(t) for t in ["<unk>", "<s>", "</s>", "▁", "a", "▁a"]]),
        array("tokenizer.ggml.scores", 6, [struct.pack("<f", -i) for i in range(6)]),
        array("tokenizer.ggml.token_type", 5, [struct.pack("<i", v) for v in [2, 3, 3, 1, 1, 1]]),
        number("tokenizer.ggml.eos_token_id", 2),
    ]
    shapes = {"token_embd": [4, 6], "output_norm": [4]}
    shapes |= {f"blk.0.{n}": [4, 4] for n in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]}
    shapes |= {f"blk.0.{n}": [4] for n in ["attn_norm", "ffn_norm"]}
    infos, data = [], b""
    for name, shape in shapes.items():
        infos.append(text(f"{name}.weight") + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", 0, len(data)))
        values = (0.01 * np.arange(np.prod(shape))).astype("<f4").tobytes()
        data += values + b"\0" * (-len(values) % 32)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs + infos)
    put("gguf", "tiny", header + b"\0" * (-len(header) % 32) + data)
    fixtures = REPO / "crates/geoglot-models/tests/fixtures/llm"
    put("adapter_config", "lora", json.dumps(json.loads((fixtures / "smollm2-adapter/adapter_config.json").read_text())))
    for seed, folder in [("chatml", "smollm2"), ("llama-2", "llama-2")]:
        put("chat_template", seed, (fixtures / folder / "chat_template.jinja").read_text())
    for folder in ["llama-3", "qwen2"]:
        put("llm_config", folder, (fixtures / folder / "config.json").read_text())
    recipe = """name = "x"
kind = "spectral-llava"
[data]
conversations = "c.json"
[model]
tower = "t"
llm = "smollm2-135m-q4"
tokens = { pooled = 8 }
[model.lora]
rank = 8
alpha = 16.0
dropout = 0.05
targets = ["q_proj", "down_proj"]
[align]
epochs = 1
[tune]
batch = 2
effective_batch = 8
"""
    put("llava_recipe", "both", recipe.encode() + NUL + b"seed=3\ntune.epochs=2\n")


def archives():
    """The archive's own formats, by the crate that writes them."""
    subprocess.run(["cargo", "run", "--release", "-p", "geoglot-index", "--example", "fuzz_seeds", "--", str(HERE / "seeds")], cwd=REPO, check=True)
    outline = {"type": "MultiPolygon", "coordinates": [[[[179, 1], [180, 1], [180, 2], [179, 1]]], [[[-180, 1], [-179, 1], [-180, 2], [-180, 1]]]]}
    put("geojson", "multi", json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "properties": None, "geometry": outline}]}))


if __name__ == "__main__":
    rasters()
    tables()
    weights()
    towers()
    lists()
    captions()
    language_models()
    archives()
