//! Username and password, by OAuth and by SOAP.
use super::*;
use portcullis::model::Level;

const SOAP: &str = "/services/Soap/u/62.0";

async fn world() -> World {
    super::super::provider::world_with(|policy| {
        people::people(policy);
        organization(policy);
        for id in ["console", "sure"] {
            let mut client = connected(id);
            client.grants.insert("password".to_owned());
            if id == "sure" {
                client.interactive.level = Level::HighAssurance;
            }
            policy.clients.insert(id.into(), Arc::new(client));
        }
        let mut bob = (*policy.users["bob"]).clone();
        bob.security_token = Some(Digest::of(b"abcdefghijklmnopqrstuvwx"));
        policy.users.insert("bob".into(), Arc::new(bob));
        let mut settings = (**policy.salesforce.as_ref().unwrap()).clone();
        settings.soap_app = Some("console".into());
        policy.salesforce = Some(Arc::new(settings));
    })
    .await
}

async fn by_password(w: &World, client: &str, path: &str, user: &str, password: &str) -> (u16, Value) {
    let fields = [("grant_type", "password"), ("username", user), ("password", password)];
    let response = w.post(path, Some(client), &fields).await;
    (response.status().as_u16(), read(&response))
}

async fn soap(w: &World, body: &str) -> (u16, String) {
    soap_at(w, SOAP, None, body.as_bytes()).await
}

async fn soap_at(w: &World, path: &str, encoding: Option<&str>, body: &[u8]) -> (u16, String) {
    let request = Request::post(path).header("content-type", "text/xml; charset=UTF-8").header("soapaction", "\"\"");
    let request = encoding.into_iter().fold(request, |r, how| r.header("content-encoding", how));
    let response = w.provider.handle(request.body(Bytes::copy_from_slice(body)).unwrap()).await;
    (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
}

fn gzip(message: &str) -> Vec<u8> {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(message.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// A call with a session in its header.
fn with_session(call: &str, session: &str) -> String {
    format!(
        "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Header><SessionHeader xmlns=\"urn:partner.soap.sforce.com\">\
         <sessionId>{session}</sessionId></SessionHeader></e:Header><e:Body><{call}/></e:Body></e:Envelope>"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn s64_soap_as_toolkits_speak_it_packed_in_both_namespaces_and_with_faults_of_their_classes() {
    let w = world().await;
    let right = login("alice", people::PASSWORD);
    for (letter, name) in [("u", "partner"), ("c", "enterprise")] {
        let path = format!("/services/Soap/{letter}/60.0/0DF000000000001");
        let (status, body) = soap_at(&w, &path, Some("gzip"), &gzip(&right)).await;
        assert_eq!(status, 200, "{body}");
        assert!(body.contains(&format!("xmlns=\"urn:{name}.soap.sforce.com\"")), "{body}");
        assert!(
            body.contains(&format!("<serverUrl>{INSTANCE}/services/Soap/{letter}/60.0/{ORGANIZATION}</serverUrl>"))
        );
        let session = body.split("<sessionId>").nth(1).unwrap().split('<').next().unwrap();
        let (status, told) = soap_at(&w, &path, None, with_session("getUserInfo", session).as_bytes()).await;
        assert!(status == 200 && told.contains("<userName>alice</userName>"), "{told}");
        assert!(told.contains("<getUserInfoResponse><result><accessibilityMode>"), "{told}");
        let (status, fault) = soap_at(&w, &path, None, with_session("getUserInfo", "nonsense").as_bytes()).await;
        let class = format!("xmlns:sf=\"urn:fault.{name}.soap.sforce.com\"");
        assert!(status == 500 && fault.contains(&class), "{fault}");
        assert!(fault.contains("<faultcode>sf:INVALID_SESSION_ID</faultcode>"), "{fault}");
        assert!(
            fault.contains("<sf:UnexpectedErrorFault xsi:type=\"sf:UnexpectedErrorFault\"><sf:exceptionCode>"),
            "{fault}"
        );
        let (_, fault) = soap_at(&w, &path, None, login("alice", "wrong").as_bytes()).await;
        let login_fault =
            "<sf:LoginFault xsi:type=\"sf:LoginFault\"><sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode>";
        assert!(fault.contains(login_fault), "{fault}");
    }
    // A message that unpacks to too much, one that does not unpack, one in another way, and entities within entities.
    let bomb = gzip(&right.replace("<e:Body>", &format!("<e:Body>{}", " ".repeat(8 << 20))));
    assert!(bomb.len() < 64 << 10, "small where it comes in");
    let laughs = format!("<!DOCTYPE e [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]>{}", login("&b;", "y"));
    for (encoding, body) in [
        (Some("gzip"), bomb),
        (Some("gzip"), right.clone().into_bytes()),
        (Some("gzip"), gzip(&right)[..40].to_vec()),
        (Some("br"), gzip(&right)),
        (None, gzip(&right)),
        (None, laughs.into_bytes()),
        (None, with_session("query", "x").into_bytes()),
    ] {
        let (status, fault) = soap_at(&w, SOAP, encoding, &body).await;
        assert!(status == 500 && fault.contains("sf:INVALID_TYPE"), "S64 {encoding:?} {fault}");
    }
    for path in ["/services/Soap/u/", "/services/Soap/m/60.0", "/services/Soap/"] {
        assert!(!w.provider.owns(path), "{path} may be a route's");
    }
}

fn login(user: &str, password: &str) -> String {
    format!(
        "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><n:login xmlns:n=\"urn:partner.soap.sforce.com\">\
         <n:username>{user}</n:username><n:password>{password}</n:password></n:login></e:Body></e:Envelope>"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn s20_s59_username_password_is_off_by_default_and_guessed_at_no_faster_than_elsewhere() {
    let w = world().await;
    let token = "abcdefghijklmnopqrstuvwx";
    let right = people::PASSWORD;
    let appended = format!("{right}{token}");
    let (status, body) = by_password(&w, "console", TOKEN, "alice", right).await;
    assert!(status == 200 && body.get("refresh_token").is_none() && opens(&w, &body["access_token"]), "{body}");
    assert_eq!(by_password(&w, "console", "/oauth2/token", "bob", &appended).await.0, 200);
    for (client, user, password, error) in [
        ("consumer", "alice", right, "grant type not supported"),
        ("sure", "alice", right, "authentication failure"),
        ("console", "bob", right, "authentication failure"),
        ("console", "bob", &format!("{right}{}", "x".repeat(24)), "authentication failure"),
        ("console", "bob", token, "authentication failure"),
        ("console", "nobody", right, "authentication failure"),
    ] {
        let (status, body) = by_password(&w, client, TOKEN, user, password).await;
        assert_eq!((status, body["error_description"].as_str().unwrap()), (400, error), "{client} {user}");
    }
    let anonymous =
        w.post(TOKEN, None, &[("grant_type", "password"), ("username", "alice"), ("password", right)]).await;
    assert_eq!(anonymous.status(), 400, "S19");
    for _ in 0..20 {
        by_password(&w, "console", TOKEN, "alice", "wrong").await;
    }
    assert_eq!(by_password(&w, "console", TOKEN, "alice", right).await.1["error"], "rate_limit_exceeded", "S59");
    let (status, fault) = soap(&w, &login("alice", right)).await;
    assert!(
        status == 500 && fault.contains("sf:PASSWORD_LOCKOUT") && fault.contains("login rate exceeded"),
        "S59 one throttle for every path: {fault}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s59_s64_soap_login_and_logout() {
    let w = world().await;
    let (status, body) = soap(&w, &login("alice", people::PASSWORD)).await;
    assert_eq!(status, 200, "{body}");
    let field = |name: &str| body.split(&format!("<{name}>")).nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert_eq!(field("serverUrl"), format!("{INSTANCE}{SOAP}/{ORGANIZATION}"));
    assert!(field("userId").starts_with("005") && field("organizationId") == "00D000000000062EAA");
    assert_eq!(field("passwordExpired"), "false");
    let session = json!(field("sessionId"));
    assert!(opens(&w, &session));
    let logout = |session: &str| with_session("logout", session);
    assert_eq!(soap(&w, &logout(session.as_str().unwrap())).await.0, 200);
    assert!(!opens(&w, &session));
    let (status, fault) = soap(&w, &logout(session.as_str().unwrap())).await;
    assert!(status == 500 && fault.contains("<sf:exceptionCode>INVALID_SESSION_ID<"), "{fault}");
    for bad in [login("alice", "wrong"), login("nobody", people::PASSWORD)] {
        let (status, fault) = soap(&w, &bad).await;
        assert!(status == 500 && fault.contains("<faultstring>INVALID_LOGIN: "), "{fault}");
    }
    let hostile = format!("<!DOCTYPE e [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>{}", login("&x;", "y"));
    assert!(soap(&w, &hostile).await.1.contains("INVALID_TYPE"), "S64");
    w.reload(|policy| {
        let settings = Salesforce { soap_app: None, ..(**policy.salesforce.as_ref().unwrap()).clone() };
        policy.salesforce = Some(Arc::new(settings));
    });
    assert!(!w.provider.owns(SOAP) && soap(&w, &login("alice", people::PASSWORD)).await.0 == 404, "off by default");
}
