//! Whether what is written in the operator's colours can be read (WCAG 2.2 §1.4.3).

/// The least contrast between words and what is behind them.
pub const LEAST: f64 = 4.5;
/// What the colour is seen with on a light page: the words on its buttons, and the card behind its links.
pub const LIGHT: &str = "#ffffff";
/// The same on a dark page: the card, since the words on its buttons are darker still.
pub const DARK: &str = "#1a2030";

/// Between 1 and 21, of two colours as `#rrggbb`; 1 for what is none.
pub fn contrast(one: &str, other: &str) -> f64 {
    let (Some(one), Some(other)) = (luminance(one), luminance(other)) else { return 1.0 };
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn luminance(colour: &str) -> Option<f64> {
    let number = u32::from_str_radix(colour.strip_prefix('#').filter(|hex| hex.len() == 6)?, 16).ok()?;
    let [_, red, green, blue] = number.to_be_bytes().map(|byte| {
        let part = f64::from(byte) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    Some(0.2126 * red + 0.7152 * green + 0.0722 * blue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::people::Brand;

    #[test]
    fn contrast_is_as_wcag_defines_it_and_the_pages_own_colours_can_be_read() {
        let near = |ratio: f64, wanted: f64| (ratio - wanted).abs() < 0.005;
        assert!(near(contrast("#000000", "#ffffff"), 21.0) && near(contrast("#ffffff", "#ffffff"), 1.0));
        assert!(near(contrast("#777777", "#ffffff"), 4.48) && near(contrast("#ffffff", "#767676"), 4.54));
        let usual = Brand::default();
        assert!(contrast(&usual.colour, LIGHT) >= LEAST && contrast(&usual.colour_dark, DARK) >= LEAST);
        for (card, words) in [(LIGHT, "#ffffff"), (DARK, "#0b1220")] {
            let themed = format!("--card: {card};");
            let style = crate::pages::style(&usual);
            assert!(style.contains(&themed) && style.contains(&format!("--on-brand: {words};")), "{card}");
        }
        assert!(contrast("#8ab4ff", "#0b1220") > contrast("#8ab4ff", DARK));
    }
}
