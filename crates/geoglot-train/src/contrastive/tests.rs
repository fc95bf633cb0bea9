use std::path::PathBuf;

use burn::tensor::Device;
use geoglot_core::{Band, Registry, Seeds};
use geoglot_models::text::{HashedWords, TextTower};
use geoglot_models::vision::load_image_tower;
use geoglot_nn::losses::Targets;
use ndarray::{Array2, Array3};
use rand::RngExt;

use super::*;
use crate::flat::flatten;
use crate::{Ended, Observer, RunFolder, Silent};

/// Noise with one bright band out of those of `bands`; the text says which.
pub(super) struct Toy {
    pub(super) bands: Vec<Band>,
    images: Vec<Array3<f32>>,
}

impl Toy {
    pub(super) fn new(bands: Vec<Band>, count: usize, seed: u64) -> Self {
        let mut rng = Seeds::new(seed).stream("toy");
        let c = bands.len();
        let image = |i: usize| {
            Array3::from_shape_fn((c, 14, 11), |(b, _, _)| {
                (100.0 + 30.0 * rng.random::<f32>() + if b == i % c { 90.0 } else { 0.0 }).round()
            })
        };
        let images = (0..count).map(image).collect();
        Self { bands, images }
    }
}

impl Images for Toy {
    fn bands(&self) -> &[Band] {
        &self.bands
    }
    fn len(&self) -> usize {
        self.images.len()
    }
    fn path(&self, i: usize) -> PathBuf {
        format!("toy-{i}").into()
    }
    fn read(&self, i: usize) -> Result<Array3<f32>> {
        Ok(self.images[i].clone())
    }
}

pub(super) fn rgb() -> Vec<Band> {
    Registry::builtin().sensor("rgb").unwrap().bands.clone()
}

/// Five bands of Sentinel-2, in a unit that fits the toy's numbers.
pub(super) fn five() -> Vec<Band> {
    Registry::builtin().sensor("sentinel-2-l2a").unwrap().bands[1..6].to_vec()
}

pub(super) fn data<'a>(sets: &[&'a Toy]) -> PretrainData<'a> {
    let words = ["red field", "green wood", "blue lake", "edge of a town", "far infrared roof"];
    let texts = HashedWords::new().encode(&words.map(str::to_owned)).unwrap();
    let modality = |toy: &&'a Toy| Modality {
        name: format!("{} bands", toy.bands.len()),
        images: *toy,
        texts: (0..toy.len()).map(|i| vec![i % toy.bands.len()]).collect(),
        weight: 1.0,
    };
    PretrainData { modalities: sets.iter().map(modality).collect(), texts }
}

pub(super) fn recipe(overrides: &[&str]) -> PretrainRecipe {
    let text = r#"
        name = "toy"
        [[data.set]]
        path = "unused"
        [model]
        size = 8
        patch = 4
        width = 16
        depth = 1
        heads = 2
        wavelength = { embedding = 16, weight_tokens = 4, heads = 2, hidden = 16, layout = "band-row-column-width", padding = 0 }
        values = "byte"
        [train]
        epochs = 6
        batch = 10
        learning_rate = 0.01
        warmup = 4
        weight_decay = 0.01
        turns = true
        seed = 3
    "#;
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    PretrainRecipe::parse(text, "toy.toml", PathBuf::new(), &overrides).unwrap()
}

pub(super) struct StopAt(pub(super) usize, pub(super) usize);

impl Observer for StopAt {
    fn batch(&mut self, _: usize, _: usize, _: usize, _: f32) {
        self.0 += 1;
    }
    fn stop(&self) -> bool {
        self.0 >= self.1
    }
}

#[test]
fn the_loss_falls_for_both_losses_and_several_sensors_and_the_tower_loads() {
    let device = Device::flex();
    let (first, second) = (Toy::new(rgb(), 40, 1), Toy::new(five(), 40, 2));
    let data = data(&[&first, &second]);
    for loss in ["sigmoid", "softmax"] {
        let recipe = recipe(&[&format!("train.loss={loss}"), "train.epochs=16"]);
        let config = recipe.model.config(384);
        let out = pretrain(&config, &data, &recipe.train, None, &device, &mut Silent).unwrap();
        let (start, end) = (out.history[0].loss, out.history[15].loss);
        assert!(end < 0.8 * start, "{loss}: {start} → {end}");
        assert_eq!((out.ended, out.steps_per_epoch), (Ended::Finished, 8));

        let folder = tempfile::tempdir().unwrap();
        let space = HashedWords::new().space().clone();
        let hash = save_tower(folder.path(), &out.model, &config, &space, Some("CC0-1.0")).unwrap();
        assert_eq!(hash.len(), 64);
        let tower = load_image_tower(folder.path().to_str().unwrap(), &device).unwrap();
        assert_eq!(tower.space(), &space);
        let mut right = 0;
        for (toy, classes) in [(&first, 3), (&second, 5)] {
            for (i, image) in toy.images.iter().enumerate() {
                let vector = tower.encode(&tower.prepare(&[image.view()], &toy.bands).unwrap()).unwrap();
                let scores = vector.dot(&data.texts.t());
                let best = (0..classes).max_by(|&a, &b| scores[(0, a)].total_cmp(&scores[(0, b)])).unwrap();
                right += usize::from(best == i % classes);
            }
        }
        assert!(right >= 60, "{loss}: {right} of 80 right");
    }
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let device = Device::flex();
    let (first, second) = (Toy::new(rgb(), 23, 1), Toy::new(five(), 20, 2));
    let data = data(&[&first, &second]);
    let recipe = recipe(&["train.epochs=4"]);
    let config = recipe.model.config(384);
    let whole = pretrain(&config, &data, &recipe.train, None, &device, &mut Silent).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = |run, resume| Some(RunFolder { folder: folder.path(), run, resume });
    let stopped = pretrain(&config, &data, &recipe.train, place("a", false), &device, &mut StopAt(0, 10)).unwrap();
    assert_eq!((stopped.ended, stopped.history.len()), (Ended::Interrupted, 2));
    let resumed = pretrain(&config, &data, &recipe.train, place("a", true), &device, &mut Silent).unwrap();
    assert_eq!(flatten(&resumed.model), flatten(&whole.model));
    let losses = |h: &[crate::history::EpochRecord]| h.iter().map(|e| e.loss).collect::<Vec<_>>();
    assert_eq!(losses(&resumed.history), losses(&whole.history));
    let other = pretrain(&config, &data, &recipe.train, place("b", true), &device, &mut Silent);
    assert!(other.unwrap_err().to_string().contains("another --out"));
}

#[test]
fn plans_repeat_and_show_one_modality_a_batch() {
    let (first, second) = (Toy::new(rgb(), 23, 1), Toy::new(five(), 40, 2));
    let mut data = data(&[&first, &second]);
    let options = recipe(&["train.crop=[0.5, 1.0]"]).train;
    let plan = epoch_plan(&data, &options, 2).unwrap();
    assert_eq!(plan, epoch_plan(&data, &options, 2).unwrap());
    assert_ne!(plan, epoch_plan(&data, &options, 3).unwrap());
    assert_eq!(plan.len(), 2 + 4);
    for batch in &plan {
        assert!(batch.items.iter().all(|&i| i < data.modalities[batch.modality].images.len()));
        assert_eq!(batch.items.len(), 10);
        for crop in &batch.crops {
            let [row, column, rows, columns] = crop.window(14, 11);
            assert!(row + rows <= 14 && column + columns <= 11 && rows >= 10 && columns >= 8);
        }
    }
    data.modalities[0].weight = 2.5;
    data.modalities[1].weight = 0.5;
    let plan = epoch_plan(&data, &options, 0).unwrap();
    let of = |m: usize| plan.iter().filter(|b| b.modality == m).count();
    assert_eq!((of(0), of(1)), (5, 2));
}

#[test]
fn the_learning_rate_rises_and_falls() {
    let options = PretrainOptions { warmup: 10, learning_rate: 1.0, ..PretrainOptions::default() };
    assert!((options.rate(0, 110) - 0.1).abs() < 1e-12 && (options.rate(9, 110) - 1.0).abs() < 1e-12);
    assert!((options.rate(60, 110) - 0.5).abs() < 1e-12 && options.rate(109, 110) < 1e-3);
    assert_eq!(options.rate(0, 5), 0.2);
}

#[test]
fn what_does_not_fit_is_said() {
    let device = Device::flex();
    let toy = Toy::new(rgb(), 20, 1);
    let recipe = recipe(&[]);
    let run = |data: &PretrainData<'_>| {
        pretrain(&recipe.model.config(384), data, &recipe.train, None, &device, &mut Silent).unwrap_err().to_string()
    };
    let mut no_text = data(&[&toy]);
    no_text.modalities[0].texts[4].clear();
    assert!(run(&no_text).contains("toy-4"));
    let narrow = PretrainData { texts: Array2::ones((5, 7)), ..data(&[&toy]) };
    assert!(run(&narrow).contains("width 7"));
    let mut nanometres = Toy::new(rgb(), 20, 1);
    nanometres.bands[0].wavelength_um = Some(665.0);
    assert!(run(&data(&[&nanometres])).contains("nanometres"));
    for (change, word) in [("train.batch=1", "train.batch"), ("model.size=10", "multiple"), ("data.sets=1", "sets")] {
        let text = "name = 'x'\n[[data.set]]\npath = 'a'";
        let error =
            PretrainRecipe::parse(text, "x.toml", PathBuf::new(), &[change.to_owned()]).unwrap_err().to_string();
        assert!(error.contains(word), "{change}: {error}");
    }
}

#[test]
fn the_start_can_be_taken_to_another_program() {
    let device = Device::flex();
    let toy = Toy::new(rgb(), 20, 1);
    let recipe = recipe(&["train.epochs=2"]);
    let config = recipe.model.config(384);
    let folder = tempfile::tempdir().unwrap();
    export_start(folder.path(), None, &config, &data(&[&toy]), &recipe.train, &device).unwrap();
    let plan: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("plan.json")).unwrap()).unwrap();
    assert_eq!(plan["steps"].as_array().unwrap().len(), 4);
    let batch = &epoch_plan(&data(&[&toy]), &recipe.train, 1).unwrap()[0];
    assert_eq!(plan["steps"][2]["items"], serde_json::json!(batch.items));
    let start = geoglot_nn::weights::Checkpoint::open(folder.path().join("start.safetensors")).unwrap();
    assert_eq!(start.read_f32("logit_bias").unwrap(), [-10.0]);
    assert_eq!(start.info("projection.weight").unwrap().shape, [384, 16]);
    assert_eq!(recipe.train.targets, Targets::SameLabel);
}

/// Shards of a toy, one caption an image, and its images read from them.
fn in_shards(toy: &Toy, folder: &std::path::Path, size: u64) -> ShardImages {
    use geoglot_data::shards::{Image, OnFault, ReadOptions, Sample, ShardFolder, ShardWriter, WriteOptions};
    let mut writer =
        ShardWriter::create(folder, "toy", WriteOptions { samples: size, ..WriteOptions::default() }).unwrap();
    // Floats are physical: the toy's bands describe counts.
    let bands: Vec<Band> =
        toy.bands.iter().map(|b| Band { scale: 1.0, offset: 0.0, nodata: None, ..b.clone() }).collect();
    for (i, image) in toy.images.iter().enumerate() {
        let image = Image::F32(image.view().permuted_axes([1, 2, 0]).as_standard_layout().into_owned());
        writer.write(&Sample::new(format!("toy-{i}"), image, vec!["some words".into()]), &bands).unwrap();
    }
    writer.finish().unwrap();
    let shards = ShardFolder::open(folder).unwrap();
    let catalogue = std::sync::Arc::new(shards.catalogue(&ReadOptions::default(), OnFault::Fail).unwrap());
    let stored = shards.bands(&catalogue.modalities()[0], Registry::builtin(), None, None).unwrap();
    ShardImages::new(catalogue, 0, stored, &[]).unwrap()
}

#[test]
fn images_in_shards_train_the_same_tower_as_images_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let toys = [Toy::new(rgb(), 21, 1), Toy::new(five(), 13, 2)];
    let shards = [in_shards(&toys[0], &dir.path().join("a"), 6), in_shards(&toys[1], &dir.path().join("b"), 6)];
    let recipe = recipe(&["train.epochs=2"]);
    let memory = data(&[&toys[0], &toys[1]]);
    let config = recipe.model.config(memory.texts.ncols());
    let mut streamed = data(&[&toys[0], &toys[1]]);
    streamed.modalities.iter_mut().zip(&shards).for_each(|(m, images)| m.images = images);
    let train = |data: &PretrainData<'_>| pretrain(&config, data, &recipe.train, None, &device, &mut Silent).unwrap();
    let (a, b) = (train(&memory), train(&streamed));
    assert_eq!(flatten(&a.model), flatten(&b.model));
    assert!(shards[0].path(3).to_string_lossy().ends_with("shard-000000.tar/toy-3"));
    assert_eq!(shards[0].read(20).unwrap(), toys[0].images[20]);
}

#[test]
fn large_sets_in_shards_are_read_shard_by_shard() {
    let dir = tempfile::tempdir().unwrap();
    let toy = Toy { bands: rgb(), images: vec![Array3::from_elem((3, 2, 2), 7.0); 5000] };
    let images = in_shards(&toy, dir.path(), 500);
    let order = images.order(3, 1).unwrap();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..5000).collect::<Vec<_>>());
    assert_eq!(images.order(3, 1).unwrap(), order);
    assert_ne!(images.order(3, 2).unwrap(), order);
    // The first draws come from the first shards of the pass only.
    let early: std::collections::BTreeSet<usize> = order[..100].iter().map(|i| i / 500).collect();
    assert!(early.len() <= 9, "{early:?}");
    let mut options = recipe(&[]).train;
    options.batch = 50;
    let data = data(&[&toy]);
    let mut data = PretrainData { texts: data.texts.clone(), modalities: data.modalities };
    data.modalities[0].images = &images;
    let plan = epoch_plan(&data, &options, 0).unwrap();
    let seen: std::collections::BTreeSet<usize> = plan.iter().flat_map(|b| b.items.iter().copied()).collect();
    assert_eq!((plan.len(), seen.len()), (100, 5000));
}
