// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives the cdylib its soname and writes the C header and the manual pages to OUT_DIR, where tests/header.rs compares them
//! with those that are checked in. This program never writes into the source tree.

#[cfg(feature = "header")]
#[path = "man/make/mod.rs"]
mod manual;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=AGENTCG_GUARD_PROGRAM={}", guard_program());
    println!("cargo::rerun-if-env-changed=AGENTCG_GUARD_PROGRAM");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libagentcg.so.0");
    #[cfg(feature = "header")]
    header::make();
}

/// The path of the guard's program: CMake passes the path to which it installs it. In cargo's own builds and tests it is
/// the path to which cargo writes it.
fn guard_program() -> String {
    if let Ok(path) = std::env::var("AGENTCG_GUARD_PROGRAM") {
        return path;
    }
    // target/PROFILE/build/agentcg-HASH/out
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    let profile = out.ancestors().nth(3).unwrap();
    profile.join("agentcg-guard").into_os_string().into_string().unwrap()
}

#[cfg(feature = "header")]
mod header {
    use super::{manual, typeset};
    use cbindgen::{Builder, Config, ItemType, Style};
    use std::fmt::Write;
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    /// The header is read from the top, so each section has its constants, its structs and its functions together.
    /// cbindgen sorts all items by kind, so it runs once for each kind in each section.
    const SECTIONS: &[(&str, &str, &[&str])] = &[
        ("errors", "Reasons: the values of agentcg_error.reason.", &["src/ffi/error.rs"]),
        ("version", "", &["src/ffi/handle.rs"]),
        ("1. is it available?", "", &["src/ffi/place.rs", "src/ffi/diagnose.rs"]),
        (
            "2. make, find and end agents",
            "",
            &["src/ffi/new.rs", "src/ffi/orphans.rs", "src/ffi/find.rs", "src/ffi/destroy.rs"],
        ),
        ("3. facts about a handle", "", &["src/ffi/info.rs"]),
        ("4. processes", "", &["src/ffi/processes.rs", "src/ffi/spawn.rs"]),
        ("5. limits", "", &["src/ffi/limits.rs"]),
        ("6. interface files", "", &["src/ffi/files.rs"]),
        ("7. measurements", "", &["src/stats/mod.rs", "src/ffi/stats.rs"]),
        ("8. events", "", &["src/events/mod.rs", "src/ffi/events.rs"]),
        ("9. freeze, signal and kill", "", &["src/ffi/kill.rs"]),
        ("10. why an agent ended", "", &["src/ffi/verdict.rs"]),
    ];

    /// The files outside src/ffi/ that define constants of the header, each with the prefix of those constants in C.
    const PREFIXES: &[(&str, &str)] =
        &[("src/stats/mod.rs", "AGENTCG_STAT_"), ("src/events/mod.rs", "AGENTCG_EVENT_")];

    pub fn make() {
        let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
        for path in ["cbindgen.toml", "src/ffi"].into_iter().chain(PREFIXES.iter().map(|(file, _)| *file)) {
            println!("cargo::rerun-if-changed={path}");
        }
        let config = Config::from_file(root.join("cbindgen.toml")).unwrap();
        let options = fs::read_to_string(root.join("src/ffi/spawn.rs")).unwrap();
        let mut page = config.header.clone().unwrap() + "\n";
        page += &config
            .after_includes
            .clone()
            .unwrap()
            .replace("@VERSION@", &version())
            .replace("@SPAWN_OPTIONS_INIT@", &defaults(&options, "agentcg_spawn_options"));
        for (title, intro, files) in SECTIONS {
            let line = format!("/* ---- {title} ");
            writeln!(page, "\n{line:-<77} */\n").unwrap();
            if !intro.is_empty() {
                writeln!(page, "/* {intro} */").unwrap();
            }
            let bodies: Vec<String> = [ItemType::Constants, ItemType::Structs, ItemType::Functions]
                .iter()
                .flat_map(|kind| files.iter().map(|file| items(&config, &root, file, kind.clone())))
                .filter(|text| !text.is_empty())
                .collect();
            page += &bodies.join("\n");
        }
        page += config.trailer.as_deref().unwrap();
        let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
        fs::write(out.join("agentcg.h"), &page).unwrap();
        make_manual(&page, &out.join("man"));
    }

    fn make_manual(header: &str, out: &Path) {
        println!("cargo::rerun-if-changed=man/make");
        for source in manual::sources() {
            println!("cargo::rerun-if-changed={source}");
        }
        // A page that is not made any more must not be found there.
        let _ = fs::remove_dir_all(out);
        for (path, text) in manual::pages(header, &env::var("CARGO_PKG_VERSION").unwrap()) {
            let path = out.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    /// The items of one kind in one file.
    fn items(base: &Config, root: &Path, file: &str, kind: ItemType) -> String {
        let mut config = base.clone();
        let prefix =
            PREFIXES.iter().find(|(with_prefix, _)| *with_prefix == file && kind == ItemType::Constants);
        config.export.prefix = prefix.map(|(_, prefix)| (*prefix).to_owned());
        (config.header, config.after_includes, config.trailer) = (None, None, None);
        // Functions name the types without "struct"; the structs that are used before they are
        // defined are declared at the top.
        config.style = if kind == ItemType::Functions { Style::Type } else { Style::Tag };
        config.export.item_types = vec![kind.clone()];
        let mut text = Vec::new();
        Builder::new().with_config(config).with_src(root.join(file)).generate().unwrap().write(&mut text);
        let text = String::from_utf8(text).unwrap();
        if kind == ItemType::Functions {
            typeset::functions(&text)
        } else {
            typeset::rows(&text).replace("};\n/*", "};\n\n/*")
        }
    }

    /// The values in the `Default` of a struct, in the order of its fields. The name of a constant gets its prefix.
    fn defaults(source: &str, name: &str) -> String {
        let (_, default) = source.split_once(&format!("impl Default for {name} {{\n")).unwrap();
        let (default, _) = default.split_once("\n}\n").unwrap();
        let values =
            default.split([',', '{', '}']).filter_map(|field| Some(field.split_once(": ")?.1.trim()));
        let in_c = |value: &str| match value.starts_with(char::is_alphabetic) {
            true => format!("AGENTCG_{value}"),
            false => value.to_owned(),
        };
        values.map(in_c).collect::<Vec<_>>().join(", ")
    }

    /// The version macros. Cargo.toml is the only source of the version.
    fn version() -> String {
        ["MAJOR", "MINOR", "PATCH"]
            .map(|part| {
                let number = env::var(format!("CARGO_PKG_VERSION_{part}")).unwrap();
                format!("#define AGENTCG_VERSION_{part} {number}")
            })
            .join("\n")
    }
}

/// cbindgen gives each comment three lines or more. In the header a comment of one line stands behind its code.
#[cfg(feature = "header")]
mod typeset {
    const WIDTH: usize = 112;

    /// A line of code with the comment that stood above it.
    type Row = (Vec<String>, String);

    fn read(text: &str) -> Vec<Row> {
        let (mut rows, mut comment, mut inside) = (Vec::new(), Vec::new(), None);
        for line in text.lines() {
            match line.trim() {
                "/*" => inside = Some(line.len() - "/*".len()),
                "*/" => inside = None,
                // cbindgen indents a comment like its code, and begins each line with a space more. What is indented
                // further is a list.
                remark => match (inside, remark) {
                    (Some(indent), _) => {
                        comment.push(line.get(indent + 1..).unwrap_or_default().trim_end().to_owned())
                    }
                    (None, "") => {}
                    _ => rows.push((std::mem::take(&mut comment), line.replace("        ", "\t"))),
                },
            }
        }
        rows
    }

    /// `/* one line */`, or several with a star before each.
    fn above(indent: &str, comment: &[String]) -> String {
        if comment.is_empty() {
            return String::new();
        }
        let text = comment.join(&format!("\n{indent} * ")).replace(" * \n", " *\n");
        format!("{indent}/* {text} */\n")
    }

    /// Constants or structs: values in one column, comments of one line in another behind the code.
    pub fn rows(text: &str) -> String {
        let mut rows = read(text);
        let value = |code: &str| code.strip_prefix("#define ").and_then(|rest| rest.find(' '));
        let widest = rows.iter().filter_map(|(_, code)| value(code)).max().unwrap_or(0);
        for (_, code) in &mut rows {
            if let Some(at) = value(code) {
                code.insert_str("#define ".len() + at, &" ".repeat(widest - at));
            }
        }
        let ends = |code: &str| code.replace('\t', "        ").len();
        let remarked = rows.iter().filter(|(comment, code)| comment.len() == 1 && !opens(code));
        let column = remarked.map(|(_, code)| ends(code)).max().unwrap_or(0);
        let mut page = String::new();
        for (comment, code) in &rows {
            match comment.as_slice() {
                [remark] if !opens(code) && column + remark.len() + 8 <= WIDTH => {
                    let gap = " ".repeat(column - ends(code));
                    page += &format!("{code}{gap}  /* {remark} */\n");
                }
                _ => {
                    let indent = if code.starts_with('\t') { "\t" } else { "" };
                    page += &format!("{}{code}\n", above(indent, comment));
                }
            }
        }
        page
    }

    fn opens(code: &str) -> bool {
        code.ends_with('{')
    }

    /// Functions: the comment above, a blank line between them.
    pub fn functions(text: &str) -> String {
        let mut page = String::new();
        for (comment, code) in read(text) {
            if !comment.is_empty() && !page.is_empty() {
                page.push('\n');
            }
            page += &format!("{}{code}\n", above("", &comment));
        }
        page
    }
}
