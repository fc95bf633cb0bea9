//! Exports and imports.

use geoglot_index::export::{
    GeoParquetOptions, to_geojson, to_html, to_table, write_archive_geoparquet, write_geojson, write_hits_geoparquet,
    write_html,
};
use geoglot_index::{
    Archive, Filter, Footprint, ImportOptions, Query, SearchOptions, Space, VectorType, geoparquet_space,
    import_geoparquet,
};

use crate::{DIM, record, records, space, vector};

fn archive(dir: &std::path::Path, n: usize) -> Archive {
    Archive::create(dir, space(), VectorType::F32).unwrap();
    Archive::open_writer(dir).unwrap().add(&space(), records(0..n)).unwrap();
    Archive::open(dir).unwrap()
}

#[test]
fn an_archive_goes_through_geoparquet_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let source = archive(&dir.path().join("a"), 500);
    let file = dir.path().join("all.parquet");
    let options = GeoParquetOptions { embeddings: true, thumbnails: true };
    assert_eq!(write_archive_geoparquet(&file, &source, &Filter::new(), options).unwrap(), 500);
    assert_eq!(geoparquet_space(&file).unwrap(), Some(space()));

    let copy = dir.path().join("b");
    Archive::create(&copy, space(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(&copy).unwrap();
    let imported = import_geoparquet(&file, &mut writer, &ImportOptions::default()).unwrap();
    assert_eq!((imported.rows, imported.added.added), (500, 500));
    let again = import_geoparquet(&file, &mut writer, &ImportOptions::default()).unwrap();
    assert_eq!((again.added.added, again.added.skipped), (0, 500));
    let copy = Archive::open(&copy).unwrap();
    for i in [0, 3, 250, 499] {
        let (a, b) = (source.find(record(i).meta.id).unwrap(), copy.find(record(i).meta.id).unwrap());
        let meta = copy.metas(&[b]).unwrap().remove(0);
        assert_eq!(meta, record(i).meta);
        assert_eq!(source.thumbnail(a), copy.thumbnail(b));
        for (x, y) in source.vector(a).iter().zip(copy.vector(b)) {
            assert!((x - y).abs() < 1e-6);
        }
    }
}

#[test]
fn imports_that_cannot_be_right_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = archive(&dir.path().join("a"), 20);
    let file = dir.path().join("hits.parquet");
    let query = Query::new(&space(), &vector(1, DIM)).unwrap();
    let hits = source.search(&query, &SearchOptions::top(5)).unwrap();
    let bare = GeoParquetOptions { embeddings: false, thumbnails: false };
    write_hits_geoparquet(&file, &source, &hits, bare).unwrap();
    let other = dir.path().join("b");
    let elsewhere = Space::new("elsewhere", DIM, "m", None);
    Archive::create(&other, elsewhere.clone(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(&other).unwrap();
    let message = import_geoparquet(&file, &mut writer, &ImportOptions::default()).unwrap_err().to_string();
    assert!(message.contains("`elsewhere`") && message.contains("`test`"), "{message}");
    drop(writer);
    let mut writer = Archive::open_writer(&dir.path().join("a")).unwrap();
    let message = import_geoparquet(&file, &mut writer, &ImportOptions::default()).unwrap_err().to_string();
    assert!(message.contains("no column holds lists of floats"), "{message}");
    std::fs::write(&file, b"PAR1 not really").unwrap();
    assert!(import_geoparquet(&file, &mut writer, &ImportOptions::default()).is_err());
}

/// A file made by `fixtures/make_geopandas.py`.
fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/index/fixtures").join(name)
}

#[test]
fn files_of_geopandas_and_pyarrow_are_imported() {
    let dir = tempfile::tempdir().unwrap();
    let space = Space::new("eight", 8, "m", None);
    Archive::create(dir.path(), space.clone(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    let given = ImportOptions { space: Some(space.clone()), ..Default::default() };

    let file = fixture("geopandas.parquet");
    let message = import_geoparquet(&file, &mut writer, &ImportOptions::default()).unwrap_err().to_string();
    assert!(message.contains("in which space"), "{message}");
    let imported = import_geoparquet(&file, &mut writer, &given).unwrap();
    assert_eq!((imported.rows, imported.added.added), (12, 12));
    assert_eq!(import_geoparquet(&file, &mut writer, &given).unwrap().added.skipped, 12);
    let archive = Archive::open(dir.path()).unwrap();
    let rows: Vec<_> = archive.rows().collect();
    for (i, meta) in archive.metas(&rows).unwrap().into_iter().enumerate() {
        let b = meta.footprint.unwrap().bbox();
        assert_eq!((b.west, b.south, b.east, b.north), (i as f64, 40.0, i as f64 + 1.0, 41.0));
        assert_eq!(meta.source, format!("s3://bucket/{}.tif", i % 3));
        assert_eq!(meta.time.unwrap().to_string(), format!("2024-03-{:02}T10:00:00Z", i + 1));
        let expected: Vec<f64> = (0..8).map(|j| ((i * 8 + j) as f64 * 0.37).cos()).collect();
        let norm = expected.iter().map(|v| v * v).sum::<f64>().sqrt();
        for (a, b) in archive.vector(rows[i]).iter().zip(expected) {
            assert!((f64::from(*a) - b / norm).abs() < 1e-6);
        }
    }

    let message = import_geoparquet(&fixture("geopandas_utm.parquet"), &mut writer, &given).unwrap_err().to_string();
    assert!(message.contains("UTM") && message.contains("4326"), "{message}");
    let imported = import_geoparquet(&fixture("pyarrow.parquet"), &mut writer, &given).unwrap();
    assert_eq!((imported.rows, imported.without_vector, imported.added.added), (12, 1, 11));
    let wrong = ImportOptions { column: Some("id".into()), ..given };
    let message = import_geoparquet(&fixture("pyarrow.parquet"), &mut writer, &wrong).unwrap_err().to_string();
    assert!(message.contains("features"), "{message}");
}

#[test]
fn hits_become_geojson_table_and_contact_sheet() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive(&dir.path().join("a"), 300);
    let query = Query::new(&space(), &vector(0, DIM)).unwrap();
    let hits = archive.search(&query, &SearchOptions::top(30)).unwrap();
    let json = to_geojson(&hits);
    let features = json["features"].as_array().unwrap();
    assert_eq!(features.len(), 30);
    for (feature, hit) in features.iter().zip(&hits) {
        assert_eq!(feature["id"], hit.meta.id.to_string());
        let geometry = &feature["geometry"];
        let footprint = (!geometry.is_null()).then(|| Footprint::from_geojson(&geometry.to_string()).unwrap());
        assert_eq!(footprint, hit.meta.footprint);
    }
    let table = to_table(&hits);
    assert_eq!(table.lines().count(), 31);
    assert!(table.lines().nth(1).unwrap().contains(&hits[0].meta.source));
    let page = to_html(&archive, &hits, "boats & \"ships\"");
    assert!(page.contains("boats &amp; &quot;ships&quot;") && !page.contains("http"));
    let pictures = hits.iter().filter(|h| archive.thumbnail(h.row).is_some()).count();
    assert!(pictures > 0);
    assert_eq!(page.matches("data:image/png;base64,").count(), pictures);
    write_geojson(&dir.path().join("h.geojson"), &hits).unwrap();
    write_html(&dir.path().join("h.html"), &archive, &hits, "t").unwrap();
    assert!(std::fs::read_to_string(dir.path().join("h.geojson")).unwrap().ends_with("}\n"));
}
