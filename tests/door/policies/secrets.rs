//! Secrets: when they must be shown, and until when an old one counts.
use super::*;

const OLD: &str = "the-secret-of-before-with-thirty-two-characters";

fn confidential(w: &World, policies: Policies) {
    change(w, "plain", |client| {
        client.auth_method = AuthMethod::ClientSecret;
        client.secrets = vec![Digest::of(SECRET.as_bytes()), Digest::of(OLD.as_bytes())];
        client.grants.insert("client_credentials".to_owned());
        client.run_as = Some("alice".into());
        client.policies = policies;
    });
}

#[tokio::test]
async fn a_staged_secret_counts_until_its_time_and_the_new_one_at_once() {
    let w = world().await;
    let mut policies = Policies::default();
    policies.secret.ends = vec![(Digest::of(OLD.as_bytes()), w.clock.now().plus(60))];
    confidential(&w, policies);
    let asks = async |secret| {
        let fields = [("grant_type", "client_credentials"), ("client_id", "plain"), ("client_secret", secret)];
        w.post("/oauth2/token", None, &fields).await.status().as_u16()
    };
    assert_eq!((asks(OLD).await, asks(SECRET).await), (200, 200));
    w.clock.advance(60);
    assert_eq!((asks(OLD).await, asks(SECRET).await), (401, 200));
}

#[test]
fn s22_a_secret_is_rotated_by_the_command_line_and_both_count_for_a_while() {
    let gate = crate::process::Gate::start();
    let file = gate.path("conf/apps/console.toml");
    let written = |secrets: &str| {
        let app = format!(
            "client_id = \"console\"\nauth = \"client_secret\"\n{secrets}\ngrants = [\"client_credentials\"]\n\
             scopes = [\"orders:read\"]\napproval = \"self\"\nrun_as = \"alice\"\naudience = \"{}\"\n",
            gate.issuer()
        );
        std::fs::write(&file, app).unwrap();
    };
    written(&format!("secrets = [\"sha256:{}\"]", Digest::of(OLD.as_bytes()).hex()));
    let out = gate.command(&["apps", "rotate-secret", "console", "--days", "3"], "");
    let told = String::from_utf8(out.stdout).unwrap();
    let line = told.lines().find_map(|l| l.strip_prefix("for the app's file:")).unwrap_or_else(|| panic!("{told}"));
    let new = told.lines().find_map(|l| l.strip_prefix("secret, shown this once: ")).unwrap();
    written(line.trim());
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    for (secret, status) in [(new, 200), (OLD, 200), ("neither", 401)] {
        let fields = [("grant_type", "client_credentials"), ("client_id", "console"), ("client_secret", secret)];
        let answer = gate.agent().post(format!("{}/oauth2/token", gate.issuer())).send_form(fields).unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
    let unknown = gate.command(&["apps", "rotate-secret", "nobody"], "");
    assert!(!unknown.status.success());
}

#[tokio::test]
async fn a_secret_is_shown_where_the_app_must_and_not_where_it_need_not() {
    let w = world().await;
    confidential(&w, Policies::default());
    let code = Browser::new(&w).authorize(&request("plain", &[]), "alice").await["code"].clone();
    assert_eq!(redeem(&w, "plain", &code, &[]).await.0, 401, "S19");
    let mut policies = Policies::default();
    policies.secret.optional = true;
    confidential(&w, policies.clone());
    let (status, body) = redeem(&w, "plain", &code, &[]).await;
    assert_eq!(status, 200, "{body}");
    let token = body["refresh_token"].as_str().unwrap();
    assert_eq!(refresh(&w, "plain", token).await.0, 401, "required for refresh all the same");
    let wrong = [("client_secret", "wrong")];
    let again = Browser::new(&w).authorize(&request("plain", &[]), "alice").await["code"].clone();
    assert_eq!(redeem(&w, "plain", &again, &wrong).await.0, 401, "one that is shown must be right");
    let machine = [("grant_type", "client_credentials"), ("client_id", "plain")];
    assert_eq!(w.post("/oauth2/token", None, &machine).await.status(), 401);
    policies.secret.optional_for_refresh = true;
    confidential(&w, policies);
    assert_eq!(refresh(&w, "plain", token).await.0, 200);
}
