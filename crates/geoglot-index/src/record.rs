//! One record: a vector and where, when and from what it was made.

use chrono::{DateTime, SecondsFormat, Utc};
use geoglot_core::{Grid, Window};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Footprint, Result};

/// Content hash of a record: the first 128 bits of a SHA-256. The same tile embedded twice by the same model has the same id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub [u8; 16]);

impl RecordId {
    /// The id of `window` of `source`, embedded by the model with hash `model`, of acquisition or band group `variant`
    /// (empty when there is one only).
    pub fn new(source: &str, window: Option<Window>, model: &str, variant: &str) -> Self {
        let window = window.map_or_else(String::new, |w| format!("{},{},{},{}", w.col, w.row, w.width, w.height));
        Self::of_parts(&[source.as_bytes(), window.as_bytes(), model.as_bytes(), variant.as_bytes()])
    }

    /// The id of any list of byte strings; lengths are hashed too, so that parts cannot run into each other.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }

    /// Reads 32 hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Format`] for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = || Error::format("record id", format!("`{text}` is not 32 hexadecimal digits"));
        if text.len() != 32 || !text.is_ascii() {
            return Err(refuse());
        }
        let mut id = [0; 16];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| refuse())?;
        }
        Ok(Self(id))
    }
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for RecordId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// A moment, as milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time(pub i64);

impl Time {
    /// Reads an RFC 3339 date-time, or a plain date (then the start of that day, UTC).
    ///
    /// # Errors
    /// [`Error::Format`] naming the text.
    pub fn parse(text: &str) -> Result<Self> {
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self(moment.timestamp_millis()));
        }
        // Without a zone, UTC is meant: that is how scenes are named.
        if let Ok(moment) = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f") {
            return Ok(Self(moment.and_utc().timestamp_millis()));
        }
        chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()
            .and_then(|d| d.and_hms_opt(0, 0, 0))
            .map(|moment| Self(moment.and_utc().timestamp_millis()))
            .ok_or_else(|| Error::format("date", format!("`{text}` is neither YYYY-MM-DD nor an RFC 3339 date-time")))
    }

    /// The present moment.
    pub fn now() -> Self {
        Self(Utc::now().timestamp_millis())
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(moment) if self.0 % 1000 == 0 => f.write_str(&moment.to_rfc3339_opts(SecondsFormat::Secs, true)),
            Some(moment) => f.write_str(&moment.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// Where, when and from what a vector was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Meta {
    /// Content hash; see [`RecordId::new`].
    pub id: RecordId,
    /// Footprint on Earth (EPSG:4326, longitude first); `None` for images without georeference.
    pub footprint: Option<Footprint>,
    /// The tile's own grid: native CRS, transform of its top-left pixel, size in pixels.
    pub grid: Option<Grid>,
    /// Which pixels of the source the tile is.
    pub window: Option<Window>,
    /// Acquisition time.
    pub time: Option<Time>,
    /// Sensor id, as in the sensor registry.
    pub sensor: Option<String>,
    /// Source raster: path or URI.
    pub source: String,
    /// Share of cloudy pixels, 0–1.
    pub cloud: Option<f32>,
    /// Share of pixels without data, 0–1.
    pub nodata: Option<f32>,
    /// Free caption.
    pub caption: Option<String>,
    /// Free tags.
    pub tags: Vec<String>,
}

impl Meta {
    /// Metadata with id and source only.
    pub fn new(id: RecordId, source: impl Into<String>) -> Self {
        Self {
            id,
            footprint: None,
            grid: None,
            window: None,
            time: None,
            sensor: None,
            source: source.into(),
            cloud: None,
            nodata: None,
            caption: None,
            tags: Vec::new(),
        }
    }

    /// Checks the shares.
    ///
    /// # Errors
    /// [`Error::Format`] naming the record when a share is outside 0–1.
    pub(crate) fn check(&self) -> Result<()> {
        for (name, share) in [("cloud", self.cloud), ("nodata", self.nodata)] {
            if let Some(share) = share.filter(|s| !(0.0..=1.0).contains(s)) {
                let problem = format!("{} of {}: {name} share {share} is outside 0–1", self.id, self.source);
                return Err(Error::format("record", problem));
            }
        }
        Ok(())
    }
}

/// A record to add: metadata, vector, optional picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where, when and from what.
    pub meta: Meta,
    /// The embedding, `[D]`; brought to length 1 on adding.
    pub vector: Vec<f32>,
    /// A small picture of the tile, PNG bytes.
    pub thumbnail: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_every_part_and_on_nothing_else() {
        let window = Some(Window::new(0, 0, 224, 224));
        let id = RecordId::new("a.tif", window, "m", "");
        assert_eq!(id, RecordId::new("a.tif", window, "m", ""));
        assert_ne!(id, RecordId::new("a.tif", Some(Window::new(0, 1, 224, 224)), "m", ""));
        assert_ne!(RecordId::of_parts(&[b"ab", b"c"]), RecordId::of_parts(&[b"a", b"bc"]));
        assert_eq!(RecordId::parse(&id.to_string()).unwrap(), id);
        assert!(RecordId::parse("xyz").is_err());
    }

    #[test]
    fn times_are_read_and_written() {
        assert_eq!(Time::parse("1970-01-02").unwrap(), Time(86_400_000));
        assert_eq!(Time::parse("2024-05-01T10:00:00+02:00").unwrap().to_string(), "2024-05-01T08:00:00Z");
        assert_eq!(Time::parse("2024-05-01T08:00:00").unwrap().to_string(), "2024-05-01T08:00:00Z");
        assert!(Time::parse("May").unwrap_err().to_string().contains("May"));
    }
}
