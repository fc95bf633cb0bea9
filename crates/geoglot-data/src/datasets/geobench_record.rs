//! What the pickles of GEO-Bench hold, read without executing them: labels, bands, class names.

use std::path::Path;

use geoglot_nn::weights::pickle::{Node, Pickle, parse_records};

use super::error::{Error, Result};

/// One band as the pickle describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BandNote {
    /// Name of the data set in the file.
    pub(super) name: String,
    /// Class of the band, such as `Sentinel2`.
    pub(super) kind: String,
    /// Centre wavelength in µm.
    pub(super) wavelength: Option<f64>,
    /// Metres.
    pub(super) resolution: Option<f64>,
}

/// The pickled attribute of a sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// Classes; `None` where the label is a raster.
    pub(super) label: Option<Label>,
    /// Data set of the label raster.
    pub(super) raster: Option<String>,
    /// The bands, without the label.
    pub(super) bands: Vec<BandNote>,
}

/// What `task_specs.pkl` says of the classes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Task {
    /// Their names, where they have some.
    pub(super) names: Option<Vec<String>>,
    /// Their number.
    pub(super) count: Option<usize>,
    /// Whether pixels have classes, not images.
    pub(super) segmentation: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Label {
    Single(usize),
    /// One truth value a class.
    Multi(Vec<bool>),
}

/// Bytes of a Python literal `b'…'`, as the attribute holds them.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let inner = text.strip_prefix('b').and_then(|t| {
        let quote = t.chars().next().filter(|q| matches!(q, '\'' | '"'))?;
        t.strip_prefix(quote)?.strip_suffix(quote)
    });
    let inner = inner.ok_or("is not a Python bytes literal")?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.bytes();
    while let Some(b) = rest.next() {
        if b != b'\\' {
            bytes.push(b);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(c @ (b'\\' | b'\'' | b'"')) => c,
            Some(b'x') => {
                let digit = |c: Option<u8>| c.and_then(|c| (c as char).to_digit(16));
                match (digit(rest.next()), digit(rest.next())) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err("has a broken escape".into()),
                }
            }
            _ => return Err("has an unknown escape".into()),
        });
    }
    Ok(bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Pickle> {
    parse_records(bytes).map_err(|source| Error::Pickle { path: path.into(), source })
}

/// Reads the attribute `pickle` of a sample.
pub(super) fn sample(path: &Path, attribute: &str) -> Result<Sample> {
    let bytes = unescape(attribute).map_err(|e| Error::image(path, format!("its attribute `pickle` {e}")))?;
    let pickle = parse(path, &bytes)?;
    let Node::Dict(pairs) = pickle.root() else {
        return Err(Error::image(path, "its attribute `pickle` is no dictionary"));
    };
    let label =
        match pickle.get(pickle.root(), "label") {
            None | Some(Node::None | Node::Dict(_)) => None,
            Some(node) => Some(label(&pickle, node).ok_or_else(|| {
                Error::image(path, "its label is neither a class number nor an array of zeros and ones")
            })?),
        };
    let (mut bands, mut raster) = (Vec::new(), None);
    for (key, value) in pairs {
        let (Node::Str(name), value @ Node::Dict(_)) = (pickle.node(*key), pickle.node(*value)) else { continue };
        // Labels that are rasters are stored as a further band; a date may follow the name.
        if name.starts_with("label") {
            raster = Some(name.clone());
            continue;
        }
        let Some(info) = pickle.get(value, "band_info") else { continue };
        let number = |key: &str| pickle.state_of(info).and_then(|s| float(pickle.get(s, key)?));
        bands.push(BandNote {
            name: name.clone(),
            kind: pickle.class_of(info).and_then(|c| c.rsplit('.').next()).unwrap_or_default().to_owned(),
            wavelength: number("wavelength"),
            resolution: number("spatial_resolution").or_else(|| float(pickle.get(value, "spatial_resolution")?)),
        });
    }
    Ok(Sample { label, raster, bands })
}

/// What `task_specs.pkl` says of the classes.
pub(super) fn task(path: &Path, bytes: &[u8]) -> Result<Task> {
    let pickle = parse(path, bytes)?;
    let state = pickle.state_of(pickle.root()).unwrap_or(pickle.root());
    let Some(kind) = pickle.get(state, "label_type") else { return Ok(Task::default()) };
    let class = pickle.class_of(kind).unwrap_or_default();
    let segmentation = class.ends_with("Segmentation") || class.ends_with("SegmentationClasses");
    let Some(kind) = pickle.state_of(kind) else { return Ok(Task { segmentation, ..Task::default() }) };
    let names = ["_class_names", "class_name", "class_names"].iter().find_map(|k| match pickle.get(kind, k)? {
        Node::List(ids) | Node::Tuple(ids) => ids
            .iter()
            .map(|id| if let Node::Str(name) = pickle.node(*id) { Some(name.clone()) } else { None })
            .collect::<Option<Vec<_>>>(),
        _ => None,
    });
    let count = pickle.get(kind, "n_classes").and_then(|n| whole(&pickle, n));
    Ok(Task { names, count, segmentation })
}

fn float(node: &Node) -> Option<f64> {
    match node {
        Node::Float(v) => Some(*v),
        Node::Int(v) => Some(*v as f64),
        _ => None,
    }
}

/// A whole number: Python's, or a numpy scalar.
fn whole(pickle: &Pickle, node: &Node) -> Option<usize> {
    match node {
        Node::Int(v) => usize::try_from(*v).ok(),
        Node::Bool(v) => Some(usize::from(*v)),
        Node::Record { arguments, .. } if pickle.class_of(node)?.ends_with("multiarray.scalar") => {
            let (kind, bytes) = (pickle.node(*arguments.first()?), pickle.node(*arguments.get(1)?));
            numbers(pickle, kind, bytes)?.first().and_then(|v| usize::try_from(*v).ok())
        }
        _ => None,
    }
}

fn label(pickle: &Pickle, node: &Node) -> Option<Label> {
    if let Some(class) = whole(pickle, node) {
        return Some(Label::Single(class));
    }
    let values: Vec<i64> = match node {
        Node::List(ids) | Node::Tuple(ids) => {
            ids.iter().map(|id| whole(pickle, pickle.node(*id)).map(|v| v as i64)).collect::<Option<_>>()?
        }
        // An array: (version, shape, type, column order, bytes).
        Node::Record { .. } if pickle.class_of(node)?.ends_with("_reconstruct") => {
            let Node::Tuple(state) = pickle.state_of(node)? else { return None };
            numbers(pickle, pickle.node(*state.get(2)?), pickle.node(*state.get(4)?))?
        }
        _ => return None,
    };
    values
        .iter()
        .map(|v| [false, true].get(usize::try_from(*v).ok()?).copied())
        .collect::<Option<_>>()
        .map(Label::Multi)
}

/// Little-endian numbers of a numpy type; latin-1 text stands for bytes in old protocols.
fn numbers(pickle: &Pickle, kind: &Node, bytes: &Node) -> Option<Vec<i64>> {
    let Node::Record { arguments, .. } = kind else { return None };
    let Node::Str(name) = pickle.node(*arguments.first()?) else { return None };
    let raw: Vec<u8> = match bytes {
        Node::Bytes(raw) => raw.clone(),
        Node::Record { arguments, .. } if pickle.class_of(bytes) == Some("_codecs.encode") => {
            let Node::Str(text) = pickle.node(*arguments.first()?) else { return None };
            text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<_>>()?
        }
        _ => return None,
    };
    let each = |n: usize, read: &dyn Fn(&[u8]) -> i64| -> Vec<i64> { raw.chunks_exact(n).map(read).collect() };
    let int = |n: usize| {
        each(n, &|b| {
            let fill = if b[n - 1] & 0x80 != 0 && name.starts_with('i') { 0xff } else { 0 };
            let mut wide = [fill; 8];
            wide[..n].copy_from_slice(b);
            i64::from_le_bytes(wide)
        })
    };
    Some(match name.as_str() {
        "b1" | "i1" | "u1" => int(1),
        "i2" | "u2" => int(2),
        "i4" | "u4" => int(4),
        "i8" | "u8" => int(8),
        "f4" => each(4, &|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]) as i64),
        "f8" => each(8, &|b| b.try_into().map_or(-1, |b| f64::from_le_bytes(b) as i64)),
        _ => return None,
    })
}

/// For fuzzing: any bytes as the pickle of a sample, as its attribute's text, and as `task_specs.pkl`. Whether they were one of them.
#[doc(hidden)]
pub fn fuzz_record(bytes: &[u8]) -> bool {
    let path = Path::new("input.hdf5");
    let escaped: String = bytes.iter().map(|b| format!("\\x{b:02x}")).collect();
    let text = std::str::from_utf8(bytes).is_ok_and(|text| sample(path, text).is_ok());
    let pickled = sample(path, &format!("b'{escaped}'")).is_ok();
    text | pickled | task(path, bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_bytes_literals() {
        assert_eq!(unescape(r#"b'a\x80\n\\\''"#).unwrap(), b"a\x80\n\\'");
        assert_eq!(unescape("b\"it's\"").unwrap(), b"it's");
        for bad in ["abc", "b'a", r"b'\q'", r"b'\x8'", "b"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_attribute_is_read_or_refused(text in "\\PC{0,60}", bytes in proptest::collection::vec(0u8..255, 0..80)) {
            let _ = sample(Path::new("x"), &text);
            let literal: String = bytes.iter().map(|b| format!("\\x{b:02x}")).collect();
            let _ = sample(Path::new("x"), &format!("b'{literal}'"));
        }
    }
}
