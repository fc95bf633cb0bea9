//! Image ↔ text retrieval: recall at 1, 5 and 10 in both directions (RSICD, RSITMD and UCM protocol).

use ndarray::{Array2, ArrayView2, s};
use serde::{Deserialize, Serialize};

use super::features::normalised;
use super::resample::{Resampler, share};
use crate::bootstrap::{Bootstrap, Unit};
use crate::error::{Error, Result, all_finite, in_legend, same_length};
use crate::interval::Interval;

/// The ranks at which recall is read.
pub const RECALL_AT: [usize; 3] = [1, 5, 10];
/// Queries compared at once: bounds the memory to this many rows of similarities.
const BLOCK: usize = 256;

/// Figures of one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// Recall at [`RECALL_AT`].
    pub recall: [Option<Interval>; 3],
    /// Median rank of the first right answer, from 1.
    pub median_rank: f64,
    /// Queries.
    pub queries: usize,
    /// Rank of the first right answer of every query, from 1.
    #[serde(skip)]
    pub ranks: Vec<usize>,
}

/// Figures of both directions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// An image asks for texts; any of its own counts.
    pub image_to_text: Direction,
    /// A text asks for its image.
    pub text_to_image: Direction,
    /// Mean of the six recalls.
    pub mean_recall: Option<Interval>,
    /// What the intervals resample; pixels stand for images, each with its texts.
    pub resampled: Unit,
    /// How many of them there are.
    pub units: usize,
}

/// Ranks of the first answer for which `own` holds, one a row of `queries`; equal similarities keep the order of the answers.
fn ranks(queries: &Array2<f32>, answers: &Array2<f32>, own: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut out = Vec::with_capacity(queries.nrows());
    for start in (0..queries.nrows()).step_by(BLOCK) {
        let end = (start + BLOCK).min(queries.nrows());
        let similar = queries.slice(s![start..end, ..]).dot(&answers.t());
        for (q, row) in similar.rows().into_iter().enumerate() {
            let mut best: Option<usize> = None;
            for a in (0..row.len()).filter(|&a| own(start + q, a)) {
                if best.is_none_or(|b| row[a] > row[b]) {
                    best = Some(a);
                }
            }
            let before =
                |b: usize| row.iter().enumerate().filter(|(a, v)| **v > row[b] || (**v == row[b] && *a < b)).count();
            out.push(best.map_or(usize::MAX, |b| before(b) + 1));
        }
    }
    out
}

fn median(ranks: &[usize]) -> f64 {
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    let n = sorted.len();
    if n % 2 == 1 { sorted[n / 2] as f64 } else { (sorted[n / 2 - 1] as f64 + sorted[n / 2] as f64) / 2.0 }
}

/// Recalls of `images` [N, D] and `texts` [M, D], where text `m` belongs to image `owners[m]`; vectors are compared by cosine.
///
/// The bootstrap draws queries, an image with all its texts, and leaves the answers as they are.
///
/// # Errors
/// [`Error::Length`], [`Error::Class`] for an owner outside the images, [`Error::NotFinite`], [`Error::Empty`] for an image without a text.
pub fn retrieval(
    images: ArrayView2<f32>,
    texts: ArrayView2<f32>,
    owners: &[usize],
    groups: Option<&[u32]>,
    bootstrap: &Bootstrap,
) -> Result<Retrieval> {
    let (n, m) = (images.nrows(), texts.nrows());
    same_length("width of the text vectors", images.ncols(), texts.ncols())?;
    same_length("owners of the texts", m, owners.len())?;
    in_legend("owners of the texts", owners, n)?;
    all_finite("image vectors", images)?;
    all_finite("text vectors", texts)?;
    let mut counts = vec![0.0; n];
    owners.iter().for_each(|&o| counts[o] += 1.0);
    if let Some(i) = counts.iter().position(|c| *c == 0.0) {
        return Err(Error::Empty(format!("image {i} has no text; leave it out of the retrieval")));
    }
    if n == 0 {
        return Err(Error::Empty("there are no images to retrieve".into()));
    }
    let (unit_images, unit_texts) = (normalised(images), normalised(texts));
    let to_text = ranks(&unit_images, &unit_texts, |i, t| owners[t] == i);
    let to_image = ranks(&unit_texts, &unit_images, |t, i| owners[t] == i);
    let ones = vec![1.0; n];
    let found: Vec<Vec<f64>> =
        RECALL_AT.iter().map(|&k| to_text.iter().map(|&r| f64::from(u8::from(r <= k))).collect()).collect();
    let given: Vec<Vec<f64>> = RECALL_AT
        .iter()
        .map(|&k| {
            let mut hits = vec![0.0; n];
            to_image.iter().zip(owners).filter(|(r, _)| **r <= k).for_each(|(_, &o)| hits[o] += 1.0);
            hits
        })
        .collect();
    let sampler = Resampler::new(n, groups, bootstrap)?;
    let figures = sampler.intervals("retrieval", |w| {
        let mut six: Vec<Option<f64>> = found.iter().map(|h| share(w, h, &ones)).collect();
        six.extend(given.iter().map(|h| share(w, h, &counts)));
        let mean = six.iter().copied().sum::<Option<f64>>().map(|s| s / 6.0);
        six.push(mean);
        six
    });
    let direction = |at: usize, ranks: Vec<usize>| Direction {
        recall: [figures[at], figures[at + 1], figures[at + 2]],
        median_rank: median(&ranks),
        queries: ranks.len(),
        ranks,
    };
    Ok(Retrieval {
        image_to_text: direction(0, to_text),
        text_to_image: direction(3, to_image),
        mean_recall: figures[6],
        resampled: sampler.unit(),
        units: sampler.units(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn any_own_text_counts() {
        let images = array![[1.0f32, 0.0], [0.0, 1.0]];
        // The first image's second text is its nearest; the second image's only text is nearer to the first.
        let texts = array![[0.0f32, 1.0], [1.0, 0.1], [1.0, 0.2]];
        let r = retrieval(
            images.view(),
            texts.view(),
            &[0, 0, 1],
            None,
            &Bootstrap { replicates: 50, ..Default::default() },
        )
        .unwrap();
        assert_eq!(r.image_to_text.ranks, [1, 2]);
        assert_eq!(r.text_to_image.ranks, [2, 1, 2]);
        assert_eq!(r.image_to_text.recall[0].unwrap().value, 0.5);
        assert_eq!(r.text_to_image.recall[0].unwrap().value, 1.0 / 3.0);
        assert_eq!(r.text_to_image.median_rank, 2.0);
        let mean = (0.5 + 1.0 + 1.0 + 1.0 / 3.0 + 2.0) / 6.0;
        assert!((r.mean_recall.unwrap().value - mean).abs() < 1e-12);
        assert!(
            retrieval(images.view(), texts.view(), &[0, 0, 0], None, &Bootstrap::default())
                .unwrap_err()
                .to_string()
                .contains("image 1")
        );
        assert!(retrieval(images.view(), texts.view(), &[0, 1, 2], None, &Bootstrap::default()).is_err());
    }
}
