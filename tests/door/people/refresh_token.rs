//! Rotation, replay, lost answers.
use super::*;

#[tokio::test]
async fn s27_to_s31_f5_refresh_tokens_rotate_recover_once_and_a_replay_ends_the_family() {
    let w = world().await;
    let (first, _) = tokens(&w, "web").await;
    let text = |v: &Value| v["refresh_token"].as_str().unwrap().to_owned();
    let a = text(&first);
    assert_eq!(refresh(&w, "other", &a).await.0, 400, "S27 another client");
    let wider = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", &*a), ("scope", "write")];
    assert_eq!(read(&w.post("/oauth2/token", None, &wider).await)["error"], "invalid_scope", "S27 never wider");
    let (status, lost) = refresh(&w, "web", &a).await;
    assert_eq!(status, 200);
    let (status, recovered) = refresh(&w, "web", &a).await;
    assert_eq!(status, 200, "F5 the answer was lost");
    assert!(!opens(&w, &lost["access_token"]) && opens(&w, &recovered["access_token"]), "F5 the old branch is dead");
    // The recovered access token has now been used, so its predecessor is a replay.
    assert_eq!(refresh(&w, "web", &a).await.0, 400, "S28");
    assert!(!opens(&w, &recovered["access_token"]), "S28 the family has ended");
    assert_eq!(refresh(&w, "web", &text(&recovered)).await.0, 400, "S28");

    let (first, _) = tokens(&w, "web").await;
    let second = refresh(&w, "web", &text(&first)).await.1;
    let third = refresh(&w, "web", &text(&second)).await.1;
    assert_eq!(refresh(&w, "web", &text(&first)).await.0, 400, "S28 long replaced");
    assert_eq!(refresh(&w, "web", &text(&third)).await.0, 400, "S28");
    assert_eq!(refresh(&w, "web", "pr_x.y").await.0, 400);

    let (first, _) = tokens(&w, "short").await;
    w.clock.advance(299);
    let second = refresh(&w, "short", &text(&first)).await.1;
    w.clock.advance(300);
    assert_eq!(refresh(&w, "short", &text(&second)).await.0, 400, "S29 idle");
    let (mut last, _) = tokens(&w, "short").await;
    for _ in 0..4 {
        w.clock.advance(240);
        last = refresh(&w, "short", &text(&last)).await.1;
    }
    w.clock.advance(40);
    assert_eq!(refresh(&w, "short", &text(&last)).await.0, 400, "S29 absolute");

    let (steady, _) = tokens(&w, "steady").await;
    for _ in 0..3 {
        let (status, body) = refresh(&w, "steady", &text(&steady)).await;
        assert!(status == 200 && body["refresh_token"].is_null());
    }
    assert!(tokens(&w, "once").await.0["refresh_token"].is_null());
}

#[tokio::test]
async fn s49_revoking_a_refresh_token_ends_its_access_tokens_at_once() {
    let w = world().await;
    let (first, _) = tokens(&w, "web").await;
    let token = first["refresh_token"].as_str().unwrap();
    let foreign = w.post("/oauth2/revoke", None, &[("client_id", "other"), ("token", token)]).await;
    assert!(foreign.status() == 200 && opens(&w, &first["access_token"]), "S46");
    let own = w.post("/oauth2/revoke", None, &[("client_id", "web"), ("token", token)]).await;
    assert!(own.status() == 200 && !opens(&w, &first["access_token"]), "S49");
    assert_eq!(refresh(&w, "web", token).await.0, 400, "S49");
}

#[tokio::test]
async fn f2_s31_s37_after_a_restart_what_was_used_is_refused_and_what_was_issued_holds() {
    let folder = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn portcullis::store::Store> {
        Arc::new(portcullis::store::sqlite::SqliteStore::open(&folder.path().join("store.db"), None).unwrap())
    };
    let w = world_over(open(), people).await;
    let text = |v: &Value| v["refresh_token"].as_str().unwrap().to_owned();
    let mut b = Browser::new(&w);
    let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
    let first = redeem(&w, "web", &code, &[]).await.1;
    let (kept, _) = tokens(&w, "web").await;
    let second = refresh(&w, "web", &text(&first)).await.1;
    let third = refresh(&w, "web", &text(&second)).await.1;
    let assertion = w.assertion();
    assert_eq!(w.bearer(&assertion).await.0, 200);
    let cookies = b.cookies.clone();

    let w = w.restarted(open()).await;
    assert_eq!(w.bearer(&assertion).await.0, 400, "F2 a used assertion");
    assert!(opens(&w, &third["access_token"]) && opens(&w, &kept["access_token"]));
    assert_eq!(refresh(&w, "web", &text(&first)).await.0, 400, "F2 a rotated refresh token");
    assert!(!opens(&w, &third["access_token"]), "S28, S31 and its family ends");
    assert_eq!(redeem(&w, "web", &code, &[]).await.0, 400, "F2 a used code");
    assert_eq!(refresh(&w, "web", &text(&kept)).await.0, 200, "what was issued holds");
    let mut b = Browser::new(&w);
    b.cookies = cookies;
    assert!(b.get(&request("web", &[("prompt", "none")])).await.to.contains("code="), "the session goes on");

    let w = w.restarted(open()).await;
    assert!(!opens(&w, &third["access_token"]), "S31 an end outlives the next process too");
}

#[tokio::test]
async fn a_token_is_asked_for_the_app_s_own_resource_alone() {
    let w = world().await;
    let (first, _) = tokens(&w, "web").await;
    let token = first["refresh_token"].as_str().unwrap();
    let ask = async |resource: &str| {
        let fields =
            [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token), ("resource", resource)];
        read(&w.post("/oauth2/token", None, &fields).await)
    };
    assert_eq!(ask("https://other.example").await["error"], "invalid_target");
    assert!(ask("https://api.example").await["access_token"].is_string(), "and the refusal used nothing up");
}
