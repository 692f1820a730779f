//! `mailferry reload`: what it says of a file that is taken up, of one with problems and of one that cannot be used.

use serde_json::json;

use super::site::{Running, site};
use crate::client::Client;

/// What a client reads first.
async fn greeting(running: &Running<'_>) -> String {
    Client::clear(running.address).await.line().await
}

#[tokio::test]
async fn a_reload_says_what_has_changed_and_has_changed_it() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let file = folder.path("proxy.toml").display().to_string();
    let said = running.command(&["reload"]).await.said();
    assert_eq!(said, format!("{file}: reloaded; changes: 0, need a restart: 0\n"));
    folder.replace("mail.example.net", "new.example.net");
    folder.replace("disconnect_spread = \"1s\"\n", "");
    let said = running.command(&["reload"]).await.said();
    let expected = "[server] changed: hostname\n[island] a changed: disconnect_spread\n";
    assert_eq!(said, format!("{expected}{file}: reloaded; changes: 2, need a restart: 0\n"));
    assert!(greeting(&running).await.contains("new.example.net"));
    running.log.many(&["\"message\":\"operator: reload\"", "\"uid\":", "\"pid\":"], 2).await;
    running.log.many(&["\"message\":\"reloaded\""], 2).await;
    folder.replace("new.example.net", "newer.example.net");
    let json = running.command(&["reload", "--json"]).await.json();
    let changes = json!([{"section": "server", "name": "", "what": "changed: hostname"}]);
    assert_eq!(json, json!({"done": true, "file": file, "changes": changes, "restart": [], "problems": []}));
}

#[tokio::test]
async fn a_file_with_problems_ends_with_78_tells_all_of_them_and_changes_nothing() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let file = folder.path("proxy.toml").display().to_string();
    folder.replace("mail.example.net", "new.example.net");
    folder.replace("fail_back = \"manual\"", "fail_back = \"perhaps\"");
    folder.replace("interval = \"1h\"", "interval = \"often\"");
    let refused = running.command(&["reload"]).await;
    assert_eq!((refused.code, refused.out.as_str()), (78, ""), "{}", refused.err);
    let begin = format!("{file}:");
    let problems = refused.err.lines().filter(|line| line.starts_with(&begin) && line.contains(": ")).count();
    assert_eq!(problems, 4, "three problems and the last line: {}", refused.err);
    assert!(refused.err.contains("  help: "), "{}", refused.err);
    assert!(refused.err.ends_with(&format!("{file}: not reloaded: everything is as it was\n")), "{}", refused.err);
    assert!(greeting(&running).await.contains("mail.example.net"));
    let refused = running.command(&["reload", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!((refused.code, &json["done"], &json["changes"]), (78, &json!(false), &json!([])));
    let text = std::fs::read_to_string(&file).unwrap();
    for problem in json["problems"].as_array().unwrap() {
        let line = text.lines().nth(problem["line"].as_u64().unwrap() as usize - 1).unwrap();
        assert!(line.contains("perhaps") || line.contains("often"), "{problem}: {line}");
        assert_eq!(problem["file"], file);
    }
    assert_eq!(json["problems"].as_array().unwrap().len(), 3, "{json}");
    assert!(greeting(&running).await.contains("mail.example.net"));
}

#[tokio::test]
async fn what_needs_a_restart_is_told_with_its_reason_each_time() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    folder.replace("format = \"json\"", "format = \"text\"");
    for _ in 0..2 {
        let told = running.command(&["reload"]).await;
        assert_eq!(told.code, 0);
        assert!(told.out.ends_with("proxy.toml: reloaded; changes: 0, need a restart: 1\n"), "{}", told.out);
        let warning = "warning: log.format needs a restart and is as it was: the log is set up once, and a log of";
        assert!(told.err.starts_with(warning), "{}", told.err);
    }
    let json = running.command(&["reload", "--json"]).await.json();
    assert_eq!((&json["restart"][0]["key"], &json["changes"]), (&json!("log.format"), &json!([])));
    running.log.many(&["\"message\":\"reloaded\"", "\"need_restart\":1"], 3).await;
}

#[tokio::test]
async fn what_cannot_be_taken_up_ends_with_70_and_nobody_there_with_69() {
    let (left, _right, folder) = site().await;
    let running = folder.run().await;
    let taken = format!("127.0.0.1:{}", left.port);
    folder.replace("mail.example.net", "new.example.net");
    folder.replace("127.0.0.1:0", &taken);
    let refused = running.command(&["reload"]).await;
    assert_eq!((refused.code, refused.out.as_str()), (70, ""), "{}", refused.err);
    let begin = format!("not reloaded, everything is as it was: cannot listen on {taken}: ");
    assert!(refused.err.starts_with(&begin), "{}", refused.err);
    assert!(greeting(&running).await.contains("mail.example.net"));
    running.stop().await;
    assert_eq!(folder.command(&["reload"]).await.code, 69);
}
