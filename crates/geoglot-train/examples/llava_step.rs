//! Time of stage 2's training steps: `llava_step MODEL STEPS BATCH IMAGE_TOKENS TEXT_TOKENS WIDTH RANK [again]`, for `benches/llm_speed.py`. Projector
//! and adapters on all projections learn; `again` computes blocks again in the backward pass.

use std::time::Instant;

use burn::tensor::Device;
use geoglot_models::llm::LanguageModel;
use geoglot_nn::llm::{FrozenDecoder, LoraConfig};
use geoglot_train::Observer;
use geoglot_train::history::EpochRecord;
use geoglot_train::llava::{Begin, ImageStates, Sequence, StageData, StageSection, Start, train_stage};
use ndarray::Array2;

/// States that depend on the image's number alone.
struct States {
    tokens: usize,
    width: usize,
}

impl ImageStates for States {
    fn states(&self, i: usize) -> Result<Array2<f32>, Box<dyn std::error::Error + Send + Sync>> {
        let value = |(t, d)| ((i * 7919 + t * 104_729 + d * 13) as f32).sin();
        Ok(Array2::from_shape_fn((self.tokens, self.width), value))
    }

    fn name(&self, i: usize) -> String {
        i.to_string()
    }
}

/// When each step ended, and its loss.
struct Clock(Vec<(Instant, f32)>);

impl Observer for Clock {
    fn batch(&mut self, _: usize, _: usize, _: usize, loss: f32) {
        self.0.push((Instant::now(), loss));
    }

    fn epoch(&mut self, _: &EpochRecord, _: usize) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let numbers = args.iter().skip(1).take(6).map(|a| a.parse()).collect::<Result<Vec<usize>, _>>()?;
    let (Some(path), &[steps, batch, tokens, text, width, rank]) = (args.first(), numbers.as_slice()) else {
        return Err("usage: llava_step MODEL STEPS BATCH IMAGE_TOKENS TEXT_TOKENS WIDTH RANK [again]".into());
    };
    let model = LanguageModel::load(path)?;
    let device = Device::flex().autodiff();
    let frozen = FrozenDecoder::new(&model.decoder, &device);
    // Half of the text is the question, half the answer.
    let sequence = |i: usize| {
        let ids: Vec<u32> = (0..text).map(|k| (1000 + i * 37 + k * 11) as u32).collect();
        let question = text / 2;
        Sequence {
            before: ids[..1].to_vec(),
            after: ids[1..].to_vec(),
            answer: (1..text).map(|k| k >= question).collect(),
            image: i,
        }
    };
    let sequences: Vec<Sequence> = (0..batch).map(sequence).collect();
    let data = StageData {
        sequences: &sequences,
        images: &States { tokens, width },
        decoder: &model.decoder,
        frozen: &frozen,
        width,
    };
    let section = StageSection {
        epochs: steps,
        batch,
        effective_batch: batch,
        gradient_checkpointing: args.get(7).is_some_and(|a| a == "again"),
        save_every: steps,
        ..StageSection::default()
    };
    let lora = LoraConfig { rank, dropout: 0.0, ..LoraConfig::default() };
    let mut clock = Clock(Vec::new());
    train_stage(&data, &section, Start::Fresh(Begin::Random), Some(&lora), 1, None, &device, &mut clock)?;
    // The first step pays for memory that later ones use again.
    let seconds: Vec<f64> = clock.0.windows(2).map(|w| (w[1].0 - w[0].0).as_secs_f64()).collect();
    let losses: Vec<f32> = clock.0.iter().map(|c| c.1).collect();
    println!("{}", serde_json::json!({ "step_seconds": seconds, "losses": losses }));
    Ok(())
}
