//! `geoglot describe SCENE`: descriptions, answers, a conversation.

use std::collections::HashSet;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use clap::{Args as ClapArgs, ValueEnum};
use geoglot::core::{BandUse, Registry, RunManifest, atomic};
use geoglot::models::llm::{GenerateOptions, Message, Sampling};
use geoglot::models::spectral_llava::{IMAGE, Parts, SpectralLlava, Task};
use geoglot::raster::SceneArg;
use geoglot::workflow::describe::{Described, Seen, describe, look};
use geoglot::workflow::describe_archive::{ArchiveDescribed, ArchiveQuestion, describe_archive, is_archive};

use super::chain;
use super::common::{DeviceArg, Usage, at_least_one, interrupt_flag, registry, writable};
use super::embed::save_run_beside;
use super::progress::Pixels;
use super::train::print_warnings;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TaskArg {
    /// A description
    Caption,
    /// The classes of the scene
    Classification,
}

impl TaskArg {
    fn task(self) -> Task {
        match self {
            TaskArg::Caption => Task::Caption,
            TaskArg::Classification => Task::Classification,
        }
    }
}

/// Arguments of `describe`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Scenes: PATH[:sensor=…,bands=…], folders of rasters, or an archive of embeddings
    #[arg(required = true, value_name = "SCENE")]
    scenes: Vec<String>,
    /// Trained model: a folder that `train` wrote from a recipe of kind = "spectral-llava"
    #[arg(long)]
    model: PathBuf,
    /// Ask this instead
    #[arg(long, conflicts_with = "task")]
    ask: Option<String>,
    /// What to say
    #[arg(long, value_enum, default_value_t = TaskArg::Caption)]
    task: TaskArg,
    /// Talk about one scene on the terminal
    #[arg(long, conflicts_with_all = ["ask", "json", "out"])]
    chat: bool,
    /// Describe large scenes in tiles of this many pixels, then sum up
    #[arg(long, value_name = "PIXELS")]
    tile: Option<usize>,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 256, value_name = "N")]
    max_tokens: usize,
    /// 0 for the likeliest words; higher for more variety
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Draw from the likeliest tokens that make up this probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Text that ends an answer
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// The language model, where it lies elsewhere than at training
    #[arg(long)]
    llm: Option<String>,
    /// The image tower, where it lies elsewhere
    #[arg(long)]
    tower: Option<String>,
    /// Multiply the adapter into the weights: more memory
    #[arg(long)]
    merge: bool,
    /// JSON lines to write to: image, question, text; of an archive GeoParquet with a column of captions
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on where an interrupted run stopped: answers in --out are kept
    #[arg(long, requires = "out")]
    resume: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A registry file with your own sensors
    #[arg(long)]
    sensors: Option<PathBuf>,
    /// Sensor of scenes that name none
    #[arg(long)]
    sensor: Option<String>,
    /// cpu, cuda[:n] or vulkan[:n]
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
}

/// Scenes of the arguments; folders are their rasters, by name.
fn scenes(args: &Args) -> anyhow::Result<Vec<SceneArg>> {
    let mut found = Vec::new();
    for text in &args.scenes {
        let mut arg: SceneArg = text.parse().map_err(|e| Usage(format!("{e}")))?;
        arg.sensor = arg.sensor.take().or_else(|| args.sensor.clone());
        if !arg.path.is_dir() {
            found.push(arg);
            continue;
        }
        let entries = std::fs::read_dir(&arg.path).with_context(|| arg.path.display().to_string())?;
        let known = ["tif", "tiff", "png", "jpg", "jpeg", "npy", "mat", "nc", "h5"];
        let raster = |p: &PathBuf| {
            let end = p.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
            p.is_file() && end.is_some_and(|e| known.contains(&e.as_str()))
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(raster).collect();
        files.sort();
        if files.is_empty() {
            // A folder of one-band files is one scene.
            found.push(arg);
            continue;
        }
        found.extend(files.into_iter().map(|path| SceneArg { path, ..arg.clone() }));
    }
    Ok(found)
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let mut run = RunManifest::start("describe");
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        sampling: Sampling { temperature: args.temperature, top_p: args.top_p, seed: args.seed },
        stop: args.stop.clone(),
    };
    if let Some(problem) = options.sampling.problem() {
        return Err(Usage(problem).into());
    }
    at_least_one(&[("--max-tokens", args.max_tokens), ("--tile", args.tile.unwrap_or(1))])?;
    if let [one] = args.scenes.as_slice()
        && is_archive(Path::new(one))
    {
        return archive(&args, Path::new(one), &options, run);
    }
    let scenes = scenes(&args)?;
    if let Some(out) = &args.out {
        writable(&[("--out", out)], scenes.iter().map(|s| s.path.as_path()))?;
    }
    if args.chat && scenes.len() != 1 {
        return Err(Usage(format!("--chat is about one scene; {} were given", scenes.len())).into());
    }
    let registry = registry(args.sensors.as_ref())?;
    let model = load(&args)?;
    run.stage("open");
    if args.chat {
        let seen = look(&model, &scenes[0], &registry, None)?;
        print_warnings(&seen.warnings);
        return chat(&model, &seen, &options);
    }
    let mut answers = Answers::open(&args)?;
    let (stop, many, mut failed) = (interrupt_flag(), scenes.len() > 1, 0);
    let question = args.ask.as_deref().unwrap_or(args.task.task().instruction());
    let known = answers.found.iter().filter(|d| d.question == question).map(|d| d.image.clone());
    let known: HashSet<PathBuf> = known.collect();
    for arg in scenes.iter().filter(|arg| !known.contains(&arg.path)) {
        match answer(&args, &model, arg, many, &registry, &options, &stop) {
            Ok(Some((one, bands))) => {
                run.inputs.push(bands);
                answers.keep(one)?;
            }
            Ok(None) => break,
            Err(error) if many => {
                eprintln!("error: {}", chain(&error));
                failed += 1;
            }
            Err(error) => return Err(error),
        }
    }
    run.stage("describe");
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answers.found)?);
    }
    let count = answers.found.len();
    if let Some(out) = answers.out.filter(|_| count > 0) {
        run.results.insert("scenes".into(), count.into());
        save_run_beside(&run, out)?;
        println!("{count} scenes: {}", out.display());
    }
    if stop.load(Ordering::SeqCst) {
        let resume = if args.out.is_some() { "; continue with the same command and --resume" } else { "" };
        bail!("interrupted after {count} of {} scenes{resume}", scenes.len());
    }
    if failed > 0 {
        bail!("{failed} of {} scenes could not be described (see above)", scenes.len());
    }
    Ok(())
}

/// Answers as they come; those of a file are there after each scene.
struct Answers<'a> {
    out: Option<&'a Path>,
    found: Vec<Described>,
}

impl<'a> Answers<'a> {
    fn open(args: &'a Args) -> anyhow::Result<Self> {
        let mut answers = Answers { out: args.out.as_deref(), found: Vec::new() };
        if let Some(out) = answers.out.filter(|out| args.resume && out.exists()) {
            let text = std::fs::read_to_string(out).with_context(|| out.display().to_string())?;
            for (k, line) in text.lines().enumerate() {
                let what = || format!("{}, line {}: expected an answer written by `describe`", out.display(), k + 1);
                answers.found.push(serde_json::from_str(line).with_context(what)?);
            }
        }
        Ok(answers)
    }

    fn keep(&mut self, one: Described) -> anyhow::Result<()> {
        self.found.push(one);
        let Some(out) = self.out else { return Ok(()) };
        let lines = self.found.iter().map(|d| Ok(serde_json::to_string(d)? + "\n"));
        Ok(atomic::write(out, lines.collect::<anyhow::Result<String>>()?.as_bytes())?)
    }
}

/// What the model says of one scene, printed where no file or JSON was asked for; `None` when the user stopped it.
fn answer(
    args: &Args,
    model: &SpectralLlava,
    arg: &SceneArg,
    many: bool,
    registry: &Registry,
    options: &GenerateOptions,
    stop: &AtomicBool,
) -> anyhow::Result<Option<(Described, BandUse)>> {
    let seen = look(model, arg, registry, args.tile)?;
    print_warnings(&seen.warnings);
    let printed = !args.json && args.out.is_none();
    let streamed = printed && !many && std::io::stdout().is_terminal();
    let mut listen = |text: &str| {
        if streamed {
            print!("{text}");
            let _ = std::io::stdout().flush();
        }
        !stop.load(Ordering::SeqCst)
    };
    let one = describe(model, &arg.path, &seen, args.ask.as_deref(), args.task.task(), options, &mut listen)?;
    if streamed {
        println!();
    }
    if stop.load(Ordering::SeqCst) {
        return Ok(None);
    }
    match (printed && !streamed, many) {
        (true, true) => println!("{}: {}", arg.path.display(), one.text),
        (true, false) => println!("{}", one.text),
        _ => {}
    }
    Ok(Some((one, seen.bands)))
}

fn load(args: &Args) -> anyhow::Result<SpectralLlava> {
    let parts = Parts { llm: args.llm.clone(), tower: args.tower.clone(), merge: args.merge };
    Ok(SpectralLlava::load(&args.model, &parts, &args.device.open()?)?)
}

/// Captions of an archive's records.
fn archive(args: &Args, folder: &Path, options: &GenerateOptions, mut run: RunManifest) -> anyhow::Result<()> {
    let Some(out) = args.out.as_ref().filter(|o| o.extension().is_some_and(|e| e == "parquet")) else {
        let what = "is an archive: name the GeoParquet file that gets its captions (--out captions.parquet)";
        return Err(Usage(format!("{} {what}", folder.display())).into());
    };
    writable(&[("--out", out)], [])?;
    if args.chat || args.json || args.tile.is_some() {
        return Err(
            Usage("an archive's tiles are described one by one: without --chat, --json and --tile".into()).into()
        );
    }
    let (registry, model, stop) = (registry(args.sensors.as_ref())?, load(args)?, interrupt_flag());
    run.stage("open");
    let what = ArchiveQuestion { question: args.ask.as_deref(), task: args.task.task(), options, resume: args.resume };
    let mut bar = Pixels::new("describing tiles");
    let found = describe_archive(&model, folder, out, &registry, what, &mut |done, of, fault| {
        if let Some(error) = fault {
            eprintln!("error: {}", chain(&error));
        }
        bar.set(done, of);
        !stop.load(Ordering::SeqCst)
    })?;
    drop(bar);
    let ArchiveDescribed { described, failed, finished } = found;
    if !finished {
        bail!("interrupted after {described} tiles; continue with the same command and --resume");
    }
    run.stage("describe");
    run.results.insert("records".into(), described.into());
    save_run_beside(&run, out)?;
    println!("{described} tiles: {}", out.display());
    if failed > 0 {
        let all = described + failed;
        bail!(
            "{failed} of {all} tiles could not be described (see above); mend that and add them with the same command and --resume"
        );
    }
    Ok(())
}

/// Questions from standard input, answers as they come, until the input ends. The conversation is kept as long as it fits the context.
fn chat(model: &SpectralLlava, seen: &Seen, options: &GenerateOptions) -> anyhow::Result<()> {
    let (input, terminal) = (std::io::stdin(), std::io::stdin().is_terminal());
    if terminal {
        eprintln!("ask about the scene; an empty line or Ctrl-D ends");
    }
    let images = [seen.tiles[0].tokens.clone()];
    let mut messages: Vec<Message> = Vec::new();
    loop {
        if terminal {
            eprint!("> ");
        }
        let mut line = String::new();
        if input.lock().read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(());
        }
        let question = line.trim().replace(IMAGE, "");
        messages.push(Message::user(if messages.is_empty() {
            format!("{IMAGE}\n{question}")
        } else {
            question.clone()
        }));
        let listen = &mut |text: &str| {
            print!("{text}");
            std::io::stdout().flush().is_ok()
        };
        let answer = match model.answer(&messages, &images, options, listen) {
            Err(error) if messages.len() > 1 => {
                eprintln!("{error}; starting over with this question");
                messages = vec![Message::user(format!("{IMAGE}\n{question}"))];
                model.answer(&messages, &images, options, listen)?
            }
            other => other?,
        };
        println!();
        messages.push(Message::assistant(answer.text.trim()));
    }
}
