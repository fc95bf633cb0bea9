//! Training curves: loss and validation accuracy by epoch.

use serde::{Deserialize, Serialize};

use super::axis::{Frame, NORMAL, SMALL, range, tick_label};
use super::canvas::{Anchor, Canvas, Figure, Paint, fit, text_width};
use super::series_color;
use crate::error::{Error, Result};

/// The history of one training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Name of the run, such as `fold 1`.
    pub name: String,
    /// By epoch.
    pub points: Vec<CurvePoint>,
}

/// One epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Mean training loss.
    pub loss: f64,
    /// Loss on the validation pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// Overall accuracy on the validation pixels, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_oa: Option<f64>,
}

/// Two panels: training loss (validation loss dimmed), and validation OA with the best epoch of each run marked.
///
/// # Errors
/// [`Error::Empty`] without any epoch.
pub fn training_curves(curves: &[Curve]) -> Result<Figure> {
    let epochs = range(curves.iter().flat_map(|c| &c.points).map(|p| p.epoch as f64), 0.0);
    if curves.iter().all(|c| c.points.is_empty()) {
        return Err(Error::Empty("the training curves have no epoch".into()));
    }
    let losses = || curves.iter().flat_map(|c| &c.points).flat_map(|p| [Some(p.loss), p.validation_loss]).flatten();
    let accuracies: Vec<f64> =
        curves.iter().flat_map(|c| &c.points).filter_map(|p| p.validation_oa.map(|v| v * 100.0)).collect();
    let (left, top, width, height) = (58.0, 34.0, if accuracies.is_empty() { 720.0 } else { 310.0 }, 230.0);
    // Legend entries in rows that wrap.
    let (mut x, mut row, mut places) = (left, 0.0, Vec::new());
    let names: Vec<String> = curves.iter().map(|c| fit(&c.name, SMALL, 260.0)).collect();
    for name in &names {
        let wide = text_width(name, SMALL) + 44.0;
        if x + wide > 800.0 && x > left {
            (x, row) = (left, row + 20.0);
        }
        places.push((x, row));
        x += wide;
    }
    let mut canvas = Canvas::new(820.0, top + height + 66.0 + row);
    let loss = Frame { left, top, width, height, x: epochs, y: range(losses(), 0.05) };
    let oa =
        Frame { left: left + width + 74.0, top, width, height, x: epochs, y: range(accuracies.iter().copied(), 0.06) };
    let mut panels = vec![(&loss, "training loss")];
    if losses().count() > curves.iter().map(|c| c.points.len()).sum() {
        panels[0].1 = "loss (training solid, validation pale)";
    }
    if !accuracies.is_empty() {
        panels.push((&oa, "validation OA, %"));
    }
    for (frame, title) in panels {
        canvas.text(frame.left, 14.0, title, NORMAL, Anchor::Left, Paint::Ink(1.0));
        frame.y_axis(&mut canvas, tick_label(frame.y));
        frame.x_axis(&mut canvas, |v| format!("{v:.0}"));
        frame.base(&mut canvas);
        let middle = frame.left + frame.width / 2.0;
        canvas.text(middle, top + height + 32.0, "epoch", SMALL, Anchor::Middle, Paint::Ink(0.75));
    }
    for (k, curve) in curves.iter().enumerate() {
        let rgb = series_color(k);
        let mut line = |frame: &Frame, read: &dyn Fn(&CurvePoint) -> Option<f64>, alpha: f64| {
            let finite = curve.points.iter().filter_map(|p| Some((p.epoch as f64, read(p).filter(|v| v.is_finite())?)));
            let points: Vec<_> = finite.map(|(x, y)| (frame.px(x), frame.py(y))).collect();
            match points[..] {
                [] => {}
                [(x, y)] => canvas.circle(x, y, 3.0, Paint::Fixed(rgb, alpha)),
                _ => canvas.path(points, Paint::Fixed(rgb, alpha), 1.8),
            }
        };
        line(&loss, &|p| p.validation_loss, 0.4);
        line(&loss, &|p| Some(p.loss), 1.0);
        line(&oa, &|p| p.validation_oa.map(|v| v * 100.0), 1.0);
        let scored = curve.points.iter().filter_map(|p| Some((p.epoch, p.validation_oa.filter(|v| v.is_finite())?)));
        // The first of equals: where early stopping would have stopped counting.
        let best =
            scored.fold(None::<(usize, f64)>, |best, p| if best.is_none_or(|b| p.1 > b.1) { Some(p) } else { best });
        if let Some((epoch, value)) = best {
            let (x, y) = (oa.px(epoch as f64), oa.py(value * 100.0));
            canvas.circle(x, y, 5.0, Paint::Paper);
            canvas.circle(x, y, 3.6, Paint::Fixed(rgb, 1.0));
        }
        let (x, row) = places[k];
        let y = top + height + 54.0 + row;
        canvas.line((x, y), (x + 20.0, y), Paint::Fixed(rgb, 1.0), 2.5);
        canvas.text(x + 26.0, y, &names[k], SMALL, Anchor::Left, Paint::Ink(1.0));
    }
    Ok(Figure { name: "Training curves by epoch".into(), canvas })
}
