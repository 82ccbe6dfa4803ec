//! A message as a tree of elements, with SAML's own namespaces known by name.
use super::refusal::{Refusal, Refused};

/// The namespaces that a SAML message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// None.
    Unbound,
    /// SAML assertions.
    Assertion,
    /// SAML protocols.
    Protocol,
    /// SAML metadata.
    Metadata,
    /// XML Signature.
    Signature,
    /// Exclusive canonicalization.
    ExclusiveC14n,
    /// XML Encryption.
    Encryption,
    /// Attributes of `xml:`.
    Xml,
    /// Any other.
    Foreign,
}

impl Space {
    pub(super) fn of(namespace: &[u8]) -> Self {
        match namespace {
            b"urn:oasis:names:tc:SAML:2.0:assertion" => Self::Assertion,
            b"urn:oasis:names:tc:SAML:2.0:protocol" => Self::Protocol,
            b"urn:oasis:names:tc:SAML:2.0:metadata" => Self::Metadata,
            b"http://www.w3.org/2000/09/xmldsig#" => Self::Signature,
            b"http://www.w3.org/2001/10/xml-exc-c14n#" => Self::ExclusiveC14n,
            b"http://www.w3.org/2001/04/xmlenc#" | b"http://www.w3.org/2009/xmlenc11#" => Self::Encryption,
            b"http://www.w3.org/XML/1998/namespace" => Self::Xml,
            _ => Self::Foreign,
        }
    }
}

/// An attribute that declares no namespace.
#[derive(Debug)]
pub struct Attribute {
    pub(super) space: Space,
    pub(super) prefixed: bool,
    pub(super) local: Box<str>,
    pub(super) value: String,
}

/// An element, which knows the places of those in it and of the one around it.
#[derive(Debug)]
pub struct Element {
    pub(super) space: Space,
    pub(super) local: Box<str>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) text: String,
    pub(super) children: Vec<usize>,
    pub(super) parent: Option<usize>,
}

/// A document.
#[derive(Debug)]
pub struct Document(pub(super) Vec<Element>);

/// One element of a document.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    all: &'a [Element],
    index: usize,
}

impl Document {
    /// Its outermost element.
    pub fn root(&self) -> Node<'_> {
        Node { all: &self.0, index: 0 }
    }

    /// Every element, in document order.
    pub fn elements(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.0.len()).map(|index| Node { all: &self.0, index })
    }
}

impl<'a> Node<'a> {
    fn element(self) -> &'a Element {
        &self.all[self.index]
    }

    /// Whether it has this name.
    pub fn is(self, space: Space, local: &str) -> bool {
        self.element().space == space && &*self.element().local == local
    }

    /// Its namespace.
    pub fn space(self) -> Space {
        self.element().space
    }

    /// Its name without prefix.
    pub fn local(self) -> &'a str {
        &self.element().local
    }

    /// The element around it.
    pub fn parent(self) -> Option<Self> {
        self.element().parent.map(|index| Self { index, ..self })
    }

    /// The elements in it, in order.
    pub fn children(self) -> impl Iterator<Item = Self> {
        self.element().children.iter().map(move |&index| Self { index, ..self })
    }

    /// The elements in it that have this name.
    pub fn all(self, space: Space, local: &str) -> impl Iterator<Item = Self> {
        self.children().filter(move |c| c.is(space, local))
    }

    /// The one element in it that has this name; several are refused.
    pub fn one(self, space: Space, local: &str) -> Result<Option<Self>, Refused> {
        let mut found = self.all(space, local);
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(_) => Err(Refusal::Content.with(format_args!("{} holds two {local}", self.local()))),
        }
    }

    /// An attribute without namespace.
    pub fn attribute(self, local: &str) -> Option<&'a str> {
        self.attributes().find(|(prefixed, name, _)| !prefixed && *name == local).map(|(_, _, value)| value)
    }

    /// Every attribute: whether it has a prefix, its local name, its value.
    pub fn attributes(self) -> impl Iterator<Item = (bool, &'a str, &'a str)> {
        self.element().attributes.iter().map(|a| (a.prefixed, &*a.local, a.value.as_str()))
    }

    /// Whether an attribute of `xml:` has this name.
    pub fn has_xml(self, local: &str) -> bool {
        self.element().attributes.iter().any(|a| a.space == Space::Xml && &*a.local == local)
    }

    /// Its text, where there is no element in it.
    pub fn text(self) -> &'a str {
        &self.element().text
    }

    /// Whether it holds elements.
    pub fn has_children(self) -> bool {
        !self.element().children.is_empty()
    }

    /// Whether text other than white space stands beside elements.
    pub fn is_mixed(self) -> bool {
        self.has_children() && !self.text().chars().all(is_space)
    }

    /// Whether both are one element.
    pub fn same(self, other: Self) -> bool {
        self.index == other.index
    }
}

pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// An NCName of ASCII alone.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}
