//! The Markdown of a [`Report`].

use std::fmt::Write as _;

use super::html::Style;
use super::model::Report;
use super::page::interval_words;
use crate::error::Result;

/// Text from data as Markdown: signs with a meaning are escaped, line breaks become spaces.
pub(super) fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '>' | '|' | '#' | '~' | '!' => {
                safe.push('\\');
                safe.push(c);
            }
            '\n' | '\r' => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// One row of a table.
pub(super) fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// The head of a table whose first column is left-aligned.
pub(super) fn head(names: &[String]) -> String {
    let rule: Vec<String> = (0..names.len()).map(|k| if k == 0 { ":--".into() } else { "--:".into() }).collect();
    row(names) + &row(&rule)
}

impl Report {
    /// The report as Markdown; figures are linked as `figures/NAME.png`.
    ///
    /// # Errors
    /// What [`Report::check`] finds.
    pub fn markdown(&self) -> Result<String> {
        self.check()?;
        let mut md = format!("# {}\n\n", plain(&self.title));
        if !self.summary.is_empty() {
            let _ = write!(md, "{}\n\n", plain(&self.summary));
        }
        let _ =
            write!(md, "**{}** ({}). {}\n\n", plain(&self.split.kind), self.split.badge(), plain(&self.split.sentence));
        for note in self.notes() {
            let _ = writeln!(md, "- {}", plain(&note));
        }
        md += "\n## Methods\n\n";
        md += &head(
            &["Method", "OA, %", "AA, %", "kappa", "mIoU, %", "mean F1, %", "OA over folds, %"].map(String::from),
        );
        for m in &self.methods {
            let with = |i, style: Style| match style.bounds(i) {
                bounds if bounds.is_empty() => style.value(i),
                bounds => format!("{} ({bounds})", style.value(i)),
            };
            let folds = m.scores.over_folds()[0].map_or("–".into(), |(mean, std)| {
                format!("{} ± {}", Style::Percent.number(mean), Style::Percent.number(std))
            });
            md += &row(&[
                plain(&m.name),
                with(&m.scores.oa, Style::Percent),
                with(&m.scores.aa, Style::Percent),
                with(&m.scores.kappa, Style::Plain),
                with(&m.scores.mean_iou, Style::Percent),
                with(&m.scores.mean_f1, Style::Percent),
                folds,
            ]);
        }
        let _ = write!(md, "\nIn parentheses: {}.\n\n", interval_words(&self.methods[0].scores));
        for comparison in &self.comparisons {
            let _ = writeln!(md, "- {}", plain(&comparison.sentence()));
        }
        md += "\n![Accuracies of the methods](figures/methods.png)\n\n";
        for (k, image) in self.images.iter().enumerate() {
            let _ = write!(md, "![{}](figures/{})\n\n", plain(&image.title), image.file_name(k));
        }
        md += "## Classes\n\n";
        let mut names =
            ["Class", "test pixels", "producer's, %", "user's, %", "F1, %", "IoU, %"].map(String::from).to_vec();
        names.extend(self.methods.iter().skip(1).map(|m| format!("producer's, {}", plain(&m.name))));
        md += &head(&names);
        for (k, class) in self.legend.classes.iter().enumerate() {
            let c = &self.methods[0].scores.classes[k];
            let mut cells = vec![plain(&class.name), c.support.to_string()];
            cells.extend([&c.producers, &c.users, &c.f1, &c.iou].map(|i| Style::Percent.value(i)));
            cells.extend(self.methods.iter().skip(1).map(|m| Style::Percent.value(&m.scores.classes[k].producers)));
            md += &row(&cells);
        }
        md += "\n## Confusion matrix\n\n";
        let _ = write!(md, "![Confusion matrix](figures/confusion-{}.png)\n\n", super::slug(&self.methods[0].name));
        if self.curves.iter().any(|c| !c.points.is_empty()) {
            md += "## Training\n\n![Training curves](figures/curves.png)\n\n";
        }
        if self.joint_space.is_some() {
            md += "## Joint space\n\n![t-SNE of pixels and prompts](figures/joint-space.png)\n\n";
        }
        if !self.bands.is_empty() {
            md += "## Bands\n\n";
            md += &head(&["Input", "file", "bands"].map(String::from));
            for input in &self.bands {
                let bands = input.bands.iter().map(|b| match b.wavelength_um {
                    Some(w) => format!("{} ({w:.3} µm)", b.label()),
                    None => b.label(),
                });
                let bands = bands.collect::<Vec<_>>().join(", ");
                md += &row(&[plain(&input.input), plain(&input.path), plain(&bands)]);
            }
            md += "\n";
        }
        if !self.facts.is_empty() {
            md += "## Run\n\n";
            for (name, value) in &self.facts {
                let _ = writeln!(md, "- {}: {}", plain(name), plain(value));
            }
        }
        Ok(md)
    }
}
