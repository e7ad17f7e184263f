// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manual pages: section 3 from the comments of agentcg.h, section 1 from what the programs print for --help and
//! from docs/, and agentcg(7) from man/agentcg.7.md, which includes parts of all of them.

mod functions;
mod header;
mod markdown;
mod mdoc;
mod tools;

use functions::{Said, errors, short};
use header::{Constant, Function, Header};
use mdoc::{Block, Names, Page, argument, plain, words};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, iter};

/// The page that describes the constants whose names begin with this, and the title above them. The first that fits is
/// used. "agentcg" is agentcg(7).
const CONSTANTS: &[(&str, &str, &str)] = &[
    ("AGENTCG_WHY_", "agentcg", ""),
    ("AGENTCG_FOREVER", "agentcg", ""),
    ("AGENTCG_VERSION_", "agentcg_version_number", "Constants"),
    ("AGENTCG_CONTROLLER_", "agentcg_diagnose", "Controllers"),
    ("AGENTCG_PLACE_", "agentcg_diagnose", "Places"),
    ("AGENTCG_FEATURE_", "agentcg_diagnose", "Features"),
    ("AGENTCG_NEW_", "agentcg_new", "Flags"),
    ("AGENTCG_OPEN_", "agentcg_open", "Flags"),
    ("AGENTCG_DESTROY_", "agentcg_destroy", "Flags"),
    ("AGENTCG_UUID_SIZE", "agentcg_uuid", "Constants"),
    ("AGENTCG_LABEL_SIZE", "agentcg_new_with", "Constants"),
    ("AGENTCG_SPAWN_OPTIONS_INIT", "agentcg_spawn", "Constants"),
    ("AGENTCG_SPAWN_", "agentcg_spawn", "Flags"),
    ("AGENTCG_INHERIT", "agentcg_spawn", "Constants"),
    ("AGENTCG_DEVNULL", "agentcg_spawn", "Constants"),
    ("AGENTCG_PIPE", "agentcg_spawn", "Constants"),
    ("AGENTCG_LIMITS_SIZE_", "agentcg_set_limits", "Constants"),
    ("AGENTCG_LIMIT_", "agentcg_set_limits", "Limits"),
    ("AGENTCG_SET_", "agentcg_set_limits", "Flags"),
    ("AGENTCG_UNLIMITED", "agentcg_set_limits", "Constants"),
    ("AGENTCG_STATS_SIZE_", "agentcg_read_stats", "Constants"),
    ("AGENTCG_STAT_", "agentcg_read_stats", "Measurements"),
    ("AGENTCG_EVENT_", "agentcg_event_fd", "Events"),
    ("AGENTCG_STALL_", "agentcg_watch_stall", "Constants"),
    ("AGENTCG_CAUSE_", "agentcg_explain", "Causes"),
    ("AGENTCG_CALL_", "agentcg_explain", "Calls"),
    ("AGENTCG_VERDICT_", "agentcg_explain", "Counts"),
    ("AGENTCG_NO_WAIT_STATUS", "agentcg_explain", "Constants"),
];

/// The page that describes a struct. A page with the name of the struct refers to it.
const STRUCTS: &[(&str, &str)] = &[
    ("agentcg_error", "agentcg"),
    ("agentcg_diagnosis", "agentcg_diagnose"),
    ("agentcg_entry", "agentcg_list"),
    ("agentcg_found", "agentcg_find"),
    ("agentcg_info", "agentcg_get_info"),
    ("agentcg_limits", "agentcg_set_limits"),
    ("agentcg_new_options", "agentcg_new_with"),
    ("agentcg_spawn_fd", "agentcg_spawn"),
    ("agentcg_spawn_options", "agentcg_spawn"),
    ("agentcg_spawn_rlimit", "agentcg_spawn"),
    ("agentcg_stats", "agentcg_read_stats"),
    ("agentcg_verdict", "agentcg_explain"),
];

/// The programs that are installed, the file with the text of their --help, and a document.
const TOOLS: &[(&str, &str, Option<&str>)] = &[
    ("agentcg-doctor", "examples-c/agentcg-doctor.c", None),
    ("agentcg-reap", "examples-c/agentcg-reap.c", None),
    ("agentcg-run", "examples-c/run-options.c", Some("docs/agentcg-run.md")),
    ("agentcg-top", "examples-c/top-options.c", None),
];

/// The section of a document that comes at the end of the page.
const EXAMPLES: &str = "Examples";

/// The section of a document that is not in the page.
const TESTS: &str = "Tests";

const OVERVIEW: &str = "man/agentcg.7.md";

/// The date in the pages. Each release sets it.
const DATE: &str = "November 29, 2026";

/// The sources besides src/ffi/, for cargo.
pub fn sources() -> Vec<String> {
    let mut sources = vec![OVERVIEW.to_owned()];
    for (_, source, document) in TOOLS {
        sources.push((*source).to_owned());
        sources.extend(document.map(str::to_owned));
    }
    let overview = fs::read_to_string(OVERVIEW).unwrap_or_else(|e| panic!("{OVERVIEW}: {e}"));
    for line in overview.lines() {
        let file = line.strip_prefix("@include ").or_else(|| line.strip_prefix("@code "));
        sources.extend(file.and_then(|rest| rest.split(' ').next()).map(str::to_owned));
    }
    sources
}

/// The texts of all pages, by their paths, such as man3/agentcg_new.3. Build scripts run in the directory of the package.
pub fn pages(header: &str, version: &str) -> BTreeMap<String, String> {
    let manual = Manual { header: Header::read(header), version };
    manual.check();
    let mut pages = BTreeMap::new();
    for function in &manual.header.functions {
        pages.insert(format!("man3/{}.3", function.name), manual.function(function));
    }
    for (name, home) in STRUCTS {
        pages.insert(
            format!("man3/{name}.3"),
            format!(".so man{}/{home}.{}\n", section_of(home), section_of(home)),
        );
    }
    for (name, source, document) in TOOLS {
        pages.insert(format!("man1/{name}.1"), manual.tool(name, source, *document));
    }
    pages.insert("man7/agentcg.7".to_owned(), manual.overview());
    pages
}

fn section_of(page: &str) -> u8 {
    if page == "agentcg" { 7 } else { 3 }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

fn home_of(constant: &str) -> Option<(&'static str, &'static str)> {
    let found = CONSTANTS.iter().find(|(prefix, _, _)| constant.starts_with(prefix));
    found.map(|(_, page, title)| (*page, *title))
}

struct Manual<'a> {
    header: Header,
    version: &'a str,
}

impl Manual<'_> {
    /// Each name of the header has a page.
    fn check(&self) {
        for constant in &self.header.constants {
            let page = home_of(&constant.name);
            assert!(
                page.is_some(),
                "{} is on no manual page: add it to CONSTANTS in man/make/mod.rs",
                constant.name
            );
        }
        let with_page: BTreeSet<&str> = STRUCTS.iter().map(|(name, _)| *name).collect();
        let structs: BTreeSet<&str> = self.header.structs.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(with_page, structs, "STRUCTS in man/make/mod.rs does not have the structs of agentcg.h");
    }

    fn names(&self, own: &str) -> Names {
        Names {
            functions: self.header.functions.iter().map(|f| f.name.clone()).collect(),
            fields: self.header.structs.iter().flat_map(|s| &s.fields).map(|f| field_name(&f.name)).collect(),
            tools: TOOLS.iter().map(|(name, _, _)| (*name).to_owned()).collect(),
            arguments: BTreeSet::new(),
            own: own.to_owned(),
        }
    }

    /// The lines before the first section.
    fn begin(&self, page: &mut Page, name: &str, section: u8, sources: &str, short: &str) {
        page.line("'\\\" t");
        page.line(".\\\" SPDX-License-Identifier: MIT OR Apache-2.0");
        page.line(&format!(".\\\" Made by build.rs from {sources}: edit there, then run `make header`."));
        page.line(&format!(".Dd {DATE}"));
        page.line(&format!(".Dt {} {section}", name.to_uppercase()));
        page.line(&format!(".Os agentcg {}", self.version));
        page.section("Name");
        page.line(&format!(".Nm {name}"));
        page.line(&format!(".Nd {short}"));
    }

    // ---- section 3 ----------------------------------------------------------

    fn function(&self, function: &Function) -> String {
        let mut names = self.names(&function.name);
        names.arguments = function.arguments.iter().map(|argument| argument_name(argument)).collect();
        let mut page = Page::new(names);
        let said = Said::of(function);
        let first = match said.description.first() {
            Some(Block::Paragraph(words)) => plain(words),
            _ => panic!("{}: the comment begins with no sentence", function.name),
        };
        self.begin(&mut page, &function.name, 3, "the comments in src/ffi/", &short(&first));
        page.section("Library");
        page.line("One Linux cgroup v2 per agent (libagentcg, \\-lagentcg; pkg\\-config name: agentcg)");
        page.section("Synopsis");
        page.line(".In agentcg.h");
        page.line(&format!(".Ft {}", argument(&function.result)));
        page.line(&format!(".Fo {}", function.name));
        for one in &function.arguments {
            page.line(&format!(".Fa {}", argument(one)));
        }
        page.line(".Fc");

        page.section("Description");
        page.blocks(&said.description);
        self.homes(&mut page, function);
        self.constants(&mut page, &function.name);
        self.structs(&mut page, &function.name);

        let errors = errors(&self.header, function);
        page.section("Return value");
        self.return_value(&mut page, function, &said, &first, !errors.is_empty());
        page.section("Errors");
        if errors.is_empty() {
            page.sentence("The function does not fail.");
        } else {
            page.sentence("The function returns these codes and no others:");
            let items: Vec<_> = errors
                .iter()
                .map(|(code, cause)| {
                    (format!("Er {}", argument(code)), vec![Block::Paragraph(words(&on_page(cause)))])
                })
                .collect();
            page.tagged(&items);
            page.blocks(&said.after_errors);
        }

        let related = self.header.functions.iter().filter(|f| f.section == function.section);
        let named = self.header.constants.iter().filter(|constant| page.text.contains(&constant.name));
        let homes: Vec<&str> = named.map(|constant| home_of(&constant.name).unwrap().0).collect();
        let pages = related.map(|f| f.name.as_str()).chain(homes);
        let pages = pages.map(|name| (section_of(name), name)).collect();
        end(page, 3, &function.name, pages)
    }

    fn return_value(&self, page: &mut Page, function: &Function, said: &Said, first: &str, can_fail: bool) {
        let own = format!("{}()", function.name);
        if !said.returns.is_empty() {
            for returns in &said.returns {
                page.paragraph_break();
                page.sentence(&returns.replacen("Returns", &format!("{own} returns"), 1));
            }
        } else if let Some(rest) = first.strip_prefix("Return ") {
            let end = rest.find(". ").map_or(rest.len(), |at| at + 1);
            page.sentence(&format!("{own} returns {}", &rest[..end]));
        } else {
            assert!(
                function.result == "void",
                "the comment of {own} has no sentence that begins with \"Returns\""
            );
            page.sentence("The function returns no value.");
        }
        if can_fail {
            page.line(".Pp");
            page.sentence("On failure the function returns a negative errno value.");
            if function.arguments.iter().any(|argument| argument.ends_with("*reterr")) {
                page.sentence("If reterr is not NULL, *reterr describes the failure: see agentcg(7).");
            }
        }
    }

    /// Refer to the pages that describe the structs of the arguments.
    fn homes(&self, page: &mut Page, function: &Function) {
        for (name, home) in STRUCTS {
            let is_taken = function
                .arguments
                .iter()
                .any(|argument| argument.split([' ', '*']).any(|word| word == *name));
            if is_taken && *home != function.name && *name != "agentcg_error" {
                page.paragraph_break();
                page.line(&format!(".Vt struct {name}"));
                page.sentence(&format!("is described in {home}(3)."));
            }
        }
    }

    fn constants(&self, page: &mut Page, home: &str) {
        let mut by_title: Vec<(&str, Vec<&Constant>)> = Vec::new();
        for constant in &self.header.constants {
            let (page, title) = home_of(&constant.name).unwrap();
            if page != home {
                continue;
            }
            match by_title.iter_mut().find(|(other, _)| *other == title) {
                Some((_, constants)) => constants.push(constant),
                None => by_title.push((title, vec![constant])),
            }
        }
        for (title, constants) in by_title {
            page.line(&format!(".Ss {title}"));
            self.list_constants(page, &constants);
        }
    }

    fn list_constants(&self, page: &mut Page, constants: &[&Constant]) {
        let mut items: Vec<(String, Vec<Block>)> = Vec::new();
        for constant in constants {
            let mut tag = format!("Dv {}", constant.name);
            // The number of a bit or of an element of a list says nothing.
            let is_number = constant.value.ends_with('u') || constant.value.contains("1ull <<");
            if !is_number && !constant.value.starts_with('{') {
                let value = constant.value.strip_prefix('(').and_then(|value| value.strip_suffix(')'));
                tag += &format!(" Pq {}", argument(value.unwrap_or(&constant.value)));
            }
            items.push((tag, without_function(&constant.comment)));
        }
        page.tagged(&items);
    }

    fn structs(&self, page: &mut Page, home: &str) {
        let here = |name: &str| STRUCTS.iter().any(|(other, page)| *other == name && *page == home);
        for one in self.header.structs.iter().filter(|one| here(&one.name)) {
            page.line(&format!(".Ss struct {}", one.name));
            page.blocks(&one.comment);
            let first = &one.fields[0].kind;
            let is_uniform = one.fields.iter().all(|field| field.kind == *first);
            if is_uniform {
                page.line(".Pp");
                page.line("The type of each field is");
                page.line(&format!(".Vt {first} ."));
            }
            let items: Vec<_> = one
                .fields
                .iter()
                .map(|field| {
                    let kind = if is_uniform { String::new() } else { format!("Vt {} ", field.kind) };
                    (format!("{kind}Va {}", field.name), field.comment.clone())
                })
                .collect();
            page.tagged(&items);
        }
    }

    // ---- section 1 ----------------------------------------------------------

    fn tool(&self, name: &str, source: &str, document: Option<&str>) -> String {
        let code = read(source);
        let help = tools::Help::read(&code);
        let document = document.map(|path| (path, read(path)));
        let mut names = self.names(name);
        names.arguments = tools::values(&code).into_iter().collect();
        let mut page = Page::new(names);
        let sources = iter::once(source)
            .chain(document.iter().map(|(path, _)| *path))
            .collect::<Vec<_>>()
            .join(" and ");
        self.begin(&mut page, name, 1, &sources, &short(&help.summary));
        page.section("Synopsis");
        page.line(".Nm");
        for macros in tools::synopsis(&help.usage) {
            page.line(&format!(".{macros}"));
        }
        page.section("Description");
        let mut about = help.about.as_slice();
        if let Some((path, text)) = &document {
            let intro = markdown::section(text, "").unwrap_or_else(|| panic!("{path} has no text"));
            page.blocks(&markdown::blocks(&intro));
            about = &about[1..];
        }
        page.blocks(about);
        page.section("Options");
        for options in &help.options {
            if !options.title.is_empty() {
                page.line(&format!(".Ss {}", options.title));
            }
            page.tagged(&options.items);
        }
        let mut examples = String::new();
        if let Some((_, text)) = &document {
            for heading in markdown::headings(text) {
                let body = markdown::section(text, heading).unwrap();
                match heading {
                    EXAMPLES => examples = body,
                    TESTS => {}
                    _ => {
                        page.section(&heading.replace('`', ""));
                        page.blocks(&markdown::blocks(&body));
                    }
                }
            }
        }
        page.section("Exit status");
        page.sentence(&help.exit_status);
        if !examples.is_empty() {
            page.section(EXAMPLES);
            page.blocks(&markdown::blocks(&examples));
        }
        end(page, 1, name, TOOLS.iter().map(|(tool, _, _)| (1, *tool)).collect())
    }

    // ---- section 7 ----------------------------------------------------------

    /// The page is Markdown. These lines include what is written elsewhere:
    ///
    ///     @include FILE HEADING   the text under the heading of a document
    ///     @header TITLE           a text of the comment at the top of agentcg.h
    ///     @handle                 the comment of the type
    ///     @constants PREFIX       the constants whose names begin with this
    ///     @struct NAME            a struct and its fields
    ///     @functions              all functions
    ///     @code FILE              a program, without the comments before its first line of code
    fn overview(&self) -> String {
        let text = read(OVERVIEW);
        let mut page = Page::new(self.names("agentcg"));
        let title = text.lines().find_map(|line| line.strip_prefix("# agentcg: ")).expect("no title");
        self.begin(&mut page, "agentcg", 7, &format!("{OVERVIEW} and what it names"), title);
        page.section("Synopsis");
        page.line(".In agentcg.h");
        let body = text.split_once(title).unwrap().1;
        let mut written = String::new();
        for line in body.lines().chain(iter::once("@end")) {
            let heading = line.strip_prefix("## ");
            if heading.is_none() && !line.starts_with('@') {
                written += &format!("{line}\n");
                continue;
            }
            page.blocks(&markdown::blocks(&std::mem::take(&mut written)));
            if let Some(heading) = heading {
                page.section(heading);
                continue;
            }
            let (directive, argument) = line.split_once(' ').unwrap_or((line, ""));
            match directive {
                "@include" => {
                    let (file, heading) = argument.split_once(' ').unwrap_or((argument, ""));
                    let section = markdown::section(&read(file), heading);
                    let section = section.unwrap_or_else(|| {
                        panic!("{file} has no section \"{heading}\", which {OVERVIEW} includes")
                    });
                    page.blocks(&markdown::blocks(&section));
                }
                "@header" => self.convention(&mut page, argument),
                "@handle" => page.blocks(&self.header.handle),
                "@constants" => {
                    let constants = self.header.constants.iter().filter(|c| c.name.starts_with(argument));
                    self.list_constants(&mut page, &constants.collect::<Vec<_>>());
                }
                "@struct" => self.structs(&mut page, "agentcg"),
                "@functions" => self.list_functions(&mut page),
                "@code" => page.literal(&program(&read(argument))),
                "@end" => {}
                _ => panic!("{OVERVIEW}: {line}: unknown"),
            }
        }
        end(page, 7, "agentcg", TOOLS.iter().map(|(tool, _, _)| (1, *tool)).collect())
    }

    /// A text of the comment at the top of agentcg.h.
    fn convention(&self, page: &mut Page, title: &str) {
        let mut text = self.header.convention(title).to_vec();
        for block in &mut text {
            match block {
                Block::Paragraph(text) => *text = words(&on_page(&plain(text))),
                Block::Tagged(items) => {
                    for body in items.iter_mut().flat_map(|(_, body)| body) {
                        if let Block::Paragraph(text) = body {
                            *text = words(&on_page(&plain(text)));
                        }
                    }
                }
                _ => {}
            }
        }
        page.blocks(&text);
    }

    fn list_functions(&self, page: &mut Page) {
        let mut section = "";
        let mut items: Vec<(String, Vec<Block>)> = Vec::new();
        for function in &self.header.functions {
            if section != function.section && !items.is_empty() {
                self.list_section(page, section, &std::mem::take(&mut items));
            }
            section = &function.section;
            let Some(Block::Paragraph(first)) = Said::of(function).description.first().cloned() else {
                continue;
            };
            items.push((
                format!("Xr {} 3", function.name),
                vec![Block::Paragraph(words(&short(&plain(&first))))],
            ));
        }
        self.list_section(page, section, &items);
    }

    fn list_section(&self, page: &mut Page, title: &str, items: &[(String, Vec<Block>)]) {
        let title = title.split_once(". ").map_or(title, |(_, title)| title);
        page.line(&format!(".Ss {}", functions::capitalized(title)));
        page.tagged(items);
    }
}

/// Write the last section, which refers to the pages that the text names, to these and to agentcg(7).
fn end(mut page: Page, section: u8, name: &str, more: Vec<(u8, &str)>) -> String {
    let mut pages = page.named_pages();
    pages.extend(more.into_iter().chain([(7, "agentcg")]).map(|(section, name)| (section, name.to_owned())));
    pages.remove(&(section, name.to_owned()));
    page.section("See also");
    let last = pages.len() - 1;
    for (i, (section, name)) in pages.into_iter().enumerate() {
        page.line(&format!(".Xr {name} {section}{}", if i < last { " ," } else { "" }));
    }
    page.text
}

/// The header speaks of the comments of functions. They are pages here.
fn on_page(text: &str) -> String {
    let page = text
        .replace("unless its comment says", "unless its page says")
        .replace("the comment of the function does", "the page of the function does")
        .replace(
            "The comment of a function lists the errors that it adds;",
            "The page of a function lists all its errors;",
        );
    assert!(!page.contains(" comment"), "man/make/mod.rs, on_page(): {page}");
    page
}

/// The comment of a flag begins with the function that takes the flag: "agentcg_new(): never ask systemd."
fn without_function(comment: &[Block]) -> Vec<Block> {
    let mut comment = comment.to_vec();
    if let Some(Block::Paragraph(text)) = comment.first_mut() {
        let sentence = plain(text);
        if let Some((_, rest)) = sentence.split_once("(): ").filter(|(name, _)| mdoc::is_name(name)) {
            *text = words(&functions::capitalized(rest));
        }
    }
    comment
}

/// The code of a program, from its first line of code on.
fn program(source: &str) -> String {
    let (_, code) = source.split_once("*/\n").expect("no comment at the top");
    code.trim().to_owned()
}

fn argument_name(argument: &str) -> String {
    argument.rsplit([' ', '*']).next().unwrap().to_owned()
}

fn field_name(field: &str) -> String {
    field.split('[').next().unwrap().to_owned()
}
