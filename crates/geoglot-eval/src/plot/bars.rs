//! Bars and dots with intervals: methods beside each other, classes, ablations.

use geoglot_core::Legend;

use super::axis::{Frame, NORMAL, SMALL, range, tick_label};
use super::canvas::{Anchor, Canvas, Figure, Paint, fit, text_width};
use super::series_color;
use crate::error::{Error, Result, same_length};
use crate::interval::Interval;

/// One method or measure: a value with bounds for every group; `None` where undefined.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the key.
    pub name: String,
    /// One entry a group.
    pub values: Vec<Option<Interval>>,
}

/// Vertical bars from zero with error bars and values, grouped: groups are measures, series are methods. Values are percent.
///
/// # Errors
/// [`Error::Empty`] or [`Error::Length`].
pub fn grouped_bars(name: &str, groups: &[String], series: &[Series]) -> Result<Figure> {
    grouped(name, groups, series, true)
}

/// Dots with error bars on an axis that fits the values, grouped: for variants that differ by little. Values are percent.
///
/// # Errors
/// [`Error::Empty`] or [`Error::Length`].
pub fn grouped_dots(name: &str, groups: &[String], series: &[Series]) -> Result<Figure> {
    grouped(name, groups, series, false)
}

fn check(name: &str, groups: usize, series: &[Series]) -> Result<()> {
    if groups == 0 || series.is_empty() {
        return Err(Error::Empty(format!("figure `{name}` has nothing to show")));
    }
    series.iter().try_for_each(|s| same_length(&format!("values of `{}`", s.name), groups, s.values.len()))
}

fn percent(i: &Interval) -> Interval {
    Interval { value: i.value * 100.0, low: i.low * 100.0, high: i.high * 100.0 }
}

fn grouped(name: &str, groups: &[String], series: &[Series], bars: bool) -> Result<Figure> {
    check(name, groups.len(), series)?;
    let all: Vec<Interval> = series.iter().flat_map(|s| &s.values).flatten().map(percent).collect();
    let limits = range(all.iter().flat_map(|i| [i.low, i.high]), if bars { 0.0 } else { 0.12 });
    let y = if bars {
        let high = (limits.1 / 10.0).ceil() * 10.0;
        ((limits.0 / 10.0).floor().min(0.0) * 10.0, high.max(10.0) + if high > 95.0 { 4.0 } else { 0.0 })
    } else {
        limits
    };
    // Wide enough for the value above each bar.
    let slot = if bars { 46.0f64 } else { 40.0 };
    let label = groups.iter().map(|g| text_width(g, NORMAL)).fold(0.0, f64::max).min(170.0) + 22.0;
    let group = (slot * series.len() as f64 + 34.0).max(label);
    let (left, key) = (56.0, key_rows(series, 560.0));
    let width = (group * groups.len() as f64).max(300.0);
    let group = width / groups.len() as f64;
    let top = 18.0 + 20.0 * key.len() as f64;
    let frame = Frame { left, top, width, height: 250.0, x: (0.0, 1.0), y };
    let mut canvas = Canvas::new((left + width + 16.0).max(600.0), top + 250.0 + 36.0);
    draw_key(&mut canvas, &key, left);
    frame.y_axis(&mut canvas, tick_label(y));
    let zero = frame.py(y.0.max(0.0));
    for (g, title) in groups.iter().enumerate() {
        let middle = left + (g as f64 + 0.5) * group;
        let text = fit(title, NORMAL, group - 8.0);
        canvas.text(middle, top + 250.0 + 18.0, text, NORMAL, Anchor::Middle, Paint::Ink(1.0));
        for (k, s) in series.iter().enumerate() {
            let x = middle + (k as f64 - (series.len() - 1) as f64 / 2.0) * slot;
            let Some(i) = s.values[g].as_ref().map(percent) else {
                canvas.text(x, zero - 10.0, "–", SMALL, Anchor::Middle, Paint::Ink(0.6));
                continue;
            };
            let (value, low, high) = (frame.py(i.value), frame.py(i.low), frame.py(i.high));
            let color = Paint::Fixed(series_color(k), 1.0);
            if bars {
                canvas.rect(x - slot * 0.42, value.min(zero), slot * 0.84, (zero - value).abs(), color);
            }
            if i.high > i.low {
                canvas.error_bar((x, low), (x, high), 5.0, if bars { Paint::Ink(0.85) } else { color });
            }
            if !bars {
                canvas.circle(x, value, 5.0, color);
            }
            let above = high.min(value) - 10.0;
            canvas.text(x, above, format!("{:.1}", i.value), SMALL, Anchor::Middle, Paint::Ink(1.0));
        }
    }
    canvas.line((left, zero), (left + width, zero), Paint::Ink(0.6), 1.2);
    Ok(Figure { name: name.into(), canvas })
}

/// One row a class with a dot and interval for every series; values are percent, `what` names them, such as `producer's accuracy`.
///
/// # Errors
/// [`Error::Empty`] or [`Error::Length`].
pub fn class_dots(what: &str, legend: &Legend, series: &[Series]) -> Result<Figure> {
    check(what, legend.len(), series)?;
    let names = legend.names();
    let widest = names.iter().map(|n| text_width(n, NORMAL)).fold(0.0, f64::max).min(200.0);
    let (left, key) = (widest + 46.0, key_rows(series, 640.0));
    let row = 14.0 * series.len() as f64 + 12.0;
    let top = 12.0 + 20.0 * key.len() as f64;
    let height = row * legend.len() as f64;
    let frame = Frame { left, top, width: 520.0, height, x: (0.0, 100.0), y: (0.0, 1.0) };
    let mut canvas = Canvas::new(left + 520.0 + 24.0, top + height + 50.0);
    draw_key(&mut canvas, &key, 12.0);
    for k in (0..legend.len()).filter(|k| k % 2 == 1) {
        canvas.rect(8.0, top + k as f64 * row, left + 520.0 - 8.0, row, Paint::Ink(0.05));
    }
    frame.x_axis(&mut canvas, |v| format!("{v:.0}"));
    canvas.text(left + 260.0, top + height + 34.0, format!("{what}, %"), SMALL, Anchor::Middle, Paint::Ink(0.75));
    for k in 0..legend.len() {
        let middle = top + (k as f64 + 0.5) * row;
        canvas.rect(left - 22.0, middle - 6.0, 12.0, 12.0, Paint::Fixed(legend.color(k), 1.0));
        canvas.text(left - 30.0, middle, fit(&names[k], NORMAL, widest), NORMAL, Anchor::Right, Paint::Ink(1.0));
        for (s, one) in series.iter().enumerate() {
            let y = middle + (s as f64 - (series.len() - 1) as f64 / 2.0) * 14.0;
            let color = Paint::Fixed(series_color(s), 1.0);
            let Some(i) = one.values[k].as_ref().map(percent) else { continue };
            if i.high > i.low {
                canvas.error_bar((frame.px(i.low), y), (frame.px(i.high), y), 3.0, color);
            }
            canvas.circle(frame.px(i.value), y, 4.5, color);
        }
    }
    Ok(Figure { name: format!("{what} of each class"), canvas })
}

/// Key entries (series, name, x offset) in rows at most `width` wide.
fn key_rows(series: &[Series], width: f64) -> Vec<Vec<(usize, String, f64)>> {
    let mut rows: Vec<Vec<(usize, String, f64)>> = vec![Vec::new()];
    let mut x = 0.0;
    for (k, s) in series.iter().enumerate() {
        let name = fit(&s.name, SMALL, 260.0);
        let wide = text_width(&name, SMALL) + 38.0;
        if x + wide > width && x > 0.0 {
            rows.push(Vec::new());
            x = 0.0;
        }
        if let Some(row) = rows.last_mut() {
            row.push((k, name, x));
        }
        x += wide;
    }
    rows
}

fn draw_key(canvas: &mut Canvas, rows: &[Vec<(usize, String, f64)>], left: f64) {
    for (r, row) in rows.iter().enumerate() {
        let y = 12.0 + 20.0 * r as f64;
        for (k, name, x) in row {
            canvas.circle(left + x + 6.0, y, 5.0, Paint::Fixed(series_color(*k), 1.0));
            canvas.text(left + x + 17.0, y, name, SMALL, Anchor::Left, Paint::Ink(1.0));
        }
    }
}
