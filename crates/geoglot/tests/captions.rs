//! Captions through the binary: facts, wording, checking, faults, a language model behind a stub server.

#[allow(dead_code)]
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{Work, recipe};
use geoglot::core::{Affine, Crs, Grid};
use geoglot::data::captions::{CaptionedImage, Kind, check_caption, read_manifest, word_count};
use geoglot::raster::{RasterSpec, RasterWriter, SampleType};
use ndarray::Array3;
use serde_json::{Value, json};

const LEGEND: &str = "[[class]]\nid = 1\nname = \"water\"\n[[class]]\nid = 2\nname = \"trees\"\n[[class]]\nid = 3\nname = \"Built area\"\n";
const LAND: &str = "name = \"land\"\nkind = \"land-cover\"\nimage = \"aerial image\"\nimages = \"img/{id}.tif:sensor=rgb\"\nlabels = \"lab/{id}.tif\"\nlegend = \"legend.toml\"\n";

fn grid(offset: f64) -> Grid {
    Grid {
        crs: Some(Crs::Epsg(32632)),
        transform: Affine::north_up(500_000.0 + offset, 5_000_000.0, 10.0, 10.0),
        width: 40,
        height: 40,
    }
}

fn write(work: &Work, name: &str, grid: &Grid, bands: &[&str], value: impl Fn(usize, usize, usize) -> f32) {
    std::fs::create_dir_all(work.path(name).parent().unwrap()).unwrap();
    work.raster(name, grid, bands, value);
}

/// Class 1 on the left, 2 on the right, 3 in a square of 5 × 5 pixels at the upper left of tile b.
fn label(tile: &str, row: usize, col: usize) -> f32 {
    match (tile, row, col) {
        ("b", 0..5, 0..5) => 3.0,
        (_, _, 0..30) => 1.0,
        _ => 2.0,
    }
}

fn land() -> Work {
    let work = Work::empty();
    work.write("legend.toml", LEGEND);
    work.write("recipe.toml", LAND);
    for tile in ["a", "b"] {
        write(&work, &format!("img/{tile}.tif"), &grid(0.0), &["red", "green", "blue"], |b, r, c| {
            (b * 50 + r + c) as f32
        });
        write(&work, &format!("lab/{tile}.tif"), &grid(0.0), &["class"], |_, r, c| label(tile, r, c));
    }
    work
}

fn manifest(work: &Work) -> Vec<CaptionedImage> {
    read_manifest(&work.path("out/captions.jsonl")).unwrap()
}

/// What holds for every manifest.
fn assert_sound(images: &[CaptionedImage]) {
    assert!(!images.is_empty());
    for image in images {
        assert!(!image.short.is_empty() && !image.long.is_empty());
        assert_eq!(image.bands.len(), image.wavelengths.len());
        for text in image.short.iter().chain(&image.long) {
            assert_eq!(check_caption(&image.facts, text), [], "{text}");
        }
        assert!(image.short.iter().all(|t| word_count(t) <= 30), "{:?}", image.short);
    }
}

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

#[test]
fn heights_are_worded_with_what_covers_the_extremes() {
    let work = land();
    let nan = |r: usize, c: usize| if r == 20 { f32::NAN } else { 100.0 + c as f32 };
    for tile in ["a", "b"] {
        write(&work, &format!("dem/{tile}.tif"), &grid(0.0), &["DEM"], |_, r, c| nan(r, c));
    }
    let text = LAND
        .replace("land-cover", "elevation")
        .replace("aerial image", "elevation map")
        .replace("img/{id}.tif:sensor=rgb", "dem/{id}.tif");
    work.write("recipe.toml", &text);
    work.run("caption recipe.toml --out out").ok();
    let images = manifest(&work);
    assert_sound(&images);
    let heights = images[0].facts.elevation.as_ref().unwrap();
    assert_eq!((heights.lowest.metres, heights.highest.metres), (100.0, 139.0));
    assert_eq!(heights.highest.class.as_ref().unwrap().words, "trees");
    assert_eq!(images[0].facts.valid_percent, 97.5);
    assert!(images[0].long.iter().all(|t| t.contains("139 m") && t.contains("100 m")), "{:?}", images[0].long);

    write(&work, "dem/b.tif", &grid(0.0), &["DEM"], |_, _, _| f32::NAN);
    work.run("caption recipe.toml --out out").fails(1, &["dem/b.tif", "no pixel has a height", "skip_faulty"]);
    let ran = work.run("caption recipe.toml --out out --set skip_faulty=true");
    assert!(ran.stderr.contains("warning:") && ran.stderr.contains("left out"), "{}", ran.stderr);
    ran.ok();
    assert_eq!(manifest(&work).len(), 1);
    assert_eq!(work.json("out/run.json")["results"]["left out"], 1);
}

#[test]
fn water_masks_are_worded_and_faulty_ones_named() {
    let work = Work::empty();
    let text = "name = \"flood\"\nkind = \"flood\"\nimage = \"SAR image\"\nimages = \"s1/{id}.tif:sensor=sar\"\n[mask]\npath = \"mask/{id}.tif:nodata=-1\"\n";
    work.write("recipe.toml", text);
    write(&work, "s1/x.tif", &grid(0.0), &["VV"], |_, _, _| -12.0);
    write(
        &work,
        "mask/x.tif",
        &grid(0.0),
        &["flood"],
        |_, r, c| if c < 10 { f32::from(u8::from(r < 20)) } else { 0.0 },
    );
    work.run("caption recipe.toml --out out").ok();
    let images = manifest(&work);
    assert_sound(&images);
    let flood = images[0].facts.flood.as_ref().unwrap();
    assert_eq!((flood.percent, flood.halves.top, flood.halves.right), (12.5, 25.0, 0.0));
    assert!(images[0].short.iter().any(|t| t.contains("upper left")), "{:?}", images[0].short);

    for (value, words) in [
        (-1.0, ["mask/x.tif", "without data"]),
        (7.0, ["mask/x.tif", "7 at col 0 row 0 is neither in mask.wet"]),
        (0.5, ["mask/x.tif", "no whole number"]),
    ] {
        write(&work, "mask/x.tif", &grid(0.0), &["flood"], |_, _, _| value);
        work.run("caption recipe.toml --out other").fails(1, &words);
        assert!(!work.path("other/captions.jsonl").exists());
    }
    // Dry land is a fact, too.
    write(&work, "mask/x.tif", &grid(0.0), &["flood"], |_, _, _| 0.0);
    work.run("caption recipe.toml --out out").ok();
    assert!(manifest(&work)[0].short.iter().all(|t| t.to_lowercase().contains("floodwater")));
}

fn boxes(work: &Work, annotations: Value) {
    let file = json!({
        "images": [{ "id": 1, "file_name": "a.png", "width": 64, "height": 48 }],
        "annotations": annotations,
        "categories": [{ "id": 1, "name": "ship" }, { "id": 2, "name": "unclear" }],
    });
    work.write("boxes.json", file.to_string());
}

fn ships() -> Work {
    let work = Work::empty();
    std::fs::create_dir(work.path("img")).unwrap();
    let image = geoglot::raster::preview::Image::new(64, 48, [40, 40, 40, 255]);
    image.save_png(&work.path("img/a.png")).unwrap();
    work.write("recipe.toml", "name = \"ships\"\nkind = \"objects\"\nimage = \"SAR image\"\nimages = \"img:sensor=sar,bands=VV,variable=grey\"\n[objects]\npath = \"boxes.json\"\nignore = [\"unclear\"]\n");
    work
}

#[test]
fn boxes_are_counted_and_faulty_ones_named() {
    let work = ships();
    let ship = |x: i32, y: i32| json!({ "image_id": 1, "category_id": 1, "bbox": [x, y, 6, 4] });
    boxes(&work, json!([ship(2, 2), ship(10, 4), ship(3, 12)]));
    work.run("caption recipe.toml --out out").ok();
    let images = manifest(&work);
    assert_sound(&images);
    assert!(images[0].long.iter().all(|t| t.to_lowercase().contains("three")), "{:?}", images[0].long);
    assert!(images[0].long.iter().any(|t| t.contains("in the upper left")), "{:?}", images[0].long);
    assert_eq!(images[0].wavelengths, [None]);

    for (bbox, words) in [
        (json!([200, 2, 6, 4]), ["boxes.json, a.png", "outside the image of 64×48"]),
        (json!([60, 2, 6, 4]), ["annotation 1 (ship)", "clip = true"]),
        (json!([60, 2, 0, 4]), ["boxes.json", "no area"]),
        (json!([60, 2]), ["boxes.json", "2 numbers"]),
    ] {
        boxes(&work, json!([{ "image_id": 1, "category_id": 1, "bbox": bbox }]));
        work.run("caption recipe.toml --out other").fails(1, &words);
    }
    boxes(&work, json!([{ "image_id": 1, "category_id": 1, "bbox": [60, 2, 6, 4] }]));
    work.run("caption recipe.toml --out out --set objects.clip=true").ok();
    // No ships is a fact; nothing but boxes that are left out is none.
    boxes(&work, json!([]));
    work.run("caption recipe.toml --out out").ok();
    assert!(manifest(&work)[0].short.iter().all(|t| t.contains("ships")), "{:?}", manifest(&work)[0].short);
    boxes(&work, json!([{ "image_id": 1, "category_id": 2, "bbox": [6, 2, 6, 4] }]));
    work.run("caption recipe.toml --out other").fails(1, &["left-out categories only"]);
    boxes(&work, json!([{ "image_id": 9, "category_id": 1, "bbox": [6, 2, 6, 4] }]));
    work.run("caption recipe.toml --out other").fails(1, &["annotation 1", "image 9"]);
    work.write("boxes.json", "[]");
    work.run("caption recipe.toml --out other").fails(1, &["boxes.json", "not a COCO file"]);
    work.run("caption recipe.toml --out other --set objects.ignore=[\"cat\"]").fails(1, &["boxes.json"]);
}

#[test]
fn shares_and_descriptions_are_worded() {
    let work = land();
    work.write("shares.csv", "image,water,trees\na.tif,80,20\nb.tif,0.5,99.5\n");
    let text = "name = \"shares\"\nkind = \"shares\"\nimages = \"img:sensor=rgb\"\n[shares]\npath = \"shares.csv\"\nunit = \"percent\"\n";
    work.write("shares.toml", text);
    work.run("caption shares.toml --out out").ok();
    assert_sound(&manifest(&work));
    work.run("caption shares.toml --out out --set shares.unit=fraction").fails(1, &["water", "8000"]);
    work.write("shares.csv", "image,water\na.tif,much\n");
    work.run("caption shares.toml --out out").fails(1, &["shares.csv, line 2", "`much`"]);

    let first = "Water covers 73% of the scene.";
    let text = format!(
        "{first} Trees stand along the right side, in a long and unbroken row that runs all the way from the top of the image to its bottom. There is nothing else."
    );
    work.write("texts.json", json!([{ "image": "a.tif", "caption": text }]).to_string());
    work.write("texts.toml", "name = \"texts\"\nkind = \"description\"\nimages = \"img:sensor=rgb\"\n[dataset]\npath = \"texts.json\"\nformat = \"caption-json\"\n");
    work.run("caption texts.toml --out out").ok();
    let images = manifest(&work);
    assert_sound(&images);
    assert_eq!((images[0].short[0].as_str(), &images[0].long[0]), (first, &text));
}

#[test]
fn faulty_labels_and_recipes_are_named() {
    let work = land();
    let fails =
        |more: &str, words: &[&str]| work.run(&format!("caption recipe.toml --out other {more}")).fails(1, words);
    write(&work, "lab/b.tif", &grid(0.0), &["class"], |_, _, c| if c == 3 { 9.0 } else { 1.0 });
    fails("", &["lab/b.tif", "9 (40 pixels)", "1 water"]);
    write(&work, "lab/b.tif", &grid(1e6), &["class"], |_, _, _| 1.0);
    fails("", &["lab/b.tif", "does not overlap"]);
    write(&work, "lab/b.tif", &grid(350.0), &["class"], |_, _, _| 1.0);
    fails("", &["lab/b.tif", "12.5 %", "least_valid"]);
    write(&work, "lab/b.tif", &Grid::unreferenced(30, 30), &["class"], |_, _, _| 1.0);
    fails("", &["lab/b.tif", "30 × 30 pixels"]);
    write(&work, "lab/b.tif", &grid(0.0), &["class"], |_, _, _| 0.0);
    fails("", &["lab/b.tif", "no pixel has a class"]);
    write(&work, "lab/b.tif", &grid(0.0), &["class", "other"], |_, _, _| 1.0);
    fails("", &["lab/b.tif", "2 bands"]);
    work.write("lab/b.tif", "no raster");
    fails("", &["lab/b.tif"]);
    std::fs::remove_file(work.path("lab/b.tif")).unwrap();
    fails("", &["lab/b.tif"]);
    work.run("caption recipe.toml --out out --set skip_faulty=true").ok();
    assert_eq!(manifest(&work).len(), 1);

    work.write("legend.toml", "class = []");
    fails("", &["legend.toml", "no classes"]);
    work.write("legend.toml", LEGEND);
    fails("--set kind=poem", &["recipe.toml", "poem"]);
    fails("--set kind=flood", &["needs `[mask]`"]);
    fails("--set images=none/{id}.tif", &["no file fits"]);
    fails("--set images=none/{id.tif", &["{"]);
    fails("--set labels=lab/{day}.tif", &["{day}", "{id}"]);
    fails("--set paraphrases=0", &["paraphrases"]);
    fails("--set words.lake=tarn", &["`lake`", "water"]);
    fails("--set root=${GEOGLOT_UNSET_VARIABLE}", &["GEOGLOT_UNSET_VARIABLE", "not set"]);
    fails("--set endpoint.url=ftp://x --set endpoint.model=m", &["endpoint.url"]);
    work.edit("recipe.toml", "image =", "imagine =");
    fails("", &["recipe.toml", "imagine"]);
    work.run("caption missing.toml").fails(1, &["missing.toml"]);
    assert!(!work.path("other/captions.jsonl").exists());
}

/// A server that answers each request with what `answer` says of its number (from 0) and body: status and text. Keeps the requests.
struct Stub {
    url: String,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Stub {
    fn start(answer: impl Fn(usize, &Value) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer) = (kept.clone(), answer.clone());
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let (mut head, mut length) = (String::new(), 0);
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                            break;
                        }
                        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                        head += &line;
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).unwrap();
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    let number = {
                        let mut kept = kept.lock().unwrap();
                        kept.push((head, body.clone()));
                        kept.len() - 1
                    };
                    let (status, text) = answer(number, &body);
                    let mut stream = stream;
                    let _ = write!(
                        stream,
                        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                        text.len()
                    );
                });
            }
        });
        Self { url, requests }
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.requests.lock().unwrap().clone()
    }
}

fn chat(text: &str) -> (u16, String) {
    (200, json!({ "choices": [{ "message": { "role": "assistant", "content": text } }] }).to_string())
}

/// What is asked for: a description of facts or a short caption.
fn wants_short(body: &Value) -> bool {
    body["messages"][1]["content"].as_str().unwrap().starts_with("Shorten")
}

fn with_model(work: &Work, url: &str, more: &str) -> common::Ran {
    let line = format!(
        "caption recipe.toml --out out --set endpoint.url={url} --set endpoint.model=stub --set endpoint.timeout_seconds=20 --set endpoint.attempts=2 --set paraphrases=1 {more}"
    );
    let mut command = work.command(&line);
    command.env("STUB_KEY", "secret-word");
    common::Ran::new(command)
}

#[test]
fn a_language_model_words_facts_and_is_checked() {
    let work = land();
    // The first description has a wrong number, the second is right.
    let stub = Stub::start(|_, body| {
        let again = body["messages"].as_array().unwrap().len() > 2;
        match (wants_short(body), again) {
            (true, _) => chat("\"Mostly water, with trees on the right.\""),
            (false, true) => chat("**Water** covers about three quarters of the image,\nand trees lie on the right."),
            (false, false) => chat("Water covers 12% of the image."),
        }
    });
    with_model(&work, &stub.url, "--set endpoint.key_variable=STUB_KEY").ok();
    let images = manifest(&work);
    assert_sound(&images);
    for image in &images {
        assert_eq!(
            (image.worded_by.as_str(), image.short[0].as_str()),
            ("stub", "Mostly water, with trees on the right.")
        );
        assert_eq!(image.long, ["Water covers about three quarters of the image, and trees lie on the right."]);
    }
    let asked = stub.asked();
    assert_eq!(asked.len(), 6);
    let (head, body) = &asked[0];
    assert!(head.starts_with("POST /v1/chat/completions") && head.contains("Bearer secret-word"), "{head}");
    assert_eq!((&body["model"], &body["stream"]), (&json!("stub"), &json!(false)));
    let prompt = body["messages"][1]["content"].as_str().unwrap();
    assert!(prompt.contains("water") && prompt.contains("75.0%") || prompt.contains("73.4%"), "{prompt}");
    assert!(asked.iter().any(|(_, b)| b["messages"].to_string().contains("12%")), "the fault is told");
    assert_eq!(work.json("out/run.json")["results"]["statistics"]["worded_by"]["stub"], 2);
}

#[test]
fn wrong_words_of_a_model_are_replaced_or_refused() {
    let work = land();
    let stub = Stub::start(|_, _| chat("Trees cover 99% of the image."));
    with_model(&work, &stub.url, "").ok();
    let images = manifest(&work);
    assert_sound(&images);
    assert!(images.iter().all(|i| i.worded_by == "grammar"));
    assert_eq!(stub.asked().len(), 4);
    with_model(&work, &stub.url, "--set endpoint.on_disagreement=refuse")
        .fails(1, &["no image could be captioned", "`99%`"]);

    let long = "water ".repeat(40);
    let stub = Stub::start(move |_, body| if wants_short(body) { chat(&long) } else { chat("Water and trees.") });
    with_model(&work, &stub.url, "--set endpoint.on_disagreement=refuse").fails(1, &["40 words, at most 30"]);
}

#[test]
fn faults_of_an_endpoint_are_named_and_made_captions_kept() {
    let work = land();
    let cases: [(u16, &str, &[&str]); 6] = [
        (200, "<html>hello</html>", &["not JSON", "<html>hello</html>"]),
        (200, "{\"choices\": []}", &["choices[0].message.content"]),
        (401, "{\"error\": \"no\"}", &["401", "key"]),
        (404, "none", &["404", "`stub`"]),
        (503, "busy", &["503", "busy", "--resume"]),
        (400, "bad", &["400", "bad"]),
    ];
    for (status, text, words) in cases {
        let stub = Stub::start(move |_, _| (status, text.to_owned()));
        with_model(&work, &stub.url, "").fails(1, words);
        assert_eq!(stub.asked().len() > 2, status == 503, "only an overloaded server is asked again");
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    with_model(&work, &format!("http://{free}/v1"), "").fails(1, &["cannot be reached", "is the server running?"]);
    let slow = Stub::start(|_, _| {
        thread::sleep(Duration::from_secs(3));
        chat("late")
    });
    with_model(&work, &slow.url, "--set endpoint.timeout_seconds=0.3").fails(1, &["no answer within 0.3 s"]);
    with_model(&work, &slow.url, "--set endpoint.key_variable=GEOGLOT_UNSET_VARIABLE")
        .fails(1, &["GEOGLOT_UNSET_VARIABLE"]);
    assert!(!work.path("out/captions.jsonl").exists());

    // One image is answered, the other not; the second run asks for the missing one only.
    let broken = Arc::new(Mutex::new(true));
    let state = broken.clone();
    let stub = Stub::start(move |_, body| {
        // Only tile a has 75 % of water.
        let second = !wants_short(body) && !body["messages"][1]["content"].as_str().unwrap().contains("75.0%");
        if second && *state.lock().unwrap() { (400, "not now".into()) } else { chat("Water and trees.") }
    });
    with_model(&work, &stub.url, "").fails(1, &["not now", "--resume"]);
    assert!(work.path("out/captions.jsonl.part").exists() && !work.path("out/captions.jsonl").exists());
    *broken.lock().unwrap() = false;
    let before = stub.asked().len();
    with_model(&work, &stub.url, "--resume --set seed=5").fails(1, &["another recipe or seed"]);
    with_model(&work, &stub.url, "--resume").ok();
    assert_eq!(stub.asked().len() - before, 2);
    let keys: Vec<String> = manifest(&work).into_iter().map(|i| i.key).collect();
    assert_eq!(keys, ["a", "b"]);
    assert!(!work.path("out/captions.jsonl.part").exists());
}

/// A GeoTIFF of bytes, as FLAIR's.
fn bytes(work: &Work, name: &str, bands: usize, value: impl Fn(usize, usize, usize) -> f32) {
    let path = work.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let grid = grid(0.0);
    let names = (1..=bands).map(|b| format!("band {b}"));
    let mut writer = RasterWriter::create(&path, &grid, RasterSpec::values(SampleType::U8, names, None)).unwrap();
    let data = Array3::from_shape_fn((bands, grid.height, grid.width), |(b, r, c)| value(b, r, c));
    writer.write(grid.window(), data.view(), None).unwrap();
    writer.finish().unwrap();
}

/// The eight subsets of the paper's appendix, each on small made-up files laid out as the data set's.
#[test]
fn the_papers_eight_subsets_have_recipes_that_run() {
    let work = Work::empty();
    bytes(&work, "flair_aerial_train/D004_2021/Z1_NN/img/IMG_000007.tif", 5, |b, r, c| (10 * b + r + c) as f32);
    bytes(
        &work,
        "flair_labels_train/D004_2021/Z1_NN/msk/MSK_000007.tif",
        1,
        |_, r, c| if r + c > 60 { 1.0 } else { 10.0 },
    );
    bytes(&work, "EMSR107-1/s1_raw/EMSR107-1-0.tif", 2, |_, _, _| 3.0);
    bytes(&work, "EMSR107-1/mask/EMSR107-1-0.tif", 1, |_, r, _| f32::from(u8::from(r > 30)));
    bytes(&work, "enmap/p1.tif", 224, |b, _, _| b as f32);
    bytes(&work, "nlcd/p1.tif", 1, |_, _, c| if c < 25 { 41.0 } else { 22.0 });
    let image = geoglot::raster::preview::Image::new(64, 48, [40, 40, 40, 255]);
    let file = |name: &str| {
        json!({ "images": [{ "id": 1, "file_name": name, "width": 64, "height": 48 }],
            "annotations": [{ "image_id": 1, "category_id": 1, "bbox": [50, 2, 20, 4] }],
            "categories": [{ "id": 1, "name": "ship" }] })
    };
    std::fs::create_dir_all(work.path("annotations")).unwrap();
    for folder in ["JPEGImages", "images", "S1", "S2"] {
        std::fs::create_dir_all(work.path(folder)).unwrap();
        image.save_png(&work.path(folder).join("a.png")).unwrap();
    }
    for list in ["annotations/train2017.json", "annotations/train.json", "annotations.json"] {
        work.write(list, file("a.png").to_string());
    }
    work.write(
        "descriptions.json",
        json!([{ "image": "a.png", "caption": "A wide plain of grass. Trees in the north." }]).to_string(),
    );
    let thermal = json!({ "images": [{ "id": 1, "filename": "a.png", "width": 64, "height": 48 }],
        "annotation": [{ "image_id": 1, "category_id": 0, "bbox": [5, 2, 2, 4] }],
        "categories": [{ "id": 0, "name": "Person" }, { "id": 3, "name": "OtherVehicle" }, { "id": 4, "name": "DontCare" }] });
    std::fs::create_dir_all(work.path("hit-uav/test")).unwrap();
    image.save_png(&work.path("hit-uav/test/a.png")).unwrap();
    work.write("hit-uav/test.json", thermal.to_string());
    let recipes = [
        ("flair2-rgb", "FLAIR2", Kind::LandCover, "herbaceous vegetation"),
        ("flair2-elevation", "FLAIR2", Kind::Elevation, "above the ground"),
        ("mmflood-sar", "MMFLOOD", Kind::Flood, "floodwater"),
        ("sar-ship-hrsid", "HRSID", Kind::Objects, "one ship"),
        ("sar-ship-ssdd", "SSDD", Kind::Objects, "one ship"),
        ("sar-ship-air-sarship", "AIR_SARSHIP", Kind::Objects, "one ship"),
        ("chatearthnet-sar", "CHATEARTHNET", Kind::Description, "grass"),
        ("chatearthnet-s2", "CHATEARTHNET", Kind::Description, "grass"),
        ("nlcd-hyper", "ENMAP_NLCD", Kind::LandCover, "deciduous forest"),
        ("ir-ship", "GEOGLOT_DATA", Kind::Objects, "one person"),
    ];
    for (name, variable, kind, words) in recipes {
        let path = recipe(&format!("captions/{name}.toml"));
        assert_eq!(geoglot::workflow::captions::load(&path, &[]).unwrap().recipe.kind, kind, "{name}");
        let mut command = work.command("caption --out out");
        command.arg(&path).env(variable, work.path("."));
        common::Ran::new(command).ok();
        let images = manifest(&work);
        assert_sound(&images);
        let all = images[0].short.iter().chain(&images[0].long).map(|t| t.to_lowercase());
        assert!(all.clone().any(|t| t.contains(words)), "{name}: {:?}", all.collect::<Vec<_>>());
        if name == "flair2-elevation" {
            // Stored in steps of 0.2 m.
            assert!((images[0].facts.elevation.as_ref().unwrap().highest.metres - 0.2 * 118.0).abs() < 1e-4);
        }
        if name == "nlcd-hyper" {
            assert!(images[0].wavelengths.len() == 224 && images[0].wavelengths.iter().all(Option::is_some));
        }
    }
    // The others parse.
    for entry in std::fs::read_dir(recipe("captions")).unwrap() {
        geoglot::workflow::captions::load(&entry.unwrap().path(), &[]).unwrap();
    }
}

#[test]
fn real_images_are_captioned() {
    let Some(data) = std::env::var_os("GEOGLOT_DATA") else {
        eprintln!("skipped: GEOGLOT_DATA is not set");
        return;
    };
    let work = Work::empty();
    for (name, count, folder) in [
        ("terramind", 4, "terramind"),
        ("terramind-elevation", 4, "terramind"),
        ("sen1floods11", 1, "sen1floods11"),
        ("ir-ship", 50, "hit-uav"),
        ("bigearthnet", 6, "bigearthnet"),
    ] {
        if !std::path::Path::new(&data).join(folder).is_dir() {
            eprintln!("skipped: {folder} is not in GEOGLOT_DATA");
            continue;
        }
        let mut command = work.command("caption --out out");
        command.arg(recipe(&format!("captions/{name}.toml"))).env("GEOGLOT_DATA", &data);
        common::Ran::new(command).ok();
        let images = manifest(&work);
        assert!(images.len() >= count, "{name}: {}", images.len());
        assert_sound(&images);
        assert!(images.iter().all(|i| !i.bands.is_empty() && i.scene(geoglot::core::Registry::builtin()).is_ok()));
    }
}
