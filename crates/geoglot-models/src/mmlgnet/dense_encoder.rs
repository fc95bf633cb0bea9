//! Exact dense evaluation of one encoder on a tile: every pixel's 11×11 patch at once.
//!
//! Write t for the scene row of a patch's top edge; columns behave alike, so variants multiply.
//! * **conv 1**: the zero padding removes the first kernel row from patch row 0 and nothing from rows 1–9 (row 10 is dropped by the pool). A scene
//!   position has 4 values: interior, top, left, top-left. With the kernel split into a = {k₀₀}, b = {k₀₁, k₀₂}, c = {k₁₀, k₂₀}, d = the rest, they
//!   are a+b+c+d, c+d, b+d, d: nine taps in all, as for one value.
//! * **pool 1**: window p starts at scene row t+2p; only p = 0 holds the top row. Again 4 values a position, and from here on only positions of equal
//!   parity meet: the tile falls into four *phases*, each an ordinary image at half the size.
//! * **conv 2** (in phase coordinates): rows *first* = k₁·top(y) + k₂·int(y+1), *second* = k₀·top(y−1) + k₁·int(y) + k₂·int(y+1), *interior* with
//!   int throughout. Five row terms (k₀int, k₁int, k₂int, k₀top, k₁top) times five column terms = 25 products serve all nine variants.
//! * **pool 2** makes a 2×2 map: row 0 = max(first(y), second(y+1)), row 1 = max(interior(y+2), interior(y+3)).
//! * **conv 3** on that map is a 2×2 Toeplitz form per axis: (k₁q₀ + k₂q₁, k₀q₀ + k₁q₁) = k₁(q₀+q₁) + ((k₂−k₁)q₁, (k₀−k₁)q₀), three products
//!   instead of four, nine instead of sixteen in two dimensions.

use super::dense_kernels::{LANES, add_line, column_pool, combine_3, pool_1, pool_3, store_map, variants};
use super::lowered::LoweredEncoder;
use super::product::matmul;

/// Pixels of conv 3 evaluated at a time.
const CHUNK: usize = 256;
/// Margin of a patch around its centre.
pub(super) const MARGIN: usize = 5;

/// An encoder prepared for dense evaluation.
#[derive(Debug, Clone)]
pub(super) struct DenseEncoder {
    channels: usize,
    widths: [usize; 3],
    /// Conv 1 by kernel group: a, b, c (two kernel rows), d (two kernel rows), each [taps·C, C1].
    first: [Vec<f32>; 6],
    first_bias: Vec<f32>,
    /// Conv 2: per block of [`LANES`] channels and per variant (interior, left, top, top-left) the products' kernels side by side, [C1, terms·LANES].
    second: Vec<[Vec<f32>; 4]>,
    /// Padded to whole blocks.
    second_bias: Vec<f32>,
    /// Conv 3: nine kernels [padded C2, C3], index 3·row + column over (q₀, q₀+q₁, q₁).
    third: [Vec<f32>; 9],
    third_bias: Vec<f32>,
}

/// Row (or column) terms of conv 2 that read the interior variant.
const INTERIOR_TERMS: usize = 3;
/// Terms that read the border variant.
const BORDER_TERMS: usize = 2;

/// Number of products that read variant `v` (bit 1: top, bit 0: left).
fn terms(v: usize) -> usize {
    let axis = |border: bool| if border { BORDER_TERMS } else { INTERIOR_TERMS };
    axis(v & 2 != 0) * axis(v & 1 != 0)
}

/// Buffers of one thread, reused from tile to tile.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    input: Vec<f32>,
    groups: [Vec<f32>; 4],
    pooled: [Vec<f32>; 4],
    products: [Vec<f32>; 4],
    lines: [Vec<f32>; 5],
    interior: [Vec<f32>; 4],
    maps: [Vec<f32>; 4],
    combos: [Vec<f32>; 9],
    outputs: [Vec<f32>; 9],
}

fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

impl DenseEncoder {
    /// Arranges the weights; `None` unless the encoder has three 3×3 blocks (the only depth that takes 11 pixels to one).
    pub(super) fn new(encoder: &LoweredEncoder) -> Option<Self> {
        let [one, two, three] = encoder.blocks.as_slice() else { return None };
        let (c, c1, c2, c3) = (encoder.channels, one.bias.len(), two.bias.len(), three.bias.len());
        let padded = c2.next_multiple_of(LANES);
        let taps = |taps: &[(usize, usize)]| {
            let mut matrix = Vec::with_capacity(taps.len() * c * c1);
            for &(row, col) in taps {
                for i in 0..c {
                    matrix.extend((0..c1).map(|o| one.kernel[[o, i, row, col]]));
                }
            }
            matrix
        };
        let first = [
            taps(&[(0, 0)]),
            taps(&[(0, 1), (0, 2)]),
            taps(&[(1, 0)]),
            taps(&[(2, 0)]),
            taps(&[(1, 1), (1, 2)]),
            taps(&[(2, 1), (2, 2)]),
        ];
        let second = (0..padded / LANES)
            .map(|block| {
                [0, 1, 2, 3].map(|v| {
                    let rows = if v & 2 != 0 { BORDER_TERMS } else { INTERIOR_TERMS };
                    let cols = if v & 1 != 0 { BORDER_TERMS } else { INTERIOR_TERMS };
                    let mut matrix = Vec::with_capacity(c1 * terms(v) * LANES);
                    for i in 0..c1 {
                        for (row, col) in (0..rows).flat_map(|r| (0..cols).map(move |c| (r, c))) {
                            let channels = block * LANES..(block + 1) * LANES;
                            matrix.extend(channels.map(|o| if o < c2 { two.kernel[[o, i, row, col]] } else { 0.0 }));
                        }
                    }
                    matrix
                })
            })
            .collect();
        // (q₀, q₀+q₁, q₁) meet (k₀−k₁, k₁, k₂−k₁).
        let coefficients = [[1.0, -1.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 1.0f64]];
        let third = std::array::from_fn(|n| {
            let (by_row, by_col) = (coefficients[n / 3], coefficients[n % 3]);
            let mut matrix = vec![0.0; padded * c3];
            for i in 0..c2 {
                for o in 0..c3 {
                    let mut sum = 0.0;
                    for (a, b) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))) {
                        sum += by_row[a] * by_col[b] * f64::from(three.kernel[[o, i, a, b]]);
                    }
                    matrix[i * c3 + o] = sum as f32;
                }
            }
            matrix
        });
        let mut second_bias = two.bias.to_vec();
        second_bias.resize(padded, 0.0);
        Some(Self {
            channels: c,
            widths: [c1, padded, c3],
            first,
            first_bias: one.bias.to_vec(),
            second,
            second_bias,
            third,
            third_bias: three.bias.to_vec(),
        })
    }

    /// Channels of the input.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Features per pixel.
    pub(super) fn features(&self) -> usize {
        self.widths[2]
    }

    /// Features of `height` × `width` pixels (both even), from `input`, [height + 10, width + 10, C].
    ///
    /// Pixel (y, x)'s features go to `out[(y·width + x)·stride ..]`.
    pub(super) fn run(
        &self,
        input: &[f32],
        [height, width]: [usize; 2],
        out: &mut [f32],
        stride: usize,
        scratch: &mut Scratch,
    ) {
        debug_assert!(height % 2 == 0 && width % 2 == 0);
        self.conv_and_pool_1(input, [height, width], scratch);
        let phase_size = (height / 2 + 4) * (width / 2 + 4) * self.widths[0];
        for phase in 0..4 {
            self.conv_and_pool_2(phase * phase_size, [height / 2, width / 2], scratch);
            self.conv_and_pool_3(phase, [height / 2, width / 2], out, stride, scratch);
        }
    }

    fn conv_and_pool_1(&self, input: &[f32], [height, width]: [usize; 2], s: &mut Scratch) {
        let (c, c1) = (self.channels, self.widths[0]);
        // One row and one column of zeros in front, so that all taps are plain offsets; the values they touch belong to variants nobody uses.
        let wide = width + 11;
        let padded = sized(&mut s.input, (height + 11) * wide * c);
        padded[..wide * c].fill(0.0);
        for y in 0..height + 10 {
            let row = &mut padded[(y + 1) * wide * c..(y + 2) * wide * c];
            row[..c].fill(0.0);
            row[c..].copy_from_slice(&input[y * (width + 10) * c..(y + 1) * (width + 10) * c]);
        }
        let m = (height + 8) * wide + width + 9;
        // (group, first tap row, first tap column, taps, accumulate)
        let calls = [(0, 0, 0, 1, false), (1, 0, 1, 2, false), (2, 1, 0, 1, false), (2, 2, 0, 1, true)];
        let calls = calls.into_iter().chain([(3, 1, 1, 2, false), (3, 2, 1, 2, true)]);
        for ((group, row, col, taps, accumulate), kernel) in calls.zip(&self.first) {
            let dst = sized(&mut s.groups[group], m * c1);
            let lhs = &padded[(row * wide + col) * c..];
            matmul([m, c1, taps * c], dst, c1, accumulate, lhs, c, kernel, c1);
        }
        let [a, b, g, d] = &mut s.groups;
        variants(&mut a[..m * c1], &mut b[..m * c1], &mut g[..m * c1], &d[..m * c1]);
        let (rows, cols) = (height / 2 + 4, width / 2 + 4);
        for v in 0..4 {
            sized(&mut s.pooled[v], 4 * rows * cols * c1);
        }
        for y in 0..height + 8 {
            let upper = y * wide * c1..(y * wide + width + 9) * c1;
            let lower = (y + 1) * wide * c1..((y + 1) * wide + width + 9) * c1;
            let [interior, top, left, corner] = &s.groups;
            let [p_interior, p_left, p_top, p_corner] = &mut s.pooled;
            for parity in 0..2 {
                let start = (((y % 2) * 2 + parity) * rows * cols + y / 2 * cols) * c1;
                let to = start..start + cols * c1;
                let (ui, li) = (&interior[upper.clone()], &interior[lower.clone()]);
                let (ut, ul, ll, uc) =
                    (&top[upper.clone()], &left[upper.clone()], &left[lower.clone()], &corner[upper.clone()]);
                let bias = &self.first_bias;
                pool_1(&mut p_interior[to.clone()], [ui, ui, li, li], parity, bias);
                pool_1(&mut p_top[to.clone()], [ut, ut, li, li], parity, bias);
                pool_1(&mut p_left[to.clone()], [ul, ui, ll, li], parity, bias);
                pool_1(&mut p_corner[to], [uc, ut, ll, li], parity, bias);
            }
        }
    }

    /// Fills `maps`: the four cells of the 2×2 map, each [pixels of the phase, padded C2].
    fn conv_and_pool_2(&self, phase_start: usize, [height, width]: [usize; 2], s: &mut Scratch) {
        let (c1, c2) = (self.widths[0], self.widths[1]);
        let (rows, cols) = (height + 4, width + 4);
        let m = rows * cols;
        for cell in &mut s.maps {
            sized(cell, height * width * c2);
        }
        for line in &mut s.lines {
            sized(line, cols * LANES);
        }
        for line in &mut s.interior {
            sized(line, width * LANES);
        }
        for (block, kernels) in self.second.iter().enumerate() {
            for v in 0..4 {
                let n = terms(v) * LANES;
                let dst = sized(&mut s.products[v], m * n);
                let lhs = &s.pooled[v][phase_start..phase_start + m * c1];
                matmul([m, n, c1], dst, n, false, lhs, c1, &kernels[v], n);
            }
            let Scratch { products, lines, interior, maps, .. } = s;
            // Row terms as (variant is top, term, row offset).
            let row_terms = |which: RowVariant, y: usize| -> Vec<(bool, usize, usize)> {
                match which {
                    RowVariant::First => vec![(true, 1, y), (false, 2, y + 1)],
                    RowVariant::Second => vec![(true, 0, y - 1), (false, 1, y), (false, 2, y + 1)],
                    RowVariant::Interior => vec![(false, 0, y - 1), (false, 1, y), (false, 2, y + 1)],
                }
            };
            let gather = |lines: &mut [Vec<f32>; 5], terms_used: &[(bool, usize, usize)]| {
                for (column_term, line) in lines.iter_mut().enumerate() {
                    let left = column_term >= INTERIOR_TERMS;
                    let in_row = if left { BORDER_TERMS } else { INTERIOR_TERMS };
                    let term = if left { column_term - INTERIOR_TERMS } else { column_term };
                    for (n, &(top, row_term, row)) in terms_used.iter().enumerate() {
                        let v = usize::from(top) * 2 + usize::from(left);
                        let stride = terms(v) * LANES;
                        let source = &products[v][row * cols * stride + (row_term * in_row + term) * LANES..];
                        add_line(&mut line[..cols * LANES], source, stride, n > 0);
                    }
                }
            };
            let [previous_0, previous_1, line_0, line_1] = interior;
            gather(lines, &row_terms(RowVariant::Interior, 2));
            column_pool(previous_0, previous_1, lines, width);
            let bias: &[f32; LANES] = self.second_bias[block * LANES..][..LANES].try_into().expect("whole blocks");
            for y in 0..height {
                let at = y * width * c2 + block * LANES;
                gather(lines, &row_terms(RowVariant::First, y));
                column_pool(line_0, line_1, lines, width);
                store_map(&mut maps[0][at..], line_0, c2, bias, width, false);
                store_map(&mut maps[1][at..], line_1, c2, bias, width, false);
                gather(lines, &row_terms(RowVariant::Second, y + 1));
                column_pool(line_0, line_1, lines, width);
                store_map(&mut maps[0][at..], line_0, c2, bias, width, true);
                store_map(&mut maps[1][at..], line_1, c2, bias, width, true);
                gather(lines, &row_terms(RowVariant::Interior, y + 3));
                column_pool(line_0, line_1, lines, width);
                store_map(&mut maps[2][at..], previous_0, c2, bias, width, false);
                store_map(&mut maps[3][at..], previous_1, c2, bias, width, false);
                store_map(&mut maps[2][at..], line_0, c2, bias, width, true);
                store_map(&mut maps[3][at..], line_1, c2, bias, width, true);
                std::mem::swap(previous_0, line_0);
                std::mem::swap(previous_1, line_1);
            }
        }
    }

    fn conv_and_pool_3(
        &self,
        phase: usize,
        [height, width]: [usize; 2],
        out: &mut [f32],
        stride: usize,
        s: &mut Scratch,
    ) {
        let (c2, c3) = (self.widths[1], self.widths[2]);
        let Scratch { maps, combos, outputs, .. } = s;
        for start in (0..height * width).step_by(CHUNK) {
            let m = CHUNK.min(height * width - start);
            let cells: [&[f32]; 4] = std::array::from_fn(|k| &maps[k][start * c2..(start + m) * c2]);
            let used: &mut [Vec<f32>; 9] = combos;
            for combo in used.iter_mut() {
                sized(combo, CHUNK * c2);
            }
            let views = used.each_mut().map(|combo| &mut combo[..m * c2]);
            combine_3(views, cells);
            for n in 0..9 {
                let dst = sized(&mut outputs[n], CHUNK * c3);
                matmul([m, c3, c2], dst, c3, false, &used[n], c2, &self.third[n], c3);
            }
            for k in 0..m {
                let (y, x) = ((start + k) / width, (start + k) % width);
                let pixel = (2 * y + phase / 2) * 2 * width + 2 * x + phase % 2;
                let sources: [&[f32]; 9] = std::array::from_fn(|n| &outputs[n][k * c3..(k + 1) * c3]);
                pool_3(&mut out[pixel * stride..pixel * stride + c3], sources, &self.third_bias);
            }
        }
    }
}

/// Which row of the patch's pooled map a conv-2 row is.
#[derive(Clone, Copy)]
enum RowVariant {
    First,
    Second,
    Interior,
}
