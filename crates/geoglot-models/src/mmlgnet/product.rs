//! Matrix products on slices, and the element-wise passes between them compiled for the widest vectors the processor has.

/// dst[m, n] (rows `dst_stride` apart) = (accumulate ? dst : 0) + lhs[m, k] · rhs[k, n].
///
/// Rows of `lhs` lie `lhs_stride` apart and may overlap: that is how neighbouring pixels of an [H, W, C] array become the rows of a
/// convolution's matrix without copies.
///
/// # Panics
/// When a slice is shorter than its matrix.
#[allow(clippy::too_many_arguments)]
pub(super) fn matmul(
    [m, n, k]: [usize; 3],
    dst: &mut [f32],
    dst_stride: usize,
    accumulate: bool,
    lhs: &[f32],
    lhs_stride: usize,
    rhs: &[f32],
    rhs_stride: usize,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(dst.len() >= (m - 1) * dst_stride + n, "matmul: destination too short");
    assert!(lhs.len() >= (m - 1) * lhs_stride + k, "matmul: left side too short");
    assert!(rhs.len() >= k.saturating_sub(1) * rhs_stride + n, "matmul: right side too short");
    // SAFETY: the assertions bound every element the product touches; `dst` is borrowed mutably, so it overlaps neither side.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_stride as isize,
            accumulate,
            lhs.as_ptr(),
            1,
            lhs_stride as isize,
            rhs.as_ptr(),
            1,
            rhs_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Defines a function that runs its body compiled for AVX-512, AVX2 or the baseline, whichever the processor has.
macro_rules! vectorised {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name($($arg: $ty),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) { body($($arg),*) }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has AVX-512F.
                    return unsafe { avx512($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has AVX2 and FMA.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(super) use vectorised;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_rows_make_a_convolution() {
        // A 1-D convolution of 4 samples with kernel [1, 10] as a product with overlapping rows.
        let (x, k) = ([1.0, 2.0, 3.0, 4.0], [1.0, 10.0]);
        let mut y = [100.0; 3];
        matmul([3, 1, 2], &mut y, 1, false, &x, 1, &k, 1);
        assert_eq!(y, [21.0, 32.0, 43.0]);
        matmul([3, 1, 2], &mut y, 1, true, &x, 1, &k, 1);
        assert_eq!(y, [42.0, 64.0, 86.0]);
    }
}
