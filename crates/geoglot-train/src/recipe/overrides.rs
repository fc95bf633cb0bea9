//! `--set key.path=value`, and reading a recipe with such overrides.

use std::path::{Path, PathBuf};

use geoglot_core::small_file;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::RecipeError;

/// Text of a recipe's file, and the folder that its paths are relative to.
pub(crate) fn file(path: &Path) -> Result<(String, PathBuf), RecipeError> {
    let text = small_file::read_text(path, small_file::TEXT)?;
    Ok((text, path.parent().map_or_else(PathBuf::new, Path::to_path_buf)))
}

/// Checks the name of a recipe.
pub(crate) fn named(name: &str) -> Result<(), String> {
    match name.is_empty() || name.contains(['/', '\\']) {
        true => Err(format!("name = {name:?}: give a short name without slashes; it names the output folder")),
        false => Ok(()),
    }
}

/// Reads a recipe of any kind from TOML `text`, with overrides `key.path=value` applied before it is checked; `origin` names it in messages.
///
/// # Errors
/// [`RecipeError::Format`] with the line in `text` for what is wrong in it, [`RecipeError::Override`] for the override that makes it wrong.
pub fn read<T: DeserializeOwned>(
    text: &str,
    origin: &str,
    overrides: &[String],
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<T, RecipeError> {
    let wrong = |problem: String| RecipeError::Format { path: origin.into(), problem };
    let build = |table: &Table| -> Result<T, String> {
        let recipe: T =
            table.clone().try_into().map_err(|e: toml::de::Error| e.to_string().trim_end().replace('\n', " "))?;
        check(&recipe).map(|()| recipe)
    };
    let mut table: Table = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
    let mut steps = vec![table.clone()];
    for change in overrides {
        let refused = |problem| RecipeError::Override { path: origin.into(), text: change.clone(), problem };
        set(&mut table, change).map_err(refused)?;
        steps.push(table.clone());
    }
    let problem = match build(&table) {
        Ok(recipe) => return Ok(recipe),
        Err(problem) => problem,
    };
    // The first table that has this problem tells who brought it in.
    match steps.iter().position(|t| build(t).err().as_ref() == Some(&problem)) {
        Some(k) if k > 0 => Err(RecipeError::Override { path: origin.into(), text: overrides[k - 1].clone(), problem }),
        // Once more from the text, which knows its lines.
        _ => Err(wrong(toml::from_str::<T>(text).err().map_or(problem, |e| e.to_string()))),
    }
}

/// Sets one value of a table: `train.epochs=20`, `text.tower=bert-base`, and of lists by number or name: `data.scene.0.labels=other.tif`,
/// `distill.dinov2.weight=2`.
///
/// The value is TOML; what is no TOML value is taken as a string, so that names need no quotes. Missing tables are created, entries of lists
/// are not. An entry's name is its `name`, or else the last part of its `teacher` or `path`.
///
/// # Errors
/// The reason, in words.
fn set(table: &mut Table, change: &str) -> Result<(), String> {
    let (path, text) = change.split_once('=').ok_or("expected key.path=value")?;
    let parsed: Result<Table, _> = toml::from_str(&format!("v = {text}"));
    let value = parsed.ok().and_then(|mut t| t.remove("v")).unwrap_or_else(|| Value::String(text.trim().into()));
    let keys: Vec<&str> = path.trim().split('.').collect();
    if keys.contains(&"") {
        return Err("expected key.path=value".into());
    }
    let mut root = Value::Table(std::mem::take(table));
    let done = put(&mut root, &keys, 0, value);
    if let Value::Table(changed) = root {
        *table = changed;
    }
    done
}

/// Puts `value` at `keys[at..]` below `place`.
fn put(place: &mut Value, keys: &[&str], at: usize, value: Value) -> Result<(), String> {
    let Some(key) = keys.get(at) else {
        *place = value;
        return Ok(());
    };
    let inner = match place {
        Value::Table(table) => table.entry(*key).or_insert_with(|| Value::Table(Table::new())),
        Value::Array(items) => entry(items, &keys[..at].join("."), key)?,
        _ => return Err(format!("`{}` is a value, not a table", keys[..at].join("."))),
    };
    put(inner, keys, at + 1, value)
}

/// The entry `key` (a number or a name) of the list at `path`.
fn entry<'a>(items: &'a mut [Value], path: &str, key: &str) -> Result<&'a mut Value, String> {
    let names: Vec<Option<String>> = items.iter().map(name).collect();
    let found: Vec<usize> = match key.parse::<usize>() {
        Ok(number) => Some(number).filter(|n| *n < items.len()).into_iter().collect(),
        Err(_) => (0..items.len()).filter(|&k| names[k].as_deref() == Some(key)).collect(),
    };
    match found[..] {
        [one] => Ok(&mut items[one]),
        [] => {
            let known: Vec<String> = names
                .iter()
                .enumerate()
                .map(|(k, n)| n.as_ref().map_or(k.to_string(), |n| format!("{k} ({n})")))
                .collect();
            let known = if known.is_empty() { "it is empty".into() } else { format!("it has {}", known.join(", ")) };
            Err(format!("the list `{path}` has no entry `{key}`; {known}"))
        }
        _ => Err(format!("`{path}` has {} entries called `{key}`; say which by its number, from 0", found.len())),
    }
}

/// What an entry of a list is called.
fn name(item: &Value) -> Option<String> {
    let text = |key: &str| item.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    let last = |path: &str| path.rsplit(['/', '\\']).find(|p| !p.is_empty()).unwrap_or(path).to_owned();
    text("name").map(str::to_owned).or_else(|| text("teacher").or_else(|| text("path")).map(last))
}
