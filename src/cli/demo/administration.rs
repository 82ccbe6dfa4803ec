//! An administrator blocks an app while the gateway runs, and sees who used it.
use super::{super::token, Tour, until};
use std::process::Command;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const APP: &str = "orders-robot";

/// From a call that is answered to one that is refused, and back.
pub fn play(tour: &Tour) -> Result<(), String> {
    let token = exchange(tour, "A1. The robot of the beginning has another token", 200)?;
    let token: serde_json::Value = serde_json::from_str(&token).map_err(|e| e.to_string())?;
    let token = token["access_token"].as_str().ok_or("the answer holds no access_token")?.to_owned();
    tour.call("A2. And calls the API", "GET", &token, 200)?;
    portcullis(tour, &["apps", "block", APP, "--reason", "its key was lost"])?;
    felt(tour, &token, 401)?;
    tour.call("A3. The app is blocked: the token in hand opens nothing", "GET", &token, 401)?;
    exchange(tour, "A4. Nor does it get another", 400)?;
    portcullis(tour, &["apps", "unblock", APP])?;
    felt(tour, &token, 200)?;
    tour.call("A5. It was a mistake", "GET", &token, 200)?;
    // With the removal of the device before them, all three may have fallen into one second, in which they have no order.
    let acts = portcullis(tour, &["acts", "--most", "3"])?;
    if !acts.contains("unblock_app by os:") {
        return Err(format!("the act is not remembered: {acts}"));
    }
    Ok(())
}

fn exchange(tour: &Tour, title: &str, expected: u16) -> Result<String, String> {
    let key = tour.folder.join("certs/orders-robot.key");
    let assertion = token::assertion(APP, "alice", &tour.issuer, &key, 120)?;
    let fields = [("grant_type", GRANT), ("scope", "orders:read"), ("assertion", &*assertion)];
    tour.post(title, "/oauth2/token", &fields, expected)
}

/// The command line, on the store of the gateway that runs.
fn portcullis(tour: &Tour, arguments: &[&str]) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let run =
        Command::new(program).arg("--config").arg(tour.folder.join("conf/portcullis.toml")).args(arguments).output();
    let run = run.map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    println!("   portcullis {}\n   {}\n", arguments.join(" "), said.trim_end().replace('\n', "\n   "));
    if run.status.success() { Ok(said) } else { Err(String::from_utf8_lossy(&run.stderr).into_owned()) }
}

fn felt(tour: &Tour, token: &str, status: u16) -> Result<(), String> {
    let changed = until(|| tour.send("GET", token).is_ok_and(|(got, _)| got == status));
    changed.then_some(()).ok_or_else(|| "the gateway did not hear of it".to_owned())
}
