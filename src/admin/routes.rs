//! What can be asked: every path with its method and the role that it takes.
//!
//! docs/openapi.json describes the same; a test compares the two. A question that looks is GET and for everybody with a
//! token, one that changes something is POST with a body of JSON and for operators. There is no route without a role.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, RawQuery, Request, State};
use axum::handler::Handler;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use tokio::time::timeout;

use super::Desk;
use super::access::{Gate, Pass, Role};
use super::operator::Operator;
use super::refusal::{Refusal, Unknown};
use super::serve::{BODY_MAX, BODY_TIMEOUT, Streaming};
use super::view::{
    Depth, FailBackOrder, Filter, FlushOrder, HoldFilter, HoldOrder, Kick, LevelOrder, NodeOrder, ReleaseOrder, Whom,
};
use crate::drain::Drain;

type At = State<Arc<Desk>>;
type By = Extension<Operator>;
type Said<T> = Result<Json<T>, JsonRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;
type Answer = Result<Response, Refusal>;

/// A path with its method, who may ask it, and who answers. One of the three kinds below: there is no other way to make one.
struct Route {
    #[cfg_attr(not(test), allow(dead_code, reason = "compared with the description"))]
    method: Method,
    path: &'static str,
    role: Role,
    answer: MethodRouter<Arc<Desk>>,
}

impl Route {
    /// For whoever can connect, without a token: nothing of a user, a node or an address may stand in the answer.
    fn open<T: 'static>(path: &'static str, answer: impl Handler<T, Arc<Desk>>) -> Self {
        Self { method: Method::GET, path, role: Role::Anybody, answer: get(answer) }
    }

    /// Looks, and changes nothing.
    fn look<T: 'static>(path: &'static str, answer: impl Handler<T, Arc<Desk>>) -> Self {
        Self { method: Method::GET, path, role: Role::ReadOnly, answer: get(answer) }
    }

    /// Changes something.
    fn order<T: 'static>(path: &'static str, answer: impl Handler<T, Arc<Desk>>) -> Self {
        Self { method: Method::POST, path, role: Role::Operator, answer: post(answer) }
    }
}

/// Every route.
fn routes() -> Vec<Route> {
    vec![
        Route::open("/", page),
        Route::open("/healthz", healthz),
        Route::open("/readyz", readyz),
        Route::look("/metrics", metrics),
        Route::look("/v1/status", status),
        Route::look("/v1/islands", islands),
        Route::look("/v1/sessions", sessions),
        Route::look("/v1/top", top),
        Route::look("/v1/failures", failures),
        Route::look("/v1/events", events),
        Route::order("/v1/kick", kick),
        Route::order("/v1/node", node),
        Route::order("/v1/fail-back", fail_back),
        Route::order("/v1/flush", flush),
        Route::order("/v1/route", route),
        Route::look("/v1/holds", holds),
        Route::order("/v1/hold", hold),
        Route::order("/v1/release", release),
        Route::order("/v1/reload", reload),
        Route::look("/v1/levels", levels),
        Route::order("/v1/levels", set_level),
    ]
}

/// Each question with the role that it takes, as `GET /v1/status`.
#[cfg(test)]
pub(super) fn roles() -> Vec<(String, Role)> {
    routes().into_iter().map(|it| (format!("{} {}", it.method, it.path), it.role)).collect()
}

/// All of them, each behind the gate.
pub(super) fn router(desk: Arc<Desk>, gate: &Gate) -> Router {
    let add = |router: Router<Arc<Desk>>, Route { path, role, answer, .. }: Route| {
        let gate = gate.clone();
        let guard = move |request, next| guarded(gate.clone(), role, request, next);
        router.route(path, answer.route_layer(from_fn(guard)))
    };
    let drain = desk.drain.clone();
    routes()
        .into_iter()
        .fold(Router::new(), add)
        .fallback(async || Refusal::from(Unknown { error: "no such path".to_owned(), meant: None }))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method".to_owned())
        })
        .layer(from_fn(strict))
        .layer(Extension(drain))
        .with_state(desk)
}

/// First whether he may, then the whole of what he asks.
async fn guarded(gate: Gate, role: Role, mut request: Request, next: Next) -> Response {
    match gate.admit(role, &mut request) {
        Ok(()) => whole(request, next).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// What a browser must not do with an answer, where the answer does not say it itself: keep it, guess what it is, show it
/// inside of another page, or load anything for it.
async fn strict(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A question is answered when all of it is there: nobody's order waits half-read.
async fn whole(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let refusal = |status, error: &str| Refusal::new(status, error.to_owned()).into_response();
    let too_long = || refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long");
    // Whoever announces too much is not heard out.
    if body.size_hint().lower() > BODY_MAX as u64 {
        return too_long();
    }
    match timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(octets)) => carried_out(Request::from_parts(head, Body::from(octets)), next).await,
        Ok(Err(_)) => too_long(),
        Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    }
}

/// An order comes to its end and into the log, also when its asker goes, or is cut, before he has the answer: nobody can
/// leave half of one behind, or one that nobody knows of.
async fn carried_out(request: Request, next: Next) -> Response {
    let drain = request.extensions().get::<Drain>().cloned();
    let Some(drain) = drain.filter(|_| request.method() == Method::POST) else { return next.run(request).await };
    let order = tokio::spawn(async move {
        let _drain = drain;
        next.run(request).await
    });
    order.await.unwrap_or_else(|_| Refusal::failed("the order came to no end".to_owned()).into_response())
}

fn json<T: Serialize>(answer: T) -> Answer {
    Ok::<Response<Body>, _>(Json(answer).into_response())
}

async fn page() -> Response {
    super::page::page()
}

async fn healthz() -> Answer {
    json(Desk::alive())
}

async fn readyz(State(desk): At) -> Response {
    let (status, health) = desk.ready();
    (status, Json(health)).into_response()
}

async fn metrics(State(desk): At, headers: HeaderMap) -> Response {
    desk.metrics(&headers).await
}

async fn status(State(desk): At) -> Answer {
    json(desk.whole_status().await)
}

async fn islands(State(desk): At) -> Answer {
    json(desk.all_islands())
}

async fn sessions(State(desk): At, RawQuery(query): RawQuery, filter: Asked<Filter>) -> Answer {
    desk.all_sessions(&filter?.0, query.as_deref()).await
}

async fn top(State(desk): At, depth: Asked<Depth>) -> Answer {
    json(desk.top(&depth?.0).await)
}

async fn failures(State(desk): At) -> Answer {
    json(desk.failures())
}

async fn events(
    State(desk): At,
    Extension(pass): Extension<Pass>,
    Extension(streaming): Extension<Streaming>,
) -> Answer {
    let may_order = pass.role() >= Role::Operator;
    if !streaming.begin(pass) {
        return Err(Refusal::busy("too many listen already"));
    }
    Ok(super::events::stream(desk, may_order))
}

async fn kick(State(desk): At, Extension(by): By, kick: Said<Kick>) -> Answer {
    json(desk.kick_all(&kick?.0, by).await?)
}

async fn node(State(desk): At, Extension(by): By, order: Said<NodeOrder>) -> Answer {
    json(desk.order_node(&order?.0, by).await?)
}

async fn fail_back(State(desk): At, Extension(by): By, order: Said<FailBackOrder>) -> Answer {
    json(desk.fail_back(&order?.0, by)?)
}

async fn flush(State(desk): At, Extension(by): By, order: Said<FlushOrder>) -> Answer {
    json(desk.flush(&order?.0, by).await?)
}

async fn route(State(desk): At, whom: Said<Whom>) -> Answer {
    json(desk.route(&whom?.0).await?)
}

async fn holds(State(desk): At, which: Asked<HoldFilter>) -> Answer {
    json(desk.all_holds(&which?.0).await?)
}

async fn hold(State(desk): At, Extension(by): By, order: Said<HoldOrder>) -> Answer {
    json(desk.hold_all(&order?.0, by).await?)
}

async fn release(State(desk): At, Extension(by): By, order: Said<ReleaseOrder>) -> Answer {
    json(desk.release_all(&order?.0, by).await?)
}

async fn reload(State(desk): At, Extension(by): By) -> Answer {
    json(desk.reload(by).await?)
}

async fn levels() -> Answer {
    json(Desk::levels()?)
}

async fn set_level(Extension(by): By, order: Said<LevelOrder>) -> Answer {
    json(Desk::set_level(&order?.0, by)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json")).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let of = |(path, methods): (&String, &serde_json::Value)| {
            let methods: Vec<String> = methods.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect();
            methods.into_iter().map(|method| format!("{method} {path}")).collect::<Vec<_>>()
        };
        let described: BTreeSet<String> = paths.iter().flat_map(of).collect();
        let answered: BTreeSet<String> = routes().iter().map(|it| format!("{} {}", it.method, it.path)).collect();
        assert_eq!(described, answered);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn the_description_says_who_may_ask_what() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json")).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for Route { method, path, role, .. } in routes() {
            let described = &document["paths"][path][method.as_str().to_lowercase()];
            let security = described.get("security").unwrap_or(&document["security"]).as_array().unwrap();
            let schemes: Vec<&str> =
                security.iter().map(|it| it.as_object().unwrap().keys().next().unwrap().as_str()).collect();
            let (expected, statuses): (&[&str], &[&str]) = match role {
                Role::Anybody => (&[], &[]),
                Role::ReadOnly => (&["readOnly", "operator"], &["401", "429"]),
                Role::Operator => (&["operator"], &["401", "403", "429"]),
            };
            assert_eq!(schemes, expected, "{method} {path}");
            for status in ["401", "403", "429"] {
                let is_there = described["responses"].get(status).is_some();
                assert_eq!(is_there, statuses.contains(&status), "{method} {path} {status}");
            }
        }
    }
}
