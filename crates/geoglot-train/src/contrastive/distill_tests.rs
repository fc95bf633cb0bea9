use std::path::{Path, PathBuf};

use burn::tensor::Device;
use geoglot_models::text::{HashedWords, TextTower};
use geoglot_models::vision::load_image_tower;
use geoglot_nn::weights::Checkpoint as Weights;

use super::tests::{StopAt, Toy, data, five, recipe, rgb};
use super::*;
use crate::checkpoint::Checkpoint;
use crate::flat::flatten;
use crate::{Ended, RunFolder, Silent};

/// A narrow published tower with random weights; 3 × 3 patches of width 24.
pub(super) fn teacher(fixture: &str, section: &str, cache: Option<PathBuf>) -> Teacher {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../geoglot-models/tests/fixtures/vision").join(fixture);
    let folder = folder.to_str().unwrap();
    let section = format!("teacher = {folder:?}\n{section}");
    let tower = load_image_tower(folder, &Device::flex()).unwrap();
    Teacher { section: toml::from_str(&section).unwrap(), tower, cache }
}

fn taught(teachers: &[Teacher]) -> Beginning<'_> {
    Beginning { teachers, ..Beginning::default() }
}

#[test]
fn a_student_of_two_teachers_learns_and_resumes_and_leaves_its_heads_behind() {
    let device = Device::flex();
    let (first, second) = (Toy::new(rgb(), 23, 1), Toy::new(five(), 20, 2));
    let data = data(&[&first, &second]);
    let recipe = recipe(&["train.epochs=10", "train.batch=5"]);
    let config = recipe.model.config(384);
    let teachers = [
        teacher("siglip-timm", "name = 'siglip'\nweight = 20", None),
        teacher(
            "dinov2-hf",
            "weight = 20\nresize = 'bilinear'\nconditional = false\nloss = { over = 'patch', mse = 0 }",
            None,
        ),
    ];
    let whole = pretrain_with(taught(&teachers), &config, &data, &recipe.train, None, &device, &mut Silent).unwrap();
    let names: Vec<&str> = whole.history[0].parts.keys().map(String::as_str).collect();
    assert_eq!(names, ["contrastive", "siglip", "dinov2-hf"]);
    for name in names {
        let (start, end) = (whole.history[0].parts[name], whole.history[9].parts[name]);
        assert!(end < 0.97 * start, "{name}: {start} → {end}");
    }
    let record = &whole.history[0];
    let sum = record.parts["contrastive"] + 20.0 * record.parts["siglip"] + 20.0 * record.parts["dinov2-hf"];
    assert!((record.loss - sum).abs() < 1e-3 * sum, "{} {sum}", record.loss);
    // Teachers change the tower.
    let alone = pretrain(&config, &data, &recipe.train, None, &device, &mut Silent).unwrap();
    assert!(alone.history[0].parts.is_empty());
    assert_ne!(flatten(&alone.model), flatten(&whole.model));

    let folder = tempfile::tempdir().unwrap();
    let place = |resume| Some(RunFolder { folder: folder.path(), run: "a", resume });
    let stop = &mut StopAt(0, 30);
    let stopped = pretrain_with(taught(&teachers), &config, &data, &recipe.train, place(false), &device, stop).unwrap();
    assert_eq!(stopped.ended, Ended::Interrupted);
    let kept = Checkpoint::load(folder.path(), "a").unwrap().unwrap();
    // 3 × 3 convolutions of 16 to 24 channels with biases, and the first teacher's wavelength layers.
    let heads = 2 * (16 * 24 * 9 + 24) + (128 * 128 + 128) + (128 * 32 + 32);
    assert_eq!(kept.weights.len(), flatten(&whole.model).len() + heads);
    let resumed =
        pretrain_with(taught(&teachers), &config, &data, &recipe.train, place(true), &device, &mut Silent).unwrap();
    assert_eq!(flatten(&resumed.model), flatten(&whole.model));
    let log = std::fs::read_to_string(folder.path().join("history.csv")).unwrap();
    assert!(log.starts_with("epoch,loss,") && log.lines().next().unwrap().ends_with(",\"siglip\",\"dinov2-hf\""));

    save_tower(folder.path(), &resumed.model, &config, HashedWords::new().space(), None).unwrap();
    let saved = Weights::open(folder.path().join("model.safetensors")).unwrap();
    assert!(saved.names().all(|n| !n.contains("projector") && !n.contains("modulation")));
    load_image_tower(folder.path().to_str().unwrap(), &device).unwrap();
}

#[test]
fn kept_features_are_those_computed_on_the_fly() {
    let device = Device::flex();
    let toys = [Toy::new(rgb(), 11, 1), Toy::new(five(), 10, 2)];
    let data = data(&[&toys[0], &toys[1]]);
    let recipe = recipe(&["train.epochs=2", "train.batch=5", "train.crop=[1.0, 1.0]", "train.turns=false"]);
    let config = recipe.model.config(384);
    let folder = tempfile::tempdir().unwrap();
    let run = |cache: Option<PathBuf>| {
        let teachers = [teacher("timm-dinov2-reg", "name = 'registers'", cache)];
        flatten(
            &pretrain_with(taught(&teachers), &config, &data, &recipe.train, None, &device, &mut Silent).unwrap().model,
        )
    };
    let expected = run(None);
    let files = || -> Vec<_> {
        let mut all: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap()).collect();
        all.sort_by_key(std::fs::DirEntry::path);
        all.into_iter().map(|e| (e.path(), e.metadata().unwrap().modified().unwrap())).collect()
    };
    for _ in 0..2 {
        // A teacher that looks at one image gives the numbers of a batch but for rounding.
        let found = run(Some(folder.path().to_owned()));
        // Adam makes whole steps of the least gradients: single weights may differ by rounding's sign, not all of them.
        let apart: f32 = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).sum();
        assert!(apart / (expected.len() as f32) < 1e-5, "{}", apart / expected.len() as f32);
    }
    let made = files();
    assert_eq!(made.len(), 2);
    run(Some(folder.path().to_owned()));
    assert_eq!(files(), made);
}

#[test]
fn teachers_that_do_not_fit_are_refused() {
    let device = Device::flex();
    let toy = Toy::new(rgb(), 20, 1);
    let small = recipe(&[]);
    let run = |teacher: Teacher| {
        let config = small.model.config(384);
        let data = data(&[&toy]);
        pretrain_with(taught(&[teacher]), &config, &data, &small.train, None, &device, &mut Silent)
            .unwrap_err()
            .to_string()
    };
    let error = run(teacher("siglip-timm", "head = 'none'", None));
    assert!(error.contains("siglip-timm") && error.contains("width 24") && error.contains("width 16"), "{error}");
    for (change, word) in [
        ("teacher = ''", "empty"),
        ("teacher = 'a'\nweight = 0", "above 0"),
        ("teacher = 'a'\nweight = -1", "above 0"),
        ("teacher = 'a'\nloss = { smooth_l1 = 0, mse = 0, cosine = 0 }", "not all 0"),
        ("teacher = 'a'\nembedding = 7", "even"),
        ("teacher = 'a'\ncache = 'c'", "train.crop"),
        ("teacher = 'x/a'\n[[distill]]\nteacher = 'y/a'", "different names"),
        ("teacher = 'a'\nheads = 3", "heads"),
    ] {
        let text = format!("name = 'x'\n[[data.set]]\npath = 'a'\n[[distill]]\n{change}");
        let error = PretrainRecipe::parse(&text, "x.toml", PathBuf::new(), &[]).unwrap_err().to_string();
        assert!(error.contains(word), "{change}: {error}");
    }
}
