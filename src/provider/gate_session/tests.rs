//! Rules of the sessions at the gate.
use super::*;

#[test]
fn a_question_is_decided_as_oauth2_proxy_decides_it() {
    let ask = |query: &str| allowed(query, &["sales", "ops"], Some("alice@eu.example.com"));
    for yes in [
        "",
        "rd=/x",
        "allowed_groups=",
        "allowed_groups=support,sales",
        "allowed_groups=support&allowed_groups=ops",
        "allowed_emails=bob@example.com,alice@eu.example.com&allowed_groups=ops",
        "allowed_email_domains=other.example,EU.example.com",
        "allowed_email_domains=.example.com",
        "allowed_email_domains=.eu.example.com",
        "allowed_email_domains=*.example.com",
    ] {
        assert!(ask(yes), "{yes}");
    }
    for no in [
        "allowed_groups=support",
        "allowed_groups=,",
        "allowed_emails=bob@example.com",
        "allowed_emails=bob@example.com&allowed_groups=sales",
        "allowed_email_domains=example.com",
        "allowed_email_domains=u.example.com",
        "allowed_email_domains=*.eu.example.com",
        "allowed_email_domains=*",
        "allowed_roles=admin",
    ] {
        assert!(!ask(no), "{no}");
    }
    for query in ["allowed_emails=alice@example.com", "allowed_email_domains=example.com"] {
        assert!(!allowed(query, &[], None) && !allowed(query, &[], Some("a@b@example.com")), "{query}");
    }
}
