//! Learning from teachers beside the texts (GeoLangBind, §"Modality-aware knowledge agglomeration").
//!
//! A teacher is any image tower. It sees three bands of the same crop, those nearest red, green and blue, prepared as it was trained; the
//! student's tokens are turned into its patch features by a [`Maka`] head and compared by a [`MatchLoss`](geoglot_models::geolangbind::MatchLoss).

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::Band;
use geoglot_models::geolangbind::{Maka, MakaConfig, Placeholders, rgb_bands};
use geoglot_models::mmlgnet::sha256;
use geoglot_models::vision::{
    BandNeed, BoundPreprocess, ImageBatch, ImagePreprocess, ImageTower, ResizeMode, ValueScale, VisionConfig,
};
use geoglot_nn::weights::{Checkpoint, save_streamed};
use ndarray::{Array3, ArrayD, ArrayView3, Axis};

use super::batches::{Images, Modality, PretrainData};
use super::distill_section::{DistillSection, HeadKind};
use super::error::{PretrainError, Result};

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
    inputs: Vec<Input<'a>>,
}

/// What the teacher sees of one modality.
struct Input<'a> {
    picked: [usize; 3],
    preprocess: BoundPreprocess,
    kept: Kept<'a>,
}

/// Where features of whole images are kept.
enum Kept<'a> {
    No,
    /// In a cache, by number.
    Cache(Checkpoint),
    /// Beside the images, under this name.
    Beside(&'a dyn Images, String),
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
        data: &'a PretrainData<'a>,
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
                lesson.inputs[k].kept = Kept::Cache(lesson.cache(folder, modality, k)?);
            }
        }
        if teacher.section.stored {
            for (k, modality) in data.modalities.iter().enumerate() {
                let name = lesson.name(k);
                lesson.inputs[k].kept = Kept::Beside(modality.images, name);
                // Found out now, not in the middle of an epoch.
                lesson.kept(k, 0)?;
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
        match input.kept {
            Kept::No => Shown::Pixels(vec![0.0; count * 3 * h * w], [h, w]),
            _ => Shown::Features(vec![0.0; count * self.grid.0 * self.grid.1 * self.channels]),
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
        let values = match self.kept(modality, item)? {
            Some(values) => values,
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

    /// The features of an image that are kept, [N, C] row by row; `None` where none are.
    fn kept(&self, modality: usize, item: usize) -> Result<Option<Vec<f32>>> {
        let (images, name) = match &self.inputs[modality].kept {
            Kept::No => return Ok(None),
            Kept::Cache(file) => return Ok(Some(file.read_f32(&name(item))?)),
            Kept::Beside(images, name) => (images, name),
        };
        let place = images.path(item);
        let label = self.teacher.section.label();
        let Some(features) = images.features(item, name)? else {
            return Err(PretrainError::Input(format!(
                "{}: has no features `teacher-{name}.npy` of teacher {label}; `geoglot shards teach` writes them, anew for another teacher, \
                 other bands or other values",
                place.display()
            )));
        };
        let expected = [self.grid.0 * self.grid.1, self.channels];
        if features.shape() != expected {
            return Err(PretrainError::Input(format!(
                "{}: `teacher-{name}.npy` holds features {:?}, teacher {label} gives {expected:?} (patches, channels); write them again with \
                 `geoglot shards teach`",
                place.display(),
                features.shape()
            )));
        }
        Ok(Some(features.into_iter().collect()))
    }

    /// What its features of whole images are called beside them: the teacher's label, and what they depend on.
    fn name(&self, modality: usize) -> String {
        let input = &self.inputs[modality];
        let key = format!("{} {:?} {:?}", self.teacher.tower.fingerprint(), input.preprocess, input.picked);
        let safe = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let label: String = self.teacher.section.label().chars().map(safe).take(40).collect();
        format!("{label}-{}", &sha256(key.as_bytes())[..8])
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

/// A teacher's features of whole images, to be kept beside them.
pub struct Precomputed<'a>(Lesson<'a>);

impl<'a> Precomputed<'a> {
    /// Binds `teacher`, whose section and cache say where features are kept, to every modality as a training of `config` would.
    ///
    /// # Errors
    /// A teacher that cannot read the images; a section that asks for features that are kept already.
    pub fn new(teacher: &'a Teacher, config: &VisionConfig, data: &'a PretrainData<'a>) -> Result<Self> {
        if teacher.section.stored || teacher.cache.is_some() {
            let label = teacher.section.label();
            return Err(PretrainError::Input(format!("teacher {label}: its features are kept already")));
        }
        let inputs = super::fit::Inputs::bind(config, data)?;
        Ok(Self(Lesson::bind(teacher, config, data, &inputs.wavelengths)?))
    }

    /// The name under which a training looks for them.
    pub fn name(&self, modality: usize) -> String {
        self.0.name(modality)
    }

    /// Features [N, C] of an image.
    ///
    /// # Errors
    /// What reading it gives; features that are not finite.
    pub fn of(&self, modality: usize, images: &dyn Images, item: usize) -> Result<ArrayD<f32>> {
        let image = images.read(item)?;
        let mut shown = self.0.room(modality, 1);
        self.0.show(modality, item, image.view(), |_| {}, shown.values_mut())?;
        let found = self.0.features(modality, shown, self.0.teacher.tower.device())?;
        let [_, patches, channels] = found.dims();
        let values: Vec<f32> = found.into_data().iter::<f32>().collect();
        Ok(ArrayD::from_shape_vec(vec![patches, channels], values).expect("the tensor's own size"))
    }
}

impl<'a> Input<'a> {
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
        Ok(Self { picked, preprocess, kept: Kept::No })
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
