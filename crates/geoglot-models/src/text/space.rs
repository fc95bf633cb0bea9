//! Named embedding spaces.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The space embeddings live in: a text tower and a width. Only embeddings of one space can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SpaceId {
    /// Name of the space, for example `minilm-l6-v2-384`.
    pub name: String,
    /// Width D of its vectors.
    pub width: usize,
}

impl SpaceId {
    /// A space by name and width.
    pub fn new(name: impl Into<String>, width: usize) -> Self {
        Self { name: name.into(), width }
    }

    /// Checks that embeddings of `self` and `other` may be compared.
    ///
    /// # Errors
    /// [`Error::Space`] naming both.
    pub fn expect(&self, other: &SpaceId) -> Result<()> {
        if self == other {
            return Ok(());
        }
        Err(Error::Space { left: self.to_string(), right: other.to_string() })
    }
}

impl std::fmt::Display for SpaceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}-d)", self.name, self.width)
    }
}
