//! On the store of a running gateway, by the command line.
use crate::process::{Gate, text, until};
use portcullis::{
    clock::Timestamp,
    store::{Change, Changes, Expect, Record, Store, sqlite::SqliteStore},
};
use serde_json::Value;
use std::fs;

fn lines(gate: &Gate, arguments: &[&str]) -> Vec<Value> {
    let out = gate.command(arguments, "");
    assert!(out.status.success(), "{arguments:?}: {}", text(&out.stderr));
    text(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn done(gate: &Gate, arguments: &[&str]) -> String {
    let out = gate.command(arguments, "");
    assert!(out.status.success(), "{arguments:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// Leaves a second factor of `user`, as the page does.
fn enrolled(gate: &Gate, user: &str) {
    let record = Record { key: format!("totp/{user}"), version: 0, index: None, expires: None, body: b"{}".to_vec() };
    let store = SqliteStore::open(&gate.path("data/portcullis.db"), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.commit(Changes(vec![Change::Put(record, Expect::Absent)]), Timestamp(1))).unwrap();
}

#[test]
fn s61_what_is_blocked_is_felt_by_the_next_request_survives_restart_and_reload_and_is_audited() {
    let mut gate = Gate::start();
    let token = gate.token();
    assert_eq!(gate.call(&token), 200);
    assert!(done(&gate, &["apps", "block", "orders-robot", "--reason", "robbed"]).contains("is blocked"));
    assert!(until(|| gate.call(&token) == 401), "the running gateway hears of it");
    let (status, body) = gate.exchange("orders:read");
    assert_eq!((status, &body["error"]), (400, &"unauthorized_client".into()), "{body}");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    assert_eq!(gate.call(&token), 401, "a reload takes no block back");
    gate.signal("-TERM");
    assert!(until(|| gate.admin("GET", "/livez").0 == 0));
    gate.child.as_mut().unwrap().wait().unwrap();
    assert!(done(&gate, &["apps", "list"]).contains("orders-robot (blocked)"), "nothing needs to run for that");
    gate.run();
    assert_eq!(gate.call(&token), 401, "nor does a restart");
    assert!(done(&gate, &["apps", "unblock", "orders-robot"]).contains("no longer blocked"));
    assert!(until(|| gate.call(&token) == 200));

    assert!(done(&gate, &["users", "block", "alice"]).contains("is blocked"));
    assert!(until(|| gate.call(&token) == 401));
    assert_eq!(gate.exchange("orders:read").1["error"], "invalid_grant");
    assert!(done(&gate, &["users", "list"]).contains("alice (blocked by os:"));
    assert!(done(&gate, &["users", "unblock", "alice"]).contains("no longer blocked"));
    assert!(until(|| gate.call(&token) == 200));
    assert!(done(&gate, &["users", "revoke", "alice"]).starts_with("0 authorizations"));
    assert!(until(|| gate.call(&token) == 401), "a token without an authorization ends too");

    assert!(done(&gate, &["users", "reset-second-factor", "alice"]).contains("alice had no second factor"));
    enrolled(&gate, "alice");
    assert!(done(&gate, &["users", "reset-second-factor", "alice"]).contains("has no second factor any more"));
    assert!(done(&gate, &["users", "reset-second-factor", "alice"]).contains("alice had no second factor"));

    for wrong in [
        ["apps", "block", "nobody"],
        ["users", "block", "nobody"],
        ["users", "reset-second-factor", "nobody"],
        ["authorizations", "revoke", "nothing"],
    ] {
        let out = gate.command(&wrong, "");
        assert!(!out.status.success() && text(&out.stderr).contains("there is no "), "{}", text(&out.stderr));
    }
    let acts = lines(&gate, &["acts", "--json"]);
    let told: Vec<&str> = acts.iter().map(|a| a["act"].as_str().unwrap()).collect();
    let expected = ["reset_second_factor", "revoke_user", "unblock_user", "block_user", "unblock_app", "block_app"];
    let mut sorted = told.clone();
    sorted.sort_unstable();
    assert_eq!(told.len(), expected.len(), "{told:?}");
    assert!(expected.iter().all(|e| told.contains(e)), "{told:?}");
    let block = acts.iter().find(|a| a["act"] == "block_app").unwrap();
    assert_eq!((&block["through"], &block["detail"]), (&"command line".into(), &"robbed".into()));
    assert!(block["by"].as_str().unwrap().starts_with("os:"));
    let audit = fs::read_to_string(gate.path("audit.log")).unwrap();
    assert!(audit.contains("\"outcome\":\"block_app\"") && audit.contains("\"by\":\"os:"), "{audit}");
}

#[test]
fn the_usage_view_tells_who_used_an_app_and_what_was_denied() {
    let gate = Gate::start();
    let token = gate.token();
    assert_eq!(gate.call(&token), 200);
    gate.token();
    // The token reads alone: writing is denied at the gate.
    let bearer = format!("Authorization: Bearer {token}");
    gate.curl(&["-d", "item=tea", "-H", &bearer, &format!("{}/orders/7", gate.issuer())]);
    let usage = || lines(&gate, &["apps", "usage", "orders-robot", "--json"]);
    assert!(until(|| usage().iter().any(|u| u["username"] == "alice" && u["uses"] == 2 && u["denied"] == 1)));
    let all = usage();
    let alice = all.iter().find(|u| u["username"] == "alice").unwrap();
    assert!(alice["first_used"].as_i64() <= alice["last_used"].as_i64() && alice["last_denied"].is_i64(), "{alice}");
    assert!(done(&gate, &["users", "show", "alice"]).contains("orders-robot: 2 uses"));
    let app: Value = serde_json::from_str(&done(&gate, &["apps", "show", "orders-robot"])).unwrap();
    assert_eq!((&app["users"], &app["usage"]["uses"], &app["origin"]), (&1.into(), &2.into(), &"configuration".into()));
    assert!(lines(&gate, &["authorizations", "list", "--json"]).is_empty(), "JWT bearer keeps none");
}
