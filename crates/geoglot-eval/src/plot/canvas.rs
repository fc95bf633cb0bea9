//! A list of drawing operations that both SVG and PNG are made from.

use std::sync::Once;

use geoglot_core::atomic;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};

/// A colour of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Paint {
    /// Text and axes: dark on paper, and the page's text colour where a figure is embedded. With an opacity.
    Ink(f64),
    /// The background.
    Paper,
    /// A fixed colour with an opacity.
    Fixed([u8; 3], f64),
}

/// The stand-ins of [`Paint::Ink`] and [`Paint::Paper`] in a drawn SVG; no palette holds them.
const INK: [u8; 3] = [31, 35, 41];
const PAPER: [u8; 3] = [255, 255, 254];

/// Where a text's anchor lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Anchor {
    Left,
    Middle,
    Right,
}

enum Op {
    Fill { points: Vec<(f64, f64)>, paint: Paint },
    Rect { x: f64, y: f64, w: f64, h: f64, paint: Paint },
    Path { points: Vec<(f64, f64)>, paint: Paint, width: f64 },
    Circle { x: f64, y: f64, r: f64, paint: Paint },
    Text { x: f64, y: f64, text: String, size: f64, anchor: Anchor, paint: Paint, upright: bool },
}

/// Operations in a coordinate system of one unit a CSS pixel, origin at the top left.
pub(super) struct Canvas {
    width: f64,
    height: f64,
    ops: Vec<Op>,
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, ops: Vec::new() }
    }

    pub(super) fn rect(&mut self, x: f64, y: f64, w: f64, h: f64, paint: Paint) {
        self.ops.push(Op::Rect { x, y, w, h, paint });
    }

    pub(super) fn fill(&mut self, points: Vec<(f64, f64)>, paint: Paint) {
        self.ops.push(Op::Fill { points, paint });
    }

    pub(super) fn path(&mut self, points: Vec<(f64, f64)>, paint: Paint, width: f64) {
        self.ops.push(Op::Path { points, paint, width });
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), paint: Paint, width: f64) {
        self.path(vec![from, to], paint, width);
    }

    pub(super) fn circle(&mut self, x: f64, y: f64, r: f64, paint: Paint) {
        self.ops.push(Op::Circle { x, y, r, paint });
    }

    /// Text centred on the height `y`.
    pub(super) fn text(&mut self, x: f64, y: f64, text: impl Into<String>, size: f64, anchor: Anchor, paint: Paint) {
        self.ops.push(Op::Text { x, y, text: text.into(), size, anchor, paint, upright: false });
    }

    /// Text that runs upwards, centred on `x`; the anchor counts along the text.
    pub(super) fn upright(&mut self, x: f64, y: f64, text: impl Into<String>, size: f64, anchor: Anchor, paint: Paint) {
        self.ops.push(Op::Text { x, y, text: text.into(), size, anchor, paint, upright: true });
    }

    /// A vertical or horizontal bar with caps between `low` and `high`.
    pub(super) fn error_bar(&mut self, low: (f64, f64), high: (f64, f64), cap: f64, paint: Paint) {
        let (dx, dy) = if low.0 == high.0 { (cap, 0.0) } else { (0.0, cap) };
        self.line(low, high, paint, 1.4);
        for end in [low, high] {
            self.line((end.0 - dx, end.1 - dy), (end.0 + dx, end.1 + dy), paint, 1.4);
        }
    }

    /// `drop` is added to the middle of texts, in ems: bitmap and vector texts sit at different heights.
    fn draw<DB: DrawingBackend>(&self, backend: DB, scale: f64, drop: f64) -> std::result::Result<(), String> {
        let area = backend.into_drawing_area();
        let px = |v: f64| (v * scale).round() as i32;
        let at = |p: &(f64, f64)| (px(p.0), px(p.1));
        let color = |paint: &Paint| {
            let ([r, g, b], alpha) = match *paint {
                Paint::Ink(alpha) => (INK, alpha),
                Paint::Paper => (PAPER, 1.0),
                Paint::Fixed(rgb, alpha) => (rgb, alpha),
            };
            RGBAColor(r, g, b, alpha)
        };
        for op in &self.ops {
            match op {
                Op::Fill { points, paint } => {
                    area.draw(&Polygon::new(points.iter().map(at).collect::<Vec<_>>(), color(paint)))
                }
                Op::Rect { x, y, w, h, paint } => {
                    area.draw(&Rectangle::new([at(&(*x, *y)), at(&(x + w, y + h))], color(paint).filled()))
                }
                Op::Path { points, paint, width } => {
                    let style = color(paint).stroke_width((width * scale).round().max(1.0) as u32);
                    area.draw(&PathElement::new(points.iter().map(at).collect::<Vec<_>>(), style))
                }
                Op::Circle { x, y, r, paint } => {
                    area.draw(&Circle::new(at(&(*x, *y)), px(*r).max(1), color(paint).filled()))
                }
                Op::Text { x, y, text, size, anchor, paint, upright } => {
                    let h = match anchor {
                        Anchor::Left => HPos::Left,
                        Anchor::Middle => HPos::Center,
                        Anchor::Right => HPos::Right,
                    };
                    let ink = color(paint);
                    let font = ("sans-serif", LINE * size * scale).into_font();
                    let font = if *upright { font.transform(FontTransform::Rotate270) } else { font };
                    let style = TextStyle::from(font).color(&ink).pos(Pos::new(h, VPos::Center));
                    let (x, y) = if *upright { (x + drop * size, *y) } else { (*x, y + drop * size) };
                    area.draw(&Text::new(text.as_str(), at(&(x, y)), style))
                }
            }
            .map_err(|e| e.to_string())?;
        }
        area.present().map_err(|e| e.to_string())
    }
}

/// The drawing library's font sizes are line heights: this many times the size of an em.
const LINE: f64 = 1.24;

/// Makes the shipped font known to the drawing library.
fn font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A font that does not parse shows as an error of the first text drawn or measured.
        let _ = plotters::style::register_font("sans-serif", FontStyle::Normal, super::FONT);
    });
}

/// Width of a text in CSS pixels.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    font();
    // Measured large: widths come in whole pixels.
    let wide = ("sans-serif", LINE * size * 16.0).into_font().box_size(text);
    wide.map_or(0.6 * size * text.chars().count() as f64, |(w, _)| f64::from(w) / 16.0)
}

/// The text, cut with an ellipsis where it is wider than `width`.
pub(super) fn fit(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut short: String = text.to_owned();
    while short.pop().is_some() {
        let candidate = format!("{}…", short.trim_end());
        if text_width(&candidate, size) <= width {
            return candidate;
        }
    }
    "…".into()
}

/// A figure that can be drawn as SVG and as PNG.
pub struct Figure {
    pub(super) name: String,
    pub(super) canvas: Canvas,
}

impl Figure {
    /// What the figure shows, in a few words: the text alternative of the image.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The figure under another name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    fn error(&self, problem: impl ToString) -> Error {
        Error::Plot { figure: self.name.clone(), problem: problem.to_string() }
    }

    /// The figure as a stand-alone SVG document on white.
    ///
    /// # Errors
    /// [`Error::Plot`].
    pub fn svg(&self) -> Result<String> {
        let svg = self.vector()?;
        let Some(end) = svg.find('>') else { return Err(self.error("the drawing library wrote no SVG")) };
        let white = "\n<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>";
        Ok(format!("{}{white}{}", &svg[..=end], &svg[end + 1..]))
    }

    /// The figure as an `<svg>` element for an HTML page: transparent, text in the page's colour and font, background `var(--card)`.
    ///
    /// # Errors
    /// [`Error::Plot`].
    pub fn inline_svg(&self) -> Result<String> {
        let svg = self.vector()?;
        let Some(end) = svg.find('>') else { return Err(self.error("the drawing library wrote no SVG")) };
        let (w, h) = (self.canvas.width, self.canvas.height);
        let head = format!(
            "<svg role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {} {}\" style=\"width:{w}px\">",
            crate::report::escape(&self.name),
            w * SVG_SCALE,
            h * SVG_SCALE
        );
        let hex = |[r, g, b]: [u8; 3]| format!("#{r:02X}{g:02X}{b:02X}");
        let body = svg[end + 1..]
            .replace(&hex(INK), "currentColor")
            .replace(&format!("fill=\"{}\"", hex(PAPER)), "style=\"fill:var(--card)\"")
            .replace(&format!("stroke=\"{}\"", hex(PAPER)), "style=\"stroke:var(--card)\"")
            .replace(" font-family=\"sans-serif\"", "")
            .replace(" opacity=\"1\"", "");
        Ok(head + &body)
    }

    fn vector(&self) -> Result<String> {
        font();
        let size = ((self.canvas.width * SVG_SCALE) as u32, (self.canvas.height * SVG_SCALE) as u32);
        let mut svg = String::new();
        self.canvas.draw(SVGBackend::with_string(&mut svg, size), SVG_SCALE, 0.0).map_err(|e| self.error(e))?;
        Ok(svg)
    }

    /// The figure as a PNG on white, `scale` image pixels a CSS pixel (2 is sharp on paper).
    ///
    /// # Errors
    /// [`Error::Plot`].
    pub fn png(&self, scale: f64) -> Result<Vec<u8>> {
        font();
        let size = ((self.canvas.width * scale).ceil() as u32, (self.canvas.height * scale).ceil() as u32);
        let mut pixels = vec![255u8; size.0 as usize * size.1 as usize * 3];
        self.canvas.draw(BitMapBackend::with_buffer(&mut pixels, size), scale, 0.18).map_err(|e| self.error(e))?;
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, size.0, size.1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(|e| self.error(e))?;
        writer.write_image_data(&pixels).map_err(|e| self.error(e))?;
        writer.finish().map_err(|e| self.error(e))?;
        Ok(file)
    }

    /// Writes the figure, as SVG where `path` ends in `.svg` and as PNG otherwise; atomically.
    ///
    /// # Errors
    /// [`Error::Plot`] or [`Error::Core`] naming the file.
    pub fn save(&self, path: &std::path::Path) -> Result<()> {
        let vector = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg"));
        let bytes = if vector { self.svg()?.into_bytes() } else { self.png(2.0)? };
        Ok(atomic::write(path, &bytes)?)
    }
}

/// Whole SVG units a CSS pixel: the drawing library places things on whole units only.
const SVG_SCALE: f64 = 4.0;
