//! What `full` and `id` stand for, in a running process whose configuration says what there is.
use crate::{
    browser::{PASSWORD, people},
    edge::get,
    process::{Gate, PROGRAM, text},
};
use serde_json::{Value, json};
use std::{fs, process::Command};

const SECRET: &str = "a secret of the tests, much longer than it has to be";
const SALESFORCE: &str = "/services/oauth2/token";

fn app(gate: &Gate, id: &str, scopes: &str) {
    let app = format!(
        "client_id = \"{id}\"\nauth = \"client_secret\"\nsecrets = [{{ file = \"../secret\" }}]\n\
         grants = [\"password\", \"client_credentials\"]\nscopes = {scopes}\napproval = {{ admin = [\"sales\"] }}\n\
         run_as = \"alice\"\naudience = \"{}\"\n",
        gate.issuer()
    );
    fs::write(gate.path("conf/apps").join(format!("{id}.toml")), app).unwrap();
}

/// Status, and the whole answer, of a token request for alice.
fn ask(gate: &Gate, path: &str, id: &str, grant: &str, scope: Option<&str>) -> (u16, Value) {
    let mut fields = vec![("grant_type", grant), ("client_id", id), ("client_secret", SECRET)];
    fields.extend([("username", "alice"), ("password", PASSWORD)]);
    fields.extend(scope.map(|scope| ("scope", scope)));
    let mut answer = gate.agent().post(format!("{}{path}", gate.issuer())).send_form(fields).unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap())
}

#[test]
fn s21_full_stands_for_all_but_a_refresh_token_along_the_salesforce_paths_alone() {
    let mut gate = Gate::prepare();
    people(&gate, &["alice"]);
    fs::write(gate.path("conf/secret"), SECRET).unwrap();
    app(&gate, "everything", "[\"full\", \"refresh_token\"]");
    app(&gate, "person", "[\"id\"]");
    app(&gate, "plain", "[\"api\"]");
    let main = fs::read_to_string(gate.config()).unwrap();
    let elsewhere = "[[route]]\nname = \"elsewhere\"\npath = \"/elsewhere\"\nresource = \"https://other.example\"\nscopes = [\"elsewhere\"]\nupstream.addresses = [\"127.0.0.1:1\"]\n";
    let registration =
        format!("[registration]\nopen = true\nscopes = [\"full\"]\napp.audience = \"{}\"\n", gate.issuer());
    let tables = format!("{main}\n{elsewhere}\n[salesforce]\norganization = \"00D000000000062EAA\"\n{registration}");
    fs::write(gate.config(), tables).unwrap();
    gate.run();
    let call = |method: &str, answer: &Value| {
        let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
        let (agent, url) = (gate.agent(), format!("{}/orders/7", gate.issuer()));
        let sent = match method {
            "POST" => agent.post(url).header("authorization", bearer).send_form([("item", "tea")]),
            _ => agent.get(url).header("authorization", bearer).call(),
        };
        sent.unwrap().status().as_u16()
    };
    let person = |id: &str, scope| ask(&gate, SALESFORCE, id, "password", scope);

    // Without a wish, and with this one: all that the routes of its resource ask for, and Salesforce's own.
    let wide = "api chatter_api content custom_permissions email full id lightning openid orders:read orders:write phone profile \
                address visualforce web";
    for (asked, more) in [(None, " refresh_token"), (Some("full"), "")] {
        let (status, all) = person("everything", asked);
        let mut expected: Vec<&str> = wide.split_whitespace().chain(more.split_whitespace()).collect();
        expected.sort_unstable();
        assert_eq!((status, &all["scope"]), (200, &json!(expected.join(" "))), "{asked:?}");
        assert_eq!((call("GET", &all), call("POST", &all)), (200, 200));
    }
    // A part of it by name, and no more than that; a refresh token by its other name.
    let (_, part) = person("everything", Some("orders:read offline_access"));
    assert_eq!(part["scope"], "orders:read refresh_token");
    assert_eq!((call("GET", &part), call("POST", &part)), (200, 403));
    // What is not there, what is another resource's, what is this server's own; and an app that has no such word.
    for (id, scope) in [
        ("everything", "unknown"),
        ("everything", "elsewhere"),
        ("everything", "portcullis:admin"),
        ("plain", "orders:read"),
        ("plain", "full"),
    ] {
        assert_eq!(person(id, Some(scope)).1["error"], "invalid_scope", "{id} {scope}");
    }
    assert_eq!(person("person", Some("id")).1["scope"], "address email id phone profile");
    assert_eq!(person("person", Some("email")).1["scope"], "email");
    assert_eq!(person("person", Some("openid")).1["error"], "invalid_scope");

    // A program without a person gets none of it.
    let (status, machine) = ask(&gate, SALESFORCE, "everything", "client_credentials", None);
    assert_eq!((status, &machine["scope"], call("GET", &machine)), (200, &json!(""), 403));
    for scope in ["full", "web", "orders:read"] {
        let refused = ask(&gate, SALESFORCE, "everything", "client_credentials", Some(scope)).1;
        assert_eq!(refused["error"], "invalid_scope", "{scope}");
    }
    // On the standard paths it is a word like any other.
    for grant in ["password", "client_credentials"] {
        let (_, plain) = ask(&gate, "/oauth2/token", "everything", grant, None);
        assert_eq!((&plain["scope"], call("GET", &plain)), (&json!("full refresh_token"), 403), "{grant}");
        for scope in ["orders:read", "offline_access"] {
            assert_eq!(
                ask(&gate, "/oauth2/token", "everything", grant, Some(scope)).1["error"],
                "invalid_scope",
                "{grant} {scope}"
            );
        }
    }
    let supported: Value = serde_json::from_str(&get(&gate, "/.well-known/openid-configuration", &[]).1).unwrap();
    assert!(!supported["scopes_supported"].as_array().unwrap().contains(&json!("chatter_api")));

    // An app that registers itself may ask for the parts of what may be had.
    for (scope, expected) in [("api orders:read", "201"), ("portcullis:admin", "400"), ("elsewhere", "400")] {
        let body =
            json!({"redirect_uris": ["https://app.example/cb"], "token_endpoint_auth_method": "none", "scope": scope})
                .to_string();
        let url = format!("{}/services/oauth2/register", gate.issuer());
        let status =
            ["-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", "-d", &body, &url];
        assert_eq!(gate.curl(&status), expected, "{scope}");
    }
    // F12: what is taken away is gone from older tokens, at the next request.
    let (_, all) = person("everything", None);
    gate.edit("conf/apps/everything.toml", "\"full\"", "\"orders:read\"");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    assert_eq!((call("GET", &all), call("POST", &all)), (200, 403));
    let check = Command::new(PROGRAM).args(["check", "--config"]).arg(gate.config()).output().unwrap();
    assert!(check.status.success(), "{}", text(&check.stderr));
}
