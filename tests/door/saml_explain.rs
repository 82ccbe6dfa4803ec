//! `portcullis saml explain`: every kind of message, in every form in which it is saved.
use crate::{
    process::{Gate, text},
    saml_config::stage,
    saml_messages::{ACS, AUDIENCE, NOW, OTHER, P256, RSA, Says, Signs},
    saml_profile::idp_metadata,
    saml_verify::pem,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::saml::{NameId, ServiceProvider, binding, instant, request::SignOn, sign::SigningKey};
use std::fs;

#[test]
fn explain_walks_a_saved_message_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("idp.xml", &idp_metadata(&[(None, &RSA.certificate)], ""));
    let message = Says::default().signed(&RSA, Signs::Assertion);
    let field = binding::to_field(&message);
    let form = format!("RelayState=x&SAMLResponse={}", field.replace('+', "%2B"));
    let explain = |more: &[&str]| {
        let mut command = std::process::Command::new(crate::process::PROGRAM);
        command.current_dir(dir.path()).args(["saml", "explain", "saved", "--metadata", "idp.xml"]);
        let out = command.args(["--recipient", ACS, "--in-response-to", "_q1"]).args(more).output().unwrap();
        (out.status.success(), String::from_utf8(out.stdout).unwrap())
    };
    let at = instant::text(NOW);
    for saved in [message.as_str(), &field, &form] {
        write("saved", saved);
        let (good, told) = explain(&["--audience", AUDIENCE, "--at", &at]);
        assert!(good && !told.contains("NO "), "{told}");
        assert!(told.contains("every AudienceRestriction: [https://sp.example]; we are https://sp.example"), "{told}");
    }
    let (good, told) = explain(&["--audience", "https://other.example", "--at", "2026-05-28T20:40:00Z"]);
    assert!(!good, "{told}");
    for line in [
        "ok  signature: over the Assertion",
        "NO  the confirmation's NotOnOrAfter: 2026-05-28T20:31:40Z; now 2026-05-28T20:40:00Z",
        "NO  every AudienceRestriction: [https://sp.example]; we are https://other.example",
    ] {
        assert!(told.contains(line), "{line} in {told}");
    }
    write("saved", &message.replace("alice", "admin"));
    let (good, told) = explain(&["--audience", AUDIENCE]);
    assert!(!good && told.contains("NO  signature: the signature does not verify with a trusted key"), "{told}");
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

/// A gate whose tables are good, and what `explain` says of a message with these arguments: whether all holds, and how.
fn explained(gate: &Gate, message: &str, more: &[&str]) -> (bool, String) {
    fs::write(gate.path("saved"), message).unwrap();
    let (saved, at) = (gate.path("saved").display().to_string(), instant::text(NOW));
    let at = if more.contains(&"--at") { &[][..] } else { &["--at", &at] };
    let out = gate.command(&[&["saml", "explain", &saved], at, more].concat(), "");
    (out.status.success(), text(&out.stdout) + &text(&out.stderr))
}

/// Somebody who speaks SAML: we, or the IdP.
fn party(entity: &str, pkcs8: &[u8], certificate: &[u8]) -> ServiceProvider {
    ServiceProvider {
        entity: entity.to_owned(),
        acs: format!("{entity}/oauth2/saml/acs"),
        logout: format!("{entity}/oauth2/saml/logout"),
        key: SigningKey::from_pkcs8(pkcs8).unwrap(),
        certificate: certificate.to_owned(),
    }
}

/// Every form in which a message that travels in a form is saved.
fn in_forms(field: &str, message: &str) -> Vec<String> {
    let base64 = binding::to_field(message);
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("RelayState", "x")
        .append_pair(field, &base64)
        .finish();
    let lines: Vec<&str> = base64.as_bytes().chunks(76).map(|l| std::str::from_utf8(l).unwrap()).collect();
    vec![message.to_owned(), lines.join("\r\n"), base64.replace('+', "%2B").replace('=', "%3D"), form, base64]
}

#[test]
fn explain_reads_requests_and_logout_messages_by_form_and_by_query() {
    let (mut gate, _) = stage();
    gate.run();
    let ours = party(&gate.issuer(), &P256.pkcs8, &P256.certificate);
    let idp = party("https://idp.example", &RSA.pkcs8, &RSA.certificate);
    let name = NameId { value: "alice".to_owned(), ..NameId::default() };
    let (sso, slo) = ("https://idp.example/sso", "https://idp.example/slo");
    let request = ours.sign_on("_q1", sso, SignOn::default(), NOW);
    let leaves = ours.logout_request("_l1", slo, &name, Some("_s1"), NOW);
    let asked = idp.logout_request("_l2", &ours.logout, &name, None, NOW);
    let answered = idp.logout_response("_l3", &ours.logout, "_l1", true, NOW);
    for (party, field, message, id, kind) in [
        (&ours, "SAMLRequest", &request, "_q1", "AuthnRequest _q1"),
        (&ours, "SAMLRequest", &leaves, "_l1", "LogoutRequest _l1"),
        (&idp, "SAMLRequest", &asked, "_l2", "LogoutRequest _l2"),
        (&idp, "SAMLResponse", &answered, "_l3", "LogoutResponse _l3"),
    ] {
        let address = binding::to_query("https://some.example/x?y=1", field, message, Some("a b"), &party.key);
        let query = address.split_once('?').unwrap().1.to_owned();
        let line = format!("GET /x?{query} HTTP/1.1");
        for saved in in_forms(field, &party.signed(message, id)).into_iter().chain([address, query.clone(), line]) {
            let (good, told) = explained(&gate, &saved, &[]);
            assert!(good && !told.contains("NO "), "{saved}: {told}");
            assert!(told.contains(&format!("ok  preflight: {kind} of {}", party.entity)), "{told}");
            assert!(told.contains("ok  signature: over the message, by "), "{told}");
        }
        // Without its query nothing shows who signed it, and a changed one shows that nobody did.
        let value = query.split("&RelayState").next().unwrap().split_once(&format!("{field}=")).unwrap().1;
        let (good, told) = explained(&gate, value, &[]);
        assert!(!good && told.contains("NO  signature: not signed: no Signature in the query"), "{told}");
        let (good, told) = explained(&gate, &query.replace("RelayState=a", "RelayState=b"), &[]);
        assert!(!good && told.contains("NO  signature: the signature does not verify with a trusted key"), "{told}");
        let (good, told) = explained(&gate, message, &[]);
        assert!(!good && told.contains("NO  preflight: not signed"), "{told}");
    }
    let late = ["--at", "2026-05-28T20:40:00Z"];
    let failed = idp.logout_response("_l3", &ours.logout, "_l1", false, NOW);
    let by = |party: &ServiceProvider, message: &str, id| party.signed(message, id);
    let stray = ours.sign_on("_q1", "https://idp.example/", SignOn::default(), NOW);
    for (saved, more, line) in [
        (by(&idp, &asked, "_l2"), &late[..], "NO  IssueInstant: 2026-05-28T20:26:40Z; now 2026-05-28T20:40:00Z"),
        (by(&idp, &asked, "_l2"), &["--recipient", "https://sp.example/"], "NO  Destination: "),
        (by(&idp, &answered, "_l3"), &["--in-response-to", "_l9"], "NO  InResponseTo: _l1; the request is _l9"),
        (by(&idp, &failed, "_l3"), &[], "NO  Status: urn:oasis:names:tc:SAML:2.0:status:Responder, urn:oasis"),
        (by(&ours, &stray, "_q1"), &[], "NO  Destination: https://idp.example/; expected https://idp.example/sso"),
        (
            by(&party("https://nobody.example", &OTHER.pkcs8, &OTHER.certificate), &asked, "_l2"),
            &[],
            "NO  signature: the signature does not verify with a trusted key",
        ),
    ] {
        let (good, told) = explained(&gate, &saved, more);
        assert!(!good && told.contains(line), "{line} in {told}");
    }
    for (saved, line) in [("%%%", "NO  encoding: "), ("eA==", "NO  encoding: "), ("PHg+", "NO  preflight: ")] {
        let (good, told) = explained(&gate, saved, &[]);
        assert!(!good && told.contains(line), "{line} in {told}");
    }
}

#[test]
fn explain_reads_what_apps_send_to_the_token_endpoint() {
    let (mut gate, _) = stage();
    fs::write(gate.path("conf/saml-app.pem"), pem("CERTIFICATE", &P256.certificate)).unwrap();
    gate.edit("conf/apps/orders-robot.toml", "keys = [", "keys = [{ pem_file = \"../saml-app.pem\" }, ");
    gate.run();
    let says = |issuer: &str| Says::for_token(issuer, "alice", &gate.issuer(), NOW);
    let own = says("orders-robot");
    let signed = P256.sign(&own.assertion(), &own.assertion_id);
    let packed = URL_SAFE_NO_PAD.encode(&signed);
    let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer&assertion={packed}");
    for saved in [&signed, &packed, &form] {
        let (good, told) = explained(&gate, saved, &[]);
        assert!(good && !told.contains("NO "), "{told}");
        assert!(
            told.contains("ok  sender: the app orders-robot, keys ") && told.contains("ok  username: alice"),
            "{told}"
        );
        assert!(
            told.contains(&format!("ok  Recipient: {0}/oauth2/token; expected {0}/oauth2/token", gate.issuer())),
            "{told}"
        );
    }
    let elsewhere = Says { recipient: Some("https://sp.example/".to_owned()), ..own.clone() };
    let (good, told) = explained(&gate, &P256.sign(&elsewhere.assertion(), &own.assertion_id), &[]);
    assert!(!good && told.contains("NO  Recipient: https://sp.example/; expected "), "{told}");
    let (good, told) = explained(&gate, &RSA.sign(&own.assertion(), &own.assertion_id), &[]);
    assert!(!good && told.contains("NO  signature: "), "{told}");
    let nobody = says("nobody");
    let (good, told) = explained(&gate, &P256.sign(&nobody.assertion(), &nobody.assertion_id), &[]);
    assert!(!good && told.contains("NO  metadata: nobody is no IdP of ours, nor an app with a certificate"), "{told}");
    // An IdP's, and a Response for the SAML assertion flow: where its table lets apps exchange them.
    let idp = says("https://idp.example");
    let assertion = RSA.sign(&idp.assertion(), &idp.assertion_id);
    let (token, response) = (format!("{}/oauth2/token", gate.issuer()), idp.signed(&RSA, Signs::Both));
    for grants in [false, true] {
        if grants {
            gate.edit("conf/portcullis.toml", "existing_users = true\n", "existing_users = true\ngrants = true\n");
        }
        for (saved, more) in
            [(&assertion, &[][..]), (&response, &["--recipient", &*token, "--audience", &gate.issuer()])]
        {
            let (good, told) = explained(&gate, saved, more);
            assert_eq!(good, grants, "{told}");
            assert!(
                told.contains(&format!("{}  grants: {grants} of saml_idp corp", if grants { "ok" } else { "NO" })),
                "{told}"
            );
        }
    }
}
