// SPDX-License-Identifier: MIT OR Apache-2.0
//! The name of an agent: its uuid, and the spellings of it that paths of the hierarchy need.

use crate::sys::random;
use std::ffi::{CStr, CString};
use std::fmt;
use uuid::Uuid;

/// The child of a session's group that holds the session's own processes. The kernel enables no controllers for the children
/// of a cgroup that holds processes itself.
pub const OWN: &CStr = c"own";

/// The number of characters of a uuid with hyphens.
const LENGTH: usize = 36;

/// A uuid in lower case. All spellings are parts of one text, so that the name costs no allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AgentName {
    /// `../`, the uuid and a NUL byte.
    text: [u8; 3 + LENGTH + 1],
}

impl AgentName {
    /// A new name that no other agent has.
    pub fn random() -> Self {
        Self::of(random::uuid())
    }

    /// The name in the form 01234567-89ab-cdef-0123-456789abcdef, in upper or lower case. Returns `None` for any other
    /// text.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().filter(|_| text.len() == LENGTH).map(Self::of)
    }

    /// The name of the agent that has a directory of this name.
    pub fn of_directory(name: &[u8]) -> Option<Self> {
        Self::is_of_directory(name).then(|| std::str::from_utf8(name).ok().and_then(Self::parse)).flatten()
    }

    /// Returns true if a directory of this name is that of an agent. The library gives its directories names in lower case
    /// only.
    pub fn is_of_directory(name: &[u8]) -> bool {
        let is_in_place = |(number, &byte): (usize, &u8)| match number {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        };
        name.len() == LENGTH && name.iter().enumerate().all(is_in_place)
    }

    fn of(uuid: Uuid) -> Self {
        let mut text = [0; 3 + LENGTH + 1];
        let [a, b, c, name @ .., _] = &mut text;
        [*a, *b, *c] = *b"../";
        uuid.hyphenated().encode_lower(name);
        Self { text }
    }

    /// The 36 characters of the uuid.
    pub fn as_str(&self) -> &str {
        let [_, _, _, name @ .., _] = &self.text;
        // A uuid is ASCII, so this cannot fail.
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// The name of the group in the directory that holds the agents.
    pub fn as_c_str(&self) -> &CStr {
        let [_, _, _, name @ ..] = &self.text;
        c_str(name)
    }

    /// The path of the group, relative to the group itself: `../` and the uuid.
    pub fn path_inside(&self) -> &CStr {
        c_str(&self.text)
    }

    /// `/` and the uuid, which the path of the cgroup of each process of the agent contains.
    pub fn component(&self) -> &[u8] {
        let [_, _, component @ .., _] = &self.text;
        component
    }

    /// The path of the group in the directory `agents`.
    pub fn path_in(&self, agents: &CStr) -> CString {
        // Neither part contains a NUL byte, so this cannot fail.
        CString::new([agents.to_bytes(), self.component()].concat()).unwrap_or_default()
    }
}

/// The text ends with its only NUL byte, so this cannot fail.
fn c_str(text: &[u8]) -> &CStr {
    CStr::from_bytes_with_nul(text).unwrap_or_default()
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn each_spelling_is_a_part_of_the_same_text() {
        let name = AgentName::parse(TEXT).unwrap();
        assert_eq!((name.as_str(), name.to_string()), (TEXT, TEXT.to_owned()));
        assert_eq!(name.as_c_str(), c"01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(name.path_inside(), c"../01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(name.component(), b"/01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(*name.path_in(c"a/b"), *c"a/b/01234567-89ab-cdef-0123-456789abcdef");
    }

    #[test]
    fn upper_case_is_accepted_and_made_lower_case() {
        assert_eq!(AgentName::parse(&TEXT.to_uppercase()), AgentName::parse(TEXT));
    }

    #[test]
    fn a_directory_has_the_name_of_an_agent_only_in_lower_case() {
        assert_eq!(AgentName::of_directory(TEXT.as_bytes()), AgentName::parse(TEXT));
        for name in [TEXT.to_uppercase().as_bytes(), OWN.to_bytes(), b"\xff"] {
            assert_eq!(AgentName::of_directory(name), None);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let braced = format!("{{{TEXT}}}");
        for text in
            ["", "agent-7", "0123456789abcdef0123456789abcdef", &braced, &TEXT[1..], &TEXT.replace('a', "g")]
        {
            assert_eq!(AgentName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn random_names_differ_and_are_valid() {
        let name = AgentName::random();
        assert_eq!(AgentName::parse(name.as_str()), Some(name));
        assert_ne!(AgentName::random(), name);
    }
}
