//! Accuracy of a linear probe by the share of the images it is trained on (Spectral-LLaVA, figure 4): folds of random splits, each share a
//! part of the next larger one.

use geoglot_core::Seeds;
use ndarray::{Array2, ArrayView2, Axis};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::adam_probe::{AdamProbe, adam_probe};
use super::features::Labelled;
use super::probe::{ProbeOptions, linear_probe};
use crate::bootstrap::Bootstrap;
use crate::error::{Error, Result, same_length};

/// One share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharePoint {
    /// Share of the images that train, 0–1.
    pub share: f64,
    /// Accuracy of each fold on the images that do not train, 0–1.
    pub folds: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Half of a 95 % interval of the mean (Student's t over the folds).
    pub half_width: f64,
}

/// How the probe of a share is fitted.
#[derive(Debug, Clone, PartialEq)]
pub enum ShareProbe {
    /// To its optimum; a fifth of the training images chooses the penalty, and then trains too.
    Converged(ProbeOptions),
    /// By a fixed number of steps, the paper's way.
    Adam(AdamProbe),
}

/// The shares of the paper: 10 % to 90 %.
pub const SHARES: [f64; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// Two-sided 95 % quantiles of Student's t for 1 to 10 degrees of freedom.
const T: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// Trains a probe on each share of `features` [N, D] and scores it on the rest, `folds` times. Two feature sets given the same seed see the
/// same splits.
///
/// # Errors
/// [`Error::Setting`] for shares outside 0 to 1 or no folds; [`Error::Empty`] when a share leaves fewer than two training images or none to
/// test; what [`linear_probe`] may say.
pub fn share_curve(
    features: ArrayView2<f32>,
    classes: &[usize],
    count: usize,
    shares: &[f64],
    folds: usize,
    probe: &ShareProbe,
    seed: u64,
) -> Result<Vec<SharePoint>> {
    same_length("classes", features.nrows(), classes.len())?;
    if folds == 0 || shares.iter().any(|s| !(*s > 0.0 && *s < 1.0)) {
        return Err(Error::Setting(format!(
            "{folds} folds of shares {shares:?}; expected at least one fold, shares between 0 and 1"
        )));
    }
    let quick = Bootstrap { replicates: 0, ..Bootstrap::default() };
    let mut points: Vec<SharePoint> = Vec::new();
    for &share in shares {
        let mut accuracies = Vec::new();
        for fold in 0..folds {
            let order = stratified(classes, count, Seeds::new(seed), fold);
            let train = (share * classes.len() as f64).round() as usize;
            if train < 2 || train >= classes.len() {
                return Err(Error::Empty(format!(
                    "{:.0} % of {} images are {train}: too few to train or none left to test",
                    100.0 * share,
                    classes.len()
                )));
            }
            let (train, test) = order.split_at(train);
            let validation = (train.len() / 5).max(1);
            let part = |rows: &[usize]| -> (Array2<f32>, Vec<usize>) {
                (features.select(Axis(0), rows), rows.iter().map(|&r| classes[r]).collect())
            };
            let accuracy = match probe {
                ShareProbe::Converged(options) => {
                    let (a, b, c) = (part(&train[validation..]), part(&train[..validation]), part(test));
                    let result = linear_probe(
                        Labelled { features: a.0.view(), classes: &a.1 },
                        Labelled { features: b.0.view(), classes: &b.1 },
                        Labelled { features: c.0.view(), classes: &c.1 },
                        count,
                        options,
                        None,
                        &quick,
                    )?;
                    result.result.scores.oa.map_or(0.0, |i| i.value)
                }
                ShareProbe::Adam(options) => {
                    let (a, b) = (part(train), part(test));
                    let options = AdamProbe { seed: seed.wrapping_add(fold as u64), ..options.clone() };
                    adam_probe(
                        Labelled { features: a.0.view(), classes: &a.1 },
                        Labelled { features: b.0.view(), classes: &b.1 },
                        count,
                        &options,
                    )?
                }
            };
            accuracies.push(accuracy);
        }
        let n = accuracies.len() as f64;
        let mean = accuracies.iter().sum::<f64>() / n;
        let variance = accuracies.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let t = if accuracies.len() < 2 { f64::NAN } else { T.get(accuracies.len() - 2).copied().unwrap_or(1.96) };
        points.push(SharePoint { share, folds: accuracies, mean, half_width: t * (variance / n).sqrt() });
    }
    Ok(points)
}

/// All images in an order whose every beginning has the classes in about the proportions of the whole.
fn stratified(classes: &[usize], count: usize, seeds: Seeds, fold: usize) -> Vec<usize> {
    let mut rng = seeds.stream(&format!("share-curve/{fold}"));
    let mut groups = vec![Vec::new(); count.max(classes.iter().max().map_or(0, |m| m + 1))];
    classes.iter().enumerate().for_each(|(i, &c)| groups[c].push(i));
    let mut placed: Vec<(f64, usize)> = Vec::with_capacity(classes.len());
    for group in &mut groups {
        group.shuffle(&mut rng);
        let n = group.len() as f64;
        placed.extend(group.iter().enumerate().map(|(k, &i)| ((k as f64 + 0.5) / n, i)));
    }
    // Images at the same place of different classes come in random order.
    placed.shuffle(&mut rng);
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    placed.into_iter().map(|p| p.1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn more_images_and_better_features_score_higher() {
        let mut rng = Seeds::new(3).stream("test");
        let classes: Vec<usize> = (0..120).map(|i| i % 3).collect();
        let features = |noise: f32, rng: &mut rand_chacha::ChaCha8Rng| {
            Array2::from_shape_fn((120, 6), |(i, d)| {
                f32::from(u8::from(d == i % 3)) + noise * (rng.random::<f32>() - 0.5)
            })
        };
        let options = ShareProbe::Converged(ProbeOptions { strengths: vec![1.0], ..ProbeOptions::default() });
        let curve = |f: &Array2<f32>| share_curve(f.view(), &classes, 3, &[0.1, 0.8], 3, &options, 1).unwrap();
        let (clear, noisy) = (features(1.0, &mut rng), features(4.0, &mut rng));
        let (clear, noisy) = (curve(&clear), curve(&noisy));
        assert!(clear[0].mean > noisy[0].mean && noisy[1].mean > noisy[0].mean, "{clear:?} {noisy:?}");
        assert_eq!(clear[1].folds.len(), 3);
        let steps = ShareProbe::Adam(AdamProbe { rate: 0.05, ..AdamProbe::default() });
        let stepped = share_curve(features(1.0, &mut rng).view(), &classes, 3, &[0.8], 3, &steps, 1).unwrap();
        assert!(stepped[0].mean > 0.9, "{stepped:?}");
        let order = stratified(&classes, 3, Seeds::new(1), 0);
        for n in [12, 60] {
            let firsts = order[..n].iter().filter(|&&i| classes[i] == 0).count();
            assert!(firsts.abs_diff(n / 3) <= 2);
        }
        let none = Array2::zeros((120, 2));
        assert!(share_curve(none.view(), &classes, 3, &[0.001], 3, &options, 1).is_err());
        assert!(share_curve(none.view(), &classes, 3, &[1.0], 3, &options, 1).is_err());
    }
}
