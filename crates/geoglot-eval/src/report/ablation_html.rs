//! The HTML page of an [`AblationReport`].

use super::ablation::{AblationReport, AblationTable, difference_words, mean_words};
use super::html::{Cell, Style, Table, card, definitions, escape, figure, list, page};
use crate::bootstrap::Bootstrap;
use crate::error::Result;
use crate::scores::over_runs;

impl AblationReport {
    /// The report as one self-contained HTML page.
    ///
    /// # Errors
    /// [`crate::Error::Plot`] and what [`AblationReport::check`] finds.
    pub fn html(&self) -> Result<String> {
        let mut body = format!("<h1>{}</h1>\n", escape(&self.title));
        if !self.summary.is_empty() {
            body += &format!("<p class=\"soft\">{}</p>\n", escape(&self.summary));
        }
        body += &self.split.html();
        if !self.warnings.is_empty() {
            body += &format!(
                "<section class=\"card warnings\">\n<h2>Read this first</h2>\n{}</section>\n",
                list(&self.warnings)
            );
        }
        for (table, (_, drawn)) in self.tables.iter().zip(self.figures()?) {
            let words = "Mean over runs with one standard deviation. The axis does not start at zero.";
            body += &card(&table.title, &(rows(table)? + &figure(&drawn, words)?));
        }
        if !self.facts.is_empty() {
            body += &card("Run", &definitions(self.facts.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
        }
        Ok(page(&self.title, &body))
    }
}

fn rows(table: &AblationTable) -> Result<String> {
    let against = table.reference.map(|r| format!("OA against {}, points", table.rows[r].variant));
    let mut names = vec![table.varied.as_str(), "OA, %", "AA, %", "kappa", "runs"];
    names.extend(against.as_deref());
    let mut html = Table::new(&names);
    let means: Vec<_> = table.rows.iter().map(|r| over_runs(&r.runs)).collect();
    let best = |k: usize| means.iter().filter_map(|m| m[k]).map(|m| m.0).fold(f64::NEG_INFINITY, f64::max);
    for (k, row) in table.rows.iter().enumerate() {
        let n = row.runs.len();
        let mut cells = vec![Cell::text(&row.variant)];
        for (i, style) in [Style::Percent, Style::Percent, Style::Plain].into_iter().enumerate() {
            let top = means[k][i].is_some_and(|m| m.0 >= best(i));
            cells.push(Cell::text(mean_words(means[k][i], n, style)).best_if(top));
        }
        cells.push(Cell::text(n.to_string()));
        if against.is_some() {
            cells.push(Cell::text(difference_words(table.difference(k, &Bootstrap::default())?)));
        }
        html.row(&cells);
    }
    let mut caption = String::from("Mean ± standard deviation over runs; best in bold.");
    if against.is_some() {
        caption += " Differences are paired by fold and seed, with their bootstrap interval.";
    }
    if !table.caption.is_empty() {
        caption = format!("{} {caption}", table.caption);
    }
    Ok(html.caption(&caption).html())
}
