//! Three days' traffic in fast-forward: what expires goes, and the store stays as large as what lives.
use super::people::*;
use portcullis::{
    clock::{ManualClock, Timestamp},
    store::{Store, sqlite::SqliteStore, sweep::sweep, transfer::kinds},
};

const STEP: i64 = 600;
const STEPS: i64 = 72 * 3600 / STEP;

/// Records that live, and bytes of the file, at each full hour.
#[tokio::test]
async fn days_of_traffic_leave_the_store_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, None).unwrap());
    let w = world_over(store.clone(), people).await;
    let clock: &ManualClock = &w.clock;
    let mut curve = Vec::new();
    let mut browser = Browser::new(&w);
    for step in 1..=STEPS {
        clock.advance(STEP);
        let now = clock.now();
        for n in 0..4 {
            let claims =
                json!({"iss": "app", "sub": "alice", "aud": ISSUER, "exp": now.0 + 120, "jti": format!("{step}/{n}")});
            assert_eq!(w.bearer(&w.signed(&claims)).await.0, 200);
        }
        // An app whose tokens live for fifteen minutes signs in anew, is renewed, and at times robbed or signed out.
        let code = browser.authorize(&request("short", &[]), "alice").await["code"].clone();
        let (_, first) = redeem(&w, "short", &code, &[]).await;
        let text = |v: &Value| v["refresh_token"].as_str().unwrap().to_owned();
        let (_, second) = refresh(&w, "short", &text(&first)).await;
        if step % 3 == 0 {
            refresh(&w, "short", &text(&second)).await;
            assert_eq!(refresh(&w, "short", &text(&first)).await.0, 400);
        }
        let fields = [("client_id", "web"), ("scope", "read")];
        assert_eq!(w.post("/oauth2/device_authorization", None, &fields).await.status(), 200);
        sweep(&*store, now).await.unwrap();
        w.tokens.forget_expired(now);
        if step % (3600 / STEP) == 0 {
            // Not what lives alone: what is there.
            let there = kinds(&*store, Timestamp(0)).await.unwrap().values().sum::<usize>();
            curve.push((there, std::fs::metadata(&path).unwrap().len()));
        }
    }
    println!("hour: records, bytes");
    curve.iter().zip(1..).for_each(|((records, bytes), hour)| println!("{hour:>4}: {records:>6} {bytes:>9}"));
    let most =
        |hours: &[(usize, u64)]| (hours.iter().map(|h| h.0).max().unwrap(), hours.iter().map(|h| h.1).max().unwrap());
    // What ended a token is kept for a day longer than the longest token, two days: from then on nothing grows any more.
    let (first, second) = (most(&curve[49..53]), most(&curve[68..]));
    let kinds = kinds(&*store, Timestamp(0)).await.unwrap();
    assert!(second.0 <= first.0 + first.0 / 10, "{} records, then {}: {kinds:?}", first.0, second.0);
    assert!(second.1 <= first.1 + first.1 / 5, "{} bytes, then {}", first.1, second.1);
}
