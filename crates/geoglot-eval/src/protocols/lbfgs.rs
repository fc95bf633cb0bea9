//! Minimisation of smooth functions by L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.5).

use std::collections::VecDeque;

/// Pairs of steps and gradient changes kept.
const MEMORY: usize = 10;

/// Where a minimisation ended.
pub(super) struct Minimum {
    pub(super) at: Vec<f64>,
    /// Whether the largest entry of the gradient fell below the tolerance.
    pub(super) converged: bool,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Minimises `function`, which gives value and gradient, from `start`.
pub(super) fn minimise(
    start: Vec<f64>,
    tolerance: f64,
    most: usize,
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> Minimum {
    let mut x = start;
    let (mut value, mut gradient) = function(&x);
    let mut pairs: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
    for _ in 0..most {
        if gradient.iter().all(|g| g.abs() <= tolerance) {
            return Minimum { at: x, converged: true };
        }
        // Two-loop recursion: the direction is the inverse Hessian's estimate times the gradient.
        let mut direction = gradient.clone();
        let mut factors = Vec::with_capacity(pairs.len());
        for (step, change, rho) in pairs.iter().rev() {
            let a = rho * dot(step, &direction);
            direction.iter_mut().zip(change).for_each(|(d, c)| *d -= a * c);
            factors.push(a);
        }
        let scale = match pairs.back() {
            Some((step, change, _)) => dot(step, change) / dot(change, change),
            None => 1.0 / dot(&gradient, &gradient).sqrt().max(1.0),
        };
        direction.iter_mut().for_each(|d| *d *= scale);
        for ((step, change, rho), a) in pairs.iter().zip(factors.into_iter().rev()) {
            let b = rho * dot(change, &direction);
            direction.iter_mut().zip(step).for_each(|(d, s)| *d += (a - b) * s);
        }
        let slope = -dot(&direction, &gradient);
        if slope >= 0.0 {
            // Rounding spoilt the estimate: start again from the gradient.
            if pairs.is_empty() {
                return Minimum { at: x, converged: false };
            }
            pairs.clear();
            continue;
        }
        // Backtracking until the value falls enough (Armijo); on a convex function the curvature condition then holds or the pair is dropped.
        let mut length = 1.0;
        let (next, next_value, next_gradient) = loop {
            let next: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x - length * d).collect();
            let (v, g) = function(&next);
            if v <= value + 1e-4 * length * slope {
                break (next, v, g);
            }
            length *= 0.5;
            if length < 1e-12 {
                return Minimum { at: x, converged: false };
            }
        };
        let step: Vec<f64> = next.iter().zip(&x).map(|(a, b)| a - b).collect();
        let change: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let curvature = dot(&step, &change);
        if curvature > 1e-12 * dot(&change, &change) {
            if pairs.len() == MEMORY {
                pairs.pop_front();
            }
            pairs.push_back((step, change, 1.0 / curvature));
        }
        (x, value, gradient) = (next, next_value, next_gradient);
    }
    Minimum { at: x, converged: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_valley_is_followed_to_its_end() {
        // Rosenbrock's function in 10 dimensions; minimum 0 at ones.
        let f = |x: &[f64]| {
            let mut value = 0.0;
            let mut g = vec![0.0; x.len()];
            for i in 0..x.len() - 1 {
                let (a, b) = (x[i + 1] - x[i] * x[i], 1.0 - x[i]);
                value += 100.0 * a * a + b * b;
                g[i] += -400.0 * a * x[i] - 2.0 * b;
                g[i + 1] += 200.0 * a;
            }
            (value, g)
        };
        let end = minimise(vec![-1.2, 1.0, -1.2, 1.0, -1.2, 1.0, -1.2, 1.0, -1.2, 1.0], 1e-8, 2000, f);
        assert!(end.converged && end.at.iter().all(|x| (x - 1.0).abs() < 1e-6), "{:?}", end.at);
    }
}
