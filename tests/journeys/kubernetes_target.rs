//! Kubernetes manifests of a bundle on site, against a real API server with its controllers: applied, changed,
//! pruned, and put back field by field; what others manage and what others have made is left alone; what does
//! not get ready is undone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod daemons;
mod ingredients;
mod onsite;

use std::collections::BTreeMap;

use daemons::{Cut, Moments};
use e2e::{Ran, World};
use edge::Exit;
use ingredients::{image, layer, write_layout};
use installer::admit;
use installer::apply::ApplyError;
use installer::site::Site;
use installer::targets::{Context, kubernetes};
use onsite::{
    another_site, audit_holds, build, fails_alone, installer, says, site_yaml, wait_until, with_run,
};
use serde_json::{Value, json};
use testkit::{Cluster, RealRegistry, RealRegistryOptions};

const IMAGE: &str = "registry.example.com/shop/web:1";
const PASSWORD: &str = "correct-horse-battery";

/// One namespace of the cluster that all tests share, a site that may change it, and somebody who sends bundles.
struct Scene {
    cluster: &'static Cluster,
    namespace: String,
    sender: World,
    site: World,
}

impl Scene {
    /// Nothing, after saying so, where no cluster can be started.
    fn new(more: &str) -> Option<Self> {
        let cluster = Cluster::shared()?;
        let namespace = cluster.namespace("shop");
        let sender = World::new();
        sender.trust();
        let site = another_site(&sender);
        let scene = Self { cluster, namespace, sender, site };
        scene.target(more);
        Some(scene)
    }

    fn target(&self, more: &str) {
        let kubeconfig = self.cluster.kubeconfig();
        site_yaml(&self.site, &[format!("kubernetes: {{kubeconfig: {}{more}}}", kubeconfig.display())]);
    }

    /// A bundle with these objects, one file for each.
    fn bundle(&self, version: &str, sequence: u64, objects: &[Value]) {
        let _ = std::fs::remove_dir_all(self.sender.path("k8s"));
        for (number, object) in objects.iter().enumerate() {
            self.sender.write(&format!("k8s/{number:02}.json"), object.to_string());
        }
        write_layout(&self.sender, "images", &[("web", &image("amd64", &[layer(1, 500)]))]);
        let rest = format!(
            "images: [{{source: 'oci:images:web', name: '{IMAGE}'}}]\nmanifests: [{{source: k8s/, namespace: {}}}]\n",
            self.namespace
        );
        build(&self.sender, version, sequence, &rest, &format!("{version}.tar"));
    }

    fn apply(&self, version: &str) -> Ran {
        let bundle = self.sender.path(&format!("{version}.tar"));
        self.site.installer(&["apply", bundle.to_str().unwrap(), "--yes"])
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let placed = [arguments, &["--namespace", &self.namespace]].concat();
        self.cluster.kubectl(&placed)
    }

    /// What people and bundles say of every object in the namespace, and who manages which field of it.
    fn objects(&self) -> BTreeMap<String, Value> {
        let kinds = "configmaps,secrets,services,deployments.apps,jobs.batch";
        let list = self.cluster.get(&[kinds, "--namespace", &self.namespace, "--show-managed-fields"]);
        let items = list["items"].as_array().unwrap().iter();
        let named = |object: &Value| {
            let title = format!(
                "{} {}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            );
            (title, said(object))
        };
        items.map(named).filter(|(title, _)| !title.contains("kube-root-ca.crt")).collect()
    }

    fn titles(&self) -> Vec<String> {
        self.objects().into_keys().collect()
    }
}

fn said(object: &Value) -> Value {
    let mut object = object.clone();
    let managers = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    // What controllers report of an object, and how often they have, is theirs.
    let of_people = managers.iter().filter(|manager| {
        manager.get("subresource").is_none() && manager["manager"] != "kube-controller-manager"
    });
    let managers: Vec<Value> = of_people
        .map(|manager| json!([manager["manager"], manager["operation"], manager["fieldsV1"]]))
        .collect();
    object.as_object_mut().unwrap().remove("status");
    let metadata = object["metadata"].as_object_mut().unwrap();
    for counted in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
        metadata.remove(counted);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("deployment.kubernetes.io/revision");
    }
    metadata.insert("managers".to_string(), managers.into());
    object
}

fn settings(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data})
}

fn secret(password: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": {"password": password}})
}

fn only(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// Pods go as `how` says: see `scripts/cluster.d/simulation.yaml`.
fn web(replicas: u64, how: Option<&str>) -> Value {
    let annotations = how.map_or(json!({}), |how| json!({"airlock.test/pod": how}));
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}, "annotations": annotations},
            "spec": {"containers": [{"name": "web", "image": IMAGE, "env": [{"name": "R", "value": replicas.to_string()}]}]}},
    }})
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}})
}

/// Two versions: of the first one object goes, one comes with the second, and three change.
fn two_versions(scene: &Scene) {
    let first =
        [settings(json!({"a": "one"})), secret(PASSWORD), web(1, None), service(), only("first-only")];
    scene.bundle("1", 1, &first);
    let second = [
        settings(json!({"a": "two", "b": "new"})),
        secret("another-secret-word"),
        web(2, None),
        service(),
        only("second-only"),
    ];
    scene.bundle("2", 2, &second);
}

#[test]
fn an_upgrade_changes_and_prunes_and_a_rollback_leaves_everything_as_before() {
    let Some(scene) = Scene::new("") else { return };
    two_versions(&scene);
    scene.apply("1").ok();
    let before = scene.objects();
    assert!(
        before["Deployment web"]["metadata"]["annotations"]["airlock/product"] == "acme/demo",
        "{before:?}"
    );
    let again = scene.apply("1").ok();
    assert!(again.stdout.contains("everything is in place already"), "{}", again.stdout);

    let plan = scene.site.installer(&["plan", scene.sender.path("2.tar").to_str().unwrap()]).ok();
    assert!(
        plan.stdout.contains("delete ConfigMap") && plan.stdout.contains("first-only"),
        "{}",
        plan.stdout
    );
    assert_eq!(scene.objects(), before, "a plan changed something");
    let applied = scene.apply("2").ok();
    let after = scene.objects();
    assert_eq!(after["Deployment web"]["spec"]["replicas"], 2);
    assert_eq!(after["ConfigMap settings"]["data"], json!({"a": "two", "b": "new"}));
    assert!(!after.contains_key("ConfigMap first-only") && after.contains_key("ConfigMap second-only"));
    assert!(!format!("{}{}", plan.stdout, applied.stdout).contains("another-secret-word"));

    scene.site.installer(&["rollback", "--yes"]).ok();
    assert_eq!(scene.objects(), before);
    audit_holds(&scene.site);
}

#[test]
fn no_value_of_a_secret_is_in_plan_log_journal_or_error() {
    let Some(scene) = Scene::new("") else { return };
    scene.bundle("1", 1, &[secret(PASSWORD)]);
    scene.apply("1").ok();
    // One that the API server refuses, and quotes.
    let bad = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bad"}, "data": {"password": PASSWORD}});
    scene.bundle("2", 2, &[secret("another-secret-word"), bad]);
    let refused = scene.apply("2").expect_exit(Exit::NotReady);
    says(&refused, &["cluster/objects", "Secret"]);
    for place in ["audit", "journal"] {
        for (path, _) in scene.site.snapshot(&format!("site/{place}")) {
            // The old value of what is changed is kept there until it is not needed for a way back any more.
            if path.is_file() && !path.display().to_string().contains(".kept") {
                let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                assert!(
                    !text.contains(PASSWORD) && !text.contains("another-secret-word"),
                    "{}",
                    path.display()
                );
            }
        }
    }
    assert!(!format!("{}{}", refused.stdout, refused.stderr).contains(PASSWORD), "{}", refused.stderr);
}

#[test]
fn a_field_of_somebody_else_fails_the_checks_by_name_and_is_taken_only_with_force() {
    let Some(scene) = Scene::new("") else { return };
    let theirs = settings(json!({"a": "theirs", "c": "kept"})).to_string();
    scene.site.write("theirs.json", &theirs);
    let file = scene.site.path("theirs.json").display().to_string();
    scene.kubectl(&["apply", "--server-side", "--field-manager=somebody", "--filename", &file]);
    scene.bundle("1", 1, &[settings(json!({"a": "ours"}))]);
    let before = scene.objects();
    let ran = scene.apply("1").expect_exit(Exit::NotReady);
    says(&ran, &["cluster/conflict", "somebody", ".data.a", "targets.kubernetes.force"]);
    fails_alone(&ran.stderr, "cluster/conflict");
    assert_eq!(scene.objects(), before);

    scene.target(", force: true");
    scene.apply("1").ok();
    let now = &scene.objects()["ConfigMap settings"];
    assert_eq!(now["data"], json!({"a": "ours", "c": "kept"}));
    // It was there before us: it is not marked, and no later version deletes it.
    assert!(now["metadata"].get("annotations").is_none(), "{now}");
    scene.bundle("2", 2, &[only("other")]);
    let applied = scene.apply("2").ok();
    assert!(applied.stdout.contains("settings stays"), "{}", applied.stdout);
    assert!(scene.titles().contains(&"ConfigMap settings".to_string()));
}

#[test]
fn an_object_of_another_product_is_left_to_it() {
    let Some(scene) = Scene::new("") else { return };
    let mut theirs = settings(json!({"a": "1"}));
    theirs["metadata"]["annotations"] = json!({"airlock/product": "acme/other"});
    scene.cluster.apply(&{
        theirs["metadata"]["namespace"] = json!(scene.namespace);
        theirs.to_string()
    });
    scene.bundle("1", 1, &[settings(json!({"b": "2"}))]);
    let ran = scene.apply("1").expect_exit(Exit::NotReady);
    says(&ran, &["cluster/owner", "acme/other"]);
    fails_alone(&ran.stderr, "cluster/owner");
}

#[test]
fn what_does_not_get_ready_is_undone_and_everything_is_as_before() {
    let Some(scene) = Scene::new(", within: 15s") else { return };
    scene.bundle("1", 1, &[settings(json!({"a": "one"})), web(1, None), only("first-only")]);
    scene.apply("1").ok();
    let before = scene.objects();
    let second = [settings(json!({"a": "two"})), web(1, Some("unpullable")), only("second-only")];
    scene.bundle("2", 2, &second);
    let ran = scene.apply("2").expect_exit(Exit::Undone);
    says(&ran, &["Deployment", "web", "ImagePullBackOff", "everything was undone"]);
    assert_eq!(scene.objects(), before);
    audit_holds(&scene.site);
}

#[test]
fn an_undo_that_the_cluster_refuses_is_listed_and_the_rest_is_undone() {
    let Some(scene) = Scene::new(", within: 15s") else { return };
    scene.bundle("1", 1, &[settings(json!({"a": "one"})), only("first-only")]);
    scene.apply("1").ok();
    // What is immutable once is so for ever.
    let mut frozen = settings(json!({"a": "two"}));
    frozen["immutable"] = json!(true);
    let mut changed = only("first-only");
    changed["data"] = json!({"a": "2"});
    scene.bundle("2", 2, &[changed, frozen, web(1, Some("never-ready"))]);
    let ran = scene.apply("2").expect_exit(Exit::NotUndone);
    says(&ran, &["could not be undone", "settings", "immutable"]);
    let after = scene.objects();
    assert_eq!(after["ConfigMap first-only"]["data"], json!({"a": "1"}));
    assert!(!after.contains_key("Deployment web"));
}

#[test]
fn a_run_that_is_cut_off_at_any_moment_is_gone_on_with_or_taken_back() {
    let Some(scene) = Scene::new("") else { return };
    scene.bundle("1", 1, &[settings(json!({"a": "one"})), only("first-only")]);
    scene.apply("1").ok();
    let before = scene.objects();
    scene.bundle("2", 2, &[settings(json!({"a": "two"})), only("second-only")]);
    // Another bundle of the same content as the first: what it finds cut off it takes back.
    scene.bundle("3", 3, &[settings(json!({"a": "one"})), only("first-only")]);
    let bundle = scene.sender.path("2.tar");
    scene.apply("2").ok();
    let after = scene.objects();
    assert_ne!(after, before);
    scene.site.installer(&["rollback", "--yes"]).ok();
    assert_eq!(scene.objects(), before);
    let moments = Moments::default();
    with_run(&scene.site, &bundle, &moments, |run, plan| run.start(&plan)).unwrap();
    scene.site.installer(&["rollback", "--yes"]).ok();
    assert_eq!(scene.objects(), before);
    for (moment, step) in moments.0.into_inner() {
        let ended = with_run(&scene.site, &bundle, &Cut(moment, step), |run, plan| run.start(&plan));
        assert!(matches!(ended, Err(ApplyError::PowerCut(_))), "{moment} {step}: {ended:?}");
        scene.apply("2").ok();
        assert_eq!(scene.objects(), after, "{moment} {step}");
        scene.site.installer(&["rollback", "--yes"]).ok();
        assert_eq!(scene.objects(), before, "{moment} {step}");
    }
    let ended = with_run(&scene.site, &bundle, &Cut("performed", 0), |run, plan| run.start(&plan));
    assert!(matches!(ended, Err(ApplyError::PowerCut(_))), "{ended:?}");
    scene.apply("3").ok();
    assert_eq!(scene.objects(), before);
    audit_holds(&scene.site);
}

#[test]
fn an_installer_that_is_killed_while_it_waits_is_taken_up_by_the_next() {
    let Some(scene) = Scene::new("") else { return };
    scene.bundle("1", 1, &[settings(json!({"a": "one"})), web(1, Some("never-ready"))]);
    let bundle = scene.sender.path("1.tar");
    let mut process = installer(&scene.site, &["apply", bundle.to_str().unwrap(), "--yes"]).spawn().unwrap();
    wait_until(std::time::Duration::from_secs(300), "the deployment is there", || {
        scene.titles().contains(&"Deployment web".to_string())
    });
    process.kill().unwrap();
    process.wait().unwrap();
    let pods = ["annotate", "pods", "--all", "--overwrite", "airlock.test/pod-"];
    scene.cluster.wait_until("there is a pod to let go", || {
        scene
            .cluster
            .try_kubectl(&[&pods[..], &["--namespace", &scene.namespace]].concat())
            .is_ok_and(|said| said.contains("annotated"))
    });
    let ran = scene.apply("1").ok();
    assert!(ran.stdout.contains("interrupted"), "{}", ran.stdout);
    assert_eq!(scene.titles(), ["ConfigMap settings", "Deployment web"]);
    audit_holds(&scene.site);
}

#[test]
fn a_definition_comes_before_what_it_defines_and_stays_when_that_goes() {
    let Some(scene) = Scene::new("") else { return };
    let group = format!("{}.example.org", scene.namespace);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"size": {"type": "integer"}}}}}]},
    });
    let widget =
        json!({"apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": "w"}, "size": 1});
    scene.bundle("1", 1, &[widget, definition]);
    scene.apply("1").ok();
    let widgets = format!("widgets.{group}");
    assert!(scene.kubectl(&["get", &widgets, "--output=name"]).contains("/w"));
    scene.bundle("2", 2, &[only("other")]);
    let applied = scene.apply("2").ok();
    assert!(
        applied.stdout.contains("CustomResourceDefinition") && applied.stdout.contains("stays"),
        "{}",
        applied.stdout
    );
    assert_eq!(scene.kubectl(&["get", &widgets, "--output=name"]), "");
}

#[test]
fn images_of_manifests_get_their_names_in_the_sites_registry_by_digest() {
    let Some(scene) = Scene::new("") else { return };
    let Some(registry) = RealRegistry::start(RealRegistryOptions::default()) else { return };
    let kubeconfig = scene.cluster.kubeconfig();
    let targets = [
        format!("registry: {{url: \"{}\", prefix: mirror}}", registry.url()),
        format!("kubernetes: {{kubeconfig: {}, images: rewrite}}", kubeconfig.display()),
    ];
    site_yaml(&scene.site, &targets);
    scene.bundle("1", 1, &[web(1, None), settings(json!({"image": "not one"}))]);
    let applied = scene.apply("1").ok();
    assert!(applied.stdout.contains(&format!("image {IMAGE} becomes")), "{}", applied.stdout);
    let digest = image("amd64", &[layer(1, 500)]).root.digest;
    let host = registry.url().trim_start_matches("http://").to_string();
    let now = &scene.objects()["Deployment web"];
    let found = &now["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(*found, json!(format!("{host}/mirror/registry.example.com/shop/web@{digest}")));
    assert!(scene.apply("1").ok().stdout.contains("everything is in place already"));
    assert_eq!(drifted(&scene), Vec::<String>::new());
}

#[test]
fn drift_names_the_fields_that_somebody_has_changed_and_the_objects_that_are_gone() {
    let Some(scene) = Scene::new("") else { return };
    scene.bundle("1", 1, &[settings(json!({"a": "one"})), secret(PASSWORD), only("first-only")]);
    scene.apply("1").ok();
    assert_eq!(drifted(&scene), Vec::<String>::new());
    scene.kubectl(&["patch", "configmap", "settings", "--patch", "{\"data\":{\"a\":\"by hand\"}}"]);
    scene.kubectl(&[
        "patch",
        "secret",
        "login",
        "--patch",
        "{\"stringData\":{\"password\":\"by-hand-too\"}}",
    ]);
    scene.kubectl(&["delete", "configmap", "first-only"]);
    let place = &scene.namespace;
    let mut wanted = [
        format!("ConfigMap {place}/settings: Changed([\".data.a\"])"),
        format!("Secret {place}/login: Changed([\".data.password\"])"),
        format!("ConfigMap {place}/first-only: Missing"),
    ];
    wanted.sort();
    assert_eq!(drifted(&scene), wanted);
}

/// What of the bundle in `1.tar` is not as it was shipped.
fn drifted(scene: &Scene) -> Vec<String> {
    let (env, _, _) = scene.site.env("installer", &[]);
    let site = Site::at(scene.site.path("site"));
    let config = site.config().unwrap();
    let bundle =
        admit::verify(&site, &config, &scene.sender.path("1.tar"), &mut edge::progress::Silent).unwrap();
    let http = registry::Http::new(&registry::HttpSettings::default()).unwrap();
    let context = Context { site: &site, config: &config, env: &env, http: &http };
    let owner = kubernetes::owner(&bundle.manifest().publisher, &bundle.manifest().product);
    let target = config.targets.kubernetes.as_ref().unwrap();
    let found = kubernetes::drift(&bundle, &owner, target, &context).unwrap().into_iter();
    let mut told: Vec<String> = found
        .filter(|(_, drift)| *drift != kubernetes::Drift::AsShipped)
        .map(|(id, drift)| format!("{id}: {drift:?}"))
        .collect();
    told.sort();
    told
}
