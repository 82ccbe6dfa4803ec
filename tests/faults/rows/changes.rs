//! Configuration, policy, keys and program, changed under load.
use super::*;

/// Broken configurations: the old one keeps serving.
pub fn broken_configuration() -> Result<Row, String> {
    let (gate, history, tries) = (Gate::start(), History::default(), times(40, 1000));
    let client = Client::of(&gate, &gate, &history);
    let token = client.issue().ok_or("no token")?;
    let good = fs::read_to_string(gate.config()).unwrap();
    let mut taken_up = 0;
    for n in 0..tries {
        let cut = 40 + (n * 37) % (good.len() - 80);
        let bad = match n % 3 {
            0 => format!("{}\n[[route", good.chars().take(cut).collect::<String>()),
            1 => good.replacen("path", "pth", 1),
            _ => format!("{good}\nstray = \u{0}"),
        };
        fs::write(gate.config(), bad).unwrap();
        taken_up += usize::from(gate.admin("POST", "/reload").0 != 422);
        client.call(&token);
    }
    let metrics = gate.admin("GET", "/metrics").1;
    assert!(metrics.contains("portcullis_reloads_total{outcome=\"refused\"}"));
    fs::write(gate.config(), good).unwrap();
    assert!(until(|| gate.ready()["last_reload_refused"] == json!([])));
    let made = row("F10 broken and half-written configuration", tries, &history, "the old one served".to_owned());
    Ok(Row { unexpected: taken_up + made.verdict.failed, ..made })
}

/// Reloads under load: nobody notices.
pub fn reloaded() -> Result<Row, String> {
    let (gate, history, seconds) = (Gate::start(), History::default(), times(4, 60));
    let over = AtomicBool::new(false);
    let tries = std::thread::scope(|scope| {
        let (gate, history, over) = (&gate, &history, &over);
        for _ in 0..2 {
            scope.spawn(move || {
                let client = Client::of(gate, gate, history);
                let token = client.issue().unwrap();
                while !over.load(Ordering::SeqCst) {
                    client.call(&token);
                }
            });
        }
        let begun = Instant::now();
        let mut tries = 0;
        while begun.elapsed() < Duration::from_secs(seconds as u64) {
            gate.edit("conf/portcullis.toml", "name = \"status\"", &format!("name = \"status{}\"", tries % 2));
            assert_eq!(gate.admin("POST", "/reload").0, 200);
            gate.edit("conf/portcullis.toml", &format!("name = \"status{}\"", tries % 2), "name = \"status\"");
            tries += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::SeqCst);
        tries
    });
    let made = row("F11 reloads under load", tries, &history, "unnoticed".to_owned());
    Ok(Row { unexpected: made.verdict.failed, ..made })
}

/// A policy is tightened: nothing is allowed after the reload was acknowledged.
pub fn tightened() -> Result<Row, String> {
    let (gate, history, tries) = (Gate::start(), History::default(), times(6, 100));
    let client = Client::of(&gate, &gate, &history);
    let token = client.issue().ok_or("no token")?;
    let mut allowed = 0;
    for _ in 0..tries {
        gate.edit("conf/apps/orders-robot.toml", "client_id", "blocked = true\nclient_id");
        assert_eq!(gate.admin("POST", "/reload").0, 200);
        let request = client.agent.get(format!("{}/orders/7", client.url));
        let status =
            request.header("authorization", format!("Bearer {token}")).call().map_or(0, |a| a.status().as_u16());
        allowed += usize::from(status != 401);
        gate.edit("conf/apps/orders-robot.toml", "blocked = true\n", "");
        assert_eq!(gate.admin("POST", "/reload").0, 200);
        client.call(&token);
    }
    Ok(Row {
        unexpected: allowed,
        ..row("F12 policy tightened", tries, &history, "felt at the acknowledgement".to_owned())
    })
}

/// Keys are rotated under load: no false refusal.
pub fn rotated() -> Result<Row, String> {
    let (gate, history, tries) = (Gate::start(), History::default(), times(4, 50));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (gate, history, over) = (&gate, &history, &over);
        for _ in 0..2 {
            scope.spawn(move || {
                let client = Client::of(gate, gate, history);
                let first = client.issue().unwrap();
                while !over.load(Ordering::SeqCst) {
                    client.call(&first);
                    let token = client.issue().unwrap();
                    client.call(&token);
                }
            });
        }
        for _ in 0..tries {
            assert!(gate.command(&["keys", "rotate", "--publish-before", "1"], "").status.success());
            std::thread::sleep(Duration::from_millis(1_200));
        }
        over.store(true, Ordering::SeqCst);
    });
    let made = row("F13 signing keys rotated under load", tries, &history, "no false refusal".to_owned());
    Ok(Row { unexpected: made.verdict.failed, ..made })
}

/// The program is replaced under load.
pub fn upgraded() -> Result<Row, String> {
    // An upstream that stays: the example API of the gateway itself is replaced with it.
    let upstream = Gate::start();
    let (mut gate, history, tries) = (Gate::prepare(), History::default(), times(2, 20));
    let [own, other] = [gate.example, upstream.example].map(|port| format!("addresses = [\"127.0.0.1:{port}\"]"));
    gate.edit("conf/portcullis.toml", &own, &other);
    gate.run();
    let over = AtomicBool::new(false);
    let unanswered = AtomicUsize::new(0);
    let mut serving = gate.child.as_ref().unwrap().id();
    std::thread::scope(|scope| {
        let (over, history, unanswered) = (&over, &history, &unanswered);
        let client = Client::of(&gate, &gate, history);
        scope.spawn(move || {
            let token = client.issue().unwrap();
            while !over.load(Ordering::SeqCst) {
                unanswered.fetch_add(usize::from(client.call(&token) == 0), Ordering::SeqCst);
            }
        });
        for n in 1..=tries {
            Command::new("kill").args(["-USR2", &serving.to_string()]).status().unwrap();
            let handed = || {
                let audit = fs::read_to_string(gate.path("audit.log")).unwrap();
                let lines = audit.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                lines.filter(|line| line["outcome"] == "handed over").nth(n - 1).map(|line| line["pid"].clone())
            };
            assert!(until(|| handed().is_some()));
            let before = std::mem::replace(&mut serving, u32::try_from(handed().unwrap().as_u64().unwrap()).unwrap());
            assert!(until(|| !std::path::Path::new(&format!("/proc/{before}/fd/0")).exists()));
        }
        over.store(true, Ordering::SeqCst);
    });
    let _ = Command::new("kill").args(["-TERM", &serving.to_string()]).status();
    let _ = gate.child.take().map(|mut child| child.wait());
    let unanswered = unanswered.into_inner();
    let made =
        row("F18 binary upgrade under load", tries, &history, format!("{unanswered} connections without an answer"));
    // A kept connection may end under a request that was just written into it; the client's library asks again.
    Ok(Row { unexpected: made.verdict.failed, ..made })
}

/// The processes whose configuration is `gate`'s.
fn of(gate: &Gate) -> Vec<u32> {
    let config = gate.config().display().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is = |id: &u32| fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains(&config));
    // One that has ended and that nobody has asked after has no command line.
    ids.filter(is).collect()
}

fn end(id: u32) {
    let _ = Command::new("kill").args(["-KILL", &id.to_string()]).stderr(std::process::Stdio::null()).status();
}

/// kill -9 at one instant after another of a handover, in turn of the process that hands over and of the next one. What a
/// supervisor does then: where nobody serves, the rest is ended and the program started anew.
pub fn killed_while_handing_over() -> Result<Row, String> {
    let (mut gate, history, tries) = (Gate::start(), History::default(), times(6, 60));
    let (mut kept, mut revoked) = (Vec::new(), Vec::new());
    let (mut served_on, mut begun_anew, mut slowest) = (0, 0, Duration::ZERO);
    for n in 0..tries {
        let client = Client::of(&gate, &gate, &history);
        kept.push(client.issue().ok_or("no token")?);
        let token = client.issue().ok_or("no token")?;
        assert!(client.revoke(&token));
        revoked.push(token);
        let old = of(&gate);
        assert_eq!(old.len(), 1, "one process serves");
        assert!(Command::new("kill").args(["-USR2", &old[0].to_string()]).status().unwrap().success());
        // Over the whole second that it takes, and somewhat beyond.
        std::thread::sleep(Duration::from_millis(97 * (n as u64 / 2) % 1_600));
        let doomed = if n % 2 == 0 { old[0] } else { of(&gate).into_iter().find(|id| *id != old[0]).unwrap_or(old[0]) };
        end(doomed);
        let begun = Instant::now();
        // Either somebody serves, or soon nobody is there: a process that waits for listeners for ever would be neither.
        let serves =
            || gate.ready()["ready"] == true && gate.agent().get(format!("{}/status", gate.issuer())).call().is_ok();
        let settled = until(|| of(&gate).len() <= 1 && (serves() || of(&gate).is_empty()));
        if settled && serves() {
            served_on += 1;
        } else {
            begun_anew += 1;
            of(&gate).into_iter().for_each(end);
            assert!(until(|| of(&gate).is_empty()));
            let _ = gate.child.take().map(|mut child| child.wait());
            gate.run();
        }
        slowest = slowest.max(begun.elapsed());
        let client = Client::of(&gate, &gate, &history);
        for token in kept.iter().chain(&revoked) {
            client.call(token);
        }
    }
    of(&gate).into_iter().for_each(end);
    let _ = gate.child.take().map(|mut child| child.wait());
    let words = format!("{served_on} served on, {begun_anew} begun anew; {} ms at most", slowest.as_millis());
    Ok(row("F18 kill -9 at any instant of a handover", tries, &history, words))
}
