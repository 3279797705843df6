//! The speaker's flags, named as MetalLB's.

mod unused;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::ensure;
use herald_core::NodeName;
use herald_membership::Timings;
use herald_runtime::admin::MetricsArgs;
use herald_runtime::log::LogLevel;
use tokio::sync::watch;

use crate::gossip::{GossipOptions, keys};
pub use unused::UnusedArgs;

/// The speaker's flags.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Name of the Node that this speaker runs on.
    #[arg(long, env = "METALLB_NODE_NAME")]
    pub node_name: String,
    /// Name of this Pod, the owner of the ServiceL2Status objects that this speaker writes.
    #[arg(long, env = "METALLB_POD_NAME")]
    pub pod_name: String,
    /// Namespace of the pools, advertisements and speaker Pods; if not given, the namespace of this Pod.
    #[arg(long, env = "METALLB_NAMESPACE")]
    pub namespace: Option<String>,
    /// Address of this node for gossip; without it there is no gossip, and no speaker notices a dead node.
    #[arg(long, env = "METALLB_ML_BIND_ADDR", value_parser = optional_address)]
    pub ml_bindaddr: Option<OptionalAddress>,
    /// UDP port for gossip, the same on all nodes.
    #[arg(long, env = "METALLB_ML_BIND_PORT", default_value_t = 7946)]
    pub ml_bindport: u16,
    /// Label selector of the speaker Pods, which are the peers; without it there is no gossip.
    #[arg(long, env = "METALLB_ML_LABELS", default_value = "")]
    pub ml_labels: String,
    /// Directory with the gossip key in the file `secretkey`; without it gossip is not encrypted.
    ///
    /// The files `secretkey.next` and `secretkey.previous` may have keys that only open what peers sealed. The files are
    /// read again every two seconds. To change the key, take three steps, and let all speakers read the files after each:
    /// (1) add the new key as `secretkey.next`; (2) make the new key `secretkey` and the old key `secretkey.previous`,
    /// and remove `secretkey.next`; (3) remove `secretkey.previous`.
    #[arg(long, env = "METALLB_ML_SECRET_KEY_PATH")]
    pub ml_secret_key_path: Option<PathBuf>,
    /// Slower gossip for slow or wide-area networks: a dead node is noticed after one second instead of half a second.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub ml_wan_config: bool,
    /// Seconds between two refreshes of an announced address, give or take a tenth, so that no switch forgets it; 0
    /// disables them.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub refresh_interval: u64,
    /// Probe an address on the wire before it is announced. With =false gossip alone decides, for networks where probes
    /// cannot work.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub takeover_verification: bool,
    /// Run beside MetalLB. While the namespace has Pods of MetalLB's speaker, elect as MetalLB does, announce no address that
    /// MetalLB on another node answers for, hand nothing over at the end, and write nothing to the API server.
    #[arg(long)]
    pub beside_metallb: bool,
    /// Announce addresses to routers by BGP. With =false the speaker reads neither resources of BGP nor Secrets, and has no sessions.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub bgp: bool,
    /// MULTI_EXIT_DISC of routes whose BGPAdvertisement has no med; `absent` is none, as with MetalLB's own speaker.
    #[arg(long, default_value = "100", value_parser = default_med)]
    pub bgp_med: DefaultMed,
    /// Flags of MetalLB that have no effect.
    #[command(flatten)]
    pub unused: UnusedArgs,
    /// Announce from nodes with the label node.kubernetes.io/exclude-from-external-load-balancers as well.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub ignore_exclude_lb: bool,
    /// Handle only Services with this spec.loadBalancerClass; if empty, only Services without one.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub lb_class: String,
    /// File with regular expressions of the interfaces that never announce; the file may be missing.
    #[arg(long, default_value = "/etc/metallb/excludel2.yaml")]
    pub exclude_interfaces: PathBuf,
    /// Check the network when a client of the port of /metrics asks for it by POST /checks: the token may use the verb post on
    /// the nonResourceURL /checks. With --metrics-plain-http every client may.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub network_checks: bool,
    /// How /metrics and /state are served.
    #[command(flatten)]
    pub metrics: MetricsArgs,
    /// Port of /healthz and /readyz, on 127.0.0.1; 0 disables it.
    #[arg(long, default_value_t = 17472)]
    pub health_probe_port: u16,
    /// Seconds between two questions of a watch whether the API server was restored from a backup; for tests.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..), hide = true)]
    pub version_check_interval: u64,
    /// Minimum level of log messages.
    #[arg(long, value_enum, default_value_t)]
    pub log_level: LogLevel,
}

/// An address, or none: an empty environment variable counts as unset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionalAddress(Option<IpAddr>);

fn optional_address(text: &str) -> Result<OptionalAddress, std::net::AddrParseError> {
    let address = (!text.is_empty()).then(|| text.parse()).transpose()?;
    Ok(OptionalAddress(address))
}

/// The MULTI_EXIT_DISC of routes that have none of their own, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultMed(pub(crate) Option<u32>);

fn default_med(text: &str) -> Result<DefaultMed, String> {
    if text == "absent" {
        return Ok(DefaultMed(None));
    }
    let med = text
        .parse()
        .map_err(|_| "a number from 0 to 4294967295, or \"absent\"".to_owned())?;
    Ok(DefaultMed(Some(med)))
}

impl Args {
    /// Returns the address for gossip; `None` unless both the address and the labels of the Pods are given.
    pub(crate) fn gossip_address(&self) -> Option<SocketAddr> {
        let address = self
            .ml_bindaddr
            .and_then(|a| a.0)
            .filter(|_| !self.ml_labels.is_empty())?;
        Some(SocketAddr::new(address, self.ml_bindport))
    }

    /// Checks what a speaker beside MetalLB needs.
    ///
    /// # Errors
    /// When it could not notice what MetalLB on another node answers for.
    pub(crate) fn check_beside_metallb(&self) -> anyhow::Result<()> {
        if self.beside_metallb {
            ensure!(
                self.takeover_verification,
                "--beside-metallb needs probes of what MetalLB answers for: remove --takeover-verification=false"
            );
            ensure!(
                self.gossip_address().is_some(),
                "--beside-metallb needs gossip: set --ml-bindaddr and --ml-labels"
            );
        }
        Ok(())
    }

    /// Returns the options of gossip; `None` without gossip.
    pub(crate) fn gossip(&self, node: &NodeName) -> anyhow::Result<Option<GossipOptions>> {
        let Some(bind) = self.gossip_address() else {
            return Ok(None);
        };
        let secrets = match &self.ml_secret_key_path {
            Some(directory) => keys::follow(directory)?,
            None => watch::channel(Vec::new()).1,
        };
        Ok(Some(GossipOptions {
            node: node.clone(),
            bind,
            secrets,
            timings: if self.ml_wan_config {
                Timings::CALM
            } else {
                Timings::FAST
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_default_med_is_a_number_or_absent() {
        let med = |flags: &[&str]| {
            let always = ["speaker", "--node-name=a", "--pod-name=a"];
            let parsed = Program::try_parse_from(always.iter().chain(flags));
            parsed
                .map(|program| program.args.bgp_med.0)
                .map_err(|error| error.to_string())
        };
        assert_eq!(med(&[]), Ok(Some(100)));
        assert_eq!(med(&["--bgp-med=0"]), Ok(Some(0)));
        assert_eq!(med(&["--bgp-med", "absent"]), Ok(None));
        let refused = med(&["--bgp-med=4294967296"]).expect_err("too large");
        assert!(
            refused.contains("a number from 0 to 4294967295, or \"absent\""),
            "{refused}"
        );
    }

    #[test]
    fn beside_metallb_a_speaker_needs_probes_and_gossip() {
        let refusal = |flags: &[&str]| {
            let always = ["speaker", "--node-name=a", "--pod-name=a"];
            let args = Program::parse_from(always.iter().chain(flags)).args;
            args.check_beside_metallb().err().map(|error| error.to_string())
        };
        let beside = "--beside-metallb";
        let gossip = ["--ml-bindaddr=192.0.2.1", "--ml-labels=a=b"];
        assert_eq!(refusal(&["--takeover-verification=false"]), None);
        assert_eq!(refusal(&[beside, gossip[0], gossip[1]]), None);
        let no_probes = refusal(&[beside, gossip[0], gossip[1], "--takeover-verification=false"]);
        assert!(no_probes.is_some_and(|error| error.contains("--takeover-verification")));
        for flag in gossip {
            let no_gossip = refusal(&[beside, flag]);
            assert!(no_gossip.is_some_and(|error| error.contains("needs gossip")));
        }
    }
}
