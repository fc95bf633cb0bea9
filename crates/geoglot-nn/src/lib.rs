//! Layers, losses and tested custom operations on the burn framework for geoglot.
