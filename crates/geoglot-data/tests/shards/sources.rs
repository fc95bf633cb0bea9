//! Shards of data sets and of lists of captions hold what the data sets hold.

use std::path::Path;
use std::sync::Arc;

use geoglot_core::{Crs, Grid, Registry};
use geoglot_data::datasets::{Dataset, DatasetOptions, Format};
use geoglot_data::shards::{
    DatasetSource, Error, ManifestSource, OnFault, ReadOptions, SampleSource, ShardFolder, ShardIndex, WriteOptions,
    write_shards,
};
use geoglot_raster::{RasterSpec, RasterWriter, SampleType};
use ndarray::Array3;

fn run(source: &dyn SampleSource, out: &Path, on_fault: OnFault) -> Result<ShardIndex, Error> {
    let options = WriteOptions { samples: 3, resume: true, ..WriteOptions::default() };
    Ok(write_shards(source, out, options, on_fault, &mut |_, _| true)?.expect("not stopped"))
}

/// A Sentinel-2 chip of counts with some pixels without data.
fn chip(path: &Path, seed: usize) {
    let names = ["B02", "B03", "B04", "B08"];
    let mut grid = Grid::unreferenced(6, 5);
    grid.crs = Some(Crs::Epsg(32632));
    grid.transform = geoglot_core::Affine::north_up(600_000.0, 5_300_000.0, 10.0, 10.0);
    let data = Array3::from_shape_fn((4, 5, 6), |(b, r, c)| {
        if (r + c + seed).is_multiple_of(7) { 0.0 } else { (1000 * b + 31 * r + 7 * c + seed) as f32 }
    });
    let spec = RasterSpec::values(SampleType::U16, names.map(str::to_owned), Some(0.0));
    let mut writer = RasterWriter::create(path, &grid, spec).unwrap();
    writer.write(grid.window(), data.view(), None).unwrap();
    writer.finish().unwrap();
}

/// That shards and data set give the same pixels (to so many counts), bands, captions and classes.
fn compare(set: &Dataset, items: &[usize], out: &Path, counts: f64) {
    let folder = ShardFolder::open(out).unwrap();
    let catalogue = folder.catalogue(&ReadOptions::default(), OnFault::Fail).unwrap();
    assert_eq!(catalogue.entries().len(), items.len());
    for (k, &i) in items.iter().enumerate() {
        let (pixels, found) = (set.read(i).unwrap(), catalogue.read(k).unwrap());
        let bands = folder.bands(&found.modality(), Registry::builtin(), None, None).unwrap();
        assert_eq!(bands, pixels.bands);
        let values = found.image.physical(&bands);
        for ((b, r, c), &v) in values.indexed_iter() {
            match pixels.mask[(r, c)] {
                true => assert!(f64::from((v - pixels.data[(b, r, c)]).abs()) <= counts * bands[b].scale, "item {i}"),
                false => assert!(v.is_nan(), "item {i}"),
            }
        }
        let item = &set.items()[i];
        assert_eq!(found.texts, item.captions);
        assert_eq!(found.classes, item.labels.iter().map(|&l| set.classes()[l].clone()).collect::<Vec<_>>());
    }
}

#[test]
fn a_data_set_becomes_shards_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    for (class, count) in [("river", 4), ("AnnualCrop", 3)] {
        std::fs::create_dir_all(dir.path().join("set").join(class)).unwrap();
        (0..count).for_each(|i| chip(&dir.path().join(format!("set/{class}/{class}_{i}.v1.tif")), i));
    }
    let options = DatasetOptions { sensor: Some("sentinel-2-l2a".into()), ..DatasetOptions::default() };
    let set = Dataset::open(&dir.path().join("set"), &options).unwrap();
    let items: Vec<usize> = (0..set.len()).collect();
    let source = DatasetSource::new(set.clone(), items.clone());
    let out = dir.path().join("out");
    // Stopped after the first few, then resumed.
    let options = WriteOptions { samples: 3, resume: true, ..WriteOptions::default() };
    assert!(write_shards(&source, &out, options, OnFault::Fail, &mut |done, _| done == 0).unwrap().is_none());
    let index = run(&source, &out, OnFault::Fail).unwrap();
    assert_eq!((index.samples(), index.modalities[0].sample), (7, SampleType::U16));
    assert_eq!(run(&source, &out, OnFault::Fail).unwrap(), index, "a finished job is left as it is");
    compare(&set, &items, &out, 0.0);
    let catalogue = ShardFolder::open(&out).unwrap().catalogue(&ReadOptions::default(), OnFault::Fail).unwrap();
    let place: Vec<f64> = serde_json::from_str(&catalogue.read(0).unwrap().geoloc.unwrap()).unwrap();
    assert!((place[0] - 10.34).abs() < 0.05 && (place[1] - 47.85).abs() < 0.05, "{place:?}");
    assert!(catalogue.entries()[0].key.ends_with("_0_v1"), "{}", catalogue.entries()[0].key);
    assert_eq!(catalogue.legend().unwrap().words(0), ["annual crop"]);

    // A damaged image stops the job, or is counted.
    std::fs::write(dir.path().join("set/river/river_1.v1.tif"), b"II*\0").unwrap();
    let source = DatasetSource::new(set, items);
    let error = run(&source, &dir.path().join("strict"), OnFault::Fail).unwrap_err().to_string();
    assert!(error.contains("river_1"), "{error}");
    let index = run(&source, &dir.path().join("skip"), OnFault::Skip).unwrap();
    assert_eq!((index.samples(), index.skipped), (6, 1));
}

#[test]
fn a_list_of_captions_becomes_shards() {
    let dir = tempfile::tempdir().unwrap();
    (0..3).for_each(|i| chip(&dir.path().join(format!("chip{i}.tif")), i));
    let list = dir.path().join("captions.jsonl");
    let lines = [
        r#"{"key": "a/0", "image": "chip0.tif", "bands": ["B04", "B03", "B02"], "wavelengths": [0.665, 0.56, 0.49], "short": "короткая", "long": "A longer caption.", "facts": {"x": 1}}"#,
        "",
        r#"{"key": "a/1", "image": "chip1.tif", "sensor": "sentinel-2-l2a", "bands": ["sentinel-2-l2a/B04"], "short": ["only short", "or this"], "long": [], "geoloc": [1.5, 2.25], "options": "scale=none"}"#,
        r#"{"key": "a/2", "image": "missing.tif", "long": "only long"}"#,
    ];
    std::fs::write(&list, lines.join("\n")).unwrap();
    let open =
        || ManifestSource::open(&list, Some("sentinel-2-l2a".into()), None, Arc::new(Registry::builtin().clone()));
    let error = run(&open().unwrap(), &dir.path().join("strict"), OnFault::Fail).unwrap_err().to_string();
    assert!(error.contains("missing.tif") && error.contains("a/2"), "{error}");
    let out = dir.path().join("out");
    let index = run(&open().unwrap(), &out, OnFault::Skip).unwrap();
    assert_eq!((index.samples(), index.skipped, index.modalities.len()), (2, 1, 2));
    let folder = ShardFolder::open(&out).unwrap();
    let catalogue = folder.catalogue(&ReadOptions::default(), OnFault::Fail).unwrap();
    assert_eq!(catalogue.entries()[0].texts, ["короткая", "A longer caption."]);
    assert_eq!(catalogue.entries()[1].texts, ["only short", "or this"]);
    let told = catalogue.read(1).unwrap();
    assert_eq!(
        (told.geoloc.as_deref(), folder.index().unwrap().modalities[1].bands[0].scale),
        (Some("[1.5, 2.25]"), 1.0)
    );
    let sample = catalogue.read(0).unwrap();
    assert_eq!((sample.key.as_str(), sample.image.dim()), ("a/0", (5, 6, 3)));
    assert_eq!(sample.wavelengths, [Some(0.665), Some(0.56), Some(0.49)]);
    let values = sample.image.physical(&folder.bands(&sample.modality(), Registry::builtin(), None, None).unwrap());
    assert!((values[(0, 0, 1)] - (2000.0 + 7.0) * 1e-4).abs() < 1e-6 && values[(0, 0, 0)].is_nan());

    for (line, word) in [
        ("{", "line 1"),
        (r#"{"key": "a"}"#, "image"),
        (r#"{"key":"a","image":"x","bands":["a"],"wavelengths":[1,2]}"#, "2 wavelengths"),
    ] {
        std::fs::write(&list, line).unwrap();
        let error = open().err().unwrap().to_string();
        assert!(error.contains(word) && error.contains("captions.jsonl"), "{error}");
    }
}

#[test]
fn real_sets_become_shards() {
    let Some(data) = std::env::var_os("GEOGLOT_DATA") else {
        println!("skipped: GEOGLOT_DATA is not set");
        return;
    };
    for (path, sensor1) in [("rsicd-aid", false), ("bigearthnet", false), ("bigearthnet", true)] {
        let path = Path::new(&data).join(path);
        let options = DatasetOptions { sentinel1: sensor1, skip_faulty: true, ..DatasetOptions::default() };
        let set = match Dataset::open(&path, &options) {
            Ok(set) => set,
            Err(e) => {
                println!("skipped: {e}");
                continue;
            }
        };
        let items: Vec<usize> = (0..set.len().min(12)).collect();
        let out = tempfile::tempdir().unwrap();
        run(&DatasetSource::new(set.clone(), items.clone()), out.path(), OnFault::Fail).unwrap();
        // Bands of 20 and 60 m on the grid of 10 m are rounded to whole counts.
        compare(&set, &items, out.path(), if set.format() == Format::CaptionJson { 0.0 } else { 0.501 });
    }
}
