// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads what a program prints for --help.

use super::functions::capitalized;
use super::mdoc::{Block, argument, words};

/// A list of options under a title, which may be empty.
pub struct Options {
    pub title: String,
    /// Each option as macros, and what it does.
    pub items: Vec<(String, Vec<Block>)>,
}

#[derive(Default)]
pub struct Help {
    /// The first sentence.
    pub summary: String,
    /// The command line, without the name of the program.
    pub usage: String,
    pub about: Vec<Block>,
    pub options: Vec<Options>,
    pub exit_status: String,
}

/// The text in the source of a program: `static const char help[] = "..." "...";`.
fn text(source: &str) -> String {
    let (_, rest) = source.split_once("static const char help[] =\n").expect("no help[]");
    let (literal, _) = rest.split_once("\";\n").expect("no end of help[]");
    let strings = literal.lines().map(|line| line.trim().trim_start_matches('"').trim_end_matches('"'));
    strings.collect::<String>().replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\")
}

impl Help {
    pub fn read(source: &str) -> Help {
        let mut help = Help::default();
        for part in text(source).trim_end().split("\n\n") {
            let first = part.lines().next().unwrap();
            let joined = part.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            if let Some(usage) = part.strip_prefix("usage: ") {
                help.usage = usage.split_once(' ').map_or("", |(_, rest)| rest).to_owned();
            } else if let Some(status) = joined.strip_prefix("Exit status: ") {
                help.exit_status = capitalized(status);
            } else if part.lines().take(2).any(|line| line.starts_with("  -")) {
                let title = if first.starts_with(' ') { "" } else { first.trim_end_matches(':') };
                help.options.push(Options { title: title.to_owned(), items: options(part) });
            } else if part.lines().any(|line| line.trim().contains("   ")) {
                help.about.push(Block::Literal(part.to_owned()));
            } else {
                if help.summary.is_empty() {
                    help.summary = joined.clone();
                }
                help.about.push(Block::Paragraph(words(&joined)));
            }
        }
        help
    }
}

fn options(part: &str) -> Vec<(String, Vec<Block>)> {
    let mut items: Vec<(String, String)> = Vec::new();
    for line in part.lines() {
        let line = line.strip_prefix("  ").unwrap_or("");
        if line.starts_with('-') {
            let (option, about) = line.split_once("  ").unwrap_or((line, ""));
            items.push((option.to_owned(), about.trim().to_owned()));
        } else if let Some((_, about)) = items.last_mut() {
            *about = format!("{about} {}", line.trim());
        }
    }
    let item = |(option, about): &(String, String)| {
        (synopsis(&option.replace(", ", " , ")).join(" "), vec![Block::Paragraph(words(about.trim()))])
    };
    items.iter().map(item).collect()
}

/// A command line as macros, with a line for each option: `[--list [--json]]` is `Op Fl -list Op Fl -json`.
pub fn synopsis(usage: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line: Vec<String> = Vec::new();
    let mut depth = 0;
    for word in usage.split(' ') {
        depth += word.matches('[').count();
        depth -= word.matches(']').count();
        let core = word.trim_start_matches('[');
        line.extend(std::iter::repeat_n("Op".to_owned(), word.len() - core.len()));
        // "NAME[=VALUE]" has brackets of its own.
        let core = if core.contains('[') { core } else { core.trim_end_matches(']') };
        line.push(match core.strip_prefix('-') {
            Some(option) => format!("Fl {}", argument(option)),
            None if core == "," => core.to_owned(),
            None => format!("Ar {}", argument(core)),
        });
        if depth == 0 {
            lines.push(std::mem::take(&mut line).join(" "));
        }
    }
    lines
}

/// The words for values in the options and in the command line.
pub fn values(source: &str) -> Vec<String> {
    let text = text(source);
    let lines = text.lines().filter(|line| line.starts_with("  -") || line.starts_with("usage: "));
    let terms = lines.map(|line| line.trim().split("  ").next().unwrap());
    let words = terms.flat_map(|term| term.split(|c: char| !c.is_ascii_uppercase()));
    words.filter(|word| word.len() > 1).map(str::to_owned).collect()
}
