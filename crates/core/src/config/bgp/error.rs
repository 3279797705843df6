//! The mistakes that resources of BGP can have.

use alloc::string::String;

use super::community::CommunityError;

/// The reason why a resource of BGP cannot be used as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BgpError {
    /// `myASN` is 0.
    #[error("missing local ASN; write the AS number of this side, from 1 to 4294967295")]
    MissingLocalAsn,
    /// A number that is no AS number.
    #[error("invalid ASN {0}; it must be from 1 to 4294967295")]
    Asn(i64),
    /// Neither `peerASN` nor `dynamicASN`.
    #[error("missing peer ASN and dynamicASN; set one of the two")]
    MissingPeerAsn,
    /// `peerASN` and `dynamicASN`.
    #[error("both peer ASN and dynamicASN specified; remove one of the two")]
    BothPeerAsns,
    /// `dynamicASN` is another word.
    #[error("invalid dynamicASN {0:?}; write internal or external")]
    DynamicAsn(String),
    /// `ebgpMultiHop` of a peer of the own AS.
    #[error("invalid ebgp-multihop parameter set for an ibgp peer; remove ebgpMultiHop")]
    InternalMultiHop,
    /// Neither `peerAddress` nor `interface`.
    #[error("peer has no Address or Interface specified; set one of the two")]
    MissingLocation,
    /// `peerAddress` and `interface`.
    #[error("peer has both Address and Interface specified; remove one of the two")]
    BothLocations,
    /// `peerAddress` is no address.
    #[error("invalid BGPPeer address {0:?}; write an IP address without a zone")]
    Address(String),
    /// `sourceAddress` is no address.
    #[error("invalid source IP {0:?}; write an IP address without a zone")]
    SourceAddress(String),
    /// `sourceAddress` is of another family than `peerAddress`.
    #[error("source IP {0:?} and the peer's address are of different families")]
    SourceFamily(String),
    /// `sourceAddress` with `interface`.
    #[error("a peer by interface has no sourceAddress: both sides use their link-local addresses; remove it")]
    SourceOfInterface,
    /// `routerID` is no IPv4 address, or 0.0.0.0.
    #[error("invalid router ID {0:?}; write an IPv4 address that is not 0.0.0.0")]
    RouterId(String),
    /// `peerPort` is no port.
    #[error("invalid peer port {0}; it must be from 1 to 65535")]
    Port(i64),
    /// A text is no duration.
    #[error("invalid duration {0:?}; write for example 90s or 1m30s")]
    Duration(String),
    /// The hold time is between 0 and 3 s, or more than 65535 s.
    #[error("invalid BGPPeer timers: invalid hold time {0:?}: must be 0 or >=3s, and at most 65535s")]
    HoldTime(String),
    /// The pause between KEEPALIVE messages is longer than the hold time.
    #[error(
        "invalid BGPPeer timers: invalid keepaliveTime {keepalive:?}, must be lower than holdTime {hold:?}"
    )]
    Keepalive {
        /// `keepaliveTime` as written.
        keepalive: String,
        /// `holdTime` as written.
        hold: String,
    },
    /// `connectTime` is no number of whole seconds from 1 to 65535.
    #[error("invalid connect time {0:?}; it must be from 1 to 65535 whole seconds")]
    ConnectTime(String),
    /// `password` and `passwordSecret`.
    #[error("can not have both password and secret ref set; remove one of the two")]
    BothPasswords,
    /// The Secret does not exist.
    #[error(
        "secret ref not found: there is no Secret {0:?} of type kubernetes.io/basic-auth in the namespace of the load balancer"
    )]
    MissingSecret(String),
    /// The Secret is of another type.
    #[error("secret type mismatch on {name:?}, type \"kubernetes.io/basic-auth\" is expected, not {kind:?}")]
    SecretType {
        /// The name of the Secret.
        name: String,
        /// Its type.
        kind: String,
    },
    /// The Secret has no key `password`.
    #[error("password not specified in the secret {0:?}")]
    SecretWithoutPassword(String),
    /// The password is longer than Linux takes (`TCP_MD5SIG_MAXKEYLEN`).
    #[error("the password has {0} bytes; the kernel takes at most 80 (TCP MD5)")]
    PasswordTooLong(usize),
    /// `bfdProfile` names nothing.
    #[error("peer referencing non existing bfd profile {0:?}")]
    MissingBfdProfile(String),
    /// A number of a `BFDProfile` is outside of its range.
    #[error("invalid value {value}, must be in {least}-{most} range")]
    OutOfRange {
        /// The number as written.
        value: i64,
        /// The least allowed one.
        least: i64,
        /// The greatest allowed one.
        most: i64,
    },
    /// An aggregation length that its family does not have.
    #[error("invalid aggregation length {length} for {family}; it must be from 1 to {most}")]
    AggregationLength {
        /// The length as written.
        length: i64,
        /// The family.
        family: crate::Family,
        /// The length of a host route.
        most: u8,
    },
    /// `serviceSelectors` with an aggregation length that is not the default.
    #[error(
        "serviceSelectors and {0} are mutually exclusive, both cannot be set: an aggregate is for all Services in it"
    )]
    SelectedAggregate(&'static str),
    /// `localPref` or `med` is outside of its range.
    #[error("invalid {field} {value}; it must be from 0 to 4294967295")]
    Metric {
        /// The name of the field.
        field: &'static str,
        /// The number as written.
        value: i64,
    },
    /// A string occurs twice in a list.
    #[error("duplicate definition of {list} {value:?}; write it once")]
    DuplicateEntry {
        /// The name of the list.
        list: &'static str,
        /// What occurs twice.
        value: String,
    },
    /// A community cannot be used.
    #[error(transparent)]
    Community(#[from] CommunityError),
    /// The value of a name in a `Community` cannot be used.
    #[error("parsing community {name:?}: {error}")]
    NamedCommunity {
        /// The name.
        name: String,
        /// The mistake.
        error: CommunityError,
    },
    /// A name of a community is defined twice, in one `Community` or in two.
    #[error("duplicate definition of community {0:?}; define each name once")]
    DuplicateCommunity(String),
}

impl BgpError {
    /// Whether the mistake may be that another resource does not exist yet.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::MissingSecret(_) | Self::MissingBfdProfile(_) | Self::Community(CommunityError::Format(_))
        )
    }
}
