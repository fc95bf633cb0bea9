//! PNG and JPEG decoding.

use super::*;

#[test]
fn images_are_those_of_pillow() {
    let text = fs::read_to_string(fixtures().join("pixels.json")).unwrap();
    let numbers: serde_json::Value = serde_json::from_str(&text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, expected) in numbers.as_object().unwrap() {
        let path = dir.path().join("x").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(fixtures().join(name), &path).unwrap();
        let set = open(dir.path());
        let pixels = set.read(0).unwrap();
        fs::remove_file(&path).unwrap();
        let shape = expected["shape"].as_array().unwrap();
        let stored = shape.get(2).map_or(1, |c| c.as_u64().unwrap() as usize);
        let channels = pixels.data.dim().0;
        let value =
            |r: usize, c: usize, k: usize| expected["values"][(r * 32 + c) * stored + k].as_f64().unwrap() as f32;
        assert_eq!(pixels.data.dim(), (if stored == 1 { 1 } else { 3 }, 24, 32), "{name}");
        let alpha = stored == 4;
        let mut worst = 0.0f32;
        for ((k, r, c), &v) in pixels.data.indexed_iter() {
            let valid = !alpha || value(r, c, 3) > 0.0;
            assert_eq!(pixels.mask[(r, c)], valid, "{name}");
            worst = worst.max((v - if valid { value(r, c, k) } else { 0.0 }).abs());
        }
        // Decoders may round JPEG transforms and colours differently; PNG is exact.
        let tolerance = if name.ends_with("png") { 0.0 } else { 4.0 };
        assert!(worst <= tolerance, "{name}: off by {worst} ({channels} bands)");
    }
}

#[test]
fn damaged_and_tiny_images() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["colour.jpg", "alpha.png", "progressive.jpg"] {
        let whole = fs::read(fixtures().join(name)).unwrap();
        for cut in [4, 20, whole.len() / 2] {
            let path = dir.path().join("x").join(name);
            write(&path, &whole[..cut]);
            let error = open(dir.path()).read(0).map(|p| p.data.sum()).unwrap_err().to_string();
            assert!(error.contains(name), "{name} cut at {cut}: {error}");
            fs::remove_file(&path).unwrap();
        }
    }
    write(&dir.path().join("x/a.jpg"), "no image");
    assert!(open(dir.path()).read(0).unwrap_err().to_string().contains("a.jpg"));
    png(&dir.path().join("x/a.jpg"), 1, 1, 0);
    assert!(open(dir.path()).read(0).unwrap_err().to_string().contains("1×1"));
    // In a list, the record is named, too.
    let list = dir.path().join("list.csv");
    write(&list, "filepath,caption\nx/a.jpg,words\n");
    let error = open(&list).read(0).unwrap_err().to_string();
    assert!(error.contains("list.csv, line 2") && error.contains("1×1"), "{error}");
}
