//! Health checks on site: what does not hold in time is taken back, target by target, as if nothing had happened;
//! what holds late stays. Real servers answer, real programs run, and a real Kubernetes API rolls out.

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

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use e2e::{Ran, World};
use edge::Exit;
use ingredients::{image, layer};
use installer::apply::{ApplyError, PowerCut, Watch};
use installer::plan::Step;
use manifests::Digest;
use onsite::{Running, audit_holds, build, installer, says, site_yaml, tree, wait_until, with_run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::FakeRegistry;
use testkit::cluster::Cluster;
use testkit::fake_server::{FakeServer, Reply};

// ---- a site with files, a registry and scripts, and a service to ask ----------------------------------

/// A service whose health a test decides.
struct Service {
    server: FakeServer,
    status: Arc<AtomicU16>,
}

impl Service {
    /// Answers every request for its health with this status, and 200 to whoever has waited for this many others.
    fn start(status: u16, patience: Option<usize>) -> Self {
        let now = Arc::new(AtomicU16::new(status));
        let (shared, asked) = (Arc::clone(&now), AtomicU16::new(0));
        let server = FakeServer::start(move |request| match request.path.as_str() {
            "/elsewhere" => Reply::status(302).header("Location", "http://127.0.0.2:9/healthz"),
            _ => {
                let before = usize::from(asked.fetch_add(1, Ordering::SeqCst));
                let holds = patience.is_some_and(|patience| before >= patience);
                let status = if holds { 200 } else { shared.load(Ordering::SeqCst) };
                Reply::status(status).body("all is well")
            }
        });
        Self { server, status: now }
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn url(&self) -> String {
        format!("{}/healthz", self.server.url())
    }

    fn asked(&self) -> usize {
        self.server.requests().len()
    }
}

/// A site on which version 1, without checks, is in place.
struct Place {
    world: World,
    registry: FakeRegistry,
}

/// What an apply has changed: files, tags, what scripts wrote, and what the site says of itself.
type State = (BTreeMap<PathBuf, String>, Vec<Option<Digest>>, String, BTreeMap<PathBuf, String>);

const REPOSITORY: &str = "mirror/registry.example.com/team/base";

impl Place {
    fn new() -> Self {
        let (world, registry) = (World::new(), FakeRegistry::start());
        world.trust();
        std::fs::create_dir(world.path("root")).unwrap();
        world.write("trace", "");
        let dir = world.dir().display();
        world.write("note.sh", format!("#!/bin/sh\necho \"$AIRLOCK_STEP $AIRLOCK_VERSION\" >>{dir}/trace\n"));
        let place = Self { world, registry };
        place.site(&["scripts: {}"]);
        place.bundle("1.0", 1, "");
        place.apply("1.0").ok();
        place
    }

    /// `site.yaml` with its usual targets and these.
    fn site(&self, more: &[&str]) {
        let mut targets = vec![
            format!("registry: {{url: \"{}\", prefix: mirror}}", self.registry.url()),
            format!("files: {{root: {}}}", self.world.path("root").display()),
        ];
        targets.extend(more.iter().map(ToString::to_string));
        site_yaml(&self.world, &targets);
    }

    /// A version that replaces a file, adds one, moves a tag, runs a script, and is checked like this.
    fn bundle(&self, version: &str, sequence: u64, health: &str) {
        let world = &self.world;
        let upstream = FakeRegistry::start();
        image("amd64", &[layer(sequence, 500)]).store_in(&upstream, "team/base", "v");
        let _ = std::fs::remove_dir_all(world.path("config"));
        world.write("config/version", version);
        world.write(&format!("config/new/{version}"), version);
        let scripts = match sequence {
            1 => "",
            _ => "scripts: [{source: note.sh, undo: note.sh}]\n",
        };
        let rest = format!(
            "images: [{{source: \"docker://{}/team/base:v\", name: \"registry.example.com/team/base:stable\"}}]\nfiles: [{{source: config, dest: /etc/demo}}]\n{scripts}health: [{health}]\n",
            upstream.host()
        );
        build(world, version, sequence, &rest, &format!("{version}.tar"));
    }

    fn apply(&self, version: &str) -> Ran {
        self.world.installer(&["apply", &format!("{version}.tar"), "--yes"])
    }

    fn state(&self) -> State {
        let tag = self.registry.manifest(REPOSITORY, "stable").map(|(_, bytes)| Digest::of(&bytes));
        let trace = std::fs::read_to_string(self.world.path("trace")).unwrap();
        let left_out = [
            "audit",
            "journal",
            "key",
            "lock",
            "site.yaml",
            "store/blobs",
            "store/bundles",
            "store/index.json",
        ];
        (tree(&self.world, "root", &[]), vec![tag], trace, tree(&self.world, "site", &left_out))
    }

    /// An apply of version 2 with this check fails with these words, and leaves everything as it was.
    fn refuses(&self, check: &str, words: &[&str]) {
        self.bundle("2.0", 2, check);
        let before = self.state();
        let ran = self.apply("2.0").expect_exit(Exit::Undone);
        says(&ran, words);
        says(&ran, &["everything was undone", "health: check ", "did not hold within 1 s"]);
        let mut after = self.state();
        assert_eq!(after.2, format!("{}do 2.0\nundo 2.0\n", before.2), "{check}");
        after.2.clone_from(&before.2);
        assert_eq!(after, before, "{check}");
        let failed = self.step("failed");
        let seen = failed["about"]["seen"].as_str().unwrap();
        assert!(ran.stderr.contains(seen) && !seen.is_empty(), "{check}: {seen}");
        audit_holds(&self.world);
        self.world.installer(&["acknowledge", "--reason", "seen"]).ok();
        let status = self.world.installer(&["status"]).ok().stdout;
        assert!(status.contains("1.0") && !status.contains("was cut off"), "{status}");
    }

    /// The last entry of the log about a health check with this outcome.
    fn step(&self, outcome: &str) -> Value {
        let log = self.world.installer(&["--output", "json", "audit", "show"]).ok().json();
        let entries = log["entries"].as_array().unwrap().iter().rev();
        let mut steps = entries.filter(|entry| {
            let action = entry["about"]["action"].as_str().unwrap_or_default();
            action.starts_with("health: ") && entry["outcome"] == outcome
        });
        steps.next().unwrap_or_else(|| panic!("no {outcome}: {log}")).clone()
    }
}

fn http(service: &Service, more: &str) -> String {
    format!("{{http: \"{}\"{more}}}", service.url())
}

// ---- what does not hold -------------------------------------------------------------------------------

#[test]
fn an_answer_that_is_not_the_wanted_one_takes_everything_back() {
    let place = Place::new();
    let sick = Service::start(503, None);
    let url = sick.url();
    place.refuses(
        &http(&sick, ", within: 1s, name: front"),
        &["health: check front: ", "HTTP 503 from", &url],
    );
    let well = Service::start(200, None);
    place.refuses(&http(&well, ", contains: ready, within: 1s"), &["HTTP 200 from", "without the text"]);
    place.refuses(&http(&well, ", status: 204, within: 1s"), &["(status 204)", "HTTP 200 from"]);
    let away = format!("{{http: \"{}/elsewhere\", within: 1s}}", well.server.url());
    place.refuses(&away, &["redirects to http://127.0.0.2:9/healthz, which is another host"]);
    drop(well.server);
    place.refuses(&format!("{{http: \"{url}\", within: 1s}}").replace(&url, &closed()), &["cannot reach"]);
}

/// An address on which nobody listens.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

#[test]
fn a_port_on_which_nobody_listens_takes_everything_back() {
    let place = Place::new();
    let address = closed().replace("http://", "").replace('/', "");
    place.refuses(&format!("{{tcp: \"{address}\", within: 1s}}"), &[&address, "refused"]);
}

#[test]
fn a_program_that_fails_or_does_not_end_takes_everything_back() {
    let place = Place::new();
    let fails = "{command: [sh, -c, 'echo the database is away; exit 3'], within: 1s}";
    place.refuses(fails, &["exit code 3: the database is away"]);
    place.refuses("{command: [sleep, '600'], within: 1s}", &["still running when its time was over"]);
    place.refuses("{command: [no-such-program], within: 1s}", &["cannot start `no-such-program`"]);
}

#[test]
fn the_first_check_that_does_not_hold_decides_and_no_other_is_made() {
    let place = Place::new();
    let (first, second, third) =
        (Service::start(200, None), Service::start(500, None), Service::start(200, None));
    let checks = [http(&first, ""), http(&second, ", within: 1s"), http(&third, "")].join(", ");
    place.refuses(&checks, &["HTTP 500"]);
    assert_eq!((first.asked(), third.asked()), (1, 0));
}

// ---- what holds ---------------------------------------------------------------------------------------

#[test]
fn a_check_that_holds_late_is_waited_for_and_the_log_says_what_was_seen() {
    let place = Place::new();
    let service = Service::start(503, Some(2));
    place.bundle("2.0", 2, &http(&service, ", contains: all is well"));
    let plan = planned(&place);
    assert!(plan.contains(&format!("check {} (contains `all is well`) within 60s", service.url())), "{plan}");
    assert_eq!(service.asked(), 0, "a plan asks nobody");
    place.apply("2.0").ok();
    assert_eq!(service.asked(), 3);
    let about = place.step("done")["about"].clone();
    assert_eq!(about["looks"], "3");
    assert!(about["seen"].as_str().unwrap().starts_with("HTTP 200 from"), "{about}");
    // Everything is in place, so there is nothing that could be taken back.
    let again = place.apply("2.0").ok();
    assert!(again.stdout.contains("everything is in place already"), "{}", again.stdout);
    assert_eq!(service.asked(), 3);
    audit_holds(&place.world);
}

/// The steps of version 2, as people see them, in one line.
fn planned(place: &Place) -> String {
    let shown = place.world.installer(&["plan", "2.0.tar"]).ok().stdout;
    let (_, steps) = shown.split_once("plan for").unwrap();
    steps.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn checks_are_made_after_everything_else_and_before_it_counts_as_applied() {
    let place = Place::new();
    let service = Service::start(200, None);
    place.bundle("2.0", 2, &http(&service, ""));
    let plan = planned(&place);
    let at = |words: &str| plan.find(words).unwrap_or_else(|| panic!("{words}: {plan}"));
    let order =
        [" remove ", " run note of 2.0 ", " check http://", " show bundle ", " record demo 2.0 "].map(at);
    assert!(order.is_sorted(), "{order:?}: {plan}");
    let inspected = place.world.installer(&["inspect", "2.0.tar"]).ok().stdout;
    assert!(inspected.contains(&format!("health  {} within 60s", service.url())), "{inspected}");
}

#[test]
fn a_port_that_takes_connections_and_a_program_that_ends_well_are_enough() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asks = "test $AIRLOCK_VERSION = 2.0 && test $AIRLOCK_PRODUCT = demo && test $PWD = /";
    place.bundle("2.0", 2, &format!("{{tcp: \"{address}\"}}, {{command: [sh, -c, '{asks}'], within: 1s}}"));
    place.apply("2.0").ok();
    assert!(!place.world.path("site/run").exists());
    audit_holds(&place.world);
}

// ---- going back ---------------------------------------------------------------------------------------

#[test]
fn a_rollback_is_checked_as_the_version_that_it_goes_back_to() {
    let place = Place::new();
    let service = Service::start(200, None);
    place.bundle("2.0", 2, &http(&service, ", within: 1s"));
    place.apply("2.0").ok();
    place.bundle("3.0", 3, "");
    place.apply("3.0").ok();
    let asked = service.asked();
    service.says(503);
    let before = place.state();
    let ran = place.world.installer(&["rollback", "--yes"]).expect_exit(Exit::Undone);
    says(&ran, &["HTTP 503 from", "everything was undone"]);
    let after = place.state();
    assert_eq!((&after.0, &after.1, &after.3), (&before.0, &before.1, &before.3));
    service.says(200);
    place.world.installer(&["acknowledge", "--reason", "seen"]).ok();
    place.world.installer(&["rollback", "--yes"]).ok();
    assert!(service.asked() > asked);
    let version = std::fs::read_to_string(place.world.path("root/etc/demo/version")).unwrap();
    assert_eq!(version, "2.0");
    audit_holds(&place.world);
}

// ---- the power goes -----------------------------------------------------------------------------------

/// The power goes at this moment of a health check.
struct Cut {
    moment: &'static str,
    step: usize,
    hit: Cell<bool>,
}

impl Watch for Cut {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        if (moment, step) == (self.moment, self.step) {
            self.hit.set(true);
            return Err(PowerCut);
        }
        Ok(())
    }
}

/// The targets after an apply of version 2 in peace. (Of what the site says of itself much is its own: keys, times,
/// and the bundle's digest, as the address of the service is in the bundle.)
fn undisturbed() -> State {
    let place = Place::new();
    let service = Service::start(200, None);
    place.bundle("2.0", 2, &http(&service, ""));
    place.apply("2.0").ok();
    place.state()
}

fn ends_new(place: &Place, wanted: &State, when: &str) {
    let state = place.state();
    assert_eq!((&state.0, &state.1, &state.2), (&wanted.0, &wanted.1, &wanted.2), "{when}");
    // Its signatures are named by keys of its own.
    let own = |state: &State| -> Vec<PathBuf> {
        state.3.keys().filter(|path| !path.starts_with("trust/1.root.json.sigs")).cloned().collect()
    };
    assert_eq!(own(&state), own(wanted), "{when}");
    let status = place.world.installer(&["status"]).ok().stdout;
    assert!(status.contains("2.0") && !status.contains("was cut off"), "{when}: {status}");
    audit_holds(&place.world);
}

#[test]
fn cut_off_before_while_and_after_a_check_the_same_bundle_finishes() {
    let wanted = undisturbed();
    for moment in ["begun", "performed", "done"] {
        let place = Place::new();
        let service = Service::start(200, None);
        place.bundle("2.0", 2, &http(&service, ""));
        let bundle = place.world.path("2.0.tar");
        let hit = with_run(&place.world, &bundle, &installer::apply::Unwatched, |run, plan| {
            let step = plan.steps.iter().position(|step| matches!(step, Step::Health(_))).unwrap();
            let cut = Cut { moment, step, hit: Cell::new(false) };
            let run =
                installer::apply::Run { context: run.context, audit: run.audit, watch: &cut, say: run.say };
            assert!(matches!(run.start(&plan), Err(ApplyError::PowerCut(_))), "{moment}");
            cut.hit.get()
        });
        assert!(hit);
        let asked = service.asked();
        place.apply("2.0").ok();
        let made_again = usize::from(moment != "done");
        assert_eq!(service.asked() - asked, made_again, "{moment}");
        ends_new(&place, &wanted, moment);
    }
}

/// An installer that waits for a service, as a process of its own.
fn waiting(place: &Place, service: &Service) -> Running {
    place.bundle("2.0", 2, &http(service, ", within: 10m"));
    let mut command = installer(&place.world, &["apply", "2.0.tar", "--yes"]);
    let running = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until(Duration::from_secs(120), "the service is asked", || service.asked() > 0);
    running
}

#[test]
fn killed_while_it_waits_the_next_run_ends_new_if_the_check_holds_by_then_and_old_if_not() {
    let wanted = undisturbed();
    for holds in [true, false] {
        let place = Place::new();
        let before = place.state();
        let service = Service::start(503, None);
        let mut running = waiting(&place, &service);
        running.0.kill().unwrap();
        running.0.wait().unwrap();
        let status = place.world.installer(&["status"]).ok().stdout;
        assert!(status.contains("was cut off"), "{status}");
        if holds {
            service.says(200);
            place.apply("2.0").ok();
            ends_new(&place, &wanted, "killed");
        } else {
            // Another bundle takes the one that was cut off back, and asks nobody about it.
            let asked = service.asked();
            place.apply("1.0").ok();
            let mut after = place.state();
            assert_eq!(after.2, "do 2.0\nundo 2.0\n");
            after.2.clone_from(&before.2);
            assert_eq!((after, service.asked()), (before, asked));
        }
        audit_holds(&place.world);
    }
}

#[test]
fn somebody_who_stops_the_waiting_with_the_keyboard_gets_everything_back() {
    for how in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = Place::new();
        let before = place.state();
        let service = Service::start(503, None);
        let mut running = waiting(&place, &service);
        kill_process(Pid::from_child(&running.0), how).unwrap();
        assert_eq!(running.0.wait().unwrap().code(), Some(6), "{how:?}");
        let after = place.state();
        assert_eq!((after.0, after.1, after.3), (before.0, before.1, before.3), "{how:?}");
        assert!(place.step("failed")["about"]["cause"].as_str().unwrap().contains("was stopped"));
        audit_holds(&place.world);
    }
}

// ---- what cannot be checked here ----------------------------------------------------------------------

#[test]
fn a_check_that_could_not_be_made_here_is_found_before_anything_changes() {
    for (check, id, words) in [
        ("{command: ['true']}", "health/allowed", "programs are to be run here"),
        ("{rollout: deployment/web, namespace: fraud}", "health/cluster", "a cluster is to be asked"),
    ] {
        let place = Place::new();
        place.bundle("2.0", 2, check);
        place.site(&[]);
        let unscripted = format!("files: [{{source: config, dest: /etc/demo}}]\nhealth: [{check}]\n");
        build(&place.world, "2.0", 2, &unscripted, "2.0.tar");
        let before = place.state();
        let report = place.world.installer(&["--output", "json", "preflight", "2.0.tar"]);
        assert_eq!(report.exit, Exit::NotReady);
        let findings = report.json()["findings"].as_array().unwrap().clone();
        let failed: Vec<&Value> =
            findings.iter().filter(|finding| finding["verdict"] == "fail").map(|f| &f["id"]).collect();
        assert_eq!(failed, [id]);
        let ran = place.apply("2.0").expect_exit(Exit::NotReady);
        says(&ran, &[id, words, "nothing was copied"]);
        let over = ["apply", "2.0.tar", "--yes", "--override", id, "--reason", "x"];
        assert_eq!(place.world.installer(&over).exit, Exit::Usage, "it is strict");
        assert_eq!(place.state(), before);
    }
}

#[test]
fn a_site_that_does_not_allow_programs_any_more_gets_everything_back() {
    let place = Place::new();
    place.bundle("2.0", 2, "{command: ['true']}");
    let before = place.state();
    let bundle = place.world.path("2.0.tar");
    let cut = |step| Cut { moment: "begun", step, hit: Cell::new(false) };
    with_run(&place.world, &bundle, &installer::apply::Unwatched, |run, plan| {
        let step = plan.steps.iter().position(|step| matches!(step, Step::Health(_))).unwrap();
        let run = installer::apply::Run { watch: &cut(step), ..*run };
        run.start(&plan).unwrap_err();
    });
    // The journal keeps the plan; site.yaml is what it is by now.
    let config = std::fs::read_to_string(place.world.path("site/site.yaml")).unwrap();
    place.site(&[]);
    let ran = place.apply("2.0");
    assert_eq!(ran.exit, Exit::NotReady, "the checks before a change see it: {}", ran.stderr);
    place.world.write("site/site.yaml", config);
    place.apply("1.0").ok();
    let after = place.state();
    assert_eq!((after.0, after.1, after.3), (before.0, before.1, before.3));
}

// ---- a cluster ----------------------------------------------------------------------------------------

#[test]
fn a_rollout_decides_and_the_message_names_the_pods_in_trouble() {
    let Some(cluster) = Cluster::shared() else { return };
    let place = Place::new();
    let namespace = cluster.namespace("health");
    let target = format!("kubernetes: {{kubeconfig: {}}}", cluster.kubeconfig().display());
    place.site(&["scripts: {}", &target]);
    for (kind, name) in [("Deployment", "web"), ("StatefulSet", "db"), ("DaemonSet", "agent")] {
        cluster.apply(&crashing(kind, name, &namespace));
        let check =
            format!("{{rollout: {}/{name}, namespace: {namespace}, within: 1s}}", kind.to_lowercase());
        cluster.wait_until("its pod crashes", || {
            let pods =
                cluster.get(&["pods", "--namespace", &namespace, "--selector", &format!("app={name}")]);
            pods.to_string().contains("CrashLoopBackOff")
        });
        let pod = format!("pod {name}-");
        place.refuses(&check, &["rollout of", "0 ready", &pod, "CrashLoopBackOff"]);
    }
    let check = format!("{{rollout: deployment/nobody, namespace: {namespace}, within: 1s}}");
    place.refuses(&check, &[&format!("there is no deployment/nobody in {namespace}")]);

    // It comes late, and stays.
    let checks = ["deployment/web", "statefulset/db", "daemonset/agent"]
        .map(|object| format!("{{rollout: {object}, namespace: {namespace}, within: 10m}}"));
    place.bundle("2.0", 2, &checks.join(", "));
    std::thread::scope(|scope| {
        let applying = scope.spawn(|| place.apply("2.0"));
        let mended = ["annotate", "pods", "--all", "airlock.test/pod=ready", "--overwrite", "--namespace"];
        cluster.kubectl(&[&mended[..], &[&namespace]].concat());
        applying.join().unwrap().ok();
    });
    assert!(place.step("done")["about"]["seen"].as_str().unwrap().contains("is rolled out"));
    audit_holds(&place.world);
}

/// A workload whose pods crash (`scripts/cluster.d/simulation.yaml`).
fn crashing(kind: &str, name: &str, namespace: &str) -> String {
    let replicas = if kind == "DaemonSet" { "" } else { "replicas: 1, " };
    let service = if kind == "StatefulSet" { format!("serviceName: {name}, ") } else { String::new() };
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{replicas}{service}selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}, annotations: {{airlock.test/pod: crashing}}}}, spec: {{containers: [{{name: main, image: 'registry.example.com/team/base:stable'}}]}}}}}}\n"
    )
}
