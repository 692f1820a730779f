//! docs/openapi.json against what is really answered: every field, and none that is not described.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::site::{Running, site};
use super::socket::ask;

fn description() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What is wrong with a value by its schema, of the words that the document uses.
fn wrong(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).expect("a schema that is there");
        return wrong(document, schema, value, at);
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{at}: a schema without a type: {schema}"),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() && kinds.contains(&"integer") => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.contains(&kind) {
        return vec![format!("{at}: {kind}, and not {kinds:?}")];
    }
    let mut found = Vec::new();
    for (place, entry) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(wrong(document, &schema["items"], entry, &format!("{at}[{place}]")));
    }
    let Some(fields) = value.as_object() else { return found };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    found.extend(required.filter(|name| !fields.contains_key(*name)).map(|name| format!("{at}: no {name}")));
    for (name, field) in fields {
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Object(_)) => {
                found.extend(wrong(document, &schema["additionalProperties"], field, &format!("{at}.{name}")));
            }
            (Value::Null, _) => found.push(format!("{at}: {name} is not described")),
            (schema, _) => found.extend(wrong(document, schema, field, &format!("{at}.{name}"))),
        }
    }
    found
}

/// What is wrong with a value that is to be one of these.
pub fn wrong_as(schema: &str, value: &Value) -> Vec<String> {
    let document = description();
    wrong(&document, &document["components"]["schemas"][schema], value, schema)
}

/// Asks, and compares the answer with what is described for its status.
async fn compared(running: &Running<'_>, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let document = description();
    let (status, answer) = ask(&running.socket(), method, path, body).await;
    let bare = path.split('?').next().unwrap().replace('/', "~1");
    let method = method.to_lowercase();
    let pointer = format!("/paths/{bare}/{method}/responses/{status}/content/application~1json/schema");
    let schema = document.pointer(&pointer).unwrap_or_else(|| panic!("{method} {path}: {status} is not described"));
    let wrong = wrong(&document, schema, &answer, path);
    assert!(wrong.is_empty(), "{wrong:#?}\n{answer:#}");
    (status, answer)
}

#[tokio::test]
async fn every_answer_is_what_is_described() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let _clients = (running.log_in("alice").await, running.log_in("bob").await);
    let questions: [(&str, &str, Option<Value>, u16); 48] = [
        ("GET", "/healthz", None, 200),
        ("GET", "/readyz", None, 200),
        ("GET", "/v1/status", None, 200),
        ("GET", "/v1/islands", None, 200),
        ("GET", "/v1/sessions", None, 200),
        ("GET", "/v1/sessions?user=alice&limit=1", None, 200),
        ("GET", "/v1/sessions?user=nobody", None, 404),
        ("GET", "/v1/sessions?limit=many", None, 400),
        ("GET", "/v1/sessions?usr=alice", None, 400),
        ("GET", "/v1/top?limit=3", None, 200),
        ("GET", "/v1/top?limit=-1", None, 400),
        ("GET", "/v1/failures", None, 200),
        ("GET", "/v1/levels", None, 200),
        ("POST", "/v1/levels", Some(json!({"module": "net", "level": "debug"})), 200),
        ("POST", "/v1/levels", Some(json!({"module": "nett", "level": "debug"})), 404),
        ("POST", "/v1/levels", Some(json!({"module": null, "level": "info"})), 200),
        ("POST", "/v1/kick", Some(json!({"user": "bob"})), 200),
        ("POST", "/v1/kick", Some(json!({"user": "bob", "node": "a/left"})), 400),
        ("POST", "/v1/kick", Some(json!({"node": "a/middle"})), 404),
        ("POST", "/v1/kick", Some(json!({"usr": "bob"})), 422),
        ("POST", "/v1/node", Some(json!({"node": "a/left", "state": "draining"})), 200),
        ("POST", "/v1/node", Some(json!({"node": "a/left", "state": "gone"})), 400),
        ("POST", "/v1/node", Some(json!({"node": "a/middle", "state": "draining"})), 404),
        ("POST", "/v1/node", Some(json!({"node": "x".repeat(20_000), "state": "draining"})), 413),
        ("POST", "/v1/node", None, 415),
        ("POST", "/v1/fail-back", Some(json!({"island": "a"})), 200),
        ("POST", "/v1/fail-back", Some(json!({"island": "c"})), 404),
        ("POST", "/v1/flush", Some(json!({})), 200),
        ("POST", "/v1/flush", Some(json!({"user": ""})), 400),
        ("POST", "/v1/route", Some(json!({"user": "alice", "island": "b"})), 200),
        ("POST", "/v1/route", Some(json!({"user": "alice", "island": "c"})), 404),
        ("POST", "/v1/hold", Some(json!({"user": "alice", "for_s": 60})), 200),
        ("POST", "/v1/hold", Some(json!({"user": "alice", "move_to": "b"})), 409),
        ("POST", "/v1/hold", Some(json!({"user": "alice", "for_s": 0})), 400),
        ("POST", "/v1/hold", Some(json!({"user": "nobody"})), 404),
        ("GET", "/v1/holds", None, 200),
        ("GET", "/v1/holds?user=bob", None, 404),
        ("POST", "/v1/release", Some(json!({"user": "alice", "id": 9})), 409),
        ("POST", "/v1/release", Some(json!({"user": "alice"})), 200),
        ("POST", "/v1/release", Some(json!({"user": "alice"})), 404),
        ("POST", "/v1/hold", Some(json!({"user": "bob", "ticket": "not one"})), 400),
        ("POST", "/v1/hold", Some(json!({"user": "bob", "ticket": "one", "move_to": "a"})), 200),
        ("POST", "/v1/hold", Some(json!({"user": "bob", "ticket": "one", "move_to": "a"})), 200),
        ("POST", "/v1/hold", Some(json!({"user": "bob", "ticket": "two", "move_to": "a"})), 409),
        ("POST", "/v1/release", Some(json!({"user": "bob", "ticket": "two"})), 409),
        ("POST", "/v1/release", Some(json!({"user": "bob", "ticket": "one"})), 200),
        ("POST", "/v1/hold", Some(json!({"user": "bob", "ticket": "two", "move_to": "a"})), 409),
        ("POST", "/v1/reload", None, 200),
    ];
    let mut asked = BTreeSet::new();
    for (method, path, body, expected) in questions {
        let (status, answer) = compared(&running, method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        asked.insert(format!("{} {}", method.to_lowercase(), path.split('?').next().unwrap()));
    }
    folder.replace("mail.example.net", "new.example.net");
    folder.replace("format = \"json\"", "format = \"text\"");
    let (_, changed) = compared(&running, "POST", "/v1/reload", None).await;
    assert_eq!(
        (&changed["changes"][0]["section"], &changed["restart"][0]["key"]),
        (&json!("server"), &json!("log.format"))
    );
    folder.replace("new.example.net", "bad name");
    let (_, refused) = compared(&running, "POST", "/v1/reload", None).await;
    assert_eq!((&refused["done"], &refused["problems"][0]["line"]), (&json!(false), &json!(2)));
    // No JSON: tests/it/metrics.rs.
    asked.insert("get /metrics".to_owned());
    let document = description();
    let paths = document["paths"].as_object().unwrap();
    let described = paths
        .iter()
        // The page has tests in a browser, and events in `events`.
        .filter(|(path, _)| !["/", "/v1/events"].contains(&path.as_str()))
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")));
    assert_eq!(asked, described.collect(), "every question is asked here once");
    for (method, path, expected) in
        [("GET", "/v1/nothing", 404), ("DELETE", "/v1/status", 405), ("GET", "/v1/kick", 405)]
    {
        let (status, answer) = ask(&running.socket(), method, path, None).await;
        assert_eq!(status, expected, "{method} {path}");
        assert!(answer["error"].is_string(), "{answer}");
    }
}
