//! The HTML page of a [`Report`].

use std::fmt::Write as _;

use geoglot_core::BandUse;

use super::html::{Cell, Style, Table, card, definitions, escape, figure, folded, image, list, page};
use super::model::{Honesty, Report, SplitNote};
use crate::bootstrap::Unit;
use crate::error::Result;
use crate::scores::Scores;

impl SplitNote {
    /// Words of the badge.
    pub fn badge(&self) -> &'static str {
        match self.honesty {
            Honesty::Honest => "honest split",
            Honesty::Optimistic => "optimistic split",
            Honesty::Unknown => "overlap unknown",
        }
    }

    pub(super) fn html(&self) -> String {
        let class = match self.honesty {
            Honesty::Honest => "honest",
            Honesty::Optimistic => "optimistic",
            Honesty::Unknown => "unknown",
        };
        format!(
            "<p><span class=\"badge {class}\">{}</span><strong>{}.</strong> {}</p>\n",
            self.badge(),
            escape(&self.kind),
            escape(&self.sentence)
        )
    }
}

/// What the intervals of `scores` are, in words.
pub(super) fn interval_words(scores: &Scores) -> String {
    let unit = match scores.resampled {
        Unit::Groups => "spatial groups",
        Unit::Pixels => "pixels",
    };
    format!(
        "{:.0} % intervals from {} bootstrap resamples of {} {unit}",
        scores.bootstrap.level * 100.0,
        scores.bootstrap.replicates,
        scores.units
    )
}

impl Report {
    /// The report as one self-contained HTML page.
    ///
    /// # Errors
    /// [`crate::Error::Plot`] and what [`Report::check`] finds.
    pub fn html(&self) -> Result<String> {
        let figures = self.figures()?;
        let draw = |name: &str, caption: &str| -> Result<String> {
            figures.iter().find(|(n, _)| n == name).map_or(Ok(String::new()), |(_, f)| figure(f, caption))
        };
        let head = &self.methods[0];
        let mut body = format!("<h1>{}</h1>\n", escape(&self.title));
        if !self.summary.is_empty() {
            let _ = writeln!(body, "<p class=\"soft\">{}</p>", escape(&self.summary));
        }
        body += &self.split.html();
        body += &self.tiles();

        let notes = self.notes();
        if !notes.is_empty() {
            let _ = write!(
                body,
                "<section class=\"card warnings\">\n<h2>Read this first</h2>\n{}</section>\n",
                list(&notes)
            );
        }
        let comparisons: Vec<String> = self.comparisons.iter().map(|c| c.sentence()).collect();
        let mut methods = self.method_table();
        methods += &draw("methods", &format!("Bars from zero; {}.", interval_words(&head.scores)))?;
        if !comparisons.is_empty() {
            methods += "<h3>Differences on the same test pixels</h3>\n";
            methods += &list(&comparisons);
        }
        body += &card("Methods", &methods);

        if !self.images.is_empty() {
            let images: String = self.images.iter().map(|i| image(&i.png, &i.title, &i.words())).collect();
            body += &card("Maps", &format!("<div class=\"images\">\n{images}</div>\n{}", self.legend_line()));
        }
        body += &card("Classes", &(self.class_table() + &draw("classes", "Dots are values, lines their intervals.")?));

        let mut confusion = draw(
            &figures_of(&figures, "confusion-", 0),
            &format!("{}. Large numbers: percent of the true class; small numbers: pixels.", head.name),
        )?;
        for (k, method) in self.methods.iter().enumerate().skip(1) {
            let inner = draw(&figures_of(&figures, "confusion-", k), &method.name)?;
            let _ = write!(confusion, "<details><summary>{}</summary>\n{inner}</details>\n", escape(&method.name));
        }
        body += &card("Confusion matrix", &confusion);

        let curves =
            draw("curves", "The dot marks the best epoch on the validation pixels, which are never test pixels.")?;
        if !curves.is_empty() {
            body += &card("Training", &curves);
        }
        let space = draw(
            "joint-space",
            "t-SNE of test pixels and class prompts by cosine distance. Who is near whom counts; sizes of clusters and gaps between them do not.",
        )?;
        if !space.is_empty() {
            body += &card("Joint space of pixels and words", &space);
        }
        if self.legend.classes.iter().any(|c| !c.prompts.is_empty()) {
            let mut table = Table::new(&["Class", "<Prompts"]);
            for (k, class) in self.legend.classes.iter().enumerate() {
                table.row(&[
                    Cell::swatch(self.legend.color(k), &class.name),
                    Cell::wrap(self.legend.words(k).join(" · ")),
                ]);
            }
            body += &folded("Prompts", &table.html());
        }
        if !self.bands.is_empty() {
            body += &card("Bands", &band_table(&self.bands));
        }
        if head.scores.folds.len() > 1 {
            body += &folded("Folds", &self.fold_table());
        }
        if !self.facts.is_empty() {
            body += &card("Run", &definitions(self.facts.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
        }
        body += &folded("What the figures mean", MEANING);
        Ok(page(&self.title, &body))
    }

    fn tiles(&self) -> String {
        let head = &self.methods[0];
        let pixels = head.scores.confusion.total();
        let mut html = String::from("<div class=\"tiles\">\n");
        for (name, interval, style, sign) in [
            ("overall accuracy", &head.scores.oa, Style::Percent, " %"),
            ("average accuracy", &head.scores.aa, Style::Percent, " %"),
            ("kappa", &head.scores.kappa, Style::Plain, ""),
        ] {
            let _ = writeln!(
                html,
                "<div class=\"tile\"><span>{} · {name}</span><b>{}{sign}</b><span>{}</span></div>",
                escape(&head.name),
                style.value(interval),
                style.bounds(interval)
            );
        }
        let classes = self.legend.len();
        let folds = match head.scores.folds.len() {
            0 | 1 => String::new(),
            n => format!(", {n} folds"),
        };
        let _ = writeln!(
            html,
            "<div class=\"tile\"><span>test pixels</span><b>{pixels}</b><span>{classes} classes{folds}</span></div>"
        );
        html + "</div>\n"
    }

    fn method_table(&self) -> String {
        let folds = self.methods.iter().any(|m| m.scores.folds.len() > 1);
        let timed = self.methods.iter().any(|m| m.seconds.is_some());
        let mut names = vec!["Method", "OA, %", "AA, %", "kappa", "mIoU, %", "mean F1, %"];
        if folds {
            names.push("OA over folds, %");
        }
        if timed {
            names.push("seconds");
        }
        let mut table = Table::new(&names);
        let best = |read: fn(&Scores) -> Option<f64>| {
            self.methods.iter().filter_map(|m| read(&m.scores)).fold(f64::NEG_INFINITY, f64::max)
        };
        let tops = [
            best(|s| s.oa.map(|i| i.value)),
            best(|s| s.aa.map(|i| i.value)),
            best(|s| s.kappa.map(|i| i.value)),
            best(|s| s.mean_iou.map(|i| i.value)),
            best(|s| s.mean_f1.map(|i| i.value)),
        ];
        for m in &self.methods {
            let mut cells = vec![Cell::two(&m.name, &m.note)];
            let figures = [
                (&m.scores.oa, Style::Percent),
                (&m.scores.aa, Style::Percent),
                (&m.scores.kappa, Style::Plain),
                (&m.scores.mean_iou, Style::Percent),
                (&m.scores.mean_f1, Style::Percent),
            ];
            for ((interval, style), top) in figures.into_iter().zip(tops) {
                cells.push(style.cell(interval).best_if(interval.is_some_and(|i| i.value >= top)));
            }
            if folds {
                cells.push(m.scores.over_folds()[0].map_or(Cell::text("–"), |(mean, std)| {
                    Cell::text(format!("{} ± {}", Style::Percent.number(mean), Style::Percent.number(std)))
                }));
            }
            if timed {
                cells.push(Cell::text(m.seconds.map_or("–".into(), |s| format!("{s:.1}"))));
            }
            table.row(&cells);
        }
        let words =
            format!("Small: {}. ± is the standard deviation over folds.", interval_words(&self.methods[0].scores));
        table.caption(&words).html()
    }

    fn class_table(&self) -> String {
        let head = &self.methods[0];
        let peers: Vec<String> = self.methods.iter().skip(1).map(|m| format!("producer's, {}", m.name)).collect();
        let mut names = vec!["Class", "test pixels", "producer's, %", "user's, %", "F1, %", "IoU, %"];
        names.extend(peers.iter().map(String::as_str));
        let mut table = Table::new(&names);
        for (k, class) in self.legend.classes.iter().enumerate() {
            let c = &head.scores.classes[k];
            let mut cells = vec![Cell::swatch(self.legend.color(k), &class.name), Cell::text(c.support.to_string())];
            cells.extend([&c.producers, &c.users, &c.f1, &c.iou].map(|i| Style::Percent.cell(i)));
            cells.extend(
                self.methods.iter().skip(1).map(|m| Cell::text(Style::Percent.value(&m.scores.classes[k].producers))),
            );
            table.row(&cells);
        }
        table.caption(&format!("{}; small: intervals.", head.name)).html()
    }

    fn legend_line(&self) -> String {
        let mut html = String::from("<p>");
        for (k, class) in self.legend.classes.iter().enumerate() {
            let [r, g, b] = self.legend.color(k);
            let _ = write!(
                html,
                "<span style=\"white-space:nowrap;margin-right:16px\"><span class=\"swatch\" style=\"background:#{r:02x}{g:02x}{b:02x}\"></span>{}</span> ",
                escape(&class.name)
            );
        }
        html + "</p>\n"
    }

    fn fold_table(&self) -> String {
        let mut table = Table::new(&["Method", "fold", "test pixels", "OA, %", "AA, %", "kappa"]);
        let show = |v: Option<f64>, style: Style| Cell::text(v.map_or("–".into(), |v| style.number(v)));
        for m in &self.methods {
            for f in &m.scores.folds {
                table.row(&[
                    Cell::text(&m.name),
                    Cell::text((f.fold + 1).to_string()),
                    Cell::text(f.pixels.to_string()),
                    show(f.oa, Style::Percent),
                    show(f.aa, Style::Percent),
                    show(f.kappa, Style::Plain),
                ]);
            }
        }
        table.html()
    }
}

/// How the bands of each input were bound.
pub(super) fn band_table(inputs: &[BandUse]) -> String {
    let mut html = String::new();
    for input in inputs {
        let _ = writeln!(html, "<h3>{} <span class=\"soft\">{}</span></h3>", escape(&input.input), escape(&input.path));
        let mut table = Table::new(&["#", "<band", "<sensor", "wavelength, µm", "FWHM, µm", "<unit"]);
        let number = |v: Option<f32>| v.map_or("–".into(), |v| format!("{v:.3}"));
        for (k, band) in input.bands.iter().enumerate() {
            table.row(&[
                Cell::text((k + 1).to_string()),
                Cell::left(&band.name),
                Cell::left(band.sensor.as_deref().unwrap_or("–")),
                Cell::text(number(band.wavelength_um)),
                Cell::text(number(band.fwhm_um)),
                Cell::left(if band.unit.symbol().is_empty() { "–" } else { band.unit.symbol() }),
            ]);
        }
        // A hyperspectral sensor's hundreds of rows would bury what follows.
        if input.bands.len() > 16 {
            let _ =
                write!(html, "<details><summary>{} bands</summary>\n{}</details>\n", input.bands.len(), table.html());
        } else {
            html += &table.html();
        }
    }
    html
}

/// The name of the `n`-th figure whose name begins with `start`.
fn figures_of(figures: &[(String, crate::plot::Figure)], start: &str, n: usize) -> String {
    figures.iter().filter(|(name, _)| name.starts_with(start)).nth(n).map(|(name, _)| name.clone()).unwrap_or_default()
}

const MEANING: &str = "<dl>\n\
<dt>overall accuracy (OA)</dt><dd>share of test pixels classified right</dd>\n\
<dt>average accuracy (AA)</dt><dd>mean of the producer's accuracies of the classes that have test pixels</dd>\n\
<dt>mIoU</dt><dd>mean over the classes of intersection over union: pixels rightly of the class, divided by all that are it or are called it</dd>\n\
<dt>kappa</dt><dd>Cohen's kappa: agreement beyond what the shares of the classes alone would give</dd>\n\
<dt>producer's accuracy</dt><dd>share of a class's pixels that are found (recall)</dd>\n\
<dt>user's accuracy</dt><dd>share of pixels mapped as a class that belong to it (precision)</dd>\n\
<dt>F1, IoU</dt><dd>harmonic mean of the two; intersection over union</dd>\n\
<dt>coordinates only</dt><dd>class of the nearest training pixel; what a split gives away without any band</dd>\n\
<dt>intervals</dt><dd>percentile bootstrap; over spatial groups where the pixels have them, since neighbours are alike</dd>\n\
</dl>\n";
