//! Scenes to an archive of embeddings: reading, preprocessing and inference side by side, in bounded memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ndarray::Array3;

use super::embed_plan::Plan;
use super::images::{Place, TowerScene, Values, batch};
use super::tiles::{reading_order, tile_windows};
use crate::core::Window;
use crate::index::{Archive, Footprint, Meta, Record, RecordId, Space, Time, Writer};
use crate::models::vision::{ImageBatch, ImageTower};

/// Records written together: one segment of the archive, and the most that a kill can lose.
const FLUSH: usize = 512;
/// Records are written at least this often.
const FLUSH_AFTER: Duration = Duration::from_secs(30);
/// Batches that wait for the network while others are read.
const WAITING: usize = 2;

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
            let (grid, columns) = (scene.grid(), scene.columns_at_once() as isize);
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
                    for k in reading_order(patches.tile_count(grid), |k| patches.tile(grid, k).0.col, columns) {
                        let (place, windows) = patches.tile(grid, k);
                        if !read_tile(place, &windows)? {
                            return Ok(());
                        }
                    }
                }
                None => {
                    let windows: Vec<Window> =
                        tile_windows(grid.width, grid.height, self.plan.tile, self.plan.stride).collect();
                    for k in reading_order(windows.len(), |k| windows[k].col as isize, columns) {
                        if !read_tile(windows[k].into(), &[(0, windows[k])])? {
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
