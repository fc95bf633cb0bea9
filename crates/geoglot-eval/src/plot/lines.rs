//! Scores over a setting, such as a merging ratio: lines with intervals.

use super::axis::{Frame, NORMAL, SMALL, range, tick_label};
use super::canvas::{Anchor, Canvas, Figure, Paint, fit, text_width};
use super::series_color;
use crate::error::{Error, Result};
use crate::interval::Interval;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Name in the key.
    pub name: String,
    /// Setting and score (a share, shown in percent).
    pub points: Vec<(f64, Interval)>,
}

/// Lines of scores in percent over the setting `x_name`, with their intervals; `chosen` is marked by an upright line.
///
/// # Errors
/// [`Error::Empty`] without any finite point.
pub fn score_lines(name: &str, x_name: &str, y_name: &str, lines: &[Line], chosen: Option<f64>) -> Result<Figure> {
    let finite = |p: &&(f64, Interval)| p.0.is_finite() && p.1.value.is_finite();
    let all: Vec<(f64, Interval)> = lines.iter().flat_map(|l| l.points.iter().filter(finite)).copied().collect();
    if all.is_empty() {
        return Err(Error::Empty(format!("figure `{name}` has nothing to show")));
    }
    let y = range(all.iter().flat_map(|p| [p.1.low * 100.0, p.1.high * 100.0, p.1.value * 100.0]), 0.06);
    let frame = Frame {
        left: 58.0,
        top: 34.0,
        width: 560.0,
        height: 280.0,
        x: range(all.iter().map(|p| p.0), 0.03),
        y: (y.0.max(0.0), y.1),
    };
    let bottom = frame.top + frame.height;
    let mut canvas = Canvas::new(660.0, bottom + 60.0 + 20.0 * lines.len() as f64);
    canvas.text(frame.left, 14.0, format!("{y_name}, %"), NORMAL, Anchor::Left, Paint::Ink(1.0));
    frame.y_axis(&mut canvas, tick_label(frame.y));
    frame.x_axis(&mut canvas, tick_label(frame.x));
    frame.base(&mut canvas);
    canvas.text(frame.left + frame.width / 2.0, bottom + 34.0, x_name, SMALL, Anchor::Middle, Paint::Ink(0.75));
    if let Some(x) = chosen {
        let x = frame.px(x);
        canvas.line((x, frame.top), (x, bottom), Paint::Ink(0.5), 1.2);
        let (at, anchor) = if x > frame.left + frame.width - text_width("chosen", SMALL) - 8.0 {
            (x - 5.0, Anchor::Right)
        } else {
            (x + 5.0, Anchor::Left)
        };
        canvas.text(at, frame.top + 8.0, "chosen", SMALL, anchor, Paint::Ink(0.75));
    }
    for (k, line) in lines.iter().enumerate() {
        let rgb = series_color(k);
        let points: Vec<&(f64, Interval)> = line.points.iter().filter(finite).collect();
        // Lines of several sets lie beside each other where their settings are the same.
        let shift = 3.0 * (k as f64 - (lines.len() as f64 - 1.0) / 2.0);
        let at = |x: f64, y: f64| (frame.px(x) + shift, frame.py(y * 100.0));
        if points.len() > 1 {
            canvas.path(points.iter().map(|p| at(p.0, p.1.value)).collect(), Paint::Fixed(rgb, 1.0), 1.8);
        }
        for (x, score) in points {
            if score.low < score.high {
                canvas.error_bar(at(*x, score.low), at(*x, score.high), 3.0, Paint::Fixed(rgb, 0.6));
            }
            let (x, y) = at(*x, score.value);
            canvas.circle(x, y, 3.4, Paint::Fixed(rgb, 1.0));
        }
        let y = bottom + 58.0 + 20.0 * k as f64;
        canvas.line((frame.left, y), (frame.left + 20.0, y), Paint::Fixed(rgb, 1.0), 2.5);
        canvas.text(frame.left + 26.0, y, fit(&line.name, SMALL, 540.0), SMALL, Anchor::Left, Paint::Ink(1.0));
    }
    Ok(Figure { name: name.to_owned(), canvas })
}
