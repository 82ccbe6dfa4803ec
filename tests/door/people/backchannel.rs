//! Apps are told when a session ends (OIDC Back-Channel Logout).
use super::*;
use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

/// An app's logout endpoint: what is posted to it.
fn listener() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/logout", listener.local_addr().unwrap());
    let (heard, posts) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut text, mut buffer) = (String::new(), [0; 4096]);
            let whole = |text: &str| {
                let (head, body) = text.split_once("\r\n\r\n")?;
                let length =
                    head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
                (body.len() >= length).then(|| body.to_owned())
            };
            while whole(&text).is_none() {
                match stream.read(&mut buffer) {
                    Ok(n) if n > 0 => text.push_str(&String::from_utf8_lossy(&buffer[..n])),
                    _ => break,
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = heard.send(whole(&text).unwrap_or(text));
        }
    });
    (uri, posts)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_took_part_is_told_of_the_end_and_no_other_is() {
    let w = world().await;
    let ((uri, posts), (idle, silence)) = (listener(), listener());
    w.reload(|policy| {
        for (id, uri) in [("web", uri), ("other", idle)] {
            let mut app = app(id);
            app.interactive.backchannel_logout_uri = Some(uri);
            policy.clients.insert(id.into(), Arc::new(app));
        }
    });
    let (body, mut b) = tokens(&w, "web").await;
    let page = b.get("/oauth2/logout").await;
    b.submit(&page, &[("confirm", "yes")]).await;
    let post = posts.recv_timeout(Duration::from_secs(10)).unwrap();
    let token = form_urlencoded::parse(post.as_bytes()).find(|(k, _)| k == "logout_token").unwrap().1.into_owned();
    let claims = w.tokens.verify_claims("logout+jwt", &token, w.clock.now()).unwrap();
    let id_token = body["id_token"].as_str().unwrap();
    let id_claims = w.tokens.verify_claims("JWT", id_token, w.clock.now()).unwrap();
    assert_eq!((&claims["sub"], &claims["aud"], &claims["iss"]), (&json!("alice"), &json!("web"), &json!(ISSUER)));
    assert_eq!(claims["sid"], id_claims["sid"], "the session that the app knows");
    assert!(claims["events"]["http://schemas.openid.net/event/backchannel-logout"].is_object());
    assert!(claims["nonce"].is_null() && claims["jti"].is_string());
    assert!(silence.recv_timeout(Duration::from_millis(500)).is_err(), "it knows nothing of this person");
}

#[tokio::test]
async fn an_app_may_post_its_logout_request_from_its_own_site() {
    let w = world().await;
    let (body, mut b) = tokens(&w, "web").await;
    let hint = body["id_token"].as_str().unwrap();
    let cookies = std::mem::take(&mut b.cookies);
    let fields = [("id_token_hint", hint), ("post_logout_redirect_uri", "https://app.example/bye")];
    let posted = b.post("/oauth2/logout", &fields).await;
    assert!(posted.to.starts_with("/oauth2/logout?id_token_hint="), "{}", posted.to);
    b.cookies = cookies;
    assert_eq!(b.get(&posted.to).await.to, "https://app.example/bye");
    assert!(b.get(&request("web", &[("prompt", "none")])).await.to.contains("login_required"), "S57");
}
