//! The HTML page of a [`ProtocolReport`].

use super::html::{Cell, Style, Table, card, definitions, escape, figure, image, list, page};
use super::page::band_table;
use super::protocol::{ProtocolReport, Section, SectionTable};
use crate::error::Result;
use crate::plot::tiles_texts_plot;

/// Headline figures shown at the top of the page.
const MOST_TILES: usize = 6;

impl ProtocolReport {
    /// The report as one self-contained HTML page.
    ///
    /// # Errors
    /// [`crate::Error::Plot`] and what [`ProtocolReport::check`] finds.
    pub fn html(&self) -> Result<String> {
        self.check()?;
        let mut body = format!("<h1>{}</h1>\n", escape(&self.title));
        if !self.summary.is_empty() {
            body += &format!("<p class=\"soft\">{}</p>\n", escape(&self.summary));
        }
        if let Some(split) = &self.split {
            body += &split.html();
        }
        body += &self.tiles();
        if !self.warnings.is_empty() {
            let warnings = list(&self.warnings);
            body += &format!("<section class=\"card warnings\">\n<h2>Read this first</h2>\n{warnings}</section>\n");
        }
        for (k, section) in self.sections.iter().enumerate() {
            body += &card(&section.title, &section.html(k)?);
        }
        if let Some(space) = &self.tiles_texts {
            let words = "t-SNE by cosine distance, tiles and texts laid out together. Who is near whom counts; sizes of clusters and gaps between them do not.";
            body += &card("Tiles and texts", &figure(&tiles_texts_plot(space)?, words)?);
        }
        if !self.images.is_empty() {
            let images: String = self.images.iter().map(|i| image(&i.png, &i.title, &i.words())).collect();
            body += &card("Pictures", &format!("<div class=\"images\">\n{images}</div>\n"));
        }
        if !self.bands.is_empty() {
            body += &card("Bands", &band_table(&self.bands));
        }
        if !self.facts.is_empty() {
            body += &card("Run", &definitions(self.facts.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
        }
        Ok(page(&self.title, &body))
    }

    fn tiles(&self) -> String {
        let mut html = String::from("<div class=\"tiles\">\n");
        let headline = |s: &Section| {
            let first = &s.table.rows[0];
            s.table
                .columns
                .iter()
                .cloned()
                .zip(first.values.clone())
                .map(|(c, v)| (s.title.clone(), c, v))
                .collect::<Vec<_>>()
        };
        // The first figure of every section, then further ones of the first section.
        let all: Vec<Vec<_>> = self.sections.iter().map(headline).collect();
        let firsts = all.iter().filter_map(|s| s.first());
        let others = all.iter().flat_map(|s| s.iter().skip(1));
        for (section, name, value) in firsts.chain(others).take(MOST_TILES) {
            html += &format!(
                "<div class=\"tile\"><span>{} · {}</span><b>{} %</b><span>{}</span></div>\n",
                escape(section),
                escape(name),
                Style::Percent.value(value),
                Style::Percent.bounds(value)
            );
        }
        html + "</div>\n"
    }
}

impl SectionTable {
    fn html(&self, section: &Section, colored: bool) -> String {
        let head = self.head();
        let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
        for (k, row) in self.rows.iter().enumerate() {
            let name = match section.legend.as_ref().filter(|_| colored) {
                Some(legend) => Cell::swatch(legend.color(k), &row.name),
                None => Cell::text(&row.name),
            };
            let count = self.count(row).map(Cell::text);
            let cells: Vec<Cell> =
                std::iter::once(name).chain(count).chain(row.values.iter().map(|v| Style::Percent.cell(v))).collect();
            table.row(&cells);
        }
        let caption = if self.caption.is_empty() { "Small: intervals." } else { &self.caption };
        table.caption(caption).html()
    }
}

impl Section {
    fn html(&self, k: usize) -> Result<String> {
        let mut html = String::new();
        if !self.caption.is_empty() {
            html += &format!("<p>{}</p>\n", escape(&self.caption));
        }
        html += &self.table.html(self, false);
        let figures = self.figures(k)?;
        let draw = |end: &str, words: &str| -> Result<String> {
            figures.iter().find(|(n, _)| n.ends_with(end)).map_or(Ok(String::new()), |(_, f)| figure(f, words))
        };
        html += &draw("-figures", "Bars from zero with their intervals.")?;
        if !self.notes.is_empty() {
            html += &list(&self.notes);
        }
        if let Some(classes) = &self.classes {
            html += &format!("<h3>Classes</h3>\n{}", classes.html(self, true));
            html += &draw("-classes", "Dots are values, lines their intervals.")?;
        }
        if self.confusion.is_some() {
            html += "<h3>Confusion matrix</h3>\n";
            html += &draw("-confusion", "Large numbers: percent of the true class; small numbers: images.")?;
        }
        Ok(html)
    }
}
