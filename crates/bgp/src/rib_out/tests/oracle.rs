//! A peer that reads with the crate `netgauze-bgp-pkt`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::vec::Vec;

use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::nlri::{Ipv4UnicastAddress, Ipv6UnicastAddress};
use netgauze_bgp_pkt::path_attribute::{MpReach, MpUnreach, PathAttribute, PathAttributeValue};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;

use crate::wire::{HEADER_LENGTH, Nlri};

/// Has the MED of each prefix.
#[derive(Debug, Default)]
pub(super) struct OraclePeer(pub(super) BTreeMap<Nlri, u32>);

impl OraclePeer {
    /// Reads messages with four-octet AS numbers.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        let mut context = BgpParsingContext::asn2_default();
        context.set_asn4(true);
        while let [.., _] = bytes {
            let length = [bytes[HEADER_LENGTH - 3], bytes[HEADER_LENGTH - 2]];
            let (message, rest) = bytes.split_at(u16::from_be_bytes(length).into());
            bytes = rest;
            let message = BgpMessage::parse(&mut SliceReader::new(message), &mut context);
            let message = message.unwrap_or_else(|error| panic!("the oracle refuses it: {error}"));
            if let BgpMessage::Update(update) = &message {
                self.update(update);
            } else {
                assert!(matches!(message, BgpMessage::RouteRefresh(_)), "{message:?}");
            }
        }
    }

    fn update(&mut self, update: &BgpUpdateMessage) {
        let attributes = update.path_attributes().iter().map(PathAttribute::value);
        let (mut withdrawn, mut announced) = (v4(update.withdraw_routes()), v4(update.nlri()));
        let mut med = None;
        for attribute in attributes {
            if let PathAttributeValue::MultiExitDiscriminator(value) = attribute {
                med = Some(value.metric());
            } else if let PathAttributeValue::MpReach(MpReach::Ipv4Unicast { nlri, .. }) = attribute {
                announced.extend(v4(nlri));
            } else if let PathAttributeValue::MpReach(MpReach::Ipv6Unicast { nlri, .. }) = attribute {
                announced.extend(v6(nlri));
            } else if let PathAttributeValue::MpUnreach(MpUnreach::Ipv4Unicast { nlri }) = attribute {
                withdrawn.extend(v4(nlri));
            } else if let PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) = attribute {
                withdrawn.extend(v6(nlri));
            }
        }
        self.0.retain(|nlri, _| !withdrawn.contains(nlri));
        let med = |nlri| (nlri, med.expect("routes have a MED"));
        self.0.extend(announced.into_iter().map(med));
    }
}

fn v4(theirs: &[Ipv4UnicastAddress]) -> Vec<Nlri> {
    let nets = theirs.iter().map(|route| route.network().address());
    nets.map(|net| nlri(net.addr().into(), net.prefix_len()))
        .collect()
}

fn v6(theirs: &[Ipv6UnicastAddress]) -> Vec<Nlri> {
    let nets = theirs.iter().map(|route| route.network().address());
    nets.map(|net| nlri(net.addr().into(), net.prefix_len()))
        .collect()
}

fn nlri(address: IpAddr, length: u8) -> Nlri {
    Nlri::new(address, length).expect("a length of the family")
}
