//! Reports from sample data: whole, self-contained, escaped, readable back.

#[path = "../examples/sample/mod.rs"]
mod sample;

use geoglot_eval::{AblationReport, Honesty, Report, Role};

/// Everything a browser would fetch or run.
fn assert_self_contained(html: &str) {
    for word in ["http:", "https:", "//cdn", "<script", "<link", "@import", "<iframe", "javascript:"] {
        assert!(!html.contains(word), "the page holds {word}");
    }
    for (attribute, allowed) in [("src=\"", "data:image/png;base64,"), ("url(", "data:")] {
        for (at, _) in html.match_indices(attribute) {
            assert!(html[at + attribute.len()..].starts_with(allowed), "{}", &html[at..at + 60]);
        }
    }
    assert!(!html.contains(" href="));
}

#[test]
fn a_report_is_written_whole_and_reads_back() {
    let report = sample::report(60);
    let dir = tempfile::tempdir().unwrap();
    let files = report.write(dir.path()).unwrap();

    let mut back: Report = serde_json::from_slice(&std::fs::read(&files.json).unwrap()).unwrap();
    for (image, original) in back.images.iter_mut().zip(&report.images) {
        assert!(image.png.is_empty(), "pictures stay out of the JSON");
        image.png.clone_from(&original.png);
    }
    assert_eq!(back, report);

    let html = std::fs::read_to_string(&files.html).unwrap();
    assert_self_contained(&html);
    assert!(html.contains("roof &lt;high&gt;") && !html.contains("roof <high>"), "names are escaped");
    assert!(html.contains("trees &amp; shrubs"));
    for word in [
        "honest split",
        "geoglot",
        "random forest",
        "coordinates only",
        "Read this first",
        "sample_dsm.tif",
        "9f2c4d0b",
    ] {
        assert!(html.contains(word), "no `{word}`");
    }
    let oa = report.methods[0].scores.oa.unwrap().value;
    assert!(html.contains(&format!("{:.2}", oa * 100.0)));
    // Seven figures: methods, classes, three matrices, curves, joint space.
    assert_eq!(html.matches("<svg").count(), 7);
    assert_eq!(html.matches("</svg>").count(), 7);

    let md = std::fs::read_to_string(&files.markdown).unwrap();
    for (at, _) in md.match_indices("](figures/") {
        let name = md[at + 2..].split(')').next().unwrap();
        assert!(dir.path().join(name).is_file(), "{name} is linked but not there");
    }
    assert!(md.contains("roof &lt;high\\>"));
    for figure in &files.figures {
        let bytes = std::fs::read(figure).unwrap();
        let whole = if figure.extension().unwrap() == "png" {
            bytes.starts_with(b"\x89PNG")
        } else {
            bytes.starts_with(b"<svg")
        };
        assert!(whole, "{}", figure.display());
    }
}

#[test]
fn hostile_words_stay_words() {
    let mut report = sample::report(5);
    let evil = "</title><script>alert('x')</script>\"><img src=x onerror=y>";
    report.title = evil.into();
    report.summary = evil.into();
    report.split.sentence = evil.into();
    report.legend.classes[0].name = evil.into();
    report.legend.classes[1].prompts = vec![evil.into()];
    report.methods[0].name = evil.into();
    report.methods[1].note = evil.into();
    report.bands[0].path = evil.into();
    report.images[0].title = evil.into();
    report.curves[0].name = evil.into();
    report.warnings.push(evil.into());
    report.facts.insert(evil.into(), evil.into());
    let html = report.html().unwrap();
    assert!(!html.contains("<script") && !html.contains("<img src=x"));
    assert_self_contained(&html);
    assert!(!report.markdown().unwrap().contains("<script"));
    let dir = tempfile::tempdir().unwrap();
    let files = report.write(dir.path()).unwrap();
    assert!(files.figures.iter().all(|f| f.starts_with(dir.path().join("figures")) && f.is_file()));
}

#[test]
fn the_report_says_what_a_reader_must_know() {
    let mut report = sample::report(5);
    report.split.honesty = Honesty::Optimistic;
    report.methods.swap(0, 2);
    assert_eq!(report.methods[0].role, Role::CoordinatesOnly);
    let notes = report.notes().join("\n");
    assert!(notes.contains("higher than those on new ground") && notes.contains("does not beat geoglot"), "{notes}");
    assert!(report.html().unwrap().contains("optimistic split"));

    report.methods.clear();
    assert!(report.html().unwrap_err().to_string().contains("no method"));
    let mut report = sample::report(5);
    report.legend.classes.pop();
    assert!(report.write(std::path::Path::new("/nonexistent")).unwrap_err().to_string().contains("geoglot"));
}

#[test]
fn a_report_that_cannot_be_written_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = sample::report(5).write(&file).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn ablations_are_written_and_compared_in_pairs() {
    let report = sample::ablation();
    let dir = tempfile::tempdir().unwrap();
    let files = report.write(dir.path()).unwrap();
    let back: AblationReport = serde_json::from_slice(&std::fs::read(&files.json).unwrap()).unwrap();
    assert_eq!(back, report);
    let html = std::fs::read_to_string(&files.html).unwrap();
    assert_self_contained(&html);
    assert_eq!(html.matches("<svg").count(), 4);
    let modality = &report.tables[2];
    let lidar = modality.difference(1, &Default::default()).unwrap().unwrap();
    assert!(lidar.pairs == 5 && lidar.mean.high < -0.3, "{lidar:?}");
    assert!(modality.difference(2, &Default::default()).unwrap().is_none());

    let mut wrong = report.clone();
    wrong.tables[0].reference = Some(9);
    assert!(wrong.html().unwrap_err().to_string().contains("reference row 9 of 3"));
    wrong.tables.clear();
    assert!(wrong.html().is_err());
}
