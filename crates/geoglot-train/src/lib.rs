//! Objectives, training loop, schedules, checkpoints and resume of geoglot.
