//! Reads and writes big rasters and prints seconds and peak memory: `raster_speed read FILE`, `raster_speed write FILE EDGE BANDS [ROWS]`.

use std::path::Path;
use std::time::Instant;

use geoglot_core::{Affine, Crs, Grid, Window};
use geoglot_raster::{BandSource, RasterSpec, RasterWriter, tiff};
use ndarray::Array3;

fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let number = |k: usize| args.get(k).and_then(|a| a.parse::<usize>().ok());
    let start = Instant::now();
    match args.get(1).map(String::as_str) {
        Some("read") => {
            let source = tiff::open(Path::new(&args[2]))?;
            let edge = number(3).unwrap_or(512);
            let (w, h) = (source.grid().width, source.grid().height);
            let mut sum = 0.0;
            for row in (0..h).step_by(edge) {
                for col in (0..w).step_by(edge) {
                    let window = Window::new(col, row, edge.min(w - col), edge.min(h - row));
                    sum += source.read(&source.all_bands(), window)?.data.iter().map(|&v| f64::from(v)).sum::<f64>();
                }
            }
            println!("read {w} × {h} × {} in {:.2} s, sum {sum}", source.bands().len(), start.elapsed().as_secs_f64());
        }
        Some("write") => {
            let (edge, bands) = (number(3).unwrap_or(4000), number(4).unwrap_or(1));
            let rows = number(5).unwrap_or(256);
            let grid = Grid {
                crs: Some(Crs::Epsg(32632)),
                transform: Affine::north_up(500_000.0, 5_000_000.0, 10.0, 10.0),
                width: edge,
                height: edge,
            };
            let spec = RasterSpec::scores((0..bands).map(|b| format!("score {b}")));
            let mut writer = RasterWriter::create(Path::new(&args[2]), &grid, spec)?;
            for row in (0..edge).step_by(rows) {
                let height = rows.min(edge - row);
                let data = Array3::from_shape_fn((bands, height, edge), |(b, r, c)| {
                    (((row + r) / 7 * 31 + c / 5 * 17 + b) % 1000) as f32 / 1000.0
                });
                writer.write(Window::new(0, row, edge, height), data.view(), None)?;
            }
            println!("windows written after {:.2} s", start.elapsed().as_secs_f64());
            writer.finish()?;
            println!("wrote {edge}² × {bands} in {:.2} s", start.elapsed().as_secs_f64());
        }
        _ => println!("usage: raster_speed read FILE [EDGE] | write FILE EDGE BANDS [ROWS]"),
    }
    println!("peak memory {:.0} MB", peak_mb());
    Ok(())
}
