//! Both ways with Python's webdataset: its shards in `fixtures/` are read here, ours by it where it is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use geoglot_data::shards::{Image, OnFault, ReadOptions, Sample, ShardFolder, ShardWriter, WriteOptions};
use ndarray::{ArrayD, IxDyn};
use serde_json::Value;

use crate::{bands, sample};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shards/fixtures")
}

fn values(image: &Image) -> Vec<f64> {
    match image {
        Image::U8(a) => a.iter().map(|&v| f64::from(v)).collect(),
        Image::U16(a) => a.iter().map(|&v| f64::from(v)).collect(),
        Image::F32(a) => a.iter().map(|&v| f64::from(v)).collect(),
    }
}

#[test]
fn shards_of_webdataset_are_read() {
    let expected: Value = serde_json::from_slice(&std::fs::read(fixtures().join("expected.json")).unwrap()).unwrap();
    for (name, rows) in expected.as_object().unwrap() {
        let folder = ShardFolder::open(&fixtures().join(format!("{name}.tar"))).unwrap();
        let catalogue = folder.catalogue(&ReadOptions::default(), OnFault::Fail).unwrap();
        let rows = rows.as_array().unwrap();
        assert_eq!(catalogue.entries().len(), rows.len());
        for (i, row) in rows.iter().enumerate() {
            let found = catalogue.read(i).unwrap();
            let (h, w, c) = found.image.dim();
            assert_eq!(
                (found.key.as_str(), serde_json::json!([h, w, c])),
                (row["key"].as_str().unwrap(), row["shape"].clone())
            );
            let text = row["text"].as_str().unwrap();
            assert!(text.is_empty() || found.texts[0] == text);
            let wanted: Vec<f64> = row["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            let off = values(&found.image).iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // Decoders of JPEG round differently.
            let tolerance = if found.key == "s1" { 3.0 } else { 0.0 };
            assert!(wanted.len() == h * w * c && off <= tolerance, "{name} {}: {off}", found.key);
            if let Some(waves) = row["wavelength"].as_array() {
                let waves: Vec<Option<f32>> = waves.iter().map(|v| v.as_f64().map(|v| v as f32)).collect();
                assert_eq!(found.wavelengths, waves);
            }
        }
    }
    let read = |name: &str, i: usize| {
        let folder = ShardFolder::open(&fixtures().join(name)).unwrap();
        folder.catalogue(&ReadOptions::default(), OnFault::Fail).unwrap().read(i).unwrap()
    };
    assert_eq!(read("published.tar", 1).geoloc.as_deref(), Some("(11.5, 48.25)"));
    let png = read("ordinary.tar", 0);
    assert_eq!(
        (png.texts, png.class, png.classes),
        (vec!["caption 0".into(), "more 0".into()], Some(0), vec!["field".into()])
    );
    assert_eq!(png.bands, bands(0).iter().map(|b| b.label()).collect::<Vec<_>>());
    assert_eq!(read("geo.tar", 0).texts, ["a field"]);
}

#[test]
fn webdataset_reads_ours() {
    let python = std::env::var("GEOGLOT_PYTHON").unwrap_or_else(|_| "python3".into());
    if !Command::new(&python).args(["-c", "import webdataset"]).output().is_ok_and(|o| o.status.success()) {
        println!("skipped: `{python}` has no webdataset; name one that has with GEOGLOT_PYTHON");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut samples: Vec<Sample> = (0..9).map(|i| sample(i % 3, i)).collect();
    samples[1].texts = vec!["Ein Fluß, 河流 und река 🌊".into()];
    samples[2].key = format!("очень/{}", "длинное".repeat(30));
    samples[4].teachers.insert("dinov2".into(), ArrayD::zeros(IxDyn(&[2, 3, 4])));
    let mut writer =
        ShardWriter::create(dir.path(), "t", WriteOptions { samples: 4, ..WriteOptions::default() }).unwrap();
    samples.iter().enumerate().for_each(|(i, s)| writer.write(s, &bands(i % 3)).unwrap());
    writer.finish().unwrap();
    let script = fixtures().join("../read_with_webdataset.py");
    let done = Command::new(&python).arg(script).arg(dir.path()).env("PYTHONIOENCODING", "utf-8").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let rows: Vec<Value> =
        String::from_utf8(done.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rows.len(), samples.len());
    for (i, (row, sample)) in rows.iter().zip(&samples).enumerate() {
        let (h, w, c) = sample.image.dim();
        let kind = ["uint8", "uint16", "float32"][i % 3];
        assert_eq!(row["key"], sample.key);
        assert_eq!(row["text"], sample.texts[0]);
        assert_eq!((&row["shape"], &row["type"]), (&serde_json::json!([h, w, c]), &serde_json::json!(kind)));
        assert!((row["sum"].as_f64().unwrap() - values(&sample.image).iter().sum::<f64>()).abs() < 1e-6);
        let waves: Vec<Option<f32>> =
            row["wavelength"].as_array().unwrap().iter().map(|v| v.as_f64().map(|v| v as f32)).collect();
        assert_eq!(waves, bands(i % 3).iter().map(|b| b.wavelength_um).collect::<Vec<_>>());
    }
    assert_eq!(rows[4]["teachers"], serde_json::json!({ "dinov2": [2, 3, 4] }));
}
