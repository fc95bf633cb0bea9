//! Scenes in words: descriptions, answers, classes, tile by tile for large scenes.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ndarray::Array3;
use serde::{Deserialize, Serialize};

use super::images::{Place, TowerScene, batch};
use crate::core::{BandUse, Registry};
use crate::models::llm::{GenerateOptions, Message};
use crate::models::spectral_llava::{SpectralLlava, Task};
use crate::raster::SceneArg;

/// A scene as the model sees it.
pub struct Seen {
    /// Tiles, row by row; one for a scene of about the size the model reads.
    pub tiles: Vec<SeenTile>,
    /// How bands were bound.
    pub bands: BandUse,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// A tile.
pub struct SeenTile {
    /// First column and row, columns and rows, in the scene's pixels.
    pub window: [usize; 4],
    /// Projected tokens.
    pub tokens: Vec<f32>,
}

/// What was said of a tile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TileAnswer {
    /// First column and row, columns and rows.
    pub window: [usize; 4],
    /// The answer.
    pub text: String,
}

/// What was said of a scene.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Described {
    /// The image.
    pub image: PathBuf,
    /// What was asked.
    pub question: String,
    /// The answer: of the one tile, or the summary of all.
    pub text: String,
    /// Answers tile by tile, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiles: Vec<TileAnswer>,
}

/// Most tiles of a scene that are described one by one.
const MOST_TILES: usize = 64;

/// Opens a scene, cuts it into tiles of `tile` pixels (one tile where it is `None` or the scene is no larger), and looks at each.
///
/// # Errors
/// Bands the tower lacks, damaged files, scenes without data or of more tiles than are described one by one.
pub fn look(model: &SpectralLlava, arg: &SceneArg, registry: &Registry, tile: Option<usize>) -> anyhow::Result<Seen> {
    let tower = model.tower.as_ref();
    let scene = TowerScene::open(arg, tower, registry, false)?;
    let (width, height) = (scene.grid().width, scene.grid().height);
    let side = tile.unwrap_or(width.max(height)).max(1);
    let (columns, rows) = (width.div_ceil(side), height.div_ceil(side));
    if columns * rows > MOST_TILES {
        bail!(
            "{}: {} tiles of {side} px, more than {MOST_TILES} are not described one by one; choose larger tiles with --tile, or a part of \
             the scene",
            arg.path.display(),
            columns * rows
        );
    }
    let mut warnings = scene.warnings().to_vec();
    let (mut prepared, mut windows): (Vec<Array3<f32>>, Vec<[usize; 4]>) = (Vec::new(), Vec::new());
    for row in 0..rows {
        for column in 0..columns {
            let (x, y) = (column * side, row * side);
            let (w, h) = (side.min(width - x), side.min(height - y));
            let values = scene.read(Place { col: x as isize, row: y as isize, width: w, height: h })?;
            if !values.mask.iter().any(|m| *m) {
                warnings.push(format!("the tile at column {x}, row {y} has no data; left out"));
                continue;
            }
            prepared.push(scene.prepare(&values)?);
            windows.push([x, y, w, h]);
        }
    }
    if prepared.is_empty() {
        bail!("{}: no pixel has data in every band; check its nodata value (nodata=…)", arg.path.display());
    }
    let mut tiles = Vec::new();
    for (image, window) in prepared.iter().zip(windows) {
        let images = batch(std::slice::from_ref(image), scene.bands(), tower.device());
        let tokens = model.look(&images)?.swap_remove(0);
        tiles.push(SeenTile { window, tokens });
    }
    Ok(Seen { tiles, bands: scene.band_use(), warnings })
}

/// Asks `question` (the task's own when there is none) about a scene. Several tiles are answered one by one and then summed up by the
/// same model from its answers. `listen` gets the text of the one answer, or of the summary, as it
/// comes, and ends everything with `false`.
///
/// # Errors
/// A prompt that leaves no room for the answer; what generating may say.
pub fn describe(
    model: &SpectralLlava,
    image: &Path,
    seen: &Seen,
    question: Option<&str>,
    task: Task,
    options: &GenerateOptions,
    listen: &mut dyn FnMut(&str) -> bool,
) -> anyhow::Result<Described> {
    let turn = match question {
        Some(question) => format!("<image>\n{question}"),
        None => task.turn(None),
    };
    let asked = question.unwrap_or(task.instruction()).to_owned();
    let messages = [Message::user(turn)];
    let ask = |tile: &SeenTile, listen: &mut dyn FnMut(&str) -> bool| {
        model
            .answer(&messages, std::slice::from_ref(&tile.tokens), options, listen)
            .with_context(|| image.display().to_string())
    };
    if let [one] = seen.tiles.as_slice() {
        let text = ask(one, listen)?.text.trim().to_owned();
        return Ok(Described { image: image.to_owned(), question: asked, text, tiles: Vec::new() });
    }
    let mut tiles = Vec::new();
    for tile in &seen.tiles {
        let text = ask(tile, &mut |_| listen(""))?.text.trim().to_owned();
        tiles.push(TileAnswer { window: tile.window, text });
    }
    let text = match task {
        // Classes are a union: no model is needed to make it.
        Task::Classification if question.is_none() => union(&tiles),
        _ => summary(model, &asked, &tiles, options, listen)?,
    };
    Ok(Described { image: image.to_owned(), question: asked, text, tiles })
}

/// Every class named in an answer, once, most frequent first.
fn union(tiles: &[TileAnswer]) -> String {
    let mut counts: indexmap::IndexMap<String, usize> = indexmap::IndexMap::new();
    for tile in tiles {
        for name in tile.text.trim_end_matches('.').split([',', ';']).map(str::trim).filter(|n| !n.is_empty()) {
            *counts.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    counts.sort_by(|_, a, _, b| b.cmp(a));
    counts.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// The model's own summary of its answers; as many of them as its context holds, told where they lie.
fn summary(
    model: &SpectralLlava,
    question: &str,
    tiles: &[TileAnswer],
    options: &GenerateOptions,
    listen: &mut dyn FnMut(&str) -> bool,
) -> anyhow::Result<String> {
    let (right, lower) = tiles.iter().fold((0, 0), |(r, l), t| (r.max(t.window[0]), l.max(t.window[1])));
    let place = |t: &TileAnswer| {
        let third = |at: usize, last: usize, names: [&'static str; 3]| match last {
            0 => "",
            last => names[(at * 3 / (last + 1)).min(2)],
        };
        let (v, h) = (
            third(t.window[1], lower, ["upper", "middle", "lower"]),
            third(t.window[0], right, ["left", "centre", "right"]),
        );
        format!("{v} {h}").trim().to_owned()
    };
    let mut parts = String::new();
    for tile in tiles {
        let next = format!("{parts}- {}: {}\n", place(tile), tile.text.replace('\n', " "));
        let messages = [Message::user(prompt(question, &next))];
        let count = model.llm.prompt(&messages)?.len();
        if model.llm.fits([count, 0], options.max_tokens).is_err() {
            break;
        }
        parts = next;
    }
    if parts.is_empty() {
        // Not even one answer fits beside a summary: the answers themselves are the result.
        return Ok(tiles.iter().map(|t| format!("{}: {}", place(t), t.text)).collect::<Vec<_>>().join("\n"));
    }
    let messages = [Message::user(prompt(question, &parts))];
    Ok(model.answer(&messages, &[], options, listen)?.text.trim().to_owned())
}

fn prompt(question: &str, parts: &str) -> String {
    format!(
        "These are descriptions of the parts of one scene:\n{parts}In a few sentences about the whole scene: {question}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_tiles_are_joined() {
        let tile = |text: &str| TileAnswer { window: [0; 4], text: text.into() };
        let tiles = [tile("forest, water."), tile("water"), tile("")];
        assert_eq!(union(&tiles), "water, forest");
    }
}
