//! The pools, and how much of them is in use.

use herald_api::IPAddressPool;
use herald_api::crd::{EFFECTIVE, READY};
use serde::Serialize;

use crate::output::{Cell, Table, bar, good, warning};

/// A pool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolLine {
    pub(crate) pool: String,
    addresses: Vec<String>,
    assigned: Option<u64>,
    available: Option<u64>,
    /// The reason of the condition that is not true, and its message.
    problem: Option<(String, String)>,
}

impl PoolLine {
    pub(super) fn new(pool: &IPAddressPool) -> Self {
        let status = pool.status.as_ref();
        let sum = |v4: i64, v6: i64| {
            let number = |number: i64| u64::try_from(number).unwrap_or_default();
            number(v4).saturating_add(number(v6))
        };
        let conditions = status.iter().flat_map(|status| &status.conditions);
        let mut problems = conditions.filter(|condition| {
            [READY, EFFECTIVE].contains(&condition.type_.as_str()) && condition.status == "False"
        });
        Self {
            pool: pool.metadata.name.clone().unwrap_or_default(),
            addresses: pool.spec.addresses.clone(),
            assigned: status.map(|status| sum(status.assigned_ipv4, status.assigned_ipv6)),
            available: status.map(|status| sum(status.available_ipv4, status.available_ipv6)),
            problem: problems
                .next()
                .map(|condition| (condition.reason.clone(), condition.message.clone())),
        }
    }
}

pub(super) fn text(pools: Option<&[PoolLine]>) -> String {
    let Some(pools) = pools else {
        return "  unknown\n".to_owned();
    };
    if pools.is_empty() {
        return format!("  {}\n", warning("no IPAddressPool"));
    }
    let mut table = Table::new(&["POOL", "ADDRESSES", "USAGE", "IN USE", "FREE", "STATE"]);
    for line in pools {
        let number =
            |number: Option<u64>| number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
        let usage = line.assigned.zip(line.available);
        let usage = usage.map(|(assigned, available)| bar(assigned, assigned.saturating_add(available)));
        let state = match &line.problem {
            None => Cell::from("in force").styled(good),
            Some((reason, message)) => Cell::from(format!("{reason}: {message}")).styled(warning),
        };
        table.row([
            line.pool.as_str().into(),
            line.addresses.join(",").into(),
            usage.unwrap_or_default().into(),
            number(line.assigned).into(),
            number(line.available).into(),
            state,
        ]);
    }
    table.text(2)
}
