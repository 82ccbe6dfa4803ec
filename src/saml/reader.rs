//! XML, read strictly: whatever two parsers might read in two ways is refused.
use super::{
    document::{Attribute, Document, Element, Space, is_name, is_space},
    refusal::{Refusal, Refused},
};
use quick_xml::{
    XmlVersion,
    events::{BytesStart, Event},
    name::{Namespace, PrefixDeclaration, QName, ResolveResult},
    reader::NsReader,
};

/// What may stand beside elements: a declaration, and comments where they are let through.
const MARKS_BESIDE: usize = 1_000;

/// What is too much.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    bytes: usize,
    depth: usize,
    elements: usize,
    /// Of one element.
    attributes: usize,
    /// Of all elements, with declarations of namespaces: each is work for whoever verifies.
    all_attributes: usize,
    /// Declarations of namespaces that hold at one place: whoever resolves a name goes through them.
    namespaces: usize,
    comments: bool,
}

impl Limits {
    /// For messages, which anybody may send. No comment either: one inside a value has split it in two before now.
    pub const MESSAGE: Self = Self {
        bytes: 256 << 10,
        depth: 24,
        elements: 2_000,
        attributes: 24,
        all_attributes: 8_000,
        namespaces: 32,
        comments: false,
    };
    /// For metadata files, which the operator chose.
    pub const METADATA: Self = Self {
        bytes: 16 << 20,
        depth: 24,
        elements: 400_000,
        attributes: 64,
        all_attributes: 1_600_000,
        namespaces: 256,
        comments: true,
    };
}

impl Document {
    /// Reads `text` within `limits`.
    pub fn read(text: &str, limits: Limits) -> Result<Self, Refused> {
        if text.len() > limits.bytes {
            return Err(Refusal::TooLarge.with(format_args!("{} bytes; at most {}", text.len(), limits.bytes)));
        }
        if text.starts_with('\u{feff}') {
            return Err(Refusal::NotXml.with("a byte order mark"));
        }
        if let Some(c) = text.chars().find(|c| !is_char(*c)) {
            return Err(Refusal::NotXml.with(format_args!("U+{:04X} is no character of XML", u32::from(c))));
        }
        // Every element takes a < or two, so that a flood is refused before anything is built from it.
        let marks = text.bytes().filter(|b| *b == b'<').count();
        if marks > 2 * limits.elements + MARKS_BESIDE {
            return Err(Refusal::TooLarge.with(format_args!("{marks} tags; at most {} elements", limits.elements)));
        }
        let mut reader = NsReader::from_str(text);
        reader.resolver_mut().set_max_declarations_per_element(limits.attributes);
        let mut builder = Builder { all: Vec::new(), open: Vec::new(), attributes: 0, declared: Vec::new(), limits };
        loop {
            let at = reader.buffer_position();
            match reader.read_event().map_err(|e| Refusal::NotXml.with(e))? {
                Event::Start(start) => builder.open(&reader, &start)?,
                Event::Empty(start) => {
                    builder.open(&reader, &start)?;
                    builder.close();
                }
                Event::End(_) => builder.close(),
                Event::Text(raw) => {
                    builder.text(std::str::from_utf8(&raw).map_err(|e| Refusal::NotXml.with(e))?)?;
                }
                Event::GeneralRef(name) => {
                    let name = std::str::from_utf8(&name).map_err(|e| Refusal::NotXml.with(e))?;
                    builder.character(character(name)?)?;
                }
                Event::Decl(declaration) => {
                    let utf8 = match declaration.encoding() {
                        None => true,
                        Some(name) => name.is_ok_and(|n| n.eq_ignore_ascii_case(b"utf-8")),
                    };
                    let version = declaration.xml_version().is_ok_and(|v| v != XmlVersion::Explicit1_1);
                    if at != 0 || !utf8 || !version {
                        return Err(Refusal::NotXml.with("an XML declaration other than 1.0 in UTF-8 at the start"));
                    }
                }
                Event::Comment(_) if limits.comments => {}
                Event::Comment(_) => return Err(Refusal::Comment.with(format_args!("at byte {at}"))),
                Event::CData(_) => return Err(Refusal::Cdata.with(format_args!("at byte {at}"))),
                Event::PI(_) => return Err(Refusal::ProcessingInstruction.with(format_args!("at byte {at}"))),
                Event::DocType(_) => return Err(Refusal::Doctype.with(format_args!("at byte {at}"))),
                Event::Eof => break,
            }
        }
        if builder.all.is_empty() || !builder.open.is_empty() {
            return Err(Refusal::NotXml.with("it ends too early"));
        }
        Ok(Document(builder.all))
    }
}

struct Builder {
    all: Vec<Element>,
    open: Vec<usize>,
    /// Attributes so far.
    attributes: usize,
    /// How many namespaces each open element declares.
    declared: Vec<usize>,
    limits: Limits,
}

impl Builder {
    fn open(&mut self, reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<(), Refused> {
        let parent = self.open.last().copied();
        if parent.is_none() && !self.all.is_empty() {
            return Err(Refusal::Root.with("a second root element"));
        }
        if self.open.len() >= self.limits.depth || self.all.len() >= self.limits.elements {
            let Limits { depth, elements, .. } = self.limits;
            return Err(Refusal::TooLarge.with(format_args!("at most {elements} elements, {depth} deep")));
        }
        let (space, local) = resolve(reader, start.name(), true)?;
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut declared = 0;
        for (seen, attribute) in start.attributes().enumerate() {
            if seen >= self.limits.attributes {
                let most = self.limits.attributes;
                return Err(Refusal::TooLarge.with(format_args!("{local}: at most {most} attributes")));
            }
            let attribute = attribute.map_err(|e| Refusal::NotXml.with(e))?;
            let raw = std::str::from_utf8(&attribute.value).map_err(|e| Refusal::NotXml.with(e))?;
            if let Some(prefix) = attribute.key.as_namespace_binding() {
                declares(prefix, raw)?;
                declared += 1;
                continue;
            }
            let (space, local) = resolve(reader, attribute.key, false)?;
            let prefixed = attribute.key.prefix().is_some();
            // Two prefixes of one namespace make one name.
            let twice = |a: &Attribute| prefixed && a.prefixed && a.local == local && a.space == space;
            if attributes.iter().any(twice) {
                return Err(Refusal::NotXml.with(format_args!("two attributes may be the same {local}")));
            }
            attributes.push(Attribute { space, prefixed, local, value: value(raw)? });
        }
        self.attributes += attributes.len() + declared;
        self.declared.push(declared);
        let in_scope: usize = self.declared.iter().sum();
        if self.attributes > self.limits.all_attributes || in_scope > self.limits.namespaces {
            let Limits { all_attributes, namespaces, .. } = self.limits;
            let most = format_args!("at most {all_attributes} attributes, {namespaces} namespaces at one place");
            return Err(Refusal::TooLarge.with(most));
        }
        let index = self.all.len();
        self.all.push(Element { space, local, attributes, text: String::new(), children: Vec::new(), parent });
        if let Some(parent) = parent {
            self.all[parent].children.push(index);
        }
        self.open.push(index);
        Ok(())
    }

    fn close(&mut self) {
        self.open.pop();
        self.declared.pop();
    }

    fn text(&mut self, raw: &str) -> Result<(), Refused> {
        if raw.contains("]]>") {
            return Err(Refusal::NotXml.with("]]> in text"));
        }
        match self.open.last() {
            None if raw.chars().all(is_space) => Ok(()),
            None => Err(Refusal::NotXml.with("text outside of the root element")),
            Some(&open) => {
                let text = &mut self.all[open].text;
                if raw.contains('\r') {
                    text.push_str(&raw.replace("\r\n", "\n").replace('\r', "\n"));
                } else {
                    text.push_str(raw);
                }
                Ok(())
            }
        }
    }

    fn character(&mut self, c: char) -> Result<(), Refused> {
        let open = *self.open.last().ok_or_else(|| Refusal::NotXml.with("text outside of the root element"))?;
        self.all[open].text.push(c);
        Ok(())
    }
}

/// A name's namespace and local part. Names are plain ASCII here: SAML's are, and no two parsers differ on them.
fn resolve(reader: &NsReader<&[u8]>, name: QName<'_>, element: bool) -> Result<(Space, Box<str>), Refused> {
    let unfit = || Refusal::NotXml.with(format_args!("the name {:?}", String::from_utf8_lossy(name.as_ref())));
    let (local, prefix) = name.decompose();
    let local = std::str::from_utf8(local.into_inner()).ok().filter(|n| is_name(n)).ok_or_else(unfit)?;
    if prefix.is_some_and(|p| !std::str::from_utf8(p.into_inner()).is_ok_and(is_name)) {
        return Err(unfit());
    }
    let space = match reader.resolver().resolve_prefix(prefix, element) {
        ResolveResult::Bound(Namespace(namespace)) => Space::of(namespace),
        ResolveResult::Unbound => Space::Unbound,
        ResolveResult::Unknown(_) => return Err(unfit()),
    };
    Ok((space, local.into()))
}

/// A namespace declaration: absolute, and the same text to every parser (a relative one voids a canonicalization).
fn declares(prefix: PrefixDeclaration<'_>, raw: &str) -> Result<(), Refused> {
    let unfit = |why: &str| Err(Refusal::NotXml.with(format_args!("namespace {raw:?}: {why}")));
    if !raw.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?#=+,;@!$()*".contains(&b)) {
        return unfit("not the plain letters of a URI");
    }
    match prefix {
        PrefixDeclaration::Default if raw.is_empty() => Ok(()),
        PrefixDeclaration::Named(name) if !std::str::from_utf8(name).is_ok_and(is_name) => unfit("its prefix"),
        PrefixDeclaration::Named(_) if raw.is_empty() => unfit("a prefix cannot be undeclared"),
        PrefixDeclaration::Named(_) | PrefixDeclaration::Default => {
            let scheme = raw.split_once(':').map(|(scheme, _)| scheme);
            if scheme.is_some_and(is_name) { Ok(()) } else { unfit("not absolute") }
        }
    }
}

/// An attribute's value (XML §3.3.3).
fn value(raw: &str) -> Result<String, Refused> {
    if raw.contains('<') {
        return Err(Refusal::NotXml.with("< in an attribute"));
    }
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '\t', '\n', '\r']) {
        value.push_str(&rest[..at]);
        if rest[at..].starts_with('&') {
            let (name, after) = rest[at + 1..].split_once(';').ok_or_else(|| Refusal::NotXml.with("a lone &"))?;
            value.push(character(name)?);
            rest = after;
        } else {
            value.push(' ');
            let pair = rest[at..].starts_with("\r\n");
            rest = &rest[at + if pair { 2 } else { 1 }..];
        }
    }
    value.push_str(rest);
    Ok(value)
}

/// The character that a reference stands for: the five of XML itself, or a number.
fn character(name: &str) -> Result<char, Refused> {
    let number = name.strip_prefix("#x").map(|hex| (hex, 16)).or(name.strip_prefix('#').map(|ten| (ten, 10)));
    let character = match (name, number) {
        ("amp", _) => Some('&'),
        ("lt", _) => Some('<'),
        ("gt", _) => Some('>'),
        ("quot", _) => Some('"'),
        ("apos", _) => Some('\''),
        (_, Some((digits, radix))) if digits.len() <= 8 && digits.chars().all(|c| c.is_digit(radix)) => {
            u32::from_str_radix(digits, radix).ok().and_then(char::from_u32).filter(|c| is_char(*c))
        }
        _ => None,
    };
    character.ok_or_else(|| Refusal::Entity.with(name.chars().take(40).collect::<String>()))
}

/// XML §2.2.
fn is_char(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Document, Refusal> {
        Document::read(text, Limits::MESSAGE).map_err(|r| r.refusal)
    }

    #[test]
    fn s64_markup_that_two_parsers_may_read_in_two_ways_is_refused() {
        let good = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a x='1&#10;&amp;' xmlns:b=\"urn:b\"><b:c>t&lt;\r\n</b:c></a>\n";
        let document = read(good).unwrap();
        assert_eq!(document.root().attribute("x"), Some("1\n&"));
        assert_eq!(document.root().children().next().unwrap().text(), "t<\n");
        let deep = "<a>".repeat(25) + &"</a>".repeat(25);
        let many = format!("<a {}/>", (0..25).map(|i| format!("a{i}='' ")).collect::<String>());
        let spaces = format!("<a {}/>", (0..5_000).map(|i| format!("xmlns:a{i}='urn:x' ")).collect::<String>());
        let large = format!("<a>{}</a>", " ".repeat(256 << 10));
        for (text, why) in [
            ("<!DOCTYPE a><a/>", Refusal::Doctype),
            ("<a><?php x?></a>", Refusal::ProcessingInstruction),
            ("<a>x<!-- -->y</a>", Refusal::Comment),
            ("<a><![CDATA[x]]></a>", Refusal::Cdata),
            ("<a>&x;</a>", Refusal::Entity),
            ("<a b='&x;'/>", Refusal::Entity),
            ("<a>&#0;</a>", Refusal::Entity),
            ("<a>&#xD800;</a>", Refusal::Entity),
            ("<a/><a/>", Refusal::Root),
            ("<a/>x", Refusal::NotXml),
            ("x<a/>", Refusal::NotXml),
            ("<a>", Refusal::NotXml),
            ("<a></b>", Refusal::NotXml),
            ("", Refusal::NotXml),
            ("<a>\u{1}</a>", Refusal::NotXml),
            ("<a>]]></a>", Refusal::NotXml),
            ("<b:a/>", Refusal::NotXml),
            ("<a b:x='1'/>", Refusal::NotXml),
            ("<a x='1' x='2'/>", Refusal::NotXml),
            ("<a xmlns:p='urn:x' xmlns:q='urn:x' p:x='1' q:x='2'/>", Refusal::NotXml),
            ("<a xmlns='relative'/>", Refusal::NotXml),
            ("<a xmlns:p=''/>", Refusal::NotXml),
            ("<a xmlns='urn:&#x61;'/>", Refusal::NotXml),
            ("<a xmlns:xmlns='urn:a'/>", Refusal::NotXml),
            ("<a b='<'/>", Refusal::NotXml),
            ("\u{feff}<a/>", Refusal::NotXml),
            ("<?xml version='1.1'?><a/>", Refusal::NotXml),
            ("<?xml version='1.0' encoding='utf-16'?><a/>", Refusal::NotXml),
            ("<\u{e9}/>", Refusal::NotXml),
            (&deep, Refusal::TooLarge),
            (&many, Refusal::TooLarge),
            (&spaces, Refusal::NotXml),
            (&large, Refusal::TooLarge),
        ] {
            assert_eq!(read(text).map(|_| ()), Err(why), "{text:.60}");
        }
    }

    proptest::proptest! {
        #[test]
        fn foreign_text_never_panics(text in "(<|>|&|;|/|=|'|\"|:|!|\\[|]|-|\\?|a|xmlns|#|\\PC){0,80}") {
            let _ = Document::read(&text, Limits::MESSAGE);
        }
    }
}
