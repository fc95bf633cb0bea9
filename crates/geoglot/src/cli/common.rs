//! Options that mean the same in every command.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use burn::tensor::Device;
use geoglot::core::Registry;

/// Arguments that parse but cannot be used; ends the program with exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// `cpu`, `cuda[:n]` or `vulkan[:n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceArg {
    /// The pure-Rust CPU backend.
    #[default]
    Cpu,
    /// NVIDIA GPU number n.
    Cuda(usize),
    /// Vulkan: discrete GPU number n, or the best GPU found.
    Vulkan(Option<usize>),
}

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, number) = text.split_once(':').map_or((text, None), |(k, n)| (k, Some(n)));
        let number = number.map(|n| n.parse().map_err(|_| format!("`{n}` is not a device number"))).transpose()?;
        match (kind, number) {
            ("cpu", None) => Ok(Self::Cpu),
            ("cuda", n) => Ok(Self::Cuda(n.unwrap_or(0))),
            ("vulkan", n) => Ok(Self::Vulkan(n)),
            _ => Err("expected cpu, cuda[:n] or vulkan[:n]".into()),
        }
    }
}

impl DeviceArg {
    /// `count` devices, this one first and those numbered after it. Copies of the CPU share its cores.
    pub fn open_many(self, count: usize) -> anyhow::Result<Vec<Device>> {
        let numbered = |k: usize| match self {
            Self::Cpu => Self::Cpu,
            Self::Cuda(n) => Self::Cuda(n + k),
            Self::Vulkan(n) if count > 1 => Self::Vulkan(Some(n.unwrap_or(0) + k)),
            Self::Vulkan(n) => Self::Vulkan(n),
        };
        (0..count).map(|k| numbered(k).open()).collect()
    }

    /// The device, or an error that names the missing feature.
    pub fn open(self) -> anyhow::Result<Device> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda(n) => Ok(Device::cuda(n)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan(n) => Ok(Device::vulkan(
                n.map_or(burn::tensor::DeviceKind::DefaultDevice, burn::tensor::DeviceKind::DiscreteGpu),
            )),
            #[allow(unreachable_patterns)]
            other => {
                let feature = if matches!(other, Self::Cuda(_)) { "cuda" } else { "vulkan" };
                Err(Usage(format!(
                    "this build has no {feature} support; build with `--features {feature}`, or use --device cpu"
                ))
                .into())
            }
        }
    }
}

/// The built-in sensor registry, or that and a user's file.
pub fn registry(file: Option<&PathBuf>) -> anyhow::Result<Registry> {
    match file {
        Some(path) => Registry::with_file(path).context("--sensors"),
        None => Ok(Registry::builtin().clone()),
    }
}

/// Refuses outputs (option, file) that are folders, one another or an input, before any work is done for them.
pub fn writable<'a>(outputs: &[(&str, &Path)], inputs: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    // A file that is still to be written is known by its folder.
    let place = |path: &Path| {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match (whole.canonicalize(), whole.parent().map(Path::canonicalize), whole.file_name()) {
            (Ok(found), ..) => found,
            (_, Some(Ok(folder)), Some(name)) => folder.join(name),
            _ => whole,
        }
    };
    let mut seen: HashMap<PathBuf, &str> = inputs.into_iter().map(|path| (place(path), "an input")).collect();
    for (option, out) in outputs {
        if out.is_dir() {
            return Err(Usage(format!("{option} {} is a folder; name a file to write to", out.display())).into());
        }
        if let Some(what) = seen.insert(place(out), "another output") {
            return Err(
                Usage(format!("{option} {} is {what} as well; name another file to write to", out.display())).into()
            );
        }
    }
    Ok(())
}

/// Refuses numbers (option, number) of nothing.
pub fn at_least_one(numbers: &[(&str, usize)]) -> anyhow::Result<()> {
    match numbers.iter().find(|(_, number)| *number == 0) {
        Some((option, _)) => Err(Usage(format!("{option} 0: expected 1 or more")).into()),
        None => Ok(()),
    }
}

/// A threshold of cosines or probabilities.
pub fn threshold(value: Option<f32>) -> anyhow::Result<()> {
    match value {
        Some(value) if !(-1.0..=1.0).contains(&value) => {
            Err(Usage(format!("--threshold {value}: cosines lie between -1 and 1, probabilities between 0 and 1"))
                .into())
        }
        _ => Ok(()),
    }
}

/// A flag that Ctrl-C raises; a second Ctrl-C ends the program at once.
pub fn interrupt_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    // Fails only when a handler is set already, which then does the same.
    let _ = ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::SeqCst) {
            std::process::exit(1);
        }
        eprintln!("\nstopping after this step (Ctrl-C again to end at once)");
    });
    flag
}
