//! Batches of one modality from several sources, mixed by weight, without end.

use geoglot_core::Seeds;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::folder::ShardFolder;
use super::modality::Modality;
use super::sample::Sample;
use super::stream::{SampleStream, StreamOptions, StreamState};
use super::writer::hex;

/// A folder of shards and how often a batch comes from it.
#[derive(Debug, Clone)]
pub struct Source {
    /// The shards.
    pub folder: ShardFolder,
    /// Weight: batches are drawn in proportion to the weights.
    pub weight: f64,
}

/// Samples that fit one network input.
#[derive(Debug, Clone)]
pub struct SampleBatch {
    /// Number of its source.
    pub source: usize,
    /// What the images are of.
    pub modality: Modality,
    /// The samples; their images may differ in height and width.
    pub samples: Vec<Sample>,
}

/// Where a [`Mixer`] stands; with the same sources and options another one goes on from it exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixState {
    /// Stands for sources and options.
    plan: String,
    /// Batches given.
    batches: u64,
    sources: Vec<SourceState>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SourceState {
    stream: StreamState,
    /// Numbers of samples that wait for others of their modality.
    held: Vec<u64>,
    /// Whether the epoch has given a batch.
    gave: bool,
    /// Faulty samples passed over in earlier epochs.
    skipped: u64,
}

struct Running {
    stream: SampleStream,
    waiting: Vec<(u64, Modality, Sample)>,
    gave: bool,
    skipped: u64,
}

/// Endless batches. At the end of a source's epoch its next one begins; samples that do not fill a batch are left out then.
pub struct Mixer {
    sources: Vec<Source>,
    options: StreamOptions,
    batch: usize,
    plan: String,
    batches: u64,
    running: Vec<Running>,
}

impl Mixer {
    /// Batches of `batch` samples from `sources`, from the beginning.
    ///
    /// # Errors
    /// No sources, weights that are not positive, a batch size of 0; as [`SampleStream::new`].
    pub fn new(sources: Vec<Source>, batch: usize, options: StreamOptions) -> Result<Self> {
        let state = vec![SourceState::default(); sources.len()];
        Self::start(sources, batch, options, 0, state)
    }

    /// Goes on from `state`.
    ///
    /// # Errors
    /// [`Error::Usage`] when sources or options are not those of the state; as [`Mixer::new`].
    pub fn resume(sources: Vec<Source>, batch: usize, options: StreamOptions, state: &MixState) -> Result<Self> {
        if plan(&sources, batch, &options) != state.plan || state.sources.len() != sources.len() {
            return Err(Error::Usage(
                "the saved state is of other shards, weights, seed, batch or buffer size; start over, or use what it was made with".into(),
            ));
        }
        Self::start(sources, batch, options, state.batches, state.sources.clone())
    }

    fn start(
        sources: Vec<Source>,
        batch: usize,
        options: StreamOptions,
        batches: u64,
        states: Vec<SourceState>,
    ) -> Result<Self> {
        if sources.is_empty() || batch == 0 || sources.iter().any(|s| !(s.weight > 0.0 && s.weight.is_finite())) {
            return Err(Error::Usage(
                "mixing needs at least one source, positive weights and a batch size above 0".into(),
            ));
        }
        let running = sources.iter().zip(states).map(|(source, state)| {
            let (stream, held) = SampleStream::with_held(&source.folder, &options, state.stream, &state.held)?;
            let waiting = held.into_iter().map(|(number, sample)| (number, sample.modality(), sample)).collect();
            Ok(Running { stream, waiting, gave: state.gave, skipped: state.skipped })
        });
        let running = running.collect::<Result<_>>()?;
        Ok(Self { plan: plan(&sources, batch, &options), sources, options, batch, batches, running })
    }

    /// Where the mixer stands.
    pub fn state(&self) -> MixState {
        let source = |r: &Running| SourceState {
            stream: r.stream.state(),
            held: r.waiting.iter().map(|w| w.0).collect(),
            gave: r.gave,
            skipped: r.skipped,
        };
        MixState { plan: self.plan.clone(), batches: self.batches, sources: self.running.iter().map(source).collect() }
    }

    /// Faulty samples passed over so far.
    pub fn skipped(&self) -> u64 {
        self.running.iter().map(|r| r.skipped + r.stream.state().skipped).sum()
    }

    /// The next batch.
    ///
    /// # Errors
    /// Faulty samples, unless they are skipped; an epoch of a source that does not fill one batch.
    pub fn next_batch(&mut self) -> Result<SampleBatch> {
        let total: f64 = self.sources.iter().map(|s| s.weight).sum();
        let mut at =
            Seeds::new(self.options.seed).stream(&format!("shards/mix/{}", self.batches)).random::<f64>() * total;
        let chosen = self.sources.iter().position(|s| {
            at -= s.weight;
            at < 0.0
        });
        let chosen = chosen.unwrap_or(self.sources.len() - 1);
        let batch = self.fill(chosen)?;
        self.batches += 1;
        Ok(batch)
    }

    fn fill(&mut self, number: usize) -> Result<SampleBatch> {
        let (source, running) = (&self.sources[number], &mut self.running[number]);
        loop {
            let Some((slot, sample)) = running.stream.next_numbered()? else {
                if !running.gave {
                    let problem =
                        format!("holds fewer than {} samples of each modality; a batch needs that many", self.batch);
                    return Err(Error::index(source.folder.path(), problem));
                }
                let old = running.stream.state();
                running.skipped += old.skipped;
                let state = StreamState { epoch: old.epoch + 1, ..StreamState::default() };
                running.stream = SampleStream::new(&source.folder, &self.options, state)?;
                running.waiting.clear();
                running.gave = false;
                continue;
            };
            let modality = sample.modality();
            running.waiting.push((slot, modality.clone(), sample));
            if running.waiting.iter().filter(|w| w.1 == modality).count() == self.batch {
                let all = std::mem::take(&mut running.waiting);
                let (full, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|w| w.1 == modality);
                running.waiting = rest;
                running.gave = true;
                return Ok(SampleBatch { source: number, modality, samples: full.into_iter().map(|w| w.2).collect() });
            }
        }
    }
}

/// Everything that changes what is seen.
fn plan(sources: &[Source], batch: usize, options: &StreamOptions) -> String {
    let names = |s: &Source| -> Vec<String> { s.folder.shards().iter().map(|p| p.display().to_string()).collect() };
    let all: Vec<_> = sources.iter().map(|s| (s.weight, names(s))).collect();
    let StreamOptions { seed, shuffle_shards, buffer, part, threads: _, ahead: _, on_fault, read } = options;
    let text = format!("{all:?} {batch} {seed} {shuffle_shards} {buffer} {part:?} {on_fault:?} {read:?}");
    hex(&Sha256::digest(text.as_bytes()))
}
