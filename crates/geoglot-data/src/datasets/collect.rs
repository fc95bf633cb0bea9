//! What every adapter does alike: classes by name, captions and images checked, faults refused or counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use geoglot_core::small_file;

use super::error::{Error, Result};
use super::format::Format;
use super::item::{Item, Labelling, Split};
use super::nomenclature::Nomenclature;
use super::options::DatasetOptions;

/// Faults written out one by one; further ones are counted.
const MOST_WARNINGS: usize = 20;

/// Gathers the items of a data set.
pub(super) struct Collector<'a> {
    pub(super) options: &'a DatasetOptions,
    pub(super) items: Vec<Item>,
    /// The file that names the items.
    pub(super) list: Option<PathBuf>,
    pub(super) labelling: Labelling,
    pub(super) sensor: Option<String>,
    pub(super) layout: Option<String>,
    pub(super) root: PathBuf,
    pub(super) classes: Vec<String>,
    positions: HashMap<String, usize>,
    /// Position of each item by name and split, for lists with one line a caption.
    known: HashMap<(String, Option<Split>), usize>,
    /// Whether the order of the classes is the data set's own; else they are sorted by name.
    fixed: bool,
    pub(super) warnings: Vec<String>,
    faults: usize,
}

impl<'a> Collector<'a> {
    pub(super) fn new(root: &Path, options: &'a DatasetOptions) -> Self {
        Self {
            options,
            items: Vec::new(),
            list: None,
            labelling: Labelling::None,
            sensor: options.sensor.clone(),
            layout: options.layout.clone(),
            root: root.into(),
            classes: Vec::new(),
            positions: HashMap::new(),
            known: HashMap::new(),
            fixed: false,
            warnings: Vec::new(),
            faults: 0,
        }
    }

    pub(super) fn nomenclature(&self) -> Nomenclature {
        self.options.nomenclature
    }

    /// Sets the classes in the data set's own order.
    pub(super) fn fix_classes(&mut self, names: impl IntoIterator<Item = String>) {
        self.classes = names.into_iter().collect();
        self.positions = self.classes.iter().cloned().zip(0..).collect();
        self.fixed = true;
    }

    pub(super) fn has_fixed_classes(&self) -> bool {
        self.fixed
    }

    pub(super) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The position of a class; unknown ones are added, or are `None` where the classes are fixed.
    pub(super) fn class(&mut self, name: &str) -> Option<usize> {
        if let Some(&k) = self.positions.get(name) {
            return Some(k);
        }
        if self.fixed {
            return None;
        }
        self.classes.push(name.to_owned());
        self.positions.insert(name.to_owned(), self.classes.len() - 1);
        Some(self.classes.len() - 1)
    }

    /// Adds an item, or its captions and labels to the item of the same name and split.
    pub(super) fn add(&mut self, item: Item) {
        match self.known.entry((item.id.clone(), item.split)) {
            Entry::Occupied(known) => {
                let kept = &mut self.items[*known.get()];
                kept.captions.extend(item.captions);
                kept.labels.extend(item.labels);
            }
            Entry::Vacant(free) => {
                free.insert(self.items.len());
                self.items.push(item);
            }
        }
    }

    /// A remark that is no fault.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        tracing::info!(dataset = %self.root.display(), "{text}");
        self.warnings.push(text);
    }

    /// A faulty record: the error itself, or a warning where faulty records are skipped.
    pub(super) fn fault(&mut self, error: Error) -> Result<()> {
        if !self.options.skip_faulty {
            return Err(error);
        }
        self.faults += 1;
        if self.faults <= MOST_WARNINGS {
            self.warnings.push(format!("left out: {error}"));
        }
        Ok(())
    }

    /// The caption without surrounding blanks; `None` for a faulty one that is skipped.
    pub(super) fn caption(&mut self, list: &Path, place: &str, text: &str) -> Result<Option<String>> {
        let text = text.trim();
        let length = text.chars().count();
        if text.is_empty() {
            self.fault(Error::record(list, place, "the caption is empty; complete it or leave the record out"))?;
        } else if length > self.options.longest_caption {
            let limit = self.options.longest_caption;
            let start: String = text.chars().take(40).collect();
            self.fault(Error::record(
                list,
                place,
                format!(
                    "the caption `{start}…` has {length} characters, more than the {limit} accepted; shorten it, or check that columns and quotes are right"
                ),
            ))?;
        } else {
            return Ok(Some(text.to_owned()));
        }
        Ok(None)
    }

    /// Whether the image of a record can be used: it exists, and its name is text.
    pub(super) fn image(&mut self, list: &Path, place: &str, path: &Path) -> Result<bool> {
        if path.to_str().is_none() {
            let problem = format!("the name of `{}` is not UTF-8; rename the file", path.display());
            self.fault(Error::record(list, place, problem))?;
            return Ok(false);
        }
        if !self.options.text_only && !path.exists() {
            let problem = format!(
                "the image `{}` does not exist; give the folder of the images, or use only the texts",
                path.display()
            );
            self.fault(Error::record(list, place, problem))?;
            return Ok(false);
        }
        Ok(true)
    }

    /// The split a record names.
    pub(super) fn split(&mut self, list: &Path, place: &str, name: &str) -> Result<Option<Split>> {
        match name.parse() {
            Ok(split) => Ok(Some(split)),
            Err(problem) => {
                self.fault(Error::record(list, place, problem))?;
                Ok(None)
            }
        }
    }

    /// The data set.
    pub(super) fn finish(mut self, format: Format) -> Result<Self> {
        if self.faults > MOST_WARNINGS {
            self.warnings.push(format!("left out: {} further records", self.faults - MOST_WARNINGS));
        }
        if self.items.is_empty() {
            let problem = match self.warnings.first() {
                Some(first) => format!("no usable item is left; {first}"),
                None => format!("holds no item ({})", format.describe()),
            };
            return Err(Error::layout(self.root, problem));
        }
        if !self.fixed {
            self.sort_classes();
        }
        for item in &mut self.items {
            item.labels.sort_unstable();
            item.labels.dedup();
        }
        if self.labelling == Labelling::Single && self.items.iter().any(|i| i.labels.len() > 1) {
            self.labelling = Labelling::Multi;
        }
        let leaked = self.items.iter().filter(|i| i.split == Some(Split::Test));
        let leaked = leaked.filter(|i| self.known.contains_key(&(i.id.clone(), Some(Split::Train)))).count();
        if leaked > 0 {
            self.warnings.push(format!("{leaked} test items are training items, too; figures on them are optimistic"));
        }
        Ok(self)
    }

    fn sort_classes(&mut self) {
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.sort_by(|&a, &b| self.classes[a].cmp(&self.classes[b]));
        let mut new = vec![0; order.len()];
        order.iter().enumerate().for_each(|(k, &old)| new[old] = k);
        self.classes = order.iter().map(|&old| self.classes[old].clone()).collect();
        self.items.iter_mut().flat_map(|i| &mut i.labels).for_each(|k| *k = new[*k]);
    }
}

/// Folders in which images of a list are looked for, under the list's own folder.
const IMAGE_FOLDERS: [&str; 4] = ["images", "imgs", "image", "Images"];

/// The folder that `first`, an image a list names, lies under: the one told, the list's own folder, a usual name, or a name that ends in
/// `_images` or `_imgs`.
pub(super) fn image_folder(list: &Path, first: &str, options: &DatasetOptions) -> Result<PathBuf> {
    if let Some(folder) = &options.images {
        return if folder.is_dir() {
            Ok(folder.clone())
        } else {
            Err(Error::layout(folder, "is not a folder; it was given as the folder of the images"))
        };
    }
    let home = if list.is_dir() { list.to_path_buf() } else { parent(list) };
    let mut candidates = vec![home.clone()];
    candidates.extend(IMAGE_FOLDERS.iter().map(|name| home.join(name)));
    candidates.push(home.join(".."));
    for entry in sorted_entries(&home)? {
        let name = entry.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if entry.is_dir() && (name.ends_with("_images") || name.ends_with("_imgs")) {
            candidates.push(entry);
        }
    }
    if let Some(found) = candidates.iter().find(|c| c.join(first).exists()) {
        return Ok(found.clone());
    }
    // Without any image the first existing folder is named in the errors that follow.
    Ok(candidates.into_iter().skip(1).find(|c| c.is_dir() && !c.ends_with("..")).unwrap_or(home))
}

/// The folder a file lies in.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Everything in a folder but hidden things, by name.
pub(super) fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))? {
        let entry = entry.map_err(|e| Error::io(folder, "list", e))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// A text file; bytes that are no UTF-8 are an error with their line, as is a file too large for a list.
pub(super) fn read_text(path: &Path) -> Result<String> {
    Ok(small_file::read_text(path, small_file::LIST)?)
}

/// Most bytes between two line breaks: a file without lines is no table, and would be held whole as its first record.
const LONGEST_LINE: usize = 16 << 20;

/// Passes a file on and fails when its lines have no end.
pub(super) struct Lines<R> {
    inner: R,
    /// Bytes since the last line break.
    since: usize,
}

/// A table as a stream.
pub(super) fn open_table(path: &Path) -> Result<Lines<File>> {
    Ok(Lines { inner: File::open(path).map_err(|e| Error::io(path, "open", e))?, since: 0 })
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.since = match buffer[..n].iter().rposition(|&b| matches!(b, b'\n' | b'\r')) {
            Some(at) => n - at - 1,
            None => self.since + n,
        };
        match self.since > LONGEST_LINE {
            true => Err(std::io::Error::other(format!("a line has more than {} MB", LONGEST_LINE >> 20))),
            false => Ok(n),
        }
    }
}

/// The file's ending in lower case.
pub(super) fn ending(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// Whether the name is that of an image.
pub(super) fn is_image(path: &Path) -> bool {
    matches!(ending(path).as_str(), "png" | "jpg" | "jpeg" | "tif" | "tiff")
}
