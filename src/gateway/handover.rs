//! Handing the listeners to the next process (SIGUSR2, or SIGQUIT by hand), and telling the supervisor who serves.
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// How long the next process may take until it waits for the listeners.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Where listeners are handed over: a folder of the data folder that nobody else may enter.
pub fn socket(data: &Path) -> Result<PathBuf, String> {
    let folder = data.join("upgrade");
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    Ok(folder.join("socket"))
}

/// Starts the program that now lies where this one was started from, waits until it is ready for the listeners, and
/// hands them over; this process then drains. Its identifier, or why it did not come so far.
pub async fn begin(socket: &Path) -> Result<u32, String> {
    /// One at a time, and none after one that succeeded: each would take the other's socket away.
    static UNDER_WAY: AtomicBool = AtomicBool::new(false);
    if UNDER_WAY.swap(true, Ordering::AcqRel) {
        return Err("the listeners are being handed over already".to_owned());
    }
    let outcome = to_next(socket).await;
    UNDER_WAY.store(outcome.is_ok(), Ordering::Release);
    outcome
}

async fn to_next(socket: &Path) -> Result<u32, String> {
    let program = program()?;
    // One of an earlier attempt.
    let _ = std::fs::remove_file(socket);
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--upgrade");
    let mut next = Command::new(&program)
        .args(arguments)
        .arg("--upgrade")
        .spawn()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    let begun = std::time::Instant::now();
    while !std::fs::metadata(socket).is_ok_and(|data| data.file_type().is_socket()) {
        if let Ok(Some(status)) = next.try_wait() {
            return Err(format!("the next process ended: {status}"));
        }
        if begun.elapsed() > PATIENCE {
            let _ = next.kill();
            let _ = next.wait();
            return Err("the next process was not ready in time".to_owned());
        }
        tokio::time::sleep(POLL).await;
    }
    if let Ok(Some(status)) = next.try_wait() {
        return Err(format!("the next process ended: {status}"));
    }
    // From here on this process ends, whatever becomes of the next one.
    kill(Pid::this(), Signal::SIGQUIT).map_err(|e| e.to_string())?;
    Ok(next.id())
}

/// The path that this program was started from; what lies there may be a newer one.
fn program() -> Result<PathBuf, String> {
    let path = std::env::current_exe().map_err(|e| e.to_string())?;
    // What the system says of a file that another one has taken the place of.
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

/// Tells systemd, if it asked to be told (sd_notify(3)).
pub fn tell_supervisor(state: &str) {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    // A supervisor that does not listen is no reason not to serve.
    let _ = match place.to_string_lossy().strip_prefix('@') {
        None => socket.send_to(state.as_bytes(), &place),
        Some(name) => abstract_address(name).and_then(|address| socket.send_to_addr(state.as_bytes(), &address)),
    };
}

fn abstract_address(name: &str) -> std::io::Result<std::os::unix::net::SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    std::os::unix::net::SocketAddr::from_abstract_name(name)
}

/// Says that this process is the one that serves.
pub fn serving() {
    tell_supervisor(&format!("READY=1\nMAINPID={}\nSTATUS=serving", std::process::id()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_may_offer_listeners() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("upgrade")).unwrap();
        let place = socket(dir.path()).unwrap();
        let mode = std::fs::metadata(place.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
