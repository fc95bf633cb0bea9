//! How long captions are and which words they use.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::manifest::CaptionedImage;
use super::word_count;

/// Most words listed.
const LISTED: usize = 40;
/// Words that say nothing of what an image shows.
const COMMON: [&str; 34] = [
    "a", "an", "and", "the", "of", "in", "on", "with", "by", "is", "are", "it", "its", "this", "that", "there", "at",
    "to", "from", "up", "which", "whose", "while", "than", "more", "less", "also", "each", "or", "any", "them", "they",
    "for", "as",
];

/// Statistics of a manifest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CaptionStatistics {
    /// Images.
    pub images: usize,
    /// Images worded by the grammar or by each model.
    pub worded_by: BTreeMap<String, usize>,
    /// Short captions.
    pub short: TextStatistics,
    /// Long captions.
    pub long: TextStatistics,
}

/// Statistics of captions of one length.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TextStatistics {
    /// Captions.
    pub captions: usize,
    /// Different ones among them.
    pub different: usize,
    /// Different words.
    pub vocabulary: usize,
    /// Mean number of words.
    pub mean_words: f64,
    /// Captions of each number of words.
    pub lengths: BTreeMap<usize, usize>,
    /// The most frequent words that say something, most frequent first.
    pub words: Vec<(String, usize)>,
}

impl CaptionStatistics {
    /// Counts the captions of `images`.
    pub fn of(images: &[CaptionedImage]) -> Self {
        let mut worded_by = BTreeMap::new();
        images.iter().for_each(|i| *worded_by.entry(i.worded_by.clone()).or_default() += 1);
        Self {
            images: images.len(),
            worded_by,
            short: TextStatistics::of(images.iter().flat_map(|i| &i.short)),
            long: TextStatistics::of(images.iter().flat_map(|i| &i.long)),
        }
    }
}

impl TextStatistics {
    fn of<'a>(captions: impl Iterator<Item = &'a String>) -> Self {
        let (mut all, mut words) = (Self::default(), HashMap::<String, usize>::new());
        let mut different = HashSet::new();
        let mut total = 0;
        for caption in captions {
            let count = word_count(caption);
            all.captions += 1;
            total += count;
            *all.lengths.entry(count).or_default() += 1;
            different.insert(caption);
            for word in caption.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '\'')) {
                if word.chars().any(char::is_alphabetic) {
                    *words.entry(word.to_lowercase()).or_default() += 1;
                }
            }
        }
        all.different = different.len();
        all.vocabulary = words.len();
        all.mean_words = total as f64 / all.captions.max(1) as f64;
        all.words = words.into_iter().filter(|(word, _)| !COMMON.contains(&word.as_str())).collect();
        all.words.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.words.truncate(LISTED);
        all
    }
}
