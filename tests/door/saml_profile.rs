//! The rules of the Web SSO profile and of RFC 7522, each broken once by an IdP that signs well; bindings, metadata,
//! and messages of ours.
use crate::{
    saml_messages::{
        ACS, ASSERTION, AUDIENCE, NOW, OTHER, P256, P256_512, P384, P384_256, PROTOCOL, RSA, RSA_384, RSA_512, Says,
        Signs,
    },
    saml_verify::verify,
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis::{
    clock::Timestamp,
    saml::{
        IdentityProvider, Kind, Logout, NameId, Refusal, ServiceProvider, TrustedKeys, binding,
        binding::Queried,
        metadata::Binding,
        read,
        request::{SignOn, new_id},
        sign::SigningKey,
        sp::{Accepted, Asked, Broken, Expected, Rule, explain, judge},
    },
};

fn judged(says: &Says, signs: Signs, asked: Asked<'_>) -> Result<Accepted, Broken> {
    let verified = verify(&says.signed(&RSA, signs), &RSA.trusted()).unwrap();
    let (audiences, recipients) = ([AUDIENCE.to_owned()], [ACS.to_owned()]);
    let expected = Expected {
        now: NOW,
        issuer: "https://idp.example",
        audiences: &audiences,
        recipients: &recipients,
        asked,
        longest: 3600,
    };
    let broken: Vec<Rule> = explain(&verified, expected).iter().filter(|f| !f.holds).map(|f| f.rule).collect();
    let outcome = judge(&verified, expected);
    assert_eq!(outcome.as_ref().err().map(|b| b.rule), broken.first().copied(), "explain tells what judge decides");
    outcome
}

#[test]
fn s40_s52_s53_s54_every_rule_of_the_profile_refuses_by_its_name() {
    let good = Says::default();
    let asked = Asked::For("_q1");
    for signs in [Signs::Assertion, Signs::Response, Signs::Both] {
        let accepted = judged(&good, signs, asked).unwrap();
        assert_eq!(accepted.name_id.value, "alice@corp.example");
        assert_eq!(accepted.remember, NOW.plus(330));
        assert_eq!(accepted.session_ends, Some(NOW.plus(3600)));
        assert_eq!(accepted.session_index.as_deref(), Some("_s1"));
    }
    type Change = fn(&mut Says);
    let broken: [(Rule, Change); 22] = [
        (Rule::ResponseIssuer, |s| s.issuer = "https://other.example".to_owned()),
        (Rule::Status, |s| s.status = "urn:oasis:names:tc:SAML:2.0:status:Responder".to_owned()),
        (Rule::Destination, |s| s.destination = None),
        (Rule::Destination, |s| s.destination = Some("https://sp.example/saml/acs/".to_owned())),
        (Rule::ResponseTo, |s| s.in_response_to = Some("_q2".to_owned())),
        (Rule::ResponseTo, |s| s.in_response_to = None),
        (Rule::Bearer, |s| s.method = "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key".to_owned()),
        (Rule::Recipient, |s| s.recipient = Some("https://sp.example/".to_owned())),
        (Rule::Recipient, |s| s.recipient = None),
        (Rule::NoNotBefore, |s| s.confirmation_not_before = Some(NOW)),
        (Rule::Confirmed, |s| s.confirmation_not_on_or_after = Some(NOW.plus(-30))),
        (Rule::Confirmed, |s| s.confirmation_not_on_or_after = None),
        (Rule::Longest, |s| {
            s.confirmation_not_on_or_after = Some(NOW.plus(3631));
            s.not_on_or_after = None;
        }),
        (Rule::NotBefore, |s| s.not_before = Some(NOW.plus(31))),
        (Rule::NotOnOrAfter, |s| s.not_on_or_after = Some(NOW.plus(-30))),
        (Rule::Audience, |s| s.audiences = vec![]),
        (Rule::Audience, |s| s.audiences = vec![AUDIENCE.to_owned(), "https://other.example".to_owned()]),
        (Rule::Audience, |s| s.audiences = vec!["https://sp.example/".to_owned()]),
        (Rule::UnknownCondition, |s| {
            s.more_conditions = "<x:Delegated xmlns:x=\"urn:x\"></x:Delegated>".to_owned();
        }),
        (Rule::UnknownCondition, |s| s.more_conditions = "<saml:Condition></saml:Condition>".to_owned()),
        (Rule::Session, |s| s.session_not_on_or_after = Some(NOW)),
        (Rule::ResponseTo, |s| s.in_response_to = Some("_Q1".to_owned())),
    ];
    for (rule, change) in broken {
        let mut says = good.clone();
        change(&mut says);
        let refused = judged(&says, Signs::Both, asked).unwrap_err();
        assert_eq!(refused.rule, rule, "{refused}");
        // The same rule or, where the envelope is unsigned and so unread, its twin inside of the assertion.
        if !matches!(rule, Rule::Status | Rule::Destination) {
            assert!(judged(&says, Signs::Assertion, asked).is_err(), "{rule:?} without a signed Response");
        }
    }
    for (allowed, change) in [
        ("10 seconds ahead", (|s| s.not_before = Some(NOW.plus(10))) as Change),
        ("29 seconds late", |s| s.not_on_or_after = Some(NOW.plus(-29))),
        ("used once anyway", |s| s.more_conditions = "<saml:OneTimeUse></saml:OneTimeUse>".to_owned()),
    ] {
        let mut says = good.clone();
        change(&mut says);
        assert!(judged(&says, Signs::Both, asked).is_ok(), "{allowed}");
    }
}

#[test]
fn s54_unasked_only_where_it_is_allowed_and_never_with_somebody_else_s_answer() {
    let mut says = Says::default();
    assert_eq!(judged(&says, Signs::Assertion, Asked::Unasked).unwrap_err().rule, Rule::InResponseTo);
    assert_eq!(judged(&says, Signs::Assertion, Asked::Never).unwrap_err().rule, Rule::InResponseTo);
    says.in_response_to = None;
    assert!(judged(&says, Signs::Both, Asked::Unasked).is_ok());
    assert!(judged(&says, Signs::Assertion, Asked::Never).is_err());
    assert!(judged(&says, Signs::Both, Asked::For("_q1")).is_err());
    // RFC 7522 §3: the conditions may carry the end.
    says.confirmation_not_on_or_after = None;
    assert!(judged(&says, Signs::Assertion, Asked::Token).is_ok());
    says.not_on_or_after = None;
    assert_eq!(judged(&says, Signs::Assertion, Asked::Token).unwrap_err().rule, Rule::Confirmed);
}

fn sp() -> ServiceProvider {
    ServiceProvider {
        entity: AUDIENCE.to_owned(),
        acs: ACS.to_owned(),
        logout: "https://sp.example/saml/logout".to_owned(),
        key: SigningKey::from_pkcs8(&P256.pkcs8).unwrap(),
        certificate: P256.certificate.clone(),
    }
}

fn query(address: &str) -> &str {
    address.split_once('?').unwrap().1
}

#[test]
fn logout_by_query_is_verified_over_the_raw_octets_and_by_form_over_the_signature_in_it() {
    let (sp, trusted) = (sp(), P256.trusted());
    let name = NameId { value: "alice & <co>".to_owned(), ..NameId::default() };
    let id = new_id();
    let text = sp.logout_request(&id, "https://idp.example/slo", &name, Some("_s1"), NOW);
    let address = binding::to_query("https://idp.example/slo?x=1", "SAMLRequest", &text, Some("a b&c"), &sp.key);
    assert!(address.starts_with("https://idp.example/slo?x=1&SAMLRequest="));
    let kinds = [Kind::LogoutRequest, Kind::LogoutResponse];
    let logout = |query: &str| {
        let queried = Queried::read(query, "SAMLRequest")?;
        let passed = queried.inspect(&kinds)?;
        Ok::<_, portcullis::saml::Refused>((queried.verify(&passed, &trusted)?, queried.relay_state.clone()))
    };
    let (read_back, state) = logout(query(&address)).unwrap();
    assert_eq!(state.as_deref(), Some("a b&c"));
    let Logout::Request(request) = read_back else { panic!("a request") };
    assert_eq!((request.name_id, request.sessions, request.id), (name.clone(), vec!["_s1".to_owned()], id.clone()));
    // Any other octets were not signed, even where they mean the same.
    let q = query(&address);
    let signature = q.split("&Signature=").nth(1).unwrap();
    for (changed, why) in [
        (q.replace("RelayState=a%20b", "RelayState=a+b"), Refusal::Signature),
        (q.replace("RelayState=a%20b%26c&", ""), Refusal::Signature),
        (q.replace("&RelayState=", "&RelayState=x&RelayState="), Refusal::Encoding),
        (q.replace("SAMLRequest=", "SAMLRequest=x&SAMLRequest="), Refusal::Encoding),
        (q.split("&SigAlg").next().unwrap().to_owned(), Refusal::Unsigned),
        (q.split("&Signature").next().unwrap().to_owned(), Refusal::Encoding),
        (q.replace("ecdsa-sha256", "rsa-sha1"), Refusal::Algorithm),
        (q.replace("ecdsa-sha256", "rsa-sha256"), Refusal::Signature),
        (q.replace(signature, "AAAA"), Refusal::Signature),
        (q.replace("SAMLRequest=", "SAMLResponse="), Refusal::Encoding),
        (format!("{q}&SAMLEncoding=gzip"), Refusal::Encoding),
    ] {
        assert_eq!(logout(&changed).map(|_| ()).map_err(|r| r.refusal), Err(why), "{changed}");
    }
    let queried = Queried::read(q, "SAMLRequest").unwrap();
    let passed = queried.inspect(&kinds).unwrap();
    assert_eq!(queried.verify(&passed, &RSA.trusted()).unwrap_err().refusal, Refusal::Signature);
    assert_eq!(
        queried.verify(&passed, &portcullis::saml::TrustedKeys::none()).unwrap_err().refusal,
        Refusal::NoTrustedKey
    );
    // By form.
    let signed = sp.signed(&text, &id);
    let field = binding::to_field(&signed);
    let bytes = binding::from_field(&field).unwrap();
    let read_back = read(&bytes, Kind::LogoutRequest).unwrap().verify_logout(&trusted).unwrap();
    assert!(matches!(read_back, Logout::Request(r) if r.name_id == name));
    assert!(read(text.as_bytes(), Kind::LogoutRequest).is_err(), "an unsigned one");
    let answer = sp.logout_response("_x", "https://idp.example/slo", &id, true, NOW);
    let answer = sp.signed(&answer, "_x");
    let read_back = read(answer.as_bytes(), Kind::LogoutResponse).unwrap().verify_logout(&trusted).unwrap();
    assert!(matches!(&read_back, Logout::Response(r) if r.in_response_to.as_deref() == Some(&*id)));
    assert_eq!(read_back.issuer(), AUDIENCE);
}

#[test]
fn a_query_is_verified_by_every_algorithm_that_a_message_may_be_signed_with() {
    let sp = sp();
    let text = sp.logout_response("_x", "https://idp.example/slo", "_q1", true, NOW);
    let query = |method: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        let whole = binding::to_query("x:", "SAMLResponse", &text, None, &sp.key);
        let octets = format!("{}&SigAlg={method}", query(&whole).split("&SigAlg").next().unwrap());
        let value: String =
            form_urlencoded::byte_serialize(STANDARD.encode(sign(octets.as_bytes())).as_bytes()).collect();
        format!("{octets}&Signature={value}")
    };
    let taken = |query: &str, keys: &TrustedKeys| {
        let queried = Queried::read(query, "SAMLResponse").unwrap();
        let passed = queried.inspect(&[Kind::LogoutResponse]).unwrap();
        queried.verify(&passed, keys).map(drop).map_err(|r| r.refusal)
    };
    let all = [&*RSA, &RSA_384, &RSA_512, &P256, &P384, &P384_256, &P256_512];
    for idp in all {
        let method: String = form_urlencoded::byte_serialize(idp.method.as_bytes()).collect();
        let good = query(&method, &|octets| idp.over(octets));
        assert_eq!(taken(&good, &idp.trusted()), Ok(()), "{}", idp.method);
        for other in all.into_iter().filter(|other| other.certificate != idp.certificate) {
            assert_eq!(taken(&good, &other.trusted()), Err(Refusal::Signature), "{} {}", idp.method, other.method);
        }
        let changed = query(&method, &|octets| idp.over(&octets[1..]));
        assert_eq!(taken(&changed, &idp.trusted()), Err(Refusal::Signature));
        for (bad, why) in [
            (query(&method, &|_| vec![0; 64]), Refusal::Signature),
            (query(&method, &|_| vec![0; 96]), Refusal::Signature),
            (query(&method, &|_| vec![0xff; 64]), Refusal::Signature),
            (query(&method, &|_| b"\x30\x06\x02\x01\x00\x02\x01\x00".to_vec()), Refusal::Signature),
            (good.replace("xmldsig-more", "xmldsig"), Refusal::Algorithm),
        ] {
            assert_eq!(taken(&bad, &idp.trusted()), Err(why), "{}", idp.method);
        }
    }
    // The two numbers of a curve's signature in ASN.1, as many a library writes them.
    let own = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &P384.pkcs8).unwrap();
    let method: String = form_urlencoded::byte_serialize(P384.method.as_bytes()).collect();
    let query = query(&method, &|octets| own.sign(&SystemRandom::new(), octets).unwrap().as_ref().to_vec());
    assert_eq!(taken(&query, &P384.trusted()), Ok(()));
}

#[test]
fn s64_a_query_that_unpacks_without_end_is_refused() {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 64 << 20]).unwrap();
    let packed = STANDARD.encode(encoder.finish().unwrap());
    let encoded = packed.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let refused = Queried::read(&format!("SAMLRequest={encoded}"), "SAMLRequest").unwrap_err();
    assert_eq!(refused.refusal, Refusal::TooLarge);
}

#[test]
fn requests_and_metadata_of_ours_say_what_an_idp_reads() {
    let sp = sp();
    let id = new_id();
    assert!(id.len() == 41 && id != new_id());
    let contexts = ["https://refeds.org/profile/mfa".to_owned()];
    let asked = SignOn { force: true, name_format: None, contexts: &contexts };
    let text = sp.sign_on(&id, "https://idp.example/sso", asked, NOW);
    let plain = sp.sign_on(&id, "https://idp.example/sso", SignOn::default(), NOW);
    assert!(!plain.contains("RequestedAuthnContext") && !plain.contains("ForceAuthn"), "{plain}");
    for part in [
        format!("ID=\"{id}\""),
        format!("AssertionConsumerServiceURL=\"{ACS}\""),
        "Destination=\"https://idp.example/sso\"".to_owned(),
        "ForceAuthn=\"true\"".to_owned(),
        format!(
            "</samlp:NameIDPolicy><samlp:RequestedAuthnContext Comparison=\"exact\"><saml:AuthnContextClassRef \
             xmlns:saml=\"{ASSERTION}\">{}</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>",
            contexts[0]
        ),
        format!("<saml:Issuer xmlns:saml=\"{ASSERTION}\">{AUDIENCE}</saml:Issuer>"),
        format!("xmlns:samlp=\"{PROTOCOL}\""),
    ] {
        assert!(text.contains(&part), "{part} in {text}");
    }
    let metadata = sp.metadata(true);
    assert!(metadata.contains("<ds:SignatureValue>") && metadata.contains("Location=\"https://sp.example/saml/acs\""));
    assert!(!sp.metadata(false).contains("SignatureValue"));
}

/// Metadata of an IdP, with these keys (`use`, certificate).
pub fn idp_metadata(keys: &[(Option<&str>, &[u8])], more: &str) -> String {
    let keys: String = keys
        .iter()
        .map(|(usage, der)| {
            let usage = usage.map(|u| format!(" use=\"{u}\"")).unwrap_or_default();
            let der = STANDARD.encode(der);
            format!(
                "<KeyDescriptor{usage}><ds:KeyInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:X509Data>\n  \
                <ds:X509Certificate>\n{der}\n</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>"
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?>\n<!-- from the IdP -->\n<EntityDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\" \
         entityID=\"https://idp.example\"{more}><IDPSSODescriptor protocolSupportEnumeration=\"{PROTOCOL}\">{keys}\
         <SingleLogoutService Binding=\"{}\" Location=\"https://idp.example/slo\"/>\
         <SingleSignOnService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:SOAP\" Location=\"https://idp.example/soap\"/>\
         <SingleSignOnService Binding=\"{}\" Location=\"https://idp.example/sso\"/></IDPSSODescriptor></EntityDescriptor>",
        Binding::Redirect.uri(),
        Binding::Post.uri()
    )
}

#[test]
fn s63_metadata_pins_keys_for_signing_and_without_any_is_refused() {
    let keys: [(Option<&str>, &[u8]); 3] =
        [(Some("signing"), &P256.certificate), (None, &RSA.certificate), (Some("encryption"), &OTHER.certificate)];
    let until = " validUntil=\"2026-05-28T20:27:00Z\"";
    let idp = IdentityProvider::read(&idp_metadata(&keys, until), None).unwrap();
    assert_eq!((idp.entity.as_str(), idp.keys.fingerprints().len()), ("https://idp.example", 2));
    assert!(idp.valid_at(Timestamp(1_779_999_999)) && !idp.valid_at(Timestamp(1_780_000_100)));
    assert!(idp.sign_on_by(Binding::Post).is_some() && idp.sign_on_by(Binding::Redirect).is_none());
    assert_eq!(idp.logout.len(), 1);
    for signer in [&*P256, &*RSA] {
        assert!(
            verify(&Says::default().signed(signer, Signs::Both), &idp.keys).is_ok(),
            "an EC key beside the RSA key"
        );
    }
    assert!(verify(&Says::default().signed(&OTHER, Signs::Both), &idp.keys).is_err(), "the key for encryption");
    let good = idp_metadata(&keys, "");
    let all = format!(
        "<EntitiesDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\">{}{}</EntitiesDescriptor>",
        good.split("-->").nth(1).unwrap(),
        good.split("-->").nth(1).unwrap().replace("https://idp.example\"", "https://two.example\"")
    );
    assert!(IdentityProvider::read(&all, None).unwrap_err().contains("2 entities"));
    assert_eq!(IdentityProvider::read(&all, Some("https://two.example")).unwrap().entity, "https://two.example");
    let ed = ed25519();
    for (text, why) in [
        (idp_metadata(&[(Some("encryption"), &RSA.certificate)], ""), "no certificate for signing"),
        (idp_metadata(&[(None, b"junk")], ""), "not an X.509 certificate"),
        (idp_metadata(&[(None, &ed)], ""), "neither RSA nor on P-256 or P-384"),
        (idp_metadata(&[(None, &STANDARD.decode(RSA_1024).unwrap())], ""), "2048 bits are needed"),
        (good.replace("https://idp.example/sso", "http://idp.example/sso"), "neither an https URL"),
        (good.replace(PROTOCOL, "urn:oasis:names:tc:SAML:1.1:protocol"), "no SAML 2.0 identity provider"),
        (good.replace("SingleSignOnService", "Other"), "no SingleSignOnService"),
        (format!("<!DOCTYPE x>{}", good.trim_start_matches("<?xml version=\"1.0\"?>")), "DOCTYPE"),
        (idp_metadata(&keys, " validUntil=\"tomorrow\""), "validUntil"),
        ("<html/>".to_owned(), "no EntityDescriptor"),
    ] {
        let told = IdentityProvider::read(&text, None).unwrap_err();
        assert!(told.contains(why), "{told}, not {why}");
    }
}

/// A certificate with an Ed25519 key, which XML Signature implementations do not share.
fn ed25519() -> Vec<u8> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    rcgen::CertificateParams::new(vec!["idp".to_owned()]).unwrap().self_signed(&pair).unwrap().der().to_vec()
}

/// A certificate with an RSA key of 1024 bits, whose private half nobody kept.
const RSA_1024: &str = "MIIB/DCCAWWgAwIBAgIUdWUT4ToIId21trdafPyIHK/LD2wwDQYJKoZIhvcNAQELBQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjEx\
    MjQyMzQ0NDdaGA8yMTI2MTAzMTIzNDQ0N1owDzENMAsGA1UEAwwEd2VhazCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEAtLzC\
    sKw35dhbl70c1ab+3RzQmUjMiYwdcAJ+31YJvIdYKOO3p5KGYKKX2J/yr5CkROzTVKLVgXyQ5rfhAjPKA7/Aq+Zl/DMwPyOmiXDU\
    AfsnyO3zlpvo/oNJpdbE26NPn55OTxsWXHlfvyGg3z6m95alNJgnyRfYekO75WstajcCAwEAAaNTMFEwHQYDVR0OBBYEFMTlPY5a\
    xWBGeukPj34W4n/oKI9FMB8GA1UdIwQYMBaAFMTlPY5axWBGeukPj34W4n/oKI9FMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcN\
    AQELBQADgYEArivfmXWf4XeQ0NJRgphVKg+SHAH7K3pEJEJt0PleD558cJ6ZAjbXCdK56pk2OuZRkLmxkA4n05pSs8BtQOpq6c4+\
    ATGBOGPcB/5n3zCSM1YRrtSBu7HTbdswvMiUzPmqf4aitoUFYlEevZlrf9ooJi2R6Qzpxy1QV0RkTyz1F5c=";
