//! Approximate search of very large archives by a graph (HNSW; feature `usearch`).
//!
//! Malkov & Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small World
//! graphs", 2018. The graph refers to the segments it was built of; records added later are scanned beside it, and after a
//! compaction it has to be built again.

use std::path::{Path, PathBuf};

use geoglot_core::{atomic, small_file};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use crate::archive::{Archive, RowRef};
use crate::query::Query;
use crate::search::{Scored, SearchOptions};
use crate::{Error, Result, Space};

const GRAPH: &str = "approximate.usearch";
const SIDE: &str = "approximate.json";

/// How a graph is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApproxOptions {
    /// Neighbours of a record in the graph.
    pub connectivity: usize,
    /// Records looked at when one is added.
    pub expansion: usize,
}

impl Default for ApproxOptions {
    fn default() -> Self {
        Self { connectivity: 32, expansion: 128 }
    }
}

/// What the graph was built of.
#[derive(Serialize, Deserialize)]
struct Side {
    space: Space,
    /// Name and number of records of each segment.
    segments: Vec<(String, usize)>,
    /// Length of the graph file.
    bytes: u64,
}

/// A graph over a snapshot.
pub struct Approx<'a> {
    archive: &'a Archive,
    index: Index,
    /// Segment of the snapshot for each segment of the graph.
    segments: Vec<u32>,
}

fn refuse(e: impl std::fmt::Display) -> Error {
    Error::Approximate(e.to_string())
}

fn options(dim: usize, options: ApproxOptions) -> IndexOptions {
    IndexOptions {
        dimensions: dim,
        metric: MetricKind::IP,
        // Half floats: the candidates are scored exactly afterwards.
        quantization: ScalarKind::F16,
        connectivity: options.connectivity,
        expansion_add: options.expansion,
        expansion_search: 0,
        multi: false,
    }
}

/// The library takes paths as text.
fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| refuse(format!("the path {} is not UTF-8, which the graph library needs", path.display())))
}

/// Builds the graph of a snapshot and stores it in the archive. Takes all processors and memory for all vectors as half
/// floats.
///
/// # Errors
/// [`Error::Approximate`], [`Error::Core`]; an older graph then stays.
pub fn build_approximate(archive: &Archive, build: ApproxOptions) -> Result<()> {
    let index = Index::new(&options(archive.space().dim, build)).map_err(refuse)?;
    let rows: Vec<RowRef> = archive.rows().collect();
    index.reserve_capacity_and_threads(rows.len(), rayon::current_num_threads()).map_err(refuse)?;
    rows.par_iter().try_for_each(|&row| index.add(key(row.segment, row.row), &archive.vector(row)).map_err(refuse))?;
    let path = archive.path().join(GRAPH);
    atomic::produce(&path, |temporary| index.save(text(temporary)?).map_err(refuse))?;
    let side = Side {
        space: archive.space().clone(),
        segments: archive.segments.iter().map(|s| (s.entry.name.clone(), s.entry.records)).collect(),
        bytes: std::fs::metadata(&path).map_err(|e| Error::io(&path, "read", e))?.len(),
    };
    Ok(atomic::write_json(&archive.path().join(SIDE), &side)?)
}

fn key(segment: u32, row: u32) -> u64 {
    u64::from(segment) << 32 | u64::from(row)
}

impl<'a> Approx<'a> {
    /// Opens the graph stored in the archive, memory-mapped.
    ///
    /// # Errors
    /// [`Error::Approximate`] when there is none, it is damaged, or it refers to segments that are gone.
    pub fn open(archive: &'a Archive) -> Result<Self> {
        let (path, side): (PathBuf, PathBuf) = (archive.path().join(GRAPH), archive.path().join(SIDE));
        let again = |why: String| refuse(format!("{}: {why}; build it again", path.display()));
        let bytes = small_file::read(&side, small_file::LIST)
            .map_err(|e| again(format!("its description: {}", e.problem())))?;
        let side: Side =
            serde_json::from_slice(&bytes).map_err(|e| again(format!("its description is damaged ({e})")))?;
        archive.space().check(&side.space)?;
        let length = std::fs::metadata(&path).map(|m| m.len()).unwrap_or(0);
        if length != side.bytes {
            return Err(again(format!("{} bytes expected, {length} found", side.bytes)));
        }
        let find = |(name, records): &(String, usize)| {
            let same =
                |s: &std::sync::Arc<crate::segment::Segment>| s.entry.name == *name && s.entry.records == *records;
            archive.segments.iter().position(same).map(|s| s as u32)
        };
        let segments = side.segments.iter().map(find).collect::<Option<Vec<u32>>>();
        let segments = segments.ok_or_else(|| again("the archive was compacted since it was built".into()))?;
        let index = Index::new(&options(archive.space().dim, ApproxOptions::default())).map_err(refuse)?;
        index.view(text(&path)?).map_err(|e| again(e.to_string()))?;
        if index.dimensions() != archive.space().dim {
            return Err(again(format!("{} wide, the archive {}", index.dimensions(), archive.space().dim)));
        }
        Ok(Self { archive, index, segments })
    }

    /// The best `k` by the graph (`expansion` records are looked at: more finds more) and by a scan of the records added
    /// since it was built. Scores are exact. Of `options` the filter, the least score and the mode of the scan are used.
    ///
    /// # Errors
    /// As [`Archive::search`]; [`Error::Approximate`].
    pub fn search(&self, query: &Query, k: usize, expansion: usize, options: &SearchOptions) -> Result<Vec<Scored>> {
        self.archive.space().check(query.space())?;
        let masks = options.filter.masks(self.archive)?;
        let place = |key: u64| -> Option<RowRef> {
            let segment = *self.segments.get((key >> 32) as usize)?;
            Some(RowRef { segment, row: key as u32 })
        };
        let passes = |key: u64| -> bool {
            let Some(at) = place(key) else { return false };
            masks.as_ref().is_none_or(|m| m[at.segment as usize].get(at.row as usize))
        };
        self.index.change_expansion_search(expansion.max(k));
        let found = self.index.filtered_search(query.vector(), k, passes).map_err(refuse)?;
        let mut list: Vec<Scored> = found
            .keys
            .iter()
            .filter_map(|&key| place(key))
            .map(|row| {
                let vectors = &self.archive.segments[row.segment as usize].vectors;
                Scored { score: vectors.dot(row.row as usize, query.vector()), row }
            })
            .collect();
        let newer = self.archive.search_segments(query, k, options, |s| !self.segments.contains(&(s as u32)))?;
        list.extend(newer);
        list.retain(|s| options.min_score.is_none_or(|least| s.score >= least));
        list.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
        list.truncate(k);
        Ok(list)
    }
}
