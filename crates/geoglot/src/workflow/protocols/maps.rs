//! Feature maps of a scene: principal components as colours, similarity to prompts as heat, on the scene's ground.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ndarray::{Array1, Array2, Array3, Axis, s};

use super::encode::{masked, percentiles};
use crate::core::{Affine, Grid, Registry, Window};
use crate::eval::ReportImage;
use crate::eval::protocols::{FeatureColors, HeatScale, heat_colors, prompt_similarity};
use crate::models::vision::{BoundPreprocess, ImagePreprocess, ImageTower, ResizeMode};
use crate::raster::preview::Image;
use crate::raster::{RasterSpec, RasterWriter, Scene, SceneArg};
use crate::workflow::picture::open_scene;

/// Tiles whose vectors are kept and whose colours are fitted on; scenes with more are sampled evenly.
const FITTED: usize = 64;

/// What was written of one scene.
#[derive(Debug)]
pub struct FeatureMaps {
    /// Pictures for the report.
    pub images: Vec<ReportImage>,
    /// GeoTIFFs and PNGs.
    pub files: Vec<PathBuf>,
}

/// A scene cut into tiles of whole patches.
struct Dense<'a> {
    tower: &'a dyn ImageTower,
    scene: &'a Scene,
    bound: BoundPreprocess,
    /// Rows and columns of patches of a tile.
    tile: (usize, usize),
}

impl Dense<'_> {
    /// Vectors [h, w, D] of the tile whose first patch is (row, column); NaN for patches without data.
    fn tile(&self, row: usize, col: usize) -> anyhow::Result<Array3<f32>> {
        let (p, (h, w)) = (self.tower.patch(), self.tile);
        let input = &self.scene.inputs()[0];
        let window = Window::new(col * p, row * p, w * p, h * p);
        let read = self.scene.read(input.name(), &input.source().all_bands(), window)?;
        let data = masked(read.data, &read.mask);
        let tokens = self.tower.tokens(&self.bound.batch(&[data.view()], self.tower.device())?)?;
        let dims = tokens.dims();
        let values: Vec<f32> = tokens.into_data().iter::<f32>().collect();
        let mut map = Array3::from_shape_vec((dims[1], dims[2], dims[3]), values)?;
        if map.dim().0 != h || map.dim().1 != w {
            // A padded patch embedding sees a patch more or less.
            bail!("the model gives {}×{} patches for {h}×{w}; its maps cannot be placed", dims[1], dims[2]);
        }
        for ((r, c), mut vector) in ndarray::indices((h, w)).into_iter().zip(map.lanes_mut(Axis(2))) {
            if !read.mask.slice(s![r * p..(r + 1) * p, c * p..(c + 1) * p]).iter().any(|v| *v) {
                vector.fill(f32::NAN);
            }
        }
        Ok(map)
    }
}

/// First patches of tiles of `tile` patches that cover `all`; the last one is moved back to end with them.
fn starts(all: usize, tile: usize) -> Vec<usize> {
    let mut starts: Vec<usize> = (0..=all - tile).step_by(tile).collect();
    if starts.last().is_some_and(|s| s + tile < all) {
        starts.push(all - tile);
    }
    starts
}

/// The grid of patches of `patch` pixels.
fn patch_grid(grid: &Grid, patch: usize, rows: usize, columns: usize) -> Grid {
    let (t, p) = (grid.transform, patch as f64);
    let transform = Affine { x0: t.x0, dx: t.dx * p, rx: t.rx * p, y0: t.y0, ry: t.ry * p, dy: t.dy * p };
    Grid { crs: grid.crs.clone(), transform, width: columns, height: rows }
}

fn picture(colors: &Array3<u8>, seen: &Array2<bool>) -> Image {
    let (rows, columns, _) = colors.dim();
    let color = |c: usize, r: usize| {
        let opacity = if seen[(r, c)] { 255 } else { 0 };
        [colors[(r, c, 0)], colors[(r, c, 1)], colors[(r, c, 2)], opacity]
    };
    Image::from_fn(columns, rows, color).at_least(512)
}

/// Writes `features.tif` (three principal components of the patch vectors) with `features.png`, and, with prompts, `similarity.tif` (cosine, one
/// band a prompt) with `similarity-N.png`, into `out`, one pixel a patch, placed where the scene lies.
///
/// The scene is read at its own resolution in tiles of the model's input size; what is left over at its right and lower edge is no whole patch
/// and is left out.
///
/// # Errors
/// A scene that cannot be read or is smaller than a patch, bands the tower cannot take, a folder that cannot be written.
pub fn feature_maps(
    tower: &dyn ImageTower,
    arg: &SceneArg,
    registry: &Registry,
    prompts: &[(String, Array1<f32>)],
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> anyhow::Result<FeatureMaps> {
    let scene = open_scene(arg, registry)?;
    let (grid, p) = (scene.grid().clone(), tower.patch());
    let (rows, columns) = (grid.height / p, grid.width / p);
    if rows == 0 || columns == 0 {
        bail!("{}: {}×{} pixels are less than a patch ({p}×{p})", arg.path.display(), grid.width, grid.height);
    }
    // Tiles keep their resolution, so that a patch is a patch of the scene.
    let preprocess = ImagePreprocess { resize: ResizeMode::Keep, resize_to: None, ..tower.preprocess().clone() };
    let tile = ((preprocess.size.0 / p).clamp(1, rows), (preprocess.size.1 / p).clamp(1, columns));
    let input = &scene.inputs()[0];
    let middle = Window::new(
        (columns - tile.1) / 2 * p,
        (rows - tile.0) / 2 * p,
        (tile.1 * p).min(grid.width),
        (tile.0 * p).min(grid.height),
    );
    let sample = scene.read(input.name(), &input.source().all_bands(), middle)?;
    let own = percentiles(&preprocess, masked(sample.data, &sample.mask).view());
    let bound = preprocess.bind(tower.bands(), input.bands(), own.as_deref())?;
    let dense = Dense { tower, scene: &scene, bound, tile };

    let tiles: Vec<(usize, usize)> = starts(rows, tile.0)
        .into_iter()
        .flat_map(|r| starts(columns, tile.1).into_iter().map(move |c| (r, c)))
        .collect();
    let count = tiles.len().min(FITTED);
    let fitted: Vec<usize> = (0..count).map(|k| k * tiles.len() / count).collect();
    let mut kept = Vec::with_capacity(count);
    for &k in &fitted {
        kept.push(dense.tile(tiles[k].0, tiles[k].1)?);
        progress(kept.len(), tiles.len());
    }
    let views: Vec<_> = kept.iter().map(|m| m.view()).collect();
    let colors = FeatureColors::fit(&views).with_context(|| arg.path.display().to_string())?;
    let mut components = Array3::from_elem((3, rows, columns), f32::NAN);
    let mut shades = Array3::<u8>::zeros((rows, columns, 3));
    let mut heat = Array3::from_elem((prompts.len(), rows, columns), f32::NAN);
    for (k, &(r, c)) in tiles.iter().enumerate() {
        let made;
        let map = match fitted.binary_search(&k) {
            Ok(at) => kept[at].view(),
            Err(_) => {
                made = dense.tile(r, c)?;
                made.view()
            }
        };
        let (to_r, to_c) = (r..r + tile.0, c..c + tile.1);
        components.slice_mut(s![.., to_r.clone(), to_c.clone()]).assign(&colors.project(map)?);
        shades.slice_mut(s![to_r.clone(), to_c.clone(), ..]).assign(&colors.colors(map)?);
        for (n, (_, vector)) in prompts.iter().enumerate() {
            heat.slice_mut(s![n, to_r.clone(), to_c.clone()]).assign(&prompt_similarity(map, vector.view())?);
        }
        progress((k + 1).max(count), tiles.len());
    }

    let target = patch_grid(&grid, p, rows, columns);
    let seen = components.index_axis(Axis(0), 0).mapv(f32::is_finite);
    let label = arg.label();
    let mut maps = FeatureMaps { images: Vec::new(), files: Vec::new() };
    let write = |name: &str, names: Vec<String>, values: &Array3<f32>| -> anyhow::Result<PathBuf> {
        let path = out.join(name);
        let mut writer = RasterWriter::create(&path, &target, RasterSpec { tile: 256, ..RasterSpec::scores(names) })?;
        writer.write(target.window(), values.view(), Some(seen.view()))?;
        writer.finish()?;
        Ok(path)
    };
    let names = (1..=3).map(|k| format!("component {k}")).collect();
    maps.files.push(write("features.tif", names, &components)?);
    let mut show = |file: String, title: String, caption: String, image: Image| -> anyhow::Result<()> {
        let path = out.join(file);
        image.save_png(&path)?;
        maps.images.push(ReportImage { title, caption, png: image.to_png()? });
        maps.files.push(path);
        Ok(())
    };
    let shares: Vec<String> = colors.explained.iter().map(|e| format!("{:.0} %", 100.0 * e)).collect();
    let caption = format!(
        "Three principal components of the patch vectors ({} of their variance) as red, green, blue.",
        shares.join(", ")
    );
    show("features.png".into(), format!("Features of {label}"), caption, picture(&shades, &seen))?;
    for (n, (text, _)) in prompts.iter().enumerate() {
        let own = heat.index_axis(Axis(0), n);
        let scale = HeatScale::fit(&[own])?;
        let caption =
            format!("Cosine of each patch with the prompt, {:.3} (dark) to {:.3} (bright).", scale.low, scale.high);
        let image = picture(&heat_colors(scale.apply(own).view()), &seen);
        show(format!("similarity-{}.png", n + 1), format!("“{text}” in {label}"), caption, image)?;
    }
    if !prompts.is_empty() {
        maps.files.push(write("similarity.tif", prompts.iter().map(|p| p.0.clone()).collect(), &heat)?);
    }
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_everything_once_or_more() {
        assert_eq!(starts(6, 6), [0]);
        assert_eq!(starts(13, 6), [0, 6, 7]);
        assert_eq!(starts(12, 6), [0, 6]);
    }

    #[test]
    fn patches_lie_where_their_pixels_lie() {
        let grid = Grid { transform: Affine::north_up(500.0, 900.0, 10.0, 20.0), ..Grid::unreferenced(40, 33) };
        let coarse = patch_grid(&grid, 16, 2, 2);
        assert_eq!(coarse.transform.apply(1.0, 1.0), grid.transform.apply(16.0, 16.0));
        assert_eq!((coarse.width, coarse.height), (2, 2));
    }
}
