//! Requests of apps, checked and answered.
use super::*;

#[tokio::test]
async fn s9_s12_s15_first_time_login_and_consent_then_straight_on() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let page = b.visit(&request("web", &[("login_hint", "alice")])).await;
    assert!(page.body.contains("value=\"alice\"") && page.body.contains("The web app"), "S15 login_hint");
    let wrong = b.submit(&page, &[("username", "alice"), ("password", "nope")]).await;
    let unknown = b.submit(&page, &[("username", "nobody"), ("password", "nope")]).await;
    assert_eq!((wrong.status, unknown.status), (401, 401));
    assert_eq!(
        wrong.body.replace("alice", "nobody").split("problem").nth(1).unwrap()[..60],
        unknown.body.split("problem").nth(1).unwrap()[..60],
        "S59 no enumeration by text"
    );
    let consent = b.sign_in(&page, "alice").await;
    assert!(consent.body.contains("The web app asks for access") && consent.body.contains("Know who you are"), "S12");
    let back = b.submit(&consent, &[("decision", "allow")]).await;
    let answer = answer(&back);
    assert_eq!((answer["state"].as_str(), answer["iss"].as_str()), ("xyz", ISSUER), "S9");
    let (status, body) = redeem(&w, "web", &answer["code"], &[]).await;
    assert_eq!(status, 200);
    assert!(body["id_token"].is_string() && body["refresh_token"].is_string() && opens(&w, &body["access_token"]));
    let straight = b.get(&request("web", &[("prompt", "none")])).await;
    assert!(straight.to.starts_with(CALLBACK) && straight.to.contains("code="), "S12 remembered");
    let more = b.get(&request("web", &[("prompt", "none"), ("scope", "openid write")])).await;
    assert!(more.to.contains("error=consent_required"), "S12 a scope never agreed to");
    let asked = b.visit(&request("web", &[("prompt", "consent")])).await;
    let denied = b.submit(&asked, &[("decision", "deny")]).await;
    assert!(denied.to.contains("error=access_denied"));
    assert!(b.visit(&request("web", &[("prompt", "login")])).await.body.contains("name=\"password\""), "S15");
    w.clock.advance(100);
    assert!(b.visit(&request("web", &[("max_age", "50")])).await.body.contains("name=\"password\""), "S15 max_age");
    assert!(b.get(&request("web", &[("max_age", "500")])).await.to.contains("code="), "S15 max_age");
    assert!(b.visit(&request("web", &[("prompt", "select_account")])).await.body.contains("Choose an account"));
    let nobody = Browser::new(&w).get(&request("web", &[("prompt", "none")])).await;
    assert!(nobody.to.contains("error=login_required"), "S15 prompt=none");
}

#[tokio::test]
async fn f12_what_a_reload_takes_away_is_not_given_to_a_request_under_way() {
    type Change = fn(&mut Client);
    let changes: [(&str, Change); 4] = [
        ("web", |c| c.interactive.redirect_uris = vec!["https://app.example/new".to_owned()]),
        ("web", |c| c.interactive.response_types.clear()),
        ("web", |c| c.blocked = true),
        ("implicit", |c| c.interactive.response_types = ["code".to_owned()].into()),
    ];
    for (app, change) in changes {
        let w = world().await;
        let more: &[_] = if app == "implicit" {
            &[("response_type", "token"), ("code_challenge", ""), ("code_challenge_method", "")]
        } else {
            &[]
        };
        let mut b = Browser::new(&w);
        let login = b.visit(&request(app, more)).await;
        w.reload(|policy| {
            let mut client = (*policy.clients[app]).clone();
            change(&mut client);
            policy.clients.insert(app.into(), Arc::new(client));
        });
        let shown = b.sign_in(&login, "alice").await;
        assert!(
            shown.status == 400 && shown.to.is_empty() && shown.body.contains("<h1>"),
            "{app} {} {}",
            shown.status,
            shown.to
        );
        assert!(!shown.body.contains("name=\"decision\""), "{app}: nobody is asked");
    }
}

#[tokio::test]
async fn s1_to_s8_s13_requests_are_checked_before_anybody_is_asked() {
    let w = world().await;
    let mut b = Browser::new(&w);
    for bad in [
        request("nobody", &[]),
        request("web", &[("redirect_uri", "https://app.example/cb/")]),
        request("web", &[("redirect_uri", "https://evil.example/cb")]),
        request("web", &[("client_id", "")]),
        format!("{}&state=again", request("web", &[])),
    ] {
        let shown = b.get(&bad).await;
        assert!(shown.status == 400 && shown.to.is_empty() && shown.body.contains("<h1>"), "S1, S2, S6 {bad}");
    }
    for (change, error) in [
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("response_type", "token"), "unauthorized_client"),
        (("response_type", "nonsense"), "unsupported_response_type"),
        (("response_mode", "smoke"), "invalid_request"),
        (("scope", "read everything"), "invalid_scope"),
        (("prompt", "none login"), "invalid_request"),
        (("prompt", "dance"), "invalid_request"),
        (("max_age", "-1"), "invalid_request"),
        (("resource", "https://other.example"), "invalid_target"),
        (("claims", "[]"), "invalid_request"),
        (("request", "eyJ"), "request_not_supported"),
        (("nonce", &*"n".repeat(3000)), "invalid_request"),
    ] {
        let shown = b.get(&request("web", &[change])).await;
        assert!(
            shown.to.replace('#', "?").starts_with(&format!("{CALLBACK}?error={error}&")),
            "S4, S13 {change:?} {}",
            shown.to
        );
        assert!(shown.to.contains("state=xyz") && shown.to.contains("iss="), "{}", shown.to);
    }
    assert!(b.get(&request("web", &[("unheard", "of")])).await.to.contains("/oauth2/login"), "S7");
}

#[tokio::test]
async fn s14_the_interaction_cannot_be_edited_or_carried_to_another_browser_and_goes_back() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let to = b.get(&request("web", &[])).await.to;
    let page = b.get(&to).await;
    let consent = b.sign_in(&page, "alice").await;
    assert!(b.get(&to).await.body.contains("name=\"password\""), "S14 back button");
    let again = b.sign_in(&page, "alice").await;
    assert!(again.body.contains("value=\"allow\""), "S14 the old form still leads on");
    let edited = format!("{}x", &to[..to.len() - 1]);
    assert_eq!(b.get(&edited).await.status, 400, "S14");
    let other = Browser::new(&w).get(&to).await;
    assert!(other.status == 400 && other.body.contains("another browser"), "S14 {}", other.body);
    w.clock.advance(4000);
    assert_eq!(b.submit(&consent, &[("decision", "allow")]).await.status, 400, "S14 too old");
}

#[tokio::test]
async fn the_user_agent_flow_answers_in_the_fragment_and_a_pushed_request_works_once() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let target = request("implicit", &[("response_type", "token id_token"), ("nonce", "n1")]);
    let login = b.visit(&target).await;
    let consent = b.sign_in(&login, "alice").await;
    let back = b.submit(&consent, &[("decision", "allow")]).await;
    assert!(back.to.starts_with(&format!("{CALLBACK}#")), "{}", back.to);
    let fields = answer(&back);
    assert!(fields.contains_key("id_token") && !fields.contains_key("refresh_token"));
    assert!(opens(&w, &fields["access_token"].as_str().into()));
    let posted = b.get(&request("implicit", &[("response_type", "token"), ("response_mode", "form_post")])).await;
    assert!(
        posted.body.contains("name=\"access_token\"")
            && posted.headers["content-security-policy"].to_str().unwrap().contains("form-action 'self' https:;")
    );
    let pushed = request("web", &[]);
    let fields: Vec<(String, String)> =
        form_urlencoded::parse(pushed.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let response = w.post("/oauth2/par", None, &fields).await;
    assert_eq!(response.status(), 201);
    let uri = read(&response)["request_uri"].as_str().unwrap().to_owned();
    let target = format!("/oauth2/authorize?client_id=web&request_uri={uri}");
    assert!(b.authorize(&target, "alice").await.contains_key("code"));
    assert_eq!(b.get(&target).await.status, 400, "once");
}

#[tokio::test]
async fn an_app_for_some_is_refused_to_others_and_asks_nobody() {
    let w = world().await;
    let login = |b: &mut Browser<'_>| drop(b.cookies.clone());
    let mut alice = Browser::new(&w);
    login(&mut alice);
    let page = alice.visit(&request("admin", &[])).await;
    assert!(alice.sign_in(&page, "alice").await.to.contains("code="), "no consent page");
    let mut bob = Browser::new(&w);
    let page = bob.visit(&request("admin", &[])).await;
    assert!(bob.sign_in(&page, "bob").await.to.contains("error=access_denied"));
}

#[tokio::test]
async fn a_request_posted_from_the_app_s_site_finds_the_person_signed_in() {
    let w = world().await;
    let (_, mut b) = tokens(&w, "web").await;
    let target = request("web", &[]);
    let fields: Vec<(String, String)> =
        form_urlencoded::parse(target.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    // A browser sends no SameSite=Lax cookie with a form of another site.
    let cookies = std::mem::take(&mut b.cookies);
    let posted = b.post("/oauth2/authorize", &fields).await;
    assert!(b.cookies.is_empty(), "and keeps the ones it has");
    b.cookies = cookies;
    assert!(b.visit(&posted.to).await.to.contains("code="), "{}", posted.to);
    let twice = [&fields[..], &[("state", "again")]].concat();
    assert_eq!(b.post("/oauth2/authorize", &twice).await.status, 400, "S6");
}

#[tokio::test]
async fn s15_acr_values_asks_for_a_second_factor_and_id_token_hint_for_one_person() {
    let w = world().await;
    let (body, mut b) = tokens(&w, "web").await;
    let high = request("web", &[("acr_values", "urn:portcullis:high_assurance urn:portcullis:standard")]);
    assert!(b.visit(&high).await.body.contains("Set up a second factor"));
    let low = request("web", &[("acr_values", "urn:else urn:portcullis:standard")]);
    assert!(b.get(&low).await.to.contains("code="), "a wish that is not known is no condition");
    let hint = ("id_token_hint", body["id_token"].as_str().unwrap());
    assert!(b.get(&request("web", &[hint, ("prompt", "none")])).await.to.contains("code="));
    let mut bob = Browser::new(&w);
    bob.authorize(&request("web", &[]), "bob").await;
    let silent = bob.get(&request("web", &[hint, ("prompt", "none")])).await;
    assert!(silent.to.contains("error=login_required"), "{}", silent.to);
    let page = bob.visit(&request("web", &[hint])).await;
    assert!(page.body.contains("name=\"password\"") && page.body.contains("value=\"alice\""), "as whom");
    assert!(bob.sign_in(&page, "bob").await.to.contains("error=login_required"), "still somebody else");
    let other = b.get(&request("other", &[hint])).await;
    assert!(other.to.contains("error=invalid_request"), "a hint that another app got");
}

#[tokio::test]
async fn s58_no_form_is_taken_without_the_browser_s_own_secret() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let at =
        |shown: &Shown| shown.body.split("action=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/");
    let login = b.visit(&request("web", &[])).await;
    let consent = b.sign_in(&login, "alice").await;
    let select = b.visit(&request("web", &[("prompt", "select_account")])).await;
    let factor = b.visit(&request("strict", &[])).await;
    let started = read(&w.post("/oauth2/device_authorization", None, &[("client_id", "web")]).await);
    let code = started["user_code"].as_str().unwrap();
    for (page, target, fields) in [
        ("login", at(&login), vec![("username", "alice"), ("password", PASSWORD)]),
        ("consent", at(&consent), vec![("decision", "allow")]),
        ("select", at(&select), vec![("choice", "same")]),
        ("second factor", at(&factor), vec![("code", "123456")]),
        ("device", "/oauth2/device".to_owned(), vec![("user_code", code), ("decision", "allow")]),
        ("account", "/oauth2/account".to_owned(), vec![("action", "sign_out_everywhere")]),
        ("logout", "/oauth2/logout".to_owned(), vec![("confirm", "yes")]),
    ] {
        let shown = b.post(&target, &fields).await;
        assert!(shown.status == 400 && shown.body.contains("did not come from here"), "S58 {page} {}", shown.body);
        let guessed = [&fields[..], &[("csrf", "x")]].concat();
        assert_eq!(b.post(&target, &guessed).await.status, 400, "S58 {page}");
    }
    let still = b.get(&request("web", &[("prompt", "none")])).await;
    assert!(still.to.contains("error=consent_required"), "signed in as before, and nothing was agreed to");
}

#[tokio::test]
async fn s15_claims_may_mean_one_person_and_one_level() {
    let w = world().await;
    let mut b = Browser::new(&w);
    b.authorize(&request("web", &[]), "alice").await;
    let asking = |claims: &Value, more: &[(&str, &str)]| {
        let claims = claims.to_string();
        request("web", &[&[("claims", &*claims), ("scope", "openid read")], more].concat())
    };
    let silent = [("prompt", "none")];
    for member in ["id_token", "userinfo"] {
        let of = |name: &str| json!({member: {"sub": {"value": name}}});
        assert!(b.get(&asking(&of("alice"), &silent)).await.to.contains("code="));
        assert!(b.get(&asking(&of("bob"), &silent)).await.to.contains("error=login_required"), "{member}");
        let page = b.visit(&asking(&of("bob"), &[])).await;
        assert!(page.body.contains("name=\"password\"") && page.body.contains("value=\"bob\""), "as whom");
        let answer = b.sign_in(&page, "alice").await.to;
        assert!(answer.contains("error=login_required") && !answer.contains("code="), "{answer}");
    }
    let both = json!({"id_token": {"sub": {"values": ["alice", "bob"]}}});
    assert!(b.get(&asking(&both, &[])).await.to.contains("error=invalid_request"));

    let acr =
        |essential: bool, values: &[&str]| json!({"id_token": {"acr": {"essential": essential, "values": values}}});
    let (standard, high) = ("urn:portcullis:standard", "urn:portcullis:high_assurance");
    for unknown in [acr(true, &["urn:else"]), json!({"id_token": {"acr": {"essential": true, "value": "urn:else"}}})] {
        let refused = b.get(&asking(&unknown, &silent)).await.to;
        assert!(refused.contains("error=unmet_authentication_requirements"), "{refused}");
    }
    assert!(b.get(&asking(&acr(false, &["urn:else"]), &silent)).await.to.contains("code="), "a wish");
    for asked in [acr(true, &[high]), acr(true, &["urn:else", high]), acr(false, &[high])] {
        let to = b.get(&asking(&asked, &silent)).await.to;
        assert!(to.contains("error=interaction_required"), "{to}");
    }
    let page = b.visit(&asking(&acr(true, &[high]), &[])).await;
    let secret = page.body.split("id=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let secret = totp_rs::Secret::Encoded(secret).to_bytes().unwrap();
    let totp = totp_rs::TOTP::new_unchecked(totp_rs::Algorithm::SHA1, 6, 1, 30, secret);
    let code = totp.generate(w.clock.now().0.unsigned_abs());
    let on = b.submit(&page, &[("code", &code)]).await;
    let told = async |answer: &BTreeMap<String, String>| {
        let body = redeem(&w, "web", &answer["code"], &[]).await.1;
        w.tokens.verify_claims("JWT", body["id_token"].as_str().unwrap(), w.clock.now()).unwrap()["acr"].clone()
    };
    assert_eq!(told(&answer(&b.follow(on).await)).await, high);
    for (asked, wanted) in [
        (acr(true, &[standard]), standard),
        (acr(true, &[standard, high]), high),
        (acr(false, &[standard]), high),
        (acr(true, &[high]), high),
    ] {
        assert_eq!(told(&answer(&b.get(&asking(&asked, &silent)).await)).await, wanted, "{asked}");
    }
    let low = acr(true, &[standard]).to_string();
    let strict = b.get(&request("strict", &[("claims", &low)])).await.to;
    assert!(strict.contains("error=unmet_authentication_requirements"), "the app's own policy asks for more: {strict}");
}

#[tokio::test]
async fn s14_an_interaction_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn portcullis::store::Store> {
        Arc::new(portcullis::store::sqlite::SqliteStore::open(&folder.path().join("store.db"), None).unwrap())
    };
    let mut w = world_over(open(), people).await;
    let mut b = Browser::new(&w);
    let mut page = b.visit(&request("web", &[])).await;
    for step in ["login", "consent"] {
        let (cookies, before) = (b.cookies.clone(), page);
        w = w.restarted(open()).await;
        b = Browser::new(&w);
        b.cookies = cookies;
        page = match step {
            "login" => b.sign_in(&before, "alice").await,
            _ => b.submit(&before, &[("decision", "allow")]).await,
        };
    }
    assert_eq!(redeem(&w, "web", &answer(&page)["code"], &[]).await.0, 200, "S14 {}", page.body);
}

#[tokio::test]
async fn s1_s13_what_was_begun_before_the_policy_became_stricter_is_answered_by_the_new_one() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let login = b.visit(&request("web", &[])).await;
    let consent = b.sign_in(&login, "alice").await;
    let implicit = b.visit(&request("implicit", &[("response_type", "token")])).await;
    w.reload(|policy| {
        let mut web = app("web");
        web.interactive.redirect_uris = vec!["https://app.example/moved".to_owned()];
        policy.clients.insert("web".into(), Arc::new(web));
        policy.clients.insert("implicit".into(), Arc::new(app("implicit")));
    });
    let refused = b.submit(&consent, &[("decision", "allow")]).await;
    assert!(refused.status == 400 && refused.to.is_empty() && refused.body.contains("Wrong return address"), "S1");
    let refused = b.submit(&implicit, &[("decision", "allow")]).await;
    assert!(refused.status == 400 && refused.to.is_empty(), "S13 {}", refused.to);
}

#[tokio::test]
async fn s58_a_page_that_one_person_left_open_acts_for_nobody_who_has_signed_in_since() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let login = b.visit(&request("web", &[])).await;
    let consent = b.sign_in(&login, "alice").await;
    let select = b.visit(&request("web", &[("prompt", "select_account")])).await;
    let account = b.visit("/oauth2/account").await;
    let started = read(&w.post("/oauth2/device_authorization", None, &[("client_id", "web")]).await);
    let device = b.visit(&format!("/oauth2/device?user_code={}", started["user_code"].as_str().unwrap())).await;
    let enrol = b.visit(&request("strict", &[])).await;
    for (page, whose) in [(&consent, "alice"), (&select, "alice"), (&account, "alice"), (&device, "alice")] {
        assert!(page.body.contains(whose), "{}", page.body);
    }
    let other = b.visit(&request("other", &[("prompt", "login")])).await;
    assert!(b.sign_in(&other, "bob").await.body.contains("bob"));

    let again = b.submit(&consent, &[("decision", "allow")]).await;
    assert!(again.status == 200 && again.to.is_empty(), "S58 {}", again.to);
    assert!(again.body.contains("You are signed in as bob") && again.body.contains("value=\"allow\""), "asked himself");
    let again = b.submit(&select, &[("choice", "same")]).await;
    assert!(again.status == 200 && again.body.contains("Go on as bob"), "S58 {}", again.body);
    let again = b.submit(&device, &[("decision", "allow")]).await;
    assert!(again.body.contains("You are signed in as bob") && !again.body.contains("All set"), "S58 {}", again.body);
    let again = b.submit(&enrol, &[("code", "123456")]).await;
    assert!(again.status == 200 && again.body.contains("id=\"secret\""), "S58 a secret of his own: {}", again.body);
    let secret = |page: &Shown| page.body.split("id=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert_ne!(secret(&enrol), secret(&again), "S58 and not the one that somebody else has seen");
    assert!(w.store.scan("approval/", w.clock.now()).await.unwrap().is_empty(), "nobody has said yes");
    let again = b.submit(&account, &[("action", "sign_out_everywhere")]).await;
    assert!(again.status == 200 && again.body.contains("bob") && !again.body.contains("Signed out"), "S58");
    // What the page that he was shown asks, he answers.
    let page = b.visit(&request("web", &[])).await;
    assert!(b.submit(&page, &[("decision", "allow")]).await.to.contains("code="));
}

#[tokio::test]
async fn pages_come_in_the_language_that_the_browser_weighs_most() {
    let w = world().await;
    let mut b = Browser::new(&w);
    for (accept, wanted) in
        [("en;q=0.3, de-CH;q=0.8", "Anmelden"), ("de;q=0,fr,en;q=0.1", "Sign in"), ("fr", "Sign in")]
    {
        b.headers = vec![("accept-language", accept.to_owned())];
        let page = b.visit(&request("web", &[])).await;
        assert!(page.body.contains(wanted), "{accept}: {}", page.body);
    }
}

#[tokio::test]
async fn s2_every_answer_travels_as_it_was_asked_and_a_token_never_in_a_query() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let state = "\"><script>alert(1)</script>";
    for client in ["web", "implicit"] {
        b.authorize(&request(client, &[("response_type", if client == "web" { "code" } else { "token" })]), "alice")
            .await;
    }
    for (prompt, said) in [("none", "code="), ("none login", "error=invalid_request")] {
        for (mode, begins) in [("query", "?"), ("fragment", "#")] {
            let more = [("response_mode", mode), ("prompt", prompt), ("state", state)];
            let to = b.get(&request("web", &more)).await.to;
            let rest = to.strip_prefix(CALLBACK).unwrap_or_else(|| panic!("{to}"));
            assert!(rest.starts_with(begins) && rest.contains(said), "{mode} {to}");
            let fields: BTreeMap<_, _> = form_urlencoded::parse(&rest.as_bytes()[1..]).into_owned().collect();
            assert_eq!((fields["state"].as_str(), fields["iss"].as_str()), (state, ISSUER), "{mode}");
        }
        let posted =
            b.get(&request("web", &[("response_mode", "form_post"), ("prompt", prompt), ("state", state)])).await;
        let name = said.split('=').next().unwrap();
        assert!(posted.to.is_empty() && posted.body.contains(&format!("name=\"{name}\"")), "{}", posted.body);
        assert!(!posted.body.contains("<script>alert") && posted.body.contains("&lt;script&gt;"), "{}", posted.body);
    }
    for mode in ["query", "smoke"] {
        let more = [("response_type", "token"), ("response_mode", mode), ("prompt", "none")];
        let to = b.get(&request("implicit", &more)).await.to;
        assert!(to.starts_with(&format!("{CALLBACK}#error=invalid_request")) && !to.contains("access_token"), "{to}");
    }
    let to = b.get(&request("implicit", &[("response_type", "token"), ("prompt", "none")])).await.to;
    assert!(to.starts_with(&format!("{CALLBACK}#access_token=")), "{to}");
}

#[tokio::test]
async fn nothing_beside_a_pushed_request_counts_and_no_other_app_or_address_can_use_it() {
    let w = world().await;
    let mut b = Browser::new(&w);
    b.authorize(&request("web", &[]), "alice").await;
    let fields = request("web", &[("scope", "openid")]);
    let fields: Vec<(String, String)> =
        form_urlencoded::parse(fields.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let push = async || {
        let pushed = w.post("/oauth2/par", None, &fields).await;
        assert_eq!(pushed.status(), 201);
        read(&pushed)["request_uri"].as_str().unwrap().to_owned()
    };
    let uri = push().await;
    for wrong in [
        format!("client_id=other&request_uri={uri}"),
        format!("request_uri={uri}"),
        "client_id=web&request_uri=https://evil.example/request".to_owned(),
        format!("client_id=web&request_uri={uri}x"),
        format!("client_id=web&request_uri={uri}&request_uri={uri}"),
    ] {
        let shown = b.get(&format!("/oauth2/authorize?{wrong}")).await;
        assert!(shown.status == 400 && shown.to.is_empty(), "{wrong} {}", shown.to);
    }
    let beside = "redirect_uri=https://evil.example/&scope=write&state=other&response_type=token&prompt=none";
    let to = b.get(&format!("/oauth2/authorize?client_id=web&request_uri={uri}&{beside}")).await.to;
    let told = answer(&Shown { status: 303, body: String::new(), to: to.clone(), headers: Default::default() });
    assert!(to.starts_with(CALLBACK) && told["state"] == "xyz", "{to}");
    assert_eq!(redeem(&w, "web", &told["code"], &[]).await.1["scope"], "openid");
    let late = push().await;
    w.clock.advance(90);
    assert_eq!(b.get(&format!("/oauth2/authorize?client_id=web&request_uri={late}")).await.status, 400, "too late");
    let nested = [&fields[..], &[("request_uri", &*late)]].concat();
    assert_eq!(w.post("/oauth2/par", None, &nested).await.status(), 400);
    let object = [&fields[..], &[("request", "eyJ")]].concat();
    assert_eq!(read(&w.post("/oauth2/par", None, &object).await)["error"], "request_not_supported");
    let evil = fields.iter().map(|(k, v)| (*k, if *k == "redirect_uri" { "https://evil.example/" } else { v }));
    assert_eq!(w.post("/oauth2/par", None, &evil.collect::<Vec<_>>()).await.status(), 400);
}

#[tokio::test]
async fn s54_nobody_is_sent_unasked_to_an_app_that_anybody_may_have_registered() {
    let w = world_with(|policy| {
        people(policy);
        policy.registered = Arc::new(["web".into()].into());
        policy.registration = Some(Arc::new(portcullis::policy::registration::Registration {
            open: true,
            grants: Default::default(),
            scopes: ScopeSet::default(),
            implied: Default::default(),
            redirect_uris: Default::default(),
            auth_methods: Vec::new(),
            most: 1,
            per_address: 1,
            app: Default::default(),
            make: |_, _| Err(Default::default()),
        }));
    })
    .await;
    let leave =
        |client: &str| format!("/oauth2/logout?client_id={client}&post_logout_redirect_uri=https://app.example/bye");
    let mut b = Browser::new(&w);
    for lure in [&[("scope", "nonsense")][..], &[("response_type", "dance")], &[("prompt", "none")]] {
        let shown = b.get(&request("web", lure)).await;
        assert!(shown.status == 400 && shown.to.is_empty(), "S54 {lure:?} {}", shown.to);
        assert!(b.get(&request("other", lure)).await.to.starts_with(CALLBACK), "an app that the administrator knows");
    }
    assert!(b.get(&leave("web")).await.body.contains("Signed out"), "S54");
    assert_eq!(b.get(&leave("other")).await.to, "https://app.example/bye");
    // Whoever was asked is sent on, with a no as with a yes, and out again.
    let login = b.visit(&request("web", &[])).await;
    let consent = b.sign_in(&login, "alice").await;
    assert!(b.get(&request("web", &[("prompt", "none")])).await.to.is_empty(), "S54 signed in, and not asked yet");
    assert!(b.submit(&consent, &[("decision", "deny")]).await.to.contains("error=access_denied"));
    assert!(b.authorize(&request("web", &[]), "alice").await.contains_key("code"));
    assert!(b.get(&request("web", &[("prompt", "none")])).await.to.contains("code="), "who has said yes");
    let page = b.get(&leave("web")).await;
    assert_eq!(b.submit(&page, &[("confirm", "yes")]).await.to, "https://app.example/bye");
}
