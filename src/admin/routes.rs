//! What can be asked: every path with its method, and how a refusal looks.
//!
//! docs/openapi.json describes the same; a test compares the two. A question that looks is GET, one that changes
//! something is POST with a body of JSON.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use tokio::time::timeout;

use super::Desk;
use super::serve::{BODY_MAX, BODY_TIMEOUT, Operator};
use super::sight::Unknown;
use super::view::{Depth, FailBackOrder, Filter, FlushOrder, Kick, LevelOrder, NodeOrder, Problem};

type At = State<Arc<Desk>>;
type By = Extension<Operator>;
type Said<T> = Result<Json<T>, JsonRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;
type Answer = Result<Response, Refusal>;

/// Why a question has no answer.
pub(super) struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl Refusal {
    /// It cannot be understood.
    pub(super) fn usage(error: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, problem: Problem { error, meant: Vec::new() } }
    }

    /// It was understood, and cannot be done.
    pub(super) fn failed(error: String) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, problem: Problem { error, meant: Vec::new() } }
    }
}

impl From<Unknown> for Refusal {
    fn from(unknown: Unknown) -> Self {
        let problem = Problem { error: unknown.error, meant: unknown.meant.into_iter().collect() };
        Self { status: StatusCode::NOT_FOUND, problem }
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self { status: rejection.status(), problem: Problem { error: rejection.body_text(), meant: Vec::new() } }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self { status: rejection.status(), problem: Problem { error: rejection.body_text(), meant: Vec::new() } }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

/// Every method and path, and who answers.
fn routes() -> [(Method, &'static str, MethodRouter<Arc<Desk>>); 11] {
    [
        (Method::GET, "/v1/status", get(status)),
        (Method::GET, "/v1/islands", get(islands)),
        (Method::GET, "/v1/sessions", get(sessions)),
        (Method::GET, "/v1/top", get(top)),
        (Method::POST, "/v1/kick", post(kick)),
        (Method::POST, "/v1/node", post(node)),
        (Method::POST, "/v1/fail-back", post(fail_back)),
        (Method::POST, "/v1/flush", post(flush)),
        (Method::POST, "/v1/reload", post(reload)),
        (Method::GET, "/v1/levels", get(levels)),
        (Method::POST, "/v1/levels", post(set_level)),
    ]
}

/// All of them.
pub(super) fn router(desk: Arc<Desk>) -> Router {
    let add = |router: Router<Arc<Desk>>, (_, path, answer)| router.route(path, answer);
    routes()
        .into_iter()
        .fold(Router::new(), add)
        .fallback(async || Refusal::from(Unknown { error: "no such path".to_owned(), meant: None }))
        .method_not_allowed_fallback(async || {
            let problem = Problem { error: "this path has no such method".to_owned(), meant: Vec::new() };
            Refusal { status: StatusCode::METHOD_NOT_ALLOWED, problem }
        })
        .layer(from_fn(whole))
        .with_state(desk)
}

/// A question is answered when all of it is there: nobody's order waits half-read.
async fn whole(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let refusal = |status, error: &str| {
        Refusal { status, problem: Problem { error: error.to_owned(), meant: Vec::new() } }.into_response()
    };
    let too_long = || refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long");
    // Whoever announces too much is not heard out.
    if body.size_hint().lower() > BODY_MAX as u64 {
        return too_long();
    }
    match timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(octets)) => next.run(Request::from_parts(head, Body::from(octets))).await,
        Ok(Err(_)) => too_long(),
        Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    }
}

fn json<T: Serialize>(answer: T) -> Answer {
    Ok::<Response<Body>, _>(Json(answer).into_response())
}

async fn status(State(desk): At) -> Answer {
    json(desk.status().await)
}

async fn islands(State(desk): At) -> Answer {
    json(desk.all_islands())
}

async fn sessions(State(desk): At, filter: Asked<Filter>) -> Answer {
    json(desk.sessions(&filter?.0).await?)
}

async fn top(State(desk): At, depth: Asked<Depth>) -> Answer {
    json(desk.top(depth?.0.limit).await)
}

async fn kick(State(desk): At, Extension(by): By, kick: Said<Kick>) -> Answer {
    json(desk.kick(&kick?.0, by).await?)
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
        let answered: BTreeSet<String> = routes().iter().map(|(method, path, _)| format!("{method} {path}")).collect();
        assert_eq!(described, answered);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
