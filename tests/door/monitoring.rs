//! What deploy/ says to Prometheus and Grafana holds for the metrics that there are.
use super::{
    process::{Gate, port, text, until},
    trusted_issuers::idp::{Idp, Key},
};
use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// Names of metrics in `text`, without what a histogram adds to its own.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|w| w.starts_with("portcullis_"));
    let plain = |w: &str| ["_bucket", "_sum", "_count"].iter().find_map(|e| w.strip_suffix(e)).unwrap_or(w).to_owned();
    ours.map(plain).collect()
}

#[test]
fn the_dashboard_and_the_rules_ask_for_metrics_that_there_are() {
    let gate = Gate::prepare();
    let broken = format!(
        "[[route]]\nname = \"broken\"\npath = \"/broken/*\"\npublic = true\nupstream.addresses = [\"127.0.0.1:{}\"]\n\n",
        port()
    );
    let (key, stranger) = (Key::new("k1"), Key::new("k2"));
    let idp = Idp::start(&[&key]);
    fs::write(gate.path("conf/them.pem"), &idp.ca).unwrap();
    let theirs = broken.replace("broken", "theirs").replace("public = true", "scopes = [\"a\"]\nissuers = [\"them\"]");
    let more = [&*broken, &theirs, &idp.table("them", ""), "\n[[route]]\nname = \"status\""].concat();
    gate.edit("conf/portcullis.toml", "[[route]]\nname = \"status\"", &more);
    let mut gate = gate;
    gate.run();
    assert!(until(|| gate.ready()["issuers_unknown"] == serde_json::json!([])));
    let unknown = gate.agent().get(format!("{}/theirs/x", gate.issuer()));
    let unknown = unknown.header("authorization", format!("Bearer {}", idp.token(&stranger))).call().unwrap();
    assert_eq!(unknown.status(), 401);
    assert_eq!(gate.call(&gate.token()), 200);
    assert_eq!(gate.call("wrong"), 401);
    let answer = gate.agent().get(format!("{}/broken/x", gate.issuer())).call().unwrap();
    assert_eq!(answer.status(), 502);
    let exposed = gate.admin("GET", "/metrics").1;
    let there = names(&exposed.lines().filter(|l| l.starts_with("# TYPE")).collect::<Vec<_>>().join("\n"));
    assert!(exposed.contains("portcullis_upstream_failures_total{route=\"broken\"} 1"), "{exposed}");

    let read = |name: &str| fs::read_to_string(Path::new("deploy").join(name)).unwrap();
    let dashboard = read("grafana/portcullis.json");
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(parsed["panels"].as_array().unwrap().iter().all(|p| p["title"].is_string() && p["targets"][0].is_object()));
    let shown = names(&dashboard);
    for asked in [&shown, &names(&read("prometheus/alerts.yml")), &names(&read("prometheus/alerts_test.yml"))] {
        let missing: Vec<_> = asked.difference(&there).collect();
        assert!(missing.is_empty(), "no such metric: {missing:?}");
    }
}

#[test]
fn promtool_finds_the_rules_sound_and_sees_each_fire_and_be_silent() {
    let unpacked = fs::canonicalize("tests/monitoring/.prometheus/usr/bin/promtool");
    let promtool = unpacked.unwrap_or_else(|_| "promtool".into());
    for arguments in [["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]] {
        let run = Command::new(&promtool).args(arguments).current_dir("deploy/prometheus").output().unwrap();
        assert!(run.status.success(), "{}{}", text(&run.stdout), text(&run.stderr));
    }
    let rules = fs::read_to_string("deploy/prometheus/alerts.yml").unwrap();
    let tried = fs::read_to_string("deploy/prometheus/alerts_test.yml").unwrap();
    for alert in rules.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")) {
        assert!(tried.contains(&format!("alertname=\"{alert}\"")), "{alert} is never seen to fire");
        assert!(tried.contains(&format!("alertname: {alert},")), "{alert} is never seen to be silent");
    }
}
