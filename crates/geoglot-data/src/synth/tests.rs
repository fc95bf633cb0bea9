use super::*;

/// A hyperspectral sensor of 32 bands, a thermal one and a SAR.
fn registry() -> Registry {
    let mut registry = Registry::builtin().clone();
    let text = r#"
        [[sensor]]
        id = "test-hyper"
        name = "32 bands"
        kind = "hyperspectral"
        source = "test"
        unit = "reflectance"
        evenly_spaced = { prefix = "B", count = 32, first = 0.42, last = 2.4, fwhm = 0.02 }
        [[sensor]]
        id = "test-thermal"
        name = "thermal"
        kind = "thermal"
        source = "test"
        unit = "kelvin"
        band = [{ name = "T1", wavelength = 10.9, fwhm = 0.6 }]
        [[sensor]]
        id = "test-sar"
        name = "radar"
        kind = "sar"
        source = "test"
        unit = "decibel"
        band = [{ name = "VV" }, { name = "VH" }]
    "#;
    registry.add("test.toml", text).unwrap();
    registry
}

fn config(sensors: &[&str]) -> SynthConfig {
    SynthConfig {
        width: 230,
        height: 210,
        sensors: sensors.iter().map(|s| (*s).into()).collect(),
        ..SynthConfig::default()
    }
}

/// Mean of `values` over the pixels of class `id`.
fn class_mean(scene: &SynthScene, id: u16, values: &Array2<f32>) -> f32 {
    let (sum, n) =
        scene.labels.iter().zip(values).filter(|(l, _)| **l == id).fold((0.0, 0), |(s, n), (_, v)| (s + v, n + 1));
    sum / n as f32
}

#[test]
fn the_same_seed_gives_the_same_scene_on_any_number_of_threads() {
    let config = SynthConfig { clouds: 0.2, ..config(&["test-hyper"]) };
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| generate(&config, &registry()).unwrap())
    };
    let one = on(1);
    assert_eq!(one, on(3));
    assert_ne!(one.labels, generate(&SynthConfig { seed: 1, ..config.clone() }, &registry()).unwrap().labels);
}

fn cover(scene: &SynthScene) -> &crate::captions::CoverFacts {
    scene.facts.cover.as_ref().unwrap()
}

#[test]
fn every_class_is_seen_all_over_the_scene() {
    for seed in 0..3 {
        let scene = generate(
            &SynthConfig { width: 400, height: 400, sensors: vec![], seed, ..SynthConfig::default() },
            &registry(),
        )
        .unwrap();
        let percent: Vec<f64> = cover(&scene).classes.iter().map(|c| c.percent).collect();
        assert_eq!(percent.len(), 12);
        assert!(percent.iter().all(|p| *p >= 1.0), "seed {seed}: {percent:?}");
        assert!((percent.iter().sum::<f64>() - 100.0).abs() < 1e-6);
        assert!(percent[0] > 3.0 * percent[11], "the classes are balanced: {percent:?}");
        // Every class is found in at least three quarters of the scene.
        for class in &scene.legend.classes {
            let mut quarters = [false; 4];
            for ((r, c), id) in scene.labels.indexed_iter() {
                quarters[r / 200 * 2 + c / 200] |= *id == class.id;
            }
            assert!(quarters.iter().filter(|q| **q).count() >= 3, "seed {seed}: {} is in {quarters:?}", class.name);
        }
    }
}

#[test]
fn heights_and_spectra_tell_what_they_should() {
    let scene = generate(&config(&["sentinel-2-l2a"]), &registry()).unwrap();
    let height = &scene.dsm - &scene.dtm;
    let mean = |id| class_mean(&scene, id, &height);
    // Paved, grass, turf, soil lie low; roofs and woods stand tall; bushes and orchards differ.
    assert!([2, 5, 6, 7].iter().all(|id| mean(*id) < 0.6), "{:?}", [2, 5, 6, 7].map(mean));
    assert!(mean(3) > 4.0 && mean(12) > 6.0 && mean(10) > 2.0 * mean(9) && mean(12) > 4.0 * mean(11));
    let raster = &scene.optical["sentinel-2-l2a"];
    let spectrum = |id| -> Vec<f32> {
        (0..12).map(|b| class_mean(&scene, id, &raster.data.index_axis(ndarray::Axis(0), b).to_owned())).collect()
    };
    let distance = |a: u16, b: u16| spectrum(a).iter().zip(spectrum(b)).map(|(x, y)| (x - y).abs()).sum::<f32>() / 12.0;
    for (a, b) in [(2, 3), (9, 10), (11, 12)] {
        assert!(distance(a, b) < 0.025, "classes {a} and {b} differ by {}", distance(a, b));
    }
    for (a, b) in [(1, 2), (2, 5), (5, 6), (6, 7), (7, 1), (5, 8)] {
        assert!(distance(a, b) > 0.03, "classes {a} and {b} differ by {}", distance(a, b));
    }
    let sar = scene.sar.data.index_axis(ndarray::Axis(0), 0).to_owned();
    assert!(class_mean(&scene, 4, &sar) > class_mean(&scene, 5, &sar) + 3.0);
    assert!(class_mean(&scene, 1, &sar) < class_mean(&scene, 5, &sar) - 4.0);
    assert!(raster.data.iter().chain(&scene.sar.data).chain(&scene.dsm).all(|v| v.is_finite()));
}

#[test]
fn clouds_cover_the_share_asked_for_and_spare_radar_and_labels() {
    let clear = generate(&config(&["test-hyper"]), &registry()).unwrap();
    let cloudy = generate(&SynthConfig { clouds: 0.3, ..config(&["test-hyper"]) }, &registry()).unwrap();
    assert!((cloudy.facts.cloud_percent.unwrap() - 30.0).abs() < 4.0, "{:?}", cloudy.facts.cloud_percent);
    assert_eq!((&clear.labels, &clear.sar, &clear.dsm), (&cloudy.labels, &cloudy.sar, &cloudy.dsm));
    let mask = cloudy.cloud_mask.as_ref().unwrap();
    let blue = |scene: &SynthScene, kind: u8| {
        let plane = scene.optical["test-hyper"].data.index_axis(ndarray::Axis(0), 1);
        let (s, n) =
            plane.iter().zip(mask).filter(|(_, m)| **m == kind).fold((0.0, 0), |(s, n), (v, _)| (s + v, n + 1));
        s / n as f32
    };
    assert!(blue(&cloudy, 1) > blue(&clear, 1) + 0.2);
    assert!(blue(&cloudy, 2) < 0.9 * blue(&clear, 2));
    assert!((blue(&cloudy, 0) - blue(&clear, 0)).abs() < 0.02);
}

#[test]
fn snow_is_white_to_the_eye_and_dark_in_the_short_wave_infrared() {
    let with = |snow: f32, clouds: f32| {
        let config = SynthConfig { snow, clouds, ..config(&["sentinel-2-l2a"]) };
        let scene = generate(&config, Registry::builtin()).unwrap();
        let raster = &scene.optical["sentinel-2-l2a"];
        let band = |name: &str| raster.bands.iter().position(|b| b.name == name).unwrap();
        let mean = |name: &str| raster.data.index_axis(ndarray::Axis(0), band(name)).mean().unwrap();
        let [green, infrared] = ["B03", "B11"].map(mean);
        let facts = crate::instruct::spectral_facts(
            raster.data.view(),
            &ndarray::Array2::from_elem((scene.grid.height, scene.grid.width), true),
            &raster.bands,
        );
        let mask = scene.snow_mask.map(|m| 100.0 * m.iter().filter(|v| **v == 1).count() as f64 / m.len() as f64);
        (green, infrared, facts.snow.unwrap(), facts.cloud.unwrap(), mask)
    };
    let (bare, snowy, cloudy) = (with(0.0, 0.0), with(0.4, 0.0), with(0.0, 0.4));
    assert!(snowy.0 > bare.0 + 0.15 && cloudy.0 > bare.0 + 0.15, "{bare:?} {snowy:?} {cloudy:?}");
    assert!(snowy.1 < bare.1 && cloudy.1 > bare.1 + 0.1, "{bare:?} {snowy:?} {cloudy:?}");
    assert!((snowy.2 - 40.0).abs() < 10.0 && bare.2 < 1.0 && cloudy.2 < 1.0, "{bare:?} {snowy:?} {cloudy:?}");
    assert!(snowy.3 < 5.0, "{snowy:?}");
    // The mask says what the index sees, and is there only with snow.
    assert!((snowy.4.unwrap() - snowy.2).abs() < 10.0 && bare.4.is_none() && cloudy.4.is_none(), "{bare:?} {snowy:?}");
}

#[test]
fn facts_and_captions_agree_with_the_rasters() {
    let scene = generate(&config(&[]), &registry()).unwrap();
    let first = &cover(&scene).classes[0];
    let n = scene.labels.iter().filter(|l| Some(**l) == first.id).count();
    assert!((first.percent - 100.0 * n as f64 / scene.labels.len() as f64).abs() < 1e-9);
    assert!(scene.captions.len() >= 7);
    for caption in &scene.captions {
        assert!(
            caption.form == crate::captions::Form::Long || caption.text.split_whitespace().count() <= 30,
            "{}",
            caption.text
        );
    }
    assert!(scene.captions.iter().any(|c| c.text.contains(&format!("{:.0}%", first.percent))));
    for caption in &scene.captions {
        let wrong = crate::captions::check_caption(&scene.facts, &caption.text);
        assert!(wrong.is_empty(), "{}: {wrong:?}", caption.text);
    }
}

#[test]
fn thermal_sensors_see_kelvin() {
    let scene = generate(&config(&["test-thermal"]), &registry()).unwrap();
    let plane = scene.optical["test-thermal"].data.index_axis(ndarray::Axis(0), 0).to_owned();
    assert!(class_mean(&scene, 2, &plane) > class_mean(&scene, 1, &plane) + 10.0);
    assert!(plane.iter().all(|v| (250.0..340.0).contains(v)));
}

#[test]
fn impossible_wishes_are_refused_in_words() {
    let text = |c: SynthConfig| generate(&c, &registry()).unwrap_err().to_string();
    assert!(text(SynthConfig { width: 10, ..config(&[]) }).contains("width and height"));
    assert!(text(SynthConfig { clouds: 2.0, ..config(&[]) }).contains("clouds = 2"));
    assert!(text(SynthConfig { haze: f32::NAN, ..config(&[]) }).contains("haze"));
    assert!(text(config(&["test-sar"])).contains("not optical"));
    assert!(text(config(&["sputnik"])).contains("unknown sensor"));
}

#[test]
fn written_files_come_back() {
    use geoglot_raster::{Labels, OpenOptions, Scene, SceneArg};
    let dir = tempfile::tempdir().unwrap();
    let config = SynthConfig { clouds: 0.1, ..config(&["sentinel-2-l2a"]) };
    let scene = generate(&config, &registry()).unwrap();
    let files = write(&scene, dir.path()).unwrap();
    assert!(files.iter().all(|f| f.exists()));
    // The files name their sensors.
    let optical = SceneArg::named("optical", dir.path().join("sentinel-2-l2a.tif"));
    let sar = SceneArg::named("sar", dir.path().join("sar.tif"));
    let opened = Scene::open(&[sar], &registry(), OpenOptions::default()).unwrap();
    assert_eq!(opened.inputs()[0].bands()[0].sensor, scene.sar.bands[0].sensor);
    let args = [optical, SceneArg::named("lidar", dir.path().join("lidar.tif"))];
    let opened = Scene::open(&args, &registry(), OpenOptions::default()).unwrap();
    assert!(opened.inputs()[0].bands().iter().all(|b| b.sensor.as_deref() == Some("sentinel-2-l2a")));
    assert!(opened.grid().same_as(&scene.grid));
    let labels = Labels::open(&SceneArg::new(dir.path().join("labels.tif")), &registry()).unwrap();
    let loaded = crate::LabelledScene::load("synth", &opened, &labels, None).unwrap();
    assert_eq!(loaded.labels, scene.labels);
    assert!(loaded.mask.iter().all(|valid| *valid));
    let raster = &scene.optical["sentinel-2-l2a"];
    assert_eq!(loaded.bands["optical"][3].wavelength_um, raster.bands[3].wavelength_um);
    // Integers of 1/10000 keep reflectance to half a step.
    assert!(loaded.inputs["optical"].iter().zip(&raster.data).all(|(a, b)| (a - b).abs() < 6e-5));
    assert!(loaded.inputs["lidar"].index_axis(ndarray::Axis(0), 0).iter().eq(scene.dsm.iter()));
    assert_eq!(Legend::load(&dir.path().join("legend.toml")).unwrap(), scene.legend);
    let facts: Facts = serde_json::from_slice(&std::fs::read(dir.path().join("facts.json")).unwrap()).unwrap();
    assert_eq!(facts, scene.facts);
    let saved: SynthConfig = serde_json::from_slice(&std::fs::read(dir.path().join("synth.json")).unwrap()).unwrap();
    assert_eq!(saved, config);
}
