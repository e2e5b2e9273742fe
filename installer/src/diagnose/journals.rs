//! `journals/NUMBER.txt`: what each change has planned, begun, done and taken back, line by line. What was kept
//! beside a journal (old files, the output of scripts) never goes in.

use std::path::Path;

use super::{Ground, Piece, Section};
use crate::journal::{self, Found, Line};

/// The newest so many.
const JOURNALS_MAX: usize = 20;

pub(super) fn pieces(ground: &mut Ground<'_>) -> Vec<Piece> {
    let directory = ground.site.journal_dir();
    let paths = if directory.is_dir() { journal::paths(ground.site).unwrap_or_default() } else { Vec::new() };
    let from = paths.len().saturating_sub(JOURNALS_MAX);
    let newest: Vec<_> = paths.into_iter().skip(from).collect();
    newest.iter().map(|path| piece(ground, path)).collect()
}

/// The number of a journal, by the name of its file.
pub(super) fn number(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let digits: String = name.chars().take_while(char::is_ascii_digit).take(12).collect();
    if digits.is_empty() { "unknown".to_string() } else { digits }
}

fn piece(ground: &mut Ground<'_>, path: &Path) -> Piece {
    let mut text = match journal::read(path) {
        Ok(Some(found)) => told(ground, &found),
        Ok(None) => "its plan was never written to the end: nothing of it was begun\n".to_string(),
        // That it cannot be read is in the table of contents already.
        Err(_) => "it cannot be read\n".to_string(),
    };
    if let Some(bytes) = torn(path) {
        text.push_str(&format!("its last line was cut off after {bytes} bytes\n"));
    }
    ground.piece(Section::Journals, format!("journals/{}.txt", number(path)), text)
}

fn told(ground: &mut Ground<'_>, found: &Found) -> String {
    let plan = &found.plan;
    let title = ground.redactor.text(&format!("{} {} {}", plan.publisher, plan.product, plan.version));
    let from = plan.from.as_ref().map_or("nothing".to_string(), |from| ground.redactor.word(from.as_str()));
    let mut text = format!("{} of {title}, bundle {}, from {from}\n", plan.kind.word(), plan.bundle);
    for (number, step) in plan.steps.iter().enumerate() {
        let title = ground.redactor.text(&super::redact::one_line(&step.title()));
        text.push_str(&format!(
            "step {:>3}  {:<24} {title}\n",
            number.saturating_add(1),
            state(found, number)
        ));
    }
    let end = if found.is_committed() {
        "everything was done"
    } else if found.lines.contains(&Line::RolledBack) {
        "everything was taken back"
    } else if found.lines.contains(&Line::Broken) {
        "NOT EVERYTHING COULD BE TAKEN BACK"
    } else if found.is_undoing() {
        "CUT OFF while it was taken back"
    } else {
        "CUT OFF"
    };
    text.push_str(&format!("end       {end}\n"));
    text
}

fn state(found: &Found, step: usize) -> &'static str {
    if found.lines.contains(&Line::Stuck(step)) {
        "COULD NOT BE TAKEN BACK"
    } else if found.was_undone(step) {
        "taken back"
    } else if found.was_done(step) {
        "done"
    } else if found.was_begun(step) {
        "BEGUN, NOT DONE"
    } else {
        "not begun"
    }
}

/// How long a last line is that does not end.
fn torn(path: &Path) -> Option<u64> {
    use std::io::{Read, Seek, SeekFrom};
    const TAIL_BYTES: u64 = 64 * 1024;
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).ok()?;
    let last = tail.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
    (last > 0).then_some(last as u64)
}
