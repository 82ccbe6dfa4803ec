//! `keys.json` in the data folder, 0600: where one node keeps its keys.
use super::{Stored, Timestamp, generate};
use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Its place.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("keys.json")
}

/// What it holds; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Stored>>, String> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| format!("{}: damaged: {e}", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

/// What it holds, or a first generation that it holds from now on.
pub(super) fn load_or_create(path: &Path, now: Timestamp) -> Result<Vec<Stored>, String> {
    if let Some(stored) = read(path)? {
        return Ok(stored);
    }
    let first = vec![generate(now)?];
    write(path, &first)?;
    Ok(first)
}

/// Written beside and renamed over, so that a crash leaves the old file or the new one.
pub(super) fn write(path: &Path, stored: &[Stored]) -> Result<(), String> {
    let beside = path.with_extension("json.new");
    let attempt = || -> std::io::Result<()> {
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(stored)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    attempt().map_err(|e| format!("{}: {e}", path.display()))
}
