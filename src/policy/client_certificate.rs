//! Where clients are asked for certificates, and whose are trusted (RFC 8705).
use crate::secret::Digest;
use rustls::server::danger::ClientCertVerifier;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

/// Whether a connection goes on without a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// It does.
    Optional,
    /// It does not: the handshake fails.
    Required,
}

/// What holds for some hosts, some listeners, or both.
#[derive(Debug)]
pub struct Rule {
    /// Which table it is: the same across reloads as long as hosts and listeners are the same.
    pub place: Digest,
    /// Lower-case names; `*.example.com` covers one label. Every host where none is named.
    pub hosts: Vec<String>,
    /// Listeners; every one where none is named.
    pub listen: Vec<SocketAddr>,
    /// Whether a certificate is needed.
    pub ask: Ask,
    /// Whether certificates that no authority vouches for are taken: they prove a key, and nothing else.
    pub self_signed: bool,
    /// Judges chains by the named authorities, where there are any.
    pub authorities: Option<Arc<dyn ClientCertVerifier>>,
    /// The origin under which the endpoints of the authorization server are reached with a certificate.
    pub endpoints: Option<String>,
    /// SHA-256 of all that it says, its authorities included.
    pub digest: Digest,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct ClientCertificates {
    /// In the order of their tables.
    pub rules: Vec<Arc<Rule>>,
    /// The files that they were read from.
    pub files: Vec<PathBuf>,
}

impl ClientCertificates {
    /// Whether nobody is asked for a certificate.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What holds for `host`, lower case, on the listener at `local`: the rule that names the host, a wildcard of it, or
    /// else one for every host; among those the one that names the listener. Where the listener
    /// requires a certificate, a rule for hosts on any listener does not make it optional.
    pub fn find(&self, host: Option<&str>, local: Option<SocketAddr>) -> Option<&Arc<Rule>> {
        let rank = |rule: &Arc<Rule>| {
            let host = match (rule.hosts.is_empty(), host) {
                (true, _) => 0,
                (false, None) => return None,
                (false, Some(host)) => {
                    let wild = |name: &String| {
                        let rest = name.strip_prefix("*.");
                        rest.is_some_and(|rest| host.split_once('.').is_some_and(|(_, parent)| parent == rest))
                    };
                    match (rule.hosts.iter().any(|name| name == host), rule.hosts.iter().any(wild)) {
                        (true, _) => 4,
                        (false, true) => 2,
                        (false, false) => return None,
                    }
                }
            };
            // Where it is not known by which listener it came, it is asked rather than not (S66).
            match (rule.listen.is_empty(), local.is_none_or(|local| rule.listen.iter().any(|l| covers(*l, local)))) {
                (true, _) => Some(host),
                (false, true) => Some(host + 1),
                (false, false) => None,
            }
        };
        let ranked = || self.rules.iter().filter_map(|rule| Some((rank(rule)?, rule)));
        let holds = ranked().max_by_key(|(rank, _)| *rank).map(|(_, rule)| rule)?;
        let insists = |rule: &Rule| !rule.listen.is_empty() && rule.ask == Ask::Required;
        let demanded = || ranked().find(|(_, rule)| insists(rule)).map(|(_, rule)| rule);
        let gives_way = holds.ask == Ask::Optional && holds.listen.is_empty();
        Some(if gives_way { demanded().unwrap_or(holds) } else { holds })
    }

    /// Where the authorization server is reached with a certificate, where that is a place of its own.
    pub fn endpoints(&self) -> Option<&str> {
        self.rules.iter().find_map(|rule| rule.endpoints.as_deref())
    }
}

/// Whether a connection to `local` came by the listener at `listener`.
pub fn covers(listener: SocketAddr, local: SocketAddr) -> bool {
    listener.port() == local.port() && (listener.ip().is_unspecified() || listener.ip() == local.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, hosts: &[&str], listen: &[&str]) -> Arc<Rule> {
        Arc::new(Rule {
            place: Digest::of(name.as_bytes()),
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            listen: listen.iter().map(|l| l.parse().unwrap()).collect(),
            ask: Ask::Optional,
            self_signed: true,
            authorities: None,
            endpoints: None,
            digest: Digest::of(b""),
        })
    }

    #[test]
    fn a_listener_that_requires_certificates_lets_no_host_in_without_unless_it_is_named_there() {
        let required = Rule { ask: Ask::Required, ..Arc::into_inner(rule("port", &[], &["0.0.0.0:8444"])).unwrap() };
        let rules = vec![
            rule("host", &["a.example"], &[]),
            Arc::new(required),
            rule("both", &["b.example"], &["127.0.0.1:8444"]),
            Arc::new(Rule { ask: Ask::Required, ..Arc::into_inner(rule("own", &["c.example"], &[])).unwrap() }),
        ];
        let rules = ClientCertificates { rules, files: Vec::new() };
        let found = |host, local: &str| rules.find(Some(host), Some(local.parse().unwrap())).map(|r| r.place);
        let named = |name: &str| Some(Digest::of(name.as_bytes()));
        assert_eq!(found("a.example", "127.0.0.1:8444"), named("port"));
        assert_eq!(found("b.example", "127.0.0.1:8444"), named("both"));
        assert_eq!(found("a.example", "127.0.0.1:8443"), named("host"));
        assert_eq!(found("c.example", "127.0.0.1:8444"), named("own"), "which trusts others");
    }

    #[test]
    fn the_rule_that_says_most_of_a_connection_holds() {
        let rules = vec![
            rule("host", &["a.example"], &[]),
            rule("wild", &["*.example"], &[]),
            rule("port", &[], &["0.0.0.0:8444"]),
            rule("both", &["b.example"], &["127.0.0.1:8444"]),
        ];
        let rules = ClientCertificates { rules, files: Vec::new() };
        let found = |host, local: &str| rules.find(host, Some(local.parse().unwrap())).map(|r| r.place);
        let named = |name: &str| Some(Digest::of(name.as_bytes()));
        assert_eq!(found(Some("a.example"), "127.0.0.1:8443"), named("host"));
        assert_eq!(found(Some("a.example"), "127.0.0.1:8444"), named("host"));
        assert_eq!(found(Some("b.example"), "127.0.0.1:8443"), named("wild"));
        assert_eq!(found(Some("b.example"), "127.0.0.1:8444"), named("both"));
        assert_eq!(found(Some("b.example"), "127.0.0.2:8444"), named("wild"));
        assert_eq!(found(None, "127.0.0.2:8444"), named("port"));
        assert_eq!(found(Some("x.y.example"), "127.0.0.1:8443"), None);
        assert_eq!(found(None, "127.0.0.1:8443"), None);
    }
}
