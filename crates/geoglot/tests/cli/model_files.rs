//! Model folders and weight files that are damaged, altered or malicious.

use std::io::Write;

use serde_json::{Map, Value};

use crate::common::{Work, fixture};

/// Rewrites the header of `model/model.safetensors` and the hash that the card keeps of the file.
fn alter_weights(work: &Work, change: impl Fn(&mut Map<String, Value>)) {
    let bytes = work.read("model/model.safetensors");
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let mut text = serde_json::to_vec(&header).unwrap();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend(text);
    file.extend(&bytes[8 + length..]);
    let old = work.json("model/config.json")["weights_sha256"].as_str().unwrap().to_owned();
    work.edit("model/config.json", &old, &geoglot::models::mmlgnet::sha256(&file));
    work.write("model/model.safetensors", file);
}

/// A matrix of the weights: its name and shape.
fn matrix(work: &Work) -> (String, [u64; 2]) {
    let bytes = work.read("model/model.safetensors");
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut shapes = header.iter().filter_map(|(name, tensor)| {
        let shape: Vec<u64> = serde_json::from_value(tensor.get("shape")?.clone()).ok()?;
        <[u64; 2]>::try_from(shape).ok().filter(|[a, b]| a != b).map(|shape| (name.clone(), shape))
    });
    shapes.next().expect("a matrix that is not square")
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let work = Work::with_model();
    let (name, [rows, cols]) = matrix(&work);
    alter_weights(&work, |header| {
        let tensor = header.shift_remove(&name).unwrap();
        header.insert("stranger".into(), tensor);
    });
    work.map("").fails(1, &["model.safetensors", &name, "stranger"]);
    alter_weights(&work, |header| {
        let tensor = header.shift_remove("stranger").unwrap();
        header.insert(name.clone(), tensor);
        header[&name]["shape"] = serde_json::json!([cols, rows]);
    });
    work.map("").fails(1, &["model.safetensors", &name, &rows.to_string(), &cols.to_string()]);
    alter_weights(&work, |header| header[&name]["shape"] = serde_json::json!([rows, cols, 7]));
    work.map("").fails(1, &["model.safetensors"]);
    alter_weights(&work, |header| header[&name]["shape"] = serde_json::json!([rows, cols]));
    work.map("--no-scores").ok();
}

#[test]
fn altered_and_missing_files_are_named() {
    let work = Work::with_model();
    let (weights, card) = (work.read("model/model.safetensors"), work.read("model/config.json"));
    let mut other = weights.clone();
    *other.last_mut().unwrap() ^= 1;
    for bytes in [&weights[..weights.len() / 2], &other, b""] {
        work.write("model/model.safetensors", bytes);
        work.map("").fails(1, &["model.safetensors", "SHA-256", "copy the model again"]);
    }
    std::fs::remove_file(work.path("model/model.safetensors")).unwrap();
    work.map("").fails(1, &["model.safetensors", "cannot read"]);
    work.write("model/model.safetensors", &weights);
    let text = String::from_utf8(card.clone()).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    for (key, wrong, word) in [
        ("system", serde_json::json!("spectralgpt"), "spectralgpt"),
        ("layout", serde_json::json!(99), "layout 99"),
        ("space", serde_json::json!("elsewhere-12"), "elsewhere-12"),
        ("class_features", serde_json::json!([[0.5]]), "class features"),
        ("legend", serde_json::json!({ "class": [] }), "class"),
        ("normalisation", serde_json::json!({}), "normalisation"),
        ("bands", serde_json::json!({ "hsi": [] }), "bands"),
        ("architecture", serde_json::json!(3), "MmlgnetConfig"),
        ("unheard_of", serde_json::json!(3), "unheard_of"),
    ] {
        let kept = value[key].clone();
        value[key] = wrong;
        work.write("model/config.json", value.to_string());
        // Other words than the model's own need the tower of its space.
        work.map("--classes water").fails(1, &[word]);
        match kept {
            Value::Null => drop(value.as_object_mut().unwrap().remove(key)),
            kept => value[key] = kept,
        }
    }
    for text in ["", "{", "[]", "null", &text[..text.len() / 2]] {
        work.write("model/config.json", text);
        work.map("").fails(1, &["model/config.json", "card"]);
        work.run("info model").fails(1, &["model/config.json"]);
    }
    std::fs::remove_file(work.path("model/config.json")).unwrap();
    work.map("").fails(1, &["model/config.json", "model.safetensors"]);
    assert!(work.files("out").is_empty());
}

/// `os.system("touch called")`, as Python's pickler writes it.
const CALL: &[u8] = b"\x80\x02cposix\nsystem\nX\x0c\x00\x00\x00touch called\x85R.";

#[test]
fn a_malicious_pickle_is_refused_and_not_run() {
    let work = Work::new();
    std::fs::create_dir(work.path("tower")).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(fixture("geoglot-models", &format!("text/bert/{name}")), work.path(format!("tower/{name}")))
            .unwrap();
    }
    // PyTorch stores members as they are.
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("archive/data.pkl", stored).unwrap();
    archive.write_all(CALL).unwrap();
    let archive = archive.finish().unwrap().into_inner();
    for (bytes, word) in [
        (&archive[..], "posix.system"),
        (CALL, "pytorch_model.bin"),
        (&archive[..90], "pytorch_model.bin"),
        (b"", "pytorch_model.bin"),
    ] {
        work.write("tower/pytorch_model.bin", bytes);
        work.run("train recipe.toml --out t --set text.tower=tower").fails(1, &["pytorch_model.bin", word]);
    }
    assert!(!work.path("called").exists() && work.files("t").is_empty());
    // The same folder with honest weights trains.
    std::fs::remove_file(work.path("tower/pytorch_model.bin")).unwrap();
    std::fs::copy(fixture("geoglot-models", "text/bert/model.safetensors"), work.path("tower/model.safetensors"))
        .unwrap();
    work.run("train recipe.toml --out t --set text.tower=tower --set train.epochs=1").ok();
    // Its space is no known tower's: the map needs to be told, and takes no other.
    let line = format!("map --model t --out out {} --classes water", crate::common::SCENE);
    work.run(&line).fails(1, &["--text", "tower@"]);
    work.run(&format!("{line} --text hashed-words")).fails(1, &["hashed-words", "tower@"]);
    work.run(&format!("{line} --text tower")).ok();
}
