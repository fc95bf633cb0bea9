//! Metrics, baselines, confidence intervals, t-SNE, plots and reports of geoglot.
//!
//! # Brief overview
//! Everything here takes plain arrays: true and predicted classes as positions in a [`geoglot_core::Legend`], and optionally the spatial group and the
//! fold of each pixel.
//!
//! 1. [`TestPixels`] holds the truth; [`TestPixels::score`] gives [`Scores`] (OA, AA, kappa, per class, confusion matrix) with bootstrap intervals,
//!    [`TestPixels::compare`] the paired difference of two methods;
//! 2. [`baselines`] are the classifiers every result is shown beside: coordinates alone and a random forest;
//! 3. [`joint_space`] lays pixel embeddings and prompt vectors out by t-SNE;
//! 4. [`protocols`] score image and text embeddings: zero-shot, retrieval, multi-label, linear probe, nearest neighbours;
//! 5. [`plot`] draws figures as SVG and PNG; [`Report`], [`ProtocolReport`] and [`AblationReport`] write them with their numbers as JSON, Markdown and one HTML page.
//!
//! ```
//! use geoglot_eval::{Bootstrap, TestPixels};
//! let pixels = TestPixels { truth: vec![0, 0, 1, 1], groups: None, folds: None, classes: 2 };
//! let scores = pixels.score(&[0, 1, 1, 1], &Bootstrap::default())?;
//! assert_eq!(scores.oa.unwrap().value, 0.75);
//! assert_eq!(scores.classes[0].producers.unwrap().value, 0.5);
//! # Ok::<(), geoglot_eval::Error>(())
//! ```
#![warn(missing_docs)]

pub mod baselines;
mod bootstrap;
mod compare;
mod error;
mod interval;
mod metrics;
pub mod plot;
pub mod protocols;
pub mod report;
mod scores;
mod test_pixels;
mod tiles_texts;
mod tsne;

pub use bootstrap::{Bootstrap, Unit, confusion_replicates};
pub use compare::{McNemar, PairedDifference, PixelComparison, paired_difference, paired_pixels};
pub use error::{Error, Result};
pub use interval::{Interval, mean_std, percentile};
pub use metrics::ConfusionMatrix;
pub use report::{
    AblationReport, AblationRow, AblationTable, CaptionExample, CaptionGroup, CaptionReport, Honesty, MethodResult,
    ProtocolReport, Report, ReportFiles, ReportImage, Role, Section, SplitNote,
};
pub use scores::{ClassScores, FoldScores, Scores, over_runs};
pub use test_pixels::{Comparison, TestPixels};
pub use tiles_texts::{TilesAndTexts, tiles_and_texts};
pub use tsne::{JointSpace, TsneOptions, joint_space};
