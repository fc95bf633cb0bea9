//! Hits as a contact sheet: one HTML file with the pictures in it.

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use geoglot_core::atomic;

use crate::Result;
use crate::archive::Archive;
use crate::search::Hit;

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:14px/1.4 system-ui,sans-serif;margin:1.5rem}\
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(180px,1fr));gap:12px}\
figure{margin:0;border:1px solid #8886;border-radius:6px;overflow:hidden}\
img,.none{display:block;width:100%;aspect-ratio:1;object-fit:cover;background:#8882}\
.none{display:grid;place-items:center;color:#888}\
figcaption{padding:6px 8px;overflow-wrap:anywhere}small{color:#888}";

/// A self-contained page: thumbnails, scores, dates, places, sources.
pub fn to_html(archive: &Archive, hits: &[Hit], title: &str) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1><p>{} hits in {} records of the space {}</p>\n<main>\n",
        hits.len(),
        archive.len(),
        escape(&archive.space().to_string())
    );
    for hit in hits {
        let meta = &hit.meta;
        let alt = escape(meta.caption.as_deref().unwrap_or(&meta.source));
        let picture = match archive.thumbnail(hit.row) {
            Some(png) => format!("<img alt=\"{alt}\" src=\"data:image/png;base64,{}\">", STANDARD.encode(png)),
            None => "<div class=\"none\">no picture</div>".into(),
        };
        let mut facts = Vec::new();
        facts.extend(meta.time.map(|t| t.to_string().replace('T', " ")));
        facts.extend(meta.sensor.as_deref().map(escape));
        facts.extend(meta.footprint.as_ref().map(|f| {
            let [lon, lat] = f.bbox().centre();
            format!("<a href=\"geo:{lat:.6},{lon:.6}\">{lat:.4}, {lon:.4}</a>")
        }));
        facts.extend(meta.window.map(|w| format!("pixels {},{} {}×{}", w.col, w.row, w.width, w.height)));
        facts.extend(meta.caption.as_deref().map(escape));
        let (rank, score, source) = (hit.rank, hit.score, escape(&meta.source));
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "<figure>{picture}<figcaption><b>{rank}</b> {score:.4}<br>{}<br><small>{source}</small></figcaption></figure>",
            facts.join("<br>")
        );
    }
    page.push_str("</main></body></html>\n");
    page
}

/// Writes [`to_html`] atomically.
///
/// # Errors
/// [`crate::Error::Core`] naming the file.
pub fn write_html(path: &Path, archive: &Archive, hits: &[Hit], title: &str) -> Result<()> {
    Ok(atomic::write(path, to_html(archive, hits, title).as_bytes())?)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(super::escape("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
