//! Searching a snapshot.

mod best;
mod coarse;
mod dedup;
mod exact;

pub use dedup::Dedup;

use crate::archive::{Archive, RowRef};
use crate::codes::Rotation;
use crate::filter::{Filter, Mask};
use crate::query::Query;
use crate::record::Meta;
use crate::{Error, Result};
use best::Best;

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Coarse pass and exact second pass, unless few records pass the filter: then exact.
    #[default]
    Auto,
    /// Exact cosine of every record.
    Exact,
    /// Always with the coarse pass.
    Fast,
}

/// What a search returns and what it looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// Number of hits at most; `None` all above [`SearchOptions::min_score`].
    pub top_k: Option<usize>,
    /// Cosine a hit has at least.
    pub min_score: Option<f32>,
    /// Which records are looked at.
    pub filter: Filter,
    /// Of overlapping tiles only the best is kept.
    pub dedup: Option<Dedup>,
    /// How to search.
    pub mode: Mode,
    /// How many standard deviations of its error an estimate of the coarse pass is given: more finds more and takes
    /// longer. The default, 3, finds 999 of 1000 of the exact best ten.
    pub care: f32,
}

impl Default for SearchOptions {
    fn default() -> Self {
        let filter = Filter::default();
        Self { top_k: Some(10), min_score: None, filter, dedup: None, mode: Mode::Auto, care: 3.0 }
    }
}

impl SearchOptions {
    /// The best `k`.
    pub fn top(k: usize) -> Self {
        Self { top_k: Some(k), ..Self::default() }
    }

    /// All with a cosine of `score` or more.
    pub fn above(score: f32) -> Self {
        Self { top_k: None, min_score: Some(score), ..Self::default() }
    }

    /// Sets the filter.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Keeps only the best of overlapping tiles.
    pub fn dedup(mut self, dedup: Dedup) -> Self {
        self.dedup = Some(dedup);
        self
    }

    /// Sets the mode.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    fn check(&self) -> Result<()> {
        if self.top_k.is_none() && self.min_score.is_none() {
            return Err(Error::Query("give a number of hits or a least score".into()));
        }
        if self.min_score.is_some_and(f32::is_nan) || self.care.is_nan() || self.care <= 0.0 {
            return Err(Error::Query("the least score and the care must be numbers, the care above 0".into()));
        }
        Ok(())
    }
}

/// A record found, without its metadata.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Exact cosine with the query.
    pub score: f32,
    /// Which record.
    pub row: RowRef,
}

/// A record found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Place in the list, from 1.
    pub rank: usize,
    /// Exact cosine with the query.
    pub score: f32,
    /// Where, when and from what.
    pub meta: Meta,
    /// Which record, e.g. for [`Archive::thumbnail`] and [`Archive::vector`].
    pub row: RowRef,
}

/// The rows of an archive that a search looks at.
struct Scope {
    masks: Option<Vec<Mask>>,
    rows: usize,
}

impl Archive {
    /// The best records for a query, with metadata, best first.
    ///
    /// # Errors
    /// [`Error::SpaceMismatch`], [`Error::Filter`], [`Error::Query`], [`Error::Damaged`].
    pub fn search(&self, query: &Query, options: &SearchOptions) -> Result<Vec<Hit>> {
        let mut lists = self.search_batch(std::slice::from_ref(query), options)?;
        Ok(lists.pop().unwrap_or_default())
    }

    /// As [`Archive::search`] for several queries at once: one pass over the archive serves all.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub fn search_batch(&self, queries: &[Query], options: &SearchOptions) -> Result<Vec<Vec<Hit>>> {
        let lists = self.search_rows(queries, options)?;
        lists
            .into_iter()
            .map(|list| {
                let rows: Vec<RowRef> = list.iter().map(|s| s.row).collect();
                let metas = self.metas(&rows)?;
                let hits = list.iter().zip(metas).enumerate();
                Ok(hits.map(|(i, (s, meta))| Hit { rank: i + 1, score: s.score, meta, row: s.row }).collect())
            })
            .collect()
    }

    /// As [`Archive::search_batch`], without reading metadata (unless de-duplication needs it).
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub fn search_rows(&self, queries: &[Query], options: &SearchOptions) -> Result<Vec<Vec<Scored>>> {
        options.check()?;
        queries.iter().try_for_each(|q| self.space().check(q.space()))?;
        let masks = options.filter.masks(self)?;
        let rows = masks.as_ref().map_or(self.len(), |m| m.iter().map(Mask::count).sum());
        let scope = Scope { masks, rows };
        let Some(dedup) = &options.dedup else {
            return Ok(self.ranked(queries, options.top_k, options, &scope));
        };
        // Overlapping tiles take room in the list: look further until enough are left or nothing more comes.
        queries
            .iter()
            .map(|query| {
                let mut k = options.top_k.map(|k| k.saturating_mul(4).max(64));
                loop {
                    let mut lists = self.ranked(std::slice::from_ref(query), k, options, &scope);
                    let list = lists.pop().unwrap_or_default();
                    let exhausted = k.is_none_or(|k| list.len() < k);
                    let mut kept = dedup.apply(self, list)?;
                    if exhausted || options.top_k.is_some_and(|want| kept.len() >= want) {
                        kept.truncate(options.top_k.unwrap_or(usize::MAX));
                        return Ok(kept);
                    }
                    k = k.map(|k| k.saturating_mul(4));
                }
            })
            .collect()
    }

    /// The best `k` rows of some segments only.
    #[cfg(feature = "usearch")]
    pub(crate) fn search_segments(
        &self,
        query: &Query,
        k: usize,
        options: &SearchOptions,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Scored>> {
        let all = || self.segments.iter().map(|s| Mask::all(s.vectors.rows)).collect();
        let mut masks: Vec<Mask> = options.filter.masks(self)?.unwrap_or_else(all);
        for (s, mask) in masks.iter_mut().enumerate().filter(|(s, _)| !wanted(*s)) {
            *mask = Mask::none(self.segments[s].vectors.rows);
        }
        let rows = masks.iter().map(Mask::count).sum();
        let scope = Scope { masks: Some(masks), rows };
        Ok(self.ranked(std::slice::from_ref(query), Some(k), options, &scope).pop().unwrap_or_default())
    }

    /// The records that pass a filter, in order of storage.
    ///
    /// # Errors
    /// [`Error::Filter`], [`Error::Damaged`].
    pub fn filtered(&self, filter: &Filter) -> Result<Vec<RowRef>> {
        let Some(masks) = filter.masks(self)? else { return Ok(self.rows().collect()) };
        let rows = masks.iter().enumerate();
        Ok(rows.flat_map(|(s, m)| m.ones().map(move |row| RowRef { segment: s as u32, row: row as u32 })).collect())
    }

    /// The best rows for each query, by the way that suits the number of rows.
    fn ranked(&self, queries: &[Query], k: Option<usize>, options: &SearchOptions, scope: &Scope) -> Vec<Vec<Scored>> {
        let k = k.unwrap_or(usize::MAX).min(scope.rows);
        if k == 0 {
            return vec![Vec::new(); queries.len()];
        }
        let new = || Best::new(k, options.min_score);
        // When a fifth or more of the rows is asked for, or a few are left, the coarse pass saves nothing.
        let few = scope.rows < 20_000 || (options.min_score.is_none() && scope.rows / k < 5);
        let fast = match options.mode {
            Mode::Exact => false,
            Mode::Fast => true,
            Mode::Auto => !few,
        };
        let bests = if fast {
            let rotation = Rotation::new(self.space().dim);
            coarse::search(self, queries, scope, &rotation, options.care, new)
        } else {
            exact::search(self, queries, scope, new)
        };
        bests.into_iter().map(Best::into_sorted).collect()
    }
}

/// Splits segments into pieces of rows for parallel work: (segment, start, end), starts at multiples of 64.
fn pieces(archive: &Archive, rows: usize) -> Vec<(usize, usize, usize)> {
    let segments = archive.segments.iter().enumerate();
    let cut = |n: usize| (0..n).step_by(rows).map(move |start| (start, (start + rows).min(n)));
    segments.flat_map(|(s, segment)| cut(segment.vectors.rows).map(move |(a, b)| (s, a, b))).collect()
}
