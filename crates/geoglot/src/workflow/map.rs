//! Whole-scene maps from a trained model.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, bail};
use burn::tensor::Device;
use indexmap::IndexMap;
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, s};

use super::bind::bind;
use super::text;
use crate::core::{Grid, Legend, Window, prompt};
use crate::data::Preprocess;
use crate::models::mmlgnet::{MapOptions, Mapper, ModelCard, SceneReader, load};
use crate::models::text::class_features;
use crate::raster::preview::{class_map, legend_entries, with_legend};
use crate::raster::{RasterSpec, RasterWriter, Scene};

/// What to write.
#[derive(Debug, Clone, Default)]
pub struct MapRequest {
    /// Classes asked for instead of the model's own, in any words.
    pub legend: Option<Legend>,
    /// Templates instead of the model's own.
    pub templates: Option<Vec<String>>,
    /// Text tower by name or folder, where the model's space does not say which.
    pub tower: Option<String>,
    /// Map-coordinate box (min x, min y, max x, max y) to map; none: the whole scene.
    pub bbox: Option<[f64; 4]>,
    /// Write one similarity layer a class.
    pub scores: bool,
    /// Write the probability of the best class.
    pub confidence: bool,
    /// Pixels whose best cosine similarity is below this get no class.
    pub background: Option<f32>,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct MapResult {
    /// Class map, GeoTIFF.
    pub classes: PathBuf,
    /// Similarities or probabilities, if asked for.
    pub scores: Option<PathBuf>,
    /// Confidence, if asked for.
    pub confidence: Option<PathBuf>,
    /// Picture with legend.
    pub preview: PathBuf,
    /// Legend of the map.
    pub legend: Legend,
    /// Pixels of each class.
    pub counts: Vec<usize>,
    /// Pixels without data or below the background threshold.
    pub unlabelled: usize,
    /// SHA-256 of the model's weights.
    pub model_hash: String,
}

/// Class text features for `request`: the card's own, or those of the words asked for.
fn prompts(card: &ModelCard, request: &MapRequest, device: &Device) -> anyhow::Result<(Legend, Array2<f32>)> {
    if request.legend.is_none()
        && request.templates.is_none()
        && let Some(features) = card.class_features()?
    {
        return Ok((card.legend.clone(), features));
    }
    let legend = request.legend.clone().unwrap_or_else(|| card.legend.clone());
    let templates = request.templates.clone().unwrap_or_else(|| card.templates.clone());
    let tower = match &request.tower {
        Some(name) => text::open(name, device)?,
        None => text::open_space(&card.space, device)?,
    };
    tower.space().expect(&crate::models::text::SpaceId::new(&card.space, card.architecture.embed))?;
    let features = class_features(tower.as_ref(), &prompt::ensemble(&legend, &templates)?)?;
    Ok((legend, features))
}

/// A scene as the network wants it: bands bound, normalised once, masks kept for the output.
pub struct NormalisedScene<'a> {
    scene: &'a Scene,
    /// Input → bands of the scene in the model's order, preprocessing.
    inputs: IndexMap<String, (Vec<usize>, Preprocess)>,
    /// Masks of the windows read since [`NormalisedScene::take_mask`].
    masks: Mutex<Vec<(Window, Array2<bool>)>>,
}

impl<'a> NormalisedScene<'a> {
    /// Binds the model's bands in `scene`.
    ///
    /// # Errors
    /// Inputs or bands that the scene lacks; normalisation that cannot be read.
    pub fn new(scene: &'a Scene, card: &ModelCard) -> anyhow::Result<Self> {
        let mut inputs = IndexMap::new();
        for (name, bands) in &card.bands {
            let input = scene.input(name).with_context(|| {
                format!("the model needs the inputs {}", card.bands.keys().cloned().collect::<Vec<_>>().join(", "))
            })?;
            let value =
                card.normalisation.get(name).with_context(|| format!("the model has no normalisation for `{name}`"))?;
            let preprocess: Preprocess =
                serde_json::from_value(value.clone()).with_context(|| format!("normalisation of `{name}`"))?;
            preprocess.check()?;
            inputs.insert(name.clone(), (bind(name, bands, input.bands())?, preprocess));
        }
        Ok(Self { scene, inputs, masks: Mutex::default() })
    }

    /// Where every input read since the last call has data, in `window`.
    fn take_mask(&self, window: Window) -> Array2<bool> {
        let mut mask = Array2::from_elem((window.height, window.width), true);
        for (at, read) in self.masks.lock().expect("no panic while held").drain(..) {
            let (row, col) = (window.row - at.row, window.col - at.col);
            mask.zip_mut_with(&read.slice(s![row..row + window.height, col..col + window.width]), |m, &v| *m &= v);
        }
        mask
    }
}

impl SceneReader for NormalisedScene<'_> {
    fn size(&self) -> (usize, usize) {
        (self.scene.grid().height, self.scene.grid().width)
    }

    fn read(&self, input: &str, window: Window) -> Result<Array3<f32>, Box<dyn std::error::Error + Send + Sync>> {
        let (bands, preprocess) = &self.inputs[input];
        let tile = self.scene.read(input, bands, window)?;
        let data = preprocess.apply(tile.data, &tile.mask)?;
        self.masks.lock().expect("no panic while held").push((window, tile.mask));
        Ok(data)
    }
}

/// Longest side of the preview in pixels.
const PREVIEW: usize = 1600;

/// A coarse copy of the class map, filled block by block.
struct Overview {
    ids: Array2<u16>,
    step: usize,
}

impl Overview {
    fn new(width: usize, height: usize, unlabelled: u16) -> Self {
        let step = width.max(height).div_ceil(PREVIEW).max(1);
        Self { ids: Array2::from_elem((height.div_ceil(step), width.div_ceil(step)), unlabelled), step }
    }

    fn add(&mut self, window: Window, ids: &Array2<u16>) {
        for row in (window.row.next_multiple_of(self.step)..window.row_end()).step_by(self.step) {
            for col in (window.col.next_multiple_of(self.step)..window.col_end()).step_by(self.step) {
                self.ids[[row / self.step, col / self.step]] = ids[[row - window.row, col - window.col]];
            }
        }
    }
}

/// Writes the files of a map block by block, in bounded memory.
pub(super) struct MapWriter<'a> {
    legend: Legend,
    ids: Vec<u16>,
    classes: RasterWriter,
    scores: Option<RasterWriter>,
    confidence: Option<RasterWriter>,
    overview: Overview,
    counts: Vec<usize>,
    with_data: usize,
    area: usize,
    out: &'a Path,
    paths: [PathBuf; 3],
}

impl<'a> MapWriter<'a> {
    /// Begins `classes.tif`, a raster of one layer a class called `layers` and `confidence.tif` in `out`, the latter two where `request`
    /// asks for them.
    pub(super) fn create(
        out: &'a Path,
        grid: &Grid,
        legend: Legend,
        layers: &str,
        request: &MapRequest,
    ) -> anyhow::Result<Self> {
        let paths = ["classes.tif", layers, "confidence.tif"].map(|name| out.join(name));
        let spec = RasterSpec { tile: 256, ..RasterSpec::classes(&legend) };
        let scores = || RasterWriter::create(&paths[1], grid, RasterSpec::scores(legend.names()));
        let confidence =
            || RasterWriter::create(&paths[2], grid, RasterSpec { tile: 256, ..RasterSpec::scores(["confidence"]) });
        Ok(Self {
            ids: legend.classes.iter().map(|c| c.id).collect(),
            classes: RasterWriter::create(&paths[0], grid, spec)?,
            scores: request.scores.then(scores).transpose()?,
            confidence: request.confidence.then(confidence).transpose()?,
            overview: Overview::new(grid.width, grid.height, legend.unlabelled),
            counts: vec![0; legend.len()],
            with_data: 0,
            area: grid.width * grid.height,
            legend,
            out,
            paths,
        })
    }

    /// Writes a block: position of each pixel's best class (`None`: no class), scores [K, H, W], confidence and mask [H, W].
    pub(super) fn write(
        &mut self,
        to: Window,
        best: impl Fn((usize, usize)) -> Option<usize>,
        scores: ArrayView3<f32>,
        confidence: ArrayView2<f32>,
        mask: ArrayView2<bool>,
    ) -> anyhow::Result<()> {
        self.with_data += mask.iter().filter(|valid| **valid).count();
        let named = Array2::from_shape_fn(mask.dim(), |at| match best(at).filter(|_| mask[at]) {
            Some(class) => {
                self.counts[class] += 1;
                self.ids[class]
            }
            None => self.legend.unlabelled,
        });
        self.overview.add(to, &named);
        self.classes.write_classes(to, named.view())?;
        if let Some(writer) = &mut self.scores {
            writer.write(to, scores, Some(mask))?;
        }
        if let Some(writer) = &mut self.confidence {
            writer.write(to, confidence.insert_axis(ndarray::Axis(0)), Some(mask))?;
        }
        Ok(())
    }

    /// Completes the files, with a picture and the legend.
    pub(super) fn finish(self, scene: &Scene, model_hash: String) -> anyhow::Result<MapResult> {
        if self.with_data == 0 {
            // Says which input lacks data; where only the box has none, the box is what to change.
            scene.ensure_valid_data()?;
            bail!("--bbox: no pixel of the box has data in every band of every input; choose another box");
        }
        let [classes, scores, confidence] = self.paths;
        self.classes.finish()?;
        let scores = self.scores.map(|w| w.finish().map(|_| scores)).transpose()?;
        let confidence = self.confidence.map(|w| w.finish().map(|_| confidence)).transpose()?;
        let preview = self.out.join("map.png");
        let ids = &self.overview.ids;
        with_legend(&class_map(ids, &self.legend), &legend_entries(ids, &self.legend)).save_png(&preview)?;
        self.legend.save(&self.out.join("legend.toml"))?;
        Ok(MapResult {
            classes,
            scores,
            confidence,
            preview,
            unlabelled: self.area - self.counts.iter().sum::<usize>(),
            counts: self.counts,
            legend: self.legend,
            model_hash,
        })
    }
}

/// The part of the scene to map.
pub(super) fn area(scene: &Scene, request: &MapRequest) -> anyhow::Result<Window> {
    match request.bbox {
        Some(bbox) => scene.grid().window_of(bbox).context("--bbox"),
        None => Ok(scene.grid().window()),
    }
}

/// Maps `scene` with the model in `model` and writes GeoTIFFs and a picture into `out`. `progress` gets pixels done and in all.
///
/// Memory depends on the number of bands and classes, not on the scene's size.
///
/// # Errors
/// A model or scene that does not load, bands that do not bind, a space without text tower, a full disk.
pub fn map(
    model: &Path,
    scene: &Scene,
    request: &MapRequest,
    out: &Path,
    device: &Device,
    mut progress: impl FnMut(usize, usize),
) -> anyhow::Result<MapResult> {
    let (network, card) = load(model, device)?;
    let (legend, features) = prompts(&card, request, device)?;
    let reader = NormalisedScene::new(scene, &card)?;
    let area = area(scene, request)?;
    let mapper = Mapper::new(&network, &card.architecture);
    // Rows and columns of the output's tiles, so that a block is written at once.
    let options = MapOptions { block_rows: 256, block_columns: 512, ..MapOptions::default() };
    let mut writer = MapWriter::create(out, &scene.grid().crop(area), legend, "scores.tif", request)?;
    let mut done = 0;
    for row in (0..area.height).step_by(options.block_rows) {
        for col in (0..area.width).step_by(options.block_columns) {
            // Where the block lies in the output, and where in the scene.
            let to = Window::new(
                col,
                row,
                options.block_columns.min(area.width - col),
                options.block_rows.min(area.height - row),
            );
            let from = Window::new(area.col + col, area.row + row, to.width, to.height);
            let block = mapper.block(&reader, from, features.view(), &options)?;
            let mask = reader.take_mask(from);
            let best = |at: (usize, usize)| {
                let best = usize::from(block.classes[at]);
                request.background.is_none_or(|least| block.scores[[best, at.0, at.1]] >= least).then_some(best)
            };
            writer.write(to, best, block.scores.view(), block.confidence.view(), mask.view())?;
            done += to.area();
            progress(done, area.area());
        }
    }
    writer.finish(scene, card.weights_sha256)
}
