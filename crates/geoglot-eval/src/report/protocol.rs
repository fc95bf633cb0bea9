//! A report of evaluation protocols: zero-shot, retrieval, multi-label, probe, neighbours.

use std::path::Path;

use geoglot_core::{BandUse, Legend, RunManifest, atomic};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::html::Style;
use super::markdown::{head, plain, row};
use super::model::{ReportImage, SplitNote};
use super::{ReportFiles, slug, write_figures};
use crate::error::{Error, Result, same_length};
use crate::interval::Interval;
use crate::metrics::ConfusionMatrix;
use crate::plot::{Figure, Series, class_dots, confusion_matrix, grouped_bars, tiles_texts_plot};
use crate::tiles_texts::TilesAndTexts;

/// A table of shares (0–1, shown in percent) with intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SectionTable {
    /// What the rows are: the head of the first column.
    pub rows_are: String,
    /// Names of the figures.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<SectionRow>,
    /// A sentence under the table.
    #[serde(default)]
    pub caption: String,
}

/// One row of a [`SectionTable`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SectionRow {
    /// Name of the row.
    pub name: String,
    /// Images, texts or queries it rests on.
    #[serde(default)]
    pub count: Option<u64>,
    /// One figure a column.
    pub values: Vec<Option<Interval>>,
}

/// The result of one protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Title, such as `Zero-shot`.
    pub title: String,
    /// How it was done, in a sentence or two.
    #[serde(default)]
    pub caption: String,
    /// The main figures; drawn as bars. The first row's stand at the top of the page.
    pub table: SectionTable,
    /// Figures by class, in the order of `legend`; the first column is drawn as dots.
    #[serde(default)]
    pub classes: Option<SectionTable>,
    /// The classes of `classes` and `confusion`.
    #[serde(default)]
    pub legend: Option<Legend>,
    /// True class by predicted class.
    #[serde(default)]
    pub confusion: Option<ConfusionMatrix>,
    /// Further remarks, such as settings chosen.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The report of protocols run on one model and one data set.
///
/// All fields are plain data: a report can be read back from its JSON (without images) and written again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProtocolReport {
    /// Title of the page.
    pub title: String,
    /// One or two sentences under it: data, model.
    #[serde(default)]
    pub summary: String,
    /// How training and test images were separated, where anything was trained.
    #[serde(default)]
    pub split: Option<SplitNote>,
    /// The protocols' results.
    pub sections: Vec<Section>,
    /// Tiles and texts in two dimensions.
    #[serde(default)]
    pub tiles_texts: Option<TilesAndTexts>,
    /// Feature maps, heat maps, quick-looks.
    #[serde(default)]
    pub images: Vec<ReportImage>,
    /// How bands were bound.
    #[serde(default)]
    pub bands: Vec<BandUse>,
    /// Version, seed, model hash, timings and the like.
    #[serde(default)]
    pub facts: IndexMap<String, String>,
    /// What the reader must know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl SectionTable {
    fn check(&self, section: &str) -> Result<()> {
        if self.rows.is_empty() || self.columns.is_empty() {
            return Err(Error::Empty(format!("section `{section}` has a table without rows or columns")));
        }
        self.rows.iter().try_for_each(|r| {
            same_length(&format!("figures of `{}` in section `{section}`", r.name), self.columns.len(), r.values.len())
        })
    }

    fn counted(&self) -> bool {
        self.rows.iter().any(|r| r.count.is_some())
    }

    /// Heads of the columns, with the count where rows have one.
    pub(super) fn head(&self) -> Vec<String> {
        let count = self.counted().then(|| "number".to_owned());
        let values = self.columns.iter().map(|c| format!("{c}, %"));
        std::iter::once(self.rows_are.clone()).chain(count).chain(values).collect()
    }

    /// The count of a row as text, where the table has counts.
    pub(super) fn count(&self, row: &SectionRow) -> Option<String> {
        self.counted().then(|| row.count.map_or("–".into(), |n| n.to_string()))
    }

    fn markdown(&self) -> String {
        let mut md = head(&self.head().iter().map(|h| plain(h)).collect::<Vec<_>>());
        for r in &self.rows {
            let figure = |v: &Option<Interval>| match Style::Percent.bounds(v) {
                bounds if bounds.is_empty() => Style::Percent.value(v),
                bounds => format!("{} ({bounds})", Style::Percent.value(v)),
            };
            let cells = std::iter::once(plain(&r.name)).chain(self.count(r)).chain(r.values.iter().map(figure));
            md += &row(&cells.collect::<Vec<_>>());
        }
        if !self.caption.is_empty() {
            md += &format!("\n{}\n", plain(&self.caption));
        }
        md + "\n"
    }
}

impl Section {
    fn check(&self) -> Result<()> {
        self.table.check(&self.title)?;
        let classes = self.legend.as_ref().map_or(0, Legend::len);
        if let Some(table) = &self.classes {
            table.check(&self.title)?;
            same_length(&format!("classes of section `{}`", self.title), classes, table.rows.len())?;
        }
        if let Some(confusion) = &self.confusion {
            same_length(&format!("classes of the confusion matrix of `{}`", self.title), classes, confusion.classes())?;
        }
        Ok(())
    }

    /// The section's figures with the names of their files, section `k` of the report.
    pub(super) fn figures(&self, k: usize) -> Result<Vec<(String, Figure)>> {
        let name = format!("{}-{}", k + 1, slug(&self.title));
        let series = |r: &SectionRow| Series { name: r.name.clone(), values: r.values.clone() };
        let columns: Vec<String> = self.table.columns.iter().map(|c| format!("{c}, %")).collect();
        let all: Vec<Series> = self.table.rows.iter().map(series).collect();
        let title = format!("{} with bootstrap intervals", self.title);
        let mut figures = vec![(format!("{name}-figures"), grouped_bars(&title, &columns, &all)?)];
        if let (Some(table), Some(legend)) = (&self.classes, &self.legend) {
            let values = table.rows.iter().map(|r| r.values[0]).collect();
            let one = Series { name: table.columns[0].clone(), values };
            figures.push((format!("{name}-classes"), class_dots(&table.columns[0], legend, &[one])?));
        }
        if let (Some(confusion), Some(legend)) = (&self.confusion, &self.legend) {
            figures.push((format!("{name}-confusion"), confusion_matrix(confusion, legend)?));
        }
        Ok(figures)
    }
}

impl ProtocolReport {
    /// A report without sections yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Takes the bands and the facts from the manifest of the run.
    pub fn add_run(&mut self, run: &RunManifest) {
        self.bands.clone_from(&run.inputs);
        self.facts.extend(super::model::run_facts(run));
    }

    /// Checks that every part fits.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Empty`].
    pub fn check(&self) -> Result<()> {
        if self.sections.is_empty() {
            return Err(Error::Empty("the report has no section; add a protocol's result first".into()));
        }
        self.sections.iter().try_for_each(Section::check)
    }

    /// The figures with the names of their files, in the order of the report.
    ///
    /// # Errors
    /// [`Error::Plot`] and what [`ProtocolReport::check`] finds.
    pub fn figures(&self) -> Result<Vec<(String, Figure)>> {
        self.check()?;
        let mut figures = Vec::new();
        for (k, section) in self.sections.iter().enumerate() {
            figures.extend(section.figures(k)?);
        }
        if let Some(space) = &self.tiles_texts {
            figures.push(("tiles-and-texts".into(), tiles_texts_plot(space)?));
        }
        Ok(figures)
    }

    /// The report as Markdown; figures are linked as `figures/NAME.png`.
    ///
    /// # Errors
    /// What [`ProtocolReport::figures`] finds.
    pub fn markdown(&self) -> Result<String> {
        let figures = self.figures()?;
        let mut md = format!("# {}\n\n", plain(&self.title));
        if !self.summary.is_empty() {
            md += &format!("{}\n\n", plain(&self.summary));
        }
        if let Some(split) = &self.split {
            md += &format!("**{}** ({}). {}\n\n", plain(&split.kind), split.badge(), plain(&split.sentence));
        }
        for warning in &self.warnings {
            md += &format!("- {}\n", plain(warning));
        }
        for (k, section) in self.sections.iter().enumerate() {
            md += &format!("\n## {}\n\n", plain(&section.title));
            if !section.caption.is_empty() {
                md += &format!("{}\n\n", plain(&section.caption));
            }
            md += &section.table.markdown();
            for note in &section.notes {
                md += &format!("- {}\n", plain(note));
            }
            if let Some(classes) = &section.classes {
                md += &format!("\n### Classes\n\n{}", classes.markdown());
            }
            let start = format!("{}-{}-", k + 1, slug(&section.title));
            for (name, figure) in figures.iter().filter(|(n, _)| n.starts_with(&start)) {
                md += &format!("![{}](figures/{name}.png)\n\n", plain(figure.name()));
            }
        }
        if self.tiles_texts.is_some() {
            md += "## Tiles and texts\n\n![t-SNE of tiles and texts](figures/tiles-and-texts.png)\n\n";
        }
        for (k, image) in self.images.iter().enumerate() {
            md += &format!("![{}](figures/{})\n\n", plain(&image.title), image.file_name(k));
        }
        if !self.facts.is_empty() {
            md += "## Run\n\n";
            for (name, value) in &self.facts {
                md += &format!("- {}: {}\n", plain(name), plain(value));
            }
        }
        Ok(md)
    }

    /// Writes `report.json`, `report.md`, `report.html` and the folder `figures` into `folder`, each file atomically, the HTML last.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file, [`Error::Plot`], and what [`ProtocolReport::check`] finds.
    pub fn write(&self, folder: &Path) -> Result<ReportFiles> {
        let (html, markdown) = (self.html()?, self.markdown()?);
        let mut figures = write_figures(folder, &self.figures()?)?;
        for (k, image) in self.images.iter().enumerate() {
            let path = folder.join("figures").join(image.file_name(k));
            atomic::write(&path, &image.png)?;
            figures.push(path);
        }
        let files = ReportFiles {
            json: folder.join("report.json"),
            markdown: folder.join("report.md"),
            html: folder.join("report.html"),
            figures,
        };
        atomic::write_json(&files.json, self)?;
        atomic::write(&files.markdown, markdown.as_bytes())?;
        atomic::write(&files.html, html.as_bytes())?;
        Ok(files)
    }
}
