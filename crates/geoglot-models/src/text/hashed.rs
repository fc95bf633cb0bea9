//! Words without a language model: the fallback tower.

use std::collections::BTreeMap;

use ndarray::{Array2, Axis};
use sha2::{Digest, Sha256};

use super::pooling::normalize_rows;
use super::{SpaceId, TextTower};
use crate::error::Result;
use crate::hub::hex;

/// Width of the vectors: six 64-bit words of signs per feature.
const WIDTH: usize = 384;
/// Fixes the random projection; changing it, or anything below, needs a new space name.
const SEED: u64 = 0x6765_6f67_6c6f_7431;
/// Words that carry no class: function words, and what every remote sensing prompt says.
const WEAK: &[&str] = &[
    "a",
    "an",
    "and",
    "are",
    "as",
    "at",
    "by",
    "for",
    "from",
    "in",
    "is",
    "it",
    "its",
    "of",
    "on",
    "or",
    "that",
    "the",
    "this",
    "to",
    "with",
    "aerial",
    "area",
    "hyperspectral",
    "image",
    "imagery",
    "lidar",
    "multispectral",
    "patch",
    "photo",
    "picture",
    "pixel",
    "region",
    "remote",
    "satellite",
    "scene",
    "sensing",
    "showing",
    "view",
];

/// A text tower that needs no weights: hashed words, word pairs and character n-grams, projected at random to 384-d.
///
/// Each feature (a word, a pair of neighbouring words, an n-gram of 3–5 characters of a word) has a vector of random signs
/// that depends on its spelling alone; a text is the weighted sum, scaled to length 1 (random projections: Achlioptas
/// 2003; character n-grams as in fastText, Bojanowski et al. 2017). The same text gives the same bits on every machine.
///
/// **Limits.** Texts are near each other only when they share words or pieces of words: "tree" and "trees" are near,
/// "tree" and "forest" are not. There are no synonyms, no other languages, no negation, and almost no word order. It is
/// enough to train and map a fixed legend, whose classes only need distinct vectors; asking for a class in new words at run
/// time works only as far as the words are shared. Its space, `hashed-words-384`, is never MiniLM's.
pub struct HashedWords {
    space: SpaceId,
    fingerprint: String,
}

impl HashedWords {
    /// Name of the tower and of its space.
    pub const NAME: &'static str = "hashed-words";

    /// The tower; it has no settings.
    pub fn new() -> Self {
        let fingerprint = hex(&Sha256::digest(format!("hashed-words-384 v1 {SEED:x}")));
        Self { space: SpaceId::new("hashed-words-384", WIDTH), fingerprint }
    }
}

impl Default for HashedWords {
    fn default() -> Self {
        Self::new()
    }
}

impl TextTower for HashedWords {
    fn space(&self) -> &SpaceId {
        &self.space
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn encode(&self, texts: &[String]) -> Result<Array2<f32>> {
        let mut out = Array2::zeros((texts.len(), WIDTH));
        for (text, mut row) in texts.iter().zip(out.axis_iter_mut(Axis(0))) {
            // Sums in f64 over features in sorted order: the same bits whatever the order of words.
            let mut sum = [0f64; WIDTH];
            for (feature, weight) in features(text) {
                add_signs(&mut sum, &feature, weight);
            }
            row.iter_mut().zip(sum).for_each(|(r, s)| *r = s as f32);
        }
        normalize_rows(&mut out);
        Ok(out)
    }
}

/// Weighted features of a text; a text without words has one feature of its own.
fn features(text: &str) -> BTreeMap<String, f64> {
    let words: Vec<String> =
        text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(singular).collect();
    let mut features = BTreeMap::new();
    let mut add = |feature: String, weight: f64| *features.entry(feature).or_insert(0.0) += weight;
    let weight_of = |word: &str| if WEAK.contains(&word) { 0.1 } else { 1.0 };
    for word in &words {
        let weight = weight_of(word);
        add(format!("w {word}"), weight);
        let letters: Vec<char> = std::iter::once('<').chain(word.chars()).chain(std::iter::once('>')).collect();
        let grams: Vec<String> =
            (3..=5).flat_map(|n| letters.windows(n).map(|g| g.iter().collect::<String>())).collect();
        // All n-grams of a word together weigh half as much as the word itself.
        let share = 0.5 * weight / (grams.len().max(1) as f64).sqrt();
        grams.into_iter().for_each(|gram| add(format!("g {gram}"), share));
    }
    for pair in words.windows(2) {
        add(format!("p {} {}", pair[0], pair[1]), 0.5 * weight_of(&pair[0]).min(weight_of(&pair[1])));
    }
    if features.is_empty() {
        features.insert("empty".into(), 1.0);
    }
    features
}

/// English plurals to singulars, roughly: grasses → grass, trees → tree, roads → road.
fn singular(word: &str) -> String {
    let stem = if word.len() > 4 && (word.ends_with("sses") || word.ends_with("shes") || word.ends_with("ches")) {
        &word[..word.len() - 2]
    } else if word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") && !word.ends_with("us") {
        &word[..word.len() - 1]
    } else {
        word
    };
    stem.to_owned()
}

/// Adds ±`weight` to every element, signs from the bits of a generator started by the feature's spelling.
fn add_signs(sum: &mut [f64; WIDTH], feature: &str, weight: f64) {
    // FNV-1a, then SplitMix64: both fixed for ever, unlike the standard library's hasher.
    let mut state =
        feature.bytes().fold(0xcbf2_9ce4_8422_2325 ^ SEED, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    for chunk in sum.chunks_mut(64) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        for (i, value) in chunk.iter_mut().enumerate() {
            *value += if bits >> i & 1 == 1 { weight } else { -weight };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosines(texts: &[&str]) -> Array2<f32> {
        let texts: Vec<String> = texts.iter().map(|t| t.to_string()).collect();
        let features = HashedWords::new().encode(&texts).unwrap();
        features.dot(&features.t())
    }

    #[test]
    fn shared_words_are_near_and_the_rest_is_far() {
        let c = cosines(&[
            "healthy grass",
            "stressed grass",
            "a satellite image of stressed grass",
            "asphalt road",
            "grasses that are healthy",
        ]);
        assert!((c[[0, 0]] - 1.0).abs() < 1e-6);
        assert!(c[[0, 1]] > 0.3 && c[[0, 1]] < 0.8, "{c:?}");
        assert!(c[[1, 2]] > 0.8, "{c:?}");
        assert!(c[[0, 3]].abs() < 0.2, "{c:?}");
        assert!(c[[0, 4]] > 0.7, "{c:?}");
    }

    #[test]
    fn the_bits_are_fixed() {
        let vector = HashedWords::new().encode(&["water".into(), String::new(), "…".into()]).unwrap();
        assert_eq!(vector.row(1), vector.row(2));
        assert!((vector.row(1).dot(&vector.row(1)) - 1.0).abs() < 1e-6);
        // The space's name promises these numbers: a change here needs a new name.
        let bytes: Vec<u8> = vector.row(0).iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(hex(&Sha256::digest(&bytes))[..16], *"c5a5f89294e9d300");
    }
}
