//! What is trained: the vision transformer and the scale and bias of its loss.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Seeds;
use geoglot_nn::losses::{Temperature, TemperatureConfig, l2_normalise};
use geoglot_nn::vision::{Vit, VitConfig};
use rand::{Rng, RngExt};

use super::recipe::{Loss, PretrainOptions};
use crate::flat::number_parameters;

/// A vision transformer with the scale e^t and, for the sigmoid loss, the bias b of its logits.
#[derive(Module, Debug)]
pub struct Contrast {
    /// Images to vectors.
    pub vit: Vit,
    /// t; logits are multiplied by e^t.
    pub temperature: Temperature,
    /// b, `[1]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Contrast {
    /// First weights: they depend on the configuration and the seed only. Linear layers are uniform within ±1/√inputs with biases
    /// of zero, tokens and positions have a standard deviation of 0.02. `config` must be possible ([`VitConfig::problem`]).
    pub(super) fn init(config: &VitConfig, options: &PretrainOptions, device: &Device) -> Self {
        let (scale, bias) = match options.loss {
            Loss::Sigmoid => (10.0, Some(-10.0f32)),
            Loss::Softmax => (1.0 / 0.07, None),
        };
        let temperature = TemperatureConfig::new().with_scale(scale).with_max(options.max_scale).init(device);
        let rng = Seeds::new(options.seed).stream("contrastive/init");
        let vit = config.init(device).map(&mut First { rng, field: String::new() });
        let bias = bias.map(|b| Param::from_tensor(Tensor::from_floats([b], device)));
        number_parameters(Self { vit, temperature, bias })
    }

    /// Vectors [B, D] of length 1 of images [B, C, H, W] with these centre wavelengths in µm.
    pub fn embed(&self, images: Tensor<4>, wavelengths: &[f32]) -> Tensor<2> {
        l2_normalise(self.vit.pool(self.vit.forward(images, wavelengths)))
    }

    /// Logits [B, B] of image vectors against text vectors, each [B, D].
    pub fn logits(&self, images: Tensor<2>, texts: Tensor<2>) -> Tensor<2> {
        let logits = images.matmul(texts.transpose()) * self.temperature.scale().reshape([1, 1]);
        match &self.bias {
            Some(bias) => logits + bias.val().reshape([1, 1]),
            None => logits,
        }
    }

    /// t.
    pub fn log_scale(&self) -> f32 {
        self.temperature.tau.val().into_scalar()
    }

    /// b.
    pub fn bias(&self) -> Option<f32> {
        self.bias.as_ref().map(|b| b.val().into_scalar())
    }
}

/// Draws first weights in visiting order.
struct First<R: Rng> {
    rng: R,
    field: String,
}

impl<R: Rng> ModuleMapper for First<R> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.field = name.to_owned();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().shape();
        let dims: Vec<usize> = param.val().dims().to_vec();
        let bound = match (self.field.as_str(), D) {
            // Norms and layer scales keep their constants.
            ("gamma" | "beta" | "scale1" | "scale2", _) => return param,
            ("bias", 1) => 0.0,
            // burn keeps linear weights as [inputs, outputs].
            ("weight", 2) => (dims[0] as f32).powf(-0.5),
            // A convolution's [outputs, channels, rows, columns].
            ("weight", 4) => (dims[1..].iter().product::<usize>() as f32).powf(-0.5),
            ("latent", _) => (3.0 / dims[D - 1] as f32).sqrt(),
            _ => 0.02 * 3f32.sqrt(),
        };
        let count = shape.num_elements();
        let values: Vec<f32> = if bound == 0.0 {
            vec![0.0; count]
        } else {
            (0..count).map(|_| self.rng.random_range(-bound..bound)).collect()
        };
        let (id, tensor, mapper) = param.consume();
        let new = Tensor::from_data(TensorData::new(values, shape), &tensor.device())
            .set_require_grad(tensor.is_require_grad());
        Param::from_mapped_value(id, new, mapper)
    }
}

/// Multiplies every parameter of two or more axes: the decay of AdamW (Loshchilov and Hutter 2019), which spares biases, norms,
/// scale and bias of the loss.
pub(crate) struct Shrink(pub f32);

impl ModuleMapper for Shrink {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D < 2 {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let wanted = tensor.is_require_grad();
        let new = (tensor.detach().set_require_grad(false) * self.0).detach().set_require_grad(wanted);
        Param::from_mapped_value(id, new, mapper)
    }
}
