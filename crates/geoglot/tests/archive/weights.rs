//! Models whose files are not what they should be: tensors renamed, mis-shaped, of other types, hashes that differ, hubs out of reach.

use std::net::TcpListener;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use super::fixtures::Place;

/// A tensor: name, type, shape, bytes.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

/// Rewrites a weight file.
fn rewrite(path: &Path, change: impl Fn(&mut Stored)) {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<Stored> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    tensors.iter_mut().for_each(change);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A matrix of a weight file whose name begins with `part`: name and shape. Not the one that holds three of ours.
fn matrix(path: &Path, part: &str) -> (String, Vec<usize>) {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let fits = |(name, view): &(String, TensorView<'_>)| {
        let turned = view.shape().len() == 2 && view.shape()[0] != view.shape()[1];
        name.starts_with(part) && !name.contains("in_proj") && turned
    };
    let (name, view) = file.tensors().into_iter().find(fits).expect("a matrix that is not square");
    (name, view.shape().to_vec())
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let place = Place::new();
    let (model, clip) = (place.model(), place.clip_pair());
    let scene = place.scene("a.tif", "rgb", 24, 24, 99);
    let picture = place.picture("a.png", 20, 20, 1);
    let embed = ["embed", &scene, "--model", &model, "--out", "o"];
    let classify = ["classify", &picture, "--model", &clip, "--labels", "water; forest"];
    for (file, part, command) in [
        ("model/model.safetensors", "blocks.0", &embed[..]),
        ("clip/open_clip_model.safetensors", "visual.transformer.resblocks.0", &classify),
        ("clip/open_clip_model.safetensors", "transformer.resblocks.0.mlp", &classify),
    ] {
        let path = place.path(file);
        let whole = std::fs::read(&path).unwrap();
        let name_of_file = path.file_name().unwrap().to_str().unwrap();
        let (name, shape) = matrix(&path, part);
        // Renamed: the name that is missing and the one that is too much.
        rewrite(&path, |t| {
            if t.0 == name {
                t.0 = format!("{part}.stranger");
            }
        });
        let error = place.fails(1, command);
        assert!(error.contains(name_of_file) && error.contains("stranger"), "{error}");
        assert!(error.contains("1 missing") && error.contains("1 unused"), "{error}");
        std::fs::write(&path, &whole).unwrap();
        // Turned on its side.
        rewrite(&path, |t| {
            if t.0 == name {
                t.2.reverse();
            }
        });
        let error = place.fails(1, command);
        assert!(error.contains(name_of_file) && error.contains(&name), "{error}");
        assert!(error.contains(&shape[0].to_string()) && error.contains(&shape[1].to_string()), "{error}");
        std::fs::write(&path, &whole).unwrap();
        // Whole numbers in its place.
        rewrite(&path, |t| {
            if t.0 == name {
                t.1 = Dtype::I32;
            }
        });
        let error = place.fails(1, command);
        assert!(error.contains(name_of_file) && error.contains(&name) && error.contains("f32"), "{error}");
        std::fs::write(&path, &whole).unwrap();
    }
    // A configuration far larger than its weights: nothing of that size is made.
    let config = place.path("model/config.json");
    let card = std::fs::read_to_string(&config).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&card).unwrap();
    for (key, size, word) in [
        ("/tower/vit/depth", json!(1 << 30), "1073741824"),
        ("/tower/vit/hidden", json!(1 << 19), "fc1.weight"),
        ("/tower/vit/grid", json!([1 << 20, 1 << 20]), "position"),
        ("/tower/preprocess/size", json!([1 << 20, 12]), "1048576"),
        ("/tower/vit/patch", json!(0), "a size is 0"),
    ] {
        let kept = std::mem::replace(json.pointer_mut(key).unwrap(), size);
        std::fs::write(&config, json.to_string()).unwrap();
        let error = place.fails(1, &embed);
        assert!(error.contains("model/") && error.contains(word), "{key}: {error}");
        *json.pointer_mut(key).unwrap() = kept;
    }
    std::fs::write(&config, card).unwrap();
    // Numbers that are none.
    let path = place.path("model/model.safetensors");
    let (name, _) = matrix(&path, "blocks.0");
    rewrite(&path, |t| {
        if t.0 == name {
            t.3.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&f32::NAN.to_le_bytes()));
        }
    });
    let error = place.fails(1, &embed);
    assert!(error.contains("NaN") || error.contains("finite"), "{error}");
    assert_eq!(place.geoglot(&["index", "verify", "o/archive"]).output().unwrap().status.code(), Some(0));
    assert_eq!(place.json(&["index", "info", "o/archive", "--json"])["records"], 0);
}

#[test]
fn a_hub_out_of_reach_is_named_with_what_helps() {
    let place = Place::new();
    let scene = place.scene("a.tif", "rgb", 24, 24, 99);
    // A port nobody listens on: bind, note it, let go.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("http://127.0.0.1:{port}");
    let pull = |name: &str, offline: bool| {
        let mut command = place.geoglot(&["models", "pull", name]);
        command.env("HF_ENDPOINT", &address).env_remove("HF_HUB_OFFLINE");
        if offline {
            command.env("HF_HUB_OFFLINE", "1");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for name in ["dinov2-small", "owner/name", "owner/name@main"] {
        let error = pull(name, false);
        for word in [address.as_str(), "config.json", "HF_ENDPOINT", "a folder"] {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(pull(name, true).contains("HF_HUB_OFFLINE"));
    }
    assert!(!place.path("home/models").exists() && !place.path("home/locks").exists());
    let error = place.fails(1, &["embed", &scene, "--model", "dinov2-small", "--out", "o"]);
    assert!(error.contains("models pull dinov2-small") && error.contains("path of a folder"), "{error}");
    // A text tower does not stand in for an image tower.
    assert!(!error.contains("hashed-words"), "{error}");
    assert!(!place.path("o").exists());
}

#[test]
fn files_of_another_hash_are_refused() {
    let place = Place::new();
    let scene = place.scene("a.tif", "rgb", 28, 28, 99);
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let folder = place.path(&format!("hub/hub/models--facebook--dinov2-small/snapshots/{commit}"));
    std::fs::create_dir_all(&folder).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../geoglot-models/tests/fixtures/vision/dinov2-hf");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    std::fs::create_dir_all(place.path("home/locks")).unwrap();
    let lock = |sha256: &str| {
        let lock =
            json!({ "source": "facebook/dinov2-small", "revision": commit, "sha256": { "model.safetensors": sha256 } });
        std::fs::write(place.path("home/locks/dinov2-small.json"), lock.to_string()).unwrap();
    };
    let embed = ["embed", &scene, "--model", "dinov2-small", "--out", "o"];
    lock(&"0".repeat(64));
    let mut pull = place.geoglot(&["models", "pull", "dinov2-small"]);
    let pulled = pull.env("HF_HUB_OFFLINE", "1").output().unwrap();
    for error in [place.fails(1, &embed), String::from_utf8(pulled.stderr).unwrap()] {
        for word in ["model.safetensors", "SHA-256", &"0".repeat(64), "pull the model again"] {
            assert!(error.contains(word), "{word}: {error}");
        }
    }
    assert!(!place.path("o").exists());
    // A lock that is none is said, and the right hash lets the model in.
    std::fs::write(place.path("home/locks/dinov2-small.json"), "{").unwrap();
    assert!(place.fails(1, &embed).contains("dinov2-small.json"));
    lock(&geoglot::models::mmlgnet::sha256(&std::fs::read(folder.join("model.safetensors")).unwrap()));
    place.ok(&embed);
    // A wheel that nobody knows.
    std::fs::write(place.path("x-1-py3-none-any.whl"), "PK").unwrap();
    let error = place.fails(1, &["models", "pull", "x-1-py3-none-any.whl"]);
    assert!(error.contains("x-1-py3-none-any.whl") && error.contains("SHA-256"), "{error}");
}
