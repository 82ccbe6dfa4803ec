//! One table: situation × profile → status, error, description.
use super::*;

#[tokio::test]
async fn s2_each_profile_has_its_own_errors_to_the_letter() {
    let w = world().await;
    w.reload(|policy| {
        let mut blocked = connected("barred");
        blocked.blocked = true;
        policy.clients.insert("barred".into(), Arc::new(blocked));
        let mut alone = connected("alone");
        alone.run_as = None;
        policy.clients.insert("alone".into(), Arc::new(alone));
    });
    let mut b = Browser::new(&w);
    let used = b.authorize(&authorize("platform", &[]), "alice").await["code"].clone();
    let late = b.authorize(&authorize("platform", &[]), "alice").await["code"].clone();
    let fresh = b.authorize(&authorize("platform", &[]), "alice").await["code"].clone();
    let verifier = verifier();
    let redeem = |code| {
        vec![
            ("grant_type", "authorization_code"),
            ("client_id", "platform"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", verifier.as_str()),
        ]
    };
    assert_eq!(token(&w, &redeem(&used)).await.0, 200);
    let without = |code, name: &str| redeem(code).into_iter().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    let with = |code, name: &'static str, value| {
        let mut all = without(code, name);
        all.push((name, value));
        all
    };
    let now = w.clock.now().0;
    let assertion = |more: Value| {
        let mut claims = json!({"iss": "app", "sub": "alice", "aud": "https://id.example", "exp": now + 200});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        w.signed(&claims)
    };
    let (unapproved, foreign) = (assertion(json!({"sub": "bob"})), assertion(json!({"aud": "https://other.example"})));
    let platform = ("client_id", "platform");
    let posts = [
        ("no grant_type", vec![platform]),
        ("unknown grant_type", vec![platform, ("grant_type", "magic")]),
        ("unknown client", vec![("client_id", "nobody"), ("client_secret", "x"), ("grant_type", "client_credentials")]),
        ("wrong secret", vec![("client_id", "consumer"), ("client_secret", "x"), ("grant_type", "client_credentials")]),
        ("no secret", vec![("client_id", "consumer"), ("grant_type", "client_credentials")]),
        ("blocked app", vec![("client_id", "barred"), ("client_secret", SECRET), ("grant_type", "client_credentials")]),
        (
            "no run-as user",
            vec![("client_id", "alone"), ("client_secret", SECRET), ("grant_type", "client_credentials")],
        ),
        (
            "grant not allowed",
            vec![
                ("client_id", "app"),
                ("client_secret", SECRET),
                ("grant_type", "refresh_token"),
                ("refresh_token", "x"),
            ],
        ),
        (
            "scope too wide",
            vec![
                ("client_id", "consumer"),
                ("client_secret", SECRET),
                ("grant_type", "client_credentials"),
                ("scope", "admin"),
            ],
        ),
        ("unknown code", redeem("x")),
        ("code used before", redeem(&used)),
        ("wrong verifier", with(&fresh, "code_verifier", "w")),
        ("no verifier", without(&fresh, "code_verifier")),
        ("wrong redirect_uri", with(&fresh, "redirect_uri", "https://app.example/other")),
        ("no redirect_uri", without(&fresh, "redirect_uri")),
        ("expired refresh token", vec![platform, ("grant_type", "refresh_token"), ("refresh_token", "x")]),
        ("not admin approved", vec![("grant_type", BEARER), ("assertion", &unapproved)]),
        ("foreign audience", vec![("grant_type", BEARER), ("assertion", &foreign)]),
        ("no assertion", vec![("grant_type", BEARER), ("assertion", "x")]),
    ];
    let mut table = Vec::new();
    let line = |situation: &str, profile: &str, status: u16, body: &Value| {
        let field = |what: &str| body[what].as_str().unwrap_or("–").to_owned();
        format!("{situation} | {profile} | {status} {}: {}", field("error"), field("error_description"))
    };
    for (situation, fields) in posts {
        for (profile, path) in [("standard", "/oauth2/token"), ("salesforce", TOKEN)] {
            let response = w.post(path, None, &fields).await;
            table.push(line(situation, profile, response.status().as_u16(), &read(&response)));
        }
    }
    w.clock.advance(60);
    for (profile, path) in [("standard", "/oauth2/token"), ("salesforce", TOKEN)] {
        // 171 characters are too long there.
        let response = w.post(path, None, &redeem(&late)).await;
        table.push(line("expired authorization code", profile, response.status().as_u16(), &read(&response)));
    }
    let redirects = [
        ("unsupported response_type", authorize("consumer", &[("response_type", "hybrid_token")])),
        ("no challenge", authorize("platform", &[("code_challenge", "")])),
        ("not admin approved", authorize("admin", &[])),
        ("blocked app", authorize("barred", &[])),
        ("unknown client", authorize("nobody", &[])),
        ("wrong redirect_uri", authorize("consumer", &[("redirect_uri", "https://evil.example/cb")])),
    ];
    for (situation, target) in redirects {
        for (profile, target) in [
            ("standard", format!("{}&code_challenge_method=S256", target.replace("/services/oauth2/", "/oauth2/"))),
            ("salesforce", target),
        ] {
            let mut b = Browser::new(&w);
            let page = b.visit(&target).await;
            let shown = if page.body.contains("name=\"password\"") { b.sign_in(&page, "bob").await } else { page };
            let told = if shown.to.starts_with(CALLBACK) {
                let fields = answer(&shown);
                let field = |name: &str| fields.get(name).cloned().unwrap_or_else(|| "–".to_owned());
                format!("redirect {}: {}", field("error"), field("error_description"))
            } else {
                let detail = shown.body.split("<code>").nth(1).and_then(|rest| rest.split('<').next());
                assert!(!shown.body.contains("evil.example"), "S2");
                format!("page {} {}", shown.status, detail.unwrap_or("–"))
            };
            table.push(format!("authorize, {situation} | {profile} | {told}"));
        }
    }
    insta::assert_snapshot!("profiles", table.join("\n"));
}
