//! Writing a module's parameters as safetensors.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use safetensors::tensor::{Dtype, TensorView};

use super::WeightsError;
use super::load::{is_linear_weight, parameter_name, transposed};

/// Writes every float parameter of `module` to `path` as f32 safetensors, atomically; `metadata` goes into the header.
///
/// Names and layouts are PyTorch's, so that [`super::load_into`] with [`super::KeyMap::identity`] reads the file back.
///
/// # Errors
/// [`WeightsError::Write`] naming the path; an old file stays.
pub fn save<M: Module>(module: &M, path: &Path, metadata: &BTreeMap<String, String>) -> Result<(), WeightsError> {
    let bytes = to_bytes(module, metadata).map_err(|problem| WeightsError::Format {
        path: path.to_owned(),
        kind: "safetensors",
        problem,
    })?;
    Ok(geoglot_core::atomic::write(path, &bytes)?)
}

/// The bytes [`save`] would write; equal parameters and metadata give equal bytes.
///
/// # Errors
/// A description, when the format's library refuses.
pub fn to_bytes<M: Module>(module: &M, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, String> {
    let mut collector = Collector { path: Vec::new(), tensors: BTreeMap::new() };
    module.visit(&mut collector);
    let views = collector
        .tensors
        .iter()
        .map(|(name, (shape, bytes))| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|v| (name.as_str(), v)).map_err(|e| e.to_string())
        })
        .collect::<Result<Vec<_>, _>>()?;
    // The format keeps metadata in a hash map; more than one entry would make the bytes depend on its order.
    let json = serde_json::to_string(metadata).map_err(|e| e.to_string())?;
    let header = (!metadata.is_empty()).then(|| HashMap::from([("geoglot".to_owned(), json)]));
    safetensors::serialize(views, header).map_err(|e| e.to_string())
}

struct Collector {
    path: Vec<(String, String)>,
    tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push((name.to_owned(), container_type.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let mut shape: Vec<usize> = tensor.dims().to_vec();
        let mut values: Vec<f32> = tensor.into_data().iter::<f32>().collect();
        if is_linear_weight(&self.path) && shape.len() == 2 {
            values = transposed(&values, shape[0], shape[1]);
            shape.reverse();
        }
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors.insert(parameter_name(&self.path), (shape, bytes));
    }
}
