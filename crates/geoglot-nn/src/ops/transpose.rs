//! Channels-first to channels-last.

use rayon::prelude::*;

/// Pixels moved together: one cache line of each channel.
const BLOCK: usize = 16;

/// `x` [images, channels, pixels] → `out` [images, pixels, channels].
pub fn to_channels_last(x: &[f32], out: &mut [f32], pixels: usize, channels: usize) {
    let image = pixels * channels;
    if image == 0 {
        return;
    }
    out.par_chunks_mut(image).zip(x.par_chunks(image)).for_each(|(out, x)| {
        // Each channel's run of pixels is read in order into a block that fits the first-level cache.
        let mut block = [[0.0f32; BLOCK]; BLOCK];
        for first in (0..pixels).step_by(BLOCK) {
            let width = BLOCK.min(pixels - first);
            for c in (0..channels).step_by(BLOCK) {
                let height = BLOCK.min(channels - c);
                if width == BLOCK && height == BLOCK {
                    for (i, row) in block.iter_mut().enumerate() {
                        let from = (c + i) * pixels + first;
                        row.copy_from_slice(&x[from..from + BLOCK]);
                    }
                    for j in 0..BLOCK {
                        let to = (first + j) * channels + c;
                        let to: &mut [f32] = &mut out[to..to + BLOCK];
                        for i in 0..BLOCK {
                            to[i] = block[i][j];
                        }
                    }
                    continue;
                }
                for j in 0..width {
                    for i in 0..height {
                        out[(first + j) * channels + c + i] = x[(c + i) * pixels + first + j];
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn channels_move_last() {
        let (images, channels, pixels) = (2, 35, 21);
        let x: Vec<f32> = (0..images * channels * pixels).map(|v| v as f32).collect();
        let mut out = vec![0.0; x.len()];
        super::to_channels_last(&x, &mut out, pixels, channels);
        for (i, value) in out.iter().enumerate() {
            let (image, rest) = (i / (channels * pixels), i % (channels * pixels));
            let (pixel, channel) = (rest / channels, rest % channels);
            assert_eq!(*value, x[(image * channels + channel) * pixels + pixel]);
        }
    }
}
