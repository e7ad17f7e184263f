// SPDX-License-Identifier: MIT OR Apache-2.0
//! The texts that an agent can have: a label for people, and the tag of the program that owns it.

use std::fmt;

/// The most bytes of a text. The C structs hold it with a NUL behind it.
const MOST: usize = 63;

/// A text of 1 to 63 bytes, without an allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Text {
    bytes: [u8; MOST],
    length: usize,
}

impl Text {
    fn copy(text: &str) -> Option<Self> {
        let mut bytes = [0; MOST];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.is_empty()).then_some(Self { bytes, length: text.len() })
    }

    fn as_str(&self) -> &str {
        // Copied from a text, so this cannot fail.
        std::str::from_utf8(self.bytes.get(..self.length).unwrap_or_default()).unwrap_or_default()
    }
}

/// A label: 1 to 63 bytes of UTF-8 that a terminal shows in one line and in their order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label(Text);

impl Label {
    /// Returns `None` for a text that is empty, too long, not UTF-8, or that contains a character which controls a terminal,
    /// breaks a line or changes the direction of text.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        Text::copy(text).filter(|_| !text.chars().any(controls)).map(Self)
    }

    /// The text of the label.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Returns true for a control character, a line or paragraph separator, and the characters that embed, override or isolate
/// text of another direction.
fn controls(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A tag: 1 to 63 letters and digits of ASCII, and the characters `.`, `_`, `-`, `:` and `/`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag(Text);

impl Tag {
    /// Returns `None` for a text that is empty, too long, or has any other character.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let valid = |b: &u8| b.is_ascii_alphanumeric() || b"._-:/".contains(b);
        let text = std::str::from_utf8(text).ok().filter(|text| text.as_bytes().iter().all(valid))?;
        Text::copy(text).map(Self)
    }

    /// The text of the tag.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> Option<String> {
        Label::parse(text.as_bytes()).map(|label| label.as_str().to_owned())
    }

    fn tag(text: &str) -> Option<String> {
        Tag::parse(text.as_bytes()).map(|tag| tag.as_str().to_owned())
    }

    #[test]
    fn a_label_is_any_text_of_one_line() {
        for text in ["x", "pull request 7", "Überprüfung", "テスト 🧪", "אב", "a=b tag=c label=d", " "]
        {
            assert_eq!(label(text).as_deref(), Some(text));
        }
        for text in
            ["", "a\nb", "\x1b[2J", "\u{7f}", "\u{85}", "a\u{2028}b", "\u{202e}txt", "\u{2066}x\u{2069}"]
        {
            assert_eq!(label(text), None, "{text:?}");
        }
        assert_eq!(Label::parse(b"\xff"), None);
        assert_eq!(Label::parse(b"a\0"), None);
    }

    #[test]
    fn a_tag_has_no_blank_and_no_equals_sign() {
        for text in ["x", "synwire", "com.example:agents/v2", "A_b-9"] {
            assert_eq!(tag(text).as_deref(), Some(text));
        }
        for text in ["", "a b", "a=b", "é", "a\n", "a\0", "\"", "a,b"] {
            assert_eq!(tag(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_text_has_at_most_63_bytes() {
        let longest = "x".repeat(63);
        assert_eq!((label(&longest), tag(&longest)), (Some(longest.clone()), Some(longest.clone())));
        let longer = "x".repeat(64);
        assert_eq!((label(&longer), tag(&longer)), (None, None));
        assert_eq!(label(&("x".repeat(62) + "é")), None, "the last character does not fit");
        assert_eq!(label(&("x".repeat(61) + "é")).map(|text| text.len()), Some(63));
    }
}
