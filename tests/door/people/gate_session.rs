//! Browsers that sign in at the gate itself, and those who ask it for a decision alone.
use super::*;

const GATE: &str = "__Host-portcullis-gate";

/// One person with two hosts' cookies: signs in at the gate of `portal.example`.
async fn signed_in<'a>(w: &'a World, rd: &str) -> (Browser<'a>, Browser<'a>, Shown) {
    let (mut portal, mut id) = (Browser::new(w), Browser::new(w));
    portal.host = "portal.example";
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("rd", rd).finish();
    let start = portal.get(&format!("/oauth2/start?{query}")).await;
    assert!(start.to.starts_with(&format!("{ISSUER}/oauth2/authorize?")), "{}", start.to);
    let fields = id.authorize(&start.to, "alice").await;
    let back = portal.get(&format!("/oauth2/callback?code={}&state={}", fields["code"], fields["state"])).await;
    (portal, id, back)
}

async fn asked(b: &mut Browser<'_>) -> Shown {
    b.get("/oauth2/auth").await
}

#[tokio::test]
async fn a_browser_comes_back_with_a_session_that_answers_as_oauth2_proxy_does_and_ends_with_sign_out() {
    let w = world().await;
    let (mut portal, _, back) = signed_in(&w, "/reports?month=5").await;
    assert_eq!((back.status, back.to.as_str()), (303, "/reports?month=5"));
    let yes = asked(&mut portal).await;
    assert_eq!(yes.status, 202);
    for (name, value) in [("user", "alice"), ("email", "alice@example.com"), ("groups", "sales")] {
        assert_eq!(yes.headers[&format!("x-auth-request-{name}")], value);
    }
    assert_eq!(portal.get("/oauth2/auth?allowed_groups=support,sales").await.status, 202);
    for other in ["groups=support", "emails=bob@example.com", "email_domains=other.example", "roles=sales"] {
        assert_eq!(portal.get(&format!("/oauth2/auth?allowed_{other}")).await.status, 403, "{other}");
    }
    let hers = "allowed_groups=support&allowed_groups=sales&allowed_email_domains=example.com";
    assert_eq!(portal.get(&format!("/oauth2/auth?{hers}&allowed_emails=alice@example.com")).await.status, 202);
    let stored = w.store.scan("gate/", w.clock.now()).await.unwrap();
    assert!(stored.len() == 1 && !stored[0].key.contains(&portal.cookies[GATE]), "S56 by digest alone");
    assert!(portal.cookies[GATE].len() == 43, "a small cookie, the state is here");
    portal.headers.push(("sec-fetch-site", "cross-site".to_owned()));
    assert_eq!(portal.get("/oauth2/sign_out").await.status, 400, "S58");
    portal.headers.clear();
    let cookies = portal.cookies.clone();
    assert_eq!(portal.get("/oauth2/sign_out?rd=/bye").await.to, "/bye");
    portal.cookies = cookies;
    assert_eq!(asked(&mut portal).await.status, 401, "S57 the server's state is gone");
    assert_eq!(asked(&mut Browser::new(&w)).await.status, 401);
}

#[tokio::test]
async fn an_administrator_who_takes_an_app_or_a_pair_back_ends_its_browsers_sessions() {
    use portcullis::{
        admin::{Here, Office},
        log::Log,
        policy::in_force::InForce,
    };
    let w = world().await;
    let policy = w.policy.load_full();
    let app = policy.people.sign_in["portal.example"].clone();
    for pair in [false, true] {
        // Tokens end up to the second in which they were issued.
        w.clock.advance(1);
        let (mut portal, ..) = signed_in(&w, "/").await;
        assert_eq!(asked(&mut portal).await.status, 202);
        let in_force = Arc::new(InForce::of(Policy::clone(&policy)));
        let office = Office {
            policy: policy.clone(),
            store: w.store.clone(),
            here: Some(Here { tokens: w.tokens.clone(), in_force }),
            audit: Log::off(),
            by: "ops".to_owned(),
            through: "api",
            now: w.clock.now(),
        };
        if pair { office.revoke_pair(&app, "alice").await } else { office.revoke_app(&app).await }.unwrap();
        assert_eq!(asked(&mut portal).await.status, 401);
        assert!(w.store.scan("gate/", w.clock.now()).await.unwrap().is_empty(), "it cannot open again a day later");
    }
}

#[tokio::test]
async fn a_proxy_that_asks_for_a_decision_names_the_host_and_another_host_gets_nothing() {
    let w = world().await;
    let (portal, ..) = signed_in(&w, "/").await;
    let ask = async |host: &'static str, forwarded: Option<&str>| {
        let mut b = Browser::new(&w);
        (b.host, b.cookies) = (host, portal.cookies.clone());
        b.headers.extend(forwarded.map(|f| ("x-forwarded-host", f.to_owned())));
        asked(&mut b).await.status
    };
    assert_eq!(ask("portal.example", None).await, 202);
    assert_eq!(ask("auth.internal", Some("Portal.example")).await, 202, "Traefik's forwardAuth");
    assert_eq!(ask("second.example", None).await, 401, "a cookie carried over by hand");
    assert_eq!(ask("portal.example", Some("second.example")).await, 401);
}

#[tokio::test]
async fn s54_nobody_is_led_away_and_the_way_back_belongs_to_one_browser() {
    let w = world().await;
    for (rd, to) in [
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://portal.example.evil.example/", "/"),
        ("https://portal.example@evil.example/", "/"),
        ("https://portal.example//evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("https://portal.example/a?b", "/a?b"),
        ("https://second.example/a", "https://second.example/a"),
    ] {
        assert_eq!(signed_in(&w, rd).await.2.to, to, "S54 {rd}");
    }
    let mut portal = Browser::new(&w);
    portal.host = "portal.example";
    let start = portal.get("/oauth2/start").await;
    let mut id = Browser::new(&w);
    let fields = id.authorize(&start.to, "alice").await;
    let callback = format!("/oauth2/callback?code={}&state={}", fields["code"], fields["state"]);
    let mut thief = Browser::new(&w);
    thief.host = "portal.example";
    assert_eq!(thief.get(&callback).await.status, 400, "begun in another browser");
    thief.get("/oauth2/start").await;
    let other = thief.get(&callback).await;
    assert_eq!(other.to, "/oauth2/start?rd=%2F", "another way's state: this browser signs in for itself");
    assert!(!thief.cookies.contains_key(GATE));
    let forged = format!("/oauth2/callback?code={}&state=x", fields["code"]);
    assert_eq!(portal.get(&forged).await.status, 400);
    let cookies = portal.cookies.clone();
    assert_eq!(portal.get(&callback).await.status, 303);
    portal.cookies = cookies;
    assert_eq!(portal.get(&callback).await.status, 400, "S23");
    let mut nowhere = Browser::new(&w);
    nowhere.host = "unknown.example";
    assert_eq!(nowhere.get("/oauth2/start").await.status, 400, "nobody signs in there");
}

#[tokio::test]
async fn who_says_no_or_may_not_use_the_app_is_told_so_at_the_gate() {
    let w = world().await;
    let begin = async || {
        let (mut portal, mut id) = (Browser::new(&w), Browser::new(&w));
        portal.host = "portal.example";
        let start = portal.get("/oauth2/start").await;
        let login = id.visit(&start.to).await;
        let shown = id.sign_in(&login, "bob").await;
        (portal, id, shown)
    };
    let (mut portal, mut id, consent) = begin().await;
    let to = id.submit(&consent, &[("decision", "deny")]).await.to;
    let told = portal.get(to.strip_prefix("https://portal.example").unwrap()).await;
    assert!(told.status == 400 && told.body.contains("You said no"), "{} {}", told.status, told.body);
    w.reload(|policy| {
        let mut app = app("portal");
        app.approval = Approval::Admin(["sales".to_owned()].into());
        policy.clients.insert("portal".into(), Arc::new(app));
    });
    let (mut portal, _, refused) = begin().await;
    let told = portal.get(refused.to.strip_prefix("https://portal.example").unwrap()).await;
    assert!(told.status == 400 && told.body.contains("No access to this app"), "{}", told.body);
    let gone = portal.get("/oauth2/authorize?client_id=web&request_uri=urn:ietf:params:oauth:request_uri:x").await;
    assert!(gone.body.contains("This sign-in is over"), "{}", gone.body);
}

#[tokio::test]
async fn s57_what_lives_by_a_sign_on_session_ends_with_it_however_late_it_came() {
    let w = world().await;
    let (_, mut id, _) = signed_in(&w, "/").await;
    for _ in 0..3 {
        w.clock.advance(7 * 3600);
        assert!(id.visit("/oauth2/account").await.body.contains("The portal app"), "in use");
    }
    w.clock.advance(2 * 3600);
    let mut portal = Browser::new(&w);
    portal.host = "portal.example";
    let start = portal.get("/oauth2/start").await;
    let fields = answer(&id.visit(&start.to).await);
    portal.get(&format!("/oauth2/callback?code={}&state={}", fields["code"], fields["state"])).await;
    w.clock.advance(3300);
    let code = id.authorize(&request("web", &[("scope", "openid read")]), "alice").await["code"].clone();
    assert_eq!(redeem(&w, "web", &code, &[]).await.1["expires_in"], 300, "of 600");
    let code = id.authorize(&request("web", &[]), "alice").await["code"].clone();
    assert_eq!(redeem(&w, "web", &code, &[]).await.1["expires_in"], 600, "what goes on while they are away");
    w.clock.advance(299);
    assert_eq!(asked(&mut portal).await.status, 202);
    let last = id.authorize(&request("web", &[]), "alice").await["code"].clone();
    w.clock.advance(1);
    assert_eq!(asked(&mut portal).await.status, 401, "24 hours from the sign-on, one from the callback");
    assert_eq!(redeem(&w, "web", &last, &[]).await.1["error"], "invalid_grant", "a code of a session that is over");
}

#[tokio::test]
async fn s57_what_ends_the_person_s_session_the_app_or_the_yes_ends_it_at_the_gate() {
    let w = world().await;
    let (mut portal, mut id, _) = signed_in(&w, "/").await;
    let page = id.visit("/oauth2/logout").await;
    id.submit(&page, &[("confirm", "yes")]).await;
    assert_eq!(asked(&mut portal).await.status, 401, "signed out at the provider");

    let (mut portal, mut id, _) = signed_in(&w, "/").await;
    let page = id.visit("/oauth2/account").await;
    assert!(page.body.contains("The portal app"));
    id.submit(&page, &[("action", "revoke")]).await;
    assert_eq!(asked(&mut portal).await.status, 401, "the yes was taken back");

    let (mut portal, mut id, _) = signed_in(&w, "/").await;
    w.clock.advance(23 * 3600);
    assert_eq!(asked(&mut portal).await.status, 401, "S57 idle");
    let page = id.visit(&request("web", &[])).await;
    assert!(page.body.contains("name=\"password\""));

    let (mut portal, ..) = signed_in(&w, "/").await;
    assert_eq!(asked(&mut portal).await.status, 202);
    w.reload(|policy| {
        let mut app = app("portal");
        app.blocked = true;
        policy.clients.insert("portal".into(), Arc::new(app));
    });
    assert_eq!(asked(&mut portal).await.status, 401, "a blocked app");
}

#[tokio::test]
async fn s14_every_tab_that_begins_to_sign_in_at_the_gate_comes_home() {
    let w = world().await;
    let (mut portal, mut id) = (Browser::new(&w), Browser::new(&w));
    portal.host = "portal.example";
    let back = |fields: &BTreeMap<String, String>| {
        format!("/oauth2/callback?code={}&state={}", fields["code"], fields["state"])
    };
    // One after the other, and the later one is the first to come back.
    let starts = [portal.get("/oauth2/start?rd=/first").await.to, portal.get("/oauth2/start?rd=/second").await.to];
    for (start, rd) in [(&starts[1], "/second"), (&starts[0], "/first")] {
        let fields = id.authorize(start, "alice").await;
        assert_eq!(portal.get(&back(&fields)).await.to, rd);
        assert_eq!(asked(&mut portal).await.status, 202, "{rd}");
    }
    // At once: neither knows the other's cookie, and the browser keeps the later one.
    let mut portal = Browser::new(&w);
    portal.host = "portal.example";
    let first = portal.get("/oauth2/start?rd=/first").await.to;
    portal.cookies.clear();
    let second = portal.get("/oauth2/start?rd=/second").await.to;
    let lost = portal.get(&back(&id.authorize(&first, "alice").await)).await;
    assert_eq!(lost.to, "/oauth2/start?rd=%2Ffirst", "once more, by itself");
    let start = portal.get(&lost.to).await.to;
    assert_eq!(portal.get(&back(&id.authorize(&start, "alice").await)).await.to, "/first");
    assert_eq!(portal.get(&back(&id.authorize(&second, "alice").await)).await.to, "/second");
    // Somebody who took an hour over it begins again; a browser that keeps no cookies is told so.
    let start = portal.get("/oauth2/start?rd=/late").await.to;
    let fields = id.authorize(&start, "alice").await;
    w.clock.advance(3600);
    assert_eq!(portal.get(&back(&fields)).await.to, "/oauth2/start?rd=%2Flate");
    portal.cookies.clear();
    assert_eq!(portal.get(&back(&fields)).await.status, 400);
}
