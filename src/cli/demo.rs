//! `portcullis demo`
/// The tour.
pub fn demo() -> Result<(), String> {
    Err("coming with the next commit".to_owned())
}
