//! Axes: ranges, ticks, grid lines.

use super::canvas::{Anchor, Canvas, Paint};

/// A plot area and the ranges its sides stand for.
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
}

/// Size of tick labels.
pub(super) const SMALL: f64 = 12.0;
/// Size of titles and axis names.
pub(super) const NORMAL: f64 = 13.0;

impl Frame {
    pub(super) fn px(&self, x: f64) -> f64 {
        self.left + (x - self.x.0) / (self.x.1 - self.x.0) * self.width
    }

    pub(super) fn py(&self, y: f64) -> f64 {
        self.top + self.height - (y - self.y.0) / (self.y.1 - self.y.0) * self.height
    }

    /// Horizontal grid lines with labels on the left.
    pub(super) fn y_axis(&self, canvas: &mut Canvas, label: impl Fn(f64) -> String) {
        for tick in ticks(self.y, (self.height / 45.0) as usize) {
            let y = self.py(tick);
            canvas.line((self.left, y), (self.left + self.width, y), Paint::Ink(0.14), 1.0);
            canvas.text(self.left - 8.0, y, label(tick), SMALL, Anchor::Right, Paint::Ink(0.75));
        }
    }

    /// Vertical grid lines with labels below.
    pub(super) fn x_axis(&self, canvas: &mut Canvas, label: impl Fn(f64) -> String) {
        let bottom = self.top + self.height;
        for tick in ticks(self.x, (self.width / 70.0) as usize) {
            let x = self.px(tick);
            canvas.line((x, self.top), (x, bottom), Paint::Ink(0.14), 1.0);
            canvas.text(x, bottom + 14.0, label(tick), SMALL, Anchor::Middle, Paint::Ink(0.75));
        }
    }

    /// The bottom line.
    pub(super) fn base(&self, canvas: &mut Canvas) {
        let y = self.top + self.height;
        canvas.line((self.left, y), (self.left + self.width, y), Paint::Ink(0.6), 1.2);
    }
}

/// About `count` round numbers inside `range`.
pub(super) fn ticks(range: (f64, f64), count: usize) -> Vec<f64> {
    let span = range.1 - range.0;
    if !(span.is_finite() && span > 0.0) {
        return vec![range.0];
    }
    let rough = span / count.max(2) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough * 0.8).unwrap_or(power);
    let (first, last) = ((range.0 / step - 1e-6).ceil() as i64, (range.1 / step + 1e-6).floor() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A number with as many digits as ticks over `range` need.
pub(super) fn tick_label(range: (f64, f64)) -> impl Fn(f64) -> String {
    let step = ((range.1 - range.0) / 6.0).max(1e-12);
    let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    move |v| {
        let text = format!("{v:.digits$}");
        if text.starts_with('-') && text[1..].chars().all(|c| matches!(c, '0' | '.')) { text[1..].into() } else { text }
    }
}

/// The range of `values` with a margin on both sides; (0, 1) without values.
pub(super) fn range(values: impl IntoIterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (low, high) = values
        .into_iter()
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let span = if high > low { high - low } else { low.abs().max(1.0) * 0.1 };
    (low - span * margin, high + span * margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 100.0), 5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks((71.3, 79.0), 4), [72.0, 74.0, 76.0, 78.0]);
        assert_eq!(ticks((3.0, 3.0), 4), [3.0]);
        assert_eq!(tick_label((0.0, 1.0))(0.25), "0.2");
        assert_eq!(tick_label((-1.0, 1.0))(-0.0001), "0.0");
        let (low, high) = range([1.0, f64::NAN, 3.0], 0.5);
        assert_eq!((low, high), (0.0, 4.0));
        assert!(range([5.0], 0.1).0 < range([5.0], 0.1).1);
    }
}
