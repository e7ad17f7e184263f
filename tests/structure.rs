// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drawings of the modules at the top of src/lib.rs and of some mod.rs match the code.

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

/// Returns the modules of the drawing with the numbers of their lines, the topmost first.
fn drawing(text: &str) -> HashMap<String, usize> {
    let drawn = text.split("//! ```text\n").nth(1).unwrap().split("//! ```\n").next().unwrap();
    let mut lines = HashMap::new();
    for (number, line) in drawn.lines().enumerate() {
        // Two or more spaces end the names.
        let names = line.trim_start_matches("//! ").split("  ").next().unwrap();
        for name in names.split(' ') {
            assert!(lines.insert(name.to_owned(), number).is_none(), "{name} is drawn twice");
        }
    }
    lines
}

/// Returns the names that follow `root`, which is `crate::` or `super::`, in the code of a file without its
/// comments and tests.
fn used(text: &str, root: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let code: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap()).collect();
    let code = code.join("\n");
    let mut names = Vec::new();
    for after in code.split(root).skip(1) {
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

/// Returns the module at the top of src/ to which a file belongs, or none for lib.rs, programs and tests.
fn module_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(src()).unwrap().to_str().unwrap();
    let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
    let is_test = inside.ends_with("tests.rs") || inside.contains("tests/") || inside.ends_with("kernels.rs");
    (module != "lib" && module != "bin" && !is_test).then(|| module.to_owned())
}

#[test]
fn every_module_is_in_the_drawing_and_uses_only_those_below_it() {
    let lines = drawing(&fs::read_to_string(src().join("lib.rs")).unwrap());
    let mut wrong = Vec::new();
    let mut found = HashMap::new();
    for file in sources(&src()) {
        let Some(module) = module_of(&file) else { continue };
        let Some(own) = lines.get(&module) else {
            wrong.push(format!("src/{module} is not in the drawing of src/lib.rs"));
            continue;
        };
        for name in
            used(&fs::read_to_string(&file).unwrap(), "crate::").into_iter().filter(|name| *name != module)
        {
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
        *found.entry(module).or_insert(0) += 1;
    }
    assert_eq!(found.len(), lines.len(), "the drawing names a module that does not exist");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_of_a_drawn_module_uses_only_those_below_it() {
    let mut wrong = Vec::new();
    let mut drawn = 0;
    for top in sources(&src()).into_iter().filter(|file| file.ends_with("mod.rs")) {
        let text = fs::read_to_string(&top).unwrap();
        if !text.contains("//! ```text\n") {
            continue;
        }
        drawn += 1;
        let lines = drawing(&text);
        for file in sources(top.parent().unwrap()).into_iter().filter(|file| *file != top) {
            let Some(name) = file.parent().filter(|dir| *dir == top.parent().unwrap()).and(file.file_stem())
            else {
                continue;
            };
            let name = name.to_str().unwrap();
            if name == "tests" {
                continue;
            }
            let Some(own) = lines.get(name) else {
                wrong.push(format!("{} is not in the drawing of {}", file.display(), top.display()));
                continue;
            };
            for other in used(&fs::read_to_string(&file).unwrap(), "super::") {
                match lines.get(&other) {
                    Some(line) if line > own => {}
                    Some(_) => wrong.push(format!("{} uses {other}, which is not below it", file.display())),
                    None => {
                        wrong.push(format!("{} uses {other} of mod.rs, which is above it", file.display()))
                    }
                }
            }
        }
    }
    assert!(drawn > 1, "the drawings of place and systemd are not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
