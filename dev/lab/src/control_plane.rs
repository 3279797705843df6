//! Where the Kubernetes API of a lab comes from: the embedded server, or Kubernetes' own programs.

mod forward;
mod kubeconfig;
mod kubernetes;
mod metrics;
mod programs;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, ensure};
use herald_devkube::{Options, RequestCounts, Server};

use self::forward::Forwarder;
pub use self::kubeconfig::client;
pub use self::kubernetes::Kubernetes;
pub use self::programs::Programs;
use crate::plan;
use crate::switch::Switch;

/// An API server with its controllers.
pub struct ControlPlane {
    backend: Backend,
    outside: SocketAddr,
    inside: SocketAddr,
}

enum Backend {
    /// `herald-devkube`, in this process.
    Embedded(Server),
    /// etcd, kube-apiserver and kube-controller-manager, on the switch's own machine.
    Kubernetes {
        kubernetes: Box<Kubernetes>,
        /// From outside the namespace that they are in, if they have one of their own.
        _way_in: Option<Forwarder>,
    },
}

impl ControlPlane {
    /// Starts Kubernetes' programs if `HERALD_CONTROL_PLANE` says where they are, otherwise the embedded server.
    pub async fn start(switch: &Switch, directory: &Path) -> anyhow::Result<Self> {
        Self::start_with(switch, directory, &[]).await
    }

    /// Starts Kubernetes' programs for nodes of these names, on which kubelets will run.
    ///
    /// # Errors
    /// When `HERALD_CONTROL_PLANE` names no programs: the embedded server makes no Pods of a template.
    pub async fn start_for_kubelets(
        switch: &Switch,
        directory: &Path,
        kubelets: &[String],
    ) -> anyhow::Result<Self> {
        let control_plane = Self::start_with(switch, directory, kubelets).await?;
        let real = control_plane.kubernetes().is_some();
        ensure!(real, "{} is not set", programs::VARIABLE);
        Ok(control_plane)
    }

    async fn start_with(switch: &Switch, directory: &Path, kubelets: &[String]) -> anyhow::Result<Self> {
        let door = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen on 127.0.0.1")?;
        let outside = door.local_addr()?;
        let inside = SocketAddr::new(plan::switch()[0], plan::API_PORT);
        let backend = match Programs::from_environment()? {
            None => {
                let within = switch.netns().run(move || TcpListener::bind(inside)).await?;
                let options = Options {
                    listeners: vec![door, within],
                    ..Options::default()
                };
                let server = Server::start(options).await;
                Backend::Embedded(server.context("cannot start the API server")?)
            }
            Some(programs) => {
                let way_in = Forwarder::start(door, switch.netns().clone(), inside)?;
                let place = Some(switch.netns().clone());
                let kubernetes = Kubernetes::start(programs, place, [inside, outside], directory, kubelets);
                let kubernetes = kubernetes.await?;
                Backend::Kubernetes {
                    kubernetes: Box::new(kubernetes),
                    _way_in: Some(way_in),
                }
            }
        };
        Ok(Self {
            backend,
            outside,
            inside,
        })
    }

    /// Starts a control plane without a switch, on loopback.
    pub async fn start_here(directory: &Path) -> anyhow::Result<Self> {
        let door = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen on 127.0.0.1")?;
        let address = door.local_addr()?;
        let backend = match Programs::from_environment()? {
            None => {
                let options = Options {
                    listeners: vec![door],
                    ..Options::default()
                };
                let server = Server::start(options).await;
                Backend::Embedded(server.context("cannot start the API server")?)
            }
            Some(programs) => {
                drop(door);
                let kubernetes = Kubernetes::start(programs, None, [address; 2], directory, &[]).await?;
                Backend::Kubernetes {
                    kubernetes: Box::new(kubernetes),
                    _way_in: None,
                }
            }
        };
        Ok(Self {
            backend,
            outside: address,
            inside: address,
        })
    }

    /// How often each resource was requested so far, by all clients.
    pub async fn request_counts(&self) -> anyhow::Result<RequestCounts> {
        match &self.backend {
            Backend::Embedded(server) => Ok(server.request_counts()),
            Backend::Kubernetes { kubernetes, .. } => kubernetes.request_counts().await,
        }
    }

    /// Kubernetes' own programs, if these are what runs.
    pub fn kubernetes(&self) -> Option<&Kubernetes> {
        match &self.backend {
            Backend::Embedded(_) => None,
            Backend::Kubernetes { kubernetes, .. } => Some(kubernetes),
        }
    }

    /// The API server's address for people, and for the lab itself.
    pub fn outside(&self) -> String {
        self.url(self.outside)
    }

    /// The API server's address for what runs on the nodes.
    pub fn inside(&self) -> String {
        self.url(self.inside)
    }

    fn url(&self, address: SocketAddr) -> String {
        match &self.backend {
            Backend::Embedded(_) => format!("http://{address}"),
            Backend::Kubernetes { .. } => format!("https://{address}"),
        }
    }

    /// A kubeconfig for a client that reaches the API server at `url` and may do everything.
    pub fn kubeconfig(&self, url: &str) -> String {
        match &self.backend {
            Backend::Embedded(_) => Server::kubeconfig(url),
            Backend::Kubernetes { kubernetes, .. } => kubernetes.admin(url),
        }
    }

    /// Takes the API server away at once, or brings it back with its state.
    pub async fn set_away(&mut self, away: bool) -> anyhow::Result<()> {
        match &mut self.backend {
            Backend::Embedded(server) => server.faults().set_away(away),
            Backend::Kubernetes { kubernetes, .. } => kubernetes.set_away(away).await?,
        }
        Ok(())
    }
}
