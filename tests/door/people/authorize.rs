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
    let changes: [(&str, fn(&mut Client)); 4] = [
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
