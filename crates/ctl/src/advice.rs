//! What to do about the reasons of `herald-core` whose messages do not say it themselves. Each function has a match without a wildcard: a
//! new reason without advice does not compile.

use herald_core::announce::bgp::{PeerExclusion, RouteExclusion};
use herald_core::announce::eligibility::Exclusion;
use serde::Serialize;

/// A reason, what it means, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained {
    /// The CamelCase word that conditions, events, logs and metrics have, too.
    pub(crate) reason: String,
    /// What it means here.
    pub(crate) message: String,
    /// What to do; empty if the message says it, or if there is nothing to do.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) advice: &'static str,
}

macro_rules! explain {
    ($($reason:ty, $advice:ident;)*) => {
        $(impl From<&$reason> for Explained {
            fn from(exclusion: &$reason) -> Self {
                Self {
                    reason: exclusion.reason().to_owned(),
                    message: exclusion.to_string(),
                    advice: $advice(exclusion),
                }
            }
        })*
    };
}

explain! {
    Exclusion, of_exclusion;
    RouteExclusion, of_route_exclusion;
    PeerExclusion, of_peer_exclusion;
}

/// Returns what to do about an exclusion.
const fn of_exclusion(exclusion: &Exclusion) -> &'static str {
    match exclusion {
        Exclusion::NoAddress => "find out why the controller gives it no address",
        Exclusion::InvalidAddress => {
            "let the other load balancer announce it, or remove status.loadBalancer.ingress and let Herald give it an address"
        }
        Exclusion::AddressOutsidePools => {
            "add the address to a pool, or let the Service ask for an address of a pool"
        }
        Exclusion::NoEndpoints => "make a Pod ready that the selector of the Service selects",
        Exclusion::AddressOfNode(_) => {
            "take the address of the node out of spec.addresses of the pool, and delete the Service's request for it if there is one"
        }
        Exclusion::SharedAddressWithServiceSelector => {
            "remove serviceSelectors from the L2Advertisement, or metallb.io/allow-shared-ip from the Service"
        }
        Exclusion::NoAdvertisement => {
            "create an L2Advertisement or a BGPAdvertisement for the pool; one with an empty spec selects all pools, Services and nodes"
        }
        Exclusion::NodeNotSelected => {
            "if the node should announce it, let nodeSelectors of an L2Advertisement select it"
        }
        Exclusion::NetworkUnavailable => {
            "the network plugin sets that condition: look at the log of its Pod on the node"
        }
        Exclusion::ExcludedByLabel => {
            "remove the label from the node, or set speaker.ignoreExcludeLB: true in the values of the chart"
        }
        Exclusion::Drained => "when the maintenance is over, run heraldctl undrain with the name of the node",
        Exclusion::NoLocalEndpoint => {
            "run a ready Pod of the Service on the node, or set externalTrafficPolicy: Cluster"
        }
        Exclusion::NoCommonNode => {
            "let the Services that share the address have endpoints on a common node, or give them addresses of their own"
        }
        Exclusion::ExcludedBySharer => {
            "let advertisements of all Services that share the address select the node"
        }
        Exclusion::OnlyTerminatingEndpoints => {
            "run a ready Pod of the Service on the node, unless its Pods move to another one"
        }
        Exclusion::NoSpeaker => {
            "find out why the speaker's Pod of the node does not run, or why its gossip does not reach the others"
        }
        Exclusion::SpeakerNotReady(_) => "wait until the speaker is ready; its log says what it waits for",
        Exclusion::NotInSubnet => {
            "if the node should announce it, give it an interface in the subnet of the address"
        }
        Exclusion::NoInterface(_) => {
            "correct spec.interfaces of the L2Advertisement, or set the interface up"
        }
        Exclusion::NoLinkLocalAddress => {
            "give the interface a link-local IPv6 address (net.ipv6.conf.*.addr_gen_mode, disable_ipv6)"
        }
        Exclusion::NoCandidate => "mend the reason of one of the nodes",
    }
}

/// Returns what to do about the reason why a node sends no route.
const fn of_route_exclusion(exclusion: &RouteExclusion) -> &'static str {
    match exclusion {
        RouteExclusion::NoService => {
            "set type: LoadBalancer, and the loadBalancerClass that Herald handles or none if it handles those without"
        }
        RouteExclusion::NoNode => "wait until the Node is known",
        RouteExclusion::NoAdvertisementForNode => {
            "if the node should send it, let nodeSelectors of a BGPAdvertisement of the pool select it"
        }
        RouteExclusion::NoAdvertisementForService => {
            "let serviceSelectors of a BGPAdvertisement select the Service"
        }
        RouteExclusion::Contradiction(..) => {
            "give both BGPAdvertisements the same localPref, or different peers"
        }
        RouteExclusion::NoPeer => {
            "let a BGPPeer select the node, and the peers of the BGPAdvertisement name it"
        }
        RouteExclusion::Unsendable(exclusion) => of_peer_exclusion(exclusion),
        RouteExclusion::Any(exclusion) => of_exclusion(exclusion),
    }
}

/// Returns what to do about the reason why a peer gets no route.
const fn of_peer_exclusion(exclusion: &PeerExclusion) -> &'static str {
    match exclusion {
        PeerExclusion::NotSelected => {
            "add the peer to spec.peers of a BGPAdvertisement, if it should get the route"
        }
        // The messages say it.
        PeerExclusion::FamilyNotCarried(_)
        | PeerExclusion::FamilyNotNegotiated(_)
        | PeerExclusion::NoNextHop(_)
        | PeerExclusion::RouteTooLong => "",
    }
}
