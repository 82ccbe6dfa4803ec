//! `[saml]` and `[[saml_idp]]`: mistakes by file, line and key; metadata taken up while it runs.
use crate::{
    process::{Gate, text, until},
    saml_messages::{Idp, OTHER, P256, RSA, Says, Signs, part},
    saml_profile::idp_metadata,
    saml_verify::pem,
};
use portcullis::{
    clock::{Clock, SystemClock},
    saml::binding,
};
use std::{fs, path::Path};

const TABLES: &str = "\n[saml]\nkey_file = \"sp.key\"\ncertificate_file = \"sp.pem\"\n\n\
    [[saml_idp]]\nname = \"corp\"\nmetadata_file = \"corp.xml\"\ndomains = [\"corp.example\"]\nexisting_users = true\n";

/// A key and certificate of ours with this name, and an IdP's metadata in `corp.xml`.
pub fn files(folder: &Path, own: &str) {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write(&format!("{own}.key"), &pem("PRIVATE KEY", &P256.pkcs8));
    write(&format!("{own}.pem"), &pem("CERTIFICATE", &P256.certificate));
    write("corp.xml", &idp_metadata(&[(None, &RSA.certificate)], ""));
}

/// The tables in the shipped configuration, and the line before them.
pub fn stage() -> (Gate, usize) {
    let gate = Gate::prepare();
    files(&gate.path("conf"), "sp");
    let main = fs::read_to_string(gate.config()).unwrap();
    fs::write(gate.config(), format!("{main}{TABLES}")).unwrap();
    (gate, main.lines().count() + 1)
}

#[test]
fn s63_mistakes_of_the_tables_are_told_with_file_line_and_key() {
    let (gate, before) = stage();
    let told = |gate: &Gate| text(&gate.command(&["check"], "").stderr);
    assert!(!told(&gate).contains("saml") && !told(&gate).contains("sp.key"), "{}", told(&gate));
    gate.edit("conf/portcullis.toml", "[\"corp.example\"]", "[\"Corp.example\"]");
    gate.edit("conf/portcullis.toml", "\"sp.pem\"\n", "\"other.pem\"\nassertion_app = \"portal\"\n");
    fs::write(gate.path("conf/other.pem"), pem("CERTIFICATE", &RSA.certificate)).unwrap();
    let twin = "[[saml_idp]]\nname = \"corp\"\nmetadata_file = \"corp.xml\"\n";
    let keyless = "[[saml_idp]]\nname = \"keyless\"\nmetadata_file = \"keyless.xml\"\n";
    let absent = "[[saml_idp]]\nname = \"absent\"\nmetadata_file = \"absent.xml\"\nspeling = 1\n";
    let main = fs::read_to_string(gate.config()).unwrap();
    fs::write(gate.config(), format!("{main}{twin}{keyless}")).unwrap();
    fs::write(gate.path("conf/keyless.xml"), idp_metadata(&[(Some("encryption"), &OTHER.certificate)], "")).unwrap();
    let all = told(&gate);
    for (line, mistake) in [
        (before + 2, "key_file: is not the key of other.pem"),
        (before + 9, "domains: lower-case domain names"),
        (before + 12, "name: one of its own"),
        (before + 12, "name: speaks for nobody"),
        (before + 13, "metadata_file: https://idp.example stands in another table too"),
        (before + 16, "metadata_file: keyless.xml: names no certificate for signing"),
    ] {
        assert!(all.contains(&format!("portcullis.toml:{line}: {mistake}")), "{line} {mistake} in {all}");
    }
    let contexts = "high_assurance_contexts = [\"https://refeds.org/profile/mfa\", \"mfa\"]\n";
    fs::write(gate.config(), format!("{main}{contexts}")).unwrap();
    assert!(told(&gate).contains("high_assurance_contexts: URIs"), "{}", told(&gate));
    fs::write(gate.config(), format!("{main}{absent}")).unwrap();
    assert!(told(&gate).contains("speling: unknown field"), "{}", told(&gate));
}

#[test]
fn settings_without_effect_and_metadata_that_ends_are_warned_of() {
    let (mut gate, _) = stage();
    gate.run();
    let told = || text(&gate.command(&["check"], "").stderr);
    assert!(!told().contains("saml_idp"), "{}", told());
    gate.edit("conf/portcullis.toml", "existing_users = true\n", "existing_users = true\ngroups = \"groups\"\n");
    assert!(told().contains("warning: saml_idp corp: groups does nothing without create_users"), "{}", told());
    let past = idp_metadata(&[(None, &RSA.certificate)], " validUntil=\"2020-01-01T00:00:00Z\"");
    fs::write(gate.path("conf/corp.xml"), past).unwrap();
    let warning = "warning: saml_idp corp: its metadata is valid until 2020-01-01T00:00:00Z";
    assert!(told().contains(warning), "{}", told());
}

/// What the IdP says of alice to this gate, now, for its endpoint `at`.
fn says(gate: &Gate, at: &str) -> Says {
    let says = Says::for_token("https://idp.example", "alice", &gate.issuer(), SystemClock.now());
    let to = Some(format!("{}{at}", gate.issuer()));
    Says { recipient: to.clone(), destination: to, ..says }
}

const ACS: &str = "/oauth2/saml/acs";
const TOKEN: &str = "/oauth2/token";

/// Posts a Response where a browser does: whether it was taken.
fn acs(gate: &Gate, message: &str) -> bool {
    let field = binding::to_field(message);
    let url = format!("{}{ACS}", gate.issuer());
    let answer = gate.agent().post(url).send_form([("SAMLResponse", field.as_str())]).unwrap();
    let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
    assert_eq!(answer.status().as_u16(), if to.is_some() { 303 } else { 400 });
    to.is_some_and(|to| to.contains("/oauth2/saml/finish?t="))
}

/// Posts a Response for a token.
fn token(gate: &Gate, message: &str) -> u16 {
    let field = binding::to_field(message);
    let kind = ("assertion_type", "urn:oasis:names:tc:SAML:2.0:profiles:SSO:browser");
    let fields = [("grant_type", "assertion"), kind, ("assertion", field.as_str())];
    gate.agent().post(format!("{}{TOKEN}", gate.issuer())).send_form(fields).unwrap().status().as_u16()
}

/// An IdP that may begin, and whose Responses an app exchanges.
fn trusting() -> Gate {
    let (mut gate, _) = stage();
    gate.edit(
        "conf/portcullis.toml",
        "existing_users = true\n",
        "existing_users = true\nidp_initiated = true\ngrants = true\n",
    );
    gate.edit("conf/portcullis.toml", "\"sp.pem\"\n", "\"sp.pem\"\nassertion_app = \"portal\"\n");
    gate.edit(
        "conf/apps/portal.toml",
        "grants = [\"authorization_code\"]",
        "grants = [\"authorization_code\", \"assertion\"]",
    );
    gate.edit("conf/apps/portal.toml", "approval = \"self\"", "approval = { admin = [\"sales\"] }");
    gate.run();
    // Each listener begins by itself.
    assert!(until(|| std::net::TcpStream::connect(("127.0.0.1", gate.https)).is_ok()));
    gate
}

#[test]
fn s63_metadata_is_taken_up_while_the_gate_runs() {
    let gate = trusting();
    let audit = || fs::read_to_string(gate.path("audit.log")).unwrap_or_default();
    let taken = |idp: &Idp| acs(&gate, &says(&gate, ACS).signed(idp, Signs::Both));
    assert!(taken(&RSA) && !taken(&OTHER));
    let keys = [(Some("signing"), RSA.certificate.as_slice()), (Some("signing"), &OTHER.certificate)];
    fs::write(gate.path("conf/corp.xml"), idp_metadata(&keys, "")).unwrap();
    assert!(until(|| audit().contains("saml_idp corp: keys")), "a second key, as in a rollover: {}", audit());
    assert!(until(|| taken(&OTHER)) && taken(&RSA), "both sign during a rollover");
    fs::write(gate.path("conf/corp.xml"), idp_metadata(&keys[1..], "")).unwrap();
    assert!(until(|| !taken(&RSA)) && taken(&OTHER), "the old key is gone");
    fs::write(gate.path("conf/corp.xml"), idp_metadata(&[], "")).unwrap();
    assert!(until(|| audit().contains("names no certificate for signing")), "refused: {}", audit());
    assert!(taken(&OTHER) && !taken(&RSA), "what was in force stays so");
}

#[test]
fn s50_s64_what_is_refused_at_either_door_is_told_to_the_audit_stream_with_the_values_compared() {
    let gate = trusting();
    let audit = || fs::read_to_string(gate.path("audit.log")).unwrap_or_default();
    assert!(acs(&gate, &says(&gate, ACS).signed(&RSA, Signs::Assertion)));
    let good = says(&gate, TOKEN).signed(&RSA, Signs::Assertion);
    assert_eq!(token(&gate, &good), 200, "{}", audit());
    assert_eq!(token(&gate, &good), 400, "once");
    // What an ordinary sign-on brought is for the other door.
    let (ordinary, exchanged) = (says(&gate, ACS), says(&gate, TOKEN));
    assert!(!acs(&gate, &exchanged.signed(&RSA, Signs::Assertion)));
    assert_eq!(token(&gate, &ordinary.signed(&RSA, Signs::Assertion)), 400);
    let (here, there) = (format!("{}{ACS}", gate.issuer()), format!("{}{TOKEN}", gate.issuer()));
    assert!(until(|| audit().contains(&format!("Recipient: {there}; expected {here}"))), "{}", audit());
    assert!(until(|| audit().contains(&format!("Recipient: {here}; expected {there}"))), "{}", audit());
    for (why, change) in [
        ("a comment", (|m| m.replacen(">alice<", ">alice<!-- --><", 1)) as fn(&str) -> String),
        ("a DOCTYPE", |m| format!("<!DOCTYPE r>{m}")),
        ("the signature does not verify with a trusted key", |m| m.replacen(">alice<", ">admin<", 1)),
        ("not signed", |m| m.replacen(part(m, "<ds:Signature ", "</ds:Signature>"), "", 1)),
    ] {
        let told = audit().matches(why).count();
        assert!(!acs(&gate, &change(&ordinary.signed(&RSA, Signs::Assertion))), "{why}");
        assert_eq!(token(&gate, &change(&exchanged.signed(&RSA, Signs::Assertion))), 400, "{why}");
        assert!(until(|| audit().matches(why).count() == told + 2), "{why} in {}", audit());
    }
}

#[test]
fn people_of_an_idp_that_is_removed_end_at_the_gate_with_the_reload_though_another_one_brings_people() {
    let gate = trusting();
    assert_eq!(
        fs::read_to_string(gate.path("stderr")).unwrap().contains("verified by the Rust verifier alone"),
        !cfg!(feature = "xmlsec"),
        "a build with one verifier says so at its start"
    );
    let more = "create_users = true\ngroups = \"groups\"\npermissions = { sales = [\"sales\"] }\n";
    gate.edit("conf/portcullis.toml", "idp_initiated = true\n", &format!("idp_initiated = true\n{more}"));
    let two = idp_metadata(&[(None, &OTHER.certificate)], "").replace("https://idp.example\"", "https://two.example\"");
    fs::write(gate.path("conf/two.xml"), two).unwrap();
    let table = "\n[[saml_idp]]\nname = \"two\"\nmetadata_file = \"two.xml\"\ncreate_users = true\n";
    fs::write(gate.config(), fs::read_to_string(gate.config()).unwrap() + table).unwrap();
    let audit = || fs::read_to_string(gate.path("audit.log")).unwrap_or_default();
    assert!(until(|| audit().contains("saml_idp two")), "{}", audit());
    let dora = |at: &str| Says { name_id: "dora".to_owned(), ..says(&gate, at) };
    let post = |message: &str| {
        let field = binding::to_field(message);
        let answer =
            gate.agent().post(format!("{}{ACS}", gate.issuer())).send_form([("SAMLResponse", &*field)]).unwrap();
        let to = answer.headers()["location"].to_str().unwrap().to_owned();
        gate.agent().get(format!("{}{to}", gate.issuer())).call().unwrap()
    };
    let end = post(&dora(ACS).signed(&RSA, Signs::Both));
    assert_eq!(end.headers()["location"], "/oauth2/account");
    let exchanged = |message: &str| {
        let field = binding::to_field(message);
        let kind = ("assertion_type", "urn:oasis:names:tc:SAML:2.0:profiles:SSO:browser");
        let fields = [("grant_type", "assertion"), kind, ("assertion", &*field), ("scope", "orders:read")];
        let mut answer = gate.agent().post(format!("{}{TOKEN}", gate.issuer())).send_form(fields).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let body: serde_json::Value = serde_json::from_str(&text).unwrap();
        body["access_token"].as_str().unwrap_or_else(|| panic!("{body}: {}", audit())).to_owned()
    };
    let (hers, alices) =
        (exchanged(&dora(TOKEN).signed(&RSA, Signs::Both)), exchanged(&says(&gate, TOKEN).signed(&RSA, Signs::Both)));
    assert_eq!((gate.call(&hers), gate.call(&alices)), (200, 200));
    let all = fs::read_to_string(gate.config()).unwrap();
    let (head, tail) = all.split_once("[[saml_idp]]\nname = \"corp\"").unwrap();
    let (_, two) = tail.split_once("[[saml_idp]]").unwrap();
    fs::write(gate.config(), format!("{head}[[saml_idp]]{two}")).unwrap();
    assert!(until(|| gate.call(&hers) == 401), "{}", audit());
    assert_eq!(gate.call(&alices), 200, "a user of users.toml stands on that file");
}
