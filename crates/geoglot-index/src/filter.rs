//! Which records a search looks at: place, time, sensor, cloud and nodata share.

use crate::archive::{Archive, RowRef};
use crate::footprint::{BBox, Footprint};
use crate::record::Time;
use crate::segment::Segment;
use crate::{Error, Result};

/// Conditions that all must hold. A record that lacks what a condition asks for is left out, unless
/// [`Filter::keep_unknown`] is set (then a radar scene without cloud share passes a cloud limit).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    bbox: Option<BBox>,
    area: Option<Footprint>,
    from: Option<Time>,
    to: Option<Time>,
    sensors: Vec<String>,
    max_cloud: Option<f32>,
    max_nodata: Option<f32>,
    keep_unknown: bool,
}

impl Filter {
    /// No condition.
    pub fn new() -> Self {
        Self::default()
    }

    /// Footprints that meet this box.
    pub fn bbox(mut self, bbox: BBox) -> Self {
        self.bbox = Some(bbox);
        self
    }

    /// Footprints that meet this area.
    pub fn area(mut self, area: Footprint) -> Self {
        self.area = Some(area);
        self
    }

    /// Times from `from` (inclusive) to `to` (inclusive); `None` leaves a side open.
    pub fn time(mut self, from: Option<Time>, to: Option<Time>) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    /// Any of these sensors.
    pub fn sensors(mut self, sensors: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.sensors = sensors.into_iter().map(Into::into).collect();
        self
    }

    /// Cloud share at most this (0–1).
    pub fn max_cloud(mut self, share: f32) -> Self {
        self.max_cloud = Some(share);
        self
    }

    /// Nodata share at most this (0–1).
    pub fn max_nodata(mut self, share: f32) -> Self {
        self.max_nodata = Some(share);
        self
    }

    /// Lets records pass whose place, time, sensor or share is unknown.
    pub fn keep_unknown(mut self, keep: bool) -> Self {
        self.keep_unknown = keep;
        self
    }

    /// True when every record passes.
    pub fn is_empty(&self) -> bool {
        *self == Self { keep_unknown: self.keep_unknown, ..Self::default() }
    }

    /// Checks the conditions against each other and against the archive.
    ///
    /// # Errors
    /// [`Error::Filter`]: a share outside 0–1, a range whose end lies before its start, a sensor the archive has not
    /// (naming those it has).
    pub fn check(&self, archive: &Archive) -> Result<()> {
        for (name, share) in [("cloud", self.max_cloud), ("nodata", self.max_nodata)] {
            if let Some(share) = share.filter(|s| !(0.0..=1.0).contains(s)) {
                return Err(Error::Filter(format!("the {name} share {share} is outside 0–1 (20 % is 0.2)")));
            }
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(Error::Filter(format!("the time range ends ({to}) before it starts ({from})")));
        }
        let has = |sensor: &String| archive.segments.iter().any(|s| s.columns.sensors.contains(sensor));
        if let Some(missing) = self.sensors.iter().find(|s| !has(s))
            && !archive.is_empty()
        {
            let mut known: Vec<_> = archive.segments.iter().flat_map(|s| &s.columns.sensors).cloned().collect();
            known.sort();
            known.dedup();
            let known = if known.is_empty() { "none is recorded".into() } else { known.join(", ") };
            return Err(Error::Filter(format!("no record is of sensor `{missing}`; the archive has: {known}")));
        }
        Ok(())
    }

    /// The records that pass, as one bitmap for every segment; `None` when all do.
    pub(crate) fn masks(&self, archive: &Archive) -> Result<Option<Vec<Mask>>> {
        self.check(archive)?;
        let deleted = archive.segments.iter().any(|s| !s.entry.deleted.is_empty());
        if self.is_empty() && !deleted {
            return Ok(None);
        }
        let masks = (0..archive.segments.len()).map(|s| self.mask(archive, s)).collect::<Result<_>>()?;
        Ok(Some(masks))
    }

    fn mask(&self, archive: &Archive, index: usize) -> Result<Mask> {
        let segment: &Segment = &archive.segments[index];
        let columns = &segment.columns;
        let rows = columns.rows;
        let mut mask = Mask::all(rows);
        for &row in &segment.entry.deleted {
            mask.clear(row as usize);
        }
        if !self.sensors.is_empty() {
            let wanted: Vec<bool> = columns.sensors.iter().map(|s| self.sensors.contains(s)).collect();
            let indices = columns.sensor_indices();
            mask.keep(|row| wanted.get(indices[row] as usize).copied().unwrap_or(self.keep_unknown));
        }
        if self.from.is_some() || self.to.is_some() {
            mask.keep(|row| match columns.time(row) {
                Some(t) => self.from.is_none_or(|from| from <= t) && self.to.is_none_or(|to| t <= to),
                None => self.keep_unknown,
            });
        }
        for (limit, values) in [(self.max_cloud, columns.cloud()), (self.max_nodata, columns.nodata())] {
            if let Some(limit) = limit {
                mask.keep(|row| if values[row].is_nan() { self.keep_unknown } else { values[row] <= limit });
            }
        }
        if let Some(area) = self.bbox.map(|b| Footprint::from_bbox(&b)) {
            self.keep_area(archive, index, &area, &mut mask)?;
        }
        if let Some(area) = &self.area {
            self.keep_area(archive, index, area, &mut mask)?;
        }
        Ok(mask)
    }

    /// Keeps rows whose footprint meets `area`: first by box, then, where the box leaves it open, by the footprint itself.
    fn keep_area(&self, archive: &Archive, index: usize, area: &Footprint, mask: &mut Mask) -> Result<()> {
        let segment = &archive.segments[index];
        let around = area.bbox();
        // A box that lies within a box-shaped area needs no look at the footprint.
        let is_box = *area == Footprint::from_bbox(&around) && around.west <= around.east;
        let mut open = Vec::new();
        mask.keep_indexed(|row| match segment.columns.bbox(row) {
            None => self.keep_unknown,
            Some(b) if !b.meets(&around) => false,
            Some(b) => {
                let inside = is_box
                    && b.west <= b.east
                    && around.west <= b.west
                    && b.east <= around.east
                    && around.south <= b.south
                    && b.north <= around.north;
                if !inside {
                    open.push(RowRef { segment: index as u32, row: row as u32 });
                }
                true
            }
        });
        if !open.is_empty() {
            let metas = archive.metas_of(&open, Some(&["geometry"]))?;
            for (row, meta) in open.iter().zip(metas) {
                if !meta.footprint.is_some_and(|f| f.meets(area)) {
                    mask.clear(row.row as usize);
                }
            }
        }
        Ok(())
    }
}

/// One bit a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mask {
    words: Vec<u64>,
}

impl Mask {
    pub fn all(rows: usize) -> Self {
        let mut words = vec![u64::MAX; rows.div_ceil(64)];
        if !rows.is_multiple_of(64)
            && let Some(last) = words.last_mut()
        {
            *last = (1 << (rows % 64)) - 1;
        }
        Self { words }
    }

    #[cfg(feature = "usearch")]
    pub fn none(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(64)] }
    }

    pub fn get(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    pub fn clear(&mut self, row: usize) {
        self.words[row / 64] &= !(1 << (row % 64));
    }

    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// True when a row of `start..end` is set; `start` is a multiple of 64.
    pub fn any(&self, start: usize, end: usize) -> bool {
        self.words[start / 64..end.div_ceil(64)].iter().any(|&w| w != 0)
    }

    /// Set rows, ascending.
    pub fn ones(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            std::iter::successors((word != 0).then_some(word), |w| Some(w & (w - 1)).filter(|w| *w != 0))
                .map(move |w| 64 * i + w.trailing_zeros() as usize)
        })
    }

    fn keep(&mut self, test: impl Fn(usize) -> bool) {
        self.keep_indexed(test);
    }

    fn keep_indexed(&mut self, mut test: impl FnMut(usize) -> bool) {
        for (i, word) in self.words.iter_mut().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                if !test(64 * i + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mask_holds_what_it_was_told(bits in proptest::collection::vec(any::<bool>(), 0..200)) {
            let mut mask = Mask::all(bits.len());
            prop_assert_eq!(mask.count(), bits.len());
            mask.keep(|row| bits[row]);
            let ones: Vec<usize> = (0..bits.len()).filter(|&i| bits[i]).collect();
            prop_assert_eq!(mask.ones().collect::<Vec<_>>(), ones.clone());
            prop_assert_eq!(mask.count(), ones.len());
            prop_assert!((0..bits.len()).all(|i| mask.get(i) == bits[i]));
        }
    }
}
