//! Path confusion: what the guard decided on and what the upstream gets is one and the same path.
use super::{Gate, Recorder, exchange, rig, statuses};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, TestRunner},
};

/// What the most lenient upstream may make of a target: decoded as often as it decodes, dots resolved, slashes merged,
/// parameters dropped, in lower case.
fn lenient(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut text = path.to_owned();
    for _ in 0..4 {
        text = percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned();
    }
    let text = text.replace('\\', "/").replace('\0', "").to_lowercase();
    let mut kept: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default().trim() {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

fn ask(gate: &Gate, target: &[u8], tag: usize) -> String {
    let rest = format!(" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Tag: {tag}\r\n\r\n");
    exchange(gate, &[b"GET ", target, rest.as_bytes()].concat())
}

fn same(upstream: &Recorder, targets: &[Vec<u8>]) {
    for hit in upstream.hits() {
        let tag: usize = hit.header("x-tag")[0].parse().unwrap();
        let sent = String::from_utf8_lossy(&targets[tag]);
        assert!(lenient(hit.target()).starts_with("/pub"), "{sent} reached {}", hit.target());
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
        // What no request line may hold is escaped before anybody looks at it, so that all see the escape.
        let illegal = sent.bytes().any(|b| !b.is_ascii_graphic());
        let same = hit.target() == sent || (illegal && decoded(hit.target()) == decoded(&sent));
        assert!(same, "{sent} reached {}", hit.target());
    }
}

#[test]
fn s66_every_way_of_writing_a_forbidden_path_is_refused() {
    let (gate, upstream) = rig("");
    let odd = [
        "/pub/../admin/x",
        "/pub/%2e%2e/admin/x",
        "/pub/.%2e/admin/x",
        "/pub/%252e%252e/admin/x",
        "/pub%2f..%2fadmin/x",
        "/pub/..%2fadmin/x",
        "//admin/x",
        "/pub//../admin/x",
        "/./admin/x",
        "/admin;x",
        "/pub/..;/admin/x",
        "/pub/;/../admin/x",
        "\\admin\\x",
        "/pub/..\\admin/x",
        "/pub/%5c../admin/x",
        "/%00/admin/x",
        "/pub/%00",
        "/ADMIN/x",
        "/Admin/x",
        "/admin%20/x",
        "/admin/.",
        "/admin/x/",
        "/admin/x/.",
        "/admin./x",
        "/pub/.",
        "/pub/..",
        "/pub/x/..",
        "/%61dmin/x",
        "/pub/%2e",
        "/pub/\u{2024}\u{2024}/admin",
        "/pub/%c0%ae%c0%ae/admin/x",
        "/pub/%u002e%u002e/admin",
        "/pub/x%",
        "/pub/%zz",
        "/pub#/../admin/x",
        "/pub/..?x",
        "/pub/x\t/../admin/x",
        "http://localhost/admin/x",
        "http://localhost@evil/admin/x",
        "/pub/\"x",
        "/pub/<x>",
        "/pub/x^y",
        "/pub/x`y",
        "/pub/{x}",
        "/pub/x|y",
        "",
        "*",
        "?",
        "pub/x",
        "/pub/ ../admin/x",
        "/pub/x?/../../admin",
        "/pub/x?a=/../admin",
        "/pub/x",
        "/pub/x%20y",
        "/pub/%C3%A9",
    ];
    let targets: Vec<Vec<u8>> = odd.iter().map(|t| t.as_bytes().to_vec()).collect();
    let answers: Vec<String> = std::thread::scope(|scope| {
        let gate = &gate;
        let all: Vec<_> = targets.iter().enumerate().map(|(n, t)| scope.spawn(move || ask(gate, t, n))).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (target, answer) in odd.iter().zip(&answers) {
        let status = statuses(answer);
        let plain =
            ["/pub/x", "/pub/x%20y", "/pub/%C3%A9", "/pub/x?/../../admin", "/pub/x?a=/../admin"].contains(target);
        assert_eq!(status.first() == Some(&200), plain, "{target}: {answer}");
        assert!(plain || status.is_empty() || [400, 401, 404].contains(&status[0]), "{target}: {answer}");
    }
    same(&upstream, &targets);
    // Two spellings that an upstream takes for one path, where another route has the other one.
    let guarded = "[[route]]\nname = \"menu\"\npath = \"/pub/caf%C3%A9\"\nscopes = [\"nobody:has\"]\nupstream.addresses = [\"127.0.0.1:1\"]\n\n[[route]]\nname = \"pub\"";
    gate.edit("conf/portcullis.toml", "[[route]]\nname = \"pub\"", guarded);
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    let before = upstream.hits().len();
    for (target, safe) in
        [("/pub/caf%C3%A9", 401), ("/pub/caf%c3%a9", 400), ("/pub/caf%C3%a9?a", 400), ("/pub/x%21", 200)]
    {
        assert_eq!(statuses(&ask(&gate, target.as_bytes(), odd.len() - 1)), [safe], "{target}");
    }
    assert_eq!(upstream.hits().len(), before + 1);
}

/// Targets that are odd in every way that these pieces make.
fn odd_targets() -> Vec<Vec<u8>> {
    let pieces = [
        "/", "/", "/", "pub", "pub", "admin", "..", ".", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";", "%3b", "%00", "%",
        "%25", "%252e", "?", "#", "é", "a", "A", "%41", "%20", "+", "//", "/./", "/../", ":", "@", "&", "=", "~", "*",
        "\u{7f}", "\t", "|", "%c0%af", "%uff0e",
    ];
    let target = proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..9).prop_map(|p| p.concat());
    let start = proptest::sample::select(vec!["", "/pub/", "/pub", "/", "/pub/x"]);
    let odd = (start, target).prop_map(|(start, rest)| start.to_owned() + &rest);
    let mut runner = TestRunner::new(Config::default());
    (0..400).map(|_| odd.new_tree(&mut runner).unwrap().current().into_bytes()).collect()
}

/// Asks for each of `targets`, and compares what the upstream got with what was sent, and with what the guard decided on,
/// which is what the access log tells. `seen` is what of a target reaches the gate at all.
fn guard_and_upstream_agree(ask: fn(&Gate, &[u8], usize), seen: fn(&[u8]) -> &[u8]) {
    let (gate, upstream) = rig("");
    let targets = odd_targets();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (gate, targets) = (&gate, &targets);
            scope.spawn(move || {
                for (n, target) in targets.iter().enumerate().skip(worker).step_by(8) {
                    ask(gate, target, n);
                }
            });
        }
    });
    assert!(!upstream.hits().is_empty(), "some of them are plain");
    let seen: Vec<_> = targets.iter().map(|target| seen(target).to_vec()).collect();
    same(&upstream, &seen);
    let told = || std::fs::read_to_string(gate.path("access.log")).unwrap();
    for hit in upstream.hits() {
        let id = hit.header("x-request-id")[0].to_owned();
        let line = || told().lines().find(|l| l.contains(&id)).map(str::to_owned);
        assert!(super::super::process::until(|| line().is_some()), "{id} is in the log");
        let line: serde_json::Value = serde_json::from_str(&line().unwrap()).unwrap();
        assert_eq!((&line["path"], &line["route"]), (&hit.target().split('?').next().into(), &"pub".into()), "{hit:?}");
    }
}

#[test]
fn s66_for_random_odd_targets_guard_and_upstream_see_the_same_path() {
    guard_and_upstream_agree(|gate, target, tag| drop(ask(gate, target, tag)), |target| target);
}

#[test]
fn s66_for_random_odd_targets_over_http2_guard_and_upstream_see_the_same_path() {
    // The library that reads the frames drops a fragment before anybody sees it, the guard included.
    guard_and_upstream_agree(super::http2::ask, |target| target.split(|b| *b == b'#').next().unwrap());
}
