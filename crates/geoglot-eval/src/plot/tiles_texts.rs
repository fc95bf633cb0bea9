//! Tiles as points, texts as diamonds, both in the colour of their class.

use super::axis::{Frame, SMALL, range};
use super::canvas::{Anchor, Canvas, Figure, Paint, fit, text_width};
use crate::error::{Result, in_legend};
use crate::tiles_texts::TilesAndTexts;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 480.0;

/// Draws tiles and texts with a key of the classes.
///
/// # Errors
/// [`crate::Error::Class`] when classes lie outside the legend.
pub fn tiles_texts_plot(space: &TilesAndTexts) -> Result<Figure> {
    let legend = &space.legend;
    in_legend("classes of the tiles", &space.tile_classes, legend.len())?;
    in_legend("classes of the texts", &space.text_classes, legend.len())?;
    let all = || space.tiles.iter().chain(&space.texts);
    let frame = Frame {
        left: 16.0,
        top: 16.0,
        width: WIDTH,
        height: HEIGHT,
        x: range(all().map(|p| f64::from(p[0])), 0.04),
        y: range(all().map(|p| f64::from(p[1])), 0.04),
    };
    // Class names in rows as wide as the plot.
    let (mut places, mut x, mut row) = (Vec::new(), 0.0, 0usize);
    for class in &legend.classes {
        let name = fit(&class.name, SMALL, 200.0);
        let wide = text_width(&name, SMALL) + 34.0;
        if x + wide > WIDTH && x > 0.0 {
            (x, row) = (0.0, row + 1);
        }
        places.push((name, x, row));
        x += wide;
    }
    let below = frame.top + HEIGHT + 24.0;
    let mut canvas = Canvas::new(WIDTH + 32.0, below + 24.0 + 20.0 * (row + 1) as f64);
    let (left, top, right, bottom) = (frame.left, frame.top, frame.left + WIDTH, frame.top + HEIGHT);
    canvas.path(vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], Paint::Ink(0.25), 1.0);
    let at = |p: &[f32; 2]| (frame.px(f64::from(p[0])), frame.py(f64::from(p[1])));
    for (p, &class) in space.tiles.iter().zip(&space.tile_classes) {
        let (x, y) = at(p);
        canvas.circle(x, y, 2.4, Paint::Fixed(legend.color(class), 0.75));
    }
    let diamond = |canvas: &mut Canvas, (x, y): (f64, f64), r: f64, paint: Paint| {
        canvas.fill(vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)], paint);
    };
    for (p, &class) in space.texts.iter().zip(&space.text_classes) {
        diamond(&mut canvas, at(p), 5.5, Paint::Ink(1.0));
        diamond(&mut canvas, at(p), 4.0, Paint::Fixed(legend.color(class), 1.0));
    }
    canvas.circle(26.0, below, 3.0, Paint::Ink(0.6));
    canvas.text(36.0, below, "tile", SMALL, Anchor::Left, Paint::Ink(0.75));
    diamond(&mut canvas, (90.0, below), 5.5, Paint::Ink(1.0));
    canvas.text(102.0, below, "text, each in the colour of its class", SMALL, Anchor::Left, Paint::Ink(0.75));
    for (k, (name, x, row)) in places.into_iter().enumerate() {
        let y = below + 22.0 + 20.0 * row as f64;
        canvas.circle(left + x + 8.0, y, 5.0, Paint::Fixed(legend.color(k), 1.0));
        canvas.text(left + x + 18.0, y, name, SMALL, Anchor::Left, Paint::Ink(1.0));
    }
    Ok(Figure { name: "t-SNE of tiles and texts".into(), canvas })
}
