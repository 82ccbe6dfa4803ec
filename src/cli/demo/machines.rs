//! JWT bearer, and a policy that is edited while the gateway runs.
use super::{super::token, Tour, until};
use std::fs;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// From an assertion to a token, a call, a policy that changes meanwhile, and the end.
pub fn play(tour: &Tour) -> Result<(), String> {
    let key = tour.folder.join("certs/orders-robot.key");
    let assertion = token::assertion("orders-robot", "alice", &tour.issuer, &key, 120)?;
    let scope = ("scope", "orders:read");
    let fields = [("grant_type", GRANT), scope, ("assertion", &*assertion)];
    let answer = tour.post("1. A token, by JWT bearer, for reading only", "/oauth2/token", &fields, 200)?;
    let parsed: serde_json::Value = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
    let token = parsed["access_token"].as_str().ok_or("the answer holds no access_token")?.to_owned();
    again(tour, &fields)?;
    let seen = tour.call("3. The call: the API sees who calls, and no token", "GET", &token, 200)?;
    if !seen.contains("\"x-forwarded-user\":\"alice\"") || seen.contains(&token) {
        return Err(format!("the API saw the wrong thing: {seen}"));
    }
    tour.call("4. A call that needs more scope", "POST", &token, 403)?;
    tighten(tour, &token)?;
    let fields = [("client_id", "orders-robot"), ("token", &*token)];
    tour.post("7. The token is revoked", "/oauth2/revoke", &fields, 200)?;
    tour.call("8. The very next call", "GET", &token, 401)?;
    Ok(())
}

fn again(tour: &Tour, fields: &[(&str, &str)]) -> Result<(), String> {
    tour.post("2. The same assertion again: it works once", "/oauth2/token", fields, 400).map(drop)
}

/// Takes the scope from the app's file while the gateway runs, and gives it back.
fn tighten(tour: &Tour, token: &str) -> Result<(), String> {
    let file = tour.folder.join("conf/apps/orders-robot.toml");
    let generous = fs::read_to_string(&file).map_err(|e| e.to_string())?;
    let strict = generous.replace("\"orders:read\", ", "");
    let write = |text: &str, status: u16| -> Result<(), String> {
        fs::write(&file, text).map_err(|e| e.to_string())?;
        let changed = until(|| tour.send("GET", token).is_ok_and(|(got, _)| got == status));
        changed.then_some(()).ok_or_else(|| "the edited policy did not take effect".to_owned())
    };
    println!("   sed -i 's/\"orders:read\", //' {}\n", file.display());
    write(&strict, 403)?;
    tour.call("5. The app's file without orders:read: the token in hand opens nothing", "GET", token, 403)?;
    println!("   sed -i 's/scopes = \\[/&\"orders:read\", /' {}\n", file.display());
    write(&generous, 200)?;
    tour.call("6. The file as it was", "GET", token, 200).map(drop)
}
