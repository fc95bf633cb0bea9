//! What is measured in training and by `geoglot ablate`, and what that compares (GeoLangBind, tables 7 and 11).

use geoglot_data::datasets::Split;
use serde::{Deserialize, Serialize};

use super::recipe::PretrainRecipe;
use crate::recipe::{RecipeError, Templates};

/// A way to measure a tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluateKind {
    /// The class whose prompts are nearest.
    ZeroShot,
    /// Images and captions find one another.
    Retrieval,
    /// Every class whose prompts are near enough.
    Multilabel,
    /// Logistic regression on frozen vectors.
    Probe,
    /// Majority of the nearest training images.
    Knn,
    /// A decode head on the frozen tower.
    Segmentation,
}

impl EvaluateKind {
    /// As recipes write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroShot => "zero-shot",
            Self::Retrieval => "retrieval",
            Self::Multilabel => "multilabel",
            Self::Probe => "probe",
            Self::Knn => "knn",
            Self::Segmentation => "segmentation",
        }
    }
}

/// One measurement: an `[[evaluate]]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateSection {
    /// How.
    pub protocol: EvaluateKind,
    /// Name of the column; protocol and data when none is given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Data set, as in `data.set`; for all protocols but segmentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// For segmentation: a recipe of `kind = "segmentation"` (relative to this one), whose tower and seed are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Epochs between two measurements in training, which also measures the last epoch; only `geoglot ablate` measures when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<usize>,
    /// Part that is scored; the test part when the set is divided, else everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Sensor, where the images do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<String>,
    /// Order in which the images store the sensor's bands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// Templates of class prompts; those of `text.templates` when none are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<Templates>,
    /// Column of the protocol's table that counts, the mean over its rows; top-1, R@1, F1 or mIoU when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
}

impl EvaluateSection {
    /// Whether training measures after `epoch` (from 1) of `epochs`.
    pub fn due(&self, epoch: usize, epochs: usize) -> bool {
        self.every.is_some_and(|n| epoch.is_multiple_of(n) || epoch == epochs)
    }

    /// Name of the column with the figure.
    pub fn title(&self) -> String {
        format!("{} {}", self.label(), self.metric())
    }

    /// Name of the column.
    pub fn label(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let path = self.data.as_ref().or(self.recipe.as_ref()).map_or("", String::as_str);
        let last = path.rsplit(['/', '\\']).find(|p| !p.is_empty()).unwrap_or(path);
        format!("{} {}", last.trim_end_matches(".toml"), self.protocol.name())
    }

    /// The figure that counts.
    pub fn metric(&self) -> &str {
        let usual = match self.protocol {
            EvaluateKind::ZeroShot | EvaluateKind::Probe | EvaluateKind::Knn => "top-1",
            EvaluateKind::Retrieval => "R@1",
            EvaluateKind::Multilabel => "F1",
            EvaluateKind::Segmentation => "mIoU",
        };
        self.metric.as_deref().unwrap_or(usual)
    }

    /// What is wrong.
    pub(super) fn problem(&self) -> Option<String> {
        let dense = self.protocol == EvaluateKind::Segmentation;
        match () {
            () if dense && self.recipe.is_none() => {
                Some("recipe is missing: a recipe of kind = \"segmentation\"".into())
            }
            () if dense && !matches!(self.metric(), "mIoU" | "OA") => Some("metric must be mIoU or OA".into()),
            () if dense && self.every.is_some() => {
                Some("every: a head has a training of its own; `geoglot ablate` measures it".into())
            }
            () if self.every == Some(0) => Some("every must be at least 1 epoch".into()),
            () if dense && self.data.is_some() => Some("data: the segmentation recipe names its own".into()),
            () if !dense && self.data.is_none() => Some("data is missing: a data set".into()),
            () if !dense && self.recipe.is_some() => Some("recipe is for protocol = \"segmentation\"".into()),
            () => self.templates.as_ref().and_then(|t| t.resolve().err()).map(|e| e.to_string()),
        }
    }
}

/// A variant in words of the recipe: an `[[ablation]]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSection {
    /// Name of the row.
    pub name: String,
    /// Overrides as after `--set`.
    pub set: Vec<String>,
}

/// One row of an ablation.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// The recipe that is trained.
    pub recipe: PretrainRecipe,
}

impl PretrainRecipe {
    /// The variants `geoglot ablate` compares: without teachers, with each alone, each pair, all of them, all without the part of the heads that
    /// depends on the wavelengths (MaKA against ordinary distillation, table 7), and the recipe's own. Without teachers the recipe as it stands is
    /// the first.
    ///
    /// # Errors
    /// [`RecipeError`] for a variant whose overrides cannot be applied, that is called like another, or when there is nothing to compare.
    pub fn variants(&self) -> Result<Vec<Variant>, RecipeError> {
        let wrong = |problem: String| RecipeError::Format { path: self.name.clone(), problem };
        let base = Self { ablation: Vec::new(), ..self.clone() };
        let with = |name: String, change: &dyn Fn(&mut Self)| {
            let mut recipe = base.clone();
            change(&mut recipe);
            Variant { name, recipe }
        };
        let n = self.distill.len();
        let label = |k: &usize| self.distill[*k].label().to_owned();
        let mut subsets: Vec<Vec<usize>> = (0..n).map(|k| vec![k]).collect();
        if n > 2 {
            subsets.extend((0..n).flat_map(|a| (a + 1..n).map(move |b| vec![a, b])));
        }
        if n > 1 {
            subsets.push((0..n).collect());
        }
        let mut variants = match n {
            0 => vec![with("as given".into(), &|_| {})],
            _ => vec![with("no teacher".into(), &|r| r.distill.clear())],
        };
        for subset in &subsets {
            let name = subset.iter().map(label).collect::<Vec<_>>().join(" + ");
            let pick = |r: &mut Self| r.distill = subset.iter().map(|&k| self.distill[k].clone()).collect();
            variants.push(with(name, &pick));
        }
        if self.distill.iter().any(|s| s.conditional) {
            let name = format!("{}, without wavelengths", (0..n).map(|k| label(&k)).collect::<Vec<_>>().join(" + "));
            variants.push(with(name, &|r| r.distill.iter_mut().for_each(|s| s.conditional = false)));
        }
        for own in &self.ablation {
            let origin = format!("ablation `{}`", own.name);
            let recipe = Self::parse(&base.to_toml()?, &origin, self.folder.clone(), &own.set)?;
            variants.push(Variant { name: own.name.clone(), recipe });
        }
        for (k, variant) in variants.iter().enumerate() {
            if variant.name.trim().is_empty() {
                return Err(wrong("ablation: a variant has no name".into()));
            }
            if variants[..k].iter().any(|v| v.name == variant.name) {
                return Err(wrong(format!("ablation: two variants are called `{}`", variant.name)));
            }
        }
        match variants.len() {
            1 => {
                Err(wrong("there is nothing to compare; give teachers ([[distill]]) or variants ([[ablation]])".into()))
            }
            _ => Ok(variants),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        name = 'x'
        [[data.set]]
        path = 'a'
        [[distill]]
        teacher = 'siglip'
        weight = 2
        [[distill]]
        teacher = 'dino'
        [[distill]]
        teacher = 'zoo/vit'
        conditional = false
    ";

    fn parse(more: &str) -> Result<PretrainRecipe, RecipeError> {
        PretrainRecipe::parse(&format!("{TEXT}{more}"), "x.toml", "here".into(), &[])
    }

    #[test]
    fn variants_follow_from_the_teachers_and_the_recipe() {
        let own = "[[ablation]]\nname = 'cosine'\nset = ['distill.dino.loss={ smooth_l1 = 0, mse = 0, cosine = 1 }', 'distill.0.weight=1']";
        let recipe = parse(own).unwrap();
        let variants = recipe.variants().unwrap();
        let names: Vec<&str> = variants.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "no teacher",
                "siglip",
                "dino",
                "vit",
                "siglip + dino",
                "siglip + vit",
                "dino + vit",
                "siglip + dino + vit",
                "siglip + dino + vit, without wavelengths",
                "cosine"
            ]
        );
        let teachers = |k: usize| variants[k].recipe.distill.iter().map(|d| d.label().to_owned()).collect::<Vec<_>>();
        assert!(teachers(0).is_empty());
        assert_eq!((teachers(2), teachers(5)), (vec!["dino".into()], vec!["siglip".to_owned(), "vit".into()]));
        assert!(variants[7].recipe.distill[0].conditional && !variants[8].recipe.distill[0].conditional);
        let cosine = &variants[9].recipe;
        assert_eq!((cosine.distill[1].loss.mse, cosine.distill[0].weight), (0.0, 1.0));
        assert!(cosine.ablation.is_empty() && cosine.folder == recipe.folder && cosine.train == recipe.train);

        let none = "name = 'x'\n[[data.set]]\npath = 'a'\n";
        let given = format!("{none}[[ablation]]\nname = 'slow'\nset = ['train.learning_rate=0.001']");
        let given = PretrainRecipe::parse(&given, "x.toml", "".into(), &[]).unwrap().variants().unwrap();
        assert_eq!((given.len(), given[0].name.as_str()), (2, "as given"));
        let nothing = PretrainRecipe::parse(none, "x.toml", "".into(), &[]).unwrap().variants().unwrap_err();
        assert!(nothing.to_string().contains("nothing to compare"), "{nothing}");
    }

    #[test]
    fn faults_of_variants_and_measurements_are_named() {
        for (more, words) in [
            (
                "[[ablation]]\nname = 'a'\nset = ['distill.7.weight=1']",
                "ablation `a`: --set distill.7.weight=1: the list",
            ),
            ("[[ablation]]\nname = 'a'\nset = ['train.batch=1']", "ablation `a`: --set train.batch=1: train.batch"),
            ("[[ablation]]\nname = ''\nset = []", "no name"),
            ("[[ablation]]\nname = 'dino'\nset = []", "called `dino`"),
        ] {
            let error = parse(more).unwrap().variants().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        for (section, words) in [
            ("protocol = 'zero-shot'", "data is missing"),
            ("protocol = 'segmentation'\ndata = 'a'", "recipe is missing"),
            ("protocol = 'segmentation'\nrecipe = 'a'\nmetric = 'F1'", "mIoU or OA"),
            ("protocol = 'knn'\ndata = 'a'\nrecipe = 'b'", "recipe is for"),
            ("protocol = 'knn'\ndata = 'a'\nevery = 0", "at least 1"),
            ("protocol = 'segmentation'\nrecipe = 'a'\nevery = 1", "every"),
            ("protocol = 'zero-shot'\ndata = 'a'\ntemplates = ['none']", "{c}"),
            (
                "protocol = 'zero-shot'\ndata = 'a/b'\n[[evaluate]]\nprotocol = 'zero-shot'\ndata = 'c/b'",
                "called `b zero-shot`",
            ),
            ("protocol = 'guess'\ndata = 'a'", "guess"),
        ] {
            let error = parse(&format!("[[evaluate]]\n{section}")).unwrap_err().to_string();
            assert!(error.contains(words), "{section}: {error}");
        }
        let fine = parse("[[evaluate]]\nprotocol = 'segmentation'\nrecipe = 'r/fields.toml'").unwrap();
        assert_eq!((fine.evaluate[0].label().as_str(), fine.evaluate[0].metric()), ("fields segmentation", "mIoU"));
    }
}
