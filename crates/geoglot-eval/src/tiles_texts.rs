//! Tiles and texts of one space in one picture.

use geoglot_core::Legend;
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use crate::error::{Result, in_legend, same_length};
use crate::tsne::{TsneOptions, joint_space};

/// Positions of tiles and texts laid out together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TilesAndTexts {
    /// Positions of the shown tiles.
    pub tiles: Vec<[f32; 2]>,
    /// Class of each shown tile.
    pub tile_classes: Vec<usize>,
    /// Which tiles are shown: their rows in the embeddings given.
    pub shown: Vec<usize>,
    /// Positions of the texts, in the order given.
    pub texts: Vec<[f32; 2]>,
    /// Class of each text.
    pub text_classes: Vec<usize>,
    /// The classes.
    pub legend: Legend,
}

/// Lays out tile embeddings [N, D] and text embeddings [M, D] (captions or prompts) by t-SNE of their cosine distances, each with its classes.
///
/// With `centre`, the mean of each kind is taken away first: contrastive spaces keep images and texts apart ("modality gap", Liang et al. 2022), and
/// without it the picture shows little else. At most `options.pixels` tiles are shown; all texts are.
///
/// # Errors
/// As [`joint_space`], and [`crate::Error::Class`] for classes outside the legend.
pub fn tiles_and_texts(
    tiles: (ArrayView2<f32>, &[usize]),
    texts: (ArrayView2<f32>, &[usize]),
    legend: &Legend,
    centre: bool,
    options: &TsneOptions,
) -> Result<TilesAndTexts> {
    same_length("classes of the texts", texts.0.nrows(), texts.1.len())?;
    in_legend("classes of the tiles", tiles.1, legend.len())?;
    in_legend("classes of the texts", texts.1, legend.len())?;
    let unit = |rows: ArrayView2<f32>| {
        let rows = crate::protocols::normalised(rows);
        if centre { centred(rows) } else { rows }
    };
    let space = joint_space(unit(tiles.0).view(), tiles.1, unit(texts.0).view(), options)?;
    Ok(TilesAndTexts {
        tiles: space.pixels,
        tile_classes: space.classes,
        shown: space.shown,
        texts: space.prompts,
        text_classes: texts.1.to_vec(),
        legend: legend.clone(),
    })
}

fn centred(rows: Array2<f32>) -> Array2<f32> {
    match rows.mean_axis(Axis(0)) {
        // One vector would become zero.
        Some(mean) if rows.nrows() > 1 => rows - &mean,
        _ => rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geoglot_core::Seeds;
    use rand::RngExt;

    #[test]
    fn texts_lie_among_their_tiles_across_the_gap() {
        let mut rng = Seeds::new(5).stream("gap");
        let mut noise = move |scale: f32| rng.random_range(-scale..scale);
        let axes = Array2::from_shape_fn((3, 12), |_| noise(1.0));
        let classes: Vec<usize> = (0..150).map(|i| i % 3).collect();
        // Texts are moved far away by one vector, as in contrastive spaces.
        let mut around = |n: usize, gap: f32| {
            Array2::from_shape_fn((n, 12), |(i, d)| axes[(i % 3, d)] + noise(0.3) + if d == 0 { gap } else { 0.0 })
        };
        let (tiles, texts) = (around(150, 4.0), around(30, -4.0));
        let legend = Legend::from_names(["a", "b", "c"]).unwrap();
        let options = TsneOptions { epochs: 400, perplexity: 15.0, ..TsneOptions::default() };
        let space =
            tiles_and_texts((tiles.view(), &classes), (texts.view(), &classes[..30]), &legend, true, &options).unwrap();
        assert_eq!((space.tiles.len(), space.texts.len()), (150, 30));
        let nearest = |t: &[f32; 2]| {
            let distance = |p: &[f32; 2]| (p[0] - t[0]).powi(2) + (p[1] - t[1]).powi(2);
            (0..150).min_by(|&a, &b| distance(&space.tiles[a]).total_cmp(&distance(&space.tiles[b]))).unwrap()
        };
        let right = (0..30).filter(|&k| space.tile_classes[nearest(&space.texts[k])] == k % 3).count();
        assert!(right >= 27, "{right} of 30");
        assert!(crate::plot::tiles_texts_plot(&space).unwrap().svg().unwrap().contains("<circle"));
        assert!(tiles_and_texts((tiles.view(), &classes), (texts.view(), &[9; 30]), &legend, true, &options).is_err());
    }
}
