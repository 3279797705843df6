//! The connections to the API server: those without a request are closed after a time. `Client::try_from` keeps all of them.

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::Config;
use kube::{Client, Error};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

/// Returns a client that is like `Client::try_from`, but closes connections that were idle for `idle_timeout`. It has no span for each
/// request and does not log failures, because the callers log the errors that they get; and it has no `Client::valid_until`, the time
/// when the certificate of a command for credentials ends: `kube` keeps that time to itself, and no program here asks for it.
///
/// # Errors
/// When the configuration cannot be used: its certificates or credentials, or it names a proxy.
pub(super) fn client(config: Config, idle_timeout: Duration) -> kube::Result<Client> {
    if let Some(proxy_url) = config.proxy_url {
        return Err(Error::ProxyProtocolUnsupported {
            proxy_url: Box::new(proxy_url),
        });
    }
    let mut connector = TimeoutConnector::new(config.rustls_https_connector()?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle_timeout)
        .build(connector);
    let retry = config
        .default_retry
        .then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Json, Router, routing};
    use futures::future::join_all;
    use k8s_openapi::api::core::v1::Node;
    use kube::Api;
    use tokio::net::TcpListener;
    use tokio::sync::Barrier;

    use super::*;

    const REQUESTS: usize = 8;

    /// A connection of the server that counts as long as it is open.
    struct Open(Arc<AtomicUsize>);

    impl Drop for Open {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn connections_without_a_request_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let open = Arc::new(AtomicUsize::new(0));
        let all_there = Arc::new(Barrier::new(REQUESTS));
        let answer = routing::get(move || {
            let all_there = Arc::clone(&all_there);
            async move {
                all_there.wait().await;
                Json(Node::default())
            }
        });
        let app = Router::new().route("/api/v1/nodes/a", answer);
        let counted = Arc::clone(&open);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                counted.fetch_add(1, Ordering::SeqCst);
                let connection = Open(Arc::clone(&counted));
                let service = hyper_util::service::TowerToHyperService::new(app.clone());
                tokio::spawn(async move {
                    let stream = hyper_util::rt::TokioIo::new(stream);
                    let served = hyper::server::conn::http1::Builder::new().serve_connection(stream, service);
                    let _ended = served.await;
                    drop(connection);
                });
            }
        });
        let config = Config::new(url.parse().expect("a URL"));
        let client = client(config, Duration::from_millis(100)).expect("a client");
        let nodes = Api::<Node>::all(client);
        let answers = join_all((0..REQUESTS).map(|_| nodes.get("a"))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(open.load(Ordering::SeqCst), REQUESTS);
        let closed = async {
            while open.load(Ordering::SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), closed)
            .await
            .expect("they are closed");
    }
}
