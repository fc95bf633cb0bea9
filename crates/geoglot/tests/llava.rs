//! A model that answers in words, from synthetic scenes to `describe`: a tiny tower with random weights and the tiny language model of the
//! fixtures learn two answers.

use std::path::Path;

use burn::tensor::Device;
use geoglot::core::{Registry, RunManifest, Window};
use geoglot::data::datasets::DatasetOptions;
use geoglot::data::instruct::{Conversation, Turn, write_conversations};
use geoglot::data::synth::{SynthConfig, generate, write};
use geoglot::eval::Bootstrap;
use geoglot::eval::protocols::{AdamProbe, ShareProbe};
use geoglot::index::{Archive, ImportOptions, Meta, Record, RecordId, Space, VectorType, import_geoparquet};
use geoglot::models::llm::GenerateOptions;
use geoglot::models::spectral_llava::{Parts, SpectralLlava, Task};
use geoglot::models::spectralgpt::{
    SpectralCard, SpectralGptConfig, save_spectralgpt, sentinel2_bands, sentinel2_preprocess,
};
use geoglot::train::Silent;
use geoglot::train::llava::LlavaRecipe;
use geoglot::workflow::describe::{describe, look};
use geoglot::workflow::describe_archive::{ArchiveDescribed, ArchiveQuestion, describe_archive};
use geoglot::workflow::grounded::{AlignmentRequest, alignment};
use geoglot::workflow::llava::train_llava;
use geoglot::workflow::said::{SaidRequest, said};

const LLM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../geoglot-models/tests/fixtures/llm/smollm2");

/// Two scenes, an encoder of four tokens an image, conversations and a recipe.
fn prepare(folder: &Path) {
    for seed in 0..2 {
        let config = SynthConfig {
            width: 96,
            height: 96,
            gsd: 10.0,
            seed,
            sensors: vec!["sentinel-2-l2a".into()],
            clouds: 0.6 * seed as f32,
            ..SynthConfig::default()
        };
        let scene = generate(&config, Registry::builtin()).unwrap();
        write(&scene, &folder.join(format!("scene{seed}"))).unwrap();
    }
    let config =
        SpectralGptConfig { width: 32, depth: 1, heads: 2, hidden: 64, grid: (2, 2), ..SpectralGptConfig::base() };
    let device = Device::flex();
    device.seed(1);
    let card = SpectralCard::new(config.clone(), sentinel2_bands(), sentinel2_preprocess(16));
    save_spectralgpt(&folder.join("tower"), &config.init(&device), &card).unwrap();
    let say = |seed: usize, answer: &str| Conversation {
        id: seed.to_string(),
        image: format!("scene{seed}/sentinel-2-l2a.tif:sensor=sentinel-2-l2a"),
        conversations: vec![
            Turn { from: "human".into(), value: Task::Caption.turn(None) },
            Turn { from: "gpt".into(), value: answer.into() },
        ],
        labels: vec![answer.into()],
        spectral: None,
        location: None,
        preview: None,
    };
    let all = [say(0, "land cover"), say(1, "the lazy dog")];
    write_conversations(&folder.join("train.json"), &all).unwrap();
    let recipe = format!(
        "name = \"tiny\"\nkind = \"spectral-llava\"\n[data]\nconversations = \"train.json\"\n[model]\ntower = \"tower\"\nllm = {LLM:?}\n\
         context = 100\n[model.lora]\nrank = 4\nalpha = 8.0\ndropout = 0.0\ntargets = [\"q_proj\", \"v_proj\", \"down_proj\"]\n\
         [align]\nepochs = 20\nbatch = 2\neffective_batch = 2\nlearning_rate = 0.02\n\
         [tune]\nepochs = 240\nbatch = 2\neffective_batch = 2\nlearning_rate = 0.02\ngradient_checkpointing = true\n"
    );
    std::fs::write(folder.join("recipe.toml"), recipe).unwrap();
}

#[test]
fn scenes_are_described_as_they_were_learned() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    prepare(folder);
    let recipe = LlavaRecipe::load(&folder.join("recipe.toml"), &[]).unwrap();
    let (registry, device) = (Registry::builtin(), Device::flex());
    let mut run = RunManifest::start("train");
    let out = folder.join("model");
    let trained = train_llava(&recipe, registry, &out, false, &device, &mut run, &mut Silent).unwrap();
    assert_eq!(trained.stages.iter().map(|s| s.0).collect::<Vec<_>>(), ["align", "tune"]);
    let options = GenerateOptions { max_tokens: 24, ..GenerateOptions::default() };
    for merge in [false, true] {
        let model = SpectralLlava::load(&out, &Parts { merge, ..Parts::default() }, &device).unwrap();
        for (seed, answer) in [(0, "land cover"), (1, "the lazy dog")] {
            let path = folder.join(format!("scene{seed}/sentinel-2-l2a.tif"));
            let arg = format!("{}:sensor=sentinel-2-l2a", path.display()).parse().unwrap();
            let seen = look(&model, &arg, registry, None).unwrap();
            let mut told = String::new();
            let mut listen = |text: &str| {
                told += text;
                true
            };
            let found = describe(&model, &path, &seen, None, Task::Caption, &options, &mut listen).unwrap();
            assert_eq!((found.text.as_str(), told.trim()), (answer, answer));
        }
    }
    let model = SpectralLlava::load(&out, &Parts::default(), &device).unwrap();
    captions_of_an_archive(&model, folder);
    a_folder_with_a_damaged_image(&out, folder);
    words_and_features_are_scored(&model, folder);
    // Tiles are described one by one.
    let arg = format!("{}:sensor=sentinel-2-l2a", folder.join("scene0/sentinel-2-l2a.tif").display()).parse().unwrap();
    let seen = look(&model, &arg, registry, Some(48)).unwrap();
    assert_eq!(seen.tiles.len(), 4);
    let short = GenerateOptions { max_tokens: 4, ..GenerateOptions::default() };
    let found = describe(&model, Path::new("x"), &seen, None, Task::Classification, &short, &mut |_| true).unwrap();
    assert_eq!(found.tiles.len(), 4);
    // What cannot be answered says why.
    let long = GenerateOptions { max_tokens: 100, ..GenerateOptions::default() };
    let error = describe(
        &model,
        Path::new("x"),
        &look(&model, &arg, registry, None).unwrap(),
        None,
        Task::Caption,
        &long,
        &mut |_| true,
    );
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("+ 4 of the image + 100 of the answer = "), "{error}");
    let error =
        model.prompt(&[geoglot::models::llm::Message::user("no image")], &[vec![0.0; 32]]).unwrap_err().to_string();
    assert!(error.contains("0 `<image>` for 1 images"), "{error}");
    let dsm = format!("{}", folder.join("scene0/lidar.tif").display()).parse().unwrap();
    assert!(look(&model, &dsm, registry, None).is_err());
    let other =
        SpectralLlava::load(&out, &Parts { llm: Some(LLM.replace("smollm2", "qwen2")), ..Parts::default() }, &device);
    assert!(other.err().unwrap().to_string().contains("another language model"));
}

/// The program says which image failed, keeps the answers about the others and, once the image is whole, asks about it alone.
fn a_folder_with_a_damaged_image(model: &Path, folder: &Path) {
    let (many, answers) = (folder.join("many"), folder.join("answers.jsonl"));
    std::fs::create_dir(&many).unwrap();
    let whole = std::fs::read(folder.join("scene0/sentinel-2-l2a.tif")).unwrap();
    std::fs::write(many.join("a.tif"), &whole).unwrap();
    std::fs::write(many.join("b.tif"), &whole[..whole.len() / 2]).unwrap();
    std::fs::copy(folder.join("scene1/sentinel-2-l2a.tif"), many.join("c.tif")).unwrap();
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("geoglot"));
        command.arg("describe").arg(&many).arg("--model").arg(model).arg("--out").arg(&answers);
        let done = command.args(["--sensor", "sentinel-2-l2a", "--max-tokens", "8"]).args(more).output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let images = || -> Vec<String> {
        let text = std::fs::read_to_string(&answers).unwrap();
        let image =
            |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["image"].as_str().unwrap().to_owned();
        text.lines().map(|l| image(l).rsplit('/').next().unwrap().to_owned()).collect()
    };
    let (code, said) = run(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("b.tif") && said.contains("1 of 3 scenes could not be described"), "{said}");
    assert_eq!(images(), ["a.tif", "c.tif"]);
    std::fs::write(many.join("b.tif"), &whole).unwrap();
    let (code, said) = run(&["--resume"]);
    assert_eq!((code, images()), (Some(0), vec!["a.tif".into(), "c.tif".into(), "b.tif".into()]), "{said}");
    std::fs::write(&answers, "{}\n").unwrap();
    let (code, said) = run(&["--resume"]);
    assert!(code == Some(1) && said.contains("answers.jsonl, line 1"), "{said}");
}

/// Two tiles of one scene and one of another whose file is damaged: the run is interrupted after one, resumed, and the file has the captions of two;
/// once the third is whole, resuming adds it.
fn captions_of_an_archive(model: &SpectralLlava, folder: &Path) {
    let space = Space::new("test", 2, "test", None);
    let archive = folder.join("archive");
    Archive::create(&archive, space.clone(), VectorType::F32).unwrap();
    let (source, damaged) = (folder.join("scene0/sentinel-2-l2a.tif"), folder.join("damaged.tif"));
    let whole = std::fs::read(&source).unwrap();
    std::fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let record = |k: usize| {
        let source = if k == 2 { &damaged } else { &source }.display().to_string();
        let window = Window::new(48 * (k % 2), 0, 48, 48);
        let id = RecordId::new(&source, Some(window), "test", "");
        let meta = Meta { window: Some(window), sensor: Some("sentinel-2-l2a".into()), ..Meta::new(id, &source) };
        Record { meta, vector: vec![1.0, k as f32], thumbnail: None }
    };
    Archive::open_writer(&archive).unwrap().add(&space, [0, 1, 2].map(record).into()).unwrap();
    let (out, options) = (folder.join("captions.parquet"), GenerateOptions { max_tokens: 8, ..Default::default() });
    let run = |question: Option<&str>, resume: bool, most: usize| {
        let what = ArchiveQuestion { question, task: Task::Caption, options: &options, resume };
        let (mut calls, mut faults) = (0, Vec::new());
        let found = describe_archive(model, &archive, &out, Registry::builtin(), what, &mut |done, _, fault| {
            calls += 1;
            faults.extend(fault.map(|e| format!("{e:#}")));
            done < most
        });
        (found.unwrap(), calls, faults)
    };
    let far = |described, failed, finished| ArchiveDescribed { described, failed, finished };
    assert_eq!(run(None, false, 1), (far(1, 0, false), 1, vec![]));
    assert!(!out.exists());
    let (found, calls, faults) = run(None, true, 9);
    assert_eq!((found, calls, faults.len()), (far(2, 1, true), 2, 1));
    assert!(faults[0].contains("damaged.tif") && out.is_file(), "{faults:?}");
    std::fs::write(&damaged, &whole).unwrap();
    // Answers to another question are no captions of this one.
    assert_eq!(run(Some("Is there snow?"), true, 1), (far(1, 0, false), 1, vec![]));
    assert_eq!(run(None, true, 9), (far(3, 0, true), 1, vec![]));
    // Nothing to describe leaves nothing behind.
    let nothing = folder.join("nothing");
    Archive::create(&nothing, space.clone(), VectorType::F32).unwrap();
    let mut lost = record(0);
    lost.meta.source = folder.join("lost.tif").display().to_string();
    Archive::open_writer(&nothing).unwrap().add(&space, vec![lost]).unwrap();
    let none = folder.join("none.parquet");
    let describe_none = |resume| {
        let what = ArchiveQuestion { question: None, task: Task::Caption, options: &options, resume };
        let told = describe_archive(model, &nothing, &none, Registry::builtin(), what, &mut |_, _, _| true);
        assert!(told.unwrap_err().to_string().contains("none of 1 records"));
    };
    describe_none(false);
    assert!(!std::fs::read_dir(folder).unwrap().any(|f| f.unwrap().file_name().to_string_lossy().starts_with("none.")));
    // What was answered to another question is not lost.
    let (kept, other) = (folder.join("none.answers.jsonl"), serde_json::json!({ "question": "Is there snow?" }));
    std::fs::write(&kept, other.to_string()).unwrap();
    describe_none(true);
    assert_eq!(std::fs::read_to_string(&kept).unwrap().trim(), other.to_string());
    let again = folder.join("again");
    Archive::create(&again, space, VectorType::F32).unwrap();
    import_geoparquet(&out, &mut Archive::open_writer(&again).unwrap(), &ImportOptions::default()).unwrap();
    let again = Archive::open(&again).unwrap();
    let captions = again.metas(&again.rows().collect::<Vec<_>>()).unwrap();
    assert_eq!(captions.len(), 3);
    assert!(captions.iter().all(|m| m.caption.as_ref().is_some_and(|c| !c.is_empty())), "{captions:?}");
}

/// What the model learned by heart is named; its features are probed before and after the projector.
fn words_and_features_are_scored(model: &SpectralLlava, folder: &Path) {
    let request = SaidRequest {
        conversations: folder.join("train.json"),
        images: None,
        sensor: None,
        limit: None,
        options: GenerateOptions { max_tokens: 24, ..Default::default() },
        bootstrap: Bootstrap { replicates: 50, ..Bootstrap::default() },
    };
    let mut run = RunManifest::start("evaluate captions");
    let out = folder.join("said");
    let report = said(model, &request, Registry::builtin(), &out, &mut run, &mut |_, _| {}).unwrap();
    let scores = report.caption.unwrap();
    assert_eq!((scores.own.recall.value, scores.shuffled.recall.value), (1.0, 0.0));
    assert!(out.join("answers.jsonl").is_file() && out.join("captions.json").is_file());
    let copies = (0..16).map(|k| {
        let (scene, file) = (k % 2, format!("copy{k}.tif"));
        std::fs::copy(folder.join(format!("scene{scene}/sentinel-2-l2a.tif")), folder.join(&file)).unwrap();
        let class = if scene == 0 { "clear" } else { "cloudy" };
        serde_json::json!({"file": file, "class": class})
    });
    let lines: Vec<serde_json::Value> = copies.collect();
    std::fs::write(folder.join("list.json"), serde_json::to_string(&lines).unwrap()).unwrap();
    let request = AlignmentRequest {
        data: folder.join("list.json"),
        dataset: DatasetOptions { sensor: Some("sentinel-2-l2a".into()), ..DatasetOptions::default() },
        split: None,
        probes: vec![("adam", ShareProbe::Adam(AdamProbe { rate: 0.1, ..AdamProbe::default() }))],
        folds: 2,
        language: true,
        batch: 4,
        seed: 0,
    };
    let out = folder.join("alignment");
    let report = alignment(model, &request, &out, &mut run, &mut |_, _| {}).unwrap();
    assert_eq!(report.features.len(), 3);
    assert_eq!(report.features[2].gains["adam"].len(), 9);
    assert!(report.features.iter().all(|f| f.curves["adam"][8].mean == 1.0), "{report:?}");
    assert!(["probe-adam.png", "tsne-encoder.png", "tsne-projector.png"].iter().all(|f| out.join(f).is_file()));
}
