//! Where requests come from, as far as limits tell one sender from another.

use std::net::{IpAddr, Ipv6Addr};

/// The sender that an address belongs to, as an address: an IPv4 address alone, or the /64 of an
/// IPv6 address, since one customer's network has that many and could else be 2^64 senders.
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address @ IpAddr::V4(_) => address,
    }
}
