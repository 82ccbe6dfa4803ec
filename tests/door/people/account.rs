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
    let page = b.visit("/oauth2/account").await;
    assert!(page.body.contains("The web app") && page.body.contains("Act for you while you are away"), "{}", page.body);
    let after = b.submit(&page, &[("action", "revoke")]).await;
    let after = b.follow(after).await;
    assert!(!after.body.contains("The web app"), "{}", after.body);
    assert!(!all.iter().any(|t| opens(&w, &t["access_token"])));
    assert!(b.visit(&request("web", &[])).await.body.contains("value=\"allow\""), "the yes is gone too");
}
