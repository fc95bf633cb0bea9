//! The figures of a report: confusion matrix, training curves, joint space, bars and dots with intervals, histograms of counts.
//!
//! Each function makes a [`Figure`], which writes itself as SVG or PNG.

mod axis;
mod bars;
mod canvas;
mod confusion;
mod counts;
mod curves;
mod lines;
mod scatter;
mod tiles_texts;

pub use bars::{Series, class_dots, grouped_bars, grouped_dots};
pub use canvas::Figure;
pub use confusion::confusion_matrix;
pub use counts::{count_histogram, word_bars};
pub use curves::{Curve, CurvePoint, training_curves};
pub use lines::{Line, score_lines};
pub use scatter::{class_means_plot, joint_space_plot};
pub use tiles_texts::tiles_texts_plot;

/// The font of PNG figures, and the one SVG texts are measured with.
use geoglot_raster::preview::FONT;

/// Colours of series told apart: blue, orange, grey, green, purple, vermilion, sky.
pub const SERIES_COLORS: [[u8; 3]; 7] =
    [[0, 114, 178], [230, 159, 0], [138, 143, 152], [0, 158, 115], [204, 121, 167], [213, 94, 0], [86, 180, 233]];

/// The colour of series `k`.
pub fn series_color(k: usize) -> [u8; 3] {
    SERIES_COLORS[k % SERIES_COLORS.len()]
}

#[cfg(test)]
mod tests;
