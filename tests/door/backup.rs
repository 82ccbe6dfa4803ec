//! The commands of the operations page for backup and restore: what was there is there again, and no more.
use super::{
    cluster::cluster,
    node::{Person, REFRESH, redeemed},
    process::{Gate, text},
};
use serde_json::Value;
use std::{fs, process::Command};

/// What people and apps held when the backup was made.
struct Held {
    used: String,
    unused: String,
    tokens: Value,
    revoked: String,
}

impl Held {
    fn at(gate: &Gate) -> Self {
        let mut alice = Person::default();
        let (used, unused) = (alice.code(&[gate]), alice.code(&[gate]));
        let (status, tokens) = redeemed(gate, &used);
        assert_eq!(status, 200, "{tokens}");
        let revoked = gate.token();
        assert_eq!(gate.form("/oauth2/revoke", &[("client_id", "orders-robot"), ("token", &revoked)]).0, 200);
        Self { used, unused, tokens, revoked }
    }

    /// After the backup: what is spent now will be good again, and nobody may be told otherwise.
    fn spend(&self, gate: &Gate) {
        assert_eq!(gate.refreshed(&self.tokens[REFRESH]).0, 200);
        assert_eq!(redeemed(gate, &self.unused).0, 200);
    }

    fn is_back(&self, gate: &Gate) {
        let told = gate.command(&["store", "check"], "");
        assert!(told.status.success(), "{}", text(&told.stderr));
        assert!(text(&told.stdout).contains("authorization: 1\n"), "{}", text(&told.stdout));
    }

    fn holds(&self, gate: &Gate) {
        let access = self.tokens["access_token"].as_str().unwrap();
        assert_eq!((gate.call(access), gate.call(&self.revoked)), (200, 401), "the keys and the revocations are back");
        assert_eq!(redeemed(gate, &self.unused).0, 200, "as it was");
        assert_eq!(gate.refreshed(&self.tokens[REFRESH]).0, 200, "as it was");
        assert_eq!(redeemed(gate, &self.used).0, 400, "S23: spent before the backup");
        assert_eq!(gate.call(access), 401, "S26");
    }
}

fn stop(gate: &mut Gate, signal: &str) {
    gate.signal(signal);
    gate.child.take().unwrap().wait().unwrap();
}

#[test]
fn s31_a_backup_of_sqlite_made_while_the_node_runs_is_put_back() {
    let mut gate = Gate::start();
    let held = Held::at(&gate);
    let data = gate.path("data");
    let run = Command::new("sqlite3").args(["portcullis.db", ".backup copy.db"]).current_dir(&data).output();
    let run = run.expect("sqlite3 is not installed: scripts/setup.sh test installs it");
    assert!(run.status.success(), "{}", text(&run.stderr));
    let copy = gate.path("copy");
    fs::create_dir(&copy).unwrap();
    for (from, to) in [("copy.db", "portcullis.db"), ("keys.json", "keys.json"), ("vault.key", "vault.key")] {
        fs::copy(data.join(from), copy.join(to)).unwrap();
    }
    held.spend(&gate);
    // The machine is lost in the middle of its work, and its log lies there.
    stop(&mut gate, "-KILL");
    assert!(data.join("portcullis.db-wal").exists());
    for name in ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm", "keys.json", "vault.key"] {
        fs::remove_file(data.join(name)).unwrap();
    }
    for entry in fs::read_dir(&copy).unwrap().flatten() {
        fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
    }
    held.is_back(&gate);
    gate.run();
    held.holds(&gate);
}

#[test]
fn s31_a_dump_of_postgresql_made_while_a_node_runs_is_restored_into_another_database() {
    let cluster = cluster();
    let (database, empty) = (cluster.database(), cluster.database());
    let mut gate = Gate::on(cluster, &database);
    gate.run();
    let held = Held::at(&gate);
    let copy = gate.path("copy");
    let copy = copy.to_str().unwrap();
    cluster.program("pg_dump", &database, &["-Fc", "-f", copy]);
    held.spend(&gate);
    stop(&mut gate, "-TERM");
    cluster.program("pg_restore", &empty, &[copy]);
    gate.edit("conf/portcullis.toml", &cluster.address(&database), &cluster.address(&empty));
    held.is_back(&gate);
    gate.run();
    held.holds(&gate);
}
