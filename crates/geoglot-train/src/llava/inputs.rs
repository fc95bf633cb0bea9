//! Conversations of a micro-batch as tensors, and the projector as a layer.

use burn::module::Param;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use geoglot_models::spectral_llava::Projector;
use geoglot_nn::llm::FrozenDecoder;
use ndarray::{Array1, Array2};

use super::{Sequence, StageData};
use crate::contrastive::PretrainError;

type Result<T, E = PretrainError> = std::result::Result<T, E>;

/// Conversations of a micro-batch as tensors, padded at the end: no state sees what is behind it.
pub(super) struct Inputs {
    /// Image states [B, tokens, width].
    pub images: Tensor<3>,
    /// Embeddings before and behind each image, [1, n, D]; the last is followed by zeros.
    around: Vec<[Option<Tensor<3>>; 2]>,
    /// Positions (in [B·N]) whose next token is part of an answer.
    places: Vec<i64>,
    /// Those tokens.
    targets: Vec<i64>,
    /// Their number.
    pub answers: usize,
}

impl Inputs {
    pub fn new(data: &StageData<'_>, sequences: &[&Sequence], images: &[usize], device: &Device) -> Result<Self> {
        let d = data.decoder.config.width;
        let mut values = Vec::new();
        let mut tokens = 0;
        for &i in images {
            let states =
                data.images.states(i).map_err(|e| PretrainError::Input(format!("{}: {e}", data.images.name(i))))?;
            if states.ncols() != data.width || (tokens != 0 && states.nrows() != tokens) {
                return Err(PretrainError::Input(format!(
                    "{}: states of {} × {}; expected {tokens} × {}",
                    data.images.name(i),
                    states.nrows(),
                    states.ncols(),
                    data.width
                )));
            }
            tokens = states.nrows();
            values.extend(states);
        }
        let longest = sequences.iter().map(|s| s.len(tokens)).max().unwrap_or(0);
        let embed = |ids: &[u32], zeros: usize| {
            let mut rows = data.decoder.embed(ids);
            rows.resize(rows.len() + zeros * d, 0.0);
            let n = rows.len() / d;
            (n > 0).then(|| Tensor::<3>::from_data(TensorData::new(rows, [1, n, d]), device))
        };
        let (mut around, mut places, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (b, s) in sequences.iter().enumerate() {
            around.push([embed(&s.before, 0), embed(&s.after, longest - s.len(tokens))]);
            let first = b * longest + s.before.len() + tokens;
            for (k, id) in s.after.iter().enumerate().filter(|(k, _)| s.answer[*k]) {
                places.push((first + k - 1) as i64);
                targets.push(i64::from(*id));
            }
        }
        let shape = [sequences.len(), tokens, data.width];
        let images = Tensor::from_data(TensorData::new(values, shape), device);
        Ok(Self { images, around, answers: places.len(), places, targets })
    }

    /// Projected image tokens [B, tokens, D] between the words' embeddings, [B, N, D].
    pub fn assemble(&self, projected: Tensor<3>) -> Tensor<3> {
        let [_, tokens, d] = projected.dims();
        let rows = self.around.iter().enumerate().map(|(b, [before, after])| {
            let image = projected.clone().slice([b..b + 1, 0..tokens, 0..d]);
            Tensor::cat([before.clone(), Some(image), after.clone()].into_iter().flatten().collect(), 1)
        });
        Tensor::cat(rows.collect(), 0)
    }

    /// Sum of the answers' tokens' negative log-likelihoods after states [B, N, D] of the last block.
    pub fn loss(&self, frozen: &FrozenDecoder, states: Tensor<3>) -> Tensor<1> {
        let [b, n, d] = states.dims();
        let device = states.device();
        let ints = |v: &Vec<i64>| Tensor::<1, Int>::from_data(TensorData::new(v.clone(), [v.len()]), &device);
        let rows = states.reshape([b * n, d]).select(0, ints(&self.places));
        let scores = log_softmax(frozen.logits(rows), 1);
        -scores.gather(1, ints(&self.targets).reshape([self.targets.len(), 1])).sum()
    }
}

/// The projector as a layer that learns.
pub(super) fn to_linear(projector: &Projector, device: &Device) -> Linear {
    let (rows, columns) = projector.weight.dim();
    let mut linear = LinearConfig::new(columns, rows).init(device);
    let weight: Vec<f32> = projector.weight.t().iter().copied().collect();
    let tensor = Tensor::<2>::from_data(TensorData::new(weight, [columns, rows]), device);
    linear.weight = Param::from_tensor(tensor);
    let bias = Tensor::<1>::from_data(TensorData::new(projector.bias.to_vec(), [rows]), device);
    linear.bias = Some(Param::from_tensor(bias));
    linear
}

/// A layer as a projector.
pub(super) fn of_linear(linear: &Linear) -> Projector {
    let [columns, rows] = linear.weight.dims();
    let values: Vec<f32> = linear.weight.val().into_data().iter::<f32>().collect();
    let weight = Array2::from_shape_vec((columns, rows), values).expect("the tensor's own size").reversed_axes();
    let bias = linear.bias.as_ref().map_or_else(|| vec![0.0; rows], |b| b.val().into_data().iter::<f32>().collect());
    Projector { weight: weight.as_standard_layout().into_owned(), bias: Array1::from_vec(bias) }
}
