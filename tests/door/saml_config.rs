//! `[saml]` and `[[saml_idp]]`: mistakes by file, line and key; metadata taken up while it runs.
use crate::{
    process::{Gate, text, until},
    saml_messages::{NOW, OTHER, P256, RSA, Says, Signs},
    saml_profile::idp_metadata,
    saml_verify::pem,
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

fn stage() -> (Gate, usize) {
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

#[test]
fn metadata_is_taken_up_while_the_gate_runs() {
    let (mut gate, _) = stage();
    gate.run();
    let audit = || fs::read_to_string(gate.path("audit.log")).unwrap_or_default();
    let keys = [(Some("signing"), RSA.certificate.as_slice()), (Some("signing"), &OTHER.certificate)];
    fs::write(gate.path("conf/corp.xml"), idp_metadata(&keys, "")).unwrap();
    assert!(until(|| audit().contains("saml_idp corp: keys")), "a second key, as in a rollover: {}", audit());
    fs::write(gate.path("conf/corp.xml"), idp_metadata(&[], "")).unwrap();
    assert!(until(|| audit().contains("names no certificate for signing")), "refused: {}", audit());
    assert!(gate.ready()["ready"] == true || !gate.ready().is_null(), "the old keys go on serving");
}

#[test]
fn explain_finds_in_the_configuration_what_its_arguments_leave_open() {
    let (mut gate, _) = stage();
    gate.run();
    let explain = |message: &str, more: &[&str]| {
        fs::write(gate.path("saved"), message).unwrap();
        let saved = gate.path("saved").display().to_string();
        let at = portcullis::saml::instant::text(NOW);
        let fixed = ["saml", "explain", &saved, "--in-response-to", "_q1", "--at", &at];
        let out = gate.command(&[&fixed, more].concat(), "");
        (out.status.success(), text(&out.stdout) + &text(&out.stderr))
    };
    let (acs, issuer) = (format!("{}/oauth2/saml/acs", gate.issuer()), gate.issuer());
    let here = Says {
        recipient: Some(acs.clone()),
        destination: Some(acs),
        audiences: vec![issuer.clone()],
        ..Says::default()
    };
    let message = here.signed(&RSA, Signs::Both);
    let (good, told) = explain(&message, &[]);
    assert!(good && told.contains("ok  metadata: corp, keys ") && !told.contains("NO "), "{told}");
    let (good, told) = explain(&message, &["--audience", "https://other.example"]);
    assert!(
        !good && told.contains(&format!("NO  every AudienceRestriction: [{issuer}]; we are https://other")),
        "{told}"
    );
    fs::write(gate.path("other.xml"), idp_metadata(&[(None, &OTHER.certificate)], "")).unwrap();
    let other = gate.path("other.xml").display().to_string();
    let (good, told) = explain(&message, &["--metadata", &other]);
    assert!(!good && told.contains("NO  signature: "), "{told}");
    // Without a request it is judged as the server would: this IdP may not begin by itself.
    let unasked = Says { in_response_to: None, ..here.clone() };
    fs::write(gate.path("saved"), unasked.signed(&RSA, Signs::Both)).unwrap();
    let (saved, at) = (gate.path("saved").display().to_string(), portcullis::saml::instant::text(NOW));
    let out = gate.command(&["saml", "explain", &saved, "--at", &at], "");
    assert!(!out.status.success() && text(&out.stdout).contains("NO  InResponseTo"), "{}", text(&out.stdout));
    assert!(text(&out.stdout).contains("ok  username: alice@corp.example"), "{}", text(&out.stdout));
    let stranger = Says { issuer: "https://nobody.example".to_owned(), ..here };
    let (good, told) = explain(&stranger.signed(&RSA, Signs::Both), &[]);
    assert!(!good && told.contains("NO  metadata: https://nobody.example is no IdP of ours"), "{told}");
}
