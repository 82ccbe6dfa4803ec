//! Passwords, second factors, sessions, guesses.
use super::*;

#[tokio::test]
async fn s55_s57_s58_sessions_begin_anew_time_out_and_forms_are_bound_to_the_browser() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let page = b.visit(&request("web", &[])).await;
    let action = page.body.split("action=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/");
    let forged = b.post(&action, &[("username", "alice"), ("password", PASSWORD)]).await;
    assert_eq!(forged.status, 400, "S58 without the form's secret");
    b.headers.push(("origin", "https://evil.example".to_owned()));
    assert_eq!(b.submit(&page, &[("username", "alice"), ("password", PASSWORD)]).await.status, 400, "S58 Origin");
    b.headers = vec![("sec-fetch-site", "cross-site".to_owned())];
    assert_eq!(
        b.submit(&page, &[("username", "alice"), ("password", PASSWORD)]).await.status,
        400,
        "S58 Fetch Metadata"
    );
    b.headers.clear();
    b.cookies.insert("__Host-portcullis".into(), "chosen-by-somebody-else".into());
    b.sign_in(&page, "alice").await;
    let first = b.cookies["__Host-portcullis"].clone();
    assert!(first.len() == 43, "S55 a new identifier of 256 bits, whatever came");
    let page = b.visit(&request("web", &[("prompt", "login")])).await;
    b.sign_in(&page, "alice").await;
    let second = b.cookies["__Host-portcullis"].clone();
    assert_ne!(first, second, "S55");
    let records = w.store.scan("session/", w.clock.now()).await.unwrap();
    assert!(records.len() == 1 && !records[0].key.contains(&second), "S55 one live session, by digest alone");
    let signed_in =
        async |b: &mut Browser<'_>| !b.get(&request("web", &[("prompt", "none")])).await.to.contains("login_required");
    w.clock.advance(8 * 3600 - 10);
    assert!(signed_in(&mut b).await, "S57 within idle");
    w.clock.advance(8 * 3600 + 10);
    assert!(!signed_in(&mut b).await, "S57 idle");
    let page = b.visit(&request("web", &[])).await;
    b.sign_in(&page, "alice").await;
    for _ in 0..4 {
        w.clock.advance(5 * 3600);
        assert!(signed_in(&mut b).await, "S57");
    }
    w.clock.advance(5 * 3600);
    assert!(!signed_in(&mut b).await, "S57 absolute");
}

#[tokio::test]
async fn f17_s59_guesses_run_out_for_account_and_address_on_every_path() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let page = b.visit(&request("web", &[])).await;
    for _ in 0..10 {
        assert_eq!(b.submit(&page, &[("username", "alice"), ("password", "guess")]).await.status, 401);
    }
    let blocked = b.submit(&page, &[("username", "alice"), ("password", PASSWORD)]).await;
    assert_eq!(blocked.status, 429, "S59 not even the right one");
    let nobody = b.submit(&page, &[("username", "nobody"), ("password", "x")]).await;
    assert_eq!(nobody.status, 401, "S59 others go on");
    w.clock.advance(301);
    assert!(b.sign_in(&page, "alice").await.body.contains("value=\"allow\""));
}

#[tokio::test]
async fn high_assurance_asks_for_a_second_factor_which_works_once() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let login = b.visit(&request("strict", &[])).await;
    let enrol = b.sign_in(&login, "alice").await;
    let secret = enrol.body.split("id=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let code = |at: i64| {
        let secret = totp_rs::Secret::Encoded(secret.clone()).to_bytes().unwrap();
        totp_rs::TOTP::new_unchecked(totp_rs::Algorithm::SHA1, 6, 1, 30, secret).generate(at.unsigned_abs())
    };
    assert_eq!(b.submit(&enrol, &[("code", "000000")]).await.status, 401);
    let before = b.cookies["__Host-portcullis"].clone();
    let consent = b.submit(&enrol, &[("code", &code(w.clock.now().0))]).await;
    let consent = b.follow(consent).await;
    assert!(consent.body.contains("value=\"allow\""), "{}", consent.body);
    assert_ne!(before, b.cookies["__Host-portcullis"], "S55");
    let mut other = Browser::new(&w);
    let login = other.visit(&request("web", &[])).await;
    let factor = other.sign_in(&login, "alice").await;
    assert!(factor.body.contains("One more step"), "whoever has one is asked: {}", factor.body);
    assert_eq!(other.submit(&factor, &[("code", &code(w.clock.now().0))]).await.status, 401, "used before");
    w.clock.advance(30);
    let on = other.submit(&factor, &[("code", &code(w.clock.now().0))]).await;
    assert!(other.follow(on).await.body.contains("value=\"allow\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f17_of_ten_thousand_guesses_fifty_at_a_time_the_limit_alone_is_verified() {
    let w = Arc::new(world().await);
    let mut b = Browser::new(&w);
    let page = b.visit(&request("web", &[])).await;
    let action = page.body.split("action=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/");
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let cookie = format!("__Host-portcullis-browser={}", b.cookies["__Host-portcullis-browser"]);
    let guessers: Vec<_> = (0..50)
        .map(|n| {
            let (w, action, csrf, cookie) = (w.clone(), action.clone(), csrf.clone(), cookie.clone());
            tokio::spawn(async move {
                for guess in 0..200 {
                    let body = format!("csrf={csrf}&username=alice&password=guess-{n}-{guess}");
                    let request = Request::post(&action).header("cookie", &cookie).body(Bytes::from(body)).unwrap();
                    let status = w.provider.handle(request).await.status().as_u16();
                    assert!([401, 429, 503].contains(&status), "F17 {status}");
                }
            })
        })
        .collect();
    for guesser in guessers {
        guesser.await.unwrap();
    }
    let counted = |outcome: &str| w.gauge(&format!("portcullis_logins_total{{outcome=\"{outcome}\"}}"));
    assert!(counted("login_wrong") <= 11.0, "F17 {} verified", counted("login_wrong"));
    let told = counted("login_wrong") + counted("login_throttled") + counted("login_busy");
    assert_eq!(told, 10_000.0, "and everyone was answered");
}

#[tokio::test]
async fn a_second_factor_is_taken_away_by_whoever_shows_it() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let login = b.visit("/oauth2/account").await;
    let account = b.sign_in(&login, "alice").await;
    let enrol = b.submit(&account, &[("action", "revoke"), ("client", "nobody")]).await;
    assert_eq!(enrol.to, "/oauth2/account");
    let csrf = account.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let press = async |b: &mut Browser<'_>, action: &str| {
        let shown = b.post("/oauth2/account", &[("csrf", &csrf), ("action", action)]).await;
        b.follow(shown).await
    };
    let enrol = press(&mut b, "enrol").await;
    let secret = enrol.body.split("id=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let code = |at: i64| {
        let secret = totp_rs::Secret::Encoded(secret.clone()).to_bytes().unwrap();
        totp_rs::TOTP::new_unchecked(totp_rs::Algorithm::SHA1, 6, 1, 30, secret).generate(at.unsigned_abs())
    };
    // Somebody who sits at a browser that was signed in before the factor was there.
    let mut open = Browser::new(&w);
    let login = open.visit("/oauth2/account").await;
    open.sign_in(&login, "alice").await;
    let on = b.submit(&enrol, &[("code", &code(w.clock.now().0))]).await;
    assert!(b.follow(on).await.body.contains("Remove the second factor"));
    let csrf_of =
        |page: &Shown| page.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let page = open.visit("/oauth2/account").await;
    let fields = [("csrf", csrf_of(&page)), ("action", "withdraw".to_owned())];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let shown = open.post("/oauth2/account", &fields).await;
    assert!(open.follow(shown).await.body.contains("One more step"));
    assert!(press(&mut b, "withdraw").await.body.contains("Set up a second factor"));
}
