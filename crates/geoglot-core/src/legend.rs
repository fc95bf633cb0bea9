//! Class id ↔ name ↔ colour ↔ prompts.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, atomic, small_file};

/// One class of a legend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Id in label rasters.
    pub id: u16,
    /// Name shown to people and, without `prompts`, put into the templates.
    pub name: String,
    /// Colour in maps, red, green, blue. A palette colour when the file gives none.
    #[serde(default, with = "hex", skip_serializing_if = "Option::is_none")]
    pub color: Option<[u8; 3]>,
    /// Descriptions of the class. Empty: the name alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
}

impl Class {
    /// A class with a palette colour and no prompts of its own.
    pub fn new(id: u16, name: impl Into<String>) -> Self {
        Self { id, name: name.into(), color: None, prompts: Vec::new() }
    }
}

/// The classes of a map, in the order of its score layers and prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Legend {
    /// Id of pixels without a label; never a class.
    #[serde(default)]
    pub unlabelled: u16,
    /// The classes.
    #[serde(rename = "class")]
    pub classes: Vec<Class>,
}

/// Colours for classes that name none: distinct hues, readable on white, told apart by the common colour-vision deficiencies in their first eight.
const PALETTE: [[u8; 3]; 20] = [
    [0, 114, 178],
    [0, 158, 115],
    [230, 159, 0],
    [204, 121, 167],
    [213, 94, 0],
    [86, 180, 233],
    [240, 228, 66],
    [117, 112, 179],
    [140, 86, 75],
    [102, 102, 102],
    [188, 189, 34],
    [23, 190, 207],
    [255, 152, 150],
    [44, 80, 30],
    [148, 103, 189],
    [196, 156, 148],
    [31, 60, 120],
    [152, 223, 138],
    [199, 0, 57],
    [219, 219, 141],
];

impl Legend {
    /// A legend of `classes` where id 0 means "no label".
    ///
    /// # Errors
    /// [`Error::Legend`] when ids or names repeat, a name is empty, or there is no class.
    pub fn new(classes: Vec<Class>) -> Result<Self> {
        let legend = Self { unlabelled: 0, classes };
        legend.check()?;
        Ok(legend)
    }

    /// Classes 1, 2, … with the given names, which differ in more than capitals.
    ///
    /// # Errors
    /// As [`Legend::new`]; more names than there are ids.
    pub fn from_names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(Error::Legend("has no classes; give at least one name".into()));
        }
        if names.len() > usize::from(u16::MAX) {
            return Err(Error::Legend(format!("has {} classes; at most {} have an id", names.len(), u16::MAX)));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.trim().to_lowercase())) {
            return Err(Error::Legend(format!("the name `{twice}` occurs twice (capitals tell no classes apart)")));
        }
        Self::new(names.into_iter().zip(1u16..).map(|(name, id)| Class::new(id, name)).collect())
    }

    /// Reads a legend from TOML (`[[class]]` tables) or JSON, by the file's ending.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] naming the file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = small_file::read_text(path, small_file::TEXT)?;
        Self::parse(&text, path)
    }

    /// As [`Legend::load`], from the file's `text`; `path` tells TOML from JSON and names it in messages.
    ///
    /// # Errors
    /// [`Error::Format`] naming the file.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let format = |problem: String| Error::Format { path: path.display().to_string(), problem };
        let parsed: Result<Self, String> = if json {
            serde_json::from_str(text).map_err(|e| e.to_string())
        } else {
            toml::from_str(text).map_err(|e| e.to_string())
        };
        let legend =
            parsed.map_err(|e| format(format!("is not a legend ([[class]] with id, name, color, prompts): {e}")))?;
        legend.check().map_err(|e| format(e.to_string()))?;
        Ok(legend)
    }

    /// Writes the legend as TOML, atomically.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self)
            .map_err(|e| Error::Format { path: path.display().to_string(), problem: e.to_string() })?;
        atomic::write(path, text.as_bytes())
    }

    /// Checks ids, names and prompts.
    ///
    /// # Errors
    /// [`Error::Legend`] saying which class is wrong.
    pub fn check(&self) -> Result<()> {
        let fail = |text: String| Err(Error::Legend(text));
        if self.classes.is_empty() {
            return fail("has no classes; give at least one [[class]] with id and name".into());
        }
        for (k, class) in self.classes.iter().enumerate() {
            if class.name.trim().is_empty() {
                return fail(format!("class {} has an empty name", class.id));
            }
            if class.id == self.unlabelled {
                return fail(format!(
                    "class `{}` has id {}, which means \"no label\" here; change it or `unlabelled`",
                    class.name, class.id
                ));
            }
            if class.prompts.iter().any(|p| p.trim().is_empty()) {
                return fail(format!("class `{}` has an empty prompt; remove it", class.name));
            }
            if let Some(other) = self.classes[..k].iter().find(|o| o.id == class.id || o.name == class.name) {
                return fail(format!(
                    "classes `{}` (id {}) and `{}` (id {}) share an id or a name; each must occur once",
                    other.name, other.id, class.name, class.id
                ));
            }
        }
        Ok(())
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// True when there are no classes.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Position (score layer) of a class id.
    pub fn index_of(&self, id: u16) -> Option<usize> {
        self.classes.iter().position(|class| class.id == id)
    }

    /// Names in order.
    pub fn names(&self) -> Vec<String> {
        self.classes.iter().map(|class| class.name.clone()).collect()
    }

    /// Colour of the class at `index`: its own or the palette's.
    pub fn color(&self, index: usize) -> [u8; 3] {
        self.classes[index].color.unwrap_or(PALETTE[index % PALETTE.len()])
    }

    /// Every prompt of the class at `index`: its own, or its name.
    pub fn words(&self, index: usize) -> Vec<String> {
        let class = &self.classes[index];
        if class.prompts.is_empty() { vec![class.name.clone()] } else { class.prompts.clone() }
    }

    /// The legend without classes that `keep` refuses, ids unchanged.
    ///
    /// # Errors
    /// [`Error::Legend`] when no class is left.
    pub fn filtered(&self, keep: impl Fn(&Class) -> bool) -> Result<Self> {
        let legend =
            Self { unlabelled: self.unlabelled, classes: self.classes.iter().filter(|c| keep(c)).cloned().collect() };
        legend.check()?;
        Ok(legend)
    }
}

/// Colours as `#rrggbb`.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(color: &Option<[u8; 3]>, s: S) -> Result<S::Ok, S::Error> {
        match color {
            Some([r, g, b]) => s.serialize_str(&format!("#{r:02x}{g:02x}{b:02x}")),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<[u8; 3]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(d)? else { return Ok(None) };
        let wrong = || D::Error::custom(format!("color `{text}` is not of the form #rrggbb"));
        let digits = text.strip_prefix('#').filter(|t| t.len() == 6 && t.is_ascii()).ok_or_else(wrong)?;
        let part = |k: usize| u8::from_str_radix(&digits[k..k + 2], 16).map_err(|_| wrong());
        Ok(Some([part(0)?, part(2)?, part(4)?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legend_survives_the_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("legend.toml");
        let mut legend = Legend::from_names(["water", "trees"]).unwrap();
        legend.classes[0].color = Some([0, 17, 255]);
        legend.classes[1].prompts = vec!["tall trees".into()];
        legend.save(&path).unwrap();
        assert_eq!(Legend::load(&path).unwrap(), legend);
        assert_eq!(legend.words(0), ["water"]);
        assert_eq!(legend.words(1), ["tall trees"]);
    }

    #[test]
    fn names_are_given_once() {
        let error = |names: &[&str]| Legend::from_names(names.iter().copied()).unwrap_err().to_string();
        assert!(error(&[]).contains("at least one name"));
        assert!(error(&["water", "trees", "Water"]).contains("`Water` occurs twice"));
        assert!(error(&["water", " "]).contains("empty name"));
        assert!(Legend::from_names((0..70_000).map(|k| k.to_string())).unwrap_err().to_string().contains("70000"));
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("class = []", "no classes"),
            ("[[class]]\nid = 1\nname = \" \"", "empty name"),
            ("[[class]]\nid = 0\nname = \"a\"", "no label"),
            ("[[class]]\nid = 1\nname = \"a\"\n[[class]]\nid = 1\nname = \"b\"", "share"),
            ("[[class]]\nid = 1\nname = \"a\"\nprompts = [\"\"]", "empty prompt"),
            ("[[class]]\nid = 1\nname = \"a\"\ncolor = \"#12345é\"", "#rrggbb"),
            ("[[class]]\nid = 70000\nname = \"a\"", "legend.toml"),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("legend.toml");
        for (text, expected) in cases {
            std::fs::write(&path, text).unwrap();
            let error = Legend::load(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("legend.toml"), "{error}");
        }
    }
}
