//! Vision transformers by their published names, from `architectures.toml`.

use std::sync::LazyLock;

use geoglot_nn::transformer::Activation;
use geoglot_nn::vision::{FinalNorm, PatchKind, Pooling, PositionResampling, VitConfig, WavelengthConfig};
use serde::Deserialize;

/// One entry of the table; see its head for the defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    names: Vec<String>,
    patch: usize,
    image: usize,
    width: usize,
    depth: usize,
    heads: usize,
    hidden: Option<usize>,
    #[serde(default = "epsilon")]
    epsilon: f64,
    #[serde(default = "gelu")]
    activation: String,
    #[serde(default = "yes")]
    class_token: bool,
    class_position: Option<bool>,
    #[serde(default)]
    registers: usize,
    #[serde(default = "yes")]
    patch_bias: bool,
    #[serde(default)]
    pre_norm: bool,
    #[serde(default)]
    layer_scale: bool,
    #[serde(default = "class")]
    pooling: Pooling,
    #[serde(default = "tokens")]
    norm: FinalNorm,
    wavelength: Option<WavelengthConfig>,
}

fn epsilon() -> f64 {
    1e-6
}
fn gelu() -> String {
    "gelu".into()
}
fn yes() -> bool {
    true
}
fn class() -> Pooling {
    Pooling::Class
}
fn tokens() -> FinalNorm {
    FinalNorm::Tokens
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    architecture: Vec<Entry>,
}

static TABLE: LazyLock<Vec<(Vec<String>, VitConfig)>> = LazyLock::new(|| {
    let table: Table =
        toml::from_str(include_str!("architectures.toml")).expect("a table of this crate, read in its tests");
    table.architecture.into_iter().map(|e| (e.names.clone(), e.config())).collect()
});

impl Entry {
    fn config(self) -> VitConfig {
        let side = self.image / self.patch;
        VitConfig {
            patch: self.patch,
            embed: match self.wavelength {
                Some(wavelength) => PatchKind::Wavelength(wavelength),
                None => PatchKind::Fixed { channels: 3, bias: self.patch_bias },
            },
            grid: (side, side),
            width: self.width,
            depth: self.depth,
            heads: self.heads,
            hidden: self.hidden.unwrap_or(4 * self.width),
            epsilon: self.epsilon,
            activation: Activation::from_name(&self.activation).expect("a name of this crate, read in its tests"),
            class_token: self.class_token,
            class_position: self.class_position.unwrap_or(self.class_token),
            registers: self.registers,
            pre_norm: self.pre_norm,
            layer_scale: self.layer_scale,
            norm: self.norm,
            pooling: self.pooling,
            projection: None,
            projection_bias: false,
            positions: PositionResampling { antialias: true, offset: 0.0 },
        }
    }
}

/// The architecture of a published name; timm's training tag (`.augreg_in21k`) is passed over.
pub(super) fn architecture(name: &str) -> Option<VitConfig> {
    let bare = name.split('.').next().unwrap_or(name);
    TABLE.iter().find(|(names, _)| names.iter().any(|n| n == bare)).map(|(_, config)| config.clone())
}

/// Known names, comma separated.
pub(super) fn names() -> String {
    TABLE.iter().flat_map(|(names, _)| names.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        let mut all: Vec<&str> = TABLE.iter().flat_map(|(names, _)| names.iter().map(String::as_str)).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "a name is used twice");
        for (names, config) in TABLE.iter() {
            assert_eq!(config.problem(), None, "{names:?}");
        }
        let so400m = architecture("vit_so400m_patch14_siglip_384.webli").unwrap();
        assert_eq!((so400m.grid, so400m.hidden, so400m.class_token), ((27, 27), 4304, false));
        assert!(architecture("resnet50").is_none());
    }
}
