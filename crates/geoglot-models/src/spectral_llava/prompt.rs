//! Images in a worded conversation.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::llm::{LlmTokenizer, Part};

/// Stands for an image in a text.
pub const IMAGE: &str = "<image>";

/// What is asked of a scene; its token stands before the instruction, as in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A description.
    Caption,
    /// The classes of the scene.
    Classification,
}

impl Task {
    /// Its token.
    pub fn token(self) -> &'static str {
        match self {
            Task::Caption => "[caption]",
            Task::Classification => "[classification]",
        }
    }

    /// What is asked when nothing else is.
    pub fn instruction(self) -> &'static str {
        match self {
            Task::Caption => "Describe this multispectral scene.",
            Task::Classification => "Which classes does this multispectral scene show?",
        }
    }

    /// A person's turn about one image.
    pub fn turn(self, instruction: Option<&str>) -> String {
        format!("{IMAGE}\n{} {}", self.token(), instruction.unwrap_or(self.instruction()))
    }
}

/// The tokens and images of a worded conversation, each [`IMAGE`] replaced by the next of `images` (projected tokens, flat).
///
/// # Errors
/// [`Error::Input`] when there are other numbers of images and of [`IMAGE`]; [`Error::Tokenizer`].
pub fn prompt_parts(text: &str, images: &[Vec<f32>], tokenizer: &LlmTokenizer) -> Result<Vec<Part>> {
    let pieces: Vec<&str> = text.split(IMAGE).collect();
    if pieces.len() != images.len() + 1 {
        return Err(Error::Input(format!(
            "the prompt has {} `{IMAGE}` for {} images: write `{IMAGE}` where each image stands",
            pieces.len() - 1,
            images.len()
        )));
    }
    let mut parts = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        if i > 0 {
            parts.push(Part::Embedded(images[i - 1].clone()));
        }
        if !piece.is_empty() {
            parts.push(Part::Tokens(tokenizer.encode(piece, false)?));
        }
    }
    Ok(parts)
}
