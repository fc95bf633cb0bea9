//! Stages on a tiny language model: recomputed and kept blocks give one gradient, resumed runs the same weights, and answers follow images.

use burn::tensor::Device;
use geoglot_models::llm::{LanguageModel, Message};
use geoglot_models::spectral_llava::Projector;
use geoglot_nn::llm::{FrozenDecoder, LoraConfig};
use ndarray::Array2;

use super::fit::step_gradients;
use super::*;
use crate::{RunFolder, Silent};

struct Images(Vec<Array2<f32>>);

impl ImageStates for Images {
    fn states(&self, i: usize) -> Result<Array2<f32>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0[i].clone())
    }

    fn name(&self, i: usize) -> String {
        format!("image {i}")
    }
}

fn model() -> LanguageModel {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../geoglot-models/tests/fixtures/llm/smollm2");
    LanguageModel::open(folder.as_ref()).unwrap()
}

fn images() -> Images {
    Images(
        (0..2)
            .map(|i| Array2::from_shape_fn((3, 4), |(r, c)| ((r * 4 + c) as f32 * 0.7 + 2.5 * i as f32).sin()))
            .collect(),
    )
}

fn sequences(llm: &LanguageModel) -> Vec<Sequence> {
    let say = |answer: &str, image| {
        let turns = [Message::user("<image>\nWhat is it?"), Message::assistant(answer)];
        Sequence::new(llm, &turns, image, 3).unwrap()
    };
    vec![say("forest", 0), say("bare soil and water", 1)]
}

#[test]
fn answers_are_marked_and_nothing_else() {
    let llm = model();
    let turns = [
        Message::user("<image>\nWhat?"),
        Message::assistant("forest"),
        Message::user("Sure?"),
        Message::assistant("yes"),
    ];
    let sequence = Sequence::new(&llm, &turns, 0, 5).unwrap();
    let words: Vec<u32> = sequence.after.iter().zip(&sequence.answer).filter(|(_, a)| **a).map(|(id, _)| *id).collect();
    assert_eq!(llm.tokenizer.decode(&words, true).unwrap(), "forest<|im_end|>\nyes<|im_end|>\n");
    let error = |turns: &[Message], tokens| Sequence::new(&llm, turns, 0, tokens).unwrap_err().to_string();
    assert!(error(&[Message::user("What?"), Message::assistant("x")], 5).contains("0 `<image>`"));
    assert!(error(&turns[..1], 5).contains("without an answer"));
    assert!(error(&turns, 1024).contains("1024 of the image"));
}

#[test]
fn blocks_computed_again_give_the_same_gradients() {
    let (llm, images, device) = (model(), images(), Device::flex().autodiff());
    let (sequences, frozen) = (sequences(&llm), FrozenDecoder::new(&llm.decoder, &device));
    let data = StageData { sequences: &sequences, images: &images, decoder: &llm.decoder, frozen: &frozen, width: 4 };
    let lora = LoraConfig { rank: 2, dropout: 0.3, ..LoraConfig::default() };
    let run = |checkpointing: bool, batch: usize, dropout: f64| {
        let section = StageSection { gradient_checkpointing: checkpointing, batch, ..StageSection::default() };
        step_gradients(&data, &section, &LoraConfig { dropout, ..lora.clone() }, &device).unwrap()
    };
    let near = |a: &(f32, Vec<f32>), b: &(f32, Vec<f32>)| {
        assert!((a.0 - b.0).abs() < 1e-4, "{} {}", a.0, b.0);
        let worst = a.1.iter().zip(&b.1).fold(0f32, |w, (a, b)| w.max((a - b).abs()));
        let size = a.1.iter().fold(0f32, |w, a| w.max(a.abs()));
        assert!(worst < 1e-3 * size && size > 1e-3, "{worst} {size}");
    };
    near(&run(false, 2, 0.3), &run(true, 2, 0.3));
    // Parts add up to the whole, padding or not.
    near(&run(false, 2, 0.0), &run(false, 1, 0.0));
}

#[test]
fn a_stage_learns_resumes_and_follows_the_image() {
    let (llm, images, device) = (model(), images(), Device::flex().autodiff());
    let (sequences, frozen) = (sequences(&llm), FrozenDecoder::new(&llm.decoder, &device));
    let data = StageData { sequences: &sequences, images: &images, decoder: &llm.decoder, frozen: &frozen, width: 4 };
    let section = StageSection {
        epochs: 240,
        batch: 2,
        effective_batch: 2,
        learning_rate: Some(2e-2),
        save_every: 80,
        ..StageSection::default()
    };
    let lora = LoraConfig { rank: 4, alpha: 8.0, dropout: 0.0, ..LoraConfig::default() };
    let train = |epochs: usize, folder: &std::path::Path, resume: bool| {
        // The schedule's length is the whole run's, so that a part of it can be continued.
        let keep = RunFolder { folder, run: "run", resume };
        let section = StageSection { epochs, ..section.clone() };
        train_stage(&data, &section, Start::Fresh(Begin::Random), Some(&lora), 1, Some(keep), &device, &mut Silent)
            .unwrap()
    };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole = train(240, one.path(), false);
    assert_eq!(whole.history.len(), 3);
    // The frozen output matrix of a model with random weights bounds how sure it can be of a token: 1.35 is as low as any rate gets.
    let zeros = Projector { weight: Array2::zeros((llm.decoder.config.width, 4)), bias: ndarray::Array1::zeros(32) };
    let untrained = answer_loss(&data, &zeros, None, None, &device).unwrap();
    let (first, last) = (whole.history[0].loss, whole.history[2].loss);
    assert!(last < first && last < 0.4 * untrained, "{untrained} {first} {last}");
    // Interrupted in the second round, continued from the checkpoint of the first.
    struct Stop(usize);
    impl crate::Observer for Stop {
        fn batch(&mut self, _: usize, _: usize, _: usize, _: f32) {
            self.0 += 1;
        }
        fn stop(&self) -> bool {
            self.0 >= 100
        }
    }
    let keep = RunFolder { folder: two.path(), run: "run", resume: false };
    let stopped =
        train_stage(&data, &section, Start::Fresh(Begin::Random), Some(&lora), 1, Some(keep), &device, &mut Stop(0))
            .unwrap();
    assert_eq!(stopped.ended, crate::Ended::Interrupted);
    let resumed = train(240, two.path(), true);
    assert_eq!(resumed.projector, whole.projector);
    let right = answer_loss(&data, &whole.projector, whole.adapters.as_ref(), None, &device).unwrap();
    let wrong = answer_loss(&data, &whole.projector, whole.adapters.as_ref(), Some(&[1, 0]), &device).unwrap();
    assert!(right < 0.5 * wrong, "{right} {wrong}");
}
