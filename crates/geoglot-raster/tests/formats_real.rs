//! Array formats on real scenes, against sums that scipy, h5py, numpy and rasterio gave for the same arrays.
//! The scenes are not in the repository: the tests skip where they are missing.

use std::path::{Path, PathBuf};

use geoglot_core::Window;
use geoglot_raster::formats::{FolderSource, mat};
use geoglot_raster::stats::{Suspicion, scene_stats, warnings};
use geoglot_raster::{BandSource, Resampling, SourceOptions, open};

/// The folder of real data, or `None` with a line that says so.
fn data(inside: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GEOGLOT_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    let path = root.join(inside);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is missing (set GEOGLOT_DATA to the folder of real scenes)", path.display());
    None
}

/// Plain sum and position-weighted sum of a [C, H, W] array.
fn sums<'a>(values: impl IntoIterator<Item = &'a f32>) -> (f64, f64) {
    values
        .into_iter()
        .enumerate()
        .fold((0.0, 0.0), |(a, b), (k, &v)| (a + f64::from(v), b + f64::from(v) * ((k % 8191) + 1) as f64))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

/// File, variable, [C, H, W], plain and weighted sum (by scipy.io, h5py, numpy).
type Case = (&'static str, &'static str, [usize; 3], f64, f64);

const CASES: &[Case] = &[
    ("abu/abu-beach-2.mat", "", [193, 100, 100], 336784784.0, 1375005976017.0),
    ("abu/abu-urban-3.mat", "", [191, 100, 100], 1404869422.0, 5736619952767.0),
    ("abu/hydice.mat", "", [162, 80, 100], 196164689.0, 806430190774.0),
    ("abu/hydice.mat", "map", [1, 80, 100], 17.0, 91137.0),
    ("hsi-lidar-dfc2018-300/DATA_pca_5.mat", "", [5, 300, 300], 3518094335.333124, 14246935906977.828),
    ("hsi-lidar-dfc2018-300/DATA_DSM.mat", "DSM_300", [1, 300, 300], 1766479.0, 7141032231.0),
    ("hsi-lidar-dfc2018-300/DATA_DSM.mat", "GT_300", [1, 300, 300], 410068.0, 1678130820.0),
    ("trento-lidar/Italy_lidar.mat", "", [2, 166, 600], 7604514.284667969, 31030475470.91832),
    ("trento-lidar/allgrd.mat", "", [1, 166, 600], 119318.0, 491912363.0),
    ("houston2013-pixels/hyftech_TRLabel.mat", "", [1, 349, 1905], 22501.0, 93030339.0),
    ("eurosat-one/id_1905.hdf5", "", [13, 64, 64], 56063761.0, 200594045938.0),
    ("treesat-anysat/a.h5", "sen-2-data[3]", [10, 6, 6], 1443854.0, 221155341.0),
    ("treesat-anysat/a.h5", "sen-1-asc-data[59]", [2, 6, 6], 4.933775105513632, 131.23433367535472),
    ("trento-lidar/lidar_f32_hwc.npy", "", [2, 166, 600], 7604514.284667969, 31030475470.91832),
    ("hsi-lidar-dfc2018-300/hsi_pca5_f32_hwc.npy", "", [5, 300, 300], 3518094335.333124, 14246935906977.828),
    ("hsi-lidar-dfc2018-300/gt_u8.npy", "", [1, 300, 300], 410068.0, 1678130820.0),
];

#[test]
fn arrays_equal_those_of_other_readers() {
    for &(file, variable, shape, plain, weighted) in CASES {
        let Some(path) = data(file) else { continue };
        let options =
            SourceOptions { variable: (!variable.is_empty()).then(|| variable.to_owned()), ..Default::default() };
        let source = open(&path, &options).unwrap_or_else(|e| panic!("{e}"));
        let grid = source.grid();
        assert_eq!([source.bands().len(), grid.height, grid.width], shape, "{file}");
        let tile = source.read_stored(&source.all_bands(), grid.window()).unwrap();
        let (a, b) = sums(&tile.data);
        assert!(close(a, plain) && close(b, weighted), "{file} {variable}: {a} {b}, not {plain} {weighted}");
        // Windows are cut from the same numbers.
        let window = Window::new(shape[2] / 3, shape[1] / 2, shape[2] / 4 + 1, shape[1] / 3 + 1);
        let bands = [shape[0] - 1, shape[0] / 2];
        let part = source.read_stored(&bands, window).unwrap();
        for ((k, r, c), v) in part.data.indexed_iter() {
            assert_eq!(*v, tile.data[[bands[k], window.row + r, window.col + c]], "{file}");
        }
    }
}

#[test]
fn a_matrix_of_pixels_is_not_an_image() {
    let Some(path) = data("samson/samson_dataset.mat") else { return };
    let error = mat::open(&path, &SourceOptions::default()).unwrap_err().to_string();
    assert!(error.contains("Y (156×9025, double)"), "{error}");
    let chosen = SourceOptions { variable: Some("Y".into()), ..Default::default() };
    let error = mat::open(&path, &chosen).unwrap_err().to_string();
    assert!(error.contains("156 bands of 9025 pixels (95×95 pixels?)"), "{error}");
    let Some(path) = data("houston2013-pixels/HSI_TrSet.mat") else { return };
    let error = mat::open(&path, &SourceOptions::default()).unwrap_err().to_string();
    assert!(error.contains("2832×144 matrix"), "{error}");
}

#[test]
fn a_bigearthnet_patch_is_stacked_as_gdal_does() {
    let base = "bigearthnet/paired-s1-s2";
    let Some(path) = data(&format!("{base}/BigEarthNet-S2-Example/S2A_MSIL2A_20170613T101031_87_48")) else { return };
    let s2 = FolderSource::open(&path, Resampling::Bilinear).unwrap();
    let names: Vec<&str> = s2.bands().iter().map(|b| b.name.as_str()).collect();
    assert_eq!(names, ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]);
    assert!(s2.bands().iter().all(|b| b.sensor.as_deref() == Some("sentinel-2-l2a") && b.scale == 0.0001));
    let grid = s2.grid().clone();
    assert_eq!((grid.width, grid.height, grid.crs_name().as_str()), (120, 120, "EPSG:32633"));
    let (a, b) = sums(&s2.read_stored(&[1, 2, 3, 7], grid.window()).unwrap().data);
    assert!(close(a, 90004646.0) && close(b, 384645664120.0), "{a} {b}");
    // Bilinear sums over rows and columns 6–113 by GDAL: B01 (60 m), B05 and B8A (20 m), B09 (60 m).
    let inner = Window::new(6, 6, 108, 108);
    for (band, expected) in [(0, 6276063.372), (4, 18164991.9375), (8, 43756157.125), (9, 43760341.118)] {
        let (a, _) = sums(&s2.read_stored(&[band], inner).unwrap().data);
        assert!((a - expected).abs() < 1e-4 * expected, "{}: {a}, GDAL {expected}", names[band]);
    }
    let path = data(&format!("{base}/BigEarthNet-S1-Example/S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48")).unwrap();
    let s1 = FolderSource::open(&path, Resampling::Bilinear).unwrap();
    assert_eq!(s1.bands().iter().map(|b| b.label()).collect::<Vec<_>>(), ["sentinel-1-grd/VV", "sentinel-1-grd/VH"]);
    let (a, b) = sums(&s1.read_stored(&[0, 1], s1.grid().window()).unwrap().data);
    assert!(close(a, -435071.3131289184) && close(b, -1658281654.7057068), "{a} {b}");
    for source in [&s2, &s1] {
        let stats = scene_stats(source).unwrap();
        assert_eq!(warnings(&stats, source.bands()), [], "{}", source.path().display());
    }
}

#[test]
fn statistics_of_real_scenes() {
    let Some(path) = data("terramind/examples/S2L2A") else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "tif"));
    files.sort();
    let source = open(&files[0], &SourceOptions::default()).unwrap();
    let stats = scene_stats(source.as_ref()).unwrap();
    assert_eq!(stats.bands.len(), 12);
    // The file states neither sensor nor scale, so nothing can contradict it.
    assert!(!warnings(&stats, source.bands()).iter().any(|w| w.suspicion == Suspicion::Duplicate));
    for s in &stats.bands {
        assert!(s.min <= s.percentile(1.0) && s.percentile(50.0) <= s.percentile(99.0) && s.percentile(99.0) <= s.max);
    }
}
