//! Overlapping tiles: keep the best of each heap.

use super::Scored;
use crate::Result;
use crate::archive::Archive;
use crate::record::Meta;

/// When two tiles count as one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dedup {
    /// Shared area as a share of the smaller tile, above which the lower score is dropped (0–1).
    pub share: f64,
    /// Also tiles of different sources (by footprint), not only windows of one source.
    pub across_sources: bool,
    /// Also tiles of different times.
    pub across_times: bool,
}

impl Default for Dedup {
    /// Half of the smaller tile shared, one place and one time.
    fn default() -> Self {
        Self { share: 0.5, across_sources: true, across_times: false }
    }
}

impl Dedup {
    /// Keeps hits (best first) that no better kept one overlaps.
    pub(super) fn apply(&self, archive: &Archive, list: Vec<Scored>) -> Result<Vec<Scored>> {
        let rows: Vec<_> = list.iter().map(|s| s.row).collect();
        let columns = ["geometry", "source", "datetime", "window"];
        let metas = archive.metas_of(&rows, Some(&columns))?;
        let mut kept: Vec<usize> = Vec::new();
        for i in 0..list.len() {
            if !kept.iter().any(|&j| self.is_one(&metas[i], &metas[j])) {
                kept.push(i);
            }
        }
        Ok(kept.into_iter().map(|i| list[i]).collect())
    }

    /// True when the two tiles count as one.
    fn is_one(&self, a: &Meta, b: &Meta) -> bool {
        if !self.across_times && a.time != b.time {
            return false;
        }
        if a.source == b.source
            && let (Some(x), Some(y)) = (a.window, b.window)
        {
            let shared = x.intersection(&y).map_or(0, |w| w.area()) as f64;
            return shared > self.share * x.area().min(y.area()) as f64;
        }
        let near = self.across_sources || a.source == b.source;
        match (&a.footprint, &b.footprint) {
            (Some(x), Some(y)) if near => x.overlap(y) > self.share,
            _ => false,
        }
    }
}
