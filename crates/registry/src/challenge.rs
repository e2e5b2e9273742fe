//! `WWW-Authenticate` (RFC 9110, section 11.6.1): what a registry wants to see before it answers.
//!
//! What it may never do: grow with what a server sends. Only the two schemes that registries use are kept.

/// Longer than any registry's. What comes after is not looked at.
const HEADER_BYTES_MAX: usize = 8 * 1024;
/// `realm`, `service`, `scope`, `error` and a few more.
const PARAMETERS_MAX: usize = 32;

/// One demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A user and a password (RFC 7617).
    Basic,
    /// A token from somewhere (RFC 6750, and the distribution project's token specification).
    Bearer {
        /// Who gives tokens: a URL.
        realm: String,
        /// What the registry calls itself there.
        service: Option<String>,
        /// What the token must be good for.
        scope: Option<String>,
    },
}

/// Every demand of one header that we can meet, in its order. What does not parse ends the list.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut rest = Rest(header.get(..HEADER_BYTES_MAX).unwrap_or(header).trim_start());
    let mut found = Vec::new();
    while let Some(scheme) = rest.token() {
        let parameters = rest.parameters();
        let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        match (scheme.to_ascii_lowercase().as_str(), get("realm")) {
            ("basic", _) => found.push(Challenge::Basic),
            ("bearer", Some(realm)) => {
                found.push(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
            }
            _ => {}
        }
        rest.skip(',');
    }
    found
}

/// What is left of a header.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// RFC 9110's `token`.
    fn token(&mut self) -> Option<&'a str> {
        let character = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.0.find(|c: char| !character(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest.trim_start();
        (!token.is_empty()).then_some(token)
    }

    fn skip(&mut self, separator: char) -> bool {
        let before = self.0.len();
        self.0 = self.0.trim_start_matches(|c: char| c == separator || c.is_whitespace());
        self.0.len() < before
    }

    /// `key=value` pairs up to the next scheme, keys in lower case.
    fn parameters(&mut self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        while found.len() < PARAMETERS_MAX {
            let before = self.0;
            self.skip(',');
            let Some(key) = self.token() else { break };
            let Some(after) = self.0.strip_prefix('=') else {
                // A name without a value is the next scheme.
                self.0 = before;
                break;
            };
            self.0 = after.trim_start();
            let Some(value) = self.value() else { break };
            found.push((key.to_ascii_lowercase(), value));
        }
        found
    }

    /// A token or a quoted string.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            return self.token().map(str::to_string);
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((position, character)) = characters.next() {
            match character {
                '"' => {
                    self.0 = quoted.get(position.saturating_add(1)..).unwrap_or_default().trim_start();
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let text = |text: &str| text.to_string();
        Challenge::Bearer { realm: text(realm), service: service.map(text), scope: scope.map(text) }
    }

    #[test]
    fn reads_what_registries_send() {
        let header = r#"Bearer realm="https://auth.example.com/token",service="r.example.com",scope="repository:a/b:pull,push""#;
        let expected =
            bearer("https://auth.example.com/token", Some("r.example.com"), Some("repository:a/b:pull,push"));
        assert_eq!(parse(header), [expected]);
        assert_eq!(parse("Basic realm=\"r\""), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
    }

    #[test]
    fn reads_several_demands_of_one_header() {
        let header = r#"Negotiate, BASIC realm="a, b=\"c\"", charset=UTF-8, bearer realm = "https://h/", scope=x , , Basic"#;
        assert_eq!(
            parse(header),
            [Challenge::Basic, bearer("https://h/", None, Some("x")), Challenge::Basic]
        );
    }

    #[test]
    fn what_does_not_parse_is_no_demand() {
        for header in
            ["", ",", "=", "Bearer", "Bearer realm=", "Bearer realm=\"x", "Bearer service=\"x\"", "\"\""]
        {
            assert_eq!(parse(header), [], "{header:?}");
        }
    }

    #[test]
    fn a_huge_header_costs_little() {
        let header = format!("Bearer realm=\"https://h/\",{}", "a=b,".repeat(100_000));
        assert!(parse(&header).len() < 100);
        assert!(parse(&"\u{fc}".repeat(100_000)).is_empty());
    }
}
