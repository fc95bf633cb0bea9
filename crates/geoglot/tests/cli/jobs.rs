//! Training, evaluation and ablation: what they write, read back.

use serde_json::Value;

use crate::common::Work;

/// Figures and pages that a browser must be able to open alone.
fn self_contained(html: &[u8]) {
    let html = std::str::from_utf8(html).unwrap();
    assert!(html.starts_with("<!doctype html>") || html.starts_with("<!DOCTYPE html>"), "{}", &html[..80]);
    for outside in ["src=\"http", "href=\"http", "src=\"figures", "<link", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn training_writes_model_log_and_record() {
    let work = Work::new();
    let said = work.run("train recipe.toml --out model --set train.epochs=2").ok();
    let run = work.json("model/run.json");
    let hash = run["model_hash"].as_str().unwrap();
    assert!(said.contains(hash), "{said}");
    assert_eq!(geoglot::models::mmlgnet::sha256(&work.read("model/model.safetensors")), hash);
    for key in ["version", "command", "arguments", "seed", "inputs", "split", "started_unix", "seconds", "results"] {
        assert!(!run[key].is_null(), "{key}");
    }
    assert_eq!(run["inputs"][0]["bands"].as_array().unwrap().len(), 63);
    assert!(run["results"]["validation OA"].as_f64().is_some());
    let card = work.json("model/config.json");
    assert_eq!((card["weights_sha256"].as_str(), card["space"].as_str()), (Some(hash), Some("hashed-words-384")));
    assert_eq!(card["class_features"].as_array().unwrap().len(), card["legend"]["class"].as_array().unwrap().len());
    let log = String::from_utf8(work.read("model/history.csv")).unwrap();
    assert_eq!(log.lines().count(), 3, "{log}");
    let lines: Vec<Value> = String::from_utf8(work.read("model/history.jsonl"))
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.iter().map(|l| l["epoch"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert!(lines.iter().all(|l| l["loss"].as_f64().unwrap().is_finite()));
    let events = work.files("model").into_iter().find(|f| f.starts_with("events.out.tfevents")).unwrap();
    assert!(work.read(&format!("model/{events}")).len() > 100);
    // The recipe as it was run, overrides included.
    let recipe: toml::Table = toml::from_str(&String::from_utf8(work.read("model/recipe.toml")).unwrap()).unwrap();
    assert_eq!(recipe["train"]["epochs"].as_integer(), Some(2));
    assert!(!work.files("model").iter().any(|f| f.ends_with(".tmp")));
}

#[test]
fn evaluation_writes_reports_of_every_method() {
    let work = Work::new();
    let said = work.run("evaluate recipe.toml --out e --set split.at_most=40").ok();
    let report = work.json("e/report.json");
    let methods = report["methods"].as_array().unwrap();
    let names: Vec<&str> = methods.iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert!(
        ["MMLGNet", "random forest", "coordinates only"].iter().all(|n| names.iter().any(|m| m.contains(n))),
        "{names:?}"
    );
    let pixels = |m: &Value| m["scores"]["confusion"]["counts"].to_string();
    for (method, name) in methods.iter().zip(&names) {
        assert!(said.contains(name), "{said}");
        let oa = &method["scores"]["oa"];
        let [low, value, high] = ["low", "value", "high"].map(|k| oa[k].as_f64().unwrap());
        assert!((0.0..=1.0).contains(&low) && low <= value && value <= high && high <= 1.0, "{name}: {oa}");
        assert!(
            method["scores"]["kappa"]["value"].as_f64().is_some() && method["scores"]["aa"]["value"].as_f64().is_some()
        );
        assert!(!pixels(method).is_empty());
    }
    assert!(report["split"]["sentence"].as_str().unwrap().contains("Spatially disjoint blocks"));
    assert_eq!(report["split"]["honesty"], "honest");
    assert_eq!(report["curves"].as_array().unwrap().len(), 2);
    assert!(!report["joint_space"]["prompts"].as_array().unwrap().is_empty());
    self_contained(&work.read("e/report.html"));
    let page = String::from_utf8(work.read("e/report.md")).unwrap();
    assert!(names.iter().all(|n| page.contains(n)) && page.contains("kappa"), "{page}");
    let run = work.json("e/run.json");
    assert_eq!(run["results"]["OA, random forest"], methods[1]["scores"]["oa"]);
    // Once more, the finished folds taken as they are.
    let before = ["e/fold-1/model.safetensors", "e/fold-2/model.safetensors"]
        .map(|f| work.path(f).metadata().unwrap().modified().unwrap());
    let json: Value =
        serde_json::from_str(&work.run("evaluate recipe.toml --out e --set split.at_most=40 --resume --json").ok())
            .unwrap();
    let after = ["e/fold-1/model.safetensors", "e/fold-2/model.safetensors"]
        .map(|f| work.path(f).metadata().unwrap().modified().unwrap());
    assert_eq!(before, after);
    for (a, b) in json["methods"].as_array().unwrap().iter().zip(methods) {
        assert_eq!((&a["name"], &a["scores"]), (&b["name"], &b["scores"]));
    }
}

#[test]
fn ablation_writes_every_table_and_resumes() {
    let work = Work::new();
    let line = "ablate recipe.toml --out a --set train.epochs=1 --set train.steps_per_epoch=1 --set split.at_most=30";
    let said = work.run(line).ok();
    let report = work.json("a/ablation.json");
    let tables = report["tables"].as_array().unwrap();
    let rows: Vec<usize> = tables.iter().map(|t| t["rows"].as_array().unwrap().len()).collect();
    assert_eq!(rows, [3, 1, 3, 2]);
    for table in tables {
        assert!(said.contains(table["title"].as_str().unwrap()), "{said}");
        for row in table["rows"].as_array().unwrap() {
            assert_eq!(row["runs"].as_array().unwrap().len(), 2, "{row}");
            assert!(row["runs"].as_array().unwrap().iter().all(|r| (0.0..=1.0).contains(&r["oa"].as_f64().unwrap())));
        }
    }
    // The recipe as it stands is a row of each table and trained once.
    assert_eq!(tables[0]["rows"][2]["runs"], tables[1]["rows"][0]["runs"]);
    assert_eq!(tables[0]["rows"][2]["runs"], tables[2]["rows"][2]["runs"]);
    self_contained(&work.read("a/ablation.html"));
    assert!(String::from_utf8(work.read("a/ablation.md")).unwrap().contains("table III"));
    let runs = work.files("a/runs");
    let written = |f: &String| work.path(format!("a/runs/{f}")).metadata().unwrap().modified().unwrap();
    let before: Vec<_> = runs.iter().map(written).collect();
    // A run that is missing is made again, the others are not.
    std::fs::remove_file(work.path(format!("a/runs/{}", runs[0]))).unwrap();
    let json: Value = serde_json::from_str(&work.run(&format!("{line} --resume --json")).ok()).unwrap();
    assert_eq!(json["tables"], report["tables"]);
    assert_eq!(work.files("a/runs"), runs);
    assert_eq!(runs.iter().skip(1).map(written).collect::<Vec<_>>(), before[1..]);
}
