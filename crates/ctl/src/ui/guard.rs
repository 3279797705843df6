//! Which requests are answered: those of the page that this program serves, in the browser of its user.
//!
//! The page is served to the loopback address, which other users of the machine and every web page in the user's browser reach as
//! well. Against them:
//!
//! * The link has a secret, the token, in its fragment, which no browser sends to a server. Data is only sent to a client that showed
//!   the token once, or rather the session that it got for it.
//! * A browser sends cookies to all ports of a host. The cookie of the session therefore has a path with 128 random bits, so that the
//!   server of another user on another port does not get it.
//! * `Host` is compared, so that a name that an attacker lets point to 127.0.0.1 is refused (DNS rebinding). A request that the browser
//!   marks as one of another origin is refused, also if that is another port of this host.
//! * Secrets are compared in constant time.

use std::net::SocketAddr;

use anyhow::anyhow;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use rustls::crypto::ring;
use subtle::ConstantTimeEq;

use super::asset::{self, Asset};
use crate::explain::Subject;

/// The name of the cookie.
const COOKIE: &str = "herald";
/// The bytes of a secret, at least 128 bits.
const SECRET: usize = 16;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UiRequest {
    /// A file of the page, which has no data.
    Asset(&'static Asset),
    /// The session, for the token.
    Session,
    /// What the page shows.
    Overview,
    /// Why a subject is as it is.
    Explain(Subject),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    /// It is no GET.
    #[error("only GET is answered")]
    Method,
    /// It has a body.
    #[error("a request has no body")]
    Body,
    /// It is for another host.
    #[error("open the link that heraldctl printed; it begins with http://127.0.0.1")]
    Host,
    /// A page of another origin sent it.
    #[error("pages of other origins get nothing")]
    Origin,
    /// It has no session, or not the token.
    #[error("open the link that heraldctl printed when it started")]
    Unauthenticated,
    /// There is no such page.
    #[error("there is no such page")]
    NotFound,
    /// It explains no subject.
    #[error("explain one of service=NAMESPACE/NAME, address=IP, pool=NAME and node=NAME")]
    Query,
}

impl Denial {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Body | Self::Query => StatusCode::BAD_REQUEST,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

/// The secrets of a run of the program, and the address that it is reached at.
pub(super) struct Guard {
    /// `127.0.0.1:port`.
    host: String,
    token: String,
    session: String,
    /// The directory of the data: its name is a secret.
    directory: String,
}

impl Guard {
    /// Makes new secrets for a page at this address.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(super) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            host: address.to_string(),
            token: secret()?,
            session: secret()?,
            directory: secret()?,
        })
    }

    /// Returns the link to the page.
    pub(super) fn link(&self) -> String {
        format!("http://{}/#{}", self.host, self.token)
    }

    /// Returns the directory of the data, and the cookie that opens it.
    pub(super) fn session(&self) -> (String, String) {
        let Self {
            session, directory, ..
        } = self;
        let cookie = format!("{COOKIE}={session}; Path=/{directory}/; HttpOnly; SameSite=Strict");
        (format!("/{directory}/"), cookie)
    }

    /// Returns what is asked for.
    ///
    /// # Errors
    /// The reason why it is refused.
    pub(super) fn check(&self, request: &Parts, has_body: bool) -> Result<UiRequest, Denial> {
        if !self.is_host(request) {
            return Err(Denial::Host);
        }
        if request.method != Method::GET {
            return Err(Denial::Method);
        }
        if has_body {
            return Err(Denial::Body);
        }
        let path = request.uri.path();
        if is_of_other_origin(&request.headers, &self.host, path) {
            return Err(Denial::Origin);
        }
        if let Some(asset) = asset::at(path) {
            return Ok(UiRequest::Asset(asset));
        }
        if path == "/session" {
            let authorization = text(&request.headers, header::AUTHORIZATION);
            let shown = authorization.and_then(|value| value.strip_prefix("Bearer "));
            return match shown {
                Some(shown) if is_equal(shown, &self.token) => Ok(UiRequest::Session),
                Some(_) | None => Err(Denial::Unauthenticated),
            };
        }
        let Some((directory, page)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
            return Err(Denial::NotFound);
        };
        // The answer does not show whether it was the directory or the cookie.
        if !(is_equal(directory, &self.directory) & self.has_session(&request.headers)) {
            return Err(Denial::Unauthenticated);
        }
        match page {
            "overview" => Ok(UiRequest::Overview),
            "explain" => subject(request.uri.query().unwrap_or_default())
                .map(UiRequest::Explain)
                .ok_or(Denial::Query),
            _ => Err(Denial::NotFound),
        }
    }

    fn is_host(&self, request: &Parts) -> bool {
        let mut hosts = request.headers.get_all(header::HOST).iter();
        let is_one = |host: &HeaderValue| host.as_bytes() == self.host.as_bytes();
        let is_only = hosts.next().is_some_and(is_one) && hosts.next().is_none();
        let target = request.uri.authority();
        is_only && target.is_none_or(|target| target.as_str() == self.host)
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        // Another port of this host can set cookies, too: any of them may be the right one.
        let cookies = headers.get_all(header::COOKIE).iter();
        let mut cookies = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        cookies.any(|cookie| {
            let value = cookie.trim_start().strip_prefix(COOKIE);
            let value = value.and_then(|value| value.strip_prefix('='));
            value.is_some_and(|value| is_equal(value, &self.session))
        })
    }
}

/// Whether a browser says that a page of another origin sent the request. A link of another page may open this one.
fn is_of_other_origin(headers: &HeaderMap, host: &str, path: &str) -> bool {
    let site = text(headers, "sec-fetch-site");
    let is_link = path == "/" && text(headers, "sec-fetch-mode") == Some("navigate");
    let is_own = |origin: &HeaderValue| origin.as_bytes().strip_prefix(b"http://") == Some(host.as_bytes());
    let is_site = is_link || matches!(site, None | Some("same-origin" | "none"));
    !(is_site && headers.get_all(header::ORIGIN).iter().all(is_own))
}

fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn is_equal(shown: &str, secret: &str) -> bool {
    shown.as_bytes().ct_eq(secret.as_bytes()).into()
}

fn subject(query: &str) -> Option<Subject> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (kind, name) = pairs.next()?;
    let name = name.into_owned();
    if pairs.next().is_some() || name.is_empty() {
        return None;
    }
    match &*kind {
        "service" => Some(Subject::Service {
            service: name,
            namespace: None,
        }),
        "address" => Some(Subject::Address {
            address: name.parse().ok()?,
        }),
        "pool" => Some(Subject::Pool { pool: name }),
        "node" => Some(Subject::Node { node: name }),
        _ => None,
    }
}

/// Returns random bytes as hexadecimal digits.
fn secret() -> anyhow::Result<String> {
    let mut bytes = [0; SECRET];
    let random = ring::default_provider().secure_random;
    random
        .fill(&mut bytes)
        .map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
