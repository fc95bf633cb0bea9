//! Hits as a GeoJSON FeatureCollection (RFC 7946).

use std::path::Path;

use geoglot_core::atomic;
use serde_json::{Map, Value, json};

use crate::Result;
use crate::search::Hit;

/// A FeatureCollection; hits without footprint have a null geometry.
pub fn to_geojson(hits: &[Hit]) -> Value {
    let features: Vec<Value> = hits.iter().map(feature).collect();
    json!({ "type": "FeatureCollection", "features": features })
}

/// Writes [`to_geojson`] atomically.
///
/// # Errors
/// [`crate::Error::Core`] naming the file.
pub fn write_geojson(path: &Path, hits: &[Hit]) -> Result<()> {
    Ok(atomic::write_json(path, &to_geojson(hits))?)
}

fn feature(hit: &Hit) -> Value {
    let meta = &hit.meta;
    let mut properties = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            properties.insert(name.into(), value);
        }
    };
    put("rank", Some(json!(hit.rank)));
    put("score", Some(json!(hit.score)));
    put("datetime", meta.time.map(|t| json!(t.to_string())));
    put("sensor", meta.sensor.as_ref().map(|s| json!(s)));
    put("source", Some(json!(meta.source)));
    put("window", meta.window.map(|w| json!([w.col, w.row, w.width, w.height])));
    put("eo:cloud_cover", meta.cloud.map(|c| json!(f64::from(c) * 100.0)));
    put("nodata_share", meta.nodata.map(|n| json!(n)));
    if let Some(grid) = &meta.grid {
        let t = grid.transform;
        put("proj:code", grid.crs.as_ref().and_then(|c| c.epsg()).map(|c| json!(format!("EPSG:{c}"))));
        put("proj:transform", Some(json!([t.dx, t.rx, t.x0, t.ry, t.dy, t.y0])));
        put("proj:shape", Some(json!([grid.height, grid.width])));
    }
    put("caption", meta.caption.as_ref().map(|c| json!(c)));
    put("tags", (!meta.tags.is_empty()).then(|| json!(meta.tags)));
    let mut feature =
        json!({ "type": "Feature", "id": meta.id.to_string(), "geometry": null, "properties": properties });
    if let Some(footprint) = &meta.footprint {
        let b = footprint.bbox();
        feature["geometry"] = footprint.to_geojson();
        feature["bbox"] = json!([b.west, b.south, b.east, b.north]);
    }
    feature
}
