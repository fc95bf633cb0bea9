//! Land cover.

use serde_json::{Value, json};

use crate::{assert_sound, land, manifest};

#[test]
fn land_cover_is_worded_truly_and_the_same_way_every_time() {
    let work = land();
    let said = work.run("caption recipe.toml --out out").ok();
    assert!(said.contains("2 images") && said.contains("every number checked"), "{said}");
    let images = manifest(&work);
    assert_sound(&images);
    let b = &images[1];
    assert_eq!((b.key.as_str(), b.bands.len(), b.facts.gsd), ("b", 3, Some(10.0)));
    assert_eq!(b.wavelengths, [Some(0.665), Some(0.56), Some(0.49)]);
    let cover = b.facts.cover.as_ref().unwrap();
    let shares: Vec<(&str, f64)> = cover.classes.iter().map(|c| (c.name.as_str(), c.percent)).collect();
    assert_eq!(shares, [("water", 73.4375), ("trees", 25.0), ("Built area", 1.5625)]);
    assert!(
        b.long.iter().any(|t| t.contains("73%")) && b.long.iter().any(|t| t.contains("built area")),
        "{:?}",
        b.long
    );
    let [lon, lat] = b.geoloc.unwrap();
    assert!((lon - 9.0).abs() < 0.01 && (lat - 45.15).abs() < 0.02, "{lon} {lat}");
    // What a shard needs of it can be read back.
    let pixels = b.read(geoglot::core::Registry::builtin()).unwrap();
    assert_eq!((pixels.data.dim(), pixels.data[(2, 3, 4)]), ((3, 40, 40), 107.0));
    let run = work.json("out/run.json");
    assert_eq!((&run["command"], &run["seed"], &run["results"]["left out"]), (&json!("caption"), &json!(0), &json!(0)));
    assert_eq!(run["inputs"][0]["bands"].as_array().unwrap().len(), 3);
    let html = String::from_utf8(work.read("out/report.html")).unwrap();
    assert!(html.contains("Most frequent words") && html.contains("water") && html.contains("data:image/png"));
    assert!(work.files("out").contains(&"figures/short-captions-lengths.png".to_owned()), "{:?}", work.files("out"));

    let first = work.read("out/captions.jsonl");
    work.run("caption recipe.toml --out out").ok();
    assert_eq!(work.read("out/captions.jsonl"), first);
    work.run("caption recipe.toml --out out --seed 7 --set paraphrases=2").ok();
    let other = manifest(&work);
    assert!(other[1].seed == 7 && other[1].short != b.short && other[1].facts == b.facts && other[1].short.len() <= 2);
    let printed: Value = serde_json::from_str(&work.run("caption recipe.toml --out out --json").ok()).unwrap();
    assert_eq!(printed["statistics"]["images"], 2);
}

#[test]
fn a_manifest_is_checked_and_wrong_numbers_are_found() {
    let work = land();
    work.run("caption recipe.toml --out out").ok();
    let said = work.run("caption --check out/captions.jsonl").ok();
    assert!(said.contains("0 wrong numbers"), "{said}");
    let text = String::from_utf8(work.read("out/captions.jsonl")).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    lines[1]["short"][0] = json!("Water covers 93% of this aerial image.");
    let all: String = lines.iter().map(|l| format!("{l}\n")).collect();
    work.write("wrong.jsonl", all);
    let ran = work.run("caption --check wrong.jsonl");
    assert!(ran.stdout.contains("`93%`: the facts say") && ran.stdout.contains("b: "), "{}", ran.stdout);
    ran.fails(1, &["1 numbers disagree"]);
    work.write("broken.jsonl", "{\"key\": 1}\n");
    work.run("caption --check broken.jsonl").fails(1, &["broken.jsonl, line 1", "not an image of a caption manifest"]);
    work.write("empty.jsonl", "");
    work.run("caption --check empty.jsonl").fails(1, &["the manifest is empty"]);
    work.run("caption --check missing.jsonl").fails(1, &["missing.jsonl"]);
    assert_eq!(work.run("caption").code, Some(2));
}
