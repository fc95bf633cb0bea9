//! The four systems and the text towers of geoglot: config, init, module, load.
