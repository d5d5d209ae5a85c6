//! Source addresses as units for rate limits.

use std::net::{IpAddr, Ipv6Addr};

/// The unit of an address: the IPv4 address, or the /64 network of an IPv6 address, because one
/// customer's network usually has a /64 and could otherwise appear as 2^64 sources.
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address @ IpAddr::V4(_) => address,
    }
}
