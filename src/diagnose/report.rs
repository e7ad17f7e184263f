// SPDX-License-Identifier: MIT OR Apache-2.0
//! The diagnosis as plain text: the verdict, where the process is, the places, the features and the remedies.

use super::features::NAMES;
use super::remedy::remedies;
use super::surroundings::Surroundings;
use crate::cgroupfs::controllers::Controllers;
use crate::place::{Kind, Outcome, Survey};
use std::fmt;

/// The width of a line, in columns.
const WIDTH: usize = 100;

/// The parts of the diagnosis that the text describes.
pub struct Report<'a> {
    /// What the chain has found.
    pub survey: &'a Survey<u64>,
    /// The facts of the system.
    pub surroundings: &'a Surroundings,
    /// The controllers whose limits would work.
    pub controllers: Controllers,
    /// The features, as bits of [`super::feature`].
    pub features: u64,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict(f)?;
        self.own_cgroup(f)?;
        self.places(f)?;
        self.abilities(f)?;
        self.what_to_do(f)
    }
}

impl Report<'_> {
    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.surroundings.missing;
        match &self.survey.verdict {
            Err(e) => wrapped(f, "", &format!("No agents can be made here: {e}.")),
            Ok(_) if missing.is_empty() => {
                writeln!(f, "Agents can be made here, with limits on {}.", listed(self.controllers))
            }
            Ok(_) if self.controllers.is_empty() => {
                writeln!(f, "Agents can be made here, but without limits: no controller is available.")
            }
            Ok(_) => writeln!(f, "Agents can be made here, but without limits on {}.", listed(missing)),
        }
    }

    fn own_cgroup(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = self.surroundings;
        writeln!(f, "\nWhere this process is")?;
        let exhausted = matches!(&self.survey.verdict, Err(e) if e.reason().is_none());
        let unknown = if exhausted {
            "not known"
        } else if here.proc {
            "in no cgroup2 hierarchy"
        } else {
            "not known: /proc is not mounted"
        };
        let own = here.own_cgroup.as_deref().map(one_line);
        row(f, "own cgroup", own.as_deref().unwrap_or(unknown))?;
        let mount = match &here.mount_point {
            None => "no mount shows that cgroup".to_owned(),
            Some(point) => {
                let mut text = format!("cgroup2 at {}", one_line(point.as_bytes()));
                text += if here.read_only { ", read-only" } else { "" };
                text += if here.nsdelegate { ", nsdelegate" } else { "" };
                text + if here.namespace_root { ", the root of a namespace" } else { "" }
            }
        };
        row(f, "mount", &mount)?;
        if here.v1 {
            row(f, "v1", "controllers are in v1 hierarchies")?;
        }
        row(f, "uid", &here.uid.to_string())
    }

    fn places(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.survey.links.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nPlaces, in the order in which they are tried")?;
        let chosen = self.survey.verdict.as_ref().ok().map(|(number, _)| *number);
        for (number, link) in self.survey.links.iter().enumerate() {
            let text = match &link.outcome {
                Outcome::NotApplicable(why) => format!("no: {why}"),
                Outcome::Refused(e) => format!("no: {e}"),
                Outcome::Usable(candidate) => {
                    let mark = if chosen == Some(number) { "this one" } else { "would do" };
                    let how = match candidate.kind() {
                        Kind::Systemd => ", which systemd would make",
                        _ if candidate.must_move_caller() => {
                            ", from which this process would move to the child supervisor"
                        }
                        _ => "",
                    };
                    format!("{mark}: {}{how}", one_line(candidate.path()))
                }
            };
            row(f, link.name, &text)?;
        }
        Ok(())
    }

    fn abilities(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if chosen_exists(self.survey) {
            writeln!(f, "\nControllers")?;
            row(f, "available", &or_none(listed(self.controllers)))?;
            row(f, "missing", &or_none(listed(self.surroundings.missing)))?;
        }
        writeln!(f, "\nFeatures of the kernel and of systemd")?;
        let names = |there| {
            let names = NAMES.iter().filter(|(_, bit)| (self.features & bit != 0) == there);
            or_none(names.map(|(name, _)| *name).collect::<Vec<_>>().join(", "))
        };
        row(f, "found", &names(true))?;
        row(f, "not found", &names(false))
    }

    fn what_to_do(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nWhat to do")?;
        let all = remedies(self.surroundings);
        if all.is_empty() {
            return writeln!(f, "  Nothing.");
        }
        for (number, remedy) in all.iter().enumerate() {
            let start = if all.len() == 1 { "  ".to_owned() } else { format!("  {}. ", number + 1) };
            wrapped(f, &start, &remedy.what)?;
            writeln!(f)?;
            for line in remedy.lines.iter().flat_map(|line| line.split('\n')) {
                writeln!(f, "{}", format!("        {line}").trim_end())?;
            }
            if number + 1 < all.len() {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

fn chosen_exists(survey: &Survey<u64>) -> bool {
    survey.verdict.as_ref().is_ok_and(|(number, _)| survey.usable(*number).is_some())
}

/// The names of controllers, such as "memory, pids and cpu".
fn listed(set: Controllers) -> String {
    let text = set.to_string().replace(' ', ", ");
    match text.rsplit_once(", ") {
        Some((before, last)) => format!("{before} and {last}"),
        None => text,
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

/// A whole path on one line. Control characters are shown as `?`.
fn one_line(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    wrapped(f, &format!("  {name:<22}"), text)
}

/// Write `text` in lines of [`WIDTH`] columns. Later lines are indented by the length of `start`. No word is broken.
fn wrapped(f: &mut fmt::Formatter<'_>, start: &str, text: &str) -> fmt::Result {
    let (mut column, mut fresh) = (start.len(), true);
    f.write_str(start)?;
    for word in text.split(' ') {
        let length = word.chars().count();
        if !fresh && column + 1 + length > WIDTH {
            write!(f, "\n{:width$}", "", width = start.len())?;
            (column, fresh) = (start.len(), true);
        }
        if !fresh {
            f.write_str(" ")?;
            column += 1;
        }
        f.write_str(word)?;
        (column, fresh) = (column + length, false);
    }
    writeln!(f)
}
