//! Writes the fuzz seeds of the archive's formats: `cargo run -p geoglot-index --example fuzz_seeds -- fuzz/seeds`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use geoglot_core::{Affine, Crs, Grid, Window};
use geoglot_index::export::{GeoParquetOptions, write_archive_geoparquet};
use geoglot_index::{Archive, BBox, Filter, Footprint, Meta, Record, RecordId, Space, Time, VectorType};

/// Width of the vectors.
const DIM: usize = 8;

fn record(i: usize) -> Result<Record, Box<dyn Error>> {
    let window = Window::new(64 * i, 0, 64, 64);
    let grid = Grid {
        crs: Some(Crs::Epsg(32632)),
        transform: Affine::north_up(5e5 + 640.0 * i as f64, 5e6, 10.0, 10.0),
        width: 64,
        height: 64,
    };
    let west = 10.0 + 0.1 * i as f64;
    let meta = Meta {
        footprint: (i != 1)
            .then(|| BBox::new(west, 44.9, west + 0.1, 45.0).map(|b| Footprint::from_bbox(&b)))
            .transpose()?,
        grid: Some(grid),
        window: Some(window),
        time: (i != 2).then_some(Time(1_700_000_000_000 + 86_400_000 * i as i64)),
        sensor: (i != 3).then(|| ["sentinel-2-l2a", "landsat-8"][i % 2].into()),
        cloud: (i == 0).then_some(0.25),
        nodata: Some(0.5),
        caption: (i == 0).then(|| "a lake".into()),
        tags: if i == 0 { vec!["a".into()] } else { Vec::new() },
        ..Meta::new(RecordId::new("a.tif", Some(window), "hash", ""), "a.tif")
    };
    let vector = (0..DIM).map(|k| ((k * 7 + i * 3) as f32).sin()).collect();
    Ok(Record { meta, vector, thumbnail: i.is_multiple_of(2).then(|| b"\x89PNG".to_vec()) })
}

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = PathBuf::from(std::env::args().nth(1).ok_or("give the folder of the seeds")?);
    let put = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(seeds.join(target)).and_then(|()| fs::write(seeds.join(target).join(name), bytes))
    };
    for (name, kind) in [("f32", VectorType::F32), ("f16", VectorType::F16)] {
        let folder = std::env::temp_dir().join(format!("geoglot-seeds-{}-{name}", std::process::id()));
        let space = Space::new("seed", DIM, "model", Some("hash".into()));
        Archive::create(&folder, space.clone(), kind)?;
        let records = (0..5).map(record).collect::<Result<Vec<_>, _>>()?;
        let outline = records[0].meta.footprint.clone().ok_or("the first record has a footprint")?;
        Archive::open_writer(&folder)?.add(&space, records)?;
        put("archive_manifest", name, &fs::read(folder.join("archive.json"))?)?;
        for file in fs::read_dir(folder.join("segments"))? {
            let path = file?.path();
            let target = match path.extension().and_then(|e| e.to_str()) {
                Some("vec") => "archive_vectors",
                Some("col") => "archive_columns",
                Some("code") => "archive_codes",
                Some("png") => "archive_thumbs",
                _ => "archive_table",
            };
            put(target, name, &fs::read(path)?)?;
        }
        let options = GeoParquetOptions { embeddings: true, thumbnails: true };
        write_archive_geoparquet(&folder.join("x.parquet"), &Archive::open(&folder)?, &Filter::new(), options)?;
        put("geoparquet", name, &fs::read(folder.join("x.parquet"))?)?;
        fs::remove_dir_all(&folder)?;
        put("wkb", "box", &outline.to_wkb())?;
        put("geojson", "box", outline.to_geojson().to_string().as_bytes())?;
    }
    Ok(())
}
