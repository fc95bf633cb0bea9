//! Class names and descriptions of a recipe through its text tower.

use anyhow::{Context, bail};
use burn::tensor::Device;

use super::data::Prepared;
use crate::core::{Legend, prompt};
use crate::models::text::{TextTower, class_features};
use crate::models::tsmnet::{TextCard, Told, Variant};
use crate::train::open_segmentation::{ClassTexts, OpenRecipe};
use crate::workflow::text;

/// Learned contexts with CLIP's text tower, where the recipe does not say: 8 of 77 tokens.
const CONTEXTS: usize = 8;

/// The text side of a recipe.
pub struct TextWords {
    /// The tower, where the network reads text.
    pub tower: Option<Box<dyn TextTower>>,
    /// What the model's card says of it.
    pub card: Option<TextCard>,
    /// Descriptions, in the order of [`Prepared::texts`].
    pub told: Vec<Told>,
    /// Learned contexts and the width of one.
    pub contexts: (usize, usize),
    prompts: bool,
}

impl TextWords {
    /// Opens the tower and reads the descriptions.
    ///
    /// # Errors
    /// A tower that does not load; contexts asked for with a tower that is no CLIP; descriptions asked for where there are none.
    pub fn new(recipe: &OpenRecipe, prepared: &Prepared, device: &Device) -> anyhow::Result<Self> {
        let use_ = recipe.model.text;
        let described = use_.description() && recipe.model.variant == Variant::Paper;
        if !use_.classes() && !described {
            return Ok(Self { tower: None, card: None, told: Vec::new(), contexts: (0, 0), prompts: false });
        }
        let name = recipe.named(&recipe.text.tower)?;
        let tower = text::open(&name, device)?;
        let asked = recipe.model.contexts;
        let probe = tower.prompt_encoder(&["water".into()], asked.unwrap_or(CONTEXTS))?;
        let contexts = match (asked, probe) {
            (Some(0), _) | (None, None) => (0, 0),
            (Some(n), None) => bail!(
                "model.contexts = {n}: only CLIP's text tower reads learned contexts, and `{name}` is none; set model.contexts = 0"
            ),
            (asked, Some(encoder)) => (asked.unwrap_or(CONTEXTS), encoder.width()),
        };
        let told = match described {
            true => Told::of(tower.as_ref(), &prepared.texts)?,
            false => Vec::new(),
        };
        let card = TextCard {
            tower: recipe.text.tower.clone(),
            space: tower.space().clone(),
            fingerprint: tower.fingerprint().to_owned(),
            templates: recipe.text.templates.resolve()?,
        };
        Ok(Self { tower: Some(tower), card: Some(card), told, contexts, prompts: recipe.text.prompts })
    }

    /// Widths of class texts and token states.
    pub fn widths(&self) -> (usize, usize) {
        // Without text nothing has these widths but the towers' projection.
        self.tower.as_ref().map_or((384, 384), |t| (t.width(), t.states_width()))
    }

    /// The texts of each class of `legend`.
    pub fn texts(&self, legend: &Legend) -> Vec<Vec<String>> {
        (0..legend.len())
            .map(|k| if self.prompts { legend.words(k) } else { vec![legend.classes[k].name.clone()] })
            .collect()
    }

    /// Class texts to train with.
    ///
    /// # Errors
    /// What the tower may say; several prompts of a class with learned contexts.
    pub fn class_texts(&self, legend: &Legend, classes: bool) -> anyhow::Result<ClassTexts> {
        let (Some(tower), Some(card), true) = (&self.tower, &self.card, classes) else { return Ok(ClassTexts::None) };
        let texts = self.texts(legend);
        if self.contexts.0 > 0 {
            if texts.iter().any(|t| t.len() != 1) {
                bail!(
                    "text.prompts: with learned contexts a class is one name; leave it away, or set model.contexts = 0"
                );
            }
            let encoder = tower.prompt_encoder(&texts.concat(), self.contexts.0)?;
            return Ok(ClassTexts::Prompted(Box::new(encoder.context("a text tower with contexts")?)));
        }
        let filled = texts.iter().map(|t| {
            let each = t.iter().map(|text| {
                card.templates
                    .iter()
                    .map(|template| Ok(prompt::fill(template, text)?))
                    .collect::<anyhow::Result<Vec<_>>>()
            });
            Ok(each.collect::<anyhow::Result<Vec<_>>>()?.concat())
        });
        Ok(ClassTexts::Fixed(class_features(tower.as_ref(), &filled.collect::<anyhow::Result<Vec<_>>>()?)?))
    }
}
