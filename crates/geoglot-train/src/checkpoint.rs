//! The state of a training run between two epochs, in one safetensors file that is either whole or absent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use geoglot_core::atomic;
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diff::leaves;
use crate::history::EpochRecord;
use crate::{Error, Result};

/// Everything that training continues from.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Numbers that fit into JSON.
    pub state: State,
    /// Parameters and running statistics.
    pub weights: Vec<f32>,
    /// Those of the best epoch so far.
    pub best: Vec<f32>,
    /// Their moving average, where one is kept.
    pub ema: Option<Vec<f32>>,
    /// The optimiser's own record.
    pub optimizer: Vec<u8>,
}

/// The small part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Identifies data, split, model, text and training options; another run's checkpoint is refused. Of JSON objects the message says what
    /// changed.
    pub run: String,
    /// Epochs done.
    pub epochs: usize,
    /// Epoch of the best validation result, from 1.
    pub best_epoch: usize,
    /// What happened so far.
    pub history: Vec<EpochRecord>,
}

/// Bytes of one tensor.
struct Blob<'a> {
    dtype: Dtype,
    shape: [usize; 1],
    bytes: Cow<'a, [u8]>,
}

impl View for Blob<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn floats(values: &[f32]) -> Blob<'static> {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Blob { dtype: Dtype::F32, shape: [values.len()], bytes: Cow::Owned(bytes) }
}

impl Checkpoint {
    /// The file of a run in `folder`.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join("checkpoint.safetensors")
    }

    /// Writes the checkpoint, replacing the one before it only when whole.
    ///
    /// # Errors
    /// A folder that cannot be written, a full disk; the old checkpoint stays.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let path = Self::path(folder);
        let mut tensors = vec![("weights", floats(&self.weights)), ("best", floats(&self.best))];
        if let Some(ema) = &self.ema {
            tensors.push(("ema", floats(ema)));
        }
        let record = Blob { dtype: Dtype::U8, shape: [self.optimizer.len()], bytes: Cow::Borrowed(&self.optimizer) };
        tensors.push(("optimizer", record));
        let state = serde_json::to_string(&self.state).expect("numbers and strings are JSON");
        let metadata = Some(HashMap::from([("state".to_owned(), state)]));
        let bytes = safetensors::serialize(tensors, metadata)
            .map_err(|e| Error::Checkpoint { path: path.clone(), problem: format!("cannot be written: {e}") })?;
        Ok(atomic::write(&path, &bytes)?)
    }

    /// Reads the checkpoint in `folder`; `None` when there is none. `run` must be the one it was written by.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a damaged file or another run's.
    pub fn load(folder: &Path, run: &str) -> Result<Option<Self>> {
        let path = Self::path(folder);
        let fail = |problem: String| Error::Checkpoint { path: path.clone(), problem };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fail(format!("cannot be read: {e}"))),
        };
        let damaged = |what: String| fail(format!("is damaged ({what}); delete it to start over"));
        let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let state =
            header.metadata().as_ref().and_then(|m| m.get("state")).ok_or_else(|| damaged("no state".into()))?;
        let state: State = serde_json::from_str(state).map_err(|e| damaged(e.to_string()))?;
        if state.run != run {
            return Err(fail(format!(
                "belongs to a run with other {}; use another --out, or train without --resume to start over",
                changes(&state.run, run)
            )));
        }
        let blob = |name: &str, dtype: Dtype| {
            let tensor = file.tensor(name).map_err(|e| damaged(e.to_string()))?;
            if tensor.dtype() != dtype {
                return Err(damaged(format!("`{name}` has type {:?}", tensor.dtype())));
            }
            Ok(tensor.data().to_vec())
        };
        let floats = |name: &str| {
            let bytes = blob(name, Dtype::F32)?;
            let values: Vec<f32> =
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            if values.iter().any(|v| !v.is_finite()) {
                return Err(damaged(format!("`{name}` holds values that are not finite")));
            }
            Ok(values)
        };
        let ema = if file.names().contains(&"ema") { Some(floats("ema")?) } else { None };
        let (weights, best, optimizer) = (floats("weights")?, floats("best")?, blob("optimizer", Dtype::U8)?);
        if best.len() != weights.len() || ema.as_ref().is_some_and(|e| e.len() != weights.len()) {
            return Err(damaged("weights, best and average differ in length".into()));
        }
        Ok(Some(Self { state, weights, best, ema, optimizer }))
    }
}

/// What a run's identity differs in, where both are JSON objects.
fn changes(before: &str, now: &str) -> String {
    const SHOWN: usize = 20;
    let object = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    let (Some(before), Some(now)) = (object(before), object(now)) else {
        return "data, split, model, text or training options".into();
    };
    let all = leaves("", &before, &now);
    let mut text = String::from("settings:");
    for (path, before, now) in all.iter().take(SHOWN) {
        text += &format!("\n  {path}: {before} before, {now} now");
    }
    if all.len() > SHOWN {
        text += &format!("\n  and {} more", all.len() - SHOWN);
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Checkpoint {
        Checkpoint {
            state: State { run: "a".into(), epochs: 3, best_epoch: 2, history: Vec::new() },
            weights: vec![1.0, -2.5],
            best: vec![0.5, 0.0],
            ema: Some(vec![0.1, 0.2]),
            optimizer: vec![1, 2, 3],
        }
    }

    #[test]
    fn a_checkpoint_survives_the_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Checkpoint::load(dir.path(), "a").unwrap(), None);
        for checkpoint in [example(), Checkpoint { ema: None, ..example() }] {
            checkpoint.save(dir.path()).unwrap();
            assert_eq!(Checkpoint::load(dir.path(), "a").unwrap(), Some(checkpoint));
        }
        assert!(Checkpoint::load(dir.path(), "b").unwrap_err().to_string().contains("other data"));
        let run = |batch: usize| format!("{{\"train\": {{\"batch\": {batch}, \"seed\": 0}}}}");
        let mut checkpoint = example();
        checkpoint.state.run = run(15);
        checkpoint.save(dir.path()).unwrap();
        let error = Checkpoint::load(dir.path(), &run(10)).unwrap_err().to_string();
        assert!(error.contains("train.batch: 15 before, 10 now") && !error.contains("seed"), "{error}");
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        example().save(dir.path()).unwrap();
        let path = Checkpoint::path(dir.path());
        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, 4, 20, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let error = Checkpoint::load(dir.path(), "a").unwrap_err().to_string();
            assert!(error.contains("damaged") && error.contains("checkpoint.safetensors"), "{error}");
        }
    }
}
