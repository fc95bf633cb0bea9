use std::path::{Path, PathBuf};

use burn::tensor::Device;
use geoglot_models::vision::{ImageOptions, MergeMethod, ModuleRatios, TowerFiles, load_image_tower_from};
use geoglot_nn::weights::Checkpoint;

use super::combine::Ratios;
use super::*;

/// A narrow tower with random weights under published names; the fixtures of `geoglot-models`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../geoglot-models/tests/fixtures/vision").join(name)
}

fn named(folder: &Path) -> Named {
    let options = ImageOptions { space: Some("one-space".into()), ..ImageOptions::default() };
    Named { name: folder.display().to_string(), files: TowerFiles::open(folder, &options).unwrap() }
}

fn plan(ratios: &[f64]) -> MergePlan {
    MergePlan { ratios: ratios.to_vec(), ..MergePlan::default() }
}

/// A copy of a fixture, its configuration changed.
fn changed(folder: &Path, name: &str, change: impl FnOnce(&mut serde_json::Value)) -> PathBuf {
    let to = folder.join(format!("{name}-changed"));
    std::fs::create_dir_all(&to).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture(name).join(file), to.join(file)).unwrap();
    }
    let mut config = serde_json::from_slice(&std::fs::read(to.join("config.json")).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();
    to
}

#[test]
fn every_method_gives_pytorchs_numbers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/merge.safetensors");
    let numbers = Checkpoint::open(path).unwrap();
    let modules = vec![ModuleRatios { names: "^sh".into(), ratios: vec![0.25, 1.0] }];
    for (case, method, modules) in [
        ("linear", MergeMethod::Linear, vec![]),
        ("slerp", MergeMethod::Slerp, vec![]),
        ("task-arithmetic", MergeMethod::TaskArithmetic, vec![]),
        ("module", MergeMethod::Linear, modules),
    ] {
        let plan = MergePlan { method, ratios: vec![0.9, 0.5], modules };
        let ratios = Ratios::new(&plan, 3).unwrap();
        for tensor in ["shared", "first", "later"] {
            let read = |k: usize| {
                let name = format!("{k}.{tensor}");
                numbers.info(&name).is_some().then(|| numbers.read_f32(&name)).transpose().map_err(MergeError::from)
            };
            let merged = ratios.merge(tensor, 3, read).unwrap().unwrap();
            let expected = numbers.read_f32(&format!("{case}.{tensor}")).unwrap();
            assert_eq!(merged.len(), expected.len());
            for (m, e) in merged.iter().zip(&expected) {
                assert!((m - e).abs() <= 1e-6 * e.abs().max(1.0), "{case} {tensor}: {m}, PyTorch {e}");
            }
        }
    }
}

#[test]
fn a_picture_model_and_an_any_band_model_merge_under_one_set_of_names() {
    let out = tempfile::tempdir().unwrap();
    let (siglip, anyband) = (fixture("siglip-timm"), fixture("geolangbind"));
    let merge = Merge::new(vec![named(&siglip), named(&anyband)], Allowed::default()).unwrap();
    let (record, sha256) = merge.write(&plan(&[0.75]), out.path()).unwrap();
    assert!(record.models[1].alone.iter().all(|n| n.starts_with("wavelength.")));
    assert!(record.models[1].alone.len() > 10);
    assert_eq!(record.models[0].left_out, ["patch.bias", "patch.weight"]);
    let files = TowerFiles::open(out.path(), &ImageOptions::default()).unwrap();
    assert_eq!((files.sha256.as_str(), files.space.name.as_str()), (sha256.as_str(), "one-space"));
    let (a, b) = (named(&siglip).files.checkpoint, named(&anyband).files.checkpoint);
    // SigLIP's fused projection against the any-band model's own, wherever its names put it.
    let merged = files.checkpoint.read_f32("blocks.1.attention.key.weight").unwrap();
    let part = |c: &Checkpoint| {
        let name = c.names().find(|n| n.ends_with("blocks.1.attn.qkv.weight")).unwrap().to_owned();
        let all = c.read_f32(&name).unwrap();
        all[all.len() / 3..2 * all.len() / 3].to_vec()
    };
    for ((m, a), b) in merged.iter().zip(part(&a)).zip(part(&b)) {
        assert!((m - (0.25 * a + 0.75 * b)).abs() < 1e-6);
    }
    let tower = load_image_tower_from(out.path(), &ImageOptions::default(), &Device::flex()).unwrap();
    assert_eq!(tower.config().ignore.len(), 1);
    let card: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(card["merged"]["ratios"], serde_json::json!([0.75]));
    assert_eq!(card["merged"]["models"][0]["sha256"].as_str().unwrap().len(), 64);
    // A merged model merges again, and with a ratio of 0 or 1 nothing changes.
    let again = tempfile::tempdir().unwrap();
    for (ratio, model) in [(0.0, 0), (1.0, 1)] {
        let models = vec![named(out.path()), named(&anyband)];
        let expected: Vec<Vec<f32>> = models[model..=model]
            .iter()
            .flat_map(|m| {
                let mapped = geoglot_nn::weights::Mapped::new(&m.files.checkpoint, &m.files.map).unwrap();
                let all = mapped.sources.keys().cloned().collect::<Vec<_>>();
                all.into_iter().map(move |n| mapped.read_f32(&m.files.checkpoint, &n).unwrap())
            })
            .collect();
        Merge::new(models, Allowed::default()).unwrap().write(&plan(&[ratio]), again.path()).unwrap();
        let result = named(again.path());
        let mapped = geoglot_nn::weights::Mapped::new(&result.files.checkpoint, &result.files.map).unwrap();
        let found: Vec<Vec<f32>> =
            mapped.sources.keys().map(|n| mapped.read_f32(&result.files.checkpoint, n).unwrap()).collect();
        assert_eq!(found, expected, "ratio {ratio}");
    }
}

#[test]
fn models_that_do_not_fit_are_refused_with_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let first = || named(&fixture("geolangbind"));
    let refused =
        |other: Named, settings: bool| match Merge::new(vec![first(), other], Allowed { settings, positions: false }) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("merged"),
        };
    // A tensor of another shape, and one more.
    let wide = changed(dir.path(), "geolangbind", |_| {});
    let checkpoint = Checkpoint::open(wide.join("model.safetensors")).unwrap();
    let position = checkpoint.names().find(|n| n.ends_with("pos_embed")).unwrap().to_owned();
    let table: Vec<(String, Vec<usize>)> = checkpoint
        .names()
        .map(|n| {
            (n.to_owned(), if *n == position { vec![1, 4, 24] } else { checkpoint.info(n).unwrap().shape.clone() })
        })
        .collect();
    let bytes = dir.path().join("wide.safetensors");
    geoglot_nn::weights::save_streamed(&bytes, &table, &Default::default(), |n| {
        let values = checkpoint.read_f32(n)?;
        Ok::<_, MergeError>(if n == position { values[..96].to_vec() } else { values })
    })
    .unwrap();
    std::fs::rename(&bytes, wide.join("model.safetensors")).unwrap();
    let error = refused(named(&wide), true);
    assert!(error.contains("tensor position: ") && error.contains("[1, 4, 24]"), "{error}");
    assert!(error.contains("--resample-positions"), "{error}");

    // Equal shapes with another meaning.
    for (pointer, value, word) in [
        ("/tower/vit/heads", serde_json::json!(2), "vit.heads: 4 ≠ 2"),
        ("/tower/vit/embed/wavelength/layout", serde_json::json!("width-band-row-column"), "layout"),
    ] {
        let other = changed(dir.path(), "geolangbind", |c| *c.pointer_mut(pointer).unwrap() = value);
        let error = refused(named(&other), true);
        assert!(error.contains(word), "{error}");
    }
    // Settings can be accepted; the names of both preprocessings are said.
    let bright = changed(dir.path(), "geolangbind", |c| c["tower"]["preprocess"]["mean"] = serde_json::json!([0.25]));
    let error = refused(named(&bright), false);
    assert!(error.contains("preprocess.mean: [0.5] ≠ [0.25]") && error.contains("--accept-settings"), "{error}");
    assert_eq!(
        Merge::new(vec![first(), named(&bright)], Allowed { settings: true, positions: false })
            .unwrap()
            .accepted()
            .len(),
        1
    );
    // Another space, and two that do not say theirs.
    let elsewhere = ImageOptions { space: Some("elsewhere".into()), ..ImageOptions::default() };
    let files = TowerFiles::open(&fixture("geolangbind"), &elsewhere).unwrap();
    let error = refused(Named { name: "b".into(), files }, true);
    assert!(error.contains("space: one-space (24-d) ≠ elsewhere (24-d)"), "{error}");
    let unnamed = |name: &str| {
        let files = TowerFiles::open(&fixture(name), &ImageOptions::default()).unwrap();
        Named { name: name.into(), files }
    };
    let error =
        Merge::new(vec![unnamed("geolangbind"), unnamed("siglip-timm")], Allowed::default()).err().unwrap().to_string();
    assert!(error.contains("--space"), "{error}");
    let error = refused(named(&fixture("dofa-v2")), true);
    assert!(error.contains("class_token") && error.contains("padding"), "{error}");
}

/// A copy of a fixture at another image size, with positions of its own.
fn of_grid(folder: &Path, name: &str, (rows, columns): (usize, usize), patch: usize) -> PathBuf {
    let to = changed(folder, name, |c| {
        c["tower"]["vit"]["grid"] = serde_json::json!([rows, columns]);
        c["tower"]["preprocess"]["size"] = serde_json::json!([rows * patch, columns * patch]);
    });
    let checkpoint = Checkpoint::open(to.join("model.safetensors")).unwrap();
    let own = checkpoint.names().find(|n| n.ends_with("pos_embed")).unwrap().to_owned();
    let width = *checkpoint.info(&own).unwrap().shape.last().unwrap();
    let shape =
        |n: &str| if n == own { vec![1, rows * columns, width] } else { checkpoint.info(n).unwrap().shape.clone() };
    let table: Vec<(String, Vec<usize>)> = checkpoint.names().map(|n| (n.to_owned(), shape(n))).collect();
    let bytes = folder.join("grid.safetensors");
    geoglot_nn::weights::save_streamed(&bytes, &table, &Default::default(), |n| {
        Ok::<_, MergeError>(match n == own {
            true => (0..rows * columns * width).map(|k| ((k * 37 % 101) as f32 - 50.0) / 50.0).collect(),
            false => checkpoint.read_f32(n)?,
        })
    })
    .unwrap();
    std::fs::rename(&bytes, to.join("model.safetensors")).unwrap();
    to
}

#[test]
fn positions_of_another_image_size_are_resampled_when_asked() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = || named(&fixture("geolangbind"));
    let vit = own().files.config.vit;
    let large = of_grid(dir.path(), "geolangbind", (vit.grid.0 + 2, vit.grid.1 + 1), vit.patch);
    let error = Merge::new(vec![own(), named(&large)], Allowed { settings: true, positions: false }).err().unwrap();
    let error = error.to_string();
    assert!(error.contains("vit.grid: ") && error.contains("tensor position: "), "{error}");
    assert!(error.contains("--resample-positions"), "{error}");

    // The last any-band model gives the architecture, and with it the grid.
    let allowed = Allowed { settings: false, positions: true };
    let merge = Merge::new(vec![named(&large), own()], allowed).unwrap();
    let told: Vec<&str> = merge.accepted().iter().map(|(_, d)| d.what.as_str()).collect();
    assert_eq!(told, ["vit.grid", "preprocess.size"]);
    let (record, _) = merge.write(&plan(&[0.25]), out.path()).unwrap();
    assert_eq!(
        record.models.iter().map(|m| m.resampled).collect::<Vec<_>>(),
        [Some((vit.grid.0 + 2, vit.grid.1 + 1)), None]
    );

    // As the large tower itself resamples them for an image of the small one's size.
    let load = |path: &Path| load_image_tower_from(path, &ImageOptions::default(), &Device::flex()).unwrap();
    assert_eq!(load(out.path()).config().vit.grid, vit.grid);
    let table = |model: &Named| {
        let mapped = geoglot_nn::weights::Mapped::new(&model.files.checkpoint, &model.files.map).unwrap();
        mapped.read_f32(&model.files.checkpoint, "position").unwrap()
    };
    let mut network = named(&large).files.config.vit.init(&Device::flex());
    let trained = burn::tensor::Tensor::<1>::from_floats(table(&named(&large)).as_slice(), &Device::flex());
    network.position = burn::module::Param::from_tensor(trained.reshape([-1, vit.width as i32]));
    let resampled: Vec<f32> = network.positions(vit.grid).1.into_data().iter::<f32>().collect();
    for ((m, a), b) in table(&named(out.path())).iter().zip(&resampled).zip(table(&own())) {
        assert!((m - (0.75 * a + 0.25 * b)).abs() < 1e-6, "{m}: {a}, {b}");
    }

    // Nothing else is let pass with it.
    let other = changed(&large, "geolangbind", |c| {
        c["tower"]["vit"]["heads"] = serde_json::json!(2);
    });
    let error = Merge::new(vec![named(&large), named(&other)], allowed).err().unwrap().to_string();
    assert!(error.contains("vit.heads: 4 ≠ 2") && !error.contains("--resample-positions"), "{error}");
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let two = || {
        Merge::new(vec![named(&fixture("siglip-timm")), named(&fixture("geolangbind"))], Allowed::default()).unwrap()
    };
    let refused = |plan: MergePlan| two().write(&plan, dir.path()).unwrap_err().to_string();
    assert!(refused(plan(&[0.1, 0.2])).contains("2 ratios for 2 models"));
    assert!(refused(plan(&[1.2])).contains("outside 0–1"));
    assert!(refused(plan(&[f64::NAN])).contains("outside"));
    let modules = |names: &str| MergePlan {
        modules: vec![ModuleRatios { names: names.into(), ratios: vec![0.5] }],
        ..plan(&[0.5])
    };
    assert!(refused(modules("^blokcs")).contains("names are such as"));
    assert!(refused(modules("(")).contains('('));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(Merge::new(vec![named(&fixture("siglip-timm"))], Allowed::default()).is_err());
    // A model is not written over.
    let own = changed(dir.path(), "geolangbind", |_| {});
    let merge = Merge::new(vec![named(&fixture("siglip-timm")), named(&own)], Allowed::default()).unwrap();
    assert!(merge.write(&plan(&[0.5]), &own).unwrap_err().to_string().contains("overwritten"));
    // Values that are no numbers.
    let path = own.join("model.safetensors");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let table: Vec<(String, Vec<usize>)> =
        checkpoint.names().map(|n| (n.to_owned(), checkpoint.info(n).unwrap().shape.clone())).collect();
    let bad = dir.path().join("bad.safetensors");
    geoglot_nn::weights::save_streamed(&bad, &table, &Default::default(), |n| {
        let mut values = checkpoint.read_f32(n)?;
        if n.ends_with("blocks.0.mlp.fc1.bias") {
            values[0] = f32::NAN;
        }
        Ok::<_, MergeError>(values)
    })
    .unwrap();
    std::fs::rename(bad, path).unwrap();
    let out = dir.path().join("out");
    let merge = Merge::new(vec![named(&fixture("siglip-timm")), named(&own)], Allowed::default()).unwrap();
    let error = merge.write(&plan(&[0.5]), &out).unwrap_err().to_string();
    assert!(error.contains("blocks.0.fc1.bias") && error.contains("NaN"), "{error}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
}
