//! Image–text training through the binary: from a start and with teachers, logs, what is saved, resume, refusals, ablations, a full disk.

#[allow(dead_code)]
mod common;

use common::{Work, fixture};
use geoglot::raster::preview::Image;
use serde_json::{Value, json};

/// Images of two colours, and a recipe that begins with one published tower and learns from it and another.
fn work() -> Work {
    let work = Work::empty();
    let records: Vec<Value> = (0..24usize)
        .map(|i| {
            let caption = ["red", "blue"][i % 2];
            let own = [[210u8, 30, 30, 255], [30, 30, 210, 255]][i % 2];
            let grain = |c: usize, r: usize| own.map(|v| v.saturating_sub(((c * 5 + r * 3 + i * 7) % 29) as u8));
            Image::from_fn(14, 14, grain).save_png(&work.path(format!("images/{i}.png"))).unwrap();
            json!({ "file": format!("{i}.png"), "captions": [caption] })
        })
        .collect();
    work.write("captions.json", serde_json::to_string(&records).unwrap());
    let tower = |name: &str| fixture("geoglot-models", &format!("vision/{name}"));
    let recipe = format!(
        r#"
        name = "taught"
        [[data.set]]
        path = "captions.json"
        [model]
        size = 12
        patch = 4
        width = 24
        depth = 2
        heads = 4
        hidden = 32
        wavelength = {{ embedding = 16, weight_tokens = 4, heads = 2, hidden = 16, layout = "band-row-column-width", padding = 0 }}
        values = "byte"
        start = {siglip:?}
        [text]
        tower = "hashed-words"
        [train]
        epochs = 4
        batch = 8
        chunk = 3
        clip = 1.0
        ema = 0.5
        learning_rate = 0.003
        warmup = 2
        crop = [1.0, 1.0]
        [[train.group]]
        names = "^blocks"
        rate = 0.5
        [[distill]]
        teacher = {siglip:?}
        name = "siglip"
        weight = 2
        [[distill]]
        teacher = {dino:?}
        name = "dino"
        resize = "bilinear"
        cache = "features"
        "#,
        siglip = tower("siglip-timm"),
        dino = tower("dinov2-hf")
    );
    work.write("recipe.toml", recipe);
    work
}

#[test]
fn a_recipe_with_a_start_and_teachers_runs_resumes_and_is_recorded() {
    let work = work();
    work.run("train recipe.toml --out whole").ok();
    let log = String::from_utf8(work.read("whole/history.jsonl")).unwrap();
    let epochs: Vec<Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for name in ["contrastive", "siglip", "dino"] {
        let loss = |k: usize| epochs[k]["parts"][name].as_f64().unwrap();
        assert!(loss(3) < loss(0), "{name}: {log}");
    }
    let run = work.json("whole/run.json");
    assert_eq!(run["results"]["start"].as_str().unwrap().len(), 64);
    assert!(run["results"]["last loss, dino"].is_number() && run["results"]["teacher dino"].is_string());
    let features = work.files("features");
    assert!(features.len() == 1 && features[0].starts_with("dino-"), "{features:?}");
    // The heads stay in the checkpoint, and the written recipe runs again to the same weights.
    let weights = geoglot::nn::weights::Checkpoint::open(work.path("whole/model.safetensors")).unwrap();
    assert!(weights.names().all(|n| !n.starts_with("heads")));
    std::fs::copy(work.path("whole/recipe.toml"), work.path("again.toml")).unwrap();
    work.run("train again.toml --out again").ok();
    assert_eq!(work.read("again/model.safetensors"), work.read("whole/model.safetensors"));

    let line = "train recipe.toml --out whole --resume --set train.learning_rate=0.002 --set model.values=sensor-range";
    let message =
        work.run(line).fails(1, &["train.learning_rate: 0.003 before, 0.002 now", "model.values", "another --out"]);
    assert!(!message.contains("train.epochs"), "{message}");
    assert_eq!(work.files("features").len(), 1);
}

#[test]
fn features_of_teachers_are_kept_in_shards_and_learnt_from() {
    use geoglot::data::shards::{OnFault, ReadOptions, ShardFolder, WriteOptions, annotate};
    use std::collections::BTreeMap;
    let work = work();
    work.run("shards write captions.json --images images --out plain").ok();
    work.edit("recipe.toml", "path = \"captions.json\"", "path = \"plain\"");
    work.edit("recipe.toml", "cache = \"features\"", "stored = true");
    work.run("train recipe.toml --out x").fails(1, &["teacher dino", "teacher-dino-", "geoglot shards teach"]);
    let said = work.run("shards teach recipe.toml --out taught").ok();
    assert!(said.contains("24 samples"), "{said}");
    work.run("shards verify taught").ok();
    work.run("shards teach recipe.toml --out taught").fails(1, &["holds shards already"]);
    work.run("shards teach recipe.toml --out x --set data.set.0.path=\"images\"").fails(1, &["holds no shards"]);

    work.run("train recipe.toml --out kept --set data.set.0.path=\"taught\"").ok();
    work.edit("recipe.toml", "stored = true", "");
    work.run("train recipe.toml --out live").ok();
    let last = |name: &str| work.json(&format!("{name}/run.json"))["results"]["last loss, dino"].as_f64().unwrap();
    assert!((last("kept") - last("live")).abs() < 1e-3 * last("live"), "{} {}", last("kept"), last("live"));

    // Features of another shape under the right name, and a teacher that was taught otherwise.
    work.edit("recipe.toml", "resize = \"bilinear\"", "resize = \"bilinear\"\n        stored = true");
    let folder = ShardFolder::open(&work.path("taught")).unwrap();
    let first = folder.catalogue(&ReadOptions::default(), OnFault::Fail).unwrap().read(0).unwrap();
    let name = first.teachers.keys().find(|n| n.starts_with("dino-")).unwrap().clone();
    let small = ndarray::ArrayD::<f32>::zeros(vec![2, 3]);
    annotate(&folder, &work.path("small"), "x", 4, WriteOptions::default(), |some| {
        Ok::<_, geoglot::data::shards::Error>(vec![BTreeMap::from([(name.clone(), small.clone())]); some.len()])
    })
    .unwrap();
    let line = "train recipe.toml --out x --set data.set.0.path=\"small\"";
    work.run(line).fails(1, &[&format!("teacher-{name}.npy"), "[2, 3]", "(patches, channels)"]);
    let line = "train recipe.toml --out x --set data.set.0.path=\"taught\" --set data.set.0.bands=[\"red\"]";
    work.run(line).fails(1, &["has no features", "other bands"]);
    work.run("train recipe.toml --out x --set train.crop=[0.5,1.0]").fails(1, &["stored", "train.crop"]);
    assert!(work.files("x").is_empty());
}

#[test]
fn starts_and_teachers_that_do_not_fit_are_said() {
    let work = work();
    let refused = |set: &str, words: &[&str]| {
        work.run(&format!("train recipe.toml --out x --set {set}")).fails(1, words);
        assert!(work.files("x").is_empty(), "{set}: {:?}", work.files("x"));
    };
    refused("model.start=\"no-such-model\"", &["model.start", "no-such-model"]);
    refused("model.depth=3", &["blocks.2."]);
    refused("train.crop=[0.5,1.0]", &["cache", "train.crop"]);
    refused("train.clip=0", &["recipe.toml: --set train.clip=0: train.clip"]);
    refused("distill.2.weight=1", &["--set distill.2.weight=1", "it has 0 (siglip), 1 (dino)"]);
    work.run("train recipe.toml --out x --fold 2").fails(2, &["--fold"]);
    work.run("evaluate recipe.toml --out x").fails(2, &["evaluate zero-shot --model"]);
    work.edit("recipe.toml", "name = \"dino\"", "name = \"dino\"\nhead = \"none\"");
    work.edit("recipe.toml", "width = 24", "width = 20");
    work.edit("recipe.toml", "start = ", "# start = ");
    refused("train.seed=1", &["teacher dino", "width 24", "width 20"]);
}

/// Adds what an ablation measures: retrieval on the images themselves, and pixels of a GEO-Bench set.
fn measured(work: &Work) {
    std::fs::create_dir_all(work.path("m-fields")).unwrap();
    for entry in std::fs::read_dir(fixture("geoglot-data", "datasets/m-fields")).unwrap().flatten() {
        std::fs::copy(entry.path(), work.path("m-fields").join(entry.file_name())).unwrap();
    }
    work.write("m-fields/default_partition.json", r#"{"train": ["one", "two"], "valid": [], "test": ["two"]}"#);
    let dense = "kind = \"segmentation\"\nname = \"fields\"\n[data]\ndataset = \"m-fields\"\n[model]\ntower = \"replaced\"\n\
                 taps = [0, 0, 1, 1]\ntile = 8\ninput = 8\nchannels = 4\nauxiliary = 0\n[train]\nepochs = 1\nbatch = 2\n";
    work.write("fields.toml", dense);
    let more = "
        [[evaluate]]
        protocol = \"retrieval\"
        data = \"captions.json\"
        name = \"captions\"
        [[evaluate]]
        protocol = \"segmentation\"
        recipe = \"fields.toml\"
        [[ablation]]
        name = \"slow\"
        set = [\"train.learning_rate=0.0001\", \"distill=[]\"]
    ";
    let mut text = String::from_utf8(work.read("recipe.toml")).unwrap();
    text += more;
    work.write("recipe.toml", text);
}

#[test]
fn the_variants_of_a_recipe_become_one_table_that_can_be_continued() {
    let work = work();
    work.run("ablate recipe.toml").fails(1, &["[[evaluate]]"]);
    measured(&work);
    let names = ["no teacher", "siglip", "dino", "siglip + dino", "siglip + dino, without wavelengths", "slow"];
    work.run_with("ablate recipe.toml --variant", "none").fails(2, &[&names.join("; ")]);
    // As shell words: names hold blanks.
    let ablate = |seeds: usize, more: &[&str]| {
        let mut command = work.command(&format!("ablate recipe.toml --out a --set train.epochs=1 --seeds {seeds}"));
        command.args(["--variant", "no teacher", "--variant", "siglip + dino", "--variant", "slow"]).args(more);
        common::Ran::new(command).ok()
    };
    let said = ablate(2, &[]);
    for words in ["captions R@1", "fields segmentation mIoU", "points against no teacher", "Student's t"] {
        assert!(said.contains(words), "{said}");
    }
    let table = work.json("a/ablation.json");
    assert_eq!(table["seeds"], json!([0, 1]));
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|r| r["variant"].as_str().unwrap()).collect::<Vec<_>>(), [names[0], names[3], names[5]]);
    for (k, row) in rows.iter().enumerate() {
        let value = |place: &Value| place["value"].as_f64().unwrap();
        for column in 0..2 {
            let runs: Vec<f64> = (0..2).map(|s| value(&row["runs"][s]["figures"][column])).collect();
            assert!(runs.iter().all(|v| (0.0..=1.0).contains(v)));
            assert!((value(&row["figures"][column]) - (runs[0] + runs[1]) / 2.0).abs() < 1e-12);
            if k > 0 {
                let difference = value(&row["figures"][column]) - value(&rows[0]["figures"][column]);
                assert!((value(&row["differences"][column]) - difference).abs() < 1e-12);
            }
        }
        assert_ne!(row["runs"][0]["model"], row["runs"][1]["model"]);
        assert_ne!(row["runs"][0]["model"], rows[(k + 1) % 3]["runs"][0]["model"]);
    }
    let csv = String::from_utf8(work.read("a/ablation.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 3 * 2 * (2 + 1) + 2 * 2, "{csv}");
    // Finished runs stay as they are, a missing one is made again, a new measurement is added, nothing else is trained.
    let made = |name: &str| std::fs::metadata(work.path(name)).unwrap().modified().unwrap();
    let kept = made("a/runs/slow-0/model.safetensors");
    std::fs::remove_dir_all(work.path("a/runs/no-teacher-1")).unwrap();
    ablate(2, &["--resume"]);
    assert_eq!(work.json("a/ablation.json"), table);
    work.edit("recipe.toml", "name = \"captions\"", "name = \"found\"\n metric = \"R@5\"");
    assert!(ablate(1, &["--resume"]).contains("found R@5"));
    assert_eq!(made("a/runs/slow-0/model.safetensors"), kept);
    // Otherwise all is new.
    ablate(1, &[]);
    assert_ne!(made("a/runs/slow-0/model.safetensors"), kept);
    work.edit("recipe.toml", "captions.json\"\n        name", "nowhere\"\n        name");
    work.run("ablate recipe.toml --out b").fails(1, &["found", "nowhere"]);
    assert!(work.files("b").is_empty());
}

#[test]
fn training_measures_as_often_as_it_is_told() {
    let work = work();
    work.run("train recipe.toml --out plain").ok();
    measured(&work);
    work.edit("recipe.toml", "name = \"captions\"", "name = \"captions\"\nevery = 3");
    let said = work.run("train recipe.toml --out out");
    assert!(said.stderr.contains("captions R@1"), "{}", said.stderr);
    said.ok();
    let log = String::from_utf8(work.read("out/history.jsonl")).unwrap();
    let found: Vec<Option<f64>> =
        log.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["figures"]["captions R@1"].as_f64()).collect();
    // Every third epoch, and the last.
    assert!(found[..2] == [None, None] && found[2].is_some() && found.len() == 4, "{log}");
    work.run("evaluate retrieval --model out --data captions.json --text-model hashed-words --no-tsne --out r").ok();
    let rows = work.json("r/report.json")["sections"][0]["table"]["rows"].clone();
    // The row of both directions has no R@1 of its own.
    let each: Vec<f64> = rows.as_array().unwrap().iter().filter_map(|r| r["values"][0]["value"].as_f64()).collect();
    let mean = each.iter().sum::<f64>() / each.len() as f64;
    assert!((found[3].unwrap() - mean).abs() < 1e-9, "{found:?} {rows}");
    assert_eq!(work.read("out/model.safetensors"), work.read("plain/model.safetensors"));
    assert!(!work.path("out/measured").exists());
    assert!(String::from_utf8(work.read("out/history.csv")).unwrap().contains("\"captions R@1\""));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_the_checkpoint_before_it() {
    let work = work();
    work.run("train recipe.toml --out whole --set train.epochs=3").ok();
    let whole = work.read("whole/model.safetensors");
    // One checkpoint has room, a second beside it, before it takes the first one's place, has not.
    let size = work.read("whole/checkpoint.safetensors").len() * 3 / 2;
    std::fs::create_dir(work.path("small")).unwrap();
    let line = work.command("train recipe.toml --out small --set train.epochs=3");
    let words = std::iter::once(line.get_program()).chain(line.get_args()).map(|w| w.to_str().unwrap());
    let script = format!(
        "mount -t tmpfs -o size={size} none small || exit 77; {}; code=$?; mkdir kept; cp small/checkpoint.safetensors kept; ls -a small; exit $code",
        words.collect::<Vec<_>>().join(" ")
    );
    let mut command = common::program(&work.path(""));
    let own =
        std::process::Command::new("unshare").args(["-rm", "sh", "-c", &script]).current_dir(work.path("")).output();
    let Ok(own) = own else {
        println!("skipped: there is no unshare");
        return;
    };
    let said = String::from_utf8_lossy(&own.stderr).into_owned();
    if own.status.code() == Some(77) || said.contains("unshare:") {
        println!("skipped: no file system of its own can be mounted: {said}");
        return;
    }
    assert_eq!(own.status.code(), Some(1), "{said}");
    assert!(said.contains("checkpoint.safetensors") && said.contains("space"), "{said}");
    let left = String::from_utf8_lossy(&own.stdout).into_owned();
    assert!(!left.contains("tmp") && left.contains("checkpoint.safetensors"), "{left}");
    // What was kept is whole and goes on to the same weights.
    command.args("train recipe.toml --out kept --resume --set train.epochs=3".split(' '));
    common::Ran::new(command).ok();
    assert_eq!(work.read("kept/model.safetensors"), whole);
}
