//! GeoLangBind and DOFA: any bands, bound by their centre wavelengths (Xiong et al. 2025, arXiv 2503.06312; also published as
//! DOFA-CLIP; DOFA: arXiv 2403.15356).
//!
//! The towers themselves are [`crate::vision`] towers with a wavelength patch embedding and [`crate::text`] towers. Here are the
//! binding of bands to wavelengths, the pair of both towers with the sigmoid loss's scale and bias, and the heads that learn from teachers.

mod maka;
mod pair;
mod wavelengths;

pub use maka::{GridResize, Maka, MakaConfig, MatchLoss, MatchOver, resize_tokens, rgb_bands};
pub use pair::ImageTextModel;
pub use wavelengths::{Fill, Placeholders, RGB, bind_wavelengths};
