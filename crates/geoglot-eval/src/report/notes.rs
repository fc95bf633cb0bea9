//! What a report notices about itself.

use super::model::{Honesty, Report, Role};
use crate::bootstrap::Unit;
use crate::test_pixels::Comparison;

/// Fewer groups than this make a bootstrap over groups rough.
const FEW_GROUPS: usize = 10;
/// Fewer test pixels than this make a class's accuracy anecdotal.
const FEW_PIXELS: u64 = 30;

impl Report {
    /// The given warnings, then those the figures themselves give rise to.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.warnings.clone();
        if self.split.honesty == Honesty::Optimistic {
            notes.push(
                "Test patches overlap training patches, so these accuracies are higher than those on new ground. Compare with the \
                 coordinate-only baseline, and use spatial blocks for a figure to rely on."
                    .into(),
            );
        }
        let Some(head) = self.methods.first() else { return notes };
        for peer in self.methods.iter().skip(1) {
            if let (Some(mine), Some(theirs)) = (head.scores.oa, peer.scores.oa)
                && theirs.value >= mine.value
            {
                let what = match peer.role {
                    Role::CoordinatesOnly => {
                        "which sees no band at all, so the test says little about the bands".to_owned()
                    }
                    _ => format!("{:.2} against {:.2} %", theirs.value * 100.0, mine.value * 100.0),
                };
                notes.push(format!("{} does not beat {} in OA: {what}.", head.name, peer.name));
            }
        }
        match head.scores.resampled {
            Unit::Groups if head.scores.units < FEW_GROUPS => {
                notes.push(format!("The intervals rest on {} spatial groups only and are rough.", head.scores.units))
            }
            Unit::Pixels => notes.push(
                "The intervals resample single pixels. Neighbouring pixels are alike, so they are too narrow.".into(),
            ),
            Unit::Groups => {}
        }
        let names = |keep: &dyn Fn(usize) -> bool| {
            let chosen = (0..self.legend.len()).filter(|&k| keep(k)).map(|k| self.legend.classes[k].name.as_str());
            chosen.collect::<Vec<_>>().join(", ")
        };
        let matrix = &head.scores.confusion;
        let absent = names(&|k| matrix.support(k) == 0);
        if !absent.is_empty() {
            notes.push(format!("No test pixels, hence not scored and not in AA: {absent}."));
        }
        let few = names(&|k| (1..FEW_PIXELS).contains(&matrix.support(k)));
        if !few.is_empty() {
            notes.push(format!("Fewer than {FEW_PIXELS} test pixels: {few}."));
        }
        let never = names(&|k| matrix.support(k) > 0 && matrix.predicted(k) == 0);
        if !never.is_empty() {
            notes.push(format!("Never predicted by {}: {never}.", head.name));
        }
        notes
    }
}

impl Comparison {
    /// The comparison in one sentence.
    pub fn sentence(&self) -> String {
        let Some(oa) = self.pixels.oa else {
            return format!("{} and {} cannot be compared.", self.first, self.second);
        };
        let verdict = match (oa.excludes_zero(), oa.value > 0.0) {
            (true, true) => "higher",
            (true, false) => "lower",
            (false, _) => "not distinguishable",
        };
        let unit = match self.pixels.resampled {
            Unit::Groups => "spatial groups",
            Unit::Pixels => "pixels",
        };
        let mut text = format!(
            "{} − {}: OA {:+.2} points, interval {:+.2} to {:+.2} over {unit} ({verdict})",
            self.first,
            self.second,
            oa.value * 100.0,
            oa.low * 100.0,
            oa.high * 100.0
        );
        if let Some(folds) = &self.folds {
            text += &format!("; higher in {} of {} folds", folds.wins, folds.pairs);
        }
        let p = self.pixels.mcnemar.p_value;
        let p = if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") };
        text + &format!("; McNemar {p} (takes pixels as independent).")
    }
}
