//! Why a SAML message is refused: what is wrong is a closed list, the values compared are for the log alone.

/// A refused message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}: {detail}")]
pub struct Refused {
    /// What is wrong.
    pub refusal: Refusal,
    /// The values compared: logged, never sent.
    pub detail: String,
}

/// What may be wrong with a message before anybody asks what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Base64, DEFLATE or the query around the message.
    #[error("the message's encoding cannot be undone")]
    Encoding,
    /// Not well-formed XML 1.0 with namespaces, in UTF-8.
    #[error("not well-formed XML")]
    NotXml,
    /// More bytes, depth, elements or attributes than any honest message has.
    #[error("too large")]
    TooLarge,
    /// `<!DOCTYPE`.
    #[error("a DOCTYPE")]
    Doctype,
    /// `<?…?>`.
    #[error("a processing instruction")]
    ProcessingInstruction,
    /// `<!-- … -->`.
    #[error("a comment")]
    Comment,
    /// `<![CDATA[ … ]]>`.
    #[error("a CDATA section")]
    Cdata,
    /// A reference to anything but a character.
    #[error("an entity")]
    Entity,
    /// Another root element than one that is waited for, or several.
    #[error("not the message that is expected here")]
    Root,
    /// Something is encrypted; assertions are taken in clear, over TLS.
    #[error("encrypted content is not supported: let the IdP send the assertion unencrypted")]
    Encrypted,
    /// A Response without an assertion.
    #[error("no assertion")]
    NoAssertion,
    /// More than one assertion, or one where none belongs.
    #[error("an assertion too many")]
    SurplusAssertion,
    /// Two elements with one identifier, or an identifier that is no NCName.
    #[error("identifiers are not unique and plain")]
    Identifier,
    /// Neither the message nor its assertion is signed.
    #[error("not signed")]
    Unsigned,
    /// A signature that is no child of what it signs.
    #[error("a signature in the wrong place")]
    SignaturePlace,
    /// A signature of another shape than SAML's (SAML Core §5.4).
    #[error("a signature of an unexpected shape")]
    SignatureShape,
    /// Not exactly one reference, to the element that the signature stands in.
    #[error("the signature does not refer to the element it stands in")]
    Reference,
    /// A transform or canonicalization beside enveloped-signature and exclusive c14n.
    #[error("a transform or canonicalization that is not accepted")]
    Transform,
    /// A signature or digest algorithm that is weak or unknown.
    #[error("a signature or digest algorithm that is not accepted")]
    Algorithm,
    /// No issuer, or one that is not the signed one.
    #[error("the issuer")]
    Issuer,
    /// No key is pinned for the issuer.
    #[error("no trusted key")]
    NoTrustedKey,
    /// No pinned key made the signature.
    #[error("the signature does not verify with a trusted key")]
    Signature,
    /// The two verifiers, or the digest and the bytes, disagree.
    #[error("the second verification disagrees")]
    SecondOpinion,
    /// What is signed is no message that can be read.
    #[error("the signed content cannot be read")]
    Content,
}

impl Refusal {
    /// This refusal, with the values compared.
    pub fn with(self, detail: impl std::fmt::Display) -> Refused {
        Refused { refusal: self, detail: detail.to_string() }
    }
}
