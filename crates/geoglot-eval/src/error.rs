//! Errors of evaluation.

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while scoring, running a baseline, plotting or writing a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two arrays that belong together differ in length.
    #[error("{what}: {found} values, expected {expected}, one for every pixel")]
    Length {
        /// The array.
        what: String,
        /// Length it must have.
        expected: usize,
        /// Length it has.
        found: usize,
    },
    /// A class index that the legend does not have.
    #[error(
        "{what}: class index {index} at position {position}, but there are {classes} classes (0 to {}); map label ids to positions with the legend first",
        classes.saturating_sub(1)
    )]
    Class {
        /// The array.
        what: String,
        /// The index found.
        index: usize,
        /// Where.
        position: usize,
        /// Number of classes.
        classes: usize,
    },
    /// Nothing to work on.
    #[error("{0}")]
    Empty(String),
    /// A feature or embedding that is not a number.
    #[error(
        "{what}: value {value} in row {row}, column {column}; leave such pixels out or fill them before evaluating"
    )]
    NotFinite {
        /// The array.
        what: String,
        /// The value.
        value: f32,
        /// Row of the array.
        row: usize,
        /// Column of the array.
        column: usize,
    },
    /// A setting outside its range.
    #[error("{0}")]
    Setting(String),
    /// A figure that could not be drawn.
    #[error("figure `{figure}`: {problem}")]
    Plot {
        /// The figure.
        figure: String,
        /// What the drawing library says.
        problem: String,
    },
    /// Reading or writing a file.
    #[error(transparent)]
    Core(#[from] geoglot_core::Error),
}

/// Checks that `found` values were given where `expected` are needed.
pub(crate) fn same_length(what: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::Length { what: what.into(), expected, found }) }
}

/// Checks that every index is below `classes`.
pub(crate) fn in_legend(what: &str, indices: &[usize], classes: usize) -> Result<()> {
    match indices.iter().position(|&index| index >= classes) {
        None => Ok(()),
        Some(position) => Err(Error::Class { what: what.into(), index: indices[position], position, classes }),
    }
}

/// Checks that every value is finite.
pub(crate) fn all_finite(what: &str, values: ndarray::ArrayView2<f32>) -> Result<()> {
    match values.indexed_iter().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some(((row, column), &value)) => Err(Error::NotFinite { what: what.into(), value, row, column }),
    }
}
