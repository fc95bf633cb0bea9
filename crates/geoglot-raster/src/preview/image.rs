//! A picture in memory.

use std::path::Path;

use geoglot_core::atomic;

use crate::Result;

/// Pixels of a picture, red, green, blue, opacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 4]>,
}

impl Image {
    /// A picture of one colour.
    pub fn new(width: usize, height: usize, color: [u8; 4]) -> Self {
        Self { width, height, pixels: vec![color; width * height] }
    }

    /// A picture from a function of column and row.
    pub fn from_fn(width: usize, height: usize, mut color: impl FnMut(usize, usize) -> [u8; 4]) -> Self {
        let pixels = (0..width * height).map(|k| color(k % width, k / width)).collect();
        Self { width, height, pixels }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Colour at a column and row; transparent outside.
    pub fn get(&self, col: usize, row: usize) -> [u8; 4] {
        if col < self.width && row < self.height { self.pixels[row * self.width + col] } else { [0; 4] }
    }

    /// Puts a colour over a pixel by its opacity times `cover` (0–1); outside is ignored.
    pub fn blend(&mut self, col: usize, row: usize, color: [u8; 4], cover: f32) {
        if col >= self.width || row >= self.height {
            return;
        }
        let under = &mut self.pixels[row * self.width + col];
        if color[3] == 255 && cover >= 1.0 {
            *under = color;
            return;
        }
        let a = cover.clamp(0.0, 1.0) * f32::from(color[3]) / 255.0;
        let b = f32::from(under[3]) / 255.0 * (1.0 - a);
        let total = a + b;
        if total <= 0.0 {
            return;
        }
        for k in 0..3 {
            under[k] = ((f32::from(color[k]) * a + f32::from(under[k]) * b) / total).round() as u8;
        }
        under[3] = (total * 255.0).round() as u8;
    }

    /// Fills a rectangle, clipped to the picture.
    pub fn fill(&mut self, col: usize, row: usize, width: usize, height: usize, color: [u8; 4]) {
        for r in row..(row + height).min(self.height) {
            for c in col..(col + width).min(self.width) {
                self.blend(c, r, color, 1.0);
            }
        }
    }

    /// Draws the outline of a rectangle, one pixel wide, inside it.
    pub fn outline(&mut self, col: usize, row: usize, width: usize, height: usize, color: [u8; 4]) {
        if width == 0 || height == 0 {
            return;
        }
        self.fill(col, row, width, 1, color);
        self.fill(col, row + height - 1, width, 1, color);
        self.fill(col, row, 1, height, color);
        self.fill(col + width - 1, row, 1, height, color);
    }

    /// Puts another picture over this one, its top-left corner at (`col`, `row`).
    pub fn place(&mut self, other: &Self, col: usize, row: usize) {
        for r in 0..other.height {
            for c in 0..other.width {
                self.blend(col + c, row + r, other.pixels[r * other.width + c], 1.0);
            }
        }
    }

    /// Every pixel as a square of `factor` pixels.
    pub fn enlarged(&self, factor: usize) -> Self {
        let factor = factor.max(1);
        Self::from_fn(self.width * factor, self.height * factor, |c, r| self.get(c / factor, r / factor))
    }

    /// Enlarged by a whole factor so that the longer side has at least `side` pixels: small scenes stay readable, pixels stay square.
    pub fn at_least(&self, side: usize) -> Self {
        let long = self.width.max(self.height).max(1);
        self.enlarged(side.div_ceil(long))
    }

    /// Averaged down by a whole factor so that the longer side has at most `side` pixels.
    pub fn at_most(&self, side: usize) -> Self {
        let factor = self.width.max(self.height).div_ceil(side.max(1)).max(1);
        if factor == 1 {
            return self.clone();
        }
        Self::from_fn(self.width.div_ceil(factor), self.height.div_ceil(factor), |c, r| {
            let (mut sum, mut opacity, mut n) = ([0u32; 3], 0u32, 0u32);
            for y in r * factor..((r + 1) * factor).min(self.height) {
                for x in c * factor..((c + 1) * factor).min(self.width) {
                    let p = self.pixels[y * self.width + x];
                    for k in 0..3 {
                        sum[k] += u32::from(p[k]) * u32::from(p[3]);
                    }
                    opacity += u32::from(p[3]);
                    n += 1;
                }
            }
            let of = |s: u32| s.checked_div(opacity).unwrap_or(0) as u8;
            [of(sum[0]), of(sum[1]), of(sum[2]), opacity.checked_div(n).unwrap_or(0) as u8]
        })
    }

    /// The picture on an opaque background.
    pub fn over(&self, background: [u8; 3]) -> Self {
        let [r, g, b] = background;
        let mut out = Self::new(self.width, self.height, [r, g, b, 255]);
        out.place(self, 0, 0);
        out
    }

    /// The picture with a margin of white around it.
    pub fn padded(&self, margin: usize) -> Self {
        let mut out = Self::new(self.width + 2 * margin, self.height + 2 * margin, [255; 4]);
        out.place(self, margin, margin);
        out
    }

    /// The pixels as PNG bytes.
    pub fn to_png(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes a PNG, atomically.
    ///
    /// # Errors
    /// [`crate::Error::Core`] naming the path; an old file stays.
    pub fn save_png(&self, path: &Path) -> Result<()> {
        Ok(atomic::write_with(path, |file| self.encode(file))?)
    }

    fn encode(&self, to: impl std::io::Write) -> std::io::Result<()> {
        let size = |n: usize| u32::try_from(n).map_err(std::io::Error::other);
        let mut encoder = png::Encoder::new(to, size(self.width)?, size(self.height)?);
        let opaque = self.pixels.iter().all(|p| p[3] == 255);
        encoder.set_color(if opaque { png::ColorType::Rgb } else { png::ColorType::Rgba });
        encoder.set_depth(png::BitDepth::Eight);
        let bytes: Vec<u8> = self.pixels.iter().flat_map(|p| p[..if opaque { 3 } else { 4 }].iter().copied()).collect();
        let mut writer = encoder.write_header().map_err(std::io::Error::other)?;
        writer.write_image_data(&bytes).map_err(std::io::Error::other)?;
        writer.finish().map_err(std::io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_outside_is_ignored() {
        let mut image = Image::new(3, 2, [255; 4]);
        image.fill(2, 1, 9, 9, [0, 0, 0, 255]);
        image.outline(0, 0, 3, 2, [9, 9, 9, 255]);
        image.place(&Image::new(5, 5, [1, 2, 3, 255]), 2, 1);
        assert_eq!(image.get(2, 1), [1, 2, 3, 255]);
        assert_eq!(image.get(7, 7), [0; 4]);
    }

    #[test]
    fn sizes_change_by_whole_factors() {
        let image = Image::from_fn(3, 2, |c, r| [c as u8, r as u8, 0, 255]);
        let large = image.at_least(10);
        assert_eq!((large.width(), large.height()), (12, 8));
        assert_eq!(large.get(11, 7), [2, 1, 0, 255]);
        assert_eq!(large.at_most(3), image);
    }

    #[test]
    fn averaging_ignores_transparent_pixels() {
        let image = Image::from_fn(2, 1, |c, _| if c == 0 { [100, 0, 0, 255] } else { [0; 4] });
        assert_eq!(image.at_most(1).get(0, 0), [100, 0, 0, 127]);
    }

    #[test]
    fn a_png_survives_the_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let image = Image::from_fn(4, 3, |c, r| [c as u8 * 9, r as u8 * 7, 5, if c == 1 { 0 } else { 255 }]);
        image.save_png(&path).unwrap();
        let mut reader =
            png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).read_info().unwrap();
        let mut bytes = vec![0; 48];
        reader.next_frame(&mut bytes).unwrap();
        assert_eq!(bytes, image.pixels.concat());
        assert!(image.save_png(&path.join("under-a-file.png")).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
