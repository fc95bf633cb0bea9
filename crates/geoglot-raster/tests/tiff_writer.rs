//! The streaming writer: what is written is read back, nothing half-written is left, misuse is an error.

use std::path::Path;

use geoglot_core::{Affine, Crs, Grid, Legend, Window};
use geoglot_raster::{BandSource, Codec, Error, Overviews, RasterSpec, RasterWriter, SampleType, tiff};
use ndarray::{Array2, Array3};
use proptest::prelude::*;

fn grid(width: usize, height: usize) -> Grid {
    let transform = Affine::north_up(500_000.0, 5_000_000.0, 10.0, 10.0);
    Grid { crs: Some(Crs::Epsg(32632)), transform, width, height }
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_codec_and_type_comes_back_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let value = |b: usize, r: usize, c: usize| ((b * 31 + r * 7 + c * 3) % 101) as f32;
    for codec in [Codec::Deflate, Codec::Zstd, Codec::Lzw, Codec::None] {
        for sample in [SampleType::U8, SampleType::U16, SampleType::I16, SampleType::I32, SampleType::F32] {
            for bands in [1, 3] {
                let path = dir.path().join("a.tif");
                let names: Vec<String> = (0..bands).map(|b| format!("layer <{b}>")).collect();
                let spec = RasterSpec { codec, tile: 32, ..RasterSpec::values(sample, names.clone(), None) };
                let grid = grid(75, 50);
                let mut writer = RasterWriter::create(&path, &grid, spec).unwrap();
                let half = if sample == SampleType::F32 { 0.5 } else { 0.0 };
                let data = Array3::from_shape_fn((bands, 50, 75), |(b, r, c)| value(b, r, c) + half);
                writer.write(grid.window(), data.view(), None).unwrap();
                writer.finish().unwrap();
                let back = tiff::open(&path).unwrap();
                assert_eq!((back.grid(), back.sample_type()), (&grid, sample));
                assert_eq!(back.bands().iter().map(|b| b.name.clone()).collect::<Vec<_>>(), names);
                assert_eq!(back.overview_count(), 2);
                let tile = back.read_stored(&back.all_bands(), grid.window()).unwrap();
                assert_eq!(tile.data, data, "{codec:?} {sample} {bands}");
                assert!(tile.mask.iter().all(|&m| m));
            }
        }
    }
    assert_eq!(files(dir.path()), ["a.tif"]);
}

#[test]
fn class_maps_carry_names_and_colours() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/map.tif");
    let mut legend = Legend::from_names(["water & ice", "trees"]).unwrap();
    legend.classes[1].color = Some([1, 2, 3]);
    let grid = grid(700, 20);
    let mut writer = RasterWriter::create(&path, &grid, RasterSpec::classes(&legend)).unwrap();
    let ids = Array2::from_shape_fn((20, 700), |(r, c)| ((r + c) % 3) as u16);
    writer.write_classes(grid.window(), ids.view()).unwrap();
    writer.finish().unwrap();
    assert_eq!(files(path.parent().unwrap()), ["map.tif", "map.tif.aux.xml"]);
    let aux = std::fs::read_to_string(dir.path().join("sub/map.tif.aux.xml")).unwrap();
    assert!(aux.contains("<Category>water &amp; ice</Category>"), "{aux}");
    assert!(aux.contains("<F>2</F><F>trees</F><F>1</F><F>2</F><F>3</F>"), "{aux}");
    let back = tiff::open(&path).unwrap();
    assert!(back.has_color_table());
    let tile = back.read_stored(&[0], grid.window()).unwrap();
    assert!(tile.mask.indexed_iter().all(|(at, &valid)| valid == (ids[at] != 0)));
    assert!(tile.data.indexed_iter().all(|((_, r, c), &v)| v == f32::from(ids[[r, c]])));
}

#[test]
fn masked_and_unwritten_pixels_become_nodata() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.tif");
    let grid = grid(40, 40);
    let mut writer = RasterWriter::create(&path, &grid, RasterSpec::scores(["a", "b"])).unwrap();
    let mask = Array2::from_shape_fn((10, 40), |(_, c)| c != 7);
    writer.write(Window::new(0, 0, 40, 10), Array3::ones((2, 10, 40)).view(), Some(mask.view())).unwrap();
    writer.finish().unwrap();
    let back = tiff::open(&path).unwrap().read(&[1], grid.window()).unwrap();
    assert!(back.mask.indexed_iter().all(|((r, c), &valid)| valid == (r < 10 && c != 7)));
}

#[test]
fn a_writer_dropped_or_failing_leaves_the_old_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    std::fs::write(&path, b"old").unwrap();
    let grid = grid(100, 100);
    let spec = RasterSpec::values(SampleType::U8, ["a"], None);
    let mut writer = RasterWriter::create(&path, &grid, spec.clone()).unwrap();
    writer.write(Window::new(0, 0, 100, 50), Array3::zeros((1, 50, 100)).view(), None).unwrap();
    drop(writer);
    assert_eq!(files(dir.path()), ["a.tif"]);
    let mut writer = RasterWriter::create(&path, &grid, spec.clone()).unwrap();
    writer.write(Window::new(0, 0, 100, 50), Array3::zeros((1, 50, 100)).view(), None).unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("5000 of 10000 pixels"), "{error}");
    assert_eq!(files(dir.path()), ["a.tif"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    let below_a_file = path.join("b.tif");
    assert!(matches!(RasterWriter::create(&below_a_file, &grid, spec), Err(Error::Io { .. })));
}

#[test]
fn misuse_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    let grid = grid(64, 64);
    let spec = RasterSpec { tile: 32, ..RasterSpec::values(SampleType::U8, ["x"], None) };
    let mut writer = RasterWriter::create(&path, &grid, spec.clone()).unwrap();
    let ones = |h, w| Array3::from_elem((1, h, w), 1.0f32);
    let mut fails = |window, data: Array3<f32>, expected: &str| {
        let error = writer.write(window, data.view(), None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fails(Window::new(60, 0, 8, 1), ones(1, 8), "does not fit");
    fails(Window::new(0, 0, 8, 1), ones(2, 8), "shape");
    fails(Window::new(0, 0, 1, 1), ones(1, 1) * 300.0, "u8 cannot hold");
    fails(Window::new(0, 0, 1, 1), ones(1, 1) * 0.5, "band `x` would hold 0.5");
    fails(Window::new(0, 0, 1, 1), ones(1, 1) * f32::NAN, "cannot hold");
    let mask = Array2::from_elem((1, 1), false);
    let error = writer.write(Window::new(0, 0, 1, 1), ones(1, 1).view(), Some(mask.view())).unwrap_err().to_string();
    assert!(error.contains("nodata"), "{error}");
    writer.write(Window::new(0, 0, 8, 8), ones(8, 8).view(), None).unwrap();
    for window in [Window::new(7, 7, 2, 2), Window::new(0, 0, 32, 32)] {
        let data = ones(window.height, window.width);
        assert!(writer.write(window, data.view(), None).unwrap_err().to_string().contains("twice"));
    }
    for spec in [
        RasterSpec { tile: 100, ..spec.clone() },
        RasterSpec { bands: vec![], ..spec.clone() },
        RasterSpec { nodata: Some(-1.0), ..spec.clone() },
        RasterSpec { sample: SampleType::F64, ..spec.clone() },
    ] {
        assert!(RasterWriter::create(&path, &grid, spec).is_err());
    }
    let far = Grid { crs: Some(Crs::Epsg(102_001)), ..grid };
    assert!(RasterWriter::create(&path, &far, spec).unwrap_err().to_string().contains("65535"));
}

#[test]
fn georeference_survives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    let base = grid(5, 4);
    let rotated = Affine { x0: 1.0, dx: 8.0, rx: 6.0, y0: 2.0, ry: 6.0, dy: -8.0 };
    for grid in [
        Grid { crs: Some(Crs::Epsg(4326)), transform: Affine::north_up(9.5, 48.25, 0.01, 0.02), ..base.clone() },
        Grid { transform: rotated, ..base.clone() },
        Grid { crs: None, transform: Affine::north_up(3.0, 4.0, 2.0, 2.0), ..base.clone() },
        Grid::unreferenced(5, 4),
        Grid { crs: Some(Crs::Wkt("PROJCS[\"mine\",GEOGCS[\"g\"]]".into())), ..base.clone() },
    ] {
        let spec = RasterSpec { overviews: Overviews::None, ..RasterSpec::scores(["v"]) };
        let mut writer = RasterWriter::create(&path, &grid, spec).unwrap();
        writer.write(grid.window(), Array3::zeros((1, 4, 5)).view(), None).unwrap();
        writer.finish().unwrap();
        assert_eq!(tiff::open(&path).unwrap().grid(), &grid);
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        println!("skipped: this system has no /dev/full");
        return;
    }
    // A temporary name that leads to a device without room.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(full, geoglot_core::atomic::temporary_name(&path)).unwrap();
        let grid = grid(64, 64);
        let outcome = RasterWriter::create(&path, &grid, RasterSpec::scores(["a"]))
            .and_then(|mut w| w.write(grid.window(), Array3::zeros((1, 64, 64)).view(), None).map(|()| w))
            .and_then(RasterWriter::finish);
        assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
        assert_eq!(files(dir.path()), Vec::<String>::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn windows_in_any_order_give_the_same_raster(
        width in 1usize..90, height in 1usize..90, edge_w in 5usize..60, edge_h in 5usize..60, seed in 0usize..1000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        let grid = grid(width, height);
        let value = |b: usize, r: usize, c: usize| (b * 10_000 + r * 100 + c) as f32;
        let mut windows = Vec::new();
        for row in (0..height).step_by(edge_h) {
            for col in (0..width).step_by(edge_w) {
                windows.push(Window::new(col, row, edge_w.min(width - col), edge_h.min(height - row)));
            }
        }
        let turn = seed % windows.len();
        windows.rotate_left(turn);
        let spec = RasterSpec { tile: 16, ..RasterSpec::scores(["a", "b"]) };
        let mut writer = RasterWriter::create(&path, &grid, spec).unwrap();
        for w in windows {
            let data = Array3::from_shape_fn((2, w.height, w.width), |(b, r, c)| value(b, w.row + r, w.col + c));
            writer.write(w, data.view(), None).unwrap();
        }
        writer.finish().unwrap();
        let back = tiff::open(&path).unwrap().read(&[0, 1], grid.window()).unwrap();
        prop_assert_eq!(back.data, Array3::from_shape_fn((2, height, width), |(b, r, c)| value(b, r, c)));
    }
}
