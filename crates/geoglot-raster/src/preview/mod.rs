//! Pictures for people: quick-looks, class maps with legends, heat maps with colour bars, panels side by side, and terminal previews.
//!
//! ```
//! use geoglot_core::Legend;
//! use geoglot_raster::preview::{class_map, legend_entries, panels, with_legend};
//! let legend = Legend::from_names(["water", "trees"]).unwrap();
//! let labels = ndarray::array![[1u16, 1, 2], [0, 2, 2]];
//! let map = with_legend(&class_map(&labels, &legend), &legend_entries(&labels, &legend));
//! let sheet = panels(&[("Labels", map)]);
//! assert!(sheet.width() > 400);
//! ```

mod color;
mod image;
mod look;
mod map;
mod panel;
mod terminal;
mod text;

pub use color::{stretch_limits, viridis};
pub use image::Image;
pub use look::{QuickLook, quick_look};
pub use map::{LegendEntry, class_map, heat_map, legend_entries, with_color_bar, with_legend};
pub use panel::panels;
pub use terminal::{ansi, ascii};
pub use text::{Align, draw_text, text_width};

/// DejaVu Sans 2.37 as TrueType (Bitstream Vera licence, beside it in `assets/`): no font needs to be installed.
pub const FONT: &[u8] = include_bytes!("../../assets/DejaVuSans.ttf");
