//! The approximate index (feature `usearch`).

use geoglot_index::{
    Approx, ApproxOptions, Archive, Error, Filter, Mode, Query, SearchOptions, VectorType, build_approximate,
};

use crate::{DIM, record, records, space, vector};

#[test]
fn the_graph_finds_nearly_all_also_what_was_added_later() {
    let dir = tempfile::tempdir().unwrap();
    Archive::create(dir.path(), space(), VectorType::F32).unwrap();
    let mut writer = Archive::open_writer(dir.path()).unwrap();
    writer.add(&space(), records(0..1500)).unwrap();
    let first = Archive::open(dir.path()).unwrap();
    assert!(matches!(Approx::open(&first), Err(Error::Approximate(_))), "there is none yet");
    build_approximate(&first, ApproxOptions::default()).unwrap();
    writer.add(&space(), records(1500..2000)).unwrap();
    writer.delete(&[record(7).meta.id]).unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    let approx = Approx::open(&archive).unwrap();
    for filter in [Filter::new(), Filter::new().max_nodata(0.3)] {
        let options = SearchOptions::top(10).filter(filter).mode(Mode::Exact);
        let mut found = 0;
        for seed in 0..20 {
            let query = Query::new(&space(), &vector(9_000_000 + seed, DIM)).unwrap();
            let truth = archive.search_rows(std::slice::from_ref(&query), &options).unwrap().remove(0);
            let list = approx.search(&query, 10, 200, &options).unwrap();
            assert!(list.len() == 10 && list.windows(2).all(|w| w[0].score >= w[1].score));
            found += list.iter().filter(|s| truth.contains(s)).count();
        }
        assert!(found >= 190, "{found} of 200");
    }
    writer.compact().unwrap();
    let compacted = Archive::open(dir.path()).unwrap();
    assert!(Approx::open(&compacted).err().unwrap().to_string().contains("compacted"));
}
