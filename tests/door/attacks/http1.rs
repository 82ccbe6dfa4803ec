//! HTTP/1: two readers must not take two different requests out of the same bytes.
use super::{exchange, rig, statuses};

/// What the security list calls the safe answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Safe {
    /// 4xx, and nothing reaches the upstream.
    Refused,
    /// Either that, or exactly one request reaches it, and the connection ends.
    RefusedOrOne,
}
use Safe::{Refused, RefusedOrOne};

const HIDDEN: &str = "GET /admin/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Name, what follows the request line of `POST /pub/<name> HTTP/1.1`, and the safe answer.
fn framing() -> Vec<(&'static str, String, Safe)> {
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let length = chunked.len();
    let host = "Host: localhost\r\n";
    vec![
        ("cl.te", format!("{host}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"), Refused),
        ("te.cl", format!("{host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{chunked}"), Refused),
        ("te.te", format!("{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n{chunked}"), Refused),
        (
            "te.twice",
            format!("{host}Transfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n\r\n{chunked}"),
            Refused,
        ),
        ("te.list", format!("{host}Transfer-Encoding: gzip, chunked\r\n\r\n{chunked}"), Refused),
        ("te.odd", format!("{host}Transfer-Encoding: xchunked\r\n\r\n{chunked}"), Refused),
        ("te.vtab", format!("{host}Transfer-Encoding: \x0bchunked\r\n\r\n{chunked}"), Refused),
        ("te.quoted", format!("{host}Transfer-Encoding: \"chunked\"\r\n\r\n{chunked}"), Refused),
        ("te.space", format!("{host}Transfer-Encoding : chunked\r\n\r\n{chunked}"), Refused),
        ("te.fold", format!("{host}Transfer-Encoding:\r\n chunked\r\n\r\n{chunked}"), Refused),
        ("te.lf", format!("{host}X: y\nTransfer-Encoding: chunked\r\n\r\n{chunked}"), Refused),
        ("cl.twice", format!("{host}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{chunked}"), Refused),
        ("cl.same", format!("{host}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), Refused),
        ("cl.list", format!("{host}Content-Length: 0, {length}\r\n\r\n{chunked}"), Refused),
        ("cl.samelist", format!("{host}Content-Length: 5, 5\r\n\r\nhello"), Refused),
        ("cl.plus", format!("{host}Content-Length: +5\r\n\r\nhello"), Refused),
        ("cl.minus", format!("{host}Content-Length: -5\r\n\r\nhello"), Refused),
        ("cl.hex", format!("{host}Content-Length: 0x5\r\n\r\nhello"), Refused),
        ("cl.empty", format!("{host}Content-Length: \r\n\r\n{HIDDEN}"), Refused),
        ("cl.huge", format!("{host}Content-Length: 99999999999999999999999\r\n\r\nhello"), Refused),
        ("cl.space", format!("{host}Content-Length : 5\r\n\r\nhello"), Refused),
        ("bare-lf", "Host: localhost\nContent-Length: 0\n\n".to_owned() + HIDDEN, Refused),
        ("bare-lf-end", format!("{host}Content-Length: 0\r\n\n{HIDDEN}"), Refused),
        ("bare-cr", format!("{host}X: a\rTransfer-Encoding: chunked\r\n\r\n{chunked}"), Refused),
        ("nul", format!("{host}X: a\0b\r\n\r\n"), Refused),
        ("no-colon", format!("{host}X\r\n\r\n"), Refused),
        ("first-fold", format!(" X: y\r\n{host}\r\n"), Refused),
        ("chunk-lf", format!("{host}Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n{HIDDEN}"), RefusedOrOne),
        (
            "chunk-crcr",
            format!("{host}Transfer-Encoding: chunked\r\n\r\n5\r\rhello\r\r0\r\r\r\r{HIDDEN}"),
            RefusedOrOne,
        ),
        (
            "chunk-ext-lf",
            format!("{host}Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n4c\r\n0\r\n\r\n{HIDDEN}"),
            RefusedOrOne,
        ),
        (
            "chunk-sign",
            format!("{host}Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n{HIDDEN}"),
            RefusedOrOne,
        ),
        (
            "chunk-0x",
            format!("{host}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n{HIDDEN}"),
            RefusedOrOne,
        ),
        (
            "chunk-over",
            format!("{host}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n{HIDDEN}"),
            RefusedOrOne,
        ),
        (
            "chunk-long",
            format!("{host}Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n{HIDDEN}"),
            RefusedOrOne,
        ),
        ("no-host", "X: y\r\n\r\n".to_owned(), Refused),
        ("empty-host", "Host: \r\n\r\n".to_owned(), Refused),
        ("two-hosts", "Host: localhost\r\nHost: evil.example\r\n\r\n".to_owned(), Refused),
        ("same-host-twice", "Host: localhost\r\nHost: localhost\r\n\r\n".to_owned(), Refused),
        ("host-list", "Host: localhost, evil.example\r\n\r\n".to_owned(), Refused),
        ("host-user", "Host: localhost@evil.example\r\n\r\n".to_owned(), Refused),
        ("host-path", "Host: localhost/evil\r\n\r\n".to_owned(), Refused),
        ("host-space", "Host: local host\r\n\r\n".to_owned(), Refused),
        ("expect", format!("{host}Expect: something-else\r\nContent-Length: 5\r\n\r\nhello"), RefusedOrOne),
        ("pseudo", format!("{host}:path: /admin/hidden\r\n\r\n"), Refused),
        (
            "upgrade-h2c",
            format!(
                "{host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n{HIDDEN}"
            ),
            RefusedOrOne,
        ),
        ("upgrade-foo", format!("{host}Connection: upgrade\r\nUpgrade: foo\r\n\r\n{HIDDEN}"), RefusedOrOne),
        ("nominate-host", format!("{host}Connection: close, Host\r\n\r\n"), RefusedOrOne),
    ]
}

#[test]
fn s66_no_framing_trick_makes_a_second_request_of_one_and_every_connection_ends() {
    let (gate, upstream) = rig("");
    let cases = framing();
    let answers: Vec<String> = std::thread::scope(|scope| {
        let send = |name: &str, rest: &str| {
            let bytes = format!("POST /pub/{name} HTTP/1.1\r\n{rest}");
            let gate = &gate;
            scope.spawn(move || exchange(gate, bytes.as_bytes()))
        };
        let all: Vec<_> = cases.iter().map(|(name, rest, _)| send(name, rest)).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let hits = upstream.hits();
    for ((name, _, safe), answer) in cases.iter().zip(&answers) {
        let mine = hits.iter().filter(|h| h.target().starts_with(&format!("/pub/{name}"))).count();
        let told = statuses(answer);
        let refused = told.first().is_none_or(|s| (400..500).contains(s)) && told.len() <= 1;
        match safe {
            Refused => assert!(refused && mine == 0, "{name}: {mine} hits, {answer}"),
            RefusedOrOne => assert!(mine <= 1 && told.len() <= 2, "{name}: {mine} hits, {answer}"),
        }
    }
    assert!(hits.iter().all(|h| !h.line.contains("admin") && !h.line.contains("LF>")), "{hits:?}");
}

#[test]
fn s60_s62_s66_versions_targets_credentials_and_headers_that_lie() {
    let (gate, upstream) = rig("");
    let token = gate.token();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let host = "Host: localhost\r\nConnection: close\r\n";
    // Request, and the statuses that are safe; what is safe at 200 is looked at below.
    let cases = [
        (
            "http/1.0 with chunks",
            format!("POST /pub/old HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
            vec![400],
        ),
        ("http/0.9", "GET /pub/oldest\r\n".to_owned(), vec![400]),
        ("http/2 in clear text", format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{HIDDEN}"), vec![400]),
        ("no method", format!(" /pub/x HTTP/1.1\r\n{host}\r\n"), vec![400]),
        ("connect", format!("CONNECT /admin/hidden HTTP/1.1\r\n{host}\r\n"), vec![400, 405]),
        ("connect to a host", format!("CONNECT admin.example:443 HTTP/1.1\r\n{host}\r\n"), vec![400, 405]),
        ("absolute form", format!("GET https://localhost/admin/x HTTP/1.1\r\n{host}\r\n"), vec![400, 401]),
        ("absolute form of another host", format!("GET http://evil.example/pub/x HTTP/1.1\r\n{host}\r\n"), vec![400]),
        ("asterisk", format!("OPTIONS * HTTP/1.1\r\n{host}\r\n"), vec![400]),
        ("authority", format!("GET localhost:443 HTTP/1.1\r\n{host}\r\n"), vec![400]),
        ("no token", format!("GET /in/x HTTP/1.1\r\n{host}\r\n"), vec![401]),
        ("token in the query", format!("GET /in/x?access_token={token} HTTP/1.1\r\n{host}\r\n"), vec![401]),
        (
            "token in the body",
            format!(
                "POST /in/x HTTP/1.1\r\n{host}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\naccess_token={token}",
                13 + token.len()
            ),
            vec![401],
        ),
        ("two tokens", format!("GET /in/x HTTP/1.1\r\n{host}{bearer}Authorization: Bearer x\r\n\r\n"), vec![400, 401]),
        (
            "two tokens, the other way",
            format!("GET /in/x HTTP/1.1\r\n{host}Authorization: Bearer x\r\n{bearer}\r\n"),
            vec![400, 401],
        ),
        (
            "two schemes",
            format!("GET /in/x HTTP/1.1\r\n{host}{bearer}Authorization: Basic YTpi\r\n\r\n"),
            vec![400, 401],
        ),
        (
            "two schemes, the other way",
            format!("GET /in/x HTTP/1.1\r\n{host}Authorization: Basic YTpi\r\n{bearer}\r\n"),
            vec![400, 401],
        ),
        (
            "two schemes in one",
            format!("GET /in/x HTTP/1.1\r\n{host}Authorization: Basic YTpi, Bearer {token}\r\n\r\n"),
            vec![400, 401],
        ),
        (
            "websocket without a token",
            "GET /in/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".to_owned(),
            vec![401],
        ),
        (
            "method override",
            format!(
                "GET /in/override HTTP/1.1\r\n{host}{bearer}X-HTTP-Method-Override: DELETE\r\nX_HTTP_Method_Override: DELETE\r\nX-Original-URL: /admin/x\r\nX-Rewrite-URL: /admin/x\r\nX-Original-URI: /admin/x\r\nX-Remote-User: root\r\nRemote_User: root\r\nX-Client-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Prefix: /admin\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-User: root\r\nx.forwarded.user: root\r\nX_AUTH_CLIENT: root\r\nX-Auth-Roles: root\r\n\r\n"
            ),
            vec![200],
        ),
        (
            "nominations",
            format!(
                "GET /in/nominated HTTP/1.1\r\nHost: localhost\r\n{bearer}Connection: close, X-Forwarded-User, X-Auth-Client, X-Auth-Scopes, X-Request-Id\r\n\r\n"
            ),
            vec![200],
        ),
        (
            "odd hosts are one host",
            format!("GET /in/host HTTP/1.1\r\nHost: LOCALHOST.:{}\r\nConnection: close\r\n{bearer}\r\n", gate.https),
            vec![200],
        ),
    ];
    let answers: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = cases.iter().map(|(_, bytes, _)| scope.spawn(|| exchange(&gate, bytes.as_bytes()))).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for ((name, _, safe), answer) in cases.iter().zip(&answers) {
        let told = statuses(answer);
        assert!(told.len() <= 1 && told.first().is_none_or(|s| safe.contains(s)), "{name}: {answer}");
        assert!(!told.is_empty() || !safe.contains(&200), "{name}: closed without an answer");
    }
    let hits = upstream.hits();
    let of =
        |target: &str| hits.iter().find(|h| h.target() == target).unwrap_or_else(|| panic!("{target} in {hits:?}"));
    assert_eq!(hits.len(), 3, "{hits:?}");
    for target in ["/in/override", "/in/nominated"] {
        let hit = of(target);
        assert_eq!(hit.header("x-forwarded-user"), ["alice"], "S62: {hit:?}");
        assert_eq!(hit.header("x-auth-client"), ["orders-robot"], "S62: {hit:?}");
        assert_eq!(hit.header("x-auth-scopes"), ["orders:read"], "S62: {hit:?}");
        assert_eq!(hit.header("x-forwarded-for"), ["127.0.0.1"], "{hit:?}");
        assert_eq!(hit.header("x-forwarded-proto"), ["https"], "{hit:?}");
        assert!(hit.header("authorization").is_empty() && hit.line.starts_with("GET "), "{hit:?}");
    }
    let headers = of("/in/override").headers.join("\n").to_ascii_lowercase();
    for foreign in ["root", "6.6.6.6", "evil", "admin", "delete", "gopher"] {
        assert!(!headers.contains(foreign), "{foreign} in {headers}");
    }
    assert_eq!(of("/in/host").header("x-forwarded-host"), ["localhost"]);
}

#[test]
fn s66_what_is_pipelined_behind_a_request_is_judged_by_itself() {
    let (gate, upstream) = rig("");
    let first = "GET /pub/first HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let handshake = "GET /pub/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    std::thread::scope(|scope| {
        for bytes in
            [format!("{first}{HIDDEN}"), format!("{handshake}{HIDDEN}"), format!("{first}{first}{HIDDEN}{first}")]
        {
            let gate = &gate;
            scope.spawn(move || exchange(gate, bytes.as_bytes()));
        }
    });
    let hits = upstream.hits();
    assert!(hits.iter().all(|h| !h.line.contains("admin")), "{hits:?}");
    assert!(hits.iter().all(|h| !String::from_utf8_lossy(&h.body).contains("admin")), "nothing before a 101: {hits:?}");
}
