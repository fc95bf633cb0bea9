//! What a report of one model on one test set says.

use std::path::Path;

use geoglot_core::{BandUse, Legend, RunManifest, atomic};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{ReportFiles, slug, write_figures};
use crate::error::{Result, same_length};
use crate::plot::{
    Curve, Figure, Series, class_dots, confusion_matrix, grouped_bars, joint_space_plot, training_curves,
};
use crate::scores::Scores;
use crate::test_pixels::Comparison;
use crate::tsne::JointSpace;

/// Whether test pixels are apart from training pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Honesty {
    /// No test patch shares a pixel with a training patch.
    Honest,
    /// Test patches overlap training patches: the figures are higher than on new ground.
    Optimistic,
    /// Not known, as with split files of others that were not measured.
    Unknown,
}

/// How training and test pixels were separated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitNote {
    /// Short name, such as `spatial blocks`.
    pub kind: String,
    /// What the badge says.
    pub honesty: Honesty,
    /// The sentence the split describes itself with.
    pub sentence: String,
}

/// What a method is in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Role {
    /// A trained model.
    Model,
    /// A peer, such as a random forest.
    Baseline,
    /// Sees row and column only.
    CoordinatesOnly,
}

/// One method's scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodResult {
    /// Name, such as `geoglot` or `random forest`.
    pub name: String,
    /// What it is in the report.
    pub role: Role,
    /// What it saw, such as `200 trees on the band values`.
    #[serde(default)]
    pub note: String,
    /// Its scores.
    pub scores: Scores,
    /// Wall seconds of training and prediction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// A picture in the report, such as the map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportImage {
    /// What it shows.
    pub title: String,
    /// A sentence under it.
    #[serde(default)]
    pub caption: String,
    /// The PNG file's bytes; in the JSON there is only the title and caption.
    #[serde(skip)]
    pub png: Vec<u8>,
}

/// The report of `geoglot evaluate`.
///
/// The first method is the headline. All fields are plain data, so a report can be read back from its JSON (without images) and written again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Title of the page.
    pub title: String,
    /// One or two sentences under it: data, model, text tower.
    #[serde(default)]
    pub summary: String,
    /// How training and test pixels were separated.
    pub split: SplitNote,
    /// The classes, in the order of all scores.
    pub legend: Legend,
    /// The methods; the first is the headline, the others are shown beside it.
    pub methods: Vec<MethodResult>,
    /// The headline against others on the same pixels.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// Training history, one curve a fold.
    #[serde(default)]
    pub curves: Vec<Curve>,
    /// Maps and quick-looks.
    #[serde(default)]
    pub images: Vec<ReportImage>,
    /// Pixels and prompts in two dimensions.
    #[serde(default)]
    pub joint_space: Option<JointSpace>,
    /// How bands were bound.
    #[serde(default)]
    pub bands: Vec<BandUse>,
    /// Version, seed, model hash, timings and the like, in order.
    #[serde(default)]
    pub facts: IndexMap<String, String>,
    /// What the reader must know, beside what the report finds out itself.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Report {
    /// A report without methods yet.
    pub fn new(title: impl Into<String>, split: SplitNote, legend: Legend) -> Self {
        Self {
            title: title.into(),
            summary: String::new(),
            split,
            legend,
            methods: Vec::new(),
            comparisons: Vec::new(),
            curves: Vec::new(),
            images: Vec::new(),
            joint_space: None,
            bands: Vec::new(),
            facts: IndexMap::new(),
            warnings: Vec::new(),
        }
    }

    /// Takes the bands and the facts from the manifest of the run.
    pub fn add_run(&mut self, run: &RunManifest) {
        self.bands.clone_from(&run.inputs);
        self.facts.extend(run_facts(run));
    }

    /// Checks that every part fits the legend.
    ///
    /// # Errors
    /// [`crate::Error::Length`], [`crate::Error::Empty`].
    pub fn check(&self) -> Result<()> {
        if self.methods.is_empty() {
            return Err(crate::Error::Empty("the report has no method; add the model's scores first".into()));
        }
        for method in &self.methods {
            let classes = method.scores.confusion.classes();
            same_length(&format!("classes of method `{}`", method.name), self.legend.len(), classes)?;
            let scored = method.scores.classes.len();
            same_length(&format!("class scores of method `{}`", method.name), self.legend.len(), scored)?;
        }
        Ok(())
    }

    /// The figures with the names of their files, in the order of the report.
    ///
    /// # Errors
    /// [`crate::Error::Plot`] and what [`Report::check`] finds.
    pub fn figures(&self) -> Result<Vec<(String, Figure)>> {
        self.check()?;
        let mut figures =
            vec![("methods".to_owned(), self.method_figure()?), ("classes".to_owned(), self.class_figure()?)];
        for method in &self.methods {
            let figure = confusion_matrix(&method.scores.confusion, &self.legend)?;
            let name = format!("{} of {}", figure.name(), method.name);
            let figure = figure.named(name);
            figures.push((format!("confusion-{}", slug(&method.name)), figure));
        }
        if self.curves.iter().any(|c| !c.points.is_empty()) {
            figures.push(("curves".into(), training_curves(&self.curves)?));
        }
        if let Some(space) = &self.joint_space {
            figures.push(("joint-space".into(), joint_space_plot(space, &self.legend)?));
        }
        Ok(figures)
    }

    fn method_figure(&self) -> Result<Figure> {
        let series: Vec<Series> = self
            .methods
            .iter()
            .map(|m| Series { name: m.name.clone(), values: vec![m.scores.oa, m.scores.aa, m.scores.kappa] })
            .collect();
        let groups = ["OA, %", "AA, %", "kappa × 100"].map(str::to_owned);
        grouped_bars("Accuracies of the methods with 95 % intervals", &groups, &series)
    }

    fn class_figure(&self) -> Result<Figure> {
        let of = |m: &MethodResult| m.scores.classes.iter().map(|c| c.producers).collect();
        let series: Vec<Series> = self.methods.iter().map(|m| Series { name: m.name.clone(), values: of(m) }).collect();
        class_dots("Producer's accuracy", &self.legend, &series)
    }

    /// Writes `report.json`, `report.md`, `report.html` and the folder `figures` into `folder`, each file atomically, the HTML last.
    ///
    /// # Errors
    /// [`crate::Error::Core`] naming the file, [`crate::Error::Plot`], and what [`Report::check`] finds.
    pub fn write(&self, folder: &Path) -> Result<ReportFiles> {
        let html = self.html()?;
        let markdown = self.markdown()?;
        let mut written = write_figures(folder, &self.figures()?)?;
        for (k, image) in self.images.iter().enumerate() {
            let path = folder.join("figures").join(image.file_name(k));
            atomic::write(&path, &image.png)?;
            written.push(path);
        }
        let files = ReportFiles {
            json: folder.join("report.json"),
            markdown: folder.join("report.md"),
            html: folder.join("report.html"),
            figures: written,
        };
        atomic::write_json(&files.json, self)?;
        atomic::write(&files.markdown, markdown.as_bytes())?;
        atomic::write(&files.html, html.as_bytes())?;
        Ok(files)
    }
}

impl ReportImage {
    /// Name of the image's file under `figures`; the number keeps equal titles apart.
    pub(super) fn file_name(&self, k: usize) -> String {
        format!("image-{}-{}.png", k + 1, slug(&self.title))
    }

    /// Title and caption in one line.
    pub(super) fn words(&self) -> String {
        if self.caption.is_empty() { self.title.clone() } else { format!("{}. {}", self.title, self.caption) }
    }
}

/// What a report states about a run, in order.
pub(super) fn run_facts(run: &RunManifest) -> IndexMap<String, String> {
    let mut facts = IndexMap::new();
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.insert(name.to_owned(), value);
        }
    };
    fact("geoglot", Some(run.version.clone()));
    fact("command line", Some(run.arguments.join(" ")));
    fact("seed", run.seed.map(|s| s.to_string()));
    fact("model SHA-256", run.model_hash.clone());
    for (stage, seconds) in &run.seconds {
        fact(&format!("{stage}, seconds"), Some(format!("{seconds:.1}")));
    }
    facts
}
