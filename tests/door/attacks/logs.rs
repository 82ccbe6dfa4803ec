//! Log injection: whatever a client writes, a record stays one line, and a terminal takes no command from it.
use super::{exchange, rig};
use crate::process::until;

#[test]
fn s66_line_breaks_and_escapes_from_a_client_stay_inside_one_record() {
    let (gate, _) = rig("");
    let forged = "%0d%0a%7B%22event%22%3A%22forged%22%7D%1b%5B31m";
    let host = "Host: localhost\r\nConnection: close\r\n";
    exchange(
        &gate,
        format!(
            "GET /pub/x?state={forged} HTTP/1.1\r\n{host}User-Agent: a\x1b[31mb\r\nX: {{\"event\":\"forged\"}}\r\n\r\n"
        )
        .as_bytes(),
    );
    exchange(
        &gate,
        format!("GET /oauth2/authorize?client_id={forged}&state={forged}&response_type=code HTTP/1.1\r\n{host}\r\n")
            .as_bytes(),
    );
    for field in ["client_id", "grant_type", "assertion", "username", "scope"] {
        let form =
            format!("grant_type=client_credentials&client_id=orders-robot&client_secret={forged}&{field}={forged}");
        let head = format!(
            "POST /oauth2/token HTTP/1.1\r\n{host}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            form.len()
        );
        exchange(&gate, (head + &form).as_bytes());
    }
    exchange(&gate, format!("GET /pub/\x1b[31m HTTP/1.1\r\n{host}\r\n").as_bytes());
    exchange(&gate, format!("GET /pub/last HTTP/1.1\r\n{host}\r\n").as_bytes());
    let read = |name: &str| std::fs::read_to_string(gate.path(name)).unwrap();
    assert!(until(|| read("access.log").contains("/pub/last")));
    assert!(until(|| read("audit.log").lines().count() >= 3));
    for name in ["access.log", "audit.log", "stderr"] {
        let text = read(name);
        assert!(!text.contains('\x1b'), "{name}: {text:?}");
        assert!(!text.lines().any(|l| l.starts_with("{\"event\":\"forged\"")), "{name}: {text}");
        for line in text.lines().filter(|l| l.starts_with('{') || name != "stderr") {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{name}: {line}");
        }
    }
}
