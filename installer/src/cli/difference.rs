//! A plan as a diff of the site against the bundle: for people, on 80 columns, in the order in which the steps run.

use std::collections::BTreeMap;

use crate::plan::{Plan, Step};

/// What a terminal has at least. Only a single word that is longer goes beyond it: a path is copied as it is.
const COLUMNS: usize = 80;
/// Where the words of a step begin.
const INDENT: usize = 11;

/// Every step, in groups of one target; `+` is added, `~` is changed, `-` is removed, `>` is run.
pub(super) fn steps(plan: &Plan) -> String {
    let mut unchanged: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &plan.unchanged {
        let target = line.split_once(": ").map_or("scripts", |(target, _)| target);
        let count = unchanged.entry(target).or_default();
        *count = count.saturating_add(1);
    }
    let mut text = String::new();
    let mut group = "";
    for (number, step) in plan.steps.iter().enumerate() {
        if step.target() != group {
            group = step.target();
            text.push_str(&format!("  {group}\n"));
        }
        let number = number.saturating_add(1);
        let head = format!("    {} {number:>3}. ", step.sign());
        text.push_str(&wrapped(&head, &step.action()));
        if let Some((old, new)) = step.values() {
            text.push_str(&format!("{:INDENT$}{old} → {new}\n", ""));
        }
    }
    if !unchanged.is_empty() {
        let counts: Vec<String> =
            unchanged.iter().map(|(target, count)| format!("{count} {target}")).collect();
        text.push_str(&wrapped("  = ", &format!("unchanged: {}", counts.join(", "))));
    }
    text
}

/// Breaks a text between its words; the lines after the first begin where its words did.
fn wrapped(head: &str, text: &str) -> String {
    let indent = head.chars().count();
    let mut lines = String::from(head);
    let mut column = indent;
    let mut first = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !first && column.saturating_add(length).saturating_add(1) > COLUMNS {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if !first {
            lines.push(' ');
            column = column.saturating_add(1);
        }
        lines.push_str(word);
        column = column.saturating_add(length);
        first = false;
    }
    lines.push('\n');
    lines
}

impl Step {
    /// What becomes of its subject, in one character.
    fn sign(&self) -> char {
        match self {
            Self::Unwrite(_) | Self::Unlink(_) | Self::Withdraw(_) => '-',
            Self::Script(_) => '>',
            Self::Publish(_) | Self::Record(_) => '~',
            step => match step.action().split(' ').next() {
                Some("add" | "load" | "install" | "create") => '+',
                Some("remove" | "uninstall" | "delete" | "prune") => '-',
                Some("run" | "check" | "wait" | "undo") => '>',
                _ => '~',
            },
        }
    }

    /// The old value and the new one, where both are short.
    fn values(&self) -> Option<(String, String)> {
        match self {
            Self::Push(push) => {
                let (old, new) = (push.old?, push.manifest.digest);
                (old != new).then(|| (old.short(), new.short()))
            }
            Self::Load(load) => load.old.map(|old| (old.short(), load.id.short())),
            Self::Import(import) => {
                let (old, new) = (import.names.first()?.old.as_ref()?.digest, import.manifest.digest);
                (old != new).then(|| (old.short(), new.short()))
            }
            Self::File(write) => {
                let (old, new) = (write.old?, write.new);
                let old = format!("{} {:04o}", old.digest.short(), old.mode);
                Some((old, format!("{} {}", new.digest.short(), new.mode)))
            }
            Self::Mirror(mirror) => {
                let (old, new) = (mirror.write.old?, mirror.write.new);
                Some((old.digest.short(), new.digest.short()))
            }
            Self::Venv(venv) => {
                let new = venv.venv.file_name()?.to_string_lossy().into_owned();
                Some((venv.old.as_ref()?.display().to_string(), new))
            }
            Self::Unwrite(unwrite) => {
                let before = unwrite.before.as_ref()?.file;
                let old = format!("{} {:04o}", unwrite.old.digest.short(), unwrite.old.mode);
                Some((old, format!("{} {:04o}", before.digest.short(), before.mode)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_a_path_is_left_whole() {
        let long = "x".repeat(90);
        let text = wrapped("    +   1. ", &format!("add {long} (mode 0644) {}", "word ".repeat(20)));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "    +   1. add");
        assert_eq!(lines[1].trim(), long);
        assert!(
            lines[2..].iter().all(|line| line.chars().count() <= COLUMNS && line.starts_with("           "))
        );
        assert_eq!(text.split_whitespace().filter(|word| *word == "word").count(), 20);
    }
}
