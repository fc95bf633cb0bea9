//! The small members of a sample: texts, wavelengths, classes, place.

use geoglot_core::Band;
use serde_json::Value;

use super::npy::Npy;
use super::sample::{ReadOptions, Role, role};

/// What the small members say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    pub texts: Vec<String>,
    pub wavelengths: Option<Vec<Option<f32>>>,
    pub bands: Vec<String>,
    pub classes: Vec<String>,
    pub class: Option<i64>,
    pub place: Option<String>,
}

fn utf8<'a>(suffix: &str, bytes: &'a [u8]) -> Result<&'a str, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        format!("`.{suffix}` is not UTF-8 text (byte {}); convert it, for example with iconv", e.valid_up_to() + 1)
    })?;
    Ok(text.trim_start_matches('\u{feff}').trim())
}

pub(super) fn read(members: &[(&str, &[u8])], options: &ReadOptions) -> Result<Said, String> {
    let mut said = Said::default();
    let mut later = Vec::new();
    for &(suffix, bytes) in members {
        match role(suffix) {
            Role::Text => said.texts.push(utf8(suffix, bytes)?.to_owned()),
            Role::Wavelength => said.wavelengths = Some(wavelengths(suffix, bytes)?),
            Role::Place => said.place = Some(utf8(suffix, bytes)?.to_owned()),
            Role::Class => {
                let text = utf8(suffix, bytes)?;
                said.class =
                    Some(text.parse().map_err(|_| format!("`.{suffix}` is not a class number but `{}`", start(text)))?);
            }
            Role::Json => {
                let value: Value = serde_json::from_str(utf8(suffix, bytes)?)
                    .map_err(|e| format!("`.{suffix}` is not valid JSON ({e})"))?;
                later = strings(&value, &["captions", "caption", "text"], suffix)?;
                said.classes = strings(&value, &["classes", "class", "labels"], suffix)?;
                said.bands = strings(&value, &["bands"], suffix)?;
            }
            Role::Image | Role::Teacher(_) | Role::Other => {}
        }
    }
    // A caption that is listed several times is drawn as often.
    let later: Vec<String> = later.into_iter().map(|t| t.trim().to_owned()).collect();
    said.texts.retain(|t| !later.contains(t));
    let mut texts: Vec<String> = Vec::new();
    for text in std::mem::take(&mut said.texts).into_iter().chain(later).filter(|t| !t.is_empty()) {
        if text.chars().count() > options.longest_text {
            return Err(format!("has a text of more than {} characters (`{}…`)", options.longest_text, start(&text)));
        }
        texts.push(text);
    }
    if options.need_text && texts.is_empty() && said.classes.is_empty() {
        let found: Vec<String> = members.iter().map(|m| format!("`.{}`", m.0)).collect();
        return Err(format!(
            "has no text; expected `.text`, `.txt` or a caption in `.json`, found {}",
            found.join(", ")
        ));
    }
    said.texts = texts;
    Ok(said)
}

fn start(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The text or texts under the first of `keys` that is there.
fn strings(value: &Value, keys: &[&str], suffix: &str) -> Result<Vec<String>, String> {
    let Some((key, value)) = keys.iter().find_map(|k| Some((k, value.get(*k)?))) else { return Ok(Vec::new()) };
    let one = |v: &Value| match v {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    };
    let found = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(all) => all.iter().map(one).collect(),
        other => one(other).map(|s| vec![s]),
    };
    found.ok_or_else(|| format!("`.{suffix}`: `{key}` is neither a text nor a list of texts"))
}

/// A list of µm: JSON, numbers divided by commas or blanks with or without brackets, or npy. `null` is a band without a wavelength.
pub(super) fn wavelengths(suffix: &str, bytes: &[u8]) -> Result<Vec<Option<f32>>, String> {
    let wrong = |what: &str| format!("`.{suffix}` {what}; expected a list of µm such as [0.665, 0.56, 0.49]");
    let numbers: Vec<Option<f32>> = if bytes.starts_with(b"\x93NUMPY") {
        Npy::parse(bytes).and_then(|n| n.f32()).map_err(|e| wrong(&e))?.iter().map(|&v| Some(v)).collect()
    } else {
        let text = utf8(suffix, bytes)?;
        let inner = text.trim_matches(['[', ']', '(', ')']);
        let one = |word: &str| match word {
            "null" | "None" | "nan" | "NaN" => Ok(None),
            number => number.parse::<f32>().map(Some).map_err(|_| wrong(&format!("is `{}`", start(text)))),
        };
        inner
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|w| !w.is_empty())
            .map(one)
            .collect::<Result<_, _>>()?
    };
    for &w in numbers.iter().flatten() {
        if !(w.is_finite() && w > 0.0) {
            return Err(wrong(&format!("holds {w}, which is no wavelength")));
        }
        if (100.0..=5000.0).contains(&w) {
            return Err(wrong(&format!("holds {w}, which looks like nanometres: give {}", w / 1000.0)));
        }
    }
    if numbers.is_empty() {
        return Err(wrong("is empty"));
    }
    Ok(numbers)
}

/// Wavelengths and band names of an image of `channels` bands: as the members say, else as the image's own file says.
#[allow(clippy::type_complexity)]
pub(super) fn bands(
    wavelengths: Option<Vec<Option<f32>>>,
    names: Vec<String>,
    own: &[Band],
    channels: usize,
) -> Result<(Vec<Option<f32>>, Vec<String>), String> {
    let own = if own.len() == channels { own } else { &[] };
    if let Some(waves) = &wavelengths
        && waves.len() != channels
    {
        return Err(format!("has {channels} bands in its image and {} wavelengths", waves.len()));
    }
    if !names.is_empty() && names.len() != channels {
        return Err(format!("has {channels} bands in its image and {} band names", names.len()));
    }
    let names = match (names.is_empty(), wavelengths.is_some()) {
        (true, false) => own.iter().map(Band::label).collect(),
        _ => names,
    };
    let waves = wavelengths.unwrap_or_else(|| match own.iter().any(|b| b.wavelength_um.is_some()) {
        true => own.iter().map(|b| b.wavelength_um).collect(),
        false => Vec::new(),
    });
    Ok((waves, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(members: &[(&str, &[u8])]) -> Result<Said, String> {
        read(members, &ReadOptions::default())
    }

    #[test]
    fn wavelengths_in_every_form() {
        let rgb = vec![Some(0.665), Some(0.56), Some(0.49)];
        for text in ["[0.665, 0.56, 0.49]", "(0.665, 0.56, 0.49)", "0.665 0.56 0.49\n", "0.665,0.56,0.49"] {
            assert_eq!(wavelengths("wavelength", text.as_bytes()).unwrap(), rgb, "{text}");
        }
        let array = ndarray::array![0.665f32, 0.56, 0.49].into_dyn();
        assert_eq!(wavelengths("wavelength", &super::super::npy::encode(array.view())).unwrap(), rgb);
        assert_eq!(wavelengths("wavelength", b"[null, 0.5]").unwrap(), [None, Some(0.5)]);
        for (text, word) in [
            ("[665, 560]", "nanometres"),
            ("red", "expected"),
            ("[]", "empty"),
            ("[-1]", "no wavelength"),
            ("\u{1f30d}", "expected"),
        ] {
            assert!(wavelengths("wavelength", text.as_bytes()).unwrap_err().contains(word), "{text}");
        }
    }

    #[test]
    fn captions_of_any_script_and_no_other_bytes() {
        for text in ["Река и лес", "農地と川", "غابة ونهر", "जंगल", "\u{feff}a river 🌊"]
        {
            assert_eq!(read_one(&[("text", text.as_bytes())]).unwrap().texts, [text.trim_start_matches('\u{feff}')]);
        }
        assert!(read_one(&[("text", b"caf\xe9")]).unwrap_err().contains("byte 4"));
        assert!(read_one(&[("text", b"  ")]).unwrap_err().contains("no text"));
    }

    #[test]
    fn json_brings_more_captions_and_classes() {
        let json = br#"{"captions": ["a", "b"], "class": "river", "bands": ["sentinel-2-l2a/B04"]}"#;
        let said = read_one(&[("json", json), ("txt", b"b"), ("cls", b"7")]).unwrap();
        assert_eq!(
            (said.texts, said.classes, said.class),
            (vec!["a".into(), "b".into()], vec!["river".into()], Some(7))
        );
        assert!(read_one(&[("json", b"{"), ("txt", b"b")]).unwrap_err().contains("JSON"));
        assert!(read_one(&[("json", br#"{"captions": [{}]}"#)]).unwrap_err().contains("captions"));
        assert!(read_one(&[("cls", b"river"), ("txt", b"b")]).unwrap_err().contains("class number"));
    }
}
