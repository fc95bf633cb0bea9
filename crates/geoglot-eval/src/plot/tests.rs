//! Figures of ordinary and of awkward data.

use geoglot_core::Legend;

use super::*;
use crate::interval::Interval;
use crate::metrics::ConfusionMatrix;
use crate::tsne::JointSpace;

/// PNG size and the number of distinct colours.
fn look(figure: &Figure) -> (u32, u32, usize) {
    let png = figure.png(1.0).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let colors: std::collections::BTreeSet<&[u8]> = pixels.chunks_exact(3).collect();
    (info.width, info.height, colors.len())
}

fn assert_drawn(figure: &Figure) {
    let (w, h, colors) = look(figure);
    assert!(w > 200 && h > 100 && colors > 10, "{}: {w} × {h}, {colors} colours", figure.name());
    let svg = figure.svg().unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    let inline = figure.inline_svg().unwrap();
    assert!(inline.contains("currentColor") && !inline.contains("http"));
    assert!(!inline.contains("NaN") && !inline.contains("-2147483648"));
}

fn some(value: f64) -> Option<Interval> {
    Some(Interval { value, low: value - 0.02, high: value + 0.03 })
}

#[test]
fn every_figure_is_drawn() {
    for k in [1, 4, 12, 30] {
        let names = (0..k).map(|i| format!("class number {i} with a rather long name"));
        let legend = Legend::from_names(names).unwrap();
        let mut matrix = ConfusionMatrix::new(k);
        for t in 0..k {
            matrix.add(t, t, 120_000).unwrap();
            matrix.add(t, (t + 1) % k, 3).unwrap();
        }
        assert_drawn(&confusion_matrix(&matrix, &legend).unwrap());
        let series = [
            Series { name: "a".into(), values: (0..k).map(|i| some(i as f64 / k as f64)).collect() },
            Series { name: "b".into(), values: vec![None; k] },
        ];
        assert_drawn(&class_dots("accuracy", &legend, &series).unwrap());
    }
}

#[test]
fn awkward_values_are_drawn() {
    let groups = ["OA".to_owned(), "kappa".to_owned()];
    let series = [
        Series { name: "m".into(), values: vec![some(0.4), some(-0.1)] },
        Series { name: "n".into(), values: vec![some(1.0), None] },
    ];
    assert_drawn(&grouped_bars("bars", &groups, &series).unwrap());
    assert_drawn(&grouped_dots("dots", &groups, &series).unwrap());
    assert!(grouped_bars("bars", &groups[..1], &series).is_err());
    assert!(grouped_bars("bars", &[], &[]).is_err());

    let point = |epoch, loss| CurvePoint { epoch, loss, validation_loss: None, validation_oa: Some(0.5) };
    let diverged =
        Curve { name: "diverged".into(), points: vec![point(1, 2.0), point(2, f64::INFINITY), point(3, f64::NAN)] };
    let single = Curve { name: "one epoch".into(), points: vec![point(1, 1.0)] };
    assert_drawn(&training_curves(&[diverged, single.clone()]).unwrap());
    assert_drawn(&training_curves(&[single]).unwrap());
    let bare = Curve { name: "loss only".into(), points: vec![CurvePoint { validation_oa: None, ..point(1, 1.0) }; 2] };
    assert!(training_curves(&[bare]).is_ok());
    assert!(training_curves(&[]).is_err());
}

#[test]
fn prompts_that_coincide_keep_their_labels_apart() {
    let legend = Legend::from_names((0..9).map(|i| format!("class {i}"))).unwrap();
    let space = JointSpace {
        pixels: (0..90).map(|i| [(i % 10) as f32, (i / 10) as f32]).collect(),
        classes: (0..90).map(|i| i % 9).collect(),
        shown: (0..90).collect(),
        prompts: vec![[5.0, 5.0]; 9],
    };
    let figure = joint_space_plot(&space, &legend).unwrap();
    assert_drawn(&figure);
    let svg = figure.svg().unwrap();
    // Every label's text position is its own.
    let places: std::collections::BTreeSet<&str> =
        svg.match_indices("<text ").map(|(at, _)| svg[at..].split(" dy=").next().unwrap()).collect();
    assert_eq!(places.len(), 9 + 2);
    assert!(joint_space_plot(&space, &Legend::from_names(["a"]).unwrap()).is_err());
}

#[test]
fn files_are_chosen_by_ending() {
    let legend = Legend::from_names(["a", "b"]).unwrap();
    let figure = confusion_matrix(&ConfusionMatrix::new(2), &legend).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, start) in [("f.svg", &b"<svg"[..]), ("f.png", b"\x89PNG")] {
        figure.save(&dir.path().join(name)).unwrap();
        assert!(std::fs::read(dir.path().join(name)).unwrap().starts_with(start));
    }
}

#[test]
fn score_lines_are_drawn_and_need_a_point() {
    let point = |x: f64| (x, Interval { value: 0.5 + 0.2 * x, low: 0.4 + 0.2 * x, high: 0.6 + 0.2 * x });
    let lines: Vec<Line> =
        ["AID", "RSICD"].map(|name| Line { name: name.into(), points: [0.0, 0.5, 1.0].map(point).to_vec() }).to_vec();
    assert_drawn(&score_lines("ratios", "ratio", "top-1", &lines, Some(1.0)).unwrap());
    let single = Line { name: "one".into(), points: vec![point(0.5), (f64::NAN, point(0.0).1)] };
    assert_drawn(&score_lines("one", "ratio", "top-1", &[single], None).unwrap());
    assert!(score_lines("none", "ratio", "top-1", &[], None).is_err());
}
