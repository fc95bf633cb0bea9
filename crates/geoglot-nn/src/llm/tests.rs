//! The two forms of a decoder agree, in every format and from the cache.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt, SeedableRng};

use super::*;

fn floats<R: Rng>(rng: &mut R, n: usize, size: f32) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-size..size)).collect()
}

fn random(config: &DecoderConfig, seed: u64) -> Decoder {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let layer = |rng: &mut rand_chacha::ChaCha8Rng| Layer {
        attention_norm: floats(rng, config.width, 1.0),
        mlp_norm: floats(rng, config.width, 1.0),
        projections: TARGETS.map(|t| {
            let [rows, columns] = config.shape(t);
            let bias = config.qkv_bias && matches!(t, Target::Query | Target::Key | Target::Value);
            Projection {
                weight: WeightMatrix::floats(floats(rng, rows * columns, 0.2), rows, columns),
                bias: bias.then(|| floats(rng, rows, 0.3)),
                low_rank: None,
            }
        }),
    };
    let embedding = floats(&mut rng, config.vocabulary * config.width, 1.0);
    let layers = (0..config.depth).map(|_| layer(&mut rng)).collect();
    Decoder {
        config: config.clone(),
        embedding: WeightMatrix::floats(embedding, config.vocabulary, config.width),
        layers,
        norm: floats(&mut rng, config.width, 1.0),
        head: None,
    }
}

fn config() -> DecoderConfig {
    DecoderConfig {
        vocabulary: 50,
        width: 64,
        hidden: 96,
        depth: 2,
        heads: 4,
        kv_heads: 2,
        head: 16,
        epsilon: 1e-5,
        rope: Rope::plain(10_000.0),
        qkv_bias: true,
        tied: true,
        context: 128,
    }
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |w, (a, b)| w.max((a - b).abs()))
}

fn ids() -> Vec<u32> {
    (0..70).map(|i| (i * 17 + 3) % 50).collect()
}

#[test]
fn a_cache_gives_what_the_whole_sequence_gives() {
    let decoder = random(&config(), 1);
    assert_eq!(decoder.problem(), None);
    let all = decoder.embed(&ids());
    let whole = decoder.forward(&all, &mut Cache::new(&decoder.config, 70));
    let mut cache = Cache::new(&decoder.config, 80);
    let d = decoder.config.width;
    let mut parts = decoder.forward(&all[..66 * d], &mut cache);
    for token in all[66 * d..].chunks_exact(d) {
        parts.extend(decoder.forward(token, &mut cache));
    }
    assert_eq!(cache.len(), 70);
    assert!(worst(&whole, &parts) < 2e-4, "{}", worst(&whole, &parts));
    let (one, many) = (decoder.logits(&whole[..d]), decoder.logits(&whole[..2 * d]));
    assert!(worst(&one, &many[..50]) < 1e-4);
}

#[test]
fn the_training_form_agrees() {
    let decoder = random(&config(), 2);
    let mut adapted = decoder.clone();
    let device = Device::flex().autodiff();
    let lora = LoraConfig { rank: 3, alpha: 6.0, dropout: 0.0, targets: vec![Target::Query, Target::Down] };
    let mut adapters = lora.init(&decoder.config, 5, &device);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    for (i, block) in adapters.blocks.iter_mut().enumerate() {
        for target in TARGETS {
            let Some(lora) = &mut block.projections[target as usize] else { continue };
            let mut low = lora.to_low_rank();
            low.b = floats(&mut rng, low.b.len(), 0.3);
            *lora = Lora::from_low_rank(&low, 0.0, &device);
            adapted.layers[i].projections[target as usize].low_rank = Some(low);
        }
    }
    let input = decoder.embed(&ids());
    for (plain, adapters) in [(&decoder, None), (&adapted, Some(&adapters))] {
        let states = plain.forward(&input, &mut Cache::new(&decoder.config, 70));
        let expected = plain.logits(&states);
        for device in [Device::flex(), device.clone()] {
            let frozen = FrozenDecoder::new(plain, &device);
            let x = Tensor::<3>::from_data(TensorData::new(input.clone(), [1, 70, 64]), &device);
            if adapters.is_some() && !device.is_autodiff() {
                continue;
            }
            let found = frozen.logits(frozen.forward(x, adapters).reshape([70, 64]));
            let found: Vec<f32> = found.into_data().iter::<f32>().collect();
            assert!(worst(&found, &expected) < 3e-3, "{}", worst(&found, &expected));
        }
    }
    // Kept apart or multiplied in, an adapter does the same.
    let mut merged = adapted.clone();
    for projection in merged.layers.iter_mut().flat_map(|l| &mut l.projections) {
        if let Some(low) = projection.low_rank.take() {
            projection.weight = projection.weight.with_low_rank(&low.a, &low.b, low.scale);
        }
    }
    let run = |d: &Decoder| d.forward(&input, &mut Cache::new(&d.config, 70));
    assert!(worst(&run(&adapted), &run(&merged)) < 1e-3);
    assert!(worst(&run(&adapted), &run(&decoder)) > 0.1);
}

#[test]
fn every_format_decodes_as_its_numbers_say() {
    let decoder = random(&config(), 3);
    for format in [Format::F16, Format::Bf16, Format::Q8_0, Format::Q5_0, Format::Q5_1, Format::Q4_0, Format::Q4_1] {
        let stored = decoder.to_format(format).unwrap();
        let exact = stored.to_format(Format::F32).unwrap();
        let (a, b) = (stored.embed(&ids()), exact.embed(&ids()));
        assert_eq!(a, b);
        let d = decoder.config.width;
        for n in [1, 5] {
            let run = |decoder: &Decoder| {
                let states = decoder.forward(&a[..n * d], &mut Cache::new(&decoder.config, n));
                decoder.logits(&states[(n - 1) * d..])
            };
            let (found, expected) = (run(&stored), run(&exact));
            assert!(worst(&found, &expected) < 2e-3, "{format:?} {n}: {}", worst(&found, &expected));
        }
    }
}

#[test]
fn gradients_of_causal_attention_are_those_of_the_composition() {
    let device = Device::flex().autodiff();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    // More than one group of queries.
    let shape = [2, 150, 8];
    let values: Vec<Vec<f32>> = (0..3).map(|_| floats(&mut rng, 2 * 150 * 8, 2.0)).collect();
    let run = |fused: bool| {
        let [q, k, v] = [0, 1, 2]
            .map(|i| Tensor::<3>::from_data(TensorData::new(values[i].clone(), shape), &device).require_grad());
        let out = match fused {
            true => crate::ops::causal_attention(&q, &k, &v, 2).unwrap(),
            false => {
                let bias = crate::attention::causal_bias(150, &device);
                crate::layers::attention(q.clone(), k.clone(), v.clone(), 2, Some(bias))
            }
        };
        let grads = (out.clone() * out.clone().sin()).sum().backward();
        let mut all: Vec<f32> = out.into_data().iter::<f32>().collect();
        for t in [q, k, v] {
            all.extend(t.grad(&grads).unwrap().into_data().iter::<f32>());
        }
        all
    };
    assert!(worst(&run(true), &run(false)) < 2e-4, "{}", worst(&run(true), &run(false)));
}
