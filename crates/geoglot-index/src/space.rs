//! The embedding space an archive lives in.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// An embedding space: a text tower and a width. Only vectors of one space can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Name of the space, e.g. `siglip-so400m-patch14-384`.
    pub name: String,
    /// Width of its vectors.
    pub dim: usize,
    /// Model that made the vectors, e.g. a Hugging Face id.
    pub model: String,
    /// Hash of the weights that define the space, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_hash: Option<String>,
    /// True when vectors are stored with length 1 (always the case for archives made by [`crate::Archive::create`]).
    pub normalised: bool,
}

impl Space {
    /// A space of `dim`-wide, L2-normalised vectors.
    pub fn new(name: impl Into<String>, dim: usize, model: impl Into<String>, model_hash: Option<String>) -> Self {
        Self { name: name.into(), dim, model: model.into(), model_hash, normalised: true }
    }

    /// True when vectors of the two spaces may be compared: same name, same width, and no two known, different hashes.
    pub fn matches(&self, other: &Self) -> bool {
        let hashes_differ = matches!((&self.model_hash, &other.model_hash), (Some(a), Some(b)) if a != b);
        self.name == other.name && self.dim == other.dim && !hashes_differ
    }

    /// Refuses a query or record of another space.
    ///
    /// # Errors
    /// [`Error::SpaceMismatch`] naming both.
    pub fn check(&self, query: &Self) -> Result<()> {
        if self.matches(query) {
            return Ok(());
        }
        Err(Error::SpaceMismatch { archive: Box::new(self.clone()), query: Box::new(query.clone()) })
    }

    /// Brings `vector` to length 1.
    ///
    /// # Errors
    /// [`Error::Vector`] naming `what` when the width is wrong, a value is not finite or all are zero.
    pub fn normalise(&self, vector: &mut [f32], what: impl Fn() -> String) -> Result<()> {
        let refuse = |problem: String| Err(Error::Vector { what: what(), problem });
        if vector.len() != self.dim {
            return refuse(format!("{} values, but the space {self} is {} wide", vector.len(), self.dim));
        }
        if let Some(i) = vector.iter().position(|v| !v.is_finite()) {
            return refuse(format!("value {i} is {}; embeddings must be finite", vector[i]));
        }
        let norm = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        if norm < 1e-20 {
            return refuse("all values are zero, so it has no direction".into());
        }
        for v in vector {
            *v = (f64::from(*v) / norm) as f32;
        }
        Ok(())
    }
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ({} wide, model `{}`", self.name, self.dim, self.model)?;
        match &self.model_hash {
            Some(hash) => write!(f, " {})", &hash[..hash.char_indices().nth(12).map_or(hash.len(), |(i, _)| i)]),
            None => write!(f, ")"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_space_is_refused_with_both_names() {
        let a = Space::new("siglip", 4, "m1", Some("aa".into()));
        let b = Space::new("clip", 4, "m2", None);
        let message = a.check(&b).unwrap_err().to_string();
        assert!(message.contains("`siglip`") && message.contains("`clip`"), "{message}");
        assert!(a.check(&Space { model_hash: None, ..a.clone() }).is_ok());
        assert!(a.check(&Space { model_hash: Some("bb".into()), ..a.clone() }).is_err());
        assert!(a.check(&Space { dim: 5, ..a.clone() }).is_err());
    }

    #[test]
    fn vectors_without_direction_are_refused() {
        let space = Space::new("s", 2, "m", None);
        let check = |v: &[f32]| space.normalise(&mut v.to_vec(), || "query".into()).map_err(|e| e.to_string());
        assert!(check(&[0.0, 0.0]).unwrap_err().contains("zero"));
        assert!(check(&[f32::NAN, 0.0]).unwrap_err().contains("value 0"));
        assert!(check(&[1.0]).unwrap_err().contains("2 wide"));
        let mut v = [3.0, 4.0];
        space.normalise(&mut v, String::new).unwrap();
        assert_eq!(v, [0.6, 0.8]);
    }
}
