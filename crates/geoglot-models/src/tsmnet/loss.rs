//! The four losses (TSMNet, section 3.5).

use burn::tensor::Tensor;
use geoglot_nn::multimodal::dice_loss;
use geoglot_nn::segmentation::{pixel_cross_entropy, resize};

use super::network::{Answer, TEMPERATURE};

/// The four losses of a batch, `[1]` each.
#[derive(Debug, Clone)]
pub struct Losses {
    /// Cross-entropy of the score map.
    pub object: Option<Tensor<1>>,
    /// Alignment of scenes and descriptions.
    pub scene: Option<Tensor<1>>,
    /// Cross-entropy of the map.
    pub cross_entropy: Tensor<1>,
    /// Overlap of the map.
    pub dice: Tensor<1>,
}

impl Losses {
    /// Losses of `answer` for labels of `size` (rows, columns): `B·H·W` class positions, 255 for pixels that do not count.
    ///
    /// # Panics
    /// For another number of labels, or a label beyond the classes.
    pub fn of(answer: Answer, labels: &[u8], size: (usize, usize)) -> Self {
        let logits = resize(answer.map * answer.scale.reshape([1, 1, 1, 1]), size);
        let object = |score: Tensor<4>| pixel_cross_entropy(resize(score.div_scalar(TEMPERATURE), size), labels);
        Self {
            object: answer.score.map(object),
            scene: answer.alignment,
            cross_entropy: pixel_cross_entropy(logits.clone(), labels),
            dice: dice_loss(logits, labels),
        }
    }

    /// Their sum.
    pub fn total(&self) -> Tensor<1> {
        let sum = self.cross_entropy.clone() + self.dice.clone();
        [&self.object, &self.scene].into_iter().flatten().fold(sum, |sum, part| sum + part.clone())
    }
}
