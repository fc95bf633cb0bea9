//! Training of SpectralGPT and Spectral-LLaVA from recipes, conversations from captions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use burn::tensor::Device;
use ndarray::Array2;

use super::images::{TowerScene, batch};
use crate::core::{Registry, RunManifest, atomic};
use crate::data::captions::{CaptionedImage, read_manifest};
use crate::data::datasets::{Dataset, DatasetOptions, Split};
use crate::data::instruct::{
    Conversation, InstructOptions, conversations, read_conversations, spectral_facts, write_conversations,
};
use crate::models::llm::{LanguageModel, Message, PeftAdapter, PeftConfig, Role};
use crate::models::mmlgnet::sha256;
use crate::models::spectral_llava::{
    ImageTokens, LlavaCard, LlmReference, PROJECTOR, Projector, image_tokens, save_spectral_llava,
};
use crate::models::spectralgpt::{SpectralCard, save_spectralgpt, sentinel2_subset};
use crate::models::vision::{ImageTower, load_image_tower};
use crate::nn::llm::{FrozenDecoder, LoraConfig, TARGETS};
use crate::raster::SceneArg;
use crate::raster::preview::quick_look;
use crate::train::contrastive::{DatasetImages, Images};
use crate::train::llava::{
    ImageStates, LlavaRecipe, Sequence, StageData, StageResult, StageSection, Start, train_stage,
};
use crate::train::mae::{MaskedRecipe, own_statistics, pretrain_masked};
use crate::train::{Ended, Observer, RunFolder};

/// Trains the encoder of a recipe of masked tokens and writes its folder to `out`. An interrupted run leaves its checkpoint and no model.
///
/// # Errors
/// As [`pretrain_masked`]; sets that cannot be read, a folder that cannot be written.
pub fn pretrain_spectral(
    recipe: &MaskedRecipe,
    registry: &Registry,
    out: &Path,
    resume: bool,
    device: &Device,
    run: &mut RunManifest,
    observer: &mut dyn Observer,
) -> anyhow::Result<String> {
    let mut sets: Vec<DatasetImages> = Vec::new();
    let budget = recipe.data.cache_mib.saturating_mul(1 << 20) / recipe.data.set.len();
    for section in &recipe.data.set {
        let options = DatasetOptions {
            sensor: section.sensor.clone(),
            layout: section.layout.clone(),
            registry: Arc::new(registry.clone()),
            ..DatasetOptions::default()
        };
        let set = Dataset::open(&recipe.path(section)?, &options)?;
        let split = section.split.or_else(|| set.splits().contains(&Split::Train).then_some(Split::Train));
        let items = set.indices(split);
        sets.push(DatasetImages::new(set, items, &section.bands, budget)?);
    }
    run.stage("prepare");
    let id = serde_json::json!({
        "data": recipe.data.set, "model": recipe.model, "train": recipe.train,
        "images": sets.iter().map(Images::len).collect::<Vec<_>>(),
    })
    .to_string();
    let (bands, mut preprocess) =
        sentinel2_subset(&recipe.model.bands, recipe.model.size).map_err(anyhow::Error::msg)?;
    let all: Vec<&dyn Images> = sets.iter().map(|s| s as &dyn Images).collect();
    if recipe.model.own_statistics {
        preprocess = own_statistics(&bands, &preprocess, &all)?;
    }
    let keep = RunFolder { folder: out, run: &id, resume };
    let trained =
        pretrain_masked(&recipe.model, (&bands, &preprocess), &all, &recipe.train, Some(keep), device, observer)?;
    run.stage("train");
    if trained.ended == Ended::Interrupted {
        bail!("interrupted after {} epochs; continue with the same command and --resume", trained.history.len());
    }
    let card = SpectralCard::new(recipe.model.encoder(), bands, preprocess);
    let hash = save_spectralgpt(out, &trained.encoder, &card)?;
    run.seed = Some(recipe.train.seed);
    run.model_hash = Some(hash.clone());
    for (name, value) in trained.history.last().into_iter().flat_map(|e| &e.parts) {
        run.results.insert(format!("last loss, {name}"), (*value).into());
    }
    run.save(out)?;
    atomic::write(&out.join("recipe.toml"), recipe.to_toml()?.as_bytes())?;
    Ok(hash)
}

/// Longest side of a preview in pixels.
const PREVIEW: usize = 448;

/// The images of conversations, encoded once each when they are first asked for.
pub struct SceneStates<'a> {
    tower: &'a dyn ImageTower,
    tokens: ImageTokens,
    registry: &'a Registry,
    /// The different images.
    pub images: Vec<SceneArg>,
    kept: Mutex<HashMap<usize, Array2<f32>>>,
}

impl<'a> SceneStates<'a> {
    /// No image yet.
    pub fn new(tower: &'a dyn ImageTower, tokens: ImageTokens, registry: &'a Registry) -> Self {
        Self { tower, tokens, registry, images: Vec::new(), kept: Mutex::default() }
    }

    fn encode(&self, i: usize) -> anyhow::Result<Array2<f32>> {
        let scene = TowerScene::open(&self.images[i], self.tower, self.registry, false)?;
        let image = scene.prepare(&scene.read_whole()?)?;
        let images = batch(&[image], scene.bands(), self.tower.device());
        Ok(image_tokens(self.tower, &images, self.tokens)?.swap_remove(0))
    }
}

impl ImageStates for SceneStates<'_> {
    fn states(&self, i: usize) -> Result<Array2<f32>, Box<dyn std::error::Error + Send + Sync>> {
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(states) = kept.get(&i) {
            return Ok(states.clone());
        }
        let states = self.encode(i).map_err(|e| format!("{e:#}"))?;
        kept.insert(i, states.clone());
        Ok(states)
    }

    fn name(&self, i: usize) -> String {
        self.images[i].path.display().to_string()
    }
}

/// The turns of an entry as a language model's messages.
pub fn messages(entry: &Conversation) -> Vec<Message> {
    let role = |from: &str| match from {
        "system" => Role::System,
        "gpt" | "assistant" => Role::Assistant,
        _ => Role::User,
    };
    entry.conversations.iter().map(|t| Message { role: role(&t.from), content: t.value.clone() }).collect()
}

/// The image of an entry: relative to `root`, options behind a colon.
///
/// # Errors
/// Options that do not parse.
pub fn image_arg(entry: &Conversation, root: &Path, sensor: Option<&str>) -> anyhow::Result<SceneArg> {
    let mut arg: SceneArg = entry.image.parse().with_context(|| format!("image of `{}`", entry.id))?;
    arg.path = root.join(&arg.path);
    arg.sensor = arg.sensor.take().or_else(|| sensor.map(str::to_owned));
    Ok(arg)
}

/// The projector of an earlier training.
fn earlier(recipe: &LlavaRecipe, name: &str, tower: &dyn ImageTower, llm: &LanguageModel) -> anyhow::Result<Projector> {
    let path = recipe.beside(name)?.join(PROJECTOR);
    let projector = Projector::open(&path).context("model.start")?;
    let (found, wanted) = (projector.weight.dim(), (llm.decoder.config.width, recipe.model.tokens.width(tower)));
    if found != wanted {
        bail!(
            "model.start: {}: projects {} to {} numbers; this tower gives {} a token with these model.tokens, this language model reads {}: name \
             a model that was trained with the same",
            path.display(),
            found.1,
            found.0,
            wanted.1,
            wanted.0
        );
    }
    Ok(projector)
}

/// A trained Spectral-LLaVA.
pub struct LlavaResult {
    /// Both stages as they ended, by name.
    pub stages: Vec<(&'static str, StageResult)>,
    /// Conversations of each stage.
    pub conversations: Vec<usize>,
}

/// A path beside the recipe where there is one, else a name.
fn beside(recipe: &LlavaRecipe, name: &str) -> anyhow::Result<String> {
    let path = recipe.beside(name)?;
    Ok(if path.exists() { std::path::absolute(path)?.display().to_string() } else { name.to_owned() })
}

/// Trains the stages of a recipe and writes the model's folder to `out`; each stage keeps its checkpoints in a folder of its own.
///
/// # Errors
/// Tower, language model, conversations or images that cannot be read or do not fit one another; what training may say.
pub fn train_llava(
    recipe: &LlavaRecipe,
    registry: &Registry,
    out: &Path,
    resume: bool,
    device: &Device,
    run: &mut RunManifest,
    observer: &mut dyn Observer,
) -> anyhow::Result<LlavaResult> {
    let (tower_name, llm_name) = (beside(recipe, &recipe.model.tower)?, beside(recipe, &recipe.model.llm)?);
    let tower = load_image_tower(&tower_name, device).context("model.tower")?;
    let mut llm = LanguageModel::load(&llm_name).context("model.llm")?;
    if let Some(name) = &recipe.model.template {
        llm = llm.with_named_template(name)?;
    }
    let llm = llm.with_context(recipe.model.context);
    let autodiff = device.clone().autodiff();
    let frozen = FrozenDecoder::new(&llm.decoder, &autodiff);
    let mut states = SceneStates::new(tower.as_ref(), recipe.model.tokens, registry);
    let mut known: HashMap<PathBuf, usize> = HashMap::new();
    let mut stages: Vec<(&'static str, &StageSection, Vec<Sequence>, String)> = Vec::new();
    let sections = [("align", recipe.align.as_ref()), ("tune", recipe.tune.as_ref())];
    for (name, section) in sections.into_iter().filter_map(|(n, s)| Some((n, s?))) {
        let file = recipe.beside(section.conversations.as_ref().unwrap_or(&recipe.data.conversations))?;
        let root = match &recipe.data.images {
            Some(images) => recipe.beside(images)?,
            None => file.parent().map(Path::to_path_buf).unwrap_or_default(),
        };
        let mut sequences = Vec::new();
        for entry in &read_conversations(&file)? {
            let arg = image_arg(entry, &root, recipe.data.sensor.as_deref())?;
            let image = *known.entry(arg.path.clone()).or_insert_with(|| {
                states.images.push(arg);
                states.images.len() - 1
            });
            // How many tokens an image has is known from the first one.
            let tokens = states.states(0).map_err(|e| anyhow::anyhow!("{e}"))?.nrows();
            let sequence = Sequence::new(&llm, &messages(entry), image, tokens);
            sequences.push(sequence.with_context(|| format!("{}: `{}`", file.display(), entry.id))?);
        }
        if sequences.is_empty() {
            bail!("{}: no conversations", file.display());
        }
        let text = std::fs::read(&file).with_context(|| file.display().to_string())?;
        stages.push((name, section, sequences, sha256(&text)));
    }
    run.stage("prepare");
    let mut projector =
        recipe.model.start.as_ref().map(|name| earlier(recipe, name, tower.as_ref(), &llm)).transpose()?;
    let mut done = LlavaResult { stages: Vec::new(), conversations: Vec::new() };
    for (name, section, sequences, hash) in &stages {
        let data = StageData {
            sequences,
            images: &states,
            decoder: &llm.decoder,
            frozen: &frozen,
            width: recipe.model.tokens.width(tower.as_ref()),
        };
        let lora = (*name == "tune").then_some(&recipe.model.lora);
        let id = serde_json::json!({
            "stage": section, "model": recipe.model, "seed": recipe.seed, "conversations": hash,
            "tower": tower.fingerprint(), "llm": llm.fingerprint(), "states": "whitened",
            "start": projector.as_ref().map(|p| sha256(&p.weight.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())),
        })
        .to_string();
        let folder = out.join(name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let keep = RunFolder { folder: &folder, run: &id, resume };
        let start = projector.as_ref().map_or(Start::Fresh(recipe.model.begin), Start::Projector);
        let result = train_stage(&data, section, start, lora, recipe.seed, Some(keep), &autodiff, observer)?;
        run.stage(name);
        if result.ended == Ended::Interrupted {
            bail!("interrupted in stage `{name}`; continue with the same command and --resume");
        }
        run.results.insert(format!("{name}: last loss"), result.history.last().map(|e| e.loss).into());
        projector = Some(result.projector.clone());
        done.conversations.push(sequences.len());
        done.stages.push((name, result));
    }
    let projector = projector.expect("a recipe has a stage");
    let adapters = done.stages.last().and_then(|(_, r)| r.adapters.as_ref());
    let adapter = adapters.map(|a| peft(a, &recipe.model.lora, &llm_name, llm.fingerprint()));
    let reference = LlmReference {
        model: llm_name,
        fingerprint: llm.fingerprint().to_owned(),
        template: recipe.model.template.clone(),
        context: Some(recipe.model.context),
    };
    let mut card = LlavaCard::new(tower.as_ref(), tower_name, recipe.model.tokens, reference);
    card.license.clone_from(&recipe.model.license);
    card.training = serde_json::json!({
        "recipe": recipe.name, "seed": recipe.seed,
        "stages": done.stages.iter().zip(&done.conversations).map(|((name, r), n)| {
            serde_json::json!({ "name": name, "conversations": n, "history": r.history })
        }).collect::<Vec<_>>(),
    });
    save_spectral_llava(out, &card, &projector, adapter.as_ref())?;
    run.seed = Some(recipe.seed);
    run.model_hash = Some(sha256(&projector.weight.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()));
    run.save(out)?;
    atomic::write(&out.join("recipe.toml"), recipe.to_toml()?.as_bytes())?;
    Ok(done)
}

/// Trained adapters in PEFT's form.
fn peft(adapters: &crate::nn::llm::Adapters, lora: &LoraConfig, base: &str, fingerprint: &str) -> PeftAdapter {
    let config = PeftConfig {
        r: lora.rank,
        lora_alpha: lora.alpha,
        lora_dropout: lora.dropout,
        base_model_name_or_path: Some(base.to_owned()),
        use_rslora: false,
        alpha_pattern: Default::default(),
        geoglot_base_model: Some(fingerprint.to_owned()),
    };
    let blocks = 0..adapters.blocks.len();
    let all = blocks.flat_map(|i| TARGETS.into_iter().map(move |t| (i, t)));
    let layers = all.filter_map(|(i, t)| Some(((i, t), adapters.get(i, t)?.to_low_rank()))).collect();
    PeftAdapter::new(config, layers)
}

/// Builds conversations of the images of caption manifests and writes them to `out` (LLaVA's JSON), pictures of the images' colours into the
/// folder `previews`; the number of entries and warnings.
///
/// # Errors
/// Manifests or images that cannot be read; images of which nothing can be asked.
pub fn instruct(
    manifests: &[PathBuf],
    out: &Path,
    previews: Option<&Path>,
    registry: &Registry,
    options: InstructOptions,
    mut progress: impl FnMut(usize, usize),
) -> anyhow::Result<(usize, Vec<String>)> {
    let mut images: Vec<CaptionedImage> = Vec::new();
    for manifest in manifests {
        images.extend(read_manifest(manifest)?);
    }
    let (mut all, mut warnings) = (Vec::new(), Vec::new());
    for (k, image) in images.iter().enumerate() {
        let spectral = match options.spectral && !options.labels_only {
            true => {
                let pixels = image.read(registry)?;
                Some(spectral_facts(pixels.data.view(), &pixels.mask, &pixels.bands))
            }
            false => None,
        };
        let absolute = std::path::absolute(&image.image)?.display().to_string();
        let path = if image.options.is_empty() { absolute } else { format!("{absolute}:{}", image.options) };
        let mut entries = conversations(image, &path, spectral.as_ref(), options);
        if let Some(folder) = previews {
            let name = image.key.replace(['/', '\\', ':'], "-") + ".png";
            let look = quick_look(image.scene(registry)?.inputs()[0].source().as_ref(), PREVIEW)?;
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            look.image.save_png(&folder.join(&name))?;
            let shown = std::path::absolute(folder.join(name))?.display().to_string();
            entries.iter_mut().for_each(|e| e.preview = Some(shown.clone()));
        }
        if entries.is_empty() {
            warnings.push(format!("{}: nothing to ask; left out", image.key));
        }
        all.extend(entries);
        progress(k + 1, images.len());
    }
    if all.is_empty() {
        bail!("no conversation could be made of {} images", images.len());
    }
    write_conversations(out, &all)?;
    Ok((all.len(), warnings))
}
