//! Tokens of other issuers at the gate: accepted by the rules of their table, and by nothing else.
pub mod idp;

use super::{
    edge::{get, routes},
    process::{Gate, until},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use idp::{Answer, Idp, Key, now, signed};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::fs;

/// A route to the example API, which says what reached it.
fn route(gate: &Gate, name: &str, more: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\npath = \"/{name}/*\"\nscopes = [\"orders:read\"]\nupstream.addresses = [\"127.0.0.1:{}\"]\n{more}\n",
        gate.example
    )
}

fn call(gate: &Gate, route: &str, token: &str) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let (status, body) = get(gate, &format!("/{route}/7"), &[("authorization", &bearer), ("x-auth-issuer", "forged")]);
    (status, serde_json::from_str(&body).unwrap_or_default())
}

/// The samples of a metric that carry `labels`.
fn metric(gate: &Gate, name: &str, labels: &str) -> u64 {
    let exposed = gate.admin("GET", "/metrics").1;
    let lines = exposed.lines().filter(|l| l.starts_with(name) && l.contains(labels));
    lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

#[test]
fn s32_s33_s34_s36_s38_s39_s61_a_token_of_a_trusted_issuer_opens_what_its_table_says_and_nothing_else() {
    let (key, stranger) = (Key::new("k1"), Key::new("k1"));
    let idp = Idp::start(&[&key]);
    let mut gate = Gate::prepare();
    fs::write(gate.path("conf/them.pem"), &idp.ca).unwrap();
    let table = |more: &str| idp.table("them", more);
    let written = |gate: &Gate, table: &str| {
        let ours = route(gate, "ours", "");
        let both = route(gate, "both", "issuers = [\"self\", \"them\"]\nheaders.issuer = \"X-Their-Issuer\"");
        let passed = route(gate, "passed", "issuers = [\"them\"]\ntoken = \"pass\"");
        let replaced = route(gate, "replaced", "issuers = [\"them\"]\ntoken = \"replace\"");
        // Routes first: what stands before them stays when they are replaced.
        routes(gate, &[&*ours, &both, &passed, &replaced, table].concat());
    };
    written(&gate, &table("required = { tenant = \"t1\" }"));
    gate.run();
    assert!(until(|| gate.ready()["issuers_unknown"] == json!([])));
    let good = idp.with(&key, &json!({"tenant": "t1"}));

    // What the upstream hears.
    let (status, seen) = call(&gate, "both", &good);
    assert_eq!(status, 200, "{seen}");
    let headers = &seen["headers"];
    assert_eq!(
        [
            &headers["x-forwarded-user"],
            &headers["x-auth-client"],
            &headers["x-auth-scopes"],
            &headers["x-their-issuer"]
        ],
        [&json!("them:u1"), &json!("them:app"), &json!("orders:read"), &json!(idp.url)]
    );
    assert!(headers["authorization"].is_null() && headers["x-auth-issuer"].is_null(), "{headers}");
    assert_eq!(call(&gate, "passed", &good).1["headers"]["authorization"], json!(format!("Bearer {good}")));
    let replaced = call(&gate, "replaced", &good).1["headers"]["authorization"].as_str().unwrap().to_owned();
    let claims = replaced.split('.').nth(1).and_then(|c| B64.decode(c).ok()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!(gate.issuer()), &json!("them:u1")));
    assert!(metric(&gate, "portcullis_token_cache_total", "result=\"hit\"") >= 2, "one cache");

    let metadata = get(&gate, "/.well-known/oauth-protected-resource", &[]).1;
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["authorization_servers"], json!([gate.issuer(), idp.url]), "RFC 9728: {metadata}");

    // Ours beside it, told apart; theirs nowhere else.
    let own = gate.token();
    let (status, seen) = call(&gate, "both", &own);
    assert_eq!((status, &seen["headers"]["x-their-issuer"]), (200, &json!(gate.issuer())));
    assert_eq!((call(&gate, "ours", &own).0, call(&gate, "passed", &own).0), (200, 401));
    assert_eq!(call(&gate, "ours", &good).0, 401, "a route trusts us alone unless it says otherwise");
    let userinfo = get(&gate, "/oauth2/userinfo", &[("authorization", &format!("Bearer {good}"))]);
    assert_eq!(userinfo.0, 401);
    let fields = [("client_id", "orders-robot"), ("token", &*good)];
    let revoked = gate.agent().post(format!("{}/oauth2/revoke", gate.issuer())).send_form(fields).unwrap();
    assert_eq!((revoked.status().as_u16(), call(&gate, "both", &good).0), (200, 200), "S47: not ours to end");

    // What is not meant for us, not now, not signed, or another kind.
    let tenant = |changes: Value| {
        let mut all = json!({"tenant": "t1"});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        idp.with(&key, &all)
    };
    let claims = |mut changes: Value| {
        let base = idp.claims();
        for (name, value) in base.as_object().unwrap() {
            if changes.get(name).is_none() {
                changes[name] = value.clone();
            }
        }
        changes["tenant"] = json!("t1");
        changes
    };
    let hmac = {
        let mut header = jsonwebtoken::Header::new(Algorithm::HS256);
        (header.typ, header.kid) = (Some("at+jwt".to_owned()), Some("k1".to_owned()));
        jsonwebtoken::encode(&header, &claims(json!({})), &EncodingKey::from_secret(key.public.as_bytes())).unwrap()
    };
    let none = |alg: &str| {
        let head = B64.encode(json!({"alg": alg, "typ": "at+jwt", "kid": "k1"}).to_string());
        format!("{head}.{}.", B64.encode(claims(json!({})).to_string()))
    };
    let refused = [
        ("S36 aud", tenant(json!({"aud": "api://other"}))),
        ("S36 no aud", tenant(json!({"aud": null}))),
        ("iss with a slash more", tenant(json!({"iss": format!("{}/", idp.url)}))),
        ("our own iss", tenant(json!({"iss": gate.issuer()}))),
        ("S34 expired", tenant(json!({"exp": now() - 60}))),
        ("S34 exp as text", tenant(json!({"exp": (now() + 60).to_string()}))),
        ("S34 no exp", tenant(json!({"exp": null}))),
        ("S35 nbf ahead", tenant(json!({"nbf": now() + 120}))),
        ("required claim", idp.with(&key, &json!({"tenant": "t2"}))),
        ("no client", tenant(json!({"client_id": null}))),
        ("no subject", tenant(json!({"sub": null}))),
        ("S38 ID token", signed(&claims(json!({"nonce": "n"})), &key, |h| h.typ = Some("JWT".to_owned()))),
        ("S38 logout token", signed(&claims(json!({})), &key, |h| h.typ = Some("logout+jwt".to_owned()))),
        ("S38 no typ", signed(&claims(json!({})), &key, |h| h.typ = None)),
        ("another key under the name", signed(&claims(json!({})), &stranger, |_| {})),
        (
            "S33 a key that it brings along",
            signed(&claims(json!({})), &stranger, |h| {
                h.jwk = Some(serde_json::from_value(stranger.jwk.clone()).unwrap());
                h.jku = Some(format!("{}/keys", idp.url));
            }),
        ),
        ("S32 HMAC with the public key", hmac),
        ("S32 none", none("none")),
        ("S32 None", none("None")),
        ("nothing signed", good.rsplit_once('.').unwrap().0.to_owned() + "."),
    ];
    for (what, token) in &refused {
        assert_eq!(call(&gate, "both", token).0, 401, "{what}");
    }
    let (status, body) = call(&gate, "both", &tenant(json!({"scope": "Orders.Unknown orders:read"})));
    assert_eq!((status, &body["error"]), (403, &json!("insufficient_scope")), "our words in theirs mean nothing");
    assert_eq!(idp.asked(), 1, "none of this made anybody ask for keys again");

    // A reload ends what the old rules let in, with the next request.
    let reload = |table: &str| {
        written(&gate, table);
        let (status, told) = gate.admin("POST", "/reload");
        assert_eq!(status, 200, "{told}");
    };
    reload(&table("").replace("\"Orders.Read\" =", "\"Orders.Write\" ="));
    assert_eq!(call(&gate, "both", &good).0, 403, "the scope means nothing any more");
    reload(&table("").replace("api://orders", "api://others"));
    assert_eq!(call(&gate, "both", &good).0, 401, "F12");
    reload(&table(""));
    assert_eq!(call(&gate, "both", &good).0, 200);
    assert_eq!(idp.asked(), 1, "the keys outlive a reload that leaves their place");
    routes(&gate, &[route(&gate, "ours", ""), route(&gate, "both", "")].concat());
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    assert_eq!((call(&gate, "both", &good).0, call(&gate, "both", &own).0), (401, 200), "F12: the issuer is gone");
    let audit = || fs::read_to_string(gate.path("audit.log")).unwrap();
    assert!(until(|| audit().contains("\"event\":\"issuer_keys\"")));
    let logs = audit() + &fs::read_to_string(gate.path("access.log")).unwrap();
    assert!(!logs.contains(&good) && !logs.contains(good.rsplit('.').next().unwrap()), "no token in a log");
}

#[test]
fn s66_many_waiters_make_one_fetch_a_flood_of_unknown_keys_makes_none_and_keys_come_and_go() {
    let (first, second, third) = (Key::new("k1"), Key::new("k2"), Key::new("k3"));
    let (lazy, busy) = (Idp::start(&[&first]), Idp::start(&[&first]));
    let mut gate = Gate::prepare();
    fs::write(gate.path("conf/lazy.pem"), &lazy.ca).unwrap();
    fs::write(gate.path("conf/busy.pem"), &busy.ca).unwrap();
    let tables = [
        lazy.table("lazy", "refresh = 80000\nrefresh_for_unknown_key = 1"),
        busy.table("busy", "refresh = 1\nrefresh_for_unknown_key = 3600\nlongest_key_age = 8"),
        route(&gate, "lazy", "issuers = [\"lazy\"]"),
        route(&gate, "busy", "issuers = [\"busy\"]"),
    ];
    routes(&gate, &tables.concat());
    gate.run();
    assert!(until(|| gate.ready()["issuers_unknown"] == json!([])));
    assert_eq!((call(&gate, "lazy", &lazy.token(&first)).0, lazy.asked()), (200, 1));

    // A new key: everybody who waits for it waits for one fetch, however slow.
    std::thread::sleep(std::time::Duration::from_millis(1_100)); // until unknown keys may be asked for again
    lazy.publish(&[&first, &second]);
    lazy.answers(Answer::Slow);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let (gate, lazy, second) = (&gate, &lazy, &second);
        let all: Vec<_> = (0..24).map(|_| scope.spawn(move || call(gate, "lazy", &lazy.token(second)).0)).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((statuses, lazy.asked()), (vec![200; 24], 2));
    lazy.answers(Answer::Good);

    // A flood of names that no key has: no fetch at all while the last one is not an hour old.
    let refreshed = |gate: &Gate| metric(gate, "portcullis_issuer_fetches_total", "issuer=\"busy\",outcome=\"ok\"");
    assert!(until(|| refreshed(&gate) >= 2), "refreshed by itself");
    let waited = std::time::Instant::now();
    for n in 0..100 {
        let token = signed(&busy.claims(), &first, |h| h.kid = Some(format!("unknown-{n}")));
        assert_eq!(call(&gate, "busy", &token).0, 401, "S66");
    }
    let own_rounds = usize::try_from(waited.elapsed().as_secs()).unwrap() + 3;
    assert!(metric(&gate, "portcullis_issuer_unknown_keys_total", "busy") >= 100);
    assert!(busy.asked() <= 4 + own_rounds + 20, "a hundred names made {} fetches", busy.asked());

    // What the issuer takes back ends at the next look, also in the cache; what it adds is heard of by itself.
    let old = busy.token(&first);
    assert_eq!(call(&gate, "busy", &old).0, 200);
    busy.publish(&[&third]);
    assert!(until(|| call(&gate, "busy", &old).0 == 401), "F13: a key that was taken back");
    let new = busy.token(&third);
    assert_eq!(call(&gate, "busy", &new).0, 200);

    // It goes away: what is known is believed for a while, and then nothing is decided; never a 401.
    busy.answers(Answer::Failing);
    let failing = |gate: &Gate| metric(gate, "portcullis_issuer_fetches_total", "issuer=\"busy\",outcome=\"status\"");
    assert!(until(|| failing(&gate) >= 1));
    assert_eq!(call(&gate, "busy", &new).0, 200, "the keys are known");
    assert!(until(|| call(&gate, "busy", &new).0 != 200));
    assert_eq!(call(&gate, "busy", &new).0, 503, "S66: no decision means no permit, and no 401");
    let ready = gate.ready();
    assert_eq!((&ready["ready"], &ready["issuers_unknown"]), (&json!(true), &json!(["busy"])));
    busy.answers(Answer::Good);
    assert!(until(|| call(&gate, "busy", &new).0 == 200), "and it is back");
    let audit = fs::read_to_string(gate.path("audit.log")).unwrap();
    assert!(audit.contains("\"outcome\":\"failed\"") && audit.contains("\"came\":[\"k3\"]"), "{audit}");
}

#[test]
fn s66_an_issuer_that_was_never_reached_means_503_and_nobody_leads_us_elsewhere() {
    let key = Key::new("k1");
    let cases = [
        ("failing", Answer::Failing, "status"),
        ("redirect", Answer::Redirect, "status"),
        ("oversized", Answer::Oversized, "too_large"),
        ("foreign", Answer::OtherIssuer, "discovery"),
        ("metadata", Answer::KeysAt("https://169.254.169.254/latest/keys".to_owned()), "forbidden"),
        ("plain", Answer::KeysAt("http://localhost/keys".to_owned()), "discovery"),
    ];
    let mut gate = Gate::prepare();
    let mut text = String::new();
    let all: Vec<Idp> = cases.iter().map(|_| Idp::start(&[&key])).collect();
    for ((name, answer, _), idp) in cases.iter().zip(&all) {
        idp.answers(answer.clone());
        fs::write(gate.path("conf").join(format!("{name}.pem")), &idp.ca).unwrap();
        text += &idp.table(name, "");
    }
    // Two more: one whose address nobody allowed, one whose certificate nobody signed for us.
    let (inside, untrusted) = (Idp::start(&[&key]), Idp::start(&[&key]));
    fs::write(gate.path("conf/inside.pem"), &inside.ca).unwrap();
    fs::write(gate.path("conf/untrusted.pem"), &inside.ca).unwrap();
    text += &inside.table("inside", "").replace("private = true\n", "");
    text += &untrusted.table("untrusted", "");
    let more = [("inside", &inside, "forbidden"), ("untrusted", &untrusted, "unreachable")];
    let cases: Vec<(&str, &Idp, &str)> =
        cases.iter().zip(&all).map(|((name, _, outcome), idp)| (*name, idp, *outcome)).chain(more).collect();
    for (name, ..) in &cases {
        text += &route(&gate, name, &format!("issuers = [\"self\", \"{name}\"]"));
    }
    routes(&gate, &text);
    gate.run();
    for (name, idp, outcome) in &cases {
        let labels = format!("issuer=\"{name}\",outcome=\"{outcome}\"");
        assert!(until(|| metric(&gate, "portcullis_issuer_fetches_total", &labels) >= 1), "{labels}");
        assert_eq!(call(&gate, name, &idp.token(&key)).0, 503, "{name}: never 401");
        assert_eq!(metric(&gate, "portcullis_issuer_fetches_total", &format!("issuer=\"{name}\",outcome=\"ok\"")), 0);
    }
    assert_eq!(all[4].asked() + all[5].asked(), 0, "where it led, nobody went");
    assert_eq!(
        all[1].asked(),
        all[1].connected.load(std::sync::atomic::Ordering::SeqCst) / 2,
        "no redirect is followed"
    );
    assert_eq!(inside.connected.load(std::sync::atomic::Ordering::SeqCst), 0, "refused before connecting");
    assert_eq!(call(&gate, "failing", &gate.token()).0, 200, "ours open without them");
    let ready = gate.ready();
    assert_eq!(
        (&ready["ready"], ready["issuers_unknown"].as_array().map(Vec::len)),
        (&json!(true), Some(8)),
        "{ready}"
    );
    // One that begins to answer is heard of by itself.
    all[0].answers(Answer::Good);
    assert!(until(|| call(&gate, "failing", &all[0].token(&key)).0 == 200));
}

#[test]
fn mistakes_in_the_table_of_an_issuer_name_line_and_key() {
    let gate = Gate::prepare();
    let told = |table: &str, route_more: &str| {
        let text = [route(&gate, "theirs", route_more), table.to_owned()].concat();
        routes(&gate, &text);
        let run = gate.command(&["check"], "");
        assert!(!run.status.success());
        super::process::text(&run.stderr)
    };
    let good = "[[trusted_issuer]]\nname = \"them\"\nurl = \"https://them.example\"\naudience = [\"a\"]\npass = [\"orders:read\"]\n";
    for (from, to, key) in [
        ("https://them", "http://them", "url"),
        ("name = \"them\"", "name = \"self\"", "name"),
        ("[\"a\"]", "[]", "audience"),
        ("pass =", "algorithms = [\"HS256\"]\npass =", "algorithms"),
        ("pass =", "jwks_uri = \"http://them.example/keys\"\npass =", "jwks_uri"),
        ("pass =", "jwks_file = \"none.json\"\npass =", "jwks_file"),
        ("pass =", "types = []\npass =", "types"),
        ("pass =", "refresh = 0\npass =", "refresh"),
        ("pass =", "longest_key_age = 1\npass =", "longest_key_age"),
        ("pass =", "subject_prefix = \"al\"\npass =", "subject_prefix"),
        ("pass =", "unknown = 1\npass =", "unknown"),
        ("pass = [\"orders:read\"]", "", "scopes"),
    ] {
        let text = told(&good.replace(from, to), "issuers = [\"them\"]");
        let found = text.lines().any(|l| l.contains("portcullis.toml:") && l.contains(&format!(": {key}: ")));
        assert!(found, "{key}: {text}");
    }
    let text = told(good, "issuers = [\"somebody\"]");
    assert!(text.contains("issuers: somebody"), "{text}");
    let text = told(good, "issuers = [\"them\"]\nauth = \"both\"");
    assert!(text.contains("issuers: "), "{text}");
}
