//! Contrastive pre-training of an any-band tower from a recipe.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use burn::tensor::Device;
use indexmap::{IndexMap, IndexSet};
use ndarray::Array2;

use super::measure::{Measurement, measurement};
use super::merge::{Candidate, figure};
use super::protocols::score_protocol;
use crate::core::{BandUse, Registry, RunManifest, atomic, prompt};
use crate::data::datasets::{Dataset, DatasetOptions, Item, Split};
use crate::data::shards::{OnFault, ReadOptions, ShardFolder, ShardIndex, WriteOptions, annotate};
use crate::models::hub::Hub;
use crate::models::mmlgnet::sha256;
use crate::models::text::{SpaceId, TextTower};
use crate::models::vision::{ImageOptions, TowerFiles, VisionConfig, load_image_tower};
use crate::train::contrastive::{
    Beginning, Contrast, DatasetImages, DistillSection, ImageSet, Images, Measure, Modality, Precomputed, PretrainData,
    PretrainRecipe, Pretrained, ShardImages, Teacher, pretrain_with, save_tower,
};
use crate::train::{Ended, Observer, RunFolder};

/// A recipe's images and texts, ready to train on.
pub struct Prepared {
    /// The image sets with their names and weights.
    pub sets: Vec<(String, Box<dyn Images>, f64)>,
    /// The different texts.
    pub texts: IndexSet<String>,
    /// Their features, [N, D].
    pub features: Array2<f32>,
    /// Texts of each image of each set, as positions in `texts`.
    pub owned: Vec<Vec<Vec<usize>>>,
    /// The text tower's space.
    pub space: SpaceId,
    /// What identifies texts and tower.
    fingerprint: String,
    /// Sensors.
    registry: Registry,
    /// How bands were bound.
    pub bands: Vec<BandUse>,
    /// What the user should know about the sets.
    pub warnings: Vec<String>,
}

impl Prepared {
    /// Opens the sets of `recipe` and encodes their texts with `tower`.
    ///
    /// # Errors
    /// Sets that cannot be read or have neither captions nor classes, texts the tower refuses.
    pub fn new(recipe: &PretrainRecipe, registry: &Registry, tower: &dyn TextTower) -> anyhow::Result<Self> {
        let templates = recipe.text.templates.resolve()?;
        let mut sets: Vec<(String, Box<dyn Images>, f64)> = Vec::new();
        let (mut owned, mut bands, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let mut texts = IndexSet::new();
        let budget = recipe.data.cache_mib.saturating_mul(1 << 20) / recipe.data.set.len();
        for section in &recipe.data.set {
            let path = recipe.path(section)?;
            if ShardFolder::recognises(&path) {
                for set in shard_sets(&path, section, registry, &templates)? {
                    bands.push(BandUse {
                        input: set.name.clone(),
                        path: path.display().to_string(),
                        bands: set.images.bands().to_vec(),
                    });
                    let own = |all: Vec<String>| all.into_iter().map(|t| texts.insert_full(t).0).collect();
                    owned.push(set.texts.into_iter().map(own).collect());
                    sets.push((set.name, Box::new(set.images), section.weight));
                }
                continue;
            }
            let options = DatasetOptions {
                sensor: section.sensor.clone(),
                layout: section.layout.clone(),
                registry: Arc::new(registry.clone()),
                ..DatasetOptions::default()
            };
            let set = Dataset::open(&path, &options)?;
            let name = if section.name.is_empty() { path.display().to_string() } else { section.name.clone() };
            warnings.extend(set.warnings().iter().map(|w| format!("{name}: {w}")));
            let split = section.split.or_else(|| set.splits().contains(&Split::Train).then_some(Split::Train));
            let items = set.indices(split);
            if items.is_empty() {
                let parts: Vec<String> = set.splits().iter().map(Split::to_string).collect();
                bail!(
                    "{name}: the part `{}` is empty; the set has {}",
                    split.unwrap_or(Split::Train),
                    parts.join(", ")
                );
            }
            let words =
                if set.classes().is_empty() { Vec::new() } else { prompt::ensemble(&set.legend()?, &templates)? };
            let mut own = |item: &Item| -> anyhow::Result<Vec<usize>> {
                let of_classes = || item.labels.iter().flat_map(|&k| words[k].iter().cloned()).collect::<Vec<_>>();
                let all = if item.captions.is_empty() { of_classes() } else { item.captions.clone() };
                if all.is_empty() {
                    bail!("{name}: image `{}` has neither a caption nor a class", item.id);
                }
                Ok(all.into_iter().map(|t| texts.insert_full(t).0).collect())
            };
            owned.push(items.iter().map(|&i| own(&set.items()[i])).collect::<anyhow::Result<Vec<_>>>()?);
            let images = DatasetImages::new(set, items, &section.bands, budget)?;
            bands.push(BandUse {
                input: name.clone(),
                path: path.display().to_string(),
                bands: images.bands().to_vec(),
            });
            sets.push((name, Box::new(images), section.weight));
        }
        let list: Vec<String> = texts.iter().cloned().collect();
        let features = tower.encode(&list)?;
        let fingerprint = sha256(format!("{} {}", tower.fingerprint(), list.join("\n")).as_bytes());
        let space = tower.space().clone();
        let registry = registry.clone();
        Ok(Self { sets, texts, features, owned, space, fingerprint, registry, bands, warnings })
    }

    /// The data as the training loop takes it.
    pub fn data(&self) -> PretrainData<'_> {
        let sets = self.sets.iter().zip(&self.owned);
        let modalities = sets.map(|((name, images, weight), texts)| Modality {
            name: name.clone(),
            images: images.as_ref(),
            texts: texts.clone(),
            weight: *weight,
        });
        PretrainData { modalities: modalities.collect(), texts: self.features.clone() }
    }

    /// What identifies a run of `recipe` on these data: everything that changes its weights.
    /// As JSON, so that a refused resume can say what changed.
    fn run_id(
        &self,
        recipe: &PretrainRecipe,
        start: Option<&TowerFiles>,
        teachers: &[Teacher],
    ) -> anyhow::Result<String> {
        let counts: Vec<usize> = self.sets.iter().map(|s| s.1.len()).collect();
        let mut parts = serde_json::json!({
            "data": recipe.data.set,
            "model": recipe.model,
            "train": recipe.train,
            "texts": self.fingerprint,
            "images": counts,
        });
        if let Some(start) = start {
            parts["start"] = start.sha256.clone().into();
        }
        if !teachers.is_empty() {
            let hashes: Vec<&str> = teachers.iter().map(|t| t.tower.fingerprint()).collect();
            parts["distill"] = serde_json::to_value(&recipe.distill)?;
            parts["teachers"] = serde_json::to_value(hashes)?;
        }
        Ok(parts.to_string())
    }
}

/// The images of one modality of a folder of shards with their texts.
struct ShardSet {
    name: String,
    images: ShardImages,
    texts: Vec<Vec<String>>,
}

/// Every modality in the shards at `path`.
fn shard_sets(
    path: &Path,
    section: &ImageSet,
    registry: &Registry,
    templates: &[String],
) -> anyhow::Result<Vec<ShardSet>> {
    let name = if section.name.is_empty() { path.display().to_string() } else { section.name.clone() };
    if section.split.is_some() {
        bail!(
            "{name}: shards are not divided into parts; write each part into a folder of its own and leave `split` out"
        );
    }
    let folder = ShardFolder::open(path)?;
    let options = ReadOptions { teachers: false, ..ReadOptions::default() };
    let catalogue = Arc::new(folder.catalogue(&options, OnFault::Fail)?);
    let entries = catalogue.entries();
    let words: HashMap<String, Vec<String>> = match entries.iter().all(|e| e.classes.is_empty()) {
        true => HashMap::new(),
        false => {
            let legend = catalogue.legend()?;
            let words = prompt::ensemble(&legend, templates)?;
            legend.classes.iter().map(|c| c.name.clone()).zip(words).collect()
        }
    };
    let several = catalogue.modalities().len() > 1;
    let mut sets = Vec::new();
    for (number, modality) in catalogue.modalities().iter().enumerate() {
        let stored = folder.bands(modality, registry, section.sensor.as_deref(), section.layout.as_deref())?;
        let images = ShardImages::new(catalogue.clone(), number, stored, &section.bands)?;
        let texts = images.items().iter().map(|&i| {
            let of_classes = || entries[i].classes.iter().flat_map(|c| words[c].iter().cloned()).collect();
            if entries[i].texts.is_empty() { of_classes() } else { entries[i].texts.clone() }
        });
        let texts = texts.collect();
        let name = if several { format!("{name} ({modality})") } else { name.clone() };
        sets.push(ShardSet { name, images, texts });
    }
    Ok(sets)
}

/// A trained tower on disk.
pub struct PretrainResult {
    /// What training gave.
    pub trained: Pretrained,
    /// The tower's configuration.
    pub config: VisionConfig,
    /// SHA-256 of the weights.
    pub hash: String,
}

/// A folder or file beside the recipe, else a name.
fn beside(recipe: &PretrainRecipe, model: &str) -> anyhow::Result<String> {
    let path = recipe.beside(model)?;
    Ok(if path.exists() { path.display().to_string() } else { model.to_owned() })
}

/// The tower whose weights the recipe begins with.
///
/// # Errors
/// A model that is not there or cannot be read.
pub fn start(recipe: &PretrainRecipe) -> anyhow::Result<Option<TowerFiles>> {
    let open = |model: &String| -> anyhow::Result<TowerFiles> {
        Ok(TowerFiles::resolve(&beside(recipe, model)?, &ImageOptions::default(), &Hub::from_env()?)?)
    };
    recipe.model.start.as_ref().map(open).transpose().context("model.start")
}

/// Opens the teacher of a section.
fn teacher(recipe: &PretrainRecipe, section: &DistillSection, device: &Device) -> anyhow::Result<Teacher> {
    let tower = load_image_tower(&beside(recipe, &section.teacher)?, device)
        .with_context(|| format!("teacher `{}`", section.label()))?;
    let cache = section.cache.as_deref().map(|c| recipe.beside(c)).transpose()?;
    Ok(Teacher { section: section.clone(), tower, cache })
}

/// Copies the shards that `recipe` trains on into `out`, and with them what its teachers say of each image, so that with `stored = true` in the
/// `[[distill]]` sections they run once and for all. `tell` gets samples done and in all; an interrupted copy goes on with `resume`.
///
/// # Errors
/// Recipes without teachers or of other data than one folder of shards; keys that several samples have; what reading and writing gives.
pub fn teach_shards(
    recipe: &PretrainRecipe,
    out: &Path,
    registry: &Registry,
    options: WriteOptions,
    device: &Device,
    mut tell: impl FnMut(usize, usize),
) -> anyhow::Result<ShardIndex> {
    let ([section], false) = (&recipe.data.set[..], recipe.distill.is_empty()) else {
        bail!("{}: features go into shards for a recipe of one data set with at least one [[distill]]", recipe.name);
    };
    let path = recipe.path(section)?;
    if !ShardFolder::recognises(&path) {
        bail!(
            "{}: holds no shards; make them with `geoglot shards write`, or keep features with `cache`",
            path.display()
        );
    }
    let sets = shard_sets(&path, section, registry, &recipe.text.templates.resolve()?)?;
    let modalities = sets.iter().map(|set| Modality {
        name: set.name.clone(),
        images: &set.images,
        texts: vec![vec![0]; set.images.len()],
        weight: 1.0,
    });
    let data = PretrainData { modalities: modalities.collect(), texts: Array2::zeros((1, 1)) };
    let (mut places, mut keys) = (HashMap::new(), 0);
    for (m, set) in sets.iter().enumerate() {
        for (i, key) in set.images.keys().enumerate() {
            places.insert(key.to_owned(), (m, i));
            keys += 1;
        }
    }
    if places.len() < keys {
        bail!(
            "{}: {} samples share their key with another one; give each its own",
            path.display(),
            keys - places.len()
        );
    }
    let teachers = recipe.distill.iter().map(|section| {
        let plain = DistillSection { cache: None, stored: false, ..section.clone() };
        teacher(recipe, &plain, device)
    });
    let teachers = teachers.collect::<anyhow::Result<Vec<_>>>()?;
    let config = recipe.model.config(1);
    let kept = teachers.iter().map(|t| Precomputed::new(t, &config, &data)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = kept.iter().flat_map(|k| (0..sets.len()).map(|m| k.name(m))).collect();
    let mut done = 0;
    let index = annotate(&ShardFolder::open(&path)?, out, &names.join(" "), 1, options, |samples| {
        let mut all = Vec::with_capacity(samples.len());
        for sample in samples {
            let &(m, i) =
                places.get(&sample.key).with_context(|| format!("{}: sample {}", path.display(), sample.key))?;
            let features = kept.iter().map(|k| Ok((k.name(m), k.of(m, &sets[m].images, i)?)));
            all.push(features.collect::<anyhow::Result<_>>()?);
            done += 1;
            tell(done, keys);
        }
        anyhow::Ok(all)
    })?;
    Ok(index)
}

/// Trains the tower of `recipe` and writes its model folder with `history.jsonl`, `recipe.toml` and `run.json` to `out`. An interrupted run
/// leaves its checkpoint and no model. The first of `devices` holds weights, optimiser and teachers; all share each step.
///
/// # Errors
/// As [`crate::train::contrastive::pretrain`]; a folder that cannot be written.
pub fn pretrain(
    recipe: &PretrainRecipe,
    prepared: &Prepared,
    out: &Path,
    resume: bool,
    devices: &[Device],
    run: &mut RunManifest,
    observer: &mut dyn Observer,
) -> anyhow::Result<PretrainResult> {
    let Some((device, devices)) = devices.split_first() else { bail!("training needs a device") };
    let config = recipe.model.config(prepared.space.width);
    let teachers = recipe.distill.iter().map(|s| teacher(recipe, s, device)).collect::<anyhow::Result<Vec<_>>>()?;
    let start = start(recipe)?;
    let id = prepared.run_id(recipe, start.as_ref(), &teachers)?;
    let place = RunFolder { folder: out, run: &id, resume };
    let measured = Candidate(out.join("measured"));
    let due = recipe.evaluate.iter().filter(|s| s.every.is_some());
    let requests = due.map(|s| Ok((s, measurement(recipe, s, &measured.0, recipe.train.seed, &prepared.registry)?)));
    let requests = requests.collect::<anyhow::Result<Vec<_>>>()?;
    let license = recipe.model.license.as_deref();
    let measure = |epoch: usize, model: &Contrast| -> anyhow::Result<IndexMap<String, f64>> {
        let mut figures = IndexMap::new();
        for (section, asked) in requests.iter().filter(|r| r.0.due(epoch, recipe.train.epochs)) {
            let Measurement::Protocol(asked) = asked else { continue };
            if figures.is_empty() {
                save_tower(&measured.0, model, &config, &prepared.space, license)?;
            }
            let (scored, _) = score_protocol(asked, device, &mut |_, _, _| {})?;
            figures.insert(section.title(), figure(&scored, section.metric())?.value);
        }
        Ok(figures)
    };
    let measure = |epoch: usize, model: &Contrast| measure(epoch, model).map_err(|e| format!("{e:#}"));
    let measure: Option<&Measure<'_>> = if requests.is_empty() { None } else { Some(&measure) };
    let beginning = Beginning { start: start.as_ref(), teachers: &teachers, devices, measure };
    let trained = pretrain_with(beginning, &config, &prepared.data(), &recipe.train, Some(place), device, observer)?;
    run.stage("train");
    if trained.ended == Ended::Interrupted {
        bail!("interrupted after {} epochs; continue with the same command and --resume", trained.history.len());
    }
    let hash = save_tower(out, &trained.model, &config, &prepared.space, license)
        .with_context(|| out.display().to_string())?;
    run.seed = Some(recipe.train.seed);
    run.inputs.clone_from(&prepared.bands);
    run.model_hash = Some(hash.clone());
    let steps = trained.steps_per_epoch * trained.history.len();
    let seconds: f64 = trained.history.iter().map(|e| e.seconds).sum();
    run.results.insert("steps".into(), steps.into());
    run.results.insert("seconds per step".into(), (seconds / steps.max(1) as f64).into());
    run.results.insert("last loss".into(), trained.history.last().map(|e| e.loss).into());
    for (name, value) in trained.history.last().into_iter().flat_map(|e| &e.figures) {
        run.results.insert(name.clone(), (*value).into());
    }
    for (name, value) in trained.history.last().into_iter().flat_map(|e| &e.parts) {
        run.results.insert(format!("last loss, {name}"), (*value).into());
    }
    if let Some(start) = &start {
        run.results.insert("start".into(), start.sha256.clone().into());
    }
    for t in &teachers {
        run.results.insert(format!("teacher {}", t.section.label()), t.tower.fingerprint().into());
    }
    run.save(out)?;
    atomic::write(&out.join("recipe.toml"), recipe.to_toml()?.as_bytes())?;
    Ok(PretrainResult { trained, config, hash })
}
