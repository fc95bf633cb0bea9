//! Merging image towers, and the search for the best ratios on data sets (tables 8 and 9 of GeoLangBind).

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::Device;
use serde::Serialize;

use super::protocols::{ProtocolRequest, score_protocol};
use crate::core::{RunManifest, atomic};
use crate::data::datasets::{Dataset, Split};
use crate::eval::plot::{Line, score_lines};
use crate::eval::{Interval, Section};
use crate::models::hub::Hub;
use crate::models::vision::{ImageOptions, MergeRecord, ModuleRatios, TowerFiles};
use crate::train::merge::{Allowed, Merge, MergePlan, Named};

/// What to merge, and how.
#[derive(Debug, Clone)]
pub struct MergeRequest {
    /// Models by name or folder, in order.
    pub models: Vec<String>,
    /// Name of the space of models that do not name theirs.
    pub space: Option<String>,
    /// Differences that are let pass.
    pub allowed: Allowed,
    /// Method, ratios and modules; a ratio that is searched for stands as NaN.
    pub plan: MergePlan,
    /// How ratios are searched for.
    pub search: Option<RatioSearch>,
}

/// A search for ratios.
#[derive(Debug, Clone)]
pub struct RatioSearch {
    /// Ratios that are tried.
    pub ratios: Vec<f64>,
    /// Data sets; the ratio of the best mean figure is taken.
    pub data: Vec<PathBuf>,
    /// The protocol; model and data are filled in, and without a split the validation part is scored where a set has one.
    pub protocol: ProtocolRequest,
    /// Column of the protocol's table; the mean over its rows counts (both directions of a retrieval).
    pub metric: String,
}

/// One ratio tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RatioPoint {
    /// Share of the round's model.
    pub ratio: f64,
    /// Figure of each data set, 0–1.
    pub figures: Vec<Interval>,
    /// Their mean.
    pub mean: f64,
}

/// The ratios tried for one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RatioRound {
    /// The model that is added.
    pub model: String,
    /// Ratios of the models before it.
    pub before: Vec<f64>,
    /// What was tried.
    pub points: Vec<RatioPoint>,
    /// The ratio taken: the best mean, of equals the smallest.
    pub chosen: f64,
}

/// All of a search, written as `search.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchRecord {
    /// Protocol and figure.
    pub metric: String,
    /// Data sets with the part that was scored.
    pub data: Vec<String>,
    /// One entry a model whose ratio was searched for.
    pub rounds: Vec<RatioRound>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// A merged tower on disk.
#[derive(Debug, Clone)]
pub struct MergeResult {
    /// What was merged.
    pub record: MergeRecord,
    /// SHA-256 of the weights.
    pub hash: String,
    /// What was searched.
    pub search: Option<SearchRecord>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Merges by `request` and writes the model folder with `run.json` to `out`, after a search with `search.json`, `search.md` and a curve for
/// each ratio that was searched for.
///
/// # Errors
/// Models that do not load or do not fit one another, ratios out of range, data sets the protocol cannot score, an unwritable folder.
pub fn merge(
    request: &MergeRequest,
    out: &Path,
    device: &Device,
    run: &mut RunManifest,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> anyhow::Result<MergeResult> {
    let hub = Hub::from_env()?;
    let open = |name: &String| -> anyhow::Result<Named> {
        let mut files = TowerFiles::resolve(name, &ImageOptions::default(), &hub)?;
        if let Some(space) = request.space.as_ref().filter(|_| !files.space_known) {
            files.space.name.clone_from(space);
            files.space_known = true;
        }
        Ok(Named { name: name.clone(), files })
    };
    let merge = Merge::new(request.models.iter().map(open).collect::<anyhow::Result<_>>()?, request.allowed)?;
    let settings = merge.accepted().iter();
    let mut warnings: Vec<String> =
        settings.map(|(model, d)| format!("{model}: {} differs: {} ≠ {}", d.what, d.first, d.other)).collect();
    run.stage("open");
    let mut plan = request.plan.clone();
    let mut search = None;
    if plan.ratios.iter().any(|r| r.is_nan()) {
        let how = request.search.as_ref().context("a ratio is to be searched for, but there is no data set for it")?;
        let record = find(&merge, &request.models, how, &mut plan, out, device, progress)?;
        warnings.extend(record.warnings.iter().cloned());
        run.stage("search");
        search = Some(record);
    }
    let (record, hash) = merge.write(&plan, out)?;
    run.stage("merge");
    run.model_hash = Some(hash.clone());
    run.results.insert("ratios".into(), serde_json::to_value(&plan.ratios)?);
    if let Some(search) = &search {
        run.seed = request.search.as_ref().map(|s| s.protocol.bootstrap.seed);
        write_search(search, out)?;
    }
    run.save(out)?;
    Ok(MergeResult { record, hash, search, warnings })
}

/// Fills the ratios of `plan` that are NaN, one model after another.
fn find(
    merge: &Merge,
    models: &[String],
    how: &RatioSearch,
    plan: &mut MergePlan,
    out: &Path,
    device: &Device,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> anyhow::Result<SearchRecord> {
    if how.ratios.is_empty() || how.data.is_empty() {
        bail!("a search needs ratios to try and at least one data set");
    }
    let (mut requests, mut data, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for path in &how.data {
        let mut request = ProtocolRequest { data: path.clone(), ..how.protocol.clone() };
        if request.split.is_none() {
            let splits = Dataset::open(path, &request.dataset)?.splits();
            request.split = splits.contains(&Split::Validation).then_some(Split::Validation);
        }
        if request.split != Some(Split::Validation) {
            warnings.push(format!(
                "{}: ratios are chosen on the images they are scored on, so that the figures of the merged model on them are better than \
                 on new images; give a validation part with --split",
                path.display()
            ));
        }
        let part = request.split.map_or_else(String::new, |s| format!(" ({s})"));
        data.push(format!("{}{part}", path.display()));
        requests.push(request);
    }
    let candidate = Candidate(out.join("candidate"));
    let mut rounds = Vec::new();
    for round in 0..plan.ratios.len() {
        if !plan.ratios[round].is_nan() {
            continue;
        }
        let mut points = Vec::new();
        for &ratio in &how.ratios {
            let mut ratios = plan.ratios[..=round].to_vec();
            ratios[round] = ratio;
            let cut = |m: &ModuleRatios| ModuleRatios {
                ratios: m.ratios.iter().copied().take(round + 1).collect(),
                ..m.clone()
            };
            let step = MergePlan { method: plan.method, ratios, modules: plan.modules.iter().map(cut).collect() };
            merge.write_first(round + 2, &step, &candidate.0)?;
            let mut figures = Vec::new();
            for request in &mut requests {
                request.model = candidate.0.display().to_string();
                let (section, notes) = score_protocol(request, device, progress)
                    .with_context(|| format!("ratio {ratio} of `{}`", models[round + 1]))?;
                figures.push(figure(&section, &how.metric)?);
                notes.into_iter().for_each(|n| {
                    if !warnings.contains(&n) {
                        warnings.push(n);
                    }
                });
            }
            let mean = figures.iter().map(|f| f.value).sum::<f64>() / figures.len() as f64;
            progress("ratio", points.len() + 1, how.ratios.len());
            points.push(RatioPoint { ratio, figures, mean });
        }
        let best = points.iter().fold(&points[0], |best, p| if p.mean > best.mean { p } else { best }).ratio;
        rounds.push(RatioRound {
            model: models[round + 1].clone(),
            before: plan.ratios[..round].to_vec(),
            points,
            chosen: best,
        });
        plan.ratios[round] = best;
    }
    let metric = format!("{} {}", how.protocol.protocol.title(), how.metric);
    Ok(SearchRecord { metric, data, rounds, warnings })
}

/// The folder of the model that is being tried; removed at the end, however that comes.
pub(super) struct Candidate(pub(super) PathBuf);

impl Drop for Candidate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Mean over the rows of column `metric`; an interval where there is one row.
pub(super) fn figure(section: &Section, metric: &str) -> anyhow::Result<Interval> {
    let table = &section.table;
    let Some(column) = table.columns.iter().position(|c| c.eq_ignore_ascii_case(metric)) else {
        bail!("no figure `{metric}`; {} has {}", section.title, table.columns.join(", "));
    };
    let values: Vec<Interval> = table.rows.iter().filter_map(|r| r.values[column]).collect();
    match values[..] {
        [] => bail!("{}: `{metric}` is undefined on these images", section.title),
        [one] => Ok(one),
        _ => {
            let value = values.iter().map(|v| v.value).sum::<f64>() / values.len() as f64;
            Ok(Interval { value, low: value, high: value })
        }
    }
}

fn write_search(search: &SearchRecord, out: &Path) -> anyhow::Result<()> {
    let mut text = format!("# Merging ratios by {}\n", search.metric);
    for (k, round) in search.rounds.iter().enumerate() {
        let several = search.data.len() > 1;
        let mut heads: Vec<String> = search.data.clone();
        heads.extend(several.then(|| "mean".to_owned()));
        text += &format!("\n## Ratio of {}\n\n", round.model);
        if !round.before.is_empty() {
            text += &format!("After the ratios {:?}.\n\n", round.before);
        }
        text += &format!("| ratio | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
        for point in &round.points {
            let percent = |v: f64| format!("{:.2}", 100.0 * v);
            let mut cells: Vec<String> = point
                .figures
                .iter()
                .map(|f| match f.low < f.high {
                    true => format!("{} ({}–{})", percent(f.value), percent(f.low), percent(f.high)),
                    false => percent(f.value),
                })
                .collect();
            cells.extend(several.then(|| percent(point.mean)));
            let mark = if point.ratio == round.chosen { "**" } else { "" };
            text += &format!("| {mark}{}{mark} | {} |\n", point.ratio, cells.join(" | "));
        }
        let lines: Vec<Line> = (0..search.data.len())
            .map(|d| Line {
                name: search.data[d].clone(),
                points: round.points.iter().map(|p| (p.ratio, p.figures[d])).collect(),
            })
            .collect();
        let title = format!("{} by the ratio of {}", search.metric, round.model);
        let figure =
            score_lines(&title, &format!("ratio of {}", round.model), &search.metric, &lines, Some(round.chosen))?;
        for ending in ["png", "svg"] {
            figure.save(&out.join(format!("search-{}.{ending}", k + 1)))?;
        }
        text += &format!("\n![{title}](search-{}.svg)\n", k + 1);
    }
    search.warnings.iter().for_each(|w| text += &format!("\nNote: {w}\n"));
    atomic::write(&out.join("search.md"), text.as_bytes())?;
    Ok(atomic::write_json(&out.join("search.json"), search)?)
}
