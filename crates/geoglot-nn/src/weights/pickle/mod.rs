//! A pickle reader that executes nothing.
//!
//! A pickle is a program that may call any function of any Python module. This reader runs only the part that builds plain
//! values, and knows a closed list of names ([`Global`]) that checkpoints need: tensor rebuilders, storages, ordered dicts
//! and a few inert records that are kept as opaque values. Any other name is refused by name, before anything is built.
//! Memory and time are linear in the input: nodes are shared by index, so that no small file unfolds into a large one.

mod global;
mod machine;
mod tensor;

pub use global::{Global, StorageType};
pub use tensor::{StorageRef, TensorRef};

/// Longest pickle accepted (256 MiB); the pickles of published checkpoints are below 10 MiB.
pub const MAX_BYTES: usize = 256 << 20;

/// Why a pickle was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The pickle names something outside the closed list.
    #[error(
        "refused: the pickle asks for `{name}`, which is not needed to hold tensors and might run code; nothing was executed. Use a safetensors file, or save the plain state dict again"
    )]
    ForbiddenGlobal {
        /// `module.name` as written in the pickle.
        name: String,
    },
    /// An instruction this reader does not run.
    #[error(
        "refused: pickle instruction 0x{opcode:02x} at byte {at} is not used by tensor checkpoints; nothing was executed"
    )]
    ForbiddenOpcode {
        /// The instruction.
        opcode: u8,
        /// Its position.
        at: usize,
    },
    /// The bytes end inside an instruction or before the end mark.
    #[error("the pickle is truncated at byte {at}")]
    Truncated {
        /// Where it ends.
        at: usize,
    },
    /// The program is inconsistent: empty stack, unknown memo, wrong operand.
    #[error("the pickle is damaged at byte {at}: {problem}")]
    Damaged {
        /// Position of the instruction.
        at: usize,
        /// What is wrong.
        problem: String,
    },
    /// A size no checkpoint has.
    #[error("the pickle holds {found} bytes, more than the {MAX_BYTES} this reader accepts")]
    TooLarge {
        /// Its size.
        found: usize,
    },
}

/// Index of a node in a [`Pickle`].
pub type NodeId = usize;

/// One value; containers refer to others by index.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Str(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// A tuple.
    Tuple(Vec<NodeId>),
    /// A list or a set.
    List(Vec<NodeId>),
    /// A dict or ordered dict, pairs in order of insertion.
    Dict(Vec<(NodeId, NodeId)>),
    /// An allowed name.
    Global(Global),
    /// A storage of a PyTorch file.
    Storage(StorageRef),
    /// A tensor: a view on a storage.
    Tensor(TensorRef),
    /// A value built from an inert name (an `argparse.Namespace`, a numpy scalar, …), kept only as its name.
    Opaque(Global),
    /// A name as written, `module.name`; only from [`parse_records`].
    Name(String),
    /// What a name was called with, and the state given to the result; nothing was called. Only from [`parse_records`].
    Record {
        /// The [`Node::Name`].
        class: NodeId,
        /// Arguments of the call.
        arguments: Vec<NodeId>,
        /// Attributes set afterwards, mostly a dict.
        state: Option<NodeId>,
    },
}

/// A parsed pickle: its nodes and which of them is the value.
#[derive(Debug, Clone, PartialEq)]
pub struct Pickle {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
}

/// Parses a pickle of protocol 0 to 5 without executing it.
///
/// # Errors
/// [`PickleError::ForbiddenGlobal`] with the name for anything outside the closed list; never panics on any bytes.
pub fn parse(bytes: &[u8]) -> Result<Pickle, PickleError> {
    if bytes.len() > MAX_BYTES {
        return Err(PickleError::TooLarge { found: bytes.len() });
    }
    machine::run(bytes, false)
}

/// Parses a pickle of plain records, such as the metadata of a data set: any name is allowed, since none is called or looked up. Objects
/// become [`Node::Record`]; tensors and storages are not rebuilt.
///
/// # Errors
/// As [`parse`], without [`PickleError::ForbiddenGlobal`] for names in calls.
pub fn parse_records(bytes: &[u8]) -> Result<Pickle, PickleError> {
    if bytes.len() > MAX_BYTES {
        return Err(PickleError::TooLarge { found: bytes.len() });
    }
    machine::run(bytes, true)
}

impl Pickle {
    /// The value the pickle stands for.
    pub fn root(&self) -> &Node {
        &self.nodes[self.root]
    }

    /// A node by index.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Value of `key` in a dict node.
    pub fn get<'a>(&'a self, dict: &Node, key: &str) -> Option<&'a Node> {
        let Node::Dict(pairs) = dict else { return None };
        pairs
            .iter()
            .rev()
            .find(|(k, _)| matches!(&self.nodes[*k], Node::Str(s) if s == key))
            .map(|(_, v)| &self.nodes[*v])
    }

    /// Full name of a record's class.
    pub fn class_of<'a>(&'a self, node: &Node) -> Option<&'a str> {
        let Node::Record { class, .. } = node else { return None };
        if let Node::Name(name) = &self.nodes[*class] { Some(name) } else { None }
    }

    /// State of a record: its attributes.
    pub fn state_of<'a>(&'a self, node: &Node) -> Option<&'a Node> {
        if let Node::Record { state: Some(state), .. } = node { Some(&self.nodes[*state]) } else { None }
    }

    /// Named tensors directly inside a dict node; other values are skipped.
    pub fn tensors<'a>(&'a self, dict: &'a Node) -> impl Iterator<Item = (&'a str, &'a TensorRef)> {
        let pairs: &[(NodeId, NodeId)] = if let Node::Dict(pairs) = dict { pairs } else { &[] };
        pairs.iter().filter_map(|(k, v)| match (&self.nodes[*k], &self.nodes[*v]) {
            (Node::Str(name), Node::Tensor(tensor)) => Some((name.as_str(), tensor)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
