//! Taking the validation part out of the training pixels.

use std::fmt;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::assign::{balanced, histograms};
use super::distance::outside_buffer;
use super::{Pixel, SplitOptions, counts};

/// How the validation pixels were taken out of the training pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ValidationKind {
    /// No validation pixels.
    None,
    /// At random: its patches overlap training patches, so its accuracy is optimistic.
    Random,
    /// Whole blocks or regions, with the buffer around them.
    Separate,
}

impl fmt::Display for ValidationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none set aside",
            Self::Random => "at random among the training pixels",
            Self::Separate => "spatially separate from the training pixels",
        })
    }
}

pub(super) type Parts = (Vec<Pixel>, Vec<Pixel>, ValidationKind);

/// Takes a random share of each class. A class keeps at least one training pixel.
pub(super) fn random(train: Vec<Pixel>, classes: usize, options: &SplitOptions) -> Parts {
    if options.validation == 0.0 {
        return (train, Vec::new(), ValidationKind::None);
    }
    let mut rng = options.seeds().stream("split/validation");
    let mut order: Vec<usize> = (0..train.len()).collect();
    order.shuffle(&mut rng);
    let mut left: Vec<usize> = counts(&train, classes)
        .iter()
        .map(|&n| ((n as f64 * options.validation).round() as usize).min(n.saturating_sub(1)))
        .collect();
    let mut chosen = vec![false; train.len()];
    for k in order {
        let quota = &mut left[train[k].class];
        if *quota > 0 {
            *quota -= 1;
            chosen[k] = true;
        }
    }
    let (validation, train): (Vec<_>, Vec<_>) = train.into_iter().zip(chosen).partition(|(_, chosen)| *chosen);
    let bare = |pixels: Vec<(Pixel, bool)>| pixels.into_iter().map(|(p, _)| p).collect::<Vec<_>>();
    let validation = bare(validation);
    let kind = if validation.is_empty() { ValidationKind::None } else { ValidationKind::Random };
    (bare(train), validation, kind)
}

/// Takes whole groups (`group_of` numbers them from 0), and drops training pixels closer than `buffer` to them. Falls back to a random part
/// where the groups are too few, or where some class would lose more than half of its training pixels.
pub(super) fn separate(
    train: Vec<Pixel>,
    group_of: impl Fn(&Pixel) -> usize,
    buffer: usize,
    shapes: &[(usize, usize)],
    classes: usize,
    options: &SplitOptions,
) -> Parts {
    if options.validation == 0.0 {
        return (train, Vec::new(), ValidationKind::None);
    }
    // Numbers of the groups that have training pixels, densely.
    let mut dense = std::collections::BTreeMap::new();
    for pixel in &train {
        let next = dense.len();
        dense.entry(group_of(pixel)).or_insert(next);
    }
    let parts = (1.0 / options.validation).round() as usize;
    if dense.len() < parts.clamp(4, 6) {
        return random(train, classes, options);
    }
    let parts = parts.min(dense.len());
    let part_histograms = histograms(train.iter().map(|p| (dense[&group_of(p)], p.class)), dense.len(), classes);
    let part_of = balanced(&part_histograms, parts, &mut options.seeds().stream("split/validation"));
    let before = counts(&train, classes);
    // The part whose removal leaves every class the most of its pixels, provided it shows the most classes.
    let mut best: Option<((usize, f64), usize)> = None;
    for part in 0..parts {
        let validation: Vec<Pixel> = train.iter().filter(|p| part_of[dense[&group_of(p)]] == part).copied().collect();
        let rest: Vec<Pixel> = train.iter().filter(|p| part_of[dense[&group_of(p)]] != part).copied().collect();
        let after = counts(&outside_buffer(rest, &validation, buffer, shapes), classes);
        let kept = (0..classes)
            .filter(|&c| before[c] > 0)
            .map(|c| after[c] as f64 / before[c] as f64)
            .fold(f64::INFINITY, f64::min);
        let shown = counts(&validation, classes).iter().filter(|n| **n > 0).count();
        if kept >= 0.5 && best.as_ref().is_none_or(|(score, _)| (shown, kept) > *score) {
            best = Some(((shown, kept), part));
        }
    }
    let Some((_, part)) = best else { return random(train, classes, options) };
    let (validation, rest): (Vec<Pixel>, Vec<Pixel>) =
        train.into_iter().partition(|p| part_of[dense[&group_of(p)]] == part);
    let rest = outside_buffer(rest, &validation, buffer, shapes);
    (rest, validation, ValidationKind::Separate)
}
