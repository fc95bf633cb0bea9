//! Reuse of large work buffers between calls.
//!
//! A step of training needs the same few megabytes again and again; fetching them from the system every time costs
//! page faults that show in the profile.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

static FREE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// Buffers kept at most; beyond it the smallest are given back to the allocator.
const KEPT: usize = 32;

/// A buffer of `len` floats with arbitrary contents, returned to the pool when dropped.
#[derive(Debug)]
pub struct Buffer(Vec<f32>, usize);

impl Buffer {
    /// Takes a buffer of `len` floats from the pool. Its contents are whatever the last user left.
    pub fn take(len: usize) -> Self {
        let mut free = lock();
        // The tightest fit, else the largest one, which is grown.
        let index = (0..free.len()).filter(|&i| free[i].len() >= len).min_by_key(|&i| free[i].len());
        let mut data = match index {
            Some(i) => free.swap_remove(i),
            None => Vec::new(),
        };
        drop(free);
        if data.len() < len {
            data = vec![0.0; len];
        }
        Self(data, len)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = lock();
        free.push(std::mem::take(&mut self.0));
        if free.len() > KEPT
            && let Some(i) = (0..free.len()).min_by_key(|&i| free[i].len())
        {
            free.swap_remove(i);
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0[..self.1]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0[..self.1]
    }
}

fn lock() -> std::sync::MutexGuard<'static, Vec<Vec<f32>>> {
    // A panic while holding the lock cannot leave the list inconsistent.
    FREE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_have_the_length_asked_for() {
        drop(Buffer::take(100));
        assert_eq!(Buffer::take(10).len(), 10);
        assert_eq!(Buffer::take(1000).len(), 1000);
        assert!(Buffer::take(0).is_empty());
    }
}
