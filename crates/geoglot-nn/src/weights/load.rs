//! Filling a burn module from a checkpoint through a key map.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

use super::error::some_of;
use super::mapped::{Mapped, Source};
use super::{Checkpoint, KeyMap, WeightsError};

/// What a load did besides filling parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Number of parameters filled.
    pub loaded: usize,
    /// Tensors of the file left out because the map says so.
    pub ignored: Vec<String>,
    /// Parameters that kept their initial value because the map allows it.
    pub kept: Vec<String>,
}

/// Fills every float parameter of `module` from `checkpoint`, names translated by `map`.
///
/// Parameter names are the dotted field path with PyTorch's words: `weight`/`bias` for norms. Linear weights are stored
/// `[out, in]` and transposed on the way in, as PyTorch stores them; shapes may differ by axes of length 1. Lazily initialised parameters are never initialised.
///
/// # Errors
/// [`WeightsError::Keys`] listing missing and unused tensors, [`WeightsError::Shape`], and everything reading may say.
pub fn load_into<M: Module>(module: M, checkpoint: &Checkpoint, map: &KeyMap) -> Result<(M, LoadReport), WeightsError> {
    let Mapped { sources, ignored, mut unused } = Mapped::new(checkpoint, map)?;
    let report = LoadReport { ignored, ..LoadReport::default() };
    let mut loader = Loader { checkpoint, map, sources, path: Vec::new(), missing: Vec::new(), report, error: None };
    let module = module.map(&mut loader);
    let Loader { sources, missing, report, error, .. } = loader;
    if let Some(error) = error {
        return Err(error);
    }
    unused.extend(sources.into_values().map(|s| s.published));
    unused.sort();
    unused.dedup();
    if !missing.is_empty() || !unused.is_empty() {
        return Err(WeightsError::Keys {
            path: checkpoint.path().to_owned(),
            map: map.name().to_owned(),
            missing_count: missing.len(),
            missing: some_of(&missing),
            unused_count: unused.len(),
            unused: some_of(&unused),
        });
    }
    Ok((module, report))
}

/// The dotted PyTorch name of the parameter at `path`: the pairs of field name and container type that a module visitor has entered.
pub fn parameter_name(path: &[(String, String)]) -> String {
    let mut parts: Vec<&str> = path.iter().map(|(name, _)| name.as_str()).collect();
    if let Some((name, container)) = path.last()
        && container.ends_with("Norm")
    {
        let last = parts.len() - 1;
        parts[last] = match name.as_str() {
            "gamma" => "weight",
            "beta" => "bias",
            other => other,
        };
    }
    parts.join(".")
}

/// Whether the parameter at `path` is a linear layer's matrix, which burn keeps transposed.
pub(super) fn is_linear_weight(path: &[(String, String)]) -> bool {
    path.last().is_some_and(|(name, container)| name == "weight" && container == "Struct:Linear")
}

/// The axes of a shape that are longer than 1.
fn without_ones(shape: &[usize]) -> impl Iterator<Item = &usize> {
    shape.iter().filter(|n| **n != 1)
}

/// Row-major `[rows, columns]` to `[columns, rows]`.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for c in 0..columns {
        out.extend((0..rows).map(|r| values[r * columns + c]));
    }
    out
}

struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    map: &'a KeyMap,
    /// Our name → published name and how to take it.
    sources: BTreeMap<String, Source>,
    path: Vec<(String, String)>,
    missing: Vec<String>,
    report: LoadReport,
    error: Option<WeightsError>,
}

impl Loader<'_> {
    /// Values of `name` as a row-major array of `shape` (the module's own layout), or `None` after noting why not.
    fn fetch(&mut self, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>, WeightsError> {
        let Some(Source { published, target }) = self.sources.remove(name) else {
            if self.map.is_optional(name) {
                self.report.kept.push(name.to_owned());
            } else {
                self.missing.push(name.to_owned());
            }
            return Ok(None);
        };
        // One transposition for burn's linear layout, one if the map asks for it: two cancel.
        let linear = is_linear_weight(&self.path) && shape.len() == 2;
        let flip = linear != target.transpose;
        let mut expected = shape.to_vec();
        if flip {
            expected.reverse();
        }
        let (part, parts) = target.part;
        let mut whole = expected.clone();
        if let Some(first) = whole.first_mut() {
            *first *= parts;
        }
        let found = &self.checkpoint.info(&published).expect("listed by this checkpoint").shape;
        // Axes of length 1 carry no numbers: one file's `[1, 1, D]` token is another's `[D]`.
        let fits = found == &whole || (!flip && without_ones(found).eq(without_ones(&whole)));
        if !fits || (flip && shape.len() != 2) {
            return Err(WeightsError::Shape {
                path: self.checkpoint.path().to_owned(),
                name: name.to_owned(),
                source_name: published,
                expected: whole.into(),
                found: found.as_slice().into(),
            });
        }
        let mut values = self.checkpoint.read_f32(&published)?;
        if parts > 1 {
            let n = values.len() / parts;
            values = values[part * n..(part + 1) * n].to_vec();
        }
        Ok(Some(if flip { transposed(&values, expected[0], expected[1]) } else { values }))
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push((name.to_owned(), container_type.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        let name = parameter_name(&self.path);
        let shape: Vec<usize> = param.lazy_shape().iter().copied().collect();
        match self.fetch(&name, &shape) {
            Ok(Some(values)) => {
                self.report.loaded += 1;
                let device = param.lazy_device();
                let tensor = Tensor::<D>::from_data(TensorData::new(values, shape), &device);
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Ok(None) => param,
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transformer::{Activation, EncoderBlock, EncoderBlockConfig, NormPlacement};
    use crate::weights::{save, to_bytes};
    use burn::tensor::Device;
    use std::path::Path;

    fn block(seed: u64) -> EncoderBlock {
        let device = Device::flex();
        device.seed(seed);
        let config = EncoderBlockConfig {
            width: 4,
            heads: 2,
            hidden: 6,
            epsilon: 1e-5,
            activation: Activation::Gelu,
            norm: NormPlacement::Before,
        };
        config.init(&device)
    }

    fn saved(folder: &Path, module: &EncoderBlock) -> Checkpoint {
        let path = folder.join("m.safetensors");
        save(module, &path, &BTreeMap::from([("space".into(), "test".into())])).unwrap();
        Checkpoint::open(path).unwrap()
    }

    #[test]
    fn a_saved_module_loads_to_the_same_bytes_in_pytorch_layout() {
        let folder = tempfile::tempdir().unwrap();
        let module = block(1);
        let checkpoint = saved(folder.path(), &module);
        // Linear [out, in], norms called weight and bias.
        assert_eq!(checkpoint.info("fc1.weight").unwrap().shape, [6, 4]);
        assert_eq!(checkpoint.info("norm1.weight").unwrap().shape, [4]);
        let (loaded, report) = load_into(block(2), &checkpoint, &KeyMap::identity()).unwrap();
        assert_eq!((report.loaded, report.ignored.len()), (16, 0));
        let none = BTreeMap::new();
        assert_eq!(to_bytes(&loaded, &none), to_bytes(&module, &none));
        assert_ne!(to_bytes(&block(2), &none), to_bytes(&module, &none));
    }

    #[test]
    fn missing_unused_clashing_and_optional_names() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = saved(folder.path(), &block(1));
        let load = |map: &str| load_into(block(2), &checkpoint, &KeyMap::from_toml(map).unwrap());
        let most = "name = 'm'\n[[rule]]\nfrom = '^(attention|norm\\d|fc1)\\.(.*)$'\nto = '$1.$2'\n";
        let error = load(most).unwrap_err().to_string();
        assert!(
            error.contains("2 missing (`fc2.weight`, `fc2.bias`)")
                && error.contains("2 unused (`fc2.bias`, `fc2.weight`)"),
            "{error}"
        );
        let allowed =
            format!("{most}[[ignore]]\nfrom = '^fc2'\nwhy = 'test'\n[[optional]]\nto = '^fc2'\nwhy = 'test'\n");
        let (_, report) = load(&allowed).unwrap();
        assert_eq!(
            (report.loaded, report.ignored, report.kept),
            (
                14,
                vec!["fc2.bias".to_owned(), "fc2.weight".to_owned()],
                vec!["fc2.weight".to_owned(), "fc2.bias".to_owned()]
            )
        );
        let clash = load("name = 'm'\n[[rule]]\nfrom = '^norm\\d\\.(.*)$'\nto = 'norm1.$1'\n").unwrap_err();
        assert!(matches!(clash, WeightsError::Clash { .. }), "{clash}");
        let shape = load("name = 'm'\n[[rule]]\nfrom = '^fc1\\.(.*)$'\nto = 'fc2.$1'\n[[rule]]\nfrom = '^fc2\\.(.*)$'\nto = 'fc1.$1'\n[[rule]]\nfrom = '^.*$'\nto = '$0'\n").unwrap_err();
        assert!(
            matches!(&shape, WeightsError::Shape { expected, found, .. } if **expected == [6, 4] && **found == [4, 6]),
            "{shape}"
        );
    }

    #[test]
    fn an_unwritable_place_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = save(&block(1), &file.path().join("m.safetensors"), &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, WeightsError::Write(_)), "{error}");
    }

    #[test]
    fn transposition() {
        assert_eq!(transposed(&[1., 2., 3., 4., 5., 6.], 2, 3), [1., 4., 2., 5., 3., 6.]);
    }
}
