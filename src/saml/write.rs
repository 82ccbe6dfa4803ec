//! XML of our own, written so that it is its own exclusive canonical form: no white space between elements, attributes
//! in order, the escapes of Canonical XML. What is digested for a signature is then simply what was written.

/// Text being written.
#[derive(Clone, Debug, Default)]
pub struct Xml(String);

impl Xml {
    /// Opens an element. Namespace declarations come first, then attributes by name, as Canonical XML §2.2 orders them;
    /// one without a value is left out.
    #[must_use]
    pub fn open(mut self, name: &str, attributes: &[(&str, Option<&str>)]) -> Self {
        self.0.push('<');
        self.0.push_str(name);
        for (name, value) in attributes {
            let Some(value) = value else { continue };
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            escape(value, true, &mut self.0);
            self.0.push('"');
        }
        self.0.push('>');
        self
    }

    /// Text.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        escape(text, false, &mut self.0);
        self
    }

    /// Closes an element.
    #[must_use]
    pub fn close(mut self, name: &str) -> Self {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
        self
    }

    /// An element with text in it, or an empty one.
    #[must_use]
    pub fn leaf(self, name: &str, attributes: &[(&str, Option<&str>)], text: &str) -> Self {
        self.open(name, attributes).text(text).close(name)
    }

    /// What `with` writes, where `condition` holds.
    #[must_use]
    pub fn when(self, condition: bool, with: impl FnOnce(Self) -> Self) -> Self {
        if condition { with(self) } else { self }
    }

    /// The text written.
    pub fn finish(self) -> String {
        self.0
    }
}

/// Canonical XML §2.3.
fn escape(text: &str, attribute: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' if !attribute => out.push_str("&gt;"),
            '"' if attribute => out.push_str("&quot;"),
            '\t' if attribute => out.push_str("&#x9;"),
            '\n' if attribute => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            c => out.push(c),
        }
    }
}
