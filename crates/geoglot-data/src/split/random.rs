//! A number of training pixels per class, drawn at random.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::report::finish;
use super::{LabelledPixels, Split, SplitKind, SplitOptions, validation};
use crate::{Error, Result};

/// How many training pixels each class gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerClass {
    /// The same number for every class.
    Same(usize),
    /// One number a class, in the legend's order, such as a published split.
    Each(Vec<usize>),
}

/// Draws training pixels per class; all other labelled pixels are tested. Patches of neighbours overlap, so results are optimistic: the report
/// says by how much. The validation pixels are taken out of the drawn ones.
///
/// # Errors
/// [`Error::Split`] when a class has no more pixels than asked for, or `Each` does not fit the legend.
pub fn random_per_class(all: &LabelledPixels, per_class: &PerClass, options: &SplitOptions) -> Result<Split> {
    options.check()?;
    let available = all.counts();
    let wanted: Vec<usize> = match per_class {
        PerClass::Same(n) => available.iter().map(|&a| if a == 0 { 0 } else { *n }).collect(),
        PerClass::Each(list) if list.len() == available.len() => list.clone(),
        PerClass::Each(list) => {
            return Err(Error::Split(format!(
                "{} numbers of pixels per class were given, the legend has {} classes",
                list.len(),
                available.len()
            )));
        }
    };
    if wanted.iter().sum::<usize>() == 0 {
        return Err(Error::Split("0 training pixels per class were asked for; give at least 1".into()));
    }
    for (k, (&n, &a)) in wanted.iter().zip(&available).enumerate() {
        if n > 0 && n >= a {
            return Err(Error::Split(format!(
                "class `{}`: {n} training pixels were asked for, {a} are labelled, and at least one must be left to test; ask for fewer",
                all.classes[k]
            )));
        }
    }
    let mut order: Vec<usize> = (0..all.pixels.len()).collect();
    order.shuffle(&mut options.seeds().stream("split/random"));
    let mut left = wanted;
    let mut chosen = vec![false; order.len()];
    for k in order {
        let quota = &mut left[all.pixels[k].class];
        if *quota > 0 {
            *quota -= 1;
            chosen[k] = true;
        }
    }
    let side = |take: bool| all.pixels.iter().zip(&chosen).filter(move |(_, c)| **c == take).map(|(p, _)| *p);
    let parts = validation::random(side(true).collect(), all.classes.len(), options);
    Ok(finish(all, SplitKind::RandomPerClass, parts, side(false).collect(), options.patch))
}
