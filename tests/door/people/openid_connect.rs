//! Userinfo, ID tokens, signing out.
use super::*;

#[tokio::test]
async fn userinfo_tells_what_the_scopes_allow_and_logout_ends_the_session() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let claims = r#"{"userinfo":{"email":null}}"#;
    let answer = b.authorize(&request("web", &[("nonce", "n"), ("claims", claims)]), "alice").await;
    let (_, body) = redeem(&w, "web", &answer["code"], &[]).await;
    let info = Request::get("/oauth2/userinfo")
        .header("authorization", format!("Bearer {}", body["access_token"].as_str().unwrap()))
        .body(Bytes::new())
        .unwrap();
    let told = read(&w.provider.handle(info).await);
    assert_eq!((&told["sub"], &told["email"]), (&"alice".into(), &"alice@example.com".into()));
    assert!(told["preferred_username"].is_null(), "profile was not asked for: {told}");
    let bad = Request::get("/oauth2/userinfo").header("authorization", "Bearer x").body(Bytes::new()).unwrap();
    assert_eq!(w.provider.handle(bad).await.status(), 401);
    let id_token = body["id_token"].as_str().unwrap().to_owned();
    let as_access = w.tokens.open(&id_token, w.clock.now());
    assert!(as_access.is_err(), "S38 an ID token opens nothing");
    let page = b.get("/oauth2/logout").await;
    assert!(page.body.contains("Sign out?"), "S58 asks first");
    let target =
        format!("/oauth2/logout?id_token_hint={id_token}&post_logout_redirect_uri=https://app.example/bye&state=s");
    let evil = target.replace("app.example", "evil.example");
    assert!(Browser::new(&w).get(&evil).await.to.is_empty(), "no open redirect");
    let out = b.get(&target).await;
    assert_eq!(out.to, "https://app.example/bye?state=s");
    assert!(b.get(&request("web", &[("prompt", "none")])).await.to.contains("login_required"), "S57");
    assert!(opens(&w, &body["access_token"]), "offline access outlives the session");
    let mut b = Browser::new(&w);
    let answer = b.authorize(&request("web", &[("scope", "openid read")]), "alice").await;
    let (_, online) = redeem(&w, "web", &answer["code"], &[]).await;
    let page = b.visit("/oauth2/account").await;
    assert!(page.body.contains("sign_out_everywhere"));
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    b.post("/oauth2/account", &[("csrf", &csrf), ("action", "sign_out_everywhere")]).await;
    assert!(!opens(&w, &online["access_token"]), "what lived by the session ends with it");
    let by_name = "/oauth2/logout?client_id=web&post_logout_redirect_uri=https://app.example/bye";
    assert_eq!(b.get(by_name).await.to, "https://app.example/bye");
    w.reload(|policy| {
        let mut web = app("web");
        web.blocked = true;
        policy.clients.insert("web".into(), Arc::new(web));
    });
    assert!(b.get(by_name).await.to.is_empty(), "nobody is sent to an app that is blocked");
}
