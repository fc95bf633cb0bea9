//! The protocols against scikit-learn and numpy (`fixtures/protocols.py`). Inputs are f32 here and f64 there: figures that count agree exactly,
//! cosines within 1e-5, logits of probes within 2e-3.

use geoglot_core::Legend;
use geoglot_eval::protocols::*;
use geoglot_eval::{Bootstrap, Honesty, ProtocolReport, SplitNote, TsneOptions, tiles_and_texts};
use ndarray::{Array1, Array2, Array4, ArrayView2, Axis, s};
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/protocols.json")).unwrap()
}

fn floats(v: &Value) -> Vec<f32> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn indices(v: &Value) -> Vec<usize> {
    v.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect()
}

fn table(v: &Value, width: usize) -> Array2<f32> {
    let values = floats(v);
    Array2::from_shape_vec((values.len() / width, width), values).unwrap()
}

fn truths(v: &Value, width: usize) -> Array2<bool> {
    let values: Vec<bool> = indices(v).into_iter().map(|v| v == 1).collect();
    Array2::from_shape_vec((values.len() / width, width), values).unwrap()
}

fn near(found: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, expected {expected}");
}

fn all_near(found: impl IntoIterator<Item = f32>, expected: &Value, tolerance: f32, what: &str) {
    let expected = floats(expected);
    let found: Vec<f32> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: off by {worst}");
}

struct Split {
    x: Array2<f32>,
    y: Vec<usize>,
}

impl Split {
    fn of(f: &Value, name: &str) -> Self {
        Self { x: table(&f[name]["x"], f["width"].as_u64().unwrap() as usize), y: indices(&f[name]["y"]) }
    }

    fn labelled(&self) -> Labelled<'_> {
        Labelled { features: self.x.view(), classes: &self.y }
    }
}

fn quick() -> Bootstrap {
    Bootstrap { replicates: 200, ..Bootstrap::default() }
}

#[test]
fn zero_shot_is_that_of_sklearn() {
    let f = fixture();
    let z = &f["zero_shot"];
    let features = class_features(table(&z["prompts"], 6).view(), &indices(&z["counts"])).unwrap();
    all_near(features.iter().copied(), &z["features"], 1e-6, "class features");
    let test = Split::of(&f, "test");
    let c = zero_shot(test.x.view(), features.view(), &test.y, None, &quick()).unwrap();
    for (top, name) in c.top.iter().zip(["top1", "top5"]) {
        let i = top.accuracy.unwrap();
        near(i.value, &z[name], 1e-12, name);
        assert!(i.low <= i.value && i.value <= i.high && i.low < i.high);
    }
    near(c.scores.kappa.unwrap().value, &z["kappa"], 1e-12, "kappa");
    for (t, row) in z["confusion"].as_array().unwrap().iter().enumerate() {
        for (p, n) in indices(row).into_iter().enumerate() {
            assert_eq!(c.scores.confusion.get(t, p), n as u64);
        }
    }
    let again = zero_shot(test.x.view(), features.view(), &test.y, None, &quick()).unwrap();
    assert_eq!(again, c);
}

#[test]
fn multilabel_is_that_of_sklearn() {
    let f = fixture();
    let m = &f["multilabel"];
    let (scores, truth) = (table(&m["scores"], 5), truths(&m["truth"], 5));
    let found = multilabel(scores.view(), truth.view(), &Thresholds::One(0.5), None, &quick()).unwrap();
    for (prf, name) in [(&found.micro, "micro"), (&found.macro_average, "macro")] {
        near(prf.precision.unwrap().value, &m[name]["p"], 1e-12, name);
        near(prf.recall.unwrap().value, &m[name]["r"], 1e-12, name);
        near(prf.f1.unwrap().value, &m[name]["f"], 1e-12, name);
    }
    near(found.mean_average_precision.unwrap().value, &m["map"], 1e-12, "mAP");
    for (k, class) in found.classes.iter().enumerate() {
        near(class.prf.precision.map_or(0.0, |i| i.value), &m["classes"]["p"][k], 1e-12, "precision");
        near(class.prf.recall.unwrap().value, &m["classes"]["r"][k], 1e-12, "recall");
        near(class.prf.f1.unwrap().value, &m["classes"]["f"][k], 1e-12, "F1");
        near(class.average_precision.unwrap().value, &m["ap"][k], 1e-12, "AP");
    }
    let best = best_threshold(scores.view(), truth.view()).unwrap();
    let at_best = multilabel(scores.view(), truth.view(), &best, None, &quick()).unwrap();
    near(at_best.micro.f1.unwrap().value, &m["best_micro_f1"], 1e-12, "best micro F1");
    let each = best_thresholds(scores.view(), truth.view()).unwrap();
    let at_each = multilabel(scores.view(), truth.view(), &each, None, &quick()).unwrap();
    assert!(at_each.macro_average.f1.unwrap().value >= found.macro_average.f1.unwrap().value);
}

#[test]
fn retrieval_is_that_of_numpy() {
    let f = fixture();
    let r = &f["retrieval"];
    let (images, texts, owners) = (table(&r["images"], 6), table(&r["texts"], 6), indices(&r["owners"]));
    let found = retrieval(images.view(), texts.view(), &owners, None, &quick()).unwrap();
    assert_eq!(found.image_to_text.ranks, indices(&r["i2t_ranks"]));
    assert_eq!(found.text_to_image.ranks, indices(&r["t2i_ranks"]));
    for (d, name) in [(&found.image_to_text, "i2t"), (&found.text_to_image, "t2i")] {
        for (k, recall) in d.recall.iter().enumerate() {
            near(recall.unwrap().value, &r[name][k], 1e-12, name);
        }
    }
    near(found.mean_recall.unwrap().value, &r["mean"], 1e-12, "mean recall");
    near(found.image_to_text.median_rank, &r["median_i2t"], 0.0, "median");
    near(found.text_to_image.median_rank, &r["median_t2i"], 0.0, "median");
}

#[test]
fn probes_are_those_of_sklearn() {
    let f = fixture();
    let (train, val, test) = (Split::of(&f, "train"), Split::of(&f, "val"), Split::of(&f, "test"));
    let probe = |strengths: Vec<f64>| {
        let options = ProbeOptions { strengths, refit: false, tolerance: 1e-8, ..ProbeOptions::default() };
        linear_probe(train.labelled(), val.labelled(), test.labelled(), 7, &options, None, &quick()).unwrap()
    };
    let mut best = (0.0, 0.0);
    for p in f["probe"].as_array().unwrap() {
        let c = p["c"].as_f64().unwrap();
        let one = probe(vec![c]);
        assert!(one.probe.converged);
        // Without a penalty on the bias only differences of logits are fixed by the loss; scikit-learn starts from zero, as here.
        let logits = one.probe.logits(test.x.view());
        let centred = |l: &Array2<f32>| l - &l.mean_axis(Axis(1)).unwrap().insert_axis(Axis(1));
        let expected = centred(&table(&p["logits"], 7));
        let worst = (centred(&logits) - expected).iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(worst < 2e-3, "C = {c}: {worst}");
        near(one.tried[0].1, &p["val"], 1e-12, "validation accuracy");
        if one.tried[0].1 > best.1 {
            best = (c, one.tried[0].1);
        }
    }
    let chosen = probe(f["probe"].as_array().unwrap().iter().map(|p| p["c"].as_f64().unwrap()).collect());
    assert_eq!(chosen.strength, best.0);
    assert_eq!(chosen.tried.len(), 3);
    let m = &f["probe_multilabel"];
    let labels = truths(&m["truth"], 3);
    let options = ProbeOptions { strengths: vec![2.0], refit: false, tolerance: 1e-8, ..ProbeOptions::default() };
    let some: ArrayView2<bool> = labels.slice(s![..60, ..]);
    let tests = (test.x.view(), some);
    let all = (train.x.view(), labels.view());
    let multi = linear_probe_multilabel(all, all, tests, &options, None, &quick()).unwrap();
    let p = multi.probe.logits(test.x.view()).mapv(|z| 1.0 / (1.0 + (-z).exp()));
    all_near(p.iter().copied(), &m["p"], 2e-4, "probabilities");
    let bad = ProbeOptions { strengths: vec![0.0], ..options };
    assert!(linear_probe(train.labelled(), val.labelled(), test.labelled(), 7, &bad, None, &quick()).is_err());
}

#[test]
fn neighbours_are_those_of_sklearn() {
    let f = fixture();
    let (train, test) = (Split::of(&f, "train"), Split::of(&f, "test"));
    let found = knn(train.labelled(), test.labelled(), 7, 5, None, &quick()).unwrap();
    let expected = indices(&f["knn"]["predicted"]);
    let tied = f["knn"]["tied"].as_array().unwrap();
    let free: Vec<usize> = (0..expected.len()).filter(|&i| !tied[i].as_bool().unwrap()).collect();
    assert!(free.len() > 40);
    free.iter().for_each(|&i| assert_eq!(found.predicted[i], expected[i], "image {i}"));
}

#[test]
fn components_are_those_of_sklearn() {
    let f = fixture();
    let m = &f["maps"];
    let shape = indices(&m["shape"]);
    let maps = Array4::from_shape_vec((shape[0], shape[1], shape[2], shape[3]), floats(&m["maps"])).unwrap();
    let views: Vec<_> = maps.outer_iter().collect();
    let colors = FeatureColors::fit(&views).unwrap();
    all_near(colors.components.iter().copied(), &m["components"], 1e-5, "components");
    all_near(colors.explained, &m["explained"], 1e-5, "explained variance");
    all_near(colors.project(views[1]).unwrap(), &m["projected"], 1e-4, "projection");
    let prompt = Array1::from_vec(floats(&m["prompt"]));
    all_near(prompt_similarity(views[0], prompt.view()).unwrap(), &m["similarity"], 1e-5, "similarity");
}

#[test]
fn results_make_a_report() {
    let f = fixture();
    let (train, val, test) = (Split::of(&f, "train"), Split::of(&f, "val"), Split::of(&f, "test"));
    let legend = Legend::from_names((0..7).map(|k| format!("class <{k}>"))).unwrap();
    let z = &f["zero_shot"];
    let features = class_features(table(&z["prompts"], 6).view(), &indices(&z["counts"])).unwrap();
    let mut report = ProtocolReport::new("Evaluation of <a model>");
    report.summary = "Random vectors.".into();
    report.split =
        Some(SplitNote { kind: "given split".into(), honesty: Honesty::Unknown, sentence: "As published.".into() });
    let zero = zero_shot(test.x.view(), features.view(), &test.y, None, &quick()).unwrap();
    report.sections.push(zero.section("Zero-shot", &legend));
    let near = knn(train.labelled(), test.labelled(), 7, 5, None, &quick()).unwrap();
    report.sections.push(near.section("Nearest neighbours", &legend));
    let options = ProbeOptions { strengths: vec![0.1, 1.0], ..ProbeOptions::default() };
    let probe = linear_probe(train.labelled(), val.labelled(), test.labelled(), 7, &options, None, &quick()).unwrap();
    report.sections.push(probe.section("Linear probe", &legend));
    let r = &f["retrieval"];
    let (images, texts, owners) = (table(&r["images"], 6), table(&r["texts"], 6), indices(&r["owners"]));
    let found = retrieval(images.view(), texts.view(), &owners, None, &quick()).unwrap();
    report.sections.push(found.section("Retrieval"));
    let m = &f["multilabel"];
    let (scores, truth) = (table(&m["scores"], 5), truths(&m["truth"], 5));
    let multi = multilabel(scores.view(), truth.view(), &Thresholds::One(0.5), None, &quick()).unwrap();
    report.sections.push(multi.section("Labels", &Legend::from_names(["a", "b", "c", "d", "e"]).unwrap()));
    let tsne = TsneOptions { epochs: 50, ..TsneOptions::default() };
    let classes: Vec<usize> = (0..7).collect();
    let space = tiles_and_texts((test.x.view(), &test.y), (features.view(), &classes), &legend, true, &tsne).unwrap();
    report.tiles_texts = Some(space);

    let folder = tempfile::tempdir().unwrap();
    let files = report.write(folder.path()).unwrap();
    let html = std::fs::read_to_string(&files.html).unwrap();
    assert!(html.contains("Evaluation of &lt;a model&gt;") && !html.contains("class <3>"));
    for word in ["Zero-shot", "top-5", "R@10", "average precision", "C = ", "Tiles and texts", "Confusion matrix"] {
        assert!(html.contains(word), "{word}");
    }
    assert_eq!(html.matches("<svg").count(), report.figures().unwrap().len());
    let markdown = std::fs::read_to_string(&files.markdown).unwrap();
    for figure in files.figures.iter().filter(|p| p.extension().is_some_and(|e| e == "png")) {
        let name = figure.file_name().unwrap().to_str().unwrap();
        assert!(markdown.contains(&format!("(figures/{name})")), "{name}");
        assert!(figure.is_file());
    }
    let json = std::fs::read_to_string(&files.json).unwrap();
    assert_eq!(serde_json::from_str::<ProtocolReport>(&json).unwrap().sections, report.sections);
    assert!(ProtocolReport::new("empty").write(folder.path()).unwrap_err().to_string().contains("no section"));
    report.sections[0].confusion = None;
    report.sections[0].legend = None;
    assert!(report.write(folder.path()).is_err());
}
