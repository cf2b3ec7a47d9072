//! Networks as users write them: CIDRs, and addresses alone.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::address::Malformed;
use super::source::quote;

/// Reads `10.0.0.0/8`, `2001:db8::/32`, `10.0.0.7`. What is written as IPv6 and is all of it IPv4 (`::ffff:10.0.0.0/104`) is
/// taken as IPv4, as its clients are.
pub(super) fn parse(text: &str) -> Result<IpNet, Malformed> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(ip) = address.parse::<IpAddr>() else { return Err(no_address(text, address)) };
    let Some(prefix) = prefix else { return Ok(canonical(ip.into())) };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let Some(length) = prefix.parse::<u8>().ok().filter(|length| digits && *length <= most) else {
        let message = format!("{}: the part after the slash is a number of bits, 0 to {most}", quote(text));
        return Err(match from_mask(ip, prefix) {
            Some(network) => Malformed::hint(message, format!("write \"{network}\"")),
            None => Malformed::new(message),
        });
    };
    let Ok(written) = IpNet::new(ip, length) else { return Err(no_address(text, address)) };
    let network = canonical(written);
    if network.addr() != network.network() {
        let (meant, address) = (network.trunc(), network.addr());
        return Err(Malformed::hint(
            format!("{} is an address within the network `{meant}`, not the network", quote(text)),
            format!("write \"{meant}\" for the network, \"{address}\" for this address alone"),
        ));
    }
    Ok(network)
}

/// An IPv4 network where that is what an IPv6 one holds (RFC 4291 2.5.5.2).
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    mapped.and_then(|(v4, length)| Ipv4Net::new(v4, length).ok()).map_or(network, IpNet::V4)
}

/// `10.0.0.0/255.0.0.0`, as other programs take it.
fn from_mask(ip: IpAddr, mask: &str) -> Option<IpNet> {
    let mask: Ipv4Addr = mask.parse().ok()?;
    IpNet::with_netmask(ip, mask.into()).ok().map(|network| network.trunc())
}

fn no_address(text: &str, address: &str) -> Malformed {
    let message = format!("{} is neither a network nor an IP address", quote(text));
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare.filter(|bare| bare.parse::<IpAddr>().is_ok()) {
        Some(bare) => Malformed::hint(message, format!("write {bare} without the brackets")),
        None => Malformed::hint(
            message,
            "write \"10.0.0.0/8\", \"2001:db8::/32\" or a single address; names are not looked up",
        ),
    }
}
