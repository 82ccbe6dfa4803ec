//! A person's browser at the gate: words where a program gets JSON, and the way to sign in where that helps.
use crate::{browser, process::Gate};
use std::time::Duration;

/// A browser by curl: it keeps cookies, and goes where it is sent.
struct Browser<'a> {
    gate: &'a Gate,
    jar: String,
}

impl Browser<'_> {
    /// Status, media type, where it ended, and what it shows.
    fn open(&self, path: &str, more: &[&str]) -> (String, String) {
        let url = if path.starts_with('/') { format!("{}{path}", self.gate.issuer()) } else { path.to_owned() };
        let told = "\n%{http_code} %{content_type} %{url_effective}";
        let accept = "Accept: text/html,application/xhtml+xml";
        let usual = ["--http1.1", "-b", &self.jar, "-c", &self.jar, "-w", told, "-H", accept];
        let shown = self.gate.curl(&[&usual[..], more, &[&url]].concat());
        let (page, told) = shown.rsplit_once('\n').unwrap();
        (told.to_owned(), page.to_owned())
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}")).1.split(after).next().unwrap()
}

#[test]
fn who_browses_is_sent_to_sign_in_where_that_helps_and_told_in_words_where_it_does_not() {
    let mut gate = Gate::prepare();
    browser::people(&gate, &["alice"]);
    gate.edit("conf/apps/portal.toml", "approval = \"self\"", "approval = { admin = [\"sales\"] }");
    gate.run();
    let alice = Browser { gate: &gate, jar: gate.path("jar").display().to_string() };
    let (told, page) = alice.open("/portal/x?a=b", &["-L"]);
    assert!(told.contains("/oauth2/login"), "{told}");
    let action = between(&page, "action=\"", "\"").replace("&#x2f;", "/");
    let form = format!(
        "csrf={}&username=alice&password={}",
        between(&page, "name=\"csrf\" value=\"", "\""),
        browser::PASSWORD.replace(' ', "+")
    );
    let (told, page) = alice.open(&action, &["-L", "-d", &form]);
    assert!(told.starts_with("200 ") && told.ends_with("/portal/x?a=b"), "{told} {page}");
    assert!(page.contains("\"x-forwarded-user\":\"alice\""), "{page}");

    // A page of another origin opens no WebSocket with her session.
    let handshake = "Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==|Sec-Fetch-Mode: websocket";
    let socket = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let headers: Vec<&str> = handshake.split('|').chain([&*origin]).flat_map(|h| ["-H", h]).collect();
        alice.open("/portal/ws", &headers).0
    };
    // The example API speaks no WebSocket: what reaches it is answered with 200.
    assert!(socket(&gate.issuer()).starts_with("200 "));
    for elsewhere in ["https://evil.example", "https://localhost", "null"] {
        assert!(socket(elsewhere).starts_with("401 "), "{elsewhere}");
    }

    // What signing in does not help against is said in words, to a person.
    gate.edit(
        "conf/portcullis.toml",
        "auth = \"session\"\nscopes = [\"orders:read\"]",
        "auth = \"session\"\nscopes = [\"nobody:has\"]",
    );
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    let (told, page) = alice.open("/portal/x", &["-H", "Accept-Language: de"]);
    assert!(
        told.starts_with("403 text/html") && page.contains("lang=\"de\"") && page.contains("<h1>"),
        "{told} {page}"
    );
    let (told, page) = alice.open("/portal/x", &["-H", "Sec-Fetch-Mode: cors"]);
    assert!(told.starts_with("403 application/json") && page.contains("insufficient_scope"), "{told} {page}");

    // A session that is too old for its app is renewed on the way, without a password: they are signed in.
    gate.edit("conf/portcullis.toml", "nobody:has", "orders:read");
    gate.edit("conf/apps/portal.toml", "auth = ", "session_timeout = 7\nauth = ");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    std::thread::sleep(Duration::from_secs(8));
    let (told, page) = alice.open("/portal/x", &["-H", "Sec-Fetch-Mode: cors"]);
    assert!(told.starts_with("401 application/json") && page.contains("invalid_token"), "{told} {page}");
    let (told, page) = alice.open("/portal/x?again", &[]);
    assert!(told.starts_with("303"), "{told} {page}");
    let (told, page) = alice.open("/portal/x?again", &["-L"]);
    assert!(told.starts_with("200 ") && told.ends_with("/portal/x?again"), "{told} {page}");

    // The upstream is gone: that too is told to a person in words.
    gate.edit("conf/portcullis.toml", &format!("[\"127.0.0.1:{}\"]", gate.example), "[\"127.0.0.1:1\"]");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    let (told, page) = alice.open("/portal/x", &[]);
    assert!(told.starts_with("502 text/html") && page.contains("<h1>"), "{told} {page}");
    let (told, page) = alice.open("/portal/x", &["-H", "Sec-Fetch-Mode: cors"]);
    assert!(told.starts_with("502 application/json") && page.contains("bad_gateway"), "{told} {page}");

    // An app for another resource would let nobody in, however often they signed in to it.
    gate.edit("conf/portcullis.toml", "auth = \"session\"", "auth = \"session\"\nresource = \"https://other.example\"");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    let (told, page) = alice.open("/portal/x", &[]);
    assert!(told.starts_with("401 text/html") && page.contains("<h1>"), "{told} {page}");
}
