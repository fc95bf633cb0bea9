//! What is trained: the vision transformer and the scale and bias of its loss.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use geoglot_core::Seeds;
use geoglot_models::geolangbind::Maka;
use geoglot_models::vision::{Left, TowerFiles};
use geoglot_nn::losses::{Temperature, TemperatureConfig, l2_normalise};
use geoglot_nn::vision::{Vit, VitConfig};
use geoglot_nn::weights::{Mapped, load_into, parameter_name};
use rand::{Rng, RngExt};

use super::distill::Lesson;
use super::error::Result;
use super::options::{Loss, Precision, PretrainOptions};
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
        Self { vit, temperature, bias }
    }

    /// First weights, those of `start` taken over. Patch embedding and projection may be missing in it or be of another kind; scale and bias of
    /// the loss are taken where both have them.
    ///
    /// # Errors
    /// Tensors of `start` that are missing, of another shape, or have no place.
    pub(super) fn begin(
        config: &VitConfig,
        options: &PretrainOptions,
        start: Option<&TowerFiles>,
        device: &Device,
    ) -> Result<Self> {
        let mut first = Self::init(config, options, device);
        let Some(files) = start else { return Ok(first) };
        let own = parameters(&first.vit);
        let may_differ = |name: &str| ["patch.", "wavelength.", "projection."].iter().any(|p| name.starts_with(p));
        let mapped = Mapped::new(&files.checkpoint, &files.map)?;
        let mut theirs = files.config.clone();
        for (name, source) in &mapped.sources {
            if may_differ(name) && !own.contains(name) {
                let names = format!("^{}$", regex::escape(&source.published));
                theirs.ignore.push(Left { names, why: "of another kind in the tower that is trained".into() });
            }
        }
        let names = r"^(patch|wavelength|projection)\.".to_owned();
        theirs.initial.push(Left { names, why: "not in the tower training begins with".into() });
        let map = theirs.key_map(&files.checkpoint)?;
        first.vit = load_into(first.vit, &files.checkpoint, &map)?.0;
        let scalar = |own: &str| -> Result<Option<f32>> {
            let name = files.checkpoint.names().find(|n| n.rsplit('.').next() == Some(own));
            Ok(name.map(|n| files.checkpoint.read_f32(n)).transpose()?.and_then(|v| v.first().copied()))
        };
        let param = |value: f32| Param::from_tensor(Tensor::<1>::from_floats([value], device));
        if let Some(scale) = scalar("logit_scale")? {
            first.temperature.tau = param(scale);
            first.temperature = first.temperature.constrain();
        }
        if let (Some(_), Some(bias)) = (&first.bias, scalar("logit_bias")?) {
            first.bias = Some(param(bias));
        }
        Ok(first)
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

/// What learns: the tower, and a head for each teacher whose features are not compared as they are.
#[derive(Module, Debug)]
pub(super) struct Student {
    pub contrast: Contrast,
    pub heads: Vec<Option<Maka>>,
}

impl Student {
    /// First weights, and parameters numbered for the optimiser's record; the tower's do not depend on the teachers.
    pub fn init(
        config: &VitConfig,
        start: Option<&TowerFiles>,
        lessons: &[Lesson<'_>],
        options: &PretrainOptions,
        device: &Device,
    ) -> Result<Self> {
        let contrast = Contrast::begin(config, options, start, device)?;
        let heads = lessons.iter().map(|lesson| {
            let stream = format!("contrastive/head/{}", lesson.teacher.section.label());
            let rng = Seeds::new(options.seed).stream(&stream);
            let head = lesson.head(config.width, config.grid, device)?;
            Ok(head.map(|head| {
                // The modality's part stays zero at first.
                let modulation = head.modulation.clone();
                let mut head = head.map(&mut First { rng, field: String::new() });
                head.modulation = modulation;
                head
            }))
        });
        let heads = heads.collect::<Result<_>>()?;
        Ok(number_parameters(Self { contrast, heads }))
    }

    /// Vectors [B, D] of length 1 of images [B, C, H, W], and each teacher's features as the student gives them, [B, N, channels].
    pub fn look(&self, images: Tensor<4>, wavelengths: &[f32], precision: Precision) -> (Tensor<2>, Vec<Tensor<3>>) {
        let vit = self.contrast.computing(precision).vit;
        let [_, _, height, width] = images.dims();
        let tokens = vit.forward(images, wavelengths);
        let features = self.heads.iter().map(|head| match head {
            Some(head) => {
                let (prefix, n) = (vit.config().prefix(), tokens.dims()[1]);
                let patches = tokens.clone().narrow(1, prefix, n - prefix);
                head.forward(patches, vit.config().patches(height, width), wavelengths)
            }
            None => vit.patch_tokens(tokens.clone()),
        });
        let features = features.collect();
        (l2_normalise(vit.pool(tokens)), features)
    }
}

impl Contrast {
    /// The network as it computes in `precision`: gradients reach the weights it was made from.
    pub(super) fn computing(&self, precision: Precision) -> Self {
        let mut copy = self.clone();
        if precision == Precision::Bf16 {
            copy.vit.blocks = copy.vit.blocks.map(&mut Convert(FloatDType::BF16));
        }
        copy
    }
}

/// Converts parameters; they stay part of the graph.
struct Convert(FloatDType);

impl ModuleMapper for Convert {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, tensor.cast(self.0), mapper)
    }
}

/// Names of a module's parameters, as [`load_into`] knows them.
fn parameters<M: Module>(module: &M) -> BTreeSet<String> {
    let mut names = Names::default();
    module.visit(&mut names);
    names.found.into_iter().map(|n| n.1).collect()
}

/// Collects the names of parameters.
#[derive(Default)]
pub(super) struct Names {
    path: Vec<(String, String)>,
    /// Ids and names, in visiting order.
    pub found: Vec<(ParamId, String)>,
}

impl ModuleVisitor for Names {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push((name.to_owned(), container.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push((param.id, parameter_name(&self.path)));
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
