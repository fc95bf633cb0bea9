//! The samples of a tar file, header by header: where each member lies, nothing of its contents.
//!
//! Sizes a header states are believed only as far as the file reaches, and what has to be held in memory (extended names) is bounded.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header, PaxExtensions};

use super::error::{Error, Result};

const BLOCK: u64 = 512;
/// Longest extended header (GNU long name, PAX) that is read.
const LONGEST_EXTENSION: u64 = 64 << 10;
/// Longest member name.
const LONGEST_NAME: usize = 4096;
/// Most members of a sample.
const MOST_MEMBERS: usize = 64;

/// One file of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What follows the first dot of the file name, in lower case: `image`, `teacher-dinov2.npy`.
    pub suffix: String,
    /// Where its bytes begin in the tar file.
    pub offset: u64,
    /// Number of its bytes.
    pub size: u64,
}

/// The consecutive members of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSample {
    /// Folder and file name up to its first dot.
    pub key: String,
    /// Its files, in the order of the tar file.
    pub members: Vec<Member>,
    /// Why the sample cannot be used, where the headers say so already.
    pub problem: Option<String>,
}

/// Key and suffix of a member's name, as WebDataset divides it: at the first dot of the last part. `None` for names that belong to no
/// sample: without a dot, with nothing before it, or in a folder of metadata (`__name__/`).
pub(super) fn key_and_suffix(name: &str) -> Option<(&str, String)> {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = start + name[start..].find('.')?;
    let first = name.split('/').next().unwrap_or_default();
    if dot == start || (first.len() >= 4 && first.starts_with("__") && first.ends_with("__")) {
        return None;
    }
    Some((&name[..dot], name[dot + 1..].to_lowercase()))
}

/// Walks a tar file.
pub(super) struct Walk<R> {
    reader: BufReader<R>,
    path: PathBuf,
    at: u64,
    length: u64,
    /// First member of the sample that comes next.
    ahead: Option<(String, Member)>,
    seen: HashSet<String>,
    done: bool,
}

impl Walk<File> {
    /// Opens a tar file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let length = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
        Ok(Self::new(path, file, length))
    }
}

impl<R: Read + Seek> Walk<R> {
    /// Walks `reader`, which stands at its start and has `length` bytes.
    pub fn new(path: &Path, reader: R, length: u64) -> Self {
        let reader = BufReader::new(reader);
        Self { reader, path: path.into(), at: 0, length, ahead: None, seen: HashSet::new(), done: false }
    }

    /// The next sample, or `None` after the last.
    ///
    /// # Errors
    /// [`Error::Shard`] for a damaged tar file; nothing follows it. The sample that the damage falls into is lost, too.
    pub fn next_sample(&mut self) -> Result<Option<RawSample>> {
        let first = match self.ahead.take() {
            Some(first) => first,
            None => match self.next_member(None)? {
                Some(first) => first,
                None => return Ok(None),
            },
        };
        let (key, member) = first;
        let twice = !self.seen.insert(key.clone());
        let problem =
            twice.then(|| "a sample of this key was in the shard before; give every sample a key of its own".into());
        let mut sample = RawSample { key, members: vec![member], problem };
        while let Some((key, member)) = self.next_member(Some(&sample.key))? {
            if key != sample.key {
                self.ahead = Some((key, member));
                break;
            }
            if sample.members.iter().any(|m| m.suffix == member.suffix) {
                sample.problem = Some(format!("has two members `.{}`", member.suffix));
            } else if sample.members.len() == MOST_MEMBERS {
                sample.problem = Some(format!("has more than {MOST_MEMBERS} members"));
            } else {
                sample.members.push(member);
            }
        }
        Ok(Some(sample))
    }

    /// The next file that belongs to a sample. `key` is the sample read just now, for messages.
    fn next_member(&mut self, key: Option<&str>) -> Result<Option<(String, Member)>> {
        if self.done {
            return Ok(None);
        }
        let found = self.find_member(key);
        self.done = !matches!(found, Ok(Some(_)));
        found
    }

    fn find_member(&mut self, key: Option<&str>) -> Result<Option<(String, Member)>> {
        let (mut long_name, mut stated_size) = (None, None);
        loop {
            let mut block = [0; BLOCK as usize];
            if self.length - self.at < BLOCK {
                return Err(self.damaged(
                    key,
                    "ends without the mark that ends a tar file: it was cut off; fetch or write it again",
                ));
            }
            self.read(&mut block)?;
            if block == [0; BLOCK as usize] {
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            let sum: u32 =
                block.iter().enumerate().map(|(i, &b)| u32::from(if (148..156).contains(&i) { b' ' } else { b })).sum();
            if header.cksum().ok() != Some(sum) {
                return Err(self.damaged(key, "holds a header whose checksum is wrong: it is damaged, or no tar file"));
            }
            let size = header
                .entry_size()
                .map_err(|e| self.damaged(key, &format!("holds a header with an impossible size ({e})")))?;
            let offset = self.at;
            if size > self.length - offset {
                let name = long_name.take().unwrap_or_else(|| header.path_bytes().into_owned());
                let what = String::from_utf8_lossy(&name);
                let left = self.length - offset;
                return Err(self.damaged(
                    key,
                    &format!("states {size} bytes for `{what}` where {left} are left: it was cut off or is damaged"),
                ));
            }
            match header.entry_type() {
                EntryType::GNULongName => long_name = Some(self.extension(size, key)?),
                EntryType::XHeader => {
                    let bytes = self.extension(size, key)?;
                    for pair in PaxExtensions::new(&bytes) {
                        let pair = pair.map_err(|e| self.damaged(key, &format!("holds a damaged PAX header ({e})")))?;
                        match pair.key_bytes() {
                            b"path" => long_name = Some(pair.value_bytes().to_vec()),
                            b"size" => stated_size = Some(pair.value_bytes().to_vec()),
                            _ => {}
                        }
                    }
                }
                EntryType::GNUSparse => {
                    return Err(self.damaged(key, "holds a sparse file; write it with ordinary files"));
                }
                EntryType::Regular | EntryType::Continuous => {
                    let name = long_name.take().unwrap_or_else(|| header.path_bytes().into_owned());
                    if stated_size.take().is_some_and(|stated| stated != size.to_string().as_bytes()) {
                        return Err(self.damaged(key, "states two sizes for one member, or one above 8 GiB"));
                    }
                    let name = String::from_utf8(name).map_err(|e| {
                        let shown = String::from_utf8_lossy(e.as_bytes()).into_owned();
                        self.damaged(key, &format!("holds a member whose name `{shown}` is not UTF-8"))
                    })?;
                    if name.len() > LONGEST_NAME {
                        return Err(self.damaged(
                            key,
                            &format!(
                                "holds a member with a name of {} bytes; at most {LONGEST_NAME} are accepted",
                                name.len()
                            ),
                        ));
                    }
                    self.skip(size)?;
                    if let Some((key, suffix)) = key_and_suffix(&name) {
                        return Ok(Some((key.to_owned(), Member { suffix, offset, size })));
                    }
                    continue;
                }
                // Folders, links, devices, global headers: nothing of a sample.
                _ => {
                    if !matches!(header.entry_type(), EntryType::GNULongLink | EntryType::XGlobalHeader) {
                        (long_name, stated_size) = (None, None);
                    }
                    self.skip(size)?;
                    continue;
                }
            }
            self.skip_to(offset + size)?;
        }
    }

    fn extension(&mut self, size: u64, key: Option<&str>) -> Result<Vec<u8>> {
        if size > LONGEST_EXTENSION {
            return Err(self.damaged(
                key,
                &format!("holds an extended header of {size} bytes; at most {LONGEST_EXTENSION} are accepted"),
            ));
        }
        let mut bytes = vec![0; size as usize];
        self.read(&mut bytes)?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.reader.read_exact(bytes).map_err(|e| Error::io(&self.path, "read", e))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, size: u64) -> Result<()> {
        self.skip_to(self.at + size)
    }

    /// Goes to the block that follows the contents ending at `end`; a file that ends before it is found out at the next header.
    fn skip_to(&mut self, end: u64) -> Result<()> {
        let next = end.next_multiple_of(BLOCK).min(self.length);
        let by = i64::try_from(next - self.at).map_err(|_| self.damaged(None, "is too large"))?;
        self.reader.seek_relative(by).map_err(|e| Error::io(&self.path, "read", e))?;
        self.at = next;
        Ok(())
    }

    fn damaged(&self, key: Option<&str>, problem: &str) -> Error {
        match key {
            Some(key) => Error::shard(&self.path, format!("after the sample `{key}` begins: {problem}")),
            None => Error::shard(&self.path, problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_divided_as_webdataset_does() {
        for (name, parts) in [
            ("a.image", Some(("a", "image"))),
            ("x.y/b.Teacher-S.NPY", Some(("x.y/b", "teacher-s.npy"))),
            ("деревня/图像.text", Some(("деревня/图像", "text"))),
            ("a", None),
            (".hidden", None),
            ("x/.hidden", None),
            ("__info__/a.json", None),
        ] {
            let found = key_and_suffix(name);
            assert_eq!(found.as_ref().map(|(k, s)| (*k, s.as_str())), parts, "{name}");
        }
    }
}
