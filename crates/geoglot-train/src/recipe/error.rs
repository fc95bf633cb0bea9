//! Errors of recipes.

/// What can be wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Not TOML, an unknown key, a value out of range.
    #[error("{path}: {problem}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// An override that cannot be applied, or makes the recipe wrong.
    #[error("{path}: --set {text}: {problem}")]
    Override {
        /// The file.
        path: String,
        /// The override as given.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// `${NAME}` of a variable that is not set.
    #[error("`{text}`: the environment variable {name} is not set; set it to the folder that holds the data")]
    Variable {
        /// The path as written.
        text: String,
        /// The variable.
        name: String,
    },
    /// An input that does not parse.
    #[error(transparent)]
    Raster(#[from] geoglot_raster::Error),
    /// A recipe or legend that cannot be read.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
}
