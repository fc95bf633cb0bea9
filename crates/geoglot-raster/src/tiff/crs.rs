//! GeoKeys ↔ [`Crs`], model tags ↔ [`Affine`].

use geoglot_core::{Affine, Crs, Grid};
use geotiff_core::geokeys::{
    GEODETIC_CRS_TYPE, GT_CITATION, GT_MODEL_TYPE, GT_RASTER_TYPE, PROJ_CITATION, PROJECTED_CRS_TYPE, PROJECTION,
};
use geotiff_core::{GeoKeyDirectory, GeoKeyValue, GeoTransform, RasterType, tags};
use tiff_core::{Tag, TagValue};

/// GeoTIFF's code for "described by parameters, not by a registry code".
const USER_DEFINED: u16 = 32767;
const ESRI_PREFIX: &str = "ESRI PE String = ";

/// The reference system of a GeoKey directory, by EPSG code where there is one.
pub(super) fn read(keys: &GeoKeyDirectory, epsg: Option<u32>) -> Option<Crs> {
    if let Some(code) = epsg.or_else(|| utm(keys)) {
        return Some(Crs::Epsg(code));
    }
    let citations: Vec<&str> = [PROJ_CITATION, GT_CITATION, geotiff_core::geokeys::GEODETIC_CITATION]
        .into_iter()
        .filter_map(|key| keys.get_ascii(key))
        .map(|text| text.trim_end_matches(['|', '\0']).trim())
        .filter(|text| !text.is_empty())
        .collect();
    if let Some(wkt) = citations.iter().find_map(|text| text.strip_prefix(ESRI_PREFIX)) {
        return Some(Crs::Wkt(wkt.into()));
    }
    // A custom projection: its parameters make up its identity, so that two files with the same one can be combined.
    let parameters: Vec<String> = keys
        .keys
        .iter()
        .filter(|key| key.id != GT_RASTER_TYPE && key.id > GT_MODEL_TYPE)
        .filter_map(|key| match &key.value {
            GeoKeyValue::Short(v) => Some(format!("{}={v}", key.id)),
            GeoKeyValue::Double(v) => Some(format!("{}={v:?}", key.id)),
            GeoKeyValue::Ascii(_) => None,
        })
        .collect();
    if parameters.is_empty() && citations.is_empty() {
        return None;
    }
    let name = citations.first().copied().unwrap_or("custom CRS").replace('"', "'");
    Some(Crs::Wkt(format!("LOCAL_CS[\"{name}\",{}]", parameters.join(","))))
}

/// Older files write UTM as "user-defined" with the projection's code (160zz north, 161zz south) and a geographic base.
fn utm(keys: &GeoKeyDirectory) -> Option<u32> {
    let (projection, base) = (keys.get_short(PROJECTION)?, keys.get_short(GEODETIC_CRS_TYPE)?);
    if keys.get_short(PROJECTED_CRS_TYPE).is_some_and(|code| code != USER_DEFINED) {
        return None;
    }
    let zone = u32::from(projection % 100);
    let (north, south) = (projection / 100 == 160, projection / 100 == 161);
    match base {
        _ if !(1..=60).contains(&zone) => None,
        4326 if north => Some(32600 + zone),
        4326 if south => Some(32700 + zone),
        // A nameless datum on the ellipsoid of WGS 84 (or of GRS 80, a tenth of a millimetre away) without a shift.
        USER_DEFINED if north && like_wgs84(keys) => Some(32600 + zone),
        USER_DEFINED if south && like_wgs84(keys) => Some(32700 + zone),
        4269 if north && zone <= 23 => Some(26900 + zone),
        4267 if north && zone <= 22 => Some(26700 + zone),
        _ => None,
    }
}

/// True when the custom geographic base has WGS 84's size and shape and no shift from it.
fn like_wgs84(keys: &GeoKeyDirectory) -> bool {
    // GeogSemiMajorAxis, GeogInvFlattening, GeogTOWGS84.
    let near = |key: u16, value: f64| {
        keys.get_double(key).is_some_and(|v| v.first().is_some_and(|v| (v - value).abs() < 1e-4))
    };
    near(2057, 6_378_137.0) && near(2059, 298.2572) && keys.get_double(2062).is_none_or(|v| v.iter().all(|v| *v == 0.0))
}

/// The pixel-corner transform.
pub(super) fn affine(t: &GeoTransform) -> Affine {
    Affine { x0: t.origin_x, dx: t.pixel_width, rx: t.skew_x, y0: t.origin_y, ry: t.skew_y, dy: t.pixel_height }
}

/// Tags that place `grid` on the ground, or what is wrong with it.
pub(super) fn tags(grid: &Grid) -> Result<Vec<Tag>, String> {
    let mut out = Vec::new();
    let t = grid.transform;
    if grid.crs.is_none() && t == Affine::identity() {
        return Ok(out);
    }
    let transform = GeoTransform {
        origin_x: t.x0,
        pixel_width: t.dx,
        skew_x: t.rx,
        origin_y: t.y0,
        skew_y: t.ry,
        pixel_height: t.dy,
    };
    match transform.to_tiepoint_and_scale_with_raster_type(RasterType::PixelIsArea) {
        Some((tiepoint, scale)) => {
            out.push(Tag::new(tags::TAG_MODEL_PIXEL_SCALE, TagValue::Double(scale.to_vec())));
            out.push(Tag::new(tags::TAG_MODEL_TIEPOINT, TagValue::Double(tiepoint.to_vec())));
        }
        None => {
            let matrix = transform.to_transformation_matrix_with_raster_type(RasterType::PixelIsArea);
            out.push(Tag::new(tags::TAG_MODEL_TRANSFORMATION, TagValue::Double(matrix.to_vec())));
        }
    }
    let mut keys = GeoKeyDirectory::new();
    keys.set(GT_RASTER_TYPE, GeoKeyValue::Short(1));
    match &grid.crs {
        None => {}
        Some(Crs::Epsg(code)) => {
            let short = u16::try_from(*code)
                .map_err(|_| format!("EPSG:{code} cannot be stored in a GeoTIFF, whose codes end at 65535"))?;
            let geographic = proj4rs::Proj::from_epsg_code(short).is_ok_and(|p| p.is_latlong());
            keys.set(GT_MODEL_TYPE, GeoKeyValue::Short(if geographic { 2 } else { 1 }));
            let key = if geographic { GEODETIC_CRS_TYPE } else { PROJECTED_CRS_TYPE };
            keys.set(key, GeoKeyValue::Short(short));
        }
        Some(Crs::Wkt(wkt)) => {
            keys.set(GT_MODEL_TYPE, GeoKeyValue::Short(1));
            keys.set(PROJECTED_CRS_TYPE, GeoKeyValue::Short(USER_DEFINED));
            keys.set(PROJ_CITATION, GeoKeyValue::Ascii(format!("{ESRI_PREFIX}{}", wkt.replace('|', " "))));
        }
    }
    let (directory, doubles, ascii) = keys.serialize().map_err(|e| e.to_string())?;
    out.push(Tag::new(tags::TAG_GEO_KEY_DIRECTORY, TagValue::Short(directory)));
    if !doubles.is_empty() {
        out.push(Tag::new(tags::TAG_GEO_DOUBLE_PARAMS, TagValue::Double(doubles)));
    }
    if !ascii.is_empty() {
        out.push(Tag::new(tags::TAG_GEO_ASCII_PARAMS, TagValue::Ascii(ascii)));
    }
    Ok(out)
}
