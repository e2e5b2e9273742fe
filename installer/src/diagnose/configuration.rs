//! `configuration.txt`: `site.yaml`, key by key. The keys that the form knows go in; of the values only yes and no,
//! small numbers, and words that the form fixes. Whatever names a place, a host, a person or a login is replaced,
//! and so is a key that the form does not know.

use serde_json::Value;

use super::{Ground, Piece, Section};

/// Every key of the form, with what of its value may go in.
const KEYS: &[(&str, Allowed)] = &[
    ("apiVersion", Allowed::One(&["airlock/v1"])),
    ("kind", Allowed::One(&["Site"])),
    ("site", Allowed::Name),
    ("groups", Allowed::Name),
    ("targets.registry.url", Allowed::Nothing),
    ("targets.registry.prefix", Allowed::Nothing),
    ("targets.registry.ca", Allowed::Nothing),
    ("targets.registry.auth", Allowed::One(&["docker-config"])),
    ("targets.registry.immutable", Allowed::Plain),
    ("targets.docker.host", Allowed::One(&["unix:///var/run/docker.sock"])),
    ("targets.docker.replace", Allowed::Plain),
    (
        "targets.containerd.address",
        Allowed::One(&["/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock"]),
    ),
    ("targets.containerd.namespace", Allowed::One(&["k8s.io"])),
    ("targets.containerd.ctr", Allowed::Nothing),
    ("targets.containerd.replace", Allowed::Plain),
    ("targets.containerd.mirror.directory", Allowed::One(&["/etc/containerd/certs.d"])),
    ("targets.containerd.mirror.url", Allowed::Nothing),
    ("targets.containerd.registries.file", Allowed::One(&["/etc/rancher/k3s/registries.yaml"])),
    ("targets.containerd.registries.url", Allowed::Nothing),
    ("targets.python.interpreter", Allowed::One(&["/usr/bin/python3"])),
    ("targets.python.venvs", Allowed::Nothing),
    ("targets.kubernetes.kubeconfig", Allowed::Nothing),
    ("targets.kubernetes.context", Allowed::Nothing),
    ("targets.kubernetes.kubectl", Allowed::One(&["kubectl"])),
    ("targets.kubernetes.force", Allowed::Plain),
    ("targets.kubernetes.images", Allowed::One(&["keep", "mirror", "rewrite"])),
    ("targets.kubernetes.within", Allowed::Duration),
    ("targets.files.root", Allowed::One(&["/"])),
    ("targets.scripts", Allowed::Nothing),
    ("targets.helm.kubeconfig", Allowed::Nothing),
    ("targets.helm.context", Allowed::Nothing),
    ("targets.helm.helm", Allowed::One(&["helm"])),
    ("targets.helm.images", Allowed::One(&["keep", "mirror", "rewrite"])),
    ("targets.helm.pull", Allowed::Nothing),
    ("targets.helm.timeout", Allowed::Duration),
    ("targets.helm.createNamespace", Allowed::Plain),
    ("targets.helm.replace", Allowed::Plain),
    ("serve.listen", Allowed::Nothing),
    ("serve.tls.certificate", Allowed::Nothing),
    ("serve.tls.key", Allowed::Nothing),
    ("serve.users", Allowed::Nothing),
    ("serve.allow", Allowed::Nothing),
    ("serve.plainHttp", Allowed::Plain),
    ("serve.rehash.every", Allowed::Duration),
    ("serve.rehash.rate", Allowed::Nothing),
    ("values.*", Allowed::Nothing),
    ("windows.allow", Allowed::Moments),
    ("windows.deny", Allowed::Moments),
    ("windows.timezone", Allowed::Nothing),
    ("change.required", Allowed::Plain),
    ("change.pattern", Allowed::Nothing),
    ("preflight.headroom", Allowed::Plain),
    ("time.clock", Allowed::One(&["enforce", "warn"])),
    ("time.expiry", Allowed::One(&["enforce", "warn"])),
    ("keep", Allowed::Plain),
];

/// What of a value may go in.
#[derive(Debug, Clone, Copy)]
enum Allowed {
    /// One of these.
    One(&'static [&'static str]),
    /// Yes, no, or a small number.
    Plain,
    /// A number of seconds, minutes or hours.
    Duration,
    /// Days of the week, days and times of day.
    Moments,
    /// What the sender of a bundle has called this site by.
    Name,
    /// None.
    Nothing,
}

pub(super) fn piece(ground: &mut Ground<'_>) -> Piece {
    let path = ground.site.dir().join("site.yaml");
    let text = match layout::durable::read_bounded(&path, edge::yaml::YAML_BYTES_MAX) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "there is no site.yaml: the embedded server is the only target\n".to_string()
        }
        Err(error) => {
            ground.gap("site.yaml", &error.to_string());
            "site.yaml cannot be read\n".to_string()
        }
        Ok(bytes) => match edge::yaml::parse::<Value>("site.yaml", &String::from_utf8_lossy(&bytes)) {
            Ok(document) => {
                let mut lines = String::new();
                walk(ground, "", "", &document, &mut lines);
                lines
            }
            Err(error) => {
                ground.gap("site.yaml", &error.message);
                format!("site.yaml is no YAML: line {}, column {}\n", error.line, error.column)
            }
        },
    };
    ground.piece(Section::Configuration, "configuration.txt", text)
}

/// `form` is the place in the form, `shown` the same with what goes in of it.
fn walk(ground: &mut Ground<'_>, form: &str, shown: &str, value: &Value, lines: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let (form, shown) = below(ground, form, shown, key);
                walk(ground, &form, &shown, value, lines);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                walk(ground, form, &format!("{shown}[{number}]"), item, lines);
            }
        }
        value => lines.push_str(&format!("{shown}: {}\n", said(ground, form, value))),
    }
}

fn below(ground: &mut Ground<'_>, form: &str, shown: &str, key: &str) -> (String, String) {
    let joined = |before: &str, key: &str| {
        if before.is_empty() { key.to_string() } else { format!("{before}.{key}") }
    };
    let known = joined(form, key);
    let is_known = |path: &str| {
        KEYS.iter().any(|(form, _)| {
            form.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    if form == "values" {
        return (joined(form, "*"), joined(shown, &ground.redactor.word(key)));
    }
    if is_known(&known) {
        let shown = joined(shown, key);
        return (known, shown);
    }
    ("?".to_string(), joined(shown, &ground.redactor.value(key)))
}

fn said(ground: &mut Ground<'_>, form: &str, value: &Value) -> String {
    let allowed =
        KEYS.iter().find(|(known, _)| *known == form).map_or(Allowed::Nothing, |(_, allowed)| *allowed);
    let text = match value {
        Value::Object(_) => return "{}".to_string(),
        Value::Array(_) => return "[]".to_string(),
        Value::Null => return "null".to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fits = match allowed {
        Allowed::One(words) => words.contains(&text.as_str()),
        Allowed::Plain => value.is_boolean() || value.as_u64().is_some_and(|number| number <= 99_999),
        Allowed::Duration => manifests::script::Within::of_text(&text).is_some(),
        Allowed::Moments => is_moments(&text),
        Allowed::Name => return ground.redactor.word(&text),
        Allowed::Nothing => false,
    };
    if fits { text } else { ground.redactor.value(&text) }
}

/// Days of the week and digits with what parts them: the words of a window, and nothing else.
fn is_moments(text: &str) -> bool {
    const DAYS: [&str; 8] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "daily"];
    let words = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    text.len() <= 40
        && words.into_iter().all(|word| DAYS.contains(&word))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | ':' | ',' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The places of leaves in the published schema.
    fn leaves(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        let joined = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
        let below = schema.get("items").and_then(|items| items.get("properties").map(|_| items));
        let schema = below.unwrap_or(schema);
        match schema["properties"].as_object().filter(|fields| !fields.is_empty()) {
            Some(fields) => fields.iter().for_each(|(key, field)| leaves(field, &joined(key), found)),
            None if schema["additionalProperties"].is_object() => {
                found.insert(joined("*"));
            }
            None => {
                found.insert(path.to_string());
            }
        }
    }

    #[test]
    fn every_key_of_the_published_form_has_its_rule_and_no_other() {
        let schema: Value =
            serde_json::from_str(include_str!("../../../docs/schema/site.schema.json")).unwrap();
        let mut published = BTreeSet::new();
        leaves(&schema, "", &mut published);
        let ruled: BTreeSet<String> = KEYS.iter().map(|(key, _)| key.to_string()).collect();
        assert_eq!(ruled, published);
    }

    #[test]
    fn windows_go_in_and_nothing_that_only_looks_like_one() {
        assert!(is_moments("Mon-Fri 22:00-04:00") && is_moments("2026-12-24 18:00..2026-12-27 06:00"));
        assert!(!is_moments("hunter2") && !is_moments("Mon secret") && !is_moments("Mon/Tue"));
    }
}
