//! A made-up scene, its split, and predictions of the usual quality, for the sample reports and the tests of reports.

use geoglot_core::{Band, BandUse, Class, Legend, Seeds};
use geoglot_eval::baselines::{Place, coordinate_knn, random_forest};
use geoglot_eval::plot::{Curve, CurvePoint};
use geoglot_eval::{
    AblationReport, AblationRow, AblationTable, Bootstrap, FoldScores, Honesty, MethodResult, Report, ReportImage,
    Role, SplitNote, TestPixels, TsneOptions, joint_space,
};
use ndarray::{Array2, Axis};
use rand::RngExt;

/// Side of the square scene.
const SIDE: usize = 96;
/// Side of a block of the split.
const BLOCK: usize = 16;
const FOLDS: usize = 3;

/// The split's note.
pub fn split() -> SplitNote {
    SplitNote {
        kind: "Spatial blocks".into(),
        honesty: Honesty::Honest,
        sentence: "Blocks of 16 px in 3 folds with a buffer of 11 px: none of the test patches shares a pixel with a training patch.".into(),
    }
}

/// Land cover, with a name that must be escaped.
fn legend() -> Legend {
    let names =
        ["water", "trees & shrubs", "grass", "bare soil", "asphalt road", "roof <high>", "roof, low", "crosswalk"];
    let colors: [[u8; 3]; 8] = [
        [45, 105, 180],
        [30, 110, 50],
        [140, 200, 90],
        [190, 150, 100],
        [110, 110, 115],
        [200, 60, 50],
        [235, 150, 120],
        [240, 215, 70],
    ];
    let class = |(k, (name, color)): (usize, (&str, [u8; 3]))| Class {
        color: Some(color),
        prompts: vec![format!("a photo of {name} from above"), format!("{name}, hyperspectral and elevation")],
        ..Class::new(k as u16 + 1, name)
    };
    Legend::new(names.into_iter().zip(colors).enumerate().map(class).collect()).expect("the legend is sound")
}

/// True class of every pixel: smooth regions with a few rare pixels.
fn truth(seeds: Seeds) -> Array2<usize> {
    let mut rng = seeds.stream("scene");
    let sites: Vec<(f64, f64, usize)> = (0..60)
        .map(|i| {
            (
                rng.random_range(0.0..SIDE as f64),
                rng.random_range(0.0..SIDE as f64),
                [0, 1, 1, 2, 2, 2, 3, 4, 4, 5, 6][i % 11],
            )
        })
        .collect();
    Array2::from_shape_fn((SIDE, SIDE), |(r, c)| {
        let distance = |s: &(f64, f64, usize)| (s.0 - r as f64).powi(2) + (s.1 - c as f64).powi(2);
        let class = sites.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).map_or(0, |s| s.2);
        if class == 4 && rng.random_range(0..60) == 0 { 7 } else { class }
    })
}

fn png(width: usize, height: usize, color: impl Fn(usize, usize) -> [u8; 3]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> = (0..width * height).flat_map(|i| color(i / width, i % width)).collect();
    let mut writer = encoder.write_header().expect("a PNG header");
    writer.write_image_data(&pixels).expect("PNG pixels");
    writer.finish().expect("a whole PNG");
    file
}

/// A report of a made-up model beside a real random forest and real coordinates on the made-up scene.
pub fn report(replicates: usize) -> Report {
    let seeds = Seeds::new(11);
    let (legend, map) = (legend(), truth(seeds));
    let k = legend.len();
    let mut rng = seeds.stream("features");
    let directions = Array2::from_shape_fn((k, 24), |_| rng.random_range(-1.0f32..1.0));
    let labels: Vec<usize> = map.iter().copied().collect();
    let n = labels.len();
    let features = Array2::from_shape_fn((n, 24), |(i, d)| directions[[labels[i], d]] + rng.random_range(-1.9f32..1.9));
    let block = |i: usize| (i / SIDE / BLOCK) * (SIDE / BLOCK) + i % SIDE / BLOCK;
    let fold = |i: usize| (block(i) + i / SIDE / BLOCK) % FOLDS;
    let place = |i: usize| Place { scene: 0, row: (i / SIDE) as u32, col: (i % SIDE) as u32 };

    let (mut forest, mut coordinates) = (vec![0; n], vec![0; n]);
    for f in 0..FOLDS {
        let train: Vec<usize> = (0..n).filter(|&i| fold(i) != f && i % 9 == 0).collect();
        let test: Vec<usize> = (0..n).filter(|&i| fold(i) == f).collect();
        let y: Vec<usize> = train.iter().map(|&i| labels[i]).collect();
        let rows = |which: &[usize]| features.select(Axis(0), which);
        // Band values only: the first eight features.
        let bands = |x: Array2<f32>| x.slice(ndarray::s![.., ..8]).to_owned();
        let p = random_forest(bands(rows(&train)).view(), &y, bands(rows(&test)).view(), k, 3).expect("a forest");
        test.iter().zip(p).for_each(|(&i, p)| forest[i] = p);
        let places = |which: &[usize]| which.iter().map(|&i| place(i)).collect::<Vec<_>>();
        let p = coordinate_knn(&places(&train), &y, &places(&test), 1).expect("neighbours");
        test.iter().zip(p).for_each(|(&i, p)| coordinates[i] = p);
    }
    let model: Vec<usize> =
        labels
            .iter()
            .map(|&t| {
                if rng.random_range(0..100) < [3, 12, 9, 18, 14, 8, 25, 60][t] {
                    [3, 2, 1, 2, 3, 6, 5, 4][t]
                } else {
                    t
                }
            })
            .collect();

    let pixels = TestPixels {
        groups: Some((0..n).map(|i| block(i) as u32).collect()),
        folds: Some((0..n).map(fold).collect()),
        classes: k,
        truth: labels.clone(),
    };
    let bootstrap = Bootstrap { replicates, ..Bootstrap::default() };
    let method = |name: &str, role, note: &str, predicted: &[usize], seconds| MethodResult {
        name: name.into(),
        role,
        note: note.into(),
        scores: pixels.score(predicted, &bootstrap).expect("scores"),
        seconds: Some(seconds),
    };
    let mut report = Report::new("MMLGNet on a made-up scene", split(), legend);
    report.summary =
        "Sample report: 96 × 96 pixels, 8 classes, HSI (24 bands) and DSM, text tower all-MiniLM-L6-v2.".into();
    report.methods = vec![
        method("geoglot", Role::Model, "MMLGNet, HSI + LiDAR", &model, 84.2),
        method("random forest", Role::Baseline, "200 trees on the band values", &forest, 3.1),
        method("coordinates only", Role::CoordinatesOnly, "nearest training pixel", &coordinates, 0.1),
    ];
    let compare =
        |name, other: &[usize]| pixels.compare(("geoglot", &model), (name, other), &bootstrap).expect("a comparison");
    report.comparisons = vec![compare("random forest", &forest), compare("coordinates only", &coordinates)];
    report.curves = (0..FOLDS)
        .map(|f| Curve {
            name: format!("fold {}", f + 1),
            points: (1..=40 + 7 * f)
                .map(|epoch| {
                    let e = epoch as f64;
                    let noise = 0.02 * ((e * (1.7 + f as f64)).sin() + (e * 0.9).cos());
                    CurvePoint {
                        epoch,
                        loss: 2.1 * (-e / 9.0).exp() + 0.25 + noise * 0.5,
                        validation_loss: Some(2.0 * (-e / 10.0).exp() + 0.42 + noise),
                        validation_oa: Some(0.87 - 0.5 * (-e / 7.0).exp() + noise * 0.5 - 0.01 * f as f64),
                    }
                })
                .collect(),
        })
        .collect();
    let color = |classes: &[usize], r: usize, c: usize| report.legend.color(classes[(r / 6) * SIDE + c / 6]);
    let (drawn, true_map) =
        (png(SIDE * 6, SIDE * 6, |r, c| color(&model, r, c)), png(SIDE * 6, SIDE * 6, |r, c| color(&labels, r, c)));
    report.images = vec![
        ReportImage { title: "Map".into(), caption: "Class of every pixel, pooled over folds.".into(), png: drawn },
        ReportImage { title: "Labels".into(), caption: String::new(), png: true_map },
    ];
    let options = TsneOptions { pixels: 1200, epochs: 500, ..TsneOptions::default() };
    report.joint_space = Some(joint_space(features.view(), &labels, directions.view(), &options).expect("t-SNE"));
    let mut bands: Vec<Band> = (0..24).map(|b| Band::named(format!("b{:02}", b + 1))).collect();
    for (b, band) in bands.iter_mut().enumerate() {
        band.sensor = Some("casi".into());
        band.wavelength_um = Some(0.38 + 0.028 * b as f32);
        band.unit = geoglot_core::Unit::Reflectance;
    }
    let height = Band { unit: geoglot_core::Unit::Metre, ..Band::named("DSM") };
    report.bands = vec![
        BandUse { input: "hsi".into(), path: "scenes/sample_hsi.tif".into(), bands },
        BandUse { input: "lidar".into(), path: "scenes/sample_dsm.tif".into(), bands: vec![height] },
    ];
    let facts = [
        ("geoglot", "0.1.0"),
        ("command line", "geoglot evaluate recipes/sample.toml --out out/sample --seed 11"),
        ("seed", "11"),
        ("model SHA-256", "9f2c4d0b7a51e83c6d90aa17c2b84f5e3d7610f8b2a94ce05d1778e6c3fb2041"),
        ("training, seconds", "84.2"),
    ];
    report.facts = facts.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
    report
}

/// An ablation report with made-up runs over five folds.
pub fn ablation() -> AblationReport {
    let mut rng = Seeds::new(5).stream("ablation");
    let mut row = |variant: &str, oa: f64| AblationRow {
        variant: variant.into(),
        runs: (0..5)
            .map(|fold| {
                let oa = oa + 0.012 * (fold as f64 - 2.0) + rng.random_range(-0.008..0.008);
                FoldScores {
                    fold,
                    seed: Some(1),
                    pixels: 4000,
                    oa: Some(oa),
                    aa: Some(oa - 0.04),
                    kappa: Some(oa * 1.25 - 0.29),
                }
            })
            .collect(),
    };
    let loss = vec![row("vision → text", 0.842), row("text → vision", 0.846), row("both", 0.861)];
    let text = vec![
        row("MiniLM", 0.861),
        row("BERT-base", 0.853),
        row("RoBERTa-base", 0.864),
        row("ALBERT-base-v2", 0.852),
        row("CLIP RN50", 0.857),
        row("CLIP ViT-B/16", 0.858),
        row("CLIP ViT-B/32", 0.862),
    ];
    let modality = vec![row("HSI", 0.77), row("LiDAR", 0.46), row("HSI + LiDAR", 0.861)];
    let channels = vec![row("DSM", 0.852), row("DTM", 0.801), row("DSM + DTM", 0.861)];
    let table = |title: &str, varied: &str, rows: Vec<AblationRow>, reference| AblationTable {
        title: title.into(),
        varied: varied.into(),
        caption: String::new(),
        rows,
        reference: Some(reference),
    };
    AblationReport {
        title: "Ablations of MMLGNet on a made-up scene".into(),
        summary: "Sample: numbers are drawn, not measured.".into(),
        split: split(),
        tables: vec![
            table("Loss direction (table III)", "Loss", loss, 2),
            table("Text tower (table IV)", "Text tower", text, 0),
            table("Modality (table V)", "Modality", modality, 2),
            table("LiDAR channels (figure 2)", "Channels", channels, 2),
        ],
        facts: [("geoglot".to_owned(), "0.1.0".to_owned())].into_iter().collect(),
        warnings: vec!["Five runs a variant: intervals are rough.".into()],
    }
}
