// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads agentcg.h, whose form is that of `typeset` in build.rs.

use super::mdoc::{Block, is_name, words};

pub struct Constant {
    pub name: String,
    pub value: String,
    pub comment: Vec<Block>,
}

pub struct Field {
    pub kind: String,
    pub name: String,
    pub comment: Vec<Block>,
}

pub struct Struct {
    pub name: String,
    pub comment: Vec<Block>,
    pub fields: Vec<Field>,
}

pub struct Function {
    pub name: String,
    /// The title of the section of the header.
    pub section: String,
    pub result: String,
    pub arguments: Vec<String>,
    pub comment: Vec<Block>,
}

#[derive(Default)]
pub struct Header {
    /// The comment at the top: titles and texts.
    pub conventions: Vec<(String, Vec<Block>)>,
    pub handle: Vec<Block>,
    pub constants: Vec<Constant>,
    pub structs: Vec<Struct>,
    pub functions: Vec<Function>,
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The term of an item of a list and the beginning of its text.
fn item(line: &str) -> Option<(&str, &str)> {
    let text = line.trim_start();
    if let Some(about) = text.strip_prefix("- ") {
        return Some(("-", about));
    }
    // A line of a paragraph may begin with a number that ends a sentence.
    let number = text.split_once(". ").filter(|(number, _)| number.chars().all(|c| c.is_ascii_digit()));
    if number.is_some() && indent(line) > 0 {
        return number;
    }
    let line = text;
    if line.split(", ").all(|code| code.starts_with("-E") && is_name(&code[1..])) {
        return Some((line, ""));
    }
    let (term, text) = line.split_once("  ")?;
    (!term.contains([';', '(', '{'])).then_some((term, text.trim_start()))
}

/// The lines of a comment: paragraphs, lists, and code, which is indented.
pub fn blocks(lines: &[&str]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut rest = lines;
    while let Some(first) = rest.first() {
        let margin = indent(first);
        let count = |belongs: &dyn Fn(&str) -> bool| {
            let end = rest.iter().position(|line| !belongs(line)).unwrap_or(rest.len());
            rest[..end].iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1)
        };
        let used;
        if first.is_empty() {
            used = 1;
        } else if item(first).is_some() {
            used = count(&|line| {
                line.is_empty() || indent(line) > margin || indent(line) == margin && item(line).is_some()
            });
            blocks.push(list(&rest[..used], margin));
        } else if margin > 0 {
            used = count(&|line| line.is_empty() || indent(line) >= margin);
            let code: Vec<_> = rest[..used].iter().map(|line| line.get(margin..).unwrap_or("")).collect();
            blocks.push(Block::Literal(code.join("\n")));
        } else {
            used = 1 + rest[1..]
                .iter()
                .position(|line| line.is_empty() || indent(line) > 0 || item(line).is_some())
                .unwrap_or(rest.len() - 1);
            blocks.push(Block::Paragraph(words(&rest[..used].join(" "))));
        }
        rest = &rest[used..];
    }
    blocks
}

fn list(lines: &[&str], margin: usize) -> Block {
    let mut items: Vec<(String, String)> = Vec::new();
    for line in lines {
        match item(line) {
            Some((term, text)) if indent(line) == margin => items.push((term.to_owned(), text.to_owned())),
            _ => {
                let text = &mut items.last_mut().unwrap().1;
                *text = format!("{text} {}", line.trim());
            }
        }
    }
    let body = |text: &str| vec![Block::Paragraph(words(text))];
    match items[0].0.as_str() {
        "-" => Block::Bullets(items.iter().map(|(_, text)| body(text)).collect()),
        "1" => Block::Numbered(items.iter().map(|(_, text)| body(text)).collect()),
        _ => Block::Tagged(items.iter().map(|(term, text)| (words(term), body(text))).collect()),
    }
}

/// The comment and the code of a line in which a comment follows the code.
fn split_comment(line: &str) -> (&str, Option<&str>) {
    match line.split_once("/*") {
        Some((code, comment)) => (code.trim_end(), Some(comment.trim_end_matches("*/").trim())),
        None => (line.trim_end(), None),
    }
}

impl Header {
    pub fn read(text: &str) -> Header {
        let mut header = Header::default();
        let mut section = String::new();
        let mut comment: Vec<&str> = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let line = line.trim_end();
            if let Some(title) = line.strip_prefix("/* ---- ") {
                section = title.trim_end_matches([' ', '-', '*', '/']).to_owned();
            } else if line == "/*" {
                let top: Vec<&str> = lines
                    .by_ref()
                    .take_while(|line| *line != " */")
                    .map(|line| line.strip_prefix(" * ").unwrap_or(""))
                    .collect();
                header.conventions = conventions(&top);
            } else if line.trim_start().starts_with("/*") {
                comment = vec![line.trim_start().trim_start_matches("/*").trim_start()];
                while !comment.last().unwrap().ends_with("*/") {
                    let next = lines.next().unwrap().trim_start();
                    comment.push(next.strip_prefix("* ").unwrap_or(next.trim_start_matches('*')));
                    if next == "*/" {
                        *comment.last_mut().unwrap() = "*/";
                    }
                }
                let last = comment.last_mut().unwrap();
                *last = last.trim_end_matches("*/").trim_end();
            } else if let Some(define) = line.strip_prefix("#define ") {
                let (code, behind) = split_comment(define);
                let (name, mut value) =
                    code.split_once(' ').map_or((code, String::new()), |(n, v)| (n, v.trim().to_owned()));
                while value.ends_with('\\') {
                    value = format!("{}{}", value.trim_end_matches('\\'), lines.next().unwrap().trim());
                }
                let above = std::mem::take(&mut comment);
                if !value.is_empty() {
                    let comment = behind.map_or_else(|| blocks(&above), |text| blocks(&[text]));
                    header.constants.push(Constant { name: name.to_owned(), value, comment });
                }
            } else if line.starts_with("typedef ") {
                let about = std::mem::take(&mut comment);
                if line == "typedef struct agentcg agentcg;" {
                    header.handle = blocks(&about);
                }
            } else if let Some(name) = line.strip_prefix("struct ").and_then(|rest| rest.strip_suffix(" {")) {
                let about = blocks(&std::mem::take(&mut comment));
                header.structs.push(Struct { name: name.to_owned(), comment: about, fields: Vec::new() });
            } else if line.starts_with('\t') && !section.is_empty() {
                let (code, behind) = split_comment(line.trim());
                let above = std::mem::take(&mut comment);
                let code = code.trim_end_matches(';');
                // "const char *" and "name".
                let (kind, name) = code.split_at(code.rfind([' ', '*']).unwrap() + 1);
                header.structs.last_mut().unwrap().fields.push(Field {
                    kind: kind.trim_end().to_owned(),
                    name: name.to_owned(),
                    comment: behind.map_or_else(|| blocks(&above), |text| blocks(&[text])),
                });
            } else if line.starts_with("AGENTCG_MUST_CHECK")
                || line.contains(" agentcg_")
                || line.contains(" *agentcg_")
            {
                let mut code = line.trim_start_matches("AGENTCG_MUST_CHECK").trim().to_owned();
                while !code.ends_with(");") {
                    code = format!("{code} {}", lines.next().unwrap().trim());
                }
                let (head, arguments) = code.trim_end_matches(");").split_once('(').unwrap();
                let at = head.rfind("agentcg_").unwrap();
                let arguments = arguments.trim();
                header.functions.push(Function {
                    name: head[at..].to_owned(),
                    section: section.clone(),
                    result: head[..at].trim().to_owned(),
                    arguments: arguments.split(',').map(|one| one.trim().to_owned()).collect(),
                    comment: blocks(&std::mem::take(&mut comment)),
                });
            } else {
                comment.clear();
            }
        }
        header
    }
}

/// The texts under the titles in the comment at the top, which are not indented.
fn conventions(lines: &[&str]) -> Vec<(String, Vec<Block>)> {
    let mut texts: Vec<(String, Vec<&str>)> = Vec::new();
    for line in lines {
        if !line.is_empty() && indent(line) == 0 {
            texts.push(((*line).to_owned(), Vec::new()));
        } else if let Some((_, text)) = texts.last_mut() {
            text.push(line.get(2..).unwrap_or(""));
        }
    }
    texts.into_iter().map(|(title, text)| (title, blocks(&text))).collect()
}
