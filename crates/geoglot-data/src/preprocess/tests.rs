use ndarray::{Array1, s};
use rand::RngExt;

use super::*;

/// Three correlated bands of 30×40 pixels with a large offset in the second.
fn scene() -> Array3<f32> {
    let mut rng = geoglot_core::Seeds::new(4).stream("scene");
    let base = Array2::from_shape_fn((30, 40), |_| rng.random::<f32>());
    Array3::from_shape_fn((3, 30, 40), |(b, r, c)| match b {
        0 => 2.0 * base[(r, c)],
        1 => 10_000.0 - 3.0 * base[(r, c)] + 0.01 * ((r * 7 + c * 3) % 11) as f32,
        _ => ((r * 5 + c) % 13) as f32,
    })
}

fn pixels(rows: usize) -> Vec<Pixel> {
    (0..rows).flat_map(|row| (0..40).map(move |col| Pixel { scene: 0, row, col, class: 0 })).collect()
}

fn mean_std(values: impl Iterator<Item = f32>) -> (f64, f64) {
    let v: Array1<f64> = values.map(f64::from).collect();
    (v.mean().unwrap(), v.std(0.0))
}

#[test]
fn training_pixels_become_standard_and_nothing_else_is_looked_at() {
    let mut data = scene();
    let fitted = Preprocess::fit(&[data.view()], &pixels(20), &PreprocessOptions::default()).unwrap();
    data.slice_mut(s![.., 20.., ..]).fill(1e6);
    assert_eq!(Preprocess::fit(&[data.view()], &pixels(20), &PreprocessOptions::default()).unwrap(), fitted);
    let out = fitted.apply(scene(), &Array2::from_elem((30, 40), true)).unwrap();
    for b in 0..3 {
        let (mean, std) = mean_std(out.slice(s![b, ..20, ..]).iter().copied());
        assert!(mean.abs() < 1e-3 && (std - 1.0).abs() < 1e-3, "band {b}: {mean} {std}");
    }
    let text = serde_json::to_string(&fitted).unwrap();
    assert_eq!(serde_json::from_str::<Preprocess>(&text).unwrap(), fitted);
}

#[test]
fn components_are_white_orthonormal_and_reproducible() {
    let data = scene();
    let options = PreprocessOptions { components: Some(3), ..Default::default() };
    let fitted = Preprocess::fit(&[data.view()], &pixels(30), &options).unwrap();
    let mut shuffled = pixels(30);
    shuffled.reverse();
    assert_eq!(Preprocess::fit(&[data.view()], &shuffled, &options).unwrap(), fitted);
    let pca = fitted.pca.as_ref().unwrap();
    assert!((pca.explained.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    assert!(pca.explained.is_sorted_by(|a, b| a >= b));
    for (i, a) in pca.components.iter().enumerate() {
        for (j, b) in pca.components.iter().enumerate() {
            let dot: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
            assert!((dot - f32::from(i == j)).abs() < 1e-5, "components {i} and {j}: {dot}");
        }
        assert!(a.iter().copied().fold(0.0, |m: f32, v| if v.abs() > m.abs() { v } else { m }) > 0.0);
    }
    let out = fitted.apply(data, &Array2::from_elem((30, 40), true)).unwrap();
    for k in 0..3 {
        let (mean, std) = mean_std(out.slice(s![k, .., ..]).iter().copied());
        assert!(mean.abs() < 1e-3 && (std - 1.0).abs() < 2e-2, "component {k}: {mean} {std}");
    }
}

#[test]
fn pixels_without_data_become_zero() {
    let mut data = scene();
    data[(2, 5, 5)] = f32::NAN;
    let mut mask = Array2::from_elem((30, 40), true);
    mask[(0, 0)] = false;
    for components in [None, Some(2)] {
        let options = PreprocessOptions { components, ..Default::default() };
        let fitted = Preprocess::fit(&[data.view()], &pixels(30), &options).unwrap();
        let out = fitted.apply(data.clone(), &mask).unwrap();
        for at in [(0, 0), (5, 5)] {
            assert!((0..fitted.outputs()).all(|k| out[(k, at.0, at.1)] == 0.0));
        }
        assert!(out.iter().all(|v| v.is_finite()));
    }
}

#[test]
fn ranges_reach_from_minus_one_to_one() {
    let fit = |scaling| {
        let fitted = Preprocess::fit(&[scene().view()], &pixels(30), &PreprocessOptions { scaling, components: None });
        fitted.unwrap().apply(scene(), &Array2::from_elem((30, 40), true)).unwrap()
    };
    let out = fit(ScalingMethod::MinMax);
    let percentile = fit(ScalingMethod::Percentile { low: 10.0, high: 90.0 });
    for b in 0..3 {
        let band = out.slice(s![b, .., ..]);
        assert!((band.fold(0f32, |m, v| m.max(*v)) - 1.0).abs() < 1e-3);
        assert!((band.fold(0f32, |m, v| m.min(*v)) + 1.0).abs() < 1e-3);
        let clipped = percentile.slice(s![b, .., ..]).iter().filter(|v| v.abs() == 1.0).count();
        assert!((100..500).contains(&clipped), "{clipped} of 1200 values clipped");
    }
    assert_eq!(fit(ScalingMethod::None), scene());
}

#[test]
fn a_constant_band_stays_finite() {
    let data = Array3::from_elem((2, 30, 40), 0.3);
    let options = PreprocessOptions { components: Some(2), ..Default::default() };
    let fitted = Preprocess::fit(&[data.view()], &pixels(30), &options).unwrap();
    let out = fitted.apply(data, &Array2::from_elem((30, 40), true)).unwrap();
    assert!(out.iter().all(|v| v.abs() < 1e-3));
}

#[test]
fn misfits_are_named() {
    let data = scene();
    let options = PreprocessOptions::default();
    let text = |r: Result<Preprocess>| r.unwrap_err().to_string();
    let four = PreprocessOptions { components: Some(4), ..Default::default() };
    assert!(text(Preprocess::fit(&[data.view()], &pixels(3), &four)).contains("1 to 3"));
    assert!(text(Preprocess::fit(&[data.view()], &pixels(31), &options)).contains("outside"));
    assert!(text(Preprocess::fit(&[data.view()], &[], &options)).contains("none of the 0"));
    assert!(text(Preprocess::fit(&[], &[], &options)).contains("no scene"));
    let nan = Array3::from_elem((3, 30, 40), f32::NAN);
    assert!(text(Preprocess::fit(&[nan.view()], &pixels(3), &options)).contains("finite"));
    let mut fitted = Preprocess::fit(&[data.view()], &pixels(3), &options).unwrap();
    assert!(fitted.apply(Array3::zeros((2, 4, 4)), &Array2::from_elem((4, 4), true)).is_err());
    assert!(fitted.apply(Array3::zeros((3, 4, 4)), &Array2::from_elem((4, 5), true)).is_err());
    assert!(fitted.check().is_ok());
    fitted.scaling.divide[1] = 0.0;
    assert!(fitted.check().is_err());
}
