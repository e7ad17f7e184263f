// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each name of the C interface is in every place that docs/ABI.md lists for it.
//!
//! The tests read the sources as text. A name that is left out of a place on purpose is in the list of exceptions of
//! that place, with the reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

// ---- the places -------------------------------------------------------------

/// A name that a place leaves out, and the reason.
type Exception = (&'static str, &'static str);

/// The places that lack a name, and the exceptions that no place needs.
#[derive(Default)]
struct Forgotten(Vec<String>);

impl Forgotten {
    /// Look for each of the names in one place.
    fn look<N: AsRef<str>>(
        &mut self,
        place: &str,
        names: impl IntoIterator<Item = N>,
        exceptions: &[Exception],
        is_there: impl Fn(&str) -> bool,
    ) {
        let names: Vec<N> = names.into_iter().collect();
        assert!(!names.is_empty(), "no name was found that belongs in {place}");
        for name in names.iter().map(AsRef::as_ref) {
            let is_exception = exceptions.iter().any(|(exception, _)| *exception == name);
            match (is_there(name), is_exception) {
                (false, false) => self.0.push(format!("{name} is missing in {place}")),
                (true, true) => self.0.push(format!("{name} is in {place}: it needs no exception")),
                _ => (),
            }
        }
        for (exception, _) in exceptions {
            if !names.iter().any(|name| name.as_ref() == *exception) {
                self.0.push(format!("the exception {exception} of {place} is no name"));
            }
        }
    }

    fn check(self) {
        assert!(self.0.is_empty(), "docs/ABI.md says what belongs where:\n{}", self.0.join("\n"));
    }
}

// ---- text -------------------------------------------------------------------

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The files of a directory whose names end with `end`: their paths and texts.
fn read_all(directory: &str, end: &str) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(root(directory))
        .unwrap()
        .map(|entry| format!("{directory}/{}", entry.unwrap().file_name().into_string().unwrap()))
        .filter(|path| path.ends_with(end))
        .map(|path| (path.clone(), read(&path)))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} has no {end}");
    files
}

fn texts(files: Vec<(String, String)>) -> String {
    files.into_iter().map(|(_, text)| text).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word))
}

fn first_word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// What stands between the first `from` and the next `to`.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, after) = text.split_once(from).unwrap_or_else(|| panic!("no {from:?}"));
    after.split_once(to).unwrap_or_else(|| panic!("no {to:?} after {from:?}")).0
}

/// C, C++ or Go without its comments.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        code += before;
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    code += rest;
    code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

// ---- the header -------------------------------------------------------------

struct Function {
    name: String,
    arguments: String,
    /// The comment before it, without its stars.
    comment: String,
    result: String,
}

impl Function {
    /// The name without the prefix.
    fn short(&self) -> &str {
        self.name.strip_prefix("agentcg_").unwrap()
    }

    /// Returns true if it takes a handle.
    fn is_method(&self) -> bool {
        self.arguments.starts_with("agentcg *cg")
    }
}

fn header() -> String {
    read("include/agentcg.h")
}

fn functions() -> Vec<Function> {
    let header = header();
    let mut functions = Vec::new();
    for (at, _) in header.match_indices("*/\n") {
        let (declaration, comment) = (&header[at + 3..], &header[..at]);
        let Some((head, rest)) = declaration.split_once('(') else { continue };
        let name = head.rsplit(|c| !is_word(c)).next().unwrap();
        if head.contains([';', '#', '{', '/']) || !name.starts_with("agentcg_") {
            continue;
        }
        let comment = &comment[comment.rfind("/*").unwrap() + 2..];
        let lines: Vec<&str> = comment.lines().map(|line| line.strip_prefix(" *").unwrap_or(line)).collect();
        functions.push(Function {
            name: name.to_owned(),
            arguments: rest.split_once(");").unwrap().0.to_owned(),
            comment: lines.join("\n"),
            result: head.replace("AGENTCG_MUST_CHECK", "").trim().split(' ').next().unwrap().to_owned(),
        });
    }
    // tests/header.rs compares the map with the declarations.
    let map = read("agentcg.map");
    let lines = map.lines().filter_map(|line| line.trim().strip_suffix(';'));
    let exported: BTreeSet<&str> = lines.filter(|line| line.starts_with("agentcg_")).collect();
    let described: BTreeSet<&str> = names(&functions).into_iter().collect();
    let without: Vec<_> = exported.difference(&described).collect();
    assert!(without.is_empty(), "the header has no comment before {without:?}");
    functions
}

fn names(functions: &[Function]) -> Vec<&str> {
    functions.iter().map(|function| function.name.as_str()).collect()
}

/// The names of all macros.
fn macros() -> Vec<String> {
    let header = code(&header());
    let defines =
        header.lines().filter_map(|line| line.strip_prefix('#')?.trim_start().strip_prefix("define "));
    defines.map(|rest| first_word(rest).to_owned()).collect()
}

/// The constants whose names begin with this, in the order of the header.
fn constants(prefix: &str) -> Vec<String> {
    macros().into_iter().filter(|name| name.starts_with(prefix)).collect()
}

/// The structs, each with its fields.
fn structs() -> Vec<(String, Vec<String>)> {
    let header = code(&header());
    let mut structs = Vec::new();
    for after in header.split("\nstruct ").skip(1) {
        let (name, rest) = after.split_once(" {").unwrap();
        let (fields, _) = rest.split_once("};").unwrap();
        let field = |line: &str| {
            let declaration = line.split([';', '[']).next().unwrap();
            declaration.rsplit([' ', '*']).next().unwrap().to_owned()
        };
        let lines = fields.lines().map(str::trim).filter(|line| line.contains(';'));
        structs.push((name.to_owned(), lines.map(field).collect()));
    }
    structs
}

/// The fields of a struct behind its mask.
fn fields_of(name: &str) -> Vec<String> {
    let (_, fields) = structs().into_iter().find(|(other, _)| other == name).unwrap();
    assert_eq!(fields[0], "mask");
    fields[1..].to_vec()
}

// ---- functions --------------------------------------------------------------

const FIXED: &str = "It returns a constant and has no argument.";

#[test]
fn every_function_is_in_the_tests_of_c() {
    let functions = functions();
    let mut forgotten = Forgotten::default();

    let abi = read("tests/c/abi.c");
    let abi = code(between(&abi, "} functions = {", "};"));
    forgotten.look("tests/c/abi.c, functions", names(&functions), &[], |name| has_word(&abi, name));

    let nulls = code(&read("tests/c/nulls.c"));
    let with_arguments: Vec<&str> =
        functions.iter().filter(|f| f.arguments != "void").map(|f| f.name.as_str()).collect();
    forgotten.look("tests/c/nulls.c", with_arguments, &[], |name| has_word(&nulls, name));

    // no_memory.c and stacks.c run this table.
    let calls = code(&read("tests/c/calls.c"));
    let table = between(&calls, "const struct call calls[] = {", "};");
    forgotten.look("tests/c/calls.c, calls", names(&functions), &[], |name| {
        table.contains(&format!("{{ \"{name}\","))
    });
    for user in ["no_memory.c", "stacks.c"] {
        assert!(read(&format!("tests/c/{user}")).contains("FOR_EACH_CALL("), "{user} does not run calls.c");
    }

    let sizes = code(&read("tests/c/sizes.c"));
    let table = between(&sizes, "} outputs[] = {", "};");
    let structs: Vec<String> = structs().into_iter().map(|(name, _)| name).collect();
    let fills = |f: &&Function| {
        f.arguments.contains("size")
            && structs.iter().any(|name| f.arguments.contains(&format!("{name} *ret_")))
    };
    let filling: Vec<&str> = functions.iter().filter(fills).map(Function::short).collect();
    forgotten.look("tests/c/sizes.c, outputs", filling, &[], |name| {
        table.contains(&format!("{{ {name}, sizeof("))
    });

    let stress = code(&read("tests/c/stress.c"));
    let exceptions = [("agentcg_version_number", FIXED), ("agentcg_version_string", FIXED)];
    forgotten.look("tests/c/stress.c", names(&functions), &exceptions, |name| has_word(&stress, name));

    let acts = code(&read("tests/faults/acts.c"));
    forgotten.look("tests/faults/acts.c", functions.iter().map(Function::short), &[], |name| {
        acts.contains(&format!("\tOF({name}, "))
    });
    forgotten.check();
}

#[test]
fn every_function_is_in_cpp() {
    let functions = functions();
    let mut forgotten = Forgotten::default();

    let wrapper = code(&read("include/agentcg.hpp"));
    let exceptions = [
        ("agentcg_version_number", "C++ calls the function of C, which cannot fail."),
        ("agentcg_version_string", "C++ calls the function of C, which cannot fail."),
    ];
    forgotten.look("include/agentcg.hpp", names(&functions), &exceptions, |name| has_word(&wrapper, name));

    let ownership = code(&read("tests/cpp/ownership.cpp"));
    let methods = functions.iter().filter(|f| f.is_method()).map(Function::short);
    let exceptions = [
        ("free", "An empty object may be freed."),
        ("move_self", "It does not throw. The test checks its result after the REFUSED lines."),
    ];
    forgotten.look("tests/cpp/ownership.cpp, REFUSED", methods, &exceptions, |name| {
        ownership.contains(&format!("REFUSED({name}("))
    });

    let tests = code(&texts(read_all("tests/cpp", ".cpp")));
    let exceptions = [
        ("new", "The method is group::make."),
        ("new_with", "The method is group::make_with."),
        ("diagnose_new", "The function is an overload of diagnose."),
        ("version_number", "The wrapper has none."),
        ("version_string", "The wrapper has none."),
    ];
    forgotten.look("tests/cpp/*.cpp", functions.iter().map(Function::short), &exceptions, |name| {
        has_word(&tests.replace(&format!("agentcg_{name}("), ""), name) && tests.contains(&format!("{name}("))
    });
    forgotten.check();
}

#[test]
fn every_function_is_in_go() {
    let mut forgotten = Forgotten::default();
    let (tests, sources): (Vec<_>, Vec<_>) =
        read_all("go", ".go").into_iter().partition(|(path, _)| path.ends_with("_test.go"));

    let package = code(&texts(sources));
    let exceptions = [
        ("agentcg_new", "New calls agentcg_new_with, which does the same with more options."),
        ("agentcg_diagnose", "Diagnose calls agentcg_diagnose_new, which does the same without limits."),
        ("agentcg_move_self", "A Go program has threads and cannot run code between fork and execve."),
        ("agentcg_spawn_result", "Spawn waits until the program begins, as exec.Cmd.Start does."),
        (
            "agentcg_terminate",
            "Terminate calls the other functions, so that a context can end the grace period.",
        ),
        ("agentcg_version_number", "Version returns the text."),
    ];
    forgotten
        .look("go/*.go", names(&functions()), &exceptions, |name| package.contains(&format!("C.{name}(")));

    let tests = texts(tests);
    let verbs = between(&tests, "func verbs(", "\n}\n");
    let methods: Vec<&str> = package
        .split("\nfunc (g *Group) ")
        .skip(1)
        .map(|after| after.split('{').next().unwrap())
        .filter(|signature| signature.starts_with(char::is_uppercase) && has_word(signature, "error"))
        .map(first_word)
        .collect();
    forgotten.look("go/misuse_test.go, verbs", methods, &[], |name| verbs.contains(&format!("\"{name}\":")));
    forgotten.check();
}

#[test]
fn every_function_is_in_the_readme() {
    let readme = read("README.md");
    let section = between(&readme, "\n## What it does\n", "\n## ");
    let mut forgotten = Forgotten::default();
    forgotten.look("README.md, What it does", names(&functions()), &[], |name| {
        section.contains(&format!("`{name}`"))
    });
    forgotten.check();
}

#[test]
fn every_function_in_src_ffi_is_in_the_header() {
    let sections = read("build.rs");
    let sections = between(&sections, "const SECTIONS", "];\n");
    let declared = functions();
    let mut forgotten = Forgotten::default();
    for (path, text) in read_all("src/ffi", ".rs") {
        let exported: Vec<&str> = text.split("extern \"C\" fn ").skip(1).map(first_word).collect();
        if !exported.is_empty() {
            forgotten
                .look("build.rs, SECTIONS", [&path], &[], |path| sections.contains(&format!("\"{path}\"")));
            forgotten
                .look("include/agentcg.h", exported, &[], |name| declared.iter().any(|f| f.name == name));
        }
    }
    forgotten.check();
}

// ---- the codes of a function ------------------------------------------------

type Codes = BTreeSet<String>;

/// The codes in text, such as "-EACCES and -ENODEV".
fn codes_in(text: &str) -> Codes {
    text.split("-E").skip(1).map(|after| format!("E{}", first_word(after))).collect()
}

/// The codes at the beginnings of the lines of a list.
fn codes_of_list(text: &str, indent: &str) -> Codes {
    let mut codes = Codes::new();
    for row in text.lines().filter_map(|line| line.strip_prefix(indent)).filter(|row| row.starts_with("-E")) {
        for word in row.split(' ').take_while(|word| word.starts_with("-E")) {
            codes.insert(word.trim_matches(['-', ',']).to_owned());
        }
    }
    codes
}

/// The codes that every function may return unless its comment says otherwise.
fn common() -> Codes {
    let header = header();
    let list = between(
        &header,
        " *   return unless its comment says otherwise, are:\n",
        "The comment of a function",
    );
    codes_of_list(list, " *   ")
}

/// The codes that the comment of a function lists.
fn codes_of_comment(functions: &[Function], function: &Function) -> Codes {
    let sentences = function.comment.replace("\n ", " ");
    if let Some((_, only)) = sentences.split_once("only error is ") {
        return codes_in(only.split('.').next().unwrap());
    }
    let mut codes = match sentences.split_once("Errors, as ") {
        Some((_, other)) => {
            let other = functions.iter().find(|f| f.name == first_word(other)).unwrap();
            codes_of_comment(functions, other)
        }
        None => common(),
    };
    codes.extend(codes_of_list(&function.comment, "   "));
    if let Some((before, _)) = sentences.split_once("never returned") {
        let sentence = before.rsplit(['.', ';', ':']).next().unwrap();
        for never in codes_in(sentence) {
            assert!(codes.remove(&never), "{}: {never} need not be excluded", function.name);
        }
    }
    codes
}

/// The names between brackets, without `Errno::`.
fn names_in_list(list: &str) -> Codes {
    let names = list.split(',').map(|name| name.trim().trim_start_matches("Errno::"));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The codes that the body of a function passes to the panic boundary, or none if it does not call the boundary.
fn codes_of_body(body: &str) -> Option<Codes> {
    let (_, call) = body.split_once("boundary::call")?;
    let list = match body.split_once("let codes = [") {
        Some((_, list)) => {
            assert!(call.contains("&codes, "), "the list is not passed: {body}");
            list
        }
        None => call.split_once("&[").unwrap_or_else(|| panic!("no list: {body}")).1,
    };
    Some(names_in_list(list.split(']').next().unwrap()))
}

#[test]
fn the_codes_in_the_comment_of_a_function_are_those_that_the_panic_boundary_lets_through() {
    let exceptions: &[Exception] = &[
        ("agentcg_version_number", FIXED),
        ("agentcg_version_string", FIXED),
        ("agentcg_is_available", "It returns 0 or 1 and no error."),
        ("agentcg_fd", "It is async-signal-safe, and its body cannot panic: it reads a field of the handle."),
    ];
    let functions = functions();
    let boundary = read("src/ffi/boundary.rs");
    let mut always = names_in_list(between(between(&boundary, "const COMMON: ", ";\n\n"), "= [", "]"));
    always.insert("ENOTRECOVERABLE".to_owned());

    let sources = texts(read_all("src/ffi", ".rs"));
    let mut wrong = Vec::new();
    for function in &functions {
        let body = between(&sources, &format!("extern \"C\" fn {}(", function.name), "\n}\n");
        let passed = codes_of_body(body);
        if exceptions.iter().any(|(name, _)| *name == function.name) {
            let is_needed = passed.is_none_or(|codes| codes.is_empty());
            assert!(is_needed, "{} needs no exception", function.name);
            continue;
        }
        let Some(mut passed) = passed else {
            wrong.push(format!("{} does not call the panic boundary", function.name));
            continue;
        };
        let listed = match function.result.as_str() {
            "void" => Codes::new(),
            _ => codes_of_comment(&functions, function),
        };
        // A function with a list that lacks these returns none of them.
        if always.iter().any(|code| listed.contains(code)) {
            passed.extend(always.iter().cloned());
        }
        for code in listed.difference(&passed) {
            wrong.push(format!("{}: the comment lists {code}, and src/ffi/ does not", function.name));
        }
        for code in passed.difference(&listed) {
            wrong.push(format!("{}: src/ffi/ lists {code}, and the comment does not", function.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The programs that CMake installs.
fn installed_programs() -> Vec<String> {
    let cmake = read("examples-c/CMakeLists.txt");
    let targets = between(&cmake, "install(TARGETS ", " RUNTIME");
    targets.split(' ').map(str::to_owned).collect()
}

#[test]
fn every_function_and_program_has_a_manual_page() {
    let cannot_fail = ["agentcg_version_number", "agentcg_version_string", "agentcg_is_available"];
    let functions = functions();
    let mut forgotten = Forgotten::default();
    let is_there = |path: String, name: &str| {
        fs::read_to_string(root(&path)).is_ok_and(|page| page.contains(&format!("\n.Nm {name}\n")))
    };
    forgotten.look("man/man3", names(&functions), &[], |name| is_there(format!("man/man3/{name}.3"), name));
    forgotten
        .look("man/man1", installed_programs(), &[], |name| is_there(format!("man/man1/{name}.1"), name));
    forgotten.check();

    for function in functions {
        let page = read(&format!("man/man3/{}.3", function.name));
        let errors = between(&page, ".Sh ERRORS\n", ".Sh SEE ALSO\n");
        let listed: Codes =
            errors.lines().filter_map(|line| line.strip_prefix(".It Er \\-")).map(str::to_owned).collect();
        let expected = match function.result == "void" || cannot_fail.contains(&function.name.as_str()) {
            true => Codes::new(),
            false => codes_of_comment(&self::functions(), &function),
        };
        assert_eq!(listed, expected, "the errors in man/man3/{}.3", function.name);
        assert!(page.contains("\n.Sh RETURN VALUE\n"), "man/man3/{}.3 has no return value", function.name);
    }
}

#[test]
fn every_constant_and_field_is_in_a_manual_page() {
    let pages = texts(read_all("man/man3", ".3")) + &read("man/man7/agentcg.7");
    let items: Vec<&str> = pages.lines().filter_map(|line| line.strip_prefix(".It ")).collect();
    let exceptions = [
        ("AGENTCG_H", "It guards against a second inclusion and has no value."),
        ("AGENTCG_MUST_CHECK", "It is an attribute of the compiler."),
    ];
    let mut forgotten = Forgotten::default();
    forgotten.look("man/", macros(), &exceptions, |name| {
        items.iter().any(|item| item.strip_prefix("Dv ").is_some_and(|rest| first_word(rest) == name))
    });
    for (name, fields) in structs() {
        assert!(pages.contains(&format!("\n.Ss struct {name}\n")), "{name} is in no manual page");
        let page = between(&pages, &format!("\n.Ss struct {name}\n"), "\n.S");
        forgotten.look(&format!("man/, struct {name}"), fields, &[], |field| {
            let item = format!("Va {field}");
            page.lines().any(|line| line.starts_with(".It ") && has_word(line, &item))
        });
    }
    forgotten.check();
}

// ---- constants and structs --------------------------------------------------

#[test]
fn every_macro_has_the_prefix_and_its_value_is_in_abi_c() {
    let exceptions = [
        ("AGENTCG_H", "It guards against a second inclusion and has no value."),
        ("AGENTCG_MUST_CHECK", "It is an attribute of the compiler."),
        ("AGENTCG_SPAWN_OPTIONS_INIT", "It initialises a struct. tests/c/spawning.h uses it."),
        ("AGENTCG_VERSION_MAJOR", "Each release changes it."),
        ("AGENTCG_VERSION_MINOR", "Each release changes it."),
        ("AGENTCG_VERSION_PATCH", "Each release changes it."),
    ];
    let abi = code(&read("tests/c/abi.c"));
    let macros: BTreeSet<String> = macros().into_iter().collect();
    for name in &macros {
        assert!(
            name.starts_with("AGENTCG_"),
            "{name} has no prefix: is the file that defines it missing in build.rs, PREFIXES?"
        );
    }
    let mut forgotten = Forgotten::default();
    forgotten.look("tests/c/abi.c", &macros, &exceptions, |name| {
        abi.contains(&format!("IS({name},")) || abi.contains(&format!("BIT({name},"))
    });
    forgotten.check();
}

#[test]
fn every_struct_and_field_has_a_row_in_abi_c() {
    let abi = code(&read("tests/c/abi.c"));
    let mut forgotten = Forgotten::default();
    for (name, fields) in structs() {
        forgotten.look("tests/c/abi.c", [&name], &[], |name| abi.contains(&format!("SIZE({name}, ")));
        forgotten.look(&format!("tests/c/abi.c, {name}"), fields, &[], |field| {
            abi.contains(&format!("AT({name}, {field}, "))
        });
    }
    forgotten.check();
}

/// The name in Go of each constant of C that a file of Go defines.
fn go_names(text: &str) -> Vec<(String, String)> {
    let definitions = text.lines().filter_map(|line| line.split_once(" = C.AGENTCG_"));
    definitions
        .map(|(name, c)| (format!("AGENTCG_{}", first_word(c)), first_word(name.trim()).to_owned()))
        .collect()
}

#[test]
fn every_stat_is_in_go() {
    let go = go_names(&code(&read("go/stats.go")));
    let mut forgotten = Forgotten::default();
    let stats = constants("AGENTCG_STAT_");
    forgotten.look("go/stats.go", &stats, &[], |name| go.iter().any(|(c, _)| c == name));
    forgotten.check();
}

#[test]
fn every_stats_field_is_in_the_tests() {
    let measured = read("tests/behaviour/common/measured.rs");
    let rows = between(&measured, "pub const FIELDS", "];\n\n");
    let go = code(&read("go/stats.go"));
    let time = [(
        "time_ns",
        "It is the time of the reading. tests/behaviour/stats/availability.rs compares it with the clock.",
    )];
    let fields = fields_of("agentcg_stats");
    let mut forgotten = Forgotten::default();
    forgotten.look("tests/behaviour/common/measured.rs, FIELDS", &fields, &time, |name| {
        rows.contains(&format!("(\"{name}\", "))
    });
    forgotten.look("go/stats.go", &fields, &[], |name| has_word(&go, &format!("c.{name}")));
    forgotten.check();
}

#[test]
fn every_limit_is_known_and_in_the_tests() {
    let bits = constants("AGENTCG_LIMIT_");
    let fields = fields_of("agentcg_limits");
    let mut forgotten = Forgotten::default();

    let ffi = read("src/ffi/limits.rs");
    let known = between(&ffi, "const KNOWN: u64 = ", ";");
    assert_eq!(
        known,
        format!("({} << 1) - 1", bits.last().unwrap()),
        "src/ffi/limits.rs does not know the last limit"
    );
    let forgotten_bits = between(&ffi, "fn no_bit_is_forgotten(", "\n}\n");
    forgotten
        .look("src/ffi/limits.rs, no_bit_is_forgotten", &bits, &[], |name| has_word(forgotten_bits, name));
    forgotten.look("src/ffi/limits.rs, no_bit_is_forgotten", &fields, &[], |name| {
        forgotten_bits.contains(&format!("(\"{name}\", "))
    });

    // This test finds the fields by their order.
    let errors = code(&read("tests/c/errors_new.c"));
    let list = between(&errors, "fields[] = {", "};");
    let named: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(named, fields, "tests/c/errors_new.c, a_field_is_set_without_its_bit");

    let limits = read("src/limits/mod.rs");
    let settings = between(&limits, "fn settings(", "\n    }\n");
    let files: Vec<&str> =
        settings.split("add(c\"").skip(1).map(|after| after.split('"').next().unwrap()).collect();
    let relimit = read("tests/behaviour/limits_change.rs");
    let pictured = between(&relimit, "const FILES", "];");
    let io =
        [("io.weight", "Not every kernel has the file. tests/behaviour/limits_contention/io.rs tests it.")];
    forgotten.look("tests/behaviour/limits_change.rs, FILES", files, &io, |name| {
        pictured.contains(&format!("\"{name}\""))
    });

    let wrapper = read("include/agentcg/values.hpp");
    let go = code(&read("go/limits.go"));
    forgotten.look("include/agentcg/values.hpp", &bits, &[], |name| has_word(&wrapper, name));
    forgotten.look("go/limits.go", &bits, &[], |name| has_word(&go, &format!("C.{name}")));
    forgotten.check();
}

#[test]
fn every_event_is_known_and_has_its_names() {
    let events = constants("AGENTCG_EVENT_");
    let mut forgotten = Forgotten::default();

    let ffi = read("src/ffi/events.rs");
    let known = between(&ffi, "const KNOWN: u64 = ", ";");
    assert_eq!(
        known,
        events.last().unwrap().replace("AGENTCG_EVENT_", "(events::") + " << 1) - 1",
        "src/ffi/events.rs does not know the last event"
    );

    let go = code(&read("go/events.go"));
    let mut in_go = go_names(&go);
    in_go.retain(|(c, _)| c.starts_with("AGENTCG_EVENT_"));
    forgotten.look("go/events.go", &events, &[], |name| in_go.iter().any(|(c, _)| c == name));
    let named = between(&go, "var eventNames = ", "\n}\n");
    forgotten
        .look("go/events.go, eventNames", in_go.iter().map(|(_, go)| go), &[], |name| has_word(named, name));

    let example = code(&read("examples-c/events.c"));
    let sets = between(&example, "#define STATES", "static const struct");
    let named = between(&example, "names[] = {", "};");
    forgotten
        .look("examples-c/events.c, STATES or NEED_CONTROLLERS", &events, &[], |name| has_word(sets, name));
    forgotten.look("examples-c/events.c, names", &events, &[], |name| has_word(named, name));

    let tests = read("tests/behaviour/events.rs")
        + &texts(read_all("tests/behaviour/events", ".rs"))
        + &read("tests/behaviour/stalls.rs");
    let after_removal = read("tests/behaviour/events/attributes.rs");
    let bare = |name: &str| name.strip_prefix("AGENTCG_EVENT_").unwrap().to_owned();
    let bits: Vec<String> = events.iter().map(|name| bare(name)).collect();
    forgotten.look("tests/behaviour/events/*.rs", &bits, &[], |name| has_word(&tests, name));
    const STATE: &str = "It is a state of a living group. None is reported after the removal.";
    let states = [("POPULATED", STATE), ("FROZEN", STATE), ("THAWED", STATE), ("STALLED", STATE)];
    forgotten
        .look("tests/behaviour/events/attributes.rs", &bits, &states, |name| has_word(&after_removal, name));
    forgotten.check();
}

#[test]
fn every_flag_is_known_and_in_the_tests() {
    let mut forgotten = Forgotten::default();
    let spawn = read("src/ffi/spawn.rs");
    let known = between(&spawn, "let known = ", ";");
    let acts = code(&read("tests/faults/acts.c"));
    let mut flags = constants("AGENTCG_SPAWN_");
    flags.retain(|name| name != "AGENTCG_SPAWN_OPTIONS_INIT");
    forgotten.look("src/ffi/spawn.rs, known", &flags, &[], |name| has_word(known, name));
    forgotten.look("tests/faults/acts.c", &flags, &[], |name| has_word(&acts, name));

    let new = read("src/ffi/new.rs");
    let known = between(&new, "check_flags(\n", ")?;");
    let go = code(&read("go/group.go"));
    let flags = constants("AGENTCG_NEW_");
    forgotten.look("src/ffi/new.rs, check_flags", &flags, &[], |name| has_word(known, name));
    forgotten.look("go/group.go", &flags, &[], |name| has_word(&go, &format!("C.{name}")));
    forgotten.check();
}

#[test]
fn every_reason_has_its_names() {
    let reasons = constants("AGENTCG_WHY_");
    let mut forgotten = Forgotten::default();

    let ffi = read("src/ffi/error.rs");
    forgotten
        .look("src/ffi/error.rs, assertions", &reasons, &[], |name| ffi.contains(&format!("== {name})")));
    let values = read("include/agentcg/values.hpp");
    let why = between(&values, "enum class why", "};");
    forgotten.look("include/agentcg/values.hpp, why", &reasons, &[], |name| {
        let lower = name.strip_prefix("AGENTCG_WHY_").unwrap().to_lowercase();
        why.contains(&format!("\t{lower} = {name},"))
    });
    let go = code(&read("go/errors.go"));
    let in_go = go_names(&go);
    forgotten.look("go/errors.go", &reasons, &[], |name| in_go.iter().any(|(c, _)| c == name));
    let words = between(&go, "var reasons = ", "\n}\n");
    forgotten
        .look("go/errors.go, reasons", in_go.iter().map(|(_, go)| go), &[], |name| has_word(words, name));

    let doctor = code(&read("examples-c/agentcg-doctor.c"));
    let obstacles = between(&doctor, "obstacles[] = {", "};");
    let exceptions = [
        ("AGENTCG_WHY_NOT_CONTAINED", "Only agentcg_spawn() returns it."),
        ("AGENTCG_WHY_NO_GUARD", "agentcg_diagnose() starts no guard."),
        ("AGENTCG_WHY_NOT_EXECUTED", "Only agentcg_spawn() returns it."),
    ];
    forgotten.look("examples-c/agentcg-doctor.c, obstacles", &reasons, &exceptions, |name| {
        has_word(obstacles, name)
    });
    forgotten.check();
}
