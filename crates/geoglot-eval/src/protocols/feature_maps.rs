//! Pictures of feature maps: principal components as colours, similarity to a prompt as heat.

use geoglot_raster::preview::{stretch_limits, viridis};
use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, same_length};

/// Steps of the search for components; each brings the error down by the ratio of neighbouring variances.
const STEPS: usize = 500;

/// The first three principal components of feature vectors as red, green and blue, fitted over tiles so that equal colours mean equal features everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureColors {
    /// Mean vector, `[D]`.
    pub mean: Array1<f32>,
    /// Unit vectors, [3, D], largest variance first; the entry of largest absolute value is positive.
    pub components: Array2<f32>,
    /// Share of the total variance in each component.
    pub explained: [f32; 3],
    /// Values shown dark and bright in each component: 1 and 99 % of the fitted ones.
    pub limits: [(f32, f32); 3],
}

/// Rows without a number that is not finite; patches without data carry NaN.
fn sound(row: &ArrayView1<f32>) -> bool {
    row.iter().all(|v| v.is_finite())
}

impl FeatureColors {
    /// Fits the components over all patches of `maps`, each [h, w, D]; patches with NaN are left out.
    ///
    /// # Errors
    /// [`Error::Length`] when widths differ; [`Error::Empty`] with fewer than four patches or vectors shorter than three.
    pub fn fit(maps: &[ArrayView3<f32>]) -> Result<Self> {
        let width = maps.first().map_or(0, |m| m.dim().2);
        let mut sum = Array1::<f64>::zeros(width);
        let mut count = 0usize;
        for map in maps {
            same_length("width of the feature maps", width, map.dim().2)?;
            for row in map.lanes(Axis(2)).into_iter().filter(sound) {
                sum.zip_mut_with(&row, |s, v| *s += f64::from(*v));
                count += 1;
            }
        }
        if count < 4 || width < 3 {
            return Err(Error::Empty(format!(
                "colours of features need at least four patches of three features; found {count} of {width}"
            )));
        }
        let mean = sum / count as f64;
        let mut covariance = Array2::<f64>::zeros((width, width));
        for map in maps {
            let rows: Vec<_> = map.lanes(Axis(2)).into_iter().filter(sound).collect();
            let centred = Array2::from_shape_fn((rows.len(), width), |(i, d)| f64::from(rows[i][d]) - mean[d]);
            covariance += &centred.t().dot(&centred);
        }
        covariance /= count as f64;
        let total: f64 = covariance.diag().sum();
        let (components, variances) = leading(&covariance);
        let explained = std::array::from_fn(|k| if total > 0.0 { (variances[k] / total) as f32 } else { 0.0 });
        let mut colors = Self {
            mean: mean.mapv(|v| v as f32),
            components: components.mapv(|v| v as f32),
            explained,
            limits: [(0.0, 1.0); 3],
        };
        let mut values: [Vec<f32>; 3] = Default::default();
        for map in maps {
            let projected = colors.project(map.view())?;
            for (k, list) in values.iter_mut().enumerate() {
                list.extend(projected.index_axis(Axis(0), k).iter().filter(|v| v.is_finite()));
            }
        }
        colors.limits = values.map(|list| stretch_limits(list, 1.0, 99.0).unwrap_or((0.0, 1.0)));
        Ok(colors)
    }

    /// Components of each patch of a map [h, w, D], [3, h, w]; NaN where the patch has no data.
    ///
    /// # Errors
    /// [`Error::Length`] when the width is another.
    pub fn project(&self, map: ArrayView3<f32>) -> Result<Array3<f32>> {
        let (h, w, width) = map.dim();
        same_length("width of the feature map", self.mean.len(), width)?;
        let mut out = Array3::zeros((3, h, w));
        for ((r, c), row) in ndarray::indices((h, w)).into_iter().zip(map.lanes(Axis(2))) {
            for k in 0..3 {
                let value: f64 = row
                    .iter()
                    .zip(&self.mean)
                    .zip(self.components.row(k))
                    .map(|((v, m), e)| f64::from(v - m) * f64::from(*e))
                    .sum();
                out[(k, r, c)] = value as f32;
            }
        }
        Ok(out)
    }

    /// Colours of each patch, [h, w, 3]; black where the patch has no data.
    ///
    /// # Errors
    /// As [`FeatureColors::project`].
    pub fn colors(&self, map: ArrayView3<f32>) -> Result<Array3<u8>> {
        let projected = self.project(map)?;
        let (_, h, w) = projected.dim();
        Ok(Array3::from_shape_fn((h, w, 3), |(r, c, k)| {
            let (low, high) = self.limits[k];
            let unit = ((projected[(k, r, c)] - low) / (high - low)).clamp(0.0, 1.0);
            // NaN becomes 0.
            (unit * 255.0).round() as u8
        }))
    }
}

/// The three leading eigenvectors (rows) and eigenvalues of a symmetric matrix, by orthogonal iteration with a few vectors more.
fn leading(matrix: &Array2<f64>) -> (Array2<f64>, [f64; 3]) {
    let width = matrix.nrows();
    let count = width.min(8);
    // Any start that is not orthogonal to the answer does.
    let mut basis = Array2::from_shape_fn((width, count), |(i, k)| ((i * 7 + k * 13 + 3) as f64 * 0.618_034).sin());
    let mut before = [f64::NAN; 3];
    for _ in 0..STEPS {
        basis = matrix.dot(&basis);
        for k in 0..count {
            // Twice: once leaves rounding errors between nearly parallel vectors.
            for _ in 0..2 {
                for j in 0..k {
                    let part = basis.column(j).dot(&basis.column(k));
                    let other = basis.column(j).to_owned();
                    basis.column_mut(k).scaled_add(-part, &other);
                }
            }
            let norm = basis.column(k).dot(&basis.column(k)).sqrt();
            if norm > 1e-300 {
                basis.column_mut(k).mapv_inplace(|v| v / norm);
            } else {
                // The matrix has fewer directions: any new one.
                basis.column_mut(k).fill(0.0);
                basis[(k, k)] = 1.0;
            }
        }
        let first = basis.slice(ndarray::s![.., ..3]).to_owned();
        let next: [f64; 3] = std::array::from_fn(|k| first.column(k).dot(&matrix.dot(&first.column(k))));
        let settled = next.iter().zip(&before).all(|(a, b)| (a - b).abs() <= 1e-14 * next[0].abs());
        before = next;
        if settled {
            break;
        }
    }
    let mut out = basis.slice(ndarray::s![.., ..3]).t().to_owned();
    for mut row in out.rows_mut() {
        let peak = row.iter().copied().fold(0.0, |m: f64, v| if v.abs() > m.abs() + 1e-12 { v } else { m });
        if peak < 0.0 {
            row.mapv_inplace(|v| -v);
        }
    }
    (out, before.map(|v| v.max(0.0)))
}

/// Cosine of each patch vector of a map [h, w, D] with a prompt vector `[D]`: [h, w], NaN where the patch has no data.
///
/// # Errors
/// [`Error::Length`] when the widths differ; [`Error::Empty`] for a prompt of length zero.
pub fn prompt_similarity(map: ArrayView3<f32>, prompt: ArrayView1<f32>) -> Result<Array2<f32>> {
    let (h, w, width) = map.dim();
    same_length("width of the prompt vector", width, prompt.len())?;
    let norm = prompt.dot(&prompt).sqrt();
    if !(norm > 0.0 && norm.is_finite()) {
        return Err(Error::Empty("the prompt's vector is zero or not finite".into()));
    }
    let mut out = Array2::zeros((h, w));
    out.iter_mut().zip(map.lanes(Axis(2))).for_each(|(o, row)| *o = row.dot(&prompt) / (row.dot(&row).sqrt() * norm));
    Ok(out)
}

/// Brings similarities, whose level differs from prompt to prompt, onto 0–1 over all tiles of a scene or archive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeatScale {
    /// Shown as 0.
    pub low: f32,
    /// Shown as 1.
    pub high: f32,
}

impl HeatScale {
    /// From 2 to 98 % of the finite values of `maps`.
    ///
    /// # Errors
    /// [`Error::Empty`] without a finite value.
    pub fn fit(maps: &[ArrayView2<f32>]) -> Result<Self> {
        let limits = stretch_limits(maps.iter().flat_map(|m| m.iter().copied()), 2.0, 98.0);
        let (low, high) = limits.ok_or_else(|| Error::Empty("the heat maps hold no value".into()))?;
        Ok(Self { low, high })
    }

    /// The values on 0–1; NaN stays NaN.
    pub fn apply(&self, map: ArrayView2<f32>) -> Array2<f32> {
        map.mapv(|v| ((v - self.low) / (self.high - self.low)).clamp(0.0, 1.0))
    }
}

/// Viridis colours of values on 0–1, [h, w, 3]; black where there is none.
pub fn heat_colors(values: ArrayView2<f32>) -> Array3<u8> {
    let (h, w) = values.dim();
    Array3::from_shape_fn((h, w, 3), |(r, c, k)| {
        let v = values[(r, c)];
        if v.is_nan() { 0 } else { viridis(v)[k] }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_without_data_are_black() {
        let mut map = Array3::from_shape_fn((4, 5, 6), |(r, c, d)| ((r * 5 + c) * (d + 1)) as f32 % 7.0);
        map[(0, 0, 2)] = f32::NAN;
        let colors = FeatureColors::fit(&[map.view()]).unwrap();
        let image = colors.colors(map.view()).unwrap();
        assert_eq!([image[(0, 0, 0)], image[(0, 0, 1)], image[(0, 0, 2)]], [0; 3]);
        assert!((0..3).all(|k| image.index_axis(Axis(2), k).iter().any(|v| *v == 255)));
        let prompt = Array1::from_elem(6, 1.0);
        let heat = prompt_similarity(map.view(), prompt.view()).unwrap();
        assert!(heat[(0, 0)].is_nan());
        let scale = HeatScale::fit(&[heat.view()]).unwrap();
        let unit = scale.apply(heat.view());
        assert!(unit.iter().filter(|v| !v.is_nan()).all(|v| (0.0..=1.0).contains(v)));
        assert_eq!(heat_colors(unit.view())[(0, 0, 0)], 0);
        assert!(FeatureColors::fit(&[]).is_err() && HeatScale::fit(&[]).is_err());
        assert!(prompt_similarity(map.view(), Array1::zeros(6).view()).is_err());
        // One colour throughout: no panic, no NaN.
        let flat = Array3::from_elem((3, 3, 4), 2.0f32);
        assert!(FeatureColors::fit(&[flat.view()]).unwrap().explained.iter().all(|e| e.is_finite()));
    }
}
