//! Which tiles of which scenes are embedded, checked before anything is computed or written.

use anyhow::bail;
use ndarray::Array3;

use super::dates::DateRule;
use super::images::{TowerScene, Values, batch};
use super::tiles::{PatchGrid, tile_count};
use crate::core::{BandUse, Grid, Registry, Window};
use crate::index::RecordId;
use crate::models::vision::ImageTower;
use crate::raster::SceneArg;

/// How scenes are embedded.
#[derive(Debug, Clone)]
pub struct EmbedOptions {
    /// Side of a tile in pixels; the tower's input size when `None`.
    pub tile: Option<usize>,
    /// Pixels between tiles; the tile's side when `None`.
    pub stride: Option<usize>,
    /// Tiles (patches) with a larger share of pixels without data are left out, 0–1.
    pub max_nodata: f32,
    /// Tiles the network sees at a time.
    pub batch: usize,
    /// One vector a patch instead of one a tile.
    pub patches: bool,
    /// Store a small picture of every tile.
    pub thumbnails: bool,
    /// When the scenes were taken.
    pub date: DateRule,
    /// Cloud share of the scenes, 0–1.
    pub cloud: Option<f32>,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self {
            tile: None,
            stride: None,
            max_nodata: 0.5,
            batch: 8,
            patches: false,
            thumbnails: false,
            date: DateRule::Unknown,
            cloud: None,
        }
    }
}

/// Scenes checked against a tower, before anything is computed or written.
#[derive(Debug)]
pub struct Plan {
    pub(super) scenes: Vec<SceneArg>,
    pub(super) registry: Registry,
    pub(super) options: EmbedOptions,
    pub(super) tile: usize,
    pub(super) stride: usize,
    pub(super) patches: Option<PatchGrid>,
    pub(super) tiles: usize,
    /// Band mapping of each scene.
    pub bands: Vec<BandUse>,
    /// What the user should know about the files.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Opens every scene, binds its bands and counts its tiles.
    ///
    /// # Errors
    /// As [`TowerScene::open`]; sizes that make no sense; patches that make no regular grid; dates that are not found.
    pub fn new(
        scenes: &[SceneArg],
        registry: Registry,
        tower: &dyn ImageTower,
        options: EmbedOptions,
    ) -> anyhow::Result<Self> {
        let tile = options.tile.unwrap_or(tower.preprocess().size.0);
        let stride = options.stride.unwrap_or(tile);
        if tile < tower.patch() || stride == 0 || options.batch == 0 {
            bail!(
                "a tile of {tile} px every {stride} px in batches of {}: a tile is at least one patch of the model ({} px), the others at \
                 least 1",
                options.batch,
                tower.patch()
            );
        }
        let mut plan = Self {
            scenes: scenes.to_vec(),
            registry,
            options,
            tile,
            stride,
            patches: None,
            tiles: 0,
            bands: Vec::new(),
            warnings: Vec::new(),
        };
        for arg in scenes {
            let scene = TowerScene::open(arg, tower, &plan.registry, true)?;
            plan.options.date.of(arg)?;
            if plan.options.patches && plan.patches.is_none() {
                plan.patches = Some(patch_grid(&scene, tower, tile)?);
            }
            plan.tiles += plan.tiles_of(scene.grid());
            plan.bands.push(scene.band_use());
            for warning in scene.warnings().iter().map(|w| format!("{}: {w}", arg.path.display())) {
                if !plan.warnings.contains(&warning) {
                    plan.warnings.push(warning);
                }
            }
        }
        Ok(plan)
    }

    /// The patch grid, when patches are embedded.
    pub fn patches(&self) -> Option<&PatchGrid> {
        self.patches.as_ref()
    }

    /// Sensors by which bands are bound.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    fn tiles_of(&self, grid: &Grid) -> usize {
        match &self.patches {
            Some(patches) => patches.tile_count(grid),
            None => tile_count(grid.width, grid.height, self.tile, self.stride),
        }
    }

    /// What tells records of this band set and tiling from others of the same windows.
    pub(super) fn variant(&self, scene: &TowerScene) -> String {
        match &self.patches {
            Some(_) => format!("patches of {} px tiles {}", self.tile, scene.band_key()),
            None => scene.band_key(),
        }
    }

    /// The id of a window's record.
    pub fn id(&self, scene: &TowerScene, window: Window, tower: &dyn ImageTower) -> RecordId {
        RecordId::new(scene.source(), Some(window), tower.fingerprint(), &self.variant(scene))
    }
}

/// The patch grid of a tower, whose number of patches a tile is found by trying.
fn patch_grid(scene: &TowerScene, tower: &dyn ImageTower, tile: usize) -> anyhow::Result<PatchGrid> {
    let values = Values {
        data: Array3::zeros((scene.bands().len(), tile, tile)),
        mask: ndarray::Array2::from_elem((tile, tile), true),
    };
    let image = scene.prepare(&values)?;
    let [_, rows, cols, _] = tower.tokens(&batch(&[image], scene.bands(), tower.device()))?.dims();
    PatchGrid::new(tower.preprocess(), tower.patch(), tile, (rows, cols))
}
