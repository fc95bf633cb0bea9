//! Masks of whole scenes for any words.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::Device;
use ndarray::Array2;

use super::pair::{PairScene, PairTiles, unit_mismatch};
use crate::core::{Legend, Window};
use crate::index::export::{ClassArea, write_areas_geoparquet};
use crate::index::{Footprint, Polygon};
use crate::models::segmentation::PredictOptions;
use crate::models::text::TextTower;
use crate::models::tsmnet::{FeatureFolder, TsmNetModel};
use crate::raster::polygons::{self, ClassPolygon};
use crate::raster::{RasterSpec, RasterWriter, Scene};
use crate::workflow::text;

/// Most pixels of a mask that becomes polygons: they are traced in memory.
const MOST_TRACED: usize = 1 << 28;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct SegmentRequest {
    /// Classes; each has one or many texts, the first of which is its name. Empty: the model's own.
    pub classes: Vec<Vec<String>>,
    /// What the scene shows, in words.
    pub describe: Option<String>,
    /// Pixels whose best similarity is below this get no class.
    pub background: Option<f32>,
    /// Added to the similarity of classes that the model was not trained on, when the best one is chosen; 0: nothing.
    pub lift: f32,
    /// Where to write one similarity layer a class.
    pub scores: Option<PathBuf>,
    /// Where to write polygons, GeoParquet for names that end in `.parquet` and GeoJSON for others, and the fewest pixels of one.
    pub polygons: Option<(PathBuf, usize)>,
    /// Pixels from one tile to the next; by default half a tile.
    pub stride: Option<usize>,
    /// Folder that keeps what does not depend on the words.
    pub cache: Option<PathBuf>,
    /// Map-coordinate box (min x, min y, max x, max y); none: the whole scene.
    pub bbox: Option<[f64; 4]>,
    /// Text tower by name or folder, instead of the one the model names.
    pub text: Option<String>,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct SegmentResult {
    /// Classes of the mask.
    pub legend: Legend,
    /// Pixels of each class.
    pub counts: Vec<usize>,
    /// Pixels without data or below the background threshold.
    pub unlabelled: usize,
    /// Polygons written.
    pub polygons: usize,
    /// SHA-256 of the model's weights.
    pub model_hash: String,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Whether the model folder holds a TSMNet.
pub fn is_open_model(folder: &Path) -> bool {
    let text = std::fs::read(folder.join("config.json")).ok();
    let card = text.and_then(|t| serde_json::from_slice::<serde_json::Value>(&t).ok());
    card.is_some_and(|c| c["system"] == "tsmnet")
}

/// Classes of a list such as `water; forest|woodland; bare soil`: `;` between classes, `|` between several texts of one.
///
/// # Errors
/// Empty classes or texts, and names that occur twice.
pub fn class_words(list: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let list = list.trim().trim_end_matches(';');
    let mut classes: Vec<Vec<String>> = Vec::new();
    for (k, class) in list.split(';').enumerate() {
        let texts: Vec<String> = class.split('|').map(|t| t.trim().to_owned()).collect();
        if texts.iter().any(String::is_empty) {
            bail!("class {} of `{list}` is empty; write \"water; bare soil\"", k + 1);
        }
        classes.push(texts);
    }
    // Says which name occurs twice.
    Legend::from_names(classes.iter().map(|t| t[0].clone()))?;
    Ok(classes)
}

/// The text tower of a model, or the one named.
pub(super) fn tower(
    model: &TsmNetModel,
    named: Option<&str>,
    device: &Device,
) -> anyhow::Result<Option<Box<dyn TextTower>>> {
    let Some(card) = &model.card.text else { return Ok(None) };
    let opened = match named {
        Some(name) => text::open(name, device),
        None => text::open(&card.tower, device).or_else(|_| text::open_space(&card.space.name, device)),
    };
    let opened = opened.with_context(|| {
        format!(
            "the model was trained with the text tower `{}`; name where it lies with --text NAME-OR-FOLDER",
            card.tower
        )
    })?;
    Ok(Some(opened))
}

/// Polygons in the format that the file's name asks for.
fn write_polygons(path: &Path, polygons: &[ClassPolygon], on_earth: bool) -> anyhow::Result<()> {
    if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("parquet")) {
        return Ok(polygons::write_geojson(path, polygons)?);
    }
    if !on_earth {
        bail!("{}: the scene has no reference system, which GeoParquet needs; write .geojson", path.display());
    }
    let area = |p: &ClassPolygon| {
        let footprint = Footprint::new(vec![Polygon { rings: p.rings.clone() }])?;
        Ok(ClassArea { id: p.id, class: p.class.clone(), color: p.color.clone(), pixels: p.pixels, footprint })
    };
    let areas = polygons.iter().map(area).collect::<crate::index::Result<Vec<_>>>()?;
    Ok(write_areas_geoparquet(path, &areas)?)
}

/// Segments `scene` with the model in `model` and writes the mask to `out`. `progress` gets pixels done and in all.
///
/// Memory depends on the tile, the bands and the number of classes, not on the scene's size, but for polygons, which need the mask.
///
/// # Errors
/// A model, tower or scene that does not load, bands that do not bind, words a fixed head does not know, a full disk.
pub fn segment(
    model: &Path,
    scene: Scene,
    request: &SegmentRequest,
    out: &Path,
    device: &Device,
    mut progress: impl FnMut(usize, usize),
) -> anyhow::Result<SegmentResult> {
    let model = TsmNetModel::load(model, device)?;
    let card = &model.card;
    let pair = PairScene::bound(scene, card)?;
    let mut warnings = pair.problems()?;
    if let (Some(trained), Some(given)) = (&card.inputs[1], pair.bands(1)) {
        warnings.extend(unit_mismatch(trained, &given));
    }
    for (m, name) in crate::models::tsmnet::INPUTS.iter().enumerate() {
        if card.inputs[m].is_some() && pair.bands(m).is_none() {
            warnings.push(format!("the scene has no {name}: learned features stand in for it"));
        }
    }
    let (legend, classes) = match request.classes.is_empty() {
        true => (card.legend.clone(), card.legend.names().into_iter().map(|n| vec![n]).collect()),
        false => {
            let names = request.classes.iter().map(|t| t[0].clone());
            let same = card.legend.names().iter().eq(request.classes.iter().map(|t| &t[0]));
            // The model's own classes keep their ids and colours.
            (if same { card.legend.clone() } else { Legend::from_names(names)? }, request.classes.clone())
        }
    };
    if !card.network.open_vocabulary() && legend != card.legend {
        bail!(
            "this model has a head of fixed logits for {}; it cannot be asked for other classes",
            card.legend.names().join(", ")
        );
    }
    let tower = tower(&model, request.text.as_deref(), device)?;
    let words = model.words(tower.as_deref(), &classes, request.describe.as_deref())?;
    let grid = pair.scene().grid().clone();
    let area = match request.bbox {
        Some(bbox) => grid.window_of(bbox).context("--bbox")?,
        None => grid.window(),
    };
    let mut options = PredictOptions { batch: 4, ..PredictOptions::new(card.tile) };
    if let Some(stride) = request.stride {
        if stride == 0 || stride > card.tile {
            bail!("--stride {stride}: give 1 to {} pixels, the side of the model's tiles", card.tile);
        }
        options.stride = stride;
    }
    let part = grid.crop(area);
    let mut traced = match &request.polygons {
        Some(_) if area.area() > MOST_TRACED => bail!(
            "--polygons: {} pixels are too many to be traced in memory; give a part with --bbox, or polygonise the mask by tiles",
            area.area()
        ),
        Some(_) => Some(Array2::from_elem((area.height, area.width), legend.unlabelled)),
        None => None,
    };
    let mut mask = RasterWriter::create(out, &part, RasterSpec { tile: 256, ..RasterSpec::classes(&legend) })?;
    let mut layers = match &request.scores {
        Some(path) => Some(RasterWriter::create(path, &part, RasterSpec::scores(legend.names()))?),
        None => None,
    };
    let ids: Vec<u16> = legend.classes.iter().map(|c| c.id).collect();
    let mut counts = vec![0; legend.len()];
    let trained = card.legend.names();
    let is_new = |texts: &Vec<String>| !texts.iter().any(|t| trained.iter().any(|n| n.eq_ignore_ascii_case(t)));
    let lift: Vec<f32> = classes.iter().map(|texts| if is_new(texts) { request.lift } else { 0.0 }).collect();
    let mut done = 0;
    let reader = PairTiles { pair: &pair, cards: &card.inputs, origin: (area.row, area.col) };
    let cache = request.cache.as_ref().map(FeatureFolder::new);
    model.predict(&reader, (area.height, area.width), &words, &options, cache.as_ref(), |block| {
        let s = &block.probabilities;
        let named = Array2::from_shape_fn(block.mask.dim(), |(r, c)| {
            let value = |k: usize| s[[k, r, c]] + lift[k];
            let best = (0..s.dim().0).max_by(|&a, &b| value(a).total_cmp(&value(b))).unwrap_or(0);
            let enough = request.background.is_none_or(|least| s[[best, r, c]] >= least);
            if !(block.mask[[r, c]] && enough) {
                return legend.unlabelled;
            }
            counts[best] += 1;
            ids[best]
        });
        mask.write_classes(block.window, named.view())?;
        if let Some(layers) = &mut layers {
            layers.write(block.window, s.view(), Some(block.mask.view()))?;
        }
        if let Some(traced) = &mut traced {
            let Window { row, col, width, height } = block.window;
            traced.slice_mut(ndarray::s![row..row + height, col..col + width]).assign(&named);
        }
        done += block.window.area();
        progress(done, area.area());
        anyhow::Ok(())
    })?;
    mask.finish()?;
    layers.map(RasterWriter::finish).transpose()?;
    let polygons = match (&request.polygons, &traced) {
        (Some((path, least)), Some(ids)) => {
            let polygons = polygons::class_polygons(out, ids.view(), &part, &legend, *least)?;
            write_polygons(path, &polygons, part.crs.is_some())?;
            polygons.len()
        }
        _ => 0,
    };
    let unlabelled = area.area() - counts.iter().sum::<usize>();
    let model_hash = card.weights_sha256.clone();
    Ok(SegmentResult { legend, counts, unlabelled, polygons, model_hash, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_lists_are_checked() {
        assert_eq!(class_words("water; forest|woodland;").unwrap(), [vec!["water"], vec!["forest", "woodland"]]);
        for (list, word) in [
            ("water;;soil", "class 2"),
            ("", "class 1"),
            ("water; Water", "twice"),
            ("a|; b", "class 1"),
            (" ; a", "class 1"),
        ] {
            let error = format!("{:#}", class_words(list).unwrap_err());
            assert!(error.contains(word), "{list}: {error}");
        }
        let many = (0..200).map(|k| format!("class {k}")).collect::<Vec<_>>().join("; ");
        assert_eq!(class_words(&many).unwrap().len(), 200);
    }
}
