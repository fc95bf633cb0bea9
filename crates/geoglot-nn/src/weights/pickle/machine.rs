//! The stack machine: opcodes of protocols 0–5 that build plain values.

mod calls;
mod operands;

use std::collections::HashMap;

use super::{Global, Node, NodeId, Pickle, PickleError, StorageRef};

/// Runs the program; see [`super::parse`] and, with `records`, [`super::parse_records`].
pub(super) fn run(bytes: &[u8], records: bool) -> Result<Pickle, PickleError> {
    Machine {
        bytes,
        records,
        at: 0,
        op_at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    }
    .run()
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// Whether unknown names are kept as names instead of refused.
    records: bool,
    at: usize,
    /// Position of the current instruction, for messages.
    op_at: usize,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    /// Stack heights at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u64, NodeId>,
    /// Elements copied by calls so far: calls on shared values could otherwise multiply memory.
    copied: usize,
}

type Outcome<T> = Result<T, PickleError>;

impl Machine<'_> {
    fn run(mut self) -> Outcome<Pickle> {
        loop {
            self.op_at = self.at;
            let op = self.byte()?;
            if op == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { nodes: self.nodes, root });
            }
            self.step(op)?;
        }
    }

    fn step(&mut self, op: u8) -> Outcome<()> {
        match op {
            0x80 => {
                let protocol = self.byte()?;
                if protocol > 5 {
                    return Err(self.damaged(format!("protocol {protocol} is unknown")));
                }
            }
            0x95 => drop(self.take(8)?), // FRAME: only a hint for buffering
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'K' => {
                let v = self.byte()?;
                self.push(Node::Int(v.into()));
            }
            b'M' => {
                let v = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(v.into()));
            }
            b'J' => {
                let v = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(v.into()));
            }
            b'I' | b'L' => self.text_integer()?,
            0x8a | 0x8b => {
                let n = if op == 0x8a { self.byte()? as usize } else { self.len32()? };
                self.long(n)?;
            }
            b'G' => {
                let v = f64::from_be_bytes(self.array()?);
                self.push(Node::Float(v));
            }
            b'F' => {
                let text = self.line()?;
                let v = text.parse().map_err(|_| self.damaged(format!("`{text}` is not a number")))?;
                self.push(Node::Float(v));
            }
            b'X' | 0x8c | 0x8d | b'T' | b'U' => {
                let n = match op {
                    0x8c | b'U' => self.byte()? as usize,
                    0x8d => self.len64()?,
                    _ => self.len32()?,
                };
                let text = String::from_utf8_lossy(self.take(n)?).into_owned();
                self.push(Node::Str(text));
            }
            b'V' | b'S' => {
                let text = self.line()?;
                let text = text.trim_matches(|c| op == b'S' && (c == '\'' || c == '"')).to_owned();
                self.push(Node::Str(text));
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let n = match op {
                    b'C' => self.byte()? as usize,
                    b'B' => self.len32()?,
                    _ => self.len64()?,
                };
                let bytes = self.take(n)?.to_vec();
                self.push(Node::Bytes(bytes));
            }
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => {
                let n = (op - 0x84) as usize;
                if self.stack.len() < self.floor() + n {
                    return Err(self.damaged("the stack is empty"));
                }
                let items = self.stack.split_off(self.stack.len() - n);
                self.push(Node::Tuple(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Node::Tuple(items));
            }
            b']' | 0x8f => self.push(Node::List(Vec::new())),
            b'l' | 0x91 => {
                let items = self.since_mark()?;
                self.push(Node::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.extend_list(items)?;
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let items = self.since_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Node::Dict(pairs));
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend_dict(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.extend_dict(&items)?;
            }
            b'p' => {
                let slot = self.line_slot()?;
                self.memoize(slot)?;
            }
            b'q' => {
                let slot = self.byte()?.into();
                self.memoize(slot)?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.array()?).into();
                self.memoize(slot)?;
            }
            0x94 => self.memoize(self.memo.len() as u64)?,
            b'g' => {
                let slot = self.line_slot()?;
                self.recall(slot)?;
            }
            b'h' => {
                let slot = self.byte()?.into();
                self.recall(slot)?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.array()?).into();
                self.recall(slot)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.global(&module, &name)?;
            }
            // Both name a class to instantiate; INST spells it out, so that the message can too.
            b'i' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                return Err(PickleError::ForbiddenGlobal { name });
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                let value = self.build(function, arguments)?;
                self.stack.push(value);
            }
            0x92 => {
                let _ = self.pop()?; // keyword arguments: no allowed name takes any
                let arguments = self.pop()?;
                let class = self.pop()?;
                let value = self.build(class, arguments)?;
                self.stack.push(value);
            }
            b'b' => {
                // State of an object: attributes such as `_metadata` carry nothing of the weights.
                let given = self.pop()?;
                let object = self.top()?;
                match &mut self.nodes[object] {
                    Node::Record { state, .. } => *state = Some(given),
                    Node::Dict(_) | Node::Opaque(_) | Node::Tensor(_) => {}
                    _ => return Err(self.damaged("state for a value that has none")),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = StorageRef::from_persistent_id(&self.nodes, id).map_err(|p| self.damaged(p))?;
                self.push(Node::Storage(storage));
            }
            opcode => return Err(PickleError::ForbiddenOpcode { opcode, at: self.op_at }),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Outcome<()> {
        let full = format!("{module}.{name}");
        let known = Global::find(&full).filter(|g| !self.records || *g == Global::OrderedDict);
        match known {
            Some(global) => self.push(Node::Global(global)),
            None if self.records => self.push(Node::Name(full)),
            None => return Err(PickleError::ForbiddenGlobal { name: full }),
        }
        Ok(())
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    /// Height below which the innermost mark forbids popping.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Outcome<NodeId> {
        if self.stack.len() <= self.floor() {
            return Err(self.damaged("the stack is empty"));
        }
        Ok(self.stack[self.stack.len() - 1])
    }

    fn pop(&mut self) -> Outcome<NodeId> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_text(&mut self) -> Outcome<String> {
        let id = self.pop()?;
        match &self.nodes[id] {
            Node::Str(text) => Ok(text.clone()),
            _ => Err(self.damaged("a name that is not text")),
        }
    }

    fn since_mark(&mut self) -> Outcome<Vec<NodeId>> {
        let height = self.marks.pop().ok_or_else(|| self.damaged("no open mark"))?;
        Ok(self.stack.split_off(height))
    }

    fn pairs(&self, items: &[NodeId]) -> Outcome<Vec<(NodeId, NodeId)>> {
        if !items.len().is_multiple_of(2) {
            return Err(self.damaged("a key without a value"));
        }
        Ok(items.chunks_exact(2).map(|p| (p[0], p[1])).collect())
    }

    fn extend_list(&mut self, items: Vec<NodeId>) -> Outcome<()> {
        let list = self.top()?;
        match &mut self.nodes[list] {
            Node::List(list) => list.extend(items),
            Node::Opaque(_) | Node::Record { .. } => {}
            _ => return Err(self.damaged("items for something that is not a list")),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[NodeId]) -> Outcome<()> {
        let pairs = self.pairs(items)?;
        let dict = self.top()?;
        match &mut self.nodes[dict] {
            Node::Dict(dict) => dict.extend(pairs),
            Node::Opaque(_) | Node::Record { .. } => {}
            _ => return Err(self.damaged("items for something that is not a dict")),
        }
        Ok(())
    }

    fn memoize(&mut self, slot: u64) -> Outcome<()> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u64) -> Outcome<()> {
        let id = *self.memo.get(&slot).ok_or_else(|| self.damaged(format!("nothing was kept under {slot}")))?;
        self.stack.push(id);
        Ok(())
    }

    fn damaged(&self, problem: impl Into<String>) -> PickleError {
        PickleError::Damaged { at: self.op_at, problem: problem.into() }
    }
}
