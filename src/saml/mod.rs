//! SAML 2.0: from bytes and trusted keys to what they say, by one path and no other.
//!
//! 1. [`preflight`]: the strict look, before any cryptography;
//! 2. [`signature`]: pinned keys alone, by a verifier in Rust;
//! 3. [`second_opinion`]: libxmlsec1, which has to see the very same canonical bytes;
//! 4. [`assertion`]: those bytes, and no others, read into types of our own.
pub mod assertion;
mod authn_request;
pub mod binding;
mod document;
pub mod instant;
pub mod logout;
pub mod metadata;
pub mod preflight;
mod reader;
pub mod refusal;
pub mod request;
pub mod second_opinion;
pub mod sign;
mod signature;
pub mod sp;
pub mod trust;
pub mod write;

pub use assertion::{Assertion, Envelope, NameId, Verified};
pub use authn_request::AuthnRequest;
pub use document::Document;
pub use logout::Logout;
pub use metadata::IdentityProvider;
pub use preflight::{Kind, Passed};
pub use reader::Limits;
pub use refusal::{Refusal, Refused};
pub use request::ServiceProvider;
pub use trust::TrustedKeys;

use preflight::{Seal, inspect};

/// Looks at a message whose signature is in it. What it says is learnt from [`Passed::verify`] alone.
pub fn read(message: &[u8], kind: Kind) -> Result<Passed<'_>, Refused> {
    read_one_of(message, &[kind])
}

/// The same of one that may be of any of `kinds`.
pub fn read_one_of<'a>(message: &'a [u8], kinds: &[Kind]) -> Result<Passed<'a>, Refused> {
    let text = std::str::from_utf8(message).map_err(|e| Refusal::NotXml.with(e))?;
    inspect(text, kinds, Seal::Enveloped)
}

impl Passed<'_> {
    /// The verified assertion of a Response, or the one that the message is (S50, S63).
    pub fn verify(&self, trusted: &TrustedKeys) -> Result<Verified, Refused> {
        let bytes = signature::canonical(self, trusted)?;
        let outermost = self.claims.first().ok_or_else(|| Refusal::Unsigned.with("no signature"))?;
        let response = match self.kind {
            Kind::Response => true,
            Kind::Assertion => false,
            Kind::LogoutRequest | Kind::LogoutResponse | Kind::AuthnRequest => {
                return Err(Refusal::Root.with("the message holds no assertion"));
            }
        };
        let verified = Verified::read(&bytes, outermost.root, response, &outermost.id)?;
        // The keys were chosen by a name that was not verified yet.
        if verified.assertion.issuer != self.issuer {
            let signed = &verified.assertion.issuer;
            return Err(Refusal::Issuer.with(format_args!("{signed:?} is signed, {:?} was read", self.issuer)));
        }
        Ok(verified)
    }

    /// The verified logout message (S50, S63).
    pub fn verify_logout(&self, trusted: &TrustedKeys) -> Result<Logout, Refused> {
        let bytes = signature::canonical(self, trusted)?;
        Logout::read(&bytes, self.kind, &self.id)
    }

    /// The verified request to sign somebody on.
    pub fn verify_request(&self, trusted: &TrustedKeys) -> Result<AuthnRequest, Refused> {
        let bytes = signature::canonical(self, trusted)?;
        AuthnRequest::read(&bytes, &self.id)
    }
}
