//! BigEarthNet and GEO-Bench.

use super::*;

fn patch(root: &Path, name: &str, labels: &str) {
    let folder = root.join(name);
    fs::create_dir_all(&folder).unwrap();
    if name.starts_with("S1") {
        tif(&folder.join(format!("{name}_VV.tif")), 1, 12, 10.0);
        tif(&folder.join(format!("{name}_VH.tif")), 1, 12, 10.0);
    } else {
        tif(&folder.join(format!("{name}_B01.tif")), 1, 2, 60.0);
        tif(&folder.join(format!("{name}_B02.tif")), 1, 12, 10.0);
        tif(&folder.join(format!("{name}_B8A.tif")), 1, 6, 20.0);
    }
    if !labels.is_empty() {
        write(&folder.join(format!("{name}_labels_metadata.json")), format!("{{\"labels\": {labels}}}"));
    }
}

#[test]
fn bigearthnet_patches_with_labels_beside() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("BigEarthNet-v1.0");
    patch(&root, "S2A_MSIL2A_20170613T101031_0_1", r#"["Peatbogs", "Airports", "Pastures"]"#);
    patch(&root, "S2A_MSIL2A_20170613T101031_0_2", r#"["Airports"]"#);
    patch(&root, "S2A_MSIL2A_20170613T101031_0_3", r#"["Sea and ocean"]"#);
    patch(&root, "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_0_1", r#"["Peatbogs"]"#);
    write(&root.join("train.csv"), "S2A_MSIL2A_20170613T101031_0_1,S1A_IW_GRDH_1SDV_20170613T165043_33UUP_0_1\n");
    write(&root.join("test.csv"), "S2A_MSIL2A_20170613T101031_0_3\n");
    let set = open(dir.path());
    assert_eq!((set.format(), set.labelling(), set.len()), (Format::BigEarthNetV1, Labelling::Multi, 2));
    let names = |i: usize| set.items()[i].labels.iter().map(|&k| set.classes()[k].clone()).collect::<Vec<_>>();
    assert_eq!(names(0), ["Pastures", "Inland wetlands"]);
    assert_eq!((names(1), set.items()[1].split), (vec!["Marine waters".to_owned()], Some(Split::Test)));
    assert!(set.warnings().iter().any(|w| w.contains("1 patches without")));
    let pixels = set.read(0).unwrap();
    assert_eq!(pixels.data.dim(), (3, 12, 12));
    assert_eq!(pixels.bands.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["B01", "B02", "B8A"]);
    assert!((pixels.data[(1, 0, 0)] - 0.1).abs() < 1e-6);
    let all = DatasetOptions { nomenclature: Nomenclature::FortyThree, ..DatasetOptions::default() };
    let old = Dataset::open(&root, &all).unwrap();
    assert_eq!((old.len(), old.classes().len(), old.items()[0].labels.len()), (3, 43, 3));
    let radar = Dataset::open(&root, &DatasetOptions { sentinel1: true, ..DatasetOptions::default() }).unwrap();
    assert_eq!((radar.len(), radar.items()[0].split), (1, Some(Split::Train)));
    assert_eq!(radar.bands().unwrap().len(), 2);
    patch(&root, "S2A_MSIL2A_20170613T101031_0_4", r#"["Cities"]"#);
    refused(&root, &DatasetOptions::default(), &["_0_4", "`Cities` is none of"]);
    assert_eq!(Dataset::open(&root, &skipping()).unwrap().len(), 2);
    patch(&root, "S2A_MSIL2A_20170613T101031_0_4", "7");
    refused(&root, &DatasetOptions::default(), &["_0_4_labels_metadata.json", "label file"]);
}

#[test]
fn bigearthnet_with_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let tile = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP";
    for k in 0..3 {
        patch(&dir.path().join("BigEarthNet-S2").join(tile), &format!("{tile}_{k}_57"), "");
        let s1 = "S1A_IW_GRDH_1SDV_20170613T165043";
        patch(&dir.path().join("BigEarthNet-S1").join(s1), &format!("{s1}_33UUP_{k}_57"), "");
    }
    fs::copy(fixtures().join("metadata.parquet"), dir.path().join("metadata.parquet")).unwrap();
    let set = open(dir.path());
    assert_eq!((set.format(), set.len(), set.classes().len()), (Format::BigEarthNetV2, 3, 19));
    let names = |s: &Dataset, i: usize| s.items()[i].labels.iter().map(|&k| s.classes()[k].clone()).collect::<Vec<_>>();
    assert_eq!(names(&set, 0), ["Arable land", "Beaches, dunes, sands"]);
    assert_eq!(set.splits().len(), 3);
    let bands = set.read(2).unwrap().bands;
    assert_eq!((bands.len(), bands[0].sensor.as_deref()), (3, Some("sentinel-2-l2a")), "N9999 carries no offset");
    let radar = DatasetOptions { sentinel1: true, ..DatasetOptions::default() };
    assert_eq!(Dataset::open(dir.path(), &radar).unwrap().read(0).unwrap().bands.len(), 2);
    // The same as CSV, with a missing patch and an unknown label.
    fs::remove_file(dir.path().join("metadata.parquet")).unwrap();
    let csv = |rows: &str| write(&dir.path().join("metadata.csv"), format!("patch_id,labels,split\n{rows}"));
    csv(&format!("{tile}_0_57,\"['Marine waters' 'Beaches, dunes, sands']\",test\n"));
    assert_eq!(names(&open(dir.path()), 0), ["Beaches, dunes, sands", "Marine waters"]);
    csv(&format!("{tile}_9_57,['Pastures'],test\n"));
    refused(dir.path(), &DatasetOptions::default(), &["metadata.csv, line 2", "_9_57", "does not exist"]);
    csv(&format!("{tile}_0_57,['Peatbogs'],test\n"));
    refused(dir.path(), &DatasetOptions::default(), &["line 2", "Peatbogs", "19 classes"]);
    fs::remove_file(dir.path().join("metadata.csv")).unwrap();
    write(&dir.path().join("metadata.parquet"), "PAR1 but no more");
    refused(dir.path(), &DatasetOptions::default(), &["metadata.parquet", "Parquet"]);
}

#[test]
fn geo_bench_samples() {
    let set = open(&fixtures().join("m-eurosat"));
    assert_eq!((set.format(), set.labelling(), set.len()), (Format::GeoBench, Labelling::Single, 2));
    assert_eq!(set.classes(), ["Annual Crop", "Forest", "River"]);
    let item = set.items().iter().position(|i| i.id == "id_1").unwrap();
    assert_eq!((set.truth(&[item]).unwrap(), set.items()[item].split), (vec![1], Some(Split::Test)));
    assert_eq!(set.truth(&[1 - item]).unwrap(), [0], "a numpy scalar");
    let pixels = set.read(item).unwrap();
    assert_eq!(pixels.data.dim(), (13, 4, 5));
    // The plane called 08A is EuroSAT's ninth, which holds B09; the one called 12 holds B8A.
    for (name, stored) in [("B08", 800.0), ("B09", 900.0), ("B10", 1000.0), ("B12", 1200.0), ("B8A", 1300.0)] {
        let k = pixels.bands.iter().position(|b| b.name == name).unwrap();
        assert!((pixels.data[(k, 0, 0)] - stored * 1e-4).abs() < 1e-6, "{name}");
        assert_eq!(pixels.bands[k].sensor.as_deref(), Some("sentinel-2-l1c"));
    }
    let set = open(&fixtures().join("m-bigearthnet"));
    assert_eq!((set.labelling(), set.classes().len()), (Labelling::Multi, 4));
    assert_eq!([&set.items()[0].labels[..], &set.items()[1].labels[..]], [&[1, 2][..], &[0]]);
    let bands: Vec<_> = set.bands().unwrap().into_iter().map(|b| (b.name, b.sensor)).collect();
    assert_eq!(bands[2], ("B04".into(), Some("sentinel-2-l2a".into())));
    let set = open(&fixtures().join("m-drone/one.hdf5"));
    assert_eq!((set.classes().len(), set.truth(&[0]).unwrap()), (3, vec![2]));
    let bands = set.bands().unwrap();
    assert_eq!([bands[0].wavelength_um, bands[1].wavelength_um], [Some(0.48), Some(0.65)]);
    let missing = DatasetOptions { partition: "0.01x_train".into(), ..DatasetOptions::default() };
    refused(&fixtures().join("m-eurosat"), &missing, &["no partition `0.01x_train`"]);
    // A partition that names a sample that is not there; a file that is no sample.
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixtures().join("m-eurosat/id_1.hdf5"), dir.path().join("id_1.hdf5")).unwrap();
    write(&dir.path().join("default_partition.json"), r#"{"test": ["id_1", "id_7"]}"#);
    refused(dir.path(), &DatasetOptions::default(), &["test, entry 2", "id_7.hdf5"]);
    assert_eq!(Dataset::open(dir.path(), &skipping()).unwrap().len(), 1);
    let whole = fs::read(dir.path().join("id_1.hdf5")).unwrap();
    for cut in [0, 100, whole.len() / 2] {
        write(&dir.path().join("id_7.hdf5"), &whole[..cut]);
        refused(dir.path(), &DatasetOptions::default(), &["id_7.hdf5"]);
    }
}

#[test]
fn geo_bench_label_rasters() {
    let set = open(&fixtures().join("m-fields"));
    assert_eq!((set.labelling(), set.classes().len(), set.len()), (Labelling::Raster, 3, 3));
    let at = |id: &str| set.items().iter().position(|i| i.id == id).unwrap();
    assert_eq!(set.items()[at("two")].split, Some(Split::Test));
    // Neither the label nor the cloud probability is a band.
    let pixels = set.read(at("one")).unwrap();
    assert_eq!(pixels.bands.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["B02", "B03", "B04"]);
    assert_eq!(set.label_raster(at("one")).unwrap().row(2).to_vec(), [1, 1, 2, 2, 0]);
    assert_eq!(set.label_raster(at("two")).unwrap().row(0).to_vec(), [3, 3, 2, 2, 2]);
    let error = set.label_raster(at("three")).unwrap_err().to_string();
    assert!(error.contains("three.hdf5") && error.contains("classes 0 to 2"), "{error}");
    let single = open(&fixtures().join("m-eurosat"));
    assert!(single.label_raster(0).unwrap_err().to_string().contains("no label rasters"));
    // Without the task's description nobody knows the classes.
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixtures().join("m-fields/one.hdf5"), dir.path().join("one.hdf5")).unwrap();
    refused(dir.path(), &DatasetOptions::default(), &["task_specs.pkl"]);
}
