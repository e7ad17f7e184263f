// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes blocks of text as mdoc(7).

use std::collections::BTreeSet;

/// A part of a word.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Plain(String),
    Code(String),
    Strong(String),
}

/// What stands between two spaces. Code may contain spaces.
pub type Word = Vec<Piece>;

#[derive(Clone, Debug)]
pub enum Block {
    Heading(String),
    Paragraph(Vec<Word>),
    /// Items, each with a text before it.
    Tagged(Vec<(Vec<Word>, Vec<Block>)>),
    Bullets(Vec<Vec<Block>>),
    Numbered(Vec<Vec<Block>>),
    Literal(String),
    /// The first row is the heading.
    Table(Vec<Vec<Vec<Word>>>),
}

/// Split a text without markup into words.
pub fn words(text: &str) -> Vec<Word> {
    text.split_whitespace().map(|word| vec![Piece::Plain(word.to_owned())]).collect()
}

pub fn plain(words: &[Word]) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Plain(text) | Piece::Code(text) | Piece::Strong(text) => text.clone(),
    };
    words.iter().map(|word| word.iter().map(text).collect::<String>()).collect::<Vec<_>>().join(" ")
}

pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The names that have markup of their own.
#[derive(Clone, Default)]
pub struct Names {
    pub functions: BTreeSet<String>,
    pub fields: BTreeSet<String>,
    pub tools: BTreeSet<String>,
    /// The arguments of the function, or the words for values in the help of the program.
    pub arguments: BTreeSet<String>,
    /// The name of the page.
    pub own: String,
}

const OPENING: &[char] = &['(', '[', '"'];
const CLOSING: &[char] = &['.', ',', ':', ';', ')', ']', '?', '!', '"'];

/// Returns true for the name of a constant, a signal or an errno value.
fn is_upper(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Returns true for the name of an interface file of cgroup v2.
fn is_interface_file(text: &str) -> bool {
    let Some((controller, file)) = text.split_once('.') else { return false };
    ["cgroup", "cpu", "cpuset", "io", "memory", "pids"].contains(&controller)
        && file.starts_with(|c: char| c.is_ascii_lowercase())
        && file.chars().all(|c| c.is_ascii_lowercase() || c == '.' || c == '_')
}

impl Names {
    /// The macro for a name with its arguments, if the name has one.
    fn macro_for(&self, text: &str) -> Option<String> {
        if let Some((name, rest)) = text.split_once('(') {
            return self.macro_for_call(name, rest.strip_suffix(')')?);
        }
        if let Some(option) = text.strip_prefix('-') {
            let is_code = option.len() > 2 && option.starts_with('E') && is_upper(option);
            return if is_code { Some(format!("Er {}", argument(text))) } else { macro_for_option(option) };
        }
        if self.tools.contains(text) {
            return Some(if text == self.own { "Nm".to_owned() } else { format!("Xr {text} 1") });
        }
        if text == "PATH" {
            return Some("Ev PATH".to_owned());
        }
        if self.arguments.contains(text) {
            // Other names of arguments are also words.
            let is_sure = text.contains('_') || ["argv", "buf", "cgs", "envp", "reterr"].contains(&text);
            return match () {
                () if is_upper(text) => Some(format!("Ar {text}")),
                () => is_sure.then(|| format!("Fa {text}")),
            };
        }
        // "AGENTCG_NEW_..." and "memory_..." stand for all names that begin with this.
        let beginning = text.strip_suffix("...").unwrap_or(text);
        let is_signal = text.len() > 3 && text.starts_with("SIG");
        if text == "NULL" || is_upper(beginning) && (beginning.contains('_') || is_signal) {
            return Some(format!("Dv {}", argument(text)));
        }
        let field = beginning.rsplit(['.', '>']).next().unwrap();
        let is_beginning = beginning != text && field.ends_with('_');
        if field.contains('_') && (is_beginning || self.fields.contains(field)) {
            return Some(format!("Va {}", argument(text)));
        }
        let is_path = text.len() > 1 && text.starts_with('/');
        (is_path || is_interface_file(text)).then(|| format!("Pa {}", argument(text)))
    }

    /// The macro for a function with its arguments, or for a page with its section.
    fn macro_for_call(&self, name: &str, arguments: &str) -> Option<String> {
        let is_section = arguments.len() == 1 && arguments.starts_with(|c: char| c.is_ascii_digit());
        if is_section && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
            return Some(format!("Xr {name} {arguments}"));
        }
        if !self.functions.contains(name) {
            return None;
        }
        if arguments.is_empty() && name != self.own {
            return Some(format!("Xr {name} 3"));
        }
        let arguments = arguments.split(", ").filter(|one| !one.is_empty()).map(argument);
        Some([format!("Fn {name}")].into_iter().chain(arguments).collect::<Vec<_>>().join(" "))
    }
}

/// The macro for an option without its first hyphen, and perhaps with a value, such as "-time TIME".
fn macro_for_option(option: &str) -> Option<String> {
    let (option, value) = option.split_once(' ').unwrap_or((option, ""));
    let name = option.strip_prefix('-').unwrap_or(option);
    let is_option = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    match value {
        _ if !is_option => None,
        "" => Some(format!("Fl {}", argument(option))),
        value => is_upper(value).then(|| format!("Fl {} Ar {value}", argument(option))),
    }
}

/// An argument of a macro, with what has a meaning in roff escaped.
pub fn argument(text: &str) -> String {
    let escaped = escape(text).replace('-', "\\-").replace('"', "\\(dq");
    // After dots roff would begin a new sentence.
    let escaped = if escaped.ends_with("...") { escaped + "\\&" } else { escaped };
    let is_macro = escaped.len() <= 3 && escaped.starts_with(|c: char| c.is_ascii_uppercase());
    let is_delimiter = escaped.len() == 1 && !escaped.starts_with(|c: char| c.is_ascii_alphanumeric());
    match () {
        () if is_macro || is_delimiter || escaped.starts_with(['.', '\'']) => format!("\\&{escaped}"),
        () if escaped.contains(' ') || escaped.is_empty() => format!("\"{escaped}\""),
        () => escaped,
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('^', "\\(ha").replace('~', "\\(ti").replace('`', "\\(ga")
}

/// A word of a text line.
fn text_word(text: &str) -> String {
    let escaped = escape(text);
    if escaped.starts_with('-') { escaped.replace('-', "\\-") } else { escaped }
}

/// What a word becomes: text, or a macro with text around it.
enum Part {
    Text(String),
    Macro(String),
}

/// The words, in which a call such as agentcg_new(NULL, ...) is one word.
fn joined(words: &[Word], names: &Names) -> Vec<Word> {
    let mut result: Vec<Word> = Vec::new();
    let mut is_open = false;
    for word in words {
        match (is_open, word.as_slice(), result.last_mut().map(Vec::as_mut_slice)) {
            (true, [Piece::Plain(text)], Some([Piece::Plain(call)])) => {
                *call = format!("{call} {text}");
                is_open = !text.contains(')');
            }
            _ => {
                let call = match word.as_slice() {
                    [Piece::Plain(text)] => text.trim_start_matches(OPENING).split_once('('),
                    _ => None,
                };
                is_open =
                    call.is_some_and(|(name, rest)| names.functions.contains(name) && !rest.contains(')'));
                result.push(word.clone());
            }
        }
    }
    result
}

fn parts(word: &Word, names: &Names) -> Vec<Part> {
    let mut parts = Vec::new();
    for piece in word {
        match piece {
            Piece::Strong(text) => parts.push(Part::Macro(format!("Sy {}", argument(text)))),
            Piece::Code(text) => parts.push(Part::Macro(match names.macro_for(text) {
                Some(line) => line,
                None if names.functions.contains(text) && *text == names.own => format!("Fn {text}"),
                None if names.functions.contains(text) => format!("Xr {text} 3"),
                None if names.fields.contains(text) => format!("Va {text}"),
                // Ql encloses the rest of the line, so it must be the only word.
                None if text.contains(' ') && word.len() < 3 => format!("Ql {}", argument(text)),
                None => format!("Li {}", argument(text)),
            })),
            Piece::Plain(text) => {
                let core = text.trim_start_matches(OPENING);
                let before = &text[..text.len() - core.len()];
                // A dot may belong to the name: "AGENTCG_NEW_...".
                let ends = [core, core.trim_end_matches(','), core.trim_end_matches(CLOSING)];
                let balanced = core.rfind(')').map(|at| &core[..=at]);
                let found =
                    ends.into_iter().chain(balanced).find_map(|end| Some((end, names.macro_for(end)?)));
                match found {
                    Some((end, line)) => {
                        let after = &core[end.len()..];
                        if !before.is_empty() {
                            parts.push(Part::Text(before.to_owned()));
                        }
                        parts.push(Part::Macro(line));
                        if !after.is_empty() {
                            parts.push(Part::Text(after.to_owned()));
                        }
                    }
                    None => parts.push(Part::Text(text.clone())),
                }
            }
        }
    }
    parts
}

/// The macros of a word in one line, without the dot. None if it is text alone.
fn macro_line(parts: &[Part]) -> Option<String> {
    if !parts.iter().any(|part| matches!(part, Part::Macro(_))) {
        return None;
    }
    let mut line: Vec<String> = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        match part {
            Part::Macro(text) => {
                if matches!(parts.get(i.wrapping_sub(1)), Some(Part::Macro(_))) || i > 1 {
                    line.push("Ns".to_owned());
                }
                line.push(text.clone());
            }
            Part::Text(text) if i == 0 => line.extend(["Pf".to_owned(), argument(text)]),
            Part::Text(text) => {
                // The closing punctuation of mdoc: it takes no space before it.
                let is_punctuation = text.chars().all(|c| CLOSING.contains(&c) && c != '"');
                if is_punctuation && i + 1 == parts.len() {
                    line.extend(text.chars().map(String::from));
                } else {
                    line.extend(["Ns".to_owned(), argument(text)]);
                }
            }
        }
    }
    Some(line.join(" "))
}

fn ends_sentence(word: &str) -> bool {
    !word.ends_with("...") && word.trim_end_matches([')', '"']).ends_with(['.', '?', '!'])
}

/// The words in one line of macro arguments, as after `.It`.
pub fn inline(words: &[Word], names: &Names) -> String {
    let mut line: Vec<String> = Vec::new();
    let mut in_macro = false;
    for word in joined(words, names) {
        match macro_line(&parts(&word, names)) {
            Some(text) => {
                line.push(text.replace("Ql ", "Li "));
                in_macro = true;
            }
            None => {
                if std::mem::take(&mut in_macro) {
                    line.push("No".to_owned());
                }
                line.push(argument(&plain(&[word])));
            }
        }
    }
    line.join(" ")
}

/// The words with escapes for fonts, for a cell of tbl(1), in which macros do not work.
fn cell(words: &[Word]) -> String {
    let mut line = Vec::new();
    for word in words {
        let mut text = String::new();
        for piece in word {
            match piece {
                Piece::Plain(plain) => text += &text_word(plain),
                Piece::Code(bold) | Piece::Strong(bold) => {
                    text += &format!("\\fB{}\\fR", escape(bold).replace('-', "\\-"))
                }
            }
        }
        line.push(text);
    }
    let line = line.join(" ");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

/// A manual page that is being written.
pub struct Page {
    pub text: String,
    names: Names,
}

const WIDTH: usize = 78;

impl Page {
    pub fn new(names: Names) -> Page {
        Page { text: String::new(), names }
    }

    pub fn line(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }

    pub fn section(&mut self, title: &str) {
        self.line(&format!(".Sh {}", title.to_uppercase()));
    }

    /// Write one sentence in each line, and each name on a line of its own with its macro.
    pub fn words(&mut self, words: &[Word]) {
        let mut line = String::new();
        for word in joined(words, &self.names) {
            let parts = parts(&word, &self.names);
            if let Some(macros) = macro_line(&parts) {
                if !line.is_empty() {
                    self.line(&std::mem::take(&mut line));
                }
                self.line(&format!(".{macros}"));
                continue;
            }
            let text = text_word(&plain(&[word]));
            if line.len() + 1 + text.len() > WIDTH {
                self.line(&std::mem::take(&mut line));
            }
            match line.is_empty() {
                true if text.starts_with(['.', '\'']) => line = format!("\\&{text}"),
                true => line = text,
                false => line += &format!(" {text}"),
            }
            if ends_sentence(&line) {
                self.line(&std::mem::take(&mut line));
            }
        }
        if !line.is_empty() {
            self.line(&line);
        }
    }

    pub fn sentence(&mut self, text: &str) {
        self.words(&words(text));
    }

    pub fn paragraph_break(&mut self) {
        let last = self.text.lines().last().unwrap_or("");
        if ![".Sh", ".Ss", ".Pp", ".It", ".Bl", ".Bd"].iter().any(|start| last.starts_with(start)) {
            self.line(".Pp");
        }
    }

    pub fn blocks(&mut self, blocks: &[Block]) {
        for block in blocks {
            match block {
                Block::Heading(title) => self.line(&format!(".Ss {}", escape(title))),
                Block::Paragraph(words) => {
                    self.paragraph_break();
                    self.words(words);
                }
                Block::Tagged(items) => {
                    let items: Vec<_> =
                        items.iter().map(|(tag, body)| (inline(tag, &self.names), body.clone())).collect();
                    self.tagged(&items);
                }
                Block::Bullets(items) => self.list("-bullet", items),
                Block::Numbered(items) => self.list("-enum", items),
                Block::Literal(text) => self.literal(text),
                Block::Table(rows) => self.table(rows),
            }
        }
    }

    /// A list of items, each with its macros.
    pub fn tagged(&mut self, items: &[(String, Vec<Block>)]) {
        // A tag whose text is on the same line is at most this wide.
        let width = |tag: &str| match tag.strip_prefix("Xr ") {
            Some(page) => page.len() + 1, // "agentcg_new 3" becomes "agentcg_new(3)"
            None => tag.split(' ').filter(|part| part.len() > 2).map(|part| part.len() + 1).sum(),
        };
        let widest: usize = items.iter().map(|(tag, _)| width(tag)).max().unwrap_or(0);
        let width = if widest <= 18 { "x".repeat(widest.max(4)) } else { "Ds".to_owned() };
        let short = |body: &[Block]| match body {
            [] => true,
            [Block::Paragraph(words)] => plain(words).len() <= 80,
            _ => false,
        };
        let compact = if items.iter().all(|(_, body)| short(body)) { " -compact" } else { "" };
        if !compact.is_empty() {
            self.paragraph_break();
        }
        self.line(&format!(".Bl -tag -width {width}{compact}"));
        for (tag, body) in items {
            self.line(&format!(".It {tag}"));
            self.blocks(body);
        }
        self.line(".El");
    }

    fn list(&mut self, kind: &str, items: &[Vec<Block>]) {
        self.line(&format!(".Bl {kind}"));
        for item in items {
            self.line(".It");
            self.blocks(item);
        }
        self.line(".El");
    }

    pub fn literal(&mut self, text: &str) {
        self.line(".Bd -literal");
        for line in text.lines() {
            let line = escape(line).replace('-', "\\-").replace('\'', "\\(aq").replace('\t', "        ");
            self.line(&if line.starts_with('.') { format!("\\&{line}") } else { line });
        }
        self.line(".Ed");
    }

    /// Two columns are a list, whose items are not as narrow as the columns would be.
    fn table(&mut self, rows: &[Vec<Vec<Word>>]) {
        if rows[0].len() == 2 {
            let item = |row: &Vec<Vec<Word>>| (row[0].clone(), vec![Block::Paragraph(row[1].clone())]);
            self.blocks(&[Block::Tagged(rows[1..].iter().map(item).collect())]);
            return;
        }
        self.paragraph_break();
        self.line(".TS");
        self.line(&format!("{}.", vec!["lx"; rows[0].len()].join(" ")));
        for (i, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .map(|words| match cell(words) {
                    text if text.is_empty() => text,
                    text if i == 0 => {
                        format!("T{{\n\\fB{}\\fR\nT}}", text.replace("\\fB", "").replace("\\fR", ""))
                    }
                    text => format!("T{{\n{text}\nT}}"),
                })
                .collect();
            self.line(&cells.join("\t"));
        }
        self.line(".TE");
    }

    /// The manual pages that the page names, by section and name.
    pub fn named_pages(&self) -> BTreeSet<(u8, String)> {
        let mut pages = BTreeSet::new();
        for line in self.text.lines().filter(|line| line.starts_with('.')) {
            let mut words = line[1..].split(' ').skip_while(|word| *word != "Xr").skip(1);
            if let (Some(name), Some(section)) = (words.next(), words.next()) {
                pages.insert((section.parse().unwrap(), name.to_owned()));
            }
        }
        pages
    }
}
