//! Ablations: variants of one recipe over the same folds and seeds (the paper's tables III, IV and V and figure 2).

use std::path::Path;

use geoglot_core::atomic;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::html::Style;
use super::markdown::{head, plain, row};
use super::model::SplitNote;
use super::{ReportFiles, slug, write_figures};
use crate::bootstrap::Bootstrap;
use crate::compare::{PairedDifference, paired_difference};
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::plot::{Figure, Series, grouped_dots};
use crate::scores::{FoldScores, over_runs};

/// A set of ablations of one recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AblationReport {
    /// Title of the page.
    pub title: String,
    /// One or two sentences under it.
    #[serde(default)]
    pub summary: String,
    /// How training and test pixels were separated.
    pub split: SplitNote,
    /// The tables, in order.
    pub tables: Vec<AblationTable>,
    /// Version, seeds, timings and the like.
    #[serde(default)]
    pub facts: IndexMap<String, String>,
    /// What the reader must know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One ablation: one thing varied, all else equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AblationTable {
    /// Title, such as `Loss direction (table III)`.
    pub title: String,
    /// What is varied, such as `Loss`: the head of the first column.
    pub varied: String,
    /// A sentence under the table.
    #[serde(default)]
    pub caption: String,
    /// The variants.
    pub rows: Vec<AblationRow>,
    /// Position of the row the others are compared with, such as the recipe as it stands.
    #[serde(default)]
    pub reference: Option<usize>,
}

/// One variant with its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AblationRow {
    /// Name of the variant, such as `HSI + LiDAR`.
    pub variant: String,
    /// One entry a fold and seed.
    pub runs: Vec<FoldScores>,
}

impl AblationTable {
    /// Difference in OA of row `k` to the reference row over the runs both have (same fold and seed); `None` for the reference itself, without a
    /// reference, or without common runs.
    ///
    /// # Errors
    /// [`Error::Setting`] from the bootstrap's settings.
    pub fn difference(&self, k: usize, bootstrap: &Bootstrap) -> Result<Option<PairedDifference>> {
        let Some(reference) = self.reference.filter(|r| *r != k).and_then(|r| self.rows.get(r)) else {
            return Ok(None);
        };
        let twin = |run: &FoldScores| reference.runs.iter().find(|r| (r.fold, r.seed) == (run.fold, run.seed));
        let (mine, theirs): (Vec<f64>, Vec<f64>) =
            self.rows[k].runs.iter().filter_map(|run| Some((run.oa?, twin(run)?.oa?))).unzip();
        if mine.is_empty() { Ok(None) } else { paired_difference(&mine, &theirs, bootstrap).map(Some) }
    }

    /// OA, AA and kappa × 100 by variant, mean with one standard deviation, as in the paper's figure 2.
    ///
    /// # Errors
    /// [`Error::Empty`] without rows.
    pub fn figure(&self) -> Result<Figure> {
        let groups: Vec<String> = self.rows.iter().map(|r| r.variant.clone()).collect();
        let spread =
            |m: Option<(f64, f64)>| m.map(|(mean, std)| Interval { value: mean, low: mean - std, high: mean + std });
        let series: Vec<Series> = ["OA, %", "AA, %", "kappa × 100"]
            .into_iter()
            .enumerate()
            .map(|(k, name)| Series {
                name: name.into(),
                values: self.rows.iter().map(|r| spread(over_runs(&r.runs)[k])).collect(),
            })
            .collect();
        grouped_dots(&self.title, &groups, &series)
    }
}

/// `mean ± std` over runs, the mean alone for one run.
pub(super) fn mean_words(figure: Option<(f64, f64)>, runs: usize, style: Style) -> String {
    match figure {
        None => "–".into(),
        Some((mean, _)) if runs < 2 => style.number(mean),
        Some((mean, std)) => format!("{} ± {}", style.number(mean), style.number(std)),
    }
}

/// `+1.23 (+0.40 to +2.01)` in points.
pub(super) fn difference_words(difference: Option<PairedDifference>) -> String {
    difference.map_or("–".into(), |d| {
        let [value, low, high] = [d.mean.value, d.mean.low, d.mean.high].map(|v| v * 100.0);
        if d.pairs < 2 { format!("{value:+.2}") } else { format!("{value:+.2} ({low:+.2} to {high:+.2})") }
    })
}

impl AblationReport {
    /// Checks that there is something to show.
    ///
    /// # Errors
    /// [`Error::Empty`], or [`Error::Setting`] for a reference that is no row.
    pub fn check(&self) -> Result<()> {
        for table in &self.tables {
            if table.rows.is_empty() {
                return Err(Error::Empty(format!("ablation `{}` has no variants", table.title)));
            }
            if let Some(r) = table.reference.filter(|r| *r >= table.rows.len()) {
                let n = table.rows.len();
                return Err(Error::Setting(format!("ablation `{}`: reference row {r} of {n} rows", table.title)));
            }
        }
        if self.tables.is_empty() { Err(Error::Empty("the ablation report has no tables".into())) } else { Ok(()) }
    }

    /// One figure a table, with the names of their files.
    ///
    /// # Errors
    /// [`Error::Plot`] and what [`AblationReport::check`] finds.
    pub fn figures(&self) -> Result<Vec<(String, Figure)>> {
        self.check()?;
        let named =
            |(k, t): (usize, &AblationTable)| Ok((format!("ablation-{}-{}", k + 1, slug(&t.title)), t.figure()?));
        self.tables.iter().enumerate().map(named).collect()
    }

    /// The report as Markdown.
    ///
    /// # Errors
    /// What [`AblationReport::check`] finds.
    pub fn markdown(&self) -> Result<String> {
        let mut md = format!("# {}\n\n", plain(&self.title));
        if !self.summary.is_empty() {
            md += &format!("{}\n\n", plain(&self.summary));
        }
        md += &format!("**{}** ({}). {}\n\n", plain(&self.split.kind), self.split.badge(), plain(&self.split.sentence));
        for warning in &self.warnings {
            md += &format!("- {}\n", plain(warning));
        }
        for (table, (name, _)) in self.tables.iter().zip(self.figures()?) {
            md += &format!("\n## {}\n\n", plain(&table.title));
            let mut names = vec![plain(&table.varied), "OA, %".into(), "AA, %".into(), "kappa".into(), "runs".into()];
            if let Some(r) = table.reference {
                names.push(format!("OA against {}, points", plain(&table.rows[r].variant)));
            }
            md += &head(&names);
            for (k, variant) in table.rows.iter().enumerate() {
                let [oa, aa, kappa] = over_runs(&variant.runs);
                let n = variant.runs.len();
                let mut cells = vec![
                    plain(&variant.variant),
                    mean_words(oa, n, Style::Percent),
                    mean_words(aa, n, Style::Percent),
                    mean_words(kappa, n, Style::Plain),
                    n.to_string(),
                ];
                if table.reference.is_some() {
                    cells.push(difference_words(table.difference(k, &Bootstrap::default())?));
                }
                md += &row(&cells);
            }
            if !table.caption.is_empty() {
                md += &format!("\n{}\n", plain(&table.caption));
            }
            md += &format!("\n![{}](figures/{name}.png)\n", plain(&table.title));
        }
        if !self.facts.is_empty() {
            md += "\n## Run\n\n";
            for (name, value) in &self.facts {
                md += &format!("- {}: {}\n", plain(name), plain(value));
            }
        }
        Ok(md)
    }

    /// Writes `ablation.json`, `ablation.md`, `ablation.html` and the folder `figures` into `folder`, each file atomically, the HTML last.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file, [`Error::Plot`], and what [`AblationReport::check`] finds.
    pub fn write(&self, folder: &Path) -> Result<ReportFiles> {
        let (html, markdown) = (self.html()?, self.markdown()?);
        let files = ReportFiles {
            json: folder.join("ablation.json"),
            markdown: folder.join("ablation.md"),
            html: folder.join("ablation.html"),
            figures: write_figures(folder, &self.figures()?)?,
        };
        atomic::write_json(&files.json, self)?;
        atomic::write(&files.markdown, markdown.as_bytes())?;
        atomic::write(&files.html, html.as_bytes())?;
        Ok(files)
    }
}
