//! SpectralGPT (Hong et al. 2024): a vision transformer over patches of space and spectrum.
//!
//! The 12 Sentinel-2 bands (all but the cirrus band) are taken three at a time; a patch of 8 × 8 pixels of three bands is a token, so that
//! an image of 128 px has 4 × 16 × 16 tokens. Bands are bound by name and wavelength, never by their order in a file.
//!
//! * [`SpectralGptConfig`], [`SpectralGpt`]: the network; [`SpectralMae`]: with a decoder, for pre-training on masked tokens;
//! * [`SpectralTower`]: the encoder as an [`crate::ImageTower`], for embeddings, probes and Spectral-LLaVA; published `.pth` files and
//!   folders of geoglot's own load by [`SpectralTower::open`].

mod config;
mod load;
mod mae;
mod network;
mod tower;

pub use config::{SpectralGptConfig, sentinel2_bands, sentinel2_preprocess, sentinel2_subset};
pub use load::{SpectralCard, save_spectralgpt};
pub use mae::{MaeConfig, SpectralLoss, SpectralMae};
pub use network::SpectralGpt;
pub use tower::{PooledTokens, SpectralTower};
