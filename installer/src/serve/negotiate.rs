//! Which form of the Python index a client wants: RFC 9110 §12.5.1 over the media types of PEP 691.

/// A form of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// PEP 503, as every client before PEP 691 expects it.
    Html,
    /// PEP 503 under the name that PEP 691 gave it.
    HtmlV1,
    /// PEP 691.
    JsonV1,
}

impl Form {
    /// The media type that an answer of this form carries.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::HtmlV1 => "application/vnd.pypi.simple.v1+html",
            Self::JsonV1 => "application/vnd.pypi.simple.v1+json",
        }
    }

    fn closeness(self, range: &str) -> Option<Closeness> {
        let (kind, names): (_, &[&str]) = match self {
            Self::Html => ("text/*", &["text/html"]),
            Self::HtmlV1 => (
                "application/*",
                &["application/vnd.pypi.simple.v1+html", "application/vnd.pypi.simple.latest+html"],
            ),
            Self::JsonV1 => (
                "application/*",
                &["application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.latest+json"],
            ),
        };
        if names.iter().any(|name| name.eq_ignore_ascii_case(range)) {
            return Some(Closeness::Exact);
        }
        if kind.eq_ignore_ascii_case(range) {
            return Some(Closeness::Kind);
        }
        (range == "*/*").then_some(Closeness::Anything)
    }

    /// Between forms that a client likes alike: who names forms knows JSON, who takes anything gets
    /// what PEP 503 promised.
    fn rank(self, closeness: Closeness) -> u8 {
        match (self, closeness) {
            (Self::Html, Closeness::Anything) => 3,
            (Self::JsonV1, _) => 2,
            (Self::HtmlV1, _) => 1,
            (Self::Html, _) => 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Anything,
    Kind,
    Exact,
}

/// The form for an `Accept` header; `None` if the client takes none of ours.
pub(super) fn choose(accept: Option<&str>) -> Option<Form> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Some(Form::Html) };
    let ranges: Vec<(&str, u16)> = accept.split(',').filter_map(range).collect();
    let liking = |form: Form| {
        let matches = ranges.iter().filter_map(|(range, q)| Some((form.closeness(range)?, *q)));
        let (closeness, q) = matches.max()?;
        (q > 0).then(|| (q, closeness, form.rank(closeness)))
    };
    let forms = [Form::Html, Form::HtmlV1, Form::JsonV1];
    forms.into_iter().filter(|form| liking(*form).is_some()).max_by_key(|form| liking(*form))
}

/// A media range and its weight in thousandths. One that does not parse counts for nothing.
fn range(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
    Some((name, weight.map_or(Some(1000), thousandths)?))
}

fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction: u16 = format!("{fraction:0<3}").parse().ok().filter(|_| digits)?;
    match (whole, fraction) {
        ("0", fraction) => Some(fraction),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_ask_gets_html() {
        for accept in
            [None, Some(""), Some("*/*"), Some("text/html"), Some("text/*"), Some("text/html,*/*;q=0.8")]
        {
            assert_eq!(choose(accept), Some(Form::Html), "{accept:?}");
        }
    }

    #[test]
    fn the_highest_weight_wins_wherever_it_stands() {
        let json = "application/vnd.pypi.simple.v1+json";
        let html = "application/vnd.pypi.simple.v1+html";
        for (accept, form) in [
            (format!("{json}, {html}; q=0.1, text/html; q=0.01"), Some(Form::JsonV1)),
            (format!("text/html;q=0.01,{html};q=0.2,{json}"), Some(Form::JsonV1)),
            (format!("{json};q=0.1, text/html"), Some(Form::Html)),
            (format!("{json};q=0.1, {html};q=0.2"), Some(Form::HtmlV1)),
            (format!("{json}, {html}"), Some(Form::JsonV1)),
            (format!("{json}, */*"), Some(Form::JsonV1)),
            (format!("{json};q=0, */*"), Some(Form::Html)),
            (format!("{json};q=0"), None),
            ("application/vnd.pypi.simple.latest+json".into(), Some(Form::JsonV1)),
            ("application/*".into(), Some(Form::JsonV1)),
            ("text/html;charset=utf-8;q=0.5".into(), Some(Form::Html)),
            (format!("{};q=1.000", json.to_uppercase()), Some(Form::JsonV1)),
        ] {
            assert_eq!(choose(Some(&accept)), form, "{accept}");
        }
    }

    #[test]
    fn what_nobody_speaks_is_not_acceptable() {
        for accept in
            ["application/json", "application/vnd.pypi.simple.v2+json", "text/html;q=7", "text/html;q=x"]
        {
            assert_eq!(choose(Some(accept)), None, "{accept}");
        }
    }
}
