//! Labels and recipes that are refused.

use geoglot::core::Grid;

use crate::{LEGEND, grid, land, manifest, write};

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
