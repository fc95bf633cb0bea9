//! Files far larger than what they should be: refused, or read in parts, in little memory.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

use super::fixtures::Place;

/// Length of the files: 3 GB, of which the file system stores next to nothing.
const LENGTH: u64 = 3 << 30;
/// What the program may allocate, in KiB: far less than one of the files.
const MEMORY: &str = "1000000";

/// A file of [`LENGTH`] bytes that begins with `start` and is zero after it.
fn huge(place: &Place, name: &str, start: &[u8]) -> String {
    let path = place.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).unwrap();
    file.write_all(start).unwrap();
    file.set_len(LENGTH).unwrap();
    name.to_owned()
}

/// Runs the program within [`MEMORY`]; exit code and standard error.
fn run(place: &Place, args: &[&str]) -> (i32, String) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -d {MEMORY}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_geoglot")]);
    command.args(args).current_dir(place.path("")).env("GEOGLOT_HOME", place.path("home"));
    command.env("HF_HOME", place.path("hub")).env("HF_HUB_OFFLINE", "1").env("RAYON_NUM_THREADS", "2");
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    (code.unwrap_or_else(|| panic!("{args:?} was ended by a signal: {error}")), error)
}

/// The header of an npy file of bytes.
fn npy(shape: &str) -> Vec<u8> {
    let mut header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({shape}), }}");
    header = format!("{header:<117}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat()
}

#[test]
fn huge_files_in_the_place_of_small_ones_are_refused() {
    let place = Place::new();
    let (model, clip) = (place.model(), place.clip_pair());
    let picture = place.picture("a.png", 20, 20, 1);
    let scene = place.scene("s.tif", "rgb", 24, 24, 99);
    place.ok(&["embed", &scene, "--model", &model, "--out", "o"]);
    let start = b"name = 1\n";
    for (args, file) in [
        (&["classify", &picture, "--model", &clip, "--labels-file"][..], huge(&place, "labels.txt", b"water\n")),
        (&["classify", &picture, "--model", &clip, "--labels-file"], huge(&place, "legend.toml", start)),
        (&["classify", &picture, "--model", &clip, "--labels-file"], huge(&place, "legend.json", b"{ ")),
        (&["index", "search", "o/archive", "--text", "water", "--area"], huge(&place, "area.geojson", b"{ ")),
        (&["embed", &scene, "--model", &model, "--out", "p", "--sensors"], huge(&place, "sensors.toml", start)),
        (&["pretrain"], huge(&place, "recipe.toml", start)),
        (&["train"], huge(&place, "train.toml", start)),
        (&["evaluate", "zero-shot", "--model", &clip, "--data"], huge(&place, "list.json", b"[ ")),
        (&["evaluate", "zero-shot", "--model", &clip, "--data"], huge(&place, "list.csv", b"filepath,title\n")),
        (&["classify", "--model", &clip, "--labels", "a; b"], huge(&place, "zero.jpg", b"\xff\xd8\xff\xe0\x00\x02")),
        (&["classify", "--model", &clip, "--labels", "a; b"], huge(&place, "zero.png", b"\x89PNG\r\n\x1a\n")),
        (&["info"], huge(&place, "zero.mat", &[&[b' '; 124][..], b"\0\x01IM"].concat())),
        (&["info"], huge(&place, "zero.tif", b"II*\0\x08\0\0\0")),
        (&["index", "import", "new"], huge(&place, "zero.parquet", b"PAR1")),
        (&["embed", &scene, "--out", "p", "--model"], huge(&place, "bare.safetensors", b"")),
    ] {
        let (code, error) = run(&place, &[args, &[&file]].concat());
        assert!(code == 1 && error.contains(&file), "{file}: {code} {error}");
        std::fs::remove_file(place.path(&file)).unwrap();
    }
    assert!(!place.path("p").exists() && !place.path("new").exists());
}

#[test]
fn huge_files_of_a_model_and_an_archive_are_named() {
    let place = Place::new();
    let (model, clip) = (place.model(), place.clip_pair());
    let scene = place.scene("s.tif", "rgb", 24, 24, 99);
    let picture = place.picture("a.png", 20, 20, 1);
    place.ok(&["embed", &scene, "--model", &model, "--out", "o"]);
    for (file, args) in [
        ("clip/merges.txt", &["classify", &picture, "--model", &clip, "--labels", "a; b"][..]),
        ("clip/open_clip_config.json", &["classify", &picture, "--model", &clip, "--labels", "a; b"]),
        ("model/model.safetensors", &["embed", &scene, "--model", &model, "--out", "p"]),
        ("model/config.json", &["embed", &scene, "--model", &model, "--out", "p"]),
        ("o/archive/archive.json", &["index", "info", "o/archive"]),
        ("o/archive/archive.json", &["index", "search", "o/archive", "--text", "water"]),
        ("o/archive/archive.json", &["index", "verify", "o/archive"]),
    ] {
        let whole = std::fs::read(place.path(file)).unwrap();
        huge(&place, file, b"{ ");
        let (code, error) = run(&place, args);
        // `verify` lists the files on standard output.
        let word = if args[1] == "verify" { "repair" } else { file.rsplit('/').next().unwrap() };
        assert!(code == 1 && error.contains(word), "{file}: {code} {error}");
        if file.ends_with("archive.json") {
            // Also such a manifest is made again.
            assert_eq!(run(&place, &["index", "repair", "o/archive"]).0, 0);
            assert_eq!(place.json(&["index", "info", "o/archive", "--json"])["records"], 4);
        } else {
            std::fs::write(place.path(file), whole).unwrap();
        }
    }
}

#[test]
fn huge_scenes_are_read_in_parts() {
    let place = Place::new();
    let model = place.model();
    huge(&place, "scene.npy", &npy("3, 32768, 32767"));
    let scene = "scene.npy:sensor=rgb,axes=chw";
    let args = ["embed", scene, "--model", &model, "--tile", "512", "--stride", "16000", "--out", "o"];
    let (code, error) = run(&place, &args);
    assert_eq!(code, 0, "{error}");
    assert_eq!(place.json(&["index", "info", "o/archive", "--json"])["records"], 9);
    let (code, error) = run(&place, &["classify", scene, "--model", &model, "--labels", "a; b"]);
    assert!(code == 1 && error.contains("scene.npy") && error.contains("tile by tile"), "{error}");
    // Longer than the file is.
    huge(&place, "short.npy", &npy("3, 32768, 32769"));
    let (code, error) = run(&place, &["info", "short.npy"]);
    assert!(code == 1 && error.contains("short.npy") && error.contains("truncated"), "{error}");
}
