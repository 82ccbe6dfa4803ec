//! Seals what the store must keep and nobody may read there, such as second factors. Its key is never rotated away.
use crate::secret;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

const FILE: &str = "vault.key";

/// An AEAD key, kept in a file of the data folder or with the other keys in the store.
pub struct Vault(LessSafeKey);

impl Vault {
    /// Reads `vault.key` in `data_dir`, or makes it (0600). The error names the file.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, String> {
        let path = data_dir.join(FILE);
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let text = match Self::text(data_dir)? {
            Some(text) => text,
            None => {
                let text = secret::random_token();
                let write = || {
                    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                    file.write_all(text.as_bytes())?;
                    file.sync_all()
                };
                match write() {
                    // Another process was quicker.
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => fs::read_to_string(&path),
                    written => written.map(|()| text.clone()),
                }
                .map_err(|e| failed(&e))?
            }
        };
        Self::of(&text).map_err(|why| failed(&why))
    }

    /// What `vault.key` in `data_dir` holds; `None` where there is none.
    pub fn text(data_dir: &Path) -> Result<Option<String>, String> {
        let path = data_dir.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(format!("{}: {e}", path.display())),
        }
    }

    /// The key that `text` is, 256 bits in base64url.
    pub fn of(text: &str) -> Result<Self, String> {
        let bytes = B64.decode(text.trim()).map_err(|_| "damaged: not base64url")?;
        let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes).map_err(|_| "damaged: not 32 bytes")?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// `nonce ‖ ciphertext ‖ tag`, bound to what it is for.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = secret::random::<12>();
        let mut body = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::from(&nonce), Aad::from(purpose.as_bytes()), &mut body)
            .expect("what is sealed here is far below AES-GCM-SIV's length limit");
        [&nonce[..], &body].concat()
    }

    /// Opens what [`Self::seal`] made for the same purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<12>()?;
        let mut body = body.to_vec();
        let opened = self.0.open_in_place(Nonce::from(nonce), Aad::from(purpose.as_bytes()), &mut body).ok()?;
        Some(opened.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_again_for_its_purpose_alone() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Vault::load_or_create(dir.path()).unwrap().seal("totp", b"secret");
        let again = Vault::load_or_create(dir.path()).unwrap();
        assert_eq!(again.open("totp", &sealed).as_deref(), Some(&b"secret"[..]));
        assert!(again.open("other", &sealed).is_none() && again.open("totp", &sealed[..20]).is_none());
        fs::write(dir.path().join("vault.key"), "x").unwrap();
        assert!(Vault::load_or_create(dir.path()).err().unwrap().contains("vault.key: damaged"));
    }
}
