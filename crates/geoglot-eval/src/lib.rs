//! Metrics, protocols, baselines, confidence intervals, t-SNE, plots and reports of geoglot.
