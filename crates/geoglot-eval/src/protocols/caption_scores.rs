//! Generated captions against references: BLEU, ROUGE-L, CIDEr-D, and against the classes that are true of an image.
//!
//! Texts are compared as lower-case words without punctuation; scores are those of the COCO caption evaluation on such texts.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, same_length};

/// Longest word sequences compared.
const ORDERS: usize = 4;
/// Weight of recall in ROUGE-L.
const BETA: f64 = 1.2;
/// Width of CIDEr-D's penalty on length differences.
const SIGMA: f64 = 6.0;

/// Scores of captions with references.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceScores {
    /// BLEU-1 to BLEU-4 over the corpus (Papineni et al. 2002), 0–1.
    pub bleu: [f64; ORDERS],
    /// ROUGE-L (Lin 2004), mean over images, 0–1.
    pub rouge_l: f64,
    /// CIDEr-D (Vedantam et al. 2015), mean over images, 0–10.
    pub cider: f64,
}

/// How well captions name the classes that are true of their images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MentionScores {
    /// Share of the true classes that captions mention, over all images, 0–1.
    pub recall: f64,
    /// Share of the mentioned classes that are true, 0–1.
    pub precision: f64,
    /// Mentioned classes an image that are not true of it.
    pub hallucinated: f64,
    /// Share of the captions that mention a class that is not true.
    pub hallucinating: f64,
    /// Recall of each image with true classes, for intervals.
    pub each_recall: Vec<f64>,
}

/// Words of a text: lower case, no punctuation.
pub fn words(text: &str) -> Vec<String> {
    let plain = |w: &str| w.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    text.split_whitespace().flat_map(|w| w.split(['/', '–', '—'])).map(plain).filter(|w| !w.is_empty()).collect()
}

type Counts<'a> = HashMap<&'a [String], usize>;

fn grams(words: &[String], n: usize) -> Counts<'_> {
    let mut counts = HashMap::new();
    words.windows(n).for_each(|gram| *counts.entry(gram).or_insert(0) += 1);
    counts
}

/// Scores `captions` against the references of each.
///
/// # Errors
/// [`Error::Length`]; [`Error::Empty`] for no captions or one without references.
pub fn reference_scores(captions: &[String], references: &[Vec<String>]) -> Result<ReferenceScores> {
    same_length("references", captions.len(), references.len())?;
    if captions.is_empty() {
        return Err(Error::Empty("no captions to score".into()));
    }
    if let Some(i) = references.iter().position(Vec::is_empty) {
        return Err(Error::Empty(format!("caption {i} has no reference")));
    }
    let captions: Vec<Vec<String>> = captions.iter().map(|c| words(c)).collect();
    let references: Vec<Vec<Vec<String>>> = references.iter().map(|r| r.iter().map(|t| words(t)).collect()).collect();
    let pairs = || captions.iter().zip(&references);
    let rouge: f64 = pairs().map(|(c, r)| rouge_l(c, r)).sum();
    Ok(ReferenceScores {
        bleu: bleu(&captions, &references),
        rouge_l: rouge / captions.len() as f64,
        cider: cider(&captions, &references),
    })
}

fn bleu(captions: &[Vec<String>], references: &[Vec<Vec<String>>]) -> [f64; ORDERS] {
    let (mut matched, mut all) = ([0usize; ORDERS], [0usize; ORDERS]);
    let (mut length, mut wanted) = (0usize, 0usize);
    for (caption, references) in captions.iter().zip(references) {
        length += caption.len();
        // The reference of closest length; of two equally close ones the shorter.
        let closest = references.iter().map(Vec::len).min_by_key(|n| (n.abs_diff(caption.len()), *n));
        wanted += closest.unwrap_or(0);
        for n in 1..=ORDERS {
            let mut most: Counts<'_> = HashMap::new();
            for reference in references {
                for (gram, count) in grams(reference, n) {
                    let entry = most.entry(gram).or_insert(0);
                    *entry = (*entry).max(count);
                }
            }
            for (gram, count) in grams(caption, n) {
                matched[n - 1] += count.min(most.get(gram).copied().unwrap_or(0));
            }
            all[n - 1] += (caption.len() + 1).saturating_sub(n);
        }
    }
    let brevity = if length < wanted { (1.0 - wanted as f64 / length.max(1) as f64).exp() } else { 1.0 };
    let mut product = 1.0;
    std::array::from_fn(|n| {
        // The published evaluation's guards against a logarithm of zero.
        product *= (matched[n] as f64 + 1e-15) / (all[n] as f64 + 1e-9);
        brevity * product.powf(1.0 / (n + 1) as f64)
    })
}

fn rouge_l(caption: &[String], references: &[Vec<String>]) -> f64 {
    let (mut precision, mut recall) = (0f64, 0f64);
    for reference in references {
        let common = longest_common(caption, reference) as f64;
        precision = precision.max(common / caption.len().max(1) as f64);
        recall = recall.max(common / reference.len().max(1) as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    (1.0 + BETA * BETA) * precision * recall / (recall + BETA * BETA * precision)
}

/// Length of the longest common subsequence.
fn longest_common(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

fn cider(captions: &[Vec<String>], references: &[Vec<Vec<String>>]) -> f64 {
    let images = captions.len() as f64;
    let mut total = 0.0;
    for n in 1..=ORDERS {
        // In how many images' references a sequence occurs.
        let mut frequency: HashMap<&[String], f64> = HashMap::new();
        for references in references {
            let mut seen: Vec<&[String]> = references.iter().flat_map(|r| r.windows(n)).collect();
            seen.sort();
            seen.dedup();
            seen.into_iter().for_each(|gram| *frequency.entry(gram).or_insert(0.0) += 1.0);
        }
        let weigh = |words: &'_ [String]| -> (Vec<(Vec<String>, f64)>, f64) {
            let weight = |gram: &[String], count: usize| {
                count as f64 * (images.ln() - frequency.get(gram).copied().unwrap_or(0.0).max(1.0).ln())
            };
            let mut all: Vec<(Vec<String>, f64)> =
                grams(words, n).into_iter().map(|(g, c)| (g.to_vec(), weight(g, c))).collect();
            // A fixed order, so that sums do not depend on the hash table's.
            all.sort_by(|a, b| a.0.cmp(&b.0));
            let norm = all.iter().map(|w| w.1 * w.1).sum::<f64>().sqrt();
            (all, norm)
        };
        for (caption, references) in captions.iter().zip(references) {
            let (own, norm) = weigh(caption);
            let mut sum = 0.0;
            for reference in references {
                let (theirs, other) = weigh(reference);
                let theirs: HashMap<&Vec<String>, f64> = theirs.iter().map(|(g, w)| (g, *w)).collect();
                // Repeating a sequence does not pay: its weight counts up to the reference's.
                let dot: f64 = own.iter().filter_map(|(g, w)| theirs.get(g).map(|t| w.min(*t) * t)).sum();
                let similar = if norm != 0.0 && other != 0.0 { dot / (norm * other) } else { dot };
                // The published evaluation measures lengths in word pairs.
                let delta = caption.len() as f64 - reference.len() as f64;
                sum += similar * (-delta * delta / (2.0 * SIGMA * SIGMA)).exp();
            }
            total += sum / references.len() as f64;
        }
    }
    10.0 * total / (ORDERS as f64 * images)
}

/// Whether a caption mentions a class: its words in a row, in singular or plural.
pub fn mentions(caption: &[String], class: &[String]) -> bool {
    let stem = |w: &str| -> String {
        match w {
            w if w.len() > 4 && w.ends_with("ies") => format!("{}y", &w[..w.len() - 3]),
            w if w.len() > 3 && w.ends_with('s') && !w.ends_with("ss") => w[..w.len() - 1].to_owned(),
            w => w.to_owned(),
        }
    };
    let caption: Vec<String> = caption.iter().map(|w| stem(w)).collect();
    let class: Vec<String> = class.iter().map(|w| stem(w)).collect();
    !class.is_empty() && caption.windows(class.len()).any(|w| w == class)
}

/// Scores captions against the classes that are true of each image; `vocabulary` are all classes a caption could mention.
///
/// # Errors
/// [`Error::Length`]; [`Error::Empty`] without captions or classes.
pub fn mention_scores(captions: &[String], truth: &[Vec<String>], vocabulary: &[String]) -> Result<MentionScores> {
    same_length("class lists", captions.len(), truth.len())?;
    if captions.is_empty() || vocabulary.is_empty() {
        return Err(Error::Empty("no captions or no classes to score".into()));
    }
    let vocabulary: Vec<(String, Vec<String>)> = vocabulary.iter().map(|c| (c.to_lowercase(), words(c))).collect();
    let (mut hits, mut wanted, mut said, mut wrong, mut liars) = (0usize, 0usize, 0usize, 0usize, 0usize);
    let mut each_recall = Vec::new();
    for (caption, truth) in captions.iter().zip(truth) {
        let caption = words(caption);
        let truth: Vec<String> = truth.iter().map(|t| t.to_lowercase()).collect();
        let mentioned: Vec<&String> =
            vocabulary.iter().filter(|(_, words)| mentions(&caption, words)).map(|(name, _)| name).collect();
        let right = mentioned.iter().filter(|m| truth.contains(m)).count();
        hits += right;
        wanted += truth.len();
        said += mentioned.len();
        wrong += mentioned.len() - right;
        liars += usize::from(mentioned.len() > right);
        if !truth.is_empty() {
            each_recall.push(right as f64 / truth.len() as f64);
        }
    }
    let share = |a: usize, b: usize| if b == 0 { 0.0 } else { a as f64 / b as f64 };
    Ok(MentionScores {
        recall: share(hits, wanted),
        precision: share(hits, said),
        hallucinated: share(wrong, captions.len()),
        hallucinating: share(liars, captions.len()),
        each_recall,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn scores_are_those_of_the_published_evaluation() {
        let file: Value = serde_json::from_str(include_str!("../../tests/fixtures/captions.json")).unwrap();
        let cases = file["cases"].as_array().unwrap();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let captions: Vec<String> = cases.iter().map(|c| text(&c[0])).collect();
        let references: Vec<Vec<String>> =
            cases.iter().map(|c| c[1].as_array().unwrap().iter().map(text).collect()).collect();
        let found = reference_scores(&captions, &references).unwrap();
        for (n, expected) in file["bleu"].as_array().unwrap().iter().enumerate() {
            assert!((found.bleu[n] - expected.as_f64().unwrap()).abs() < 1e-6, "BLEU-{}: {}", n + 1, found.bleu[n]);
        }
        assert!((found.rouge_l - file["rouge_l"].as_f64().unwrap()).abs() < 1e-9, "{}", found.rouge_l);
        assert!((found.cider - file["cider"].as_f64().unwrap()).abs() < 1e-6, "{}", found.cider);
        assert!(reference_scores(&captions, &references[1..]).is_err());
        assert!(reference_scores(&[], &[]).is_err());
    }

    #[test]
    fn mentions_are_counted_once_and_lies_too() {
        let of = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<String>>();
        let vocabulary = of(&["pastures", "water bodies", "mixed forest", "beaches"]);
        let captions = of(&["A mixed forest beside pasture; the forest is large.", "Water body and a beach."]);
        let truth = vec![of(&["Pastures", "Mixed forest", "Beaches"]), of(&["Water bodies"])];
        let scores = mention_scores(&captions, &truth, &vocabulary).unwrap();
        assert_eq!((scores.recall, scores.precision), (0.75, 1.0));
        let scores = mention_scores(&captions, &[truth[1].clone(), truth[0].clone()], &vocabulary).unwrap();
        assert_eq!((scores.recall, scores.precision, scores.hallucinated, scores.hallucinating), (0.0, 0.0, 1.5, 1.0));
    }
}
