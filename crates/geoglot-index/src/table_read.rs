//! Arrow columns back to records, from own tables and from those of others.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float16Type, Float32Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use geoglot_core::{Affine, Crs, Grid, Window};

use crate::record::{Meta, RecordId, Time};
use crate::{Error, Footprint, Result};

fn refuse(column: &str, problem: impl std::fmt::Display) -> Error {
    Error::format("record table", format!("column `{column}`: {problem}"))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
    batch.column_by_name(name)
}

/// Strings of a column that may be missing; any of Arrow's string types, also by dictionary.
fn strings(batch: &RecordBatch, name: &str) -> Result<Vec<Option<String>>> {
    let Some(array) = column(batch, name) else { return Ok(vec![None; batch.num_rows()]) };
    let own = |v: Option<&str>| v.map(str::to_owned);
    Ok(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(own).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(own).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(own).collect(),
        DataType::Null => vec![None; array.len()],
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let values = dictionary.values();
            let keys = dictionary.normalized_keys();
            let Some(text) = values.as_string_opt::<i32>() else {
                return Err(refuse(name, format!("type {}, expected text", array.data_type())));
            };
            (0..array.len()).map(|i| array.is_valid(i).then(|| text.value(keys[i]).to_owned())).collect()
        }
        other => return Err(refuse(name, format!("type {other}, expected text"))),
    })
}

/// Byte strings of a column that may be missing.
pub(crate) fn binaries<'a>(batch: &'a RecordBatch, name: &str) -> Result<Vec<Option<&'a [u8]>>> {
    let Some(array) = column(batch, name) else { return Ok(vec![None; batch.num_rows()]) };
    Ok(match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().iter().collect(),
        DataType::LargeBinary => array.as_binary::<i64>().iter().collect(),
        DataType::BinaryView => array.as_binary_view().iter().collect(),
        DataType::Null => vec![None; array.len()],
        other => return Err(refuse(name, format!("type {other}, expected binary (WKB)"))),
    })
}

/// Numbers of a column that may be missing.
fn numbers(batch: &RecordBatch, name: &str) -> Result<Vec<Option<f64>>> {
    let Some(array) = column(batch, name) else { return Ok(vec![None; batch.num_rows()]) };
    Ok(match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().map(|v| v.map(f64::from)).collect(),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().collect(),
        DataType::Int64 => array.as_primitive::<Int64Type>().iter().map(|v| v.map(|v| v as f64)).collect(),
        DataType::Null => vec![None; array.len()],
        other => return Err(refuse(name, format!("type {other}, expected a number"))),
    })
}

/// Times of a column that may be missing: timestamps of any unit, dates, or text.
fn times(batch: &RecordBatch, name: &str) -> Result<Vec<Option<Time>>> {
    let Some(array) = column(batch, name) else { return Ok(vec![None; batch.num_rows()]) };
    let scaled = |v: Option<i64>, of: fn(i64) -> i64| v.map(|v| Time(of(v)));
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            array.as_primitive::<TimestampSecondType>().iter().map(|v| scaled(v, |v| v.saturating_mul(1000))).collect()
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().iter().map(|v| scaled(v, |v| v)).collect()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().iter().map(|v| scaled(v, |v| v.div_euclid(1000))).collect()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let nanoseconds = array.as_primitive::<TimestampNanosecondType>();
            nanoseconds.iter().map(|v| scaled(v, |v| v.div_euclid(1_000_000))).collect()
        }
        DataType::Date32 => {
            array.as_primitive::<Date32Type>().iter().map(|v| v.map(|d| Time(i64::from(d) * 86_400_000))).collect()
        }
        _ => strings(batch, name)?
            .into_iter()
            .map(|t| t.filter(|t| !t.is_empty()).map(|t| Time::parse(&t)).transpose())
            .collect::<Result<_>>()?,
    })
}

/// Lists of a column that may be missing, one array each.
fn lists(batch: &RecordBatch, name: &str) -> Result<Vec<Option<ArrayRef>>> {
    let Some(array) = column(batch, name) else { return Ok(vec![None; batch.num_rows()]) };
    Ok(match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().iter().collect(),
        DataType::LargeList(_) => array.as_list::<i64>().iter().collect(),
        DataType::FixedSizeList(_, _) => array.as_fixed_size_list().iter().collect(),
        DataType::Null => vec![None; array.len()],
        other => return Err(refuse(name, format!("type {other}, expected a list"))),
    })
}

/// Floats of any width as f32.
fn floats(array: &dyn Array, name: &str) -> Result<Vec<f32>> {
    if array.null_count() > 0 {
        return Err(refuse(name, "a vector has missing values"));
    }
    Ok(match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().values().iter().map(|v| v.to_f32()).collect(),
        DataType::Float32 => array.as_primitive::<Float32Type>().values().to_vec(),
        DataType::Float64 => array.as_primitive::<Float64Type>().values().iter().map(|&v| v as f32).collect(),
        other => return Err(refuse(name, format!("values of type {other}, expected float16, float32 or float64"))),
    })
}

/// Vectors of a list column; `None` for rows without one.
///
/// # Errors
/// [`Error::Format`] naming the column.
pub(crate) fn vectors(batch: &RecordBatch, name: &str) -> Result<Vec<Option<Vec<f32>>>> {
    lists(batch, name)?.into_iter().map(|list| list.map(|values| floats(&values, name)).transpose()).collect()
}

/// Metadata of all rows. `fallback_id` makes the id of a row whose `id` is missing or none of ours.
///
/// # Errors
/// [`Error::Format`] and [`Error::Geometry`] naming the column or row.
pub(crate) fn metas(
    batch: &RecordBatch,
    geometry: &str,
    fallback_source: &str,
    fallback_id: impl Fn(usize, Option<&str>) -> RecordId,
) -> Result<Vec<Meta>> {
    let ids = match strings(batch, "id") {
        Ok(ids) => ids,
        // Others number their rows.
        Err(_) => numbers(batch, "id")?.into_iter().map(|v| v.map(|v| v.to_string())).collect(),
    };
    let wkb = binaries(batch, geometry)?;
    let times = times(batch, "datetime")?;
    let [sensors, sources, codes, texts, captions] =
        ["sensor", "source", "proj:code", "proj:wkt2", "caption"].map(|name| strings(batch, name));
    let (sensors, sources, codes, texts, captions) = (sensors?, sources?, codes?, texts?, captions?);
    let (cloud, nodata) = (numbers(batch, "eo:cloud_cover")?, numbers(batch, "nodata_share")?);
    let [windows, transforms, shapes, tags] =
        ["window", "proj:transform", "proj:shape", "tags"].map(|name| lists(batch, name));
    let (windows, transforms, shapes, tags) = (windows?, transforms?, shapes?, tags?);
    let whole = |list: &Option<ArrayRef>| -> Option<Vec<usize>> {
        let values = list.as_ref()?.as_primitive_opt::<Int64Type>()?.values().iter();
        values.map(|&v| usize::try_from(v).ok()).collect()
    };
    let mut rows = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let id = ids[row].as_deref();
        let footprint = wkb[row].map(Footprint::from_wkb).transpose();
        let footprint = footprint.map_err(|e| refuse(geometry, format!("row {row}: {e}")))?;
        let transform = transforms[row].as_ref().and_then(|t| t.as_primitive_opt::<Float64Type>()).map(|t| t.values());
        let crs = match (&codes[row], &texts[row]) {
            (Some(code), _) => code.strip_prefix("EPSG:").and_then(|c| c.parse().ok()).map(Crs::Epsg),
            (None, text) => text.clone().map(Crs::Wkt),
        };
        let grid = match (transform.map(|t| &t[..]), whole(&shapes[row]).as_deref()) {
            (Some(&[dx, rx, x0, ry, dy, y0, ..]), Some(&[height, width])) => {
                Some(Grid { crs, transform: Affine { x0, dx, rx, y0, ry, dy }, width, height })
            }
            _ => None,
        };
        let window = match whole(&windows[row]).as_deref() {
            Some(&[col, row, width, height]) => Some(Window::new(col, row, width, height)),
            _ => None,
        };
        let texts = |list: &ArrayRef| -> Vec<String> {
            let texts = list.as_string_opt::<i32>();
            texts.map_or_else(Vec::new, |t| t.iter().flatten().map(str::to_owned).collect())
        };
        rows.push(Meta {
            id: id.and_then(|id| RecordId::parse(id).ok()).unwrap_or_else(|| fallback_id(row, id)),
            footprint,
            grid,
            window,
            time: times[row],
            sensor: sensors[row].clone(),
            source: sources[row].clone().unwrap_or_else(|| fallback_source.to_owned()),
            cloud: cloud[row].map(|v| (v / 100.0) as f32),
            nodata: nodata[row].map(|v| v as f32),
            caption: captions[row].clone(),
            tags: tags[row].as_ref().map_or_else(Vec::new, texts),
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Extra, ExtraValues, schema, to_batch};

    #[test]
    fn records_survive_the_table() {
        let grid = Grid {
            crs: Some(Crs::Epsg(32632)),
            transform: Affine::north_up(5e5, 5e6, 10.0, 10.0),
            width: 64,
            height: 32,
        };
        let full = Meta {
            footprint: Some(Footprint::from_ring(&[[9.0, 45.0], [9.1, 45.0], [9.1, 45.1], [9.0, 45.1]]).unwrap()),
            grid: Some(grid.clone()),
            window: Some(Window::new(64, 32, 64, 32)),
            time: Some(Time::parse("2024-05-01T10:20:30Z").unwrap()),
            sensor: Some("sentinel-2-l2a".into()),
            cloud: Some(0.25),
            nodata: Some(0.5),
            caption: Some("a lake".into()),
            tags: vec!["x".into(), "y".into()],
            ..Meta::new(RecordId::of_parts(&[b"1"]), "s3://a/b.tif")
        };
        let wkt = Meta { grid: Some(Grid { crs: Some(Crs::Wkt("PROJCS[\"x\"]".into())), ..grid }), ..full.clone() };
        let bare = Meta::new(RecordId::of_parts(&[b"2"]), "c.png");
        let metas_in = vec![full, wkt, bare];
        let extra = Extra { dim: Some(2), score: true, thumbnail: true };
        let values = ExtraValues {
            vectors: vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8],
            scores: vec![0.1, 0.2, 0.3],
            thumbnails: vec![None, Some(vec![1, 2]), None],
        };
        let batch = to_batch(&metas_in, extra, values).unwrap();
        assert_eq!(batch.schema().fields(), schema(extra).fields());
        let read = metas(&batch, "geometry", "", |_, _| unreachable!("every row has an id")).unwrap();
        assert_eq!(read, metas_in);
        assert_eq!(vectors(&batch, "embedding").unwrap()[2], Some(vec![0.6, 0.8]));
        assert_eq!(binaries(&batch, "thumbnail").unwrap()[1], Some(&[1u8, 2][..]));
    }
}
