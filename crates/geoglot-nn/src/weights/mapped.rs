//! The tensors of a weight file under our parameter names.

use std::collections::BTreeMap;

use super::load::transposed;
use super::{Checkpoint, KeyMap, Target, WeightsError};

/// Where a parameter's values lie in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The published tensor.
    pub published: String,
    /// How it becomes the parameter.
    pub target: Target,
}

/// What a key map makes of a file's names, before any value is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Parameters by our name.
    pub sources: BTreeMap<String, Source>,
    /// Published tensors the map leaves out.
    pub ignored: Vec<String>,
    /// Published tensors no rule names.
    pub unused: Vec<String>,
}

impl Mapped {
    /// Applies `map` to the names of `checkpoint`.
    ///
    /// # Errors
    /// [`WeightsError::Clash`] when two tensors go to one parameter.
    pub fn new(checkpoint: &Checkpoint, map: &KeyMap) -> Result<Self, WeightsError> {
        let mut mapped = Self::default();
        for published in checkpoint.names() {
            match map.targets(published) {
                None => mapped.unused.push(published.to_owned()),
                Some(targets) if targets.is_empty() => mapped.ignored.push(published.to_owned()),
                Some(targets) => {
                    for target in targets {
                        let name = target.name.clone();
                        let source = Source { published: published.to_owned(), target };
                        if let Some(first) = mapped.sources.insert(name.clone(), source) {
                            return Err(WeightsError::Clash {
                                path: checkpoint.path().to_owned(),
                                map: map.name().to_owned(),
                                name,
                                sources: format!("`{}` and `{published}`", first.published),
                            });
                        }
                    }
                }
            }
        }
        Ok(mapped)
    }

    /// Shape of parameter `name` as [`super::save`] writes it: linear weights are `[out, in]`. `None` for names that are not there.
    pub fn shape(&self, checkpoint: &Checkpoint, name: &str) -> Option<Vec<usize>> {
        let source = self.sources.get(name)?;
        let mut shape = checkpoint.info(&source.published)?.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first /= source.target.part.1;
        }
        if source.target.transpose {
            shape.reverse();
        }
        Some(shape)
    }

    /// Values of parameter `name`, row-major in the shape of [`Mapped::shape`].
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`] for a name that is not there, [`WeightsError::Format`] for a tensor that cannot be split or
    /// transposed as the map says, and what reading may say.
    pub fn read_f32(&self, checkpoint: &Checkpoint, name: &str) -> Result<Vec<f32>, WeightsError> {
        let Some(Source { published, target }) = self.sources.get(name) else { return checkpoint.read_f32(name) };
        let shape = checkpoint.info(published).map(|i| i.shape.clone()).unwrap_or_default();
        let (part, parts) = target.part;
        let splits = parts == 1 || shape.first().is_some_and(|n| n.is_multiple_of(parts));
        if !splits || (target.transpose && shape.len() != 2) {
            return Err(super::checkpoint::format(
                checkpoint.path(),
                "weight",
                format!(
                    "tensor `{published}` of shape {shape:?} cannot become `{name}`: {parts} parts of a matrix are expected"
                ),
            ));
        }
        let mut values = checkpoint.read_f32(published)?;
        if parts > 1 {
            let n = values.len() / parts;
            values = values[part * n..(part + 1) * n].to_vec();
        }
        Ok(if target.transpose { transposed(&values, shape[0] / parts, shape[1]) } else { values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::save_streamed;

    #[test]
    fn fused_and_transposed_tensors_come_under_our_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let tensors = [("in_proj", vec![4, 2]), ("proj", vec![2, 3]), ("text", vec![1]), ("other", vec![1])];
        let table: Vec<_> = tensors.iter().map(|(n, s)| ((*n).to_owned(), s.clone())).collect();
        let values = |name: &str| -> Vec<f32> {
            let n = tensors.iter().find(|t| t.0 == name).unwrap().1.iter().product();
            (0..n).map(|v| v as f32).collect()
        };
        save_streamed(&path, &table, &BTreeMap::new(), |name| Ok::<_, WeightsError>(values(name))).unwrap();
        let map = "name = 'm'\n[[rule]]\nfrom = '^in_proj$'\nto = ['q', 'k']\n[[rule]]\nfrom = '^proj$'\nto = 'p'\ntranspose = true\n\
                   [[ignore]]\nfrom = '^text'\nwhy = 'test'\n";
        let checkpoint = Checkpoint::open(&path).unwrap();
        let mapped = Mapped::new(&checkpoint, &KeyMap::from_toml(map).unwrap()).unwrap();
        assert_eq!(
            (mapped.ignored.as_slice(), mapped.unused.as_slice()),
            (&["text".into()][..], &["other".into()][..])
        );
        assert_eq!(mapped.shape(&checkpoint, "k").unwrap(), [2, 2]);
        assert_eq!(mapped.read_f32(&checkpoint, "k").unwrap(), [4., 5., 6., 7.]);
        assert_eq!(mapped.shape(&checkpoint, "p").unwrap(), [3, 2]);
        assert_eq!(mapped.read_f32(&checkpoint, "p").unwrap(), [0., 3., 1., 4., 2., 5.]);
        assert!(mapped.read_f32(&checkpoint, "nothing").is_err());
    }
}
