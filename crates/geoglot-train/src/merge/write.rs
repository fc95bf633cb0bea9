//! Models that fit, and the folder they are merged into.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use geoglot_core::atomic;
use geoglot_models::hub::sha256_of_file;
use geoglot_models::vision::{Left, MergeRecord, MergedModel, TowerCard, TowerFiles, VisionConfig};
use geoglot_nn::vision::{PatchKind, resample_position_values};
use geoglot_nn::weights::{Mapped, save_streamed};

use super::combine::{MergePlan, Ratios};
use super::compare::{self, Allowed, SIZES};
use super::error::{Difference, MergeError, Result};

/// A model with the name it was given by.
#[derive(Debug)]
pub struct Named {
    /// Folder, file or name.
    pub name: String,
    /// Its files.
    pub files: TowerFiles,
}

/// The table of learned positions.
const POSITION: &str = "position";

/// Scale and bias of the training loss, which lie beside the tower's tensors.
const LOSS: [&str; 2] = ["logit_scale", "logit_bias"];

/// One model's tensors under our names.
struct Part {
    name: String,
    files: TowerFiles,
    mapped: Mapped,
    /// `logit_scale` and `logit_bias` under their published names.
    loss: BTreeMap<&'static str, String>,
    shapes: BTreeMap<String, Vec<usize>>,
}

/// Models that fit one another.
pub struct Merge {
    parts: Vec<Part>,
    /// Number of the model whose architecture the result has.
    like: usize,
    /// Differences that were let pass.
    accepted: Vec<(String, Difference)>,
}

/// The shape without axes of length 1, which carry no numbers: one file's `[1, 1, D]` is another's `[D]`.
fn plain(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|n| *n != 1).collect()
}

impl Part {
    fn new(model: Named) -> Result<Self> {
        let Named { name, files } = model;
        let mapped = Mapped::new(&files.checkpoint, &files.map)?;
        let mut shapes: BTreeMap<String, Vec<usize>> =
            mapped.sources.keys().filter_map(|n| Some((n.clone(), mapped.shape(&files.checkpoint, n)?))).collect();
        let mut loss = BTreeMap::new();
        for own in LOSS {
            let last = |n: &&str| n.rsplit('.').next() == Some(own);
            if let Some(published) = files.checkpoint.names().find(last) {
                loss.insert(own, published.to_owned());
                shapes.insert(own.to_owned(), vec![1]);
            }
        }
        Ok(Self { name, files, mapped, loss, shapes })
    }

    /// The values of `tensor`, positions on the grid `grid`.
    fn read(&self, tensor: &str, grid: (usize, usize)) -> Result<Option<Vec<f32>>> {
        if !self.shapes.contains_key(tensor) {
            return Ok(None);
        }
        let checkpoint = &self.files.checkpoint;
        let values = match self.loss.get(tensor) {
            Some(published) => checkpoint.read_f32(published)?,
            None => self.mapped.read_f32(checkpoint, tensor)?,
        };
        if values.iter().any(|v| !v.is_finite()) {
            return Err(MergeError::NotFinite { model: self.name.clone(), tensor: tensor.to_owned() });
        }
        let own = &self.files.config.vit;
        if tensor == POSITION && own.grid != grid {
            // The class token's position, if there is one, is no place in the image.
            let (class, patches) = values.split_at(values.len() - own.grid.0 * own.grid.1 * own.width);
            let patches = resample_position_values(patches, own.width, own.grid, grid, own.positions);
            return Ok(Some([class, &patches].concat()));
        }
        Ok(Some(values))
    }

    fn any_band(&self) -> bool {
        matches!(self.files.config.vit.embed, PatchKind::Wavelength(_))
    }
}

impl Merge {
    /// Checks that the models fit one another: the same space, the same network but for the patch embedding, tensors of equal shapes where
    /// several have one, the same preprocessing. Differences that are `allowed` are let pass.
    ///
    /// The result has the architecture of the last any-band model, or, when all read fixed bands, of the first model.
    ///
    /// # Errors
    /// [`MergeError::Incompatible`] listing every difference between the first model and the first one that does not fit it;
    /// [`MergeError::Plan`] for fewer than two models.
    pub fn new(models: Vec<Named>, allowed: Allowed) -> Result<Self> {
        if models.len() < 2 {
            return Err(MergeError::Plan("at least two models are needed".into()));
        }
        let parts = models.into_iter().map(Part::new).collect::<Result<Vec<_>>>()?;
        let mut accepted = Vec::new();
        for (k, other) in parts.iter().enumerate().skip(1) {
            for first in &parts[..k] {
                let found = fit(first, other, allowed)?;
                // Each model is compared with all before it, as tensors may be missing in some; settings are told once.
                if std::ptr::eq(first, &parts[0]) {
                    accepted.extend(found.into_iter().map(|d| (other.name.clone(), d)));
                }
            }
        }
        let like = parts.iter().rposition(Part::any_band).unwrap_or(0);
        Ok(Self { parts, like, accepted })
    }

    /// Differences that were let pass, each with the model that differs from the first.
    pub fn accepted(&self) -> &[(String, Difference)] {
        &self.accepted
    }

    /// Number of models.
    pub fn models(&self) -> usize {
        self.parts.len()
    }

    /// The space of the models.
    pub fn space(&self) -> &geoglot_models::SpaceId {
        &self.parts[self.like].files.space
    }

    /// The first `count` models alone: a round of progressive merging.
    ///
    /// # Errors
    /// As [`Merge::write`].
    pub fn write_first(&self, count: usize, plan: &MergePlan, folder: &Path) -> Result<(MergeRecord, String)> {
        let parts = &self.parts[..count.min(self.parts.len())];
        let like = parts.iter().rposition(Part::any_band).unwrap_or(0);
        write(parts, like, plan, folder)
    }

    /// Merges by `plan` and writes a model folder (`model.safetensors`, then `config.json` with a [`MergeRecord`]) that
    /// [`geoglot_models::vision::load_image_tower`] loads. Returns the record and the weights' SHA-256.
    ///
    /// One tensor is in memory at a time, of as many models as the method needs at once.
    ///
    /// # Errors
    /// [`MergeError::Plan`] for ratios out of range and patterns that match nothing, [`MergeError::NotFinite`], a folder that cannot be
    /// written. No half-written file is left.
    pub fn write(&self, plan: &MergePlan, folder: &Path) -> Result<(MergeRecord, String)> {
        write(&self.parts, self.like, plan, folder)
    }
}

fn write(parts: &[Part], like: usize, plan: &MergePlan, folder: &Path) -> Result<(MergeRecord, String)> {
    let ratios = Ratios::new(plan, parts.len())?;
    let model = &parts[like];
    let grid = model.files.config.vit.grid;
    // The result's tensors: those of its architecture, and the loss's numbers of whichever model has them.
    let mut shapes = model.shapes.clone();
    for own in LOSS {
        if parts.iter().any(|p| p.loss.contains_key(own)) {
            shapes.insert(own.into(), vec![1]);
        }
    }
    if let Some(pattern) = ratios.idle(shapes.keys().map(String::as_str)) {
        let examples: Vec<&str> = shapes.keys().step_by(shapes.len().div_ceil(5).max(1)).map(String::as_str).collect();
        return Err(MergeError::Plan(format!(
            "no tensor's name matches `{pattern}`; names are such as {}",
            examples.join(", ")
        )));
    }
    let output = folder.join("model.safetensors");
    for part in parts {
        let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if same(part.files.checkpoint.path(), &output) {
            return Err(MergeError::Plan(format!(
                "{} is one of the models and would be overwritten; choose another output folder",
                folder.display()
            )));
        }
    }
    let table: Vec<(String, Vec<usize>)> = shapes.into_iter().collect();
    let count = parts.len();
    save_streamed(&output, &table, &BTreeMap::new(), |tensor| {
        let merged = ratios.merge(tensor, count, |k| parts[k].read(tensor, grid))?;
        merged.ok_or_else(|| MergeError::Plan(format!("no model has the tensor `{tensor}`")))
    })?;
    let sha256 = sha256_of_file(&output)?;
    let places: BTreeSet<&str> = table.iter().map(|t| t.0.as_str()).collect();
    let models = parts.iter().map(|part| {
        let own = part.shapes.keys();
        let alone = |name: &&String| {
            let others = parts.iter().filter(|p| p.shapes.contains_key(name.as_str())).count();
            places.contains(name.as_str()) && others == 1
        };
        MergedModel {
            model: part.name.clone(),
            sha256: part.files.sha256.clone(),
            license: part.files.license.clone(),
            alone: own.clone().filter(alone).cloned().collect(),
            left_out: own.filter(|n| !places.contains(n.as_str())).cloned().collect(),
            resampled: Some(part.files.config.vit.grid).filter(|own| *own != grid),
        }
    });
    let record = MergeRecord {
        method: plan.method,
        ratios: plan.ratios.clone(),
        modules: plan.modules.clone(),
        models: models.collect(),
    };
    let licenses: BTreeSet<&str> = record.models.iter().filter_map(|m| m.license.as_deref()).collect();
    let card = TowerCard {
        system: "vision-tower".into(),
        layout: 1,
        space: Some(model.files.space.name.clone()),
        license: (!licenses.is_empty()).then(|| licenses.into_iter().collect::<Vec<_>>().join(" AND ")),
        tower: own_names(model),
        merged: Some(record.clone()),
    };
    atomic::write_json(&folder.join("config.json"), &card)?;
    Ok((record, sha256))
}

/// The configuration of a file under our names: the loss's scale and bias are left out, nothing else.
fn own_names(part: &Part) -> VisionConfig {
    let left = Left { names: "^logit_(scale|bias)$".into(), why: "scale and bias of the training loss".into() };
    VisionConfig { ignore: vec![left], ..part.files.config.clone() }
}

/// Whether `other` fits `first`; the differences let pass.
fn fit(first: &Part, other: &Part, allowed: Allowed) -> Result<Vec<Difference>> {
    let refused = |differences: Vec<Difference>, hint: &'static str| {
        Err(MergeError::Incompatible { first: first.name.clone(), other: other.name.clone(), differences, hint })
    };
    let compared = compare::configs(&first.files.config, &other.files.config, allowed);
    let mut differences = compared.structure;
    let (a, b) = (&first.files.space, &other.files.space);
    let unnamed = !first.files.space_known || !other.files.space_known;
    if a != b {
        differences.insert(0, Difference { what: "space".into(), first: a.to_string(), other: b.to_string() });
    }
    // A table that fits its own grid is resampled; another one does not load in any tower.
    let whole = |part: &Part| {
        let vit = &part.files.config.vit;
        part.shapes.get(POSITION).is_some_and(|s| plain(s) == plain(&[vit.position_rows(), vit.width]))
    };
    let positions = allowed.positions && whole(first) && whole(other);
    for (name, shape) in &first.shapes {
        let differs = |s: &&Vec<usize>| plain(s) != plain(shape) && !(positions && name == POSITION);
        if let Some(found) = other.shapes.get(name).filter(differs) {
            differences.push(Difference {
                what: format!("tensor {name}"),
                first: format!("{shape:?}"),
                other: format!("{found:?}"),
            });
        }
    }
    if first.shapes.keys().all(|n| !other.shapes.contains_key(n) || LOSS.contains(&n.as_str())) {
        differences.push(Difference {
            what: "tensors".into(),
            first: format!("{} tensors", first.shapes.len()),
            other: "none of the same name".into(),
        });
    }
    if !differences.is_empty() {
        let only_space = differences.len() == 1 && a != b && a.width == b.width;
        let of_size = |d: &Difference| d.what == format!("tensor {POSITION}") || SIZES.contains(&d.what.as_str());
        let hint = match differences.iter().all(of_size) {
            true => {
                "The models were trained at other image sizes: --resample-positions brings their positions onto one grid."
            }
            false if only_space && unnamed => "A model that does not name its space is given one by --space NAME.",
            false => "Only models of one architecture and one space can be merged.",
        };
        return refused(differences, hint);
    }
    if !compared.settings.is_empty() {
        return refused(
            compared.settings,
            "These settings change what the tensors mean only a little: --accept-settings merges all the same, with the settings of the \
             model whose architecture the result has.",
        );
    }
    Ok(compared.passed)
}
