//! Array formats, written by other libraries (tests/fixtures/make_formats.py): v(band, row, col) = 100 band + 10 row + col.

use std::path::{Path, PathBuf};

use geoglot_core::{Affine, Crs, Window};
use geoglot_raster::formats::{EnviSource, FolderSource, array::ArraySource, hdf5, mat, netcdf, npy};
use geoglot_raster::{Axes, BandSource, Error, Resampling, SampleType, SourceOptions};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn variable(name: &str) -> SourceOptions {
    SourceOptions { variable: Some(name.into()), ..Default::default() }
}

/// Checks the whole cube and windows of it, bands in any order, against the formula divided by `by`.
fn check_cube(source: &dyn BandSource, by: f32) {
    let grid = source.grid();
    assert_eq!((source.bands().len(), grid.height, grid.width), (4, 6, 7), "{}", source.path().display());
    let windows = [grid.window(), Window::new(0, 0, 1, 1), Window::new(2, 1, 4, 5), Window::new(6, 5, 1, 1)];
    for bands in [vec![0, 1, 2, 3], vec![3, 0], vec![2], vec![1, 1]] {
        for window in windows {
            let tile = source.read_stored(&bands, window).unwrap();
            assert_eq!(tile.data.dim(), (bands.len(), window.height, window.width));
            for ((k, r, c), v) in tile.data.indexed_iter() {
                let expected = (100 * bands[k] + 10 * (r + window.row) + c + window.col) as f32 / by;
                assert_eq!(*v, expected, "{} band {} row {r} col {c}", source.path().display(), bands[k]);
            }
        }
    }
    assert!(source.read_stored(&[4], grid.window()).is_err());
    assert!(source.read_stored(&[0], Window::new(0, 0, 8, 1)).is_err());
}

fn problem<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn matlab_level_5() {
    let none = SourceOptions::default();
    let source = mat::open(&fixture("compressed.mat"), &none).unwrap();
    check_cube(&source, 1.0);
    assert_eq!(source.sample_type(), SampleType::I16);
    assert!(source.notes().iter().any(|n| n.contains("gt")), "{:?}", source.notes());
    let plain = mat::open(&fixture("plain.mat"), &none).unwrap();
    check_cube(&plain, 8.0);
    let um: Vec<f32> = plain.bands().iter().map(|b| b.wavelength_um.unwrap()).collect();
    assert_eq!(um, [0.45, 0.55, 0.65, 0.85]);
    let labels = mat::open(&fixture("compressed.mat"), &variable("gt")).unwrap();
    let tile = labels.read_stored(&[0], labels.grid().window()).unwrap();
    assert!(tile.data.indexed_iter().all(|((_, r, c), v)| *v == ((r + c) % 3) as f32));
}

#[test]
fn matlab_choices_are_explained() {
    let none = SourceOptions::default();
    let error = problem(mat::open(&fixture("two.mat"), &none));
    assert!(error.contains("dsm (6×7, uint8)") && error.contains("variable="), "{error}");
    let stacked = mat::open(&fixture("two.mat"), &variable("gt,dsm")).unwrap();
    assert_eq!(stacked.bands().iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["gt", "dsm"]);
    let tile = stacked.read_stored(&[1, 0], Window::new(0, 0, 2, 1)).unwrap();
    assert_eq!(tile.data.into_raw_vec_and_offset().0, [0.0, 1.0, 1.0, 2.0]);
    let error = problem(mat::open(&fixture("matrix.mat"), &none));
    assert!(error.contains("5 bands of 100 pixels (10×10") && error.contains("axes=hw"), "{error}");
    let forced = SourceOptions { axes: Some(Axes::Hw), ..none };
    assert_eq!(mat::open(&fixture("matrix.mat"), &forced).unwrap().grid().width, 100);
    let error = problem(mat::open(&fixture("compressed.mat"), &variable("nothing")));
    assert!(error.contains("no array `nothing`") && error.contains("cube (6×7×4, int16)"), "{error}");
    let error = problem(mat::open(&fixture("compressed.mat"), &variable("note")));
    assert!(error.contains("text"), "{error}");
    let error = problem(mat::open(&fixture("compressed.mat"), &variable("cube,two")));
    assert!(error.contains("no array `two`"), "{error}");
}

#[test]
fn matlab_7_3() {
    for open in [mat::open, hdf5::open] {
        let source = open(&fixture("v73.mat"), &SourceOptions::default()).unwrap();
        check_cube(&source, 1.0);
        assert!(!source.variables().iter().any(|v| v.name.contains("refs")));
        assert!(problem(open(&fixture("v73.mat"), &variable("note"))).contains("char"));
    }
}

#[test]
fn matlab_agrees_with_another_reader() {
    let file = std::fs::File::open(fixture("compressed.mat")).unwrap();
    let other = matfile::MatFile::parse(file).unwrap();
    let array = other.find_by_name("cube").unwrap();
    let matfile::NumericData::Int16 { real, .. } = array.data() else { panic!("int16") };
    let ours = mat::open(&fixture("compressed.mat"), &variable("cube")).unwrap();
    let tile = ours.read_stored(&[0, 1, 2, 3], ours.grid().window()).unwrap();
    for ((k, r, c), v) in tile.data.indexed_iter() {
        assert_eq!(*v, f32::from(real[r + 6 * (c + 7 * k)]));
    }
}

#[test]
fn npy_in_both_orders() {
    let none = SourceOptions::default();
    // 4 is less than 6 and 7, but not by far: the shape alone cannot tell.
    let error = problem(npy::open(&fixture("hwc_i16.npy"), &none));
    assert!(error.contains("axes=hwc") && error.contains("axes=chw"), "{error}");
    let axes = |axes| SourceOptions { axes: Some(axes), ..Default::default() };
    check_cube(&npy::open(&fixture("hwc_i16.npy"), &axes(Axes::Hwc)).unwrap(), 1.0);
    let big = npy::open(&fixture("chw_f32_fortran_big.npy"), &axes(Axes::Chw)).unwrap();
    check_cube(&big, 1.0);
    assert_eq!(big.sample_type(), SampleType::F32);
    let half = npy::open(&fixture("hw_f16.npy"), &none).unwrap();
    let tile = half.read_stored(&[0], Window::new(3, 2, 2, 1)).unwrap();
    assert_eq!(tile.data.into_raw_vec_and_offset().0, [123.0, 124.0]);
    let truth = npy::open(&fixture("hw_bool.npy"), &none).unwrap();
    assert_eq!(
        truth.read_stored(&[0], Window::new(0, 0, 3, 1)).unwrap().data.into_raw_vec_and_offset().0,
        [0.0, 1.0, 0.0]
    );
    assert!(problem(npy::open(&fixture("complex.npy"), &none)).contains("real numbers"));
}

#[test]
fn hdf5_cubes_sets_and_series() {
    let none = SourceOptions::default();
    let axes = SourceOptions { axes: Some(Axes::Chw), ..none.clone() };
    let cube = hdf5::open(&fixture("nested.h5"), &axes).unwrap();
    check_cube(&cube, 1.0);
    let band = &cube.bands()[0];
    assert_eq!((band.scale, band.offset, band.nodata), (0.01, -1.0, Some(103.0)));
    let tile = cube.read(&[1], cube.grid().window()).unwrap();
    assert_eq!((tile.mask[[0, 3]], tile.data[[0, 0, 3]]), (false, 0.0));
    assert!((tile.data[[0, 1, 0]] - (110.0 * 0.01 - 1.0)).abs() < 1e-6);
    let bands = hdf5::open(&fixture("one_set_a_band.h5"), &none).unwrap();
    assert_eq!(bands.bands()[2].name, "04 - Red");
    assert_eq!(
        bands.read_stored(&[2, 0], Window::new(1, 1, 1, 1)).unwrap().data.into_raw_vec_and_offset().0,
        [211.0, 11.0]
    );
    let error = problem(hdf5::open(&fixture("series.h5"), &none));
    assert!(error.contains("series (3×4×6×7, float32)") || error.contains("3×4×6×7"), "{error}");
    let second = SourceOptions { variable: Some("series[1]".into()), axes: Some(Axes::Chw) };
    let second = hdf5::open(&fixture("series.h5"), &second).unwrap();
    assert_eq!(second.read_stored(&[3], Window::new(6, 5, 1, 1)).unwrap().data[[0, 0, 0]], 1356.0);
}

#[test]
fn netcdf_says_what_its_axes_are() {
    let none = SourceOptions::default();
    let classic = netcdf::open(&fixture("classic.nc"), &none).unwrap();
    check_cube(&classic, 1.0);
    assert_eq!(classic.bands()[1].wavelength_um, Some(0.55));
    // The attribute is stored as float32.
    assert!((classic.bands()[0].scale - 0.01).abs() < 1e-9);
    assert_eq!(classic.bands()[0].nodata, Some(103.0));
    assert_eq!(classic.grid().crs, Some(Crs::Epsg(32632)));
    assert_eq!(classic.grid().transform, Affine::north_up(500_000.0, 5_000_000.0, 10.0, 10.0));
    let four = netcdf::open(&fixture("netcdf4.nc"), &none).unwrap();
    check_cube(&four, 1.0);
    assert_eq!(four.grid().crs, Some(Crs::Epsg(4326)));
    assert_eq!(four.grid().transform, Affine::north_up(8.75, 48.25, 0.5, 0.5));
}

#[test]
fn envi_in_every_interleave() {
    for name in ["bsq.img", "bil.img", "bip.img", "bip.hdr"] {
        let source = EnviSource::open(&fixture(name)).unwrap();
        check_cube(&source, 1.0);
        assert_eq!(source.grid().crs, Some(Crs::Epsg(32632)));
        assert_eq!(source.grid().transform, Affine::north_up(500_000.0, 5_000_000.0, 10.0, 10.0));
    }
    let bip = EnviSource::open(&fixture("bip.hdr")).unwrap();
    let band = &bip.bands()[3];
    assert_eq!((band.wavelength_um, band.fwhm_um, band.scale), (Some(0.85), Some(0.02), 0.001));
    assert!(!bip.read_stored(&[1], bip.grid().window()).unwrap().mask[[0, 3]]);
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in [("bip.hdr", "a.hdr"), ("bip.img", "a.img")] {
        std::fs::copy(fixture(from), dir.path().join(to)).unwrap();
    }
    let header = dir.path().join("a.hdr");
    let text = std::fs::read_to_string(&header).unwrap();
    for (edit, expected) in [("samples = 1000000", "too short"), ("samples = 18446744073709551615", "")] {
        std::fs::write(&header, text.replace("samples = 7", edit)).unwrap();
        assert!(problem(EnviSource::open(&header)).contains(expected));
    }
    std::fs::remove_file(dir.path().join("a.img")).unwrap();
    assert!(problem(EnviSource::open(&header)).contains("no data file"));
}

#[test]
fn folders_of_three_pixel_sizes() {
    let path = fixture("S2A_MSIL2A_20200101T101031_1_1");
    let source = FolderSource::open(&path, Resampling::Bilinear).unwrap();
    let names: Vec<String> = source.bands().iter().map(|b| b.label()).collect();
    assert_eq!(names, ["sentinel-2-l2a/B01", "sentinel-2-l2a/B02", "sentinel-2-l2a/B05"]);
    assert_eq!((source.grid().width, source.grid().pixel_size().0, source.bands()[1].scale), (12, 10.0, 0.0001));
    let tile = source.read_stored(&[0, 1, 2], source.grid().window()).unwrap();
    assert!(tile.mask.iter().all(|&m| m));
    for ((k, r, c), v) in tile.data.indexed_iter() {
        let plane = 1000.0 + (c as f32 + 0.5) * 10.0 + 2.0 * (r as f32 + 0.5) * 10.0;
        // Beyond the outermost centres of coarse pixels there is nothing to interpolate with.
        let edge = [30, 0, 10][k] as f32;
        let inside = |p: usize| (p as f32 + 0.5) * 10.0 >= edge && (p as f32 + 0.5) * 10.0 <= 120.0 - edge;
        if inside(r) && inside(c) {
            assert!((v - plane).abs() < 1e-2, "band {k} row {r} col {c}: {v}, not {plane}");
        }
    }
    let nearest = FolderSource::open(&path, Resampling::Nearest).unwrap();
    let tile = nearest.read_stored(&[0], Window::new(0, 0, 6, 6)).unwrap();
    assert!(tile.data.iter().all(|&v| v == 1090.0), "one 60 m pixel covers 6×6 pixels of 10 m");
    assert!(nearest.notes().iter().any(|n| n.contains("B01") && n.contains("60")));
}

#[test]
fn folders_without_images_say_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(problem(FolderSource::open(dir.path(), Resampling::Bilinear)).contains("without GeoTIFF"));
    std::fs::write(dir.path().join("a_B02.jp2"), b"").unwrap();
    #[cfg(not(feature = "gdal"))]
    assert!(problem(FolderSource::open(dir.path(), Resampling::Bilinear)).contains("JPEG 2000"));
    std::fs::copy(fixture("named_u16.tif"), dir.path().join("a.tif")).unwrap();
    assert!(problem(FolderSource::open(dir.path(), Resampling::Bilinear)).contains("open this file alone"));
}

/// Opens and reads whatever opens; neither may panic.
fn try_all(path: &Path) {
    for axes in [None, Some(Axes::Hwc)] {
        let options = SourceOptions { axes, ..Default::default() };
        let openers: [fn(&Path, &SourceOptions) -> geoglot_raster::Result<ArraySource>; 4] =
            [mat::open, npy::open, hdf5::open, netcdf::open];
        for open in openers {
            if let Ok(source) = open(path, &options) {
                let grid = source.grid();
                let window = Window::new(0, 0, grid.width.min(50), grid.height.min(50));
                let bands: Vec<usize> = source.all_bands().into_iter().take(8).collect();
                let _ = source.read(&bands, window);
            }
        }
    }
}

#[test]
fn truncated_and_flipped_files_are_errors_not_panics() {
    let dir = tempfile::tempdir().unwrap();
    let names =
        ["compressed.mat", "plain.mat", "v73.mat", "hwc_i16.npy", "nested.h5", "series.h5", "classic.nc", "netcdf4.nc"];
    for name in names {
        let whole = std::fs::read(fixture(name)).unwrap();
        let path = dir.path().join(name);
        let step = (whole.len() / 40).max(1);
        for cut in (0..whole.len()).step_by(step) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            try_all(&path);
        }
        // A fixed pseudo-random walk over the file, two bits at a time.
        let mut at = 12345usize;
        for _ in 0..60 {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut damaged = whole.clone();
            let place = (at >> 20) % damaged.len();
            damaged[place] ^= 1 << (at & 7);
            let n = damaged.len();
            damaged[(place * 7 + 3) % n] ^= 0x80;
            std::fs::write(&path, &damaged).unwrap();
            try_all(&path);
        }
    }
    for cut in [0, 100, 150, 400] {
        let whole = std::fs::read(fixture("compressed.mat")).unwrap();
        let path = dir.path().join("cut.mat");
        std::fs::write(&path, &whole[..cut]).unwrap();
        let error = problem(mat::open(&path, &SourceOptions::default()));
        assert!(error.contains("cut.mat"), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let path = Path::new("/nowhere/at/all.mat");
    for error in [
        problem(mat::open(path, &SourceOptions::default())),
        problem(npy::open(path, &SourceOptions::default())),
        problem(hdf5::open(path, &SourceOptions::default())),
        problem(netcdf::open(path, &SourceOptions::default())),
        problem(FolderSource::open(path, Resampling::Nearest)),
        problem(EnviSource::open(path)),
    ] {
        assert!(error.contains("/nowhere/at/all.mat"), "{error}");
    }
}
