//! Findings as JUnit XML, as continuous integration reads it: a suite for each area, a case for each finding.
//! A fail is a failure, what was overridden is skipped, and a warning is a case that passes and has said
//! something.

use std::collections::BTreeMap;
use std::fmt::Write;

use manifests::Timestamp;

use super::Verdict;
use super::report::{Report, Reported};

/// The document.
#[must_use]
pub fn document(report: &Report, time: Timestamp) -> String {
    let mut suites: BTreeMap<&str, Vec<&Reported>> = BTreeMap::new();
    for found in report.findings() {
        suites.entry(found.area).or_default().push(found);
    }
    let all: Vec<&Reported> = report.findings().iter().collect();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing into a text cannot fail.
    let _ = writeln!(text, "<testsuites name=\"installer preflight\" {}>", counts(&all));
    for (area, cases) in suites {
        let time = time.to_string();
        let when = time.trim_end_matches('Z');
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" {} timestamp=\"{when}\">",
            escaped(area),
            counts(&cases)
        );
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for found in cases {
            let count = seen.entry(found.finding.id).or_default();
            *count = count.saturating_add(1);
            case(found, *count, &mut text);
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn counts(cases: &[&Reported]) -> String {
    let failures = cases.iter().filter(|found| found.blocks()).count();
    let skipped = cases.iter().filter(|found| found.overridden.is_some()).count();
    format!("tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"0\"", cases.len())
}

/// Several findings may have one id; readers want each case to have a name of its own.
fn case(found: &Reported, number: usize, text: &mut String) {
    let finding = &found.finding;
    let name = if number == 1 { finding.id.to_string() } else { format!("{} ({number})", finding.id) };
    let _ = write!(
        text,
        "    <testcase classname=\"preflight.{}\" name=\"{}\" time=\"0\">",
        escaped(found.area),
        escaped(&name)
    );
    let remedy = finding.remedy.as_ref().map_or(String::new(), |remedy| format!("\nremedy: {remedy}"));
    let said = format!("found: {}\nneeded: {}{remedy}", finding.fact, finding.requirement);
    if let Some(reason) = &found.overridden {
        let _ = write!(text, "<skipped message=\"overridden: {}\"/>", escaped(reason.as_str()));
    } else if finding.verdict == Verdict::Fail {
        let (message, id) = (escaped(&finding.fact), escaped(finding.id));
        let _ = write!(text, "<failure message=\"{message}\" type=\"{id}\">{}</failure>", escaped(&said));
    }
    if found.overridden.is_some() || finding.verdict == Verdict::Warn {
        let word = if finding.verdict == Verdict::Warn { "warning" } else { "overridden" };
        let _ = write!(text, "<system-out>{word}\n{}</system-out>", escaped(&said));
    }
    text.push_str("</testcase>\n");
}

/// Text in XML 1.0, which has no way to write most control characters: they are shown as escapes.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\n' => shown.push_str("&#10;"),
            '\u{fffe}' | '\u{ffff}' => shown.extend(character.escape_default()),
            other if other.is_control() => shown.extend(other.escape_default()),
            other => shown.push(other),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_ends_its_element_or_is_no_xml() {
        assert_eq!(
            escaped("a<b>&\"c\"\u{1b}\u{ffff}\n"),
            "a&lt;b&gt;&amp;&quot;c&quot;\\u{1b}\\u{ffff}&#10;"
        );
    }
}
