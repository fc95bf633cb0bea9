//! Samples in sequence: shards in a seeded order, read and decoded ahead by threads, mixed in a seeded buffer, continued exactly.
//!
//! Every sample of an epoch has a number, its place in the order of reading, faulty ones included. Which number comes out of the buffer
//! depends on seed and epoch only: so neither the number of threads nor a stop and a resume changes what is seen.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use geoglot_core::Seeds;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::error::{Error, OnFault, Result};
use super::folder::{ShardFolder, read_sample};
use super::members::Walk;
use super::sample::{ReadOptions, Sample};

/// How samples are streamed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamOptions {
    /// Seed of all orders.
    pub seed: u64,
    /// Read the shards in an order drawn for each epoch, not by name.
    pub shuffle_shards: bool,
    /// Samples held to draw the next one from; 0 or 1 keeps the order of the shards. They are held decoded.
    pub buffer: usize,
    /// Part `(k, n)`: of n workers, training processes say, this is the k-th and reads every n-th shard.
    pub part: (usize, usize),
    /// Threads that read and decode.
    pub threads: usize,
    /// Samples each thread is ahead.
    pub ahead: usize,
    /// What to do about faulty samples.
    pub on_fault: OnFault,
    /// Limits and demands.
    pub read: ReadOptions,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            shuffle_shards: true,
            buffer: 256,
            part: (0, 1),
            threads: 2,
            ahead: 16,
            on_fault: OnFault::Fail,
            read: ReadOptions::default(),
        }
    }
}

/// Where a stream stands. With the same shards and options a stream made from it goes on as the one it was taken from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// Pass over the shards, counted from 0.
    pub epoch: u64,
    /// Samples given out in it, faulty ones included.
    pub emitted: u64,
    /// Samples of the epoch, faulty ones included; known once the last was read.
    pub total: Option<u64>,
    /// Faulty ones passed over in it.
    pub skipped: u64,
}

/// The shards of `epoch` in the order in which part `(k, n)` reads them.
///
/// # Errors
/// [`Error::Usage`] for parts that do not exist and for fewer shards than parts.
pub fn shard_order(folder: &ShardFolder, options: &StreamOptions, epoch: u64) -> Result<Vec<PathBuf>> {
    let (part, parts) = options.part;
    let mut shards = folder.shards().to_vec();
    if part >= parts || shards.len() < parts {
        return Err(Error::Usage(format!(
            "{}: part {} of {parts} of {} shards; every part needs a shard of its own, write smaller ones",
            folder.path().display(),
            part + 1,
            shards.len()
        )));
    }
    if options.shuffle_shards {
        shards.shuffle(&mut Seeds::new(options.seed).stream(&format!("shards/order/{epoch}")));
    }
    Ok(shards.into_iter().skip(part).step_by(parts).collect())
}

/// Positions of samples in an order in which shards are read one after another: `shards[i]` is the shard of sample i. The order of the
/// shards and the draws from a buffer of `buffer` samples depend on seed and epoch only. It is what a stream gives, as numbers.
pub fn reading_order(shards: &[usize], buffer: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); shards.iter().max().map_or(0, |m| m + 1)];
    shards.iter().enumerate().for_each(|(i, &shard)| groups[shard].push(i));
    groups.shuffle(&mut Seeds::new(seed).stream(&format!("shards/order/{epoch}")));
    let mut held = Buffer::new(buffer, buffer_rng(seed, epoch, 0));
    let mut order = Vec::with_capacity(shards.len());
    for i in groups.into_iter().flatten() {
        if held.is_full() {
            order.extend(held.draw());
        }
        held.push(i);
    }
    order.extend(std::iter::from_fn(|| held.draw()));
    order
}

/// Holds up to `room` things and gives out one drawn at random.
pub(super) struct Buffer<T> {
    items: Vec<T>,
    room: usize,
    rng: ChaCha8Rng,
}

impl<T> Buffer<T> {
    pub fn new(room: usize, rng: ChaCha8Rng) -> Self {
        Self { items: Vec::new(), room: room.max(1), rng }
    }

    pub fn is_full(&self) -> bool {
        self.items.len() >= self.room
    }

    pub fn push(&mut self, item: T) {
        self.items.push(item);
    }

    pub fn draw(&mut self) -> Option<T> {
        match self.items.len() {
            0 => None,
            1 => self.items.pop(),
            n => Some(self.items.swap_remove(self.rng.random_range(0..n))),
        }
    }
}

pub(super) fn buffer_rng(seed: u64, epoch: u64, part: usize) -> ChaCha8Rng {
    Seeds::new(seed).stream(&format!("shards/buffer/{epoch}/{part}"))
}

/// Which numbers are still to be read: some early ones and everything from `next`.
#[derive(Clone)]
struct Wanted {
    early: Vec<u64>,
    next: u64,
}

impl Wanted {
    fn has(&self, number: u64) -> bool {
        number >= self.next || self.early.binary_search(&number).is_ok()
    }
}

enum Message {
    Sample(u64, Box<Result<Sample>>),
    /// All was read: the number of samples.
    End(u64),
}

/// Reads its share of the samples: numbers k, k + n, … of n threads.
struct Reader {
    shards: Vec<PathBuf>,
    share: (u64, u64),
    wanted: Wanted,
    options: ReadOptions,
    sender: SyncSender<Message>,
}

impl Reader {
    /// `None` when nobody listens any more.
    fn run(self) -> Option<()> {
        let (mut number, mut scratch) = (0, Vec::new());
        let mine = |number: u64| number % self.share.1 == self.share.0 && self.wanted.has(number);
        let send =
            |number: u64, sample: Result<Sample>| self.sender.send(Message::Sample(number, Box::new(sample))).ok();
        for shard in &self.shards {
            let opened = Walk::open(shard)
                .and_then(|walk| Ok((walk, File::open(shard).map_err(|e| Error::io(shard, "open", e))?)));
            let (mut walk, mut file) = match opened {
                Ok(opened) => opened,
                Err(e) => {
                    if mine(number) {
                        send(number, Err(e))?;
                    }
                    number += 1;
                    continue;
                }
            };
            while let Some(raw) = walk.next_sample().transpose() {
                if mine(number) {
                    let read = |raw| read_sample(&mut file, shard, &raw, &self.options, &mut scratch);
                    send(number, raw.and_then(read))?;
                }
                number += 1;
            }
        }
        self.sender.send(Message::End(number)).ok()
    }
}

/// The samples of one epoch of a folder, or what is left of it.
pub struct SampleStream {
    receivers: Vec<Receiver<Message>>,
    buffer: Buffer<(u64, Result<Sample>)>,
    /// Next number to receive.
    next: u64,
    ended: bool,
    state: StreamState,
    on_fault: OnFault,
    name: PathBuf,
}

impl SampleStream {
    /// Streams `folder` from `state`; the default is the beginning of the first epoch.
    ///
    /// # Errors
    /// Parts that do not exist, a state that does not belong to these shards, faulty samples among those read at once.
    pub fn new(folder: &ShardFolder, options: &StreamOptions, state: StreamState) -> Result<Self> {
        Ok(Self::with_held(folder, options, state, &[])?.0)
    }

    /// As [`SampleStream::new`]; the samples of the numbers `held`, given out before, come again beside the stream.
    pub(super) fn with_held(
        folder: &ShardFolder,
        options: &StreamOptions,
        state: StreamState,
        held: &[u64],
    ) -> Result<(Self, Vec<(u64, Sample)>)> {
        let shards = shard_order(folder, options, state.epoch)?;
        let foreign = || {
            let problem =
                "the state does not belong to these shards: they were changed; start over, or bring the old ones back";
            Error::index(folder.path(), problem)
        };
        // What the buffer held is found by drawing again, numbers instead of samples.
        let rng = buffer_rng(options.seed, state.epoch, options.part.0);
        let (mut plan, mut next) = (Buffer::new(options.buffer, rng), 0);
        for _ in 0..state.emitted {
            while !plan.is_full() && Some(next) != state.total {
                plan.push(next);
                next += 1;
            }
            plan.draw().ok_or_else(foreign)?;
        }
        let mut early: Vec<u64> = plan.items.iter().chain(held).copied().collect();
        early.sort_unstable();
        early.dedup();
        let wanted = Wanted { early, next };
        let threads = options.threads.max(1) as u64;
        let receivers = (0..threads).map(|k| {
            let (sender, receiver) = sync_channel(options.ahead);
            let reader = Reader {
                shards: shards.clone(),
                share: (k, threads),
                wanted: wanted.clone(),
                options: options.read.clone(),
                sender,
            };
            std::thread::Builder::new().name("shards".into()).spawn(move || reader.run()).map(|_| receiver)
        });
        let receivers: Vec<_> =
            receivers.collect::<std::io::Result<_>>().map_err(|e| Error::io(folder.path(), "start a thread for", e))?;
        let buffer = Buffer::new(options.buffer, plan.rng);
        let mut stream = Self {
            receivers,
            buffer,
            next,
            ended: false,
            state,
            on_fault: options.on_fault,
            name: folder.path().into(),
        };
        let mut back = HashMap::new();
        for &number in &wanted.early {
            back.insert(number, stream.receive(number)?.ok_or_else(foreign)?);
        }
        let again = held.iter().map(|number| Ok((*number, back.remove(number).ok_or_else(foreign)??)));
        let again = again.collect::<Result<Vec<_>>>()?;
        for number in plan.items {
            stream.buffer.push((number, back.remove(&number).ok_or_else(foreign)?));
        }
        Ok((stream, again))
    }

    /// Where the stream stands.
    pub fn state(&self) -> StreamState {
        self.state.clone()
    }

    /// The sample of `number`, `None` when there are fewer.
    fn receive(&mut self, number: u64) -> Result<Option<Result<Sample>>> {
        let receiver = &self.receivers[(number % self.receivers.len() as u64) as usize];
        match receiver.recv() {
            Ok(Message::Sample(found, sample)) if found == number => Ok(Some(*sample)),
            Ok(Message::End(total)) => {
                self.state.total = Some(total);
                self.ended = true;
                Ok(None)
            }
            Ok(Message::Sample(..)) | Err(_) => {
                Err(Error::index(&self.name, "a reading thread stopped before the end"))
            }
        }
    }

    /// The next sample with its number.
    pub(super) fn next_numbered(&mut self) -> Result<Option<(u64, Sample)>> {
        loop {
            while !self.ended && !self.buffer.is_full() {
                let number = self.next;
                if let Some(sample) = self.receive(number)? {
                    self.buffer.push((number, sample));
                    self.next += 1;
                }
            }
            let Some((number, sample)) = self.buffer.draw() else { return Ok(None) };
            self.state.emitted += 1;
            match sample {
                Ok(sample) => return Ok(Some((number, sample))),
                Err(e) if e.is_fault() && self.on_fault == OnFault::Skip => {
                    tracing::warn!("left out: {e}");
                    self.state.skipped += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }
}

impl Iterator for SampleStream {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Result<Sample>> {
        self.next_numbered().transpose().map(|found| found.map(|(_, sample)| sample))
    }
}
