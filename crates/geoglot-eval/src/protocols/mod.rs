//! Evaluation protocols on embeddings: zero-shot, retrieval, multi-label, linear probe, nearest neighbours, feature maps.
//!
//! # Brief overview
//! Everything takes plain arrays, one row a vector, and knows no model:
//! 1. [`class_features`] turns prompt embeddings into one vector a class, [`cosines`] compares rows;
//! 2. [`zero_shot`], [`knn`], [`linear_probe`] give a [`Classification`]; [`multilabel`] and [`retrieval`] their own figures;
//! 3. every figure carries a bootstrap interval over images, or over groups (tiles of one scene) where they are given;
//! 4. [`FeatureColors`], [`prompt_similarity`] and [`HeatScale`] make pictures of feature maps;
//! 5. each result has a `section` for a [`ProtocolReport`](crate::report::ProtocolReport).

mod adam_probe;
mod caption_scores;
mod classification;
mod feature_maps;
mod features;
mod knn;
mod lbfgs;
mod multilabel;
mod probe;
mod ranking;
mod resample;
mod retrieval;
mod said;
mod share_curve;
mod thresholds;

pub use adam_probe::{AdamProbe, adam_probe};
pub use caption_scores::{MentionScores, ReferenceScores, mention_scores, mentions, reference_scores, words};
pub use classification::{Classification, TopK, score_classes, zero_shot};
pub use feature_maps::{FeatureColors, HeatScale, heat_colors, prompt_similarity};
pub use features::{Labelled, class_features, cosines, normalised};
pub use knn::knn;
pub use multilabel::{LabelScores, Multilabel, Prf, multilabel};
pub use probe::{LinearProbe, ProbeOptions, ProbeResult, linear_probe, linear_probe_multilabel};
pub use ranking::average_precision;
pub use retrieval::{Direction, RECALL_AT, Retrieval, retrieval};
pub use said::{KindScores, NamedScores, QuestionScores, Said, SaidReport, score_said, verdict};
pub use share_curve::{SHARES, SharePoint, ShareProbe, share_curve};
pub use thresholds::{Thresholds, best_threshold, best_thresholds};
