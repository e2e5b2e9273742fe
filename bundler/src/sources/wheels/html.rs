//! The tags of an HTML page, as far as a package index needs them (PEP 503): which elements open, with
//! which attributes. Tolerant: whatever is not a tag is passed over, and no page is an error.

/// An element that opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    /// In lower case.
    pub(super) name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    /// The value of an attribute with its entities resolved; empty if it stands without a value. The
    /// first of two with one name counts, as in browsers.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Every element that opens, in the order of the page.
pub(super) fn tags(page: &str) -> impl Iterator<Item = Tag> {
    let mut rest = page;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('<')?;
            rest = after;
            if let Some(comment) = after.strip_prefix("!--") {
                rest = comment.split_once("-->").map_or("", |(_, after)| after);
            } else if after.starts_with(|c: char| c.is_ascii_alphabetic()) {
                let (tag, after) = tag(after);
                rest = after_raw_text(&tag.name, after);
                return Some(tag);
            }
        }
    })
}

/// A script or a style sheet may hold `<` that opens nothing.
fn after_raw_text<'a>(name: &str, rest: &'a str) -> &'a str {
    if !matches!(name, "script" | "style" | "title" | "textarea") {
        return rest;
    }
    let closes = |position: &usize| {
        let after = rest.get(position + 2..).unwrap_or_default();
        after.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name))
    };
    let end = rest.match_indices("</").map(|(position, _)| position).find(closes);
    end.and_then(|end| rest.get(end..)).unwrap_or_default()
}

/// From the first letter of its name to behind its `>`.
fn tag(text: &str) -> (Tag, &str) {
    let (name, mut rest) = split_where(text, |c| c.is_ascii_whitespace() || matches!(c, '>' | '/'));
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            rest = after;
            break;
        }
        if rest.is_empty() {
            break;
        }
        let (attribute, after) = attribute(rest);
        attributes.push(attribute);
        rest = after;
    }
    (Tag { name: name.to_ascii_lowercase(), attributes }, rest)
}

/// `name`, `name=value`, `name="value"` or `name='value'`. Takes at least one character.
fn attribute(text: &str) -> ((String, String), &str) {
    let ends_name = |c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/' | '=');
    let first = text.chars().next().map_or(0, char::len_utf8);
    let more = text.get(first..).and_then(|rest| rest.find(ends_name)).map_or(text.len(), |end| first + end);
    let (name, rest) = text.split_at_checked(more).unwrap_or((text, ""));
    let name = name.to_ascii_lowercase();
    let Some(value) = rest.trim_start().strip_prefix('=').map(str::trim_start) else {
        return ((name, String::new()), rest);
    };
    for quote in ['"', '\''] {
        if let Some(value) = value.strip_prefix(quote) {
            let (value, rest) = value.split_once(quote).unwrap_or((value, ""));
            return ((name, unescaped(value)), rest);
        }
    }
    let (value, rest) = split_where(value, |c| c.is_ascii_whitespace() || c == '>');
    ((name, unescaped(value)), rest)
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at_checked(text.find(ends).unwrap_or(text.len())).unwrap_or((text, ""))
}

/// With the character references resolved that an attribute of an index can need; any other stays.
pub(super) fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        // The longest number that is a character has seven digits.
        let reference = after.split_once(';').filter(|(name, _)| name.len() <= 10);
        match reference.and_then(|(name, after)| Some((character(name)?, after))) {
            Some((character, after)) => {
                plain.push(character);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        "nbsp" => return Some('\u{a0}'),
        _ => {}
    }
    let number = name.strip_prefix('#')?;
    let value = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_links_of_a_page_however_they_are_written() {
        let page = concat!(
            "<!DOCTYPE html><html><head><META name=pypi:repository-version content='1.0'/>",
            "<script>if (a<b) { x = '<a href=no>' }</script><title><a href=no></title></head>",
            "<!-- <a href=\"no\"> --><A HREF=\"one.whl#sha256=ab\" data-requires-python='&gt;=3.8, &lt;4'>one</A>\n",
            "<a\n  data-yanked href = two.whl >two</a> 1 < 2 <br/><a href='three&#x2E;whl' href=no>"
        );
        let found: Vec<Tag> = tags(page).filter(|tag| tag.name == "a").collect();
        let links: Vec<&str> = found.iter().filter_map(|tag| tag.attribute("href")).collect();
        assert_eq!(links, ["one.whl#sha256=ab", "two.whl", "three.whl"]);
        assert_eq!(found[0].attribute("data-requires-python"), Some(">=3.8, <4"));
        assert_eq!(found[0].attribute("data-yanked"), None);
        assert_eq!(found[1].attribute("data-yanked"), Some(""));
        let meta = tags(page).find(|tag| tag.name == "meta").unwrap();
        assert_eq!(meta.attribute("name"), Some("pypi:repository-version"));
        assert_eq!(meta.attribute("content"), Some("1.0"));
    }

    #[test]
    fn resolves_the_references_it_knows_and_leaves_the_others() {
        assert_eq!(unescaped("&gt;=3&#46;8&amp;&quot;&apos;&lt;"), ">=3.8&\"'<");
        assert_eq!(unescaped("a&b;c&;&#xzz;&#99999999;&unknown;&"), "a&b;c&;&#xzz;&#99999999;&unknown;&");
    }

    proptest::proptest! {
        #[test]
        fn every_page_comes_to_an_end(page in "[<>a-c=\"'/! &;#x\\-\u{e9}\n]{0,80}") {
            let found = tags(&page).count();
            proptest::prop_assert!(found <= page.len());
        }
    }
}
