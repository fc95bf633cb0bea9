//! `--set key.path=value`.

use toml::{Table, Value};

/// Sets one value of a table of tables: `train.epochs=20`, `text.tower=bert-base`, `data.scene.0.labels=other.tif`.
///
/// The value is TOML; what is no TOML value is taken as a string, so that names need no quotes. Missing tables are created.
///
/// # Errors
/// The reason, in words.
pub fn set(table: &mut Table, change: &str) -> Result<(), String> {
    let (path, text) = change.split_once('=').ok_or("expected key.path=value")?;
    let parsed: Result<Table, _> = toml::from_str(&format!("v = {text}"));
    let value = parsed.ok().and_then(|mut t| t.remove("v")).unwrap_or_else(|| Value::String(text.trim().into()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().filter(|k| !k.is_empty()).ok_or("expected key.path=value")?;
    let mut place = table;
    let mut keys = keys.into_iter();
    while let Some(key) = keys.next() {
        let entry = place.entry(key).or_insert_with(|| Value::Table(Table::new()));
        place = match entry {
            Value::Table(inner) => inner,
            Value::Array(items) => {
                let number = keys.next().ok_or(format!("`{key}` is a list; say which entry: {key}.0.…"))?;
                let count = items.len();
                let item = number.parse::<usize>().ok().and_then(|n| items.get_mut(n));
                match item {
                    Some(Value::Table(inner)) => inner,
                    _ => {
                        return Err(format!(
                            "`{key}` has no entry `{number}` to set values in; it has {count}, counted from 0"
                        ));
                    }
                }
            }
            _ => return Err(format!("`{key}` is a value, not a table")),
        };
    }
    place.insert(last.into(), value);
    Ok(())
}
