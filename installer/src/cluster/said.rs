//! What `kubectl` says when something went wrong, told apart. It has no other way to tell than words, in any of
//! its versions; those of the API server come with their reason in brackets.
//!
//! *It may never* pass on a value of a Secret or of settings that the words quote.

use manifests::text::printable_up_to;
use serde_json::Value;

use super::ClusterError;

/// How much of what was said goes into a message.
const SAID_CHARS_MAX: usize = 600;
/// What stands in place of a value.
const HIDDEN: &str = "(not shown)";
/// Shorter values are in every text by chance.
const HIDDEN_CHARS_MIN: usize = 4;

/// The error that these words mean, for an object that was sent.
pub(super) fn judge(doing: &str, stderr: &str, sent: Option<&Value>) -> ClusterError {
    let doing = doing.to_string();
    let said = quoted(stderr, sent);
    let has = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
    if has(&["(Forbidden)", " is forbidden: "]) {
        ClusterError::Forbidden { doing, said }
    } else if has(&["(Conflict)", "Apply failed with", "(AlreadyExists)"]) {
        ClusterError::Conflict { doing, said }
    } else if has(&["(NotFound)"]) {
        ClusterError::Missing { doing, said }
    } else if has(&["(Unauthorized)", "must be logged in", "getting credentials", "provide credentials"]) {
        ClusterError::Login { doing, said }
    } else if has(&["x509:", "tls: ", "certificate"]) && !has(&["Error from server"]) {
        ClusterError::Certificate { doing, said }
    } else if has(&[
        "Unable to connect",
        "The connection to the server",
        "i/o timeout",
        "(Timeout)",
        "(ServiceUnavailable)",
    ]) {
        ClusterError::Unreachable { doing, said }
    } else {
        ClusterError::Refused { doing, said }
    }
}

/// The words without the advice that follows them, in one line and without the values of a Secret or settings.
fn quoted(stderr: &str, sent: Option<&Value>) -> String {
    let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    // Lines of the program's own log, and its warnings, come before what it says at the end.
    let is_log = |line: &&str| {
        let mut bytes = line.bytes();
        line.starts_with("Warning:")
            || (matches!(bytes.next(), Some(b'E' | b'W' | b'I'))
                && bytes.take(4).all(|byte| byte.is_ascii_digit()))
    };
    let advice = ["Please review the fields above", "ensure CRDs are installed first"];
    let lines = lines.take_while(|line| !advice.iter().any(|advice| line.starts_with(advice)));
    let mut text = lines.filter(|line| !is_log(line)).collect::<Vec<_>>().join("; ");
    if text.is_empty() {
        text = stderr.lines().next_back().unwrap_or("it said nothing").trim().to_string();
    }
    if let Some(object) = sent.filter(|object| holds_values(object)) {
        text = without_values(&text, object);
    }
    printable_up_to(&text, SAID_CHARS_MAX)
}

fn holds_values(object: &Value) -> bool {
    matches!(object.get("kind").and_then(Value::as_str), Some("Secret" | "ConfigMap"))
}

/// Takes the values out that the object has, and those that a server quotes after having changed them.
fn without_values(text: &str, object: &Value) -> String {
    let mut values = Vec::new();
    for key in ["data", "stringData", "binaryData"] {
        if let Some(data) = object.get(key) {
            collect(data, &mut values);
        }
    }
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let mut text = text.to_string();
    for value in values.iter().filter(|value| value.chars().count() >= HIDDEN_CHARS_MIN) {
        // A value of several lines was joined like the message.
        for line in value.lines().map(str::trim).filter(|line| line.chars().count() >= HIDDEN_CHARS_MIN) {
            text = text.replace(line, HIDDEN);
        }
    }
    match text.find("Invalid value:") {
        Some(start) => format!("{}Invalid value: {HIDDEN}", text.get(..start).unwrap_or_default()),
        None => text,
    }
}

fn collect(value: &Value, values: &mut Vec<String>) {
    match value {
        Value::String(text) => values.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, values)),
        Value::Object(map) => map.values().for_each(|item| collect(item, values)),
        Value::Null => {}
        other => values.push(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(stderr: &str) -> &'static str {
        match judge("x", stderr, None) {
            ClusterError::Unreachable { .. } => "unreachable",
            ClusterError::Certificate { .. } => "certificate",
            ClusterError::Login { .. } => "login",
            ClusterError::Forbidden { .. } => "forbidden",
            ClusterError::Conflict { .. } => "conflict",
            ClusterError::Missing { .. } => "missing",
            _ => "refused",
        }
    }

    #[test]
    fn what_kubectl_says_is_told_apart() {
        for (stderr, wanted) in [
            (
                "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
                "unreachable",
            ),
            ("Unable to connect to the server: dial tcp: lookup nowhere: no such host", "unreachable"),
            (
                "Unable to connect to the server: net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
                "unreachable",
            ),
            (
                "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority",
                "certificate",
            ),
            (
                "Unable to connect to the server: x509: certificate has expired or is not yet valid",
                "certificate",
            ),
            ("error: You must be logged in to the server (Unauthorized)", "login"),
            (
                "Unable to connect to the server: getting credentials: exec: executable helper not found",
                "login",
            ),
            (
                "Error from server (Forbidden): pods is forbidden: User \"x\" cannot list resource \"pods\"",
                "forbidden",
            ),
            ("Error from server (NotFound): the server could not find the requested resource", "missing"),
            ("error: Apply failed with 1 conflict: conflict with \"x\" using v1: .data.a", "conflict"),
            ("Error from server (Invalid): the object is invalid: certificate: Required value", "refused"),
            ("error: stat /no/kubeconfig: no such file or directory", "refused"),
        ] {
            assert_eq!(kind(stderr), wanted, "{stderr}");
        }
    }

    #[test]
    fn a_conflict_names_the_manager_and_the_fields_and_gives_no_advice() {
        let stderr = "Warning: something\nE1129 12:00:00.000000 1 x.go:1] log\nerror: Apply failed with 2 conflicts: conflicts with \"helm\" using v1:\n- .data.a\n- .data.b\nPlease review the fields above--they currently have other managers. Here\nare the ways you can resolve this warning:\n";
        let said = judge("x", stderr, None).to_string();
        assert_eq!(
            said,
            "x: error: Apply failed with 2 conflicts: conflicts with \"helm\" using v1:; - .data.a; - .data.b"
        );
    }

    #[test]
    fn no_value_of_a_secret_or_of_settings_is_passed_on() {
        let secret = json!({"kind": "Secret", "stringData": {"a": "hunter2", "b": "line one\nline two"}});
        for stderr in [
            "The Secret \"s\" is invalid: data[a]: hunter2 is bad",
            "The Secret \"s\" is invalid: data: Invalid value: \"aHVudGVyMg==\": too short",
            "error: line one\n line two",
        ] {
            let said = judge("x", stderr, Some(&secret)).to_string();
            assert!(
                !said.contains("hunter2") && !said.contains("aHVu") && !said.contains("line one"),
                "{said}"
            );
            assert!(said.contains(HIDDEN), "{said}");
        }
    }
}
