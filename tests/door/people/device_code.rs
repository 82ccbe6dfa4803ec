//! A code on one screen, a yes on another.
use super::*;

#[tokio::test]
async fn s49_s57_a_device_gets_nothing_once_the_yes_was_taken_back_or_the_person_signed_out() {
    let w = world().await;
    let mut b = Browser::new(&w);
    for take_back in [true, false] {
        let begun = w.post("/oauth2/device_authorization", None, &[("client_id", "web"), ("scope", "read")]).await;
        let begun = read(&begun);
        let page = b.visit(&format!("/oauth2/device?user_code={}", begun["user_code"].as_str().unwrap())).await;
        let page = if page.body.contains("name=\"password\"") { b.sign_in(&page, "alice").await } else { page };
        assert!(b.submit(&page, &[("decision", "allow")]).await.body.contains("All set"));
        if take_back {
            let page = b.visit("/oauth2/account").await;
            b.submit(&page, &[("action", "revoke")]).await;
        } else {
            w.clock.advance(1);
            let page = b.visit("/oauth2/logout").await;
            b.submit(&page, &[("confirm", "yes")]).await;
        }
        let code = begun["device_code"].as_str().unwrap();
        let fields = [("grant_type", DEVICE), ("client_id", "web"), ("device_code", code)];
        assert_eq!(read(&w.post("/oauth2/token", None, &fields).await)["error"], "invalid_grant", "{take_back}");
        w.clock.advance(1);
    }
}

#[tokio::test]
async fn s42_to_s45_a_device_gets_its_tokens_when_a_person_says_yes() {
    let w = world().await;
    let begin = async |client: &str| {
        read(
            &w.post("/oauth2/device_authorization", None, &[("client_id", client), ("scope", "read offline_access")])
                .await,
        )
    };
    let poll = async |client: &str, code: &Value| {
        let fields = [("grant_type", DEVICE), ("client_id", client), ("device_code", code.as_str().unwrap())];
        let response = w.post("/oauth2/token", None, &fields).await;
        (response.status().as_u16(), read(&response))
    };
    let started = begin("web").await;
    let (device, user) = (&started["device_code"], started["user_code"].as_str().unwrap());
    assert_eq!(poll("web", device).await.1["error"], "authorization_pending");
    assert_eq!(poll("web", device).await.1["error"], "slow_down", "S43");
    assert_eq!(poll("other", device).await.1["error"], "invalid_grant", "S44");
    let mut b = Browser::new(&w);
    let login = b.visit(&format!("/oauth2/device?user_code={user}")).await;
    let confirm = b.sign_in(&login, "alice").await;
    assert!(confirm.body.contains("The web app") && confirm.body.contains(user), "S45 {}", confirm.body);
    let done = b.submit(&confirm, &[("decision", "allow")]).await;
    assert!(done.body.contains("All set"), "{}", done.body);
    let (status, body) = poll("web", device).await;
    assert!(status == 200 && opens(&w, &body["access_token"]) && body["refresh_token"].is_string(), "{body}");
    assert_eq!(poll("web", device).await.1["error"], "invalid_grant", "once");
    let denied = begin("web").await;
    let confirm =
        b.visit(&format!("/oauth2/device?user_code={}", denied["user_code"].as_str().unwrap().to_lowercase())).await;
    b.submit(&confirm, &[("decision", "deny")]).await;
    assert_eq!(poll("web", &denied["device_code"]).await.1["error"], "access_denied");
    let late = begin("web").await;
    w.clock.advance(600);
    assert_eq!(poll("web", &late["device_code"]).await.1["error"], "expired_token", "S43");
    let form = b.visit("/oauth2/device").await;
    let mut last = 0;
    for _ in 0..11 {
        last = b.submit(&form, &[("user_code", "BCDF-GHJK")]).await.status;
    }
    assert_eq!(last, 429, "S42");
}

#[tokio::test]
async fn s42_user_codes_are_guessed_no_faster_with_several_accounts_or_names_of_one_address() {
    let w = world_with(|policy| {
        people(policy);
        policy.people.limits.address = 11;
    })
    .await;
    let signed_in = async |user: &str, address: &str| {
        let mut b = Browser::new(&w);
        b.address = Some(address.parse().unwrap());
        let login = b.visit("/oauth2/device").await;
        let form = b.sign_in(&login, user).await;
        (b, form)
    };
    let (mut alice, form) = signed_in("alice", "192.0.2.1").await;
    for _ in 0..10 {
        assert_eq!(alice.submit(&form, &[("user_code", "BCDF-GHJK")]).await.status, 400);
    }
    assert_eq!(alice.get("/oauth2/device?user_code=BCDF-GHJK").await.status, 429, "S42 in the link as well");
    let (mut bob, form) = signed_in("bob", "::ffff:192.0.2.1").await;
    assert_eq!(bob.submit(&form, &[("user_code", "nonsense")]).await.status, 400, "the eleventh of this address");
    let begun = read(&w.post("/oauth2/device_authorization", None, &[("client_id", "web")]).await);
    let right = begun["user_code"].as_str().unwrap();
    assert_eq!(bob.submit(&form, &[("user_code", right)]).await.status, 429, "S42 not even the right one");
    bob.address = Some("192.0.2.2".parse().unwrap());
    assert!(bob.submit(&form, &[("user_code", right)]).await.body.contains("The web app"), "S42 elsewhere he goes on");
}
