//! Pictures side by side under titles.

use super::Image;
use super::map::{FRAME, GROUND, INK, READABLE, font_size};
use super::text::{Align, draw_text, fitted};

/// A row of pictures wider than this continues in the next one.
const WIDEST: usize = 2600;

/// Pictures side by side on white, each under its title, small ones enlarged; rows break where they grow too wide.
pub fn panels(items: &[(&str, Image)]) -> Image {
    let images: Vec<Image> = items.iter().map(|(_, image)| image.at_least(READABLE).over(GROUND)).collect();
    let tallest = images.iter().map(Image::height).max().unwrap_or(0);
    let size = (font_size(tallest) * 1.15).round();
    let (gap, line) = ((size * 1.4) as usize, (size * 1.7) as usize);
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut width = 0;
    for (k, image) in images.iter().enumerate() {
        width += image.width() + gap;
        match rows.last_mut() {
            Some(row) if width <= WIDEST => row.push(k),
            _ => {
                width = image.width() + gap;
                rows.push(vec![k]);
            }
        }
    }
    let row_height = |row: &[usize]| line + row.iter().map(|&k| images[k].height()).max().unwrap_or(0);
    let row_width = |row: &[usize]| row.iter().map(|&k| images[k].width() + gap).sum::<usize>();
    let total_width = gap + rows.iter().map(|r| row_width(r)).max().unwrap_or(0);
    let total_height = gap / 2 + rows.iter().map(|r| row_height(r) + gap).sum::<usize>();
    let mut out = Image::new(total_width.max(1), total_height.max(1), [255; 4]);
    let mut top = gap / 2;
    for row in &rows {
        let mut left = gap;
        for &k in row {
            let title = fitted(items[k].0, size, images[k].width());
            draw_text(&mut out, &title, left, top, size, INK, Align::Left);
            out.place(&images[k], left, top + line);
            // Pictures composed with a legend or bar bring the frame of their map; a plain one gets it here.
            if images[k].get(images[k].width() - 1, 0) != [255; 4] {
                out.outline(left, top + line, images[k].width(), images[k].height(), FRAME);
            }
            left += images[k].width() + gap;
        }
        top += row_height(row) + gap;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_break_and_nothing_panics() {
        let one = Image::new(500, 300, [10, 20, 30, 255]);
        let three = panels(&[("a", one.clone()), ("b", one.clone()), ("c", one.clone())]);
        let eight =
            panels(&vec![
                ("a long title that will surely not fit above a picture of this width, so it is cut", one);
                8
            ]);
        assert!(three.width() > 1500 && eight.width() <= WIDEST + 100 && eight.height() > three.height());
        assert!(panels(&[]).width() >= 1);
    }
}
