//! A process that is told to end, or to make room for the next one: what is under way goes on for `grace`, and no longer.
use super::{
    Named,
    streams::{UPGRADE, echo, open, prepared},
};
use crate::{
    attacks::rest,
    process::{Gate, PROGRAM, until},
};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// The gate as systemd starts it, with ten seconds of grace: it says there that it serves.
fn run(gate: &mut Gate) -> UnixDatagram {
    let place = gate.path("notify");
    let supervisor = UnixDatagram::bind(&place).unwrap();
    supervisor.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    gate.edit("conf/portcullis.toml", "data = ", "grace = 10\ndata = ");
    let errors = fs::File::create(gate.path("stderr")).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg("--config").arg(gate.config()).env("NOTIFY_SOCKET", &place);
    gate.child = Some(command.stdout(Stdio::null()).stderr(errors).spawn().unwrap());
    let pid = u64::from(gate.child.as_ref().unwrap().id());
    assert_eq!(heard(&supervisor), pid, "READY=1, and who it is");
    assert!(until(|| gate.ready()["ready"] == true), "{}", fs::read_to_string(gate.path("stderr")).unwrap());
    supervisor
}

/// The process that says that it serves now (sd_notify(3)).
fn heard(supervisor: &UnixDatagram) -> u64 {
    loop {
        let mut bytes = [0; 512];
        let length = supervisor.recv(&mut bytes).unwrap();
        let state = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let pid = state.lines().find_map(|line| line.strip_prefix("MAINPID="));
        if let (true, Some(pid)) = (state.lines().any(|line| line == "READY=1"), pid) {
            return pid.parse().unwrap();
        }
    }
}

#[test]
fn at_sigterm_what_is_in_flight_is_answered_and_a_websocket_is_cut_after_the_grace() {
    let slow = Named::start();
    let (mut gate, events) = prepared();
    let route = format!(
        "[[route]]\nname = \"slow\"\npath = \"/slow\"\npublic = true\nupstream.addresses = [\"{}\"]\n\n",
        slow.address
    );
    gate.edit("conf/portcullis.toml", "[[route]]\nname = \"ws\"", &(route + "[[route]]\nname = \"ws\""));
    let _supervisor = run(&mut gate);
    let token = gate.token();
    let (mut socket, head) = open(&gate, "/ws", &token, UPGRADE);
    assert!(head[0].contains("101"), "{head:?}");
    assert_eq!(echo(&mut socket, "before"), "before");
    let (mut stream, head) = open(&gate, "/events", &token, "");
    assert!(head[0].contains("200"), "{head:?}");
    let mut source = events.recv().unwrap();
    let held = slow.gate.lock().unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| super::get(&gate, "/slow", &[]));
        assert!(until(|| slow.served() == 1));
        gate.signal("-TERM");
        assert!(until(|| gate.ready()["ready"] != true), "nobody sends it anything more");
        drop(held);
        assert_eq!(asked.join().unwrap(), (200, slow.address.clone()), "asked before, answered after");
    });
    source.write_all(b"data: the last\n\n").unwrap();
    drop(source);
    assert!(rest(&mut stream).contains("data: the last"), "an answer under way is sent to its end");
    // For longer than a process lives that has nothing in flight.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(echo(&mut socket, "still here"), "still here");
    // Nobody closes it: `rest` fails after 30 s.
    assert_eq!(rest(&mut socket), "");
    gate.child.take().unwrap().wait().unwrap();
}

#[test]
fn at_an_upgrade_a_websocket_stays_with_the_old_process_for_the_grace_and_the_next_one_is_the_main_one() {
    let (mut gate, _events) = prepared();
    let supervisor = run(&mut gate);
    let old = gate.child.as_ref().unwrap().id();
    let lives = || Path::new(&format!("/proc/{old}/fd/0")).exists();
    let (mut socket, head) = open(&gate, "/ws", &gate.token(), UPGRADE);
    assert!(head[0].contains("101"), "{head:?}");
    gate.signal("-USR2");
    let next = heard(&supervisor);
    assert_ne!(next, u64::from(old));
    let audit = || fs::read_to_string(gate.path("audit.log")).unwrap();
    let handed = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|l| l["outcome"] == "handed over");
    assert!(until(|| audit().lines().any(handed)), "{}", audit());
    assert_eq!(echo(&mut socket, "after the handover"), "after the handover");
    assert!(lives(), "it drains");
    // Nobody closes it: `rest` fails after 30 s.
    assert_eq!(rest(&mut socket), "");
    assert!(until(|| !lives()), "the old one has ended with its grace");
    gate.child.take().unwrap().wait().unwrap();
    let (mut other, head) = open(&gate, "/ws", &gate.token(), UPGRADE);
    assert!(head[0].contains("101"), "{head:?}");
    assert_eq!(echo(&mut other, "of the next one"), "of the next one");
    drop(other);
    assert!(Command::new("kill").args(["-TERM", &next.to_string()]).status().unwrap().success());
    assert!(until(|| gate.admin("GET", "/livez").0 == 0));
}
