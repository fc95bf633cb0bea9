//! The four systems and the text towers of geoglot: config, init, module, load.
//!
//! # Brief overview
//! * [`text`]: text towers (BERT family, CLIP, SigLIP), their tokenisers, class features, the fallback that needs no weights;
//! * [`vision`]: image towers (CLIP, SigLIP, DINOv2, timm's ViT, DOFA, GeoLangBind), their preprocessing and presets;
//! * [`geolangbind`]: bands bound by wavelength, image and text tower as one model;
//! * [`mmlgnet`]: land cover from several sensors aligned with text, trained patch by patch, mapped densely;
//! * [`segmentation`]: UPerNet heads on frozen image towers, whole scenes tile by tile with blended seams;
//! * [`tsmnet`]: optical and SAR images to maps of any classes, with descriptions of scenes;
//! * [`llm`]: language models of the LLaMA family: weights, tokenisers, chat templates, generation, adapters;
//! * [`spectralgpt`]: an encoder of space and spectrum for Sentinel-2; [`spectral_llava`]: any image tower and a language model as one;
//! * [`hub`]: the registry of known models, where they lie on this machine, and how to fetch and check them.
//!
//! Every model is a folder of a config and weights. A tower names its embedding space ([`text::SpaceId`]), so that vectors
//! of two spaces are never compared by mistake.
#![warn(missing_docs)]

mod error;
pub mod geolangbind;
pub mod hub;
pub mod initial;
pub mod llm;
pub mod mmlgnet;
pub mod segmentation;
pub mod spectral_llava;
pub mod spectralgpt;
pub mod text;
pub mod tsmnet;
pub mod vision;

pub use error::{Error, Result};
pub use text::{SpaceId, TextTower};
pub use vision::ImageTower;
