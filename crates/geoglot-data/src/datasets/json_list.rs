//! JSON lists of images with captions, classes and splits.
//!
//! Karpathy's form, as published with RSICD, RSITMD, UCM-Captions and Sydney-Captions: `{"images": [{"filename", "split", "sentences":
//! [{"raw"}]}]}`. Or a plain array of records with the same or simpler keys: `file`, `captions`, `class`, `split`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::collect::{Collector, image_folder, read_text};
use super::error::{Error, Result};
use super::item::{Item, Labelling};

const FILE_KEYS: [&str; 6] = ["filename", "file", "filepath", "file_name", "image", "image_path"];
const CAPTION_KEYS: [&str; 5] = ["sentences", "captions", "caption", "raw", "text"];
const CLASS_KEYS: [&str; 5] = ["class", "label", "labels", "category", "classes"];

fn text<'a>(record: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| record.get(key)?.as_str())
}

/// The image's path as the list gives it; COCO's form states folder and name apart.
fn file_of(record: &Value) -> Option<PathBuf> {
    let name = text(record, &FILE_KEYS)?;
    match record.get("filepath").and_then(Value::as_str) {
        Some(folder) if !folder.ends_with(name) => Some(Path::new(folder).join(name)),
        _ => Some(name.into()),
    }
}

/// Strings of a caption or class field: a string, or an array of strings or of objects with `raw`. `None` for anything else.
fn strings(value: &Value) -> Option<Vec<String>> {
    let one = |v: &Value| match v {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Object(o) => ["raw", "caption", "text"].iter().find_map(|k| o.get(*k)?.as_str()).map(str::to_owned),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        other => Some(vec![one(other)?]),
    }
}

pub(super) fn collect(path: &Path, collector: &mut Collector<'_>) -> Result<()> {
    let content: Value = serde_json::from_str(&read_text(path)?)
        .map_err(|e| Error::list(path, format!("is not valid JSON ({e}); fetch the file again")))?;
    if ["annotations", "annotation"].iter().any(|key| content.get(key).is_some()) {
        return Err(Error::list(
            path,
            "is a COCO list with annotations; expected images with captions: {\"images\": [{\"filename\", \"sentences\"}]}",
        ));
    }
    let records = match &content {
        Value::Array(records) => records,
        Value::Object(_) => content.get("images").and_then(Value::as_array).ok_or_else(|| {
            Error::list(
                path,
                "has no array `images`; expected {\"images\": [{\"filename\", \"split\", \"sentences\"}]}",
            )
        })?,
        _ => return Err(Error::list(path, "is neither an array of records nor an object with `images`")),
    };
    let Some(first) = records.iter().find_map(file_of) else {
        let keys = FILE_KEYS.join(", ");
        return Err(Error::list(path, format!("no record names an image; expected one of the keys {keys}")));
    };
    let folder = image_folder(path, &first.to_string_lossy(), collector.options)?;
    collector.list = Some(path.into());
    for (k, record) in records.iter().enumerate() {
        add(path, &format!("entry {}", k + 1), record, &folder, collector)?;
    }
    Ok(())
}

fn add(list: &Path, place: &str, record: &Value, folder: &Path, collector: &mut Collector<'_>) -> Result<()> {
    let Some(file) = file_of(record) else {
        let keys = FILE_KEYS.join(", ");
        return collector.fault(Error::record(list, place, format!("names no image; expected one of the keys {keys}")));
    };
    let mut captions = Vec::new();
    if let Some((key, value)) = CAPTION_KEYS.iter().find_map(|k| Some((k, record.get(*k)?))) {
        let Some(found) = strings(value) else {
            let problem = format!("`{key}` is neither text nor a list of texts");
            return collector.fault(Error::record(list, place, problem));
        };
        for caption in found {
            captions.extend(collector.caption(list, place, &caption)?);
        }
    }
    let mut labels = Vec::new();
    if let Some((key, value)) = CLASS_KEYS.iter().find_map(|k| Some((k, record.get(*k)?))) {
        let Some(found) = strings(value).filter(|f| f.iter().all(|name| !name.trim().is_empty())) else {
            return collector.fault(Error::record(
                list,
                place,
                format!("`{key}` is neither a class nor a list of classes"),
            ));
        };
        let kind = if value.is_array() { Labelling::Multi } else { Labelling::Single };
        if collector.labelling != Labelling::Multi {
            collector.labelling = kind;
        }
        labels = found.iter().filter_map(|name| collector.class(name.trim())).collect();
    }
    if captions.is_empty() && labels.is_empty() {
        return collector.fault(Error::record(list, place, "has neither a caption nor a class"));
    }
    let split = match record.get("split").and_then(Value::as_str) {
        None => None,
        Some(name) => match collector.split(list, place, name)? {
            Some(split) => Some(split),
            None => return Ok(()),
        },
    };
    let path = folder.join(&file);
    if !collector.image(list, place, &path)? {
        return Ok(());
    }
    let id = file.to_string_lossy().into_owned();
    collector.add(Item { id, path, labels, captions, split, place: place.into() });
    Ok(())
}
