//! Vector kernels, chosen at run time by what the processor has.

use pulp::{Arch, Simd, WithSimd};

/// Dot product of two slices of one length.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    struct Dot<'a>(&'a [f32], &'a [f32]);
    impl WithSimd for Dot<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let ((a, a_tail), (b, b_tail)) = (S::as_simd_f32s(self.0), S::as_simd_f32s(self.1));
            // Four running sums hide the latency of the multiply-add.
            let mut sums = [simd.splat_f32s(0.0); 4];
            let (a4, a_rest) = pulp::as_arrays::<4, _>(a);
            let (b4, b_rest) = pulp::as_arrays::<4, _>(b);
            for (a, b) in a4.iter().zip(b4) {
                for i in 0..4 {
                    sums[i] = simd.mul_add_e_f32s(a[i], b[i], sums[i]);
                }
            }
            for (a, b) in a_rest.iter().zip(b_rest) {
                sums[0] = simd.mul_add_e_f32s(*a, *b, sums[0]);
            }
            let sum = simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
            simd.reduce_sum_f32s(sum) + a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum::<f32>()
        }
    }
    arch().dispatch(Dot(a, b))
}

/// All dot products of the rows of `a` [M, D] with the rows of `b` [N, D], into `out` [M, N].
pub fn products(a: &[f32], b: &[f32], dim: usize, out: &mut Vec<f32>) {
    let (m, n) = (a.len() / dim, b.len() / dim);
    assert!(a.len() == m * dim && b.len() == n * dim, "rows of one width");
    out.clear();
    out.resize(m * n, 0.0);
    // SAFETY: the three matrices have the sizes and strides given; checked above.
    unsafe {
        gemm::gemm(
            m,
            n,
            dim,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            1,
            dim as isize,
            b.as_ptr(),
            dim as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The processor's instruction sets, looked up once.
pub fn arch() -> Arch {
    static ARCH: std::sync::OnceLock<Arch> = std::sync::OnceLock::new();
    *ARCH.get_or_init(Arch::new)
}

/// Tells the processor that `bytes` are wanted soon.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        // SAFETY: a prefetch has no effect beyond the cache, and the address is that of a live slice.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_dot_product_is_the_sum_of_products(a in proptest::collection::vec(-1.0f32..1.0, 0..300)) {
            let b: Vec<f32> = a.iter().rev().copied().collect();
            let expected: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            prop_assert!((f64::from(dot(&a, &b)) - expected).abs() < 1e-4);
        }

        #[test]
        fn products_are_dot_products(m in 1usize..9, n in 1usize..9, dim in 1usize..40) {
            let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 1000.0 - 0.5;
            let a: Vec<f32> = (0..m * dim).map(value).collect();
            let b: Vec<f32> = (0..n * dim).map(|i| value(i + 7)).collect();
            let mut out = Vec::new();
            products(&a, &b, dim, &mut out);
            for i in 0..m {
                for j in 0..n {
                    let expected = dot(&a[i * dim..][..dim], &b[j * dim..][..dim]);
                    prop_assert!((out[i * n + j] - expected).abs() < 1e-4);
                }
            }
        }
    }
}
