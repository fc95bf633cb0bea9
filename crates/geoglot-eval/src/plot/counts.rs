//! Counts: a histogram of whole numbers, and words by frequency.

use super::axis::{Frame, NORMAL, SMALL, range};
use super::canvas::{Anchor, Canvas, Figure, Paint, fit, text_width};
use super::series_color;
use crate::error::{Error, Result};

/// A histogram of whole numbers, one bar for each from the smallest to the largest: `counts` holds (number, how often), ascending. `what` names
/// the numbers under the axis. Ranges of more than 120 numbers are drawn with several numbers a bar.
///
/// # Errors
/// [`Error::Empty`] without counts.
pub fn count_histogram(name: &str, what: &str, counts: &[(usize, usize)]) -> Result<Figure> {
    let (Some(first), Some(last)) = (counts.iter().map(|c| c.0).min(), counts.iter().map(|c| c.0).max()) else {
        return Err(Error::Empty(format!("figure `{name}` has nothing to show")));
    };
    let step = (last - first) / 120 + 1;
    let mut bars = vec![0usize; (last - first) / step + 1];
    for (number, count) in counts {
        bars[(number - first) / step] += count;
    }
    let most = bars.iter().copied().max().unwrap_or(0).max(1) as f64;
    let (width, height) = (620.0, 240.0);
    let x = (first as f64 - 0.5, (first + bars.len() * step) as f64 - 0.5);
    let frame = Frame { left: 60.0, top: 16.0, width, height, x, y: (0.0, range([0.0, most], 0.05).1) };
    let mut canvas = Canvas::new(60.0 + width + 20.0, 16.0 + height + 52.0);
    frame.y_axis(&mut canvas, |v| format!("{v:.0}"));
    for (k, count) in bars.iter().enumerate().filter(|(_, n)| **n > 0) {
        let left = frame.px((first + k * step) as f64 - 0.5);
        let wide = step as f64 * width / (x.1 - x.0);
        let top = frame.py(*count as f64);
        canvas.rect(left + 0.06 * wide, top, 0.88 * wide, 16.0 + height - top, Paint::Fixed(series_color(0), 1.0));
    }
    frame.base(&mut canvas);
    // Labels every few bars, at whole numbers.
    let every = (bars.len() / 12 + 1) * step;
    for number in (first..first + bars.len() * step).filter(|n| n.is_multiple_of(every)) {
        let label = number.to_string();
        canvas.text(frame.px(number as f64), 16.0 + height + 14.0, label, SMALL, Anchor::Middle, Paint::Ink(0.75));
    }
    canvas.text(60.0 + width / 2.0, 16.0 + height + 36.0, what, SMALL, Anchor::Middle, Paint::Ink(0.75));
    Ok(Figure { name: name.into(), canvas })
}

/// Words with how often they occur as horizontal bars, in the order given.
///
/// # Errors
/// [`Error::Empty`] without words.
pub fn word_bars(name: &str, words: &[(String, usize)]) -> Result<Figure> {
    let Some(most) = words.iter().map(|w| w.1).max() else {
        return Err(Error::Empty(format!("figure `{name}` has nothing to show")));
    };
    let widest = words.iter().map(|w| text_width(&w.0, NORMAL)).fold(0.0, f64::max).min(180.0);
    let (left, row, width) = (widest + 28.0, 20.0, 460.0);
    let mut canvas = Canvas::new(left + width + 76.0, 12.0 + row * words.len() as f64 + 8.0);
    for (k, (word, count)) in words.iter().enumerate() {
        let middle = 12.0 + (k as f64 + 0.5) * row;
        let wide = width * *count as f64 / most.max(1) as f64;
        canvas.rect(left, middle - 0.36 * row, wide, 0.72 * row, Paint::Fixed(series_color(0), 1.0));
        canvas.text(left - 8.0, middle, fit(word, NORMAL, widest), NORMAL, Anchor::Right, Paint::Ink(1.0));
        canvas.text(left + wide + 8.0, middle, count.to_string(), SMALL, Anchor::Left, Paint::Ink(0.75));
    }
    Ok(Figure { name: name.into(), canvas })
}
