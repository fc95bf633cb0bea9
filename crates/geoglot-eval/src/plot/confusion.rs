//! The confusion matrix as a heat map.

use geoglot_core::Legend;

use super::axis::{NORMAL, SMALL};
use super::canvas::{Anchor, Canvas, Figure, Paint, fit, text_width};
use crate::error::{Result, same_length};
use crate::metrics::ConfusionMatrix;

/// Colours of the shares 0, ⅓, ⅔, 1 of a row.
const RAMP: [[f64; 3]; 4] = [[243.0, 247.0, 251.0], [158.0, 202.0, 225.0], [49.0, 130.0, 189.0], [8.0, 48.0, 107.0]];

/// Truth by prediction: colours and large numbers are percent of the row (producer's accuracy on the diagonal), small numbers are pixels.
///
/// # Errors
/// [`crate::Error::Length`] when the legend has another number of classes.
pub fn confusion_matrix(matrix: &ConfusionMatrix, legend: &Legend) -> Result<Figure> {
    let k = matrix.classes();
    same_length("classes of the legend", k, legend.len())?;
    let cell: f64 = match k {
        0..=8 => 58.0,
        9..=14 => 46.0,
        15..=24 => 34.0,
        _ => 26.0,
    };
    let counts = cell >= 46.0;
    let names = legend.names();
    let widest = names.iter().map(|n| text_width(n, NORMAL)).fold(0.0, f64::max).min(190.0);
    let (left, top) = (widest + 70.0, 30.0);
    let side = cell * k as f64;
    let mut canvas = Canvas::new((left + side + 20.0).max(360.0), top + side + widest + 46.0);
    canvas.text(left + side / 2.0, 14.0, "percent of the true class", SMALL, Anchor::Middle, Paint::Ink(0.75));
    canvas.upright(14.0, top + side / 2.0, "true class", NORMAL, Anchor::Middle, Paint::Ink(1.0));
    let below = top + side;
    canvas.text(left + side / 2.0, below + widest + 32.0, "predicted class", NORMAL, Anchor::Middle, Paint::Ink(1.0));
    for t in 0..k {
        let y = top + (t as f64 + 0.5) * cell;
        let name = fit(&names[t], NORMAL, widest);
        let swatch = Paint::Fixed(legend.color(t), 1.0);
        canvas.rect(left - 20.0, y - 6.0, 12.0, 12.0, swatch);
        canvas.text(left - 27.0, y, &name, NORMAL, Anchor::Right, Paint::Ink(1.0));
        let x = left + (t as f64 + 0.5) * cell;
        canvas.rect(x - 6.0, below + 6.0, 12.0, 12.0, swatch);
        canvas.upright(x, below + 25.0, &name, NORMAL, Anchor::Right, Paint::Ink(1.0));
        let support = matrix.support(t);
        for p in 0..k {
            let (x, n) = (left + p as f64 * cell, matrix.get(t, p));
            let share = if support > 0 { n as f64 / support as f64 } else { 0.0 };
            // Empty cells take the page's tint, so that a dark page stays dark.
            let tint = if n == 0 { Paint::Ink(0.05) } else { Paint::Fixed(ramp(share), 1.0) };
            canvas.rect(x + 1.0, y - cell / 2.0 + 1.0, cell - 2.0, cell - 2.0, tint);
            if n == 0 {
                continue;
            }
            let dark = share > 0.63;
            let ink = |alpha: f64| Paint::Fixed(if dark { [255, 255, 255] } else { [25, 35, 45] }, alpha);
            let percent = percent(share);
            let middle = x + cell / 2.0;
            let size = if cell < 30.0 { 10.0 } else { SMALL };
            if counts {
                canvas.text(middle, y - 7.0, percent, NORMAL, Anchor::Middle, ink(1.0));
                canvas.text(middle, y + 10.0, short(n), 10.0, Anchor::Middle, ink(0.8));
            } else {
                canvas.text(middle, y, percent, size, Anchor::Middle, ink(1.0));
            }
        }
    }
    Ok(Figure { name: "Confusion matrix: true class by predicted class".into(), canvas })
}

/// Percent without decimals; a share that is not zero does not read as zero.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 0.5 {
        "<1".into()
    } else if percent > 99.5 && share < 1.0 {
        ">99".into()
    } else {
        format!("{percent:.0}")
    }
}

/// A count in at most five signs.
fn short(n: u64) -> String {
    match n {
        0..=9_999 => n.to_string(),
        10_000..=999_999 => format!("{:.0}k", n as f64 / 1e3),
        _ => format!("{:.1}M", n as f64 / 1e6),
    }
}

fn ramp(share: f64) -> [u8; 3] {
    let at = share.clamp(0.0, 1.0) * 3.0;
    let (i, part) = ((at as usize).min(2), at - (at as usize).min(2) as f64);
    std::array::from_fn(|c| (RAMP[i][c] + (RAMP[i + 1][c] - RAMP[i][c]) * part).round() as u8)
}
