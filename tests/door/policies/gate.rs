//! Policies that a reload tightens, at the gate of a running process.
use crate::process::{Gate, until};

#[test]
fn f12_a_tightened_policy_ends_at_the_gate_what_it_forbids() {
    let mut gate = Gate::prepare();
    let elsewhere = format!("{}/elsewhere", gate.issuer());
    let route = format!(
        "[[route]]\nname = \"elsewhere\"\npath = \"/elsewhere\"\nresource = \"{elsewhere}\"\nscopes = [\"orders:read\"]\nupstream.addresses = [\"127.0.0.1:{}\"]\n\n[[route]]\nname = \"status\"",
        gate.example
    );
    gate.edit("conf/portcullis.toml", "[[route]]\nname = \"status\"", &route);
    gate.run();
    let token = gate.token();
    let file = "conf/apps/orders-robot.toml";
    let reload = || {
        let (status, body) = gate.admin("POST", "/reload");
        assert_eq!(status, 200, "{body}");
    };
    let told = |token: &str| {
        let request = gate.agent().get(format!("{}/orders/7", gate.issuer()));
        let mut answer = request.header("authorization", format!("Bearer {token}")).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    assert_eq!(told(&token).0, 200);
    let tighten = |with: &str, holds: &dyn Fn()| {
        gate.edit(file, "client_id", &format!("{with}\nclient_id"));
        reload();
        holds();
        gate.edit(file, &format!("{with}\n"), "");
        reload();
        assert_eq!(told(&token).0, 200, "taken back: {with}");
    };
    tighten("ip = { ranges = [\"192.0.2.0/24\"] }", &|| {
        let (status, body) = told(&token);
        assert!(status == 403 && body.contains("ip restricted"), "{status} {body}");
        assert_eq!(gate.exchange("orders:read").1["error_description"], "ip restricted");
    });
    tighten("ip = { ranges = [\"192.0.2.0/24\"], relaxation = \"bypass\" }", &|| assert_eq!(told(&token).0, 200));
    tighten("ip = { ranges = [\"127.0.0.0/8\"] }", &|| assert_eq!(told(&token).0, 200));
    tighten("session_timeout = 1", &|| assert!(until(|| told(&token).0 == 401)));
    tighten("blocked = true", &|| assert_eq!(told(&token).0, 401));
    tighten("required_level = \"high_assurance\"", &|| assert_eq!(told(&token).0, 401));
    // A token that is bound to nothing, once the app's tokens have to be.
    tighten("dpop_bound_access_tokens = true", &|| assert_eq!(told(&token).0, 401));
    tighten("certificate_bound_access_tokens = true", &|| assert_eq!(told(&token).0, 401));
    // The app is moved to another resource: its old token opens neither, a new one the new.
    let (from, to) = (format!("audience = \"{}\"", gate.issuer()), format!("audience = \"{elsewhere}\""));
    gate.edit(file, &from, &to);
    reload();
    assert_eq!(told(&token).0, 401);
    let moved = gate.token();
    let there = |token: &str| {
        let request = gate.agent().get(&elsewhere).header("authorization", format!("Bearer {token}"));
        request.call().unwrap().status().as_u16()
    };
    assert_eq!((told(&moved).0, there(&moved), there(&token)), (401, 200, 401));
    gate.edit(file, &to, &from);
    reload();
    assert_eq!((told(&token).0, there(&moved)), (200, 401));
    // The user loses the profile that the administrator approved the app for; then the profile gets ranges.
    gate.edit("conf/users.toml", "[\"sales\"]", "[\"support\"]");
    reload();
    assert_eq!(told(&token).0, 401);
    gate.edit("conf/users.toml", "[\"support\"]", "[\"sales\"]");
    let profile = "[profile.sales]\nip_ranges = [\"192.0.2.1-192.0.2.9\"]\n\n[[sign_in]]";
    gate.edit("conf/portcullis.toml", "[[sign_in]]", profile);
    reload();
    assert_eq!(told(&token).0, 403);
    gate.edit("conf/portcullis.toml", "192.0.2.1-192.0.2.9", "127.0.0.1");
    reload();
    assert_eq!(told(&token).0, 200);
    // And a user who is no more.
    gate.edit("conf/users.toml", "\"alice\"", "\"somebody-else\"");
    reload();
    assert_eq!(told(&token).0, 401);
}

#[test]
fn mistakes_in_policies_are_told_by_line_and_key() {
    let gate = Gate::prepare();
    let wrong = "ip = { ranges = [\"10.0.0.1/8\"] }\nsession_timeout = \"soon\"\nrefresh = { idle = \"2 fortnights\" }\n\
        approvals_per_user = 0\nsecret_optional = true\ntoken_attributes = true\nid_token = { lifetime = \"9 days\" }\n\
        custom_attributes = { x = { claim = \"shoe_size\" } }\nintrospect_all = true\nclient_id";
    gate.edit("conf/apps/orders-robot.toml", "client_id", wrong);
    gate.edit("conf/portcullis.toml", "[[sign_in]]", "[profile.sales]\nip_ranges = [\"nowhere\"]\n\n[[sign_in]]");
    let out = gate.command(&["check"], "");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    for line in [
        ":2: ip: 10.0.0.1/8",
        ":3: session_timeout: at least",
        ":4: refresh: idle: at least",
        ":5: approvals_per_user: between",
        ":6: secret_optional: for apps with",
        ":7: token_attributes: needs",
        ":8: id_token: lifetime: at most",
        ":9: custom_attributes: x: shoe_size is no standard claim",
        ":10: introspect_all: needs",
        "profile.sales: ip_ranges: nowhere is no address",
    ] {
        assert!(told.contains(line), "{line} in {told}");
    }
}
