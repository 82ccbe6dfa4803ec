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

/// The code of the authenticator app that scanned `page`.
fn authenticator(page: &Shown) -> impl Fn(i64) -> String + use<> {
    let secret = page.body.split("id=\"secret\">").nth(1).unwrap_or_else(|| panic!("{}", page.body));
    let secret = totp_rs::Secret::Encoded(secret.split('<').next().unwrap().to_owned()).to_bytes().unwrap();
    let totp = totp_rs::TOTP::new_unchecked(totp_rs::Algorithm::SHA1, 6, 1, 30, secret);
    move |at: i64| totp.generate(at.unsigned_abs())
}

async fn press(b: &mut Browser<'_>, action: &str) -> Shown {
    let page = b.visit("/oauth2/account").await;
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap_or_else(|| panic!("{}", page.body));
    let csrf = csrf.split('"').next().unwrap().to_owned();
    let shown = b.post("/oauth2/account", &[("csrf", &csrf), ("action", action)]).await;
    b.follow(shown).await
}

fn sign_on(w: &World, answer: &BTreeMap<String, String>, body: &Value) -> Value {
    assert!(answer.contains_key("code"), "{answer:?}");
    w.tokens.verify_claims("JWT", body["id_token"].as_str().unwrap(), w.clock.now()).unwrap()
}

#[tokio::test]
async fn high_assurance_asks_for_a_second_factor_which_works_once() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let login = b.visit(&request("strict", &[])).await;
    let enrol = b.sign_in(&login, "alice").await;
    let code = authenticator(&enrol);
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

#[tokio::test]
async fn s15_an_open_browser_is_not_enough_to_enrol_a_second_factor_and_enrolling_proves_nothing() {
    let w = world().await;
    let (_, mut b) = tokens(&w, "web").await;
    let signed_in = w.clock.now();
    // Moments after the password, beside a request that asks for it anew: the factor is taken, and still no sign-in.
    w.clock.advance(5);
    let anew = request("web", &[("prompt", "login")]);
    let login = b.get(&anew).await.to;
    let page = b.visit(&login.replace("/oauth2/login?", "/oauth2/second_factor?")).await;
    let code = authenticator(&page);
    let on = b.submit(&page, &[("code", &code(w.clock.now().0))]).await;
    assert!(b.follow(on).await.body.contains("name=\"password\""), "S15 prompt=login");
    w.clock.advance(30);
    let answer = b.authorize(&request("web", &[]), "alice").await;
    let told = sign_on(&w, &answer, &redeem(&w, "web", &answer["code"], &[]).await.1);
    assert_eq!(told["auth_time"], json!(signed_in), "enrolling is no sign-in");

    // Somebody at bob's browser, long after he signed in.
    let mut open = Browser::new(&w);
    open.authorize(&request("web", &[]), "bob").await;
    w.clock.advance(601);
    let login = open.get(&anew).await.to;
    let page = open.visit(&login.replace("/oauth2/login?", "/oauth2/second_factor?")).await;
    assert!(page.body.contains("name=\"password\""), "{}", page.body);
    let page = press(&mut open, "enrol").await;
    assert!(page.body.contains("name=\"password\""), "{}", page.body);
    assert!(open.visit(&request("strict", &[])).await.body.contains("name=\"password\""));
    // He himself goes on to the page, and two tabs give him one factor.
    let page = open.sign_in(&page, "bob").await;
    let late = press(&mut open, "enrol").await;
    let code = authenticator(&page);
    let on = open.submit(&page, &[("code", &code(w.clock.now().0))]).await;
    assert!(open.follow(on).await.body.contains("Remove the second factor"));
    let second = open.submit(&late, &[("code", &authenticator(&late)(w.clock.now().0))]).await;
    assert_eq!(second.status, 401, "it is the first one's code that is asked for now: {}", second.body);
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
async fn a_second_factor_is_taken_away_by_whoever_shows_it_or_by_an_administrator() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let login = b.visit("/oauth2/account").await;
    let account = b.sign_in(&login, "alice").await;
    let enrol = b.submit(&account, &[("action", "revoke"), ("client", "nobody")]).await;
    assert_eq!(enrol.to, "/oauth2/account");
    // Somebody who sits at a browser that was signed in before the factor was there.
    let mut open = Browser::new(&w);
    let login = open.visit("/oauth2/account").await;
    open.sign_in(&login, "alice").await;
    let enrol = press(&mut b, "enrol").await;
    let code = authenticator(&enrol);
    let on = b.submit(&enrol, &[("code", &code(w.clock.now().0))]).await;
    assert!(b.follow(on).await.body.contains("Remove the second factor"));
    assert!(press(&mut open, "withdraw").await.body.contains("One more step"));
    assert!(press(&mut b, "withdraw").await.body.contains("Set up a second factor"));
    assert!(b.visit(&request("strict", &[])).await.body.contains("id=\"secret\""), "one factor is one factor again");

    // A new one works as the first did, and when it is lost an administrator takes it away.
    let enrol = press(&mut b, "enrol").await;
    let code = authenticator(&enrol);
    let on = b.submit(&enrol, &[("code", &code(w.clock.now().0))]).await;
    assert!(b.follow(on).await.body.contains("Remove the second factor"));
    assert!(b.get(&request("strict", &[])).await.to.contains("/oauth2/consent"));
    let office = portcullis::admin::Office {
        policy: w.policy.load_full(),
        store: w.store.clone(),
        here: None,
        audit: portcullis::log::Log::off(),
        by: "ops".to_owned(),
        through: "api",
        now: w.clock.now(),
    };
    assert!(office.reset_second_factor("alice").await.unwrap());
    assert!(!office.reset_second_factor("alice").await.unwrap());
    assert_eq!(office.acts("", 5).await.unwrap().items[0].act.act, "reset_second_factor");
    assert!(b.visit(&request("strict", &[])).await.body.contains("id=\"secret\""));
    let mut other = Browser::new(&w);
    let login = other.visit(&request("web", &[])).await;
    assert!(other.sign_in(&login, "alice").await.body.contains("value=\"allow\""), "her password alone signs her in");
}

#[tokio::test]
async fn s59_guesses_of_one_address_run_out_on_every_path_that_takes_a_password() {
    let w = world_with(|policy| {
        people(policy);
        policy.people.limits.address = 6;
        let mut robot = app("robot");
        robot.grants = ["password".to_owned()].into();
        robot.auth_method = AuthMethod::ClientSecret;
        robot.secrets = vec![Digest::of(SECRET.as_bytes())];
        policy.clients.insert("robot".into(), Arc::new(robot));
    })
    .await;
    let page_of = async |address: &str| {
        let mut b = Browser::new(&w);
        b.address = Some(address.parse().unwrap());
        let page = b.visit(&request("web", &[])).await;
        (b, page)
    };
    let granted = async |address: &str, username: &str, password: &str| {
        let fields = [
            ("grant_type", "password"),
            ("client_id", "robot"),
            ("client_secret", SECRET),
            ("username", username),
            ("password", password),
        ];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post("/oauth2/token").header("content-type", "application/x-www-form-urlencoded");
        let mut request = request.body(Bytes::from(body)).unwrap();
        let address: std::net::IpAddr = address.parse().unwrap();
        request.extensions_mut().insert(portcullis::provider::ClientAddress(address));
        read(&w.provider.handle(request).await)["error_description"].clone()
    };
    let (mut b, page) = page_of("2001:db8::1").await;
    // Whoever signs in has guessed nothing.
    for _ in 0..10 {
        assert_eq!(b.submit(&page, &[("username", "alice"), ("password", PASSWORD)]).await.status, 303);
    }
    for n in 0..3 {
        let name = format!("name-{n}");
        assert_eq!(b.submit(&page, &[("username", &name), ("password", PASSWORD)]).await.status, 401, "S59 nobody's");
        assert_eq!(granted("2001:db8::ffff:2", &name, "guess").await, "authentication failure", "of the same /64");
    }
    let right = [("username", "bob"), ("password", PASSWORD)];
    assert_eq!(b.submit(&page, &right).await.status, 429, "S59 not even the right one, of somebody else's account");
    assert_eq!(granted("2001:db8::3", "bob", PASSWORD).await, "too many attempts; try again later", "S59");
    let (mut other, page_there) = page_of("2001:db8:0:1::1").await;
    assert_eq!(other.submit(&page_there, &right).await.status, 303, "S59 another address goes on");
    w.clock.advance(301);
    assert_eq!(b.submit(&page, &right).await.status, 303);
}

#[tokio::test]
async fn f17_passwords_wait_in_a_queue_that_is_bounded() {
    let w = world_with(|policy| {
        people(policy);
        // Names that nobody has cost what production takes: no hash is done while the others are on their way.
        policy.passwords = Default::default();
    })
    .await;
    let mut b = Browser::new(&w);
    let page = b.visit(&request("web", &[])).await;
    let action = page.body.split("action=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/");
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let cookie = format!("__Host-portcullis-browser={}", b.cookies["__Host-portcullis-browser"]);
    let guess = |n: usize| {
        let body = format!("csrf={csrf}&username=nobody-{n}&password=guess");
        let request = Request::post(&action).header("cookie", &cookie).body(Bytes::from(body)).unwrap();
        let provider = w.provider.clone();
        Box::pin(async move { provider.handle(request).await })
    };
    for hashes in [1, 2] {
        w.reload(|policy| policy.people.limits.hashes = hashes);
        let mut guesses: Vec<_> = (0..50).map(guess).collect();
        let mut statuses = vec![0; guesses.len()];
        // All fifty at a time, on one thread: each goes as far as it can before the first one's hash is looked at.
        std::future::poll_fn(|cx| {
            for (guess, status) in guesses.iter_mut().zip(&mut statuses).filter(|(_, status)| **status == 0) {
                if let std::task::Poll::Ready(response) = guess.as_mut().poll(cx) {
                    *status = response.status().as_u16();
                }
            }
            if statuses.contains(&0) { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
        })
        .await;
        let of = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
        let may = 16 * hashes;
        assert_eq!((of(401), of(503)), (may, 50 - may), "F17 sixteen for each that is hashed, and no more");
        assert!(statuses[..may].iter().all(|status| *status == 401), "who came first");
    }
    assert_eq!(b.submit(&page, &[("username", "alice"), ("password", PASSWORD)]).await.status, 303, "F17 and then on");
}

#[tokio::test]
async fn s14_s58_two_tabs_that_come_at_once_each_get_a_secret_and_the_browser_keeps_one() {
    let w = world().await;
    let (mut b, mut early) = (Browser::new(&w), Browser::new(&w));
    let first = early.get(&request("web", &[("state", "first")])).await.to;
    let page = early.get(&first).await;
    let second = b.visit(&request("web", &[("state", "second")])).await;
    // The first tab's page was made for a secret that is gone: it is shown once more, and nothing of it was taken.
    let right = [("username", "alice"), ("password", PASSWORD)];
    assert_eq!(b.submit(&page, &right).await.status, 400, "S58 who cannot say where a form comes from");
    b.headers = vec![("origin", ISSUER.to_owned()), ("sec-fetch-site", "same-origin".to_owned())];
    let again = b.submit(&page, &right).await;
    assert!(again.status == 200 && again.body.contains("name=\"password\""), "S58 {}", again.body);
    assert!(!b.cookies.contains_key("__Host-portcullis"), "S58");
    let consent = b.sign_in(&again, "alice").await;
    let to = b.submit(&consent, &[("decision", "allow")]).await.to;
    assert!(to.contains("code=") && to.contains("state=first"), "S14 {to}");
    let to = b.sign_in(&second, "alice").await.to;
    assert!(to.contains("code=") && to.contains("state=second"), "S14 {to}");
    // The same where the address alone was made for it.
    assert!(b.get(&first).await.body.contains("name=\"password\""), "S14");
    // What was said in another browser is worth nothing here.
    let select = request("web", &[("prompt", "select_account")]);
    let page = b.visit(&select).await;
    let chosen = b.submit(&page, &[("choice", "same")]).await.to;
    let cookies = std::mem::take(&mut b.cookies);
    b.authorize(&request("web", &[]), "bob").await;
    w.clock.advance(1);
    assert!(b.visit(&chosen).await.body.contains("Go on as bob"), "S14 he is asked himself");
    b.cookies = cookies;
    assert!(b.visit(&chosen).await.to.contains("code="));
    // A stale form signs nobody out, either.
    let logout = early.visit("/oauth2/logout").await;
    assert!(logout.body.contains("Signed out"), "nobody is signed in there");
    let account = b.visit("/oauth2/account").await;
    b.cookies.insert("__Host-portcullis-browser".into(), "x".repeat(43));
    let kept = b.submit(&account, &[("action", "sign_out_everywhere")]).await;
    assert!(kept.status == 200 && kept.body.contains("Your apps"), "S58 {}", kept.body);
    let page = b.visit("/oauth2/logout").await;
    b.cookies.insert("__Host-portcullis-browser".into(), "y".repeat(43));
    let kept = b.submit(&page, &[("confirm", "yes")]).await;
    assert!(kept.body.contains("Sign out?") && b.cookies.contains_key("__Host-portcullis"), "S58 {}", kept.body);
}
