//! Each check of a cluster has a site on which only it fails, against a real API server: what a bundle needs is
//! there, but for one thing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod ingredients;
mod onsite;

use std::path::Path;

use e2e::World;
use edge::Exit;
use ingredients::{image, layer, write_layout};
use onsite::{another_site, build, site_yaml};
use serde_json::{Value, json};
use testkit::certificates::Certificates;
use testkit::{Cluster, Node};

const IMAGE: &str = "registry.example.com/shop/web:1";

struct Scene {
    cluster: &'static Cluster,
    namespace: String,
    sender: World,
    site: World,
}

impl Scene {
    /// A namespace with everything that [`needs_all`] needs, and room for it.
    fn new() -> Option<Self> {
        let cluster = Cluster::shared()?;
        let namespace = cluster.namespace("checks");
        let sender = World::new();
        sender.trust();
        let site = another_site(&sender);
        let scene = Self { cluster, namespace, sender, site };
        scene.target(&cluster.kubeconfig());
        scene.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": {"password": "hunter2hunter2"}}));
        scene.quota("4");
        Some(scene)
    }

    fn target(&self, kubeconfig: &Path) {
        site_yaml(&self.site, &[format!("kubernetes: {{kubeconfig: {}}}", kubeconfig.display())]);
    }

    fn put(&self, mut object: Value) {
        object["metadata"]["namespace"] = json!(self.namespace);
        self.cluster.apply(&object.to_string());
    }

    fn quota(&self, cpu: &str) {
        self.put(json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "compute"}, "spec": {"hard": {"requests.cpu": cpu}}}));
        let of_it = ["resourcequota", "compute", "--namespace", &self.namespace];
        self.cluster.wait_until("the quota is counted", || {
            self.cluster.get(&of_it)["status"]["hard"]["requests.cpu"] == cpu
        });
    }

    /// Packs these, and gives the checks that fail, each with what it says.
    fn failing(&self, objects: &[Value]) -> Vec<(String, String)> {
        self.failing_in(&self.namespace, objects)
    }

    /// The same for a bundle that requires this.
    fn failing_requiring(&self, requires: &str) -> Vec<(String, String)> {
        self.failing_of(&self.namespace, &needs_all(), &format!("requires: {requires}\n"))
    }

    fn failing_in(&self, namespace: &str, objects: &[Value]) -> Vec<(String, String)> {
        self.failing_of(namespace, objects, "")
    }

    fn failing_of(&self, namespace: &str, objects: &[Value], more: &str) -> Vec<(String, String)> {
        let _ = std::fs::remove_dir_all(self.sender.path("k8s"));
        for (number, object) in objects.iter().enumerate() {
            self.sender.write(&format!("k8s/{number:02}.json"), object.to_string());
        }
        write_layout(&self.sender, "images", &[("web", &image("amd64", &[layer(1, 500)]))]);
        let rest = format!(
            "images: [{{source: 'oci:images:web', name: '{IMAGE}'}}]\nmanifests: [{{source: k8s/, namespace: {namespace}}}]\n{more}"
        );
        build(&self.sender, "1", 1, &rest, "1.tar");
        let bundle = self.sender.path("1.tar");
        let ran = self.site.installer(&["--output", "json", "preflight", bundle.to_str().unwrap()]);
        let document = ran.json();
        let findings = document["findings"].as_array().unwrap().iter();
        let failing: Vec<_> = findings
            .filter(|finding| finding["verdict"] == "fail")
            .map(|finding| {
                (finding["id"].as_str().unwrap().to_string(), finding["fact"].as_str().unwrap().to_string())
            })
            .collect();
        assert_eq!(ran.exit, if failing.is_empty() { Exit::Done } else { Exit::NotReady }, "{failing:?}");
        assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
        failing
    }
}

/// A deployment that asks for a secret and a processor, and a claim on storage.
fn needs_all() -> Vec<Value> {
    vec![
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{
                "name": "web", "image": IMAGE, "resources": {"requests": {"cpu": "1"}},
                "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}}],
            }]}},
        }}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ]
}

/// Fails unless this check alone does, and gives what it says.
fn only(failing: &[(String, String)], id: &str) -> String {
    assert!(failing.len() == 1 && failing[0].0 == id, "{id}: {failing:?}");
    failing[0].1.clone()
}

fn has(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_cluster_that_has_everything_fails_no_check() {
    let Some(scene) = Scene::new() else { return };
    assert_eq!(scene.failing(&needs_all()), []);
}

#[test]
fn a_quota_that_is_too_small_is_found() {
    let Some(scene) = Scene::new() else { return };
    scene.quota("3");
    let said = only(&scene.failing(&needs_all()), "cluster/quota");
    has(&said, &["compute", "requests.cpu is used up to 0 of 3, and would be up to 2"]);
}

#[test]
fn pods_that_fit_on_no_node_are_found() {
    let Some(scene) = Scene::new() else { return };
    scene.quota("64");
    let mut objects = needs_all();
    objects[0]["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "s390x"});
    let said = only(&scene.failing(&objects), "cluster/capacity");
    has(&said, &["nodes takes pods of Deployment", "/web"]);
    // On a small machine all pods together are too much, although each has a node.
    let Some(small) = Cluster::start(&[Node { cpu: "3", ..Node::default() }]) else { return };
    let place = small.namespace("small");
    scene.target(&small.kubeconfig());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": place}, "stringData": {"password": "hunter2hunter2"}});
    small.apply(&secret.to_string());
    let said = only(&scene.failing_in(&place, &needs_all()), "cluster/capacity");
    has(&said, &["cpu: 0 of the nodes' 3 are requested, and 2 would be"]);
}

#[test]
fn a_secret_that_is_not_there_is_found_and_one_without_the_key() {
    let Some(scene) = Scene::new() else { return };
    scene.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}, "stringData": {"name": "hunter2hunter2"}}));
    let mut objects = needs_all();
    let variable = "/spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef/name";
    *objects[0].pointer_mut(variable).unwrap() = json!("absent");
    has(&only(&scene.failing(&objects), "cluster/secrets"), &["there is no secret", "/absent"]);
    *objects[0].pointer_mut(variable).unwrap() = json!("other");
    has(&only(&scene.failing(&objects), "cluster/secrets"), &["/other has no key password"]);
}

#[test]
fn a_pod_that_crashes_in_the_namespace_is_found() {
    let Some(scene) = Scene::new() else { return };
    scene.put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "old", "annotations": {"airlock.test/pod": "crashing"}},
        "spec": {"containers": [{"name": "c", "image": IMAGE, "resources": {"requests": {"cpu": "10m"}}}]}}));
    let pod = ["pod", "old", "--namespace", &scene.namespace];
    scene.cluster.wait_until("the pod crashes", || {
        let status = scene.cluster.get(&pod)["status"].to_string();
        status.contains("CrashLoopBackOff")
    });
    has(&only(&scene.failing(&needs_all()), "cluster/namespace-health"), &["pod old", "CrashLoopBackOff"]);
}

#[test]
fn a_storage_class_that_is_not_there_is_found() {
    let Some(scene) = Scene::new() else { return };
    let mut objects = needs_all();
    objects[1]["spec"]["storageClassName"] = json!("fast");
    has(&only(&scene.failing(&objects), "cluster/storage-class"), &["no storage class fast", "simulated"]);
}

#[test]
fn a_kind_that_the_cluster_does_not_serve_is_found() {
    let Some(scene) = Scene::new() else { return };
    let mut objects = needs_all();
    objects.push(
        json!({"apiVersion": "monitoring.example.org/v1", "kind": "Monitor", "metadata": {"name": "m"}}),
    );
    has(&only(&scene.failing(&objects), "cluster/apis"), &["monitoring.example.org/v1/Monitor"]);
}

#[test]
fn what_the_bundle_requires_of_a_cluster_is_looked_for_there() {
    let Some(scene) = Scene::new() else { return };
    has(
        &only(&scene.failing_requiring("{kubernetes: \"<1.20\"}"), "cluster/version"),
        &["it is Kubernetes v1."],
    );
    let apis = scene.failing_requiring("{apis: [monitoring.example.org/v1/Monitor, apps/v1/Deployment]}");
    has(&only(&apis, "cluster/apis"), &["monitoring.example.org/v1/Monitor"]);
    let classes = scene.failing_requiring("{storageClasses: [fast, simulated]}");
    has(&only(&classes, "cluster/storage-class"), &["no storage class fast"]);
    let place = &scene.namespace;
    let secrets =
        scene.failing_requiring(&format!("{{secrets: [{place}/login:password, {place}/login:absent]}}"));
    has(&only(&secrets, "cluster/secrets"), &["/login has no key absent"]);
    let met = format!("{{kubernetes: \">=1.28\", secrets: [{place}/login], storageClasses: [simulated]}}");
    assert_eq!(scene.failing_requiring(&met), []);
    site_yaml(&scene.site, &[]);
    has(&only(&scene.failing_requiring(&met), "cluster/reachable"), &["site.yaml names none"]);
}

#[test]
fn a_namespace_that_nobody_makes_is_found() {
    let Some(scene) = Scene::new() else { return };
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {}});
    let absent = format!("{}-absent", scene.namespace);
    has(&only(&scene.failing_in(&absent, std::slice::from_ref(&object)), "cluster/namespace"), &[&absent]);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": absent}});
    assert_eq!(scene.failing_in(&absent, &[object, namespace]), []);
}

#[test]
fn an_object_that_the_api_server_refuses_is_found() {
    let Some(scene) = Scene::new() else { return };
    let mut objects = needs_all();
    objects[0]["spec"]["template"]["metadata"]["labels"] = json!({"app": "another"});
    has(&only(&scene.failing(&objects), "cluster/objects"), &["Deployment", "selector"]);
}

/// Somebody who may do this in the namespace, and look at the rest of the cluster.
fn user(scene: &Scene, verbs: &str) -> std::path::PathBuf {
    let name = format!("user-{}", scene.namespace);
    let kubeconfig = scene.cluster.user(&name, &[]);
    let place = &scene.namespace;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "installer", "namespace": place},
        "rules": [{"apiGroups": ["", "apps"], "resources": ["*"], "verbs": verbs.split(',').collect::<Vec<_>>()}]});
    let subject = json!([{"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}]);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "installer", "namespace": place},
        "roleRef": {"kind": "Role", "name": "installer", "apiGroup": "rbac.authorization.k8s.io"}, "subjects": subject});
    let looks = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": "looker", "apiGroup": "rbac.authorization.k8s.io"}, "subjects": subject});
    let looker = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "looker"},
        "rules": [{"apiGroups": ["", "storage.k8s.io"], "resources": ["nodes", "pods", "namespaces", "storageclasses"], "verbs": ["get", "list"]}]});
    for object in [role, binding, looker, looks] {
        scene.cluster.apply(&object.to_string());
    }
    kubeconfig
}

#[test]
fn what_we_may_not_do_is_found_for_each_kind_and_verb() {
    let Some(scene) = Scene::new() else { return };
    scene.target(&user(&scene, "get,list,create,patch,update"));
    let failing = scene.failing(&needs_all());
    let said: Vec<&str> = failing.iter().map(|(_, fact)| fact.as_str()).collect();
    assert!(failing.iter().all(|(id, _)| id == "cluster/rbac"), "{failing:?}");
    let place = format!("in namespace {}", scene.namespace);
    let mut wanted = [
        format!("we may not delete deployments.apps {place}"),
        format!("we may not delete persistentvolumeclaims {place}"),
    ];
    wanted.sort();
    let mut said = said.into_iter().map(ToString::to_string).collect::<Vec<_>>();
    said.sort();
    assert_eq!(said, wanted);
}

#[test]
fn whoever_may_do_what_is_needed_and_no_more_passes() {
    let Some(scene) = Scene::new() else { return };
    scene.target(&user(&scene, "get,list,create,patch,update,delete"));
    assert_eq!(scene.failing(&needs_all()), []);
}

#[test]
fn a_cluster_that_does_not_answer_a_foreign_certificate_and_a_login_that_does_not_count_are_told_apart() {
    let Some(scene) = Scene::new() else { return };
    let kubeconfig = std::fs::read_to_string(scene.cluster.kubeconfig()).unwrap();
    let set = |name: &str, arguments: &[&str]| {
        let path = scene.site.write(&format!("{name}.kubeconfig"), &kubeconfig);
        let context = scene
            .cluster
            .kubectl_as(
                &path,
                &[
                    "config",
                    "view",
                    "--minify",
                    "--output=jsonpath={.contexts[0].context.cluster} {.contexts[0].context.user}",
                ],
            )
            .unwrap();
        let (cluster, user) = context.split_once(' ').unwrap();
        let arguments: Vec<String> =
            arguments.iter().map(|word| word.replace("CLUSTER", cluster).replace("USER", user)).collect();
        scene.cluster.kubectl_as(&path, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        scene.target(&path);
        only(&scene.failing(&needs_all()), "cluster/reachable")
    };
    let silent = set("silent", &["config", "set-cluster", "CLUSTER", "--server=https://127.0.0.1:1"]);
    has(&silent, &["cannot be reached"]);
    std::fs::create_dir(scene.site.path("certificates")).unwrap();
    let Some(other) = Certificates::make(&scene.site.path("certificates")) else { return };
    let ca = format!("--certificate-authority={}", other.ca.display());
    let foreign = set("foreign", &["config", "set-cluster", "CLUSTER", &ca, "--embed-certs=true"]);
    has(&foreign, &["certificates do not fit"]);
    let path = scene.site.write("nobody.kubeconfig", &kubeconfig);
    let users = scene
        .cluster
        .kubectl_as(&path, &["config", "view", "--minify", "--output=jsonpath={.users[0].name}"])
        .unwrap();
    for key in ["client-certificate-data", "client-key-data", "client-certificate", "client-key"] {
        let _ = scene.cluster.kubectl_as(&path, &["config", "unset", &format!("users.{users}.{key}")]);
    }
    scene.cluster.kubectl_as(&path, &["config", "set-credentials", &users, "--token=not-one"]).unwrap();
    scene.target(&path);
    has(&only(&scene.failing(&needs_all()), "cluster/reachable"), &["does not accept the login"]);
}
