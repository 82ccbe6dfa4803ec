//! What this program fetches from elsewhere by itself: over https, from addresses that were looked at, small and soon.
//! Nothing that a request says ever becomes an address here.
use crate::policy::route::Authorities;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use ureq::{
    Agent,
    config::Config,
    http::{Uri, header},
    tls::{Certificate, RootCerts, TlsConfig},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

/// Time for everything: the name, the connection, the handshake, the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest document, bytes.
pub const MOST: u64 = 256 * 1024;

/// How far a fetch may reach, and whom it believes.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Certificate authorities to trust in place of the usual ones.
    pub authorities: Option<Authorities>,
    /// Whether loopback and private networks may be reached too. Link-local addresses, where clouds keep what tells a
    /// machine its secrets, may never be.
    pub private: bool,
}

/// Why there is no document: for the log and the metrics.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Not a URL that may be fetched.
    #[error("{0}")]
    Url(&'static str),
    /// The name leads to an address that may not be reached.
    #[error("leads to an address that may not be reached: {0}")]
    Address(IpAddr),
    /// No answer came.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// Something else than 200; redirects are not followed.
    #[error("answered with status {0}")]
    Status(u16),
    /// Not JSON, by its content type.
    #[error("answered with something else than JSON")]
    Kind,
    /// More than [`MOST`].
    #[error("answered with more than {MOST} bytes")]
    TooLarge,
}

impl Failure {
    /// One word for a metric's label.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Url(_) | Self::Address(_) => "forbidden",
            Self::Unreachable(_) => "unreachable",
            Self::Status(_) => "status",
            Self::Kind => "content_type",
            Self::TooLarge => "too_large",
        }
    }
}

/// Whether `url` may be fetched at all: https, with a host, without a user's name and without fragment.
pub fn sound(url: &str) -> Result<(), &'static str> {
    let parsed: Option<Uri> = url.parse().ok().filter(|_| url.bytes().all(|b| b.is_ascii_graphic()));
    let Some(parsed) = parsed else { return Err("not a URL") };
    let host = parsed.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
    if parsed.scheme_str() != Some("https") || !host || url.contains('#') {
        return Err("not an https URL with a host, without user and fragment");
    }
    Ok(())
}

/// The JSON document at `url`. Blocks for up to five seconds.
pub fn json(url: &str, reach: &Reach) -> Result<Vec<u8>, Failure> {
    sound(url).map_err(Failure::Url)?;
    let roots = match &reach.authorities {
        Some(all) => {
            let own: Vec<_> = all.certificates.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
            RootCerts::new_with_certs(&own)
        }
        None => RootCerts::WebPki,
    };
    let config = Agent::config_builder()
        .https_only(true)
        .max_redirects(0)
        .http_status_as_error(false)
        // One named by the environment would do the connecting, and nobody would look at the address.
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .user_agent("portcullis")
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::default(), Looked { private: reach.private });
    let mut answer = agent.get(url).header(header::ACCEPT, "application/json").call().map_err(failed)?;
    if answer.status() != 200 {
        return Err(Failure::Status(answer.status().as_u16()));
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json")) {
        return Err(Failure::Kind);
    }
    answer.body_mut().with_config().limit(MOST).read_to_vec().map_err(failed)
}

fn failed(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::BodyExceedsLimit(_) => Failure::TooLarge,
        ureq::Error::Other(inner) => match inner.downcast::<Forbidden>() {
            Ok(forbidden) => Failure::Address(forbidden.0),
            Err(other) => Failure::Unreachable(other.to_string()),
        },
        other => Failure::Unreachable(other.to_string()),
    }
}

/// Looks at every address before any is connected to. What it lets through is what the connection is made to, so that
/// a name cannot lead elsewhere the second time it is asked for.
#[derive(Debug)]
struct Looked {
    private: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("forbidden")]
struct Forbidden(IpAddr);

impl Resolver for Looked {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let all = DefaultResolver::default().resolve(uri, config, timeout)?;
        match all.iter().map(|a| a.ip()).find(|ip| !may_be_reached(*ip, self.private)) {
            Some(ip) => Err(ureq::Error::Other(Box::new(Forbidden(ip)))),
            None => Ok(all),
        }
    }
}

/// Whether a connection to `ip` may be made; with `private` also to this machine and to networks behind the same wall.
pub fn may_be_reached(ip: IpAddr, private: bool) -> bool {
    match ip {
        IpAddr::V4(v4) => v4_may_be(v4, private),
        IpAddr::V6(v6) => match within(v6) {
            Some(v4) => v4_may_be(v4, private),
            None => v6_may_be(v6, private),
        },
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, translated (RFC 6052) or 6to4 (RFC 3056).
fn within(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

fn v4_may_be(ip: Ipv4Addr, private: bool) -> bool {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (127 | 10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => private,
        // "This network", link-local with the metadata of clouds, assignments and documentation, benchmarks, multicast,
        // reserved and broadcast (RFC 6890).
        (0, ..) | (169, 254, _) | (192, 0, 0 | 2) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => false,
        (224.., ..) => false,
        _ => true,
    }
}

fn v6_may_be(ip: Ipv6Addr, private: bool) -> bool {
    // Where a cloud keeps its metadata within the private range.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => private,
        [0xfc00..=0xfdff, ..] => private && ip != METADATA,
        // Global unicast alone is left, without documentation, Teredo and the other special ones (RFC 6890).
        [0x2001, 0x0..=0x1ff | 0xdb8, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_need_leave_and_those_of_metadata_have_none() {
        let may = |ip: &str, private| may_be_reached(ip.parse().unwrap(), private);
        for ip in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::808:808", "::ffff:8.8.8.8"] {
            assert!(may(ip, false) && may(ip, true), "{ip}");
        }
        let inside = ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12::1"];
        for ip in inside.into_iter().chain(["::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::"]) {
            assert!(!may(ip, false) && may(ip, true), "{ip}");
        }
        for ip in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "fe80::1", "0.0.0.0", "::"] {
            assert!(!may(ip, false) && !may(ip, true), "{ip}");
        }
        for ip in ["224.0.0.1", "255.255.255.255", "ff02::1", "2001::1", "2001:db8::1", "fec0::1", "64:ff9b::a9fe:a9fe"]
        {
            assert!(!may(ip, false) && !may(ip, true), "{ip}");
        }
    }

    #[test]
    fn only_plain_https_urls_are_fetched() {
        assert!(sound("https://idp.example/keys?v=1").is_ok() && sound("https://[2606:4700::1]:8443/").is_ok());
        for bad in
            ["http://idp.example/", "https://u@idp.example/", "https://idp.example/#x", "file:///etc/passwd", "/x"]
        {
            assert!(sound(bad).is_err(), "{bad}");
            assert_eq!(json(bad, &Reach::default()).unwrap_err().word(), "forbidden");
        }
        let metadata = json("https://169.254.169.254/latest", &Reach { private: true, authorities: None });
        assert!(matches!(metadata, Err(Failure::Address(_))), "{metadata:?}");
        assert!(matches!(json("https://127.0.0.1:1/", &Reach::default()), Err(Failure::Address(_))));
    }
}
