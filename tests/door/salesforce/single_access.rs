//! A link into a browser session, for a program that holds an access token.
use super::*;

const PATH: &str = "/services/oauth2/singleaccess";

async fn ask(w: &World, token: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::post(PATH).header("authorization", format!("Bearer {token}"));
    let response = send(w, request.header("content-type", "application/x-www-form-urlencoded"), &body).await;
    (response.status().as_u16(), read(&response))
}

#[tokio::test]
async fn s54_s55_s56_single_access_is_off_unless_allowed_good_once_and_leads_to_own_paths_alone() {
    let w = world().await;
    let body = signed_in(&w, "consumer", &[("scope", "web api refresh_token")]).await;
    let token = text(&body, "access_token");
    assert_eq!(ask(&w, token, &[]).await.1["error"], "unauthorized_client", "off by default");
    let machine = [("grant_type", "client_credentials"), ("client_id", "consumer"), ("client_secret", SECRET)];
    let (_, machine) = self::token(&w, &machine).await;
    w.reload(|policy| {
        let mut client = (*policy.clients["consumer"]).clone();
        client.policies.single_access = true;
        policy.clients.insert("consumer".into(), Arc::new(client));
    });
    assert_eq!(ask(&w, "x", &[]).await.0, 403);
    // Not even an app that may put tokens into addresses does so here.
    w.reload(|policy| {
        let mut client = (*policy.clients["lenient"]).clone();
        client.policies.single_access = true;
        policy.clients.insert("lenient".into(), Arc::new(client));
    });
    let lenient = signed_in(&w, "lenient", &[]).await;
    for method in [Request::get, Request::post] {
        let request = method(format!("{PATH}?access_token={}", text(&lenient, "access_token")));
        assert!(send(&w, request, "").await.status().as_u16() >= 403, "S60");
    }
    assert_eq!(ask(&w, text(&lenient, "access_token"), &[]).await.0, 200);
    assert_eq!(ask(&w, text(&machine, "access_token"), &[]).await.0, 400, "no person signed in");
    let narrow = signed_in(&w, "consumer", &[("scope", "api refresh_token")]).await;
    assert_eq!(ask(&w, text(&narrow, "access_token"), &[]).await.0, 400, "neither web nor full");
    for elsewhere in
        ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "https://id.example.evil.example/"]
    {
        assert_eq!(
            ask(&w, token, &[("redirect_uri", elsewhere)]).await.1["error"],
            "invalid_request",
            "S54 {elsewhere}"
        );
    }
    let link = async || {
        let (status, body) = ask(&w, token, &[("redirect_uri", "/oauth2/account?x=1")]).await;
        assert_eq!(status, 200, "{body}");
        text(&body, "frontdoor_uri").to_owned()
    };
    let uri = link().await;
    assert!(uri.starts_with("https://id.example/oauth2/frontdoor?otp="), "{uri}");

    // Somebody else's browser is not moved into another account, and the link is not used up by it.
    let mut bob = Browser::new(&w);
    let page = bob.visit("/oauth2/account").await;
    bob.sign_in(&page, "bob").await;
    let before = bob.cookies["__Host-portcullis"].clone();
    assert_eq!(bob.get(&uri).await.status, 400);
    assert_eq!(bob.cookies["__Host-portcullis"], before);

    let mut alice = Browser::new(&w);
    alice.headers.push(("sec-purpose", "prefetch".to_owned()));
    assert_eq!(alice.get(&uri).await.status, 400, "a browser that looks ahead does not use it up");
    alice.headers.clear();
    let entered = alice.get(&uri).await;
    assert_eq!((entered.status, entered.to.as_str()), (303, "/oauth2/account?x=1"));
    assert!(alice.get(&entered.to).await.body.contains("alice"), "in");
    let again = alice.get(&uri).await;
    assert_eq!(again.status, 400, "once");
    let first = alice.cookies["__Host-portcullis"].clone();
    alice.get(&link().await).await;
    assert_ne!(alice.cookies["__Host-portcullis"], first, "S55");

    // With GET the token has to stand where no other site can put it.
    let with = Request::get(PATH).header("authorization", format!("Bearer {token}"));
    let got = read(&send(&w, with, "").await);
    assert!(text(&got, "frontdoor_uri").contains("/oauth2/frontdoor?otp="), "{got}");
    let bare = send(&w, Request::get(format!("{PATH}?access_token={token}")), "").await;
    assert!(bare.status() == 405 && bare.headers()["allow"] == "POST");

    // What the link came from is taken back.
    let subject = link().await;
    w.tokens.end_all("subject/alice", 600, w.clock.now()).await.unwrap();
    assert_eq!(Browser::new(&w).get(&subject).await.status, 400, "S49 all that alice had");
    w.clock.advance(1);
    let body = signed_in(&w, "consumer", &[("scope", "web api refresh_token")]).await;
    let (other, refresh) = (text(&body, "access_token"), text(&body, "refresh_token"));
    let revoked = text(&ask(&w, other, &[]).await.1, "frontdoor_uri").to_owned();
    w.post("/services/oauth2/revoke", None, &[("token", refresh)]).await;
    assert_eq!(Browser::new(&w).get(&revoked).await.status, 400, "S49 this authorization");
    let body = signed_in(&w, "consumer", &[("scope", "web api refresh_token")]).await;
    let token = text(&body, "access_token");
    let link = async || text(&ask(&w, token, &[]).await.1, "frontdoor_uri").to_owned();

    let late = link().await;
    w.clock.advance(60);
    assert_eq!(Browser::new(&w).get(&late).await.status, 400, "for a minute");
    let blocked = link().await;
    w.reload(|policy| {
        let mut client = (*policy.clients["consumer"]).clone();
        client.policies.single_access = false;
        policy.clients.insert("consumer".into(), Arc::new(client));
    });
    assert_eq!(Browser::new(&w).get(&blocked).await.status, 400, "a policy that is tightened meanwhile");
}
