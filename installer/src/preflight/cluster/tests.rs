//! A cluster in which everything is as it should be, and one thing after the other that is not: each time exactly
//! the check speaks up that is there for it. What a real API server says of the same is in the journeys.

use serde_json::json;

use super::*;
use crate::cluster::double::Double;
use crate::preflight::Verdict;

fn node(cpu: &str) -> Value {
    json!({
        "metadata": {"name": "one", "labels": {"kubernetes.io/arch": "amd64"}},
        "status": {"allocatable": {"cpu": cpu, "memory": "16Gi", "pods": "110"}, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// A cluster that can take [`workload`].
fn good() -> Double {
    Double::default()
        .with("/api/v1/namespaces/n", json!({"metadata": {"name": "n"}, "status": {"phase": "Active"}}))
        .with("/api/v1/namespaces/n/secrets/password", json!({"data": {"key": "aHVudGVyMg=="}}))
        .with_items("/api/v1/nodes", &[node("8")])
        .with_items("/api/v1/pods", &[])
        .with_items("/api/v1/namespaces/n/pods", &[])
        .with_items("/api/v1/namespaces/n/limitranges", &[])
        .with_items("/api/v1/namespaces/n/resourcequotas", &[quota("10")])
        .with_items("/apis/storage.k8s.io/v1/storageclasses", &[class("fast")])
        .with_items("/apis/apps/v1/namespaces/n/deployments", &[])
}

fn class(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn quota(cpu: &str) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": cpu}}, "status": {"used": {"requests.cpu": "1"}}})
}

fn workload() -> Vec<Value> {
    vec![
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 2,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{
                "name": "c",
                "resources": {"requests": {"cpu": "1"}},
                "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "password", "key": "key"}}}],
            }]}},
        }}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}}),
    ]
}

fn findings_of(cluster: &Double, objects: Vec<Value>, requires: &Requires, headroom: u8) -> Vec<Finding> {
    let objects = objects.into_iter().map(|object| Object::new(object).unwrap()).collect();
    let rendered = vec![Rendered { from: "manifests k8s".to_string(), namespace: "n".to_string(), objects }];
    let wanted = Wanted::new(rendered, requires, Vec::new(), headroom, cluster).unwrap();
    on(cluster, &wanted)
}

fn findings(cluster: &Double) -> Vec<Finding> {
    findings_of(cluster, workload(), &Requires::default(), 60)
}

/// Fails unless this check alone is not content, and gives what it says.
fn only(findings: &[Finding], id: &str, verdict: Verdict) -> String {
    let other: Vec<_> = findings.iter().filter(|finding| finding.verdict != Verdict::Pass).collect();
    assert!(other.len() == 1 && other[0].id == id && other[0].verdict == verdict, "{other:?}");
    other[0].fact.clone()
}

#[test]
fn a_cluster_as_it_should_be_passes_every_check() {
    let findings = findings(&good());
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Pass), "{findings:?}");
    let ids: BTreeSet<&str> = findings.iter().map(|finding| finding.id).collect();
    for id in
        ["apis", "namespace", "namespace-health", "rbac", "secrets", "storage-class", "quota", "capacity"]
    {
        assert!(ids.contains(format!("cluster/{id}").as_str()), "{id}: {ids:?}");
    }
}

#[test]
fn a_kind_that_is_not_served_is_named_with_whoever_needs_it() {
    let mut objects = workload();
    objects.push(json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}}));
    let found = findings_of(&good(), objects, &Requires::default(), 60);
    assert_eq!(
        only(&found, "cluster/apis", Verdict::Fail),
        "the cluster does not serve example.org/v1/Widget"
    );
    let requires: Requires = serde_json::from_value(json!({"apis": ["example.org/v1/Widget"]})).unwrap();
    only(&findings_of(&good(), workload(), &requires, 60), "cluster/apis", Verdict::Fail);
}

#[test]
fn another_version_than_required_is_found_whatever_a_distributor_calls_it() {
    let requires: Requires = serde_json::from_value(json!({"kubernetes": ">=1.28"})).unwrap();
    for (version, verdict) in
        [("v1.30.2+k3s1", Verdict::Pass), ("v1.28.0-eks-1", Verdict::Pass), ("v1.27.9", Verdict::Fail)]
    {
        let cluster = good().with("/version", json!({"gitVersion": version}));
        let (found, is_there) = apis::reachable(&cluster, &requires);
        assert_eq!((found[1].id, found[1].verdict, is_there), ("cluster/version", verdict, true));
    }
}

#[test]
fn what_we_may_not_do_is_found_for_each_kind_and_verb() {
    let mut cluster = good();
    cluster.denied.insert("patch deployments".to_string());
    cluster.denied.insert("delete deployments".to_string());
    let fact = only(&findings(&cluster), "cluster/rbac", Verdict::Fail);
    assert_eq!(fact, "we may not delete, patch deployments.apps in namespace n");
}

#[test]
fn a_namespace_is_there_comes_along_or_is_missing() {
    let mut cluster = good();
    cluster.holds.remove("/api/v1/namespaces/n");
    let fact = only(&findings(&cluster), "cluster/namespace", Verdict::Fail);
    assert!(fact.contains("no namespace n"), "{fact}");
    let mut objects = workload();
    objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}));
    let found = findings_of(&cluster, objects, &Requires::default(), 60);
    assert!(found.iter().all(|finding| finding.verdict == Verdict::Pass), "{found:?}");
    let going = good().with("/api/v1/namespaces/n", json!({"status": {"phase": "Terminating"}}));
    only(&findings(&going), "cluster/namespace", Verdict::Fail);
}

#[test]
fn a_pod_in_trouble_and_a_workload_that_is_not_ready_are_named() {
    let crashing = json!({"metadata": {"name": "old"}, "status": {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
    let cluster = good().with_items("/api/v1/namespaces/n/pods", &[crashing]);
    let fact = only(&findings(&cluster), "cluster/namespace-health", Verdict::Fail);
    assert_eq!(fact, "in namespace n: pod old, container c: CrashLoopBackOff");
    let stuck = json!({"metadata": {"name": "db"}, "spec": {"replicas": 1}, "status": {}});
    let cluster = good().with_items("/apis/apps/v1/namespaces/n/deployments", &[stuck]);
    only(&findings(&cluster), "cluster/namespace-health", Verdict::Fail);
}

#[test]
fn a_secret_that_is_missing_or_lacks_a_key_is_named_and_none_of_it_shown() {
    let mut cluster = good();
    cluster.holds.remove("/api/v1/namespaces/n/secrets/password");
    let fact = only(&findings(&cluster), "cluster/secrets", Verdict::Fail);
    assert_eq!(fact, "there is no secret n/password");
    let other =
        good().with("/api/v1/namespaces/n/secrets/password", json!({"data": {"other": "aHVudGVyMg=="}}));
    let found = findings(&other);
    assert_eq!(only(&found, "cluster/secrets", Verdict::Fail), "secret n/password has no key key");
    assert!(!format!("{found:?}").contains("aHVu"));
    let mut objects = workload();
    objects.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"}, "stringData": {"key": "x"}}));
    let found = findings_of(&cluster, objects, &Requires::default(), 60);
    assert!(found.iter().all(|finding| finding.verdict == Verdict::Pass), "{found:?}");
}

#[test]
fn a_storage_class_that_is_missing_is_named_with_those_that_are_there() {
    let cluster = good().with_items("/apis/storage.k8s.io/v1/storageclasses", &[class("slow")]);
    let fact = only(&findings(&cluster), "cluster/storage-class", Verdict::Fail);
    assert_eq!(fact, "there is no storage class fast; the cluster has slow");
    let mut objects = workload();
    objects[1]["spec"].as_object_mut().unwrap().remove("storageClassName");
    let fact = only(
        &findings_of(&good(), objects, &Requires::default(), 60),
        "cluster/storage-class",
        Verdict::Fail,
    );
    assert_eq!(fact, "there is no default storage class; the cluster has fast");
}

#[test]
fn a_quota_leaves_the_headroom_and_an_upgrade_counts_by_its_difference() {
    let cluster = good().with_items("/api/v1/namespaces/n/resourcequotas", &[quota("4")]);
    let fact = only(&findings(&cluster), "cluster/quota", Verdict::Fail);
    assert!(fact.contains("requests.cpu is used up to 1 of 4, and would be up to 3"), "{fact}");
    assert!(
        findings_of(&cluster, workload(), &Requires::default(), 75)
            .iter()
            .all(|f| f.verdict == Verdict::Pass)
    );
    // The same is there already.
    let mut now = workload();
    now[0]["metadata"]["namespace"] = json!("n");
    let mut small = quota("1");
    small["status"]["used"]["requests.cpu"] = json!("2");
    let cluster = good()
        .with_items("/api/v1/namespaces/n/resourcequotas", &[small])
        .with("/apis/apps/v1/namespaces/n/deployments/web", now[0].clone());
    let fact = only(&findings(&cluster), "cluster/quota", Verdict::Warn);
    assert!(fact.contains("adds nothing"), "{fact}");
}

#[test]
fn a_container_without_numbers_is_refused_by_a_quota_unless_the_namespace_gives_some() {
    let mut objects = workload();
    objects[0]["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("resources");
    let fact = only(
        &findings_of(&good(), objects.clone(), &Requires::default(), 60),
        "cluster/quota",
        Verdict::Fail,
    );
    assert_eq!(fact, "a container of Deployment n/web says nothing of requests.cpu");
    let range = json!({"spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m"}}]}});
    let cluster = good().with_items("/api/v1/namespaces/n/limitranges", &[range]);
    let found = findings_of(&cluster, objects, &Requires::default(), 60);
    assert!(found.iter().all(|finding| finding.verdict == Verdict::Pass), "{found:?}");
}

#[test]
fn nodes_leave_the_headroom_and_every_pod_has_one() {
    let cluster = good().with_items("/api/v1/nodes", &[node("3")]);
    let fact = only(&findings(&cluster), "cluster/capacity", Verdict::Fail);
    assert_eq!(fact, "cpu: 0 of the nodes' 3 are requested, and 2 would be");
    let small = ["one", "two", "three", "four"].map(|name| {
        let mut node = node("900m");
        node["metadata"]["name"] = json!(name);
        node
    });
    let cluster = good().with_items("/api/v1/nodes", &small);
    let fact = only(&findings(&cluster), "cluster/capacity", Verdict::Fail);
    assert!(fact.contains("one lacks cpu 1 (900m is free)"), "{fact}");
    let mut objects = workload();
    objects[0]["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"});
    let fact =
        only(&findings_of(&good(), objects, &Requires::default(), 60), "cluster/capacity", Verdict::Fail);
    assert_eq!(fact, "none of the 1 nodes takes pods of Deployment n/web");
    let mut tainted = node("8");
    tainted["spec"] = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
    only(
        &findings(&good().with_items("/api/v1/nodes", &[tainted.clone()])),
        "cluster/capacity",
        Verdict::Fail,
    );
    let mut objects = workload();
    objects[0]["spec"]["template"]["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}]);
    let found =
        findings_of(&good().with_items("/api/v1/nodes", &[tainted]), objects, &Requires::default(), 60);
    assert!(found.iter().all(|finding| finding.verdict == Verdict::Pass), "{found:?}");
}

#[test]
fn a_check_that_may_not_look_says_so_and_the_others_go_on() {
    let mut cluster = good();
    cluster.forbidden.insert("/api/v1/nodes".to_string());
    let fact = only(&findings(&cluster), "cluster/capacity", Verdict::Warn);
    assert!(fact.contains("nobody may look here"), "{fact}");
}

#[test]
fn every_id_has_a_row_in_the_catalogue() {
    for id in [
        "reachable",
        "version",
        "apis",
        "namespace",
        "namespace-health",
        "rbac",
        "secrets",
        "storage-class",
        "quota",
        "capacity",
        "objects",
        "conflict",
        "owner",
    ] {
        assert!(crate::preflight::catalogue::of(&format!("cluster/{id}")).is_some(), "{id}");
    }
}
