//! Releases of Helm, version 3 and 4, in a real Kubernetes API: installed, upgraded, taken back digest for digest,
//! wherever somebody pulls the plug; and everything that is found out before the first change.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod ingredients;
mod onsite;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e::{Ran, World};
use edge::Exit;
use installer::apply::{ApplyError, PowerCut, Unwatched, Watch};
use installer::plan::{Step, releases_to_remove};
use installer::site::Site;
use installer::targets::{self, Context};
use manifests::Digest;
use onsite::{audit_holds, build, installer, output, says, site_yaml, with_run};
use serde_json::Value;
use testkit::cluster::Cluster;
use testkit::real_part;

const WEB: &str = "registry.example.com:5000/shop/web";

/// One Helm, one namespace of the cluster, and one site.
struct Scene {
    world: World,
    cluster: &'static Cluster,
    helm: PathBuf,
    major: u32,
    namespace: String,
}

/// Does the same with each Helm that is there.
fn with_each_helm(name: &str, act: impl Fn(&Scene)) {
    let Some(cluster) = Cluster::shared() else { return };
    for (major, program) in [(3, "helm"), (4, "helm4")] {
        let Some(helm) = real_part(program) else { continue };
        let said = output(Command::new(&helm).args(["version", "--short"]));
        assert!(said.starts_with(&format!("v{major}.")), "{program} is {said}");
        let world = World::new();
        world.trust();
        let namespace = cluster.namespace(&format!("{name}-{major}"));
        let scene = Scene { world, cluster, helm, major, namespace };
        scene.site("");
        act(&scene);
    }
}

impl Scene {
    /// `site.yaml` with Helm, and with these keys of its target.
    fn site(&self, keys: &str) {
        let kubeconfig = self.cluster.kubeconfig();
        let (kubeconfig, helm) = (kubeconfig.display(), self.helm.display());
        let keys = if keys.contains("timeout") { keys.to_string() } else { format!("{keys}, timeout: 2m") };
        let keys = keys.trim_start_matches(", ");
        let files = format!("files: {{root: {}}}", self.world.path("root").display());
        let target = format!("helm: {{kubeconfig: {kubeconfig}, helm: {helm}, {keys}}}");
        std::fs::create_dir_all(self.world.path("root")).unwrap();
        site_yaml(&self.world, &[target, files]);
    }

    /// Values of this site for the chart.
    fn overlay(&self, text: &str) {
        self.world.write("site/overlay.yaml", text);
        let path = self.world.path("site/site.yaml");
        let yaml = std::fs::read_to_string(&path).unwrap();
        if !yaml.contains("values:") {
            std::fs::write(&path, format!("{yaml}values: {{web: [overlay.yaml]}}\n")).unwrap();
        }
    }

    /// A bundle with the chart, its image and a file. `values` are those that the bundle brings.
    fn bundle(&self, version: u32, values: &str) -> String {
        let world = &self.world;
        write_chart(world, version);
        world.write("values.yaml", format!("image: {WEB}:{version}\n{values}"));
        world.write("conf/version", version.to_string());
        let image = ingredients::image("amd64", &[ingredients::layer(u64::from(version), 100)]);
        let hook = ingredients::image("amd64", &[ingredients::layer(77, 100)]);
        ingredients::write_layout(world, "images", &[("web", &image), ("hook", &hook)]);
        let rest = format!(
            "images:\n- {{source: 'oci:images:web', name: '{WEB}:{version}'}}\n- {{source: 'oci:images:hook', name: '{WEB}-hook:7'}}\ncharts: [{{source: charts/web, release: web, namespace: {}, values: [values.yaml]}}]\nfiles: [{{source: conf/, dest: /etc/web}}]\n",
            self.namespace
        );
        let out = format!("{version}.tar");
        build(world, &version.to_string(), u64::from(version), &rest, &out);
        out
    }

    fn apply(&self, bundle: &str) -> Ran {
        self.world.installer(&["apply", bundle, "--yes"])
    }

    /// Helm as a person has it.
    fn helm(&self, args: &[&str]) -> String {
        output(&mut self.helm_command(args))
    }

    fn helm_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.helm);
        command.args(args).args(["--namespace", &self.namespace, "--kubeconfig"]);
        command.arg(self.cluster.kubeconfig()).current_dir(self.world.dir());
        command
    }

    fn history(&self) -> Vec<Value> {
        let output = self.helm_command(&["history", "web", "--output", "json"]).output().unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("not found"), "{said}");
            return Vec::new();
        }
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn status(&self) -> String {
        self.history()
            .last()
            .map_or("absent".to_string(), |last| last["status"].as_str().unwrap().to_string())
    }

    /// What Helm has of the release: objects and hooks.
    fn manifest(&self) -> Digest {
        let mut text = self.helm(&["get", "manifest", "web"]);
        text.push_str(&self.helm(&["get", "hooks", "web"]));
        Digest::of(text.as_bytes())
    }

    fn image_that_runs(&self) -> String {
        let found = self.cluster.get(&["deployment", "web", "--namespace", &self.namespace]);
        found["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_string()
    }

    fn file(&self) -> Option<String> {
        std::fs::read_to_string(self.world.path("root/etc/web/version")).ok()
    }

    /// Version 1, installed and running.
    fn installed(&self) -> Digest {
        let first = self.bundle(1, "");
        self.apply(&first).ok();
        assert_eq!((self.status().as_str(), self.file().as_deref()), ("deployed", Some("1")));
        self.manifest()
    }

    /// Everything is as version 1 left it.
    fn is_back(&self, manifest: Digest) {
        assert_eq!(self.status(), "deployed");
        assert_eq!(self.manifest(), manifest);
        assert_eq!(self.image_that_runs(), format!("{WEB}:1"));
        assert_eq!(self.file().as_deref(), Some("1"));
        audit_holds(&self.world);
    }

    /// A Helm that is the real one but for one subcommand.
    fn helm_that(&self, subcommand: &str, does: &str) -> PathBuf {
        let script = format!(
            "#!/bin/sh\n[ \"$1\" != {subcommand} ] || {{ {does}; }}\nexec {} \"$@\"\n",
            self.helm.display()
        );
        let path = self.world.write("bin/helm", script);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    /// `site.yaml` with another program for Helm.
    fn site_with(&self, helm: &Path, keys: &str) {
        self.site(keys);
        let path = self.world.path("site/site.yaml");
        let yaml = std::fs::read_to_string(&path).unwrap();
        let (own, other) = (self.helm.display().to_string(), helm.display().to_string());
        std::fs::write(&path, yaml.replace(&format!("helm: {own},"), &format!("helm: {other},"))).unwrap();
    }
}

/// A chart with a Deployment, a ConfigMap and, if its values ask for them, a hook and a custom resource.
fn write_chart(world: &World, version: u32) {
    let chart = format!("apiVersion: v2\nname: web\nversion: {version}.0.0\n");
    world.write("charts/web/Chart.yaml", chart);
    world.write(
        "charts/web/values.yaml",
        "replicas: 1\nstrategy: RollingUpdate\ntext: chart\npod: ''\nhook: ''\ncustom: ''\nbroken: ''\n",
    );
    world.write(
        "charts/web/templates/web.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: {{ .Values.replicas }}\n  strategy: {type: {{ .Values.strategy }}}\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata:\n      labels: {app: web}\n      annotations: {version: \"1.10\"{{ if .Values.pod }}, airlock.test/pod: {{ .Values.pod }}{{ end }}}\n    spec:\n      containers:\n      - name: web # the one\n        image: '{{ .Values.image }}'\n        args: [\"--sidecar-image={{ .Values.image }}\"]\n",
    );
    world.write(
        "charts/web/templates/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {text: \"{{ .Values.text }}\"}\n{{- if .Values.broken }}{{ fail .Values.broken }}{{ end }}\n",
    );
    world.write(
        "charts/web/templates/hook.yaml",
        "{{- if .Values.hook }}\napiVersion: batch/v1\nkind: Job\nmetadata: {name: web-hook, annotations: {\"helm.sh/hook\": \"pre-install,pre-upgrade\", \"helm.sh/hook-delete-policy\": before-hook-creation}}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: '{{ .Values.hook }}'}]}}}\n{{- end }}\n",
    );
    world.write(
        "charts/web/templates/custom.yaml",
        "{{- if .Values.custom }}\napiVersion: shop.example.com/v1\nkind: Stall\nmetadata: {name: web}\nspec: {image: '{{ .Values.custom }}'}\n{{- end }}\n",
    );
    world.write(
        "charts/web/crds/stall.yaml",
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: stalls.shop.example.com}\nspec:\n  group: shop.example.com\n  names: {kind: Stall, plural: stalls, singular: stall}\n  scope: Namespaced\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]\n",
    );
}

#[test]
fn a_release_is_installed_upgraded_and_rolled_back_digest_for_digest() {
    with_each_helm("upgrade", |scene| {
        scene.site("");
        scene.overlay("text: this site\n");
        let first = scene.bundle(1, "text: bundle\n");
        let planned = scene.world.installer(&["plan", &first]).ok();
        let wanted = format!("install web in {} with chart web 1.0.0", scene.namespace);
        assert!(planned.stdout.contains(&wanted), "{}", planned.stdout);
        assert!(planned.stdout.contains("definitions of resources"), "{}", planned.stdout);
        assert!(scene.history().is_empty(), "a plan changes nothing");
        scene.apply(&first).ok();
        let manifest = scene.manifest();
        let map = scene.cluster.get(&["configmap", "web", "--namespace", &scene.namespace]);
        assert_eq!(map["data"]["text"], "this site");
        assert!(scene.history()[0]["description"].as_str().unwrap().starts_with("airlock sha256:"));
        let again = scene.apply(&first).ok();
        assert_eq!(scene.history().len(), 1, "{}", again.stdout);
        // What this site says counts as much as the chart.
        scene.overlay("text: another\n");
        scene.apply(&first).ok();
        assert_eq!(scene.history().len(), 2);
        scene.overlay("text: this site\n");
        let second = scene.bundle(2, "text: bundle\n");
        scene.apply(&second).ok();
        assert_eq!(scene.image_that_runs(), format!("{WEB}:2"));
        scene.world.installer(&["rollback", "--yes"]).ok();
        scene.is_back(manifest);
    });
}

#[test]
fn a_chart_that_never_becomes_ready_is_undone_with_everything_else() {
    with_each_helm("never-ready", |scene| {
        let manifest = scene.installed();
        scene.site("timeout: 5s");
        let second = scene.bundle(2, "pod: never-ready\n");
        let failed = scene.apply(&second).expect_exit(Exit::Undone);
        says(&failed, &["everything was undone", "release web in", "pod web-", "helm history web"]);
        scene.is_back(manifest);
        assert_eq!(scene.history().last().unwrap()["description"], "Rollback to 1");
        // The same command again, once somebody has looked, starts from the same place.
        scene.world.acknowledge();
        drop(scene.apply(&second).expect_exit(Exit::Undone));
        scene.is_back(manifest);
        // And a version that is well goes in.
        scene.world.acknowledge();
        scene.site("");
        let third = scene.bundle(3, "");
        scene.apply(&third).ok();
        assert_eq!(scene.image_that_runs(), format!("{WEB}:3"));
    });
}

#[test]
fn a_first_release_that_never_becomes_ready_leaves_nothing() {
    with_each_helm("first", |scene| {
        scene.site("timeout: 5s");
        let first = scene.bundle(1, "pod: unpullable\n");
        let failed = scene.apply(&first).expect_exit(Exit::Undone);
        says(&failed, &["ImagePullBackOff"]);
        assert_eq!((scene.status().as_str(), scene.file()), ("absent", None));
        let left = scene.cluster.get(&[
            "deployments,configmaps",
            "-l",
            "app.kubernetes.io/managed-by=Helm",
            "--namespace",
            &scene.namespace,
        ]);
        assert!(left["items"].as_array().unwrap().is_empty(), "{left}");
        audit_holds(&scene.world);
    });
}

#[test]
fn an_undo_that_fails_is_listed_and_everything_else_is_undone() {
    with_each_helm("stuck", |scene| {
        scene.installed();
        let broken = scene.helm_that("rollback", "echo 'Error: no way back' >&2; exit 1");
        scene.site_with(&broken, "timeout: 5s");
        let second = scene.bundle(2, "pod: never-ready\n");
        let failed = scene.apply(&second).expect_exit(Exit::NotUndone);
        says(&failed, &["could not be undone", "helm: upgrade web in", "no way back"]);
        assert_eq!(scene.file().as_deref(), Some("1"), "the other step was undone");
        audit_holds(&scene.world);
    });
}

/// The installer at work on a release that takes its time, with Helm in the middle of it.
fn in_the_middle(scene: &Scene, bundle: &str, status: &str) -> Child {
    let mut command = installer(&scene.world, &["apply", bundle, "--yes"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    scene.cluster.wait_until(status, || scene.status() == status);
    child
}

/// What a power cut does: the installer and its Helm are gone at once.
fn pull_the_plug(scene: &Scene, mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
    let noted = std::fs::read_to_string(scene.world.path("site/run/process")).unwrap();
    let process = noted.split(' ').next().unwrap();
    output(Command::new("kill").args(["-9", "--", &format!("-{process}")]));
    scene.cluster.wait_until("helm is gone", || !Path::new("/proc").join(process).join("exe").exists());
}

/// Waits for a run whose pods would never become ready, and makes them well.
fn get_well(scene: &Scene, mut child: Child) -> bool {
    scene.cluster.wait_until("the run has ended", || {
        let all = ["annotate", "pods", "--all", "airlock.test/pod-", "--namespace", &scene.namespace];
        drop(scene.cluster.try_kubectl(&all));
        !Path::new("/proc").join(child.id().to_string()).join("exe").exists()
    });
    child.wait().unwrap().success()
}

/// The installer on its own, while the pods get well.
fn gone_on(scene: &Scene, args: &[&str]) {
    let mut command = installer(&scene.world, args);
    let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    assert!(get_well(scene, child), "{args:?}");
}

const ILL: &str = "pod: never-ready\n";

#[test]
fn a_helm_that_was_killed_is_recovered_from_and_gone_on_with() {
    with_each_helm("killed", |scene| {
        let first = scene.bundle(1, ILL);
        pull_the_plug(scene, in_the_middle(scene, &first, "pending-install"));
        assert_eq!(scene.status(), "pending-install");
        gone_on(scene, &["apply", &first, "--yes"]);
        let manifest = scene.manifest();
        assert_eq!((scene.status().as_str(), scene.file().as_deref()), ("deployed", Some("1")));
        // Going on to the new one …
        let second = scene.bundle(2, ILL);
        pull_the_plug(scene, in_the_middle(scene, &second, "pending-upgrade"));
        gone_on(scene, &["apply", &second, "--yes"]);
        assert_eq!(scene.image_that_runs(), format!("{WEB}:2"));
        // … or back to the old one, when somebody would rather have that.
        gone_on(scene, &["rollback", "--yes"]);
        scene.is_back(manifest);
        let third = scene.bundle(3, ILL);
        pull_the_plug(scene, in_the_middle(scene, &third, "pending-upgrade"));
        gone_on(scene, &["rollback", "1", "--yes"]);
        scene.is_back(manifest);
    });
}

#[test]
fn while_the_helm_of_a_killed_run_still_works_nobody_else_does() {
    with_each_helm("still", |scene| {
        let first = scene.bundle(1, ILL);
        let mut child = in_the_middle(scene, &first, "pending-install");
        child.kill().unwrap();
        child.wait().unwrap();
        let refused = scene.apply(&first).expect_exit(Exit::NotReady);
        says(&refused, &["a program of an earlier run still runs", "kill -- -"]);
        let all = ["annotate", "pods", "--all", "airlock.test/pod-", "--namespace", &scene.namespace];
        scene.cluster.kubectl(&all);
        scene.cluster.wait_until("helm has ended", || scene.status() == "deployed");
        scene.cluster.wait_until("the site is free", || scene.apply(&first).exit == Exit::Done);
        assert_eq!(scene.history().len(), 1, "what Helm had done was not done again");
    });
}

#[test]
fn an_undo_that_was_killed_is_taken_up_again() {
    with_each_helm("undo", |scene| {
        // With one pod at a time, the way back waits for the old one, too.
        let values = format!("{ILL}strategy: Recreate\n");
        let first = scene.bundle(1, &values);
        gone_on(scene, &["apply", &first, "--yes"]);
        let manifest = scene.manifest();
        scene.site("timeout: 20s");
        let second = scene.bundle(2, &values);
        pull_the_plug(scene, in_the_middle(scene, &second, "pending-rollback"));
        assert_eq!(scene.status(), "pending-rollback");
        scene.site("");
        // It needs no bundle.
        gone_on(scene, &["abandon", "--yes"]);
        scene.is_back(manifest);
        scene.world.acknowledge();
        scene.apply(&first).ok();
        scene.is_back(manifest);
    });
}

/// The power goes at one moment of a step.
struct Cut(&'static str, usize);

impl Watch for Cut {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        if (moment, step) == (self.0, self.1) { Err(PowerCut) } else { Ok(()) }
    }
}

#[test]
fn a_power_cut_before_or_after_a_release_leads_to_the_new_version_or_the_old() {
    with_each_helm("cut", |scene| {
        let manifest = scene.installed();
        let second = scene.bundle(2, "");
        let path = scene.world.path(&second);
        let number = with_run(&scene.world, &path, &Unwatched, |_, plan| {
            plan.steps.iter().position(|step| matches!(step, Step::Release(_))).unwrap()
        });
        for moment in ["begun", "performed", "done"] {
            let cut = Cut(moment, number);
            with_run(&scene.world, &path, &cut, |run, plan| {
                assert!(matches!(run.start(&plan), Err(ApplyError::PowerCut(_))), "{moment}");
            });
            scene.world.installer(&["rollback", "1", "--yes"]).ok();
            scene.is_back(manifest);
            with_run(&scene.world, &path, &cut, |run, plan| {
                assert!(matches!(run.start(&plan), Err(ApplyError::PowerCut(_))), "{moment}");
            });
            scene.apply(&second).ok();
            assert_eq!((scene.image_that_runs(), scene.file().unwrap()), (format!("{WEB}:2"), "2".into()));
            scene.world.installer(&["rollback", "--yes"]).ok();
            scene.is_back(manifest);
        }
        // While it is being undone.
        let third = scene.bundle(3, "pod: never-ready\n");
        scene.site("timeout: 5s");
        let cut = Cut("undoing", number);
        with_run(&scene.world, &scene.world.path(&third), &cut, |run, plan| {
            assert!(matches!(run.start(&plan), Err(ApplyError::PowerCut(_))));
        });
        assert_eq!(scene.status(), "failed");
        scene.world.installer(&["rollback", "1", "--yes"]).ok();
        scene.is_back(manifest);
    });
}

#[test]
fn a_release_that_a_version_no_longer_has_goes_and_comes_back_as_it_was() {
    with_each_helm("gone", |scene| {
        let first = scene.bundle(1, "");
        scene.apply(&first).ok();
        let manifest = scene.manifest();
        let (env, _, _) = scene.world.env("installer", &[]);
        let site = Site::at(scene.world.path("site"));
        let config = site.config().unwrap();
        let http = registry::Http::new(&registry::HttpSettings::default()).unwrap();
        let context = Context { site: &site, config: &config, env: &env, http: &http };
        let path = scene.world.path(&first);
        let left = installer::admit::admit(&site, &config, &path, &mut edge::progress::Silent).unwrap();
        let same = releases_to_remove(left.inventory(), Some(left.inventory()), &config, &context).unwrap();
        assert!(same.is_empty());
        let steps = releases_to_remove(left.inventory(), None, &config, &context).unwrap();
        let [step] = <[_; 1]>::try_from(steps).unwrap();
        let step = Step::Release(step);
        assert!(step.title().starts_with("helm: uninstall web in "), "{}", step.title());
        let kept = scene.world.path("kept");
        for _ in 0..2 {
            targets::perform(&step, &kept, &context).unwrap();
            assert_eq!(scene.status(), "uninstalled");
        }
        let gone = scene.cluster.try_kubectl(&["get", "deployment", "web", "--namespace", &scene.namespace]);
        assert!(gone.unwrap_err().contains("NotFound"));
        for _ in 0..2 {
            targets::undo(&step, &kept, &context).unwrap();
            assert_eq!(scene.manifest(), manifest);
        }
        assert_eq!(scene.image_that_runs(), format!("{WEB}:1"));
        // Nothing needs to be done for a release that has come back.
        let planned = scene.world.installer(&["plan", &first]).ok();
        assert!(planned.stdout.contains("everything is in place already"), "{}", planned.stdout);
        // One whose history alone is there is installed anew, and uninstalled again by an undo.
        scene.helm(&["uninstall", "web", "--keep-history", "--wait"]);
        scene.site("timeout: 5s");
        let second = scene.bundle(2, ILL);
        drop(scene.apply(&second).expect_exit(Exit::Undone));
        assert_eq!(scene.status(), "uninstalled");
    });
}

/// The one finding that fails.
fn only_fails(scene: &Scene, bundle: &str, id: &str, words: &[&str]) {
    let ran = scene.world.installer(&["plan", bundle]).expect_exit(Exit::NotReady);
    onsite::fails_alone(&ran.stderr, id);
    says(&ran, words);
}

#[test]
fn each_check_of_helm_fails_alone() {
    with_each_helm("alone", |scene| {
        let first = scene.bundle(1, "");
        let old = scene.helm_that("version", "echo v2.17.0; exit 0");
        scene.site_with(&old, "");
        only_fails(scene, &first, "helm/version", &["v2.17.0", "helm 3 or 4"]);
        // The cluster answers, and does not let Helm read releases.
        let forbidden = "echo 'Error: query: failed to query with labels: secrets is forbidden' >&2; exit 1";
        scene.site_with(&scene.helm_that("history", forbidden), "");
        only_fails(scene, &first, "helm/reachable", &["secrets is forbidden", "targets.helm"]);
        scene.site("");
        scene.overlay("broken: no database was named\n");
        only_fails(scene, &first, "helm/render", &["no database was named", "overlay.yaml"]);
        scene.overlay("- a list\n");
        only_fails(scene, &first, "helm/render", &["overlay.yaml", "keys and values"]);
        std::fs::remove_file(scene.world.path("site/overlay.yaml")).unwrap();
        only_fails(scene, &first, "helm/render", &["overlay.yaml"]);
        scene.overlay("image: registry.example.com:5000/shop/other:9\n");
        let words = ["chart web 1.0.0", "registry.example.com:5000/shop/other:9", "Deployment/web"];
        only_fails(scene, &first, "helm/images", &words);
        scene.overlay("{}\n");
        // Somebody has a release of that name.
        write_chart(&scene.world, 9);
        scene.helm(&["install", "web", "charts/web", "--set", "image=x/y:1"]);
        only_fails(scene, &first, "helm/release", &["came from no bundle", "replace: true"]);
        scene.site("replace: true");
        let manifest = scene.manifest();
        scene.site("replace: true, timeout: 5s");
        let second = scene.bundle(2, "pod: never-ready\n");
        drop(scene.apply(&second).expect_exit(Exit::Undone));
        assert_eq!(scene.manifest(), manifest, "it was given back");
        scene.world.acknowledge();
        scene.helm(&["uninstall", "web", "--wait"]);
        // Somebody was killed at it.
        scene.site("");
        let slow =
            ["upgrade", "--install", "web", "charts/web", "--set", "image=x/y:1,pod=never-ready", "--wait"];
        let mut person =
            scene.helm_command(&slow).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Helm writes that down before it makes anything.
        let deployment = ["get", "deployment/web", "--namespace", &scene.namespace];
        scene.cluster.wait_until("it is pending", || {
            scene.status() == "pending-install" && scene.cluster.try_kubectl(&deployment).is_ok()
        });
        person.kill().unwrap();
        person.wait().unwrap();
        let all = ["annotate", "pods", "--all", "airlock.test/pod-", "--namespace", &scene.namespace];
        scene.cluster.kubectl(&all);
        scene.cluster.kubectl(&["rollout", "status", "deployment/web", "--namespace", &scene.namespace]);
        let words = ["pending-install", "helm uninstall web"];
        only_fails(scene, &first, "helm/pending", &words);
        scene.helm(&["uninstall", "web"]);
        scene.apply(&first).ok();
    });
}

#[test]
fn images_get_their_names_on_this_site_and_nothing_else_changes() {
    with_each_helm("rewrite", |scene| {
        scene.site("images: rewrite, pull: 'site.example:5000/mirror'");
        let hook = if scene.major == 4 { format!("hook: '{WEB}-hook:7'\n") } else { String::new() };
        let first = scene.bundle(1, &format!("custom: '{WEB}:1'\n{hook}"));
        let planned = scene.world.installer(&["plan", &first]).ok();
        let to = "site.example:5000/mirror/registry.example.com-5000/shop/web@sha256:";
        assert!(planned.stdout.contains(&format!("image {WEB}:1 becomes {to}")), "{}", planned.stdout);
        scene.apply(&first).ok();
        let image = scene.image_that_runs();
        assert!(image.starts_with(to), "{image}");
        let stall = scene.cluster.get(&["stall", "web", "--namespace", &scene.namespace]);
        assert_eq!(stall["spec"]["image"], image.as_str());
        let manifest = scene.helm(&["get", "manifest", "web"]);
        assert!(manifest.contains(&format!("--sidecar-image={image}")), "{manifest}");
        assert!(manifest.contains("version: \"1.10\"") && manifest.contains("# the one"), "{manifest}");
        assert!(!manifest.contains(&format!("{WEB}:1")), "{manifest}");
        if scene.major == 4 {
            let hooks = scene.helm(&["get", "hooks", "web"]);
            assert!(
                hooks.contains("site.example:5000/mirror/registry.example.com-5000/shop/web-hook@sha256:"),
                "{hooks}"
            );
        }
        let log = std::fs::read_to_string(scene.world.path("site/audit/audit.jsonl")).unwrap();
        assert!(log.contains(&format!("{WEB}:1 -> {image}")), "the log has no map");
        assert!(!scene.world.path("site/run/helm").exists(), "nothing of Helm's stays");
        audit_holds(&scene.world);
    });
}

#[test]
fn a_hook_that_helm_3_would_not_let_us_rewrite_is_named_before_anything_changes() {
    with_each_helm("hooks", |scene| {
        if scene.major == 4 {
            return;
        }
        scene.site("images: rewrite, pull: 'site.example:5000'");
        let first = scene.bundle(1, &format!("hook: '{WEB}-hook:7'\n"));
        let words = ["Job/web-hook", "-hook:7", "helm 3 hands to no post-renderer", "use helm 4"];
        only_fails(scene, &first, "helm/images", &words);
        assert!(scene.history().is_empty());
    });
}

#[test]
fn nothing_of_the_users_helm_counts_and_no_value_of_the_site_is_left_or_logged() {
    with_each_helm("secret", |scene| {
        // A plugin, a repository and a kubeconfig of the user that would be noticed.
        let home = scene.world.path("home");
        scene.world.write("home/.config/helm/repositories.yaml", "not: [yaml");
        scene.world.write("home/.kube/config", "not: [yaml");
        assert!(home.is_dir());
        scene.overlay("text: hunter2-hunter2\n");
        let first = scene.bundle(1, "");
        let ran = scene.apply(&first).ok();
        let map = scene.cluster.get(&["configmap", "web", "--namespace", &scene.namespace]);
        assert_eq!(map["data"]["text"], "hunter2-hunter2");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!said.contains("hunter2"), "{said}");
        for directory in ["site/audit", "site/run", "site/ledger"] {
            for (path, what) in scene.world.snapshot(directory) {
                assert!(!what.contains("hunter2"), "{}", path.display());
            }
        }
        for (path, what) in scene.world.snapshot("site/journal") {
            let kept = path.extension().is_some_and(|end| end == "values");
            assert!(kept || !what.contains("hunter2"), "{}", path.display());
            assert!(!kept || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777 == 0o600);
        }
        assert!(!scene.world.path("home/.kube/cache").exists());
    });
}
