// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checked-in header and manual pages, the generated ones and the map of exported symbols agree.

#![cfg(feature = "header")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const CHECKED_IN: &str = include_str!("../include/agentcg.h");
const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/agentcg.h"));
const MAP: &str = include_str!("../agentcg.map");

/// Returns every word that begins with agentcg_ and for whose following text `wanted` returns true.
fn names(text: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<&str> {
    text.match_indices("agentcg_")
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .filter_map(|(at, _)| {
            let rest = &text[at..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            wanted(&rest[end..]).then(|| &rest[..end])
        })
        .collect()
}

/// Returns the functions that the header declares, without those in comments.
fn declared() -> BTreeSet<&'static str> {
    let mut code = Vec::new();
    let mut rest = CHECKED_IN;
    while let Some((before, after)) = rest.split_once("/*") {
        code.extend(names(before, |next| next.starts_with('(')));
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    code.extend(names(rest, |next| next.starts_with('(')));
    code.into_iter().collect()
}

#[test]
fn the_checked_in_header_is_the_generated_one() {
    assert!(CHECKED_IN == GENERATED, "include/agentcg.h is out of date: run `make header`");
}

/// The texts of the files in the directories man1 to man9, by their paths.
fn pages(man: &Path) -> BTreeMap<String, String> {
    let sections =
        (1..10).map(|section| man.join(format!("man{section}"))).filter(|section| section.exists());
    let files =
        sections.flat_map(|section| fs::read_dir(section).unwrap()).map(|entry| entry.unwrap().path());
    let name = |file: &Path| file.strip_prefix(man).unwrap().to_str().unwrap().to_owned();
    files.map(|file| (name(&file), fs::read_to_string(&file).unwrap())).collect()
}

#[test]
fn the_checked_in_manual_pages_are_the_generated_ones() {
    let generated = pages(&Path::new(env!("OUT_DIR")).join("man"));
    let checked_in = pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("man"));
    assert!(!generated.is_empty());
    let names: BTreeSet<&String> = generated.keys().chain(checked_in.keys()).collect();
    let differ: Vec<_> =
        names.into_iter().filter(|name| generated.get(*name) != checked_in.get(*name)).collect();
    assert!(differ.is_empty(), "out of date in man/: {differ:?}: run `make header`");
}

#[test]
fn the_map_exports_what_the_header_declares() {
    assert_eq!(names(MAP, |next| next.starts_with(';')), declared());
}

#[test]
fn the_newest_node_of_the_map_is_no_newer_than_the_release() {
    let node = MAP.lines().rev().find_map(|line| line.strip_prefix("AGENTCG_")).unwrap();
    let node: Vec<u32> = node.trim_end_matches([' ', '{']).split('.').map(|n| n.parse().unwrap()).collect();
    let part = |text: &str| text.parse::<u32>().unwrap();
    let release = [part(env!("CARGO_PKG_VERSION_MAJOR")), part(env!("CARGO_PKG_VERSION_MINOR"))];
    assert!(node <= release.to_vec(), "AGENTCG_{node:?} in agentcg.map, {release:?} in Cargo.toml");
}
