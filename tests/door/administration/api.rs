//! The admin API through its own listener, and its document beside its answers.
use super::schema::holds;
use crate::{
    node::{Person, redeemed},
    process::{Gate, port, text, until},
};
use portcullis::{
    clock::Timestamp,
    model::{Authorization, Level},
    secret::{Digest, random_token},
    store::{Change, Changes, Expect, Record, Store, sqlite::SqliteStore},
};
use serde_json::{Value, json};
use std::fs;

/// A gateway with an admin API.
struct Administered {
    gate: Gate,
    base: String,
    secret: String,
}

fn app(id: &str, secret: &str, scopes: &str, audience: &str) -> String {
    let digest = Digest::of(secret.as_bytes()).hex();
    format!(
        "client_id = \"{id}\"\nauth = \"client_secret\"\nsecrets = [\"sha256:{digest}\"]\n\
         grants = [\"client_credentials\"]\nscopes = [{scopes}]\napproval = \"self\"\nrun_as = \"{id}-robot\"\n\
         audience = \"{audience}\"\n"
    )
}

/// Lets alice have given the notebook something, as a flow with a browser would leave it.
fn hold(gate: &Gate, id: &str) {
    let authorization = Authorization {
        id: id.to_owned(),
        client: "notebook".to_owned(),
        subject: "alice".to_owned(),
        scopes: "orders:read".to_owned(),
        sid: None,
        ends: None,
        auth_time: Timestamp(1),
        level: Level::Standard,
        amr: Vec::new(),
        created: Timestamp(1),
        renewed: Timestamp(2),
        claims: Default::default(),
        refresh: None,
        key: None,
        certificate: None,
    };
    let body = serde_json::to_vec(&authorization).unwrap();
    let (key, index) = (Authorization::key(id), Some("user/alice".to_owned()));
    let record = Record { key, version: 0, index, expires: None, body };
    let store = SqliteStore::open(&gate.path("data/portcullis.db"), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.commit(Changes(vec![Change::Put(record, Expect::Any)]), Timestamp(1))).unwrap();
}

impl Administered {
    fn start(table: &str) -> Self {
        let mut gate = Gate::prepare();
        let (port, secret) = (port(), random_token());
        let admin = format!("{}/admin", gate.issuer());
        for (id, scopes, audience) in [
            ("ops", "\"portcullis:admin\"", &*admin),
            ("watcher", "\"portcullis:admin:read\"", &admin),
            ("stranger", "\"portcullis:admin\"", &gate.issuer()),
        ] {
            fs::write(gate.path("conf/apps").join(format!("{id}.toml")), app(id, &secret, scopes, audience)).unwrap();
        }
        let main = fs::read_to_string(gate.config()).unwrap();
        fs::write(gate.config(), format!("{main}\n[admin_api]\nlisten = \"127.0.0.1:{port}\"\n{table}\n")).unwrap();
        gate.run();
        let scheme = if table.contains("tls = true") { "https" } else { "http" };
        let base = format!("{scheme}://localhost:{port}").replace("http://localhost", "http://127.0.0.1");
        Self { gate, base, secret }
    }

    fn token(&self, id: &str) -> String {
        let fields = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", &self.secret)];
        let answer = self.gate.agent().post(format!("{}/oauth2/token", self.gate.issuer())).send_form(fields);
        let body: Value = serde_json::from_str(&answer.unwrap().body_mut().read_to_string().unwrap()).unwrap();
        body["access_token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
    }

    /// Status, headers and body.
    fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> (u16, String, Value) {
        let mut arguments = vec!["-i".to_owned(), "-X".to_owned(), method.to_owned()];
        let mut header = |text: String| arguments.extend(["-H".to_owned(), text]);
        if let Some(token) = token {
            header(format!("Authorization: Bearer {token}"));
        }
        if let Some(body) = body {
            header("Content-Type: application/json".to_owned());
            arguments.extend(["-d".to_owned(), body.to_string()]);
        }
        arguments.push(format!("{}{path}", self.base));
        let told = self.gate.curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
        (status, head.to_ascii_lowercase(), body)
    }
}

#[test]
fn s61_the_admin_api_opens_to_its_own_audience_and_scopes_alone_and_what_it_does_is_felt_at_once() {
    let all = Administered::start("tls = true");
    let (ops, watcher) = (all.token("ops"), all.token("watcher"));
    let (status, head, body) = all.ask("GET", "/v1/apps", None, None);
    assert!(
        status == 401 && head.contains("www-authenticate: bearer realm=") && !head.contains("invalid_token"),
        "{head}"
    );
    assert_eq!((&body["status"], &body["title"]), (&401.into(), &"Unauthorized".into()));
    assert!(head.contains("application/problem+json") && head.contains("cache-control: no-store"), "{head}");
    let robot = all.gate.token();
    for foreign in [&*robot, &all.token("stranger"), "nonsense"] {
        let (status, head, _) = all.ask("GET", "/v1/apps", Some(foreign), None);
        assert!(status == 401 && head.contains("invalid_token"), "{head}");
    }
    assert_eq!(all.ask("GET", "/v1/nothing", None, None).0, 401, "a stranger learns nothing of what there is");
    assert_eq!(all.ask("GET", "/v1/nothing", Some(&ops), None).0, 404);
    assert_eq!(all.ask("GET", "/v1/apps", Some(&watcher), None).0, 200);
    let (status, head, _) = all.ask("PUT", "/v1/apps/orders-robot/block", Some(&watcher), None);
    assert!(status == 403 && head.contains("scope=\"portcullis:admin\""), "{head}");
    assert_eq!(all.gate.call(&robot), 200);

    // Access of one user to one app: also of tokens that no authorization stands behind.
    assert_eq!(all.ask("DELETE", "/v1/apps/orders-robot/authorizations/alice", Some(&ops), None).2["ended"], 0);
    assert_eq!(all.gate.call(&robot), 401);
    assert!(until(|| all.gate.call(&all.gate.token()) == 200), "what is issued later opens");
    let robot = all.gate.token();

    // The very next request is refused: no waiting, since this is the node itself.
    let reason = json!({"reason": "robbed"});
    assert_eq!(all.ask("PUT", "/v1/apps/orders-robot/block", Some(&ops), Some(&reason)).0, 204);
    assert_eq!(all.gate.call(&robot), 401);
    assert_eq!(all.ask("PUT", "/v1/apps/orders-robot/block", Some(&ops), Some(&reason)).0, 204, "and again");
    let (_, _, app) = all.ask("GET", "/v1/apps/orders-robot", Some(&ops), None);
    assert_eq!(
        (&app["blocked"], &app["block"]["by"], &app["block"]["reason"]),
        (&true.into(), &"ops/ops-robot".into(), &"robbed".into())
    );
    assert_eq!(all.ask("DELETE", "/v1/apps/orders-robot/block", Some(&ops), None).0, 204);
    assert_eq!(all.gate.call(&robot), 200);
    assert_eq!(all.ask("PUT", "/v1/users/alice/block", Some(&ops), None).0, 204);
    assert_eq!(all.gate.call(&robot), 401);
    assert_eq!(all.ask("DELETE", "/v1/users/alice/block", Some(&ops), None).0, 204);
    assert_eq!(all.gate.call(&robot), 200);
    assert_eq!(all.ask("DELETE", "/v1/apps/orders-robot/authorizations", Some(&ops), None).2["ended"], 0);
    assert_eq!(all.gate.call(&robot), 401, "a token without an authorization ends with its app's");

    // Whoever blocks the administrators' own app is out too.
    let malformed = [
        ("GET", "/v1/apps?limit=0", None, 400),
        ("GET", "/v1/apps?colour=red", None, 400),
        ("PUT", "/v1/apps/orders-robot/block", Some(json!({"reasn": "x"})), 400),
        ("PUT", "/v1/apps/orders-robot/block", Some(json!({"reason": "a\nb"})), 422),
        ("PUT", "/v1/apps/orders-robot/approvals/alice", Some(json!({"scopes": ["everything"]})), 422),
        ("PUT", "/v1/apps/nobody/block", None, 404),
        ("PUT", "/v1/users/nobody/block", None, 404),
        ("DELETE", "/v1/authorizations/nothing", None, 404),
        ("POST", "/v1/apps", None, 405),
    ];
    for (method, path, body, expected) in malformed {
        let (status, _, told) = all.ask(method, path, Some(&ops), body.as_ref());
        assert!(status == expected && told["detail"].is_string(), "{method} {path}: {status} {told}");
    }
    let (_, _, acts) = all.ask("GET", "/v1/acts?limit=2", Some(&watcher), None);
    let next = acts["next"].as_str().unwrap();
    let (_, _, more) = all.ask("GET", &format!("/v1/acts?after={next}"), Some(&watcher), None);
    assert_eq!((acts["items"].as_array().unwrap().len(), more["items"].as_array().unwrap().len()), (2, 4), "{more}");
    assert_eq!(acts["items"][0]["by"], "ops/ops-robot");
    assert_eq!(all.ask("PUT", "/v1/apps/ops/block", Some(&ops), None).0, 204);
    assert_eq!(all.ask("GET", "/v1/apps", Some(&ops), None).0, 401);
    let audit = fs::read_to_string(all.gate.path("audit.log")).unwrap();
    assert!(audit.contains("\"through\":\"api\"") && !audit.contains(&ops), "{audit}");
    let metrics = all.gate.admin("GET", "/metrics").1;
    assert!(metrics.contains("portcullis_admin_requests_total{operation=\"blockApp\",status=\"204\"} 3"), "{metrics}");
}

#[test]
fn the_document_tells_of_every_answer_and_every_answer_is_as_it_tells() {
    let all = Administered::start("");
    let ops = all.token("ops");
    let approved = json!({"scopes": ["orders:read"]});
    assert_eq!(all.ask("PUT", "/v1/apps/orders-robot/approvals/alice", Some(&ops), Some(&approved)).0, 204);
    ["held", "kept", "other"].iter().for_each(|id| hold(&all.gate, id));
    all.gate.token();
    assert!(until(|| all.ask("GET", "/v1/apps/orders-robot/usage", Some(&ops), None).2["items"][0]["uses"] == 1));
    let (_, _, first) = all.ask("GET", "/v1/authorizations?limit=2&client_id=notebook", Some(&ops), None);
    let ids = |page: &Value| page["items"].as_array().unwrap().iter().map(|a| a["id"].clone()).collect::<Vec<_>>();
    assert_eq!((ids(&first), &first["next"]), (vec![json!("held"), json!("kept")], &json!("kept")));
    let (_, _, rest) = all.ask("GET", "/v1/authorizations?after=kept&username=alice", Some(&ops), None);
    assert_eq!((ids(&rest), &rest["next"]), (vec![json!("other")], &Value::Null));
    // A code that was issued before counts for nothing either.
    let code = Person::default().code(&[&all.gate]);
    let gone = all.ask("DELETE", "/v1/apps/notebook/authorizations/alice", Some(&ops), None);
    assert_eq!(gone.2["ended"], 3);
    let (status, body) = redeemed(&all.gate, &code);
    assert_eq!((status, &body["error"]), (400, &"invalid_grant".into()), "{body}");
    ["held", "kept"].iter().for_each(|id| hold(&all.gate, id));
    let (status, _, document) = all.ask("GET", "/openapi.json", None, None);
    assert_eq!((status, &document["openapi"]), (200, &"3.1.0".into()));
    let mut answered = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let operations = operations.as_object().unwrap();
        let real = path.replace("{client_id}", "orders-robot").replace("{username}", "alice").replace("{id}", "held");
        for method in ["get", "put", "post", "delete", "patch"] {
            let token = (path != "/openapi.json").then_some(&*ops);
            let (status, head, body) = all.ask(&method.to_uppercase(), &real, token, None);
            let Some(operation) = operations.get(method) else {
                let allowed: Vec<_> = operations.keys().collect();
                assert!([401, 405].contains(&status), "{method} {path} is not told of, but answered: {status}");
                assert!(status == 401 || allowed.iter().all(|m| head.contains(m.as_str())), "{head}");
                continue;
            };
            answered += 1;
            let told = &operation["responses"][status.to_string()];
            assert!(told.is_object(), "{method} {path}: {status} is not told of");
            match told["content"].as_object().and_then(|c| c.iter().next()) {
                None => assert_eq!(body, Value::Null, "{method} {path}"),
                Some((kind, content)) => {
                    assert!(head.contains(kind.as_str()), "{method} {path}: {head}");
                    holds(&content["schema"], &body, &document).unwrap_or_else(|why| panic!("{method} {path}: {why}"));
                }
            }
            let parameters = operation["parameters"].as_array().unwrap();
            let named = parameters.iter().filter(|p| p["in"] == "path").count();
            assert_eq!(named, path.matches('{').count(), "{path}");
        }
    }
    assert!(answered > 20, "{answered}");
    // Lists that hold something are what their items' schemas say, checked above: none of these was empty.
    for path in ["/v1/apps", "/v1/users", "/v1/acts", "/v1/apps/orders-robot/usage", "/v1/users/alice/usage"] {
        assert!(!all.ask("GET", path, Some(&ops), None).2["items"].as_array().unwrap().is_empty(), "{path}");
    }
    let mut names = Vec::new();
    let mut after = String::new();
    loop {
        let (_, _, page) = all.ask("GET", &format!("/v1/apps?limit=2&after={after}"), Some(&ops), None);
        names.extend(page["items"].as_array().unwrap().iter().map(|a| a["client_id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names, ["notebook", "ops", "orders-robot", "portal", "stranger", "watcher"]);
    let check = all.gate.command(&["check"], "");
    assert!(!text(&check.stderr).contains("app ops"), "its audience is the admin API's: {}", text(&check.stderr));
}
