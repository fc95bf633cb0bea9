//! Heights, water, boxes, shares and descriptions.

use serde_json::{Value, json};

use crate::common::Work;
use crate::{LAND, assert_sound, grid, land, manifest, write};

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
fn texts_in_any_script_are_kept_and_shortened() {
    let work = land();
    let chinese = format!("河流穿过城市，水体占52%。{}。", "农田一直延伸到图像的边缘".repeat(8));
    let arabic = format!("يمر نهر عبر المدينة، وتغطي المياه ٥٢٪ منها. {}", "حقول واسعة ".repeat(30));
    let texts = json!([{ "image": "a.tif", "caption": chinese }, { "image": "b.tif", "caption": arabic.trim() }]);
    work.write("texts.json", texts.to_string());
    work.write("texts.toml", "name = \"texts\"\nkind = \"description\"\nimages = \"img:sensor=rgb\"\n[dataset]\npath = \"texts.json\"\nformat = \"caption-json\"\n");
    work.run("caption texts.toml --out out").ok();
    let images = manifest(&work);
    assert_sound(&images);
    assert_eq!((images[0].short[0].as_str(), &images[0].long[0]), ("河流穿过城市，水体占52%。", &chinese));
    assert_eq!(images[1].short[0], "يمر نهر عبر المدينة، وتغطي المياه ٥٢٪ منها.");
    work.run("caption --check out/captions.jsonl").ok();
    let text = String::from_utf8(work.read("out/captions.jsonl")).unwrap();
    work.write("out/captions.jsonl", text.replace("٥٢", "٧٢").replacen("٧٢", "٥٢", 1));
    work.run("caption --check out/captions.jsonl").fails(1, &["2 numbers disagree with the facts"]);
    // Names of classes in the language of the legend, with a face among them.
    work.write(
        "legend.toml",
        "[[class]]\nid = 1\nname = \"مياه\"\n[[class]]\nid = 2\nname = \"森林\"\n[[class]]\nid = 3\nname = \"🏘️\"\n",
    );
    work.run("caption recipe.toml --out out").ok();
    let images = manifest(&work);
    assert_sound(&images);
    assert!(images[0].long[0].contains("森林") && images[1].long[0].contains("🏘️"), "{:?}", images[1].long);
    work.run("shards write out/captions.jsonl --out shards").ok();
    assert!(work.run("shards verify shards").ok().contains("2 samples"));
}
