//! Faulty shards and samples: errors that name shard and sample, or passed over and counted.

use std::path::{Path, PathBuf};

use geoglot_data::shards::{
    Error, OnFault, ReadOptions, SampleStream, ShardFolder, ShardIndex, StreamOptions, StreamState, verify,
};
use tar::{Builder, Header};

use crate::{rgb, sample, write};

fn header(size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    header
}

/// A tar file of these members.
fn shard(folder: &Path, name: &str, members: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.join(name);
    let mut tar = Builder::new(std::fs::File::create(&path).unwrap());
    for (name, bytes) in members {
        tar.append_data(&mut header(bytes.len()), name, *bytes).unwrap();
    }
    tar.finish().unwrap();
    path
}

fn image() -> Vec<u8> {
    sample(0, 1).image.to_npy()
}

/// What reading `path` strictly says, and the keys and number of faults when they are passed over.
fn both(path: &Path) -> (Error, Vec<String>, u64) {
    let folder = ShardFolder::open(path).unwrap();
    let strict = SampleStream::new(&folder, &StreamOptions::default(), StreamState::default());
    let error = strict.and_then(|s| s.collect::<Result<Vec<_>, _>>()).unwrap_err();
    let options = StreamOptions { on_fault: OnFault::Skip, buffer: 0, ..StreamOptions::default() };
    let mut stream = SampleStream::new(&folder, &options, StreamState::default()).unwrap();
    let keys = stream.by_ref().map(|s| s.unwrap().key).collect();
    let faults = stream.state().skipped;
    let verified = verify(&folder, &ReadOptions::default()).unwrap();
    assert_eq!(verified.problems.len() as u64, faults, "{:?}", verified.problems);
    if let Ok(catalogue) = folder.catalogue(&ReadOptions::default(), OnFault::Skip) {
        assert_eq!(catalogue.faults() as u64, faults);
    }
    (error, keys, faults)
}

#[test]
fn a_faulty_sample_is_named_and_the_others_are_read() {
    let image = image();
    let cut = &image[..image.len() - 3];
    let huge: Vec<u8> = {
        let mut npy = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 4000000000, 3), }".to_vec();
        npy.resize(127, b' ');
        npy.push(b'\n');
        npy
    };
    let good: [(&str, &[u8]); 2] = [("good.image", &image), ("good.text", b"fine")];
    type Members<'a> = &'a [(&'a str, &'a [u8])];
    let cases: &[(&str, Members)] = &[
        ("has no text", &[("bad.image", &image)]),
        ("has no image", &[("bad.text", b"a")]),
        ("not UTF-8 text (byte 4)", &[("bad.image", &image), ("bad.text", b"caf\xe9")]),
        ("cut off", &[("bad.image", cut), ("bad.text", b"a")]),
        ("4000000000", &[("bad.image", &huge), ("bad.text", b"a")]),
        ("neither npy, PNG, JPEG nor TIFF", &[("bad.image", b"\x80\x02}q\x00."), ("bad.text", b"a")]),
        ("damaged PNG", &[("bad.png", b"\x89PNG\r\n\x1a\n"), ("bad.txt", b"a")]),
        ("damaged JPEG", &[("bad.jpg", b"\xff\xd8\xff\xe0junk"), ("bad.txt", b"a")]),
        ("TIFF", &[("bad.tif", b"II*\x00junkjunk"), ("bad.txt", b"a")]),
        ("several images", &[("bad.png", &image), ("bad.jpg", &image), ("bad.txt", b"a")]),
        (
            "3 bands in its image and 2 wavelengths",
            &[("bad.image", &image), ("bad.text", b"a"), ("bad.wavelength", b"[0.6, 0.5]")],
        ),
        ("nanometres", &[("bad.image", &image), ("bad.text", b"a"), ("bad.wavelength", b"[665, 560, 490]")]),
        ("two members `.text`", &[("bad.image", &image), ("bad.text", b"a"), ("bad.TEXT", b"b")]),
        ("teacher-x.npy", &[("bad.image", &image), ("bad.text", b"a"), ("bad.teacher-x.npy", b"no array")]),
    ];
    for (number, (word, members)) in cases.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let last: [(&str, &[u8]); 2] = [("last.image", &image), ("last.text", b"fine")];
        let all: Vec<(&str, &[u8])> = good.iter().chain(*members).chain(&last).copied().collect();
        shard(dir.path(), "shard.tar", &all);
        let folder = ShardFolder::open(dir.path()).unwrap();
        let options = StreamOptions { on_fault: OnFault::Skip, buffer: 0, ..StreamOptions::default() };
        let mut stream = SampleStream::new(&folder, &options, StreamState::default()).unwrap();
        let keys: Vec<String> = stream.by_ref().map(|s| s.unwrap().key).collect();
        assert_eq!((keys, stream.state().skipped), (vec!["good".into(), "last".into()], 1), "case {number}: {word}");
        let strict = SampleStream::new(&folder, &StreamOptions::default(), StreamState::default()).unwrap();
        let error = strict.collect::<Result<Vec<_>, _>>().unwrap_err().to_string();
        assert!(
            error.contains(word) && error.contains("shard.tar, sample `bad`"),
            "case {number}: {word} is not in: {error}"
        );
        let verified = verify(&folder, &ReadOptions::default()).unwrap();
        assert_eq!((verified.samples, verified.problems.len()), (2, 1), "{word}");
    }
}

#[test]
fn a_key_that_comes_twice_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    let pair = |key: &str| [(format!("{key}.image"), image.clone()), (format!("{key}.text"), b"t".to_vec())];
    let all: Vec<(String, Vec<u8>)> = ["a", "b", "a"].iter().flat_map(|k| pair(k)).collect();
    let members: Vec<(&str, &[u8])> = all.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    let (error, keys, faults) = both(&shard(dir.path(), "twice.tar", &members));
    assert!(error.to_string().contains("sample `a`: a sample of this key was in the shard before"), "{error}");
    assert_eq!((keys, faults), (vec!["a".into(), "b".into()], 1));
    // In two shards of a folder: told by `verify`.
    shard(dir.path(), "x.tar", &members[..4]);
    shard(dir.path(), "y.tar", &members[2..4]);
    std::fs::remove_file(dir.path().join("twice.tar")).unwrap();
    let problems = verify(&ShardFolder::open(dir.path()).unwrap(), &ReadOptions::default()).unwrap().problems;
    assert!(problems.len() == 1 && problems[0].contains("sample `b`") && problems[0].contains("x.tar"), "{problems:?}");
}

#[test]
fn a_shard_cut_anywhere_is_told_and_what_lies_before_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &rgb(4), 10);
    let bytes = std::fs::read(dir.path().join("shard-000000.tar")).unwrap();
    let cut = tempfile::tempdir().unwrap();
    let path = cut.path().join("cut.tar");
    let whole = bytes.len() - 1024;
    for length in (0..whole).step_by(97).chain([whole - 512, whole - 1, whole]) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let (error, keys, faults) = both(&path);
        assert!(matches!(error, Error::Shard { .. }) && error.to_string().contains("cut.tar"), "{length}: {error}");
        assert!(keys.len() * (bytes.len() / 5) <= length && faults >= 1, "{length}: {keys:?}");
    }
}

#[test]
fn hostile_headers_cost_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let with = |name: &str, change: &dyn Fn(&mut Header)| {
        let path = dir.path().join(name);
        let mut head = header(3);
        head.set_path("a.text").unwrap();
        change(&mut head);
        head.set_cksum();
        let mut bytes = head.as_bytes().to_vec();
        bytes.extend(b"abc");
        bytes.resize(2048, 0);
        std::fs::write(&path, bytes).unwrap();
        both(&path).0.to_string()
    };
    for size in [1 << 20, 1 << 40, (1 << 62) + 3] {
        let error = with("size.tar", &|h| h.set_size(size));
        assert!(error.contains(&format!("states {size} bytes for `a.text`")), "{error}");
    }
    let error = with("sum.tar", &|h| h.as_old_mut().size = *b"abcdefghijkl");
    assert!(error.contains("impossible size"), "{error}");
    let error = with("name.tar", &|h| h.as_old_mut().name[0] = 0xff);
    assert!(error.contains("not UTF-8"), "{error}");
    let error = with("sparse.tar", &|h| h.set_entry_type(tar::EntryType::GNUSparse));
    assert!(error.contains("sparse"), "{error}");
    // A long name and a PAX header of a megabyte, and a PAX header that states another size.
    for (kind, size) in [(b'L', 1 << 20), (b'x', 1 << 20)] {
        let mut head = header(size);
        head.set_entry_type(tar::EntryType::new(kind));
        head.set_cksum();
        let path = dir.path().join("extended.tar");
        std::fs::write(&path, [head.as_bytes().as_slice(), &vec![b'a'; size], &[0; 1024]].concat()).unwrap();
        assert!(both(&path).0.to_string().contains("extended header of 1048576 bytes"));
    }
    let pax = b"16 size=1000000\n";
    let mut head = header(pax.len());
    head.set_entry_type(tar::EntryType::XHeader);
    head.set_cksum();
    let mut file = header(3);
    file.set_path("a.text").unwrap();
    file.set_cksum();
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend(pax);
    bytes.resize(1024, 0);
    bytes.extend(file.as_bytes());
    bytes.extend([b'a'; 512]);
    bytes.resize(4096, 0);
    let path = dir.path().join("pax.tar");
    std::fs::write(&path, bytes).unwrap();
    assert!(both(&path).0.to_string().contains("two sizes"));
    let error = {
        std::fs::write(&path, vec![b'x'; 5000]).unwrap();
        both(&path).0.to_string()
    };
    assert!(error.contains("no tar file"), "{error}");
}

#[test]
fn a_sample_above_the_limit_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &rgb(2), 10);
    let folder = ShardFolder::open(dir.path()).unwrap();
    for read in [
        ReadOptions { most_bytes: 100, ..ReadOptions::default() },
        ReadOptions { most_values: 10, ..ReadOptions::default() },
    ] {
        let error = folder.catalogue(&read, OnFault::Fail).unwrap_err().to_string();
        assert!(error.contains("kind0/0000"), "{error}");
    }
    let short = ReadOptions { longest_text: 3, ..ReadOptions::default() };
    assert!(folder.catalogue(&short, OnFault::Fail).unwrap_err().to_string().contains("more than 3 characters"));
}

#[test]
fn a_folder_that_is_not_what_its_index_says_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &rgb(6), 2);
    let open = || ShardFolder::open(dir.path());
    let path = dir.path().join("shard-000001.tar");
    let bytes = std::fs::read(&path).unwrap();
    // A changed byte in the pixels is found by the checksum only.
    let mut changed = bytes.clone();
    changed[512 + 140] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let problems = verify(&open().unwrap(), &ReadOptions::default()).unwrap().problems;
    assert!(problems.len() == 1 && problems[0].contains("SHA-256"), "{problems:?}");
    std::fs::write(&path, &bytes[..1000]).unwrap();
    assert!(open().unwrap_err().to_string().contains("has 1000 bytes"));
    std::fs::remove_file(&path).unwrap();
    assert!(open().unwrap_err().to_string().contains("is missing"));
    std::fs::write(&path, &bytes).unwrap();
    for (text, word) in [("{", "no index"), ("{\"format\": \"x\"}", "no index")] {
        std::fs::write(ShardIndex::path(dir.path()), text).unwrap();
        assert!(open().unwrap_err().to_string().contains(word));
    }
    let none = tempfile::tempdir().unwrap();
    assert!(ShardFolder::open(none.path()).unwrap_err().to_string().contains("no shards"));
    assert!(!ShardFolder::recognises(none.path()) && ShardFolder::recognises(dir.path()));
}
