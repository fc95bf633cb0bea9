//! Results of protocols as sections of a report.

use geoglot_core::Legend;

use super::protocol::{Section, SectionRow, SectionTable};
use crate::bootstrap::{Bootstrap, Unit};
use crate::interval::Interval;
use crate::protocols::{Classification, Multilabel, Prf, ProbeResult, RECALL_AT, Retrieval};

/// What the intervals are, in words.
fn intervals(unit: Unit, units: usize, bootstrap: Option<&Bootstrap>) -> String {
    let unit = match unit {
        Unit::Groups => "groups of images",
        Unit::Pixels => "images",
    };
    match bootstrap {
        Some(b) => {
            format!("Intervals: {:.0} %, {} bootstrap resamples of {units} {unit}.", b.level * 100.0, b.replicates)
        }
        None => format!("Intervals: bootstrap over {units} {unit}."),
    }
}

fn row(name: impl Into<String>, count: Option<u64>, values: Vec<Option<Interval>>) -> SectionRow {
    SectionRow { name: name.into(), count, values }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

impl Classification {
    /// The result as a section named `title`: top-k, mean accuracy of the classes, figures by class, confusion matrix.
    pub fn section(&self, title: &str, legend: &Legend) -> Section {
        let scores = &self.scores;
        let mut columns: Vec<String> = self.top.iter().map(|t| format!("top-{}", t.k)).collect();
        let mut values: Vec<Option<Interval>> = self.top.iter().map(|t| t.accuracy).collect();
        columns.push("mean of classes".into());
        values.push(scores.aa);
        let by_class = legend.classes.iter().zip(&scores.classes);
        let classes = by_class.map(|(c, s)| row(&c.name, Some(s.support), vec![s.producers, s.users, s.f1])).collect();
        Section {
            title: title.into(),
            caption: String::new(),
            table: SectionTable {
                rows_are: "Set".into(),
                columns,
                rows: vec![row("test images", Some(self.predicted.len() as u64), values)],
                caption: intervals(scores.resampled, scores.units, Some(&scores.bootstrap)),
            },
            classes: Some(SectionTable {
                rows_are: "Class".into(),
                columns: strings(&["recall", "precision", "F1"]),
                rows: classes,
                caption: String::new(),
            }),
            legend: Some(legend.clone()),
            confusion: Some(scores.confusion.clone()),
            notes: Vec::new(),
        }
    }
}

impl Retrieval {
    /// The result as a section named `title`: recalls of both directions and their mean.
    pub fn section(&self, title: &str) -> Section {
        let direction = |name: &str, d: &crate::protocols::Direction, mean| {
            let mut values = d.recall.to_vec();
            values.push(mean);
            row(name, Some(d.queries as u64), values)
        };
        let mean_of = |d: &crate::protocols::Direction| {
            let [Some(a), Some(b), Some(c)] = d.recall else { return None };
            let value = (a.value + b.value + c.value) / 3.0;
            Some(Interval { value, low: value, high: value })
        };
        let mut columns: Vec<String> = RECALL_AT.iter().map(|k| format!("R@{k}")).collect();
        columns.push("mean".into());
        let (to_text, to_image) = (&self.image_to_text, &self.text_to_image);
        let mut rows = vec![direction("image to text", to_text, mean_of(to_text))];
        rows.push(direction("text to image", to_image, mean_of(to_image)));
        rows.push(row("both", None, vec![None, None, None, self.mean_recall]));
        Section {
            title: title.into(),
            caption: "An image asks for texts, any of its own counts; a text asks for its image.".into(),
            table: SectionTable {
                rows_are: "Query".into(),
                columns,
                rows,
                caption: intervals(self.resampled, self.units, None),
            },
            classes: None,
            legend: None,
            confusion: None,
            notes: vec![format!(
                "Median rank of the first right answer: {} of {} texts, {} of {} images.",
                to_text.median_rank, to_image.queries, to_image.median_rank, to_text.queries
            )],
        }
    }
}

impl Multilabel {
    /// The result as a section named `title`: micro and macro figures, mAP, figures by class.
    pub fn section(&self, title: &str, legend: &Legend) -> Section {
        let prf = |p: &Prf| vec![p.f1, p.precision, p.recall];
        let with = |p: &Prf, ap| {
            let mut values = prf(p);
            values.push(ap);
            values
        };
        let columns = strings(&["F1", "precision", "recall", "average precision"]);
        let images = Some(self.images as u64);
        let by_class = legend.classes.iter().zip(&self.classes);
        let classes = by_class.map(|(c, s)| row(&c.name, Some(s.support), with(&s.prf, s.average_precision)));
        let one = self.thresholds.windows(2).all(|t| t[0] == t[1]);
        let threshold = match self.thresholds.first() {
            Some(t) if one => format!("A label is given from a score of {t:.4} upwards."),
            _ => "Every class has a threshold of its own.".into(),
        };
        Section {
            title: title.into(),
            caption: threshold,
            table: SectionTable {
                rows_are: "Average".into(),
                columns: columns.clone(),
                rows: vec![
                    row("micro", images, with(&self.micro, None)),
                    row("macro", images, with(&self.macro_average, self.mean_average_precision)),
                ],
                caption: intervals(self.resampled, self.units, None),
            },
            classes: Some(SectionTable {
                rows_are: "Class".into(),
                columns,
                rows: classes.collect(),
                caption: String::new(),
            }),
            legend: Some(legend.clone()),
            confusion: None,
            notes: Vec::new(),
        }
    }
}

/// What the choice of C was.
fn choice<T>(result: &ProbeResult<T>) -> Vec<String> {
    let tried: Vec<String> = result.tried.iter().map(|(c, v)| format!("{c}: {:.2} %", v * 100.0)).collect();
    let mut notes = vec![format!("C = {} by the validation split ({}).", result.strength, tried.join(", "))];
    if !result.probe.converged {
        notes.push("The fit stopped before its tolerance; allow more steps.".into());
    }
    notes
}

impl ProbeResult<Classification> {
    /// The result as a section named `title`, with the choice of C.
    pub fn section(&self, title: &str, legend: &Legend) -> Section {
        Section { notes: choice(self), ..self.result.section(title, legend) }
    }
}

impl ProbeResult<Multilabel> {
    /// The result as a section named `title`, with the choice of C.
    pub fn section(&self, title: &str, legend: &Legend) -> Section {
        Section { notes: choice(self), ..self.result.section(title, legend) }
    }
}
