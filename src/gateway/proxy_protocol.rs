//! The PROXY protocol, versions 1 and 2: who is behind the load balancer in front of a listener.
use pingora::protocols::{GetSocketDigest, SocketDigest, UniqueID, l4::stream::Stream};
use proxy_header::{Error, ParseConfig, ProxyHeader};
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;

/// Longest header that is read, bytes: version 1 has 107 at most, version 2 may carry more than anybody needs here.
const MOST: usize = 4096;

/// What the beginning of a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// More bytes are needed.
    Partial,
    /// The header takes so many bytes; without an address the balancer speaks for itself, as it asks how we are.
    Header(usize, Option<SocketAddr>),
    /// It is no header.
    Nothing,
}

/// Reads the header at the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Said {
    match ProxyHeader::parse(bytes, ParseConfig::default()) {
        Ok((header, length)) => Said::Header(length, header.proxied_address().map(|a| a.source)),
        Err(Error::BufferTooShort) if bytes.len() < MOST => Said::Partial,
        Err(_) => Said::Nothing,
    }
}

/// Takes the header off `stream`, which from then on comes from whom the header names; `None` if there is none.
pub async fn unwrap(stream: &mut Stream) -> Option<()> {
    let mut bytes = Vec::with_capacity(512);
    loop {
        let mut part = [0; 512];
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        match parse(&bytes) {
            Said::Partial => {}
            Said::Nothing => return None,
            Said::Header(length, source) => {
                stream.rewind(bytes.get(length..)?);
                if let Some(source) = source {
                    let digest = SocketDigest::from_raw_fd(stream.id());
                    // It is new, so nothing is set yet.
                    let _ = digest.peer_addr.set(Some(pingora::protocols::l4::socket::SocketAddr::Inet(source)));
                    stream.set_socket_digest(digest);
                }
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read_and_what_is_none_is_told_apart_from_what_is_not_whole() {
        let v1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n\x16\x03";
        assert_eq!(parse(v1), Said::Header(v1.len() - 2, Some("192.0.2.7:5000".parse().unwrap())));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Said::Header(15, None));
        let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
        v2.extend_from_slice(&[192, 0, 2, 7, 10, 0, 0, 1, 0x13, 0x88, 0x01, 0xbb]);
        assert_eq!(parse(&v2), Said::Header(28, Some("192.0.2.7:5000".parse().unwrap())));
        for cut in 1..28 {
            assert_eq!(parse(&v2[..cut]), Said::Partial, "{cut}");
        }
        for no in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00",
            b"PROXY TCP4 x y 1 2\r\n",
        ] {
            assert_eq!(parse(no), Said::Nothing);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_and_foreign_bytes_never_panic(
            source: std::net::SocketAddrV4, sixth: std::net::SocketAddrV6, rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)
        ) {
            let _ = parse(&rest);
            let sixth = std::net::SocketAddrV6::new(*sixth.ip(), sixth.port(), 0, 0);
            for source in [SocketAddr::V4(source), SocketAddr::V6(sixth)] {
                let header = ProxyHeader::with_address(proxy_header::ProxiedAddress::stream(source, source));
                let mut written = Vec::new();
                let v1 = { header.encode_v1(&mut written).unwrap(); std::mem::take(&mut written) };
                header.encode_v2(&mut written).unwrap();
                for head in [v1, written.clone()] {
                    let whole = [&head[..], &rest].concat();
                    proptest::prop_assert_eq!(parse(&whole), Said::Header(head.len(), Some(source)));
                }
                written.clear();
            }
        }
    }
}
