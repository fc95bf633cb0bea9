//! What happened in training, epoch by epoch: JSON lines and CSV beside the model.

use std::path::Path;

use geoglot_core::atomic;
use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

use crate::Result;

/// One epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Mean training loss.
    pub loss: f64,
    /// Share of validation pixels classified rightly, 0–1; none without validation pixels.
    pub validation_oa: Option<f64>,
    /// Mean intersection over union on the validation pixels, 0–1, in segmentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_miou: Option<f64>,
    /// Learning rate.
    pub learning_rate: f64,
    /// e^τ, the factor on the cosines; 1 for models without one.
    pub logit_scale: f32,
    /// Wall seconds of the epoch.
    pub seconds: f64,
    /// Mean of each part of the loss before it is weighted, where it has several.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub parts: IndexMap<String, f64>,
    /// What was measured after the epoch, 0–1.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub figures: IndexMap<String, f64>,
}

/// Writes `history.jsonl` and `history.csv` into `folder`, each whole.
///
/// # Errors
/// A folder that cannot be written.
pub fn write(folder: &Path, history: &[EpochRecord]) -> Result<()> {
    let mut lines = String::new();
    let mut table = String::from("epoch,loss,validation_oa,validation_miou,learning_rate,logit_scale,seconds");
    let parts: Vec<&String> = history.first().into_iter().flat_map(|e| e.parts.keys()).collect();
    let figures: IndexSet<&String> = history.iter().flat_map(|e| e.figures.keys()).collect();
    parts.iter().chain(&figures).for_each(|name| table += &format!(",\"{}\"", name.replace('"', "\"\"")));
    table.push('\n');
    for e in history {
        lines.push_str(&serde_json::to_string(e).expect("numbers are JSON"));
        lines.push('\n');
        let number = |v: Option<f64>| v.map_or_else(String::new, |v| v.to_string());
        let (oa, miou) = (number(e.validation_oa), number(e.validation_miou));
        let rest = format!("{},{},{:.3}", e.learning_rate, e.logit_scale, e.seconds);
        table.push_str(&format!("{},{},{oa},{miou},{rest}", e.epoch, e.loss));
        parts.iter().for_each(|name| table += &e.parts.get(*name).map_or(",".into(), |v| format!(",{v}")));
        figures.iter().for_each(|name| table += &e.figures.get(*name).map_or(",".into(), |v| format!(",{v}")));
        table.push('\n');
    }
    atomic::write(&folder.join("history.jsonl"), lines.as_bytes())?;
    Ok(atomic::write(&folder.join("history.csv"), table.as_bytes())?)
}
