//! Pieces of HTML every report is made of. Everything that comes from data goes through [`escape`].

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::Result;
use crate::interval::Interval;
use crate::plot::Figure;

/// Text as HTML, safe in elements and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A whole page around `body`: styles inline, nothing fetched from anywhere.
pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
        include_str!("style.css")
    )
}

/// A titled section.
pub(super) fn card(title: &str, inner: &str) -> String {
    format!("<section class=\"card\">\n<h2>{}</h2>\n{inner}</section>\n", escape(title))
}

/// A folded section.
pub(super) fn folded(title: &str, inner: &str) -> String {
    format!("<section class=\"card\"><details><summary>{}</summary>\n{inner}</details></section>\n", escape(title))
}

/// A figure with its caption.
pub(super) fn figure(figure: &Figure, caption: &str) -> Result<String> {
    let svg = figure.inline_svg()?;
    Ok(format!("<figure><div class=\"scroll\">{svg}</div><figcaption>{}</figcaption></figure>\n", escape(caption)))
}

/// A PNG inside the page.
pub(super) fn image(png: &[u8], alt: &str, caption: &str) -> String {
    format!(
        "<figure><img alt=\"{}\" src=\"data:image/png;base64,{}\"><figcaption>{}</figcaption></figure>\n",
        escape(alt),
        STANDARD.encode(png),
        escape(caption)
    )
}

/// A list of remarks.
pub(super) fn list(items: &[String]) -> String {
    let mut html = String::from("<ul class=\"notes\">\n");
    for item in items {
        let _ = writeln!(html, "<li>{}</li>", escape(item));
    }
    html + "</ul>\n"
}

/// Names and values.
pub(super) fn definitions<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut html = String::from("<dl>\n");
    for (name, value) in pairs {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    html + "</dl>\n"
}

/// A table; `cells` are HTML already.
pub(super) struct Table {
    head: String,
    body: String,
    caption: String,
}

impl Table {
    /// A table with these column heads; one that begins with `<` stands over a column aligned left.
    pub(super) fn new(head: &[&str]) -> Self {
        let mut cells = String::new();
        for name in head {
            let (class, name) = name.strip_prefix('<').map_or(("", *name), |name| (" class=\"left\"", name));
            let _ = write!(cells, "<th scope=\"col\"{class}>{}</th>", escape(name));
        }
        Self { head: cells, body: String::new(), caption: String::new() }
    }

    pub(super) fn row(&mut self, cells: &[Cell]) {
        self.body.push_str("<tr>");
        for Cell { html, class } in cells {
            let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
            let _ = write!(self.body, "<td{class}>{html}</td>");
        }
        self.body.push_str("</tr>\n");
    }

    pub(super) fn caption(mut self, text: &str) -> Self {
        self.caption = format!("<p class=\"caption\">{}</p>\n", escape(text));
        self
    }

    pub(super) fn html(&self) -> String {
        format!(
            "<div class=\"scroll\"><table><thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody></table></div>\n{}",
            self.head, self.body, self.caption
        )
    }
}

/// One cell of a table.
pub(super) struct Cell {
    html: String,
    class: &'static str,
}

impl Cell {
    /// Text from data.
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self { html: escape(text.as_ref()), class: "" }
    }

    /// Text from data, aligned left.
    pub(super) fn left(text: impl AsRef<str>) -> Self {
        Self { html: escape(text.as_ref()), class: "left" }
    }

    /// Text aligned left that may wrap.
    pub(super) fn wrap(text: impl AsRef<str>) -> Self {
        Self { html: escape(text.as_ref()), class: "left wrap" }
    }

    /// A main text with a small one under it.
    pub(super) fn two(main: &str, small: &str) -> Self {
        let small = if small.is_empty() { String::new() } else { format!("<small>{}</small>", escape(small)) };
        Self { html: format!("{}{small}", escape(main)), class: "" }
    }

    /// A class name with its colour.
    pub(super) fn swatch([r, g, b]: [u8; 3], name: &str) -> Self {
        let html =
            format!("<span class=\"swatch\" style=\"background:#{r:02x}{g:02x}{b:02x}\"></span>{}", escape(name));
        Self { html, class: "" }
    }

    /// The cell in bold when `best`.
    pub(super) fn best_if(mut self, best: bool) -> Self {
        if best {
            self.class = "best";
        }
        self
    }
}

/// How a figure is written: accuracies in percent, kappa as it is.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Style {
    Percent,
    Plain,
}

impl Style {
    pub(super) fn number(self, value: f64) -> String {
        match self {
            Self::Percent => format!("{:.2}", value * 100.0),
            Self::Plain => format!("{value:.4}"),
        }
    }

    /// The value, a dash where undefined.
    pub(super) fn value(self, interval: &Option<Interval>) -> String {
        interval.map_or("–".into(), |i| self.number(i.value))
    }

    /// The bounds, empty where undefined.
    pub(super) fn bounds(self, interval: &Option<Interval>) -> String {
        interval.map_or(String::new(), |i| format!("{} to {}", self.number(i.low), self.number(i.high)))
    }

    pub(super) fn cell(self, interval: &Option<Interval>) -> Cell {
        Cell::two(&self.value(interval), &self.bounds(interval))
    }
}
