//! The fuzzing entry points on good files, cut and altered at random.

use geoglot_index::export::{GeoParquetOptions, write_archive_geoparquet};
use geoglot_index::{Archive, Filter, VectorType, fuzz};
use proptest::prelude::*;

use crate::{records, space};

type Entry = fn(&[u8]) -> bool;

/// A good file of each format.
fn seeds() -> &'static [(Entry, Vec<u8>)] {
    static SEEDS: std::sync::OnceLock<Vec<(Entry, Vec<u8>)>> = std::sync::OnceLock::new();
    SEEDS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        Archive::create(dir.path(), space(), VectorType::F32).unwrap();
        Archive::open_writer(dir.path()).unwrap().add(&space(), records(0..30)).unwrap();
        let file = dir.path().join("x.parquet");
        let archive = Archive::open(dir.path()).unwrap();
        write_archive_geoparquet(&file, &archive, &Filter::new(), GeoParquetOptions::default()).unwrap();
        let mut seeds: Vec<(Entry, Vec<u8>)> = vec![
            (fuzz::manifest, std::fs::read(dir.path().join("archive.json")).unwrap()),
            (fuzz::geoparquet, std::fs::read(file).unwrap()),
            (fuzz::wkb, records(0..1)[0].meta.footprint.as_ref().unwrap().to_wkb()),
            (fuzz::geojson, records(0..1)[0].meta.footprint.as_ref().unwrap().to_geojson().to_string().into_bytes()),
        ];
        for file in std::fs::read_dir(dir.path().join("segments")).unwrap() {
            let path = file.unwrap().path();
            let entry: Entry = match path.extension().unwrap().to_str().unwrap() {
                "vec" => fuzz::vectors,
                "col" => fuzz::columns,
                "code" => fuzz::codes,
                "png" => fuzz::thumbs,
                _ => fuzz::table,
            };
            seeds.push((entry, std::fs::read(path).unwrap()));
        }
        assert_eq!(seeds.len(), 9);
        seeds
    })
}

/// Puts right the checksums of an own file's header, so that what lies behind them is reached.
fn seal(bytes: &mut [u8]) {
    if bytes.len() >= 64 && bytes.starts_with(b"GEOGLOT") {
        let length = (bytes.len() - 64) as u64;
        bytes[32..40].copy_from_slice(&length.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn altered_files_are_read_or_refused(
        which in 0usize..9, cut in proptest::option::of(any::<prop::sample::Index>()),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), sealed in any::<bool>(),
    ) {
        let (entry, seed) = &seeds()[which];
        let mut bytes = seed.clone();
        if let Some(cut) = cut {
            bytes.truncate(cut.index(seed.len()));
        }
        if !bytes.is_empty() {
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
        }
        if sealed {
            seal(&mut bytes);
        }
        entry(&bytes);
    }
}
