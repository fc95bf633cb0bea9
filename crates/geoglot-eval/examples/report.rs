//! Writes a sample report and a sample ablation report from made-up data: `cargo run --release -p geoglot-eval --example report -- FOLDER`.

mod sample;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("give the folder to write into")?;
    let folder = std::path::Path::new(&folder);
    for files in [sample::report(1000).write(folder)?, sample::ablation().write(folder)?] {
        println!("{}", files.html.display());
    }
    Ok(())
}
