//! Recipes, overrides and legends that cannot be used.

use crate::common::Work;

#[test]
fn unknown_keys_and_wrong_values_are_named() {
    let work = Work::new();
    for (set, words) in [
        ("train.epocs=3", &["recipe.toml", "epocs", "epochs"][..]),
        ("trane.epochs=3", &["recipe.toml", "trane", "train"]),
        ("train", &["--set train", "key.path=value"]),
        ("train.epochs=many", &["recipe.toml", "many"]),
        ("train.epochs=0", &["recipe.toml", "train.epochs"]),
        ("train.learning_rate=-1", &["train.learning_rate"]),
        ("train.batch=1", &["train.batch"]),
        ("data.scene.4.labels=x", &["scene", "4"]),
        ("data.scene.0.inputs.thermal=x.tif", &["x.tif"]),
        ("model.patch=10", &["model.patch", "odd"]),
        ("model.patch=3", &["patch", "3"]),
        ("model.inputs=[\"radar\"]", &["radar", "hsi", "lidar"]),
        ("split.kind=random", &["per_class"]),
        ("split.kind=given", &["test_labels"]),
        ("split.kind=stripes", &["stripes", "blocks"]),
        ("split.folds=1", &["folds"]),
        ("split.block=500", &["block"]),
        ("split.kind=random --set split.per_class=5000", &["5000"]),
        ("split.validation=1.5", &["validation"]),
        ("text.tower=no-such-tower", &["no-such-tower", "minilm"]),
        ("text.tower=minilm", &["minilm", "geoglot models pull minilm"]),
        ("text.templates=fancy", &["fancy", "land-cover"]),
        ("text.templates=[\"no_place_for_a_class\"]", &["{c}"]),
        ("data.root=${NO_SUCH_FOLDER}", &["NO_SUCH_FOLDER", "environment variable"]),
        ("data.legend=none.toml", &["none.toml"]),
        ("data.sensors=none.toml", &["none.toml"]),
        ("name=a/b", &["name", "a/b"]),
        ("preprocess.hsi.components=500", &["hsi", "500", "63"]),
    ] {
        work.run(&format!("train recipe.toml --out t --set {set}")).fails(1, words);
    }
    assert!(work.files("t").is_empty());
}

#[test]
fn recipe_files_that_are_no_recipes_are_named() {
    let work = Work::new();
    for (name, text, words) in [
        ("empty.toml", &b""[..], &["empty.toml", "missing field `name`"][..]),
        ("binary.toml", b"name = \"\xff\xfe\"", &["binary.toml", "UTF-8"]),
        ("half.toml", b"name = \"x\"\n[data", &["half.toml", "line 2"]),
        ("list.toml", b"name = \"x\"\n[data]\nlegend = \"l\"\nscene = []\n", &["list.toml", "[[data.scene]]"]),
    ] {
        work.write(name, text);
        for command in ["train", "evaluate", "ablate"] {
            work.run(&format!("{command} {name} --out t")).fails(1, words);
        }
    }
    work.run("train absent.toml").fails(1, &["absent.toml", "cannot read"]);
    work.run("train scene").fails(1, &["scene", "cannot read"]);
    assert!(work.files("t").is_empty());
}

#[test]
fn legends_that_are_no_legends_are_named() {
    let work = Work::with_model();
    for (text, word) in [
        ("", "class"),
        ("[[class]]\nid = 1\nname = \"a\"\nprompts = [\"\"]\n", "empty prompt"),
        ("[[class]]\nid = 1\nname = \"\"\n", "empty name"),
        ("[[class]]\nid = 0\nname = \"a\"\n", "no label"),
        ("[[class]]\nid = 1\nname = \"a\"\n[[class]]\nid = 1\nname = \"b\"\n", "share an id"),
        ("[[class]]\nid = 70000\nname = \"a\"\n", "70000"),
        ("[[class]]\nid = 1\nname = \"a\"\ncolour = 3\n", "colour"),
        ("[[class]]\nid = 1\nname = \"a\"\ncolor = \"red\"\n", "color"),
    ] {
        work.write("legend.toml", text);
        work.run("train recipe.toml --out t --set data.legend=legend.toml").fails(1, &["legend.toml", word]);
        work.map("--legend legend.toml").fails(1, &["legend.toml", word]);
    }
    assert!(work.files("t").is_empty() && work.files("out").is_empty());
}
