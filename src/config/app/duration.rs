//! Lengths of time as people write them.
use schemars::JsonSchema;
use serde::Deserialize;

/// Seconds, or a number and a word: `90`, `"12 hours"`, `"30 days"`, `"6 months"` (of 30 days each).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Duration {
    /// Seconds.
    Seconds(i64),
    /// A number and one of `seconds`, `minutes`, `hours`, `days`, `months`, with or without their `s`.
    Words(String),
}

impl Duration {
    /// In seconds, at least one.
    pub fn seconds(&self) -> Result<i64, String> {
        let seconds = match self {
            Self::Seconds(seconds) => Some(*seconds),
            Self::Words(text) => words(text),
        };
        let bad = || "at least 1 second, such as 3600, \"12 hours\", \"30 days\" or \"6 months\"".to_owned();
        seconds.filter(|s| *s >= 1).ok_or_else(bad)
    }
}

fn words(text: &str) -> Option<i64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let unit = unit.trim();
    let length = match unit.strip_suffix('s').unwrap_or(unit) {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "month" => 30 * 86_400,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_are_seconds_and_nothing_else_is() {
        let read = |text: &str| Duration::Words(text.to_owned()).seconds().ok();
        assert_eq!((read("12 hours"), read("1 day"), read("6 months")), (Some(43_200), Some(86_400), Some(15_552_000)));
        assert_eq!(Duration::Seconds(90).seconds(), Ok(90));
        for bad in ["", "days", "0 days", "-1 hours", "1 fortnight", "9223372036854775807 days", "1.5 hours", "90"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert!(Duration::Seconds(0).seconds().is_err());
    }
}
