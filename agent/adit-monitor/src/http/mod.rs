// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What other programs ask over HTTP: the fleet as JSON, metrics, the answer of an Icinga plugin, history. Reading is for
//! whoever reaches the address, which is this machine alone unless the configuration says otherwise; what changes something
//! is served on the socket only, whose file says who may.

pub mod check;
pub mod fleet;
pub mod metrics;

use crate::config::Config;
use crate::core::{Acknowledgement, Ask, Core, Maintenance};
use crate::daemon::StartError;
use crate::history::History;
use crate::history::export::{Form, export};
use axum::extract::{Path, Query, State as Given};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest body of a request, bytes.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Mode of the socket: root and the group of the service.
const SOCKET_MODE: u32 = 0o660;

/// What requests are answered from.
#[derive(Clone, Debug)]
pub struct State {
    /// The owner of the state.
    pub core: Core,
    /// Where history lies.
    pub history: PathBuf,
}

/// Addresses that are bound and not served yet.
#[derive(Debug)]
pub(crate) struct Served {
    port: Option<tokio::net::TcpListener>,
    socket: Option<tokio::net::UnixListener>,
    path: PathBuf,
}

/// Binds address and socket.
pub(crate) fn bind(config: &Config) -> Result<Served, StartError> {
    let port = config.http.map(|address| {
        let trouble = |error| StartError::Http(address.to_string(), error);
        let listener = std::net::TcpListener::bind(address).map_err(trouble)?;
        listener.set_nonblocking(true).map_err(trouble)?;
        tokio::net::TcpListener::from_std(listener).map_err(trouble)
    });
    let path = config.socket.clone();
    let trouble = |error| StartError::Http(path.display().to_string(), error);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(trouble)?;
    }
    // What an earlier run left; the lock on the state keeps a second monitor away.
    let _gone = std::fs::remove_file(&path);
    let socket = tokio::net::UnixListener::bind(&path).map_err(trouble)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(trouble)?;
    Ok(Served { port: port.transpose()?, socket: Some(socket), path })
}

impl Served {
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.port.as_ref().and_then(|port| port.local_addr().ok())
    }

    /// Serves until the stop.
    pub(crate) fn serve(&mut self, state: &State, tasks: &TaskTracker, stop: &CancellationToken) {
        if let Some(port) = self.port.take() {
            let serving = axum::serve(port, reading().with_state(state.clone()));
            let stopped = stop.clone().cancelled_owned();
            drop(tasks.spawn(async move { tell(serving.with_graceful_shutdown(stopped).await) }));
        }
        if let Some(socket) = self.socket.take() {
            let serving = axum::serve(socket, reading().merge(writing()).with_state(state.clone()));
            let (stopped, path) = (stop.clone().cancelled_owned(), self.path.clone());
            drop(tasks.spawn(async move {
                tell(serving.with_graceful_shutdown(stopped).await);
                // Whoever comes later is told that nobody is there, instead of waiting.
                let _gone = std::fs::remove_file(path);
            }));
        }
    }
}

fn tell(ended: std::io::Result<()>) {
    if let Err(error) = ended {
        log::error!("HTTP is served no more: {error}");
    }
}

fn reading() -> Router<State> {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/check", get(check_page))
        .route("/api/v1/fleet", get(fleet_page))
        .route("/api/v1/hosts/{name}", get(host_page))
        .route("/api/v1/log", get(log_page))
        .route("/api/v1/history/{name}", get(history_page))
}

fn writing() -> Router<State> {
    Router::new()
        .route("/api/v1/ack", post(acknowledge))
        .route("/api/v1/maintenance", post(maintain))
        .route("/api/v1/test-alert", post(test_alert))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// The monitor stops.
fn gone() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the monitor stops\n").into_response()
}

fn no_such(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": format!("there is no {what}")}))).into_response()
}

fn text(kind: &'static str, body: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    (headers, body).into_response()
}

async fn metrics_page(Given(state): Given<State>, asked: HeaderMap) -> Response {
    let Some(view) = state.core.view().await else { return gone() };
    let rendered = metrics::render(&view);
    let accepts = asked.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/openmetrics-text") {
        return text("application/openmetrics-text; version=1.0.0; charset=utf-8", rendered);
    }
    text("text/plain; version=0.0.4; charset=utf-8", metrics::plain_text(&rendered))
}

#[derive(Deserialize)]
struct CheckQuery {
    host: String,
    check: Option<String>,
    #[serde(default)]
    acked_ok: bool,
}

async fn check_page(Given(state): Given<State>, Query(query): Query<CheckQuery>) -> Response {
    let Some(view) = state.core.view().await else { return gone() };
    let output = check::judge(&view, &query.host, query.check.as_deref(), query.acked_ok);
    let mut response = text("text/plain; charset=utf-8", output.text);
    response.headers_mut().insert("x-adit-exit", HeaderValue::from(u16::from(output.exit)));
    response
}

async fn fleet_page(Given(state): Given<State>) -> Response {
    match state.core.view().await {
        Some(view) => Json(fleet::fleet(&view)).into_response(),
        None => gone(),
    }
}

async fn host_page(Given(state): Given<State>, Path(name): Path<String>) -> Response {
    let Some(view) = state.core.view().await else { return gone() };
    fleet::host(&view, &name).map_or_else(|| no_such("such agent"), |host| Json(host).into_response())
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default = "log_lines")]
    count: u32,
}

const fn log_lines() -> u32 {
    100
}

async fn log_page(Given(state): Given<State>, Query(query): Query<LogQuery>) -> Response {
    let lines = state.core.ask(|answer| Ask::Log(query.count.min(10_000), answer)).await;
    let Some(lines) = lines else { return gone() };
    let line = |(wall_s, kind, text): (u64, String, String)| json!({"time": wall_s, "kind": kind, "text": text});
    Json(lines.into_iter().map(line).collect::<Value>()).into_response()
}

#[derive(Deserialize)]
struct HistoryQuery {
    from: u64,
    until: u64,
    #[serde(default)]
    format: String,
}

async fn history_page(
    Given(state): Given<State>,
    Path(name): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Response {
    let form = match query.format.as_str() {
        "" | "csv" => Form::Csv,
        "openmetrics" => Form::OpenMetrics,
        _ => return (StatusCode::BAD_REQUEST, "format is csv or openmetrics\n").into_response(),
    };
    let Some(view) = state.core.view().await else { return gone() };
    if !view.fleet.hosts.contains_key(&name) {
        return no_such("such agent");
    }
    let reading = move || export(&History::new(state.history), &name, query.from, query.until, form);
    match tokio::task::spawn_blocking(reading).await {
        Ok(Ok(body)) => text("text/plain; charset=utf-8", body),
        Ok(Err(error)) => {
            log::error!("history does not read: {error}: {}", error.source);
            (StatusCode::INTERNAL_SERVER_ERROR, "history does not read\n").into_response()
        }
        Err(_) => gone(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AckBody {
    what: String,
    by: String,
    reason: String,
    for_s: u64,
}

async fn acknowledge(Given(state): Given<State>, Json(body): Json<AckBody>) -> Response {
    let AckBody { what, by, reason, for_s } = body;
    let ack = Acknowledgement { what, by, reason, for_s };
    match state.core.ask(|answer| Ask::Acknowledge(ack, answer)).await {
        Some(Ok(count)) => Json(json!({"incidents": count})).into_response(),
        Some(Err(error)) => refused(&error),
        None => gone(),
    }
}

fn refused(error: &crate::alerts::engine::AckError) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"error": error.to_string()}))).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MaintenanceBody {
    scope: String,
    #[serde(default)]
    in_s: u64,
    for_s: u64,
    reason: String,
    by: String,
}

async fn maintain(Given(state): Given<State>, Json(body): Json<MaintenanceBody>) -> Response {
    let MaintenanceBody { scope, in_s, for_s, reason, by } = body;
    let asked = Maintenance { scope, in_s, for_s, reason, by };
    match state.core.ask(|answer| Ask::Maintain(asked, answer)).await {
        Some(Ok(())) => Json(json!({})).into_response(),
        Some(Err(error)) => refused(&error),
        None => gone(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestBody {
    channel: Option<String>,
}

async fn test_alert(Given(state): Given<State>, Json(body): Json<TestBody>) -> Response {
    match state.core.ask(|answer| Ask::Test(body.channel, answer)).await {
        Some(0) => no_such("such channel"),
        Some(count) => Json(json!({"channels": count})).into_response(),
        None => gone(),
    }
}
