//! What loading a text tower refuses, and how it says so.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use geoglot_models::hub::{Hub, Store};
use geoglot_models::text::bert::{BertConfig, BertKind};
use geoglot_models::text::clip::ClipTextConfig;
use geoglot_models::text::{Pooling, TextTower, TowerOptions, load_from_folder, load_text_tower_with};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text").join(name)
}

/// A copy of a fixture to damage.
fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(fixture(name)).unwrap().flatten() {
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

fn load(folder: &Path) -> Result<Box<dyn TextTower>, String> {
    load_from_folder(folder, &TowerOptions::default(), &Device::flex()).map_err(|e| e.to_string())
}

fn edit_config(dir: &TempDir, file: &str, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.path().join(file);
    let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn a_deeper_config_than_the_weights_lists_what_is_missing() {
    let dir = copy("bert");
    edit_config(&dir, "config.json", |c| c["num_hidden_layers"] = 3.into());
    let error = load(dir.path()).err().unwrap();
    assert!(error.contains("16 missing") && error.contains("blocks.2.") && error.contains("0 unused"), "{error}");
}

#[test]
fn a_shallower_config_than_the_weights_lists_what_is_unused() {
    let dir = copy("clip-hf");
    edit_config(&dir, "config.json", |c| c["num_hidden_layers"] = 1.into());
    let error = load(dir.path()).err().unwrap();
    assert!(error.contains("0 missing") && error.contains("text_model.encoder.layers.1."), "{error}");
}

#[test]
fn a_wrong_shape_names_the_tensor() {
    let dir = copy("bert");
    edit_config(&dir, "config.json", |c| c["intermediate_size"] = 96.into());
    let error = load(dir.path()).err().unwrap();
    assert!(
        error.contains("intermediate.dense") && error.contains("[64, 32]") && error.contains("[96, 32]"),
        "{error}"
    );
}

#[test]
fn unsupported_configs_are_named() {
    for (name, file, key, value, word) in [
        ("bert", "config.json", "hidden_act", "swish", "swish"),
        ("bert", "config.json", "model_type", "t5", "`t5`"),
        ("bert", "config.json", "position_embedding_type", "relative_key", "relative_key"),
        ("clip-hf", "config.json", "hidden_act", "swish", "swish"),
    ] {
        let dir = copy(name);
        edit_config(&dir, file, |c| c[key] = value.into());
        let error = load(dir.path()).err().unwrap();
        assert!(error.contains(word), "{error}");
    }
    for (key, value) in
        [("no_causal_mask", serde_json::json!(true)), ("hf_model_name", "roberta".into()), ("new_thing", 1.into())]
    {
        let dir = copy("openclip-gelu");
        edit_config(&dir, "open_clip_config.json", |c| c["model_cfg"]["text_cfg"][key] = value);
        let error = load(dir.path()).err().unwrap();
        assert!(error.contains(key) || error.contains("roberta"), "{error}");
    }
}

#[test]
fn sizes_far_beyond_the_weights_allocate_nothing() {
    let huge = 1u64 << 50;
    for (name, file, pointer) in [
        ("bert", "config.json", "/hidden_size"),
        ("bert", "config.json", "/vocab_size"),
        ("bert", "config.json", "/num_hidden_layers"),
        ("clip-hf", "config.json", "/intermediate_size"),
        ("openclip-gelu", "open_clip_config.json", "/model_cfg/text_cfg/width"),
    ] {
        let dir = copy(name);
        edit_config(&dir, file, |c| *c.pointer_mut(pointer).unwrap() = huge.into());
        let error = load(dir.path()).err().unwrap();
        assert!(error.contains("do not belong together"), "{pointer}: {error}");
    }
    let json = serde_json::json!({
        "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "hidden_act": "gelu",
        "max_position_embeddings": 8, "type_vocab_size": 1, "pad_token_id": u64::MAX
    });
    let error = BertConfig::from_json(BertKind::Roberta, &json, Path::new("config.json")).unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
}

#[test]
fn damaged_and_missing_files_are_named() {
    for (name, file) in [
        ("bert", "model.safetensors"),
        ("roberta-torch", "pytorch_model.bin"),
        ("bert", "tokenizer.json"),
        ("bert", "config.json"),
    ] {
        let dir = copy(name);
        let path = dir.path().join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = load(dir.path()).err().unwrap();
        assert!(error.contains(file), "{file}: {error}");
        fs::remove_file(&path).unwrap();
        let error = load(dir.path()).err().unwrap();
        assert!(error.contains(file), "{file}: {error}");
    }
}

#[test]
fn a_malicious_checkpoint_is_refused() {
    let dir = copy("roberta-torch");
    let path = dir.path().join("pytorch_model.bin");
    let mut writer = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    writer.start_file("m/data.pkl", stored).unwrap();
    std::io::Write::write_all(&mut writer, b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.").unwrap();
    writer.finish().unwrap();
    let error = load(dir.path()).err().unwrap();
    assert!(error.contains("posix.system") && error.contains("pytorch_model.bin"), "{error}");
}

#[test]
fn weights_with_another_hash_are_refused() {
    let options = TowerOptions { sha256: Some("0".repeat(64)), ..TowerOptions::default() };
    let error = load_from_folder(&fixture("bert"), &options, &Device::flex()).err().unwrap().to_string();
    assert!(error.contains("SHA-256") && error.contains("model.safetensors"), "{error}");
}

#[test]
fn pooling_and_weights_make_the_space() {
    let mean = load(&fixture("bert")).unwrap();
    assert!(mean.space().name.starts_with("bert@") && mean.width() == 32);
    let options = TowerOptions { pooling: Some(Pooling::Cls), ..TowerOptions::default() };
    let cls = load_from_folder(&fixture("bert"), &options, &Device::flex()).unwrap();
    assert!(mean.space().expect(cls.space()).is_err());
    assert_ne!(mean.fingerprint(), cls.fingerprint());
    let other = load(&fixture("bert-bf16")).unwrap();
    assert!(mean.space().expect(other.space()).is_err());
}

#[test]
fn towers_are_found_by_path_and_by_the_built_in_name() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::at(Store::at(dir.path()), dir.path());
    let find = |name: &str| load_text_tower_with(name, &TowerOptions::default(), &hub, &Device::flex());
    assert_eq!(find("hashed-words").unwrap().space().name, "hashed-words-384");
    assert_eq!(find(fixture("albert").to_str().unwrap()).unwrap().width(), 32);
    assert!(find("minilm").err().unwrap().to_string().contains("geoglot models pull minilm"));
}

/// Names as they stand in the published files, beyond what the exporting libraries write today.
#[test]
fn published_names_of_older_files_are_known() {
    let config = |kind| {
        let json: serde_json::Value = serde_json::from_slice(&fs::read(fixture("bert/config.json")).unwrap()).unwrap();
        BertConfig::from_json(kind, &json, Path::new("config.json")).unwrap()
    };
    let bert = config(BertKind::Bert).key_map();
    for (published, ours) in [
        ("bert.embeddings.LayerNorm.gamma", Some("embeddings.norm.weight")), // bert-base-uncased
        ("bert.encoder.layer.11.attention.output.LayerNorm.beta", Some("blocks.11.norm1.bias")),
        ("roberta.encoder.layer.0.output.dense.weight", Some("blocks.0.fc2.weight")), // roberta-base
        ("roberta.embeddings.position_ids", None),
        ("cls.predictions.decoder.weight", None),
        ("lm_head.dense.bias", None),
        ("bert.pooler.dense.weight", None),
    ] {
        let targets = bert.targets(published).unwrap_or_else(|| panic!("{published} is unknown"));
        assert_eq!(targets.first().map(|t| t.name.as_str()), ours, "{published}");
    }
    let albert = config(BertKind::Albert).key_map();
    let clip = ClipTextConfig::key_map();
    for (map, published, ours) in [
        (&albert, "albert.encoder.embedding_hidden_mapping_in.weight", Some("lift.weight")), // albert-base-v2
        (&albert, "predictions.LayerNorm.weight", None),
        (&clip, "text_model.embeddings.position_ids", None), // openai/clip-vit-base-patch32
        (&clip, "vision_model.embeddings.class_embedding", None),
        (&clip, "visual_projection.weight", None),
        (&clip, "logit_scale", None),
        (&clip, "text.transformer.resblocks.3.mlp.c_fc.weight", Some("blocks.3.fc1.weight")), // OpenCLIP custom text
        (&clip, "visual.layer1.0.conv1.weight", None),                                        // RN50
    ] {
        let targets = map.targets(published).unwrap_or_else(|| panic!("{published} is unknown"));
        assert_eq!(targets.first().map(|t| t.name.as_str()), ours, "{published}");
    }
    assert!(bert.targets("encoder.layer.0.attention.self.rotary").is_none());
}
