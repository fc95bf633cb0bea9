//! Figures of rankings.

/// Average precision of one class over images drawn `weights` times: the sum over distinct scores, from high to low, of precision × gain in recall
/// (scikit-learn's `average_precision_score`). `None` without a positive image.
///
/// `order` are positions by falling score.
pub(super) fn weighted_average_precision(
    order: &[usize],
    score: impl Fn(usize) -> f32,
    truth: impl Fn(usize) -> bool,
    weights: &[u32],
) -> Option<f64> {
    let positives: u64 = order.iter().filter(|&&i| truth(i)).map(|&i| u64::from(weights[i])).sum();
    if positives == 0 {
        return None;
    }
    let (mut hits, mut seen, mut before, mut sum) = (0u64, 0u64, 0u64, 0.0);
    for (k, &i) in order.iter().enumerate() {
        seen += u64::from(weights[i]);
        hits += if truth(i) { u64::from(weights[i]) } else { 0 };
        // Equal scores stand at one threshold.
        let last = order.get(k + 1).is_none_or(|&next| score(next) != score(i));
        if last && hits > before {
            sum += hits as f64 / seen as f64 * (hits - before) as f64;
            before = hits;
        }
    }
    Some(sum / positives as f64)
}

/// Positions by falling score; equal scores keep their order.
pub(super) fn by_score(n: usize, score: impl Fn(usize) -> f32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    order
}

/// Average precision of `scores` for the images where `truth` holds; `None` without one.
pub fn average_precision(scores: &[f32], truth: &[bool]) -> Option<f64> {
    let n = scores.len().min(truth.len());
    weighted_average_precision(&by_score(n, |i| scores[i]), |i| scores[i], |i| truth[i], &vec![1; n])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_precision_is_that_of_sklearn() {
        // sklearn.metrics.average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        let ap = average_precision(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]).unwrap();
        assert!((ap - 0.833_333_333_333).abs() < 1e-9);
        // Ties: average_precision_score([1, 0, 1, 0], [.5, .5, .5, .2]) = 2/3.
        let ap = average_precision(&[0.5, 0.5, 0.5, 0.2], &[true, false, true, false]).unwrap();
        assert!((ap - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(average_precision(&[0.5], &[false]), None);
    }
}
