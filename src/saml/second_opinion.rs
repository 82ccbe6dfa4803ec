//! libxmlsec1, a second verifier that shares no line with the first. It is asked about messages that are authenticated
//! already, so that what it would do with a forger's XML is of no matter.
#[cfg(feature = "xmlsec")]
use super::refusal::Refusal;
use super::refusal::Refused;

/// Whether a second verifier is built in.
pub const BUILT_IN: bool = cfg!(feature = "xmlsec");

/// What is told at the start where the second verifier is not built in.
pub const fn absence(built_in: bool) -> Option<&'static str> {
    if built_in {
        return None;
    }
    Some("built without the feature xmlsec: SAML signatures are verified by the Rust verifier alone")
}

/// Whether libxmlsec1 verifies `text` with the same certificates too, and saw the very same canonical bytes.
#[cfg(feature = "xmlsec")]
pub fn agrees(text: &str, certificates: &[&[u8]], bytes: &[u8]) -> Result<(), Refused> {
    use samael::crypto::{AllowedSignatureAlgorithm as Allowed, CertificateDer, Crypto, CryptoProvider, ReduceMode};
    const ALLOWED: [Allowed; 6] = [
        Allowed::RsaSha256,
        Allowed::RsaSha384,
        Allowed::RsaSha512,
        Allowed::EcdsaSha256,
        Allowed::EcdsaSha384,
        Allowed::EcdsaSha512,
    ];
    let keys: Vec<CertificateDer> = certificates.iter().map(|der| der.to_vec().into()).collect();
    let seen = Crypto::reduce_xml_to_signed_with_allowed_algorithms(text, &keys, ReduceMode::PreDigest, Some(&ALLOWED))
        .map_err(|e| Refusal::SecondOpinion.with(format_args!("xmlsec: {e}")))?;
    if seen.as_bytes() == bytes {
        return Ok(());
    }
    let at = seen.bytes().zip(bytes).position(|(a, b)| a != *b).unwrap_or_else(|| seen.len().min(bytes.len()));
    Err(Refusal::SecondOpinion.with(format_args!(
        "the canonical bytes differ at {at} ({} and {} bytes)",
        seen.len(),
        bytes.len()
    )))
}

/// Without the feature `xmlsec` the Rust verifier decides alone.
#[cfg(not(feature = "xmlsec"))]
#[allow(clippy::unnecessary_wraps)] // the other build's answer
pub fn agrees(_text: &str, _certificates: &[&[u8]], _bytes: &[u8]) -> Result<(), Refused> {
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_build_with_one_verifier_says_so() {
        assert_eq!(super::absence(true), None);
        assert!(super::absence(false).is_some_and(|told| told.contains("xmlsec") && told.contains("alone")));
    }
}
