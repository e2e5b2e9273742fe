//! Single byte ranges (RFC 9110 §14) and entity tags (§8.8, §13.1.2).

/// What of a representation is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// All of it: no range, one that does not parse, or several. RFC 9110 lets a server ignore those.
    Whole,
    /// From byte `first` up to and including byte `last`.
    Part { first: u64, last: u64 },
    /// The range lies outside.
    Unsatisfiable,
}

/// What a `Range` header means for a representation of `size` bytes.
pub(super) fn wanted(header: &str, size: u64) -> Span {
    let Some((unit, set)) = header.split_once('=') else { return Span::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Span::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Span::Whole;
    }
    match (number(first), number(last), first.is_empty(), last.is_empty()) {
        (Some(first), Some(last), ..) if first > last => Span::Whole,
        (Some(first), Some(last), ..) => part(first, last, size),
        (Some(first), None, _, true) => part(first, u64::MAX, size),
        (None, Some(0), true, _) => Span::Unsatisfiable,
        (None, Some(tail), true, _) => part(size.saturating_sub(tail), u64::MAX, size),
        _ => Span::Whole,
    }
}

fn part(first: u64, last: u64, size: u64) -> Span {
    match size.checked_sub(1) {
        Some(end) if first <= end => Span::Part { first, last: last.min(end) },
        _ => Span::Unsatisfiable,
    }
}

/// Digits only; a number too large to hold is larger than any blob.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Whether an `If-None-Match` header names this entity tag.
pub(super) fn names_tag(header: &str, tag: &str) -> bool {
    header.trim() == "*"
        || header.split(',').any(|one| {
            let one = one.trim();
            one.strip_prefix("W/").unwrap_or(one) == tag
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_first_and_last_byte() {
        let part = |first, last| Span::Part { first, last };
        for (header, span) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-5", part(2, 5)),
            ("bytes=2-", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-99", part(0, 9)),
            ("bytes=5-99999999999999999999999", part(5, 9)),
            ("BYTES = 2-5", part(2, 5)),
            ("bytes=10-", Span::Unsatisfiable),
            ("bytes=99999999999999999999999-", Span::Unsatisfiable),
            ("bytes=-0", Span::Unsatisfiable),
        ] {
            assert_eq!(wanted(header, 10), span, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), Span::Unsatisfiable);
        assert_eq!(wanted("bytes=-5", 0), Span::Unsatisfiable);
    }

    #[test]
    fn a_range_that_is_not_one_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=+1-2",
            "bytes=a-b",
            "lines=0-1",
            "bytes=0-1,3-4",
        ] {
            assert_eq!(wanted(header, 10), Span::Whole, "{header}");
        }
    }

    #[test]
    fn an_entity_tag_is_found_in_a_list_and_when_weak() {
        for yes in ["\"a\"", "\"b\", \"a\"", "W/\"a\"", "*", " \"a\" "] {
            assert!(names_tag(yes, "\"a\""), "{yes}");
        }
        assert!(!names_tag("\"b\"", "\"a\"") && !names_tag("a", "\"a\"") && !names_tag("", "\"a\""));
    }
}
