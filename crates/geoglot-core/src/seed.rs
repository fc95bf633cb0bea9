//! One root seed, any number of named independent streams.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A root seed from which named random streams are drawn.
///
/// The stream of a name depends on the root seed and the name only, never on what was drawn before, so adding a random step to a program leaves
/// the others as they were. ChaCha8 gives the same numbers on every platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeds(u64);

impl Seeds {
    /// Seeds under `root`.
    pub fn new(root: u64) -> Self {
        Self(root)
    }

    /// The root seed.
    pub fn root(self) -> u64 {
        self.0
    }

    /// The generator of the stream `name`.
    pub fn stream(self, name: &str) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.digest(name))
    }

    /// A seed for a library that takes a `u64`, from the stream `name`.
    pub fn value(self, name: &str) -> u64 {
        u64::from_le_bytes(self.digest(name)[..8].try_into().expect("eight bytes"))
    }

    fn digest(self, name: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.0.to_le_bytes()).chain_update(name.as_bytes()).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_depend_on_root_and_name_only() {
        let draw = |seeds: Seeds, name: &str| seeds.stream(name).random::<u64>();
        assert_eq!(draw(Seeds::new(1), "split"), draw(Seeds::new(1), "split"));
        assert_ne!(draw(Seeds::new(1), "split"), draw(Seeds::new(2), "split"));
        assert_ne!(draw(Seeds::new(1), "split"), draw(Seeds::new(1), "init"));
        assert_ne!(Seeds::new(1).value("split"), Seeds::new(1).value("init"));
    }
}
