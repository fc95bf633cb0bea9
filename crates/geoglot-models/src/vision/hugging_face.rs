//! Hugging Face's `config.json` and `preprocessor_config.json`, and timm's `config.json`.

use std::path::Path;

use geoglot_nn::transformer::Activation;
use geoglot_nn::vision::resample::Interpolation;
use geoglot_nn::vision::{FinalNorm, PatchKind, Pooling, PositionResampling, VitConfig};
use serde::Deserialize;
use serde_json::Value;

use super::architectures::{architecture, names};
use super::open_clip::{OPENAI_MEAN, OPENAI_STD};
use super::{BandNeed, ImagePreprocess, ResizeMode, ValueScale, VisionConfig};
use crate::error::{Error, Result};
use crate::geolangbind::Placeholders;

const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The fields of a vision configuration; absent ones have the library's defaults for the model type.
#[derive(Deserialize)]
struct Fields {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    mlp_ratio: Option<f64>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_channels: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    projection_dim: Option<usize>,
    num_register_tokens: Option<usize>,
    #[serde(default)]
    use_swiglu_ffn: bool,
    vision_use_head: Option<bool>,
}

impl VisionConfig {
    /// Reads a Hugging Face `config.json` of `model_type` clip, clip_vision_model, siglip, siglip_vision_model, dinov2 or
    /// dinov2_with_registers; `processor` is `preprocessor_config.json`, if there is one.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is wrong or not supported.
    pub fn from_hugging_face(json: &Value, processor: Option<&Value>, path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::config(path, problem);
        let kind = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let vision = match json.get("vision_config") {
            Some(vision) if !vision.is_null() => vision,
            _ => json,
        };
        let f = Fields::deserialize(vision).map_err(|e| bad(e.to_string()))?;
        let width = f.hidden_size.unwrap_or(768);
        let depth = f.num_hidden_layers.unwrap_or(12);
        let heads = f.num_attention_heads.unwrap_or(12);
        let channels = f.num_channels.unwrap_or(3);
        let activation = |default: &str| {
            let name = f.hidden_act.as_deref().unwrap_or(default);
            Activation::from_name(name).ok_or_else(|| bad(format!("hidden_act `{name}` is not supported")))
        };
        let image = f.image_size.unwrap_or(224);
        let vit = VitConfig {
            patch: 16,
            embed: PatchKind::Fixed { channels, bias: true },
            grid: (1, 1),
            width,
            depth,
            heads,
            hidden: f.intermediate_size.unwrap_or(4 * width),
            epsilon: f.layer_norm_eps.unwrap_or(1e-6),
            activation: Activation::Gelu,
            class_token: false,
            class_position: false,
            registers: 0,
            pre_norm: false,
            layer_scale: false,
            norm: FinalNorm::Tokens,
            pooling: Pooling::Map,
            projection: None,
            projection_bias: false,
            positions: PositionResampling::default(),
        };
        let (mut vit, mean, std, resize, resize_to) = match kind {
            "clip" | "clip_vision_model" => {
                let top = json.get("projection_dim").and_then(Value::as_u64).map(|d| d as usize);
                let vit = VitConfig {
                    patch: f.patch_size.unwrap_or(32),
                    embed: PatchKind::Fixed { channels, bias: false },
                    epsilon: f.layer_norm_eps.unwrap_or(1e-5),
                    activation: activation("quick_gelu")?,
                    class_token: true,
                    class_position: true,
                    pre_norm: true,
                    pooling: Pooling::Class,
                    projection: Some(top.or(f.projection_dim).unwrap_or(512)),
                    ..vit
                };
                (vit, OPENAI_MEAN, OPENAI_STD, ResizeMode::Shortest, None)
            }
            "siglip" | "siglip_vision_model" => {
                if f.vision_use_head == Some(false) {
                    return Err(bad(
                        "vision_use_head is false: without its pooling head the tower gives no vector".into()
                    ));
                }
                let vit = VitConfig {
                    patch: f.patch_size.unwrap_or(16),
                    hidden: f.intermediate_size.unwrap_or(3072),
                    activation: activation("gelu_pytorch_tanh")?,
                    ..vit
                };
                (vit, [0.5; 3], [0.5; 3], ResizeMode::Squash, None)
            }
            "dinov2" | "dinov2_with_registers" => {
                if f.use_swiglu_ffn {
                    return Err(
                        bad("use_swiglu_ffn (DINOv2 giant) is not supported; small, base and large are".into()),
                    );
                }
                let registers = if kind == "dinov2" { 0 } else { f.num_register_tokens.unwrap_or(4) };
                let vit = VitConfig {
                    patch: f.patch_size.unwrap_or(if registers == 0 { 14 } else { 16 }),
                    hidden: (width as f64 * f.mlp_ratio.unwrap_or(4.0)) as usize,
                    activation: activation("gelu")?,
                    class_token: true,
                    class_position: true,
                    registers,
                    layer_scale: true,
                    pooling: Pooling::Class,
                    positions: PositionResampling { antialias: registers > 0, offset: 0.0 },
                    ..vit
                };
                (vit, IMAGENET_MEAN, IMAGENET_STD, ResizeMode::Shortest, Some(256))
            }
            other => {
                return Err(bad(format!(
                    "model_type `{other}` is no image tower known here; expected clip, clip_vision_model, siglip, \
                     siglip_vision_model, dinov2 or dinov2_with_registers"
                )));
            }
        };
        let side = image / vit.patch.max(1);
        vit.grid = (side, side);
        // DINOv2 was trained at 518 px and is used at 224 px.
        let size = if vit.layer_scale { 224.min(image) } else { image };
        let preprocess = ImagePreprocess {
            size: (size, size),
            resize,
            resize_to: resize_to.map(|to| to * size / 224),
            interpolation: Interpolation::Bicubic,
            values: ValueScale::Byte,
            mean: mean.to_vec(),
            std: std.to_vec(),
            by_band: Default::default(),
        };
        let preprocess = processed(preprocess, processor).map_err(bad)?;
        let bands = if channels == 3 { BandNeed::rgb() } else { BandNeed::Fixed(Vec::new()) };
        Self { vit, bands, preprocess, ignore: Vec::new(), initial: Vec::new() }.checked(path)
    }

    /// Reads timm's `config.json`, or an architecture by its timm name with timm's usual preprocessing. The classifier is
    /// dropped unless `keep_head`.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is wrong or not supported.
    pub fn from_timm(json: &Value, keep_head: bool, path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::config(path, problem);
        let name = json.get("architecture").and_then(Value::as_str).ok_or_else(|| bad("no `architecture`".into()))?;
        let mut vit = architecture(name)
            .ok_or_else(|| bad(format!("architecture `{name}` is not known here; known are {}", names())))?;
        if let Some(args) = json.get("model_args").and_then(Value::as_object)
            && let Some(field) = args.keys().find(|k| !matches!(k.as_str(), "img_size"))
        {
            return Err(bad(format!("model_args.{field} changes the architecture, which is not supported")));
        }
        // Fields stand at the top in older files and under pretrained_cfg in newer ones.
        let field = |key: &str| json.get("pretrained_cfg").and_then(|c| c.get(key)).or_else(|| json.get(key));
        let image = field("input_size")
            .and_then(|s| s.get(1))
            .and_then(Value::as_u64)
            .map_or(vit.grid.0 * vit.patch, |n| n as usize);
        vit.grid = (image / vit.patch, image / vit.patch);
        match json.get("global_pool").and_then(Value::as_str) {
            None | Some("") => {}
            Some("token") => vit.pooling = Pooling::Class,
            Some("avg") => (vit.pooling, vit.norm) = (Pooling::Mean, FinalNorm::Pooled),
            Some("map") if vit.pooling == Pooling::Map => {}
            Some(other) => return Err(bad(format!("global_pool `{other}` is not supported"))),
        }
        if keep_head {
            let classes = json.get("num_classes").and_then(Value::as_u64).filter(|n| *n > 0);
            let classes = classes.ok_or_else(|| bad("the head is to be kept, but there is no num_classes".into()))?;
            (vit.projection, vit.projection_bias) = (Some(classes as usize), true);
        }
        let numbers = |key: &str, default: [f32; 3]| {
            let list = field(key).and_then(|v| Vec::<f32>::deserialize(v).ok());
            list.unwrap_or_else(|| default.to_vec())
        };
        let crop = field("crop_pct").and_then(Value::as_f64).unwrap_or(0.9).clamp(0.1, 1.0);
        let squash = field("crop_mode").and_then(Value::as_str) == Some("squash");
        let (resize, resize_to) = if squash {
            (ResizeMode::Squash, None)
        } else {
            (ResizeMode::Shortest, Some((image as f64 / crop).floor() as usize).filter(|to| *to != image))
        };
        let preprocess = ImagePreprocess {
            size: (image, image),
            resize,
            resize_to,
            interpolation: match field("interpolation").and_then(Value::as_str) {
                Some("bilinear") => Interpolation::Bilinear,
                _ => Interpolation::Bicubic,
            },
            values: ValueScale::Byte,
            mean: numbers("mean", [0.5; 3]),
            std: numbers("std", [0.5; 3]),
            by_band: Default::default(),
        };
        let (bands, preprocess) = match vit.embed {
            PatchKind::Fixed { .. } => (BandNeed::rgb(), preprocess),
            PatchKind::Wavelength(_) => (
                BandNeed::Any(Placeholders::rgb()),
                ImagePreprocess { values: ValueScale::SensorRange, mean: vec![0.5], std: vec![0.5], ..preprocess },
            ),
        };
        Self { vit, bands, preprocess, ignore: Vec::new(), initial: Vec::new() }.checked(path)
    }
}

/// What `preprocessor_config.json` says over the defaults of the model type.
fn processed(mut p: ImagePreprocess, json: Option<&Value>) -> Result<ImagePreprocess, String> {
    let Some(json) = json else { return Ok(p) };
    let number = |v: &Value| v.as_u64().map(|n| n as usize);
    let sides = |v: &Value| Some((number(v.get("height")?)?, number(v.get("width")?)?));
    let on = |key: &str, default: bool| json.get(key).and_then(Value::as_bool).unwrap_or(default);
    let size = json.get("size");
    let short = size.and_then(|s| s.get("shortest_edge").and_then(number).or_else(|| number(s)));
    let crop = json.get("crop_size").and_then(|c| sides(c).or_else(|| number(c).map(|n| (n, n))));
    if let Some(short) = short {
        p.resize = ResizeMode::Shortest;
        p.size = crop.filter(|_| on("do_center_crop", true)).unwrap_or((short, short));
        p.resize_to = Some(short).filter(|s| (*s, *s) != p.size);
    } else if let Some(sides) = size.and_then(sides) {
        (p.resize, p.resize_to, p.size) = (ResizeMode::Squash, None, sides);
    }
    match json.get("resample").and_then(Value::as_u64) {
        None | Some(3) => p.interpolation = Interpolation::Bicubic,
        Some(2) => p.interpolation = Interpolation::Bilinear,
        Some(other) => return Err(format!("resample {other} is not supported; 2 (bilinear) and 3 (bicubic) are")),
    }
    for (key, to) in [("image_mean", &mut p.mean), ("image_std", &mut p.std)] {
        if let Some(list) = json.get(key) {
            *to = Vec::<f32>::deserialize(list).map_err(|e| format!("{key}: {e}"))?;
        }
    }
    if !on("do_normalize", true) {
        (p.mean, p.std) = (vec![0.0], vec![1.0]);
    }
    let factor = json.get("rescale_factor").and_then(Value::as_f64).unwrap_or(1.0 / 255.0);
    p.values = match on("do_rescale", true) {
        false => ValueScale::AsIs,
        true if (factor * 255.0 - 1.0).abs() < 1e-6 => ValueScale::Byte,
        true => return Err(format!("rescale_factor {factor} is not 1/255")),
    };
    Ok(p)
}
