//! One writer at a time: an advisory lock of the operating system, which ends with the process whatever ends it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::record::Time;
use crate::{Error, Result};

/// Name of the lock file in an archive.
const LOCK: &str = "writer.lock";

/// Held by the writer of an archive.
#[derive(Debug)]
pub(crate) struct WriteLock {
    file: File,
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // Closing would do, but not while a process that another thread is just starting still has the file open too.
        let _ = self.file.unlock();
    }
}

impl WriteLock {
    /// Takes the lock, or says who has it.
    pub fn take(archive: &Path) -> Result<Self> {
        let path = archive.join(LOCK);
        // Not truncated on opening: the name in it may be that of the one who holds it.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| Error::io(&path, "open", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Where locks are mandatory the name cannot be read: then the holder stays unnamed.
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "another process".into() } else { holder.trim().to_owned() };
                return Err(Error::Locked { path: archive.into(), holder });
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(&path, "lock", e)),
        }
        let program = std::env::args_os().next().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        let holder = format!("process {} ({program}) since {}", std::process::id(), Time::now());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(|e| Error::io(&path, "write", e))?;
        Ok(Self { file })
    }
}
