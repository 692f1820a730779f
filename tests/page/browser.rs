//! A headless Chromium, driven through chromedriver's WebDriver: HTTP with JSON, one connection a command.
//!
//! Both end with the test, and each has a folder of its own. A machine without them fails the test: scripts/install.sh
//! has them.

use std::io::BufRead as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// Whatever is waited for comes within this, on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// The word with which WebDriver tells of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: TempDir,
}

impl Browser {
    /// A window of this size.
    pub async fn start(width: u32, height: u32) -> Self {
        let profile = TempDir::new().unwrap();
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").env("HOME", profile.path()).env("TMPDIR", profile.path());
        let (driver, port) = started(&mut driver).await;
        let mut browser = Self { driver, port, session: String::new(), profile };
        let arguments = [
            "--headless=new".to_owned(),
            // Root has no sandbox; the only page is ours.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-extensions".to_owned(),
            "--disable-background-networking".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--user-data-dir={}", browser.profile.path().join("profile").display()),
            format!("--window-size={width},{height}"),
        ];
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let session = browser.ask("POST", "/session", json!({ "capabilities": { "alwaysMatch": wanted } })).await;
        browser.session = session.unwrap()["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    pub async fn open(&self, address: &str) {
        self.order("url", json!({ "url": address })).await;
    }

    /// What an expression of the page is now.
    pub async fn get(&self, expression: &str) -> Value {
        self.order("execute/sync", json!({ "script": format!("return {expression}"), "args": [] })).await
    }

    /// Whether it is true; not, where it cannot be told yet.
    async fn is(&self, expression: &str) -> bool {
        let script = format!("try {{ return Boolean({expression}) }} catch {{ return false }}");
        self.order("execute/sync", json!({ "script": script, "args": [] })).await == json!(true)
    }

    /// Waits until an expression of the page is true.
    #[track_caller]
    pub fn until(&self, expression: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let deadline = Instant::now() + DEADLINE;
            while !self.is(expression).await {
                if Instant::now() > deadline {
                    let text = self.get("document.body.innerText").await;
                    panic!("{place}: never: {expression}\n{}", text.as_str().unwrap_or_default());
                }
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Clicks what the selector finds, as a hand does: it must be there, visible, and not covered.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.order(&format!("element/{element}/click"), json!({})).await;
    }

    pub async fn write(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.order(&format!("element/{element}/clear"), json!({})).await;
        self.order(&format!("element/{element}/value"), json!({ "text": text })).await;
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.order("element", json!({ "using": "css selector", "value": selector })).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// What Chromium's own protocol can and WebDriver cannot.
    pub async fn chromium(&self, command: &str, parameters: Value) -> Value {
        self.order("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// What a screen of this size shows, in CSS pixels; `dark`: where its owner wants it so.
    pub async fn screen(&self, width: u32, height: u32, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.chromium("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.chromium("Emulation.setEmulatedMedia", features).await;
    }

    /// A picture of the whole page, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let size = self.get("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]").await;
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 });
        let picture =
            self.chromium("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "clip": clip })).await;
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// What the browser complains of since the last time: errors of the script, and what the policy forbade.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.order("se/log", json!({ "type": "browser" })).await;
        log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    async fn order(&self, command: &str, body: Value) -> Value {
        let path = format!("/session/{}/{command}", self.session);
        self.ask("POST", &path, body).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let body = body.to_string();
        let question = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        );
        let answered = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            stream.write_all(question.as_bytes()).await.unwrap();
            let (mut stream, mut length) = (BufReader::new(stream), 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                let (name, rest) = line.split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = rest.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            // It does not always close.
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            body
        };
        let body = timeout(DEADLINE, answered).await.unwrap_or_else(|_| panic!("no answer from the browser: {path}"));
        let value: Value = serde_json::from_slice(&body).unwrap();
        match value["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["value"]["message"])),
            None => Ok(value["value"].clone()),
        }
    }

    /// Ends it, and all that it has started.
    pub async fn close(self) {
        let path = format!("/session/{}", self.session);
        self.ask("DELETE", &path, json!({})).await.unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With the browser, if a test has failed.
        let group = i32::try_from(self.driver.id()).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.driver.wait();
    }
}

/// Starts chromedriver; it says which port it has.
async fn started(command: &mut Command) -> (Child, u16) {
    let child = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("chromedriver is not there: scripts/install.sh test installs chromium-driver");
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let (told, port) = oneshot::channel();
    // To the end: whoever writes to a pipe that nobody reads stops some day.
    std::thread::spawn(move || {
        let mut told = Some(told);
        for line in lines.map_while(Result::ok) {
            if let Some((_, port)) = line.split_once("started successfully on port ")
                && let Some(told) = told.take()
            {
                let _ = told.send(port.trim_end_matches('.').parse().unwrap());
            }
        }
    });
    let port = timeout(DEADLINE, port).await.expect("chromedriver does not start in time");
    (child, port.expect("chromedriver does not start"))
}
