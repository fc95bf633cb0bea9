//! Tiny models and scenes, made anew for each test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use burn::tensor::Device;
use geoglot::core::{Affine, Crs, Grid, Registry};
use geoglot::models::vision::VisionConfig;
use geoglot::nn::weights;
use geoglot::raster::preview::Image;
use geoglot::raster::{RasterSpec, RasterWriter, SampleType};
use ndarray::Array3;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Side of the models' input in pixels; a patch is 4.
pub const SIDE: usize = 12;

/// A folder with models' and scenes' files, and a home of its own for geoglot's caches.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The program, at home in this folder.
    pub fn geoglot(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geoglot"));
        command.args(args).current_dir(self.folder.path());
        command.env("GEOGLOT_HOME", self.path("home")).env("HF_HOME", self.path("hub"));
        command
    }

    /// Runs the program, which must succeed; its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.geoglot(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?} failed: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// As [`Place::ok`], the output read as JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Runs the program, which must fail with `code`; its standard error.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.geoglot(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        error
    }

    /// A model that reads any bands, in the space of the built-in text tower `hashed-words` unless another is named.
    pub fn any_band_model(&self, name: &str, space: &str, placeholders: Value) -> String {
        let tower = json!({
            "vit": {
                "patch": 4,
                "embed": { "wavelength": {
                    "embedding": 16, "weight_tokens": 6, "heads": 2, "hidden": 24,
                    "layout": "band-row-column-width", "padding": 0,
                } },
                "grid": [3, 3], "width": 32, "depth": 1, "heads": 4, "hidden": 48, "epsilon": 1e-6, "activation": "gelu",
                "norm": "tokens", "pooling": "mean", "projection": 384,
            },
            "bands": { "any": placeholders },
            "preprocess": {
                "size": [SIDE, SIDE], "resize": "squash", "interpolation": "bicubic", "values": "sensor-range",
                "mean": [0.5], "std": [0.25],
            },
        });
        let config: VisionConfig = serde_json::from_value(tower.clone()).unwrap();
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let vit = config.vit.init(&Device::flex());
        weights::save(&vit, &folder.join("model.safetensors"), &BTreeMap::new()).unwrap();
        let card = json!({ "system": "vision-tower", "layout": 1, "space": space, "tower": tower });
        std::fs::write(folder.join("config.json"), serde_json::to_vec(&card).unwrap()).unwrap();
        folder.display().to_string()
    }

    /// The usual any-band model.
    pub fn model(&self) -> String {
        self.any_band_model("model", "hashed-words-384", json!({ "radar": "rgb", "other": "rgb" }))
    }

    /// A CLIP pair in one OpenCLIP folder: the text side of the parity fixtures, and an image side of made-up weights.
    pub fn clip_pair(&self) -> String {
        let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../geoglot-models/tests/fixtures/text/openclip-gelu");
        let bytes = std::fs::read(texts.join("open_clip_model.safetensors")).unwrap();
        let text_side = SafeTensors::deserialize(&bytes).unwrap();
        let config = std::fs::read(texts.join("open_clip_config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        let (width, layers, patch, hidden) = (16, 1, 4, 64);
        let vision =
            json!({ "layers": layers, "width": width, "head_width": 8, "patch_size": patch, "image_size": SIDE });
        config["model_cfg"]["vision_cfg"] = vision;
        let embed = config["model_cfg"]["embed_dim"].as_u64().unwrap() as usize;
        let block = "visual.transformer.resblocks.0";
        let mut shapes = vec![
            ("visual.conv1.weight".to_owned(), vec![width, 3, patch, patch]),
            ("visual.class_embedding".into(), vec![width]),
            ("visual.positional_embedding".into(), vec![(SIDE / patch).pow(2) + 1, width]),
            ("visual.proj".into(), vec![width, embed]),
            (format!("{block}.attn.in_proj_weight"), vec![3 * width, width]),
            (format!("{block}.attn.in_proj_bias"), vec![3 * width]),
        ];
        for (name, to, from) in
            [("attn.out_proj", width, width), ("mlp.c_fc", hidden, width), ("mlp.c_proj", width, hidden)]
        {
            shapes.push((format!("{block}.{name}.weight"), vec![to, from]));
            shapes.push((format!("{block}.{name}.bias"), vec![to]));
        }
        for norm in ["visual.ln_pre", "visual.ln_post", &format!("{block}.ln_1"), &format!("{block}.ln_2")] {
            shapes.extend(["weight", "bias"].map(|part| (format!("{norm}.{part}"), vec![width])));
        }
        let values: Vec<Vec<u8>> = (0..shapes.len())
            .map(|k| {
                let count: usize = shapes[k].1.iter().product();
                (0..count).flat_map(|i| (((i * 37 + k * 11 + 1) as f32).sin() / 2.0).to_le_bytes()).collect()
            })
            .collect();
        let made = shapes
            .iter()
            .zip(&values)
            .map(|((name, shape), values)| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), values).unwrap()));
        let words = text_side.tensors().into_iter().filter(|(name, _)| !name.starts_with("visual."));
        let folder = self.path("clip");
        std::fs::create_dir_all(&folder).unwrap();
        let bytes = safetensors::serialize(words.chain(made), None).unwrap();
        std::fs::write(folder.join("open_clip_model.safetensors"), bytes).unwrap();
        std::fs::write(folder.join("open_clip_config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        std::fs::copy(texts.join("merges.txt"), folder.join("merges.txt")).unwrap();
        folder.display().to_string()
    }

    /// A scene with all bands of `sensor`, 10 m pixels, its corner at 500 km / 5,300 km in UTM zone 32; values differ from place to
    /// place. Columns from `empty_from` on have no data.
    pub fn scene(&self, name: &str, sensor: &str, width: usize, height: usize, empty_from: usize) -> String {
        let grid = Grid {
            crs: Some(Crs::Epsg(32632)),
            transform: Affine::north_up(500_000.0, 5_300_000.0, 10.0, 10.0),
            width,
            height,
        };
        let bands = &Registry::builtin().sensor(sensor).unwrap().bands;
        let high = bands[0].range.unwrap().1;
        let data = Array3::from_shape_fn((bands.len(), height, width), |(b, r, c)| {
            let wave =
                ((r as f64 / 7.0).sin() * (c as f64 / 5.0).cos() + (b as f64 + r as f64 * c as f64 / 90.0).sin()) / 4.0;
            if c < empty_from { (high * (0.5 + wave)) as f32 } else { f32::NAN }
        });
        let path = self.path(name);
        let spec = RasterSpec::values(SampleType::F32, bands.iter().map(|b| b.name.as_str()), Some(f64::NAN));
        let mut writer = RasterWriter::create(&path, &grid, spec).unwrap();
        writer.write(grid.window(), data.view(), None).unwrap();
        writer.finish().unwrap();
        format!("{}:sensor={sensor}", path.display())
    }

    /// A PNG without place on Earth.
    pub fn picture(&self, name: &str, width: usize, height: usize, seed: usize) -> String {
        let value = |c: usize, r: usize, k: usize| ((c * 13 + r * 7 + k * 61 + seed * 97) % 256) as u8;
        let image = Image::from_fn(width, height, |c, r| [value(c, r, 0), value(c, r, 1), value(c, r, 2), 255]);
        image.save_png(&self.path(name)).unwrap();
        self.text(name)
    }
}
