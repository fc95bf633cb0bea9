//! A few centres of a segment's vectors (k-means, Lloyd's iterations on a sample).

use crate::simd;

const ITERATIONS: usize = 8;
/// Sample rows per centre.
const SAMPLE: usize = 64;

/// Centres [K, D] and, for every row of `vectors` [N, D], the nearest one. K grows with N up to 256.
pub fn find(vectors: &[f32], dim: usize) -> (Vec<f32>, Vec<u8>) {
    let rows = vectors.len() / dim;
    let k = (rows / 256).clamp(1, 256);
    let sample_rows = rows.min(k * SAMPLE);
    let pick = |i: usize, n: usize| &vectors[i * rows / n * dim..][..dim];
    let sample: Vec<f32> = (0..sample_rows).flat_map(|i| pick(i, sample_rows)).copied().collect();
    if rows == 0 {
        return (vec![0.0; dim], Vec::new());
    }
    let mut centres: Vec<f32> = (0..k).flat_map(|i| pick(i, k)).copied().collect();
    for _ in 0..ITERATIONS {
        let nearest = assign(&sample, &centres, dim);
        let mut sums = vec![0f64; k * dim];
        let mut counts = vec![0usize; k];
        for (row, &c) in sample.chunks_exact(dim).zip(&nearest) {
            counts[c as usize] += 1;
            sums[c as usize * dim..][..dim].iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
        }
        // A centre without rows stays where it is.
        for (c, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (to, from) = (&mut centres[c * dim..][..dim], &sums[c * dim..][..dim]);
            to.iter_mut().zip(from).for_each(|(t, s)| *t = (s / count as f64) as f32);
        }
        if k == 1 {
            break;
        }
    }
    let nearest = assign(vectors, &centres, dim);
    (centres, nearest)
}

fn assign(vectors: &[f32], centres: &[f32], dim: usize) -> Vec<u8> {
    let k = centres.len() / dim;
    let half: Vec<f32> = centres.chunks_exact(dim).map(|c| simd::dot(c, c) / 2.0).collect();
    let mut nearest = Vec::with_capacity(vectors.len() / dim);
    let mut scores = Vec::new();
    for rows in vectors.chunks(1024 * dim) {
        simd::products(rows, centres, dim, &mut scores);
        nearest.extend(scores.chunks_exact(k).map(|scores| {
            // ‖v − c‖² is smallest where v·c − ‖c‖²/2 is largest.
            let value = |c: usize| scores[c] - half[c];
            (1..k).fold(0, |best, c| if value(c) > value(best) { c } else { best }) as u8
        }));
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_found() {
        // Four groups far apart, 2000 rows.
        let (dim, rows) = (16, 2000);
        let vectors: Vec<f32> = (0..rows * dim)
            .map(|i| if (i % dim) == (i / dim) % 4 { 1.0 } else { ((i * 7919) % 100) as f32 / 1e4 })
            .collect();
        let (centres, nearest) = find(&vectors, dim);
        let mut error = 0.0;
        for (row, &c) in vectors.chunks_exact(dim).zip(&nearest) {
            let centre = &centres[c as usize * dim..][..dim];
            error += row.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        }
        assert!(error / (rows as f32) < 1e-2, "{}", error / rows as f32);
    }
}
