// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads Markdown as blocks.

use super::mdoc::{Block, Piece, Word};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The text under a heading, up to the next heading of the same level. Without a heading it is the text before the first.
pub fn section(text: &str, heading: &str) -> Option<String> {
    let is_before = |line: &&str| match heading {
        "" => !line.starts_with("# "),
        _ => line.strip_prefix("## ") != Some(heading),
    };
    let body = text.lines().skip_while(is_before).skip(1).take_while(|line| !line.starts_with("## "));
    let body: Vec<&str> = body.collect();
    (!body.is_empty()).then(|| body.join("\n"))
}

/// The headings of the sections.
pub fn headings(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

/// The page in which a document is, as a link in a page names it.
const PAGES: &[(&str, &str)] =
    &[("agentcg-run.md", "agentcg-run(1)"), ("containment.md", "agentcg(7)"), ("placement.md", "agentcg(7)")];

/// The words of a paragraph, as they are read.
#[derive(Default)]
struct Inline {
    words: Vec<Word>,
    /// The next piece belongs to the last word.
    is_open: bool,
    is_strong: bool,
}

impl Inline {
    fn push(&mut self, piece: Piece) {
        if !self.is_open {
            self.words.push(Vec::new());
        }
        self.words.last_mut().unwrap().push(piece);
        self.is_open = true;
    }

    fn text(&mut self, text: &str) {
        if self.is_strong {
            return self.push(Piece::Strong(text.to_owned()));
        }
        for part in text.split_inclusive(' ') {
            let word = part.trim_end_matches(' ');
            if !word.is_empty() {
                let last = self.words.last_mut().filter(|_| self.is_open).and_then(|word| word.last_mut());
                match last {
                    // The parser splits at characters that might begin markup.
                    Some(Piece::Plain(begun)) => begun.push_str(word),
                    _ => self.push(Piece::Plain(word.to_owned())),
                }
            }
            self.is_open &= !part.ends_with(' ');
        }
    }

    fn take(&mut self) -> Vec<Word> {
        self.is_open = false;
        std::mem::take(&mut self.words)
    }
}

pub fn blocks(text: &str) -> Vec<Block> {
    let mut parser = Parser::new_ext(text, Options::ENABLE_TABLES);
    read(&mut parser, None)
}

/// The blocks up to the end of the tag in which they are.
fn read(parser: &mut Parser, end: Option<TagEnd>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut inline = Inline::default();
    let mut rows: Vec<Vec<Vec<Word>>> = Vec::new();
    while let Some(event) = parser.next() {
        match event {
            Event::Text(text) => inline.text(&text),
            Event::Code(code) => inline.push(Piece::Code(code.into_string())),
            Event::SoftBreak | Event::HardBreak => inline.is_open = false,
            Event::Start(Tag::Strong) => inline.is_strong = true,
            Event::End(TagEnd::Strong) => inline.is_strong = false,
            Event::Start(Tag::Link { dest_url, .. }) => {
                if let Some((_, page)) = PAGES.iter().find(|(document, _)| dest_url.ends_with(document)) {
                    inline.text(page);
                    parser.by_ref().find(|event| *event == Event::End(TagEnd::Link));
                }
            }
            Event::End(TagEnd::Paragraph) => blocks.push(Block::Paragraph(inline.take())),
            Event::End(TagEnd::Heading(_)) => {
                blocks.push(Block::Heading(super::mdoc::plain(&inline.take())));
            }
            Event::Start(Tag::CodeBlock(_)) => {
                let mut code = String::new();
                for event in parser.by_ref() {
                    match event {
                        Event::Text(text) => code += &text,
                        _ => break,
                    }
                }
                blocks.push(Block::Literal(code.trim_end().to_owned()));
            }
            Event::Start(Tag::List(first)) => {
                let mut items = Vec::new();
                while let Some(Event::Start(Tag::Item)) = parser.next() {
                    items.push(read(parser, Some(TagEnd::Item)));
                }
                blocks.push(if first.is_some() { Block::Numbered(items) } else { Block::Bullets(items) });
            }
            Event::Start(Tag::TableHead | Tag::TableRow) => rows.push(Vec::new()),
            Event::End(TagEnd::TableCell) => rows.last_mut().unwrap().push(inline.take()),
            Event::End(TagEnd::Table) => blocks.push(Block::Table(std::mem::take(&mut rows))),
            Event::End(tag) if Some(tag) == end => break,
            _ => {}
        }
    }
    let words = inline.take();
    if !words.is_empty() {
        blocks.push(Block::Paragraph(words)); // the text of an item is not in a paragraph
    }
    blocks
}
