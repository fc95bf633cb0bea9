//! Colours of numbers.

/// Viridis at 17 even steps (matplotlib's colour map by S. van der Walt and N. Smith, CC0); between them linear.
const VIRIDIS: [[u8; 3]; 17] = [
    [68, 1, 84],
    [72, 24, 106],
    [71, 45, 123],
    [66, 64, 134],
    [59, 82, 139],
    [51, 99, 141],
    [44, 114, 142],
    [38, 130, 142],
    [33, 145, 140],
    [31, 160, 136],
    [40, 174, 128],
    [63, 188, 115],
    [94, 201, 98],
    [132, 212, 75],
    [173, 220, 48],
    [216, 226, 25],
    [253, 231, 37],
];

/// The viridis colour of a number from 0 to 1 (clamped): readable by the colour-blind and in grey.
pub fn viridis(t: f32) -> [u8; 3] {
    let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) } * (VIRIDIS.len() - 1) as f32;
    let low = (t as usize).min(VIRIDIS.len() - 2);
    let part = t - low as f32;
    std::array::from_fn(|k| {
        let (a, b) = (f32::from(VIRIDIS[low][k]), f32::from(VIRIDIS[low + 1][k]));
        (a + (b - a) * part).round() as u8
    })
}

/// The values below and above which `low` and `high` percent of the finite ones lie; `None` without any. Equal limits are moved apart.
pub fn stretch_limits(values: impl IntoIterator<Item = f32>, low: f32, high: f32) -> Option<(f32, f32)> {
    let mut values: Vec<f32> = values.into_iter().filter(|v| v.is_finite()).collect();
    if values.is_empty() {
        return None;
    }
    let last = values.len() - 1;
    let mut at = |percent: f32| {
        let place = ((percent / 100.0).clamp(0.0, 1.0) * last as f32).round() as usize;
        *values.select_nth_unstable_by(place.min(last), f32::total_cmp).1
    };
    let (a, b) = (at(low), at(high));
    if a < b { Some((a, b)) } else { Some((a - 0.5, a + 0.5)) }
}

/// Place of a value between two limits, 0–1.
pub(super) fn unit(value: f32, (low, high): (f32, f32)) -> f32 {
    ((value - low) / (high - low)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_nan() {
        assert_eq!((viridis(-1.0), viridis(2.0), viridis(f32::NAN)), ([68, 1, 84], [253, 231, 37], [68, 1, 84]));
    }

    #[test]
    fn limits_ignore_outliers_and_nan() {
        let values = (0..=1000).map(|v| v as f32).chain([1e9, f32::NAN]);
        let (low, high) = stretch_limits(values, 2.0, 98.0).unwrap();
        assert!((low - 20.0).abs() <= 1.0 && (high - 980.0).abs() <= 2.0, "{low} {high}");
        assert_eq!(stretch_limits([f32::NAN], 2.0, 98.0), None);
        assert_eq!(stretch_limits([3.0, 3.0], 2.0, 98.0), Some((2.5, 3.5)));
    }
}
