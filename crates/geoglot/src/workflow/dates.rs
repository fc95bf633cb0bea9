//! When a scene was taken.

use anyhow::Context;

use crate::index::Time;
use crate::raster::SceneArg;

/// When scenes were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateRule {
    /// Unknown.
    #[default]
    Unknown,
    /// All at this time.
    At(Time),
    /// Each scene's file name says it: YYYYMMDD or YYYY-MM-DD, optionally followed by THHMMSS.
    FromName,
}

impl DateRule {
    /// The date of a scene.
    ///
    /// # Errors
    /// A name without a date, where names tell it.
    pub(super) fn of(&self, arg: &SceneArg) -> anyhow::Result<Option<Time>> {
        match self {
            Self::Unknown => Ok(None),
            Self::At(time) => Ok(Some(*time)),
            Self::FromName => {
                let name = arg.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                time_in_name(&name).map(Some).with_context(|| {
                    format!(
                        "{}: its name has no date (YYYYMMDD or YYYY-MM-DD); give one with --date",
                        arg.path.display()
                    )
                })
            }
        }
    }
}

/// The first date in a file name.
fn time_in_name(name: &str) -> Option<Time> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (0..name.len()).filter(|&at| name.is_char_boundary(at)).find_map(|at| {
        if name[..at].ends_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let (year, month, day, rest) = match (name.get(at..at + 8), name.get(at..at + 10)) {
            (Some(d), _) if digits(d) => (&d[..4], &d[4..6], &d[6..], &name[at + 8..]),
            (_, Some(d)) if d[4..].starts_with('-') && d[7..].starts_with('-') => {
                (&d[..4], &d[5..7], &d[8..], &name[at + 10..])
            }
            _ => return None,
        };
        let clock = rest.strip_prefix('T').and_then(|t| t.get(..6)).filter(|t| digits(t));
        let clock = clock.map_or("00:00:00".into(), |t| format!("{}:{}:{}", &t[..2], &t[2..4], &t[4..]));
        if rest.starts_with(|c: char| c.is_ascii_digit()) || !("1957".."2200").contains(&year) {
            return None;
        }
        Time::parse(&format!("{year}-{month}-{day}T{clock}Z")).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_from_names() {
        for (name, expected) in [
            ("S2A_MSIL2A_20200601T101559_N0214_R065_T32UQD.tif", Some("2020-06-01T10:15:59Z")),
            ("LC08_L2SP_193026_20190420_20200829_02_T1.tif", Some("2019-04-20T00:00:00Z")),
            ("city-2021-12-31.tif", Some("2021-12-31T00:00:00Z")),
            ("tile_99999999.tif", None),
            ("123420200101.tif", None),
            ("20201301.tif", None),
            ("ähnlich.tif", None),
            ("", None),
        ] {
            assert_eq!(time_in_name(name).map(|t| t.to_string()).as_deref(), expected, "{name}");
        }
    }
}
