//! Element-wise functions and row reductions, written so that the compiler vectorises them: no branches, no calls, sums in lanes.
//!
//! All are inlined into functions compiled for the processor at hand (see `simd.rs`).

use crate::transformer::Activation;

/// Lanes of a sum; the order of additions does not depend on the processor's vector width.
const LANES: usize = 16;

/// eˣ to about 2 ulp for x in [−87, 88], clamped outside.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ leaves the nearest whole number in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let t = x * std::f32::consts::LOG2_E + MAGIC;
    let n = t - MAGIC;
    // ln 2 in two parts, the first exact in few bits.
    let r = x - n * 0.693_359_4;
    let r = r + n * 2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    let exponent = (t.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127)) << 23;
    y * f32::from_bits(exponent)
}

/// Φ(x) and e^(−x²/2); the error function by Abramowitz & Stegun 7.1.26 (error below 2·10⁻⁷).
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    let bell = exp(-z * z);
    let tail = 0.5 * p * bell; // 1 − Φ(|x|)
    (if x >= 0.0 { 1.0 - tail } else { tail }, bell)
}

/// x·Φ(x).
#[inline(always)]
fn gelu(x: f32) -> f32 {
    x * normal(x).0
}

/// Φ(x) + x·φ(x).
#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    let (below, bell) = normal(x);
    below + x * bell * 0.398_942_3
}

/// x·σ(z).
#[inline(always)]
fn gated(x: f32, z: f32) -> f32 {
    x / (1.0 + exp(-z))
}

/// The slope of x·σ(z), where `slope` is that of z.
#[inline(always)]
fn gated_slope(x: f32, z: f32, slope: f32) -> f32 {
    let s = 1.0 / (1.0 + exp(-z));
    s + x * s * (1.0 - s) * slope
}

// ½x(1 + tanh u) = x·σ(2u) with 2u = A·(x + B·x³).
const A: f32 = 1.595_769;
const B: f32 = 0.044_715;
/// x·σ(QUICK·x).
const QUICK: f32 = 1.702;

/// Applies an activation to every value.
#[inline(always)]
pub fn activate(values: &mut [f32], activation: Activation) {
    match activation {
        Activation::Gelu => values.iter_mut().for_each(|v| *v = gelu(*v)),
        Activation::GeluTanh => values.iter_mut().for_each(|v| *v = gated(*v, A * (*v + B * *v * *v * *v))),
        Activation::QuickGelu => values.iter_mut().for_each(|v| *v = gated(*v, QUICK * *v)),
        Activation::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
    }
}

/// Gradients behind an activation, `grad`, times its slope at `before`; added to `sums` too.
#[inline(always)]
pub fn activation_gradient(before: &[f32], grad: &[f32], out: &mut [f32], sums: &mut [f32], activation: Activation) {
    #[inline(always)]
    fn each(before: &[f32], grad: &[f32], out: &mut [f32], sums: &mut [f32], slope: impl Fn(f32) -> f32) {
        for (((o, g), z), sum) in out.iter_mut().zip(grad).zip(before).zip(sums) {
            *o = g * slope(*z);
            *sum += *o;
        }
    }
    match activation {
        Activation::Gelu => each(before, grad, out, sums, gelu_slope),
        Activation::GeluTanh => {
            each(before, grad, out, sums, |x| gated_slope(x, A * (x + B * x * x * x), A * (1.0 + 3.0 * B * x * x)))
        }
        Activation::QuickGelu => each(before, grad, out, sums, |x| gated_slope(x, QUICK * x, QUICK)),
        Activation::Relu => each(before, grad, out, sums, |x| if x > 0.0 { 1.0 } else { 0.0 }),
    }
}

#[inline(always)]
fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum_pairs(values, values, |v, _| f(v))
}

/// Σ f(aᵢ, bᵢ).
#[inline(always)]
fn sum_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| f(*a, *b)).sum();
    for (a, b) in a.zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*a, *b);
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// Σ aᵢ·bᵢ.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_pairs(a, b, |a, b| a * b)
}

/// (x − mean)/√(variance + ε)·γ + β of one row; returns mean and 1/√(variance + ε).
#[inline(always)]
pub fn layer_norm(row: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32, out: &mut [f32]) -> [f32; 2] {
    let n = row.len() as f32;
    let mean = sum(row, |v| v) / n;
    let variance = sum(row, |v| (v - mean) * (v - mean)) / n;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for (((o, v), g), b) in out.iter_mut().zip(row).zip(gamma).zip(beta) {
        *o = (v - mean) * scale * g + b;
    }
    [mean, scale]
}

/// Gradient of a normed row's input; γ's and β's are added to `d_gamma` and `d_beta`.
#[inline(always)]
pub fn layer_norm_gradient(
    row: &[f32],
    gamma: &[f32],
    [mean, scale]: [f32; 2],
    grad: &[f32],
    out: &mut [f32],
    d_gamma: &mut [f32],
    d_beta: &mut [f32],
) {
    let n = row.len() as f32;
    // Σ γg and Σ γg·x̂ with x̂ = (x − mean)·scale; `out` holds γg meanwhile.
    for ((((o, g), gamma), v), (dg, db)) in
        out.iter_mut().zip(grad).zip(gamma).zip(row).zip(d_gamma.iter_mut().zip(d_beta.iter_mut()))
    {
        *o = g * gamma;
        *dg += g * (v - mean) * scale;
        *db += g;
    }
    let first = sum(out, |v| v) / n;
    let second = sum_pairs(out, row, |o, v| o * (v - mean)) * scale * scale / n;
    for (o, v) in out.iter_mut().zip(row) {
        *o = (*o - first - (v - mean) * second) * scale;
    }
}

/// eˣ⁻ᵐᵃˣ of one row, in place; returns one over their sum.
#[inline(always)]
pub fn softmax_numerators(row: &mut [f32]) -> f32 {
    1.0 / numerators(row).1
}

/// Softmax of one row, in place; returns the largest value m and 1/Σ eˣ⁻ᵐ.
#[inline(always)]
pub fn softmax(row: &mut [f32]) -> [f32; 2] {
    let (top, sum) = numerators(row);
    let scale = 1.0 / sum;
    row.iter_mut().for_each(|v| *v *= scale);
    [top, scale]
}

/// eˣ⁻ᵐᵃˣ of one row, in place; returns max and their sum.
#[inline(always)]
fn numerators(row: &mut [f32]) -> (f32, f32) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let tail = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = if *v > *lane { *v } else { *lane };
        }
    }
    let top = lanes.iter().copied().fold(tail, f32::max);
    row.iter_mut().for_each(|v| *v = exp(*v - top));
    (top, sum(row, |v| v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_their_values() {
        for i in -870..=880 {
            let x = i as f32 / 10.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 5e-7, "exp({x})");
        }
        // torch.nn.functional.gelu(x), gelu(x, approximate="tanh"), x * sigmoid(1.702 x) at x = -6, -1, 0.5, 2, 40.
        for (activation, expected) in [
            (Activation::Gelu, [-5.919_52e-9, -0.158_655_25, 0.345_731_23, 1.954_499_7, 40.0]),
            (Activation::GeluTanh, [-0.0, -0.158_808_01, 0.345_714, 1.954_597_7, 40.0]),
            (Activation::QuickGelu, [-2.202_45e-4, -0.154_204_23, 0.350_388_44, 1.935_658_6, 40.0]),
            (Activation::Relu, [0.0, 0.0, 0.5, 2.0, 40.0]),
        ] {
            let mut values = [-6.0, -1.0, 0.5, 2.0, 40.0];
            activate(&mut values, activation);
            for (v, e) in values.iter().zip(expected) {
                assert!((v - e).abs() < 1e-6, "{activation:?}: {values:?}");
            }
        }
    }

    #[test]
    fn rows_are_normed() {
        let row: Vec<f32> = (0..37).map(|i| (i as f32 * 0.7).sin() * 3.0 + 100.0).collect();
        let (mut out, ones, zeros) = (vec![0.0; 37], vec![1.0; 37], vec![0.0; 37]);
        layer_norm(&row, &ones, &zeros, 1e-6, &mut out);
        let mean = out.iter().sum::<f32>() / 37.0;
        let variance = out.iter().map(|v| v * v).sum::<f32>() / 37.0;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3);
        let mut scores = row.clone();
        let scale = softmax_numerators(&mut scores);
        assert!((scores.iter().sum::<f32>() * scale - 1.0).abs() < 1e-5 && scores.iter().all(|s| *s <= 1.0));
    }
}
