//! Where requests may come from.
use super::*;

const INSIDE: &str = "10.1.2.3";
const OUTSIDE: &str = "192.0.2.9";

fn within(relaxation: Relaxation) -> Network {
    Network { ranges: Some(Ranges::parse(&["10.0.0.0/8"]).unwrap()), relaxation }
}

fn narrowed(w: &World, relaxation: Relaxation) {
    change(w, "web", |client| client.policies.network = within(relaxation));
}

/// What an app gets to read on its redirect URI, for a browser from `address`.
async fn signs_in(w: &World, address: &str) -> String {
    let mut browser = Browser::new(w);
    browser.address = Some(address.parse().unwrap());
    let fields = browser.authorize(&request("web", &[]), "alice").await;
    fields.get("error_description").cloned().unwrap_or_else(|| fields["code"].clone())
}

fn redeeming<'a>(code: &'a str, verifier: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("grant_type", "authorization_code"),
        ("client_id", "web"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", verifier),
    ]
}

#[tokio::test]
async fn ip_ranges_hold_at_authorize_device_token_refresh_and_userinfo() {
    let w = world().await;
    narrowed(&w, Relaxation::Enforce);
    let mut browser = Browser::new(&w);
    browser.address = Some(OUTSIDE.parse().unwrap());
    let refused = browser.visit(&request("web", &[])).await;
    let told = answer(&refused);
    assert_eq!((told["error"].as_str(), told["error_description"].as_str()), ("access_denied", "ip restricted"));
    assert!(!browser.cookies.contains_key("__Host-portcullis"), "nobody was asked for a password");
    let device = [("client_id", "web"), ("scope", "read")];
    for (address, status) in [(INSIDE, 200), (OUTSIDE, 400)] {
        assert_eq!(post(&w, address, "/oauth2/device_authorization", &device).await.0, status);
    }
    let code = signs_in(&w, INSIDE).await;
    let verifier = super::super::people::VERIFIER;
    let (status, body) = post(&w, OUTSIDE, "/oauth2/token", &redeeming(&code, verifier)).await;
    assert_eq!((status, &body["error_description"]), (400, &json!("ip restricted")), "and the code is not used up");
    let (status, body) = post(&w, INSIDE, "/oauth2/token", &redeeming(&code, verifier)).await;
    assert_eq!(status, 200, "{body}");
    let token = &body["access_token"];
    assert_eq!((userinfo(&w, INSIDE, token).await, userinfo(&w, OUTSIDE, token).await), (200, 401));
    let refresh_token = body["refresh_token"].as_str().unwrap();
    let fields = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", refresh_token)];
    let (status, body) = post(&w, OUTSIDE, "/oauth2/token", &fields).await;
    assert_eq!(
        (status, &body["error"], &body["error_description"]),
        (400, &json!("invalid_grant"), &json!("ip restricted"))
    );
    assert_eq!(post(&w, INSIDE, "/oauth2/token", &fields).await.0, 200);
    // An address that nobody knows is outside.
    assert_eq!(w.post("/oauth2/token", None, &fields).await.status(), 400);
}

#[tokio::test]
async fn each_ip_relaxation_excuses_its_own() {
    let w = world().await;
    narrowed(&w, Relaxation::RefreshTokens);
    assert_eq!(signs_in(&w, OUTSIDE).await, "ip restricted", "who begins, begins inside");
    let code = signs_in(&w, INSIDE).await;
    let (_, body) = post(&w, INSIDE, "/oauth2/token", &redeeming(&code, super::super::people::VERIFIER)).await;
    let refresh_token = body["refresh_token"].as_str().unwrap();
    let fields = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", refresh_token)];
    let (status, body) = post(&w, OUTSIDE, "/oauth2/token", &fields).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(userinfo(&w, OUTSIDE, &body["access_token"]).await, 200, "what a refresh token stands behind");

    narrowed(&w, Relaxation::Bypass);
    assert!(signs_in(&w, OUTSIDE).await.starts_with("pa_"));

    narrowed(&w, Relaxation::SecondFactor);
    let mut browser = Browser::new(&w);
    browser.address = Some(OUTSIDE.parse().unwrap());
    let page = browser.visit(&request("web", &[])).await;
    let page = browser.sign_in(&page, "alice").await;
    assert!(page.body.contains("name=\"code\""), "a second factor is asked for: {}", page.body);
    let (status, body) = post(
        &w,
        OUTSIDE,
        "/oauth2/token",
        &[fields[0], fields[1], ("refresh_token", body["refresh_token"].as_str().unwrap())],
    )
    .await;
    assert_eq!(
        (status, &body["error_description"]),
        (400, &json!("ip restricted")),
        "it was begun with a password alone"
    );

    let secret = page.body.split("id=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let secret = totp_rs::Secret::Encoded(secret).to_bytes().unwrap();
    let totp = totp_rs::TOTP::new_unchecked(totp_rs::Algorithm::SHA1, 6, 1, 30, secret);
    let shown = browser.submit(&page, &[("code", &totp.generate(w.clock.now().0.unsigned_abs()))]).await;
    let back = browser.follow(shown).await;
    let code = answer(&back)["code"].clone();
    let (status, body) = post(&w, OUTSIDE, "/oauth2/token", &redeeming(&code, super::super::people::VERIFIER)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(userinfo(&w, OUTSIDE, &body["access_token"]).await, 200, "its token says so");
    narrowed(&w, Relaxation::Enforce);
    assert_eq!(userinfo(&w, OUTSIDE, &body["access_token"]).await, 401);
}

#[tokio::test]
async fn the_ranges_of_a_users_profile_hold_for_every_app_that_does_not_relax_them() {
    let w = world().await;
    let only_sales = |policy: &mut Policy| {
        policy.profiles.insert("sales".to_owned(), Ranges::parse(&["10.0.0.0/8"]).unwrap());
    };
    w.reload(only_sales);
    assert_eq!(signs_in(&w, OUTSIDE).await, "ip restricted");
    assert!(signs_in(&w, INSIDE).await.starts_with("pa_"));
    let mut bob = Browser::new(&w);
    bob.address = Some(OUTSIDE.parse().unwrap());
    assert!(bob.authorize(&request("web", &[]), "bob").await.contains_key("code"), "bob has another profile");
    w.reload(|policy| {
        only_sales(policy);
        let mut client = app("web");
        client.policies.network.relaxation = Relaxation::Bypass;
        policy.clients.insert("web".into(), Arc::new(client));
    });
    assert!(signs_in(&w, OUTSIDE).await.starts_with("pa_"));
}
