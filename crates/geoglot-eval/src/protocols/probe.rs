//! Linear probe: logistic regression on frozen features.

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::classification::{Classification, score_classes};
use super::features::{Labelled, normalised};
use super::lbfgs::minimise;
use super::multilabel::{Multilabel, multilabel};
use super::thresholds::best_threshold;
use crate::bootstrap::Bootstrap;
use crate::error::{Error, Result, all_finite, same_length};

/// Rows worked on at once; fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 1024;

/// Settings of a linear probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeOptions {
    /// Values of C, the inverse strength of the L2 penalty, to choose from on the validation split.
    pub strengths: Vec<f64>,
    /// Whether feature vectors are brought to unit length first.
    pub normalise: bool,
    /// Whether the chosen probe is fitted again on training and validation images.
    pub refit: bool,
    /// Largest entry of the gradient of the mean loss at which fitting ends.
    pub tolerance: f64,
    /// Most steps of a fit.
    pub iterations: usize,
}

impl Default for ProbeOptions {
    /// C from 0.001 to 1000 in powers of ten, features as they are, refitted, tolerance 1e-5, 1000 steps.
    fn default() -> Self {
        Self {
            strengths: (-3..=3).map(|e| 10f64.powi(e)).collect(),
            normalise: false,
            refit: true,
            tolerance: 1e-5,
            iterations: 1000,
        }
    }
}

/// A fitted linear layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearProbe {
    /// Weights, [D, K].
    pub weights: Array2<f32>,
    /// Bias, `[K]`.
    pub bias: Array1<f32>,
    /// Whether the fit reached its tolerance.
    pub converged: bool,
}

/// The scored probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeResult<T> {
    /// Scores on the test split.
    pub result: T,
    /// The C chosen.
    pub strength: f64,
    /// Every C with its figure on the validation split: accuracy, or micro F1 for several labels.
    pub tried: Vec<(f64, f64)>,
    /// The fitted layer.
    pub probe: LinearProbe,
}

/// What the outputs mean.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Link {
    /// One class an image.
    Softmax,
    /// Each class for itself.
    Sigmoid,
}

impl Link {
    /// Turns a row of logits into probabilities; returns its loss against `target`.
    fn apply(self, row: &mut [f64], target: &[f64]) -> f64 {
        match self {
            Self::Softmax => {
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let right: f64 = row.iter().zip(target).map(|(z, t)| z * t).sum();
                let sum: f64 = row.iter().map(|z| (z - top).exp()).sum();
                row.iter_mut().for_each(|z| *z = (*z - top).exp() / sum);
                top + sum.ln() - right
            }
            Self::Sigmoid => {
                let mut loss = 0.0;
                for (z, t) in row.iter_mut().zip(target) {
                    // ln(1 + e^z) without overflow.
                    loss += z.max(0.0) + (-z.abs()).exp().ln_1p() - *z * t;
                    *z = 1.0 / (1.0 + (-*z).exp());
                }
                loss
            }
        }
    }
}

/// Fits `Σ loss / N + |W|² / (2 C N)`: scikit-learn's `LogisticRegression` divided by C N, bias free of the penalty.
fn fit(
    x: ArrayView2<f64>,
    y: ArrayView2<f64>,
    link: Link,
    c: f64,
    options: &ProbeOptions,
    start: Option<&[f64]>,
) -> (Vec<f64>, bool) {
    let ((n, width), classes) = (x.dim(), y.ncols());
    let size = width * classes;
    let (one, penalty) = (1.0 / n as f64, 1.0 / (c * n as f64));
    let starts: Vec<usize> = (0..n).step_by(BLOCK).collect();
    let function = |parameters: &[f64]| {
        let weights = ArrayView2::from_shape((width, classes), &parameters[..size]).expect("sizes agree");
        let bias = &parameters[size..];
        let parts: Vec<(f64, Array2<f64>, Array1<f64>)> = starts
            .par_iter()
            .map(|&start| {
                let rows = s![start..(start + BLOCK).min(n), ..];
                let (x, y) = (x.slice(rows), y.slice(rows));
                let mut p = x.dot(&weights);
                let mut loss = 0.0;
                for (mut row, target) in p.rows_mut().into_iter().zip(y.rows()) {
                    row.iter_mut().zip(bias).for_each(|(z, b)| *z += b);
                    let (row, target) = (row.as_slice_mut().expect("rows lie together"), target.to_vec());
                    loss += link.apply(row, &target);
                }
                p -= &y;
                (loss, x.t().dot(&p), p.sum_axis(Axis(0)))
            })
            .collect();
        let mut value = 0.0;
        let mut gradient = vec![0.0; parameters.len()];
        for (loss, g, b) in parts {
            value += loss * one;
            gradient[..size].iter_mut().zip(&g).for_each(|(to, v)| *to += v * one);
            gradient[size..].iter_mut().zip(&b).for_each(|(to, v)| *to += v * one);
        }
        for (g, w) in gradient[..size].iter_mut().zip(parameters) {
            value += 0.5 * penalty * w * w;
            *g += penalty * w;
        }
        (value, gradient)
    };
    let start = start.map_or_else(|| vec![0.0; size + classes], <[f64]>::to_vec);
    let end = minimise(start, options.tolerance, options.iterations, function);
    (end.at, end.converged)
}

impl LinearProbe {
    fn new(parameters: &[f64], width: usize, converged: bool) -> Self {
        let classes = parameters.len() / (width + 1);
        let value = |i: usize| parameters[i] as f32;
        Self {
            weights: Array2::from_shape_fn((width, classes), |(d, k)| value(d * classes + k)),
            bias: Array1::from_shape_fn(classes, |k| value(width * classes + k)),
            converged,
        }
    }

    /// Logits of `features` [N, D], [N, K]: as the features were when fitted (normalised or not).
    pub fn logits(&self, features: ArrayView2<f32>) -> Array2<f32> {
        features.dot(&self.weights) + &self.bias
    }
}

/// One split: features and truth values, [N, D] and [N, K].
struct Part {
    x: Array2<f64>,
    features: Array2<f32>,
    y: Array2<f64>,
}

impl Part {
    fn new(features: ArrayView2<f32>, y: Array2<f64>, options: &ProbeOptions) -> Self {
        let features = if options.normalise { normalised(features) } else { features.to_owned() };
        Self { x: features.mapv(f64::from), features, y }
    }
}

fn one_hot(classes: &[usize], count: usize) -> Array2<f64> {
    Array2::from_shape_fn((classes.len(), count), |(i, k)| f64::from(u8::from(classes[i] == k)))
}

/// The probe chosen.
struct Chosen {
    /// As it was on the validation split.
    validated: LinearProbe,
    /// Fitted again, where that was asked for.
    probe: LinearProbe,
    strength: f64,
    tried: Vec<(f64, f64)>,
}

/// Fits every C from weak to strong, each from the one before, and takes the best on the validation split (the smaller C of equals).
fn choose(
    train: &Part,
    validation: &Part,
    link: Link,
    options: &ProbeOptions,
    figure: impl Fn(&Array2<f32>) -> Result<f64>,
) -> Result<Chosen> {
    let mut strengths = options.strengths.clone();
    strengths.sort_by(f64::total_cmp);
    if strengths.is_empty() || strengths.iter().any(|c| !(c.is_finite() && *c > 0.0)) {
        return Err(Error::Setting("a probe needs values of C above 0, such as 0.1, 1 and 10".into()));
    }
    let width = train.x.ncols();
    let mut tried = Vec::new();
    let mut best: Option<(f64, f64, Vec<f64>, bool)> = None;
    let mut last: Option<Vec<f64>> = None;
    for c in strengths {
        let (at, converged) = fit(train.x.view(), train.y.view(), link, c, options, last.as_deref());
        let value = figure(&LinearProbe::new(&at, width, converged).logits(validation.features.view()))?;
        tried.push((c, value));
        if best.as_ref().is_none_or(|b| value > b.1) {
            best = Some((c, value, at.clone(), converged));
        }
        last = Some(at);
    }
    let Some((strength, _, at, converged)) = best else { return Err(Error::Empty("no value of C was tried".into())) };
    let validated = LinearProbe::new(&at, width, converged);
    if !options.refit {
        return Ok(Chosen { probe: validated.clone(), validated, strength, tried });
    }
    let joined = |a: &Array2<f64>, b: &Array2<f64>| {
        concatenate(Axis(0), &[a.view(), b.view()])
            .map_err(|e| Error::Setting(format!("the splits cannot be joined: {e}")))
    };
    let (x, y) = (joined(&train.x, &validation.x)?, joined(&train.y, &validation.y)?);
    let (at, converged) = fit(x.view(), y.view(), link, strength, options, Some(&at));
    Ok(Chosen { validated, probe: LinearProbe::new(&at, width, converged), strength, tried })
}

/// Multinomial logistic regression with an L2 penalty, C chosen by accuracy on `validation`, scored on `test` (top-1 and top-5).
///
/// # Errors
/// [`Error::Setting`] for impossible settings; [`Error::Length`], [`Error::Class`], [`Error::NotFinite`], [`Error::Empty`].
pub fn linear_probe(
    train: Labelled<'_>,
    validation: Labelled<'_>,
    test: Labelled<'_>,
    classes: usize,
    options: &ProbeOptions,
    groups: Option<&[u32]>,
    bootstrap: &Bootstrap,
) -> Result<ProbeResult<Classification>> {
    let width = train.features.ncols();
    let part = |what: &str, set: &Labelled<'_>| {
        set.check(what, classes, width)?;
        Ok::<_, Error>(Part::new(set.features, one_hot(set.classes, classes), options))
    };
    let parts = [part("training", &train)?, part("validation", &validation)?, part("test", &test)?];
    let quick = Bootstrap { replicates: 0, ..*bootstrap };
    let accuracy = |logits: &Array2<f32>| {
        let scored = score_classes(logits.view(), validation.classes, None, &[1], &quick)?;
        Ok(scored.scores.oa.map_or(0.0, |i| i.value))
    };
    let Chosen { probe, strength, tried, .. } = choose(&parts[0], &parts[1], Link::Softmax, options, accuracy)?;
    let logits = probe.logits(parts[2].features.view());
    let result = score_classes(logits.view(), test.classes, groups, &[1, 5], bootstrap)?;
    Ok(ProbeResult { result, strength, tried, probe })
}

/// Logistic regression for each label with an L2 penalty; C and one threshold on the probabilities chosen by micro F1 on `validation`.
///
/// Each split is its features [N, D] and truth values [N, L].
///
/// # Errors
/// As [`linear_probe`].
pub fn linear_probe_multilabel(
    train: (ArrayView2<f32>, ArrayView2<bool>),
    validation: (ArrayView2<f32>, ArrayView2<bool>),
    test: (ArrayView2<f32>, ArrayView2<bool>),
    options: &ProbeOptions,
    groups: Option<&[u32]>,
    bootstrap: &Bootstrap,
) -> Result<ProbeResult<Multilabel>> {
    let (width, labels) = (train.0.ncols(), train.1.ncols());
    let part = |what: &str, features: ArrayView2<f32>, truth: ArrayView2<bool>| {
        same_length(&format!("labels of the {what} split"), features.nrows(), truth.nrows())?;
        same_length(&format!("classes of the {what} split"), labels, truth.ncols())?;
        same_length(&format!("width of the {what} features"), width, features.ncols())?;
        all_finite(&format!("{what} features"), features)?;
        if features.is_empty() {
            return Err(Error::Empty(format!("the {what} split has no items")));
        }
        Ok(Part::new(features, truth.mapv(|t| f64::from(u8::from(t))), options))
    };
    let parts = [
        part("training", train.0, train.1)?,
        part("validation", validation.0, validation.1)?,
        part("test", test.0, test.1)?,
    ];
    let sigmoid = |logits: &Array2<f32>| logits.mapv(|z| 1.0 / (1.0 + (-z).exp()));
    let quick = Bootstrap { replicates: 0, ..*bootstrap };
    let threshold = |logits: &Array2<f32>| best_threshold(sigmoid(logits).view(), validation.1);
    let figure = |logits: &Array2<f32>| {
        let scored = multilabel(sigmoid(logits).view(), validation.1, &threshold(logits)?, None, &quick)?;
        Ok(scored.micro.f1.map_or(0.0, |i| i.value))
    };
    let Chosen { validated, probe, strength, tried } = choose(&parts[0], &parts[1], Link::Sigmoid, options, figure)?;
    // Scores of images that a probe was fitted on are too good for a threshold.
    let cut = threshold(&validated.logits(parts[1].features.view()))?;
    let scores = sigmoid(&probe.logits(parts[2].features.view()));
    let result = multilabel(scores.view(), test.1, &cut, groups, bootstrap)?;
    Ok(ProbeResult { result, strength, tried, probe })
}
