//! Pairs of text files `<split>_filename.txt` and `<split>_caps.txt`: captions a line, names either a line for each caption or one for each run of
//! captions of equal length (the `*_precomp` form of retrieval code).

use std::path::Path;

use super::collect::{Collector, image_folder, read_text, sorted_entries};
use super::error::{Error, Result};
use super::item::{Item, Split};

pub(super) fn collect(root: &Path, collector: &mut Collector<'_>) -> Result<()> {
    if !root.is_dir() {
        return Err(Error::layout(root, "is not a folder with <split>_filename.txt and <split>_caps.txt"));
    }
    collector.list = Some(root.into());
    let mut found = false;
    for caps in sorted_entries(root)? {
        let name = caps.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let Some(split_name) = name.strip_suffix("_caps.txt") else { continue };
        let Ok(split) = split_name.parse::<Split>() else {
            collector.note(format!("{}: not read, `{split_name}` is no split", caps.display()));
            continue;
        };
        found = true;
        let names = root.join(format!("{split_name}_filename.txt"));
        if !names.is_file() {
            return Err(Error::list(&caps, format!("has no {} beside it", names.display())));
        }
        pair(root, &caps, &names, split, collector)?;
    }
    if found { Ok(()) } else { Err(Error::layout(root, "holds no train_caps.txt, val_caps.txt or test_caps.txt")) }
}

fn pair(root: &Path, caps: &Path, names: &Path, split: Split, collector: &mut Collector<'_>) -> Result<()> {
    let (caps_text, names_text) = (read_text(caps)?, read_text(names)?);
    let captions: Vec<&str> = caps_text.lines().collect();
    let files: Vec<&str> = names_text.lines().map(str::trim).collect();
    if files.is_empty() || !captions.len().is_multiple_of(files.len()) {
        return Err(Error::list(
            caps,
            format!(
                "has {} captions for the {} names of {}; expected as many captions for every name",
                captions.len(),
                files.len(),
                names.display()
            ),
        ));
    }
    let each = captions.len() / files.len();
    let folder = image_folder(root, files[0], collector.options)?;
    for (k, file) in files.iter().enumerate() {
        let mut own = Vec::new();
        for (line, caption) in captions.iter().enumerate().skip(k * each).take(each) {
            own.extend(collector.caption(caps, &format!("line {}", line + 1), caption)?);
        }
        let place = format!("line {}", k + 1);
        if file.is_empty() {
            collector.fault(Error::record(names, place, "names no image"))?;
            continue;
        }
        let path = folder.join(file);
        if !own.is_empty() && collector.image(names, &place, &path)? {
            let item = Item { id: (*file).into(), path, labels: Vec::new(), captions: own, split: Some(split), place };
            collector.add(item);
        }
    }
    Ok(())
}
