//! Which layout a folder or file has.

use std::path::{Path, PathBuf};

use super::bigearthnet::{METADATA_ENDING, holds_patches};
use super::class_folders::{EUROSAT, class_names};
use super::collect::{ending, sorted_entries};
use super::error::{Error, Result};
use super::format::Format;

impl Format {
    /// The layout of `path` and where it was found: the list file of a folder, or the only folder inside.
    ///
    /// # Errors
    /// [`Error::Layout`] listing what was looked for, or naming the candidates where there are several.
    pub fn detect(path: &Path) -> Result<(Self, PathBuf)> {
        if path.is_file() {
            return of_file(path).map(|f| (f, path.into())).ok_or_else(|| unknown(path, &[]));
        }
        let entries = sorted_entries(path)?;
        let named = |end: &str| -> Vec<&PathBuf> {
            entries.iter().filter(|e| e.is_file() && e.to_string_lossy().ends_with(end)).collect()
        };
        if let Some(table) = entries.iter().find(|e| is_v2_table(e)) {
            return Ok((Self::BigEarthNetV2, table.clone()));
        }
        if !named(".hdf5").is_empty() {
            return Ok((Self::GeoBench, path.into()));
        }
        if holds_patches(path)? {
            return Ok((Self::BigEarthNetV1, path.into()));
        }
        if !named("_caps.txt").is_empty() {
            return Ok((Self::CaptionLists, path.into()));
        }
        // EuroSAT's own archive carries lists beside its class folders.
        let classes = class_names(path)?;
        let eurosat = EUROSAT.iter().all(|name| classes.iter().any(|c| c == name));
        if eurosat && first_image(path)?.is_some_and(|p| matches!(ending(&p).as_str(), "tif" | "tiff")) {
            return Ok((Self::EurosatMs, path.into()));
        }
        for (format, ends) in [(Self::CaptionJson, &[".json"][..]), (Self::CaptionTable, &[".csv", ".tsv"])] {
            let lists: Vec<&PathBuf> = ends.iter().flat_map(|e| named(e)).collect();
            match lists[..] {
                [] => {}
                [one] => return Ok((format, one.clone())),
                ref several => {
                    let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
                    return Err(Error::layout(path, format!("holds several lists; name one of: {}", names.join(", "))));
                }
            }
        }
        if !classes.is_empty() {
            return Ok((Self::ClassFolders, path.into()));
        }
        // Archives often unpack into one folder more.
        match entries.iter().filter(|e| e.is_dir()).collect::<Vec<_>>()[..] {
            [only] => Self::detect(only),
            _ => Err(unknown(path, &entries)),
        }
    }
}

fn of_file(path: &Path) -> Option<Format> {
    if is_v2_table(path) {
        return Some(Format::BigEarthNetV2);
    }
    Some(match ending(path).as_str() {
        "json" => Format::CaptionJson,
        "csv" | "tsv" => Format::CaptionTable,
        "hdf5" | "h5" => Format::GeoBench,
        _ => return None,
    })
}

fn is_v2_table(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    match name.as_str() {
        "metadata.parquet" => true,
        "metadata.csv" => {
            let mut start = [0; 4096];
            let n = std::fs::File::open(path).and_then(|mut f| std::io::Read::read(&mut f, &mut start)).unwrap_or(0);
            let header = String::from_utf8_lossy(&start[..n]);
            header.lines().next().is_some_and(|line| line.split(',').any(|c| c.trim_matches('"') == "patch_id"))
        }
        _ => false,
    }
}

/// The first image in a class folder, also below folders of splits.
fn first_image(path: &Path) -> Result<Option<PathBuf>> {
    for folder in sorted_entries(path)?.into_iter().filter(|e| e.is_dir()) {
        for entry in sorted_entries(&folder)? {
            if entry.is_dir() {
                return Ok(sorted_entries(&entry)?.into_iter().find(|p| super::collect::is_image(p)));
            }
            if super::collect::is_image(&entry) {
                return Ok(Some(entry));
            }
        }
    }
    Ok(None)
}

fn unknown(path: &Path, entries: &[PathBuf]) -> Error {
    let looked: Vec<String> = Format::ALL.iter().map(|f| format!("{f}: {}", f.describe())).collect();
    let found: Vec<String> =
        entries.iter().take(5).filter_map(|e| Some(e.file_name()?.to_string_lossy().into_owned())).collect();
    let found = match (path.is_file(), found.is_empty()) {
        (true, _) => "a file of another kind".to_owned(),
        (false, true) => "nothing".to_owned(),
        (false, false) => found.join(", ") + if entries.len() > 5 { ", …" } else { "" },
    };
    Error::layout(
        path,
        format!(
            "is of no known data set layout. Looked for {} (patches end in {METADATA_ENDING}); found {found}",
            looked.join("; ")
        ),
    )
}
