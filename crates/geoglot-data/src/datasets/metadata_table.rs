//! BigEarthNet v2's table of patches, as Parquet or CSV.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use super::collect::{ending, open_table};
use super::error::{Error, Result};

/// One row.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Patch {
    pub(super) place: String,
    pub(super) patch_id: String,
    pub(super) labels: Vec<String>,
    pub(super) split: Option<String>,
    pub(super) s1_name: Option<String>,
}

/// The rows of `metadata.parquet` or `metadata.csv`.
pub(super) fn read(path: &Path) -> Result<Vec<Patch>> {
    if ending(path) == "parquet" { read_parquet(path) } else { read_csv(path) }
}

fn read_parquet(path: &Path) -> Result<Vec<Patch>> {
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let wrong =
        |e: &dyn std::fmt::Display| Error::list(path, format!("cannot be read as Parquet ({e}); fetch the file again"));
    let reader = SerializedFileReader::new(file).map_err(|e| wrong(&e))?;
    let mut patches = Vec::new();
    for (k, row) in reader.get_row_iter(None).map_err(|e| wrong(&e))?.enumerate() {
        patches.push(patch(path, k + 1, &row.map_err(|e| wrong(&e))?)?);
    }
    Ok(patches)
}

fn patch(path: &Path, number: usize, row: &Row) -> Result<Patch> {
    let mut patch = Patch { place: format!("row {number}"), ..Patch::default() };
    let mut named = false;
    for (name, field) in row.get_column_iter() {
        match (name.as_str(), field) {
            ("patch_id", Field::Str(text)) => {
                patch.patch_id.clone_from(text);
                named = true;
            }
            ("labels", Field::ListInternal(list)) => {
                patch.labels = list.elements().iter().filter_map(text).collect();
            }
            ("labels", Field::Str(text)) => patch.labels = label_list(text),
            ("split", field) => patch.split = text(field),
            ("s1_name", field) => patch.s1_name = text(field),
            _ => {}
        }
    }
    if named { Ok(patch) } else { Err(Error::record(path, patch.place, "has no text `patch_id`")) }
}

fn text(field: &Field) -> Option<String> {
    if let Field::Str(text) = field { Some(text.clone()) } else { None }
}

fn read_csv(path: &Path) -> Result<Vec<Patch>> {
    let wrong = |e: csv::Error| Error::list(path, format!("cannot be read as CSV: {e}"));
    let mut reader = csv::Reader::from_reader(open_table(path)?);
    let header = reader.headers().map_err(wrong)?.clone();
    let column = |name: &str| header.iter().position(|h| h == name);
    let (Some(id), Some(labels)) = (column("patch_id"), column("labels")) else {
        let found = header.iter().collect::<Vec<_>>().join(", ");
        return Err(Error::list(path, format!("needs the columns patch_id and labels; its columns are {found}")));
    };
    let (split, s1_name) = (column("split"), column("s1_name"));
    let mut patches = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let field = |k: Option<usize>| k.map(|k| record[k].to_owned()).filter(|t| !t.is_empty());
        patches.push(Patch {
            place: format!("line {}", record.position().map_or(0, |p| p.line())),
            patch_id: record[id].to_owned(),
            labels: label_list(&record[labels]),
            split: field(split),
            s1_name: field(s1_name),
        });
    }
    Ok(patches)
}

/// Labels in one field: quoted as Python or JSON print a list, else divided by `;` or `|`. Commas belong to names.
fn label_list(text: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['"', '\'']) {
        let quote = rest.as_bytes()[start] as char;
        let Some(length) = rest[start + 1..].find(quote) else { break };
        labels.push(rest[start + 1..start + 1 + length].to_owned());
        rest = &rest[start + length + 2..];
    }
    if labels.is_empty() {
        let plain = text.trim_matches(['[', ']']).split([';', '|']).map(str::trim);
        labels = plain.filter(|l| !l.is_empty()).map(str::to_owned).collect();
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_one_field() {
        let two = vec!["Beaches, dunes, sands".to_owned(), "Pastures".into()];
        for text in [
            "['Beaches, dunes, sands' 'Pastures']",
            r#"["Beaches, dunes, sands", "Pastures"]"#,
            "Beaches, dunes, sands; Pastures",
        ] {
            assert_eq!(label_list(text), two, "{text}");
        }
        assert!(label_list("[]").is_empty() && label_list("").is_empty());
    }
}
