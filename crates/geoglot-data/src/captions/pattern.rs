//! File names with parts that stand for the image: `S2/{tile}.tif`.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use regex::Regex;

use super::error::{Error, Result};

/// The parts of one image's names.
pub(super) type Parts = IndexMap<String, String>;

/// Files under `root` that `pattern` stands for, sorted by path, with their parts. A `{name}` stands for one or more characters of one file or
/// folder name; used twice it stands for the same characters.
pub(super) fn files(root: &Path, pattern: &Path) -> Result<Vec<(PathBuf, Parts)>> {
    let mut found = vec![(root.to_path_buf(), Parts::new())];
    for component in pattern.components() {
        let text = component.as_os_str().to_string_lossy();
        if !text.contains('{') {
            for (path, _) in &mut found {
                path.push(&*text);
            }
            continue;
        }
        let (matcher, names) = matcher(&text)?;
        let mut next = Vec::new();
        for (folder, parts) in found {
            let read = |e| geoglot_core::Error::io(&folder, "list", e);
            let mut entries = Vec::new();
            // A folder that the pattern names outright may be missing below some of the folders that matched.
            if folder.is_dir() || folder == root {
                for entry in std::fs::read_dir(&folder).map_err(read)? {
                    entries.extend(entry.map_err(read)?.file_name().into_string());
                }
            }
            entries.sort();
            for entry in entries {
                let Some(found) = matcher.captures(&entry) else { continue };
                let mut own = parts.clone();
                let same = names.iter().enumerate().all(|(k, name)| {
                    let value = found[k + 1].to_owned();
                    own.insert(name.clone(), value.clone()).is_none_or(|old| old == value)
                });
                if same {
                    next.push((folder.join(&entry), own));
                }
            }
        }
        found = next;
    }
    found.retain(|(path, _)| path.exists());
    if found.is_empty() {
        return Err(Error::image(
            root.join(pattern),
            "no file fits this pattern; {name} stands for a part of a file or folder name. Check `root` and `images`",
        ));
    }
    Ok(found)
}

/// `pattern` with its parts filled in.
pub(super) fn fill(pattern: &Path, parts: &Parts) -> Result<PathBuf> {
    let mut text = pattern.to_string_lossy().into_owned();
    for (name, value) in parts {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    match text.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
        Some((unknown, _)) => Err(Error::Recipe(format!(
            "`{}` has the part {{{unknown}}}, which `images` lacks; it has {}",
            pattern.display(),
            parts.keys().map(|k| format!("{{{k}}}")).collect::<Vec<_>>().join(", ")
        ))),
        None => Ok(text.into()),
    }
}

/// Key of an image: its parts joined.
pub(super) fn key(parts: &Parts) -> String {
    parts.values().map(String::as_str).collect::<Vec<_>>().join("-")
}

/// What one file or folder name must look like, and the names of its parts.
fn matcher(component: &str) -> Result<(Regex, Vec<String>)> {
    let wrong = |why: &str| Error::Recipe(format!("`{component}` {why}; write {{name}} with letters, digits and _"));
    let (mut text, mut names, mut rest) = ("^".to_owned(), Vec::new(), component);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| wrong("has a { without }"))?;
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(wrong("has a part without a proper name"));
        }
        text += &format!("{}(.+?)", regex::escape(before));
        names.push(name.to_owned());
        rest = after;
    }
    text += &format!("{}$", regex::escape(rest));
    Ok((Regex::new(&text).map_err(|_| wrong("is no pattern"))?, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_and_filled_in() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["D1/img/IMG_07.tif", "D1/img/IMG_08.tif", "D2/img/IMG_07.tif", "D2/other.tif"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let found = files(dir.path(), Path::new("{zone}/img/IMG_{id}.tif")).unwrap();
        let keys: Vec<String> = found.iter().map(|(_, parts)| key(parts)).collect();
        assert_eq!(keys, ["D1-07", "D1-08", "D2-07"]);
        assert_eq!(fill(Path::new("{zone}/msk/M_{id}.tif"), &found[1].1).unwrap(), Path::new("D1/msk/M_08.tif"));
        assert!(fill(Path::new("{day}.tif"), &found[0].1).unwrap_err().to_string().contains("{zone}, {id}"));
        assert!(files(dir.path(), Path::new("{zone}/x.tif")).unwrap_err().to_string().contains("no file fits"));
        assert!(
            files(dir.path(), Path::new("{zo-ne}/x.tif")).is_err() && files(dir.path(), Path::new("{zone/x")).is_err()
        );
    }
}
