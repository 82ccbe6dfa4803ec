//! Codes: once, in time, as they were bound.
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn s5_s23_to_s26_a_code_works_once_in_time_and_as_it_was_bound() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
    for (client, change, why) in [
        ("other", ("code", ""), "no code"),
        ("other", ("x", "y"), "S25 another client"),
        ("web", ("redirect_uri", "https://app.example/other"), "S25 redirect_uri"),
        ("web", ("redirect_uri", ""), "S25 redirect_uri missing"),
        ("web", ("code_verifier", &*"b".repeat(43)), "S25 verifier"),
        ("web", ("code_verifier", ""), "S25 verifier missing"),
    ] {
        assert_eq!(redeem(&w, client, &code, &[change]).await.0, 400, "{why}");
    }
    let stored = w.store.scan("code/", w.clock.now()).await.unwrap();
    assert!(stored.iter().all(|r| !r.key.contains(&code) && !String::from_utf8_lossy(&r.body).contains(&code)), "S22");
    assert!(code.len() >= 43, "S22 256 bits");
    let (status, body) = redeem(&w, "web", &code, &[]).await;
    assert_eq!(status, 200, "S26 what was invalid has ended nothing");
    let (status, _) = redeem(&w, "web", &code, &[("code_verifier", &"b".repeat(43))]).await;
    assert!(status == 400 && opens(&w, &body["access_token"]), "S26 an invalid replay revokes nothing");
    assert_eq!(redeem(&w, "web", &code, &[]).await.0, 400, "S23");
    assert!(!opens(&w, &body["access_token"]), "S26");
    assert_eq!(refresh(&w, "web", body["refresh_token"].as_str().unwrap()).await.0, 400, "S26");
    let late = b.authorize(&request("web", &[]), "alice").await["code"].clone();
    w.clock.advance(60);
    assert_eq!(redeem(&w, "web", &late, &[]).await.1["error_description"], "expired authorization code", "S24");
    let plain = b.authorize(&request("plain", &[("code_challenge", ""), ("code_challenge_method", "")]), "alice").await;
    let fields = [("grant_type", "authorization_code"), ("code", &plain["code"]), ("redirect_uri", CALLBACK)];
    let with = [&fields[..], &[("code_verifier", VERIFIER)]].concat();
    assert_eq!(w.post("/oauth2/token", Some("plain"), &with).await.status(), 400, "S5");
    assert_eq!(w.post("/oauth2/token", None, &fields).await.status(), 401, "S19");
    assert_eq!(w.post("/oauth2/token", Some("plain"), &fields).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s30_f3_f4_racing_redemptions_and_refreshes_leave_one_branch() {
    let w = Arc::new(world().await);
    let mut b = Browser::new(&w);
    for _ in 0..20 {
        let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
        let racers: Vec<_> = (0..64)
            .map(|_| {
                let (w, code) = (w.clone(), code.clone());
                tokio::spawn(async move { redeem(&w, "web", &code, &[]).await })
            })
            .collect();
        let mut won = 0;
        for racer in racers {
            let (status, _) = racer.await.unwrap();
            assert!(status == 200 || status == 400, "F3 {status}");
            won += u32::from(status == 200);
        }
        assert_eq!(won, 1, "F3");
        let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
        let first = redeem(&w, "web", &code, &[]).await.1["refresh_token"].as_str().unwrap().to_owned();
        let racers: Vec<_> = (0..64)
            .map(|_| {
                let (w, token) = (w.clone(), first.clone());
                tokio::spawn(async move { refresh(&w, "web", &token).await })
            })
            .collect();
        let mut answers = Vec::new();
        for racer in racers {
            answers.push(racer.await.unwrap());
        }
        assert!(answers.iter().all(|(status, _)| *status == 200 || *status == 400), "F4");
        // Counted when all have been answered: a branch that was given up on the way is dead by now.
        let live = answers.iter().filter(|(status, body)| *status == 200 && opens(&w, &body["access_token"])).count();
        assert_eq!(live, 1, "F4 one live branch");
    }
}

#[tokio::test]
async fn s57_a_code_on_its_way_is_good_for_nothing_once_the_person_has_signed_out() {
    let w = world().await;
    for everywhere in [false, true] {
        let mut b = Browser::new(&w);
        let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
        let page = b.visit(if everywhere { "/oauth2/account" } else { "/oauth2/logout" }).await;
        let field = if everywhere { ("action", "sign_out_everywhere") } else { ("confirm", "yes") };
        assert!(b.submit(&page, &[field]).await.body.contains("Signed out"));
        assert_eq!(redeem(&w, "web", &code, &[]).await.1["error"], "invalid_grant");
        let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
        assert_eq!(redeem(&w, "web", &code, &[]).await.0, 200, "the next session is another one");
    }
}
