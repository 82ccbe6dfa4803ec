//! From which address a request comes: the connection's, or, behind proxies that we trust, the one that they name.
use crate::model::Ranges;
use http::{HeaderMap, HeaderName};
use pingora::proxy::Session;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address.
pub fn client(session: &Session, trusted: &Ranges) -> Option<IpAddr> {
    let peer = session.client_addr().and_then(|a| a.as_inet())?.ip();
    Some(if trusted.contain(peer) { named(&session.req_header().headers, trusted, peer) } else { peer })
}

/// Whom `X-Forwarded-For` names: read from the end, where the proxy next to us has written, as long as proxies that we
/// trust have written it. What stands before that anybody may have made up.
fn named(headers: &HeaderMap, trusted: &Ranges, peer: IpAddr) -> IpAddr {
    let mut last = peer;
    for value in headers.get_all(FORWARDED_FOR).iter().rev() {
        let Ok(value) = value.to_str() else { return last };
        for item in value.rsplit(',') {
            let Some(address) = address(item.trim()) else { return last };
            last = address;
            if !trusted.contain(address) {
                return address;
            }
        }
    }
    last
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(bracketed).or_else(|| text.parse().ok().map(|a: SocketAddr| a.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, values: &[&str]) -> String {
        let trusted = Ranges::parse(&["10.0.0.0/8", "fd00::/8"]).unwrap();
        let mut headers = HeaderMap::new();
        values.iter().for_each(|v| {
            headers.append(FORWARDED_FOR, v.parse().unwrap());
        });
        let peer: IpAddr = peer.parse().unwrap();
        if trusted.contain(peer) { named(&headers, &trusted, peer).to_string() } else { peer.to_string() }
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_from_the_end() {
        assert_eq!(found("192.0.2.1", &["198.51.100.1"]), "192.0.2.1", "nobody asked this one");
        assert_eq!(found("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(found("10.0.0.1", &["6.6.6.6, 198.51.100.1"]), "198.51.100.1", "what the client wrote itself");
        assert_eq!(found("10.0.0.1", &["6.6.6.6", "198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(found("10.0.0.1", &["6.6.6.6, nonsense"]), "10.0.0.1");
        assert_eq!(found("fd00::1", &["[2001:db8::7]:443, 10.0.0.9:80"]), "2001:db8::7");
        assert_eq!(found("10.0.0.1", &[]), "10.0.0.1");
    }

    proptest::proptest! {
        #[test]
        fn what_a_client_writes_before_the_proxys_word_changes_nothing(made_up in "[ -~]{0,60}") {
            proptest::prop_assert_eq!(found("10.0.0.1", &[&made_up, "198.51.100.1"]), "198.51.100.1");
            let joined = format!("{made_up}, 198.51.100.1");
            proptest::prop_assert_eq!(found("10.0.0.1", &[&joined]), "198.51.100.1");
        }
    }
}
