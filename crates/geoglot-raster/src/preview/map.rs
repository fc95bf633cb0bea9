//! Class maps with legends, heat maps with colour bars.

use geoglot_core::Legend;
use ndarray::Array2;

use super::Image;
use super::color::{stretch_limits, unit, viridis};
use super::text::{Align, draw_text, fitted, text_width};

/// Pictures smaller than this are enlarged before text is set beside them.
pub(super) const READABLE: usize = 480;
pub(super) const INK: [u8; 3] = [33, 37, 41];
pub(super) const FAINT: [u8; 3] = [108, 117, 125];
pub(super) const FRAME: [u8; 4] = [173, 181, 189, 255];
/// Colour of ids that the legend does not know.
const UNKNOWN: [u8; 3] = [255, 0, 255];
/// Ground on which transparent pixels are seen in composed pictures.
pub(super) const GROUND: [u8; 3] = [241, 243, 245];

/// One line of a legend.
#[derive(Debug, Clone, PartialEq)]
pub struct LegendEntry {
    /// Class name.
    pub name: String,
    /// Colour.
    pub color: [u8; 3],
    /// Share of the labelled pixels, 0–1; `None` prints none.
    pub share: Option<f64>,
}

/// A class map, one pixel a label: class colours; unlabelled pixels are transparent, ids that the legend does not know magenta.
/// For a smaller picture thin the labels (`labels.slice(s![..;4, ..;4])`): averaging pixels would mix class colours.
pub fn class_map(labels: &Array2<u16>, legend: &Legend) -> Image {
    // A table by id: maps have millions of pixels and few classes.
    let mut colors = vec![UNKNOWN; usize::from(u16::MAX) + 1];
    for (index, class) in legend.classes.iter().enumerate() {
        colors[usize::from(class.id)] = legend.color(index);
    }
    let (height, width) = labels.dim();
    Image::from_fn(width, height, |c, r| {
        let id = labels[[r, c]];
        if id == legend.unlabelled {
            return [0; 4];
        }
        let [r, g, b] = colors[usize::from(id)];
        [r, g, b, 255]
    })
}

/// The legend of a class map: every class with its share of the labelled pixels, and `unknown id` where there are any.
pub fn legend_entries(labels: &Array2<u16>, legend: &Legend) -> Vec<LegendEntry> {
    let mut counts = vec![0u64; usize::from(u16::MAX) + 1];
    for &id in labels {
        counts[usize::from(id)] += 1;
    }
    let labelled = labels.len() as u64 - counts[usize::from(legend.unlabelled)];
    let share = |n: u64| Some(if labelled == 0 { 0.0 } else { n as f64 / labelled as f64 });
    let mut known = 0;
    let mut entries: Vec<LegendEntry> = legend
        .classes
        .iter()
        .enumerate()
        .map(|(index, class)| {
            let n = counts[usize::from(class.id)];
            known += n;
            LegendEntry { name: class.name.clone(), color: legend.color(index), share: share(n) }
        })
        .collect();
    if known < labelled {
        entries.push(LegendEntry { name: "unknown id".into(), color: UNKNOWN, share: share(labelled - known) });
    }
    entries
}

/// Font size that reads well beside a picture of this height.
pub(super) fn font_size(height: usize) -> f32 {
    (height as f32 / 34.0).clamp(14.0, 30.0).round()
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".into(),
        p if p < 0.1 => "<0.1 %".into(),
        p => format!("{p:.1} %"),
    }
}

/// The picture, enlarged if small, on a light ground, with a legend to its right: colour, name, share. Long legends take several columns.
pub fn with_legend(image: &Image, entries: &[LegendEntry]) -> Image {
    let map = image.at_least(READABLE).over(GROUND);
    let size = font_size(map.height());
    let line = (size * 1.65).round() as usize;
    let (swatch, gap) = ((size * 1.05).round() as usize, (size * 0.6).round() as usize);
    let rows = (map.height() / line).max(6).min(entries.len().max(1));
    let columns: Vec<&[LegendEntry]> = entries.chunks(rows).collect();
    let widest = (size * 17.0) as usize;
    struct Column {
        names: Vec<String>,
        name_width: usize,
        share_width: usize,
    }
    let layout: Vec<Column> = columns
        .iter()
        .map(|column| {
            let names: Vec<String> = column.iter().map(|e| fitted(&e.name, size, widest)).collect();
            let name_width = names.iter().map(|n| text_width(n, size)).max().unwrap_or(0);
            let share_width =
                column.iter().filter_map(|e| e.share).map(|s| text_width(&percent(s), size)).max().unwrap_or(0);
            Column { names, name_width, share_width }
        })
        .collect();
    let margin = (size * 1.2).round() as usize;
    let width_of =
        |c: &Column| swatch + gap + c.name_width + if c.share_width > 0 { 2 * gap + c.share_width } else { 0 };
    let legend_width: usize = layout.iter().map(|c| width_of(c) + margin).sum();
    let height = map.height().max(rows * line + gap);
    let mut out = Image::new(map.width() + margin + legend_width, height, [255; 4]);
    out.place(&map, 0, 0);
    out.outline(0, 0, map.width(), map.height(), FRAME);
    let mut left = map.width() + margin;
    for (column, entries) in layout.iter().zip(&columns) {
        for (k, (entry, name)) in entries.iter().zip(&column.names).enumerate() {
            let top = k * line;
            let [r, g, b] = entry.color;
            let text_top = top + (line as f32 - 1.2 * size).max(0.0) as usize / 2;
            let box_top = top + (line - swatch.min(line)) / 2;
            out.fill(left, box_top, swatch, swatch, [r, g, b, 255]);
            out.outline(left, box_top, swatch, swatch, [0, 0, 0, 90]);
            // Classes that do not occur stand back.
            let ink = if entry.share == Some(0.0) { FAINT } else { INK };
            draw_text(&mut out, name, left + swatch + gap, text_top, size, ink, Align::Left);
            if let Some(share) = entry.share {
                let right = left + width_of(column);
                draw_text(&mut out, &percent(share), right, text_top, size, FAINT, Align::Right);
            }
        }
        left += width_of(column) + margin;
    }
    out
}

/// A map of numbers in viridis, one pixel a number; not-finite numbers are transparent. Limits default to the 2nd and 98th percentile.
/// Returns the limits for the colour bar.
pub fn heat_map(values: &Array2<f32>, limits: Option<(f32, f32)>) -> (Image, (f32, f32)) {
    let limits = limits.or_else(|| stretch_limits(values.iter().copied(), 2.0, 98.0)).unwrap_or((0.0, 1.0));
    let (height, width) = values.dim();
    let image = Image::from_fn(width, height, |c, r| {
        let v = values[[r, c]];
        if !v.is_finite() {
            return [0; 4];
        }
        let [red, green, blue] = viridis(unit(v, limits));
        [red, green, blue, 255]
    });
    (image, limits)
}

/// Round numbers between two limits, five or so.
fn ticks((low, high): (f32, f32)) -> Vec<f64> {
    let (low, high) = (f64::from(low), f64::from(high));
    let rough = (high - low) / 5.0;
    if !(rough.is_finite() && rough > 0.0) {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|f| f * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    // Limits far larger than their distance can make neighbouring steps equal; never more than a handful.
    (first..=last.min(first.saturating_add(12))).map(|k| k as f64 * step).collect()
}

fn tick_label(v: f64, span: f64) -> String {
    if v == 0.0 {
        return "0".into();
    }
    if v.abs() >= 1e6 || v.abs() < 1e-4 {
        return format!("{v:.1e}");
    }
    let digits = (2.0 - span.log10()).ceil().clamp(0.0, 6.0) as usize;
    let text = format!("{v:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// The picture, enlarged if small, with a viridis bar to its right, ticks between the limits, and a label under the picture's top.
pub fn with_color_bar(image: &Image, limits: (f32, f32), label: &str) -> Image {
    let map = image.at_least(READABLE).over(GROUND);
    let size = font_size(map.height());
    let margin = (size * 1.2).round() as usize;
    let line = (size * 1.65).round() as usize;
    let bar = (size * 1.3).round() as usize;
    let span = f64::from(limits.1) - f64::from(limits.0);
    let ticks: Vec<(f64, String)> = ticks(limits).into_iter().map(|t| (t, tick_label(t, span))).collect();
    let label = fitted(label, size, (size * 14.0) as usize);
    let tick_width = ticks.iter().map(|(_, t)| text_width(t, size)).max().unwrap_or(0);
    let beside = (bar + margin / 2 + tick_width).max(text_width(&label, size));
    let mut out = Image::new(map.width() + 2 * margin + beside, map.height(), [255; 4]);
    out.place(&map, 0, 0);
    out.outline(0, 0, map.width(), map.height(), FRAME);
    let left = map.width() + margin;
    let half = (0.6 * size) as usize;
    let top = if label.is_empty() { half } else { line + half };
    if !label.is_empty() {
        draw_text(&mut out, &label, left, 0, size, INK, Align::Left);
    }
    let height = map.height().saturating_sub(top + half).max(2);
    for r in 0..height {
        let [red, green, blue] = viridis(1.0 - r as f32 / (height - 1) as f32);
        out.fill(left, top + r, bar, 1, [red, green, blue, 255]);
    }
    out.outline(left, top, bar, height, [0, 0, 0, 90]);
    for (value, text) in &ticks {
        let place = ((value - f64::from(limits.0)) / span).clamp(0.0, 1.0);
        let y = top + ((1.0 - place) * (height - 1) as f64).round() as usize;
        out.fill(left + bar, y, margin / 4, 1, [33, 37, 41, 255]);
        draw_text(&mut out, text, left + bar + margin / 2, y.saturating_sub(half), size, INK, Align::Left);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_get_their_colours_and_shares() {
        let legend = Legend::from_names(["water", "trees"]).unwrap();
        let labels = ndarray::array![[1u16, 1, 2], [0, 9, 1]];
        let map = class_map(&labels, &legend);
        let [r, g, b] = legend.color(0);
        assert_eq!(map.get(0, 0), [r, g, b, 255]);
        assert_eq!(map.get(0, 1), [0; 4]);
        let entries = legend_entries(&labels, &legend);
        assert_eq!(entries.iter().map(|e| e.share.unwrap()).collect::<Vec<_>>(), [0.6, 0.2, 0.2]);
        assert_eq!(entries[2].name, "unknown id");
    }

    #[test]
    fn a_legend_of_many_classes_takes_columns() {
        let names: Vec<String> = (1..=60).map(|k| format!("class number {k}")).collect();
        let legend = Legend::from_names(names).unwrap();
        let labels = Array2::from_shape_fn((100, 150), |(r, c)| ((r * 150 + c) % 60 + 1) as u16);
        let few = with_legend(&class_map(&labels, &legend), &legend_entries(&labels, &legend)[..3]);
        let many = with_legend(&class_map(&labels, &legend), &legend_entries(&labels, &legend));
        assert!(
            many.width() > few.width() + 300 && many.height() == few.height(),
            "{}×{}",
            many.width(),
            many.height()
        );
        // The picture itself is unchanged by its legend.
        assert!((0..400).all(|c| many.get(c, 200) == few.get(c, 200)));
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 1.0)), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        for limits in [(-3.0, 1e6), (0.1, 0.1001), (5.0, 5.0), (f32::MIN, f32::MAX), (1e-20, 2e-20)] {
            let ticks = ticks(limits);
            assert!(!ticks.is_empty() && ticks.len() <= 13, "{limits:?}: {ticks:?}");
        }
        assert_eq!((tick_label(0.6000000000000001, 1.0), tick_label(1500.0, 3000.0)), ("0.6".into(), "1500".into()));
    }

    #[test]
    fn pictures_of_one_pixel_and_of_nothing_finite() {
        let (image, limits) = heat_map(&ndarray::array![[f32::NAN]], None);
        assert_eq!((image.get(0, 0), limits), ([0; 4], (0.0, 1.0)));
        assert!(with_color_bar(&image, limits, "confidence").height() >= READABLE);
        assert!(with_legend(&image, &[]).height() >= READABLE);
    }
}
