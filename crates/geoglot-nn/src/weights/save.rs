//! Writing a module's parameters as safetensors.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use safetensors::tensor::{Dtype, Metadata, TensorInfo, TensorView};

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

/// Writes a safetensors file of f32 tensors one by one, so that no more than one is in memory: `table` has their names and shapes,
/// `values` is asked for each in the order of names. Atomically; `metadata` goes into the header.
///
/// # Errors
/// What `values` says, [`WeightsError::Format`] for a tensor of another size than its shape, [`WeightsError::Write`] naming the path;
/// an old file stays.
pub fn save_streamed<E: From<WeightsError>>(
    path: &Path,
    table: &[(String, Vec<usize>)],
    metadata: &BTreeMap<String, String>,
    mut values: impl FnMut(&str) -> Result<Vec<f32>, E>,
) -> Result<(), E> {
    let bad = |problem: String| WeightsError::Format { path: path.to_owned(), kind: "safetensors", problem };
    let mut sorted: Vec<&(String, Vec<usize>)> = table.iter().collect();
    sorted.sort();
    let mut end = 0;
    let infos = sorted.iter().map(|(name, shape)| {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape: shape.clone(), data_offsets: (start, end) })
    });
    let json = serde_json::to_string(metadata).map_err(|e| bad(e.to_string()))?;
    let header = (!metadata.is_empty()).then(|| HashMap::from([("geoglot".to_owned(), json)]));
    let header = Metadata::new(header, infos.collect()).map_err(|e| bad(e.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| bad(e.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    geoglot_core::atomic::produce(path, |temporary| {
        let failed = |e| super::checkpoint::io(path, "write", e);
        let mut file = BufWriter::new(File::create(temporary).map_err(failed)?);
        file.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| file.write_all(&header)).map_err(failed)?;
        for (name, shape) in sorted {
            let values = values(name).map_err(Streamed)?;
            if values.len() != shape.iter().product::<usize>() {
                return Err(Streamed(bad(format!("{} numbers for `{name}` of shape {shape:?}", values.len())).into()));
            }
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            file.write_all(&bytes).map_err(failed)?;
        }
        Ok(file.flush().map_err(failed)?)
    })
    .map_err(|Streamed(e)| e)
}

/// Lets any error of the caller's pass through [`geoglot_core::atomic::produce`].
struct Streamed<E>(E);

impl<E: From<WeightsError>> From<geoglot_core::Error> for Streamed<E> {
    fn from(error: geoglot_core::Error) -> Self {
        Self(WeightsError::from(error).into())
    }
}

impl<E: From<WeightsError>> From<WeightsError> for Streamed<E> {
    fn from(error: WeightsError) -> Self {
        Self(error.into())
    }
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
