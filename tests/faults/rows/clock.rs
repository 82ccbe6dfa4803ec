//! The machine's clock is moved, under the process and before it starts.
use super::*;

/// The library that tells a process another time.
fn faketime() -> Option<String> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    let found = folders.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    found.map(|path| path.display().to_string())
}

/// The clock leaps ahead and back, and is a day ahead at a start: nothing that was ended or used opens or works again.
pub fn moved() -> Result<Row, String> {
    let library = faketime().ok_or("F14 needs libfaketime: scripts/setup.sh test installs it")?;
    let (mut gate, history, tries) = (Gate::prepare(), History::default(), times(1, 20));
    let time = gate.path("time");
    let set = |offset: &str| fs::write(&time, offset).unwrap();
    let environment = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", time.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // What measures how long something takes is no clock that anybody sets.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    set("+0");
    gate.run_in(&environment);
    let (mut allowed, mut played) = (0, 0);
    for _ in 0..tries {
        let client = Client::of(&gate, &gate, &history);
        let (kept, revoked) = (client.issue().ok_or("no token")?, client.issue().ok_or("no token")?);
        assert!(client.revoke(&revoked));
        let mut alice = Person::default();
        let code = alice.code(&[&gate]);
        let family = redeemed(&gate, &code).1;
        let assertion = client.assertion();
        client.bearer(&assertion).ok_or("no token")?;
        let mut check = |gate: &Gate| {
            let client = Client::of(gate, gate, &history);
            allowed += usize::from(client.call(&revoked) == 200);
            let again = client.post("/oauth2/token", &[("grant_type", GRANT), ("assertion", &assertion)]).0;
            allowed += usize::from(again == 200) + usize::from(redeemed(gate, &code).0 == 200);
            played += 1;
        };
        // A token that a clock ahead has stamped ends with what ends its access, whatever the clock says then.
        set("+60");
        check(&gate);
        for offset in ["-60", "+86400", "-3600", "+0"] {
            set(offset);
            check(&gate);
        }
        assert_eq!(client.call(&kept), 200, "what nothing has ended opens");
        assert_ne!(gate.refreshed(&family[REFRESH]).0, 200, "its code was shown again");
        // It starts a day ahead, long enough for two sweeps of the store, and the clock is right again.
        kill(&mut gate);
        set("+86400");
        gate.run_in(&environment);
        std::thread::sleep(Duration::from_secs(22));
        check(&gate);
        set("+0");
        check(&gate);
        kill(&mut gate);
        gate.run_in(&environment);
        check(&gate);
    }
    Ok(Row {
        unexpected: allowed,
        ..row("F14 the clock moves, and is a day ahead at a start", played, &history, "nothing came back".to_owned())
    })
}
