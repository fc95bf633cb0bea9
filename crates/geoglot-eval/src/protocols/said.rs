//! What a model says of images, scored: class names in descriptions and lists, wording against references, answers to questions of yes or no,
//! each beside the same answers given to other images.

use std::collections::BTreeMap;

use geoglot_core::Seeds;
use rand::RngExt;
use serde::Serialize;

use super::caption_scores::{ReferenceScores, mentions, reference_scores, words};
use crate::bootstrap::Bootstrap;
use crate::error::Result;
use crate::interval::Interval;

/// Other images whose answers stand in for an image's own.
const SHIFTS: usize = 10;

/// One answer.
#[derive(Debug, Clone, Serialize)]
pub struct Said {
    /// Entry.
    pub id: String,
    /// `caption`, `classification` or `question`.
    pub kind: &'static str,
    /// What was asked.
    pub question: String,
    /// What the model said.
    pub answer: String,
    /// What is true.
    pub reference: String,
    /// Classes that are true of the image.
    pub labels: Vec<String>,
}

/// How well answers name the classes of their images.
#[derive(Debug, Clone, Serialize)]
pub struct NamedScores {
    /// Share of the true classes that are named.
    pub recall: Interval,
    /// Share of the named classes that are true.
    pub precision: Interval,
    /// Named classes an answer that are not true.
    pub hallucinated: Interval,
}

/// Scores of descriptions or lists of classes.
#[derive(Debug, Clone, Serialize)]
pub struct KindScores {
    /// Number of answers.
    pub answers: usize,
    /// Of the images' own answers.
    pub own: NamedScores,
    /// Of the answers given to other images.
    pub shuffled: NamedScores,
    /// Own less shuffled.
    pub difference: NamedScores,
    /// Wording against the references.
    pub wording: ReferenceScores,
    /// The same of answers given to other images, mean over several.
    pub wording_shuffled: ReferenceScores,
}

/// Answers to one question of yes or no.
#[derive(Debug, Clone, Serialize)]
pub struct QuestionScores {
    /// Number of answers.
    pub answers: usize,
    /// How many of them should be yes.
    pub yes: usize,
    /// Share of right answers.
    pub accuracy: Interval,
    /// Mean of the shares of right answers among those that should be yes and no: 0.5 by chance, whatever is frequent.
    pub balanced: Interval,
    /// Balanced accuracy of the answers given to other images.
    pub balanced_shuffled: f64,
}

/// All scores.
#[derive(Debug, Clone, Serialize)]
pub struct SaidReport {
    /// Classes looked for.
    pub classes: Vec<String>,
    /// Descriptions.
    pub caption: Option<KindScores>,
    /// Lists of classes.
    pub classification: Option<KindScores>,
    /// Questions of yes or no.
    pub questions: BTreeMap<String, QuestionScores>,
}

/// `true` for yes, `false` for no, `None` for anything else.
pub fn verdict(text: &str) -> Option<bool> {
    match words(text).first().map(String::as_str) {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        _ => None,
    }
}

/// Scores answers of all kinds.
///
/// # Errors
/// What scoring may say.
pub fn score_said(answers: &[Said], bootstrap: &Bootstrap) -> Result<SaidReport> {
    let mut classes: Vec<String> = answers.iter().flat_map(|a| a.labels.iter().cloned()).collect();
    classes.sort();
    classes.dedup();
    let of = |kind: &str| answers.iter().filter(|a| a.kind == kind).collect::<Vec<_>>();
    let kind = |kind: &str| {
        let chosen: Vec<&Said> = of(kind).into_iter().filter(|a| !a.labels.is_empty()).collect();
        (chosen.len() > 1).then(|| named(&chosen, &classes, bootstrap)).transpose()
    };
    let (caption, classification) = (kind("caption")?, kind("classification")?);
    let mut questions: BTreeMap<String, Vec<&Said>> = BTreeMap::new();
    for answer in of("question").into_iter().filter(|a| verdict(&a.reference).is_some()) {
        questions.entry(answer.question.clone()).or_default().push(answer);
    }
    let questions = questions.into_iter().map(|(q, all)| (q, judged(&all, bootstrap))).collect();
    Ok(SaidReport { classes, caption, classification, questions })
}

/// Means of `figures` over all answers and over resamples of them; each figure sees sums of its columns.
fn resampled<const N: usize>(
    rows: &[[f64; N]],
    figure: impl Fn([f64; N]) -> Option<f64>,
    bootstrap: &Bootstrap,
) -> Interval {
    let sum = |rows: &mut dyn Iterator<Item = [f64; N]>| {
        rows.fold([0.0; N], |mut s, r| {
            s.iter_mut().zip(r).for_each(|(s, v)| *s += v);
            s
        })
    };
    let mut rng = Seeds::new(bootstrap.seed).stream("bootstrap/said");
    let replicates: Vec<Option<f64>> = (0..bootstrap.replicates)
        .map(|_| figure(sum(&mut (0..rows.len()).map(|_| rows[rng.random_range(0..rows.len())]))))
        .collect();
    let value = figure(sum(&mut rows.iter().copied()));
    Interval::of(value, replicates, bootstrap.level).unwrap_or(Interval { value: 0.0, low: 0.0, high: 0.0 })
}

/// The answers of other images, shift by shift: pairs of (image, whose answer).
fn shifts(n: usize) -> impl Iterator<Item = Vec<(usize, usize)>> {
    let count = SHIFTS.min(n.saturating_sub(1));
    (1..=count).map(move |k| (0..n).map(|i| (i, (i + k * n / (count + 1)).max(i + 1) % n)).collect())
}

/// A figure of sums: right, true, named, answers.
type Figure = fn(&[f64]) -> Option<f64>;

fn share(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b)
}

fn recall(s: &[f64]) -> Option<f64> {
    share(s[0], s[1])
}

fn precision(s: &[f64]) -> Option<f64> {
    // Nothing named is nothing right.
    Some(share(s[0], s[2]).unwrap_or(0.0))
}

fn hallucinated(s: &[f64]) -> Option<f64> {
    share(s[2] - s[0], s[3])
}

fn named(answers: &[&Said], classes: &[String], bootstrap: &Bootstrap) -> Result<KindScores> {
    let vocabulary: Vec<Vec<String>> = classes.iter().map(|c| words(c)).collect();
    let mentioned: Vec<Vec<bool>> =
        answers.iter().map(|a| vocabulary.iter().map(|c| mentions(&words(&a.answer), c)).collect()).collect();
    let truth: Vec<Vec<bool>> =
        answers.iter().map(|a| classes.iter().map(|c| a.labels.contains(c)).collect()).collect();
    // Right, true, named, one.
    let count = |i: usize, j: usize| -> [f64; 4] {
        let (said, is) = (&mentioned[j], &truth[i]);
        let number = |f: &dyn Fn(usize) -> bool| (0..classes.len()).filter(|k| f(*k)).count() as f64;
        [number(&|k| said[k] && is[k]), number(&|k| is[k]), number(&|k| said[k]), 1.0]
    };
    let n = answers.len();
    let mut rows: Vec<[f64; 8]> = Vec::new();
    let others: Vec<Vec<(usize, usize)>> = shifts(n).collect();
    for i in 0..n {
        let (own, mut other) = (count(i, i), [0.0; 4]);
        for pairs in &others {
            count(i, pairs[i].1).iter().zip(&mut other).for_each(|(v, o)| *o += v / others.len() as f64);
        }
        rows.push(std::array::from_fn(|k| if k < 4 { own[k] } else { other[k - 4] }));
    }
    let scores = |of: &dyn Fn(Figure, [f64; 8]) -> Option<f64>| NamedScores {
        recall: resampled(&rows, |s| of(recall, s), bootstrap),
        precision: resampled(&rows, |s| of(precision, s), bootstrap),
        hallucinated: resampled(&rows, |s| of(hallucinated, s), bootstrap),
    };
    let texts: Vec<String> = answers.iter().map(|a| a.answer.clone()).collect();
    let references: Vec<Vec<String>> = answers.iter().map(|a| vec![a.reference.clone()]).collect();
    let mut wrong = Vec::new();
    for pairs in others.iter().take(3) {
        let texts: Vec<String> = pairs.iter().map(|p| texts[p.1].clone()).collect();
        wrong.push(reference_scores(&texts, &references)?);
    }
    let mean = |of: &dyn Fn(&ReferenceScores) -> f64| wrong.iter().map(of).sum::<f64>() / wrong.len() as f64;
    Ok(KindScores {
        answers: n,
        own: scores(&|f, s| f(&s[..4])),
        shuffled: scores(&|f, s| f(&s[4..])),
        difference: scores(&|f, s| Some(f(&s[..4])? - f(&s[4..])?)),
        wording: reference_scores(&texts, &references)?,
        wording_shuffled: ReferenceScores {
            bleu: std::array::from_fn(|k| mean(&|s| s.bleu[k])),
            rouge_l: mean(&|s| s.rouge_l),
            cider: mean(&|s| s.cider),
        },
    })
}

fn judged(answers: &[&Said], bootstrap: &Bootstrap) -> QuestionScores {
    // Right and all among those that should be yes, then among those that should be no.
    let row = |truth: bool, told: Option<bool>| -> [f64; 4] {
        let right = f64::from(told == Some(truth));
        if truth { [right, 1.0, 0.0, 0.0] } else { [0.0, 0.0, right, 1.0] }
    };
    let truth: Vec<bool> = answers.iter().map(|a| verdict(&a.reference) == Some(true)).collect();
    let told: Vec<Option<bool>> = answers.iter().map(|a| verdict(&a.answer)).collect();
    let rows: Vec<[f64; 4]> = truth.iter().zip(&told).map(|(t, v)| row(*t, *v)).collect();
    let accuracy = |s: [f64; 4]| Some((s[0] + s[2]) / (s[1] + s[3]));
    // Of one kind alone, its share stands for both.
    let balanced = |s: [f64; 4]| match (s[1] > 0.0, s[3] > 0.0) {
        (true, true) => Some((s[0] / s[1] + s[2] / s[3]) / 2.0),
        _ => accuracy(s),
    };
    let mut other = [0.0; 4];
    for (i, j) in shifts(answers.len()).flatten() {
        row(truth[i], told[j]).iter().zip(&mut other).for_each(|(v, o)| *o += v);
    }
    QuestionScores {
        answers: answers.len(),
        yes: truth.iter().filter(|t| **t).count(),
        accuracy: resampled(&rows, accuracy, bootstrap),
        balanced: resampled(&rows, balanced, bootstrap),
        balanced_shuffled: if answers.len() > 1 { balanced(other).unwrap_or(0.5) } else { 0.5 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(id: usize, kind: &'static str, question: &str, answer: &str, reference: &str, labels: &[&str]) -> Said {
        Said {
            id: id.to_string(),
            kind,
            question: question.into(),
            answer: answer.into(),
            reference: reference.into(),
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        }
    }

    #[test]
    fn true_answers_beat_those_of_other_images() {
        let worlds = ["water", "woodland", "bare soil", "orchards"];
        let told: Vec<Said> = (0..40)
            .map(|i| {
                let class = worlds[i % 4];
                let text = format!("A image of {class}.");
                says(i, "caption", "[caption] Describe.", &text, &text, &[class])
            })
            .collect();
        let scores = score_said(&told, &Bootstrap::default()).unwrap().caption.unwrap();
        assert_eq!(
            (scores.own.recall.value, scores.own.precision.value, scores.own.hallucinated.value),
            (1.0, 1.0, 0.0)
        );
        assert!(scores.shuffled.recall.value < 0.5 && scores.difference.recall.low > 0.3, "{scores:?}");
        assert!(scores.wording.cider > 2.0 * scores.wording_shuffled.cider);
    }

    #[test]
    fn yes_to_everything_is_chance() {
        let always: Vec<Said> = (0..30)
            .map(|i| says(i, "question", "Is there snow?", "Yes, about 10 %.", if i < 6 { "Yes." } else { "No." }, &[]))
            .collect();
        let report = score_said(&always, &Bootstrap::default()).unwrap();
        let scores = &report.questions["Is there snow?"];
        assert_eq!((scores.answers, scores.yes, scores.balanced.value), (30, 6, 0.5));
        assert_eq!((scores.accuracy.value, verdict("no idea"), verdict("Maybe")), (0.2, Some(false), None));
        for pairs in shifts(5).chain(shifts(40)).chain(shifts(2)) {
            assert!(pairs.iter().all(|(i, j)| i != j), "{pairs:?}");
        }
    }
}
