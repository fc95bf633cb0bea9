//! Open-vocabulary segmentation of optical and SAR through the library's jobs: training, masks of any words, folders, bad input.

use std::path::Path;

use burn::tensor::Device;
use geoglot::core::{Affine, Crs, Grid, Legend, Registry, RunManifest, Unit};
use geoglot::data::Symmetry;
use geoglot::data::synth::{SynthConfig, generate, write};
use geoglot::raster::{OpenOptions, RasterSpec, RasterWriter, SampleType, Scene, SceneArg};
use geoglot::train::Silent;
use geoglot::train::open_segmentation::{Draw, OpenRecipe, Pairs};
use geoglot::workflow::fold::FoldPlace;
use geoglot::workflow::open_segment::{
    AblationRequest, PairScene, Prepared, SegmentRequest, TextWords, TileSet, ablate, class_words, evaluate,
    is_open_model, misregistration, prepare, segment, train_fold, variants,
};
use ndarray::{Array2, Array3, s};

const NETWORK: &str = r#"
[model]
tile = 32
channels = 16
hidden = 16
fusion_heads = 2
gates = [0.5, 0.5]
decoder = { width = 16, depth = 1, heads = 2, dropout = 0.1 }
tower = { patch = 8, width = 16, depth = 4, heads = 2 }
[text]
tower = "hashed-words"
[train]
epochs = 2
batch = 4
learning_rate = 0.003
tower_factor = 1.0
warmup_steps = 2
"#;

fn synthetic(folder: &Path) {
    for seed in [1, 2] {
        let config = SynthConfig {
            width: 96,
            height: 96,
            seed,
            sensors: vec!["sentinel-2-l2a".into()],
            clouds: 0.4,
            ..SynthConfig::default()
        };
        write(&generate(&config, Registry::builtin()).unwrap(), &folder.join(format!("s{seed}"))).unwrap();
    }
}

fn recipe(folder: &Path, more: &str) -> OpenRecipe {
    let scenes: String = (1..=2)
        .map(|k| {
            format!(
                "[[data.scene]]\nname = \"s{k}\"\nlabels = \"s{k}/labels.tif\"\n\
                 inputs = {{ optical = \"s{k}/sentinel-2-l2a.tif:sensor=sentinel-2-l2a\", sar = \"s{k}/sar.tif:sensor=sentinel-1-rtc\" }}\n"
            )
        })
        .collect();
    let text = format!(
        "kind = \"open-segmentation\"\nname = \"tiny\"\n[data]\nlegend = \"s1/legend.toml\"\nhold_out = [\"woodland\"]\n\
         synonyms = {{ \"woodland\" = [\"forest\"] }}\ndescriptions = {{ \"s1\" = \"file:s1/captions.jsonl\" }}\n{scenes}\
         [split]\nkind = \"scenes\"\ntest_scenes = [\"s2\"]\n{NETWORK}{more}"
    );
    OpenRecipe::parse(&text, "tiny", folder.to_owned(), &[]).unwrap()
}

fn open(args: &[(&str, &Path, &str)]) -> Scene {
    let args: Vec<SceneArg> = args
        .iter()
        .map(|(name, path, sensor)| SceneArg { sensor: Some((*sensor).into()), ..SceneArg::named(*name, path) })
        .collect();
    Scene::open(&args, Registry::builtin(), OpenOptions::default()).unwrap()
}

fn ids(path: &Path) -> Array2<u16> {
    let scene = Scene::open(&[SceneArg::new(path)], Registry::builtin(), OpenOptions::default()).unwrap();
    let tile = scene.inputs()[0].source().read_stored(&[0], scene.grid().window()).unwrap();
    tile.data.slice(s![0, .., ..]).mapv(|v| v as u16)
}

/// The raster at `from` with every `step`-th pixel in pixels as much larger, its values changed.
fn rewritten(from: &Path, to: &Path, step: usize, change: impl Fn(f32) -> f32) {
    let scene = Scene::open(&[SceneArg::new(from)], Registry::builtin(), OpenOptions::default()).unwrap();
    let source = scene.inputs()[0].source();
    let names: Vec<String> = source.bands().iter().map(|b| b.name.clone()).collect();
    let all: Vec<usize> = (0..names.len()).collect();
    let data = source.read_stored(&all, scene.grid().window()).unwrap().data;
    let data = data.slice(s![.., ..;step, ..;step]).mapv(&change);
    let Affine { x0, y0, dx, dy, .. } = scene.grid().transform;
    let transform = Affine::north_up(x0, y0, step as f64 * dx, -(step as f64) * dy);
    let grid = Grid { transform, width: data.dim().2, height: data.dim().1, ..scene.grid().clone() };
    let mut writer = RasterWriter::create(to, &grid, RasterSpec::values(SampleType::F32, names, None)).unwrap();
    writer.write(grid.window(), data.view(), None).unwrap();
    writer.finish().unwrap();
}

#[test]
fn variants_are_compared_over_seeds_and_skies() {
    let folder = tempfile::tempdir().unwrap();
    synthetic(folder.path());
    let mut recipe = recipe(folder.path(), "");
    recipe.train.epochs = 1;
    recipe.baseline.unet = 4;
    recipe.data.root = Some(".".into());
    recipe.data.covers = [("the same sky".to_owned(), ".".to_owned())].into();
    recipe.data.lift = vec![2.0];
    let all = variants(&recipe);
    let names: Vec<&str> = all.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names[..3], ["whole network", "optical alone", "SAR alone"]);
    assert!(names.contains(&"no fusion network (table 4)") && names.contains(&"no text (table 5, A)"), "{names:?}");
    let wanted = ["whole network", "as published", "U-Net", "random forest"];
    let some: Vec<_> = all.into_iter().filter(|v| wanted.contains(&v.name.as_str())).collect();
    assert_eq!(some.len(), 4);
    let device = Device::flex();
    let request = |resume| AblationRequest { recipe: &recipe, variants: &some, seeds: 2, resume, device: &device };
    let out = folder.path().join("ablation");
    let mut run = RunManifest::start("ablate");
    let table = ablate(&request(false), &out, &mut run, |_| Box::new(Silent)).unwrap();
    let at = |name: &str| table.columns.iter().position(|c| c.contains(name)).unwrap();
    let (whole, published) = (&table.rows[0], &table.rows[1]);
    for run in table.rows.iter().flat_map(|r| &r.runs) {
        assert_eq!(run.figures[at("the same sky")], run.figures[1]);
    }
    assert_ne!(whole.runs[0].model, whole.runs[1].model);
    // A fixed head cannot name a class it never saw, nor be asked in other words.
    assert_eq!(published.figures[at("of held-out classes")].unwrap().value, 0.0);
    assert!(published.figures[at("in synonyms")].is_none() && whole.figures[at("in synonyms")].is_some());
    assert_eq!(whole.figures[at("of seen classes, held-out ones lifted by 2")].unwrap().value, 0.0);
    assert!(whole.figures[at("of held-out classes, held-out ones lifted by 2")].unwrap().value > 0.0);
    assert!(whole.differences.is_empty() && published.differences[0].is_some());
    let kept = ablate(&request(true), &out, &mut run, |_| panic!("nothing is trained again")).unwrap();
    assert_eq!(kept, table);
    assert!(out.join("ablation.txt").is_file() && table.text().contains("points against whole network"));
}

#[test]
fn scenes_are_learned_and_segmented_in_any_words() {
    let folder = tempfile::tempdir().unwrap();
    synthetic(folder.path());
    let (device, recipe) = (Device::flex(), recipe(folder.path(), ""));
    let prepared = prepare(&recipe).unwrap();
    assert_eq!(prepared.legend.len() - prepared.seen.len(), 1);
    let words = TextWords::new(&recipe, &prepared, &device).unwrap();
    let model = folder.path().join("model");
    let place = |resume| FoldPlace { folder: &model, resume };
    let trained = train_fold(&recipe, &prepared, &words, 0, place(false), &device, &mut Silent).unwrap();
    assert_eq!(trained.model.card.held_out, ["woodland"]);
    assert!(trained.history.iter().all(|e| e.loss.is_finite()) && is_open_model(&model));
    let again = train_fold(&recipe, &prepared, &words, 0, place(true), &device, &mut Silent).unwrap();
    assert_eq!(again.model.card.weights_sha256, trained.model.card.weights_sha256);

    let (optical, sar) = (folder.path().join("s2/sentinel-2-l2a.tif"), folder.path().join("s2/sar.tif"));
    let both = || open(&[("optical", &optical, "sentinel-2-l2a"), ("sar", &sar, "sentinel-1-rtc")]);
    let out = |name: &str| folder.path().join(name);
    let asked = SegmentRequest {
        classes: class_words("forest|woodland; deep water; roof").unwrap(),
        describe: Some("a village between woods".into()),
        scores: Some(out("scores.tif")),
        polygons: Some((out("mask.geojson"), 4)),
        cache: Some(out("cache")),
        ..SegmentRequest::default()
    };
    let first = segment(&model, both(), &asked, &out("mask.tif"), &device, |_, _| {}).unwrap();
    assert_eq!(first.legend.names(), ["forest", "deep water", "roof"]);
    assert_eq!(first.counts.iter().sum::<usize>() + first.unlabelled, 96 * 96);
    assert!(first.polygons > 0 && out("scores.tif").is_file());
    let kept = std::fs::read_dir(out("cache")).unwrap().count();
    assert!(kept > 0);
    // Kept features give the same mask, and other words need no others.
    let mask = ids(&out("mask.tif"));
    segment(&model, both(), &asked, &out("again.tif"), &device, |_, _| {}).unwrap();
    assert_eq!(ids(&out("again.tif")), mask);
    let parquet = Some((out("others.parquet"), 1));
    let others = SegmentRequest { classes: class_words("grass; water").unwrap(), polygons: parquet, ..asked.clone() };
    let named = segment(&model, both(), &others, &out("others.tif"), &device, |_, _| {}).unwrap();
    assert!(named.polygons > 0 && std::fs::read(out("others.parquet")).unwrap().starts_with(b"PAR1"));
    assert_eq!(std::fs::read_dir(out("cache")).unwrap().count(), kept);

    // SAR of 20 m is brought onto the optical grid. An optical image that is all clouds, masked, is as good as none.
    let coarse = folder.path().join("coarse.tif");
    rewritten(&sar, &coarse, 2, |v| v);
    let apart = open(&[("optical", &optical, "sentinel-2-l2a"), ("sar", &coarse, "sentinel-1-rtc")]);
    let own = SegmentRequest::default();
    let found = segment(&model, apart, &own, &out("apart.tif"), &device, |_, _| {}).unwrap();
    assert_eq!((ids(&out("apart.tif")).dim(), found.unlabelled), ((96, 96), 0));
    let cloudy = folder.path().join("cloudy.tif");
    rewritten(&optical, &cloudy, 1, |_| f32::NAN);
    let hidden = open(&[("optical", &cloudy, "sentinel-2-l2a"), ("sar", &sar, "sentinel-1-rtc")]);
    let found = segment(&model, hidden, &own, &out("hidden.tif"), &device, |_, _| {}).unwrap();
    assert_eq!(found.unlabelled, 0);
    segment(&model, open(&[("sar", &sar, "sentinel-1-rtc")]), &own, &out("radar.tif"), &device, |_, _| {}).unwrap();
    assert_eq!(ids(&out("hidden.tif")), ids(&out("radar.tif")));

    // Lifted far enough, classes that were never trained take everything.
    let lifted = SegmentRequest { classes: class_words("water; gravel pit").unwrap(), lift: 2.0, ..own.clone() };
    let found = segment(&model, both(), &lifted, &out("lifted.tif"), &device, |_, _| {}).unwrap();
    assert_eq!(found.counts, [0, 96 * 96]);

    // One modality is enough; a high threshold leaves only background; 200 classes are asked for at once.
    let alone = open(&[("sar", &sar, "sentinel-1-rtc")]);
    let background = SegmentRequest { background: Some(1.0), ..SegmentRequest::default() };
    let none = segment(&model, alone, &background, &out("sar.tif"), &device, |_, _| {}).unwrap();
    assert_eq!(none.unlabelled, 96 * 96);
    assert!(none.warnings.iter().any(|w| w.contains("no optical")), "{:?}", none.warnings);
    let many = (0..200).map(|k| format!("kind {k}")).collect::<Vec<_>>().join(";");
    let many = SegmentRequest { classes: class_words(&many).unwrap(), ..SegmentRequest::default() };
    assert_eq!(segment(&model, both(), &many, &out("many.tif"), &device, |_, _| {}).unwrap().counts.len(), 200);
}

#[test]
fn an_evaluation_tells_seen_classes_from_held_out_ones() {
    let folder = tempfile::tempdir().unwrap();
    synthetic(folder.path());
    let (device, out) = (Device::flex(), folder.path().join("report"));
    let recipe = OpenRecipe {
        baseline: geoglot::train::open_segmentation::BaselineSection { unet: 4 },
        train: geoglot::train::open_segmentation::OpenOptions { epochs: 1, ..recipe(folder.path(), "").train },
        ..recipe(folder.path(), "")
    };
    let prepared = prepare(&recipe).unwrap();
    let words = TextWords::new(&recipe, &prepared, &device).unwrap();
    let mut run = RunManifest::start("evaluate");
    let done = evaluate(&recipe, &prepared, &words, &out, false, &device, &mut run, |_| Box::new(Silent)).unwrap();
    let names: Vec<&str> = done.report.methods.iter().map(|m| m.name.as_str()).collect();
    for name in ["synonyms", "random forest", "U-Net"] {
        assert!(names.iter().any(|n| n.contains(name)), "{names:?}");
    }
    for name in ["mIoU of seen classes", "mIoU of held-out classes"] {
        assert!(done.report.facts.keys().any(|k| k.starts_with(name)), "{name}");
    }
    // A forest cannot know what it never saw.
    let held = prepared.legend.classes.iter().position(|c| c.name == "woodland").unwrap();
    let forest = done.report.methods.iter().find(|m| m.name == "random forest").unwrap();
    assert_eq!(forest.scores.confusion.predicted(held), 0);
}

fn grid(width: usize, height: usize) -> Grid {
    Grid { crs: Some(Crs::Epsg(32632)), transform: Affine::north_up(500_000.0, 5_000_000.0, 3.0, 3.0), width, height }
}

fn raster(path: &Path, data: &Array3<f32>, bands: &[&str]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let grid = grid(data.dim().2, data.dim().1);
    let spec = RasterSpec::values(SampleType::F32, bands.iter().copied(), None);
    let mut writer = RasterWriter::create(path, &grid, spec).unwrap();
    writer.write(grid.window(), data.view(), None).unwrap();
    writer.finish().unwrap();
}

/// Images of `img_optical_sar`, `ann` and `txt` of 40 × 36 pixels: an odd size.
fn folders(root: &Path) {
    for k in 0..6 {
        let name = format!("{k}");
        let class = |r: usize, c: usize| ((r / 9 + c / 10 + k) % 3) as f32;
        let image = Array3::from_shape_fn((4, 36, 40), |(b, r, c)| 10.0 * class(r, c) + b as f32 + (r * c % 5) as f32);
        raster(&root.join(format!("img_optical_sar/{name}.tif")), &image, &["r", "g", "b", "sar"]);
        let legend = Legend::from_names(["a", "b", "c"]).unwrap();
        let path = root.join(format!("ann/{name}.tif"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = RasterWriter::create(&path, &grid(40, 36), RasterSpec::classes(&legend)).unwrap();
        writer
            .write_classes(
                grid(40, 36).window(),
                Array2::from_shape_fn((36, 40), |(r, c)| class(r, c) as u16 + 1).view(),
            )
            .unwrap();
        writer.finish().unwrap();
        // One image has no text.
        if k > 0 {
            std::fs::create_dir_all(root.join("txt")).unwrap();
            std::fs::write(root.join(format!("txt/{name}.txt")), format!("field number {k}\n")).unwrap();
        }
    }
}

const FOLDERS: &str = "kind = \"open-segmentation\"\nname = \"f\"\n[data]\nlegend = \"legend.toml\"\n[[data.folders]]\nimages = \"img_optical_sar\"\nlabels = \"ann\"\ntexts = \"txt\"\ntrain_images = 4\n[split]\nvalidation = 0.25\n";
const LEGEND: &str =
    "[[class]]\nid = 1\nname = \"meadow\"\n[[class]]\nid = 2\nname = \"water\"\n[[class]]\nid = 3\nname = \"road\"\n";

/// Optical, SAR and labels of a tile tell the same classes, however the tile is shifted and turned.
fn turned_alike(prepared: &Prepared) {
    let cards = prepared.cards(0, [true; 2]).unwrap();
    let tiles = TileSet::new(prepared, 0, &cards, (16, 8));
    let turns = Symmetry::all();
    let mut different = 0;
    for (i, &turn) in tiles.with(&prepared.folds[0].train).iter().zip(turns.iter().cycle()) {
        let shift = [0.7, -0.9];
        let pair = tiles.train(*i, Draw { shift, turn }).unwrap();
        for (m, first) in [(0, 0.0), (1, 3.0)] {
            let (card, image) = (cards[m].as_ref().unwrap(), pair.images[m].as_ref().unwrap());
            let told =
                image.slice(s![0, .., ..]).mapv(|v| ((v * card.spread[0] + card.center[0] - first + 0.5) / 10.0) as u8);
            assert_eq!(told.into_raw_vec_and_offset().0, pair.labels, "{turn:?}");
        }
        different += usize::from(pair != tiles.train(*i, Draw::none()).unwrap());
    }
    assert!(different > 0);
}

#[test]
fn folders_of_images_labels_and_texts_train() {
    let folder = tempfile::tempdir().unwrap();
    folders(folder.path());
    std::fs::write(folder.path().join("legend.toml"), LEGEND).unwrap();
    let recipe = OpenRecipe::parse(&format!("{FOLDERS}{NETWORK}"), "f", folder.path().to_owned(), &[]).unwrap();
    let (device, prepared) = (Device::flex(), prepare(&recipe).unwrap());
    assert!(prepared.note.sentence.contains("3 train, 1 choose the epoch, 2 test"), "{}", prepared.note.sentence);
    assert!(
        prepared.warnings.iter().any(|w| w.contains("1 of 6 images have no description")),
        "{:?}",
        prepared.warnings
    );
    let words = TextWords::new(&recipe, &prepared, &device).unwrap();
    let model = folder.path().join("model");
    let place = FoldPlace { folder: &model, resume: false };
    let trained = train_fold(&recipe, &prepared, &words, 0, place, &device, &mut Silent).unwrap();
    assert!(trained.history.iter().all(|e| e.loss.is_finite() && e.validation_miou.is_some()));
    turned_alike(&prepared);

    let text = format!("{FOLDERS}{NETWORK}");
    let wrong = OpenRecipe::parse(&text, "f", folder.path().to_owned(), &["data.hold_out=[\"ice\"]".into()]).unwrap();
    assert!(format!("{:#}", prepare(&wrong).unwrap_err()).contains("ice"));
    // Ids outside the legend are named with the file.
    std::fs::write(folder.path().join("legend.toml"), &LEGEND[..LEGEND.rfind("[[class]]").unwrap()]).unwrap();
    let error = format!("{:#}", prepare(&recipe).unwrap_err());
    assert!(error.contains('3') && error.contains("ann"), "{error}");
    std::fs::write(folder.path().join("legend.toml"), LEGEND).unwrap();
    std::fs::remove_file(folder.path().join("ann/2.tif")).unwrap();
    assert!(format!("{:#}", prepare(&recipe).unwrap_err()).contains("no label raster called 2"));
}

/// Folders as YESeg-OPT-SAR has them: optical, SAR and labels apart, in subfolders.
#[test]
fn folders_of_optical_and_sar_apart_train() {
    let folder = tempfile::tempdir().unwrap();
    folders(folder.path());
    for k in 0..6 {
        let image = folder.path().join(format!("img_optical_sar/{k}.tif"));
        let scene = Scene::open(&[SceneArg::new(&image)], Registry::builtin(), OpenOptions::default()).unwrap();
        let data = scene.inputs()[0].source().read_stored(&[0, 1, 2, 3], scene.grid().window()).unwrap().data;
        let part = format!("{}/{k}.tif", k % 2);
        raster(&folder.path().join("optical").join(&part), &data.slice(s![..3, .., ..]).to_owned(), &["r", "g", "b"]);
        raster(&folder.path().join("sar").join(&part), &data.slice(s![3.., .., ..]).to_owned(), &["sar"]);
        let labels = folder.path().join("label").join(&part);
        std::fs::create_dir_all(labels.parent().unwrap()).unwrap();
        std::fs::copy(folder.path().join(format!("ann/{k}.tif")), labels).unwrap();
    }
    std::fs::remove_file(folder.path().join("sar/0/4.tif")).unwrap();
    std::fs::write(folder.path().join("legend.toml"), LEGEND).unwrap();
    let text = FOLDERS.replace(
        "images = \"img_optical_sar\"\nlabels = \"ann\"\ntexts = \"txt\"",
        "optical = \"optical\"\nsar = \"sar\"\nlabels = \"label\"",
    );
    let recipe = OpenRecipe::parse(&format!("{text}{NETWORK}"), "f", folder.path().to_owned(), &[]).unwrap();
    let (device, prepared) = (Device::flex(), prepare(&recipe).unwrap());
    assert_eq!(prepared.len(), 6);
    let words = TextWords::new(&recipe, &prepared, &device).unwrap();
    let model = folder.path().join("model");
    let place = FoldPlace { folder: &model, resume: false };
    let trained = train_fold(&recipe, &prepared, &words, 0, place, &device, &mut Silent).unwrap();
    let bands = |m: usize| trained.model.card.inputs[m].as_ref().map(|i| i.bands.len());
    assert_eq!([bands(0), bands(1)], [Some(3), Some(1)], "one image lacks its SAR and trains all the same");
}

#[test]
fn shifted_pairs_and_linear_power_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let value = |r: isize, c: isize| {
        let cell = ((r.div_euclid(23) * 31 + c.div_euclid(19) * 57) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (cell >> 40) as f32 / (1u64 << 24) as f32
    };
    let image = |dr: isize, dc: isize| {
        Array3::from_shape_fn((1, 160, 160), |(_, r, c)| value(r as isize - dr + 500, c as isize - dc + 500))
    };
    let (optical, sar) = (folder.path().join("o.tif"), folder.path().join("s.tif"));
    raster(&optical, &image(0, 0), &["B04"]);
    // Power between 0 and 1: never decibels.
    raster(&sar, &image(6, -4), &["VV"]);
    let band =
        SceneArg { sensor: Some("sentinel-1-rtc".into()), bands: vec!["VV".into()], ..SceneArg::named("sar", &sar) };
    let args = [SceneArg::named("optical", &optical), band];
    let scene = Scene::open(&args, Registry::builtin(), OpenOptions::default()).unwrap();
    assert_eq!(scene.inputs()[1].bands()[0].unit, Unit::Decibel);
    let pair = PairScene::named(scene).unwrap();
    let found = misregistration(&pair).unwrap().unwrap();
    assert!((found.rows - 6.0).abs() < 1.0 && (found.cols + 4.0).abs() < 1.0, "{found:?}");
    let problems = pair.problems().unwrap();
    assert!(problems.iter().any(|p| p.contains("pixels apart")), "{problems:?}");
    assert!(problems.iter().any(|p| p.contains("linear power")), "{problems:?}");
}
