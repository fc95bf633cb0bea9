//! Previews in a terminal.

use std::fmt::Write;

use super::Image;

/// The picture in coloured half blocks (24-bit ANSI colours), at most `columns` wide; transparent pixels stay empty.
pub fn ansi(image: &Image, columns: usize) -> String {
    let small = image.at_most(columns.max(1));
    let mut text = String::new();
    for top in (0..small.height()).step_by(2) {
        for c in 0..small.width() {
            let (a, b) = (small.get(c, top), small.get(c, top + 1));
            // Writing to a String cannot fail.
            let _ = match (a[3] > 127, b[3] > 127) {
                (true, true) => {
                    write!(text, "\x1b[38;2;{};{};{}m\x1b[48;2;{};{};{}m▀\x1b[0m", a[0], a[1], a[2], b[0], b[1], b[2])
                }
                (true, false) => write!(text, "\x1b[38;2;{};{};{}m▀\x1b[0m", a[0], a[1], a[2]),
                (false, true) => write!(text, "\x1b[38;2;{};{};{}m▄\x1b[0m", b[0], b[1], b[2]),
                (false, false) => write!(text, " "),
            };
        }
        text.push('\n');
    }
    text
}

/// The picture in plain characters by brightness, at most `columns` wide; a character stands for twice as many rows as columns.
pub fn ascii(image: &Image, columns: usize) -> String {
    const RAMP: &[u8] = b" .:-=+*#%@";
    let small = image.at_most(columns.max(1));
    let mut text = String::new();
    for top in (0..small.height()).step_by(2) {
        for c in 0..small.width() {
            let light = [small.get(c, top), small.get(c, top + 1)].into_iter().filter(|p| p[3] > 127).map(|p| {
                // Perceived brightness, ITU-R BT.601.
                0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])
            });
            let (sum, n) = light.fold((0.0, 0), |(s, n), v| (s + v, n + 1));
            let level = if n == 0 { 0.0 } else { sum / n as f32 / 255.0 };
            text.push(char::from(RAMP[(level * (RAMP.len() - 1) as f32).round() as usize]));
        }
        let kept = text.trim_end_matches(' ').len();
        text.truncate(kept);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bright_is_dense_and_transparent_is_empty() {
        let image = Image::from_fn(4, 4, |c, _| match c {
            0 => [255; 4],
            1 => [0, 0, 0, 255],
            2 => [128, 128, 128, 255],
            _ => [255, 255, 255, 0],
        });
        assert_eq!(ascii(&image, 80), "@ +\n@ +\n");
        let colored = ansi(&image, 80);
        assert_eq!(colored.lines().count(), 2);
        assert!(colored.starts_with("\x1b[38;2;255;255;255m") && colored.contains("▀\x1b[0m \n"));
        assert!(ascii(&Image::new(300, 200, [255; 4]), 60).lines().all(|l| l.len() <= 60));
    }
}
