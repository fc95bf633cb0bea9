use burn::tensor::Device;
use geoglot_models::text::{HashedWords, TextTower};
use geoglot_models::tsmnet::{Modality, TextUse, Told, TsmNetConfig, Variant, clip_like, initial};
use geoglot_nn::multimodal::ContextDecoderConfig;
use ndarray::Array3;

use super::*;
use crate::segmentation::SegmentError;
use crate::{Observer, RunFolder, Silent};

/// Two classes, told apart by the optical image on the left half of a tile and by SAR on the right.
struct Halves;

type Boxed = Box<dyn std::error::Error + Send + Sync>;

impl Halves {
    fn pair(i: usize) -> Pair {
        // Neither half tells anything about the other.
        let turn = |col: usize| if col < 8 { i } else { i / 2 };
        let class = |row: usize, col: usize| usize::from((row / 4 + col / 4 + turn(col)).is_multiple_of(2));
        let plane = |m: usize| {
            Array3::from_shape_fn((1, 16, 16), |(_, row, col)| {
                let seen = (m == 0) == (col < 8);
                if seen { class(row, col) as f32 * 2.0 - 1.0 } else { 0.0 }
            })
        };
        let labels = (0..256).map(|p| class(p / 16, p % 16) as u8).collect();
        Pair { images: [Some(plane(0)), Some(plane(1))], labels }
    }
}

impl Pairs for Halves {
    fn side(&self) -> usize {
        16
    }

    fn train(&self, i: usize, _: Draw) -> Result<Pair, Boxed> {
        Ok(Self::pair(i))
    }

    fn validation(&self, i: usize) -> Result<Pair, Boxed> {
        Ok(Self::pair(i + 1))
    }
}

fn network() -> TsmNetConfig {
    TsmNetConfig {
        channels: 16,
        hidden: 16,
        fusion_heads: 2,
        gates: [0.5, 0.5],
        decoder: ContextDecoderConfig { width: 16, depth: 1, heads: 2, dropout: 0.1 },
        ..TsmNetConfig::new([1, 1], clip_like(4, 4, 16, 2, 2, 12), [0, 0, 1, 1], 384, 384)
    }
}

fn options(epochs: usize) -> OpenOptions {
    OpenOptions {
        epochs,
        batch: 4,
        learning_rate: 5e-3,
        tower_factor: 1.0,
        warmup_steps: 5,
        augment: false,
        ..OpenOptions::default()
    }
}

fn told() -> Descriptions {
    let texts = ["fields and water", "water in the west"].map(str::to_owned);
    Descriptions {
        texts: Told::of(&HashedWords::new(), &texts).unwrap(),
        train: (0..8).map(|i| (i % 3 != 2).then_some(i % 3)).collect(),
        validation: vec![None, Some(1)],
    }
}

fn run(
    config: &TsmNetConfig,
    options: &OpenOptions,
    keep: Option<RunFolder<'_>>,
    observer: &mut dyn Observer,
) -> Result<OpenNetwork, SegmentError> {
    let device = Device::flex();
    let words = ["water", "cereal crop"].map(str::to_owned);
    let texts = match config.text.classes() {
        true => ClassTexts::Fixed(HashedWords::new().encode(&words).unwrap()),
        false => ClassTexts::None,
    };
    let train: Vec<usize> = (0..8).collect();
    let descriptions = told();
    let data = OpenData {
        pairs: &Halves,
        train: &train,
        validation: &[0, 1],
        classes: 2,
        texts: &texts,
        descriptions: &descriptions,
    };
    fit_network(initial(config, &device, options.seed), &data, options, keep, &device, observer)
}

#[test]
fn both_modalities_are_learned_and_parts_of_the_loss_are_told() {
    let trained = run(&network(), &options(40), None, &mut Silent).unwrap();
    let last = trained.history.last().unwrap();
    assert!(last.validation_miou.unwrap() > 0.9, "{last:?}");
    let parts: Vec<&str> = last.parts.keys().map(String::as_str).collect();
    assert!(["object", "scene", "cross-entropy", "dice"].iter().all(|p| parts.contains(p)), "{parts:?}");
    let optical = TsmNetConfig { modality: Modality::Optical, ..network() };
    let alone = run(&optical, &options(10), None, &mut Silent).unwrap();
    let (both, alone) = (last.validation_miou, alone.history.last().unwrap().validation_miou);
    assert!(alone < both, "{alone:?} {both:?}: half of a tile is seen by SAR only");
}

#[test]
fn a_baseline_learns_the_same_tiles() {
    let texts = ClassTexts::Fixed(HashedWords::new().encode(&["water", "crop"].map(str::to_owned)).unwrap());
    let (train, validation) = ([0, 1, 2, 3, 4, 5, 6, 7], [0, 1]);
    let descriptions = Descriptions { texts: Vec::new(), train: vec![None; 8], validation: vec![None; 2] };
    let data = OpenData {
        pairs: &Halves,
        train: &train,
        validation: &validation,
        classes: 2,
        texts: &texts,
        descriptions: &descriptions,
    };
    let device = Device::flex();
    let fit = |epochs| fit_baseline([1, 1], 8, &data, &options(epochs), &device, &mut Silent).unwrap().unwrap();
    let (one, again, more) = (fit(1), fit(1), fit(30));
    assert_eq!(one.validation_miou, again.validation_miou, "the seed decides");
    assert!(more.validation_miou.unwrap() > 0.95, "{more:?}");
    let pair = Halves::pair(3);
    let images = [[0, 1].map(|m| pair.images[m].as_ref()), [None, None]];
    let probabilities = more.probabilities(&images, 16, &device);
    assert_eq!(probabilities.dim(), (2, 2, 16, 16));
    assert!((probabilities.sum_axis(ndarray::Axis(1)) - 1.0).iter().all(|v| v.abs() < 1e-5));
    assert!(fit_baseline([1, 1], 8, &data, &options(1), &device, &mut StopAfter(0)).unwrap().is_none());
}

#[test]
fn every_variant_trains() {
    for change in [
        (|c: &mut TsmNetConfig| c.text = TextUse::None) as fn(&mut TsmNetConfig),
        (|c| c.text = TextUse::Description),
        (|c| c.text = TextUse::Classes),
        (|c| c.fusion = geoglot_models::tsmnet::Fusion::Mean),
        (|c| c.variant = Variant::Published),
        (|c| c.modality = Modality::Sar),
    ] {
        let mut config = network();
        change(&mut config);
        config.classes = 2;
        let trained = run(&config, &options(2), None, &mut Silent).unwrap();
        assert!(trained.history.iter().all(|e| e.loss.is_finite()));
    }
}

struct StopAfter(usize);

impl Observer for StopAfter {
    fn epoch(&mut self, record: &crate::history::EpochRecord, _: usize) {
        if record.epoch >= self.0 {
            self.0 = 0;
        }
    }

    fn stop(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn a_resumed_run_gives_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let place = |resume| RunFolder { folder: folder.path(), run: "r", resume };
    let whole = run(&network(), &options(4), None, &mut Silent).unwrap();
    let part = run(&network(), &options(4), Some(place(false)), &mut StopAfter(2)).unwrap();
    assert_eq!(part.history.len(), 2);
    let rest = run(&network(), &options(4), Some(place(true)), &mut Silent).unwrap();
    let losses = |n: &OpenNetwork| n.history.iter().map(|e| e.loss).collect::<Vec<_>>();
    assert_eq!(losses(&rest), losses(&whole));
    assert_eq!(crate::flat::flatten(&rest.network), crate::flat::flatten(&whole.network));
}

#[test]
fn the_rate_rises_and_falls() {
    let o = OpenOptions { warmup_steps: 10, learning_rate: 1.0, ..OpenOptions::default() };
    assert!(o.rate(0, 100) < 0.11 && o.rate(10, 100) > 0.9 && o.rate(99, 100) < 0.02);
    assert!(OpenOptions::default().rate(50, 100) > 0.0);
}

#[test]
fn wrong_recipes_say_why() {
    let parse = |text: &str| OpenRecipe::parse(text, "r", "".into(), &[]).map_err(|e| e.to_string());
    let base = "kind = 'open-segmentation'\nname = 'a'\n[data]\nlegend = 'l.toml'\n";
    let scene = "[[data.scene]]\ninputs = { optical = 'a.tif', sar = 'b.tif' }\nlabels = 'c.tif'\n";
    parse(&format!("{base}{scene}")).unwrap();
    for (text, word) in [
        (base.to_owned(), "data.scene"),
        (format!("{base}{}", scene.replace("sar =", "radar =")), "radar"),
        (format!("{base}{scene}[model]\ntile = 100\n"), "tile"),
        (format!("{base}{scene}[train]\nbatch = 1\n"), "batch"),
        (format!("{base}{scene}[train]\nmodality_dropout = 1.0\n"), "modality_dropout"),
        (format!("{base}[[data.folders]]\nlabels = 'ann'\n"), "images"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    let recipe = parse(&format!("{base}{scene}")).unwrap();
    assert_eq!(parse(&recipe.to_toml().unwrap()).unwrap(), recipe);
    assert_eq!(recipe.scenes().unwrap().data.scene.len(), 1);
}
