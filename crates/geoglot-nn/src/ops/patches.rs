//! Images cut into patches.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{BalancedCheckpointing, CheckpointStrategy, NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::graph::{contiguous, tensor_of, tracked, values};

/// Patches of `images` [B, C, H, W] as rows [B·h·w, C·P·P], h = ⌊H/P⌋ and w = ⌊W/P⌋, as one operation of the autodiff graph on the
/// CPU. What is left over at the lower and right border is dropped, its gradient 0.
///
/// `None` as [`linear`](super::linear()) gives it.
///
/// # Panics
/// When `patch` is 0.
pub fn patches(images: &Tensor<4>, patch: usize) -> Option<Tensor<2>> {
    assert!(patch > 0, "patches of no pixel");
    if !images.device().is_autodiff() {
        return None;
    }
    let [batch, channels, height, width] = images.dims();
    let cut = Cut { batch, channels, height, width, patch };
    train::<NoCheckpointing>(cut, images).or_else(|| train::<BalancedCheckpointing>(cut, images))
}

fn train<C: CheckpointStrategy>(cut: Cut, images: &Tensor<4>) -> Option<Tensor<2>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let (images, node) = tracked::<C, 4>(images)?.into_parts();
    let images = contiguous(images);
    let mut rows = vec![0.0; cut.rows() * cut.row()];
    if !rows.is_empty() {
        let images = values(&images);
        rows.par_chunks_mut(cut.columns() * cut.row()).enumerate().for_each(|(line, rows)| {
            cut.each(line, |at, pixel| rows[at..at + cut.patch].copy_from_slice(&images[pixel..pixel + cut.patch]));
        });
    }
    let rows = tensor_of(rows, [cut.rows(), cut.row()]);
    let rows = match PatchesBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(cut, rows),
        OpsKind::UnTracked(prep) => prep.finish(rows),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(rows))
}

#[derive(Debug)]
struct PatchesBackward;

impl Backward<Flex, 1> for PatchesBackward {
    type State = Cut;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let cut = ops.state;
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let [Some(node)] = ops.parents else { return };
        let mut images = vec![0.0; cut.batch * cut.image()];
        if cut.rows() * cut.row() > 0 {
            let lines = cut.height / cut.patch;
            let rows = values(&grad);
            images.par_chunks_mut(cut.image()).enumerate().for_each(|(b, image)| {
                for line in b * lines..(b + 1) * lines {
                    let (rows, first) = (&rows[line * cut.columns() * cut.row()..], b * cut.image());
                    cut.each(line, |at, pixel| {
                        image[pixel - first..pixel - first + cut.patch].copy_from_slice(&rows[at..at + cut.patch]);
                    });
                }
            });
        }
        let dims = [cut.batch, cut.channels, cut.height, cut.width];
        grads.register::<Flex>(node.id, tensor_of(images, dims));
    }
}

/// Sizes of images and patches.
#[derive(Clone, Copy, Debug)]
struct Cut {
    batch: usize,
    channels: usize,
    height: usize,
    width: usize,
    patch: usize,
}

impl Cut {
    /// Patches side by side.
    fn columns(&self) -> usize {
        self.width / self.patch
    }

    /// Patches of all images.
    fn rows(&self) -> usize {
        self.batch * (self.height / self.patch) * self.columns()
    }

    /// Values of a patch.
    fn row(&self) -> usize {
        self.channels * self.patch * self.patch
    }

    /// Values of an image.
    fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Visits the pixel rows of one line of patches, lines counted over all images: `f(place in the line's rows, place in the images)`.
    fn each(&self, line: usize, mut f: impl FnMut(usize, usize)) {
        let lines = self.height / self.patch;
        let (b, i) = (line / lines, line % lines);
        for j in 0..self.columns() {
            for c in 0..self.channels {
                for y in 0..self.patch {
                    let at = j * self.row() + (c * self.patch + y) * self.patch;
                    let pixel = b * self.image() + (c * self.height + i * self.patch + y) * self.width + j * self.patch;
                    f(at, pixel);
                }
            }
        }
    }
}
