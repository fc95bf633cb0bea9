//! The `.aux.xml` file beside a raster: class names with their attribute table, and reference systems without EPSG code, which the TIFF itself
//! cannot hold in a form that GDAL reads.

use std::path::{Path, PathBuf};

use geoglot_core::{Crs, Grid, Legend};

use super::metadata::escape;

/// Ids above this get no entry in the list of category names, which has to name every id from 0.
const MAX_LISTED: u16 = 1023;

/// `map.tif` → `map.tif.aux.xml`.
pub(super) fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".aux.xml");
    name.into()
}

/// What GDAL and QGIS read beside the raster, if anything is needed.
pub(super) fn compose(grid: &Grid, legend: Option<&Legend>) -> Option<String> {
    let mut xml = String::from("<PAMDataset>\n");
    let wkt = match &grid.crs {
        // Names given to nameless projections are no reference system for others.
        Some(Crs::Wkt(wkt)) if !wkt.starts_with("LOCAL_CS") => Some(wkt),
        _ => None,
    };
    if let Some(wkt) = wkt {
        xml += &format!("  <SRS>{}</SRS>\n", escape(wkt));
    }
    if let Some(legend) = legend {
        xml += &classes(legend);
    }
    xml += "</PAMDataset>\n";
    (wkt.is_some() || legend.is_some()).then_some(xml)
}

/// Name and colour of each class.
fn classes(legend: &Legend) -> String {
    let mut xml = String::from("  <PAMRasterBand band=\"1\">\n");
    let last = legend.classes.iter().map(|c| c.id).max().unwrap_or(0);
    if last <= MAX_LISTED {
        xml += "    <CategoryNames>\n";
        for id in 0..=last {
            let name = legend.index_of(id).map(|k| legend.classes[k].name.as_str());
            let name = name.unwrap_or(if id == legend.unlabelled { "no class" } else { "" });
            xml += &format!("      <Category>{}</Category>\n", escape(name));
        }
        xml += "    </CategoryNames>\n";
    }
    xml += "    <GDALRasterAttributeTable tableType=\"thematic\">\n";
    // GDAL's field types (0 integer, 2 string) and usages (5 min-max value, 2 name, 6/7/8 red/green/blue).
    for (k, (name, kind, usage)) in
        [("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8)].into_iter().enumerate()
    {
        xml += &format!(
            "      <FieldDefn index=\"{k}\"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>\n"
        );
    }
    for (row, class) in legend.classes.iter().enumerate() {
        let [r, g, b] = legend.color(row);
        let name = escape(&class.name);
        xml += &format!(
            "      <Row index=\"{row}\"><F>{}</F><F>{name}</F><F>{r}</F><F>{g}</F><F>{b}</F></Row>\n",
            class.id
        );
    }
    xml + "    </GDALRasterAttributeTable>\n  </PAMRasterBand>\n"
}
