//! What the tests of the program share: a folder with a generated scene, the program run in it, files read back.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use geoglot::core::Grid;
use geoglot::raster::{RasterSpec, RasterWriter, SampleType, SourceOptions};
use ndarray::Array3;
use serde_json::Value;
use tempfile::TempDir;

/// Two folds, tiny batches: a training run takes about a second.
const RECIPE: &str = r#"name = "tiny"
description = "A small generated scene."

[data]
root = "scene"
legend = "scene/legend.toml"

[[data.scene]]
name = "scene"
inputs = { hsi = "aisa-eagle.tif:sensor=aisa-eagle", lidar = "lidar.tif" }
labels = "labels.tif"

[split]
folds = 2

[model]
patch = 9

[text]
tower = "hashed-words"

[train]
epochs = 3
steps_per_epoch = 3
batch = 32

[ablation]
towers = ["hashed-words"]
elevation_channels = { DSM = ["DSM"], "DSM + DTM" = ["DSM", "DTM"] }
"#;

/// The inputs of the generated scene, as `map` takes them.
pub const SCENE: &str = "--scene hsi=scene/aisa-eagle.tif:sensor=aisa-eagle --scene lidar=scene/lidar.tif";

/// The program, away from the user's models and network.
pub fn program(folder: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("geoglot"));
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("home");
    command.current_dir(folder).env("GEOGLOT_HOME", &home).env("HF_HOME", home.join("hf")).env("HF_HUB_OFFLINE", "1");
    command.env_remove("GEOGLOT_LOG").env_remove("RUST_BACKTRACE");
    command
}

/// A finished run of the program.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Ran {
    /// Runs `command` to its end. A panic fails the test, whatever else was expected.
    pub fn new(command: Command) -> Self {
        let output = assert_cmd::Command::from_std(command).output().expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ran = Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        assert!(ran.code.is_some(), "ended by a signal: {}", ran.stderr);
        ran
    }

    /// Standard output of a run that must succeed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// The message of a run that must fail with `code`, saying every one of `words`.
    pub fn fails(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.lines().any(|l| l.starts_with("error:")), "{}", self.stderr);
        // What came before are notes on the inputs.
        let start = if self.stderr.starts_with("error:") { Some(0) } else { self.stderr.find("\nerror:") };
        let message = &self.stderr[start.expect("there is an error line")..];
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        message.to_owned()
    }
}

/// A folder of its own for a test, with `scene/` and `recipe.toml`.
pub struct Work(TempDir);

impl Work {
    /// A folder with the generated scene and its recipe.
    pub fn new() -> Self {
        let work = Self::empty();
        copy(&shared().join("scene"), &work.path("scene"));
        work.write("recipe.toml", RECIPE);
        work
    }

    /// The same with a trained `model/`.
    pub fn with_model() -> Self {
        let work = Self::new();
        copy(&shared().join("model"), &work.path("model"));
        work
    }

    /// A folder with nothing in it.
    pub fn empty() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A path in the folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Bytes of a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// A JSON file.
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// Rewrites a text file.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(name)).expect("text");
        assert!(text.contains(from), "`{from}` is not in {name}");
        self.write(name, text.replacen(from, to, 1));
    }

    /// The program with `line` as its arguments, split at blanks.
    pub fn command(&self, line: &str) -> Command {
        let mut command = program(self.0.path());
        command.args(line.split_whitespace());
        command
    }

    /// Runs the program with `line` as its arguments.
    pub fn run(&self, line: &str) -> Ran {
        Ran::new(self.command(line))
    }

    /// The same with one more argument, taken as it is.
    pub fn run_with(&self, line: &str, last: impl AsRef<OsStr>) -> Ran {
        let mut command = self.command(line);
        command.arg(last);
        Ran::new(command)
    }

    /// Maps the generated scene with `model/` into `out/`, with further arguments.
    pub fn map(&self, more: &str) -> Ran {
        self.run(&format!("map --model model --out out {SCENE} {more}"))
    }

    /// Names of the files in a folder, those in folders with their path; nothing when there is no folder.
    pub fn files(&self, name: &str) -> Vec<String> {
        fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().map(|e| e.expect("readable")) {
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                match entry.path().is_dir() {
                    true => collect(&entry.path(), &format!("{name}/"), found),
                    false => found.push(name),
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.path(name), "", &mut found);
        found.sort();
        found
    }

    /// Writes a float GeoTIFF on `grid`, nodata −9999.
    pub fn raster(&self, name: &str, grid: &Grid, bands: &[&str], value: impl Fn(usize, usize, usize) -> f32) {
        let data = Array3::from_shape_fn((bands.len(), grid.height, grid.width), |(b, r, c)| value(b, r, c));
        let spec = RasterSpec::values(SampleType::F32, bands.iter().copied(), Some(-9999.0));
        let mut writer = RasterWriter::create(&self.path(name), grid, spec).expect("a writable folder");
        writer.write(grid.window(), data.view(), None).expect("a writable file");
        writer.finish().expect("a writable file");
    }

    /// The grid of a raster and all its values as stored, [C, H, W].
    pub fn pixels(&self, name: &str) -> (Grid, Array3<f32>) {
        let source = geoglot::raster::open(&self.path(name), &SourceOptions::default()).expect("a raster");
        let tile = source.read_stored(&source.all_bands(), source.grid().window()).expect("whole");
        (source.grid().clone(), tile.data)
    }
}

/// Copies a folder without folders in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a writable folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// `scene/` and `model/`, made once for all tests of a process.
fn shared() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scenes");
        // What earlier test processes left; one that may still run is young.
        let old = SystemTime::now() - Duration::from_secs(3600);
        for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            if entry.metadata().and_then(|m| m.modified()).is_ok_and(|made| made < old) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let folder = all.join(std::process::id().to_string());
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a writable folder");
        std::fs::write(folder.join("recipe.toml"), RECIPE).expect("a writable folder");
        for line in ["synth --size 96 --seed 3 --out scene", "train recipe.toml --out model"] {
            let mut command = program(&folder);
            command.args(line.split(' '));
            Ran::new(command).ok();
        }
        // The largest file, which only a resumed run looks at.
        std::fs::remove_file(folder.join("model/checkpoint.safetensors")).expect("a checkpoint");
        folder
    })
}

/// A fixture of another crate of the workspace.
pub fn fixture(krate: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(krate).join("tests/fixtures").join(name)
}

/// A file of the repository's folder of recipes.
pub fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(name)
}

/// A level-5 MATLAB file of double arrays: name, shape, values with the first axis varying fastest.
///
/// Format: "MAT-File Format", The MathWorks, chapter 1.
pub fn mat5(variables: &[(&str, &[usize], Vec<f64>)]) -> Vec<u8> {
    fn element(out: &mut Vec<u8>, kind: u32, data: &[u8]) {
        out.extend(kind.to_le_bytes());
        out.extend((data.len() as u32).to_le_bytes());
        out.extend(data);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    let mut file = b"MATLAB 5.0 MAT-file".to_vec();
    file.resize(124, b' ');
    file.extend([0, 1, b'I', b'M']);
    for (name, shape, values) in variables {
        let mut body = Vec::new();
        // Array flags: class double.
        element(&mut body, 6, &[6, 0, 0, 0, 0, 0, 0, 0]);
        element(&mut body, 5, &shape.iter().flat_map(|&n| (n as i32).to_le_bytes()).collect::<Vec<_>>());
        element(&mut body, 1, name.as_bytes());
        element(&mut body, 9, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
        element(&mut file, 14, &body);
    }
    file
}

/// Small numbers that look random and depend on `seed` alone (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    /// The next number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// `bytes` with a few bits turned over.
pub fn flipped(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    let mut out = bytes.to_vec();
    for _ in 0..=numbers.below(8) {
        let at = numbers.below(out.len());
        out[at] ^= 1 << numbers.below(8);
    }
    out
}
