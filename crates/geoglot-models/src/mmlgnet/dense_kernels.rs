//! The loops of the dense encoder between its matrix products.

use super::product::vectorised;

/// Channels of conv 2 evaluated at a time: one AVX-512 register, so that the 25 products of a phase stay in the cache.
pub(super) const LANES: usize = 16;

vectorised! {
    /// From the kernel groups a, b, c, d to the variants: interior (in a), top (in c → b's place), left; d is the corner already.
    fn variants(a: &mut [f32], b: &mut [f32], c: &mut [f32], d: &[f32]) {
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let top = *c + d;
            let left = *b + d;
            *a += *b + top;
            *b = top;
            *c = left;
        }
    }
}

vectorised! {
    /// Maximum of four cells, bias, ReLU, for the columns of one parity: `to` is [columns, C1], `rows` are (upper left, upper right, lower left,
    /// lower right) variants, of which the right ones are read one pixel further.
    fn pool_1(to: &mut [f32], rows: [&[f32]; 4], parity: usize, bias: &[f32]) {
        let n = bias.len();
        for (x, to) in to.chunks_exact_mut(n).enumerate() {
            let at = (2 * x + parity) * n;
            let (a, b) = (&rows[0][at..at + n], &rows[1][at + n..at + 2 * n]);
            let (c, d) = (&rows[2][at..at + n], &rows[3][at + n..at + 2 * n]);
            for k in 0..n {
                let upper = if a[k] > b[k] { a[k] } else { b[k] };
                let lower = if c[k] > d[k] { c[k] } else { d[k] };
                let most = (if upper > lower { upper } else { lower }) + bias[k];
                to[k] = if most > 0.0 { most } else { 0.0 };
            }
        }
    }
}

vectorised! {
    /// Adds (or writes) one product's columns, `stride` apart, to a line of [columns, LANES].
    fn add_line(line: &mut [f32], source: &[f32], stride: usize, accumulate: bool) {
        let (line, _) = line.as_chunks_mut::<LANES>();
        for (x, to) in line.iter_mut().enumerate() {
            let from: &[f32; LANES] = source[x * stride..x * stride + LANES].try_into().expect("LANES values");
            if accumulate {
                for k in 0..LANES {
                    to[k] += from[k];
                }
            } else {
                *to = *from;
            }
        }
    }
}

vectorised! {
    /// The column side of conv 2 and pool 2 for one row variant: lines of the five column terms → map columns 0 and 1.
    fn column_pool(out_0: &mut [f32], out_1: &mut [f32], lines: &[Vec<f32>; 5], width: usize) {
        let [k0, k1, k2, border_0, border_1] = lines.each_ref().map(|line| line.as_chunks::<LANES>().0);
        let (out_0, out_1) = (out_0.as_chunks_mut::<LANES>().0, out_1.as_chunks_mut::<LANES>().0);
        for x in 0..width {
            for k in 0..LANES {
                let first = border_1[x][k] + k2[x + 1][k];
                let second = border_0[x][k] + k1[x + 1][k] + k2[x + 2][k];
                let third = k0[x + 1][k] + k1[x + 2][k] + k2[x + 3][k];
                let fourth = k0[x + 2][k] + k1[x + 3][k] + k2[x + 4][k];
                out_0[x][k] = if first > second { first } else { second };
                out_1[x][k] = if third > fourth { third } else { fourth };
            }
        }
    }
}

vectorised! {
    /// Bias and ReLU, then written to (or, with `keep`, maximum with) a map whose pixels lie `stride` apart.
    fn store_map(map: &mut [f32], line: &[f32], stride: usize, bias: &[f32; LANES], width: usize, keep: bool) {
        let (line, _) = line.as_chunks::<LANES>();
        for x in 0..width {
            let to = &mut map[x * stride..x * stride + LANES];
            for k in 0..LANES {
                let value = line[x][k] + bias[k];
                let floor = if keep { to[k] } else { 0.0 };
                to[k] = if value > floor { value } else { floor };
            }
        }
    }
}

vectorised! {
    /// The nine left sides of conv 3 from the four cells of the map.
    fn combine_3(to: [&mut [f32]; 9], cells: [&[f32]; 4]) {
        let n = cells[0].len();
        let [t00, t0s, t01, ts0, tss, ts1, t10, t1s, t11] = to.map(|t| &mut t[..n]);
        let [q00, q01, q10, q11] = cells.map(|c| &c[..n]);
        for k in 0..n {
            let (a, b, c, d) = (q00[k], q01[k], q10[k], q11[k]);
            t00[k] = a;
            t0s[k] = a + b;
            t01[k] = b;
            ts0[k] = a + c;
            tss[k] = (a + b) + (c + d);
            ts1[k] = b + d;
            t10[k] = c;
            t1s[k] = c + d;
            t11[k] = d;
        }
    }
}

vectorised! {
    /// The four outputs of conv 3 from its nine products, their maximum, bias, ReLU.
    fn pool_3(to: &mut [f32], from: [&[f32]; 9], bias: &[f32]) {
        let n = to.len();
        let [p00, p0s, p01, ps0, pss, ps1, p10, p1s, p11] = from.map(|f| &f[..n]);
        let bias = &bias[..n];
        for k in 0..n {
            // Output row 0 takes the products of q₀+q₁ and q₁, row 1 those of q₀+q₁ and q₀; columns alike.
            let left = pss[k] + ps1[k];
            let right = pss[k] + ps0[k];
            let o00 = left + (p1s[k] + p11[k]);
            let o01 = right + (p1s[k] + p10[k]);
            let o10 = left + (p0s[k] + p01[k]);
            let o11 = right + (p0s[k] + p00[k]);
            let upper = if o00 > o01 { o00 } else { o01 };
            let lower = if o10 > o11 { o10 } else { o11 };
            let most = (if upper > lower { upper } else { lower }) + bias[k];
            to[k] = if most > 0.0 { most } else { 0.0 };
        }
    }
}
