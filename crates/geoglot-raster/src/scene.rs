//! Named inputs on one grid.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use geoglot_core::{Band, BandUse, Grid, Registry, Unit, Window};
use ndarray::Array2;

use crate::scene_align::{align, scene_grid};
use crate::scene_arg::SceneArg;
use crate::scene_bind::{Binding, Bound};
use crate::warp::Resampling;
use crate::{BandSource, Error, Result, Tile};

/// How a scene is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// Every band must be known by sensor or wavelength; unnamed bands are an error that says how to name them.
    pub require_names: bool,
    /// How inputs on other grids are brought onto the first one's, unless an input says otherwise.
    pub resampling: Resampling,
}

/// One input of a scene, on the scene's grid.
#[derive(Debug, Clone)]
pub struct SceneInput {
    name: String,
    source: Arc<dyn BandSource>,
    binding: Binding,
    scaling: String,
    original: Option<(Grid, Resampling)>,
}

impl SceneInput {
    /// Name, such as `hsi`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The input's raster, on the scene's grid, bands bound and scaled.
    pub fn source(&self) -> &Arc<dyn BandSource> {
        &self.source
    }

    /// Bands in order.
    pub fn bands(&self) -> &[Band] {
        self.source.bands()
    }

    /// How the bands got their identity.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Where the scale comes from, in words.
    pub fn scaling(&self) -> &str {
        &self.scaling
    }

    /// The file's own grid and the way it was resampled, where it was.
    pub fn original_grid(&self) -> Option<(&Grid, Resampling)> {
        self.original.as_ref().map(|(grid, how)| (grid, *how))
    }
}

/// Named inputs of one or several sensors on one grid, read window by window.
#[derive(Debug, Clone)]
pub struct Scene {
    grid: Grid,
    inputs: Vec<SceneInput>,
    warnings: Vec<String>,
}

impl Scene {
    /// Opens the inputs, binds their bands and brings them onto the first one's grid. Reads metadata only.
    ///
    /// # Errors
    /// What reading the files gives; [`Error::Bands`] for bands that cannot be bound; [`Error::Align`] for grids that cannot be combined.
    pub fn open(args: &[SceneArg], registry: &Registry, options: OpenOptions) -> Result<Self> {
        let opened = args
            .iter()
            .map(|arg| Ok((arg.clone(), crate::open(&arg.path, &arg.source_options())?)))
            .collect::<Result<Vec<_>>>()?;
        Self::from_sources(opened, registry, options)
    }

    /// The same with rasters already open; `path` of each argument is used for its name only.
    ///
    /// # Errors
    /// As [`Scene::open`], without the files.
    pub fn from_sources(
        sources: Vec<(SceneArg, Arc<dyn BandSource>)>,
        registry: &Registry,
        options: OpenOptions,
    ) -> Result<Self> {
        let mut warnings = Vec::new();
        let Some((_, first)) = sources.first() else {
            return Err(Error::Usage("a scene needs at least one input".into()));
        };
        let grid = scene_grid(first.as_ref(), &sources, &mut warnings);
        let mut inputs: Vec<SceneInput> = Vec::new();
        for (arg, source) in sources {
            let name = arg.label();
            if inputs.iter().any(|i| i.name == name) {
                return Err(Error::Usage(format!(
                    "two inputs are named `{name}`; name them: a={} b=…",
                    arg.path.display()
                )));
            }
            let bound = Bound::new(source, &arg, registry)?;
            if options.require_names {
                require_names(&name, &bound, registry)?;
            }
            warnings.extend(bound.warnings().iter().map(|w| format!("{name}: {w}")));
            let (binding, scaling) = (bound.binding().clone(), bound.scaling().to_string());
            let original = bound.grid().clone();
            let resampling = arg.resampling.unwrap_or(options.resampling);
            let (source, resampled) = align(&name, Arc::new(bound), &grid, resampling, &mut warnings)?;
            let original = resampled.then_some((original, resampling));
            inputs.push(SceneInput { name, source, binding, scaling, original });
        }
        Ok(Self { grid, inputs, warnings })
    }

    /// The grid of every input.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Inputs in the order given.
    pub fn inputs(&self) -> &[SceneInput] {
        &self.inputs
    }

    /// What a careful reader should know: missing reference systems, scales not applied, names that contradict.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The input with this name.
    ///
    /// # Errors
    /// [`Error::Usage`] listing the inputs.
    pub fn input(&self, name: &str) -> Result<&SceneInput> {
        self.inputs.iter().find(|i| i.name == name).ok_or_else(|| {
            let known = self.inputs.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::Usage(format!(
                "the scene has no input `{name}`; its inputs are: {known}. Name one with --scene {name}=PATH"
            ))
        })
    }

    /// Physical values of an input's `bands` (positions in [`SceneInput::bands`]) in `window`, [C, H, W], with their mask.
    ///
    /// # Errors
    /// Unknown inputs and bands, windows outside the grid, damaged files.
    pub fn read(&self, input: &str, bands: &[usize], window: Window) -> Result<Tile> {
        self.input(input)?.source.read(bands, window)
    }

    /// Pixels of `window` that are valid in every band of every input, [H, W].
    ///
    /// # Errors
    /// Windows outside the grid, damaged files.
    pub fn valid_mask(&self, window: Window) -> Result<Array2<bool>> {
        self.grid.check(window)?;
        let mut mask = Array2::from_elem((window.height, window.width), true);
        for input in &self.inputs {
            // A few bands at a time: the values are not needed, and hundreds of bands would take hundreds of planes.
            for bands in input.source.all_bands().chunks(16) {
                let tile = input.source.read_stored(bands, window)?;
                ndarray::Zip::from(&mut mask).and(&tile.mask).for_each(|m, &v| *m &= v);
            }
        }
        Ok(mask)
    }

    /// Makes sure that there is at least one pixel with data in every band of every input.
    ///
    /// # Errors
    /// [`Error::Align`] when there is none, with each input's share of valid pixels.
    pub fn ensure_valid_data(&self) -> Result<()> {
        let windows = self.windows(512);
        for &window in &windows {
            if self.valid_mask(window)?.iter().any(|&valid| valid) {
                return Ok(());
            }
        }
        let mut shares = Vec::new();
        let mut emptiest = (usize::MAX, &self.inputs[0]);
        for input in &self.inputs {
            let mut valid = 0;
            for &window in &windows {
                let alone = Self { inputs: vec![input.clone()], ..self.clone() };
                valid += alone.valid_mask(window)?.iter().filter(|&&v| v).count();
            }
            let share = 100.0 * valid as f64 / (self.grid.width * self.grid.height) as f64;
            shares.push(format!("{} {share:.1} %", input.name));
            if valid < emptiest.0 {
                emptiest = (valid, input);
            }
        }
        Err(Error::Align {
            path: emptiest.1.source.path().into(),
            problem: format!(
                "no pixel has data in every band of every input; valid pixels: {}. Check the inputs' nodata values (nodata=…) and whether they cover the same ground",
                shares.join(", ")
            ),
        })
    }

    /// The grid cut into windows of at most `edge` × `edge` pixels, row by row.
    pub fn windows(&self, edge: usize) -> Vec<Window> {
        let edge = edge.max(1);
        let mut out = Vec::new();
        for row in (0..self.grid.height).step_by(edge) {
            for col in (0..self.grid.width).step_by(edge) {
                out.push(Window::new(col, row, edge.min(self.grid.width - col), edge.min(self.grid.height - row)));
            }
        }
        out
    }

    /// The band mapping for `run.json`.
    pub fn band_use(&self) -> Vec<BandUse> {
        let each = self.inputs.iter().map(|input| BandUse {
            input: input.name.clone(),
            path: input.source.path().display().to_string(),
            bands: input.bands().to_vec(),
        });
        each.collect()
    }

    /// Warnings about values that cannot be what their unit says, from a few small samples: reflectance in the thousands, or reflectance
    /// so small that a scale was applied twice.
    ///
    /// # Errors
    /// Damaged files.
    pub fn suspicious_values(&self) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for input in &self.inputs {
            let optical: Vec<usize> =
                (0..input.bands().len()).filter(|&b| input.bands()[b].unit == Unit::Reflectance).collect();
            let mut values = Vec::new();
            let step = (self.grid.width / 4).max(1);
            for k in 0..3 {
                let col = (step * (k + 1)).min(self.grid.width - 1);
                let row = (self.grid.height * (k + 1) / 4).min(self.grid.height - 1);
                let window = Window::new(col, row, 32.min(self.grid.width - col), 32.min(self.grid.height - row));
                for bands in optical.chunks(16) {
                    let tile = input.source.read(bands, window)?;
                    for plane in tile.data.outer_iter() {
                        values.extend(plane.iter().zip(&tile.mask).filter(|(_, m)| **m).map(|(v, _)| *v));
                    }
                }
            }
            if values.is_empty() {
                continue;
            }
            let middle = values.len() / 2;
            let median = *values.select_nth_unstable_by(middle, f32::total_cmp).1;
            if median > 2.0 {
                out.push(format!(
                    "{}: half of the sampled values are above {median:.4}, which reflectance cannot be; was a scale left out? (scale=sensor or scale=0.0001)",
                    input.name
                ));
            } else if median.abs() < 1e-3 && values.iter().any(|v| *v != 0.0) {
                out.push(format!(
                    "{}: half of the sampled values are below {median:.6}, too dark for reflectance; was a scale applied twice? (scale=none)",
                    input.name
                ));
            }
        }
        Ok(out)
    }

    /// Inputs, band ↔ wavelength table, grid and warnings, as text.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let (w, h) = (self.grid.width, self.grid.height);
        let size = self.grid.pixel_size();
        let _ = writeln!(text, "grid: {w} × {h} pixels of {} × {}, {}", size.0, size.1, self.grid.crs_name());
        for input in &self.inputs {
            let _ = writeln!(text, "{}: {}", input.name, input.source.path().display());
            let _ = writeln!(
                text,
                "  {} bands, {}, bound {}; {}",
                input.bands().len(),
                input.source.sample_type(),
                input.binding,
                input.scaling
            );
            if let Some((grid, how)) = &input.original {
                let how = if *how == Resampling::Nearest { "nearest" } else { "bilinear" };
                let _ = writeln!(
                    text,
                    "  on another grid ({} × {}, {}), resampled by {how} values",
                    grid.width,
                    grid.height,
                    grid.crs_name()
                );
            }
            for (k, band) in input.bands().iter().enumerate() {
                let wavelength = band.wavelength_um.map_or("      –".into(), |w| format!("{w:.4} µm"));
                let _ = writeln!(text, "  {:>3}  {:<28} {wavelength}  {}", k + 1, band.label(), band.unit.symbol());
            }
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }
}

/// Every band must have a sensor or a wavelength.
fn require_names(name: &str, bound: &Bound, registry: &Registry) -> Result<()> {
    let unnamed: Vec<&Band> =
        bound.bands().iter().filter(|b| b.sensor.is_none() && b.wavelength_um.is_none()).collect();
    let Some(first) = unnamed.first() else { return Ok(()) };
    let count = bound.bands().len();
    let path: PathBuf = bound.path().into();
    let fitting: Vec<&str> = registry
        .sensors()
        .iter()
        .filter(|s| s.bands.len() == count || s.layouts_of(count).next().is_some())
        .map(|s| s.id.as_str())
        .collect();
    let all = registry.sensors().iter().map(|s| s.id.as_str()).collect::<Vec<_>>().join(", ");
    let fitting = if fitting.is_empty() {
        format!("no known sensor has {count} bands")
    } else {
        format!("sensors with {count} bands: {}", fitting.join(", "))
    };
    let example = fitting_example(registry, count);
    Err(Error::bands(
        &path,
        format!(
            "{} of {count} bands (`{}` and so on) have no known sensor or wavelength, which is needed here. Name them: --scene {name}={}:sensor={example}. Here, {fitting}. Known sensors: {all}; add your own with --sensors FILE",
            unnamed.len(),
            first.name,
            path.display()
        ),
    ))
}

fn fitting_example(registry: &Registry, count: usize) -> &str {
    let fits = |s: &&geoglot_core::Sensor| s.bands.len() == count || s.layouts_of(count).next().is_some();
    registry.sensors().iter().find(fits).map_or("aisa-eagle", |s| s.id.as_str())
}
