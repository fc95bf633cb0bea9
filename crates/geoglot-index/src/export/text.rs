//! Hits as a table for the terminal.

use crate::search::Hit;

/// A text table: rank, score, date, sensor, centre (latitude, longitude), source and window.
pub fn to_table(hits: &[Hit]) -> String {
    let head = ["rank", "score", "date", "sensor", "lat, lon", "source"].map(str::to_owned);
    let mut rows = vec![head];
    for hit in hits {
        let meta = &hit.meta;
        let place = meta.footprint.as_ref().map(|f| {
            let [lon, lat] = f.bbox().centre();
            format!("{lat:.4}, {lon:.4}")
        });
        let window =
            meta.window.map_or_else(String::new, |w| format!(" [{},{} {}×{}]", w.col, w.row, w.width, w.height));
        rows.push([
            hit.rank.to_string(),
            format!("{:.4}", hit.score),
            meta.time.map_or_else(|| "-".into(), |t| t.to_string().chars().take(10).collect()),
            meta.sensor.clone().unwrap_or_else(|| "-".into()),
            place.unwrap_or_else(|| "-".into()),
            format!("{}{window}", meta.source),
        ]);
    }
    let widths: Vec<usize> = (0..5).map(|c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        // Control characters in a path would disturb the terminal.
        text.extend(row[5].chars().map(|c| if c.is_control() { '?' } else { c }));
        text.push('\n');
    }
    text
}
