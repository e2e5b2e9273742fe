//! `kubernetes/NUMBER/…`: events, pods and, if they were asked for, the last lines of their containers, of those
//! namespaces only that a bundle uses. Each is one bounded read of the API.
//!
//! Names of namespaces and pods are in the files, where they are redacted, and never in the names of files.

use std::collections::BTreeSet;

use manifests::inventory::Component;
use serde_json::Value;

use super::{Ground, Piece, Section};
use crate::apply::chain;
use crate::cluster::{Cluster, ClusterError, Kubectl, items};
use crate::plan::Step;

/// So many of each are asked for.
const ITEMS_MAX: usize = 500;
/// So many pods of a namespace have their logs read.
const LOGGED_MAX: usize = 50;
/// So much of a container's log.
const LINES: usize = 200;
const LOG_BYTES: usize = 64 * 1024;

/// Every namespace that a bundle uses which was applied here, in their order.
fn namespaces(ground: &Ground<'_>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for component in ground.inventories.iter().flat_map(|inventory| &inventory.components) {
        match component {
            Component::Chart(chart) => found.extend(chart.namespace.as_ref().map(ToString::to_string)),
            Component::KubernetesManifests(set) => {
                found.extend(set.namespace.as_ref().map(ToString::to_string))
            }
            _ => {}
        }
    }
    for step in ground.journals.iter().flat_map(|journal| &journal.plan.steps) {
        match step {
            Step::Objects(objects) => {
                found.extend(objects.objects.iter().filter_map(|object| object.namespace.clone()));
            }
            Step::Release(release) => {
                found.insert(release.namespace.clone());
            }
            _ => {}
        }
    }
    found
}

/// Looks at each namespace with a cluster that answers. The first that does not answer is the last that is asked.
fn each(
    ground: &mut Ground<'_>,
    what: &str,
    look: impl Fn(&mut Ground<'_>, &dyn Cluster, &str, &str) -> Result<Vec<Piece>, ClusterError>,
) -> Vec<Piece> {
    let Some(target) = ground.config.targets.cluster() else { return Vec::new() };
    if ground.silent.contains(&"kubernetes") {
        ground.gap(what, "the cluster did not answer (see findings.txt)");
        return Vec::new();
    }
    let cluster = Kubectl::of(&target, ground.env);
    let mut pieces = Vec::new();
    for (number, namespace) in namespaces(ground).iter().enumerate() {
        let directory = format!("kubernetes/{:02}", number.saturating_add(1));
        match look(ground, &cluster, namespace, &directory) {
            Ok(found) => pieces.extend(found),
            Err(error) => {
                ground.gap(what, &chain(&error));
                if error.may_pass() {
                    break;
                }
            }
        }
    }
    pieces
}

pub(super) fn events(ground: &mut Ground<'_>) -> Vec<Piece> {
    each(ground, "events of the cluster", |ground, cluster, namespace, directory| {
        let mut found = list(cluster, namespace, "events")?;
        found.sort_by_key(when);
        let mut text = head(ground, namespace);
        found.iter().for_each(|event| text.push_str(&event_line(ground, event)));
        Ok(vec![ground.piece(Section::Events, format!("{directory}/events.txt"), text)])
    })
}

pub(super) fn pods(ground: &mut Ground<'_>) -> Vec<Piece> {
    each(ground, "pods of the cluster", |ground, cluster, namespace, directory| {
        let mut text = head(ground, namespace);
        for pod in list(cluster, namespace, "pods")? {
            text.push_str(&pod_lines(ground, &pod));
        }
        Ok(vec![ground.piece(Section::Pods, format!("{directory}/pods.txt"), text)])
    })
}

pub(super) fn logs(ground: &mut Ground<'_>) -> Vec<Piece> {
    each(ground, "logs of pods", |ground, cluster, namespace, directory| {
        let mut pieces = Vec::new();
        for pod in list(cluster, namespace, "pods")?.iter().take(LOGGED_MAX) {
            for (container, restarts) in containers(pod) {
                let name = field(pod, "/metadata/name").to_string();
                let path = format!("{directory}/logs/{:03}.txt", pieces.len().saturating_add(1));
                let said = said(cluster, namespace, &name, &container, restarts > 0);
                let Some(said) = ground.or_gap("the log of a container", said) else { continue };
                let title = ground.redactor.text(&format!("pod {name} container {container}"));
                let text = format!("{title}\n{}\n", ground.redactor.text(&said));
                pieces.push(ground.piece(Section::PodLogs, path, text));
            }
        }
        Ok(pieces)
    })
}

fn list(cluster: &dyn Cluster, namespace: &str, what: &str) -> Result<Vec<Value>, ClusterError> {
    Ok(items(cluster.get(&format!("/api/v1/namespaces/{namespace}/{what}?limit={ITEMS_MAX}"))?))
}

fn head(ground: &mut Ground<'_>, namespace: &str) -> String {
    format!("namespace {}\n", ground.redactor.word(namespace))
}

fn field<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// When an event was seen last. It has one of these.
fn when(event: &Value) -> String {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    let time = times.iter().map(|time| field(event, time)).find(|time| !time.is_empty()).unwrap_or_default();
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_string(),
    }
}

fn event_line(ground: &mut Ground<'_>, event: &Value) -> String {
    let count = number(event, "/count").max(1);
    let about = format!("{} {}", field(event, "/involvedObject/kind"), field(event, "/involvedObject/name"));
    let reason = format!("{} {}", field(event, "/type"), field(event, "/reason"));
    let message = super::redact::one_line(field(event, "/message").trim());
    let time = ground.redactor.word(&when(event));
    let redactor = &mut ground.redactor;
    format!(
        "{time} {count}x {} {}: {}\n",
        redactor.text(&reason),
        redactor.text(&about),
        redactor.text(&message)
    )
}

fn pod_lines(ground: &mut Ground<'_>, pod: &Value) -> String {
    let redactor = &mut ground.redactor;
    let mut text = format!(
        "pod {} {} {}\n",
        redactor.text(field(pod, "/metadata/name")),
        redactor.word(field(pod, "/status/phase")),
        redactor.text(&super::redact::one_line(&format!(
            "{} {}",
            field(pod, "/status/reason"),
            field(pod, "/status/message")
        ))),
    );
    for kind in ["/status/initContainerStatuses", "/status/containerStatuses"] {
        let statuses = pod.pointer(kind).and_then(Value::as_array);
        for status in statuses.into_iter().flatten() {
            text.push_str(&format!(
                "  container {} image {} ready {} restarts {}\n",
                redactor.word(field(status, "/name")),
                redactor.word(field(status, "/image")),
                status["ready"].as_bool().unwrap_or_default(),
                number(status, "/restartCount"),
            ));
            for state in ["state", "lastState"] {
                for (word, detail) in status[state].as_object().into_iter().flatten() {
                    let words = format!("{} {}", field(detail, "/reason"), field(detail, "/message"));
                    let code =
                        detail["exitCode"].as_i64().map_or(String::new(), |code| format!(" exit {code}"));
                    let said = redactor.text(&super::redact::one_line(words.trim()));
                    text.push_str(&format!("    {state} {} {said}{code}\n", redactor.word(word)));
                }
            }
        }
    }
    text
}

/// Containers of a pod, with how often each has been restarted.
fn containers(pod: &Value) -> Vec<(String, u64)> {
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
    let named = statuses.into_iter().flatten();
    named.map(|status| (field(status, "/name").to_string(), number(status, "/restartCount"))).collect()
}

/// The last lines of a container, and of the run before that if it was restarted.
fn said(
    cluster: &dyn Cluster,
    namespace: &str,
    pod: &str,
    container: &str,
    was_restarted: bool,
) -> Result<String, ClusterError> {
    // What is no name of Kubernetes would be another question.
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    };
    if !is_name(pod) || !is_name(container) {
        let reason = "a name that is none".to_string();
        return Err(ClusterError::Answer { doing: "reading a log".to_string(), reason });
    }
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&tailLines={LINES}&limitBytes={LOG_BYTES}"
    );
    let now = cluster.text(&path, LOG_BYTES)?.unwrap_or_default();
    let before = match was_restarted {
        true => cluster.text(&format!("{path}&previous=true"), LOG_BYTES)?,
        false => None,
    };
    Ok(match before {
        Some(before) => format!("before the restart\n{before}\nafter the restart\n{now}"),
        None => now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::double::Double;
    use serde_json::json;

    #[test]
    fn the_log_of_a_container_that_was_restarted_has_its_last_words_too() {
        let path = |rest: &str| {
            format!(
                "/api/v1/namespaces/shop/pods/web/log?container=main&tailLines=200&limitBytes=65536{rest}"
            )
        };
        let cluster =
            Double::default().with(&path(""), json!("started")).with(&path("&previous=true"), json!("panic"));
        assert_eq!(said(&cluster, "shop", "web", "main", false).unwrap(), "started");
        let both = said(&cluster, "shop", "web", "main", true).unwrap();
        assert_eq!(both, "before the restart\npanic\nafter the restart\nstarted");
    }

    #[test]
    fn a_name_that_would_be_another_question_is_not_asked() {
        let cluster = Double::default();
        for name in ["../secrets/x", "web?x=y", ""] {
            assert!(said(&cluster, "shop", name, "main", false).is_err());
        }
        assert!(cluster.asked.borrow().is_empty());
    }

    #[test]
    fn events_are_dated_by_when_they_were_seen_last() {
        let event = json!({"eventTime": null, "lastTimestamp": "2026-11-20T12:00:00Z", "metadata": {"creationTimestamp": "2026-11-20T11:00:00Z"}});
        assert_eq!(when(&event), "2026-11-20T12:00:00Z");
        assert_eq!(when(&json!({"eventTime": "2026-11-20T12:00:00.123456Z"})), "2026-11-20T12:00:00Z");
    }
}
