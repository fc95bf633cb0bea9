//! Training progress: a bar with loss, validation accuracy and ETA on a terminal, plain lines in a log.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use geoglot::train::Observer;
use geoglot::train::history::EpochRecord;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows training and passes Ctrl-C on.
pub struct Progress {
    title: String,
    bar: Option<ProgressBar>,
    start: Instant,
    done: usize,
    note: String,
    stop: Arc<AtomicBool>,
}

impl Progress {
    pub fn new(title: impl Into<String>, stop: Arc<AtomicBool>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {wide_msg}").expect("a valid template");
            ProgressBar::new(0).with_style(style)
        });
        Self { title: title.into(), bar, start: Instant::now(), done: 0, note: String::new(), stop }
    }

    /// Time left for `epochs`, from the epochs this process has done. An early stop makes it shorter.
    fn left(&self, epoch: usize, epochs: usize) -> String {
        let each = self.start.elapsed().as_secs_f64() / self.done.max(1) as f64;
        format_seconds(each * (epochs - epoch) as f64)
    }
}

fn format_seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

impl Observer for Progress {
    fn batch(&mut self, epoch: usize, batch: usize, batches: usize, loss: f32) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("{}, epoch {epoch}", self.title));
            bar.set_length(batches as u64);
            bar.set_position(batch as u64);
            bar.set_message(format!("loss {loss:.3} {}", self.note));
        }
    }

    fn epoch(&mut self, record: &EpochRecord, epochs: usize) {
        self.done += 1;
        let oa = record.validation_oa.map_or_else(String::new, |oa| format!(", validation OA {:.1} %", 100.0 * oa));
        let oa = record.validation_miou.map_or(oa.clone(), |v| format!("{oa}, mIoU {:.1} %", 100.0 * v));
        let figures = record.figures.iter().map(|(name, v)| format!(", {name} {:.1} %", 100.0 * v));
        let oa = oa + &figures.collect::<String>();
        let left = self.left(record.epoch, epochs);
        if self.bar.is_some() {
            self.note = format!("(epoch {} of {epochs}{oa}; at most {left} left)", record.epoch);
        } else {
            eprintln!(
                "{}: epoch {}/{epochs}, loss {:.4}{oa}, at most {left} left",
                self.title, record.epoch, record.loss
            );
        }
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            if self.done > 0 {
                eprintln!(
                    "{}: {} epochs in {} {}",
                    self.title,
                    self.done,
                    format_seconds(self.start.elapsed().as_secs_f64()),
                    self.note
                );
            }
        }
    }
}

/// A bar for pixels, or a line every tenth.
pub struct Pixels {
    bar: Option<ProgressBar>,
    title: &'static str,
    tenth: usize,
}

impl Pixels {
    pub fn new(title: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{prefix} {bar:32} {percent} % {eta} left").expect("a valid template");
            ProgressBar::new(0).with_style(style).with_prefix(title)
        });
        Self { bar, title, tenth: 0 }
    }

    pub fn set(&mut self, done: usize, all: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        } else if done * 10 / all > self.tenth {
            self.tenth = done * 10 / all;
            eprintln!("{}: {} %", self.title, self.tenth * 10);
        }
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
