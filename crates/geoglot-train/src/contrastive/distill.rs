//! Learning from teachers beside the texts (GeoLangBind, §"Modality-aware knowledge agglomeration").
//!
//! A teacher is any image tower. It sees three bands of the same crop, those nearest red, green and blue, prepared as it was trained; the
//! student's tokens are turned into its patch features by a [`Maka`] head and compared by a [`MatchLoss`].

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Band;
use geoglot_models::geolangbind::{GridResize, Maka, MakaConfig, MatchLoss, Placeholders, rgb_bands};
use geoglot_models::mmlgnet::sha256;
use geoglot_models::vision::{
    BandNeed, BoundPreprocess, ImageBatch, ImagePreprocess, ImageTower, ResizeMode, ValueScale, VisionConfig,
};
use geoglot_nn::weights::{Checkpoint, save_streamed};
use ndarray::{Array3, ArrayView3, Axis};
use serde::{Deserialize, Serialize};

use super::batches::{Modality, PretrainData};
use super::error::{PretrainError, Result};

/// When a teacher's features get a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// Unless the teacher has the student's width and grid.
    #[default]
    Auto,
    /// Always.
    Maka,
    /// Never: student and teacher are compared as they are.
    None,
}

/// One teacher of a recipe: a `[[distill]]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillSection {
    /// Image tower: a folder (relative to the recipe), a weight file or a name of `geoglot models list`.
    pub teacher: String,
    /// Name in logs; the tower's when none is given.
    #[serde(default)]
    pub name: String,
    /// λ, the weight of its loss beside the contrastive one. The published ones are 2 for SigLIP, 1 for DINOv2 and ViT.
    #[serde(default = "one")]
    pub weight: f64,
    /// How the student's tokens get the teacher's grid.
    #[serde(default)]
    pub resize: GridResize,
    /// When there is a head.
    #[serde(default)]
    pub head: HeadKind,
    /// Whether the head's norm depends on the wavelengths; `false` is ordinary distillation.
    #[serde(default = "yes")]
    pub conditional: bool,
    /// Width of the head's wavelength embedding.
    #[serde(default = "embedding")]
    pub embedding: usize,
    /// Weights of the loss's parts, and whether an image or a patch is one vector.
    #[serde(default)]
    pub loss: MatchLoss,
    /// Folder (relative to the recipe) where features of whole images are kept, so that the teacher runs once; needs
    /// `train.crop = [1, 1]` and `train.turns = false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
}

fn one() -> f64 {
    1.0
}
fn yes() -> bool {
    true
}
fn embedding() -> usize {
    128
}

impl DistillSection {
    /// Name in logs.
    pub fn label(&self) -> &str {
        match self.name.is_empty() {
            true => Path::new(&self.teacher).file_name().and_then(|n| n.to_str()).unwrap_or(&self.teacher),
            false => &self.name,
        }
    }

    /// What is out of range.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let parts = [self.loss.smooth_l1, self.loss.mse, self.loss.cosine];
        let positive = |v: &f64| v.is_finite() && *v >= 0.0;
        match () {
            () if self.teacher.is_empty() => Some("teacher is empty"),
            () if !(positive(&self.weight) && self.weight > 0.0) => {
                Some("weight must be above 0; leave the section out instead")
            }
            () if !parts.iter().all(positive) || parts.iter().all(|v| *v == 0.0) => {
                Some("loss: weights must not be negative, and not all 0")
            }
            () if self.embedding < 2 || !self.embedding.is_multiple_of(2) => Some("embedding must be even"),
            () => None,
        }
    }
}

/// A teacher ready to teach.
pub struct Teacher {
    /// How.
    pub section: DistillSection,
    /// The frozen tower.
    pub tower: Box<dyn ImageTower>,
    /// Folder of the cache, where there is one.
    pub cache: Option<PathBuf>,
}

/// A teacher bound to the modalities of a training.
pub(super) struct Lesson<'a> {
    pub teacher: &'a Teacher,
    /// Patches and channels of its features.
    pub grid: (usize, usize),
    pub channels: usize,
    inputs: Vec<Input>,
}

/// What the teacher sees of one modality.
struct Input {
    picked: [usize; 3],
    preprocess: BoundPreprocess,
    cached: Option<Checkpoint>,
}

/// A teacher's part of a prepared batch.
pub(super) enum Shown {
    /// Images to look at, [B, 3, H, W].
    Pixels(Vec<f32>, [usize; 2]),
    /// Features from the cache, [B, N, C].
    Features(Vec<f32>),
}

impl Shown {
    /// All numbers, image after image.
    pub fn values_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Pixels(values, _) | Self::Features(values) => values,
        }
    }
}

impl<'a> Lesson<'a> {
    /// Binds `teacher` to every modality; computes the cache where it is missing.
    pub fn bind(
        teacher: &'a Teacher,
        config: &VisionConfig,
        data: &PretrainData<'_>,
        wavelengths: &[Vec<f32>],
    ) -> Result<Self> {
        let mut inputs = Vec::new();
        for (modality, waves) in data.modalities.iter().zip(wavelengths) {
            inputs.push(Input::bind(teacher, config, modality, waves)?);
        }
        let (h, w) = inputs[0].preprocess.output_size();
        let blank = vec![0.0; 3 * h * w];
        let [_, rows, columns, channels] = features(teacher, blank, [h, w], &inputs[0].bands())?.dims();
        let mut lesson = Self { teacher, grid: (rows, columns), channels, inputs };
        if let Some(folder) = &teacher.cache {
            for (k, modality) in data.modalities.iter().enumerate() {
                lesson.inputs[k].cached = Some(lesson.cache(folder, modality, k)?);
            }
        }
        Ok(lesson)
    }

    /// The head for a student of `width` and `grid`; `None` where features are compared as they are.
    pub fn head(&self, width: usize, grid: (usize, usize), device: &Device) -> Result<Option<Maka>> {
        let section = &self.teacher.section;
        let same = width == self.channels && grid == self.grid;
        let wanted = match section.head {
            HeadKind::Auto => !same,
            HeadKind::Maka => true,
            HeadKind::None => false,
        };
        if !wanted && !same {
            return Err(PretrainError::Input(format!(
                "teacher {}: {} × {} patches of width {}, the student {} × {} of width {width}; without a head they must be equal",
                section.label(),
                self.grid.0,
                self.grid.1,
                self.channels,
                grid.0,
                grid.1
            )));
        }
        let config = MakaConfig {
            width,
            channels: self.channels,
            grid: self.grid,
            resize: section.resize,
            embedding: section.embedding,
            conditional: section.conditional,
            epsilon: 1e-6,
        };
        Ok(wanted.then(|| config.init(device)))
    }

    /// Room for what the teacher is shown of `count` images of `modality`.
    pub fn room(&self, modality: usize, count: usize) -> Shown {
        let input = &self.inputs[modality];
        let (h, w) = input.preprocess.output_size();
        match input.cached {
            Some(_) => Shown::Features(vec![0.0; count * self.grid.0 * self.grid.1 * self.channels]),
            None => Shown::Pixels(vec![0.0; count * 3 * h * w], [h, w]),
        }
    }

    /// Puts what the teacher is shown of one image into its part of the [`Lesson::room`].
    pub fn show(
        &self,
        modality: usize,
        item: usize,
        crop: ArrayView3<f32>,
        turn: impl Fn(&mut Array3<f32>),
        room: &mut [f32],
    ) -> Result<()> {
        let input = &self.inputs[modality];
        let values = match &input.cached {
            Some(cached) => cached.read_f32(&name(item))?,
            None => {
                let mut ready = input.prepare(crop)?;
                turn(&mut ready);
                ready.into_iter().collect()
            }
        };
        if values.len() != room.len() {
            return Err(PretrainError::Input(format!(
                "teacher {}: {} numbers for image {item}, expected {}; delete its cache",
                self.teacher.section.label(),
                values.len(),
                room.len()
            )));
        }
        room.copy_from_slice(&values);
        Ok(())
    }

    /// Features [B, N, C] of what was shown, on `device`.
    pub fn features(&self, modality: usize, shown: Shown, device: &Device) -> Result<Tensor<3>> {
        let n = self.grid.0 * self.grid.1;
        let values = match shown {
            Shown::Features(values) => values,
            Shown::Pixels(values, size) => {
                let found = features(self.teacher, values, size, &self.inputs[modality].bands())?;
                found.into_data().iter::<f32>().collect()
            }
        };
        if values.iter().any(|v| !v.is_finite()) {
            return Err(PretrainError::Input(format!(
                "teacher {}: features are NaN or infinite; its weights are damaged",
                self.teacher.section.label()
            )));
        }
        let b = values.len() / (n * self.channels);
        Ok(Tensor::from_data(TensorData::new(values, [b, n, self.channels]), device))
    }

    /// L_match of student features, [1].
    pub fn loss(&self, student: Tensor<3>, teacher: Tensor<3>) -> Tensor<1> {
        self.teacher.section.loss.forward(student, teacher)
    }

    /// The features of all images of `modality`: read, or computed and written first.
    fn cache(&self, folder: &Path, modality: &Modality<'_>, number: usize) -> Result<Checkpoint> {
        let images = modality.images;
        let mut key = format!("{} {:?}", self.teacher.tower.fingerprint(), self.inputs[number].preprocess);
        for i in 0..images.len() {
            let path = images.path(i);
            let seen = std::fs::metadata(&path).ok().map(|m| (m.len(), m.modified().ok()));
            key += &format!("\n{} {seen:?}", path.display());
        }
        let words = format!("{}-{}", self.teacher.section.label(), modality.name);
        let safe: String = words.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let safe = &safe[safe.len().saturating_sub(60)..];
        let path = folder.join(format!("{safe}-{}.safetensors", &sha256(key.as_bytes())[..16]));
        if !path.is_file() {
            let shape = vec![self.grid.0 * self.grid.1, self.channels];
            let table: Vec<(String, Vec<usize>)> = (0..images.len()).map(|i| (name(i), shape.clone())).collect();
            let mut next = 0;
            save_streamed(&path, &table, &Default::default(), |_| {
                let image = images.read(next)?;
                next += 1;
                let mut shown = self.room(number, 1);
                self.show(number, next - 1, image.view(), |_| {}, shown.values_mut())?;
                let found = self.features(number, shown, self.teacher.tower.device())?;
                Ok::<_, PretrainError>(found.into_data().iter::<f32>().collect())
            })?;
        }
        Ok(Checkpoint::open(&path)?)
    }
}

/// Name of an image in a cache; names sort as the images do.
fn name(item: usize) -> String {
    format!("{item:09}")
}

impl Input {
    fn bind(teacher: &Teacher, config: &VisionConfig, modality: &Modality<'_>, waves: &[f32]) -> Result<Self> {
        let bands = modality.images.bands();
        let picked =
            rgb_bands(waves).ok_or_else(|| PretrainError::Input(format!("{}: images without bands", modality.name)))?;
        // Values are scaled as the student's, to 0–1, then normed as the teacher's. It sees the whole crop, as the student does.
        let values = match &config.preprocess.values {
            ValueScale::Ranges(ranges) if ranges.len() > 1 => ValueScale::Ranges(picked.map(|i| ranges[i]).to_vec()),
            other => other.clone(),
        };
        let preprocess = ImagePreprocess {
            values,
            resize: ResizeMode::Squash,
            resize_to: None,
            by_band: Default::default(),
            ..teacher.tower.preprocess().clone()
        };
        let need = BandNeed::Any(Placeholders::rgb());
        let picked_bands: Vec<Band> = picked.map(|i| bands[i].clone()).to_vec();
        let label = teacher.section.label();
        let preprocess = preprocess
            .bind(&need, &picked_bands, None)
            .map_err(|e| PretrainError::Input(format!("teacher {label}, {}: {e}", modality.name)))?;
        Ok(Self { picked, preprocess, cached: None })
    }

    fn bands(&self) -> Vec<Band> {
        self.preprocess.bands().to_vec()
    }

    fn prepare(&self, image: ArrayView3<f32>) -> Result<Array3<f32>> {
        Ok(self.preprocess.apply(image.select(Axis(0), &self.picked).view())?)
    }
}

/// Patch features [B, h, w, C] of images [B, 3, H, W].
fn features(teacher: &Teacher, values: Vec<f32>, [h, w]: [usize; 2], bands: &[Band]) -> Result<Tensor<4>> {
    let shape = [values.len() / (3 * h * w), 3, h, w];
    let pixels = Tensor::from_data(TensorData::new(values, shape), teacher.tower.device());
    let batch = ImageBatch::preprocessed(pixels, bands.to_vec());
    teacher
        .tower
        .patch_features(&batch)
        .map_err(|e| PretrainError::Input(format!("teacher {}: {e}", teacher.section.label())))
}
