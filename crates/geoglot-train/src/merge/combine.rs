//! Several values of one tensor to one.

use geoglot_models::vision::{MergeMethod, ModuleRatios};
use regex::Regex;

use super::error::{MergeError, Result};

/// How models are merged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MergePlan {
    /// How.
    pub method: MergeMethod,
    /// One ratio for each model after the first: the share of that model (linear, slerp: 0–1), the factor on its difference
    /// from the first (task arithmetic: −10–10).
    pub ratios: Vec<f64>,
    /// Other ratios for tensors by name; the first pattern that matches holds.
    pub modules: Vec<ModuleRatios>,
}

impl MergePlan {
    /// Ratios from text, `R[,R…]`.
    ///
    /// # Errors
    /// [`MergeError::Plan`] naming what is no number.
    pub fn ratios(text: &str) -> Result<Vec<f64>> {
        let ratio = |part: &str| {
            let value = part.trim().parse::<f64>().ok().filter(|v| v.is_finite());
            value.ok_or_else(|| MergeError::Plan(format!("`{}` is no ratio", part.trim())))
        };
        text.split(',').map(ratio).collect()
    }

    /// Ratios of some tensors from text, `REGEX=R[,R…]`.
    ///
    /// # Errors
    /// [`MergeError::Plan`] for another form, and naming what is no number.
    pub fn module(text: &str) -> Result<ModuleRatios> {
        let (names, ratios) =
            text.rsplit_once('=').ok_or_else(|| MergeError::Plan(format!("{text}: expected REGEX=R[,R…]")))?;
        Ok(ModuleRatios { names: names.into(), ratios: Self::ratios(ratios)? })
    }

    /// Checks the numbers of ratios, their ranges and the patterns for merging `models` models.
    ///
    /// # Errors
    /// [`MergeError::Plan`].
    pub fn check(&self, models: usize) -> Result<()> {
        Ratios::new(self, models).map(drop)
    }
}

/// A checked plan.
pub(super) struct Ratios<'a> {
    plan: &'a MergePlan,
    patterns: Vec<Regex>,
}

impl<'a> Ratios<'a> {
    pub fn new(plan: &'a MergePlan, models: usize) -> Result<Self> {
        let bounds = if plan.method == MergeMethod::TaskArithmetic { -10.0..=10.0 } else { 0.0..=1.0 };
        let check = |what: &str, ratios: &[f64]| {
            if ratios.len() + 1 != models {
                return Err(MergeError::Plan(format!(
                    "{what}: {} ratios for {models} models; give one for each model after the first",
                    ratios.len()
                )));
            }
            match ratios.iter().find(|r| !bounds.contains(*r)) {
                Some(r) => {
                    Err(MergeError::Plan(format!("{what}: ratio {r} is outside {}–{}", bounds.start(), bounds.end())))
                }
                None => Ok(()),
            }
        };
        check("the merge", &plan.ratios)?;
        let mut patterns = Vec::new();
        for module in &plan.modules {
            check(&format!("`{}`", module.names), &module.ratios)?;
            patterns.push(Regex::new(&module.names).map_err(|e| MergeError::Plan(format!("`{}`: {e}", module.names)))?);
        }
        Ok(Self { plan, patterns })
    }

    /// The ratios of tensor `name`.
    fn of(&self, name: &str) -> &'a [f64] {
        let found = self.patterns.iter().position(|p| p.is_match(name));
        found.map_or(&self.plan.ratios, |k| &self.plan.modules[k].ratios)
    }

    /// Patterns that match none of `names`.
    pub fn idle<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> Option<&str> {
        self.patterns.iter().find(|p| !names.clone().any(|n| p.is_match(n))).map(Regex::as_str)
    }

    /// The merged values of tensor `name`; `read(k)` gives model k's, `None` where it has no such tensor. At most two models' values are in
    /// memory beside the sum.
    pub fn merge(
        &self,
        name: &str,
        models: usize,
        mut read: impl FnMut(usize) -> Result<Option<Vec<f32>>>,
    ) -> Result<Option<Vec<f32>>> {
        let ratios = self.of(name);
        if self.plan.method == MergeMethod::TaskArithmetic {
            return arithmetic(ratios, models, read);
        }
        let mut merged: Option<Vec<f32>> = None;
        for k in 0..models {
            let Some(other) = read(k)? else { continue };
            merged = Some(match merged {
                None => other,
                Some(mut own) => {
                    match self.plan.method {
                        MergeMethod::Slerp => slerp(&mut own, &other, ratios[k - 1]),
                        _ => linear(&mut own, &other, ratios[k - 1]),
                    }
                    own
                }
            });
        }
        Ok(merged)
    }
}

/// (1 − r)·a + r·b.
fn linear(a: &mut [f32], b: &[f32], r: f64) {
    weighted(a, 1.0 - r, b, r);
}

fn weighted(a: &mut [f32], wa: f64, b: &[f32], wb: f64) {
    for (a, b) in a.iter_mut().zip(b) {
        // A weight of 1 leaves the numbers as they are, bit for bit.
        *a = (wa * f64::from(*a) + wb * f64::from(*b)) as f32;
    }
}

/// Spherical interpolation between the directions of a and b; the lengths follow the same weights, as is usual for weights
/// (Shoemake 1985). Vectors that are zero or (anti)parallel are interpolated linearly.
fn slerp(a: &mut [f32], b: &[f32], r: f64) {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    let cosine = if lengths > 0.0 { (dot(a, b) / lengths).clamp(-1.0, 1.0) } else { 1.0 };
    if cosine.abs() > 0.9995 {
        return linear(a, b, r);
    }
    let angle = cosine.acos();
    let weight = |share: f64| (share * angle).sin() / angle.sin();
    weighted(a, weight(1.0 - r), b, weight(r));
}

/// a + Σ r·(b − a). Tensors the first model lacks are the mean of the others', weighted by |r| (plain, when all r are 0).
fn arithmetic(
    ratios: &[f64],
    models: usize,
    mut read: impl FnMut(usize) -> Result<Option<Vec<f32>>>,
) -> Result<Option<Vec<f32>>> {
    let Some(base) = read(0)? else {
        let (mut sum, mut total): (Option<Vec<f32>>, f64) = (None, 0.0);
        let all_zero = ratios.iter().all(|r| *r == 0.0);
        for k in 1..models {
            let weight = if all_zero { 1.0 } else { ratios[k - 1].abs() };
            let Some(other) = read(k)? else { continue };
            sum = Some(match sum {
                None => other,
                Some(mut mean) => {
                    // A running mean; a weight of 0 on both sides keeps the first.
                    let share = if total + weight > 0.0 { weight / (total + weight) } else { 0.0 };
                    linear(&mut mean, &other, share);
                    mean
                }
            });
            total += weight;
        }
        return Ok(sum);
    };
    let mut merged = base.clone();
    for k in 1..models {
        let Some(other) = read(k)? else { continue };
        for ((m, b), o) in merged.iter_mut().zip(&base).zip(&other) {
            *m = (f64::from(*m) + ratios[k - 1] * (f64::from(*o) - f64::from(*b))) as f32;
        }
    }
    Ok(Some(merged))
}
