use geoglot_models::mmlgnet::EncoderConfig;
use geoglot_nn::losses::Direction;

use super::*;

/// Two inputs, three classes as stripes: `hsi` tells class 0 from the others, `lidar` 1 from 2.
struct Toy {
    inputs: IndexMap<String, Vec<Array3<f32>>>,
    train: Vec<Pixel>,
    validation: Vec<Pixel>,
    text: Array2<f32>,
    prompts: Vec<Array2<f32>>,
}

impl Toy {
    fn new() -> Self {
        let (height, width) = (12, 90);
        let mut rng = Seeds::new(3).stream("toy");
        let mut noise = move || rng.random::<f32>() - 0.5;
        let class = |col: usize| col / 30;
        let hsi = Array3::from_shape_fn((2, height, width), |(_, _, c)| f32::from(u8::from(class(c) == 0)) + noise());
        let lidar = Array3::from_shape_fn((1, height, width), |(_, _, c)| f32::from(u8::from(class(c) == 1)) + noise());
        let pixels = |rows: std::ops::Range<usize>| {
            rows.flat_map(|row| (0..width).map(move |col| Pixel { scene: 0, row, col, class: col / 30 })).collect()
        };
        let text = Array2::eye(3);
        let prompts = (0..3).map(|k| text.select(ndarray::Axis(0), &[k])).collect();
        let inputs = IndexMap::from([("hsi".into(), vec![hsi]), ("lidar".into(), vec![lidar])]);
        Self { inputs, train: pixels(0..6), validation: pixels(8..12), text, prompts }
    }

    fn data(&self) -> TrainingData<'_> {
        TrainingData {
            inputs: &self.inputs,
            train: &self.train,
            validation: &self.validation,
            text: &self.text,
            prompts: &self.prompts,
        }
    }
}

fn config() -> MmlgnetConfig {
    let encoder = |channels| EncoderConfig { channels, filters: vec![4, 4, 4], width: 6 };
    MmlgnetConfig {
        patch: 11,
        encoders: IndexMap::from([("hsi".into(), encoder(2)), ("lidar".into(), encoder(1))]),
        embed: 3,
        padding: Default::default(),
    }
}

fn options() -> TrainOptions {
    TrainOptions { epochs: 4, batch: 32, dropout: 0.1, ema: Some(0.9), learning_rate: 3e-3, ..TrainOptions::default() }
}

fn train(options: &TrainOptions, keep: Option<RunFolder<'_>>, observer: &mut dyn Observer) -> Result<Trained> {
    fit(&config(), &Toy::new().data(), options, keep, &Device::flex(), observer)
}

/// Stops after a number of batches.
struct StopAfter(usize);

impl Observer for StopAfter {
    fn batch(&mut self, _: usize, _: usize, _: usize, _: f32) {
        self.0 = self.0.saturating_sub(1);
    }
    fn stop(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn both_inputs_are_learned() {
    let trained = train(&TrainOptions { epochs: 12, ema: None, ..options() }, None, &mut Silent).unwrap();
    assert!(trained.validation_oa().unwrap() > 0.85, "{:?}", trained.history);
}

#[test]
fn an_interrupted_run_continues_to_the_same_weights() {
    let whole = train(&options(), None, &mut Silent).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let keep = |resume| Some(RunFolder { folder: dir.path(), run: "toy", resume });
    let batches = Toy::new().train.len().div_ceil(32);
    // In the middle of the second epoch.
    let first = train(&options(), keep(false), &mut StopAfter(batches + 3)).unwrap();
    assert_eq!((first.ended, first.history.len()), (Ended::Interrupted, 1));
    let second = train(&options(), keep(true), &mut StopAfter(2 * batches)).unwrap();
    assert_eq!((second.ended, second.history.len()), (Ended::Interrupted, 2));
    let third = train(&options(), keep(true), &mut Silent).unwrap();
    assert_eq!(flatten(&third.network), flatten(&whole.network));
    let losses = |t: &Trained| t.history.iter().map(|e| e.loss).collect::<Vec<_>>();
    assert_eq!(losses(&third), losses(&whole));
    for file in ["history.csv", "history.jsonl", "events.out.tfevents.0.geoglot"] {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
    let other = fit(
        &config(),
        &Toy::new().data(),
        &options(),
        Some(RunFolder { folder: dir.path(), run: "other", resume: true }),
        &Device::flex(),
        &mut Silent,
    );
    assert!(other.unwrap_err().to_string().contains("other data"));
}

#[test]
fn class_features_and_sampled_prompts_of_one_prompt_agree() {
    // With one prompt a class, pairs of a class have the same text, and both kinds of target are one loss.
    let run = |prompts, targets| {
        let options = TrainOptions { epochs: 1, dropout: 0.0, ema: None, prompts, targets, ..options() };
        train(&options, None, &mut Silent).unwrap().history[0].loss
    };
    let class = run(PromptUse::Class, Targets::SameLabel);
    for targets in [Targets::Diagonal, Targets::SameLabel] {
        let sampled = run(PromptUse::Sampled, targets);
        assert!((class - sampled).abs() < 2e-3, "{targets:?}: {class} {sampled}");
    }
}

#[test]
fn early_stopping_keeps_the_best_epoch() {
    let trained =
        train(&TrainOptions { epochs: 60, patience: 2, learning_rate: 1e-2, ..options() }, None, &mut Silent).unwrap();
    assert_eq!(trained.ended, Ended::EarlyStopped);
    let best = trained.history.iter().filter_map(|e| e.validation_oa).fold(0.0, f64::max);
    assert_eq!(trained.validation_oa(), Some(best));
    assert_eq!(trained.history.len(), trained.best_epoch + 2);
}

#[test]
fn a_loss_that_is_no_number_stops_and_keeps_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut toy = Toy::new();
    let keep = Some(RunFolder { folder: dir.path(), run: "toy", resume: true });
    let one = TrainOptions { epochs: 1, ..options() };
    fit(&config(), &toy.data(), &one, keep, &Device::flex(), &mut Silent).unwrap();
    let before = std::fs::read(Checkpoint::path(dir.path())).unwrap();
    toy.inputs["hsi"][0].fill(f32::NAN);
    let error = fit(&config(), &toy.data(), &options(), keep, &Device::flex(), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("epoch 2, batch 1"), "{error}");
    assert_eq!(std::fs::read(Checkpoint::path(dir.path())).unwrap(), before);
}

#[test]
fn every_direction_trains() {
    for direction in [Direction::VisionToText, Direction::TextToVision, Direction::Both] {
        let trained = train(&TrainOptions { epochs: 2, direction, ..options() }, None, &mut Silent).unwrap();
        assert!(trained.history[1].loss < trained.history[0].loss, "{direction:?}");
    }
}

#[test]
fn misfits_are_named() {
    let toy = Toy::new();
    let mut other = config();
    other.encoders["hsi"].channels = 5;
    let error = fit(&other, &toy.data(), &options(), None, &Device::flex(), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("`hsi`") && error.contains('5'), "{error}");
    let narrow = MmlgnetConfig { embed: 4, ..config() };
    let error = fit(&narrow, &toy.data(), &options(), None, &Device::flex(), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("width 3"), "{error}");
}
