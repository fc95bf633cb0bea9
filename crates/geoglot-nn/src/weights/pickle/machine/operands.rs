//! Operands: bytes, lengths, lines and numbers that follow an opcode.

use super::super::{Node, PickleError};
use super::{Machine, Outcome};

impl<'a> Machine<'a> {
    /// A little-endian two's complement integer of `n` bytes; those beyond 64 bits are kept as raw bytes.
    pub(super) fn long(&mut self, n: usize) -> Outcome<()> {
        let bytes = self.take(n)?;
        let node = if n <= 8 {
            let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
            let mut wide = [fill; 8];
            wide[..n].copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(wide))
        } else {
            Node::Bytes(bytes.to_vec())
        };
        self.push(node);
        Ok(())
    }

    pub(super) fn text_integer(&mut self) -> Outcome<()> {
        let text = self.line()?;
        let node = match text.as_str() {
            "00" => Node::Bool(false),
            "01" => Node::Bool(true),
            text => match text.trim_end_matches('L').parse() {
                Ok(v) => Node::Int(v),
                Err(_) => return Err(self.damaged(format!("`{text}` is not an integer"))),
            },
        };
        self.push(node);
        Ok(())
    }

    pub(super) fn line_slot(&mut self) -> Outcome<u64> {
        let text = self.line()?;
        text.parse().map_err(|_| self.damaged(format!("`{text}` is not a slot")))
    }

    pub(super) fn byte(&mut self) -> Outcome<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    pub(super) fn len32(&mut self) -> Outcome<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    pub(super) fn len64(&mut self) -> Outcome<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| PickleError::Truncated { at: self.bytes.len() })
    }

    pub(super) fn take(&mut self, n: usize) -> Outcome<&'a [u8]> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..n));
        let taken = taken.ok_or(PickleError::Truncated { at: self.bytes.len() })?;
        self.at += n;
        Ok(taken)
    }

    pub(super) fn line(&mut self) -> Outcome<String> {
        let rest = &self.bytes[self.at..];
        let Some(n) = rest.iter().position(|&b| b == b'\n') else {
            return Err(PickleError::Truncated { at: self.bytes.len() });
        };
        self.at += n + 1;
        Ok(String::from_utf8_lossy(&rest[..n]).trim_end_matches('\r').to_owned())
    }
}
