//! The closed list of names a checkpoint may use.

use crate::weights::DType;

/// An allowed name; nothing on this list is ever called, each only has a meaning to this reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`: storage, offset, shape, strides.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`: a tensor and whether it trains.
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2`: a rebuilder, a type, its arguments.
    RebuildFromType,
    /// `torch.Size`: a tuple.
    Size,
    /// A storage class.
    Storage(StorageType),
    /// A record without meaning for weights: kept, never interpreted.
    Inert(&'static str),
}

/// Element type of a storage class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageType(pub DType);

const STORAGES: &[(&str, DType)] = &[
    ("torch.DoubleStorage", DType::F64),
    ("torch.FloatStorage", DType::F32),
    ("torch.HalfStorage", DType::F16),
    ("torch.BFloat16Storage", DType::BF16),
    ("torch.LongStorage", DType::I64),
    ("torch.IntStorage", DType::I32),
    ("torch.ShortStorage", DType::I16),
    ("torch.CharStorage", DType::I8),
    ("torch.ByteStorage", DType::U8),
    ("torch.BoolStorage", DType::Bool),
];

const INERT: &[&str] = &[
    "argparse.Namespace",
    "torch.device",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.float64",
    "torch.float32",
    "torch.float16",
    "torch.bfloat16",
    "torch.int64",
    "torch.int32",
    "torch.int16",
    "torch.int8",
    "torch.uint8",
    "torch.bool",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "_codecs.encode",
];

impl Global {
    /// The meaning of `module.name`, or `None` when it is not on the list.
    pub fn find(name: &str) -> Option<Self> {
        Some(match name {
            "collections.OrderedDict" => Global::OrderedDict,
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => Global::RebuildTensor,
            "torch._utils._rebuild_parameter" => Global::RebuildParameter,
            "torch._tensor._rebuild_from_type_v2" => Global::RebuildFromType,
            "torch.Size" => Global::Size,
            _ => {
                return STORAGES
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, dtype)| Global::Storage(StorageType(*dtype)))
                    .or_else(|| INERT.iter().find(|n| **n == name).map(|n| Global::Inert(n)));
            }
        })
    }
}
