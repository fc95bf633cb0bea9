//! Published tensor names to ours, as data.

use regex::Regex;
use serde::Deserialize;

use super::WeightsError;

/// Where a published tensor goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Our parameter name, dotted, in PyTorch's words (`weight`, `bias`).
    pub name: String,
    /// Whether the published tensor must be transposed first (a matrix used as `x · P` where a linear layer stores `Pᵀ`).
    pub transpose: bool,
    /// Part `.0` of `.1` equal parts along the first axis (a fused query-key-value projection).
    pub part: (usize, usize),
}

/// Rules from published names to parameter names, and the names that may be left out.
///
/// In TOML, first match wins:
/// ```toml
/// name = "example"
/// [[rule]]
/// from = '^encoder\.layer\.(\d+)\.query\.(weight|bias)$'
/// to = "layers.$1.attn.query.$2"
/// [[rule]]                        # a fused projection, split in three along its first axis
/// from = '^blocks\.(\d+)\.in_proj_(weight|bias)$'
/// to = ["layers.$1.attn.query.$2", "layers.$1.attn.key.$2", "layers.$1.attn.value.$2"]
/// [[rule]]                        # stored as [in, out]
/// from = '^text_projection$'
/// to = "projection.weight"
/// transpose = true
/// [[ignore]]
/// from = '^pooler\.'
/// why = "the pooler is not part of the text feature"
/// [[optional]]                    # our parameter may keep its initial value
/// to = '^head\.'
/// why = "trained here"
/// ```
#[derive(Debug, Clone)]
pub struct KeyMap {
    name: String,
    rules: Vec<Rule>,
    ignore: Vec<Regex>,
    optional: Vec<Regex>,
}

#[derive(Debug, Clone)]
struct Rule {
    from: Regex,
    to: Vec<String>,
    transpose: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    name: String,
    #[serde(default, rename = "about")]
    _about: String,
    #[serde(default)]
    rule: Vec<RuleSpec>,
    #[serde(default)]
    ignore: Vec<IgnoreSpec>,
    #[serde(default)]
    optional: Vec<OptionalSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSpec {
    from: String,
    to: OneOrMany,
    #[serde(default)]
    transpose: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IgnoreSpec {
    from: String,
    #[serde(rename = "why")]
    _why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OptionalSpec {
    to: String,
    #[serde(rename = "why")]
    _why: String,
}

impl KeyMap {
    /// Parses a key map from TOML.
    ///
    /// # Errors
    /// [`WeightsError::KeyMap`] naming the map and the rule.
    pub fn from_toml(text: &str) -> Result<Self, WeightsError> {
        let spec: FileSpec = toml::from_str(text)
            .map_err(|e| WeightsError::KeyMap { map: "<unnamed>".into(), problem: e.to_string() })?;
        let regex = |pattern: &str| {
            Regex::new(pattern).map_err(|e| WeightsError::KeyMap { map: spec.name.clone(), problem: e.to_string() })
        };
        let mut rules = Vec::with_capacity(spec.rule.len());
        for rule in &spec.rule {
            let to = match &rule.to {
                OneOrMany::One(to) => vec![to.clone()],
                OneOrMany::Many(to) => to.clone(),
            };
            if to.is_empty() {
                return Err(WeightsError::KeyMap {
                    map: spec.name.clone(),
                    problem: format!("rule `{}` has no target", rule.from),
                });
            }
            rules.push(Rule { from: regex(&rule.from)?, to, transpose: rule.transpose });
        }
        let ignore = spec.ignore.iter().map(|i| regex(&i.from)).collect::<Result<_, _>>()?;
        let optional = spec.optional.iter().map(|o| regex(&o.to)).collect::<Result<_, _>>()?;
        Ok(Self { name: spec.name, rules, ignore, optional })
    }

    /// Every name stands for itself; nothing is ignored.
    pub fn identity() -> Self {
        let all =
            Rule { from: Regex::new("^.*$").expect("a constant pattern"), to: vec!["$0".into()], transpose: false };
        Self { name: "identity".into(), rules: vec![all], ignore: Vec::new(), optional: Vec::new() }
    }

    /// The map's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Targets of a published name: `None` when no rule names it, empty when the map says to ignore it.
    pub fn targets(&self, published: &str) -> Option<Vec<Target>> {
        if self.ignore.iter().any(|i| i.is_match(published)) {
            return Some(Vec::new());
        }
        let rule = self.rules.iter().find(|r| r.from.is_match(published))?;
        let parts = rule.to.len();
        let targets = rule.to.iter().enumerate().map(|(i, to)| Target {
            name: rule.from.replace(published, to.as_str()).into_owned(),
            transpose: rule.transpose,
            part: (i, parts),
        });
        Some(targets.collect())
    }

    /// Whether parameter `name` may keep its initial value.
    pub fn is_optional(&self, name: &str) -> bool {
        self.optional.iter().any(|o| o.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = r#"
        name = "t"
        [[rule]]
        from = '^l\.(\d+)\.in_proj_(weight|bias)$'
        to = ["a.$1.q.$2", "a.$1.k.$2"]
        [[rule]]
        from = '^proj$'
        to = "p.weight"
        transpose = true
        [[ignore]]
        from = '^pooler\.'
        why = "test"
    "#;

    #[test]
    fn rules_split_transpose_and_ignore() {
        let map = KeyMap::from_toml(MAP).unwrap();
        let split = map.targets("l.3.in_proj_bias").unwrap();
        assert_eq!(split[1], Target { name: "a.3.k.bias".into(), transpose: false, part: (1, 2) });
        assert!(map.targets("proj").unwrap()[0].transpose);
        assert_eq!(map.targets("pooler.dense.weight"), Some(Vec::new()));
        assert_eq!(map.targets("else"), None);
        assert_eq!(KeyMap::identity().targets("x.y").unwrap()[0].name, "x.y");
    }

    #[test]
    fn a_bad_map_says_why() {
        assert!(KeyMap::from_toml("name = 1").is_err());
        let error = KeyMap::from_toml("name = 'm'\n[[rule]]\nfrom = '('\nto = 'x'").unwrap_err().to_string();
        assert!(error.contains("`m`"), "{error}");
        assert!(KeyMap::from_toml("name = 'm'\n[[rule]]\nfrom = 'a'\nto = []").is_err());
    }
}
