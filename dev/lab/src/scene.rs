//! A Service that a client is being served by, and what is expected of it.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_netns::{MacAddr, wait_for};

use crate::clock::Monotonic;
use crate::prober::{Pace, Prober};
use crate::sniffer::{QUESTIONS, Sniffer};
use crate::{DEADLINE, Lab, QUICKSTART};

/// Requests answered in a row that count as "served".
pub const STREAK: usize = 20;
/// The same after a move, at the usual pace: longer than the sniffer waits for the machine before, so that it takes the move
/// and whatever the test does next for two things.
const SETTLED: usize = 60;
/// How long a node may take to connect to an address that it serves.
const CONNECT: Duration = Duration::from_secs(1);
/// A Service with policy Local, whose pods are those of the quickstart.
const LOCAL: &str = "
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: hello}
  ports: [{port: 80, targetPort: 8080}]
";

/// Two Services that share an address, with the pods of the quickstart.
const SHARED: &str = "
apiVersion: v1
kind: Service
metadata:
  name: shared-a
  annotations: {metallb.io/allow-shared-ip: shared, metallb.io/loadBalancerIPs: 192.168.67.137}
spec:
  type: LoadBalancer
  selector: {app: hello}
  ports: [{name: a, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata:
  name: shared-b
  annotations: {metallb.io/allow-shared-ip: shared, metallb.io/loadBalancerIPs: 192.168.67.137}
spec:
  type: LoadBalancer
  selector: {app: hello}
  ports: [{name: b, port: 81, targetPort: 8080}]
";

/// A Service that a client is being served by.
pub struct Scene {
    /// The address that the client requests.
    pub address: IpAddr,
    /// The index of the node that had it first.
    pub owner: usize,
    /// The owner's Ethernet address.
    pub mac: MacAddr,
    /// The client.
    pub prober: Prober,
}

impl Scene {
    /// The pods are on the other nodes: an endpoint that is dead although the API server says it is ready would be
    /// kube-proxy's concern.
    pub async fn set(
        lab: &mut Lab,
        sniffer: &Sniffer,
        pick: fn(&IpAddr) -> bool,
        pace: Pace,
    ) -> anyhow::Result<Self> {
        lab.apply("quickstart.yaml", QUICKSTART).await?;
        let addresses = lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
        sniffer.watch(&addresses);
        let address = addresses.into_iter().find(pick).context("no such address")?;
        let owner = settled_owner(lab, "hello-dual", address).await?;
        lab.end_pod("hello", owner).await?;
        let gone = format!("hello-{}", lab.node(owner).name());
        let mut others = 0;
        wait_for("the other pods answer", DEADLINE, async || {
            let answer = lab.client().ask(SocketAddr::new(address, 80)).await;
            others = if answer?.pod == gone { 0 } else { others + 1 };
            Ok((others == STREAK).then_some(()))
        })
        .await?;
        Self::requested(lab, address, owner, pace).await
    }

    /// A Service with policy Local that has a pod on each node.
    pub async fn set_local(lab: &Lab, sniffer: &Sniffer, pace: Pace) -> anyhow::Result<Self> {
        Self::set_in_place(lab, sniffer, LOCAL, &["local"], pace).await
    }

    /// Two Services that share an address, with a pod on each node. The client requests the first.
    pub async fn set_shared(lab: &Lab, sniffer: &Sniffer, pace: Pace) -> anyhow::Result<Self> {
        Self::set_in_place(lab, sniffer, SHARED, &["shared-a", "shared-b"], pace).await
    }

    async fn set_in_place(
        lab: &Lab,
        sniffer: &Sniffer,
        manifest: &str,
        services: &[&str],
        pace: Pace,
    ) -> anyhow::Result<Self> {
        lab.apply("quickstart.yaml", QUICKSTART).await?;
        lab.apply("services.yaml", manifest).await?;
        let mut addresses = Vec::new();
        for service in services {
            addresses.extend(lab.wait_for_addresses(service, 1, DEADLINE).await?);
        }
        addresses.dedup();
        ensure!(addresses.len() == 1, "{services:?} have {addresses:?}");
        sniffer.watch(&addresses);
        let owner = settled_owner(lab, services[0], addresses[0]).await?;
        Self::requested(lab, addresses[0], owner, pace).await
    }

    async fn requested(lab: &Lab, address: IpAddr, owner: usize, pace: Pace) -> anyhow::Result<Self> {
        served_by_each_node(lab, SocketAddr::new(address, 80)).await?;
        let mut prober = lab.probe(address, 80, pace, DEADLINE).await?;
        prober
            .wait_until_served(Monotonic::from_nanos(0), STREAK, DEADLINE)
            .await?;
        Ok(Self {
            address,
            owner,
            mac: lab.node(owner).host().mac(),
            prober,
        })
    }

    /// The same with an IPv4 address and the usual client.
    pub async fn set_v4(lab: &mut Lab, sniffer: &Sniffer) -> anyhow::Result<Self> {
        Self::set(lab, sniffer, IpAddr::is_ipv4, Pace::default()).await
    }

    /// Waits until the client's kernel has learnt another owner and the client is served; returns which.
    pub async fn moved(&mut self, lab: &Lab, since: Monotonic) -> anyhow::Result<usize> {
        let successor = wait_for("the client learns a new owner", DEADLINE, async || {
            Ok(lab
                .learnt_owner(self.address)
                .await?
                .filter(|&node| node != self.owner))
        })
        .await?;
        self.prober.wait_until_served(since, SETTLED, DEADLINE).await?;
        Ok(successor)
    }

    /// Waits until the client's kernel has learnt the first owner again and the client is served.
    pub async fn returned(&mut self, lab: &Lab) -> anyhow::Result<()> {
        wait_for(
            "the address returns to the node that ranks first",
            DEADLINE,
            async || Ok((lab.learnt_owner(self.address).await? == Some(self.owner)).then_some(())),
        )
        .await?;
        let now = Monotonic::now();
        self.prober.wait_until_served(now, STREAK, DEADLINE).await?;
        Ok(())
    }

    /// Fails if a request was lost since `start`.
    pub fn ensure_planned(&self, start: Monotonic) -> anyhow::Result<()> {
        let outage = self.prober.history().outage(start).context("no outage")?;
        let unserved: Vec<&String> = outage.unserved().collect();
        ensure!(unserved.is_empty(), "nobody answered: {unserved:?}");
        Ok(())
    }

    /// Waits until the sniffer was answered `times` times from now on, every time from `mac`.
    pub async fn ensure_steady(&self, sniffer: &Sniffer, mac: MacAddr, times: usize) -> anyhow::Result<()> {
        let owners = self.owners(sniffer, times).await?;
        ensure!(
            owners == [mac],
            "{} was at {owners:?}, not only at {mac}",
            self.address
        );
        Ok(())
    }

    /// Waits until the sniffer was answered `times` times in a row from one machine; returns which.
    pub async fn settled(&self, sniffer: &Sniffer, times: usize) -> anyhow::Result<MacAddr> {
        wait_for("one machine has the address", DEADLINE, async || {
            let owners = self.owners(sniffer, times).await?;
            Ok(if let [owner] = owners[..] {
                Some(owner)
            } else {
                None
            })
        })
        .await
    }

    /// The machines that answer the sniffer's next `times` questions, in order. A machine that hung answers many at once, those
    /// of before too; so the time counts as well as the number.
    async fn owners(&self, sniffer: &Sniffer, times: usize) -> anyhow::Result<Vec<MacAddr>> {
        let begin = Monotonic::now();
        let asking = QUESTIONS * u32::try_from(times)?;
        let limit = DEADLINE + asking * 2;
        wait_for("the sniffer is answered", limit, async || {
            let sightings = sniffer.sightings().since(begin).at(self.address);
            Ok((sightings.len() >= times && Monotonic::now().since(begin) >= asking).then_some(()))
        })
        .await?;
        Ok(sniffer.sightings().since(begin).owners(self.address))
    }
}

/// Waits until each node takes what arrives for the address to pods that answer: kube-proxy on the node that announces it next may
/// have learnt the Service and not yet its endpoints, and then refuses connections.
async fn served_by_each_node(lab: &Lab, target: SocketAddr) -> anyhow::Result<()> {
    for node in lab.nodes() {
        let what = format!("{} serves {target}", node.name());
        wait_for(&what, DEADLINE, async || {
            let connect =
                move || (0..STREAK).try_for_each(|_| TcpStream::connect_timeout(&target, CONNECT).map(drop));
            Ok(Some(node.host().netns().run(connect).await?))
        })
        .await?;
    }
    Ok(())
}

/// The owner, once all speakers that run are ready and its own has written it to the API: then nothing is moving any more.
pub(crate) async fn settled_owner(lab: &Lab, service: &str, address: IpAddr) -> anyhow::Result<usize> {
    for node in lab.nodes() {
        wait_for("the speaker is ready", DEADLINE, async || {
            Ok((node.speaker().is_none() || node.is_ready().await?).then_some(()))
        })
        .await?;
    }
    wait_for("wire and status agree on the owner", DEADLINE, async || {
        let owner = lab.owner(address, DEADLINE).await?;
        let announcer = lab.cluster().announcer(service).await?;
        Ok((announcer.as_deref() == Some(lab.node(owner).name())).then_some(owner))
    })
    .await
}
