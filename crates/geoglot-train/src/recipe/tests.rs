use super::*;

const SMALL: &str = r#"
name = "small"
[data]
root = "${GEOGLOT_RECIPE_TEST_UNSET}"
legend = "legend.toml"
[[data.scene]]
inputs = { hsi = "a.tif:sensor=enmap", lidar = "b.tif" }
labels = "l.tif"
"#;

fn parse(text: &str, overrides: &[&str]) -> Result<Recipe, RecipeError> {
    Recipe::parse(text, "small.toml", "recipes".into(), &overrides.iter().map(|s| s.to_string()).collect::<Vec<_>>())
}

#[test]
fn defaults_are_the_papers() {
    let recipe = parse(SMALL, &[]).unwrap();
    assert_eq!(
        (recipe.train.epochs, recipe.train.batch, recipe.train.patience, recipe.model.patch),
        (100, 128, 15, 11)
    );
    assert_eq!(recipe.used_inputs(), ["hsi", "lidar"]);
    assert!(recipe.is_elevation("lidar") && !recipe.is_elevation("hsi"));
    assert_eq!(Recipe::parse(&recipe.to_toml().unwrap(), "x", "recipes".into(), &[]).unwrap(), recipe);
}

#[test]
fn overrides_reach_every_value() {
    let recipe = parse(
        SMALL,
        &[
            "train.epochs=3",
            "text.tower=bert-base",
            "model.inputs=[\"hsi\"]",
            "data.scene.0.labels=m.tif",
            "train.direction=v2t",
        ],
    )
    .unwrap();
    assert_eq!((recipe.train.epochs, recipe.text.tower.as_str()), (3, "bert-base"));
    assert_eq!(recipe.used_inputs(), ["hsi"]);
    assert_eq!(recipe.data.scene[0].labels, "m.tif");
}

#[test]
fn faults_are_named() {
    let cases: &[(&[&str], &str)] = &[
        (&["train.epoch=3"], "epoch"),
        (&["train.epochs=none"], "epochs"),
        (&["train.epochs=0"], "train.epochs"),
        (&["train.learning_rate=nan"], "learning_rate"),
        (&["model.patch=10"], "odd"),
        (&["model.inputs=[\"sar\"]"], "`sar` is not an input"),
        (&["split.kind=random"], "per_class"),
        (&["split.kind=scenes"], "two scenes"),
        (&["split.test_scenes=[\"x\"]"], "`x`"),
        (&["text.templates=nothing"], "nothing"),
        (&["text.templates=[\"a\"]"], "{c}"),
        (&["name.x=1"], "not a table"),
        (&["data.scene.7.labels=x"], "--set data.scene.7.labels=x: the list `data.scene` has no entry `7`; it has 0"),
        (&["data.scene.x=1"], "no entry `x`"),
        (&["data.scene.0.labels.1=x"], "`data.scene.0.labels` is a value"),
        (&["train..epochs=3"], "key.path=value"),
        (&["train.batch=4", "train.epochs=0", "train.patience=3"], "small.toml: --set train.epochs=0: train.epochs"),
        (&["train.batch=4", "train.epoch=3"], "--set train.epoch=3: unknown field `epoch`"),
        (&["nonsense"], "key.path=value"),
        (&["=3"], "key.path=value"),
    ];
    for (overrides, expected) in cases {
        let error = parse(SMALL, overrides).unwrap_err().to_string();
        assert!(error.contains(expected), "{overrides:?}: {error}");
    }
    assert!(parse("name = 3", &[]).unwrap_err().to_string().contains("small.toml"));
    // A fault of the file is told with its line, whatever is set besides.
    for overrides in [&[][..], &["train.epochs=3"]] {
        let error = parse(&format!("{SMALL}[train]\nbatsh = 4"), overrides).unwrap_err().to_string();
        assert!(error.contains("line 10") && error.contains("batsh") && !error.contains("--set"), "{error}");
    }
}

#[test]
fn entries_of_lists_have_numbers_and_names() {
    let text = "name = 'x'\nleft = [1, 2]\n[[set]]\npath = 'a/b.json'\n[[set]]\nname = 'two'\npath = 'c'\n[[set]]\npath = 'c'\n[[set]]\npath = 'c'";
    let read = |set: &str| read::<toml::Table>(text, "x.toml", &[set.to_owned()], |_| Ok(()));
    let value = |set: &str, k: usize| read(set).unwrap()["set"][k]["weight"].as_float().unwrap();
    assert_eq!(value("set.0.weight=0.5", 0), 0.5);
    assert_eq!(value("set.two.weight=2.5", 1), 2.5);
    assert_eq!(read("left.1=7").unwrap()["left"][1].as_integer(), Some(7));
    assert_eq!(read("left=[]").unwrap()["left"].as_array().map(Vec::len), Some(0));
    for (set, words) in [
        ("set.4.weight=1", "it has 0 (b.json), 1 (two), 2 (c), 3 (c)"),
        ("set.c.weight=1", "2 entries called `c`"),
        ("left.2=1", "no entry `2`; it has 0, 1"),
        ("left.0.x=1", "`left.0` is a value"),
    ] {
        let error = read(set).unwrap_err().to_string();
        assert!(error.contains(words) && error.starts_with(&format!("x.toml: --set {set}: ")), "{error}");
    }
}

#[test]
fn an_unset_variable_is_named() {
    let error = parse(SMALL, &[]).unwrap().inputs(0).unwrap_err().to_string();
    assert!(error.contains("GEOGLOT_RECIPE_TEST_UNSET"), "{error}");
    let recipe = parse(SMALL, &["data.root=data"]).unwrap();
    assert_eq!(recipe.inputs(0).unwrap()[0].path, PathBuf::from("recipes/data/a.tif"));
    assert_eq!(recipe.inputs(0).unwrap()[0].sensor.as_deref(), Some("enmap"));
}

proptest::proptest! {
    #[test]
    fn any_override_is_taken_or_refused(text in ".{0,40}") {
        let _ = parse(SMALL, &[&text]);
    }
}
