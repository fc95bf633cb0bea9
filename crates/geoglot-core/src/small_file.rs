//! Files that are read whole: configurations, legends, recipes, lists. Bounded, so that a wrong path to something huge is an error and not
//! the end of the machine's memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// Most bytes of what people write by hand: recipes, legends, label lists, sensor files, areas, and the configurations of models.
pub const TEXT: u64 = 32 << 20;
/// Most bytes of what programs write: tokenisers, caption lists, manifests.
pub const LIST: u64 = 512 << 20;

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for a larger file, of which no more than `most` bytes are read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let io = |e| Error::io(path, "read", e);
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if about.is_dir() {
        return Err(io(std::io::ErrorKind::IsADirectory.into()));
    }
    let too_large = |size: String| Error::Format {
        path: path.display().to_string(),
        problem: format!(
            "has {size}, more than the {} MB that are read of a file of this kind; is it the right file?",
            most >> 20
        ),
    };
    if about.len() > most {
        return Err(too_large(format!("{:.1} MB", about.len() as f64 / f64::from(1 << 20))));
    }
    // Pipes and devices state no length.
    let mut bytes = Vec::with_capacity(about.len() as usize);
    file.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > most {
        return Err(too_large("no end".into()));
    }
    Ok(bytes)
}

/// As [`read`], as UTF-8 text without a byte-order mark.
///
/// # Errors
/// As [`read`]; [`Error::Format`] naming the first line that is no UTF-8.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    let text = String::from_utf8(read(path, most)?).map_err(|e| {
        let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        Error::Format {
            path: path.display().to_string(),
            problem: format!("line {line} is not UTF-8 text; give a text file, or convert it, for example with iconv"),
        }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_and_other_bytes_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.txt");
        std::fs::write(&path, "\u{feff}water\n").unwrap();
        assert_eq!(read_text(&path, TEXT).unwrap(), "water\n");
        let error = read(&path, 4).unwrap_err().to_string();
        assert!(error.contains("labels.txt") && error.contains("right file"), "{error}");
        std::fs::write(&path, b"a\nb\xff").unwrap();
        let error = read_text(&path, TEXT).unwrap_err().to_string();
        assert!(error.contains("labels.txt: line 2") && error.contains("UTF-8"), "{error}");
        // Nothing of it is read: it would not fit.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = read(&path, LIST).unwrap_err().to_string();
        assert!(error.contains("1048576.0 MB"), "{error}");
        let error = read(dir.path(), TEXT).unwrap_err().to_string();
        assert!(error.contains("directory"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn devices_without_end_are_refused() {
        assert!(read(Path::new("/dev/zero"), 1000).unwrap_err().to_string().contains("no end"));
        assert!(read(Path::new("/dev/null"), 1000).unwrap().is_empty());
    }
}
