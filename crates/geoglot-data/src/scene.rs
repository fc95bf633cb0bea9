//! A scene ready for learning: named inputs, mask, labels, all on one grid.

use geoglot_core::{Band, Grid, Legend};
use geoglot_raster::{Labels, Scene};
use indexmap::IndexMap;
use ndarray::{Array2, Array3, ArrayView2};

use crate::split::LabelledPixels;
use crate::{Error, Result};

/// One scene or tile with its labels.
#[derive(Debug, Clone)]
pub struct LabelledScene {
    /// Name in messages and reports.
    pub name: String,
    /// Physical values of each input, such as `hsi` and `lidar`, [C, H, W].
    pub inputs: IndexMap<String, Array3<f32>>,
    /// The bands of each input, in the order of its channels.
    pub bands: IndexMap<String, Vec<Band>>,
    /// True where every input has data, [H, W].
    pub mask: Array2<bool>,
    /// Class ids, [H, W].
    pub labels: Array2<u16>,
    /// Where the pixels lie.
    pub grid: Grid,
    /// Region ids, [H, W], where regions are known; negative means none.
    pub regions: Option<Array2<i32>>,
}

impl LabelledScene {
    /// Reads every band of every input of `scene` into memory, with `labels` brought onto its grid by nearest pixels.
    ///
    /// # Errors
    /// [`Error::Raster`] for damaged files and labels that cannot be aligned, [`Error::Scene`] when `regions` do not fit.
    pub fn load(name: impl Into<String>, scene: &Scene, labels: &Labels, regions: Option<Array2<i32>>) -> Result<Self> {
        let grid = scene.grid().clone();
        let labels = labels.align_to(&grid, 0)?.ids().clone();
        let mut mask = Array2::from_elem((grid.height, grid.width), true);
        let (mut inputs, mut bands) = (IndexMap::new(), IndexMap::new());
        for input in scene.inputs() {
            let tile = scene.read(input.name(), &input.source().all_bands(), grid.window())?;
            ndarray::Zip::from(&mut mask).and(&tile.mask).for_each(|all, one| *all &= one);
            bands.insert(input.name().to_owned(), input.bands().to_vec());
            inputs.insert(input.name().to_owned(), tile.data);
        }
        let loaded = Self { name: name.into(), inputs, bands, mask, labels, grid, regions };
        loaded.check()?;
        Ok(loaded)
    }

    /// Checks that every array fits the grid and every input has its bands.
    ///
    /// # Errors
    /// [`Error::Scene`] naming the array and both sizes.
    pub fn check(&self) -> Result<()> {
        let wrong = |problem: String| Err(Error::Scene { scene: self.name.clone(), problem });
        let size = (self.grid.height, self.grid.width);
        let regions = self.regions.as_ref().map(|r| ("regions", r.dim()));
        let planes = [("labels", self.labels.dim()), ("mask", self.mask.dim())].into_iter().chain(regions);
        for (what, found) in planes {
            if found != size {
                return wrong(format!(
                    "the {what} have {}×{} pixels (rows × columns), the grid has {}×{}; labels must lie on the scene's grid",
                    found.0, found.1, size.0, size.1
                ));
            }
        }
        if self.inputs.is_empty() {
            return wrong("has no inputs; give at least one, such as `hsi`".into());
        }
        for (name, data) in &self.inputs {
            let (channels, height, width) = data.dim();
            if (height, width) != size {
                return wrong(format!(
                    "input `{name}` has {height}×{width} pixels (rows × columns), the grid has {}×{}",
                    size.0, size.1
                ));
            }
            match self.bands.get(name) {
                Some(bands) if bands.len() == channels => {}
                found => {
                    return wrong(format!(
                        "input `{name}` has {channels} channels and {} bands named",
                        found.map_or(0, Vec::len)
                    ));
                }
            }
        }
        Ok(())
    }

    /// The labelled pixels of `scenes` that have data in every input. Pixels with a label and no data are left out.
    ///
    /// # Errors
    /// As [`LabelledPixels::collect`].
    pub fn labelled_pixels(scenes: &[Self], legend: &Legend, ignore: &[u16]) -> Result<LabelledPixels> {
        let labels: Vec<ArrayView2<u16>> = scenes.iter().map(|s| s.labels.view()).collect();
        LabelledPixels::collect_where(&labels, legend, ignore, |scene, row, col| scenes[scene].mask[(row, col)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> LabelledScene {
        LabelledScene {
            name: "town".into(),
            inputs: IndexMap::from([("hsi".to_owned(), Array3::zeros((2, 4, 5)))]),
            bands: IndexMap::from([("hsi".to_owned(), vec![Band::named("a"), Band::named("b")])]),
            mask: Array2::from_elem((4, 5), true),
            labels: Array2::from_elem((4, 5), 1),
            grid: Grid::unreferenced(5, 4),
            regions: None,
        }
    }

    #[test]
    fn misfits_are_named() {
        assert!(scene().check().is_ok());
        let text = |change: fn(&mut LabelledScene)| {
            let mut s = scene();
            change(&mut s);
            s.check().unwrap_err().to_string()
        };
        assert!(text(|s| s.labels = Array2::zeros((5, 4))).contains("labels have 5×4"));
        assert!(text(|s| s.regions = Some(Array2::zeros((1, 1)))).contains("regions"));
        assert!(text(|s| s.inputs.clear()).contains("no inputs"));
        assert!(text(|s| s.inputs[0] = Array3::zeros((2, 4, 4))).contains("`hsi` has 4×4"));
        assert!(text(|s| s.inputs[0] = Array3::zeros((3, 4, 5))).contains("3 channels and 2 bands"));
    }

    #[test]
    fn labels_without_data_are_left_out() {
        let mut s = scene();
        s.mask[(0, 0)] = false;
        let legend = Legend::from_names(["a"]).unwrap();
        assert_eq!(LabelledScene::labelled_pixels(&[s], &legend, &[]).unwrap().counts(), [19]);
    }
}
