//! A headless Chromium that opens a page, says what it asked for and complained of, and takes a picture.
//!
//! It is driven by its DevTools protocol over two pipes: no port is opened. It resolves no name and has a
//! proxy that is not there, so nothing outside of the loopback interface can be reached; what a page asks for
//! is in [`Seen::requests`] all the same. Every picture is also kept in the directory that `AIRLOCK_SCREENSHOTS`
//! names, if it is set: somebody should look at them now and then.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::real::real_part;

/// How long the browser may take for one answer on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// The browser reads its commands from descriptor 3 and answers on 4.
const PIPES: &str = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
/// What is named here is off, so that the browser asks nobody anything by itself.
const FLAGS: [&str; 14] = [
    "--headless",
    "--remote-debugging-pipe",
    // Tests run as root in containers, and open pages of ours only.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--proxy-server=http://127.0.0.1:9",
];

/// A running browser; it ends when dropped.
pub struct Chromium(Mutex<Browser>);

/// How to look at a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Of the window, in CSS pixels.
    pub width: u32,
    /// The same; the picture is of the whole page however long it is.
    pub height: u32,
    /// Whether the person prefers dark colours.
    pub dark: bool,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// A PNG of the whole page.
    pub screenshot: Vec<u8>,
    /// What the browser said in its console, with what scripts threw.
    pub console: Vec<String>,
    /// Every address that was asked for, the page's own first, whether or not anything came.
    pub requests: Vec<String>,
    /// How wide the page's content is: more than the window's width if one has to scroll sideways.
    pub content_width: u64,
    /// The page's text as it is shown.
    pub text: String,
}

struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    /// Events that came while an answer was waited for.
    events: VecDeque<Value>,
    commands_sent: u64,
    directory: TempDir,
}

impl Chromium {
    /// Starts the machine's; nothing, after saying so, where it is not installed.
    ///
    /// # Panics
    /// Where it is missing and `CI` is `true`, or where it does not start.
    #[must_use]
    pub fn find() -> Option<Self> {
        let program = real_part("chromium")?;
        let directory = tempfile::tempdir().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut process = Command::new("/bin/sh")
            .args(["-c", PIPES, "sh"])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
            .env("HOME", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let (commands, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0) {
                let Ok(message) = message else { return };
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
            }
        });
        let events = VecDeque::new();
        Some(Self(Mutex::new(Browser { process, commands, messages, events, commands_sent: 0, directory })))
    }

    /// Opens `http://127.0.0.1:PORT/…` or `file:///…` in a window of its own, without anything that an
    /// earlier page left behind, and waits until all of it is there.
    ///
    /// # Panics
    /// Where the page cannot be opened.
    #[must_use]
    pub fn look(&self, url: &str, look: Look) -> Seen {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).look(url, look);
        if let Some(directory) = std::env::var_os("AIRLOCK_SCREENSHOTS") {
            let scheme = if look.dark { "dark" } else { "light" };
            let of = manifests::Digest::of(seen.text.as_bytes()).short();
            let name = format!("{of}-{}-{scheme}.png", look.width);
            std::fs::write(std::path::Path::new(&directory).join(name), &seen.screenshot).unwrap();
        }
        seen
    }
}

impl Browser {
    fn look(&mut self, url: &str, look: Look) -> Seen {
        let context = self.ask(None, "Target.createBrowserContext", json!({}))["browserContextId"].clone();
        let blank = json!({"url": "about:blank", "browserContextId": context});
        let target = self.ask(None, "Target.createTarget", blank)["targetId"].clone();
        let attach = json!({"targetId": target, "flatten": true});
        let attached = self.ask(None, "Target.attachToTarget", attach);
        let page = attached["sessionId"].as_str().unwrap();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            self.ask(Some(page), domain, json!({}));
        }
        let window = json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.width < 600});
        self.ask(Some(page), "Emulation.setDeviceMetricsOverride", window);
        let scheme = if look.dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask(Some(page), "Emulation.setEmulatedMedia", media);
        self.events.clear();

        let opened = self.ask(Some(page), "Page.navigate", json!({"url": url}));
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next();
            self.events.push_back(event);
        }
        let content_width = self.evaluate(page, "document.documentElement.scrollWidth").as_u64().unwrap();
        let text = self.evaluate(page, "document.body.innerText").as_str().unwrap().to_string();
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.ask(Some(page), "Page.captureScreenshot", whole);
        let screenshot = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        self.ask(None, "Target.disposeBrowserContext", json!({"browserContextId": context}));
        let events = std::mem::take(&mut self.events);
        let console = events.iter().filter_map(complaint).collect();
        let requests = events.iter().filter_map(request).collect();
        Seen { screenshot, console, requests, content_width, text }
    }

    fn evaluate(&mut self, page: &str, expression: &str) -> Value {
        self.ask(Some(page), "Runtime.evaluate", json!({"expression": expression, "returnByValue": true}))
            ["result"]["value"]
            .clone()
    }

    /// Sends a command and waits for its answer; what happens meanwhile is kept.
    fn ask(&mut self, page: Option<&str>, method: &str, params: Value) -> Value {
        self.commands_sent += 1;
        let mut command = json!({"id": self.commands_sent, "method": method, "params": params});
        if let Some(page) = page {
            command["sessionId"] = json!(page);
        }
        let mut bytes = serde_json::to_vec(&command).unwrap();
        bytes.push(0);
        self.commands.write_all(&bytes).and_then(|()| self.commands.flush()).unwrap();
        loop {
            let message = self.next();
            if message["id"] == self.commands_sent {
                assert!(message.get("error").is_none(), "{command}: {message}");
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }

    fn next(&mut self) -> Value {
        self.messages.recv_timeout(ANSWER_MAX).unwrap_or_else(|error| {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            panic!("chromium does not answer ({error}): {log}");
        })
    }
}

/// An entry of the console.
fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Log.entryAdded" => {
            let entry = &params["entry"];
            let word = |key: &str| entry[key].as_str().unwrap_or_default();
            Some(format!("{}: {} {}", word("level"), word("text"), word("url")))
        }
        "Runtime.consoleAPICalled" => Some(format!("console: {}", params["args"])),
        "Runtime.exceptionThrown" => Some(format!("thrown: {}", params["exceptionDetails"])),
        _ => None,
    }
}

fn request(event: &Value) -> Option<String> {
    (event["method"] == "Network.requestWillBeSent")
        .then(|| event["params"]["request"]["url"].as_str().unwrap_or_default().to_string())
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FakeServer, Reply};

    const LOOK: Look = Look { width: 360, height: 640, dark: false };

    #[test]
    fn sees_what_a_page_asks_for_says_and_looks_like() {
        let Some(chromium) = Chromium::find() else { return };
        let server = FakeServer::start(|request| {
            match request.path.as_str() {
            "/" => Reply::ok("<!DOCTYPE html><link rel=icon href='data:,'><style>:root { color-scheme: light dark }</style><p style='width: 900px'>wide</p><img src=/missing.png><img src='http://elsewhere.example.com/x.png'><script>console.warn('hm'); nothing()</script>")
                .header("Content-Type", "text/html"),
            _ => Reply::status(404),
        }
        });
        let url = format!("{}/", server.url());
        let seen = chromium.look(&url, LOOK);
        assert!(seen.content_width >= 900, "{}", seen.content_width);
        assert_eq!((seen.text.trim(), seen.requests.first()), ("wide", Some(&url)));
        for asked in [format!("{url}missing.png"), "http://elsewhere.example.com/x.png".to_string()] {
            assert!(seen.requests.contains(&asked), "{asked}: {:?}", seen.requests);
        }
        for word in ["hm", "nothing is not defined", "404", "elsewhere.example.com"] {
            assert!(seen.console.iter().any(|line| line.contains(word)), "{word}: {:?}", seen.console);
        }
        assert!(seen.screenshot.starts_with(b"\x89PNG"));
        let dark = chromium.look(&url, Look { dark: true, ..LOOK });
        assert_ne!(dark.screenshot, seen.screenshot);
    }

    /// On a phone, a page without that line is laid out for a desk.
    const PAGE: &str = "<!DOCTYPE html><meta name=viewport content='width=device-width'><p>quiet</p>";

    #[test]
    fn a_quiet_page_in_a_file_leaves_nothing_in_the_console() {
        let Some(chromium) = Chromium::find() else { return };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page.html");
        std::fs::write(&path, PAGE).unwrap();
        let url = format!("file://{}", path.display());
        let seen = chromium.look(&url, LOOK);
        assert_eq!((seen.console, seen.requests), (Vec::new(), vec![url]));
        assert_eq!(seen.content_width, u64::from(LOOK.width));
    }
}
