//! The subsets of the paper and real images.

use geoglot::data::captions::Kind;
use geoglot::raster::{RasterSpec, RasterWriter, SampleType};
use ndarray::Array3;
use serde_json::json;

use crate::common::{Ran, Work, recipe};
use crate::{assert_sound, grid, manifest};

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
        Ran::new(command).ok();
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
        Ran::new(command).ok();
        let images = manifest(&work);
        assert!(images.len() >= count, "{name}: {}", images.len());
        assert_sound(&images);
        assert!(images.iter().all(|i| !i.bands.is_empty() && i.scene(geoglot::core::Registry::builtin()).is_ok()));
    }
}
