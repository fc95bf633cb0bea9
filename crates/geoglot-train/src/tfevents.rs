//! TensorBoard's event files: scalars as TFRecords of `Event` messages.
//!
//! A record is its length (u64), the masked CRC-32C of the length, the bytes, their masked CRC-32C, little-endian. The few fields of the two
//! messages used are encoded by hand: `Event { wall_time = 1, step = 2, file_version = 3, summary = 5 }`,
//! `Summary.Value { tag = 1, simple_value = 2 }`.

use std::path::Path;
use std::time::SystemTime;

use geoglot_core::atomic;

use crate::Result;
use crate::history::EpochRecord;

/// One point of one curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// Curve, such as `loss/train`.
    pub tag: String,
    /// Position.
    pub step: u64,
    /// Seconds since the Unix epoch.
    pub wall_time: f64,
    /// Value.
    pub value: f32,
}

/// The curves of a run whose last epoch ends now.
pub(crate) fn scalars(history: &[EpochRecord]) -> Vec<Scalar> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    let mut later = 0.0;
    let mut out = Vec::new();
    for e in history.iter().rev() {
        let mut add = |tag: &str, value: f32| {
            out.push(Scalar { tag: tag.into(), step: e.epoch as u64, wall_time: now - later, value });
        };
        add("loss/train", e.loss as f32);
        if let Some(oa) = e.validation_oa {
            add("oa/validation", oa as f32);
        }
        e.parts.iter().for_each(|(name, value)| add(&format!("loss/{name}"), *value as f32));
        e.figures.iter().for_each(|(name, value)| add(&format!("measured/{name}"), *value as f32));
        add("learning_rate", e.learning_rate as f32);
        later += e.seconds;
    }
    out.reverse();
    out
}

/// CRC-32C (Castagnoli) of `bytes`.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    let crc = crc32c(bytes);
    (crc.rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes()
}

fn record(out: &mut Vec<u8>, payload: &[u8]) {
    let length = (payload.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length));
    out.extend(payload);
    out.extend(masked(payload));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn event(wall_time: f64, step: u64) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend(wall_time.to_le_bytes());
    out.push(2 << 3);
    varint(&mut out, step);
    out
}

/// The file's bytes.
pub fn encode(scalars: &[Scalar]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut first = event(scalars.first().map_or(0.0, |s| s.wall_time), 0);
    bytes_field(&mut first, 3, b"brain.Event:2");
    record(&mut file, &first);
    for scalar in scalars {
        let mut value = Vec::new();
        bytes_field(&mut value, 1, scalar.tag.as_bytes());
        value.push(2 << 3 | 5);
        value.extend(scalar.value.to_le_bytes());
        let mut summary = Vec::new();
        bytes_field(&mut summary, 1, &value);
        let mut message = event(scalar.wall_time, scalar.step);
        bytes_field(&mut message, 5, &summary);
        record(&mut file, &message);
    }
    file
}

/// Writes `scalars` as `folder/events.out.tfevents.0.geoglot`, whole.
///
/// # Errors
/// A folder that cannot be written.
pub fn write(folder: &Path, scalars: &[Scalar]) -> Result<()> {
    Ok(atomic::write(&folder.join("events.out.tfevents.0.geoglot"), &encode(scalars))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnoli() {
        // Check value of CRC-32C, and the test vector of RFC 3720 (32 zero bytes).
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn records_are_framed() {
        let file = encode(&[Scalar { tag: "loss".into(), step: 300, wall_time: 1.5, value: 0.25 }]);
        let mut rest = file.as_slice();
        let mut payloads = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked(&rest[..8]));
            let payload = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked(payload));
            payloads.push(payload.to_vec());
            rest = &rest[16 + length..];
        }
        assert_eq!(payloads.len(), 2);
        assert!(payloads[0].windows(13).any(|w| w == b"brain.Event:2"));
        // wall_time, step 300 as a varint, then summary → value → tag and simple_value.
        let expected = [
            &[9][..],
            &1.5f64.to_le_bytes(),
            &[16, 0xac, 2, 42, 13, 10, 11, 10, 4],
            b"loss",
            &[21],
            &0.25f32.to_le_bytes(),
        ]
        .concat();
        assert_eq!(payloads[1], expected);
    }
}
