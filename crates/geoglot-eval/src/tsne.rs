//! t-SNE (van der Maaten and Hinton 2008) of the joint space: pixel embeddings and prompt vectors in one picture.

use bhtsne::{Neighbor, tSNE};
use geoglot_core::Seeds;
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, all_finite, same_length};

/// Settings of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TsneOptions {
    /// At most this many pixels are shown.
    pub pixels: usize,
    /// Every class keeps at least this many of its pixels, where it has them.
    pub least_per_class: usize,
    /// Effective number of neighbours; lowered where there are too few points.
    pub perplexity: f32,
    /// Gradient steps.
    pub epochs: usize,
    /// Start from the first two principal components (keeps the large-scale order) instead of from noise.
    pub pca_init: bool,
    /// Root seed.
    pub seed: u64,
}

impl Default for TsneOptions {
    /// 1500 pixels, at least 30 a class, perplexity 30, 750 steps, from principal components, seed 0.
    fn default() -> Self {
        Self { pixels: 1500, least_per_class: 30, perplexity: 30.0, epochs: 750, pca_init: true, seed: 0 }
    }
}

/// The joint space in two dimensions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JointSpace {
    /// Positions of the shown pixels.
    pub pixels: Vec<[f32; 2]>,
    /// Class of each shown pixel.
    pub classes: Vec<usize>,
    /// Which pixels are shown: their rows in the embeddings given.
    pub shown: Vec<usize>,
    /// Positions of the class prompts, in the order given.
    pub prompts: Vec<[f32; 2]>,
}

/// Lays out `embeddings` ([pixels, D], with their `classes`) together with `prompts` ([K, D]) by cosine distance.
///
/// The vectors are L2-normalised; distances are chords √(2 − 2 cos), which order as cosine distance does. Distances in the picture say who is near
/// whom; sizes and gaps of clusters mean nothing. Neighbours are searched exactly and the descent runs on one thread, so one seed gives one picture
/// on one machine; another processor may round differently.
///
/// # Errors
/// [`Error::Length`] when widths or lengths differ, [`Error::NotFinite`], [`Error::Empty`] with fewer than eight vectors.
pub fn joint_space(
    embeddings: ArrayView2<f32>,
    classes: &[usize],
    prompts: ArrayView2<f32>,
    options: &TsneOptions,
) -> Result<JointSpace> {
    same_length("classes of the embeddings", embeddings.nrows(), classes.len())?;
    same_length("width of the prompt vectors", embeddings.ncols(), prompts.ncols())?;
    all_finite("pixel embeddings", embeddings)?;
    all_finite("prompt vectors", prompts)?;
    let shown = subsample(classes, options);
    let n = shown.len() + prompts.nrows();
    if n < 8 {
        return Err(Error::Empty(format!(
            "t-SNE needs at least eight vectors, pixels and prompts together, and got {n}"
        )));
    }
    let mut points = concatenate(Axis(0), &[embeddings.select(Axis(0), &shown).view(), prompts])
        .map_err(|e| Error::Setting(format!("embeddings and prompts cannot be joined: {e}")))?;
    for mut row in points.rows_mut() {
        let norm = row.dot(&row).sqrt();
        if norm > 0.0 {
            row /= norm;
        }
    }
    // Below three neighbours a perplexity, which bhtsne multiplies by three, has no solution.
    let perplexity = options.perplexity.min((n - 1) as f32 / 3.5).max(1.0);
    let neighbours = neighbours(&points, ((3.0 * perplexity) as usize).clamp(3, n - 1));
    let start = start(&points, options);
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .map_err(|e| Error::Setting(format!("t-SNE cannot start its thread: {e}")))?;
    let layout = one_thread.install(|| {
        let indices: Vec<usize> = (0..n).collect();
        let mut tsne: tSNE<f32, usize> = tSNE::new(&indices);
        // The usual factor of 12 draws points without clusters together until nothing is left of them in f32.
        tsne.early_exaggeration(4.0)
            .stop_lying_epoch(options.epochs.min(600) / 5)
            .momentum_switch_epoch(options.epochs.min(600) / 5);
        tsne.learning_rate((n as f32 / 8.0).max(50.0));
        tsne.perplexity(perplexity).epochs(options.epochs).initial_embedding(start);
        tsne.barnes_hut_with_neighbors(0.5, &neighbours);
        tsne.embedding()
    });
    let mut positions: Vec<[f32; 2]> = layout.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
    let prompts = positions.split_off(shown.len());
    Ok(JointSpace { pixels: positions, classes: shown.iter().map(|&i| classes[i]).collect(), shown, prompts })
}

/// At most `options.pixels` indices, each class with its share but at least `least_per_class`, ascending.
fn subsample(classes: &[usize], options: &TsneOptions) -> Vec<usize> {
    if classes.len() <= options.pixels {
        return (0..classes.len()).collect();
    }
    let mut rng = Seeds::new(options.seed).stream("tsne/subsample");
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.shuffle(&mut rng);
    let mut taken = vec![0; classes.iter().max().map_or(0, |m| m + 1)];
    let (mut kept, mut rest) = (Vec::new(), Vec::new());
    for i in order {
        if taken[classes[i]] < options.least_per_class {
            taken[classes[i]] += 1;
            kept.push(i);
        } else {
            rest.push(i);
        }
    }
    kept.extend(rest);
    kept.truncate(options.pixels);
    kept.sort_unstable();
    kept
}

/// The `k` nearest others of every row of `points` (unit vectors), nearest first.
fn neighbours(points: &Array2<f32>, k: usize) -> Vec<Vec<Neighbor<f32>>> {
    let cosines = points.dot(&points.t());
    let nearest = |i: usize| {
        let row = cosines.row(i);
        let mut others: Vec<usize> = (0..row.len()).filter(|&j| j != i).collect();
        others.sort_unstable_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        others.truncate(k);
        let chord = |j: usize| (2.0 - 2.0 * row[j]).max(0.0).sqrt();
        others.into_iter().map(|index| Neighbor { index, distance: chord(index) }).collect()
    };
    (0..points.nrows()).into_par_iter().map(nearest).collect()
}

/// Starting positions, 2 a point: principal components scaled to a standard deviation of 1e-4, or noise of that size.
fn start(points: &Array2<f32>, options: &TsneOptions) -> Vec<f32> {
    let mut rng = Seeds::new(options.seed).stream("tsne/start");
    let (n, width) = points.dim();
    let mut noise = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect() };
    // Noise under the components too: points that coincide would never part.
    let mut start: Vec<f32> =
        noise(2 * n).into_iter().map(|v| v * if options.pca_init { 1e-6 } else { 1e-4 }).collect();
    if !options.pca_init {
        return start;
    }
    let centred = points - &points.mean_axis(Axis(0)).unwrap_or_default();
    let mut basis = Array2::from_shape_vec((width, 2), noise(2 * width)).unwrap_or_default();
    // Subspace iteration on the covariance: rough components are enough for a start.
    for _ in 0..30 {
        basis = centred.t().dot(&centred.dot(&basis));
        let first = basis.column(0).to_owned();
        let first = &first / first.dot(&first).sqrt().max(f32::MIN_POSITIVE);
        let second = basis.column(1).to_owned();
        let second = &second - &(&first * first.dot(&second));
        let second = &second / second.dot(&second).sqrt().max(f32::MIN_POSITIVE);
        basis.column_mut(0).assign(&first);
        basis.column_mut(1).assign(&second);
    }
    let scores = centred.dot(&basis);
    let std = scores.column(0).std(0.0).max(f32::MIN_POSITIVE);
    for (i, row) in scores.rows().into_iter().enumerate() {
        start[2 * i] += row[0] / std * 1e-4;
        start[2 * i + 1] += row[1] / std * 1e-4;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four noisy directions in 16 dimensions, and their prompts.
    fn clusters(n: usize) -> (Array2<f32>, Vec<usize>, Array2<f32>) {
        let mut rng = Seeds::new(3).stream("clusters");
        let prompts = Array2::from_shape_fn((4, 16), |_| rng.random_range(-1.0f32..1.0));
        let classes: Vec<usize> = (0..n).map(|i| if i % 50 == 0 { 3 } else { i % 3 }).collect();
        let x = Array2::from_shape_fn((n, 16), |(i, d)| prompts[[classes[i], d]] + rng.random_range(-0.35f32..0.35));
        (x, classes, prompts)
    }

    #[test]
    fn prompts_lie_among_their_pixels_and_the_picture_repeats() {
        let (x, classes, prompts) = clusters(900);
        let options = TsneOptions { pixels: 400, least_per_class: 15, epochs: 400, ..TsneOptions::default() };
        let space = joint_space(x.view(), &classes, prompts.view(), &options).unwrap();
        assert_eq!((space.pixels.len(), space.prompts.len()), (400, 4));
        assert!(space.classes.iter().filter(|c| **c == 3).count() >= 15);
        assert!(space.pixels.iter().flatten().all(|v| v.is_finite()));
        for (k, prompt) in space.prompts.iter().enumerate() {
            let distance = |p: &[f32; 2]| (p[0] - prompt[0]).powi(2) + (p[1] - prompt[1]).powi(2);
            let nearest = (0..400).min_by(|&a, &b| distance(&space.pixels[a]).total_cmp(&distance(&space.pixels[b])));
            assert_eq!(space.classes[nearest.unwrap()], k);
        }
        assert_eq!(joint_space(x.view(), &classes, prompts.view(), &options).unwrap(), space);
        let other = joint_space(x.view(), &classes, prompts.view(), &TsneOptions { seed: 1, ..options }).unwrap();
        assert_ne!(other.shown, space.shown);
    }

    #[test]
    fn vectors_without_clusters_fill_the_plane() {
        let mut rng = Seeds::new(4).stream("noise");
        let x = Array2::from_shape_fn((600, 24), |_| rng.random_range(-1.0f32..1.0));
        for pca_init in [true, false] {
            let options = TsneOptions { pca_init, epochs: 400, ..TsneOptions::default() };
            let space = joint_space(x.view(), &[0; 600], x.slice(ndarray::s![..2, ..]), &options).unwrap();
            let axis = |k: usize| ndarray::Array1::from_iter(space.pixels.iter().map(|p| p[k]));
            let (a, b) = (axis(0), axis(1));
            let product = (&a - a.mean().unwrap()) * (&b - b.mean().unwrap());
            let correlation = product.mean().unwrap() / (a.std(0.0) * b.std(0.0));
            assert!(a.std(0.0) > 1.0 && b.std(0.0) > 1.0 && correlation.abs() < 0.5, "{correlation}");
        }
    }

    #[test]
    fn few_and_equal_vectors_do_not_break_it() {
        let same = Array2::from_elem((9, 4), 1.0f32);
        let space =
            joint_space(same.view(), &[0; 9], same.slice(ndarray::s![..1, ..]), &TsneOptions::default()).unwrap();
        assert!(space.pixels.iter().flatten().all(|v| v.is_finite()));
        let noise = TsneOptions { pca_init: false, ..TsneOptions::default() };
        assert!(joint_space(same.view(), &[0; 9], same.view(), &noise).is_ok());
        let error = joint_space(same.view(), &[0; 9], Array2::zeros((1, 5)).view(), &noise).unwrap_err().to_string();
        assert!(error.contains("width of the prompt vectors"), "{error}");
        assert!(
            joint_space(same.slice(ndarray::s![..2, ..]), &[0; 2], same.slice(ndarray::s![..1, ..]), &noise).is_err()
        );
    }
}
