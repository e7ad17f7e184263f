// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the comment of a function says, by the sections of its page.

use super::header::{Function, Header};
use super::mdoc::{Block, plain, words};
use std::collections::{BTreeMap, BTreeSet};

/// The parts of the comment.
#[derive(Default)]
pub struct Said {
    pub description: Vec<Block>,
    /// The sentences that begin with "Returns".
    pub returns: Vec<String>,
    /// The codes that the function adds, with their causes.
    added: Vec<(String, String)>,
    /// The function whose codes it returns, too.
    like: Option<String>,
    /// The code, if the function has only one.
    only: Option<String>,
    never: BTreeSet<String>,
    has_errors: bool,
    /// What follows the list of codes.
    pub after_errors: Vec<Block>,
}

fn codes(text: &str) -> impl Iterator<Item = String> {
    text.split("-E").skip(1).map(|after| {
        let end = after.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit()).unwrap_or(after.len());
        format!("-E{}", &after[..end])
    })
}

/// Split a text before the first sentence that begins with one of these.
fn split_at_sentence<'a>(text: &'a str, beginnings: &[&str]) -> Option<(&'a str, &'a str)> {
    let starts = text.match_indices(". ").map(|(at, _)| at + 2);
    let at =
        std::iter::once(0).chain(starts).find(|at| beginnings.iter().any(|b| text[*at..].starts_with(b)))?;
    Some((text[..at].trim_end(), &text[at..]))
}

impl Said {
    pub fn of(function: &Function) -> Said {
        let mut said = Said::default();
        for block in &function.comment {
            match block {
                Block::Paragraph(text) if !said.has_errors => {
                    let text =
                        plain(text).replace("Async-signal-safe.", "The function is async-signal-safe.");
                    said.paragraph(&text);
                }
                Block::Tagged(items) if said.has_errors => {
                    for (term, body) in items {
                        let [Block::Paragraph(cause)] = body.as_slice() else {
                            panic!("{}: a list", function.name)
                        };
                        said.added.extend(codes(&plain(term)).map(|code| (code, plain(cause))));
                    }
                }
                other if said.has_errors => said.after_errors.push(other.clone()),
                other => said.description.push(other.clone()),
            }
        }
        said
    }

    fn paragraph(&mut self, text: &str) {
        const ERRORS: &[&str] = &["Errors, ", "The errors are the common ones.", "The only error is "];
        if let Some((before, _)) = text.split_once("never returned") {
            self.never.extend(codes(before.rsplit(['.', ';', ':']).next().unwrap()));
        }
        let (text, errors) = split_at_sentence(text, ERRORS).unwrap_or((text, ""));
        let (text, returns) = split_at_sentence(text, &["Returns "]).unwrap_or((text, ""));
        if !text.is_empty() {
            self.description.push(Block::Paragraph(words(text)));
        }
        if !returns.is_empty() {
            self.returns.push(returns.to_owned());
        }
        if errors.is_empty() {
            return;
        }
        let (sentence, rest) = errors.split_once(['.', ':']).unwrap();
        self.has_errors = true;
        self.like =
            sentence.strip_prefix("Errors, as ").map(|like| like.split('(').next().unwrap().to_owned());
        self.only = sentence.strip_prefix("The only error is ").map(str::to_owned);
        match rest.trim() {
            "" => {}
            never if never.contains("never returned") => {}
            more => self.description.push(Block::Paragraph(words(more))),
        }
    }

    /// Returns true if the function can fail.
    fn can_fail(&self) -> bool {
        self.has_errors || !self.never.is_empty()
    }
}

/// All codes of a function, each with its causes.
pub fn errors(header: &Header, function: &Function) -> BTreeMap<String, String> {
    let said = Said::of(function);
    if !said.can_fail() {
        return BTreeMap::new();
    }
    let mut all = match &said.like {
        Some(other) => errors(header, header.function(other)),
        None => header.common_errors(),
    };
    if let Some(only) = &said.only {
        all.retain(|code, _| code == only);
    }
    for (code, cause) in said.added {
        let earlier = all.get(&code).map_or("", String::as_str);
        // "Here: there is no usable cgroup2 hierarchy."
        let replaces = cause.starts_with("Here: ")
            || cause.to_lowercase().contains(earlier.trim_end_matches('.').to_lowercase().as_str());
        let cause = match cause.strip_prefix("Here: ") {
            Some(text) => capitalized(text),
            None => cause,
        };
        all.insert(code, if replaces { cause } else { format!("{earlier} {cause}") });
    }
    all.retain(|code, _| !said.never.contains(code));
    all
}

pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The first clause of a text, as the NAME section has it: "Make an agent: make the group ..." is "make an agent".
pub fn short(text: &str) -> String {
    // What is in parentheses is a part of the clause: "agentcg_new(NULL, ...)".
    let mut depth = 0;
    let outside = text.char_indices().filter(|(_, c)| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    });
    let marks: Vec<(usize, char)> = outside.filter(|(_, c)| ".:,".contains(*c)).collect();
    let ends_word = |at: usize| text[at + 1..].is_empty() || text[at + 1..].starts_with(' ');
    let end = marks.iter().find(|(at, c)| *c == '.' && ends_word(*at)).map_or(text.len(), |(at, _)| *at);
    let colon = marks.iter().find(|(at, c)| *c == ':' && *at < end).map(|(at, _)| *at);
    // "Return 1 if pid, with any of its threads, is in the group" goes on after both commas.
    let mut commas = marks.iter().filter(|(at, c)| *c == ',' && *at < end).map(|(at, _)| *at);
    let comma = commas.next().and_then(|at| match text[at..].starts_with(", with ") {
        true => commas.nth(1),
        false => Some(at),
    });
    let clause = &text[..colon.or(comma).unwrap_or(end)];
    let mut letters = clause.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl Header {
    pub fn function(&self, name: &str) -> &Function {
        self.functions.iter().find(|f| f.name == name).unwrap_or_else(|| panic!("agentcg.h has no {name}"))
    }

    pub fn convention(&self, title: &str) -> &[Block] {
        let found = self.conventions.iter().find(|(other, _)| other == title);
        &found.unwrap_or_else(|| panic!("the comment at the top of agentcg.h has no section {title}")).1
    }

    /// The codes that every function may return that can fail.
    fn common_errors(&self) -> BTreeMap<String, String> {
        let mut common = BTreeMap::new();
        for block in self.convention("Return values") {
            let Block::Tagged(items) = block else { continue };
            for (code, body) in items {
                let [Block::Paragraph(cause)] = body.as_slice() else { continue };
                common.insert(plain(code), plain(cause));
            }
        }
        common
    }
}
