//! The table of an ablation.

use serde::{Deserialize, Serialize};

use crate::eval::Interval;

/// The table of an ablation, written as `ablation.json`, `ablation.csv` and `ablation.txt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenAblation {
    /// Name of the recipe.
    pub recipe: String,
    /// Seeds of the runs.
    pub seeds: Vec<u64>,
    /// What is measured.
    pub columns: Vec<String>,
    /// One row a variant; the first is what the others are compared with.
    pub rows: Vec<OpenRow>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// One variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenRow {
    /// Its name.
    pub variant: String,
    /// Its runs, one a seed.
    pub runs: Vec<OpenRun>,
    /// Mean of each column over the seeds, 0–1, with the 95 % interval of Student's t; `None` where the variant cannot be asked.
    pub figures: Vec<Option<Interval>>,
    /// Each figure less that of the first row, seed by seed; empty in the first row.
    pub differences: Vec<Option<Interval>>,
}

/// A variant trained with one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenRun {
    /// The seed.
    pub seed: u64,
    /// SHA-256 of the first fold's weights.
    pub model: String,
    /// Figures by column, 0–1.
    pub figures: Vec<Option<f64>>,
}

impl OpenAblation {
    /// One line a variant, column and seed, and one each with the mean and the difference: variant, seed, measured, value, low, high.
    pub fn csv(&self) -> String {
        let mut text = String::from("variant,seed,measured,value,low,high\n");
        let quoted = |s: &str| format!("\"{}\"", s.replace('"', "\"\""));
        for row in &self.rows {
            let mut line = |seed: &str, k: usize, v: Option<Interval>| {
                let Some(v) = v else { return };
                let (variant, measured) = (quoted(&row.variant), quoted(&self.columns[k]));
                text += &format!("{variant},{seed},{measured},{},{},{}\n", v.value, v.low, v.high);
            };
            for run in &row.runs {
                for (k, value) in run.figures.iter().enumerate() {
                    line(&run.seed.to_string(), k, value.map(|value| Interval { value, low: value, high: value }));
                }
            }
            row.figures.iter().enumerate().for_each(|(k, v)| line("mean", k, *v));
            row.differences.iter().enumerate().for_each(|(k, v)| line("difference", k, *v));
        }
        text
    }

    /// The table as text, in %: the figures, then the differences to the first row.
    pub fn text(&self) -> String {
        let cell = |v: &Option<Interval>, sign: bool| {
            let Some(v) = v else { return "–".to_owned() };
            let number = |v: f64| if sign { format!("{:+.2}", 100.0 * v) } else { format!("{:.2}", 100.0 * v) };
            match v.low < v.high {
                true => format!("{} ({} to {})", number(v.value), number(v.low), number(v.high)),
                false => number(v.value),
            }
        };
        let first = self.rows.first().map_or("", |r| r.variant.as_str());
        let mut text = format!("{}: ablation, seeds {:?}\n", self.recipe, self.seeds);
        for (title, sign) in [("%".to_owned(), false), (format!("points against {first}"), true)] {
            let mut table = vec![std::iter::once(title).chain(self.columns.iter().cloned()).collect::<Vec<_>>()];
            for row in self.rows.iter().skip(usize::from(sign)) {
                let values = if sign { &row.differences } else { &row.figures };
                table.push(std::iter::once(row.variant.clone()).chain(values.iter().map(|v| cell(v, sign))).collect());
            }
            let width = |k: usize| table.iter().map(|r| r[k].chars().count()).max().unwrap_or(0);
            let widths: Vec<usize> = (0..=self.columns.len()).map(width).collect();
            text.push('\n');
            for row in &table {
                let cells = row.iter().zip(&widths).map(|(cell, &w)| format!("{cell:<w$}"));
                text += &format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end());
            }
        }
        text.push('\n');
        self.notes.iter().for_each(|n| text += &format!("{n}\n"));
        text
    }
}
