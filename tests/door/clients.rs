//! Clients that nobody here wrote, unmodified, over HTTPS with our own authority.
use super::process::Gate;
use std::fs;

const SECRET: &str = "a secret of the tests, much longer than it has to be";

/// A web app with a secret: every flow of a person, and of its own.
const OFFICE: &str = r#"
client_id = "office"
name = "Back office"
auth = "client_secret"
secrets = [{ file = "office.secret" }]
grants = ["authorization_code", "refresh_token", "client_credentials"]
redirect_uris = ["http://127.0.0.1/callback"]
scopes = ["openid", "profile", "email", "offline_access", "orders:read"]
approval = "self"
run_as = "alice"
token_format = "jwt"
id_token_signing_alg = "ES256"
"#;

/// A program that shows a signature instead of a secret.
const KEYED: &str = r#"
client_id = "keyed"
auth = "private_key_jwt"
keys = [{ pem_file = "keyed.pem" }]
grants = ["client_credentials"]
scopes = ["orders:read"]
approval = "self"
run_as = "alice"
"#;

#[test]
fn s4_s9_s17_s19_s23_s28_s37_s43_s46_s49_openid_client_of_npm_speaks_every_flow() {
    let mut gate = Gate::prepare();
    fs::write(gate.path("conf/apps/office.secret"), SECRET).unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    fs::write(gate.path("conf/apps/keyed.pem"), key.public_key_pem()).unwrap();
    fs::write(gate.path("keyed.key"), key.serialize_pem()).unwrap();
    for (name, app) in [("office", OFFICE), ("keyed", KEYED)] {
        let app = format!("{app}audience = \"{}\"\n", gate.issuer());
        fs::write(gate.path("conf/apps").join(format!("{name}.toml")), app).unwrap();
    }
    super::browser::people(&gate, &["alice"]);
    gate.run();
    let key = gate.path("keyed.key");
    let more = [("PASSWORD", super::browser::PASSWORD), ("SECRET", SECRET), ("KEY", key.to_str().unwrap())];
    let told = gate.play("openid_client.mjs", &more);
    assert!(told.contains("# fail 0") && !told.contains("# pass 0"));
}
