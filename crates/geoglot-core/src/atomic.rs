//! Files that are either whole or absent: write to a temporary name in the same folder, sync, rename.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The temporary name that [`write()`] uses for `path`: same folder, so that the rename cannot cross file systems.
/// Carries the process id, so that two processes never share one.
pub fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Removes what killed processes left behind while they wrote `path`: files named `<name>.<process>.tmp` and `<name>.<process>.tmp…` beside it
/// whose process runs no more. Where that cannot be told (other systems than Linux), they must not have been touched for a day.
pub fn remove_stale(path: &Path) {
    let (Some(name), Some(folder)) = (path.file_name().and_then(|n| n.to_str()), path.parent()) else { return };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(list) = fs::read_dir(folder) else { return };
    for entry in list.flatten() {
        let file = entry.file_name();
        let process = || {
            let behind = file.to_str()?.strip_prefix(name)?.strip_prefix('.')?;
            behind.split_once(".tmp")?.0.parse::<u32>().ok()
        };
        if process().is_some_and(|id| id != std::process::id() && is_over(id, &entry)) {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether process `id`, which wrote `file`, has ended.
fn is_over(id: u32, file: &fs::DirEntry) -> bool {
    if cfg!(target_os = "linux") && Path::new("/proc/self").exists() {
        return !Path::new("/proc").join(id.to_string()).exists();
    }
    let age = file.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age.as_secs() > 24 * 3600)
}

/// Removes its file when dropped before [`Guard::commit`].
struct Guard {
    temporary: PathBuf,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Lets `produce` write a file at a temporary path, then renames it to `path`.
///
/// Missing parent folders are created. On any error the temporary file is removed and `path` is untouched.
///
/// # Errors
/// What `produce` returns, or [`Error::Io`] naming `path`.
pub fn produce<T, E: From<Error>>(path: &Path, produce: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, "create the folder", e))?;
    }
    remove_stale(path);
    let mut guard = Guard { temporary: temporary_name(path), armed: true };
    let value = produce(&guard.temporary)?;
    let file = File::open(&guard.temporary).map_err(|e| Error::io(path, "write", e))?;
    file.sync_all().map_err(|e| Error::io(path, "write", e))?;
    fs::rename(&guard.temporary, path).map_err(|e| Error::io(path, "rename", e))?;
    guard.armed = false;
    Ok(value)
}

/// Writes through a buffered writer, atomically.
///
/// # Errors
/// [`Error::Io`] naming `path`; the old file, if any, stays.
pub fn write_with(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<()> {
    produce(path, |temporary| {
        let file = File::create(temporary).map_err(|e| Error::io(path, "create", e))?;
        let mut writer = BufWriter::new(file);
        write(&mut writer).and_then(|()| writer.flush()).map_err(|e| Error::io(path, "write", e))
    })
}

/// Writes `bytes` to `path` atomically.
///
/// # Errors
/// [`Error::Io`] naming `path`; the old file, if any, stays.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |w| w.write_all(bytes))
}

/// Writes `value` as indented JSON with a final newline, atomically.
///
/// # Errors
/// [`Error::Io`] naming `path`, or [`Error::Format`] when a value cannot be JSON.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::Format {
        path: path.display().to_string(),
        problem: format!("cannot be written as JSON: {e}"),
    })?;
    text.push(b'\n');
    write(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/a.txt");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |w| {
            w.write_all(b"half")?;
            Err(std::io::Error::other("no space"))
        });
        assert!(failed.unwrap_err().to_string().contains("no space"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_killed_process_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let (dead, alive) = (ended.id(), 1);
        let stale = [format!("map.tif.{dead}.tmp"), format!("map.tif.{dead}.tmp.cog")];
        let others = [format!("map.tif.{alive}.tmp"), format!("other.tif.{dead}.tmp"), "map.tif.x.tmp".to_owned()];
        stale.iter().chain(&others).for_each(|name| fs::write(dir.path().join(name), b"half").unwrap());
        write(&dir.path().join("map.tif"), b"whole").unwrap();
        let left = |name: &String| dir.path().join(name).exists();
        assert!(!stale.iter().any(left) && others.iter().all(left));
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = write(&file.join("x.json"), b"{}").unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }
}
