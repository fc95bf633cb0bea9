use burn::tensor::Device;
use geoglot_core::atomic;

use super::batches::{Ready, prepare};
use super::distill::{Lesson, Shown};
use super::distill_tests::teacher;
use super::fit::first_gradients;
use super::tests::{StopAt, Toy, data, five, recipe, rgb};
use super::*;
use crate::checkpoint::Checkpoint;
use crate::flat::flatten;
use crate::{Ended, RunFolder, Silent};

#[test]
fn parts_of_a_batch_give_the_gradients_of_the_whole() {
    let toy = Toy::new(five(), 20, 2);
    let data = data(&[&toy]);
    for loss in ["sigmoid", "softmax"] {
        for count in [0, 2] {
            let teachers: Vec<Teacher> = [
                teacher("siglip-timm", "name = 'siglip'\nweight = 2", None),
                teacher("dinov2-hf", "loss = { over = 'patch' }", None),
            ]
            .into_iter()
            .take(count)
            .collect();
            let gradients = |chunk: usize, devices: usize| {
                let recipe = recipe(&[&format!("train.loss={loss}"), &format!("train.chunk={chunk}")]);
                first_gradients(&teachers, &recipe.model.config(384), &data, &recipe.train, devices).unwrap()
            };
            let (loss, parts, whole) = gradients(10, 1);
            let scale = whole.iter().fold(0f32, |m, g| m.max(g.abs()));
            assert!(scale > 1e-3 && parts.len() == count + 1);
            // 10 images in parts of 1, of 3 (the last has one), of 5; on several devices, of which one may have no part.
            for (chunk, devices) in [(1, 1), (3, 1), (5, 1), (10, 2), (3, 3), (5, 4)] {
                let (other, others, found) = gradients(chunk, devices);
                assert!((other - loss).abs() < 1e-5 * loss.abs(), "{other} {loss}");
                assert!(parts.iter().zip(&others).all(|(a, b)| (a - b).abs() < 1e-5 * a.abs().max(1e-2)));
                assert_eq!(found.len(), whole.len());
                let worst = found.iter().zip(&whole).fold(0f32, |m, (f, w)| m.max((f - w).abs()));
                assert!(worst < 2e-5 * scale, "parts of {chunk} on {devices}: {worst} of {scale}");
            }
        }
    }
}

#[test]
fn every_option_together_resumes_with_the_same_bits() {
    let device = Device::flex();
    let (first, second) = (Toy::new(rgb(), 23, 1), Toy::new(five(), 20, 2));
    let data = data(&[&first, &second]);
    let mut recipe = recipe(&[
        "train.epochs=4",
        "train.chunk=4",
        "train.clip=0.5",
        "train.ema=0.8",
        "train.gradient_checkpointing=true",
    ]);
    let group = |text: &str| -> ParameterGroup { toml::from_str(text).unwrap() };
    recipe.train.group =
        vec![group("names = '^wavelength'\nrate = 0.3\nweight_decay = 0"), group("names = '^position$'\nrate = 0")];
    let config = recipe.model.config(384);
    let run = |keep, stop: usize| pretrain(&config, &data, &recipe.train, keep, &device, &mut StopAt(0, stop)).unwrap();
    let whole = run(None, usize::MAX);
    let folder = tempfile::tempdir().unwrap();
    let place = |resume| Some(RunFolder { folder: folder.path(), run: "a", resume });
    assert_eq!(run(place(false), 10).ended, Ended::Interrupted);
    let resumed = run(place(true), usize::MAX);
    assert!(flatten(&resumed.model) == flatten(&whole.model));
    let kept = Checkpoint::load(folder.path(), "a").unwrap().unwrap();
    assert!(kept.ema.unwrap() == flatten(&resumed.model));
    assert!(kept.weights != flatten(&resumed.model));
}

#[test]
fn averages_groups_and_checkpointing_do_what_they_say() {
    let device = Device::flex();
    let toy = Toy::new(rgb(), 20, 1);
    let data = data(&[&toy]);
    let train = |overrides: &[&str], groups: &[&str]| {
        let mut recipe = recipe(&[overrides, &["train.epochs=2"]].concat());
        recipe.train.group = groups.iter().map(|g| toml::from_str(g).unwrap()).collect();
        pretrain(&recipe.model.config(384), &data, &recipe.train, None, &device, &mut Silent).map(|p| p.model)
    };
    let plain = flatten(&train(&[], &[]).unwrap());
    // A decay of 0 is no average, a norm that is never reached no clipping, a group of the same rate no group.
    assert!(flatten(&train(&["train.ema=0.0", "train.clip=1e9"], &["names = '.'"]).unwrap()) == plain);
    assert!(flatten(&train(&["train.ema=0.5"], &[]).unwrap()) != plain);
    assert!(flatten(&train(&["train.clip=0.1"], &[]).unwrap()) != plain);
    let again = flatten(&train(&["train.gradient_checkpointing=true"], &[]).unwrap());
    assert!(again.iter().zip(&plain).all(|(a, p)| (a - p).abs() < 1e-5));

    let untrained = train(&["train.learning_rate=1e-30"], &[]).unwrap();
    let frozen = train(&[], &["names = '^(wavelength|blocks)'\nrate = 0"]).unwrap();
    // Biases that begin at 0 move by the tiny learning rate.
    let same = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-20);
    assert!(same(flatten(&frozen.vit.blocks), flatten(&untrained.vit.blocks)));
    assert!(same(flatten(&frozen.vit.wavelength), flatten(&untrained.vit.wavelength)));
    assert!(!same(flatten(&frozen.vit.pool), flatten(&untrained.vit.pool)));
    assert_ne!(frozen.log_scale(), untrained.log_scale());
    let half = train(&[], &["names = '.'\nrate = 0.5"]).unwrap();
    let slower = train(&["train.learning_rate=0.005"], &[]).unwrap();
    assert!(flatten(&half).iter().zip(flatten(&slower)).all(|(a, b)| (a - b).abs() < 1e-6));

    for (group, word) in [
        ("names = '^bolcks'", "no parameter has such a name"),
        ("names = '('", "("),
        ("names = '.'\nrate = 0", "every parameter is frozen"),
    ] {
        let error = train(&[], &[group]).unwrap_err().to_string();
        assert!(error.contains(word), "{group}: {error}");
    }
    for (change, key) in
        [("train.chunk=0", "train.chunk"), ("train.clip=-1.0", "train.clip"), ("train.ema=1.0", "train.ema")]
    {
        let text = "name = 'x'\n[[data.set]]\npath = 'a'";
        let error = PretrainRecipe::parse(text, "x", Default::default(), &[change.to_owned()]).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn a_training_that_fails_leaves_its_last_checkpoint() {
    let device = Device::flex();
    let toy = Toy::new(rgb(), 20, 1);
    let mut data = data(&[&toy]);
    let recipe = recipe(&["train.epochs=5"]);
    let config = recipe.model.config(384);
    let folder = tempfile::tempdir().unwrap();
    let train = |data: &PretrainData<'_>, run: &str, resume: bool, stop: usize| {
        let place = Some(RunFolder { folder: folder.path(), run, resume });
        pretrain(&config, data, &recipe.train, place, &device, &mut StopAt(0, stop))
    };
    let identity = r#"{"train": {"batch": 10}}"#;
    train(&data, identity, false, 5).unwrap();
    let file = Checkpoint::path(folder.path());
    let kept = std::fs::read(&file).unwrap();

    // The checkpoint cannot be written: its temporary file's place is taken.
    let blocked = atomic::temporary_name(&file);
    std::fs::create_dir(&blocked).unwrap();
    let error = train(&data, identity, true, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("checkpoint.safetensors"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), kept);
    std::fs::remove_dir(&blocked).unwrap();

    // The loss becomes NaN.
    let texts = std::mem::replace(&mut data.texts, ndarray::Array2::from_elem((5, 384), f32::NAN));
    let error = train(&data, identity, true, usize::MAX).unwrap_err().to_string();
    for word in ["loss became NaN in epoch 3, batch 1", "toy-", "and 6 more of 3 bands", "learning_rate"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), kept);
    data.texts = texts;

    // Another recipe.
    let error = train(&data, r#"{"train": {"batch": 20}}"#, true, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("train.batch: 10 before, 20 now") && error.contains("another --out"), "{error}");
    // What is left is still good.
    assert_eq!(train(&data, identity, true, usize::MAX).unwrap().history.len(), 5);
}

#[test]
fn a_training_begins_with_a_published_towers_weights() {
    use geoglot_models::vision::{ImageOptions, TowerFiles};
    use geoglot_nn::weights::Checkpoint as Weights;
    let device = Device::flex();
    let toy = Toy::new(five(), 20, 2);
    let data = data(&[&toy]);
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../geoglot-models/tests/fixtures/vision");
    let open = |name: &str| TowerFiles::open(&fixtures.join(name), &ImageOptions::default()).unwrap();
    let fitting = ["model.size=12", "model.width=24", "model.depth=2", "model.heads=4", "model.hidden=32"];
    let slow = [&fitting[..], &["train.epochs=1", "train.learning_rate=1e-30"]].concat();
    let recipe = recipe(&slow);
    let config = recipe.model.config(384);
    let siglip = open("siglip-timm");
    let start = Beginning { start: Some(&siglip), ..Beginning::default() };
    let model = pretrain_with(start, &config, &data, &recipe.train, None, &device, &mut Silent).unwrap().model;
    let published = Weights::open(fixtures.join("siglip-timm/model.safetensors")).unwrap();
    let name = published.names().find(|n| n.ends_with("blocks.1.mlp.fc2.bias")).unwrap();
    let found: Vec<f32> = model.vit.blocks[1].fc2.bias.as_ref().unwrap().val().into_data().iter::<f32>().collect();
    assert_eq!(found, published.read_f32(name).unwrap());
    // What the start lacks keeps its own first weights, and all of it learns.
    let fresh = pretrain(&config, &data, &recipe.train, None, &device, &mut Silent).unwrap().model;
    let first = |m: &Contrast| flatten(&m.vit.wavelength)[..200].iter().map(|v| (v * 1e6) as i32).collect::<Vec<_>>();
    assert_eq!(first(&model), first(&fresh));
    let quick = super::tests::recipe(&[&fitting[..], &["train.epochs=2"]].concat()).train;
    let trained = pretrain_with(start, &config, &data, &quick, None, &device, &mut Silent).unwrap().model;
    assert!(flatten(&trained.vit.blocks) != flatten(&model.vit.blocks));
    // Another depth, another kind of tower.
    for (file, change, word) in [
        ("siglip-timm", "model.depth=3", "blocks.2."),
        ("siglip-timm", "model.width=16", "shape"),
        ("dinov2-hf", "model.size=12", "position"),
    ] {
        let files = open(file);
        let recipe = super::tests::recipe(&[&slow[..], &[change]].concat());
        let start = Beginning { start: Some(&files), ..Beginning::default() };
        let run = pretrain_with(start, &recipe.model.config(384), &data, &recipe.train, None, &device, &mut Silent);
        let error = run.unwrap_err().to_string();
        assert!(error.contains(word), "{file} {change}: {error}");
    }
}

/// Images of which one cannot be read.
struct Torn<'a>(&'a Toy, usize);

impl Images for Torn<'_> {
    fn bands(&self) -> &[geoglot_core::Band] {
        self.0.bands()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn path(&self, i: usize) -> std::path::PathBuf {
        self.0.path(i)
    }
    fn read(&self, i: usize) -> Result<ndarray::Array3<f32>> {
        match i == self.1 {
            true => Err(PretrainError::Input(format!("{}: torn", self.path(i).display()))),
            false => self.0.read(i),
        }
    }
}

#[test]
fn a_batch_does_not_depend_on_the_threads_that_prepare_it() {
    let toy = Toy::new(five(), 20, 2);
    let data = data(&[&toy]);
    let teachers = [teacher("dinov2-hf", "", None)];
    let recipe = recipe(&["train.batch=20"]);
    let config = recipe.model.config(384);
    let inputs = super::fit::Inputs::bind(&config, &data).unwrap();
    let lessons = [Lesson::bind(&teachers[0], &config, &data, &inputs.wavelengths).unwrap()];
    let batch = &epoch_plan(&data, &recipe.train, 0).unwrap()[0];
    let with = |threads: usize, batch: &Batch| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| prepare(&toy, &inputs.preprocess[0], &lessons, batch)).unwrap()
    };
    let (one, many) = (with(1, batch), with(4, batch));
    assert_eq!((one.shape, batch.items.len()), ([5, 8, 8], 20));
    assert!(one.values == many.values && one.values.iter().any(|v| *v != one.values[0]));
    let pixels = |ready: &Ready| match &ready.shown[0] {
        Shown::Pixels(values, _) => values.clone(),
        Shown::Features(_) => panic!("no cache was asked for"),
    };
    assert_eq!(pixels(&one), pixels(&many));
    // Every image of the batch is what it is alone.
    for k in [0, 7, 19] {
        let alone = Batch { items: vec![batch.items[k]], texts: vec![0], crops: vec![batch.crops[k]], ..batch.clone() };
        let alone = with(1, &alone);
        assert_eq!(alone.values, one.values[k * 320..(k + 1) * 320]);
        let all = pixels(&one);
        assert_eq!(pixels(&alone), all[k * all.len() / 20..(k + 1) * all.len() / 20]);
    }

    let torn = Torn(&toy, 13);
    let mut broken = super::tests::data(&[&toy]);
    broken.modalities[0].images = &torn;
    let error = pretrain(&config, &broken, &recipe.train, None, &Device::flex(), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("toy-13: torn"), "{error}");
}

#[test]
fn two_devices_train_the_weights_of_one() {
    let device = Device::flex();
    let toys = [Toy::new(rgb(), 23, 1), Toy::new(five(), 20, 2)];
    let data = data(&[&toys[0], &toys[1]]);
    let teachers = [teacher("siglip-timm", "", None)];
    let train = |chunk: usize, more: usize| {
        let recipe = recipe(&["train.epochs=3", "train.clip=1.0", &format!("train.chunk={chunk}")]);
        let more = vec![Device::flex(); more];
        let beginning = Beginning { teachers: &teachers, devices: &more, ..Beginning::default() };
        let config = recipe.model.config(384);
        let trained = pretrain_with(beginning, &config, &data, &recipe.train, None, &device, &mut Silent).unwrap();
        (flatten(&trained.model), trained.history[2].loss)
    };
    // A part for each of two devices: the same numbers in the same order.
    assert!(train(5, 0) == train(5, 1));
    // Several parts a device: partial sums are added, which rounds otherwise.
    let ((one, loss), (two, other)) = (train(2, 0), train(2, 1));
    let apart = one.iter().zip(&two).map(|(a, b)| (a - b).abs()).sum::<f32>() / one.len() as f32;
    assert!(apart < 1e-5 && (loss - other).abs() < 1e-4 * loss, "{apart} {loss} {other}");
}

#[test]
fn half_precision_gives_the_gradients_within_its_rounding() {
    let toy = Toy::new(five(), 20, 2);
    let data = data(&[&toy]);
    let teachers = [teacher("siglip-timm", "weight = 2", None)];
    let gradients = |precision: &str, chunk: usize| {
        let recipe =
            recipe(&[&format!("train.precision={precision}"), &format!("train.chunk={chunk}"), "model.depth=3"]);
        first_gradients(&teachers, &recipe.model.config(384), &data, &recipe.train, 1).unwrap()
    };
    let (loss, _, exact) = gradients("f32", 10);
    for chunk in [10, 4] {
        let (other, _, found) = gradients("bf16", chunk);
        assert!(other != loss && (other - loss).abs() < 5e-3 * loss, "{other} {loss}");
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let cosine = dot(&exact, &found) / (dot(&exact, &exact) * dot(&found, &found)).sqrt();
        assert!(cosine > 0.999 && found != exact, "{cosine}");
    }
    // The weights stay f32: they move by less than bf16 could hold.
    let device = Device::flex();
    let train = |rate: &str| {
        let recipe = recipe(&["train.precision=bf16", "train.epochs=2", &format!("train.learning_rate={rate}")]);
        pretrain(&recipe.model.config(384), &data, &recipe.train, None, &device, &mut Silent).unwrap()
    };
    let (before, after) = (flatten(&train("1e-30").model), flatten(&train("1e-6").model));
    let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
    assert!(moved > before.len() / 2, "{moved} of {}", before.len());
    let fast = train("0.01");
    assert!(fast.history[1].loss < fast.history[0].loss);
    let refused = PretrainRecipe::parse(
        "name = 'x'\n[train]\nprecision = 'f16'\n[[data.set]]\npath = 'a'",
        "x.toml",
        Default::default(),
        &[],
    );
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("`f32`") && refused.contains("`bf16`") && refused.contains("line 3"), "{refused}");
}
