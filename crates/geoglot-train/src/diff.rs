//! Where two JSON values differ.

use serde_json::{Map, Value};

/// The differing leaves of two values: dotted path, first, second. Lists are leaves, unless both hold tables.
pub(crate) fn leaves(path: &str, a: &Value, b: &Value) -> Vec<(String, Value, Value)> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let mut names: Vec<&String> = x.keys().chain(y.keys()).collect();
            names.sort();
            names.dedup();
            let of = |m: &Map<String, Value>, name: &str| m.get(name).cloned().unwrap_or(Value::Null);
            names.into_iter().flat_map(|name| leaves(&below(name), &of(x, name), &of(y, name))).collect()
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() && x.iter().chain(y).all(Value::is_object) => {
            let items = x.iter().zip(y).enumerate();
            items.flat_map(|(k, (x, y))| leaves(&format!("{path}[{k}]"), x, y)).collect()
        }
        _ if a == b => Vec::new(),
        _ => vec![(path.to_owned(), a.clone(), b.clone())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_by_their_path() {
        let a = json!({ "train": { "batch": 15, "crop": [1, 1] }, "data": [{ "path": "a" }], "seed": 1 });
        let b = json!({ "train": { "batch": 10, "crop": [1, 2], "ema": 0.9 }, "data": [{ "path": "b" }], "seed": 1 });
        let found: Vec<String> = leaves("", &a, &b).iter().map(|(p, x, y)| format!("{p}: {x} {y}")).collect();
        assert_eq!(
            found,
            ["data[0].path: \"a\" \"b\"", "train.batch: 15 10", "train.crop: [1,1] [1,2]", "train.ema: null 0.9"]
        );
        assert!(leaves("", &a, &a).is_empty());
    }
}
