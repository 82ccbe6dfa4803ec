//! Slow and oversized: closed within 30 seconds, with 4xx where an answer is possible, and others are unharmed.
use super::{exchange, http2, rest, rig, serves, statuses, tls};
use std::{io::Write, time::Duration};

/// Writes a byte a tenth of a second until the gate has had enough; what it said.
fn drip(gate: &super::Gate, head: &str, byte: &[u8]) -> String {
    let mut stream = tls(gate, &["http/1.1"]);
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..300 {
        std::thread::sleep(Duration::from_millis(100));
        if stream.write_all(byte).and_then(|()| stream.flush()).is_err() {
            break;
        }
    }
    stream.sock.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    rest(&mut stream)
}

#[test]
fn s66_slow_headers_slow_bodies_and_half_sent_requests_are_cut_and_others_are_served() {
    let (gate, upstream) = rig("header_timeout = 2\nbody_timeout = 3\n");
    let long = 1_000_000;
    let post = |path: &str, more: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{more}Content-Length: {long}\r\n\r\n")
    };
    let whole = "GET /pub/first HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let dripped = [
        ("header", "GET /pub/drip HTTP/1.1\r\nHost: localhost\r\nX: ".to_owned()),
        ("second header", format!("{whole}GET /pub/drip HTTP/1.1\r\nHost: localhost\r\nX: ")),
        ("body", post("/pub/drip-body", "")),
        (
            "chunks",
            "POST /pub/drip-chunks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"
                .to_owned(),
        ),
        ("form", post("/oauth2/token", "Content-Type: application/x-www-form-urlencoded\r\n")),
    ];
    let silent = [
        ("nothing", String::new()),
        ("half a line", "GET /pub".to_owned()),
        ("idle behind a request", whole.to_owned()),
        ("half a second request", format!("{whole}GET /pub/half HT")),
        ("half a body", post("/pub/half-body", "") + "x"),
        (
            "half a chunk",
            "POST /pub/half-chunk HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe".to_owned(),
        ),
        ("half a form", post("/oauth2/token", "") + "grant_type"),
        (
            "half a body before an upgrade",
            post("/pub/half-upgrade", "Connection: Upgrade\r\nUpgrade: websocket\r\n") + "x",
        ),
    ];
    std::thread::scope(|scope| {
        let gate = &gate;
        let all: Vec<_> =
            dripped.iter().map(|(name, head)| (name, scope.spawn(move || drip(gate, head, b"x")))).collect();
        let quiet: Vec<_> =
            silent.iter().map(|(n, bytes)| (n, scope.spawn(move || exchange(gate, bytes.as_bytes())))).collect();
        scope.spawn(|| http2::stall(gate, "/pub/half-over-h2"));
        for _ in 0..20 {
            assert!(serves(gate), "others are served meanwhile");
        }
        for (name, answer) in all.into_iter().chain(quiet) {
            let told = statuses(&answer.join().unwrap_or_else(|_| panic!("{name} is still open")));
            assert!(told.iter().all(|s| *s == 200 || (400..600).contains(s)), "{name}: {told:?}");
        }
    });
    let honest = upstream.hits().into_iter().filter(|h| !h.target().starts_with("/pub/honest")).collect::<Vec<_>>();
    assert!(
        honest.iter().all(|h| [
            "/pub/first",
            "/pub/drip-body",
            "/pub/drip-chunks",
            "/pub/half-body",
            "/pub/half-chunk",
            "/pub/half-over-h2",
            "/pub/half-upgrade"
        ]
        .contains(&h.target())),
        "{honest:?}"
    );
    let log = || std::fs::read_to_string(gate.path("access.log")).unwrap();
    let told = |l: &str| l.contains("/pub/half-over-h2") && l.contains("\"reason\":\"body_stalled\"");
    assert!(super::super::process::until(|| log().lines().any(told)), "by our deadline, not the upstream's: {}", log());
}

#[test]
fn s66_stalled_bodies_are_the_client_s_failure_and_leave_the_upstream_in_rotation() {
    let mut gate = super::Gate::prepare();
    // The example API reads a body to its end before it answers.
    let upstream = format!(
        "addresses = [\"127.0.0.1:{}\"], read_timeout_ms = 500, breaker = {{ after = 1, out_for_ms = 3600000 }}",
        gate.example
    );
    let route = format!("[[route]]\nname = \"once\"\npath = \"/pub/*\"\npublic = true\nupstream = {{ {upstream} }}\n");
    crate::edge::routes(&gate, &route);
    gate.run();
    let head = "POST /pub/stalled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx";
    assert_eq!(statuses(&exchange(&gate, head.as_bytes())), [408]);
    assert!(serves(&gate), "over HTTP/1.1");
    http2::stall(&gate, "/pub/stalled");
    assert!(serves(&gate), "over HTTP/2");
    let metrics = gate.admin("GET", "/metrics").1;
    assert!(!metrics.contains("upstream_failures_total{route=\"once\"}"), "{metrics}");
}

#[test]
fn s66_too_much_is_refused_before_it_costs_anything() {
    let (gate, upstream) = rig("");
    let host = "Host: localhost\r\nConnection: close\r\n";
    let headers: String = (0..300).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = exchange(&gate, format!("GET /pub/many HTTP/1.1\r\n{host}{headers}\r\n").as_bytes());
    assert!(statuses(&many).iter().all(|s| (400..500).contains(s)), "300 headers: {many}");
    let large =
        exchange(&gate, format!("GET /pub/large HTTP/1.1\r\n{host}x: {}\r\n\r\n", "y".repeat(2 << 20)).as_bytes());
    assert!(
        statuses(&large).iter().all(|s| (400..500).contains(s)),
        "2 MiB of header: {}",
        &large[..large.len().min(200)]
    );
    let line = exchange(&gate, format!("GET /pub/{} HTTP/1.1\r\n{host}\r\n", "y".repeat(2 << 20)).as_bytes());
    assert!(statuses(&line).iter().all(|s| (400..500).contains(s)), "2 MiB of target");
    assert!(upstream.hits().is_empty(), "{:?}", upstream.hits());
    let before = super::resident(&gate);
    let form = gate.path("form");
    let file = std::fs::File::create(&form).unwrap();
    file.set_len(100 << 20).unwrap();
    let (data, url) = (format!("@{}", form.display()), format!("{}/oauth2/token", gate.issuer()));
    for version in ["--http1.1", "--http2"] {
        let ca = gate.path("certs/ca.pem");
        let run = std::process::Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "30",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                version,
                "--data-binary",
                &data,
                &url,
                "--cacert",
            ])
            .arg(ca)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(told == "413" || told == "000", "100 MiB for the token endpoint, {version}: {told}");
        let chunked = "Transfer-Encoding: chunked";
        let ca = gate.path("certs/ca.pem");
        let run = std::process::Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "30",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                version,
                "-H",
                chunked,
                "--data-binary",
                &data,
                &url,
                "--cacert",
            ])
            .arg(ca)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(told != "200", "without a length, {version}: {told}");
    }
    assert!(super::super::process::until(|| super::resident(&gate) < before + 48 * 1024), "memory stays flat");
    assert!(serves(&gate));
}
