//! The joint space: pixels as points, class prompts as labelled diamonds.

use geoglot_core::Legend;

use super::axis::{Frame, NORMAL, SMALL, range};
use super::canvas::{Anchor, Canvas, Figure, Paint, fit, text_width};
use crate::error::{Result, in_legend, same_length};
use crate::tsne::JointSpace;

/// A rectangle: left, top, right, bottom.
type Box4 = [f64; 4];

/// Draws a [`JointSpace`] whose classes and prompts are those of `legend`.
///
/// # Errors
/// [`crate::Error::Class`] or [`crate::Error::Length`] when legend and space do not fit.
pub fn joint_space_plot(space: &JointSpace, legend: &Legend) -> Result<Figure> {
    let name = "t-SNE of the joint space of pixels and class prompts";
    class_points(space, legend, name, ["pixel, coloured by true class", "class prompt"])
}

/// Draws a [`JointSpace`] of images whose "prompts" are the mean features of each class.
///
/// # Errors
/// As [`joint_space_plot`].
pub fn class_means_plot(space: &JointSpace, legend: &Legend) -> Result<Figure> {
    class_points(space, legend, "t-SNE of images by class", ["image, coloured by true class", "mean of a class"])
}

fn class_points(space: &JointSpace, legend: &Legend, name: &str, key: [&str; 2]) -> Result<Figure> {
    in_legend("classes of the joint space", &space.classes, legend.len())?;
    same_length("prompts of the joint space", legend.len(), space.prompts.len())?;
    let all = || space.pixels.iter().chain(&space.prompts);
    let frame = Frame {
        left: 16.0,
        top: 16.0,
        width: 720.0,
        height: 480.0,
        x: range(all().map(|p| f64::from(p[0])), 0.04),
        y: range(all().map(|p| f64::from(p[1])), 0.04),
    };
    let mut canvas = Canvas::new(752.0, 540.0);
    for (a, b) in
        [((0.0, 0.0), (1.0, 0.0)), ((1.0, 0.0), (1.0, 1.0)), ((1.0, 1.0), (0.0, 1.0)), ((0.0, 1.0), (0.0, 0.0))]
    {
        let at = |(x, y): (f64, f64)| (frame.left + x * frame.width, frame.top + y * frame.height);
        canvas.line(at(a), at(b), Paint::Ink(0.25), 1.0);
    }
    let at = |p: &[f32; 2]| (frame.px(f64::from(p[0])), frame.py(f64::from(p[1])));
    for (p, &class) in space.pixels.iter().zip(&space.classes) {
        let (x, y) = at(p);
        canvas.circle(x, y, 2.4, Paint::Fixed(legend.color(class), 0.8));
    }
    let markers: Vec<(f64, f64)> = space.prompts.iter().map(at).collect();
    let mut taken: Vec<Box4> = markers.iter().map(|&(x, y)| [x - 8.0, y - 8.0, x + 8.0, y + 8.0]).collect();
    let mut labels = Vec::new();
    for (k, &(x, y)) in markers.iter().enumerate() {
        let name = fit(&legend.classes[k].name, NORMAL, 200.0);
        let size = (text_width(&name, NORMAL) + 8.0, 18.0);
        let place = free_place((x, y), size, &taken, &frame);
        taken.push(place);
        labels.push((name, place));
    }
    for (k, &(x, y)) in markers.iter().enumerate() {
        let [left, top, right, bottom] = labels[k].1;
        let near = (x.clamp(left, right), y.clamp(top, bottom));
        if (near.0 - x).hypot(near.1 - y) > 14.0 {
            canvas.line((x, y), near, Paint::Ink(0.5), 1.0);
        }
        diamond(&mut canvas, (x, y), 9.5, Paint::Paper);
        diamond(&mut canvas, (x, y), 8.0, Paint::Ink(1.0));
        diamond(&mut canvas, (x, y), 5.5, Paint::Fixed(legend.color(k), 1.0));
    }
    for (name, [left, top, right, bottom]) in labels {
        canvas.rect(left, top, right - left, bottom - top, Paint::Paper);
        canvas.text((left + right) / 2.0, (top + bottom) / 2.0, name, NORMAL, Anchor::Middle, Paint::Ink(1.0));
    }
    let y = frame.top + frame.height + 24.0;
    canvas.circle(26.0, y, 3.0, Paint::Ink(0.6));
    canvas.text(36.0, y, key[0], SMALL, Anchor::Left, Paint::Ink(0.75));
    diamond(&mut canvas, (240.0, y), 7.0, Paint::Ink(1.0));
    canvas.text(254.0, y, key[1], SMALL, Anchor::Left, Paint::Ink(0.75));
    Ok(Figure { name: name.into(), canvas })
}

fn diamond(canvas: &mut Canvas, (x, y): (f64, f64), r: f64, paint: Paint) {
    canvas.fill(vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)], paint);
}

/// The nearest place around `at` for a label of `size` that lies in the frame and meets no taken rectangle; the least overlapping if there is none.
fn free_place(at: (f64, f64), size: (f64, f64), taken: &[Box4], frame: &Frame) -> Box4 {
    let mut best = (f64::INFINITY, [0.0; 4]);
    for distance in [12.0, 22.0, 36.0, 54.0, 80.0] {
        // Right, left, above, below, then the diagonals.
        for (dx, dy) in
            [(1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
        {
            let x = at.0 + dx * (distance + size.0 / 2.0) - size.0 / 2.0;
            let y = at.1 + dy * (distance + size.1 / 2.0) - size.1 / 2.0;
            let place = [x, y, x + size.0, y + size.1];
            let outside = (frame.left - place[0]).max(0.0)
                + (frame.top - place[1]).max(0.0)
                + (place[2] - frame.left - frame.width).max(0.0)
                + (place[3] - frame.top - frame.height).max(0.0);
            let overlap: f64 = taken.iter().map(|t| overlap(t, &place)).sum();
            let cost = overlap + outside * 100.0;
            if cost == 0.0 {
                return place;
            }
            if cost < best.0 {
                best = (cost, place);
            }
        }
    }
    best.1
}

fn overlap(a: &Box4, b: &Box4) -> f64 {
    (a[2].min(b[2]) - a[0].max(b[0])).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0)
}
