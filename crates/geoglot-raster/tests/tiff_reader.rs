//! The GeoTIFF reader against files written by GDAL (`fixtures/make_tiffs.py`): values, georeference, masks, damage.

use std::path::{Path, PathBuf};

use geoglot_core::{Affine, Crs, Window};
use geoglot_raster::{BandSource, Error, SampleType, tiff};
use ndarray::{Array3, s};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn expected(sample: SampleType, bands: usize) -> Array3<f32> {
    Array3::from_shape_fn((bands, 41, 53), |(b, r, c)| {
        let v = ((b * 71 + r * 13 + (c / 3) * 5) % 120) as f32;
        match sample {
            SampleType::F32 | SampleType::F64 => v * 0.25 - 7.0,
            SampleType::I8 | SampleType::I16 | SampleType::I32 => v - 60.0,
            _ => v,
        }
    })
}

#[test]
fn every_codec_type_and_layout_is_exact() {
    use SampleType::*;
    let cases = [
        ("strip_u8", U8, 2),
        ("strip_i8_packbits", I8, 2),
        ("tiled_u16_deflate_p2", U16, 2),
        ("tiled_u16_lzw_band", U16, 3),
        ("strip_i16_nodata", I16, 2),
        ("tiled_i32_zstd", I32, 2),
        ("strip_u32_deflate", U32, 2),
        ("tiled_f32_deflate_p3", F32, 2),
        ("strip_f32_zstd_p3", F32, 3),
        ("strip_f64_lzw", F64, 2),
        ("bigtiff_u16", U16, 2),
        ("big_endian_u16", U16, 2),
        ("lerc_f32", F32, 2),
        ("lerc_deflate_i16", I16, 2),
        ("lerc_zstd_u16_band", U16, 2),
    ];
    for (name, sample, bands) in cases {
        let source = tiff::open(&fixture(&format!("{name}.tif"))).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((source.sample_type(), source.bands().len()), (sample, bands), "{name}");
        assert_eq!(source.grid().crs, Some(Crs::Epsg(32632)), "{name}");
        assert_eq!(source.grid().transform, Affine::north_up(500_000.0, 5_000_000.0, 10.0, 10.0), "{name}");
        let all = source.read_stored(&source.all_bands(), source.grid().window()).unwrap_or_else(|e| panic!("{e}"));
        let want = expected(sample, bands);
        assert_eq!(all.data, want, "{name}");
        let nodata = if name == "strip_i16_nodata" { -20.0 } else { f32::NAN };
        for ((row, col), &valid) in all.mask.indexed_iter() {
            assert_eq!(valid, (0..bands).all(|b| want[[b, row, col]] != nodata), "{name} row {row} col {col}");
        }
        // One window that cuts tiles, bands in another order.
        let window = Window::new(14, 30, 20, 9);
        let part = source.read_stored(&[1, 0, 1], window).unwrap();
        for (k, b) in [1, 0, 1].into_iter().enumerate() {
            assert_eq!(part.data.slice(s![k, .., ..]), want.slice(s![b, 30..39, 14..34]), "{name}");
        }
    }
}

#[test]
fn names_scales_and_offsets_are_read_and_applied_once() {
    let source = tiff::open(&fixture("named_u16.tif")).unwrap();
    let bands = source.bands();
    assert_eq!((bands[0].name.as_str(), bands[0].scale, bands[0].offset), ("B04", 0.0001, 0.0));
    assert_eq!((bands[1].name.as_str(), bands[1].scale, bands[1].offset), ("B8A & nir", 0.0002, -0.1));
    let stored = source.read_stored(&[1], Window::new(7, 9, 1, 1)).unwrap().data[[0, 0, 0]];
    let value = source.read(&[1], Window::new(7, 9, 1, 1)).unwrap().data[[0, 0, 0]];
    assert!((value - (stored * 0.0002 - 0.1)).abs() < 1e-7);
    assert_eq!(tiff::open(&fixture("strip_u8.tif")).unwrap().bands()[1].name, "band 2");
}

#[test]
fn georeference_of_every_kind() {
    let grid = |name: &str| tiff::open(&fixture(name)).unwrap().grid().clone();
    let rotated = grid("rotated.tif");
    assert_eq!(rotated.transform, Affine { x0: 500_000.0, dx: 8.0, rx: 6.0, y0: 5_000_000.0, ry: 6.0, dy: -8.0 });
    let degrees = grid("degrees.tif");
    assert_eq!(degrees.crs, Some(Crs::Epsg(4326)));
    assert_eq!(degrees.transform, Affine::north_up(9.5, 48.25, 0.01, 0.02));
    assert_eq!(grid("point.tif").transform, Affine::north_up(500_000.0, 5_000_000.0, 10.0, 10.0));
    let plain = grid("plain.tif");
    assert_eq!((plain.crs, plain.transform), (None, Affine::identity()));
    assert!(matches!(grid("custom_crs.tif").crs, Some(Crs::Wkt(text)) if text.contains("6371007.181")));
}

#[test]
fn nodata_infinity_and_left_out_tiles_are_masked() {
    let source = tiff::open(&fixture("nan_f32.tif")).unwrap();
    let tile = source.read(&[0, 1], source.grid().window()).unwrap();
    let holes: Vec<_> = tile.mask.indexed_iter().filter(|(_, valid)| !**valid).map(|(at, _)| at).collect();
    assert_eq!(holes, [(3, 4), (5, 6), (7, 8)]);
    assert!(holes.iter().all(|&(r, c)| tile.data[[0, r, c]] == 0.0 && tile.data[[1, r, c]] == 0.0));
    // The hole of one band does not mask another read alone.
    assert!(source.read(&[0], source.grid().window()).unwrap().mask[[5, 6]]);

    let source = tiff::open(&fixture("sparse.tif")).unwrap();
    let tile = source.read_stored(&[0], Window::new(20, 10, 30, 30)).unwrap();
    for ((row, col), &valid) in tile.mask.indexed_iter() {
        let stored = row + 10 < 32 && col + 20 >= 32;
        assert_eq!((valid, tile.data[[0, row, col]]), (stored, if stored { 7.0 } else { -5.0 }), "{row} {col}");
    }
}

#[test]
fn overviews_and_one_bit_samples() {
    let cog = tiff::open(&fixture("cog_u8.tif")).unwrap();
    assert_eq!((cog.grid().width, cog.grid().height), (212, 164));
    assert!(cog.overview_count() >= 1);
    let tile = cog.read_stored(&[0], cog.grid().window()).unwrap();
    let want = expected(SampleType::U8, 1);
    assert!(tile.data.indexed_iter().all(|((b, r, c), v)| *v == want[[b, r % 41, c % 53]]));
    assert!(tile.data.indexed_iter().all(|((_, r, c), v)| tile.mask[[r, c]] == (*v != 0.0)));
    let bits = tiff::open(&fixture("bits1.tif")).unwrap();
    assert_eq!(bits.read_stored(&[0], bits.grid().window()).unwrap().data, want.mapv(|v| v % 2.0));
}

#[test]
fn wrong_requests_name_the_file() {
    let source = tiff::open(&fixture("strip_u8.tif")).unwrap();
    for (bands, window) in [(vec![2], Window::new(0, 0, 1, 1)), (vec![0], Window::new(50, 0, 10, 1))] {
        assert!(source.read_stored(&bands, window).is_err());
    }
    let empty = source.read_stored(&[], Window::new(0, 0, 2, 2)).unwrap();
    assert!(empty.data.is_empty() && empty.mask.iter().all(|&valid| valid));
    let missing = tiff::open(Path::new("no/such.tif")).unwrap_err();
    assert!(matches!(&missing, Error::Io { .. }) && missing.to_string().contains("no/such.tif"), "{missing}");
    let text = tiff::open_bytes(Path::new("text.tif"), b"hello".to_vec()).unwrap_err().to_string();
    assert!(text.contains("text.tif"), "{text}");
}

/// Opens and reads everything; panics inside fail the test, errors must name the file.
fn survive(name: &str, bytes: Vec<u8>) -> bool {
    let outcome = tiff::open_bytes(Path::new(name), bytes).and_then(|source| {
        // A damaged header may claim any size: only a corner is read then.
        let grid = source.grid();
        let window = Window::new(0, 0, grid.width.min(64), grid.height.min(64));
        source.read(&[0], window).map(drop)
    });
    if let Err(error) = &outcome {
        assert!(error.to_string().contains(name), "{error}");
    }
    outcome.is_ok()
}

const DAMAGED: [&str; 6] = [
    "tiled_u16_deflate_p2.tif",
    "strip_f32_zstd_p3.tif",
    "lerc_deflate_i16.tif",
    "strip_i16_nodata.tif",
    "named_u16.tif",
    "cog_u8.tif",
];

#[test]
fn truncated_files_are_errors() {
    for name in DAMAGED {
        let bytes = std::fs::read(fixture(name)).unwrap();
        assert!(survive(name, bytes.clone()));
        let read = (0..40).filter(|k| survive(name, bytes[..bytes.len() * k / 40].to_vec())).count();
        assert!(read < 40, "{name}: every truncated copy was accepted");
        assert!(!survive(name, bytes[..bytes.len() / 4].to_vec()), "{name}");
    }
}

#[test]
fn flipped_bits_never_panic() {
    for name in DAMAGED {
        let bytes = std::fs::read(fixture(name)).unwrap();
        // Every byte of the header and directories, and a spread of the rest.
        for at in (0..bytes.len()).filter(|at| *at < 1200 || at % 7 == 0) {
            for mask in [0xff, 1 << (at % 8)] {
                let mut damaged = bytes.clone();
                damaged[at] ^= mask;
                survive(name, damaged);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_window_equals_the_crop_of_the_whole(
        name in prop::sample::select(vec!["tiled_u16_lzw_band.tif", "strip_i16_nodata.tif", "tiled_f32_deflate_p3.tif", "lerc_f32.tif"]),
        col in 0usize..53, row in 0usize..41, width in 1usize..53, height in 1usize..41, band in 0usize..2,
    ) {
        let source = tiff::open(&fixture(name)).unwrap();
        let window = Window::new(col, row, width.min(53 - col), height.min(41 - row));
        let whole = source.read(&[band], source.grid().window()).unwrap();
        let part = source.read(&[band], window).unwrap();
        let (rows, cols) = (window.row..window.row_end(), window.col..window.col_end());
        prop_assert_eq!(part.data, whole.data.slice(s![.., rows.clone(), cols.clone()]));
        prop_assert_eq!(part.mask, whole.mask.slice(s![rows, cols]));
    }
}
