//! Times a whole-scene map and writes the embeddings, for comparison with `benches/pytorch/mmlgnet_map.py`.
//!
//! `cargo run --release -p geoglot-models --example map_bench -- FOLDER SIZE CHANNELS`: writes the weights to FOLDER/weights.safetensors and the scene
//! to FOLDER/hsi.f32 and lidar.f32 ([C, H, W], little endian), maps it, writes FOLDER/embeddings.f32 ([H, W, 384]) and prints one line of JSON.
//! RAYON_NUM_THREADS sets the threads. With SIZE above 1000 nothing is written: memory is what is measured then.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::Device;
use geoglot_core::{Seeds, Window};
use geoglot_models::mmlgnet::{MapOptions, Mapper, MmlgnetConfig, Padding, SceneReader};
use ndarray::{Array2, Array3};
use rand::RngExt;

/// Values computed from their position, so that a scene of any size needs no memory.
struct Computed {
    size: usize,
    channels: [usize; 2],
}

impl SceneReader for Computed {
    fn size(&self) -> (usize, usize) {
        (self.size, self.size)
    }

    fn read(&self, input: &str, w: Window) -> Result<Array3<f32>, Box<dyn Error + Send + Sync>> {
        let lidar = usize::from(input == "lidar");
        let shape = (self.channels[lidar], w.height, w.width);
        Ok(Array3::from_shape_fn(shape, |(c, y, x)| {
            let n = ((w.row + y) * 7919 + (w.col + x) * 104_729 + c * 1_299_709 + lidar * 15_485_863) as u32;
            let mixed = (n ^ (n >> 15)).wrapping_mul(0x2c1b_3c6d);
            ((mixed ^ (mixed >> 13)) >> 8) as f32 / 8_388_608.0 - 1.0
        }))
    }
}

fn bytes<'a>(values: impl IntoIterator<Item = &'a f32>) -> Vec<u8> {
    values.into_iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Peak resident memory of this process in MiB, where the system tells.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, size, channels] = arguments.as_slice() else {
        return Err("usage: map_bench FOLDER SIZE CHANNELS".into());
    };
    let (folder, size, channels) = (PathBuf::from(folder), size.parse()?, channels.parse()?);
    let mut config = MmlgnetConfig::paper([("hsi".to_owned(), channels), ("lidar".to_owned(), 1)], 384);
    config.padding = Padding::Reflect;
    let network = config.init(&Device::flex(), 1)?;
    let reader = Computed { size, channels: [channels, 1] };
    let write = size <= 1000;
    if write {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("weights.safetensors"), network.to_bytes()?)?;
        for input in ["hsi", "lidar"] {
            let data = reader.read(input, Window::new(0, 0, size, size)).map_err(|e| e.to_string())?;
            std::fs::write(folder.join(format!("{input}.f32")), bytes(&data))?;
        }
    }
    let mut rng = Seeds::new(2).stream("text");
    let mut text = Array2::from_shape_simple_fn((12, 384), || rng.random::<f32>() - 0.5);
    text.rows_mut().into_iter().for_each(|mut row| row /= row.dot(&row).sqrt());

    let mut embeddings = if write { Array3::zeros((size, size, 384)) } else { Array3::zeros((0, 0, 0)) };
    let start = Instant::now();
    let mapper = Mapper::new(&network, &config);
    let options = MapOptions { embeddings: write, ..MapOptions::default() };
    mapper.map(&reader, text.view(), &options, |block| {
        if let Some(part) = &block.embeddings {
            let w = block.window;
            embeddings.slice_mut(ndarray::s![w.row..w.row_end(), w.col..w.col_end(), ..]).assign(part);
        }
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    if write {
        std::fs::write(folder.join("embeddings.f32"), bytes(&embeddings))?;
    }
    println!(
        "{}",
        serde_json::json!({
            "what": "geoglot dense map", "size": size, "channels": channels, "threads": rayon::current_num_threads(),
            "seconds": seconds, "pixels_per_second": (size * size) as f64 / seconds, "peak_mib": peak_mib(),
        })
    );
    Ok(())
}
