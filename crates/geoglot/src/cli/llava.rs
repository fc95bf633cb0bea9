//! Recipes of `kind = "masked"` and `kind = "spectral-llava"`: what `geoglot train` does with them.

use geoglot::core::RunManifest;
use geoglot::train::llava::LlavaRecipe;
use geoglot::train::mae::MaskedRecipe;
use geoglot::workflow::llava::{pretrain_spectral, train_llava};

use super::common::{interrupt_flag, registry};
use super::progress::Progress;
use super::train::RecipeArgs;

/// Pre-trains an encoder on masked tokens.
pub fn train_masked(args: &RecipeArgs, recipe: &MaskedRecipe) -> anyhow::Result<()> {
    let (device, mut run) = (args.device.open()?, RunManifest::start("train"));
    let out = args.out(&recipe.name);
    let mut progress = Progress::new(&recipe.name, interrupt_flag());
    let hash = pretrain_spectral(recipe, &registry(None)?, &out, args.resume, &device, &mut run, &mut progress)?;
    drop(progress);
    println!("encoder: {} (SHA-256 {hash})", out.display());
    println!("next: name it as model.tower in a recipe of kind = \"spectral-llava\"");
    Ok(())
}

/// Trains projector and adapters of a model that answers in words.
pub fn train(args: &RecipeArgs, recipe: &LlavaRecipe) -> anyhow::Result<()> {
    let (device, mut run) = (args.device.open()?, RunManifest::start("train"));
    let out = args.out(&recipe.name);
    let mut progress = Progress::new(&recipe.name, interrupt_flag());
    let result = train_llava(recipe, &registry(None)?, &out, args.resume, &device, &mut run, &mut progress)?;
    drop(progress);
    for ((name, stage), count) in result.stages.iter().zip(&result.conversations) {
        let loss = stage.history.last().map_or(f64::NAN, |e| e.loss);
        println!("{name}: {count} conversations, last loss {loss:.3}");
    }
    println!("model: {}", out.display());
    println!("next: geoglot describe SCENE --model {}", out.display());
    Ok(())
}
