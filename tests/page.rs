//! The status page in a real browser: what an operator sees and does there, with fake nodes behind mailferry.
//!
//! Nothing sleeps: what must come is waited for, with a deadline. Without Chromium these tests fail; scripts/install.sh has
//! it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "modules of one binary")]

#[path = "page/browser.rs"]
mod browser;
#[path = "page/client.rs"]
mod client;
#[path = "it/node.rs"]
#[allow(dead_code, reason = "tests/it uses all of it")]
mod node;
#[path = "program/mod.rs"]
mod program;
#[path = "it/said.rs"]
#[allow(dead_code, reason = "tests/it uses all of it")]
mod said;
#[path = "it/admin/site.rs"]
#[allow(dead_code, reason = "tests/it uses all of it")]
mod site;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use self::browser::Browser;
use self::client::Client;
use self::node::FakeNode;
use self::site::{Folder, Running};

/// What every text on the page must have against its ground (WCAG 2.2, 1.4.3).
const CONTRAST: f64 = 4.5;

/// The lowest contrast of any text that is shown, and that text.
const LOWEST_CONTRAST: &str = r#"(() => {
    const parts = text => text.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = it => {
        for (; it; it = it.parentElement) {
            const color = parts(getComputedStyle(it).backgroundColor);
            if (color.length === 3 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let lowest = [99, ""];
    while (walk.nextNode()) {
        const it = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
        if (!text || !it.checkVisibility() || it.closest("script, .skip")) continue;
        const [a, b] = [parts(getComputedStyle(it).color), ground(it)].map(light).sort((a, b) => b - a);
        const contrast = (a + 0.05) / (b + 0.05);
        if (contrast < lowest[0]) lowest = [contrast, text];
    }
    return lowest;
})()"#;

/// Of one who may order, and of one who may look.
const OPERATOR: &str = "operator-0123456789-0123456789-0123456789";
const READER: &str = "reader-0123456789-0123456789-0123456789-01";

/// Two friendly nodes, and a folder for a mailferry with an address for browsers, always the same.
async fn site() -> (FakeNode, FakeNode, Folder) {
    let (left, right) = (FakeNode::imap().await, FakeNode::imap().await);
    let admin = format!(
        "socket = \"admin.sock\"\nstate_file = \"operator.json\"\naddress = \"127.0.0.1:{}\"\ntls = \"off\"\n\
         operator_token_file = \"operator\"\nread_only_token_file = \"reader\"\n",
        FakeNode::dead().await
    );
    let folder = Folder::with([left.port, right.port], &admin);
    fs::write(folder.path("operator"), OPERATOR).unwrap();
    fs::write(folder.path("reader"), READER).unwrap();
    (left, right, folder)
}

/// Where the page is.
async fn address(running: &Running<'_>) -> String {
    let line = running.log.line(&["open for commands with a token"]).await;
    format!("http://{}/", line.split("\"address\":\"").nth(1).unwrap().split('"').next().unwrap())
}

/// A browser that shows the page of this mailferry to whoever has this token.
async fn shown(running: &Running<'_>, token: &str) -> Browser {
    let browser = Browser::start(1280, 900).await;
    browser.open(&address(running).await).await;
    browser.until("document.activeElement.id === 'token'").await;
    browser.write("#token", token).await;
    browser.click("#door button").await;
    browser.until("document.querySelectorAll('.node').length === 3").await;
    browser
}

/// A node as the API tells of it.
async fn node(running: &Running<'_>, island: usize, node: usize) -> Value {
    running.command(&["islands", "--json"]).await.json()["islands"][island]["nodes"][node].clone()
}

/// Nothing that the script did not expect, and nothing that the policy forbids, has happened.
async fn no_complaint(browser: &Browser) {
    let complaints = browser.complaints().await;
    let unexpected: Vec<_> = complaints.iter().filter(|it| !it.contains("Failed to load resource")).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

#[tokio::test]
async fn an_operator_sees_what_there_is_and_orders_what_he_confirms() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let browser = Browser::start(1280, 900).await;

    // Nobody sees anything without a token, and a wrong one is told so and not kept.
    browser.open(&address(&running).await).await;
    browser.until("document.activeElement.id === 'token' && document.querySelector('main').hidden").await;
    browser.write("#token", "wrong").await;
    browser.click("#door button").await;
    browser.until("document.querySelector('#refused').innerText === 'This token is not known here.'").await;
    assert_eq!(browser.get("sessionStorage.length").await, json!(0));
    browser.write("#token", OPERATOR).await;
    browser.click("#door button").await;
    browser.until("document.querySelectorAll('.node').length === 3").await;
    assert_eq!(browser.get("[localStorage.length, document.cookie]").await, json!([0, ""]));
    assert!(!browser.get("document.URL").await.as_str().unwrap().contains(OPERATOR));

    // Both nodes of an island stand side by side, left and right.
    let places = browser
        .get("['a/left', 'a/right'].map(it => document.getElementById(it).getBoundingClientRect()).map(it => [it.x, it.y])")
        .await;
    assert!(places[0][0].as_f64() < places[1][0].as_f64() && places[0][1] == places[1][1], "{places}");
    browser.until("document.querySelector('#verdict p').innerText === 'Everything is in service.'").await;

    // A login is seen without a reload.
    browser.get("(window.still = 'here')").await;
    assert_eq!(browser.get("document.querySelector('#f-sessions').innerText").await, json!("0"));
    let mut alice = running.log_in("alice").await;
    browser.until("document.querySelector('#f-sessions').innerText === '1'").await;
    browser.until("document.querySelector('[id=\"a/left\"] .n').innerText.startsWith('1')").await;
    assert_eq!(browser.get("window.still").await, json!("here"));
    browser.until("document.querySelector('[id=\"a/left\"] polyline').getAttribute('points').includes(',1.0')").await;

    // An order says before what it will do, and is carried out when it is confirmed, not before.
    browser.click("[aria-label='Drain: a/left']").await;
    browser.until("document.querySelector('#ask').open").await;
    let said = browser.get("document.querySelector('#ask-p').innerText").await;
    let said = said.as_str().unwrap();
    assert!(said.contains("1 of 2 nodes of island a remains in service."), "{said}");
    assert!(said.contains("Its 1 session stays until the clients leave."), "{said}");
    assert_eq!(browser.get("document.activeElement.id").await, json!("ask-no"), "a hasty Enter does nothing");
    browser.click("#ask-no").await;
    browser.until("!document.querySelector('#ask').open").await;
    assert_eq!(node(&running, 0, 0).await["operator"], "in-service");
    browser.click("[aria-label='Drain: a/left']").await;
    browser.click("#ask-yes").await;
    browser.until("document.querySelector('#said').innerText === 'a/left: draining (was in service).'").await;
    assert_eq!(node(&running, 0, 0).await["operator"], "draining");
    browser.until("document.querySelector('[id=\"a/left\"] .state').innerText === 'draining'").await;
    browser.until("document.querySelector('#verdict').innerText.includes('draining, still has 1 session')").await;

    // The last one that is in service.
    browser.click("[aria-label='Maintenance: a/right']").await;
    browser.until("document.querySelector('#ask-p .bad').innerText.includes('its users cannot log in')").await;
    browser.click("#ask-no").await;

    // Sessions of a node, and of a user.
    browser.click("[aria-label='End its sessions: a/left']").await;
    browser.until("document.querySelector('#ask-p').innerText.startsWith('1 session ends')").await;
    browser.click("#ask-yes").await;
    alice.closed().await;
    browser.until("document.querySelector('#f-sessions').innerText === '0'").await;
    let mut bob = running.log_in("bob").await;
    browser.write("#user", "bob").await;
    browser.click("#kick button").await;
    browser.until("document.querySelector('#ask-h').innerText === 'End the sessions of bob'").await;
    browser.click("#ask-yes").await;
    bob.closed().await;
    browser.write("#user", "bobb").await;
    browser.click("#kick button").await;
    browser.until("document.querySelector('#said').innerText.includes('no session of user bobb')").await;

    browser.click("[aria-label='Into service: a/left']").await;
    browser.click("#ask-yes").await;
    browser.until("document.querySelector('#verdict p').innerText === 'Everything is in service.'").await;
    assert_eq!(node(&running, 0, 0).await["operator"], "in-service");
    no_complaint(&browser).await;

    // The token goes with a click.
    browser.click("#leave").await;
    browser.until("document.querySelector('main').hidden && sessionStorage.length === 0").await;
    browser.close().await;
}

/// A name that would be a script, were it ever markup.
const HOSTILE: &str = "<img/src=x/onerror=window.hit=1>";

#[tokio::test]
async fn hostile_names_and_reasons_are_text() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let browser = shown(&running, OPERATOR).await;
    let mut client = Client::clear(running.address).await;
    client.line().await;
    client.command("a", &format!("LOGIN \"{HOSTILE}\" right-Pa55")).await;
    browser.click("[data-whose=client]").await;
    browser.until(&format!("document.querySelector('#failures .u').innerText === '{HOSTILE}'")).await;
    browser.until("document.querySelector('#failures').innerText.includes('unknown-user')").await;

    // Whatever mailferry may be brought to say, in every field.
    let every = format!(
        "(() => {{ const bad = it => typeof it === 'string' ? {HOSTILE:?} : Array.isArray(it) ? it.map(bad) : \
         it && typeof it === 'object' ? Object.fromEntries(Object.entries(it).map(([name, it]) => [name, bad(it)])) : it; \
         if (stream) {{ const mine = stream; stream = null; mine.abort(); }} \
         const one = structuredClone(failures); hear(bad({{ ...now, failures: one, curves: null }})); \
         whose = {HOSTILE:?}; showFailures(); propose({HOSTILE:?}, () => [[[{HOSTILE:?}]], true], {HOSTILE:?}, null); \
         tell({HOSTILE:?}); return document.body.innerText; }})()"
    );
    let text = browser.get(&every).await;
    let count = text.as_str().unwrap().matches("<img/src=x/onerror=window.hit=1>").count();
    assert!(count > 20, "{count}: {text}");
    assert_eq!(
        browser.get("[document.querySelectorAll('img').length, window.hit === undefined]").await,
        json!([0, true])
    );
    no_complaint(&browser).await;

    // And should the page ever slip, the browser does not let it.
    let slip = "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'done'; } catch (error) { return error.name; } })()";
    assert_eq!(browser.get(slip).await, json!("TypeError"));
    browser.close().await;
}

#[tokio::test]
async fn it_is_readable_on_a_telephone_and_in_the_dark() {
    let (_left, right, folder) = site().await;
    let running = folder.run().await;
    let browser = shown(&running, OPERATOR).await;
    let _alice = running.log_in("alice").await;
    running.command(&["drain", "a/left"]).await.said();
    let mut client = Client::clear(running.address).await;
    client.line().await;
    client.command("a", &format!("LOGIN {} right-Pa55", "x".repeat(200))).await;
    drop(right);
    browser.click("[data-whose=client]").await;
    browser.until("document.querySelectorAll('#failures tr').length === 1").await;
    browser.until("document.querySelector('#verdict').innerText.includes('draining, still has 1 session')").await;
    for dark in [false, true] {
        for width in [360, 768, 1280, 2560] {
            browser.screen(width, 740, dark).await;
            browser.until(&format!("innerWidth === {width}")).await;
            let wide = browser.get("document.documentElement.scrollWidth").await;
            assert_eq!(wide, json!(width), "it must be pushed sideways");
            let lowest = browser.get(LOWEST_CONTRAST).await;
            assert!(lowest[0].as_f64().unwrap() >= CONTRAST, "{lowest}, dark: {dark}, {width} wide");
        }
        let ground = browser.get("getComputedStyle(document.documentElement).backgroundColor").await;
        let is_dark = ground.as_str().unwrap().starts_with("rgb(18,");
        assert_eq!(is_dark, dark, "{ground}");
    }
    no_complaint(&browser).await;
    browser.close().await;
}

#[tokio::test]
async fn who_may_look_sees_all_and_orders_nothing() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let browser = shown(&running, READER).await;
    let _alice = running.log_in("alice").await;
    browser.until("document.querySelector('#f-sessions').innerText === '1'").await;
    // The first login had the directory asked, the others do not.
    browser.until("document.querySelector('#f-cache').innerText === '1 0 % hits'").await;
    let _again = (running.log_in("alice").await, running.log_in("alice").await);
    browser.until("document.querySelector('#f-cache').innerText === '1 66 % hits'").await;
    browser
        .until("document.querySelector('#directory').innerText.includes('3 in the last minute, 66 % from the cache')")
        .await;
    browser.until("document.querySelector('#may').innerText === 'This token may look, and not order.'").await;
    assert_eq!(browser.get("document.querySelectorAll('.node button').length").await, json!(0));
    browser.until("document.querySelector('#kick').hidden").await;
    // Not by a way around the page either.
    browser.get("order('a/left', 'draining')").await;
    browser.click("#ask-yes").await;
    browser.until("document.querySelector('#ask-e').innerText === 'This token may look, and not order.'").await;
    assert_eq!(node(&running, 0, 0).await["operator"], "in-service");
    no_complaint(&browser).await;
    browser.close().await;
}

#[tokio::test]
async fn a_connection_that_is_gone_is_told_and_comes_back_by_itself() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let browser = shown(&running, OPERATOR).await;
    browser.until("document.querySelector('#alarm').hidden").await;
    running.kill().await;
    browser.until("!document.querySelector('#alarm').hidden").await;
    browser.until("document.querySelector('#alarm').innerText.includes('No connection to mailferry')").await;
    browser.until("document.querySelector('#link').innerText === 'not live'").await;
    browser.until("document.body.classList.contains('old') && document.title.startsWith('(no connection)')").await;
    // Orders tell that nothing is known of them.
    browser.click("[aria-label='Drain: a/left']").await;
    browser.click("#ask-yes").await;
    browser.until("document.querySelector('#ask-e').innerText.includes('cannot be reached')").await;
    browser.click("#ask-no").await;
    let again = folder.run().await;
    browser.until("document.querySelector('#alarm').hidden && !document.body.classList.contains('old')").await;
    let _alice = again.log_in("alice").await;
    browser.until("document.querySelector('#f-sessions').innerText === '1'").await;
    browser.close().await;
}

/// Octets of the picture: whoever clones the tree has it.
const PICTURE_MAX: u64 = 150_000;

/// With UPDATE_DOCS=1 it makes the picture anew: of the real page, which is told of a site on a bad night.
#[tokio::test]
async fn the_docs_have_a_picture_of_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status.png");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let (_left, _right, folder) = site().await;
        let running = folder.run().await;
        let browser = shown(&running, OPERATOR).await;
        browser.get(include_str!("page/picture.js")).await;
        browser.until("document.querySelectorAll('.island').length === 3").await;
        for (name, width, dark) in [("status", 1280, false), ("dark", 1280, true), ("telephone", 360, false)] {
            browser.screen(width, 900, dark).await;
            browser.until(&format!("innerWidth === {width}")).await;
            let picture = browser.picture().await;
            // The others are for whoever changes the page.
            let there = if name == "status" { path.clone() } else { folder_of_pictures().join(format!("{name}.png")) };
            fs::write(&there, picture).unwrap();
            let mut smaller = Command::new("pngquant");
            smaller.args(["--force", "--ext", ".png", "--speed", "1", "64"]).arg(&there);
            assert!(smaller.status().expect("it needs the package pngquant").success());
        }
        browser.close().await;
    }
    let picture = fs::read(&path).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() as u64 <= PICTURE_MAX, "{} octets", picture.len());
    let operations = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    assert!(fs::read_to_string(operations).unwrap().contains("(status.png)"));
}

/// Beside what is built.
fn folder_of_pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned();
    fs::create_dir_all(&folder).unwrap();
    folder
}
