//! Files that only GDAL reads (feature `gdal`).
#![cfg(feature = "gdal")]

use std::path::{Path, PathBuf};

use geoglot_core::{Affine, Crs, Window};
use geoglot_raster::{SampleType, SourceOptions, open};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn jpeg_2000_is_read() {
    let source = open(&fixture("tiny.jp2"), &SourceOptions::default()).unwrap();
    assert_eq!((source.sample_type(), source.bands().len()), (SampleType::U8, 1));
    assert_eq!(source.grid().crs, Some(Crs::Epsg(32632)));
    assert_eq!(source.grid().transform, Affine::north_up(500_000.0, 5_000_000.0, 10.0, 10.0));
    let tile = source.read_stored(&[0], Window::new(10, 5, 20, 30)).unwrap();
    assert!(tile.data.indexed_iter().all(|((_, r, c), v)| *v == (((r + 5) * 13 + (c + 10) / 3 * 5) % 120) as f32));
}

#[test]
fn a_virtual_raster_is_read_with_its_nodata() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.vrt");
    let source = fixture("strip_i16_nodata.tif");
    let xml = format!(
        "<VRTDataset rasterXSize=\"53\" rasterYSize=\"41\"><VRTRasterBand dataType=\"Int16\" band=\"1\"><NoDataValue>-20</NoDataValue>\
         <SimpleSource><SourceFilename>{}</SourceFilename><SourceBand>2</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>",
        source.display()
    );
    std::fs::write(&path, xml).unwrap();
    let vrt = open(&path, &SourceOptions::default()).unwrap();
    let direct = open(&source, &SourceOptions::default()).unwrap();
    let (a, b) = (vrt.read(&[0], vrt.grid().window()).unwrap(), direct.read(&[1], direct.grid().window()).unwrap());
    assert_eq!((a.data, a.mask), (b.data, b.mask));
    assert!(vrt.read_stored(&[1], vrt.grid().window()).is_err());
}

#[test]
fn other_files_are_errors_that_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "not a raster").unwrap();
    let error = open(&path, &SourceOptions::default()).unwrap_err().to_string();
    assert!(error.contains("notes.txt"), "{error}");
}
