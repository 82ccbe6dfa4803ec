//! Which of their keys are believed, for how long, and how they are asked for.
use super::{Idp, Pair, metric, reload, route, status};
use crate::process::{Gate, until};
use serde_json::json;

#[test]
fn s66_their_keys_are_fetched_once_for_all_who_wait_and_nothing_is_decided_without_them() {
    let gate = Gate::start();
    let (idp, first, second) = (Idp::start(&gate), Pair::named("k1"), Pair::named("k2"));
    idp.state().keys = vec![first.jwk()];
    idp.state().down = true;
    let rested = |unknown: u32| {
        route(&gate, "theirs", "\"good\"", "")
            + &idp.table("good", &format!("refresh = 3600\nrefresh_for_unknown_key = {unknown}"))
    };
    reload(&gate, &rested(1));
    let token = idp.token(&first, json!({}));
    assert_eq!(status(&gate, "/theirs", &token), 503, "never heard of: not 401");
    assert!(until(|| metric(&gate, "portcullis_issuer_fetches_total{issuer=\"good\",outcome=\"unreachable\"}")));
    let ready = gate.ready();
    assert_eq!((&ready["ready"], &ready["issuers_unknown"]), (&json!(true), &json!(["good"])));
    idp.state().down = false;
    assert!(until(|| status(&gate, "/theirs", &token) == 200), "heard of by and by");
    // A new key: whoever shows it waits for one fetch.
    assert!(until(|| gate.ready()["issuers_unknown"] == json!([])));
    idp.state().keys = vec![first.jwk(), second.jwk()];
    std::thread::sleep(std::time::Duration::from_millis(1100)); // as long as the issuer is left in peace
    let before = idp.state().asked;
    let gate_of_keys = idp.state().gate.clone();
    let held = gate_of_keys.lock().unwrap();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let token = idp.token(&second, json!({"jti": n.to_string()}));
            let gate = &gate;
            scope.spawn(move || status(gate, "/theirs", &token))
        };
        let all: Vec<_> = (0..8).map(ask).collect();
        assert!(until(|| idp.state().asked > before));
        drop(held);
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 8]);
    assert_eq!(idp.state().asked, before + 1, "one fetch for all of them");
    // Names that nobody knows: bounded by the issuer's rest, however many there are.
    reload(&gate, &rested(3600));
    for n in 0..40 {
        assert_eq!(status(&gate, "/theirs", &idp.token(&Pair::named(&format!("x{n}")), json!({}))), 401);
    }
    assert_eq!(idp.state().asked, before + 1, "no fetch at all");
    assert!(metric(&gate, "portcullis_issuer_unknown_keys_total{issuer=\"good\"}"));
    // Down again: what is known is believed still, for as long as it may be.
    idp.state().down = true;
    assert_eq!(status(&gate, "/theirs", &idp.token(&second, json!({"jti": "later"}))), 200);
    reload(&gate, &(route(&gate, "theirs", "\"good\"", "") + &idp.table("good", "refresh = 1\nlongest_key_age = 2")));
    assert!(until(|| status(&gate, "/theirs", &token) == 503), "and then nothing is decided");
    // A key that was taken back ends what it signed.
    idp.state().down = false;
    idp.state().keys = vec![second.jwk()];
    assert!(until(|| status(&gate, "/theirs", &token) == 401));
    assert_eq!(status(&gate, "/theirs", &idp.token(&second, json!({}))), 200);
    assert!(metric(&gate, "portcullis_issuer_keys_age_seconds{issuer=\"good\"}"));
}

#[test]
fn ssrf_no_redirect_no_metadata_address_no_flood_and_no_other_issuers_document() {
    let gate = Gate::start();
    let (idp, pair) = (Idp::start(&gate), Pair::named("k1"));
    idp.state().keys = vec![pair.jwk()];
    let bad = [
        ("redirect", "status"),
        ("metadata-address", "forbidden"),
        ("plain", "discovery"),
        ("impostor", "discovery"),
        ("large", "too_large"),
        ("html", "content_type"),
    ];
    let mut text: String =
        bad.iter().map(|(name, _)| idp.table(name, "") + &route(&gate, name, &format!("\"{name}\""), "")).collect();
    // One that may not lie on this machine.
    text += &idp.table("inside", "").replace("private = true\n", "");
    text += &route(&gate, "inside", "\"inside\"", "");
    reload(&gate, &text);
    for (name, outcome) in bad.into_iter().chain([("inside", "forbidden")]) {
        let token = pair.sign(&super::header("k1"), &idp.claims(name));
        assert_eq!(status(&gate, &format!("/{name}"), &token), 503, "{name}");
        let line = format!("portcullis_issuer_fetches_total{{issuer=\"{name}\",outcome=\"{outcome}\"}}");
        assert!(until(|| metric(&gate, &line)), "{line} in {}", gate.admin("GET", "/metrics").1);
        assert!(!metric(&gate, &format!("portcullis_issuer_fetches_total{{issuer=\"{name}\",outcome=\"ok\"}}")));
    }
}
