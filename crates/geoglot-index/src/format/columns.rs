//! The `.col` file: what filters and look-ups need of every record, in columns of fixed width.

use std::ops::Range;

use super::container::{self, Bytes, HEADER, Kind, Layout, append};
use crate::footprint::BBox;
use crate::record::{Meta, RecordId, Time};
use crate::{Error, Result};

const NO_TIME: i64 = i64::MIN;
const NO_SENSOR: u16 = u16::MAX;

/// The file's bytes for the records' metadata, in order.
///
/// # Errors
/// [`Error::Format`] for more than 65,535 sensors.
pub fn pack(metas: &[Meta]) -> Result<Vec<u8>> {
    let mut sensors: Vec<&str> = metas.iter().filter_map(|m| m.sensor.as_deref()).collect();
    sensors.sort_unstable();
    sensors.dedup();
    if sensors.len() >= NO_SENSOR as usize {
        return Err(Error::format("column file", format!("{} sensors in one batch, at most 65,535", sensors.len())));
    }
    let names = serde_json::to_vec(&sensors).expect("a list of strings is JSON");
    let mut order: Vec<u32> = (0..metas.len() as u32).collect();
    order.sort_unstable_by_key(|&i| metas[i as usize].id);
    let boxes: Vec<[f64; 4]> = metas
        .iter()
        .map(|m| {
            m.footprint.as_ref().map_or([f64::NAN; 4], |f| {
                let b = f.bbox();
                [b.west, b.south, b.east, b.north]
            })
        })
        .collect();
    let sensor = |m: &Meta| {
        let name = m.sensor.as_deref();
        name.and_then(|s| sensors.binary_search(&s).ok()).map_or(NO_SENSOR, |i| i as u16)
    };
    let mut payload = (names.len() as u64).to_le_bytes().to_vec();
    payload.extend(&names);
    append(&mut payload, &metas.iter().map(|m| m.id.0).collect::<Vec<_>>());
    append(&mut payload, &order);
    append(&mut payload, &boxes);
    append(&mut payload, &metas.iter().map(|m| m.time.map_or(NO_TIME, |t| t.0)).collect::<Vec<_>>());
    append(&mut payload, &metas.iter().map(|m| m.cloud.unwrap_or(f32::NAN)).collect::<Vec<_>>());
    append(&mut payload, &metas.iter().map(|m| m.nodata.unwrap_or(f32::NAN)).collect::<Vec<_>>());
    append(&mut payload, &metas.iter().map(sensor).collect::<Vec<_>>());
    Ok(container::pack(Kind::Columns, metas.len(), 0, 0, &payload))
}

/// A `.col` file, mapped.
#[derive(Debug)]
pub struct Columns {
    bytes: Bytes,
    /// Number of records.
    pub rows: usize,
    /// Names of the sensors that occur.
    pub sensors: Vec<String>,
    at: [Range<usize>; 7],
}

impl Columns {
    /// Checks header and layout and takes the bytes.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub fn new(bytes: Bytes) -> Result<Self> {
        let refuse = |problem: String| Error::format("column file", problem);
        let header = container::parse(Kind::Columns, &bytes)?;
        let (payload, rows) = (&bytes[HEADER..], header.rows);
        let (length, rest) = payload.split_first_chunk::<8>().ok_or_else(|| refuse("no list of sensors".into()))?;
        let length = u64::from_le_bytes(*length) as usize;
        let names = rest.get(..length).ok_or_else(|| refuse("the list of sensors is cut".into()))?;
        let sensors: Vec<String> =
            serde_json::from_slice(names).map_err(|e| refuse(format!("the list of sensors: {e}")))?;
        let mut layout = Layout { end: 8 + length };
        let mut at = <[Range<usize>; 7]>::default();
        for (range, size) in at.iter_mut().zip([16, 4, 32, 8, 4, 4, 2]) {
            *range = layout.next(rows, size).ok_or_else(|| refuse("sizes overflow".into()))?;
        }
        if layout.end != payload.len() {
            return Err(refuse(format!("{rows} records need {} bytes, found {}", layout.end, payload.len())));
        }
        Ok(Self { rows, sensors, at, bytes })
    }

    fn column<T: bytemuck::AnyBitPattern>(&self, i: usize) -> &[T] {
        bytemuck::cast_slice(&self.bytes[HEADER..][self.at[i].clone()])
    }

    /// Ids.
    pub fn ids(&self) -> &[[u8; 16]] {
        self.column(0)
    }

    /// West, south, east, north; NaN without footprint.
    pub fn boxes(&self) -> &[[f64; 4]] {
        self.column(2)
    }

    /// The box of a row.
    pub fn bbox(&self, row: usize) -> Option<BBox> {
        let [west, south, east, north] = self.boxes()[row];
        (!west.is_nan()).then_some(BBox { west, south, east, north })
    }

    /// Milliseconds since 1970; the smallest number where unknown.
    pub fn times(&self) -> &[i64] {
        self.column(3)
    }

    /// The time of a row.
    pub fn time(&self, row: usize) -> Option<Time> {
        Some(self.times()[row]).filter(|&t| t != NO_TIME).map(Time)
    }

    /// Cloud shares; NaN where unknown.
    pub fn cloud(&self) -> &[f32] {
        self.column(4)
    }

    /// Nodata shares; NaN where unknown.
    pub fn nodata(&self) -> &[f32] {
        self.column(5)
    }

    /// Indices into [`Columns::sensors`]; 65,535 where unknown.
    pub fn sensor_indices(&self) -> &[u16] {
        self.column(6)
    }

    /// The row with an id.
    pub fn find(&self, id: RecordId) -> Option<usize> {
        let (ids, order) = (self.ids(), self.column::<u32>(1));
        // `get`: a damaged order must not panic.
        let at = |row: &u32| ids.get(*row as usize).copied().unwrap_or_default();
        let found = order.binary_search_by(|row| at(row).cmp(&id.0)).ok()?;
        Some(order[found] as usize).filter(|&row| row < self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Footprint;

    fn metas() -> Vec<Meta> {
        (0..50u8)
            .map(|i| Meta {
                footprint: (i % 3 > 0).then(|| Footprint::from_point(f64::from(i), 1.0).unwrap()),
                time: (i % 2 > 0).then_some(Time(i64::from(i))),
                sensor: (i % 5 > 0).then(|| format!("s{}", i % 4)),
                cloud: (i > 20).then_some(0.5),
                ..Meta::new(RecordId::of_parts(&[&[i]]), "x.tif")
            })
            .collect()
    }

    #[test]
    fn columns_survive_and_ids_are_found() {
        let metas = metas();
        let columns = Columns::new(Bytes::hold(&pack(&metas).unwrap())).unwrap();
        assert_eq!(columns.sensors, ["s0", "s1", "s2", "s3"]);
        for (row, meta) in metas.iter().enumerate() {
            assert_eq!(columns.find(meta.id), Some(row));
            assert_eq!(columns.time(row), meta.time);
            assert_eq!(columns.bbox(row), meta.footprint.as_ref().map(Footprint::bbox));
            let sensor = columns.sensors.get(columns.sensor_indices()[row] as usize);
            assert_eq!(sensor, meta.sensor.as_ref());
            assert_eq!(columns.cloud()[row].is_nan(), meta.cloud.is_none());
        }
        assert_eq!(columns.find(RecordId::of_parts(&[b"other"])), None);
    }

    #[test]
    fn a_wrong_layout_is_refused() {
        let good = pack(&metas()).unwrap();
        let payload = &good[HEADER..];
        for cut in [0, 7, 9, 100, payload.len() - 1] {
            let bytes = container::pack(Kind::Columns, 50, 0, 0, &payload[..cut]);
            assert!(Columns::new(Bytes::hold(&bytes)).is_err(), "{cut}");
        }
        let bytes = container::pack(Kind::Columns, 51, 0, 0, payload);
        assert!(Columns::new(Bytes::hold(&bytes)).is_err());
    }
}
