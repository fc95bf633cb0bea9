//! The forest against known answers and against scikit-learn on a real scene.

use std::path::PathBuf;

use ndarray::{Array1, Array2, Array3, Axis, concatenate};

use super::*;

/// Three classes in six features of which two matter, 5 % of the labels wrong.
fn rings(n: usize, seed: u64) -> (Array2<f32>, Vec<usize>, Vec<usize>) {
    let mut rng = Seeds::new(seed).stream("rings");
    let x = Array2::from_shape_fn((n, 6), |_| rng.random_range(-1.0f32..1.0));
    let clean: Vec<usize> =
        x.rows().into_iter().map(|r| ((r[0] * r[0] + r[1] * r[1]).sqrt() * 2.2) as usize % 3).collect();
    let noisy = clean.iter().map(|&c| if rng.random_range(0..20) == 0 { rng.random_range(0..3) } else { c }).collect();
    (x, clean, noisy)
}

fn agreement(a: &[usize], b: &[usize]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

#[test]
fn rings_are_learnt_through_label_noise() {
    let (x, _, y) = rings(3000, 1);
    let (test, truth, _) = rings(1000, 2);
    let predicted = random_forest(x.view(), &y, test.view(), 3, 5).unwrap();
    let oa = agreement(&predicted, &truth);
    assert!(oa > 0.93, "{oa}");
    let sums = Forest::fit(x.view(), &y, 3, &ForestOptions::default()).unwrap().probabilities(test.view()).unwrap();
    assert!(sums.sum_axis(Axis(1)).iter().all(|s| (s - 1.0).abs() < 1e-4));
}

#[test]
fn one_seed_gives_one_forest_on_any_number_of_threads() {
    let (x, _, y) = rings(400, 1);
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = ForestOptions { trees: 12, seed, ..ForestOptions::default() };
        pool.install(|| Forest::fit(x.view(), &y, 3, &options).unwrap().probabilities(x.view()).unwrap())
    };
    assert_eq!(run(1, 3), run(4, 3));
    assert_ne!(run(1, 3), run(1, 4));
}

#[test]
fn odd_data_are_handled() {
    let constant = Array2::from_elem((10, 3), 4.0f32);
    let y: Vec<usize> = (0..10).map(|i| usize::from(i > 6)).collect();
    assert_eq!(random_forest(constant.view(), &y, constant.view(), 2, 0).unwrap(), vec![0; 10]);
    assert_eq!(random_forest(constant.view(), &[1; 10], constant.view(), 4, 0).unwrap(), vec![1; 10]);
    // Neighbouring floats: the middle is not between them.
    let (a, b) = (1.0f32, 1.0f32.next_up());
    let close = Array2::from_shape_vec((4, 1), vec![a, b, a, b]).unwrap();
    assert_eq!(random_forest(close.view(), &[0, 1, 0, 1], close.view(), 2, 0).unwrap(), [0, 1, 0, 1]);

    let mut gap = constant.clone();
    gap[[2, 1]] = f32::NAN;
    let error = random_forest(gap.view(), &y, constant.view(), 2, 0).unwrap_err().to_string();
    assert!(error.contains("row 2, column 1"), "{error}");
    assert!(random_forest(constant.view(), &y, constant.slice(ndarray::s![.., ..2]), 2, 0).is_err());
    assert!(random_forest(constant.view(), &y, constant.view(), 1, 0).is_err());
    assert!(random_forest(Array2::zeros((0, 3)).view(), &[], constant.view(), 1, 0).is_err());
}

/// OA over the five block folds against scikit-learn's `RandomForestClassifier(n_estimators=200)`, whose mean over seeds is given by
/// tests/fixtures/forest.py. Every fourth training pixel keeps the test short.
#[test]
fn accuracy_is_that_of_scikit_learn_on_a_real_scene() {
    let folder = std::env::var_os("GEOGLOT_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let scene = folder.join("hsi-lidar-dfc2018-300");
    if !scene.exists() {
        println!("skipped: no {} (set GEOGLOT_DATA)", scene.display());
        return;
    }
    let hsi: Array3<f32> = ndarray_npy::read_npy(scene.join("hsi_pca5_f32_hwc.npy")).unwrap();
    let dsm: Array2<u8> = ndarray_npy::read_npy(scene.join("dsm_u8.npy")).unwrap();
    let labels: Array2<u8> = ndarray_npy::read_npy(scene.join("gt_u8.npy")).unwrap();
    let dsm = dsm.mapv(f32::from).insert_axis(Axis(2));
    let image = concatenate(Axis(2), &[hsi.view(), dsm.view()]).unwrap();
    let labelled: Vec<(usize, usize)> = labels.indexed_iter().filter(|(_, l)| **l > 0).map(|(at, _)| at).collect();
    let pick = |keep: &dyn Fn(usize, (usize, usize)) -> bool| {
        let chosen: Vec<_> =
            labelled.iter().copied().enumerate().filter(|(i, at)| keep(*i, *at)).map(|(_, at)| at).collect();
        let x = Array2::from_shape_fn((chosen.len(), 6), |(i, f)| image[[chosen[i].0, chosen[i].1, f]]);
        let y: Array1<usize> = chosen.iter().map(|at| usize::from(labels[*at]) - 1).collect();
        (x, y.to_vec())
    };
    let fold = |(r, c): (usize, usize)| (2 * (r / 60) + c / 60) % 5;
    let mut mean = 0.0;
    for f in 0..5 {
        let (train, y) = pick(&|i, at| i % 4 == 0 && fold(at) != f);
        let (test, truth) = pick(&|_, at| fold(at) == f);
        mean += agreement(&random_forest(train.view(), &y, test.view(), 12, 1).unwrap(), &truth) / 5.0;
    }
    let scikit_learn = 0.7660;
    assert!((mean - scikit_learn).abs() < 0.005, "OA {mean:.4}, scikit-learn {scikit_learn}");
}
