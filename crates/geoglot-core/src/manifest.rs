//! `run.json`: what a command did, so that a result can be traced and repeated.

use std::path::Path;
use std::time::{Instant, SystemTime};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{Band, Result, atomic};

/// How one input's bands were bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BandUse {
    /// Input name, such as `hsi`.
    pub input: String,
    /// File or folder read.
    pub path: String,
    /// The bands in the order in which the model saw them.
    pub bands: Vec<Band>,
}

/// The record written as `run.json` beside every result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunManifest {
    /// Program version.
    pub version: String,
    /// Sub-command, such as `map`.
    pub command: String,
    /// The whole command line.
    pub arguments: Vec<String>,
    /// Root seed, where the command used one.
    pub seed: Option<u64>,
    /// Band mapping used, one entry an input.
    pub inputs: Vec<BandUse>,
    /// SHA-256 of the model's weights, where a model was used.
    pub model_hash: Option<String>,
    /// How training and test pixels were separated, where that matters.
    pub split: Option<String>,
    /// Seconds since the Unix epoch at the start.
    pub started_unix: u64,
    /// Wall seconds of each named stage, in order.
    pub seconds: IndexMap<String, f64>,
    /// Results in short, such as `OA`.
    pub results: IndexMap<String, serde_json::Value>,
    #[serde(skip, default = "Instant::now")]
    stage: Instant,
}

impl RunManifest {
    /// Starts a record for `command`, taking the command line from the process.
    pub fn start(command: &str) -> Self {
        let started_unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            command: command.into(),
            // Lossy, as file names need not be UTF-8 and JSON must be.
            arguments: std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect(),
            seed: None,
            inputs: Vec::new(),
            model_hash: None,
            split: None,
            started_unix,
            seconds: IndexMap::new(),
            results: IndexMap::new(),
            stage: Instant::now(),
        }
    }

    /// Ends the running stage under `name` and starts the next.
    pub fn stage(&mut self, name: &str) {
        *self.seconds.entry(name.into()).or_default() += self.stage.elapsed().as_secs_f64();
        self.stage = Instant::now();
    }

    /// Writes `run.json` into `folder`, atomically.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the file.
    pub fn save(&self, folder: &Path) -> Result<()> {
        atomic::write_json(&folder.join("run.json"), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_add_up_and_the_file_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut run = RunManifest::start("map");
        run.stage("read");
        run.stage("read");
        run.inputs.push(BandUse { input: "hsi".into(), path: "a.tif".into(), bands: vec![Band::named("1")] });
        run.save(dir.path()).unwrap();
        let back: RunManifest = serde_json::from_slice(&std::fs::read(dir.path().join("run.json")).unwrap()).unwrap();
        assert_eq!(back.inputs, run.inputs);
        assert_eq!(back.seconds.len(), 1);
    }
}
