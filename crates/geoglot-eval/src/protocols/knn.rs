//! Nearest neighbours in feature space.

use ndarray::{Array2, s};
use rayon::prelude::*;

use super::classification::{Classification, score_classes};
use super::features::{Labelled, normalised};
use crate::bootstrap::Bootstrap;
use crate::error::{Error, Result};

/// Test rows compared at once.
const BLOCK: usize = 128;

/// Classes of the test images by majority of their `k` nearest training images (cosine; 5 is usual); of classes with equally many neighbours the one
/// of the nearest neighbour among them wins.
///
/// # Errors
/// [`Error::Setting`] for a `k` of 0 or above the number of training images; [`Error::Length`], [`Error::Class`], [`Error::NotFinite`], [`Error::Empty`].
pub fn knn(
    train: Labelled<'_>,
    test: Labelled<'_>,
    classes: usize,
    k: usize,
    groups: Option<&[u32]>,
    bootstrap: &Bootstrap,
) -> Result<Classification> {
    let width = train.features.ncols();
    train.check("training", classes, width)?;
    test.check("test", classes, width)?;
    let known = train.classes.len();
    if k == 0 || k > known {
        return Err(Error::Setting(format!("{k} neighbours were asked for; there are {known} training images")));
    }
    let (all, queries) = (normalised(train.features), normalised(test.features));
    let starts: Vec<usize> = (0..queries.nrows()).step_by(BLOCK).collect();
    let blocks: Vec<Vec<f32>> = starts
        .into_par_iter()
        .map(|start| {
            let end = (start + BLOCK).min(queries.nrows());
            let similar = queries.slice(s![start..end, ..]).dot(&all.t());
            let mut votes = Vec::with_capacity((end - start) * classes);
            for row in similar.rows() {
                let nearer = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
                let mut order: Vec<usize> = (0..known).collect();
                order.select_nth_unstable_by(k - 1, nearer);
                order.truncate(k);
                order.sort_unstable_by(nearer);
                let mut own = vec![0.0f32; classes];
                for (place, &i) in order.iter().enumerate() {
                    let vote = &mut own[train.classes[i]];
                    // The first neighbour of a class brings less than a vote more, the more the nearer.
                    *vote += if *vote == 0.0 { 1.0 + 0.5 * (k - place) as f32 / k as f32 } else { 1.0 };
                }
                votes.extend(own);
            }
            votes
        })
        .collect();
    let votes = Array2::from_shape_vec((queries.nrows(), classes), blocks.concat())
        .map_err(|e| Error::Setting(format!("the votes cannot be arranged: {e}")))?;
    score_classes(votes.view(), test.classes, groups, &[1], bootstrap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn majorities_and_ties() {
        let train = array![[1.0f32, 0.0], [1.0, 0.1], [1.0, 0.3], [0.0, 1.0]];
        let train = Labelled { features: train.view(), classes: &[0, 1, 1, 2] };
        let test = array![[1.0f32, 0.0]];
        let test = Labelled { features: test.view(), classes: &[0] };
        let quick = Bootstrap { replicates: 5, ..Bootstrap::default() };
        let best = |k: usize| knn(train, test, 3, k, None, &quick).unwrap().predicted[0];
        assert_eq!([best(1), best(2), best(3), best(4)], [0, 0, 1, 1]);
        assert!(knn(train, test, 3, 0, None, &quick).is_err() && knn(train, test, 3, 5, None, &quick).is_err());
        assert!(knn(train, test, 2, 1, None, &quick).is_err());
    }
}
