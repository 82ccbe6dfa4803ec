//! A changed configuration is taken up whole, or not at all and the old one goes on serving.
use super::{Loaded, certificate::Certificates, load, mistake::Mistake, server::Settings};
use crate::{
    clock::{Clock, Timestamp},
    log::Log,
    metrics::Metrics,
    policy::{SharedPolicy, diff, in_force::InForce},
};
use arc_swap::ArcSwap;
use notify::{
    EventKind, Watcher,
    event::{AccessKind, AccessMode},
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, SystemTime},
};

/// Between two looks at the files where no event told of a change.
const POLL: Duration = Duration::from_secs(5);
/// Editors write in several steps.
const SETTLE: Duration = Duration::from_millis(50);

/// What a reload brought.
#[derive(Debug)]
pub struct Reloaded {
    /// The revision now in force.
    pub revision: String,
    /// What changed, secrets masked.
    pub changes: Vec<String>,
}

/// Takes up the configuration anew.
pub struct Reloader {
    main: PathBuf,
    settings: Settings,
    hashes: usize,
    in_force: Arc<InForce>,
    certificates: Arc<ArcSwap<Certificates>>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    audit: Log,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stamp: Option<Stamp>,
    refused: Vec<String>,
}

type Stamp = Vec<(PathBuf, Option<SystemTime>, u64)>;

impl Reloader {
    /// Watches over what `loaded` was read from.
    pub fn new(main: &Path, loaded: Loaded, clock: Arc<dyn Clock>, metrics: Arc<Metrics>, audit: Log) -> Self {
        metrics.last_reload.set(clock.now().0);
        let reloader = Self {
            main: main.to_owned(),
            settings: loaded.settings,
            hashes: loaded.policy.people.limits.hashes,
            in_force: Arc::new(InForce::of(loaded.policy)),
            certificates: Arc::new(ArcSwap::from_pointee(loaded.certificates)),
            clock,
            metrics,
            audit,
            state: Mutex::new(State::default()),
        };
        // What changes while the rest of the program begins is seen by the first look.
        reloader.state.lock().unwrap_or_else(PoisonError::into_inner).stamp = Some(reloader.stamp());
        reloader
    }

    /// The policy in force.
    pub fn policy(&self) -> SharedPolicy {
        self.in_force.policy()
    }

    /// What the policy in force is made of.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.clone()
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The certificates in force.
    pub fn certificates(&self) -> Arc<ArcSwap<Certificates>> {
        self.certificates.clone()
    }

    /// What was wrong with the last configuration; empty if it was taken up.
    pub fn refused(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    }

    /// Reads everything and takes it up; returns when it is in force. `cause` is for the audit stream.
    pub fn reload(&self, cause: &str) -> Result<Reloaded, Vec<Mistake>> {
        // One at a time, so that an older reading never replaces a newer one.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stamp = Some(self.stamp());
        let outcome = load(&self.main);
        let (word, event) = match &outcome {
            Ok(loaded) => {
                let mut changes = diff::changes(&self.in_force.configured(), &loaded.policy);
                changes.extend(self.certificates.load().changes(&loaded.certificates));
                let hashes = loaded.policy.people.limits.hashes != self.hashes;
                let waits = self.settings.changed(&loaded.settings).into_iter();
                let waits = waits.chain(hashes.then_some("[login] concurrent_hashes"));
                changes
                    .extend(waits.map(|name| format!("{name} changed: it takes effect when the process starts again")));
                ("applied", json!({"revision": loaded.policy.revision, "changes": changes}))
            }
            Err(mistakes) => {
                ("refused", json!({"mistakes": mistakes.iter().map(ToString::to_string).collect::<Vec<_>>()}))
            }
        };
        self.metrics.reloads.with_label_values(&[word]).inc();
        let now = self.clock.now();
        self.audit.write(json!({"event": "reload", "outcome": word, "cause": cause, "detail": event, "time": now}));
        let loaded = outcome.inspect_err(|m| state.refused = m.iter().map(ToString::to_string).collect())?;
        state.refused.clear();
        let revision = loaded.policy.revision.clone();
        self.in_force.configure(loaded.policy);
        self.certificates.store(Arc::new(loaded.certificates));
        self.metrics.last_reload.set(now.0);
        let changes = event["changes"].as_array().into_iter().flatten();
        Ok(Reloaded { revision, changes: changes.filter_map(|c| c.as_str().map(str::to_owned)).collect() })
    }

    /// Reloads whenever a file changes: at once where the system tells of it, otherwise at the next poll.
    pub fn watch(self: Arc<Self>) -> Result<(), notify::Error> {
        let (wake, woken) = mpsc::channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, changes) {
                let _ = wake.send(());
            }
        })?;
        let folder = self.main.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        watcher.watch(folder, notify::RecursiveMode::Recursive)?;
        let run = move || {
            let _watcher = watcher; // watches while it lives
            loop {
                if woken.recv_timeout(POLL).is_ok() {
                    std::thread::sleep(SETTLE);
                    woken.try_iter().for_each(drop);
                }
                let known = self.state.lock().unwrap_or_else(PoisonError::into_inner).stamp.clone();
                if known != Some(self.stamp()) {
                    // The outcome is in the audit stream, the metrics and /readyz.
                    let _ = self.reload("file");
                }
            }
        };
        std::thread::Builder::new().name("reload".to_owned()).spawn(run).map_err(notify::Error::io)?;
        Ok(())
    }

    /// Time and size of every file beneath the configuration's folder and of the certificates: a symlink's target
    /// counts, so that a switched link is seen.
    fn stamp(&self) -> Stamp {
        let mut stamp = Vec::new();
        let folder = self.main.parent().unwrap_or(Path::new("."));
        collect(folder, 3, &mut stamp);
        let configured = self.in_force.configured();
        let asked = &configured.client_certificates.files;
        for file in self
            .certificates
            .load()
            .files()
            .iter()
            .chain(&configured.saml.files)
            .chain(asked)
            .chain(&configured.issuers.files)
        {
            note(file, &mut stamp);
        }
        stamp.sort();
        stamp
    }
}

/// Whether `event` may have changed a file; reading one is told of too, and our own looking must not wake us again.
fn changes(event: &notify::Event) -> bool {
    !event.kind.is_access() || event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

fn collect(folder: &Path, depth: u8, stamp: &mut Stamp) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map_while(Result::ok).map(|e| e.path()) {
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, stamp);
        } else {
            note(&path, stamp);
        }
    }
}

fn note(path: &Path, stamp: &mut Stamp) {
    let data = std::fs::metadata(path).ok();
    let time = data.as_ref().and_then(|d| d.modified().ok());
    stamp.push((path.to_owned(), time, data.map_or(0, |d| d.len())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::{Event, event::ModifyKind};

    #[test]
    fn what_only_reads_the_files_wakes_nobody() {
        let told = |kind| changes(&Event::new(kind));
        assert!(told(EventKind::Modify(ModifyKind::Any)) && told(EventKind::Any));
        assert!(told(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(!told(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!told(EventKind::Access(AccessKind::Close(AccessMode::Read))));
    }
}
