//! Trusted proxies, which name the true source of a connection or of a request.
//!
//! A proxy in TCP mode puts a header of the PROXY protocol, version 2, before the bytes of the
//! client. An HTTP proxy adds the address of its client to the header X-Forwarded-For. Both are read
//! only from the configured networks: another client could name any source.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;
use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::model::AddressRange;

/// The bytes of a PROXY header before its addresses. The last two are the length of the rest.
const FIXED_BYTES: usize = 16;

/// The maximum bytes of the rest. The addresses have at most 216, and the protocol advises to keep a
/// header within 536.
const MAX_REST_BYTES: usize = 2048;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of trusted proxies.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    /// Their connections begin with a header of the PROXY protocol, version 2.
    pub proxy_protocol: Arc<[AddressRange]>,
    /// Their requests name the source in X-Forwarded-For.
    pub forwarded_for: Arc<[AddressRange]>,
}

/// Why the source of a connection or a request cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// The connection failed.
    #[error("the header of the PROXY protocol did not arrive")]
    Incomplete(#[from] io::Error),
    /// The header is not one of the PROXY protocol, version 2.
    #[error(
        "the connection of a proxy does not begin with a header of the PROXY protocol, version 2"
    )]
    Malformed,
    /// X-Forwarded-For has a value that is not an address.
    #[error("X-Forwarded-For is not a list of addresses")]
    ForwardedFor,
}

impl TrustedProxies {
    /// Whether connections of this peer begin with a header of the PROXY protocol.
    pub(super) fn sends_header(&self, peer: IpAddr) -> bool {
        self.proxy_protocol.iter().any(|range| range.contains(peer))
    }

    /// The source of a request of this peer: the last address in X-Forwarded-For that is not a
    /// trusted proxy; the first, if all are. The peer itself, if it is not trusted or names none.
    pub(super) fn source(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, ProxyError> {
        let mut source = peer;
        if !self.is_hop(source) {
            return Ok(source);
        }
        let mut lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        lines.reverse();
        for line in lines {
            for hop in line.as_bytes().rsplit(|byte| *byte == b',') {
                source = address(hop.trim_ascii()).ok_or(ProxyError::ForwardedFor)?;
                if !self.is_hop(source) {
                    return Ok(source);
                }
            }
        }
        Ok(source)
    }

    fn is_hop(&self, address: IpAddr) -> bool {
        self.forwarded_for.iter().any(|range| range.contains(address))
    }
}

/// An address with or without a port.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?;
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let plain = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    plain.parse().ok().or_else(with_port)
}

/// Reads the header of the PROXY protocol, and no further byte. Returns the address of the client;
/// `None` if the proxy speaks for itself, for instance to check the gateway.
pub(super) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, ProxyError> {
    let mut header = vec![0; FIXED_BYTES];
    stream.read_exact(&mut header).await?;
    let rest = match header.last_chunk::<2>() {
        Some(length) => usize::from(u16::from_be_bytes(*length)),
        None => return Err(ProxyError::Malformed),
    };
    // Checked before the rest is read: another protocol has anything here.
    let is_header = header.starts_with(super::connection_failures::PROXY_V2);
    if !is_header || rest > MAX_REST_BYTES {
        return Err(ProxyError::Malformed);
    }
    header.resize(FIXED_BYTES + rest, 0);
    let Some(rest) = header.get_mut(FIXED_BYTES..) else { return Err(ProxyError::Malformed) };
    stream.read_exact(rest).await?;
    let config = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };
    let (header, _bytes) =
        ProxyHeader::parse(&header, config).map_err(|_error| ProxyError::Malformed)?;
    Ok(header.proxied_address().map(|address| address.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        TrustedProxies {
            proxy_protocol: ranges(&["10.0.0.0/8"]),
            forwarded_for: ranges(&["10.0.0.0/8", "2001:db8::/32"]),
        }
    }

    fn source(peer: &str, lines: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, http::HeaderValue::from_static(line));
        }
        let source = proxies().source(peer.parse().unwrap(), &headers);
        source.ok().map(|source| source.to_string())
    }

    #[test]
    fn the_source_is_the_last_address_that_is_not_a_trusted_proxy() {
        for (peer, lines, expected) in [
            ("10.0.0.1", &[][..], "10.0.0.1"),
            ("192.0.2.1", &["198.51.100.1"], "192.0.2.1"),
            ("192.0.2.1", &["nonsense"], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["nonsense, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, 10.9.9.9,2001:db8::1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1", "10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3,10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.1:443"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db9::1]:443"], "2001:db9::1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
        ] {
            assert_eq!(source(peer, lines).as_deref(), Some(expected), "{peer} {lines:?}");
        }
        for lines in [&["nonsense"][..], &[""], &["198.51.100.1,"], &["198.51.100.1, 10.0.0"]] {
            assert_eq!(source("10.0.0.1", lines), None, "{lines:?}");
        }
    }

    async fn read(bytes: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
        let mut rest = bytes;
        let outcome = read_header(&mut rest).await;
        if outcome.is_ok() {
            assert_eq!(rest, b"GET /", "no further byte is read");
        }
        outcome
    }

    #[tokio::test]
    async fn a_header_names_the_client_or_none() {
        let header = |command: u8, family: u8, addresses: &[u8]| {
            let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
            let start: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
            [start, &[command, family], &length, addresses, b"GET /"].concat()
        };
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 1, 187];
        let client = read(&header(0x21, 0x11, &v4)).await.unwrap();
        assert_eq!(client, Some("192.0.2.7:8080".parse().unwrap()));
        let with_tlv = [&v4[..], &[4, 0, 1, 42]].concat();
        assert_eq!(read(&header(0x21, 0x11, &with_tlv)).await.unwrap(), client);
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 27], &[1, 0, 80, 1, 187]].concat();
        let client = read(&header(0x21, 0x21, &v6)).await.unwrap();
        assert_eq!(client, Some("[2001:db8::]:80".parse().unwrap()));
        assert_eq!(read(&header(0x20, 0, &[])).await.unwrap(), None);
        assert_eq!(read(&header(0x20, 0x11, &v4)).await.unwrap(), None);
        for (name, malformed) in [
            ("a short address", header(0x21, 0x11, &v4[..11])),
            ("an unknown command", header(0x22, 0x11, &v4)),
            ("version 1", b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 443\r\nGET /".to_vec()),
            ("no header", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            ("too long", header(0x21, 0x11, &[0; 4000])),
        ] {
            assert!(matches!(read(&malformed).await, Err(ProxyError::Malformed)), "{name}");
        }
        let truncated = &header(0x21, 0x11, &v4)[..20];
        assert!(matches!(read(truncated).await, Err(ProxyError::Incomplete(_))));
    }
}
