//! `portcullis hash-password`
use argon2::{Argon2, PasswordHasher, password_hash::SaltString};
use std::io::BufRead;

/// Shortest accepted password (NIST SP 800-63B §5.1.1.2).
const SHORTEST: usize = 8;

/// One line of standard input becomes one hash.
pub fn hash_password() -> Result<(), String> {
    let mut password = String::new();
    std::io::stdin().lock().read_line(&mut password).map_err(|e| e.to_string())?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.chars().count() < SHORTEST {
        return Err(format!("a password has at least {SHORTEST} characters"));
    }
    let salt = SaltString::encode_b64(&crate::secret::random::<16>()).map_err(|e| e.to_string())?;
    // The crate's defaults: argon2id, 19 MiB, 2 passes (OWASP's recommendation).
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(|e| e.to_string())?;
    println!("{hash}");
    Ok(())
}
