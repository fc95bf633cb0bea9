//! Reports: one `report.json` for programs, one `report.md` for repositories, one self-contained `report.html` for people.

mod ablation;
mod ablation_html;
mod captions;
mod html;
mod markdown;
mod model;
mod notes;
mod page;
mod protocol;
mod protocol_html;
mod sections;

pub use ablation::{AblationReport, AblationRow, AblationTable};
pub use captions::{CaptionExample, CaptionGroup, CaptionReport};
pub(crate) use html::escape;
pub use model::{Honesty, MethodResult, Report, ReportImage, Role, SplitNote};
pub use protocol::{ProtocolReport, Section, SectionRow, SectionTable};

use std::path::{Path, PathBuf};

/// The files of a written report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportFiles {
    /// For programs.
    pub json: PathBuf,
    /// For repositories; shows the figures beside it.
    pub markdown: PathBuf,
    /// For people; holds everything in itself.
    pub html: PathBuf,
    /// The figures, each as PNG and SVG, and the images.
    pub figures: Vec<PathBuf>,
}

/// A file name from a title: lower-case letters, digits and hyphens.
pub fn slug(title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    let name = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-");
    if name.is_empty() { "figure".into() } else { name }
}

/// Writes every figure as PNG and SVG into `folder`/figures; returns the files written.
fn write_figures(folder: &Path, figures: &[(String, crate::plot::Figure)]) -> crate::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (name, figure) in figures {
        for ending in ["png", "svg"] {
            let path = folder.join("figures").join(format!("{name}.{ending}"));
            figure.save(&path)?;
            written.push(path);
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
