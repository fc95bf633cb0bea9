//! A decoder for generation on the CPU: weights in any [`super::Format`], keys and values of earlier tokens kept.

use rayon::prelude::*;

use super::attend::{Kept, attend};
use super::product;
use super::{DecoderConfig, LowRank, TARGETS, Target, WeightMatrix};
use crate::ops::math;
use crate::ops::simd::kernel;

/// A linear layer.
#[derive(Debug, Clone)]
pub struct Projection {
    /// Weights [outputs, inputs].
    pub weight: WeightMatrix,
    /// Bias, one a row.
    pub bias: Option<Vec<f32>>,
    /// An adapter kept apart from the weights.
    pub low_rank: Option<LowRank>,
}

impl Projection {
    /// A layer without bias.
    pub fn plain(weight: WeightMatrix) -> Self {
        Self { weight, bias: None, low_rank: None }
    }

    /// What is added to W·x for m rows.
    fn add_rest(&self, x: &[f32], m: usize, out: &mut [f32]) {
        if let Some(bias) = &self.bias {
            out.chunks_exact_mut(bias.len()).for_each(|row| row.iter_mut().zip(bias).for_each(|(o, b)| *o += b));
        }
        if let Some(LowRank { a, b, rank, scale }) = &self.low_rank {
            product::low_rank(x, m, a, b, *rank, *scale, out);
        }
    }
}

/// One block.
#[derive(Debug, Clone)]
pub struct Layer {
    /// γ of the norm before attention.
    pub attention_norm: Vec<f32>,
    /// γ of the norm before the feed-forward part.
    pub mlp_norm: Vec<f32>,
    /// The projections in the order of [`TARGETS`].
    pub projections: [Projection; 7],
}

impl Layer {
    fn get(&self, target: Target) -> &Projection {
        &self.projections[target as usize]
    }
}

/// A decoder's weights.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// What it is.
    pub config: DecoderConfig,
    /// Token embedding [V, D].
    pub embedding: WeightMatrix,
    /// Blocks.
    pub layers: Vec<Layer>,
    /// γ of the last norm.
    pub norm: Vec<f32>,
    /// Output matrix [V, D]; `None` when the embedding is.
    pub head: Option<WeightMatrix>,
}

/// Keys and values of the tokens so far.
#[derive(Debug, Clone)]
pub struct Cache {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    capacity: usize,
    len: usize,
}

impl Cache {
    /// Room for `capacity` tokens.
    pub fn new(config: &DecoderConfig, capacity: usize) -> Self {
        let room = || vec![vec![0.0; capacity * config.keys()]; config.depth];
        Self { keys: room(), values: room(), capacity, len: 0 }
    }

    /// Tokens it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Decoder {
    /// Whether the shapes of all parts are those of the configuration; the first that is not.
    pub fn problem(&self) -> Option<String> {
        let c = &self.config;
        let shape = |name: String, m: &WeightMatrix, rows: usize, columns: usize| {
            (m.rows() != rows || m.columns() != columns)
                .then(|| format!("{name} is {} × {}, expected {rows} × {columns}", m.rows(), m.columns()))
        };
        let length = |name: String, v: &[f32], n: usize| {
            (v.len() != n).then(|| format!("{name} has {} numbers, expected {n}", v.len()))
        };
        if self.layers.len() != c.depth {
            return Some(format!("{} blocks, expected {}", self.layers.len(), c.depth));
        }
        shape("the token embedding".into(), &self.embedding, c.vocabulary, c.width)
            .or_else(|| self.head.as_ref().and_then(|h| shape("the output matrix".into(), h, c.vocabulary, c.width)))
            .or_else(|| length("the last norm".into(), &self.norm, c.width))
            .or_else(|| {
                self.layers.iter().enumerate().find_map(|(i, layer)| {
                    length(format!("norm before attention of block {i}"), &layer.attention_norm, c.width)
                        .or_else(|| length(format!("norm before the mlp of block {i}"), &layer.mlp_norm, c.width))
                        .or_else(|| {
                            TARGETS.into_iter().zip(&layer.projections).find_map(|(target, p)| {
                                let [rows, columns] = c.shape(target);
                                let name = format!("{} of block {i}", target.name());
                                let bias = p.bias.as_ref().and_then(|b| length(format!("bias of {name}"), b, rows));
                                shape(name, &p.weight, rows, columns).or(bias)
                            })
                        })
                })
            })
    }

    /// Bytes of all weights in memory.
    pub fn size(&self) -> usize {
        let layers = self.layers.iter().flat_map(|l| &l.projections).map(|p| p.weight.size()).sum::<usize>();
        layers + self.embedding.size() + self.head.as_ref().map_or(0, WeightMatrix::size)
    }

    /// All matrices in another form; adapters and norms stay f32.
    ///
    /// # Errors
    /// Rows that are not whole blocks of the form.
    pub fn to_format(&self, format: super::Format) -> Result<Self, String> {
        let mut decoder = self.clone();
        for layer in &mut decoder.layers {
            for p in &mut layer.projections {
                p.weight = p.weight.to_format(format)?;
            }
        }
        decoder.embedding = decoder.embedding.to_format(format)?;
        decoder.head = decoder.head.map(|h| h.to_format(format)).transpose()?;
        Ok(decoder)
    }

    /// Embeddings [n, D] of tokens.
    ///
    /// # Panics
    /// For ids outside the vocabulary.
    pub fn embed(&self, ids: &[u32]) -> Vec<f32> {
        let d = self.config.width;
        let mut out = vec![0.0; ids.len() * d];
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(d)) {
            self.embedding.rows_into(*id as usize, 1, out);
        }
        out
    }

    /// Runs `input` [n, D] behind the tokens in `cache`, which then holds them too; states [n, D] after the last norm.
    ///
    /// # Panics
    /// When the cache has no room for n more tokens: the caller knows the limit and says so.
    pub fn forward(&self, input: &[f32], cache: &mut Cache) -> Vec<f32> {
        // Entering the pool of threads once a token, not once a product: from outside each would wait for a thread to wake up.
        rayon::scope(|_| self.run(input, cache))
    }

    fn run(&self, input: &[f32], cache: &mut Cache) -> Vec<f32> {
        let c = &self.config;
        let (d, n) = (c.width, input.len() / c.width);
        assert!(cache.len + n <= cache.capacity, "{} tokens and {n} more in a cache of {}", cache.len, cache.capacity);
        let (cos, sin) = c.rope.table(c.head, cache.len, n);
        let mut x = input.to_vec();
        let mut normed = vec![0.0; n * d];
        let (mut q, mut mixed) = (vec![0.0; n * c.queries()], vec![0.0; n * c.queries()]);
        let (mut k, mut v) = (vec![0.0; n * c.keys()], vec![0.0; n * c.keys()]);
        let (mut gate, mut up) = (vec![0.0; n * c.hidden], vec![0.0; n * c.hidden]);
        for (i, layer) in self.layers.iter().enumerate() {
            rms_rows(&x, &layer.attention_norm, c.epsilon as f32, &mut normed);
            let projections = [Target::Query, Target::Key, Target::Value].map(|t| layer.get(t));
            project(&normed, n, projections, [&mut q, &mut k, &mut v]);
            rotate_rows(&mut q, c.head, &cos, &sin);
            rotate_rows(&mut k, c.head, &cos, &sin);
            cache.keep(i, c, &k, &v, n);
            let kept =
                Kept { keys: &cache.keys[i], values: &cache.values[i], capacity: cache.capacity, past: cache.len };
            attend(c, &q, n, kept, &mut mixed);
            project(&mixed, n, [layer.get(Target::Output)], [&mut normed]);
            add(&mut x, &normed);
            rms_rows(&x, &layer.mlp_norm, c.epsilon as f32, &mut normed);
            project(&normed, n, [Target::Gate, Target::Up].map(|t| layer.get(t)), [&mut gate, &mut up]);
            gate.par_chunks_mut(CHUNK).zip(up.par_chunks(CHUNK)).for_each(|(gate, up)| gate_rows(gate, up));
            project(&gate, n, [layer.get(Target::Down)], [&mut normed]);
            add(&mut x, &normed);
        }
        cache.len += n;
        rms_rows(&x, &self.norm, c.epsilon as f32, &mut normed);
        normed
    }

    /// Scores [m, V] of the next token after each of m states [m, D].
    pub fn logits(&self, states: &[f32]) -> Vec<f32> {
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        let m = states.len() / self.config.width;
        let mut out = vec![0.0; m * self.config.vocabulary];
        match m {
            1 => product::vector(states, vec![(head, &mut out)]),
            _ => product::rows(states, m, head, &mut out, false),
        }
        out
    }
}

/// Numbers of a task of element-wise work.
const CHUNK: usize = 1 << 14;

/// The outputs of several layers for one input [n, K].
fn project<const P: usize>(x: &[f32], n: usize, layers: [&Projection; P], mut outs: [&mut Vec<f32>; P]) {
    if n == 1 {
        let products = layers.iter().zip(&mut outs).map(|(l, out)| (&l.weight, out.as_mut_slice())).collect();
        product::vector(x, products);
    } else {
        layers.iter().zip(&mut outs).for_each(|(l, out)| product::rows(x, n, &l.weight, out, false));
    }
    layers.iter().zip(outs).for_each(|(l, out)| l.add_rest(x, n, out));
}

impl Cache {
    /// Adds keys and values [n, kv_heads·head] of a block behind those it has.
    fn keep(&mut self, block: usize, config: &DecoderConfig, k: &[f32], v: &[f32], n: usize) {
        let head = config.head;
        for (to, from) in [(&mut self.keys[block], k), (&mut self.values[block], v)] {
            for t in 0..n {
                for h in 0..config.kv_heads {
                    let at = (h * self.capacity + self.len + t) * head;
                    let row = &from[(t * config.kv_heads + h) * head..][..head];
                    to[at..at + head].copy_from_slice(row);
                }
            }
        }
    }
}

impl DecoderConfig {
    /// Outputs and inputs of a projection.
    pub fn shape(&self, target: Target) -> [usize; 2] {
        match target {
            Target::Query => [self.queries(), self.width],
            Target::Key | Target::Value => [self.keys(), self.width],
            Target::Output => [self.width, self.queries()],
            Target::Gate | Target::Up => [self.hidden, self.width],
            Target::Down => [self.width, self.hidden],
        }
    }
}

fn add(x: &mut [f32], other: &[f32]) {
    x.iter_mut().zip(other).for_each(|(x, o)| *x += o);
}

kernel! {
    /// x/√(mean x² + ε)·γ of every row.
    fn rms_rows<'a>(simd: S, x: &'a [f32], gamma: &'a [f32], epsilon: f32, out: &'a mut [f32]) {
        let _ = simd;
        let n = gamma.len();
        for (row, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            let scale = 1.0 / (math::dot(row, row) / n as f32 + epsilon).sqrt();
            for ((o, x), g) in out.iter_mut().zip(row).zip(gamma) {
                *o = x * scale * g;
            }
        }
    }
}

kernel! {
    /// Turns the pairs of every head; `cos` and `sin` are [tokens, head/2].
    fn rotate_rows<'a>(simd: S, x: &'a mut [f32], head: usize, cos: &'a [f32], sin: &'a [f32]) {
        let _ = simd;
        let half = head / 2;
        let tokens = cos.len() / half;
        let width = x.len() / tokens;
        for (row, (cos, sin)) in x.chunks_exact_mut(width).zip(cos.chunks_exact(half).zip(sin.chunks_exact(half))) {
            for head in row.chunks_exact_mut(head) {
                let (a, b) = head.split_at_mut(half);
                for (((a, b), c), s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                    (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                }
            }
        }
    }
}

kernel! {
    /// gate ← gate·σ(gate)·up.
    fn gate_rows<'a>(simd: S, gate: &'a mut [f32], up: &'a [f32]) {
        let _ = simd;
        gate.iter_mut().zip(up).for_each(|(g, u)| *g = *g / (1.0 + math::exp(-*g)) * u);
    }
}
