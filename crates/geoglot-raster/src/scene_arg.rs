//! One input of a scene as written on the command line: `[name=]path[:key=value,…]` or `[name=]path[:bands]`.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::warp::Resampling;
use crate::{Axes, Error, Result, SourceOptions};

/// Which scale turns stored into physical values.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleRule {
    /// The file's own scale if it declares one; else the sensor's if the file stores integers; else none.
    #[default]
    Auto,
    /// None: stored values as they are.
    None,
    /// The sensor's, whatever the file stores or says.
    Sensor,
    /// This factor.
    Factor(f64),
}

/// One input of a scene.
///
/// ```
/// use geoglot_raster::SceneArg;
/// let arg: SceneArg = "hsi=scene.mat:sensor=aisa-eagle,variable=HSI".parse().unwrap();
/// assert_eq!(arg.name.as_deref(), Some("hsi"));
/// assert_eq!(arg.sensor.as_deref(), Some("aisa-eagle"));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SceneArg {
    /// Name of the input, such as `hsi`; the file's stem when none is given.
    pub name: Option<String>,
    /// File or folder.
    pub path: PathBuf,
    /// Sensor id or alias.
    pub sensor: Option<String>,
    /// The sensor's band layout in which the file stores its bands.
    pub layout: Option<String>,
    /// Bands to use, by name, by number from 1, or as a range of numbers; empty for all.
    pub bands: Vec<String>,
    /// Scale.
    pub scale: ScaleRule,
    /// Added after scaling; the file's or the sensor's when none is given.
    pub offset: Option<f64>,
    /// Stored value without data; the file's or the sensor's when none is given.
    pub nodata: Option<f64>,
    /// How the input is brought onto the scene's grid; the scene's way when none is given.
    pub resampling: Option<Resampling>,
    /// Variable of files that hold several.
    pub variable: Option<String>,
    /// Order of the axes of array files.
    pub axes: Option<Axes>,
}

const KEYS: &str = "sensor, layout, bands, scale (none, sensor or a number), offset, nodata, resampling (nearest, bilinear), variable, axes (hwc, chw, hw)";

impl SceneArg {
    /// An input with nothing but a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// The same under a name.
    pub fn named(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: Some(name.into()), ..Self::new(path) }
    }

    /// Name, or the file's stem.
    pub fn label(&self) -> String {
        let stem = || self.path.file_stem().map(|s| s.to_string_lossy().into_owned());
        self.name.clone().or_else(stem).unwrap_or_else(|| "input".into())
    }

    /// What the file's reader has to know.
    pub fn source_options(&self) -> SourceOptions {
        SourceOptions { variable: self.variable.clone(), axes: self.axes }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = |text: &str| text.parse::<f64>().map_err(|_| format!("`{key}` needs a number, not `{text}`"));
        match key {
            "sensor" => self.sensor = Some(value.into()),
            "layout" => self.layout = Some(value.into()),
            "bands" => self.bands = list(value)?,
            "variable" => self.variable = Some(value.into()),
            "offset" => self.offset = Some(number(value)?).filter(|v| v.is_finite()),
            "nodata" => self.nodata = Some(number(value)?),
            "resampling" => self.resampling = Some(value.parse().map_err(|e: Error| e.to_string())?),
            "scale" => {
                self.scale = match value {
                    "none" => ScaleRule::None,
                    "sensor" => ScaleRule::Sensor,
                    "auto" => ScaleRule::Auto,
                    other => match number(other)? {
                        factor if factor.is_finite() && factor != 0.0 => ScaleRule::Factor(factor),
                        _ => return Err(format!("`scale` cannot be {other}")),
                    },
                }
            }
            "axes" => {
                self.axes = Some(match value.to_ascii_lowercase().as_str() {
                    "hwc" => Axes::Hwc,
                    "chw" => Axes::Chw,
                    "hw" => Axes::Hw,
                    other => return Err(format!("unknown axes `{other}`; known: hwc, chw, hw")),
                })
            }
            other => return Err(format!("unknown key `{other}`; known keys: {KEYS}")),
        }
        Ok(())
    }
}

/// `B02+B03+B04`.
fn list(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split('+').map(|n| n.trim().to_string()).collect();
    if names.iter().any(String::is_empty) {
        return Err(format!("the band list `{text}` has an empty name; write B02+B03+B04"));
    }
    Ok(names)
}

/// Splits `path:options`. A colon begins options unless it belongs to a Windows drive (`C:\`) or a path follows it.
fn split_options(text: &str) -> (&str, Option<&str>) {
    let Some(at) = text.rfind(':') else { return (text, None) };
    let (path, rest) = (&text[..at], &text[at + 1..]);
    // Only values may hold slashes: in `a.h5:variable=/cube/data` the colon before the key begins the options.
    let first_key = rest.split('=').next().unwrap_or_default();
    let is_path = first_key.contains(['/', '\\']);
    if is_path || path.is_empty() {
        return (text, None);
    }
    (path, Some(rest))
}

impl FromStr for SceneArg {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fail = |why: String| {
            Error::Usage(format!(
                "input `{text}`: {why}. Write [name=]path[:key=value,…] such as hsi=scene.mat:sensor=aisa-eagle"
            ))
        };
        let mut arg = Self::default();
        let mut rest = text;
        // A name is a plain word before the first `=`; `./a=b.tif` is a path.
        if let Some((name, after)) = text.split_once('=')
            && !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        {
            arg.name = Some(name.into());
            rest = after;
        }
        let (path, options) = split_options(rest);
        if path.is_empty() {
            return Err(fail("there is no path".into()));
        }
        arg.path = path.into();
        match options {
            None => {}
            Some("") => return Err(fail("nothing follows the colon".into())),
            Some(bands) if !bands.contains('=') => arg.bands = list(&bands.replace(',', "+")).map_err(fail)?,
            Some(options) => {
                let mut seen: Vec<&str> = Vec::new();
                for option in options.split(',') {
                    let (key, value) = option.split_once('=').ok_or_else(|| {
                        fail(format!("`{option}` is not of the form key=value; bands are joined by `+`"))
                    })?;
                    let (key, value) = (key.trim(), value.trim());
                    if value.is_empty() || seen.contains(&key) {
                        return Err(fail(format!("`{key}` needs one value")));
                    }
                    seen.push(key);
                    arg.set(key, value).map_err(fail)?;
                }
            }
        }
        Ok(arg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> SceneArg {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_documented_forms() {
        assert_eq!(parse("a.tif"), SceneArg::new("a.tif"));
        assert_eq!(parse("dem=d/a.tif"), SceneArg::named("dem", "d/a.tif"));
        assert_eq!(parse("./a=b.tif"), SceneArg::new("./a=b.tif"));
        let arg = parse("hsi=scene.mat:sensor=aisa-eagle,variable=HSI,axes=chw");
        assert_eq!((arg.variable.as_deref(), arg.axes), (Some("HSI"), Some(Axes::Chw)));
        let arg = parse("img.tif:sensor=s2,bands=B02+nir narrow,scale=none,nodata=-9999");
        assert_eq!(arg.bands, ["B02", "nir narrow"]);
        assert_eq!((arg.scale, arg.nodata), (ScaleRule::None, Some(-9999.0)));
        assert_eq!(parse("img.tif:B02,B03").bands, ["B02", "B03"]);
        assert_eq!(parse("img.tif:3+1").bands, ["3", "1"]);
        assert_eq!(parse("a.h5:variable=/cube/data").variable.as_deref(), Some("/cube/data"));
    }

    #[test]
    fn drives_and_addresses_are_paths() {
        for path in [r"C:\data\a.tif", "C:/data/a.tif", "https://host/a.tif"] {
            assert_eq!(parse(path), SceneArg::new(path));
        }
        assert_eq!(parse(r"hsi=C:\a.tif:sensor=s2").path, PathBuf::from(r"C:\a.tif"));
    }

    #[test]
    fn wrong_forms_say_why() {
        for (text, expected) in [
            ("", "no path"),
            ("hsi=", "no path"),
            ("a.tif:", "colon"),
            ("a.tif:sensr=s2", "known keys"),
            ("a.tif:sensor=s2,B02", "key=value"),
            ("a.tif:sensor=s2,sensor=s1", "one value"),
            ("a.tif:scale=fast", "number"),
            ("a.tif:scale=0", "scale"),
            ("a.tif:bands=B02++B03", "empty name"),
            ("a.tif:axes=whc", "hwc"),
            ("a.tif:resampling=cubic", "nearest"),
        ] {
            let error = text.parse::<SceneArg>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<SceneArg>();
        }

        #[test]
        fn names_paths_and_bands_survive(name in "[a-z]{1,6}", path in "[a-z/.]{1,12}", bands in prop::collection::vec("[A-Z][0-9]{1,2}", 1..5)) {
            let arg: SceneArg = format!("{name}={path}:sensor=s2,bands={}", bands.join("+")).parse().unwrap();
            prop_assert_eq!(arg, SceneArg { name: Some(name), path: path.into(), sensor: Some("s2".into()), bands, ..Default::default() });
        }
    }
}
