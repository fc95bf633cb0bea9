//! The network as a burn module.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use geoglot_core::Seeds;
use geoglot_nn::cnn::CnnEncoder;
use geoglot_nn::losses::{Temperature, TemperatureConfig, l2_normalise};
use geoglot_nn::weights;
use ndarray::{Array1, Array2, Array4};

use super::config::MmlgnetConfig;
use super::error::{MmlgnetError, Result};
use super::lowered::{LoweredEncoder, LoweredMmlgnet, fold_batch_norm, fold_head};
use crate::initial::Uniform;

/// MMLGNet: one CNN encoder an input, concatenation, linear fusion into the text space (paper, section II-B).
///
/// Parameter names are PyTorch's: `encoders.0.blocks.0.conv.weight`, `encoders.0.blocks.0.bn.running_var`, `encoders.0.fc.weight`,
/// `fusion.weight`, `temperature.tau`.
#[derive(Module, Debug)]
pub struct Mmlgnet {
    /// One encoder an input, in the configuration's order.
    pub encoders: Vec<CnnEncoder>,
    /// Concatenated features → D.
    pub fusion: Linear,
    /// e^τ of the contrastive loss, kept with the model for calibrated confidences.
    pub temperature: Temperature,
}

impl MmlgnetConfig {
    /// A network with fresh weights drawn from `seed`, as PyTorch initialises: uniform in ±1/√(fan in).
    ///
    /// The weights depend on the configuration and the seed only.
    ///
    /// # Errors
    /// As [`MmlgnetConfig::check`].
    pub fn init(&self, device: &Device, seed: u64) -> Result<Mmlgnet> {
        self.check()?;
        let encoders = self
            .encoders
            .iter()
            .map(|(input, encoder)| {
                let made = encoder.cnn(self.patch).init(device);
                made.map_err(|source| MmlgnetError::Encoder { input: input.clone(), source })
            })
            .collect::<Result<_>>()?;
        let width = self.encoders.values().map(|e| e.width).sum();
        let network = Mmlgnet {
            encoders,
            fusion: LinearConfig::new(width, self.embed).init(device),
            temperature: TemperatureConfig::new().init(device),
        };
        Ok(network.map(&mut Uniform::new(Seeds::new(seed).stream("mmlgnet/init"))))
    }
}

impl Mmlgnet {
    /// Embeds patches: one [B, C, P, P] tensor an encoder, in order → [B, D], rows L2-normalised.
    ///
    /// # Panics
    /// When the number of inputs or their shapes are not the configuration's; [`Mmlgnet::check_inputs`] says so politely.
    pub fn forward(&self, inputs: Vec<Tensor<4>>) -> Tensor<2> {
        l2_normalise(self.fusion.forward(self.features(inputs)))
    }

    /// As [`Mmlgnet::forward`] with the concatenated features multiplied by `mask`, [B, features] (dropout with the caller's random numbers).
    pub fn forward_masked(&self, inputs: Vec<Tensor<4>>, mask: Tensor<2>) -> Tensor<2> {
        l2_normalise(self.fusion.forward(self.features(inputs) * mask))
    }

    /// Width of the concatenated features.
    pub fn feature_width(&self) -> usize {
        self.fusion.weight.shape().dims::<2>()[0]
    }

    fn features(&self, inputs: Vec<Tensor<4>>) -> Tensor<2> {
        assert_eq!(inputs.len(), self.encoders.len(), "one input for each encoder");
        let features: Vec<_> =
            self.encoders.iter().zip(inputs).map(|(encoder, input)| encoder.forward(input)).collect();
        Tensor::cat(features, 1)
    }

    /// Checks shapes against `config` before [`Mmlgnet::forward`].
    ///
    /// # Errors
    /// [`MmlgnetError::Input`] naming the input, expected and found.
    pub fn check_inputs(config: &MmlgnetConfig, inputs: &[Tensor<4>]) -> Result<()> {
        if inputs.len() != config.encoders.len() {
            let names: Vec<_> = config.encoders.keys().cloned().collect();
            return Err(MmlgnetError::Input(format!(
                "{} inputs given, the model has {}: {}",
                inputs.len(),
                names.len(),
                names.join(", ")
            )));
        }
        let batch = inputs[0].dims()[0];
        for ((name, encoder), input) in config.encoders.iter().zip(inputs) {
            let expected = [batch, encoder.channels, config.patch, config.patch];
            if input.dims() != expected {
                return Err(MmlgnetError::Input(format!(
                    "input `{name}` has shape {:?}, the model expects {expected:?}",
                    input.dims()
                )));
            }
        }
        Ok(())
    }

    /// e^τ.
    pub fn logit_scale(&self) -> f32 {
        self.temperature.scale().into_data().iter::<f32>().next().unwrap_or(1.0)
    }

    /// The network as plain arrays for dense evaluation.
    pub fn lower(&self, config: &MmlgnetConfig) -> LoweredMmlgnet {
        let network = self.valid();
        let values = |t: Tensor<1>| -> Vec<f32> { t.into_data().iter::<f32>().collect() };
        let matrix = |linear: &Linear| {
            let [rows, cols] = linear.weight.shape().dims();
            let weight: Vec<f32> = linear.weight.val().into_data().iter::<f32>().collect();
            let bias = linear.bias.as_ref().map_or_else(|| vec![0.0; cols], |b| values(b.val()));
            let weight = Array2::from_shape_vec((rows, cols), weight).expect("shape of the tensor");
            (weight, Array1::from_vec(bias))
        };
        let encoders = config.encoders.iter().zip(&network.encoders).map(|((input, shape), encoder)| {
            let blocks = encoder.blocks.iter().map(|block| {
                let [o, i, h, w] = block.conv.weight.shape().dims();
                let kernel: Vec<f32> = block.conv.weight.val().into_data().iter::<f32>().collect();
                let kernel = Array4::from_shape_vec((o, i, h, w), kernel).expect("shape of the tensor");
                let bias = block.conv.bias.as_ref().map_or_else(|| vec![0.0; o], |b| values(b.val()));
                let (gamma, beta) = (values(block.bn.gamma.val()), values(block.bn.beta.val()));
                let (mean, var) =
                    (values(block.bn.running_mean.value_sync()), values(block.bn.running_var.value_sync()));
                fold_batch_norm(kernel, &bias, [&gamma, &beta, &mean, &var], block.bn.epsilon)
            });
            LoweredEncoder { input: input.clone(), channels: shape.channels, blocks: blocks.collect() }
        });
        let encoders = encoders.collect();
        let layers: Vec<_> = network.encoders.iter().map(|e| matrix(&e.fc)).collect();
        let (weight, bias) = matrix(&network.fusion);
        let (head, bias) = fold_head(&layers, (&weight, &bias));
        LoweredMmlgnet { patch: config.patch, encoders, head, bias }
    }

    /// Every parameter and running statistic as safetensors bytes; equal weights give equal bytes.
    ///
    /// # Errors
    /// [`MmlgnetError::Config`] when the format's library refuses.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        weights::to_bytes(&self.valid(), &BTreeMap::new()).map_err(MmlgnetError::Config)
    }

    /// Fills the network from a safetensors (or PyTorch) file under PyTorch's names.
    ///
    /// # Errors
    /// [`MmlgnetError::Weights`] for missing, unused or misshapen tensors and damaged files.
    pub fn load_weights(self, path: &std::path::Path) -> Result<Self> {
        let checkpoint = weights::Checkpoint::open(path)?;
        Ok(weights::load_into(self, &checkpoint, &weights::KeyMap::identity())?.0)
    }
}
