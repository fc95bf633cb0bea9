//! CSV and TSV lists: SkyScript (`filepath`, `title`, `title_multi_objects`; `label` with `classnames.txt`), OpenCLIP lists, plain tables.

use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::collect::{Collector, ending, image_folder, open_table, parent, read_text};
use super::error::{Error, Result};
use super::item::{Item, Labelling};

const FILE_COLUMNS: [&str; 8] =
    ["filepath", "filename", "file", "image", "image_path", "img_path", "file_name", "path"];
/// SkyScript's richer title first.
const CAPTION_COLUMNS: [&str; 6] = ["caption", "captions", "title_multi_objects", "title", "text", "raw"];
const CLASS_COLUMNS: [&str; 5] = ["label", "class", "classname", "class_name", "category"];

struct Columns {
    file: usize,
    captions: Vec<usize>,
    class: Option<usize>,
    split: Option<usize>,
}

/// Column names are compared without case; `caption_1`, `caption2`, … stand together.
fn columns(path: &Path, header: &[String], wanted: Option<&str>) -> Result<Columns> {
    let find = |names: &[&str]| names.iter().find_map(|n| header.iter().position(|h| h.eq_ignore_ascii_case(n)));
    let known = || header.join(", ");
    let Some(file) = find(&FILE_COLUMNS) else {
        let names = FILE_COLUMNS.join(", ");
        return Err(Error::list(
            path,
            format!("has no column of image files; expected one of {names}; found {}", known()),
        ));
    };
    let captions = match wanted {
        Some(name) => match find(&[name]) {
            Some(k) => vec![k],
            None => return Err(Error::list(path, format!("has no column `{name}`; its columns are {}", known()))),
        },
        None => match find(&CAPTION_COLUMNS) {
            Some(k) => vec![k],
            None => {
                let numbered = |h: &String| {
                    let lower = h.to_ascii_lowercase();
                    let rest = lower.strip_prefix("caption").map(|r| r.trim_start_matches('_').to_owned());
                    rest.is_some_and(|r| !r.is_empty() && r.chars().all(|c| c.is_ascii_digit()))
                };
                (0..header.len()).filter(|&k| numbered(&header[k])).collect()
            }
        },
    };
    let class = find(&CLASS_COLUMNS);
    if captions.is_empty() && class.is_none() {
        return Err(Error::list(
            path,
            format!(
                "has neither captions ({}) nor classes ({}); its columns are {}",
                CAPTION_COLUMNS.join(", "),
                CLASS_COLUMNS.join(", "),
                known()
            ),
        ));
    }
    Ok(Columns { file, captions, class, split: find(&["split"]) })
}

pub(super) fn collect(path: &Path, collector: &mut Collector<'_>) -> Result<()> {
    let delimiter = if ending(path) == "tsv" { b'\t' } else { b',' };
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(open_table(path)?);
    let header = reader.byte_headers().map_err(|e| Error::list(path, format!("has no readable header: {e}")))?;
    // Spreadsheets write a byte-order mark before the first name.
    let header: Vec<String> =
        header.iter().map(|h| String::from_utf8_lossy(h).trim_start_matches('\u{feff}').trim().to_owned()).collect();
    let columns = columns(path, &header, collector.options.caption_column.as_deref())?;
    collector.list = Some(path.into());
    if columns.class.is_some() {
        collector.labelling = Labelling::Single;
        let names = parent(path).join("classnames.txt");
        if names.is_file() {
            let text = read_text(&names)?;
            collector.fix_classes(text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()));
        }
    }
    let mut folder = None;
    let mut record = ByteRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(e) => {
                let broken =
                    Error::record(path, format!("line {line}"), format!("cannot be read: {e}; check the quotes"));
                collector.fault(broken)?;
                continue;
            }
        }
        let place = format!("line {}", record.position().map_or(line, |p| p.line()));
        if let Some(item) = row(path, &place, &record, &columns, &mut folder, collector)? {
            collector.add(item);
        }
    }
}

fn row(
    list: &Path,
    place: &str,
    record: &ByteRecord,
    columns: &Columns,
    folder: &mut Option<std::path::PathBuf>,
    collector: &mut Collector<'_>,
) -> Result<Option<Item>> {
    let mut fields = Vec::with_capacity(record.len());
    for field in record {
        match std::str::from_utf8(field) {
            Ok(text) => fields.push(text.trim()),
            Err(_) => {
                let problem = "is not UTF-8 text; convert the file, for example with iconv";
                collector.fault(Error::record(list, place, problem))?;
                return Ok(None);
            }
        }
    }
    let file = fields[columns.file];
    if file.is_empty() {
        collector.fault(Error::record(list, place, "names no image"))?;
        return Ok(None);
    }
    let mut captions = Vec::new();
    for &k in &columns.captions {
        captions.extend(collector.caption(list, place, fields[k])?);
    }
    if captions.is_empty() && !columns.captions.is_empty() && columns.class.is_none() {
        return Ok(None);
    }
    let mut labels = Vec::new();
    if let Some(k) = columns.class {
        match class_of(fields[k], collector) {
            Ok(class) => labels.push(class),
            Err(problem) => {
                collector.fault(Error::record(list, place, problem))?;
                return Ok(None);
            }
        }
    }
    let split = match columns.split.map(|k| fields[k]) {
        None | Some("") => None,
        Some(name) => match collector.split(list, place, name)? {
            Some(split) => Some(split),
            None => return Ok(None),
        },
    };
    if folder.is_none() {
        *folder = Some(image_folder(list, file, collector.options)?);
    }
    let path = folder.as_deref().unwrap_or(Path::new(".")).join(file);
    if !collector.image(list, place, &path)? {
        return Ok(None);
    }
    Ok(Some(Item { id: file.into(), path, labels, captions, split, place: place.into() }))
}

/// A class by name, or by number where `classnames.txt` names the classes.
fn class_of(field: &str, collector: &mut Collector<'_>) -> Result<usize, String> {
    if field.is_empty() {
        return Err("the class is empty".into());
    }
    if let Some(k) = collector.class(field) {
        return Ok(k);
    }
    let classes = collector.classes().len();
    match field.parse::<usize>() {
        Ok(k) if k < classes => Ok(k),
        Ok(k) => Err(format!("class {k} is outside classnames.txt, which has {classes} (from 0)")),
        Err(_) => Err(format!("class `{field}` is not in classnames.txt")),
    }
}
