//! Nearest neighbours on coordinates alone: how much of an accuracy is mere closeness to training pixels.
//!
//! On Trento's published random split this classifier, which sees no band at all, reaches 98.8 % (see the split's description).

use rayon::prelude::*;

use crate::error::{Error, Result, in_legend, same_length};

/// Where a pixel lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the scene or tile.
    pub scene: u32,
    /// Row in its scene.
    pub row: u32,
    /// Column in its scene.
    pub col: u32,
}

/// Class of each test pixel by vote of the `k` nearest training pixels in (row, column); with `k` = 1 the class of the nearest.
///
/// Distances are in pixels and only within a scene. A test pixel of a scene without training pixels has no neighbour there: its place is then
/// compared with the training pixels of all scenes in scene-normalised coordinates (row / height, column / width), where height and width are the
/// largest row and column seen in the scene plus one. That is as much as position alone can say about another scene.
/// Ties of distance go to the earlier training pixel, ties of votes to the class of the nearest neighbour.
///
/// # Errors
/// [`Error::Empty`] without training pixels, [`Error::Setting`] when `k` is 0, [`Error::Length`].
pub fn coordinate_knn(train: &[Place], classes: &[usize], test: &[Place], k: usize) -> Result<Vec<usize>> {
    same_length("classes of the training pixels", train.len(), classes.len())?;
    in_legend("classes of the training pixels", classes, usize::from(u16::MAX) + 1)?;
    if train.is_empty() {
        return Err(Error::Empty("the coordinate baseline has no training pixels".into()));
    }
    if k == 0 {
        return Err(Error::Setting("the coordinate baseline needs at least one neighbour (k = 1)".into()));
    }
    let mut scenes: Vec<u32> = train.iter().chain(test).map(|p| p.scene).collect();
    scenes.sort_unstable();
    scenes.dedup();
    let extent = |scene: u32| {
        let inside = train.iter().chain(test).filter(|p| p.scene == scene);
        inside.fold((1u32, 1u32), |(h, w), p| (h.max(p.row + 1), w.max(p.col + 1)))
    };
    let extents: Vec<(u32, u32)> = scenes.iter().map(|&s| extent(s)).collect();
    let number = |scene: u32| scenes.binary_search(&scene).unwrap_or_default();

    let trees: Vec<Tree> = scenes
        .iter()
        .map(|&s| {
            let inside = train.iter().enumerate().filter(|(_, p)| p.scene == s);
            Tree::new(inside.map(|(i, p)| ([f64::from(p.row), f64::from(p.col)], i)).collect())
        })
        .collect();
    let normalised = |p: &Place| {
        let (h, w) = extents[number(p.scene)];
        [f64::from(p.row) / f64::from(h), f64::from(p.col) / f64::from(w)]
    };
    let everywhere = if trees.iter().any(Tree::is_empty) {
        Tree::new(train.iter().enumerate().map(|(i, p)| (normalised(p), i)).collect())
    } else {
        Tree::new(Vec::new())
    };
    let answer = |p: &Place| {
        let own = &trees[number(p.scene)];
        let nearest = if own.is_empty() {
            everywhere.nearest(normalised(p), k)
        } else {
            own.nearest([f64::from(p.row), f64::from(p.col)], k)
        };
        vote(&nearest.into_iter().map(|(_, i)| classes[i]).collect::<Vec<_>>())
    };
    Ok(test.par_iter().map(answer).collect())
}

/// The most frequent class; among equals the one met first.
fn vote(classes: &[usize]) -> usize {
    let count = |class: usize| classes.iter().filter(|c| **c == class).count();
    let most = classes.iter().map(|&c| count(c)).max().unwrap_or(0);
    classes.iter().copied().find(|&c| count(c) == most).unwrap_or(0)
}

/// A two-dimensional k-d tree, stored as the array whose every half-open range has its splitting point in the middle.
struct Tree {
    points: Vec<([f64; 2], usize)>,
}

impl Tree {
    fn new(mut points: Vec<([f64; 2], usize)>) -> Self {
        fn arrange(points: &mut [([f64; 2], usize)], axis: usize) {
            if points.len() < 2 {
                return;
            }
            let middle = points.len() / 2;
            points.select_nth_unstable_by(middle, |a, b| a.0[axis].total_cmp(&b.0[axis]).then(a.1.cmp(&b.1)));
            let (left, right) = points.split_at_mut(middle);
            arrange(left, 1 - axis);
            arrange(&mut right[1..], 1 - axis);
        }
        arrange(&mut points, 0);
        Self { points }
    }

    fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The `k` nearest as (squared distance, index), nearest first.
    fn nearest(&self, at: [f64; 2], k: usize) -> Vec<(f64, usize)> {
        let mut best = Vec::with_capacity(k + 1);
        search(&self.points, 0, at, k, &mut best);
        best
    }
}

fn search(points: &[([f64; 2], usize)], axis: usize, at: [f64; 2], k: usize, best: &mut Vec<(f64, usize)>) {
    if points.is_empty() {
        return;
    }
    let middle = points.len() / 2;
    let (point, index) = points[middle];
    let (near, far) = (&points[..middle], &points[middle + 1..]);
    let offset = at[axis] - point[axis];
    let (near, far) = if offset < 0.0 { (near, far) } else { (far, near) };
    search(near, 1 - axis, at, k, best);
    let found = ((at[0] - point[0]).powi(2) + (at[1] - point[1]).powi(2), index);
    let place = best.partition_point(|b| b.0.total_cmp(&found.0).then(b.1.cmp(&found.1)).is_lt());
    if place < k {
        best.insert(place, found);
        best.truncate(k);
    }
    // Equal distances are searched too, so that ties go to the earlier index whatever the tree's shape.
    if best.len() < k || offset * offset <= best[best.len() - 1].0 {
        search(far, 1 - axis, at, k, best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(scene: u32, row: u32, col: u32) -> Place {
        Place { scene, row, col }
    }

    #[test]
    fn a_scene_without_training_pixels_is_read_by_relative_position() {
        // Scene 0 is 100 × 100 with class 0 at the top and class 1 at the bottom; scene 1 is 10 × 10 and untrained.
        let train = [place(0, 0, 50), place(0, 99, 50)];
        let test = [place(1, 1, 9), place(1, 9, 0), place(0, 60, 0)];
        assert_eq!(coordinate_knn(&train, &[0, 1], &test, 1).unwrap(), [0, 1, 1]);
    }

    #[test]
    fn votes_and_faults() {
        let train = [place(0, 0, 0), place(0, 0, 3), place(0, 0, 4)];
        assert_eq!(coordinate_knn(&train, &[5, 7, 7], &[place(0, 0, 1)], 3).unwrap(), [7]);
        assert_eq!(coordinate_knn(&train, &[5, 7, 7], &[place(0, 0, 1)], 2).unwrap(), [5]);
        assert_eq!(coordinate_knn(&train, &[5, 7, 7], &[place(0, 0, 1)], 9).unwrap(), [7]);
        assert!(coordinate_knn(&[], &[], &[place(0, 0, 1)], 1).is_err());
        assert!(coordinate_knn(&train, &[5, 7], &[], 1).is_err());
        assert!(coordinate_knn(&train, &[5, 7, 7], &[], 0).is_err());
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_full_search_finds(
            train in proptest::collection::vec((0u32..2, 0u32..12, 0u32..12), 1..60),
            test in proptest::collection::vec((0u32..12, 0u32..12), 1..20),
            k in 1usize..5,
        ) {
            let train: Vec<Place> = train.into_iter().map(|(s, r, c)| place(s, r, c)).collect();
            prop_assume!(train.iter().any(|p| p.scene == 0));
            let classes: Vec<usize> = (0..train.len()).map(|i| i % 4).collect();
            let test: Vec<Place> = test.into_iter().map(|(r, c)| place(0, r, c)).collect();
            let expected: Vec<usize> = test.iter().map(|t| {
                let mut all: Vec<(u32, usize)> = train.iter().enumerate().filter(|(_, p)| p.scene == 0)
                    .map(|(i, p)| (p.row.abs_diff(t.row).pow(2) + p.col.abs_diff(t.col).pow(2), i)).collect();
                all.sort();
                vote(&all.iter().take(k).map(|a| classes[a.1]).collect::<Vec<_>>())
            }).collect();
            prop_assert_eq!(coordinate_knn(&train, &classes, &test, k).unwrap(), expected);
        }
    }
}
