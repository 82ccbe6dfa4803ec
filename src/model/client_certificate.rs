//! The certificate that a TLS client showed, and the names that an app may be known by in it (RFC 8705).
use crate::{clock::Timestamp, secret::Digest};
use std::{collections::BTreeSet, net::IpAddr, str::FromStr};
use x509_cert::{
    Certificate,
    der::{Decode, Tag, asn1::OctetString},
    ext::pkix::{SubjectAltName, name::GeneralName},
    name::RdnSequence,
};

/// A certificate whose key the client has proven in the handshake of its connection.
#[derive(Debug)]
pub struct ClientCertificate {
    /// SHA-256 of its DER: `x5t#S256` (RFC 8705 §3.1).
    pub thumbprint: Digest,
    /// Whether an authority that is named for the listener vouches for it; without, only its key is proven.
    pub trusted: bool,
    der: Vec<u8>,
}

impl ClientCertificate {
    /// Of DER whose key was proven.
    pub fn of(der: &[u8], trusted: bool) -> Self {
        Self { thumbprint: Digest::of(der), trusted, der: der.to_vec() }
    }

    /// Its DER, for the upstream to read (RFC 9440 §2.1).
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it is this very certificate.
    pub fn is(&self, der: &[u8]) -> bool {
        self.der == der
    }

    /// Whether `now` lies within its dates; one that does not read has none.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        let Ok(certificate) = Certificate::from_der(&self.der) else { return false };
        let validity = certificate.tbs_certificate.validity;
        let seconds = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
        let (from, to) = (seconds(validity.not_before), seconds(validity.not_after));
        from.is_some_and(|from| from <= now.0) && to.is_some_and(|to| now.0 <= to)
    }

    /// Whether it carries `name`.
    pub fn carries(&self, name: &CertificateName) -> bool {
        let Ok(certificate) = Certificate::from_der(&self.der) else { return false };
        let names = || match certificate.tbs_certificate.get::<SubjectAltName>() {
            Ok(Some((_, SubjectAltName(names)))) => names,
            Ok(None) | Err(_) => Vec::new(),
        };
        match name {
            CertificateName::Subject(asked) => parts(&certificate.tbs_certificate.subject).as_ref() == Some(asked),
            CertificateName::Dns(asked) => {
                names().iter().any(|n| matches!(n, GeneralName::DnsName(n) if n.as_str().eq_ignore_ascii_case(asked)))
            }
            CertificateName::Uri(asked) => names()
                .iter()
                .any(|n| matches!(n, GeneralName::UniformResourceIdentifier(n) if n.as_str() == asked.as_str())),
            CertificateName::Email(asked) => {
                names().iter().any(|n| matches!(n, GeneralName::Rfc822Name(n) if n.as_str() == asked.as_str()))
            }
            CertificateName::Ip(asked) => {
                names().iter().any(|n| matches!(n, GeneralName::IpAddress(n) if address(n) == Some(*asked)))
            }
        }
    }
}

fn address(octets: &OctetString) -> Option<IpAddr> {
    let octets = octets.as_bytes();
    let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

/// Relative names from the root on, each the set of its types and values.
type Parts = Vec<BTreeSet<(String, String)>>;

/// The one name by which an app's certificate is known (RFC 8705 §2.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The whole subject.
    Subject(Parts),
    /// A `dNSName` among its alternative names, letter case aside.
    Dns(String),
    /// A `uniformResourceIdentifier`, exactly.
    Uri(String),
    /// An `iPAddress`.
    Ip(IpAddr),
    /// An `rfc822Name`, exactly.
    Email(String),
}

impl CertificateName {
    /// A subject as RFC 4514 writes it: the most special name first, commas without spaces.
    pub fn subject(text: &str) -> Result<Self, String> {
        let read = RdnSequence::from_str(text).ok().and_then(|name| parts(&name)).filter(|p| !p.is_empty());
        read.map(Self::Subject).ok_or_else(|| "a name as RFC 4514 writes it, such as CN=robot,O=Acme".to_owned())
    }
}

/// Types and values of a name; how a value is encoded does not tell two names apart. `None` where one is no text.
fn parts(name: &RdnSequence) -> Option<Parts> {
    let text = |value: &x509_cert::der::Any| match x509_cert::der::Tagged::tag(value) {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => String::from_utf8(value.value().to_vec()).ok(),
        _ => None,
    };
    let part = |part: &x509_cert::name::RelativeDistinguishedName| {
        part.0.iter().map(|one| Some((one.oid.to_string(), text(&one.value)?))).collect::<Option<BTreeSet<_>>>()
    };
    name.0.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn shown() -> ClientCertificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc.");
        params.distinguished_name.push(DnType::CommonName, "robot");
        params.subject_alt_names = vec![
            SanType::DnsName("robot.example".try_into().unwrap()),
            SanType::URI("spiffe://acme/robot".try_into().unwrap()),
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
            SanType::Rfc822Name("robot@acme.example".try_into().unwrap()),
        ];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        ClientCertificate::of(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der(), false)
    }

    #[test]
    fn an_app_is_known_by_the_whole_subject_or_by_one_alternative_name_of_its_kind() {
        let shown = shown();
        let subject = |text| shown.carries(&CertificateName::subject(text).unwrap());
        assert!(subject("CN=robot,O=Acme\\, Inc."));
        for other in ["CN=robot", "O=Acme\\, Inc.,CN=robot", "CN=Robot,O=Acme\\, Inc.", "CN=robot+O=Acme\\, Inc."] {
            assert!(!subject(other), "{other}");
        }
        assert!(shown.carries(&CertificateName::Dns("Robot.Example".to_owned())));
        assert!(shown.carries(&CertificateName::Uri("spiffe://acme/robot".to_owned())));
        assert!(shown.carries(&CertificateName::Ip("192.0.2.7".parse().unwrap())));
        assert!(shown.carries(&CertificateName::Email("robot@acme.example".to_owned())));
        for other in [
            CertificateName::Dns("robot@acme.example".to_owned()),
            CertificateName::Dns("robot".to_owned()),
            CertificateName::Uri("robot.example".to_owned()),
            CertificateName::Email("robot.example".to_owned()),
            CertificateName::Ip("192.0.2.8".parse().unwrap()),
        ] {
            assert!(!shown.carries(&other), "{other:?}");
        }
        for wrong in ["", "robot", "CN=", "nothing=robot", "CN=a, O=b"] {
            let read = CertificateName::subject(wrong);
            assert!(read.is_err() || !shown.carries(&read.unwrap()), "{wrong}");
        }
    }

    #[test]
    fn its_dates_count() {
        let shown = shown();
        assert!(shown.is_valid_at(Timestamp(1_600_000_000)));
        assert!(!shown.is_valid_at(Timestamp(1_500_000_000)) && !shown.is_valid_at(Timestamp(1_700_000_000)));
        assert!(!ClientCertificate::of(b"x", true).is_valid_at(Timestamp(1_600_000_000)));
    }
}
