// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drawing of the modules at the top of src/lib.rs is the structure that the code has.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(sources(&path)) } else { files.push(path) }
    }
    files
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of the drawing with the number of their line, the topmost first.
fn drawing() -> HashMap<String, usize> {
    let text = fs::read_to_string(src().join("lib.rs")).unwrap();
    let drawn = text.split("//! ```text\n").nth(1).unwrap().split("//! ```\n").next().unwrap();
    let mut lines = HashMap::new();
    for (number, line) in drawn.lines().enumerate() {
        // Two spaces or more end the names.
        let names = line.trim_start_matches("//! ").split("  ").next().unwrap();
        for name in names.split(' ') {
            assert!(lines.insert(name.to_owned(), number).is_none(), "{name} is drawn twice");
        }
    }
    lines
}

/// What follows `crate::` in the code of a file, without its comments and tests.
fn used(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let code: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap()).collect();
    let code = code.join("\n");
    let mut names = Vec::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap();
                names.extend(group.split(',').map(str::trim).filter(|n| !n.is_empty()).map(first_word));
            }
            None => names.push(first_word(after)),
        }
    }
    names
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The module at the top of src/ that a file belongs to, and none for lib.rs, programs and tests.
fn module_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(src()).unwrap().to_str().unwrap();
    let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
    let is_test = inside.ends_with("tests.rs") || inside.contains("tests/") || inside.ends_with("kernels.rs");
    (module != "lib" && module != "bin" && !is_test).then(|| module.to_owned())
}

#[test]
fn every_module_is_in_the_drawing_and_uses_only_those_below_it() {
    let lines = drawing();
    let mut wrong = Vec::new();
    let mut seen = HashMap::new();
    for file in sources(&src()) {
        let Some(module) = module_of(&file) else { continue };
        let Some(own) = lines.get(&module) else {
            wrong.push(format!("src/{module} is not in the drawing of src/lib.rs"));
            continue;
        };
        for name in used(&fs::read_to_string(&file).unwrap()).into_iter().filter(|name| *name != module) {
            match lines.get(&name) {
                None => {
                    wrong.push(format!("{} uses crate::{name}, which is not in the drawing", file.display()))
                }
                Some(other) if other <= own => {
                    wrong.push(format!("{} uses crate::{name}, which is not below {module}", file.display()));
                }
                Some(_) => {}
            }
        }
        *seen.entry(module).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), lines.len(), "the drawing names a module that is not there");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
