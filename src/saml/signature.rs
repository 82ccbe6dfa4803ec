//! A message's signatures, verified with pinned keys, and the canonical bytes they cover: the only bytes that are ever
//! read (S50).
use super::{
    preflight::{Claim, Passed},
    refusal::{Refusal, Refused},
    trust::TrustedKeys,
};
use aws_lc_rs::digest;
use bergshamra_c14n::{C14nMode, canonicalize_doc};
use bergshamra_dsig::{
    VerifyResult,
    verify::{VerifiedReference, verify_all_document_with_source},
};
use bergshamra_xml::NodeSet;
use uppsala::{Document, NodeId, Parser};

/// Deeper than the preflight lets anything through.
const DEEPEST: u32 = 64;

/// The canonical bytes under the outermost signature, after every signature of the message was verified with one of
/// `trusted`, and both verifiers saw the same bytes.
pub fn canonical(passed: &Passed<'_>, trusted: &TrustedKeys) -> Result<Vec<u8>, Refused> {
    if trusted.is_empty() {
        return Err(Refusal::NoTrustedKey.with("none is pinned for this issuer"));
    }
    let tried = || trusted.fingerprints().join(", ");
    let refused = |why: &dyn std::fmt::Display| Refusal::Signature.with(format_args!("{why}; tried {}", tried()));
    let parser = Parser::new().with_forbid_dtd(true).with_max_depth(DEEPEST);
    let document = parser.parse(passed.text).map_err(|e| Refusal::NotXml.with(e))?;
    let results =
        verify_all_document_with_source(&trusted.context, &document, Some(passed.text)).map_err(|e| refused(&e))?;
    if results.is_empty() || results.len() != passed.claims.len() {
        return Err(Refusal::SecondOpinion.with(format_args!(
            "{} signatures, and {} were seen before",
            results.len(),
            passed.claims.len()
        )));
    }
    let mut outermost = None;
    let mut used: Vec<&[u8]> = Vec::new();
    for (result, claim) in results.iter().zip(&passed.claims) {
        let (signature, reference) = match result {
            VerifyResult::Valid { signature_node, references, key_info } => match references.as_slice() {
                [one] if one.digest_verified => {
                    used.extend(key_info.x509_chain.first().map(Vec::as_slice).filter(|der| !used.contains(der)));
                    (*signature_node, one)
                }
                _ => return Err(Refusal::Reference.with("not the one reference that was seen before")),
            },
            VerifyResult::Invalid { reason } => return Err(refused(reason)),
        };
        let bytes = bytes_of(&document, signature, reference, claim)?;
        outermost.get_or_insert(bytes);
    }
    let bytes = outermost.ok_or_else(|| Refusal::Unsigned.with("no signature"))?;
    super::second_opinion::agrees(passed.text, &used, &bytes)?;
    Ok(bytes)
}

/// The canonical bytes of what `signature` covers; their digest, computed here once more, is the signed one.
fn bytes_of(
    document: &Document<'_>,
    signature: NodeId,
    reference: &VerifiedReference,
    claim: &Claim,
) -> Result<Vec<u8>, Refused> {
    if reference.uri.strip_prefix('#') != Some(&*claim.id) {
        return Err(Refusal::Reference.with(format_args!("{} is not #{}", reference.uri, claim.id)));
    }
    let signed = reference.resolved_node.filter(|n| document.parent(signature) == Some(*n));
    let signed = signed.ok_or_else(|| Refusal::SignaturePlace.with("it does not stand in what it signs"))?;
    let mut nodes = NodeSet::tree_without_comments(signed, document);
    without(document, signature, &mut nodes);
    let bytes = canonicalize_doc(document, C14nMode::Exclusive, Some(&nodes), &claim.prefixes)
        .map_err(|e| Refusal::SecondOpinion.with(e))?;
    if digest::digest(claim.digest, &bytes).as_ref() != claim.value.as_slice() {
        return Err(Refusal::SecondOpinion.with("the canonical bytes have another digest than the signed one"));
    }
    Ok(bytes)
}

/// The enveloped-signature transform (XML Signature §6.6.4).
fn without(document: &Document<'_>, node: NodeId, nodes: &mut NodeSet) {
    nodes.remove_id(node);
    for child in document.children(node) {
        without(document, child, nodes);
    }
}
