//! The IP and CIDR functions that Kubernetes adds to CEL.
//!
//! An IP or CIDR value is its canonical text, so that `==` and `string()` work on it.

use std::net::IpAddr;
use std::sync::Arc;

use cel::extractors::This;
use cel::{Context, ExecutionError, Value};
use ipnet::IpNet;

type Text = Arc<String>;

/// The names of these functions.
pub(super) const NAMES: &[&str] = &[
    "isIP",
    "isCIDR",
    "ip",
    "cidr",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "containsIP",
    "containsCIDR",
    "prefixLength",
    "masked",
];

/// Makes `isIP`, `ip`, `isCIDR`, `cidr` and their member functions known.
pub(super) fn add_functions(context: &mut Context<'_, '_>) {
    let added = [
        context.add_function("isIP", |text: Text| parse_ip(&text).is_some()),
        context.add_function("isCIDR", |text: Text| parse_cidr(&text).is_some()),
        context.add_function("ip", ip),
        context.add_function("cidr", |text: Text| need_cidr(&text).map(text_value)),
        context.add_function("family", family),
        context.add_function("isUnspecified", |This(text): This<Text>| {
            need_ip(&text).map(|ip| ip.is_unspecified())
        }),
        context.add_function("isLoopback", |This(text): This<Text>| {
            need_ip(&text).map(|ip| ip.is_loopback())
        }),
        context.add_function("isLinkLocalMulticast", |This(text): This<Text>| {
            need_ip(&text).map(|ip| match ip {
                IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
                IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
            })
        }),
        context.add_function("isLinkLocalUnicast", |This(text): This<Text>| {
            need_ip(&text).map(|ip| match ip {
                IpAddr::V4(v4) => v4.is_link_local(),
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
            })
        }),
        context.add_function("isGlobalUnicast", |This(text): This<Text>| {
            need_ip(&text).map(is_global_unicast)
        }),
        context.add_function("containsIP", |This(net): This<Text>, ip: Text| {
            Ok::<_, ExecutionError>(need_cidr(&net)?.contains(&need_ip(&ip)?))
        }),
        context.add_function("containsCIDR", |This(net): This<Text>, other: Text| {
            Ok::<_, ExecutionError>(need_cidr(&net)?.contains(&need_cidr(&other)?))
        }),
        context.add_function("prefixLength", |This(net): This<Text>| {
            need_cidr(&net).map(|net| i64::from(net.prefix_len()))
        }),
        context.add_function("masked", |This(net): This<Text>| {
            need_cidr(&net).map(|net| text_value(net.trunc()))
        }),
    ];
    for result in added {
        result.expect("no name clashes with the standard library");
    }
}

/// `ip("10.0.0.1")`, or the address of a CIDR: `cidr("10.0.0.1/8").ip()`.
fn ip(This(text): This<Text>) -> Result<Value, ExecutionError> {
    let address = parse_cidr(&text).map(|net| net.addr());
    address.map_or_else(|| need_ip(&text), Ok).map(text_value)
}

fn text_value(canonical: impl ToString) -> Value {
    Value::String(Arc::new(canonical.to_string()))
}

fn family(This(text): This<Text>) -> Result<i64, ExecutionError> {
    Ok(if need_ip(&text)?.is_ipv4() { 4 } else { 6 })
}

fn is_global_unicast(ip: IpAddr) -> bool {
    let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !special && !link_local
}

/// Kubernetes refuses IPv4-mapped IPv6 addresses and zones here.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    (!mapped).then_some(ip)
}

/// The address is read as strictly as an address alone, and the length has no leading zero or sign.
fn parse_cidr(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let prefix: u8 = length.parse().ok()?;
    let is_canonical = prefix.to_string() == length;
    IpNet::new(parse_ip(address)?, prefix)
        .ok()
        .filter(|_| is_canonical)
}

fn need_ip(text: &str) -> Result<IpAddr, ExecutionError> {
    parse_ip(text)
        .ok_or_else(|| ExecutionError::function_error("ip", format!("{text:?} is not an IP address")))
}

fn need_cidr(text: &str) -> Result<IpNet, ExecutionError> {
    parse_cidr(text).ok_or_else(|| ExecutionError::function_error("cidr", format!("{text:?} is not a CIDR")))
}

#[cfg(test)]
mod tests {
    use cel::{Context, Value};

    use super::super::{compile, environment};
    use super::add_functions;

    #[test]
    fn the_functions_do_what_kubernetes_documents() {
        for rule in [
            "isIP('10.0.0.1') && isIP('fd00::1') && !isIP('10.0.0.1/8') && !isIP('::ffff:1.2.3.4')",
            "isCIDR('10.0.0.0/8') && isCIDR('fd00::/64') && !isCIDR('10.0.0.1') && !isCIDR('10.0.0.0/33')",
            "ip('10.0.0.1').family() == 4 && ip('fd00::1').family() == 6",
            "ip('fd00:0::1') == ip('fd00::1') && string(ip('fd00:0::1')) == 'fd00::1'",
            "ip('127.0.0.1').isLoopback() && ip('::').isUnspecified() && ip('169.254.1.1').isLinkLocalUnicast()",
            "ip('224.0.0.1').isLinkLocalMulticast() && ip('192.0.2.1').isGlobalUnicast()",
            "!ip('ff02::1').isGlobalUnicast() && ip('ff02::1').isLinkLocalMulticast()",
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))",
            "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR('10.0.0.0/8')",
            "cidr('10.1.2.3/8').prefixLength() == 8 && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
            "cidr('10.1.2.3/8').ip() == ip('10.1.2.3')",
            "'a-b'.split('-').size() == 2 && ['b', 'a'].sort() == ['a', 'b'] && 'AbC'.lowerAscii() == 'abc'",
        ] {
            let mut context = Context::with_env(environment());
            add_functions(&mut context);
            let program = compile(rule).expect(rule);
            assert_eq!(program.execute(&context), Ok(Value::Bool(true)), "{rule}");
        }
    }

    #[test]
    fn an_unknown_function_does_not_compile() {
        let error = compile("self.frobnicate()").err();
        assert_eq!(error.as_deref(), Some("undeclared reference to 'frobnicate'"));
    }
}
