//! What changes inside small text files, for whoever asked for more (`-v`): a unified diff, bounded.
//!
//! *What it never shows:* a file that not everybody may read, before or after. Its mode says that it may hold a
//! secret, and a terminal is recorded more often than one thinks.

use std::path::Path;

use crate::loan::{TEXT_BYTES_MAX, is_for_everybody};
use crate::plan::{FileState, OldFile, Plan, Step, WriteFile};
use crate::targets::Context;

/// How many lines of one file are compared.
const LINES_MAX: usize = 1000;
/// How many lines are shown of one file.
const SHOWN_MAX: usize = 200;
/// Unchanged lines around a change.
const AROUND: usize = 3;

/// The diffs of all files that are replaced.
pub(super) fn texts(plan: &Plan, context: &Context<'_>) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let (write, new) = match step {
            Step::File(write) => (write, None),
            Step::Mirror(mirror) => (&mirror.write, Some(mirror.text.clone())),
            _ => continue,
        };
        if let Some(old) = &write.old {
            text.push_str(&of_file(write, old, new, context));
        }
    }
    text
}

fn of_file(write: &WriteFile, old: &OldFile, new: Option<String>, context: &Context<'_>) -> String {
    let path = write.path.display();
    if old.digest == write.new.digest {
        return format!("{path}: only the mode changes\n");
    }
    if !is_for_everybody(old.mode) || !is_for_everybody(write.new.mode.bits()) {
        return format!("{path}: not shown, as not everybody may read it\n");
    }
    let new = new.or_else(|| new_text(write.new, context));
    match (old_text(&write.path), new) {
        (Some(old), Some(new)) => match unified(&old, &new) {
            Some(lines) => format!("--- {path}\n+++ {path}\n{lines}"),
            None => format!("{path}: not shown, as it is too long\n"),
        },
        _ => format!("{path}: not shown, as it is no short text\n"),
    }
}

fn old_text(path: &Path) -> Option<String> {
    layout::durable::read_bounded(path, TEXT_BYTES_MAX).ok().and_then(text_of)
}

fn new_text(new: FileState, context: &Context<'_>) -> Option<String> {
    context.site.store().read(&new.digest, TEXT_BYTES_MAX).ok().and_then(text_of)
}

fn text_of(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    let is_plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    text.chars().all(is_plain).then_some(text)
}

/// One line of a comparison.
#[derive(Clone, Copy)]
enum Line<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// Old and new lines in one order; nothing if there are too many of them.
fn compared<'a>(old: &[&'a str], new: &[&'a str]) -> Option<Vec<Line<'a>>> {
    if old.len() > LINES_MAX || new.len() > LINES_MAX {
        return None;
    }
    // The length of the longest common subsequence of what follows each pair of lines.
    let width = new.len().checked_add(1)?;
    let mut common = vec![0_usize; old.len().checked_add(1)?.checked_mul(width)?];
    let at = |row: usize, column: usize| row.saturating_mul(width).saturating_add(column);
    for (row, old) in old.iter().enumerate().rev() {
        for (column, new) in new.iter().enumerate().rev() {
            let (below, right) = (row.saturating_add(1), column.saturating_add(1));
            let length = if old == new {
                common.get(at(below, right))?.saturating_add(1)
            } else {
                *common.get(at(below, column))?.max(common.get(at(row, right))?)
            };
            *common.get_mut(at(row, column))? = length;
        }
    }
    let (mut row, mut column, mut lines) = (0_usize, 0_usize, Vec::new());
    loop {
        let (below, right) = (row.saturating_add(1), column.saturating_add(1));
        match (old.get(row), new.get(column)) {
            (Some(left), Some(other)) if left == other => {
                lines.push(Line::Same(left));
                (row, column) = (below, right);
            }
            (Some(left), other)
                if other.is_none() || common.get(at(below, column))? >= common.get(at(row, right))? =>
            {
                lines.push(Line::Old(left));
                row = below;
            }
            (_, Some(other)) => {
                lines.push(Line::New(other));
                column = right;
            }
            _ => return Some(lines),
        }
    }
}

/// The changed lines with some around them; `@@` stands where others were left out.
fn unified(old: &str, new: &str) -> Option<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let lines = compared(&old, &new)?;
    let changes: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Line::Same(_)))
        .map(|(number, _)| number)
        .collect();
    let near = |number: usize| changes.iter().any(|change| change.abs_diff(number) <= AROUND);
    let mut text = String::new();
    let (mut shown, mut left_out) = (0_usize, true);
    for (number, line) in lines.iter().enumerate() {
        if !near(number) {
            left_out = true;
            continue;
        }
        if shown == SHOWN_MAX {
            text.push_str("@@ and more\n");
            break;
        }
        if left_out {
            text.push_str("@@\n");
        }
        left_out = false;
        shown = shown.saturating_add(1);
        match line {
            Line::Same(line) => text.push_str(&format!(" {line}\n")),
            Line::Old(line) => text.push_str(&format!("-{line}\n")),
            Line::New(line) => text.push_str(&format!("+{line}\n")),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_shown_with_three_around_them() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
        let new = "a\nb\nc\nd\nE\nf\ng\nh\ni\nj\n";
        let expected = "@@\n b\n c\n d\n-e\n+E\n f\n g\n h\n i\n+j\n";
        assert_eq!(unified(old, new).unwrap(), expected);
        assert_eq!(unified("", "x\n").unwrap(), "@@\n+x\n");
        assert_eq!(unified("x\n", "").unwrap(), "@@\n-x\n");
        assert!(unified(&"x\n".repeat(LINES_MAX + 1), "").is_none());
        let long = unified(&"x\n".repeat(900), "").unwrap();
        assert!(long.ends_with("@@ and more\n") && long.lines().count() == SHOWN_MAX + 2);
    }
}
