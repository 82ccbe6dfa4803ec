//! The PrefixList of exclusive canonicalization (Exclusive XML Canonicalization §3): both verifiers count in the
//! namespaces it names, and nobody rebinds them afterwards.
use crate::{
    saml_messages::{Idp, P384, RSA, Says, Signs, part},
    saml_verify::verify,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis::saml::Refusal;

const XS: &str = " xmlns:xs=\"http://www.w3.org/2001/XMLSchema\"";
const EMPTY: &str = "Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:";

/// A Response that declares `xs`, around an assertion that is signed with `list` in its transform.
fn message(idp: &Idp, list: &str, declared: bool) -> String {
    let says = Says::default();
    let bare = says.assertion();
    // As both verifiers are to see it: with the declaration that the Response makes.
    let seen = bare.replacen("\" ID=", &format!("\"{} ID=", if declared { XS } else { "" }), 1);
    let (right, digest) = (idp.digest_of(&bare), idp.digest_of(&seen));
    let sealed = idp.resign(&bare, &says.assertion_id, |info| {
        let (head, tail) = info.rsplit_once(EMPTY).unwrap();
        let begun = EMPTY.trim_end_matches("</ds:");
        format!("{head}{begun}{list}</ds:{tail}").replace(&right, &digest)
    });
    says.response(&sealed).replacen(" Destination=", &format!("{XS} Destination="), 1)
}

fn list(prefixes: &str) -> String {
    format!(
        "<ec:InclusiveNamespaces xmlns:ec=\"http://www.w3.org/2001/10/xml-exc-c14n#\" \
         PrefixList=\"{prefixes}\"></ec:InclusiveNamespaces>"
    )
}

#[test]
fn s50_s65_a_prefix_list_is_counted_in_by_both_verifiers_and_binds_what_it_names() {
    for idp in [&*RSA, &*P384] {
        let keys = idp.trusted();
        for (prefixes, declared) in [("xs", true), ("xs ds", true), ("", false), ("xsi", false)] {
            let twin = message(idp, &list(prefixes), declared);
            verify(&twin, &keys).unwrap_or_else(|why| panic!("{prefixes:?}: {why}"));
        }
        let good = message(idp, &list("xs"), true);
        let many = (0..17).map(|i| format!("p{i} ")).collect::<String>();
        for (name, mutant, why) in [
            ("rebound", good.replacen("2001/XMLSchema\"", "2001/Other\"", 1), Refusal::Signature),
            ("undeclared", good.replacen(XS, "", 1), Refusal::Signature),
            (
                "rebound nearer",
                good.replacen("<saml:Assertion ", "<saml:Assertion xmlns:xs=\"urn:x\" ", 1),
                Refusal::Signature,
            ),
            ("list gone", good.replacen(&list("xs"), "", 1), Refusal::Signature),
            ("another list", good.replacen("PrefixList=\"xs\"", "PrefixList=\"xsi\"", 1), Refusal::Signature),
            ("name", good.replacen("alice@", "admin@", 1), Refusal::Signature),
            ("signed without it", message(idp, &list("xs"), false), Refusal::Signature),
            ("too many", message(idp, &list(&many), false), Refusal::Transform),
            ("no prefix", message(idp, &list("x:y"), false), Refusal::Transform),
            ("two lists", message(idp, &list("xs").repeat(2), true), Refusal::Transform),
            (
                "one more attribute",
                message(idp, &list("xs").replace(" PrefixList", " Other=\"\" PrefixList"), true),
                Refusal::SignatureShape,
            ),
            (
                "of another namespace",
                message(idp, &list("xs").replace("xml-exc-c14n#\" P", "xml-exc-c14n\" P"), true),
                Refusal::Transform,
            ),
        ] {
            assert_ne!(mutant, good, "{name}");
            assert_eq!(verify(&mutant, &keys).unwrap_err().refusal, why, "{name}");
        }
        let (plain, other) = (Says::default().signed(idp, Signs::Assertion), STANDARD.encode([1; 8]));
        let value = part(&plain, "<ds:DigestValue>", "</ds:DigestValue>");
        let short = plain.replace(value, &format!("<ds:DigestValue>{other}</ds:DigestValue>"));
        assert_eq!(verify(&short, &keys).unwrap_err().refusal, Refusal::SignatureShape);
    }
}
