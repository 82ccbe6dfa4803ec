//! Several addresses of one upstream: chosen, taken out, brought back.
use super::{Named, get, routes};
use crate::process::{Gate, port, until};
use std::{collections::BTreeSet, sync::atomic::Ordering};

fn list(all: &[&Named]) -> String {
    all.iter().map(|n| format!("\"{}\"", n.address)).collect::<Vec<_>>().join(", ")
}

#[test]
fn addresses_are_taken_in_turn_by_load_and_by_key_and_a_dead_one_is_passed_over() {
    let [a, b, c] = [Named::start(), Named::start(), Named::start()];
    let all = list(&[&a, &b, &c]);
    let dead = format!("127.0.0.1:{}", port());
    let route = |name: &str, more: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"/{name}/*\"\npublic = true\nupstream = {{ addresses = [{all}], {more} }}\n\n"
        )
    };
    let mut gate = Gate::prepare();
    let text = route("turn", "balance = \"round_robin\"")
        + &route("least", "balance = \"least_connections\"")
        + &route("hash", "balance = \"consistent_hash\", hash_on = \"header:X-Tenant\"")
        + &route("full", "most_in_flight = 1")
        + &format!(
            "[[route]]\nname = \"none\"\npath = \"/none\"\npublic = true\nupstream = {{ addresses = [\"{dead}\", \"{}\"], retries = 0 }}\n\n",
            a.address
        )
        + &format!(
            "[[route]]\nname = \"one\"\npath = \"/one\"\npublic = true\nupstream = {{ addresses = [\"{dead}\", \"{}\"], retries = 1, breaker = {{ after = 1, out_for_ms = 3600000 }} }}\n",
            a.address
        );
    routes(&gate, &text);
    gate.run();
    let turn: Vec<String> = (0..6).map(|_| get(&gate, "/turn/x", &[]).1).collect();
    assert!(turn[..3].iter().collect::<BTreeSet<_>>().len() == 3 && turn[..3] == turn[3..], "{turn:?}");
    // The one that is held back gets no more while others have less to do.
    let held = a.gate.lock().unwrap();
    std::thread::scope(|scope| {
        let gate = &gate;
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| get(gate, "/least/x", &[]).1)).collect();
        assert!(until(|| waiting.iter().filter(|w| !w.is_finished()).count() == 1), "one of three waits at a");
        let others: Vec<String> = (0..4).map(|_| get(gate, "/least/x", &[]).1).collect();
        assert!(others.iter().all(|o| *o != a.address), "{others:?}");
        let full: Vec<_> = (0..3).map(|_| scope.spawn(|| get(gate, "/full/x", &[]))).collect();
        assert!(until(|| full.iter().filter(|w| !w.is_finished()).count() == 1), "one of three waits at a");
        let others: Vec<String> = (0..4).map(|_| get(gate, "/full/x", &[]).1).collect();
        assert!(others.iter().all(|o| *o != a.address), "a is full: {others:?}");
        drop(held);
    });
    let of = |tenant: &str| get(&gate, "/hash/x", &[("x-tenant", tenant)]).1;
    let places: Vec<String> = (0..12).map(|n| of(&n.to_string())).collect();
    assert!(places.iter().collect::<BTreeSet<_>>().len() > 1, "keys are spread");
    assert!((0..12).all(|n| of(&n.to_string()) == places[n]), "and each stays");
    let told: BTreeSet<u16> = (0..4).map(|_| get(&gate, "/none", &[]).0).collect();
    assert_eq!(told, [200, 502].into(), "without retries the dead one is met");
    assert!((0..4).all(|_| get(&gate, "/one", &[]).0 == 200));
    assert!(a.served() > 0 && b.served() > 0 && c.served() > 0);
    let metrics = || gate.admin("GET", "/metrics").1;
    let out = format!("portcullis_upstream_healthy{{address=\"{dead}\",route=\"one\"}} 0");
    assert!(until(|| metrics().contains(&out)), "{}", metrics());
}

#[test]
fn a_breaker_and_probes_take_a_bad_address_out_and_bring_it_back() {
    let [a, b, sick] = [Named::start(), Named::start(), Named::start()];
    sick.status.store(503, Ordering::SeqCst);
    let mut gate = Gate::prepare();
    let broken = format!(
        "[[route]]\nname = \"broken\"\npath = \"/broken\"\npublic = true\nupstream = {{ addresses = [{}], breaker = {{ after = 2, out_for_ms = 400 }} }}\n\n",
        list(&[&a, &b])
    );
    let probed = format!(
        "[[route]]\nname = \"probed\"\npath = \"/probed\"\npublic = true\nupstream = {{ addresses = [{}], probe = {{ path = \"/probe?x\", interval_ms = 100, timeout_ms = 2000 }} }}\n",
        list(&[&a, &sick])
    );
    routes(&gate, &(broken + &probed));
    gate.run();
    let probed = || (0..6).map(|_| get(&gate, "/probed", &[])).collect::<Vec<_>>();
    assert!(until(|| probed().iter().all(|(status, at)| *status == 200 && *at == a.address)), "{:?}", probed());
    sick.status.store(200, Ordering::SeqCst);
    assert!(until(|| probed().iter().any(|(_, at)| *at == sick.address)), "and it comes back");
    // Whatever fails is told as it came, until the breaker has seen enough of it.
    b.status.store(503, Ordering::SeqCst);
    let broken = || (0..8).map(|_| get(&gate, "/broken", &[]).0).collect::<Vec<_>>();
    assert!(until(|| broken().iter().filter(|s| **s == 503).count() <= 1), "{:?}", broken());
    a.status.store(503, Ordering::SeqCst);
    let all_out = || {
        let answer = super::answer(&gate, "/broken", &[]);
        answer.status() == 503 && answer.headers().contains_key("retry-after")
    };
    assert!(until(all_out), "with every breaker open, the answer is ours");
    a.status.store(200, Ordering::SeqCst);
    b.status.store(200, Ordering::SeqCst);
    assert!(until(|| broken().iter().all(|s| *s == 200)), "{:?}", broken());
    // A reload forgets nothing of an upstream that has not changed.
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    assert!(broken().iter().all(|s| *s == 200));
}

#[test]
fn mistakes_of_an_upstream_are_told_with_their_line() {
    let gate = Gate::prepare();
    routes(
        &gate,
        "[[route]]\nname = \"a\"\npath = \"/a\"\npublic = true\nlimit = [{ name = \"l\", per = \"app\", requests = 0, window = 60 }]\ncors = { origins = [\"*\"], credentials = true }\nrewrite = { strip_prefix = \"/b\" }\nrequest_headers = { set = { X-Forwarded-User = \"root\" } }\n[route.upstream]\naddresses = [\"127.0.0.1:1\"]\nbalance = \"consistent_hash\"\nmost_in_flight = 0\nprobe = { path = \"health\" }\n",
    );
    let told = gate.command(&["check"], "");
    let told = crate::process::text(&told.stderr);
    for part in [
        "requests: between",
        "credentials: not for any origin",
        "strip_prefix: the route's path",
        "request_headers: ",
        "consistent_hash needs hash_on",
        "most_in_flight: at least 1",
        "path: of a probe",
        "per: nobody is known",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let schema = gate.command(&["schema", "main"], "");
    let schema = crate::process::text(&schema.stdout);
    for key in [
        "consistent_hash",
        "most_in_flight",
        "strip_prefix",
        "maintenance",
        "shadow",
        "unhealthy_after",
        "body_timeout",
    ] {
        assert!(schema.contains(key), "{key} in the schema");
    }
}
