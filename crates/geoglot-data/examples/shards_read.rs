//! Reading speed of shards: batches of arrays as stored, stacked to [B, H, W, C], with texts and wavelengths.
//!
//! `shards_read FOLDER THREADS BATCH` reads every sample once, in order, and prints a JSON line with seconds, samples and bytes a second.

use std::time::Instant;

use geoglot_data::shards::{Image, Sample, SampleStream, ShardFolder, StreamOptions, StreamState};

/// A stacked batch: little-endian values, texts, wavelengths.
struct Stacked {
    bytes: Vec<u8>,
    texts: Vec<String>,
    wavelengths: Vec<Vec<Option<f32>>>,
}

fn stack(samples: &mut Vec<Sample>) -> Stacked {
    let mut out = Stacked { bytes: Vec::new(), texts: Vec::new(), wavelengths: Vec::new() };
    for sample in samples.drain(..) {
        match &sample.image {
            Image::U8(a) => out.bytes.extend(a),
            Image::U16(a) => out.bytes.extend(a.iter().flat_map(|v| v.to_le_bytes())),
            Image::F32(a) => out.bytes.extend(a.iter().flat_map(|v| v.to_le_bytes())),
        }
        out.texts.extend(sample.texts);
        out.wavelengths.push(sample.wavelengths);
    }
    out
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, threads, batch] = &args[..] else { return Err("usage: shards_read FOLDER THREADS BATCH".into()) };
    let batch: usize = batch.parse()?;
    let start = Instant::now();
    let folder = ShardFolder::open(folder.as_ref())?;
    let options =
        StreamOptions { threads: threads.parse()?, buffer: 0, shuffle_shards: false, ..StreamOptions::default() };
    let (mut waiting, mut samples, mut bytes, mut check) = (Vec::new(), 0, 0, 0u64);
    let mut use_up = |waiting: &mut Vec<Sample>| {
        samples += waiting.len();
        let stacked = stack(waiting);
        bytes += stacked.bytes.len();
        // A few values of every batch, so that both sides are known to read the same.
        check += stacked.bytes.iter().step_by(4096).map(|&b| u64::from(b)).sum::<u64>();
        check += stacked.texts.iter().map(|t| t.len() as u64).sum::<u64>() + stacked.wavelengths.concat().len() as u64;
    };
    for sample in SampleStream::new(&folder, &options, StreamState::default())? {
        waiting.push(sample?);
        if waiting.len() == batch {
            use_up(&mut waiting);
        }
    }
    if !waiting.is_empty() {
        use_up(&mut waiting);
    }
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = bytes as f64 / 1e6 / seconds;
    println!(
        "{{\"seconds\": {seconds:.4}, \"samples_per_s\": {:.1}, \"mb_per_s\": {megabytes:.1}, \"samples\": {samples}, \"check\": {check}}}",
        samples as f64 / seconds
    );
    Ok(())
}
