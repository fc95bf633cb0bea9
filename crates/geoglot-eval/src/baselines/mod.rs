//! Methods every result is shown beside: coordinates alone, and a random forest on the pixel's own bands.

mod coordinates;
mod features;
mod forest;

pub use coordinates::{Place, coordinate_knn};
pub use features::patch_features;
pub use forest::{Forest, ForestOptions, random_forest};
