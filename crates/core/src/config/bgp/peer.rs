//! A `BGPPeer` that was parsed.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use super::bfd_profile::BfdProfile;
use super::error::BgpError;
use super::raw::{RawBgpPeer, RawSecret};
use super::timers::{ProposedTimers, parse_connect_time};
use crate::bgp::{Asn, ExpectedAs};
use crate::config::problem::ConfigErrors;
use crate::config::selectors::{self, empty_or_matches};
use crate::{Family, Labels, Selector};

/// The port of BGP (RFC 4271 section 8.2.1).
const BGP_PORT: u16 = 179;
/// `TCP_MD5SIG_MAXKEYLEN` of Linux.
const LONGEST_PASSWORD: usize = 80;
/// The type of a Secret with a password.
const SECRET_TYPE: &str = "kubernetes.io/basic-auth";

/// A router that nodes have sessions with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpPeer {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp` in seconds since 1970.
    pub created: i64,
    /// The AS number that is shown to the peer: `localASN`, otherwise `myASN`.
    pub local_asn: Asn,
    /// Which AS number the peer may have.
    pub peer_asn: ExpectedAs,
    /// Where the peer is.
    pub location: PeerLocation,
    /// The own address of the connection.
    pub source_address: Option<IpAddr>,
    /// The TCP port.
    pub port: u16,
    /// The VRF device that the session runs in.
    pub vrf: Option<String>,
    /// The timers to propose; without them the session has its own.
    pub timers: Option<ProposedTimers>,
    /// The pause between attempts to connect.
    pub connect_time: Option<Duration>,
    /// The BGP identifier; without one it is that of the node.
    pub router_id: Option<Ipv4Addr>,
    /// Nodes that have a session; empty is all.
    pub node_selectors: Vec<Selector>,
    /// The key of TCP MD5 (RFC 2385).
    pub password: Option<Password>,
    /// How BFD watches the peer, if it does.
    pub bfd: Option<BfdProfile>,
    /// Whether graceful restart is offered; absent is yes, other than in MetalLB.
    pub graceful_restart: bool,
    /// Whether the peer is more than one hop away.
    pub multi_hop: bool,
    /// Whether the session carries routes of both families.
    pub dual_stack: bool,
}

/// Where a peer is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerLocation {
    /// At an address.
    Address(IpAddr),
    /// The only router on the link of an interface, whose address is learned.
    Interface(String),
}

/// A password. Its bytes are not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Vec<u8>);

impl BgpPeer {
    pub(super) fn parse(
        raw: &RawBgpPeer,
        profiles: &BTreeMap<String, BfdProfile>,
        secrets: &BTreeMap<String, RawSecret>,
    ) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::new();
        let mut parser = PeerParser {
            raw,
            errors: &mut errors,
        };
        let my_asn = parser.my_asn();
        let local_asn = raw.local_asn.map(|number| parser.asn(number, "spec.localASN"));
        let peer_asn = parser.peer_asn(my_asn);
        let location = parser.location();
        let source_address = parser.source_address(location.as_ref());
        let (port, router_id) = (parser.port(), parser.router_id());
        let password = parser.password(secrets);
        let bfd = parser.bfd(profiles);
        let peer = location.map(|location| Self {
            name: raw.name.clone(),
            created: raw.created,
            local_asn: local_asn.unwrap_or(my_asn),
            peer_asn,
            location,
            source_address,
            port,
            vrf: raw.vrf.clone().filter(|vrf| !vrf.is_empty()),
            timers: ProposedTimers::parse(raw, &mut errors),
            connect_time: parse_connect_time(raw.connect_time.as_ref(), &mut errors),
            router_id,
            node_selectors: selectors::parse(
                &raw.node_selectors,
                "nodeSelectors",
                "nodeSelectors",
                "failed to convert peer node selector",
                &mut errors,
            ),
            password,
            bfd,
            graceful_restart: raw.graceful_restart.unwrap_or(true),
            multi_hop: raw.multi_hop.unwrap_or(false),
            dual_stack: raw.dual_stack.unwrap_or(false),
        });
        peer.filter(|_| errors.is_empty()).ok_or(errors)
    }

    /// Returns whether a node with these labels has a session with the peer.
    pub fn selects_node(&self, labels: &Labels) -> bool {
        empty_or_matches(&self.node_selectors, labels)
    }

    /// Returns whether the session carries routes of a family: that of its addresses, or both.
    pub fn carries(&self, family: Family) -> bool {
        match &self.location {
            PeerLocation::Address(address) => self.dual_stack || Family::of(*address) == family,
            PeerLocation::Interface(_) => true,
        }
    }

    /// Returns what two peers of a node may not have in common: it names the connection.
    pub(super) fn connection(&self) -> (Option<&str>, &PeerLocation, u16, Option<IpAddr>) {
        (
            self.vrf.as_deref(),
            &self.location,
            self.port,
            self.source_address,
        )
    }
}

/// Parses the fields of a peer one by one.
struct PeerParser<'a> {
    raw: &'a RawBgpPeer,
    errors: &'a mut ConfigErrors,
}

impl PeerParser<'_> {
    fn push(&mut self, field: &str, error: BgpError) {
        self.errors.push((field.to_string(), error.into()));
    }

    /// Returns the number, or any one after an error.
    fn asn(&mut self, number: i64, field: &str) -> Asn {
        match u32::try_from(number) {
            Ok(asn) if asn > 0 => return Asn(asn),
            _ => self.push(field, BgpError::Asn(number)),
        }
        Asn(u32::MAX)
    }

    fn my_asn(&mut self) -> Asn {
        if self.raw.my_asn == 0 {
            self.push("spec.myASN", BgpError::MissingLocalAsn);
            return Asn(u32::MAX);
        }
        self.asn(self.raw.my_asn, "spec.myASN")
    }

    fn peer_asn(&mut self, my_asn: Asn) -> ExpectedAs {
        // 0 is absent in MetalLB.
        let number = self.raw.peer_asn.filter(|number| *number != 0);
        let word = self.raw.dynamic_asn.as_deref().filter(|word| !word.is_empty());
        match (number, word) {
            (None, None) => self.push("spec.peerASN", BgpError::MissingPeerAsn),
            (Some(_), Some(_)) => self.push("spec.peerASN", BgpError::BothPeerAsns),
            (None, Some("internal")) => return ExpectedAs::Internal(my_asn),
            (None, Some("external")) => {}
            (None, Some(word)) => self.push("spec.dynamicASN", BgpError::DynamicAsn(word.to_string())),
            (Some(number), None) => {
                let asn = self.asn(number, "spec.peerASN");
                if number == self.raw.my_asn && self.raw.multi_hop == Some(true) {
                    self.push("spec.ebgpMultiHop", BgpError::InternalMultiHop);
                }
                return ExpectedAs::Exactly(asn);
            }
        }
        ExpectedAs::External(my_asn)
    }

    fn location(&mut self) -> Option<PeerLocation> {
        let (address, interface) = (written(&self.raw.address), written(&self.raw.interface));
        match (address, interface) {
            (None, None) => self.push("spec.peerAddress", BgpError::MissingLocation),
            (Some(_), Some(_)) => self.push("spec.interface", BgpError::BothLocations),
            (None, Some(name)) => return Some(PeerLocation::Interface(name.to_string())),
            (Some(text), None) => match parse_address(text) {
                Some(address) => return Some(PeerLocation::Address(address)),
                None => self.push("spec.peerAddress", BgpError::Address(text.to_string())),
            },
        }
        None
    }

    fn source_address(&mut self, location: Option<&PeerLocation>) -> Option<IpAddr> {
        let text = written(&self.raw.source_address)?;
        let source = parse_address(text);
        let error = match (source, location) {
            (None, _) => BgpError::SourceAddress(text.to_string()),
            (_, Some(PeerLocation::Interface(_))) => BgpError::SourceOfInterface,
            (Some(source), Some(PeerLocation::Address(peer))) if Family::of(source) != Family::of(*peer) => {
                BgpError::SourceFamily(text.to_string())
            }
            _ => return source,
        };
        self.push("spec.sourceAddress", error);
        None
    }

    fn port(&mut self) -> u16 {
        let number = self.raw.port.unwrap_or(0);
        match u16::try_from(number) {
            Ok(0) => BGP_PORT,
            Ok(port) => port,
            Err(_) => {
                self.push("spec.peerPort", BgpError::Port(number));
                BGP_PORT
            }
        }
    }

    fn router_id(&mut self) -> Option<Ipv4Addr> {
        let text = written(&self.raw.router_id)?;
        let id = text.parse().ok().filter(|id: &Ipv4Addr| !id.is_unspecified());
        if id.is_none() {
            self.push("spec.routerID", BgpError::RouterId(text.to_string()));
        }
        id
    }

    fn password(&mut self, secrets: &BTreeMap<String, RawSecret>) -> Option<Password> {
        let literal = self
            .raw
            .password
            .as_ref()
            .filter(|password| !password.0.is_empty());
        let (field, password) = match (literal, written(&self.raw.password_secret)) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.push("spec.passwordSecret", BgpError::BothPasswords);
                return None;
            }
            (Some(password), None) => ("spec.password", Ok(password.clone())),
            (None, Some(name)) => ("spec.passwordSecret", secret(name, secrets)),
        };
        match password {
            Ok(password) if password.0.len() > LONGEST_PASSWORD => {
                self.push(field, BgpError::PasswordTooLong(password.0.len()));
            }
            Ok(password) => return Some(password),
            Err(error) => self.push(field, error),
        }
        None
    }

    fn bfd(&mut self, profiles: &BTreeMap<String, BfdProfile>) -> Option<BfdProfile> {
        let name = written(&self.raw.bfd_profile)?;
        let profile = profiles.get(name).cloned();
        if profile.is_none() {
            self.push("spec.bfdProfile", BgpError::MissingBfdProfile(name.to_string()));
        }
        profile
    }
}

fn secret(name: &str, secrets: &BTreeMap<String, RawSecret>) -> Result<Password, BgpError> {
    let name = || name.to_string();
    let secret = secrets
        .get(&name())
        .ok_or_else(|| BgpError::MissingSecret(name()))?;
    if secret.kind != SECRET_TYPE {
        let kind = secret.kind.clone();
        return Err(BgpError::SecretType { name: name(), kind });
    }
    let password = secret.password.clone().filter(|password| !password.0.is_empty());
    password.ok_or_else(|| BgpError::SecretWithoutPassword(name()))
}

/// An IPv4 address may be written as an IPv6 address that has it (`::ffff:192.0.2.1`), as for Go.
fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// An empty text is absent, as in Go.
fn written(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}
