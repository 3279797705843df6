//! The messages for the changes behind a position.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use herald_core::Family;

use super::{BATCH_BYTES, Batch, Position, Route, RouteTable, UpdateGroup, behind};
use crate::wire::update::{Encoding, UnsendableRoute, emit_reachable, emit_withdrawn};
use crate::wire::{NextHop, Nlri, PathAttributes, UpdateFormat};

impl RouteTable {
    /// Returns the messages for the first changes behind a position, and the routes that no message can have; nothing if there are
    /// no changes.
    pub(super) fn encode(
        &self,
        group: UpdateGroup,
        from: Position,
    ) -> Option<(Batch, BTreeMap<Nlri, UnsendableRoute>)> {
        let mut withdrawn = Vec::new();
        let mut announced = BTreeMap::<&PathAttributes, Vec<Nlri>>::new();
        let mut has_withdrawn = false;
        let mut to = None;
        let mut length = 0;
        let changes = self.changes.range(behind(from.sent));
        let routes = changes.filter_map(|(changed, nlri)| Some((changed, nlri, self.routes.get(nlri)?)));
        for (changed, nlri, route) in routes {
            let is_new = |attributes: &PathAttributes| !announced.contains_key(attributes);
            let attributes = route.attributes.as_deref().filter(|_| group.next_hop.is_some());
            length += length_in_batch(*nlri, attributes, attributes.is_some_and(is_new), group.format);
            if to.is_some() && length > BATCH_BYTES {
                break;
            }
            match attributes {
                None => {
                    has_withdrawn = true;
                    if is_withdrawn(route, from) {
                        withdrawn.push(*nlri);
                    }
                }
                Some(attributes) => announced.entry(attributes).or_default().push(*nlri),
            }
            to = Some(*changed);
        }
        let to = to?;
        let (mut messages, mut unsendable) = (Vec::new(), BTreeMap::new());
        for (attributes, nlri) in announced {
            let sent = match group.next_hop {
                Some(next_hop) => emit_all(&mut messages, attributes, group, next_hop, &nlri),
                None => Ok(()),
            };
            if let Err(reason) = sent {
                unsendable.extend(nlri.iter().map(|nlri| (*nlri, reason)));
                // The peer may have the route with other attributes.
                withdrawn.extend(nlri);
            }
        }
        // Withdrawals come last: where longer prefixes replace a shorter one, packets have somewhere to go at each moment.
        let encoding = encoding_of_withdrawals(self.family, group.next_hop);
        let mut rest = &withdrawn[..];
        while !rest.is_empty() {
            let count = emit_withdrawn(&mut messages, encoding, rest, &group.format);
            assert!(
                count > 0,
                "each message has room for a prefix of the table's family"
            );
            rest = &rest[count..];
        }
        let batch = Batch {
            from,
            to,
            has_withdrawn,
            bytes: messages.into(),
        };
        Some((batch, unsendable))
    }
}

/// Returns whether a peer at this position has to be told that it has not a route, which is withdrawn or has no next hop.
fn is_withdrawn(route: &Route, from: Position) -> bool {
    let is_told = route.attributes.is_none() && route.changed <= from.without_withdrawn;
    route.since <= from.may_have && !is_told
}

/// Returns how prefixes that are withdrawn stand in an UPDATE: as they were announced, if they can be.
fn encoding_of_withdrawals(family: Family, next_hop: Option<NextHop>) -> Encoding {
    let announced = next_hop.and_then(|next_hop| Encoding::of(family, next_hop).ok());
    announced.unwrap_or(match family {
        Family::V4 => Encoding::Ipv4,
        Family::V6 => Encoding::Multiprotocol(family),
    })
}

/// Estimates the bytes that a prefix adds to a batch. Attributes are repeated in each message, so that a prefix with long ones
/// stands for many bytes.
fn length_in_batch(
    nlri: Nlri,
    attributes: Option<&PathAttributes>,
    are_new: bool,
    format: UpdateFormat,
) -> usize {
    /// The header of a message, the lengths in it, and the attributes that all routes have.
    const FIXED: usize = 128;
    let attributes = attributes.map_or(FIXED, |attributes| {
        FIXED + 4 * attributes.communities.len() + 12 * attributes.large_communities.len()
    });
    let prefix = nlri.wire_length();
    let in_message = (format.max_length.saturating_sub(attributes) / prefix).max(1);
    let first = if are_new { attributes } else { 0 };
    prefix + attributes.div_ceil(in_message) + first
}

/// Appends as many messages as the prefixes need; none if they cannot be sent.
fn emit_all(
    out: &mut Vec<u8>,
    attributes: &PathAttributes,
    group: UpdateGroup,
    next_hop: NextHop,
    nlri: &[Nlri],
) -> Result<(), UnsendableRoute> {
    let (start, seen) = (out.len(), group.seen(attributes));
    let mut rest = nlri;
    while !rest.is_empty() {
        match emit_reachable(out, &seen, next_hop, rest, &group.format) {
            Ok(count) => rest = &rest[count..],
            Err(reason) => {
                out.truncate(start);
                return Err(reason);
            }
        }
    }
    Ok(())
}
