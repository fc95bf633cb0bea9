//! Times the first steps of a pre-training, for `benches/vit_step.py`.
//!
//! ```text
//! geoglot train RECIPE --export EXPORT
//! pretrain_steps EXPORT DATASET STEPS
//! ```
//!
//! Runs the training loop itself on the recipe's data set, with the text features and options of EXPORT, and checks that it draws
//! the batches of EXPORT's plan. Images are decoded beforehand. The last line is a JSON object: the losses, and of the steps
//! behind the first two the median and the least seconds and the median CPU seconds.

use std::error::Error;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use geoglot_data::datasets::{Dataset, DatasetOptions};
use geoglot_models::vision::VisionConfig;
use geoglot_train::Observer;
use geoglot_train::contrastive::{
    DatasetImages, Images, Modality, PretrainData, PretrainOptions, epoch_plan, pretrain,
};
use indexmap::IndexSet;
use ndarray::Array2;
use safetensors::SafeTensors;
use serde_json::{Value, json};

struct Clock {
    steps: usize,
    last: (Instant, f64),
    losses: Vec<f32>,
    seconds: Vec<f64>,
    cpu: Vec<f64>,
}

impl Observer for Clock {
    fn batch(&mut self, _epoch: usize, _batch: usize, _batches: usize, loss: f32) {
        let now = (Instant::now(), cpu_seconds());
        self.losses.push(loss);
        self.seconds.push((now.0 - self.last.0).as_secs_f64());
        self.cpu.push(now.1 - self.last.1);
        self.last = now;
    }

    fn stop(&self) -> bool {
        self.losses.len() >= self.steps
    }
}

/// CPU time of this process where the system tells it, else 0.
fn cpu_seconds() -> f64 {
    let stat = read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |k: usize| fields.get(k).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    // utime and stime, in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [export, dataset, steps] = arguments.as_slice() else {
        return Err("usage: pretrain_steps EXPORT DATASET STEPS".into());
    };
    let (export, steps) = (PathBuf::from(export), steps.parse()?);
    let plan: Value = serde_json::from_str(&read_to_string(export.join("plan.json"))?)?;
    let options: PretrainOptions = serde_json::from_value(plan["options"].clone())?;
    let config: VisionConfig = serde_json::from_value(plan["tower"].clone())?;

    let set = Dataset::open(Path::new(dataset), &DatasetOptions::default())?;
    let files: Vec<PathBuf> = serde_json::from_value(plan["modalities"][0]["files"].clone())?;
    let find = |file: &PathBuf| set.items().iter().position(|item| item.path.file_name() == file.file_name());
    let items: Vec<usize> = files.iter().filter_map(find).collect();
    let mut texts = IndexSet::new();
    let mut own = |i: &usize| set.items()[*i].captions.iter().map(|c| texts.insert_full(c.clone()).0).collect();
    let owned: Vec<Vec<usize>> = items.iter().map(&mut own).collect();
    let images = DatasetImages::new(set, items, &[], 8 << 30)?;
    let modality = Modality { name: dataset.clone(), images: &images, texts: owned, weight: 1.0 };
    let data = PretrainData { modalities: vec![modality], texts: features(&export)? };

    let per_epoch = epoch_plan(&data, &options, 0)?.len();
    for (k, wanted) in plan["steps"].as_array().ok_or("a plan without steps")?.iter().take(steps).enumerate() {
        let batch = &epoch_plan(&data, &options, k / per_epoch)?[k % per_epoch];
        if (json!(batch.items), json!(batch.texts)) != (wanted["items"].clone(), wanted["texts"].clone()) {
            return Err(format!("step {k} is not the plan's: the export was made of other data").into());
        }
        for &item in &batch.items {
            images.read(item)?;
        }
    }
    let mut clock =
        Clock { steps, last: (Instant::now(), cpu_seconds()), losses: vec![], seconds: vec![], cpu: vec![] };
    pretrain(&config, &data, &options, None, &Device::flex(), &mut clock)?;
    let sorted = |values: &[f64]| {
        let mut values = values[2.min(values.len() - 1)..].to_vec();
        values.sort_by(f64::total_cmp);
        values
    };
    let (seconds, cpu) = (sorted(&clock.seconds), sorted(&clock.cpu));
    let report = json!({
        "losses": clock.losses, "seconds": seconds[seconds.len() / 2], "least_seconds": seconds[0], "cpu_seconds": cpu[cpu.len() / 2],
    });
    println!("{report}");
    Ok(())
}

/// The export's text features.
fn features(export: &Path) -> Result<Array2<f32>, Box<dyn Error>> {
    let bytes = std::fs::read(export.join("texts.safetensors"))?;
    let file = SafeTensors::deserialize(&bytes)?;
    let view = file.tensor("texts")?;
    let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok(Array2::from_shape_vec((view.shape()[0], view.shape()[1]), values)?)
}
