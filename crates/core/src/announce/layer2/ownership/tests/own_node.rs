//! The facts and the ownership of one node, with one method for each input.

use super::*;
use crate::config::Pool;

pub(super) struct OwnNode {
    facts: Facts,
    pub(super) ownership: Ownership,
}

impl OwnNode {
    pub(super) fn new(name: NodeName, has_gossip: bool, ignore_exclude_label: bool) -> Self {
        Self {
            facts: Facts::new(has_gossip, ignore_exclude_label),
            ownership: Ownership::new(name),
        }
    }

    pub(super) fn name(&self) -> &NodeName {
        &self.ownership.own_node
    }

    fn handle_change(&mut self, change: Option<FactChange>) {
        if let Some(change) = change {
            self.ownership.handle_change(&self.facts, change);
        }
    }

    pub(super) fn set_config(&mut self, pools: &[Pool], advertisements: &[L2Advertisement]) {
        let change = self.facts.set_pools(pools);
        self.handle_change(change);
        self.ownership.set_advertisements(&self.facts, advertisements);
    }

    pub(super) fn set_node(&mut self, node: Node) {
        let change = self.facts.set_node(node);
        self.handle_change(change);
    }

    pub(super) fn remove_node(&mut self, name: &NodeName) {
        let change = self.facts.remove_node(name);
        self.handle_change(change);
    }

    pub(super) fn set_members(&mut self, members: &[Member]) {
        let change = self.facts.set_members(members);
        self.handle_change(change);
    }

    pub(super) fn set_interfaces(&mut self, names: &[&str], ipv6: &[&str]) {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let interfaces = Interfaces {
            names: set(names),
            ipv6: set(ipv6),
        };
        self.ownership.set_interfaces(&self.facts, interfaces);
    }

    pub(super) fn set_service(&mut self, service: Exposure) {
        let change = self.facts.set_service(service);
        self.handle_change(change);
    }

    pub(super) fn remove_service(&mut self, key: &ServiceKey) {
        let change = self.facts.remove_service(key);
        self.handle_change(change);
    }

    pub(super) fn set_endpoints(&mut self, key: ServiceKey, endpoints: Option<Endpoints>) {
        let change = self.facts.set_endpoints(key, endpoints.map(Into::into));
        self.handle_change(change);
    }

    pub(super) fn poll_change(&mut self) -> Option<RoleChange> {
        self.ownership.poll_change(&self.facts)
    }

    pub(super) fn role(&self, key: &ServiceKey, address: IpAddr) -> Option<&Role> {
        self.ownership.role(key, address)
    }

    pub(super) fn explain(
        &self,
        key: &ServiceKey,
        address: IpAddr,
    ) -> Result<BTreeMap<&NodeName, Result<i64, Exclusion>>, Exclusion> {
        self.ownership.explain(&self.facts, key, address)
    }

    /// Returns the owner of an address that only one Service has.
    pub(super) fn elected(&self, address: IpAddr) -> Option<NodeName> {
        let (facts, ownership) = (&self.facts, &self.ownership);
        let mut electorates = ownership.electorates(facts, address);
        let sharers = electorates.next()?;
        let election = ownership.elect(facts, &facts.view(), address, sharers, facts.nodes().values());
        election.result().map(|result| result.owner.clone())
    }

    pub(super) fn outranks(&self, node: &NodeName, key: &ServiceKey) -> bool {
        self.ownership.outranks(&self.facts, node, key, address())
    }
}
