//! A report of captions: lengths, words, examples.

use std::path::Path;

use geoglot_core::{BandUse, RunManifest, atomic};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::html::{card, definitions, escape, figure, image, list, page};
use super::markdown::plain;
use super::page::band_table;
use super::{ReportFiles, slug, write_figures};
use crate::error::{Error, Result};
use crate::plot::{Figure, count_histogram, word_bars};

/// Most words drawn.
const DRAWN: usize = 30;

/// Captions of one kind, such as short ones.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CaptionGroup {
    /// Name, such as `Short captions`.
    pub name: String,
    /// Figures shown in a line, by name.
    pub figures: IndexMap<String, String>,
    /// Captions of each number of words, ascending.
    pub lengths: Vec<(usize, usize)>,
    /// The most frequent words, most frequent first.
    pub words: Vec<(String, usize)>,
}

/// One image with its captions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CaptionExample {
    /// Its key.
    pub key: String,
    /// Captions, the short ones first.
    pub captions: Vec<String>,
    /// A quick-look as PNG; in the JSON there is none.
    #[serde(skip)]
    pub png: Vec<u8>,
}

/// The report of a set of captions. Plain data: it can be read back from its JSON (without pictures) and written again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CaptionReport {
    /// Title of the page.
    pub title: String,
    /// One or two sentences under it.
    #[serde(default)]
    pub summary: String,
    /// Short and long captions.
    pub groups: Vec<CaptionGroup>,
    /// Some images with their captions.
    #[serde(default)]
    pub examples: Vec<CaptionExample>,
    /// How bands were bound.
    #[serde(default)]
    pub bands: Vec<BandUse>,
    /// Version, seed, timings and the like.
    #[serde(default)]
    pub facts: IndexMap<String, String>,
    /// What the reader must know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl CaptionExample {
    fn file_name(&self, k: usize) -> String {
        format!("example-{}-{}.png", k + 1, slug(&self.key))
    }
}

impl CaptionReport {
    /// Takes the bands and the facts from the manifest of the run.
    pub fn add_run(&mut self, run: &RunManifest) {
        self.bands.clone_from(&run.inputs);
        self.facts.extend(super::model::run_facts(run));
    }

    /// The figures with the names of their files.
    ///
    /// # Errors
    /// [`Error::Empty`] without captions, [`Error::Plot`].
    pub fn figures(&self) -> Result<Vec<(String, Figure)>> {
        if self.groups.is_empty() {
            return Err(Error::Empty("the report has no captions; add a group first".into()));
        }
        let mut figures = Vec::new();
        for group in &self.groups {
            let name = slug(&group.name);
            let title = format!("{}: lengths", group.name);
            figures.push((format!("{name}-lengths"), count_histogram(&title, "words a caption", &group.lengths)?));
            let drawn = &group.words[..group.words.len().min(DRAWN)];
            figures.push((format!("{name}-words"), word_bars(&format!("{}: words", group.name), drawn)?));
        }
        Ok(figures)
    }

    /// The report as one self-contained HTML page.
    ///
    /// # Errors
    /// What [`CaptionReport::figures`] finds.
    pub fn html(&self) -> Result<String> {
        let figures = self.figures()?;
        let mut body = format!("<h1>{}</h1>\n", escape(&self.title));
        if !self.summary.is_empty() {
            body += &format!("<p class=\"soft\">{}</p>\n", escape(&self.summary));
        }
        if !self.warnings.is_empty() {
            let warnings = list(&self.warnings);
            body += &format!("<section class=\"card warnings\">\n<h2>Read this first</h2>\n{warnings}</section>\n");
        }
        if !self.examples.is_empty() {
            let mut inner = String::new();
            for example in &self.examples {
                inner += &format!("<h3>{}</h3>\n", escape(&example.key));
                if !example.png.is_empty() {
                    inner += &format!("<div class=\"images\">\n{}</div>\n", image(&example.png, &example.key, ""));
                }
                inner += &list(&example.captions);
            }
            body += &card("Examples", &inner);
        }
        for (group, drawn) in self.groups.iter().zip(figures.chunks(2)) {
            let mut inner = definitions(group.figures.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            inner += "<h3>Words a caption</h3>\n";
            inner += &figure(&drawn[0].1, "Captions of each length.")?;
            inner += "<h3>Most frequent words</h3>\n";
            inner += &figure(&drawn[1].1, "Articles, prepositions and the like are left out.")?;
            body += &card(&group.name, &inner);
        }
        if !self.bands.is_empty() {
            body += &card("Bands of the first image", &band_table(&self.bands));
        }
        if !self.facts.is_empty() {
            body += &card("Run", &definitions(self.facts.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
        }
        Ok(page(&self.title, &body))
    }

    /// The report as Markdown; figures are linked as `figures/NAME.png`.
    ///
    /// # Errors
    /// What [`CaptionReport::figures`] finds.
    pub fn markdown(&self) -> Result<String> {
        let figures = self.figures()?;
        let mut md = format!("# {}\n\n", plain(&self.title));
        if !self.summary.is_empty() {
            md += &format!("{}\n\n", plain(&self.summary));
        }
        for warning in &self.warnings {
            md += &format!("- {}\n", plain(warning));
        }
        if !self.examples.is_empty() {
            md += "\n## Examples\n\n";
        }
        for (k, example) in self.examples.iter().enumerate() {
            md += &format!("### {}\n\n", plain(&example.key));
            if !example.png.is_empty() {
                md += &format!("![{}](figures/{})\n\n", plain(&example.key), example.file_name(k));
            }
            for caption in &example.captions {
                md += &format!("- {}\n", plain(caption));
            }
            md += "\n";
        }
        for (group, drawn) in self.groups.iter().zip(figures.chunks(2)) {
            md += &format!("## {}\n\n", plain(&group.name));
            for (name, value) in &group.figures {
                md += &format!("- {}: {}\n", plain(name), plain(value));
            }
            for (name, figure) in drawn {
                md += &format!("\n![{}](figures/{name}.png)\n", plain(figure.name()));
            }
            md += "\n";
        }
        if !self.facts.is_empty() {
            md += "## Run\n\n";
            for (name, value) in &self.facts {
                md += &format!("- {}: {}\n", plain(name), plain(value));
            }
        }
        Ok(md)
    }

    /// Writes `report.json`, `report.md`, `report.html` and the folder `figures` into `folder`, each file atomically, the HTML last.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file, [`Error::Plot`], and what [`CaptionReport::figures`] finds.
    pub fn write(&self, folder: &Path) -> Result<ReportFiles> {
        let (html, markdown) = (self.html()?, self.markdown()?);
        let mut figures = write_figures(folder, &self.figures()?)?;
        for (k, example) in self.examples.iter().enumerate().filter(|(_, e)| !e.png.is_empty()) {
            let path = folder.join("figures").join(example.file_name(k));
            atomic::write(&path, &example.png)?;
            figures.push(path);
        }
        let files = ReportFiles {
            json: folder.join("report.json"),
            markdown: folder.join("report.md"),
            html: folder.join("report.html"),
            figures,
        };
        atomic::write_json(&files.json, self)?;
        atomic::write(&files.markdown, markdown.as_bytes())?;
        atomic::write(&files.html, html.as_bytes())?;
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_whole_escaped_and_reads_back() {
        let group = CaptionGroup {
            name: "Short captions".into(),
            figures: IndexMap::from([("captions".into(), "12".into())]),
            lengths: vec![(4, 2), (9, 10), (400, 1)],
            words: vec![("water".into(), 9), ("<b>".into(), 3)],
        };
        let example = CaptionExample { key: "a".into(), captions: vec!["A <i>map</i>.".into()], png: Vec::new() };
        let report =
            CaptionReport { title: "T".into(), groups: vec![group], examples: vec![example], ..Default::default() };
        let dir = tempfile::tempdir().unwrap();
        let files = report.write(dir.path()).unwrap();
        let html = std::fs::read_to_string(&files.html).unwrap();
        assert!(html.contains("A &lt;i&gt;map&lt;/i&gt;.") && !html.contains("<b>") && html.contains("water"));
        assert!(files.figures.iter().all(|f| f.exists()) && files.figures.len() == 4);
        let back: CaptionReport = serde_json::from_slice(&std::fs::read(&files.json).unwrap()).unwrap();
        assert_eq!(back, report);
        assert!(CaptionReport::default().html().is_err());
    }
}
