//! Parsers of `geoglot-core` and `geoglot-raster`. Each target says whether the parser took the bytes.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use geoglot_core::{Legend, Registry, Window};
use geoglot_raster::formats::{FolderSource, axes, envi, folder, mat, npy};
use geoglot_raster::{Axes, BandSource, Resampling, SceneArg, SourceOptions, tiff};

/// A target's name and entry point.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Every target of this file.
pub const TARGETS: &[Target] = &[
    ("array_file", array_file),
    ("axes", axes),
    ("envi_header", envi_header),
    ("folder_names", folder_names),
    ("legend", legend),
    ("mat5", mat5),
    ("npy_header", npy_header),
    ("scene_arg", scene_arg),
    ("sensors", sensors),
    ("tiff", tiff),
];

/// A folder of this process for the parsers that read files.
pub fn scratch(name: &str) -> PathBuf {
    static ROOT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = ROOT.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path().join(name);
    std::fs::create_dir_all(&folder).expect("a folder for the target");
    folder
}

/// Reads at most 8 × 8 pixels of at most four bands; whether there are any.
fn look(source: &dyn BandSource) -> bool {
    let grid = source.grid();
    let _ = (grid.bounds(), grid.crs_name());
    let window = Window::new(0, 0, grid.width.min(8), grid.height.min(8));
    let bands: Vec<usize> = (0..source.bands().len().min(4)).collect();
    let Ok(tile) = source.read(&bands, window) else { return false };
    assert_eq!(tile.data.dim(), (bands.len(), window.height, window.width));
    true
}

/// The header of an ENVI file.
pub fn envi_header(data: &[u8]) -> bool {
    let Ok(header) = envi::parse_envi_header(&String::from_utf8_lossy(data)) else { return false };
    assert!(header.samples > 0 && header.lines > 0 && header.bands > 0);
    assert!(header.wavelengths.is_none_or(|w| w.len() == header.bands));
    true
}

/// The header of an npy file.
pub fn npy_header(data: &[u8]) -> bool {
    let Ok(header) = npy::parse_npy_header(data) else { return false };
    assert!(header.offset <= data.len() as u64);
    true
}

/// The table of variables of a MATLAB level-5 file.
pub fn mat5(data: &[u8]) -> bool {
    mat::list_mat5(Cursor::new(data), data.len() as u64).is_ok_and(|(variables, _)| !variables.is_empty())
}

/// A GeoTIFF in memory: tags, geokeys, GDAL's XML, and some pixels.
pub fn tiff(data: &[u8]) -> bool {
    tiff::open_bytes(Path::new("input.tif"), data.to_vec()).is_ok_and(|source| look(&source))
}

/// A whole file, told by its content: npy, MATLAB, HDF5, NetCDF, ENVI. The last byte chooses the file's ending.
pub fn array_file(data: &[u8]) -> bool {
    let Some((ending, data)) = data.split_last() else { return false };
    let folder = scratch("array_file");
    let endings = ["mat", "npy", "h5", "nc", "hdr"];
    let path = folder.join("input").with_extension(endings[usize::from(*ending) % endings.len()]);
    std::fs::write(folder.join("input.img"), [7; 64]).expect("a file in the temporary folder");
    std::fs::write(&path, data).expect("a file in the temporary folder");
    let mut taken = false;
    for axes in [None, Some(Axes::Hwc), Some(Axes::Hw)] {
        let source = geoglot_raster::open(&path, &SourceOptions { variable: None, axes });
        taken |= source.is_ok_and(|source| look(source.as_ref()));
    }
    std::fs::remove_file(&path).expect("the file just written");
    taken
}

/// Names of the files in a product's folder, one a line; the first line is the folder's own.
pub fn folder_names(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let _ = text.lines().map(folder::sensor_of_product).count();
    let plain =
        |name: &&str| !name.is_empty() && name.len() < 120 && !name.starts_with('.') && !name.contains(['/', '\0']);
    let mut names = text.lines().filter(plain).take(6);
    let Some(own) = names.next() else { return false };
    let folder = scratch("folder_names").join(own);
    std::fs::create_dir_all(&folder).expect("a folder in the temporary folder");
    for name in names {
        std::fs::write(folder.join(format!("{name}.tif")), TINY_TIFF).expect("a file in the temporary folder");
    }
    let taken = FolderSource::open(&folder, Resampling::Nearest).is_ok_and(|source| look(&source));
    std::fs::remove_dir_all(&folder).expect("the folder just written");
    taken
}

/// A TIFF of one grey pixel, one strip, eight bits.
const TINY_TIFF: &[u8] = b"II*\0\x08\0\0\0\x08\0\
    \0\x01\x03\0\x01\0\0\0\x01\0\0\0\x01\x01\x03\0\x01\0\0\0\x01\0\0\0\
    \x02\x01\x03\0\x01\0\0\0\x08\0\0\0\x03\x01\x03\0\x01\0\0\0\x01\0\0\0\
    \x06\x01\x03\0\x01\0\0\0\x01\0\0\0\x11\x01\x04\0\x01\0\0\0\x6e\0\0\0\
    \x16\x01\x03\0\x01\0\0\0\x01\0\0\0\x17\x01\x04\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x2a";

/// An input as written on the command line.
pub fn scene_arg(data: &[u8]) -> bool {
    let Ok(arg) = String::from_utf8_lossy(data).parse::<SceneArg>() else { return false };
    assert!(!arg.path.as_os_str().is_empty());
    let _ = (arg.label(), arg.source_options());
    true
}

/// A selector such as `cube[3,0]`, and the choice of axes for the shape that the bytes make.
pub fn axes(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let parts = axes::split_list(&text);
    let fixed = parts.iter().find_map(|part| axes::parse_selector(part).ok()).map(|(_, index)| index);
    let shape: Vec<usize> = data.chunks(3).take(6).map(|b| b.iter().fold(0, |n, &b| n << 8 | usize::from(b))).collect();
    let mut taken = fixed.is_some();
    for custom in [axes::Custom::Matlab, axes::Custom::Open] {
        for wanted in [None, Some(Axes::Hw), Some(Axes::Hwc), Some(Axes::Chw)] {
            if let Ok(map) = axes::choose(&shape, fixed.as_deref().unwrap_or_default(), wanted, custom) {
                assert_eq!(map.fixed.len() + 2 + usize::from(map.band.is_some()), shape.len());
                taken = true;
            }
        }
    }
    taken
}

/// A user's sensor file.
pub fn sensors(data: &[u8]) -> bool {
    let mut registry = Registry::default();
    if registry.add("input.toml", &String::from_utf8_lossy(data)).is_err() {
        return false;
    }
    for sensor in registry.sensors() {
        assert!(!sensor.bands.is_empty());
        assert!(sensor.layouts.iter().all(|layout| sensor.layout(&layout.name).is_ok()));
    }
    true
}

/// A legend in TOML and in JSON.
pub fn legend(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let mut taken = false;
    for name in ["input.toml", "input.json"] {
        if let Ok(legend) = Legend::parse(&text, Path::new(name)) {
            for k in 0..legend.len() {
                assert!(!legend.words(k).is_empty());
                let _ = legend.color(k);
            }
            taken = true;
        }
    }
    taken
}
