//! PyTorch zip files built by hand: honest, malicious, truncated.

use std::io::{Cursor, Write};

use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;
use crate::weights::{Checkpoint, DType};

/// A state dict `{"w": tensor [2, 3] as a transposed view of a [3, 2] storage}`.
fn program(elements: u8, dims: [u8; 2], strides: [u8; 2]) -> Vec<u8> {
    let mut p = b"\x80\x02}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK".to_vec();
    p.push(elements);
    p.extend(b"tQK\x00");
    for [a, b] in [dims, strides] {
        p.extend([b'K', a, b'K', b, 0x86]);
    }
    p.extend(b"\x89NtRu.");
    p
}

fn zip_of(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn storage() -> Vec<u8> {
    (0..6).flat_map(|v| (v as f32).to_le_bytes()).collect()
}

fn honest() -> Vec<u8> {
    zip_of(&[("m/data.pkl", &program(6, [2, 3], [1, 2])), ("m/data/0", &storage())], CompressionMethod::Stored)
}

#[test]
fn a_strided_tensor_is_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.pt");
    std::fs::write(&path, honest()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.info("w"), Some(&TensorInfo { dtype: DType::F32, shape: vec![2, 3] }));
    assert_eq!(checkpoint.read_f32("w").unwrap(), [0., 2., 4., 1., 3., 5.]);
    assert!(checkpoint.read_f32("v").unwrap_err().to_string().contains("`v`"));
}

#[test]
fn a_malicious_pickle_is_refused_with_its_name_and_path() {
    let evil = b"\x80\x02cposix\nsystem\nX\x10\x00\x00\x00touch was_called\x85R.";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("evil.pt");
    std::fs::write(&path, zip_of(&[("m/data.pkl", evil)], CompressionMethod::Stored)).unwrap();
    let error = Checkpoint::open(&path).unwrap_err();
    assert!(
        matches!(&error, WeightsError::Pickle { source: pickle::PickleError::ForbiddenGlobal { name }, .. } if name == "posix.system")
    );
    let text = error.to_string();
    assert!(text.contains("posix.system") && text.contains("evil.pt"), "{text}");
}

#[test]
fn every_truncation_is_an_error() {
    let whole = honest();
    assert_eq!(parse_zip(&whole).unwrap().len(), 1);
    for n in 0..whole.len() {
        assert!(parse_zip(&whole[..n]).is_err(), "{n} of {}", whole.len());
    }
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let stored = CompressionMethod::Stored;
    let (pickle, data) = (program(6, [2, 3], [1, 2]), storage());
    // Storage too short, missing, compressed; not a checkpoint; a program.
    for (members, method, word) in [
        (vec![("m/data.pkl", &pickle[..]), ("m/data/0", &data[..20])], stored, "20 bytes"),
        (vec![("m/data.pkl", &pickle[..])], stored, "missing"),
        (vec![("m/data.pkl", &pickle[..]), ("m/data/0", &data[..])], CompressionMethod::Deflated, "compressed"),
        (vec![("readme", &b"x"[..])], stored, "data.pkl"),
        (vec![("m/data.pkl", &pickle[..]), ("m/constants.pkl", &b"x"[..])], stored, "TorchScript"),
        (vec![("m/data.pkl", &pickle[..]), ("m/data/0", &data[..]), ("m/byteorder", &b"big"[..])], stored, "endian"),
        (vec![("m/data.pkl", &b"\x80\x02}."[..])], stored, "no dict of tensors"),
    ] {
        let error = parse_zip(&zip_of(&members, method)).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

proptest! {
    #[test]
    fn never_panics_on_bit_flips(at in 0usize..4000, bit in 0u8..8) {
        let mut bytes = honest();
        let n = bytes.len();
        bytes[at % n] ^= 1 << bit;
        let _ = parse_zip(&bytes);
    }
}
