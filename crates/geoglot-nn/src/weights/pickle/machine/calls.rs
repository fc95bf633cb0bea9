//! What calling an allowed name means.

use super::super::{Global, Node, NodeId, TensorRef};
use super::{Machine, Outcome};

impl Machine<'_> {
    /// The meaning of calling an allowed name with a tuple: this is all that REDUCE and NEWOBJ can do here.
    pub(super) fn build(&mut self, function: NodeId, arguments: NodeId) -> Outcome<NodeId> {
        let ids = match &self.nodes[arguments] {
            Node::Tuple(ids) => ids.clone(),
            _ => return Err(self.damaged("a call without an argument tuple")),
        };
        self.copied += ids.len();
        self.check_copies()?;
        let global = match self.nodes[function] {
            Node::Global(global) => global,
            Node::Name(_) => {
                self.nodes.push(Node::Record { class: function, arguments: ids, state: None });
                return Ok(self.nodes.len() - 1);
            }
            _ => return Err(self.damaged("a call of something that is not a name")),
        };
        let node = match global {
            Global::OrderedDict => {
                let pairs = match ids.first().map(|&id| &self.nodes[id]) {
                    None => Vec::new(),
                    Some(Node::Dict(pairs)) => pairs.clone(),
                    Some(Node::List(items)) => {
                        let mut flat = Vec::with_capacity(2 * items.len());
                        for &item in items {
                            match &self.nodes[item] {
                                Node::List(pair) | Node::Tuple(pair) if pair.len() == 2 => flat.extend(pair),
                                _ => return Err(self.damaged("an ordered dict of something that is not pairs")),
                            }
                        }
                        self.pairs(&flat)?
                    }
                    Some(_) => return Err(self.damaged("an ordered dict of something that is not pairs")),
                };
                self.copied += pairs.len();
                self.check_copies()?;
                Node::Dict(pairs)
            }
            Global::RebuildTensor => {
                Node::Tensor(TensorRef::from_arguments(&self.nodes, &ids).map_err(|p| self.damaged(p))?)
            }
            Global::RebuildParameter => {
                return match ids.first() {
                    Some(&id) if matches!(self.nodes[id], Node::Tensor(_)) => Ok(id),
                    _ => Err(self.damaged("a parameter without a tensor")),
                };
            }
            Global::RebuildFromType => match (ids.first(), ids.get(2)) {
                (Some(&inner), Some(&inner_arguments))
                    if matches!(self.nodes[inner], Node::Global(Global::RebuildTensor | Global::RebuildParameter)) =>
                {
                    return self.build(inner, inner_arguments);
                }
                _ => return Err(self.damaged("a typed tensor without a rebuilder")),
            },
            Global::Size => {
                return ids.first().copied().ok_or_else(|| self.damaged("a size without numbers"));
            }
            Global::Storage(_) => return Err(self.damaged("a storage outside the file's own members")),
            Global::Inert(_) => Node::Opaque(global),
        };
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn check_copies(&self) -> Outcome<()> {
        // Every argument of an honest call took at least a byte of its own to push.
        if self.copied > 2 * self.bytes.len() {
            return Err(self.damaged("it repeats itself without end"));
        }
        Ok(())
    }
}
