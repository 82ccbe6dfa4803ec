//! People's flows in a real browser: the scenarios are in `tests/clients/scenarios/`, one Chromium plays them all.
use super::process::Gate;
use std::fs;

/// Everybody's.
pub const PASSWORD: &str = "a long enough password";

/// Everybody who plays; a scenario has its own, so that none sees another's sessions and consents.
const PEOPLE: &str = "first scriptless careless unwilling undecided twofold postal keyboard wanderer careful screen \
    quiet-screen typist expired owner leaving target framed visitor lured tabbed lapsed synchronous gallery-en gallery-de";

/// Cheap parameters: what is tested is not argon2, which a debug build takes seconds for.
fn hash() -> String {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version, password_hash::SaltString};
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let salt = SaltString::from_b64("c2FsdHNhbHRzYWx0").unwrap();
    argon.hash_password(PASSWORD.as_bytes(), &salt).unwrap().to_string()
}

/// Puts `names` in place of the shipped users.
pub fn people(gate: &Gate, names: &[&str]) {
    let hash = hash();
    let table = |name| {
        format!(
            "[[user]]\nusername = \"{name}\"\npassword = \"{hash}\"\npermissions = [\"sales\"]\nprofile = {{ name = \"{name}\", email = \"{name}@example.com\" }}\n"
        )
    };
    fs::write(gate.path("conf/users.toml"), names.iter().map(table).collect::<String>()).unwrap();
}

/// The shipped configuration, and the apps and people that the scenarios need besides.
fn stage() -> Gate {
    let gate = Gate::prepare();
    people(&gate, &PEOPLE.split(' ').collect::<Vec<_>>());
    let notebook = fs::read_to_string(gate.path("conf/apps/notebook.toml")).unwrap();
    let app = |id: &str, name: &str, more: &str| {
        let text = notebook.replace("\"notebook\"", &format!("\"{id}\"")).replace("Orders notebook", name);
        fs::write(gate.path(&format!("conf/apps/{id}.toml")), format!("{more}\n{text}")).unwrap();
    };
    app("vault", "Vault", "required_level = \"high_assurance\"");
    // What an operator may come to write; pages must bear it.
    let long = "Quarterly consolidated orders reconciliation workbench of the northern region (pre-production) \
                AbteilungsübergreifendeBestellabgleichsverwaltungsanwendung";
    app("long", long, "");
    let own = "\"https://orders.example.com/auth/orders.consolidated.quarterly.readonly\", \"phone\", \"address\"";
    gate.edit("conf/apps/long.toml", "\"orders:write\"", &format!("\"orders:write\", {own}"));
    gate
}

#[test]
fn s9_s11_s12_s14_s15_s42_s43_s45_s49_s54_to_s59_people_in_a_real_browser() {
    let mut gate = stage();
    gate.run();
    let told = gate.play("browser.mjs", &[("PASSWORD", PASSWORD)]);
    assert!(told.contains("# fail 0") && !told.contains("# pass 0"));
}
