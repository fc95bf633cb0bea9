//! Scenes to an archive of embeddings: reading, preprocessing and inference side by side, in bounded memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ndarray::Array3;

use super::images::{Place, TowerScene, Values, batch};
use super::tiles::{PatchGrid, tile_count, tile_windows};
use crate::core::{BandUse, Grid, Registry, Window};
use crate::index::{Archive, Footprint, Meta, Record, RecordId, Space, Time, Writer};
use crate::models::vision::{ImageBatch, ImageTower};
use crate::raster::SceneArg;

/// Records written together: one segment of the archive, and the most that a kill can lose.
const FLUSH: usize = 512;
/// Records are written at least this often.
const FLUSH_AFTER: Duration = Duration::from_secs(30);
/// Batches that wait for the network while others are read.
const WAITING: usize = 2;

/// When scenes were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateRule {
    /// Unknown.
    #[default]
    Unknown,
    /// All at this time.
    At(Time),
    /// Each scene's file name says it: YYYYMMDD or YYYY-MM-DD, optionally followed by THHMMSS.
    FromName,
}

impl DateRule {
    fn of(&self, arg: &SceneArg) -> anyhow::Result<Option<Time>> {
        match self {
            Self::Unknown => Ok(None),
            Self::At(time) => Ok(Some(*time)),
            Self::FromName => {
                let name = arg.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                time_in_name(&name).map(Some).with_context(|| {
                    format!(
                        "{}: its name has no date (YYYYMMDD or YYYY-MM-DD); give one with --date",
                        arg.path.display()
                    )
                })
            }
        }
    }
}

/// The first date in a file name.
fn time_in_name(name: &str) -> Option<Time> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (0..name.len()).filter(|&at| name.is_char_boundary(at)).find_map(|at| {
        if name[..at].ends_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let (year, month, day, rest) = match (name.get(at..at + 8), name.get(at..at + 10)) {
            (Some(d), _) if digits(d) => (&d[..4], &d[4..6], &d[6..], &name[at + 8..]),
            (_, Some(d)) if d[4..].starts_with('-') && d[7..].starts_with('-') => {
                (&d[..4], &d[5..7], &d[8..], &name[at + 10..])
            }
            _ => return None,
        };
        let clock = rest.strip_prefix('T').and_then(|t| t.get(..6)).filter(|t| digits(t));
        let clock = clock.map_or("00:00:00".into(), |t| format!("{}:{}:{}", &t[..2], &t[2..4], &t[4..]));
        if rest.starts_with(|c: char| c.is_ascii_digit()) || !("1957".."2200").contains(&year) {
            return None;
        }
        Time::parse(&format!("{year}-{month}-{day}T{clock}Z")).ok()
    })
}

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

/// What [`embed`] did.
#[derive(Debug, Clone, Default)]
pub struct Embedded {
    /// Tiles of all scenes.
    pub tiles: usize,
    /// Records added.
    pub added: usize,
    /// Records that were in the archive already and were not computed again.
    pub present: usize,
    /// Tiles (patches) left out for lack of data.
    pub without_data: usize,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
}

/// Scenes checked against a tower, before anything is computed or written.
#[derive(Debug)]
pub struct Plan {
    scenes: Vec<SceneArg>,
    registry: Registry,
    options: EmbedOptions,
    tile: usize,
    stride: usize,
    patches: Option<PatchGrid>,
    tiles: usize,
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
    fn variant(&self, scene: &TowerScene) -> String {
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

/// A record to be, and which of its tile's vectors it gets.
struct Target {
    token: usize,
    meta: Meta,
}

/// A tile as read.
struct Tile {
    scene: Arc<TowerScene>,
    values: Values,
    targets: Vec<Target>,
}

/// Prepared tiles: network input, and the records and picture of each tile.
struct Batch {
    images: ImageBatch,
    tiles: Vec<(Vec<Target>, Option<Vec<u8>>)>,
}

/// Counts of the reading thread.
#[derive(Default)]
struct Counts {
    passed_over: AtomicUsize,
    present: AtomicUsize,
    without_data: AtomicUsize,
}

/// What all threads share.
struct Job<'a> {
    plan: &'a Plan,
    tower: &'a dyn ImageTower,
    /// The archive as it was at the start.
    archive: Archive,
    counts: Counts,
    stop: &'a AtomicBool,
}

/// Embeds every tile of a plan that the archive does not have yet. `stop`, once true, ends the work after the batch under way;
/// `progress` gets tiles done and in all.
///
/// One thread reads, one prepares, this one runs the network and writes; a few batches wait between them, whatever the scenes' sizes.
/// Records are made durable some hundred at a time.
///
/// # Errors
/// An archive of another space; damaged files; a full disk. What was computed before is in the archive.
pub fn embed(
    plan: &Plan,
    tower: &dyn ImageTower,
    space: &Space,
    writer: &mut Writer,
    stop: &AtomicBool,
    mut progress: impl FnMut(usize, usize),
) -> anyhow::Result<Embedded> {
    writer.space().check(space)?;
    let archive = Archive::open(writer.path())?;
    let job = Job { plan, tower, archive, counts: Counts::default(), stop };
    let mut sink = Sink { writer, space, records: Vec::new(), since: Instant::now(), added: 0, tiles: 0 };
    std::thread::scope(|threads| -> anyhow::Result<()> {
        let (to_prepare, tiles) = sync_channel(plan.options.batch);
        let (to_encode, batches) = sync_channel(WAITING);
        let job = &job;
        let failed = to_encode.clone();
        threads.spawn(move || {
            if let Err(problem) = job.read(&to_prepare) {
                // The other end is gone only when the work has ended already.
                let _ = failed.send(Err(problem));
            }
        });
        threads.spawn(move || {
            if let Err(problem) = job.prepare(tiles, &to_encode) {
                let _ = to_encode.send(Err(problem));
            }
        });
        let worked = job.work(batches, &mut sink, &mut progress);
        // Also after a failure: nothing that was computed is lost.
        sink.write()?;
        worked
    })?;
    let done = sink.tiles + job.counts.passed_over.into_inner();
    progress(done, plan.tiles.max(1));
    Ok(Embedded {
        tiles: plan.tiles,
        added: sink.added,
        present: job.counts.present.into_inner(),
        without_data: job.counts.without_data.into_inner(),
        interrupted: done < plan.tiles && stop.load(Ordering::SeqCst),
    })
}

/// Where records go: they wait until there are enough for a segment.
struct Sink<'a> {
    writer: &'a mut Writer,
    space: &'a Space,
    records: Vec<Record>,
    since: Instant,
    added: usize,
    tiles: usize,
}

impl Sink<'_> {
    fn write(&mut self) -> anyhow::Result<()> {
        self.since = Instant::now();
        if !self.records.is_empty() {
            self.added += self.writer.add(self.space, std::mem::take(&mut self.records))?.added;
        }
        Ok(())
    }
}

impl Job<'_> {
    /// Runs the network on every batch.
    fn work(
        &self,
        batches: Receiver<anyhow::Result<Batch>>,
        sink: &mut Sink<'_>,
        progress: &mut impl FnMut(usize, usize),
    ) -> anyhow::Result<()> {
        for batch in batches {
            let batch = batch?;
            sink.tiles += batch.tiles.len();
            sink.records.extend(self.encode(batch)?);
            if sink.records.len() >= FLUSH || sink.since.elapsed() > FLUSH_AFTER {
                sink.write()?;
            }
            progress(sink.tiles + self.counts.passed_over.load(Ordering::Relaxed), self.plan.tiles.max(1));
        }
        Ok(())
    }

    /// Reads the tiles that are to be embedded, scene by scene.
    fn read(&self, to: &SyncSender<Tile>) -> anyhow::Result<()> {
        for arg in &self.plan.scenes {
            let scene = Arc::new(TowerScene::open(arg, self.tower, &self.plan.registry, false)?);
            let time = self.plan.options.date.of(arg)?;
            let grid = scene.grid();
            let read_tile = |place: Place, windows: &[(usize, Window)]| -> anyhow::Result<bool> {
                if self.stop.load(Ordering::SeqCst) {
                    return Ok(false);
                }
                let Some(tile) = self.read_tile(&scene, time, place, windows)? else {
                    self.counts.passed_over.fetch_add(1, Ordering::Relaxed);
                    return Ok(true);
                };
                Ok(to.send(tile).is_ok())
            };
            match &self.plan.patches {
                Some(patches) => {
                    for k in 0..patches.tile_count(grid) {
                        let (place, windows) = patches.tile(grid, k);
                        if !read_tile(place, &windows)? {
                            return Ok(());
                        }
                    }
                }
                None => {
                    for window in tile_windows(grid.width, grid.height, self.plan.tile, self.plan.stride) {
                        if !read_tile(window.into(), &[(0, window)])? {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A tile with those of its windows that have data and are not in the archive; `None` when there is none.
    fn read_tile(
        &self,
        scene: &Arc<TowerScene>,
        time: Option<Time>,
        place: Place,
        windows: &[(usize, Window)],
    ) -> anyhow::Result<Option<Tile>> {
        let variant = self.plan.variant(scene);
        let id = |w: Window| RecordId::new(scene.source(), Some(w), self.tower.fingerprint(), &variant);
        let missing: Vec<(usize, Window, RecordId)> = windows
            .iter()
            .map(|&(token, w)| (token, w, id(w)))
            .filter(|(_, _, id)| self.archive.find(*id).is_none())
            .collect();
        self.counts.present.fetch_add(windows.len() - missing.len(), Ordering::Relaxed);
        if missing.is_empty() {
            return Ok(None);
        }
        let values = scene.read(place)?;
        let mut targets = Vec::new();
        for (token, window, id) in missing {
            let (col, row) = (window.col as isize - place.col, window.row as isize - place.row);
            let nodata = values.nodata(Window::new(col as usize, row as usize, window.width, window.height));
            if nodata > self.plan.options.max_nodata || nodata >= 1.0 {
                self.counts.without_data.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            targets.push(Target { token, meta: self.meta(scene, time, window, id, nodata)? });
        }
        Ok((!targets.is_empty()).then(|| Tile { scene: scene.clone(), values, targets }))
    }

    fn meta(
        &self,
        scene: &TowerScene,
        time: Option<Time>,
        window: Window,
        id: RecordId,
        nodata: f32,
    ) -> anyhow::Result<Meta> {
        // Edges of a patch are straight enough; those of a tile may be bent by its projection.
        let ring = scene.ring(window, if self.plan.patches.is_some() { 1 } else { 4 })?;
        Ok(Meta {
            footprint: ring.map(|r| Footprint::from_ring(&r)).transpose()?,
            grid: scene.grid().is_georeferenced().then(|| scene.grid().crop(window)),
            window: Some(window),
            time,
            sensor: scene.sensor().map(str::to_owned),
            cloud: self.plan.options.cloud,
            nodata: Some(nodata),
            ..Meta::new(id, scene.source())
        })
    }

    /// Prepares tiles and gathers those of one scene and size into batches.
    fn prepare(&self, tiles: Receiver<Tile>, to: &SyncSender<anyhow::Result<Batch>>) -> anyhow::Result<()> {
        let mut images: Vec<Array3<f32>> = Vec::new();
        let mut waiting = Vec::new();
        let mut current: Option<Arc<TowerScene>> = None;
        for tile in tiles {
            let image = tile.scene.prepare(&tile.values)?;
            let fits = current.as_ref().is_some_and(|s| Arc::ptr_eq(s, &tile.scene))
                && images.first().is_none_or(|i| i.dim() == image.dim());
            if !fits || images.len() >= self.plan.options.batch {
                self.send(&current, &mut images, &mut waiting, to);
            }
            let thumbnail = if self.plan.options.thumbnails { Some(tile.scene.thumbnail(&tile.values)?) } else { None };
            images.push(image);
            waiting.push((tile.targets, thumbnail));
            current = Some(tile.scene);
        }
        self.send(&current, &mut images, &mut waiting, to);
        Ok(())
    }

    fn send(
        &self,
        scene: &Option<Arc<TowerScene>>,
        images: &mut Vec<Array3<f32>>,
        tiles: &mut Vec<(Vec<Target>, Option<Vec<u8>>)>,
        to: &SyncSender<anyhow::Result<Batch>>,
    ) {
        if let Some(scene) = scene.as_ref().filter(|_| !images.is_empty()) {
            let ready =
                Batch { images: batch(images, scene.bands(), self.tower.device()), tiles: std::mem::take(tiles) };
            images.clear();
            let _ = to.send(Ok(ready));
        }
    }

    /// Runs the network and gives every target its vector.
    fn encode(&self, batch: Batch) -> anyhow::Result<Vec<Record>> {
        let (vectors, per_tile) = if self.plan.patches.is_some() {
            let tokens = self.tower.tokens(&batch.images)?;
            let [_, rows, cols, _] = tokens.dims();
            (tokens.into_data().iter::<f32>().collect::<Vec<f32>>(), rows * cols)
        } else {
            (self.tower.encode(&batch.images)?.into_raw_vec_and_offset().0, 1)
        };
        let width = self.tower.width();
        let mut records = Vec::new();
        for (k, (targets, thumbnail)) in batch.tiles.into_iter().enumerate() {
            for Target { token, meta } in targets {
                let at = (k * per_tile + token) * width;
                records.push(Record { meta, vector: vectors[at..at + width].to_vec(), thumbnail: thumbnail.clone() });
            }
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_from_names() {
        for (name, expected) in [
            ("S2A_MSIL2A_20200601T101559_N0214_R065_T32UQD.tif", Some("2020-06-01T10:15:59Z")),
            ("LC08_L2SP_193026_20190420_20200829_02_T1.tif", Some("2019-04-20T00:00:00Z")),
            ("city-2021-12-31.tif", Some("2021-12-31T00:00:00Z")),
            ("tile_99999999.tif", None),
            ("123420200101.tif", None),
            ("20201301.tif", None),
            ("ähnlich.tif", None),
            ("", None),
        ] {
            assert_eq!(time_in_name(name).map(|t| t.to_string()).as_deref(), expected, "{name}");
        }
    }
}
