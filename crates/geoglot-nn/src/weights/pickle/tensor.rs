//! Tensors and storages as a pickle describes them.

use super::{Global, Node, NodeId};
use crate::weights::DType;

/// A storage: a flat array kept in its own member of the zip file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageRef {
    /// Element type.
    pub dtype: DType,
    /// Name of the member (`data/<key>`).
    pub key: String,
    /// Number of elements.
    pub elements: u64,
}

/// A tensor: a strided view on a storage, extents checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRef {
    /// The storage.
    pub storage: StorageRef,
    /// First element.
    pub offset: usize,
    /// Shape.
    pub shape: Vec<usize>,
    /// Strides in elements.
    pub strides: Vec<usize>,
}

/// Most axes accepted.
const MAX_RANK: usize = 16;

impl TensorRef {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the view is its elements in order.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1usize;
        for (&n, &s) in self.shape.iter().zip(&self.strides).rev() {
            if n > 1 && s != expected {
                return false;
            }
            expected = expected.saturating_mul(n.max(1));
        }
        true
    }

    /// Builds from `(storage, offset, shape, strides, …)`, refusing views that leave their storage or outgrow it.
    pub(super) fn from_arguments(nodes: &[Node], arguments: &[NodeId]) -> Result<Self, String> {
        let node = |i: usize| arguments.get(i).map(|&id| &nodes[id]);
        let Some(Node::Storage(storage)) = node(0) else {
            return Err("a tensor without a storage".into());
        };
        let Some(&Node::Int(offset)) = node(1) else {
            return Err("a tensor without an offset".into());
        };
        let sizes = |i: usize, what: &str| -> Result<Vec<usize>, String> {
            let Some(Node::Tuple(ids) | Node::List(ids)) = node(i) else {
                return Err(format!("a tensor without {what}"));
            };
            if ids.len() > MAX_RANK {
                return Err(format!("a tensor of {} axes", ids.len()));
            }
            ids.iter()
                .map(|&id| match nodes[id] {
                    Node::Int(v) => usize::try_from(v).map_err(|_| format!("a negative value in a tensor's {what}")),
                    _ => Err(format!("a tensor's {what} are not integers")),
                })
                .collect()
        };
        let (shape, strides) = (sizes(2, "shape")?, sizes(3, "strides")?);
        if shape.len() != strides.len() {
            return Err("a tensor whose shape and strides differ in length".into());
        }
        let offset = usize::try_from(offset).map_err(|_| "a tensor with a negative offset".to_owned())?;
        let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64));
        let last = shape.iter().zip(&strides).try_fold(offset as u64, |at, (&n, &s)| {
            (n.saturating_sub(1) as u64).checked_mul(s as u64).and_then(|step| at.checked_add(step))
        });
        match (elements, last) {
            (Some(0), _) => {}
            // A view may not hold more than its storage: an expanded scalar could claim any size.
            (Some(n), Some(last)) if n <= storage.elements && last < storage.elements => {}
            _ => {
                return Err(format!(
                    "a tensor of shape {shape:?}, strides {strides:?}, offset {offset} does not fit its storage of {} elements",
                    storage.elements
                ));
            }
        }
        Ok(Self { storage: storage.clone(), offset, shape, strides })
    }
}

impl StorageRef {
    /// Builds from `('storage', class, key, location, elements, …)`.
    pub(super) fn from_persistent_id(nodes: &[Node], id: NodeId) -> Result<Self, String> {
        let Node::Tuple(ids) = &nodes[id] else {
            return Err("a persistent id that is not a tuple".into());
        };
        let node = |i: usize| ids.get(i).map(|&id| &nodes[id]);
        match (node(0), node(1), node(2), node(4)) {
            (
                Some(Node::Str(kind)),
                Some(Node::Global(Global::Storage(class))),
                Some(Node::Str(key)),
                Some(&Node::Int(elements)),
            ) if kind == "storage" && elements >= 0 => {
                // The key becomes part of a member's name; PyTorch writes plain numbers.
                if key.is_empty() || key.len() > 64 || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    return Err(format!("storage key `{key}` is not a plain name"));
                }
                Ok(Self { dtype: class.0, key: key.clone(), elements: elements as u64 })
            }
            _ => Err("a persistent id that is not a storage".into()),
        }
    }
}
