//! A data set: items with labels and captions, known before any pixel is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use geoglot_core::{Class, Legend, Registry, Seeds};
use ndarray::Array2;
use rand::seq::SliceRandom;

use super::collect::Collector;
use super::error::{Error, Result};
use super::format::Format;
use super::item::{Item, Labelling, Split};
use super::options::DatasetOptions;
use super::{bigearthnet, class_folders, csv_list, geobench, json_list, text_lists};

/// A data set on disk.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub(super) format: Format,
    pub(super) root: PathBuf,
    pub(super) list: Option<PathBuf>,
    pub(super) classes: Vec<String>,
    pub(super) labelling: Labelling,
    pub(super) items: Vec<Item>,
    pub(super) warnings: Vec<String>,
    pub(super) sensor: Option<String>,
    pub(super) layout: Option<String>,
    pub(super) registry: Arc<Registry>,
}

impl Dataset {
    /// Reads the lists, labels and captions of the data set at `path`, a folder or its list file. Pixels are not read.
    ///
    /// # Errors
    /// [`Error::Layout`] saying what was looked for; [`Error::List`] and [`Error::Record`] naming file and record; [`Error::Io`].
    pub fn open(path: &Path, options: &DatasetOptions) -> Result<Self> {
        let (format, path) = match options.format {
            Some(format) => (format, path.to_path_buf()),
            None => Format::detect(path)?,
        };
        let mut collector = Collector::new(&path, options);
        match format {
            Format::ClassFolders | Format::EurosatMs => class_folders::collect(&path, &mut collector)?,
            Format::CaptionJson => json_list::collect(&path, &mut collector)?,
            Format::CaptionTable => csv_list::collect(&path, &mut collector)?,
            Format::CaptionLists => text_lists::collect(&path, &mut collector)?,
            Format::BigEarthNetV1 => bigearthnet::collect_v1(&path, &mut collector)?,
            Format::BigEarthNetV2 => bigearthnet::collect_v2(&path, &mut collector)?,
            Format::GeoBench => geobench::collect(&path, &mut collector)?,
        }
        let collected = collector.finish(format)?;
        Ok(Self {
            format,
            root: collected.root,
            list: collected.list,
            classes: collected.classes,
            labelling: collected.labelling,
            items: collected.items,
            warnings: collected.warnings,
            sensor: collected.sensor,
            layout: collected.layout,
            registry: options.registry.clone(),
        })
    }

    /// The layout.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The folder or list file opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True without items; [`Dataset::open`] never returns such a set.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items, in the order of the list, else by name.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// One item.
    ///
    /// # Errors
    /// [`Error::Usage`] when there are fewer.
    pub fn item(&self, i: usize) -> Result<&Item> {
        self.items.get(i).ok_or_else(|| {
            Error::Usage(format!("{}: item {i} was asked for, there are {}", self.root.display(), self.items.len()))
        })
    }

    /// Class names as the data set writes them.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How many classes an item has.
    pub fn labelling(&self) -> Labelling {
        self.labelling
    }

    /// What was left out or decided, in words.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The classes with words for prompts: `AnnualCrop` and `annual_crop` are spoken `annual crop`.
    ///
    /// # Errors
    /// [`Error::Core`] without classes.
    pub fn legend(&self) -> Result<Legend> {
        legend_of(&self.classes)
    }

    /// The splits that items have.
    pub fn splits(&self) -> Vec<Split> {
        let mut splits: Vec<Split> = self.items.iter().filter_map(|i| i.split).collect();
        splits.sort();
        splits.dedup();
        splits
    }

    /// Positions of the items of `split`, or of all.
    pub fn indices(&self, split: Option<Split>) -> Vec<usize> {
        (0..self.items.len()).filter(|&i| split.is_none() || self.items[i].split == split).collect()
    }

    /// Divides a set that came undivided: `validation` and `test` are shares of each class (by its first label), the rest trains.
    /// Random splits of tiles cut from one scene are optimistic; say so where the result is shown.
    ///
    /// # Errors
    /// [`Error::Usage`] for shares outside 0 to 1 or when items have a split already.
    pub fn divide(&mut self, validation: f64, test: f64, seed: u64) -> Result<()> {
        if !(validation >= 0.0 && test >= 0.0 && validation + test < 1.0) {
            return Err(Error::Usage(format!(
                "shares {validation} and {test} must be positive and leave items to train on"
            )));
        }
        if self.items.iter().any(|i| i.split.is_some()) {
            return Err(Error::Usage(format!("{} comes with its own split; use that", self.root.display())));
        }
        let mut rng = Seeds::new(seed).stream("datasets/divide");
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        order.shuffle(&mut rng);
        order.sort_by_key(|&i| self.items[i].labels.first().copied());
        let mut start = 0;
        while start < order.len() {
            let class = self.items[order[start]].labels.first().copied();
            let group: Vec<usize> = order[start..]
                .iter()
                .copied()
                .take_while(|&i| self.items[i].labels.first().copied() == class)
                .collect();
            let n = group.len() as f64;
            let (first, second) = ((n * test).round() as usize, (n * (test + validation)).round() as usize);
            for (k, &i) in group.iter().enumerate() {
                let split = if k < first {
                    Split::Test
                } else if k < second {
                    Split::Validation
                } else {
                    Split::Train
                };
                self.items[i].split = Some(split);
            }
            start += group.len();
        }
        Ok(())
    }

    /// The class of each of `indices`.
    ///
    /// # Errors
    /// [`Error::Usage`] when an item has no class or several.
    pub fn truth(&self, indices: &[usize]) -> Result<Vec<usize>> {
        indices
            .iter()
            .map(|&i| match self.item(i)?.labels[..] {
                [class] => Ok(class),
                ref labels => Err(Error::Usage(format!(
                    "item `{}` has {} classes where one is needed; score this set with multilabel",
                    self.items[i].id,
                    labels.len()
                ))),
            })
            .collect()
    }

    /// Classes of each of `indices` as truth values, [items, classes].
    ///
    /// # Errors
    /// [`Error::Usage`] for positions outside.
    pub fn label_matrix(&self, indices: &[usize]) -> Result<Array2<bool>> {
        let mut matrix = Array2::from_elem((indices.len(), self.classes.len()), false);
        for (row, &i) in indices.iter().enumerate() {
            for &class in &self.item(i)?.labels {
                matrix[(row, class)] = true;
            }
        }
        Ok(matrix)
    }

    /// Captions of `indices` in a row, and for each the position in `indices` of the item it belongs to.
    ///
    /// # Errors
    /// [`Error::Usage`] for positions outside and items without a caption.
    pub fn captions(&self, indices: &[usize]) -> Result<(Vec<&str>, Vec<usize>)> {
        let (mut texts, mut owners) = (Vec::new(), Vec::new());
        for (k, &i) in indices.iter().enumerate() {
            let item = self.item(i)?;
            if item.captions.is_empty() {
                return Err(Error::Usage(format!(
                    "item `{}` has no caption; retrieval needs one for every item",
                    item.id
                )));
            }
            texts.extend(item.captions.iter().map(String::as_str));
            owners.extend(std::iter::repeat_n(k, item.captions.len()));
        }
        Ok((texts, owners))
    }
}

/// A legend of class names with words for prompts.
pub(crate) fn legend_of(names: &[String]) -> Result<Legend> {
    let class = |(name, id): (&String, u16)| {
        let words = spoken(name);
        let prompts = if words == *name { Vec::new() } else { vec![words] };
        Class { prompts, ..Class::new(id, name) }
    };
    Ok(Legend::new(names.iter().zip(1u16..).map(class).collect())?)
}

/// A class name as words: `AnnualCrop`, `annual_crop` and `annual-crop` become `annual crop`; names with blanks stay as they are.
pub(crate) fn spoken(name: &str) -> String {
    if name.contains(' ') {
        return name.to_owned();
    }
    let letters: Vec<char> = name.chars().collect();
    let upper = |k: Option<usize>| k.and_then(|k| letters.get(k)).is_some_and(|c| c.is_uppercase());
    let mut words = String::new();
    for (k, &c) in letters.iter().enumerate() {
        let (before, after) = (k.checked_sub(1), letters.get(k + 1));
        let starts = upper(Some(k))
            && (before.is_some_and(|b| letters[b].is_lowercase())
                || (upper(before) && after.is_some_and(|a| a.is_lowercase())));
        if starts {
            words.push(' ');
        }
        // Letters of an abbreviation stay capital.
        let abbreviation = !starts && upper(before) || upper(Some(k + 1));
        match c {
            '_' | '-' => words.push(' '),
            c if abbreviation => words.push(c),
            c => words.extend(c.to_lowercase()),
        }
    }
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words() {
        for (name, words) in [
            ("AnnualCrop", "annual crop"),
            ("SeaLake", "sea lake"),
            ("storage_tanks", "storage tanks"),
            ("dense-residential", "dense residential"),
            ("airport", "airport"),
            ("RV park", "RV park"),
            ("RVPark", "RV park"),
            ("SARImage", "SAR image"),
        ] {
            assert_eq!(spoken(name), words, "{name}");
        }
    }
}
