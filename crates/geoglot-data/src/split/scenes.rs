//! Training on some scenes, testing on others.

use super::blocks::Blocks;
use super::report::finish;
use super::{LabelledPixels, Pixel, Split, SplitKind, SplitOptions, counts, validation};
use crate::{Error, Result};

/// Tests on the scenes `test`, trains on all others. Test pixels of classes that the training scenes lack are left out (nothing could learn
/// them) and reported as absent from training.
///
/// # Errors
/// [`Error::Split`] when a scene number does not exist, no scene is left on one side, or the sides share no class.
pub fn leave_scene_out(all: &LabelledPixels, test: &[usize], options: &SplitOptions) -> Result<Split> {
    options.check()?;
    let scenes = all.shapes.len();
    if let Some(k) = test.iter().find(|k| **k >= scenes) {
        return Err(Error::Split(format!("scene {} was to be tested, but there are {scenes} scenes", k + 1)));
    }
    let (tested, train): (Vec<Pixel>, Vec<Pixel>) = all.pixels.iter().partition(|p| test.contains(&p.scene));
    if tested.is_empty() || train.is_empty() {
        return Err(Error::Split(format!(
            "leaving out {} of {scenes} scenes leaves {} labelled training and {} labelled test pixels; both sides need some",
            test.len(),
            train.len(),
            tested.len()
        )));
    }
    let learnt = counts(&train, all.classes.len());
    let tested: Vec<Pixel> = tested.into_iter().filter(|p| learnt[p.class] > 0).collect();
    if tested.is_empty() {
        return Err(Error::Split("the training and the test scenes share no class".into()));
    }
    let training = LabelledPixels { pixels: train, ..all.clone() };
    let blocks = Blocks::new(&training, 4, None, options.patch);
    let parts =
        validation::separate(training.pixels, |p| blocks.of(p), options.patch, &all.shapes, all.classes.len(), options);
    let mut test = test.to_vec();
    test.sort_unstable();
    test.dedup();
    Ok(finish(all, SplitKind::LeaveSceneOut { test }, parts, tested, options.patch))
}
