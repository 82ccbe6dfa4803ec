//! What `tests/clients/` holds is played by Node.js, against a gate of its own.
use super::process::Gate;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

impl Gate {
    /// A client of `tests/clients/`, in Node.js; what it printed. It has to end well, and within five minutes even on a busy machine.
    pub fn play(&self, script: &str, more: &[(&str, &str)]) -> String {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        assert!(clients.join("node_modules").exists(), "tests/clients is not installed: run scripts/setup.sh test");
        let printed = self.path(script);
        let out = fs::File::create(&printed).unwrap();
        let mut child = Command::new("node")
            .arg("--test-reporter=tap")
            .arg(clients.join(script))
            .env("ISSUER", self.issuer())
            .env("NODE_EXTRA_CA_CERTS", self.path("certs/ca.pem"))
            .env("CERTIFICATE", self.path("certs/localhost.pem"))
            .env("SCREENSHOTS", Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots"))
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .unwrap_or_else(|e| panic!("node: {e}: run scripts/setup.sh test"));
        let mut ended = None;
        let in_time = (0..3000).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            ended = child.try_wait().unwrap();
            ended.is_some()
        });
        if !in_time {
            // Its browser hangs on its pipe, and ends with it.
            let _ = child.kill();
            let _ = child.wait();
        }
        let printed = fs::read_to_string(printed).unwrap();
        println!("{printed}");
        assert!(ended.is_some_and(|status| status.success()), "{script} failed");
        printed
    }
}
