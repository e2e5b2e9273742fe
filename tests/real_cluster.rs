//! The real Kubernetes API that other tests rely on does what they rely on: releases of both Helms become ready,
//! pods hang and crash when told to, strangers are refused, what no node could pull is found, and nothing
//! is left behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "journeys/ingredients.rs"]
mod ingredients;

use std::path::Path;
use std::process::{Command, Stdio};

use e2e::World;
use ingredients::{gzip, image, index, layer, tool};
use manifests::Digest;
use registry::{Http, HttpSettings, Registry};
use serde_json::json;
use testkit::{
    Cluster, ImageNames, Node, RealRegistry, RealRegistryOptions, Unresolved, real_part, unresolved_images,
};

/// A pod that runs for ever, or completes; its annotations are YAML.
fn pod(name: &str, image: &str, annotations: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  annotations: {{{annotations}}}\nspec:\n  \
         containers:\n    - name: main\n      image: \"{image}\"\n{more}---\n"
    )
}

/// Applies objects in a namespace of their own.
fn apply(cluster: &Cluster, name: &str, objects: &str) -> String {
    let namespace = cluster.namespace(name);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("objects.yaml");
    std::fs::write(&file, objects).unwrap();
    cluster.kubectl(&["apply", "--namespace", &namespace, "--filename", file.to_str().unwrap()]);
    namespace
}

/// Waits until a pod's status has this value there.
fn wait_for(cluster: &Cluster, namespace: &str, pod: &str, path: &str, value: &str) {
    let path = format!("--output=jsonpath={{{path}}}");
    let arguments = ["get", "pod", pod, "--namespace", namespace, &path];
    cluster.wait_until(&format!("{pod} {path} is {value}"), || cluster.kubectl(&arguments) == value);
}

const READY: &str = ".status.conditions[?(@.type==\"Ready\")].status";
const WAITS_FOR: &str = ".status.containerStatuses[0].state.waiting.reason";

/// How many processes name this directory on their command line.
fn processes(directory: &Path) -> usize {
    let name = directory.to_str().unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir("/proc").unwrap() {
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        count += usize::from(String::from_utf8_lossy(&line).contains(name));
    }
    count
}

#[test]
fn both_helms_install_a_chart_and_its_pods_become_ready() {
    let Some(cluster) = Cluster::shared() else { return };
    for helm in ["helm", "helm4"].into_iter().filter_map(real_part) {
        let world = World::new();
        world.write("chart/Chart.yaml", "apiVersion: v2\nname: service\nversion: 1.0.0\n");
        world.write(
            "chart/templates/service.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: service\nspec:\n  replicas: 2\n  selector: {matchLabels: {app: service}}\n  template:\n    metadata: {labels: {app: service}}\n    spec:\n      initContainers: [{name: before, image: example.com/before}]\n      containers: [{name: main, image: example.com/service}]\n",
        );
        world.write(
            "chart/templates/migrate.yaml",
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations: {helm.sh/hook: post-install}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{name: main, image: example.com/migrate}]\n",
        );
        let namespace = cluster.namespace("helm");
        let kubeconfig = cluster.kubeconfig();
        let arguments = ["upgrade", "--install", "service", "chart", "--wait", "--timeout", "5m"];
        let place = ["--namespace", &namespace, "--kubeconfig", kubeconfig.to_str().unwrap()];
        tool(&helm, &[&arguments[..], &place].concat(), world.dir());
        let pods = cluster.get(&["pods", "--namespace", &namespace, "--selector", "app=service"]);
        let pods = pods["items"].as_array().unwrap();
        assert_eq!(pods.len(), 2);
        for pod in pods {
            assert_eq!(pod["spec"]["nodeName"].as_str().map(|name| name.starts_with("node-")), Some(true));
            assert_eq!(pod["status"]["containerStatuses"][0]["ready"], true);
        }
        let status = cluster.kubectl(&[
            "get",
            "job",
            "migrate",
            "--namespace",
            &namespace,
            "--output=jsonpath={.status.succeeded}",
        ]);
        assert_eq!(status, "1");
        tool(&helm, &[&["uninstall", "service", "--wait"][..], &place].concat(), world.dir());
        cluster.wait_until("the pods are gone", || {
            let left = cluster.get(&["pods", "--namespace", &namespace, "--selector", "app=service"]);
            left["items"].as_array().unwrap().is_empty()
        });
    }
}

#[test]
fn somebody_without_a_role_is_refused_what_a_role_then_allows() {
    let Some(cluster) = Cluster::shared() else { return };
    let namespace = cluster.namespace("rbac");
    let stranger = cluster.user("stranger", &["readers"]);
    let ask = ["get", "pods", "--namespace", &namespace];
    let refusal = cluster.kubectl_as(&stranger, &ask).unwrap_err();
    assert!(refusal.contains("Forbidden") && refusal.contains("\"stranger\""), "{refusal}");
    let role = ["--namespace", &namespace, "--clusterrole=view", "--group=readers"];
    cluster.kubectl(&[&["create", "rolebinding", "readers"][..], &role].concat());
    cluster.wait_until("the role is in force", || cluster.kubectl_as(&stranger, &ask).is_ok());
    let refusal = cluster.kubectl_as(&stranger, &["get", "secrets", "--namespace", &namespace]).unwrap_err();
    assert!(refusal.contains("Forbidden"), "{refusal}");
}

#[test]
fn pods_hang_and_crash_and_fail_as_their_annotation_says_and_recover_without_it() {
    let Some(cluster) = Cluster::shared() else { return };
    let ways = ["never-ready", "crashing", "unpullable", "failing"];
    let mut objects: String =
        ways.iter().map(|way| pod(way, "x.test/x", &format!("airlock.test/pod: {way}"), "")).collect();
    objects.push_str(&pod("well", "x.test/x", "", ""));
    objects.push_str(&pod("done", "x.test/x", "", "  restartPolicy: Never\n"));
    let namespace = apply(cluster, "ways", &objects);
    wait_for(cluster, &namespace, "well", READY, "True");
    wait_for(cluster, &namespace, "never-ready", READY, "False");
    wait_for(cluster, &namespace, "never-ready", ".status.phase", "Running");
    wait_for(cluster, &namespace, "crashing", WAITS_FOR, "CrashLoopBackOff");
    wait_for(cluster, &namespace, "unpullable", WAITS_FOR, "ImagePullBackOff");
    wait_for(cluster, &namespace, "unpullable", ".status.phase", "Pending");
    wait_for(cluster, &namespace, "failing", ".status.phase", "Failed");
    wait_for(cluster, &namespace, "done", ".status.phase", "Succeeded");
    // The others had time meanwhile, and this one is still where it was.
    let still =
        ["wait", "pod/never-ready", "--for=condition=Ready", "--timeout=2s", "--namespace", &namespace];
    assert!(cluster.try_kubectl(&still).is_err());
    for way in ["never-ready", "crashing", "unpullable"] {
        cluster.kubectl(&["annotate", "pod", way, "airlock.test/pod-", "--namespace", &namespace]);
        wait_for(cluster, &namespace, way, READY, "True");
    }
    let crash = ["annotate", "pod", "well", "airlock.test/pod=crashing", "--namespace", &namespace];
    cluster.kubectl(&crash);
    wait_for(cluster, &namespace, "well", READY, "False");
}

#[test]
fn a_pod_waits_for_a_node_that_has_room_for_it() {
    let Some(cluster) = Cluster::shared() else { return };
    let large = "      resources: {requests: {cpu: \"12\"}}\n";
    let namespace = apply(cluster, "room", &pod("large", "x.test/x", "", large));
    wait_for(cluster, &namespace, "large", ".status.conditions[0].reason", "Unschedulable");
    cluster.add_node(&Node { name: "node-large", cpu: "16", ..Node::default() });
    wait_for(cluster, &namespace, "large", READY, "True");
    wait_for(cluster, &namespace, "large", ".spec.nodeName", "node-large");
}

#[test]
fn a_claim_is_bound_to_a_volume_which_can_be_claimed_again() {
    let Some(cluster) = Cluster::shared() else { return };
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:\n  accessModes: [ReadWriteOnce]\n  resources: {requests: {storage: 1Gi}}\n---\n";
    let mount = "  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]\n";
    let namespace = apply(cluster, "claim", &format!("{claim}{}", pod("user", "x.test/x", "", mount)));
    wait_for(cluster, &namespace, "user", READY, "True");
    let claim = cluster.get(&["persistentvolumeclaim", "data", "--namespace", &namespace]);
    let volume = claim["spec"]["volumeName"].as_str().unwrap();
    cluster.kubectl(&["delete", "namespace", &namespace]);
    let phase = ["get", "persistentvolume", volume, "--output=jsonpath={.status.phase}"];
    cluster.wait_until("the volume is free again", || cluster.kubectl(&phase) == "Available");
}

/// What was found about each image, for a test to compare: the image and a word of the reason.
fn reasons(unresolved: &[Unresolved]) -> Vec<(&str, &str)> {
    let words =
        ["is not there", "nothing for linux/arm64", "for linux/amd64", "not on the site", "is missing"];
    let known = |reason: &str| words.into_iter().find(|word| reason.contains(word));
    unresolved.iter().map(|found| (found.image.as_str(), known(&found.reason).unwrap_or("?"))).collect()
}

#[test]
fn an_image_that_the_site_lacks_for_the_platform_of_a_pods_node_is_found() {
    let Some(cluster) = Cluster::shared() else { return };
    let options = RealRegistryOptions { delete: true, ..RealRegistryOptions::default() };
    let Some(site) = RealRegistry::start(options) else { return };
    let registry = Registry::new(Http::new(&HttpSettings::default()).unwrap(), &site.url()).unwrap();
    cluster.add_node(&Node { name: "node-arm", architecture: "arm64", ..Node::default() });

    let (amd64, arm64) = (image("amd64", &[layer(1, 1000)]), image("arm64", &[layer(2, 1000)]));
    let both = index(&[("amd64", &amd64), ("arm64", &arm64)]);
    let one = index(&[("amd64", &amd64)]);
    both.push(&site.url(), "mirror/example.com/both", "v1");
    one.push(&site.url(), "mirror/example.com/one", "v1");
    amd64.push(&site.url(), "mirror/example.com/single", "v1");
    both.push(&site.url(), "both", "v1");

    let on = |arch: &str| format!("  nodeSelector: {{kubernetes.io/arch: {arch}}}\n");
    let pinned = format!("example.com/both:gone@{}", both.root.digest);
    let absent = format!("example.com/both@{}", one.root.digest);
    let objects = [
        pod("a", "example.com/both:v1", "", &on("amd64")),
        pod(
            "b",
            &pinned,
            "",
            &format!("  initContainers: [{{name: i, image: \"example.com/both:v2\"}}]\n{}", on("arm64")),
        ),
        pod("c", "example.com/one:v1", "", &on("amd64")),
        pod("d", "example.com/one:v1", "", &on("arm64")),
        pod("e", "example.com/single:v1", "", &on("amd64")),
        pod("f", "example.com/single:v1", "", &on("arm64")),
        pod("g", &absent, "", &on("amd64")),
    ];
    let namespace = apply(cluster, "images", &objects.concat());
    cluster.kubectl(&[
        "wait",
        "pod",
        "--all",
        "--for=condition=Ready",
        "--timeout=2m",
        "--namespace",
        &namespace,
    ]);
    let mirrored = ImageNames::Mirrored { prefix: Some("mirror") };
    let found = unresolved_images(cluster, &namespace, &registry, mirrored);
    let expected = [
        ("example.com/both:v2", "is not there"),
        ("example.com/one:v1", "nothing for linux/arm64"),
        ("example.com/single:v1", "for linux/amd64"),
        (absent.as_str(), "is not there"),
    ];
    assert_eq!(reasons(&found), expected, "{found:?}");
    let pods: Vec<&str> = found.iter().map(|found| found.pod.as_str()).collect();
    assert_eq!(pods, ["b", "d", "f", "g"]);

    // A debugging container that somebody has put into a pod is looked at too.
    let patch = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "example.com/debug:1"}]}});
    let debug =
        ["patch", "pod", "a", "--subresource=ephemeralcontainers", "--namespace", &namespace, "--patch"];
    cluster.kubectl(&[&debug[..], &[&patch.to_string()]].concat());
    let found = unresolved_images(cluster, &namespace, &registry, mirrored);
    assert_eq!((found.len(), found[0].image.as_str()), (5, "example.com/debug:1"));

    // References that were rewritten name the site's registry, and nothing else will do.
    let rewritten = [
        pod("a", &format!("{}/both:v1", site.host()), "", &on("arm64")),
        pod("b", "example.com/both:v1", "", &on("amd64")),
    ];
    let namespace = apply(cluster, "rewritten", &rewritten.concat());
    cluster.kubectl(&[
        "wait",
        "pod",
        "--all",
        "--for=condition=Ready",
        "--timeout=2m",
        "--namespace",
        &namespace,
    ]);
    let found = unresolved_images(cluster, &namespace, &registry, ImageNames::Rewritten);
    assert_eq!(reasons(&found), [("example.com/both:v1", "not on the site")], "{found:?}");

    // The manifest is there, and one of its layers is not.
    let lost = Digest::of(&gzip(&layer(2, 1000)));
    let link = format!("docker/registry/v2/repositories/both/_layers/sha256/{}", lost.hex());
    std::fs::remove_dir_all(site.storage().join(link)).unwrap();
    let found = unresolved_images(cluster, &namespace, &registry, ImageNames::Rewritten);
    assert_eq!(reasons(&found)[0].1, "is missing", "{found:?}");
}

#[test]
fn two_clusters_run_at_once_and_one_that_is_dropped_leaves_no_process() {
    let Some(shared) = Cluster::shared() else { return };
    let own = Cluster::start(&[Node { name: "node-own", ..Node::default() }]).unwrap();
    let names = |cluster: &Cluster| cluster.kubectl(&["get", "nodes", "--output=name"]);
    assert_eq!(names(&own), "node/node-own\n");
    assert!(names(shared).contains("node/node-1\n"), "{}", names(shared));
    let directory = own.path().to_path_buf();
    // Store, API server, controllers, scheduler, nodes, watchdog.
    assert_eq!(processes(&directory), 6);
    drop(own);
    assert_eq!(processes(&directory), 0);
    assert!(!directory.exists());
    assert!(names(shared).contains("node/node-1\n"));
}

#[test]
fn a_cluster_ends_with_whoever_started_it() {
    let Some(shared) = Cluster::shared() else { return };
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cluster");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/cluster");
    let mut starting = Command::new(script)
        .arg("start")
        .arg(&directory)
        .arg("--while-stdin")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // A process that ends, however it ends, closes its end of the pipe.
    let pipe = starting.stdin.take();
    assert!(starting.wait().unwrap().success());
    assert_eq!(processes(&directory), 6);
    drop(pipe);
    shared.wait_until("the cluster has ended", || processes(&directory) == 0);
    shared.wait_until("its files are gone", || !directory.exists());
}
