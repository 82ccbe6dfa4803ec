//! Programs written for Salesforce, unmodified, over HTTPS.
use super::super::{
    browser::{PASSWORD, people},
    edge::get,
    process::Gate,
};
use portcullis::secret::Digest;
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const SECRET: &str = "a secret of the tests, much longer than it has to be";
const SECURITY_TOKEN: &str = "abcdefghijklmnopqrstuvwx";
const HOST: &str = "acme.my.salesforce.com";

const CONSOLE: &str = r#"
client_id = "console"
name = "Console"
auth = "client_secret"
secrets = [{ file = "console.secret" }]
grants = ["authorization_code", "refresh_token", "client_credentials", "password"]
redirect_uris = ["http://127.0.0.1/callback"]
pkce_required = false
# It throws a replaced refresh token away.
refresh = { reusable = true }
scopes = ["api", "id", "openid", "refresh_token"]
approval = "self"
run_as = "alice"
"#;

const SIGNER: &str = r#"
client_id = "signer"
auth = "none"
keys = [{ pem_file = "signer.pem" }]
grants = ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
scopes = ["api", "id"]
approval = { admin = ["sales"] }
"#;

const ROUTE: &str = r#"[[route]]
name = "data"
path = "/services/data/*"
scopes = ["api"]
errors = "salesforce"
upstream.addresses = ["127.0.0.1:EXAMPLE"]

[[route]]
name = "orders""#;

/// The shipped configuration as an organization that these programs know.
fn stage() -> Gate {
    let gate = Gate::prepare();
    let more = format!(
        "\n[salesforce]\norganization = \"00D000000000062EAA\"\nsoap_app = \"console\"\n\
         audiences = [\"https://login.salesforce.com\", \"https://{HOST}\"]\n"
    );
    let config = fs::read_to_string(gate.config()).unwrap() + &more;
    fs::write(gate.config(), config).unwrap();
    let route = ROUTE.replace("EXAMPLE", &gate.example.to_string());
    gate.edit("conf/portcullis.toml", "[[route]]\nname = \"orders\"", &route);
    people(&gate, &["alice", "bob"]);
    let token = Digest::of(SECURITY_TOKEN.as_bytes()).hex();
    let named = "username = \"bob\"\n";
    gate.edit("conf/users.toml", named, &format!("{named}security_token = \"sha256:{token}\"\n"));
    fs::write(gate.path("conf/apps/console.secret"), SECRET).unwrap();
    for (name, app) in [("console", CONSOLE), ("signer", SIGNER)] {
        let app = format!("{app}audience = \"{}\"\n", gate.issuer());
        fs::write(gate.path("conf/apps").join(format!("{name}.toml")), app).unwrap();
    }
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    fs::write(gate.path("conf/apps/signer.pem"), key.public_key_pem()).unwrap();
    fs::write(gate.path("signer.key"), key.serialize_pem()).unwrap();
    gate
}

#[test]
fn s4_s28_s37_s49_s59_jsforce_of_npm_works_once_it_is_pointed_here() {
    let mut gate = stage();
    gate.run();
    let key = gate.path("signer.key");
    let more = [("PASSWORD", PASSWORD), ("SECRET", SECRET), ("KEY", key.to_str().unwrap())];
    let told = gate.play("jsforce.mjs", &more);
    assert!(told.contains("# fail 0") && !told.contains("# pass 0"));
    // restforce and streaming clients say OAuth for Bearer; bulk clients send a header of their own.
    let token = format!("{}/services/oauth2/token", gate.issuer());
    let fields = [("grant_type", "client_credentials"), ("client_id", "console"), ("client_secret", SECRET)];
    let answer = gate.agent().post(token).send_form(fields).unwrap().body_mut().read_to_string().unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let token = answer["access_token"].as_str().unwrap();
    let (oauth, bad) = (format!("OAuth {token}"), "OAuth 00D000000000062!bad");
    let data = |name: &str, value: &str| get(&gate, "/services/data/v60.0/x", &[(name, value)]);
    assert_eq!((data("authorization", &oauth).0, data("x-sfdc-session", token).0), (200, 200));
    assert!(!data("x-sfdc-session", token).1.contains(token), "the API never sees the token");
    for (name, value) in [("authorization", bad), ("authorization", "OAuth"), ("x-sfdc-session", "\"")] {
        let (status, body) = data(name, value);
        assert!(status == 401 && body.contains("INVALID_SESSION_ID"), "{name} {value}: {status} {body}");
    }
    // The toolkit for Java packs its messages.
    let login = format!(
        "<env:Envelope xmlns:env=\"http://schemas.xmlsoap.org/soap/envelope/\"><env:Body><m:login xmlns:m=\"urn:partner.soap.sforce.com\">\
         <m:username>alice</m:username><m:password>{PASSWORD}</m:password></m:login></env:Body></env:Envelope>"
    );
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(login.as_bytes()).unwrap();
    let soap = gate.agent().post(format!("{}/services/Soap/u/60.0/", gate.issuer()));
    let soap =
        soap.header("content-encoding", "gzip").header("content-type", "text/xml").send(packed.finish().unwrap());
    assert!(soap.unwrap().body_mut().read_to_string().unwrap().contains("<sessionId>00D"));
    assert_eq!(get(&gate, "/orders/7", &[("authorization", &oauth)]).0, 400, "elsewhere there is one way");
    let logs = ["access.log", "audit.log"].map(|f| fs::read_to_string(gate.path(f)).unwrap()).concat();
    for secret in [PASSWORD, SECRET, "oauth_token", "00D000000000062!"] {
        assert!(!logs.contains(secret), "{secret} in a log");
    }
}

#[test]
fn s36_s37_s59_simple_salesforce_of_pypi_logs_in_and_comes_back_by_itself() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python");
    assert!(python.join("bin/python").exists(), "target/python is not installed: run scripts/setup.sh test");
    let mut gate = stage();
    // Its hosts end in salesforce.com: one of them has a certificate here.
    let own = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    fs::create_dir_all(gate.path("certs")).unwrap();
    fs::write(gate.path("certs/acme.pem"), own.cert.pem()).unwrap();
    fs::write(gate.path("certs/acme.key"), own.signing_key.serialize_pem()).unwrap();
    let table = format!(
        "[[certificate]]\nhosts = [\"{HOST}\"]\nchain_file = \"../certs/acme.pem\"\nkey_file = \"../certs/acme.key\"\n\n[[route]]\nname = \"data\""
    );
    gate.edit("conf/portcullis.toml", "[[route]]\nname = \"data\"", &table);
    gate.edit("conf/portcullis.toml", "soap_app = ", &format!("instance_url = \"https://{HOST}\"\nsoap_app = "));
    gate.run();
    let printed = gate.path("simple_salesforce");
    let out = fs::File::create(&printed).unwrap();
    let mut child = Command::new(python.join("bin/python"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/simple_salesforce_client.py"))
        .env("PORT", gate.https.to_string())
        .env("CA", gate.path("certs/acme.pem"))
        .envs([("PASSWORD", PASSWORD), ("SECRET", SECRET), ("SECURITY_TOKEN", SECURITY_TOKEN)])
        .env("KEY", gate.path("signer.key"))
        .stdin(Stdio::null())
        .stderr(out.try_clone().unwrap())
        .stdout(out)
        .spawn()
        .unwrap();
    let mut ended = None;
    for _ in 0..1200 {
        ended = child.try_wait().unwrap();
        if ended.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let printed = fs::read_to_string(printed).unwrap();
    println!("{printed}");
    assert!(ended.is_some_and(|status| status.success()) && printed.contains("Ran 6 tests"));
}
