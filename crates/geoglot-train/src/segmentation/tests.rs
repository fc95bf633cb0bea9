//! Heads trained on a small random tower: learning, resume, cache, faults.

use burn::tensor::Device;
use geoglot_core::{Band, Registry, Seeds};
use geoglot_models::text::SpaceId;
use geoglot_models::vision::VitTower;
use geoglot_nn::segmentation::{IGNORE, PixelBranch, UperNetConfig};
use ndarray::Array3;
use rand::RngExt;

use super::*;
use crate::contrastive::TowerSection;
use crate::flat::flatten;
use crate::{Ended, RunFolder, Silent};

const SIDE: usize = 16;

fn tower(seed: u64) -> VitTower {
    let device = Device::flex();
    device.seed(seed);
    let section = TowerSection { size: 16, patch: 4, width: 16, depth: 4, heads: 2, ..TowerSection::default() };
    let config = section.config(16);
    VitTower::new(config.vit.init(&device), config, SpaceId::new("test", 16), format!("tower {seed}"), device)
}

/// Tiles whose left or right half is bright in the first band: class 1 is bright.
struct Halves(Vec<Band>, usize);

impl Halves {
    fn new(count: usize) -> Self {
        let s2 = Registry::builtin().sensor("sentinel-2-l2a").unwrap();
        Self(s2.bands[..2].to_vec(), count)
    }

    fn label(i: usize, row: usize, col: usize) -> u8 {
        match (i % 3, row, col) {
            (_, 0, _) => IGNORE,
            (0, _, c) => u8::from(c < SIDE / 2),
            (1, _, c) => u8::from(c >= SIDE / 2),
            (_, r, _) => u8::from(r >= SIDE / 2),
        }
    }

    fn tiles(&self) -> Vec<LabelledTile> {
        let labels = |i| (0..SIDE * SIDE).map(|p| Self::label(i, p / SIDE, p % SIDE)).collect();
        (0..self.1).map(|i| LabelledTile { tile: i, labels: labels(i) }).collect()
    }
}

impl Tiles for Halves {
    fn len(&self) -> usize {
        self.1
    }

    fn bands(&self) -> &[Band] {
        &self.0
    }

    fn read(&self, i: usize) -> Result<Array3<f32>, Box<dyn std::error::Error + Send + Sync>> {
        let mut rng = Seeds::new(7).stream(&format!("{i}"));
        Ok(Array3::from_shape_fn((2, SIDE, SIDE), |(b, r, c)| {
            let bright = b == 0 && Self::label(i, r.max(1), c) == 1;
            f32::from(u8::from(bright)) * 2.0 - 1.0 + 0.3 * rng.random::<f32>()
        }))
    }

    fn identity(&self) -> String {
        format!("halves {}", self.1)
    }
}

fn config() -> UperNetConfig {
    UperNetConfig { channels: 8, auxiliary: Some(4), ..UperNetConfig::new(16, 2) }
}

fn options(epochs: usize) -> SegmentOptions {
    SegmentOptions { epochs, batch: 4, learning_rate: 5e-3, warmup: 1, ..SegmentOptions::default() }
}

fn cached(memory: usize, folder: Option<&std::path::Path>) -> FeatureOptions<'_> {
    FeatureOptions { cache: true, memory, folder, batch: 5, pixels: false }
}

const TAPS: [usize; 4] = [0, 1, 2, 3];

#[test]
fn a_head_learns_and_resumes_exactly() {
    let (tower, halves) = (tower(1), Halves::new(18));
    let tiles = halves.tiles();
    let features = Features::prepare(&tower, &halves, TAPS, cached(1 << 20, None), |_, _| {}).unwrap();
    let data = HeadData { features: &features, side: SIDE, train: &tiles[..13], validation: &tiles[13..] };
    let train = |epochs: usize, keep: Option<RunFolder<'_>>| {
        // The schedule belongs to the whole run.
        struct StopAfter(usize);
        impl crate::Observer for StopAfter {
            fn epoch(&mut self, _: &crate::history::EpochRecord, _: usize) {
                self.0 -= 1;
            }
            fn stop(&self) -> bool {
                self.0 == 0
            }
        }
        fit_head(&config(), &data, &options(12), keep, &Device::flex(), &mut StopAfter(epochs)).unwrap()
    };
    let whole = train(99, None);
    assert_eq!((whole.ended, whole.history.len()), (Ended::Finished, 12));
    let best = whole.history[whole.best_epoch - 1].validation_miou.unwrap();
    assert!(best > 0.8, "mIoU {best}");
    let folder = tempfile::tempdir().unwrap();
    let keep = |resume| Some(RunFolder { folder: folder.path(), run: "a", resume });
    let part = train(5, keep(false));
    assert_eq!((part.ended, part.history.len()), (Ended::Interrupted, 5));
    let rest = train(99, keep(true));
    assert_eq!(flatten(&rest.head), flatten(&whole.head));
    let other = fit_head(
        &config(),
        &data,
        &options(12),
        Some(RunFolder { folder: folder.path(), run: "b", resume: true }),
        &Device::flex(),
        &mut Silent,
    );
    assert!(other.unwrap_err().to_string().contains("belongs to a run with other data"));
}

/// Tiles of single bright and dark pixels at random, too small for the tower's patches.
struct Specks(Halves);

impl Specks {
    fn label(i: usize, pixel: usize) -> u8 {
        Seeds::new(11).stream(&format!("{i}/{pixel}")).random_range(0..2)
    }

    fn tiles(&self) -> Vec<LabelledTile> {
        let labels = |i| (0..SIDE * SIDE).map(|p| Self::label(i, p)).collect();
        (0..self.0.1).map(|i| LabelledTile { tile: i, labels: labels(i) }).collect()
    }
}

impl Tiles for Specks {
    fn len(&self) -> usize {
        self.0.1
    }

    fn bands(&self) -> &[Band] {
        &self.0.0
    }

    fn read(&self, i: usize) -> Result<Array3<f32>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Array3::from_shape_fn((2, SIDE, SIDE), |(b, r, c)| {
            f32::from(Self::label(i, r * SIDE + c)) * (1.0 - b as f32) * 2.0 - 1.0
        }))
    }

    fn identity(&self) -> String {
        "specks".into()
    }
}

#[test]
fn a_branch_of_pixels_sees_what_is_smaller_than_a_patch() {
    let (tower, specks) = (tower(1), Specks(Halves::new(12)));
    let tiles = specks.tiles();
    let miou = |pixels: bool| {
        let features = FeatureOptions { pixels, ..cached(1 << 20, None) };
        let features = Features::prepare(&tower, &specks, TAPS, features, |_, _| {}).unwrap();
        let data = HeadData { features: &features, side: SIDE, train: &tiles[..8], validation: &tiles[8..] };
        let config = UperNetConfig { pixels: pixels.then_some(PixelBranch { bands: 2, channels: 4 }), ..config() };
        let trained = fit_head(&config, &data, &options(20), None, &Device::flex(), &mut Silent).unwrap();
        trained.history[trained.best_epoch - 1].validation_miou.unwrap()
    };
    let (with, without) = (miou(true), miou(false));
    assert!(with > 0.9 && without < 0.5, "mIoU {with} with pixels, {without} without");
}

#[test]
fn memory_file_and_no_cache_give_the_same_features() {
    let (tower, halves) = (tower(1), Halves::new(7));
    let folder = tempfile::tempdir().unwrap();
    let pixels = |options| FeatureOptions { pixels: true, ..options };
    let memory = Features::prepare(&tower, &halves, TAPS, pixels(cached(1 << 20, None)), |_, _| {}).unwrap();
    let mut told = 0;
    let disk = || pixels(cached(0, Some(folder.path())));
    let file = Features::prepare(&tower, &halves, TAPS, disk(), |k, _| told = k).unwrap();
    let none = pixels(FeatureOptions { cache: false, ..cached(0, None) });
    let none = Features::prepare(&tower, &halves, TAPS, none, |_, _| {}).unwrap();
    assert!(told == 7 && memory.cached() && file.cached() && !none.cached());
    let which = [6, 0, 3];
    let values = |f: &Features<'_>| -> Vec<Vec<f32>> {
        let seen = f.batch(&which, &[], &Device::flex()).unwrap();
        let image = seen.image.map(|m| m.into_data().iter::<f32>().collect());
        seen.maps.map(|m| m.into_data().iter::<f32>().collect()).into_iter().chain(image).collect()
    };
    assert_eq!(values(&memory), values(&file));
    assert_eq!(values(&memory).len(), 5);
    for (a, b) in values(&memory).iter().flatten().zip(values(&none).iter().flatten()) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    // The same is found again, features of another tower are not taken for it.
    let mut again = 0;
    drop(file);
    let found = Features::prepare(&tower, &halves, TAPS, disk(), |k, _| again = k).unwrap();
    assert_eq!(again, 0);
    drop(found);
    let other = self::tower(2);
    let made = Features::prepare(&other, &halves, TAPS, cached(0, Some(folder.path())), |k, _| again = k).unwrap();
    assert_eq!(again, 7);
    made.remove();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn turned_images_train_without_a_cache() {
    let (tower, halves) = (tower(1), Halves::new(6));
    let tiles = halves.tiles();
    let none = FeatureOptions { cache: false, ..cached(0, None) };
    let features = Features::prepare(&tower, &halves, TAPS, none, |_, _| {}).unwrap();
    let data = HeadData { features: &features, side: SIDE, train: &tiles, validation: &[] };
    let turned = SegmentOptions { augment: true, ..options(2) };
    let trained = fit_head(&config(), &data, &turned, None, &Device::flex(), &mut Silent).unwrap();
    assert_eq!((trained.history.len(), trained.best_epoch), (2, 2));
    let memory = Features::prepare(&tower, &halves, TAPS, cached(1 << 20, None), |_, _| {}).unwrap();
    let data = HeadData { features: &memory, ..data };
    let error = fit_head(&config(), &data, &turned, None, &Device::flex(), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("train.augment"), "{error}");
}

#[test]
fn misfits_are_named() {
    let (tower, halves) = (tower(1), Halves::new(4));
    let tiles = halves.tiles();
    let features = Features::prepare(&tower, &halves, TAPS, cached(1 << 20, None), |_, _| {}).unwrap();
    let train = |config: UperNetConfig, tiles: &[LabelledTile]| {
        let data = HeadData { features: &features, side: SIDE, train: tiles, validation: &[] };
        fit_head(&config, &data, &options(1), None, &Device::flex(), &mut Silent).unwrap_err().to_string()
    };
    assert!(train(UperNetConfig { width: 8, ..config() }, &tiles).contains("width 8"));
    let blind = UperNetConfig { pixels: Some(PixelBranch { bands: 2, channels: 4 }), ..config() };
    assert!(train(blind, &tiles).contains("pixels of 2 bands"));
    assert!(train(config(), &tiles[..1]).contains("at least 2"));
    let mut short = tiles.clone();
    short[1].labels.pop();
    assert!(train(config(), &short).contains("tile 1 has 255 labels"));
    let mut outside = tiles.clone();
    outside[2].labels[40] = 2;
    assert!(train(config(), &outside).contains("class 2"));
    assert!(Features::prepare(&tower, &halves, [0, 1, 2, 9], cached(0, None), |_, _| {}).is_err());
}

const RECIPE: &str = r#"
kind = "segmentation"
name = "small"
[data]
legend = "legend.toml"
[[data.scene]]
inputs = { s2 = "a.tif" }
labels = "l.tif"
[model]
tower = "some-tower"
"#;

#[test]
fn recipes_and_their_faults() {
    let parse = |changes: &[&str]| {
        let changes: Vec<String> = changes.iter().map(|s| s.to_string()).collect();
        SegmentRecipe::parse(RECIPE, "small.toml", "recipes".into(), &changes)
    };
    let recipe = parse(&[]).unwrap();
    assert_eq!((recipe.model.channels, recipe.train.warmup, recipe.model.cache), (512, 3, true));
    assert_eq!(recipe.scenes().unwrap().data.scene, recipe.data.scene);
    assert_eq!(SegmentRecipe::parse(&recipe.to_toml().unwrap(), "x", "recipes".into(), &[]).unwrap(), recipe);
    for (change, word) in [
        ("data.dataset=m-x", "one of"),
        ("kind=other", "kind"),
        ("model.scales=[]", "scales"),
        ("model.tile=0", "at least 1"),
        ("train.batch=1", "train.batch"),
        ("train.augment=true", "model.cache"),
        ("train.speed=2", "speed"),
        ("model.taps=[1, 2]", "taps"),
    ] {
        let error = parse(&[change]).unwrap_err().to_string();
        assert!(error.contains(word), "{change}: {error}");
    }
    let rate = |step| recipe.train.rate(step, 10);
    assert!(rate(0) < rate(29) && (rate(29) - 1e-3).abs() < 1e-9 && rate(499) < 3e-6 && rate(499) >= 1e-6);
}
