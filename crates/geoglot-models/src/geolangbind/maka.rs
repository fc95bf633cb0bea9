//! Modality-aware knowledge agglomeration, MaKA (GeoLangBind, §"Modality-aware knowledge agglomeration"): the head that turns a student's
//! tokens into a teacher's, and the loss that compares them.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_nn::vision::sine_cosine;
use serde::{Deserialize, Serialize};

/// How a map of tokens gets the teacher's grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GridResize {
    /// The nearest token, as the published code does (PyTorch's `nearest`).
    #[default]
    Nearest,
    /// Between the four nearest tokens (PyTorch's `bilinear`, `align_corners=False`).
    Bilinear,
}

/// Sizes and parts of a [`Maka`] head.
#[derive(Debug, Clone, PartialEq)]
pub struct MakaConfig {
    /// Width D of the student's tokens.
    pub width: usize,
    /// Width of the teacher's.
    pub channels: usize,
    /// Rows and columns of the teacher's grid.
    pub grid: (usize, usize),
    /// How the student's map gets that grid.
    pub resize: GridResize,
    /// Width of the wavelength embedding.
    pub embedding: usize,
    /// Whether the norm depends on the wavelengths; without it the head is that of ordinary distillation.
    pub conditional: bool,
    /// ε of the norm.
    pub epsilon: f64,
}

/// Student tokens to teacher tokens: resized, normed with a residual that depends on the wavelengths, one 3×3 convolution.
#[derive(Module, Debug)]
pub struct Maka {
    /// On each band's wavelength embedding; their mean is the prompt m.
    pub prompt: Option<Linear>,
    /// m to [γ, β]; zero at first, so that training begins with the plain norm.
    pub modulation: Option<Linear>,
    /// D to the teacher's channels.
    pub projector: Conv2d,
    #[module(skip)]
    config: MakaConfig,
}

impl MakaConfig {
    /// Builds the head; `modulation` is zero, the rest has burn's first weights.
    pub fn init(&self, device: &Device) -> Maka {
        let modulation = || {
            let zeros = LinearConfig::new(self.embedding, 2 * self.width)
                .with_initializer(burn::nn::Initializer::Zeros)
                .init(device);
            Linear { bias: Some(Param::from_tensor(Tensor::zeros([2 * self.width], device))), ..zeros }
        };
        Maka {
            prompt: self.conditional.then(|| LinearConfig::new(self.embedding, self.embedding).init(device)),
            modulation: self.conditional.then(modulation),
            projector: Conv2dConfig::new([self.width, self.channels], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device),
            config: self.clone(),
        }
    }
}

impl Maka {
    /// Sizes and parts.
    pub fn config(&self) -> &MakaConfig {
        &self.config
    }

    /// γ and β, each `[1, 1, D]`, for bands with these centre wavelengths in µm; `None` without the modality-aware part.
    ///
    /// The embedding takes wavelengths in µm here, not in nm as the patch embedding does (published code).
    pub fn modulate(&self, wavelengths: &[f32]) -> Option<(Tensor<3>, Tensor<3>)> {
        let (prompt, modulation) = (self.prompt.as_ref()?, self.modulation.as_ref()?);
        let encoded = sine_cosine(wavelengths.iter().copied(), self.config.embedding, &prompt.weight.device());
        let m = prompt.forward(encoded).mean_dim(0);
        let both = modulation.forward(m).unsqueeze::<3>();
        let d = self.config.width;
        Some((both.clone().narrow(2, 0, d), both.narrow(2, d, d)))
    }

    /// Student tokens `[B, h·w, D]` of a `grid` (h, w) as the teacher's, `[B, h'·w', channels]`.
    pub fn forward(&self, tokens: Tensor<3>, grid: (usize, usize), wavelengths: &[f32]) -> Tensor<3> {
        let (rows, columns) = self.config.grid;
        let resized = resize_tokens(tokens, grid, self.config.grid, self.config.resize);
        let normed = standardise(resized, self.config.epsilon);
        let aware = match self.modulate(wavelengths) {
            Some((gamma, beta)) => normed.clone() + gamma * normed + beta,
            None => normed,
        };
        let [b, n, d] = aware.dims();
        let map = aware.swap_dims(1, 2).reshape([b, d, rows, columns]);
        self.projector.forward(map).reshape([b, self.config.channels, n]).swap_dims(1, 2)
    }
}

/// Layer norm over the channels without weights of its own: γ and β of the modality take their place.
fn standardise(tokens: Tensor<3>, epsilon: f64) -> Tensor<3> {
    let centred = tokens.clone() - tokens.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    centred / (variance + epsilon).sqrt()
}

/// Tokens `[B, h·w, D]` of grid `from` resampled to grid `to`, `[B, h'·w', D]`.
pub fn resize_tokens(tokens: Tensor<3>, from: (usize, usize), to: (usize, usize), resize: GridResize) -> Tensor<3> {
    if from == to {
        return tokens;
    }
    // One matrix for both axes: its gradient is exact on every device, and grids are small.
    let (rows, columns) = (axis(from.0, to.0, resize), axis(from.1, to.1, resize));
    let n = from.0 * from.1;
    let mut matrix = vec![0f32; to.0 * to.1 * n];
    for (r, taps) in rows.iter().enumerate() {
        for (c, others) in columns.iter().enumerate() {
            for &(y, wy) in taps {
                for &(x, wx) in others {
                    matrix[(r * to.1 + c) * n + y * from.1 + x] += wy * wx;
                }
            }
        }
    }
    let matrix = Tensor::<2>::from_data(TensorData::new(matrix, [to.0 * to.1, n]), &tokens.device());
    matrix.unsqueeze::<3>().matmul(tokens)
}

/// For each of `to` samples, the samples of `from` it is made of.
fn axis(from: usize, to: usize, resize: GridResize) -> Vec<Vec<(usize, f32)>> {
    let scale = from as f64 / to as f64;
    let sample = |i: usize| match resize {
        GridResize::Nearest => vec![(((i as f64 * scale) as usize).min(from - 1), 1.0)],
        GridResize::Bilinear => {
            let at = ((i as f64 + 0.5) * scale - 0.5).max(0.0);
            let (low, t) = (at.floor() as usize, at.fract() as f32);
            vec![(low.min(from - 1), 1.0 - t), ((low + 1).min(from - 1), t)]
        }
    };
    (0..to).map(sample).collect()
}

/// The bands nearest red, green and blue, as positions among bands with these wavelengths in µm; of equally near ones the first.
///
/// Placeholders count as wavelengths, so that two bands of radar give the first, the second, the second.
pub fn rgb_bands(wavelengths: &[f32]) -> Option<[usize; 3]> {
    let nearest = |wanted: f32| {
        let distance = |i: &usize| (wavelengths[*i] - wanted).abs();
        (0..wavelengths.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)))
    };
    let [r, g, b] = super::RGB.map(nearest);
    Some([r?, g?, b?])
}

/// Over what features are normalised and compared as one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchOver {
    /// All features of an image, flattened, as published.
    #[default]
    Image,
    /// Each patch by itself.
    Patch,
}

/// Weights of the parts of the feature-matching loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatchLoss {
    /// Smooth L1 with β = 1, mean over elements.
    pub smooth_l1: f64,
    /// Mean squared error.
    pub mse: f64,
    /// 1 − cosine, mean over vectors.
    pub cosine: f64,
    /// What is one vector.
    pub over: MatchOver,
}

impl Default for MatchLoss {
    fn default() -> Self {
        Self { smooth_l1: 1.0, mse: 1.0, cosine: 1.0, over: MatchOver::Image }
    }
}

impl MatchLoss {
    /// L_match of student and teacher features, each `[B, N, C]`: `[1]`. The teacher's carry no gradient.
    pub fn forward(&self, student: Tensor<3>, teacher: Tensor<3>) -> Tensor<1> {
        let [b, n, c] = student.dims();
        let shape = match self.over {
            MatchOver::Image => [b, n * c],
            MatchOver::Patch => [b * n, c],
        };
        let unit = |x: Tensor<3>| {
            let x = x.reshape(shape);
            let length = x.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
            x / length
        };
        let (s, t) = (unit(student), unit(teacher.detach()));
        let square = (s.clone() - t.clone()).square();
        // Features of length 1 differ by at most 2 in an element; from 1 on the smooth L1 is linear.
        let distance = (s.clone() - t.clone()).abs();
        let far = distance.clone().greater_equal_elem(1.0);
        let smooth = (square.clone() * 0.5).mask_where(far, distance - 0.5);
        let cosine = (s * t).sum_dim(1).mean();
        smooth.mean() * self.smooth_l1 + square.mean() * self.mse + (cosine.neg() + 1.0) * self.cosine
    }
}
