//! Datasets, splits, samplers, normalisation and the synthetic scene generator of geoglot.
