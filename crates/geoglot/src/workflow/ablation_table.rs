//! The table of an ablation: variants, each trained with several seeds, beside the first.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::core::atomic;
use crate::eval::Interval;

/// The table of an ablation, written as `ablation.json`, `ablation.csv` and `ablation.txt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AblationTable {
    /// Name of the recipe.
    pub recipe: String,
    /// Seeds of the runs.
    pub seeds: Vec<u64>,
    /// Columns: what is measured.
    pub columns: Vec<String>,
    /// One row a variant; the first is what the others are compared with.
    pub rows: Vec<AblationRow>,
    /// What the intervals are, and what the reader should know.
    pub notes: Vec<String>,
}

/// One variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AblationRow {
    /// Its name.
    pub variant: String,
    /// Its runs, one a seed.
    pub runs: Vec<AblationRun>,
    /// One figure a column, 0–1: the mean over the seeds with the 95 % interval of Student's t; of one seed the run's own. `None` where the
    /// variant cannot be asked.
    pub figures: Vec<Option<Interval>>,
    /// Each figure less that of the first row, seed by seed; empty in the first row.
    pub differences: Vec<Option<Interval>>,
}

/// A variant trained with one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AblationRun {
    /// The seed.
    pub seed: u64,
    /// SHA-256 of the weights.
    pub model: String,
    /// Mean contrastive loss of the last epoch, of image–text trainings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// One figure a column, 0–1.
    pub figures: Vec<Option<Interval>>,
}

impl AblationTable {
    /// A table without rows.
    pub fn new(recipe: &str, seeds: Vec<u64>, columns: Vec<String>) -> Self {
        Self { recipe: recipe.into(), seeds, columns, rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a variant with its runs, in the order of the seeds.
    pub fn add(&mut self, variant: &str, runs: Vec<AblationRun>) {
        let mean = |values: Option<Vec<f64>>| values.and_then(|v| Interval::of_runs(&v));
        let value = |run: &AblationRun, k: usize| run.figures[k].map(|v| v.value);
        let figure = |k: usize| match runs.as_slice() {
            [one] => one.figures[k],
            _ => mean(runs.iter().map(|r| value(r, k)).collect()),
        };
        let figures = (0..self.columns.len()).map(figure).collect();
        let against = |first: &AblationRow| {
            let pairs = |k: usize| runs.iter().zip(&first.runs).map(move |(r, f)| Some(value(r, k)? - value(f, k)?));
            (0..self.columns.len()).map(|k| mean(pairs(k).collect())).collect()
        };
        let differences = self.rows.first().map_or_else(Vec::new, against);
        self.rows.push(AblationRow { variant: variant.into(), runs, figures, differences });
    }

    /// Writes the three files into `out`.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn save(&self, out: &Path) -> anyhow::Result<()> {
        atomic::write_json(&out.join("ablation.json"), self)?;
        atomic::write(&out.join("ablation.csv"), self.csv().as_bytes())?;
        Ok(atomic::write(&out.join("ablation.txt"), self.text().as_bytes())?)
    }

    /// One line a variant, column and seed, and one each with the mean and the difference: variant, seed, measured, value, low, high.
    pub fn csv(&self) -> String {
        let mut text = String::from("variant,seed,measured,value,low,high\n");
        let quoted = |s: &str| format!("\"{}\"", s.replace('"', "\"\""));
        for row in &self.rows {
            let mut lines = |seed: &str, figures: &[Option<Interval>]| {
                for (v, column) in figures.iter().zip(&self.columns).filter_map(|(v, c)| Some((v.as_ref()?, c))) {
                    let (variant, measured) = (quoted(&row.variant), quoted(column));
                    text += &format!("{variant},{seed},{measured},{},{},{}\n", v.value, v.low, v.high);
                }
            };
            row.runs.iter().for_each(|run| lines(&run.seed.to_string(), &run.figures));
            lines("mean", &row.figures);
            lines("difference", &row.differences);
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

/// What the intervals over `seeds` hold; `one` says it of a single training.
pub(super) fn about_seeds(seeds: &[u64], one: &str) -> String {
    match seeds.len() {
        1 => one.to_owned(),
        n => format!(
            "Means over {n} trainings with seeds {seeds:?}; intervals: 95 %, Student's t. They hold what the seed changes, not what other test \
             images would."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64, figures: &[Option<f64>]) -> AblationRun {
        let exact = |v: &Option<f64>| v.map(|value| Interval { value, low: value, high: value });
        AblationRun { seed, model: "m".into(), loss: None, figures: figures.iter().map(exact).collect() }
    }

    #[test]
    fn rows_are_compared_with_the_first_seed_by_seed() {
        let mut table = AblationTable::new("r", vec![1, 2], vec!["OA".into(), "mIoU, \"far\"".into()]);
        table.add("whole", vec![run(1, &[Some(0.5), Some(0.25)]), run(2, &[Some(0.75), Some(0.75)])]);
        table.add("part", vec![run(1, &[Some(0.25), None]), run(2, &[Some(0.5), Some(0.5)])]);
        let [whole, part] = table.rows.as_slice() else { panic!() };
        assert_eq!((whole.figures[0].unwrap().value, whole.differences.len()), (0.625, 0));
        let difference = part.differences[0].unwrap();
        assert_eq!((difference.value, difference.low, difference.high), (-0.25, -0.25, -0.25));
        assert_eq!((part.figures[1], part.differences[1]), (None, None));
        let text = table.text();
        assert!(text.contains("points against whole") && text.contains("-25.00") && text.contains('–'), "{text}");
        let csv = table.csv();
        assert!(csv.contains("\"part\",difference,\"OA\",-0.25,-0.25,-0.25\n"), "{csv}");
        assert!(csv.contains("\"whole\",1,\"mIoU, \"\"far\"\"\",0.25,0.25,0.25\n"), "{csv}");
    }

    #[test]
    fn of_one_run_its_own_interval_counts() {
        let mut table = AblationTable::new("r", vec![1], vec!["OA".into()]);
        let own = Interval { value: 0.5, low: 0.4, high: 0.6 };
        table.add("whole", vec![AblationRun { figures: vec![Some(own)], ..run(1, &[]) }]);
        assert_eq!(table.rows[0].figures, [Some(own)]);
        assert_eq!(about_seeds(&table.seeds, "one"), "one");
    }
}
