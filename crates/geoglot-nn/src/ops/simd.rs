//! Vector kernels that use the widest registers the processor at hand has.

use pulp::Simd;

/// Defines a function whose body is compiled for every instruction set and chosen at run time.
///
/// Inside the body, `S` is the instruction set and `simd` its token.
macro_rules! kernel {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$life:lifetime>($simd:ident: $set:ident, $($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<$life>($($arg: $ty),*) {
            struct Call<$life> { $($arg: $ty),* }
            impl<$life> pulp::WithSimd for Call<$life> {
                type Output = ();
                #[inline(always)]
                fn with_simd<$set: pulp::Simd>(self, $simd: $set) {
                    let Self { $($arg),* } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Call { $($arg),* });
        }
    };
}
pub(crate) use kernel;

/// Loads one vector from the start of `from`; missing lanes are zero.
#[inline(always)]
pub fn load<S: Simd>(simd: S, from: &[f32]) -> S::f32s {
    match S::as_simd_f32s(from) {
        ([first, ..], _) => *first,
        ([], tail) => simd.partial_load_f32s(tail),
    }
}

/// Stores one vector to the start of `to`; lanes beyond its end are dropped.
#[inline(always)]
pub fn store<S: Simd>(simd: S, to: &mut [f32], value: S::f32s) {
    match S::as_mut_simd_f32s(to) {
        ([first, ..], _) => *first = value,
        ([], tail) => simd.partial_store_f32s(tail, value),
    }
}

/// Has the cache fetch what lies `AHEAD` bytes behind the place a kernel reads from memory: further than processors look by themselves.
#[inline(always)]
pub fn fetch_ahead<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const AHEAD: usize = 4096;
        // SAFETY: a hint; an address outside the matrix does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast::<i8>().wrapping_add(AHEAD)) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
