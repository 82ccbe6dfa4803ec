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

#[test]
fn s4_s9_s17_s19_s23_s28_s43_s46_s49_openid_client_of_npm_speaks_every_flow() {
    let mut gate = Gate::prepare();
    fs::write(gate.path("conf/apps/office.secret"), SECRET).unwrap();
    let office = format!("{OFFICE}audience = \"{}\"\n", gate.issuer());
    fs::write(gate.path("conf/apps/office.toml"), office).unwrap();
    super::browser::people(&gate, &["alice"]);
    gate.run();
    let told = gate.play("openid_client.mjs", &[("PASSWORD", super::browser::PASSWORD), ("SECRET", SECRET)]);
    assert!(told.contains("# fail 0") && !told.contains("# pass 0"));
}
