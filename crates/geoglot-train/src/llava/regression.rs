//! What a projector begins with: the linear map from image states to the words of the answers, in closed form.
//!
//! A stage that begins with a random projector first learns how answers are worded, which lowers the loss most, and only after thousands of
//! conversations what tells one image from another. By ridge regression on the mean embedding of each answer, rare words counting more, image
//! tokens mean the right words from the first step on.

use std::collections::{HashMap, HashSet};

use geoglot_models::spectral_llava::Projector;
use ndarray::{Array1, Array2, Axis, linalg::general_mat_mul};
use smartcore::linalg::basic::arrays::Array as _;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linalg::traits::cholesky::CholeskyDecomposable;

use super::standard::{Moments, read};
use super::{Sequence, StageData};
use crate::contrastive::PretrainError;

/// Weight of the penalty, in units of the states' variance.
const RIDGE: f64 = 0.03;

/// Least squares from the image states of `data`, scaled to spread 1 channel by channel, to its answers' words, as a projector on raw states. The penalty
/// keeps it from directions of little spread, where few images say nothing. The outputs vary between images as much as the language model's embeddings vary
/// between words. `None` where answers do not differ.
pub(super) fn regression(data: &StageData<'_>, moments: &Moments) -> Result<Option<Projector>, PretrainError> {
    let (inputs, outputs) = (data.width, data.decoder.config.width);
    let words = WordWeights::count(data.sequences);
    let targets: Vec<Array1<f64>> = data.sequences.iter().map(|s| words.mean_embedding(data, s)).collect();
    let count = targets.len().max(1) as f64;
    let centre = targets.iter().fold(Array1::<f64>::zeros(outputs), |sum, t| sum + t) / count;
    let (mut squares, mut products) = (Array2::<f64>::zeros((inputs, inputs)), Array2::<f64>::zeros((inputs, outputs)));
    let mut rows = 0usize;
    for (sequence, target) in data.sequences.iter().zip(&targets) {
        let states = moments.scaled(&read(data.images, sequence.image, inputs)?);
        general_mat_mul(1.0, &states.t(), &states, 1.0, &mut squares);
        let sum = states.sum_axis(Axis(0)).insert_axis(Axis(1));
        general_mat_mul(1.0, &sum, &(target - &centre).insert_axis(Axis(0)), 1.0, &mut products);
        rows += states.nrows();
    }
    squares.diag_mut().mapv_inplace(|v| v + RIDGE * rows.max(1) as f64);
    let failed = |problem: String| PretrainError::Input(format!("model.begin = \"answers\": {problem}"));
    let matrix = |m: &Array2<f64>| {
        DenseMatrix::new(m.nrows(), m.ncols(), m.iter().copied().collect(), false).map_err(|e| failed(e.to_string()))
    };
    let solved = matrix(&squares)?.cholesky_solve_mut(matrix(&products)?).map_err(|e| failed(e.to_string()))?;
    let weight = Array2::from_shape_fn((inputs, outputs), |(i, o)| *solved.get((i, o)));
    // Mean square of the outputs about their centre: the trace of Wᵀ·cov·W.
    let covariance = squares / rows.max(1) as f64;
    let fitted = (&weight * &covariance.dot(&weight)).sum() / outputs as f64;
    let spread = spread_of_words(data);
    if fitted.sqrt() < 1e-6 * spread {
        return Ok(None);
    }
    let factor = spread / fitted.sqrt();
    Ok(Some(moments.scaled_to_raw(weight.t().mapv(|v| factor * v), centre)))
}

/// How much the embeddings of tokens vary about their mean, as root mean square.
fn spread_of_words(data: &StageData<'_>) -> f64 {
    let width = data.decoder.config.width;
    let words = data.some_words();
    let words = Array2::from_shape_vec((words.len() / width, width), words).expect("whole rows").mapv(f64::from);
    words.var_axis(Axis(0), 0.0).mean().unwrap_or(0.0).sqrt()
}

/// How much each token of the answers counts: the logarithm of the share of answers without it.
struct WordWeights(HashMap<u32, f64>);

fn answer(sequence: &Sequence) -> impl Iterator<Item = u32> {
    sequence.after.iter().zip(&sequence.answer).filter(|(_, a)| **a).map(|(id, _)| *id)
}

impl WordWeights {
    fn count(sequences: &[Sequence]) -> Self {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for sequence in sequences {
            answer(sequence).collect::<HashSet<_>>().into_iter().for_each(|id| *counts.entry(id).or_default() += 1);
        }
        let all = sequences.len() as f64;
        Self(counts.into_iter().map(|(id, n)| (id, (all / n as f64).ln())).collect())
    }

    fn mean_embedding(&self, data: &StageData<'_>, sequence: &Sequence) -> Array1<f64> {
        let width = data.decoder.config.width;
        let ids: Vec<u32> = answer(sequence).collect();
        let rows = data.decoder.embed(&ids);
        let (mut sum, mut weights) = (Array1::<f64>::zeros(width), 0.0);
        for (id, row) in ids.iter().zip(rows.chunks(width)) {
            let weight = self.0[id];
            sum.iter_mut().zip(row).for_each(|(s, v)| *s += weight * f64::from(*v));
            weights += weight;
        }
        if weights > 0.0 { sum / weights } else { sum }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use geoglot_models::llm::{LanguageModel, Message};
    use geoglot_nn::llm::FrozenDecoder;

    use super::super::ImageStates;
    use super::*;

    /// Six images of three classes, two tokens each, that differ in one channel by class and in another by nothing that is told.
    struct Images;

    impl ImageStates for Images {
        fn states(&self, i: usize) -> Result<Array2<f32>, Box<dyn std::error::Error + Send + Sync>> {
            let class = [1.5f32, -0.5, -1.0][i % 3];
            let other = [-1.0f32, 1.0][i / 3];
            Ok(ndarray::array![[class, other, 0.3], [class + 0.1, -other, 0.3]])
        }

        fn name(&self, i: usize) -> String {
            format!("image {i}")
        }
    }

    #[test]
    fn images_begin_as_the_words_that_are_said_of_them() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../geoglot-models/tests/fixtures/llm/smollm2");
        let (llm, device) = (LanguageModel::open(folder.as_ref()).unwrap(), Device::flex());
        let frozen = FrozenDecoder::new(&llm.decoder, &device);
        let say = |image: usize, words: [&str; 3]| {
            let turns = [Message::user("<image>\nWhat is it?"), Message::assistant(words[image % 3])];
            Sequence::new(&llm, &turns, image, 2).unwrap()
        };
        let data =
            |sequences| StageData { sequences, images: &Images, decoder: &llm.decoder, frozen: &frozen, width: 3 };
        let told: Vec<Sequence> =
            (0..6).map(|i| say(i, ["an image of forest", "an image of water", "an image of crops"])).collect();
        let data_told = data(&told);
        let moments = |data: &StageData<'_>| Moments::measure(data.images, data.sequences, data.width).unwrap();
        let projector = regression(&data_told, &moments(&data_told)).unwrap().unwrap();
        let words = WordWeights::count(&told);
        let targets: Vec<Array1<f64>> = told.iter().take(3).map(|s| words.mean_embedding(&data_told, s)).collect();
        let centre = targets.iter().fold(Array1::<f64>::zeros(targets[0].len()), |sum, t| sum + t) / 3.0;
        for i in 0..6 {
            let states = Images.states(i).unwrap();
            let shown = projector.project(&states).unwrap().mean_axis(Axis(0)).unwrap().mapv(f64::from) - &centre;
            let nearest = (0..3).max_by(|a, b| {
                let cosine = |k: usize| {
                    (&targets[k] - &centre).dot(&shown) / (&targets[k] - &centre).mapv(|v| v * v).sum().sqrt()
                };
                cosine(*a).total_cmp(&cosine(*b))
            });
            // One channel tells the first class from the other two.
            assert_eq!(nearest == Some(0), i % 3 == 0, "image {i}: {nearest:?}");
        }
        let same: Vec<Sequence> = (0..6).map(|i| say(i, ["forest"; 3])).collect();
        let data_same = data(&same);
        assert!(regression(&data_same, &moments(&data_same)).unwrap().is_none());
    }
}
