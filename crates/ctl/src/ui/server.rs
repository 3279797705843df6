//! The server of the page.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::guard::{Denial, Guard, UiRequest};
use super::reader::{ClusterReader, FRESH, SHOWN};
use super::styled::spans;
use crate::output::{Printable, harmless};

/// Connections at a time: a browser opens six to a host.
const CONNECTIONS: usize = 32;
/// The time for the header of a request, and between two requests: the page asks every two seconds.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// The bytes of a header.
const HEADER_SIZE: usize = 16 * 1024;
/// After this time no further request is served on a connection, and the last response has as long again.
const LIFETIME: Duration = Duration::from_secs(60);
/// The pause after a connection could not be accepted, for example because descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The headers of every response. With Trusted Types the script cannot turn text into elements, even by mistake.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// The page, its guard, and where its data comes from.
pub(super) struct UiServer {
    pub(super) guard: Guard,
    pub(super) reader: ClusterReader,
}

/// Serves the page on all connections of a listener.
pub(super) async fn serve(listener: TcpListener, server: UiServer) -> Infallible {
    let server = Arc::new(server);
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let permit = Arc::clone(&free).acquire_owned().await;
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    let _permit = permit;
                    server.serve_connection(stream).await;
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

impl UiServer {
    async fn serve_connection(&self, stream: TcpStream) {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_buf_size(HEADER_SIZE);
        let answer =
            |request: Request<Incoming>| async move { Ok::<_, Infallible>(self.answer(request).await) };
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service_fn(answer)));
        if timeout(LIFETIME, connection.as_mut()).await.is_err() {
            connection.as_mut().graceful_shutdown();
            let _closed = timeout(LIFETIME, connection).await;
        }
    }

    async fn answer<B: Body>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        match self.guard.check(&parts, !body.is_end_stream()) {
            Err(denial) => denied(denial),
            Ok(UiRequest::Asset(asset)) => response(StatusCode::OK, asset.content_type, asset.text.into()),
            Ok(UiRequest::Session) => {
                let (directory, cookie) = self.guard.session();
                let mut response = of_json(&json!({"directory": directory}));
                // Hexadecimal digits and names.
                if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                    response.headers_mut().insert(header::SET_COOKIE, cookie);
                }
                response
            }
            Ok(UiRequest::Overview) => {
                let overview = self.reader.read(FRESH).await.overview;
                response(StatusCode::OK, "application/json", overview)
            }
            Ok(UiRequest::Explain(subject)) => {
                let cluster = self.reader.read(SHOWN).await.cluster;
                match subject.explain(&self.reader.connection, &cluster).await {
                    Ok(explanation) => of_json(&json!({"text": spans(&harmless(&explanation.text(true)))})),
                    Err(error) => of_json(&json!({"text": spans(&harmless(&format!("{error:#}")))})),
                }
            }
        }
    }
}

fn denied(denial: Denial) -> Response<Full<Bytes>> {
    let text = format!("{denial}\n");
    let mut response = response(denial.status(), "text/plain; charset=utf-8", text.into());
    if denial == Denial::Method {
        let allowed = HeaderValue::from_static("GET");
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

fn of_json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    response(StatusCode::OK, "application/json", value.to_string().into())
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
