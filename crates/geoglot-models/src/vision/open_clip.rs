//! `open_clip_config.json`.

use std::path::Path;

use geoglot_nn::transformer::Activation;
use geoglot_nn::vision::resample::Interpolation;
use geoglot_nn::vision::{FinalNorm, PatchKind, Pooling, PositionResampling, VitConfig};
use serde::Deserialize;
use serde_json::Value;

use super::architectures::{architecture, names};
use super::{BandNeed, ImagePreprocess, ResizeMode, ValueScale, VisionConfig};
use crate::error::{Error, Result};
use crate::geolangbind::Placeholders;

/// OpenAI's statistics, the default of the library.
pub(super) const OPENAI_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Standard deviations beside [`OPENAI_MEAN`].
pub(super) const OPENAI_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// `model_cfg.vision_cfg`. An unknown field is an error: it might change the computation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VisionCfg {
    #[serde(default = "image_size")]
    image_size: Value,
    #[serde(default = "layers")]
    layers: Value,
    #[serde(default = "width")]
    width: usize,
    #[serde(default = "head_width")]
    head_width: usize,
    #[serde(default = "mlp_ratio")]
    mlp_ratio: f64,
    #[serde(default = "patch_size")]
    patch_size: usize,
    timm_model_name: Option<String>,
    #[serde(default = "avg")]
    timm_pool: String,
    #[serde(default = "linear")]
    timm_proj: String,
    #[serde(default)]
    timm_proj_bias: bool,
    ls_init_value: Option<f64>,
    #[serde(default)]
    no_ln_pre: bool,
    pool_type: Option<String>,
    norm_kwargs: Option<NormKwargs>,
    // Accepted only with the values of the plain tower.
    #[serde(default)]
    attentional_pool: Value,
    pos_embed_type: Option<String>,
    #[serde(default)]
    final_ln_after_pool: bool,
    act_kwargs: Option<Value>,
    block_type: Option<String>,
    // Without influence on inference.
    #[serde(rename = "patch_dropout")]
    _patch_dropout: Option<f64>,
    #[serde(rename = "timm_drop")]
    _timm_drop: Option<f64>,
    #[serde(rename = "timm_drop_path")]
    _timm_drop_path: Option<f64>,
    #[serde(rename = "timm_model_pretrained")]
    _timm_model_pretrained: Option<bool>,
    #[serde(rename = "output_tokens")]
    _output_tokens: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NormKwargs {
    eps: f64,
}

fn image_size() -> Value {
    224.into()
}
fn layers() -> Value {
    12.into()
}
fn width() -> usize {
    768
}
fn head_width() -> usize {
    64
}
fn mlp_ratio() -> f64 {
    4.0
}
fn patch_size() -> usize {
    16
}
fn avg() -> String {
    "avg".into()
}
fn linear() -> String {
    "linear".into()
}

/// `preprocess_cfg`.
#[derive(Deserialize, Default)]
struct PreprocessCfg {
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    interpolation: Option<String>,
    resize_mode: Option<String>,
    size: Option<Value>,
}

impl VisionConfig {
    /// Reads an `open_clip_config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is wrong or not supported.
    pub fn from_open_clip(json: &Value, path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::config(path, problem);
        let model = json.get("model_cfg").unwrap_or(json);
        let vision = model.get("vision_cfg").ok_or_else(|| bad("no `model_cfg.vision_cfg`".into()))?;
        let p = VisionCfg::deserialize(vision).map_err(|e| bad(format!("vision_cfg: {e}")))?;
        let embed =
            model.get("embed_dim").and_then(Value::as_u64).ok_or_else(|| bad("no `embed_dim`".into()))? as usize;
        let quick = model.get("quick_gelu").and_then(Value::as_bool).unwrap_or(false);
        let image = pair(&p.image_size).ok_or_else(|| bad(format!("image_size {} is no size", p.image_size)))?;
        let special = [
            ("attentional_pool", !matches!(p.attentional_pool, Value::Null | Value::Bool(false))),
            ("pos_embed_type", p.pos_embed_type.as_deref().is_some_and(|t| t != "learnable")),
            ("final_ln_after_pool", p.final_ln_after_pool),
            ("act_kwargs", p.act_kwargs.as_ref().is_some_and(|v| !v.is_null())),
            ("block_type", p.block_type.as_deref().is_some_and(|t| t != "default")),
        ];
        if let Some((field, _)) = special.iter().find(|(_, set)| *set) {
            return Err(bad(format!("vision_cfg.{field} asks for a tower that is not supported here")));
        }
        let vit = match &p.timm_model_name {
            Some(name) => timm(name, &p, embed, image).map_err(bad)?,
            None => native(&p, embed, image, quick).map_err(bad)?,
        };
        let siglip = p.timm_model_name.as_deref().is_some_and(|n| n.contains("siglip"));
        let preprocess = preprocess(json.get("preprocess_cfg"), image, siglip).map_err(bad)?;
        let bands = match vit.embed {
            PatchKind::Fixed { .. } => BandNeed::rgb(),
            PatchKind::Wavelength(_) => BandNeed::Any(Placeholders::rgb()),
        };
        let preprocess = match bands {
            BandNeed::Fixed(_) => preprocess,
            // An any-band tower cannot have one mean a channel.
            BandNeed::Any(_) => {
                let one = |v: &[f32]| v.iter().all(|x| *x == v[0]).then(|| vec![v[0]]);
                let (Some(mean), Some(std)) = (one(&preprocess.mean), one(&preprocess.std)) else {
                    return Err(bad("an any-band tower needs one mean and one std for all bands".into()));
                };
                ImagePreprocess { mean, std, values: ValueScale::SensorRange, ..preprocess }
            }
        };
        Self { vit, bands, preprocess, ignore: Vec::new(), initial: Vec::new() }.checked(path)
    }
}

/// OpenCLIP's own transformer.
fn native(p: &VisionCfg, embed: usize, image: (usize, usize), quick: bool) -> Result<VitConfig, String> {
    let depth = p.layers.as_u64().ok_or_else(|| {
        format!("layers {} is a residual network, which is not supported; only vision transformers are", p.layers)
    })?;
    let pooling = match p.pool_type.as_deref() {
        None | Some("tok") => Pooling::Class,
        Some("avg") => Pooling::Mean,
        Some(other) => return Err(format!("vision_cfg.pool_type `{other}` is not supported")),
    };
    let (width, head, patch) = (p.width, p.head_width.max(1), p.patch_size.max(1));
    Ok(VitConfig {
        patch,
        embed: PatchKind::Fixed { channels: 3, bias: false },
        grid: (image.0 / patch, image.1 / patch),
        width,
        depth: depth as usize,
        heads: width / head,
        hidden: (width as f64 * p.mlp_ratio) as usize,
        epsilon: p.norm_kwargs.as_ref().map_or(1e-5, |n| n.eps),
        activation: if quick { Activation::QuickGelu } else { Activation::Gelu },
        class_token: true,
        class_position: true,
        registers: 0,
        pre_norm: !p.no_ln_pre,
        layer_scale: p.ls_init_value.is_some(),
        norm: FinalNorm::Tokens,
        pooling,
        projection: Some(embed),
        projection_bias: false,
        positions: PositionResampling { antialias: true, offset: 0.0 },
    })
}

/// A timm tower inside OpenCLIP.
fn timm(name: &str, p: &VisionCfg, embed: usize, image: (usize, usize)) -> Result<VitConfig, String> {
    let mut vit = architecture(name)
        .ok_or_else(|| format!("timm_model_name `{name}` is not known here; known are {}", names()))?;
    vit.grid = (image.0 / vit.patch, image.1 / vit.patch);
    match p.timm_pool.as_str() {
        "map" if vit.pooling == Pooling::Map => {}
        "token" => vit.pooling = Pooling::Class,
        "avg" => (vit.pooling, vit.norm) = (Pooling::Mean, FinalNorm::Pooled),
        "" => {}
        other => return Err(format!("timm_pool `{other}` is not supported for `{name}`")),
    }
    match p.timm_proj.as_str() {
        "linear" => (vit.projection, vit.projection_bias) = (Some(embed), p.timm_proj_bias),
        "none" if vit.width == embed => {}
        "none" => return Err(format!("timm_proj `none` leaves width {}, embed_dim is {embed}", vit.width)),
        // The classifier is the projection.
        "" => (vit.projection, vit.projection_bias) = (Some(embed), true),
        other => return Err(format!("timm_proj `{other}` is not supported")),
    }
    Ok(vit)
}

/// `n` or `[h, w]`.
fn pair(value: &Value) -> Option<(usize, usize)> {
    let one = |v: &Value| v.as_u64().map(|n| n as usize);
    match value {
        Value::Array(list) if list.len() == 2 => Some((one(&list[0])?, one(&list[1])?)),
        other => one(other).map(|n| (n, n)),
    }
}

fn preprocess(json: Option<&Value>, image: (usize, usize), siglip: bool) -> Result<ImagePreprocess, String> {
    let p = match json {
        Some(json) if !json.is_null() => {
            PreprocessCfg::deserialize(json).map_err(|e| format!("preprocess_cfg: {e}"))?
        }
        _ => PreprocessCfg::default(),
    };
    let (mean, std) = if siglip { ([0.5; 3], [0.5; 3]) } else { (OPENAI_MEAN, OPENAI_STD) };
    let resize = match p.resize_mode.as_deref().unwrap_or(if siglip { "squash" } else { "shortest" }) {
        "squash" => ResizeMode::Squash,
        "shortest" => ResizeMode::Shortest,
        other => return Err(format!("preprocess_cfg.resize_mode `{other}` is not supported; squash and shortest are")),
    };
    let interpolation = match p.interpolation.as_deref().unwrap_or("bicubic") {
        "bicubic" => Interpolation::Bicubic,
        "bilinear" => Interpolation::Bilinear,
        other => return Err(format!("preprocess_cfg.interpolation `{other}` is not bicubic or bilinear")),
    };
    Ok(ImagePreprocess {
        size: p.size.as_ref().and_then(pair).unwrap_or(image),
        resize,
        resize_to: None,
        interpolation,
        values: ValueScale::Byte,
        mean: p.mean.unwrap_or_else(|| mean.to_vec()),
        std: p.std.unwrap_or_else(|| std.to_vec()),
        by_band: Default::default(),
    })
}
