//! Reading the committed numbers of PyTorch.
#![allow(dead_code)]

use std::collections::HashMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;

/// Tensors of a fixture by name: shape and values.
pub struct Fixture(HashMap<String, (Vec<usize>, Vec<f64>)>);

impl Fixture {
    pub fn open(name: &str) -> Self {
        let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let read = |view: &safetensors::tensor::TensorView| -> Vec<f64> {
            match view.dtype() {
                safetensors::Dtype::F32 => {
                    view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
                }
                safetensors::Dtype::I64 => {
                    view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect()
                }
                other => panic!("unexpected type {other:?}"),
            }
        };
        Self(file.tensors().iter().map(|(name, view)| (name.clone(), (view.shape().to_vec(), read(view)))).collect())
    }

    pub fn values(&self, name: &str) -> Vec<f32> {
        let (_, values) = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        values.iter().map(|&v| v as f32).collect()
    }

    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let shape: [usize; D] = self.0[name].0.clone().try_into().unwrap();
        Tensor::from_data(TensorData::new(self.values(name), shape), device)
    }

    pub fn ints(&self, name: &str, device: &Device) -> Tensor<1, Int> {
        let values: Vec<i32> = self.labels(name).iter().map(|&v| v as i32).collect();
        Tensor::from_data(TensorData::new(values, [self.0[name].0[0]]), device)
    }

    pub fn labels(&self, name: &str) -> Vec<usize> {
        self.0[name].1.iter().map(|&v| v as usize).collect()
    }
}

pub fn vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// Largest difference relative to the largest expected magnitude.
pub fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let scale = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}[{i}]: found {a}, expected {b} (scale {scale})");
    }
}

/// Numbers of a normal distribution, the same in every run: burn's own generator is shared by all tests of a process.
pub fn normal<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
    let mut uniform = || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    };
    // The sum of twelve uniform numbers is close enough to normal.
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}
