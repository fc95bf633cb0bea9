//! Words in pictures.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

use super::{FONT, Image};

/// Where a text stands relative to its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Starts there.
    Left,
    /// Is centred there.
    Center,
    /// Ends there.
    Right,
}

fn font() -> FontRef<'static> {
    FontRef::try_from_slice(FONT).expect("the shipped font is checked by a test")
}

/// Glyphs from x = 0 on a baseline at y = 0, and the width.
fn layout(text: &str, size: f32) -> (Vec<Glyph>, f32) {
    let font = font();
    let scaled = font.as_scaled(PxScale::from(size));
    let (mut x, mut last, mut glyphs) = (0.0, None, Vec::new());
    for c in text.chars().filter(|c| !c.is_control()) {
        let id = font.glyph_id(c);
        if let Some(last) = last {
            x += scaled.kern(last, id);
        }
        glyphs.push(id.with_scale_and_position(size, point(x, 0.0)));
        x += scaled.h_advance(id);
        last = Some(id);
    }
    (glyphs, x)
}

/// Width of a line of text in pixels at a font size in pixels.
pub fn text_width(text: &str, size: f32) -> usize {
    layout(text, size).1.ceil() as usize
}

/// Draws a line of text; `top` is the top of a line of height `size` × 1.2 in which it is centred.
pub fn draw_text(image: &mut Image, text: &str, x: usize, top: usize, size: f32, color: [u8; 3], align: Align) {
    let font = font();
    let scaled = font.as_scaled(PxScale::from(size));
    let (glyphs, width) = layout(text, size);
    let left = match align {
        Align::Left => x as f32,
        Align::Center => x as f32 - width / 2.0,
        Align::Right => x as f32 - width,
    };
    let leading = 1.2 * size - (scaled.ascent() - scaled.descent());
    // Whole pixels keep the baseline sharp.
    let baseline = (top as f32 + leading / 2.0 + scaled.ascent()).round();
    let [r, g, b] = color;
    for mut glyph in glyphs {
        glyph.position = point(glyph.position.x + left, baseline);
        let Some(outlined) = font.outline_glyph(glyph) else { continue };
        let bounds = outlined.px_bounds();
        outlined.draw(|dx, dy, cover| {
            let (c, r_) = (bounds.min.x + dx as f32, bounds.min.y + dy as f32);
            if c >= 0.0 && r_ >= 0.0 {
                image.blend(c as usize, r_ as usize, [r, g, b, 255], cover);
            }
        });
    }
}

/// The text, cut with an ellipsis to fit into `width` pixels.
pub(super) fn fitted(text: &str, size: f32, width: usize) -> String {
    if text_width(text, size) <= width {
        return text.into();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let cut: String = kept.iter().collect::<String>().trim_end().to_owned() + "…";
        if text_width(&cut, size) <= width {
            return cut;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_the_signs_we_write() {
        let font = font();
        for c in "AZaz09 %.,:;-–—×µ²°…äöüßéñØŁ→≥±".chars() {
            assert_ne!(font.glyph_id(c).0, 0, "{c}");
        }
    }

    #[test]
    fn text_leaves_ink_where_it_should() {
        let mut image = Image::new(200, 30, [255; 4]);
        draw_text(&mut image, "Wälder 12.5 %", 100, 2, 18.0, [0; 3], Align::Center);
        let ink = |cols: std::ops::Range<usize>| {
            cols.flat_map(|c| (0..30).map(move |r| (c, r))).filter(|&(c, r)| image.get(c, r)[0] < 128).count()
        };
        let width = text_width("Wälder 12.5 %", 18.0);
        assert!(ink(100 - width / 2 - 2..100 + width / 2 + 2) > 100);
        assert_eq!(ink(0..100 - width / 2 - 2) + ink(100 + width / 2 + 2..200), 0);
    }

    #[test]
    fn long_names_are_cut() {
        let cut = fitted("non-residential buildings of many kinds", 14.0, 120);
        assert!(cut.ends_with('…') && text_width(&cut, 14.0) <= 120);
        assert_eq!(fitted("anything", 14.0, 3), "");
    }
}
