//! Dense similarity maps: how much every patch of a scene is like a text.

use std::path::{Path, PathBuf};

use ndarray::{Array2, Array3};

use super::embed_plan::Plan;
use super::images::TowerScene;
use crate::core::Window;
use crate::index::Archive;
use crate::models::vision::ImageTower;
use crate::raster::preview::{heat_map, with_color_bar};
use crate::raster::{RasterSpec, RasterWriter, SceneArg};

/// Longest side of a picture in patches.
const PICTURE: usize = 1600;

/// Files of one scene.
#[derive(Debug, Clone)]
pub struct SimilarityFiles {
    /// Cosines, f32, one band a prompt, one pixel a patch; NaN where there is no data.
    pub raster: PathBuf,
    /// One heat map a prompt.
    pub pictures: Vec<PathBuf>,
}

/// Texts and their vectors.
#[derive(Debug, Clone, Copy)]
pub struct Prompts<'a> {
    /// Names of the raster's bands.
    pub names: &'a [String],
    /// Vectors [K, D], rows of length 1.
    pub features: &'a Array2<f32>,
}

/// Writes `<stem>.tif` and `<stem>-<k>.png` into `folder`: cosines of texts with the patch vectors of `arg` in the archive, which
/// [`super::embed::embed`] has put there.
///
/// # Errors
/// What reading the archive and writing the files may say.
pub fn similarity(
    arg: &SceneArg,
    plan: &Plan,
    tower: &dyn ImageTower,
    archive: &Archive,
    prompts: Prompts<'_>,
    folder: &Path,
    stem: &str,
) -> anyhow::Result<SimilarityFiles> {
    let (features, prompts) = (prompts.features, prompts.names);
    let scene = TowerScene::open(arg, tower, plan.registry(), true)?;
    let patches = plan.patches().ok_or_else(|| anyhow::anyhow!("similarity maps need patch vectors"))?;
    let grid = patches.raster(scene.grid());
    let raster = folder.join(format!("{stem}.tif"));
    let mut writer = RasterWriter::create(&raster, &grid, RasterSpec::scores(prompts.iter().cloned()))?;
    let step = grid.width.max(grid.height).div_ceil(PICTURE).max(1);
    let mut small = Array3::from_elem((prompts.len(), grid.height.div_ceil(step), grid.width.div_ceil(step)), f32::NAN);
    for top in (0..grid.height).step_by(writer.tile()) {
        let rows = writer.tile().min(grid.height - top);
        let mut strip = Array3::from_elem((prompts.len(), rows, grid.width), f32::NAN);
        for row in 0..rows {
            for col in 0..grid.width {
                let Some(window) = patches.window(scene.grid(), top + row, col) else { continue };
                let Some(found) = archive.find(plan.id(&scene, window, tower)) else { continue };
                let vector = ndarray::Array1::from_vec(archive.vector(found));
                for (k, cosine) in features.dot(&vector).into_iter().enumerate() {
                    strip[[k, row, col]] = cosine;
                    if (top + row) % step == 0 && col % step == 0 {
                        small[[k, (top + row) / step, col / step]] = cosine;
                    }
                }
            }
        }
        writer.write(Window::new(0, top, grid.width, rows), strip.view(), None)?;
    }
    writer.finish()?;
    let mut pictures = Vec::new();
    for (k, prompt) in prompts.iter().enumerate() {
        let (image, limits) = heat_map(&small.index_axis(ndarray::Axis(0), k).to_owned(), None);
        let path = folder.join(format!("{stem}-{}.png", k + 1));
        with_color_bar(&image, limits, prompt).save_png(&path)?;
        pictures.push(path);
    }
    Ok(SimilarityFiles { raster, pictures })
}
