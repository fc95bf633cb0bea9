//! Pre-training from a start and with teachers through the binary: logs, what is saved, resume, refusals.

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
    work.run("pretrain recipe.toml --out whole").ok();
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
    work.run("pretrain again.toml --out again").ok();
    assert_eq!(work.read("again/model.safetensors"), work.read("whole/model.safetensors"));

    let line =
        "pretrain recipe.toml --out whole --resume --set train.learning_rate=0.002 --set model.values=sensor-range";
    let message =
        work.run(line).fails(1, &["train.learning_rate: 0.003 before, 0.002 now", "model.values", "another --out"]);
    assert!(!message.contains("train.epochs"), "{message}");
    assert_eq!(work.files("features").len(), 1);
}

#[test]
fn starts_and_teachers_that_do_not_fit_are_said() {
    let work = work();
    let refused = |set: &str, words: &[&str]| {
        work.run(&format!("pretrain recipe.toml --out x --set {set}")).fails(1, words);
        assert!(work.files("x").is_empty(), "{set}: {:?}", work.files("x"));
    };
    refused("model.start=\"no-such-model\"", &["model.start", "no-such-model"]);
    refused("model.depth=3", &["blocks.2."]);
    refused("train.crop=[0.5,1.0]", &["cache", "train.crop"]);
    refused("train.clip=0", &["train.clip"]);
    work.edit("recipe.toml", "name = \"dino\"", "name = \"dino\"\nhead = \"none\"");
    work.edit("recipe.toml", "width = 24", "width = 20");
    work.edit("recipe.toml", "start = ", "# start = ");
    refused("train.seed=1", &["teacher dino", "width 24", "width 20"]);
}
