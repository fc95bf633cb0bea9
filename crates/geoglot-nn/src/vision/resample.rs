//! Separable resampling along one axis: the weights of PyTorch's `interpolate` and of Pillow's `resize`.

/// Interpolation kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Linear in both axes.
    Bilinear,
    /// Cubic convolution (Keys 1981).
    Bicubic,
}

/// Weights of one axis: output sample `i` is the sum of `weights[i][k]` × input sample `first[i] + k`.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// First input sample of each output sample.
    pub first: Vec<usize>,
    /// Weights of the samples from there on; each row sums to 1.
    pub weights: Vec<Vec<f64>>,
}

impl Axis {
    /// Weights that widen the kernel when shrinking (Pillow's `resize`, `interpolate(antialias=True)`); cubic a = −0.5.
    pub fn antialiased(interpolation: Interpolation, input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let (support, kernel): (f64, fn(f64) -> f64) = match interpolation {
            Interpolation::Bilinear => (1.0, |x| (1.0 - x.abs()).max(0.0)),
            Interpolation::Bicubic => (2.0, |x| cubic(x, -0.5)),
        };
        let stretch = scale.max(1.0);
        let support = support * stretch;
        let mut axis = Axis { first: Vec::with_capacity(output), weights: Vec::with_capacity(output) };
        for i in 0..output {
            let centre = (i as f64 + 0.5) * scale;
            // Truncation towards zero, as both libraries do.
            let first = ((centre - support + 0.5).max(0.0)) as usize;
            let last = ((centre + support + 0.5) as usize).min(input);
            let mut weights: Vec<f64> = (first..last).map(|x| kernel((x as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            axis.first.push(first);
            axis.weights.push(weights);
        }
        axis
    }

    /// Weights of fixed width (`interpolate(antialias=False, align_corners=False)`); cubic a = −0.75, edge samples repeated.
    /// `scale` is the input step of one output sample, `input / output` unless the caller knows better.
    pub fn plain(interpolation: Interpolation, input: usize, output: usize, scale: Option<f64>) -> Self {
        let scale = scale.unwrap_or(input as f64 / output as f64);
        let last = input as isize - 1;
        let mut axis = Axis { first: Vec::with_capacity(output), weights: Vec::with_capacity(output) };
        for i in 0..output {
            let mut at = (i as f64 + 0.5) * scale - 0.5;
            let taps: Vec<(isize, f64)> = match interpolation {
                Interpolation::Bilinear => {
                    at = at.max(0.0);
                    let t = at - at.floor();
                    vec![(at.floor() as isize, 1.0 - t), (at.floor() as isize + 1, t)]
                }
                Interpolation::Bicubic => {
                    let t = at - at.floor();
                    (-1..=2).map(|k| (at.floor() as isize + k, cubic(t - k as f64, -0.75))).collect()
                }
            };
            let clamp = |x: isize| x.clamp(0, last) as usize;
            let (first, end) = (clamp(taps[0].0), clamp(taps[taps.len() - 1].0));
            let mut weights = vec![0.0; end - first + 1];
            for (x, w) in taps {
                weights[clamp(x) - first] += w;
            }
            axis.first.push(first);
            axis.weights.push(weights);
        }
        axis
    }

    /// Resamples the middle axis of `[outer, input, inner]` to `[outer, output, inner]`.
    pub fn apply(&self, values: &[f32], outer: usize, input: usize, inner: usize) -> Vec<f32> {
        let mut out = vec![0f32; outer * self.first.len() * inner];
        let mut sums = vec![0f64; inner];
        for o in 0..outer {
            let source = &values[o * input * inner..(o + 1) * input * inner];
            for (i, (first, weights)) in self.first.iter().zip(&self.weights).enumerate() {
                sums.fill(0.0);
                for (k, w) in weights.iter().enumerate() {
                    let row = &source[(first + k) * inner..(first + k + 1) * inner];
                    for (s, v) in sums.iter_mut().zip(row) {
                        *s += w * f64::from(*v);
                    }
                }
                let to = (o * self.first.len() + i) * inner;
                for (t, s) in out[to..to + inner].iter_mut().zip(&sums) {
                    *t = *s as f32;
                }
            }
        }
        out
    }
}

/// Cubic convolution kernel with parameter a.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_changes_nothing() {
        let values: Vec<f32> = (0..12).map(|v| (v * v) as f32).collect();
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            assert_eq!(Axis::antialiased(interpolation, 4, 4).apply(&values, 1, 4, 3), values);
            assert_eq!(Axis::plain(interpolation, 4, 4, None).apply(&values, 1, 4, 3), values);
        }
    }

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            for (input, output) in [(1, 7), (7, 1), (3, 10), (100, 9), (2, 2)] {
                for axis in
                    [Axis::antialiased(interpolation, input, output), Axis::plain(interpolation, input, output, None)]
                {
                    for (first, weights) in axis.first.iter().zip(&axis.weights) {
                        assert!(first + weights.len() <= input && !weights.is_empty());
                        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    }
                }
            }
        }
    }

    #[test]
    fn bicubic_has_the_references_numbers() {
        // torch.nn.functional.interpolate(x[None, None, None], (1, 3), mode="bicubic", antialias=…), x = 0, 1, 4, 9, 16.
        let x = [0., 1., 4., 9., 16.];
        let close = |got: Vec<f32>, expected: [f32; 3]| {
            assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-5), "{got:?} {expected:?}");
        };
        close(Axis::plain(Interpolation::Bicubic, 5, 3, None).apply(&x, 1, 5, 1), PLAIN);
        close(Axis::antialiased(Interpolation::Bicubic, 5, 3).apply(&x, 1, 5, 1), ANTIALIASED);
    }

    const PLAIN: [f32; 3] = [0.148_149_01, 4.0, 14.074_071];
    const ANTIALIASED: [f32; 3] = [0.169_231_04, 4.195_349, 13.338_459];
}
