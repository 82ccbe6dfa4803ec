//! An attack generator over every valid message: each mutant has to be refused, for its own reason, and each unmutated
//! twin accepted (S50, S51, S63, S64, S65).
mod bait;
mod expected;
mod mutants;
mod prefixes;
mod signatures;

use crate::saml_messages::{
    ACS, Idp, NOW, OTHER, P256, P256_512, P384, P384_256, RSA, RSA_384, RSA_512, Says, Signs, part,
};
use bait::Bait;
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis::saml::{Kind, NameId, Refusal, Refused, ServiceProvider, TrustedKeys, read, sign::SigningKey};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A valid message, and what is needed to spoil it.
struct Valid<'a> {
    idp: &'a Idp,
    kind: Kind,
    says: Says,
    signs: Signs,
    message: String,
    bait: &'a Bait,
}

type Mutants = Vec<(String, String)>;

const NEVER: &str = "requests to sign on are sent, and none is taken";

fn assertion(text: &str) -> &str {
    crate::saml_messages::part(text, "<saml:Assertion", "</saml:Assertion>")
}

fn signature(text: &str) -> &str {
    crate::saml_messages::part(text, "<ds:Signature ", "</ds:Signature>")
}

/// Another identity, under another identifier or the same one.
fn evil(text: &str, fresh: bool) -> String {
    let text = text.replace("alice@", "admin@");
    if fresh { text.replace("_a1", "_evil").replace("_r1", "_evil_r") } else { text }
}

/// The public key of an IdP's certificate, base64 of its DER.
fn spki(idp: &Idp) -> String {
    let certificate = rustls_pki_types::CertificateDer::from(idp.certificate.as_slice());
    STANDARD.encode(webpki::EndEntityCert::try_from(&certificate).unwrap().subject_public_key_info())
}

/// What a message of `kind` says, in canonical form.
fn bare(says: &Says, kind: Kind) -> String {
    // A LogoutResponse names nobody; its issuer is spoilt in place of a name.
    let entity = if kind == Kind::LogoutResponse { &says.name_id } else { &says.issuer };
    let sp = || ServiceProvider {
        entity: entity.clone(),
        acs: String::new(),
        logout: String::new(),
        key: SigningKey::from_pkcs8(&P256.pkcs8).unwrap(),
        certificate: P256.certificate.clone(),
    };
    let name = NameId { value: says.name_id.clone(), format: Some("urn:x".to_owned()), ..NameId::default() };
    match kind {
        Kind::Response => says.response(&says.assertion()),
        Kind::Assertion => says.assertion(),
        Kind::LogoutRequest => sp().logout_request("_r1", ACS, &name, Some("_s1"), NOW),
        Kind::LogoutResponse => sp().logout_response("_r1", ACS, "_q1", true, NOW),
        Kind::AuthnRequest => unreachable!("{NEVER}"),
    }
}

/// What the program does with a message that came in.
fn taken(message: &str, kind: Kind, trusted: &TrustedKeys) -> Result<(), Refused> {
    let passed = read(message.as_bytes(), kind)?;
    match kind {
        Kind::Response | Kind::Assertion => passed.verify(trusted).map(drop),
        Kind::LogoutRequest | Kind::LogoutResponse => passed.verify_logout(trusted).map(drop),
        Kind::AuthnRequest => unreachable!("{NEVER}"),
    }
}

impl<'a> Valid<'a> {
    fn new(idp: &'a Idp, kind: Kind, signs: Signs, bait: &'a Bait) -> Self {
        let mut valid = Self { idp, kind, says: Says::default(), signs, message: String::new(), bait };
        valid.message = valid.signed_by(idp);
        valid
    }

    /// The message as another IdP signs it.
    fn signed_by(&self, idp: &Idp) -> String {
        match self.kind {
            Kind::Response => self.says.signed(idp, self.signs),
            _ => idp.sign(&self.bare(), self.id()),
        }
    }

    /// The whole message without a signature.
    fn bare(&self) -> String {
        bare(&self.says, self.kind)
    }

    /// The identifier of the whole message.
    fn id(&self) -> &'static str {
        if self.kind == Kind::Assertion { "_a1" } else { "_r1" }
    }

    fn element(&self) -> &'static str {
        match self.kind {
            Kind::Response => "samlp:Response",
            Kind::Assertion => "saml:Assertion",
            Kind::LogoutRequest => "samlp:LogoutRequest",
            Kind::LogoutResponse => "samlp:LogoutResponse",
            Kind::AuthnRequest => unreachable!("{NEVER}"),
        }
    }

    /// How it begins.
    fn root(&self) -> String {
        format!("<{} ", self.element())
    }

    /// How it ends.
    fn end(&self) -> String {
        format!("</{}>", self.element())
    }

    /// A tag in it before which something can be put.
    fn place(&self) -> &'static str {
        match self.kind {
            Kind::Response | Kind::LogoutResponse => "<samlp:Status>",
            Kind::Assertion => "<saml:Subject>",
            Kind::LogoutRequest => "<saml:NameID ",
            Kind::AuthnRequest => unreachable!("{NEVER}"),
        }
    }

    /// A tag in it behind which something can be put.
    fn within(&self) -> &'static str {
        match self.kind {
            Kind::Response | Kind::Assertion => "<saml:Subject>",
            Kind::LogoutRequest => "<samlp:SessionIndex>",
            Kind::LogoutResponse => "<samlp:Status>",
            Kind::AuthnRequest => unreachable!("{NEVER}"),
        }
    }

    fn swap(&self, from: &str, to: &str) -> String {
        assert!(self.message.contains(from), "{from} is there to be changed");
        self.message.replacen(from, to, 1)
    }

    fn mutants(&self) -> Mutants {
        let all = [self.wrapped(), self.markup(), self.heavy(), self.signatures(), self.said()].concat();
        for (name, mutant) in &all {
            assert_ne!(mutant, &self.message, "{name} changes something");
        }
        all
    }
}

/// Every kind of message, by every algorithm.
fn every(bait: &Bait) -> Vec<Valid<'_>> {
    let mut all = Vec::new();
    for idp in [&*RSA, &*P256] {
        for signs in [Signs::Assertion, Signs::Response, Signs::Both] {
            all.push(Valid::new(idp, Kind::Response, signs, bait));
        }
    }
    for idp in [&*P384, &P384_256, &P256_512, &RSA_384, &RSA_512] {
        all.push(Valid::new(idp, Kind::Response, Signs::Both, bait));
    }
    for kind in [Kind::Assertion, Kind::LogoutRequest, Kind::LogoutResponse] {
        all.push(Valid::new(if kind == Kind::Assertion { &P384 } else { &RSA }, kind, Signs::Both, bait));
    }
    all
}

#[test]
fn s50_s51_s64_s65_every_mutant_is_refused_and_every_twin_accepted() {
    let bait = Bait::laid();
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    for valid in every(&bait) {
        let trusted = valid.idp.trusted();
        let what = format!("{:?} over {:?} by {}", valid.kind, valid.signs, valid.idp.method);
        taken(&valid.message, valid.kind, &trusted).unwrap_or_else(|why| panic!("the unmutated twin, {what}: {why}"));
        // The means of mutation by themselves change nothing.
        let twin = valid.idp.resign(&valid.bare(), valid.id(), |info| info);
        taken(&twin, valid.kind, &trusted).unwrap_or_else(|why| panic!("the resigned twin, {what}: {why}"));
        // What a message brings along of keys is of no matter; under an outer signature it would be another message.
        if valid.message.matches("<ds:KeyInfo>").count() == 1 {
            let own = part(&valid.message, "<ds:KeyInfo>", "</ds:KeyInfo>");
            let foreign = own.replace(&STANDARD.encode(&valid.idp.certificate), &STANDARD.encode(&OTHER.certificate));
            for key_info in ["", "<ds:KeyInfo><ds:KeyName>other</ds:KeyName></ds:KeyInfo>", &foreign] {
                let twin = valid.message.replacen(own, key_info, 1);
                taken(&twin, valid.kind, &trusted).unwrap_or_else(|why| panic!("{key_info:.60}, {what}: {why}"));
            }
        }
        for (name, mutant) in valid.mutants() {
            let looked_at = read(mutant.as_bytes(), valid.kind).map(drop);
            let refused = match taken(&mutant, valid.kind, &trusted) {
                Err(refused) => refused,
                Ok(()) => panic!("{name}, {what}, was accepted"),
            };
            let expected = expected::refusals(&name);
            assert!(expected.contains(&refused.refusal), "{name}, {what}: {refused}, not {expected:?}");
            // No key is known to the first look: what it refuses was refused before any cryptography (S64, S65).
            let by_key = refused.refusal == Refusal::Signature;
            assert!(looked_at.is_err() || by_key, "{name}, {what}, reached the verifier: {refused}");
            *refusals.entry(format!("{:?}", refused.refusal)).or_default() += 1;
        }
    }
    println!("refused {}: {refusals:?}", refusals.values().sum::<usize>());
    bait.left_alone();
}

/// Nanoseconds that this thread has been on a processor.
fn on_cpu() -> u64 {
    // The kernel brings the sum up to date when it chooses who runs next.
    std::thread::yield_now();
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux with scheduler statistics");
    stat.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn s64_no_refusal_costs_more_than_20_milliseconds_of_a_processor() {
    /// Twenty milliseconds; an unoptimized build gets ten times as much.
    const MOST: u64 = if cfg!(debug_assertions) { 200_000_000 } else { 20_000_000 };
    let bait = Bait::laid();
    let mut slowest = (0, String::new());
    for valid in every(&bait).into_iter().step_by(4) {
        let trusted = valid.idp.trusted();
        for (name, mutant) in valid.mutants() {
            // A mean of several, which a scheduler's tick does not decide; and the best of several means.
            let mean = || {
                let begun = on_cpu();
                for _ in 0..4 {
                    taken(&mutant, valid.kind, &trusted).unwrap_err();
                }
                (on_cpu() - begun) / 4
            };
            let mut best = mean();
            for _ in 0..8 {
                if best > MOST / 2 {
                    best = best.min(mean());
                }
            }
            if best > slowest.0 {
                slowest = (best, format!("{name}, {:?}", valid.kind));
            }
        }
    }
    println!("the slowest refusal takes {} microseconds: {}", slowest.0 / 1000, slowest.1);
    assert!(slowest.0 > 0 && slowest.0 < MOST, "{slowest:?}");
}

#[test]
fn s64_bytes_that_are_no_utf8_are_refused_in_words() {
    let message = Says::default().signed(&RSA, Signs::Both);
    let utf16: Vec<u8> = message.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [utf16.as_slice(), b"\xff\xfe", b"", &[0xc0, 0xaf]] {
        assert_eq!(read(bytes, Kind::Response).unwrap_err().refusal, Refusal::NotXml);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever is cut out of a message, doubled, or put elsewhere: it is refused, or it says what it said before.
    #[test]
    fn s50_no_edit_of_a_message_changes_what_it_says(
        (from, length, to) in (0usize..6000, 0usize..400, 0usize..6000),
        byte in any::<u8>(), how in 0u8..4, both in any::<bool>(),
    ) {
        let signs = if both { Signs::Both } else { Signs::Assertion };
        let valid = Says::default().signed(&P256, signs);
        let original = crate::saml_verify::verify(&valid, &P256.trusted()).unwrap();
        let mut bytes = valid.into_bytes();
        let (from, to) = (from % bytes.len(), to % bytes.len());
        let end = (from + length).min(bytes.len());
        let piece = bytes[from..end].to_vec();
        match how {
            0 => bytes[from] = byte,
            1 => drop(bytes.splice(from..end, [])),
            2 => drop(bytes.splice(to..to, piece)),
            _ => drop(bytes.splice(from..end, bytes[to..(to + length).min(bytes.len())].to_vec())),
        }
        if let Ok(verified) = read(&bytes, Kind::Response).and_then(|m| m.verify(&P256.trusted())) {
            prop_assert_eq!(verified.assertion, original.assertion);
        }
    }
}
