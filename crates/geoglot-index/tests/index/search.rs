//! Searching against a search by hand.

use geoglot_index::{
    Archive, BBox, Dedup, Error, Filter, Footprint, Hit, Mode, Query, Record, SearchOptions, Space, Time, VectorType,
};
use proptest::prelude::*;

use crate::{DIM, record, records, space, vector};

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn query(seed: usize) -> Query {
    Query::new(&space(), &vector(5_000_000 + seed, DIM)).unwrap()
}

/// The expected hits among `records`: score and id, best first.
fn by_hand<'a>(records: impl Iterator<Item = &'a Record>, query: &Query) -> Vec<(f32, String)> {
    let score = |r: &Record| (cosine(&r.vector, query.vector()), r.meta.id.to_string());
    let mut hits: Vec<_> = records.map(score).collect();
    hits.sort_by(|a, b| b.0.total_cmp(&a.0));
    hits
}

fn assert_same(hits: &[Hit], expected: &[(f32, String)]) {
    assert_eq!(hits.len(), expected.len());
    for (i, (hit, (score, id))) in hits.iter().zip(expected).enumerate() {
        assert_eq!(hit.rank, i + 1);
        assert!((hit.score - score).abs() < 1e-5, "{} {score}", hit.score);
        assert!(hit.meta.id.to_string() == *id || (hit.score - score).abs() < 1e-6);
    }
}

fn archive(dir: &std::path::Path, n: usize) -> Archive {
    Archive::create(dir, space(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(dir).unwrap();
    writer.set_segment_rows(700);
    writer.add(&space(), records(0..n)).unwrap();
    Archive::open(dir).unwrap()
}

#[test]
fn every_mode_finds_what_a_search_by_hand_finds() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive(dir.path(), 3000);
    let all = records(0..3000);
    let queries: Vec<Query> = (0..12).map(query).collect();
    for mode in [Mode::Exact, Mode::Auto] {
        let options = SearchOptions::top(10).mode(mode);
        // One by one and as a batch are different ways through the code.
        let batch = archive.search_batch(&queries, &options).unwrap();
        for (query, hits) in queries.iter().zip(batch) {
            let expected = &by_hand(all.iter(), query)[..10];
            assert_same(&hits, expected);
            assert_same(&archive.search(query, &options).unwrap(), expected);
        }
    }
    // The fast mode may miss one in a hundred.
    let options = SearchOptions { care: 4.0, ..SearchOptions::top(10).mode(Mode::Fast) };
    let found: usize = queries
        .iter()
        .map(|query| {
            let expected = by_hand(all.iter(), query);
            let hits = archive.search(query, &options).unwrap();
            hits.iter().filter(|h| h.score >= expected[9].0 - 1e-6).count()
        })
        .sum();
    assert!(found >= 118, "{found} of 120");
}

#[test]
fn a_threshold_gives_all_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive(dir.path(), 2000);
    let all = records(0..2000);
    let query = query(3);
    let expected: Vec<_> = by_hand(all.iter(), &query).into_iter().filter(|h| h.0 >= 0.3).collect();
    assert!(expected.len() > 20);
    assert_same(&archive.search(&query, &SearchOptions::above(0.3)).unwrap(), &expected);
    let fast = SearchOptions { care: 5.0, ..SearchOptions::above(0.3).mode(Mode::Fast) };
    assert_same(&archive.search(&query, &fast).unwrap(), &expected);
    let few = SearchOptions { top_k: Some(5), ..SearchOptions::above(0.3) };
    assert_same(&archive.search(&query, &few).unwrap(), &expected[..5]);
    assert!(archive.search(&query, &SearchOptions::above(1.1)).unwrap().is_empty());
    let none = SearchOptions { top_k: None, ..SearchOptions::default() };
    assert!(matches!(archive.search(&query, &none).unwrap_err(), Error::Query(_)));
}

#[test]
fn a_query_of_another_space_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive(dir.path(), 10);
    let other = Space::new("other", DIM, "m", None);
    let query = Query::new(&other, &vector(1, DIM)).unwrap();
    let message = archive.search(&query, &SearchOptions::top(1)).unwrap_err().to_string();
    assert!(message.contains("`other`") && message.contains("`test`"), "{message}");
}

#[test]
fn filters_are_checked_and_deleted_records_are_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive(dir.path(), 100);
    let refused = |f: Filter| archive.filtered(&f).unwrap_err().to_string();
    assert!(refused(Filter::new().sensors(["spot"])).contains("sentinel-2-l2a"));
    assert!(refused(Filter::new().max_cloud(20.0)).contains("0.2"));
    assert!(refused(Filter::new().time(Some(Time(2)), Some(Time(1)))).contains("ends"));
    let best = archive.search(&query(1), &SearchOptions::top(1)).unwrap()[0].meta.id;
    drop(archive);
    Archive::open_writer(dir.path()).unwrap().delete(&[best]).unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    for mode in [Mode::Exact, Mode::Fast] {
        let hits = archive.search(&query(1), &SearchOptions::top(100).mode(mode)).unwrap();
        assert!(hits.len() == 99 && hits.iter().all(|h| h.meta.id != best));
    }
}

#[test]
fn more_of_a_place_finds_its_like() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive(dir.path(), 1000);
    // Tile 0 lies at 10–10.1°E, 44.9–45°N; records with the same last digit are of its direction.
    let point = Filter::new().area(Footprint::from_point(10.05, 44.95).unwrap());
    assert_eq!(archive.filtered(&point).unwrap().len(), 1);
    let query = Query::place(&archive, &point).unwrap();
    let hits = archive.search(&query, &SearchOptions::top(20)).unwrap();
    assert_eq!(hits[0].meta.id, record(0).meta.id);
    let same: Vec<_> = (0..1000).filter(|i| i % 10 == 0).map(|i| record(i).meta.id).collect();
    assert!(hits.iter().filter(|h| same.contains(&h.meta.id)).count() >= 18);
    let nowhere = Filter::new().bbox(BBox::new(-50.0, 0.0, -49.0, 1.0).unwrap());
    assert!(Query::place(&archive, &nowhere).unwrap_err().to_string().contains("within 10.0000"));
}

#[test]
fn of_overlapping_tiles_the_best_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    Archive::create(dir.path(), space(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    // Ten heaps of ten tiles of one source, each shifted by an eighth of a tile: neighbours of a kept one go.
    let batch: Vec<Record> = (0..100)
        .map(|i| {
            let mut r = record(i);
            let window = geoglot_core::Window::new(10_000 * (i / 10) + 8 * (i % 10), 0, 64, 64);
            r.meta.source = "one.tif".into();
            (r.meta.time, r.meta.window, r.meta.footprint) = (None, Some(window), None);
            r
        })
        .collect();
    writer.add(&space(), batch).unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    let all = archive.search(&query(0), &SearchOptions::top(100)).unwrap();
    let kept = archive.search(&query(0), &SearchOptions::top(100).dedup(Dedup::default())).unwrap();
    assert_eq!(kept[0].meta.id, all[0].meta.id);
    assert!(kept.len() >= 10 && kept.len() < 40, "{}", kept.len());
    for (i, a) in kept.iter().enumerate() {
        for b in &kept[..i] {
            let shared = a.meta.window.unwrap().intersection(&b.meta.window.unwrap()).map_or(0, |w| w.area());
            assert!(shared * 2 <= 64 * 64);
        }
    }
    let three = archive.search(&query(0), &SearchOptions::top(3).dedup(Dedup::default())).unwrap();
    let ids = |hits: &[Hit]| hits.iter().map(|h| h.meta.id).collect::<Vec<_>>();
    assert_eq!(ids(&three), ids(&kept[..3]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn filters_let_pass_what_they_should(
        west in 9.0..20.0f64, south in 40.0..45.0f64, size in 0.05..5.0f64, round in any::<bool>(), place in any::<bool>(),
        from in proptest::option::of(0i64..100), days in 0i64..50, sensors in proptest::sample::subsequence(vec!["sentinel-2-l2a", "sentinel-1-grd", "landsat-8"], 0..3),
        cloud in proptest::option::of(0.0f32..1.0), nodata in proptest::option::of(0.0f32..1.0), keep in any::<bool>(),
    ) {
        static ARCHIVE: std::sync::OnceLock<(tempfile::TempDir, Archive)> = std::sync::OnceLock::new();
        let (_, archive) = ARCHIVE.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let archive = archive(dir.path(), 1500);
            (dir, archive)
        });
        let bbox = BBox::new(west, south, west + size, south + size).unwrap();
        // A lozenge around the box's middle: not a box itself.
        let [x, y] = bbox.centre();
        let lozenge = Footprint::from_ring(&[[x - size, y], [x, y - size], [x + size, y], [x, y + size]]).unwrap();
        let mut filter = Filter::new().keep_unknown(keep).sensors(sensors.clone());
        if place {
            filter = if round { filter.area(lozenge.clone()) } else { filter.bbox(bbox) };
        }
        let at = |day: i64| Time(1_700_000_000_000 + 86_400_000 * day);
        filter = filter.time(from.map(at), from.map(|f| at(f + days)));
        if let Some(share) = cloud { filter = filter.max_cloud(share); }
        if let Some(share) = nodata { filter = filter.max_nodata(share); }
        let area = if round { lozenge } else { Footprint::from_bbox(&bbox) };
        let passes = |r: &&Record| {
            let m = &r.meta;
            (!place || m.footprint.as_ref().map_or(keep, |f| f.meets(&area)))
                && from.is_none_or(|f| m.time.map_or(keep, |t| at(f) <= t && t <= at(f + days)))
                && (sensors.is_empty() || m.sensor.as_deref().map_or(keep, |s| sensors.contains(&s)))
                && cloud.is_none_or(|limit| m.cloud.map_or(keep, |c| c <= limit))
                && nodata.is_none_or(|limit| m.nodata.map_or(keep, |n| n <= limit))
        };
        let all = records(0..1500);
        let mut expected: Vec<_> = all.iter().filter(passes).map(|r| r.meta.id).collect();
        let rows = archive.filtered(&filter).unwrap();
        let mut found: Vec<_> = archive.metas(&rows).unwrap().into_iter().map(|m| m.id).collect();
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);
        for mode in [Mode::Exact, Mode::Fast] {
            let options = SearchOptions { care: 5.0, ..SearchOptions::top(5).filter(filter.clone()).mode(mode) };
            let expected = by_hand(all.iter().filter(passes), &query(9));
            assert_same(&archive.search(&query(9), &options).unwrap(), &expected[..expected.len().min(5)]);
        }
    }
}
