//! `tls_client_auth` of an app: the one name by which its certificate is known (RFC 8705 §2.1.2).
use crate::{config::mistake::Findings, model::CertificateName};
use schemars::JsonSchema;
use serde::Deserialize;

/// Exactly one of these.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsClientAuthTable {
    /// The whole subject, as RFC 4514 writes it: `CN=robot,O=Acme`.
    subject_dn: Option<String>,
    /// A DNS name among the alternative names.
    san_dns: Option<String>,
    /// A URI among them.
    san_uri: Option<String>,
    /// An IP address among them.
    san_ip: Option<String>,
    /// An e-mail address among them.
    san_email: Option<String>,
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: Option<&TlsClientAuthTable>, found: &mut Findings<'_>) -> Option<CertificateName> {
    let raw = raw?;
    let text = |kind: fn(String) -> CertificateName, value: &str| {
        let sound = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic());
        if sound { Ok(kind(value.to_owned())) } else { Err("visible ASCII".to_owned()) }
    };
    let mut named = [
        ("subject_dn", raw.subject_dn.as_deref().map(CertificateName::subject)),
        ("san_dns", raw.san_dns.as_deref().map(|v| text(CertificateName::Dns, v))),
        ("san_uri", raw.san_uri.as_deref().map(|v| text(CertificateName::Uri, v))),
        (
            "san_ip",
            raw.san_ip.as_deref().map(|v| v.parse().map(CertificateName::Ip).map_err(|_| "an IP address".into())),
        ),
        ("san_email", raw.san_email.as_deref().map(|v| text(CertificateName::Email, v))),
    ]
    .into_iter()
    .filter_map(|(key, read)| Some((key, read?)));
    let (Some((key, read)), None) = (named.next(), named.next()) else {
        found.wrong(
            "tls_client_auth",
            "exactly one of subject_dn, san_dns, san_uri, san_ip, san_email (RFC 8705 §2.1.2)",
        );
        return None;
    };
    found.or("tls_client_auth", read.map(Some).map_err(|why| format!("{key}: {why}")), None)
}
