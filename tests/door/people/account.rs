//! A person's own page.
use super::*;

#[tokio::test]
async fn the_sixth_authorization_of_an_app_ends_the_oldest_and_my_apps_takes_all_back() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let mut all = Vec::new();
    for _ in 0..6 {
        let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
        all.push(redeem(&w, "web", &code, &[]).await.1);
        w.clock.advance(1);
    }
    let live: Vec<bool> = all.iter().map(|t| opens(&w, &t["access_token"])).collect();
    assert_eq!(live, [false, true, true, true, true, true]);
    // One that ends with its access token takes nobody's place, by code or by device.
    let code = b.authorize(&request("web", &[("scope", "openid read")]), "alice").await["code"].clone();
    let passing = redeem(&w, "web", &code, &[]).await.1;
    assert!(passing["refresh_token"].is_null() && opens(&w, &passing["access_token"]));
    let begun = read(&w.post("/oauth2/device_authorization", None, &[("client_id", "web"), ("scope", "read")]).await);
    let confirm = b.visit(&format!("/oauth2/device?user_code={}", begun["user_code"].as_str().unwrap())).await;
    b.submit(&confirm, &[("decision", "allow")]).await;
    let fields =
        [("grant_type", DEVICE), ("client_id", "web"), ("device_code", begun["device_code"].as_str().unwrap())];
    assert!(opens(&w, &read(&w.post("/oauth2/token", None, &fields).await)["access_token"]));
    assert!(all[1..].iter().all(|t| opens(&w, &t["access_token"])), "five that can be renewed are five");
    let page = b.visit("/oauth2/account").await;
    assert!(page.body.contains("The web app") && page.body.contains("Act for you while you are away"), "{}", page.body);
    let after = b.submit(&page, &[("action", "revoke")]).await;
    let after = b.follow(after).await;
    assert!(!after.body.contains("The web app"), "{}", after.body);
    assert!(!all.iter().any(|t| opens(&w, &t["access_token"])));
    assert!(b.visit(&request("web", &[])).await.body.contains("value=\"allow\""), "the yes is gone too");
}

/// The part of `page` that is about the app of this name.
fn entry<'a>(page: &'a Shown, name: &str) -> Option<&'a str> {
    page.body.split("<section").find(|section| section.contains(&format!(">{name}</h2>")))
}

#[tokio::test]
async fn my_apps_names_whatever_acts_for_me_and_when_it_last_did() {
    let w = world_with(|policy| {
        people(policy);
        let mut portal = Client::clone(&policy.clients["portal"]);
        portal.approval = Approval::Admin(["sales".to_owned()].into());
        policy.clients.insert("portal".into(), Arc::new(portal));
        let mut robot = Client::clone(&policy.clients["jwt"]);
        robot.run_as = Some("alice".into());
        policy.clients.insert("jwt".into(), Arc::new(robot));
    })
    .await;
    let mut b = Browser::new(&w);
    let look = async |b: &mut Browser<'_>| {
        w.tokens.tally.write_down(&*w.store, w.clock.now()).await.unwrap();
        let page = b.visit("/oauth2/account").await;
        if page.body.contains("name=\"password\"") { b.sign_in(&page, "alice").await } else { page }
    };
    // Behind the gate, where an administrator approved it; by JWT bearer; and what runs as her.
    let mut portal = Browser::new(&w);
    portal.host = "portal.example";
    let start = portal.get("/oauth2/start").await.to;
    let fields = b.authorize(&start, "alice").await;
    portal.get(&format!("/oauth2/callback?code={}&state={}", fields["code"], fields["state"])).await;
    let bearer = w.bearer(&w.assertion()).await.1;
    let runs = json!(w.token("jwt").await);
    assert!(opens(&w, &bearer["access_token"]) && opens(&w, &runs));
    let page = look(&mut b).await;
    for name in ["The portal app", "app", "jwt"] {
        let told = entry(&page, name).unwrap_or_else(|| panic!("{name} in {}", page.body));
        assert!(told.contains("Since <time>1970-01-12</time> · last used <time>1970-01-12</time>"), "{told}");
    }
    assert!(entry(&page, "The web app").is_none() && entry(&page, "rs256").is_none());
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for client in ["portal", "app", "jwt"] {
        b.post("/oauth2/account", &[("csrf", &csrf), ("action", "revoke"), ("client", client)]).await;
    }
    assert_eq!(portal.get("/oauth2/auth").await.status, 401);
    assert!(!opens(&w, &bearer["access_token"]) && !opens(&w, &runs));
    let page = look(&mut b).await;
    assert!(page.body.contains("You have not let any app act for you."), "{}", page.body);

    // The day of the yes, and the day of the last use: of a renewal, of a token at the gate, of a browser behind it.
    w.clock.advance(1);
    let (first, mut b) = tokens(&w, "web").await;
    w.clock.advance(86_400);
    let second = refresh(&w, "web", first["refresh_token"].as_str().unwrap()).await.1;
    let told = entry(&look(&mut b).await, "The web app").unwrap().to_owned();
    assert!(told.contains("Since <time>1970-01-12</time> · last used <time>1970-01-13</time>"), "{told}");
    w.clock.advance(86_400);
    assert!(!opens(&w, &second["access_token"]), "expired");
    let told = entry(&look(&mut b).await, "The web app").unwrap().to_owned();
    assert!(told.contains("last used <time>1970-01-13</time>"), "{told}");
    let start = portal.get("/oauth2/start").await.to;
    let fields = b.authorize(&start, "alice").await;
    portal.get(&format!("/oauth2/callback?code={}&state={}", fields["code"], fields["state"])).await;
    w.clock.advance(6 * 3600);
    assert_eq!(portal.get("/oauth2/auth").await.status, 202);
    w.clock.advance(6 * 3600);
    assert_eq!(portal.get("/oauth2/auth").await.status, 202);
    let told = entry(&look(&mut b).await, "The portal app").unwrap().to_owned();
    assert!(told.contains("Since <time>1970-01-14</time> · last used <time>1970-01-15</time>"), "{told}");
}
