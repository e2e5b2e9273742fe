//! The power goes at every moment of an apply. Whoever comes next, with the same bundle, the next one or
//! the previous one, ends where an undisturbed apply would have ended; and the log still holds together.

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

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use e2e::World;
use edge::Exit;
use ingredients::{Image, image, layer};
use installer::apply::{ApplyError, PowerCut, Run, Unwatched, Watch};
use installer::journal;
use installer::plan::{self, Plan};
use installer::site::Site;
use manifests::Digest;
use manifests::companion::CompanionKind;
use onsite::{
    Python, another_site, audit_holds, build, greeting, installer, python_says, site_yaml, tree, wait_until,
    with_run, write_wheels,
};
use testkit::{FakeRegistry, Fault};

// ---- three versions of one product --------------------------------------------------------------------

/// Where the bundles are made, once for all tests of this file.
struct Sender {
    world: World,
    plan: Plan,
}

const BASE: &str = "mirror/registry.example.com/team/base";
const EXTRA: &str = "mirror/registry.example.com/team/extra";

fn small(seed: u64) -> Image {
    image("amd64", &[layer(seed, 500)])
}

/// Version 0 is what the site runs; version 1 is cut off; version 2 comes next. Version 1 replaces an
/// image and a file and adds an image and, in a new directory, a file. Every image is counter-signed.
fn sender() -> &'static Sender {
    static SENDER: OnceLock<Sender> = OnceLock::new();
    SENDER.get_or_init(|| {
        let (world, upstream) = (World::new(), FakeRegistry::start());
        world.trust();
        for (tag, seed) in [("v0", 10), ("v1", 11), ("v2", 12)] {
            small(seed).store_in(&upstream, "team/base", tag);
            small(20).store_in(&upstream, "team/extra", tag);
        }
        let image = |name: &str, from: &str| {
            format!(
                "  - {{source: \"docker://{}/team/{name}:{from}\", name: \"registry.example.com/team/{name}:stable\"}}\n",
                upstream.host()
            )
        };
        let files = |of: &str, mode: &str| {
            world.write(&format!("{of}/a"), format!("a of {of}"));
            world.write(&format!("{of}/same"), "the same in all");
            format!("files: [{{source: {of}, dest: /etc/demo, mode: \"{mode}\"}}]\n")
        };
        world.write("v1/new/deep/b", "b");
        world.write("v2/other/c", "c");
        let v0 = format!("images:\n{}{}", image("base", "v0"), files("v0", "0640"));
        let v1 = format!("images:\n{}{}{}", image("base", "v1"), image("extra", "v1"), files("v1", "0640"));
        let v2 = format!("images:\n{}{}", image("base", "v2"), files("v2", "0600"));
        for (number, rest) in [v0, v1, v2].iter().enumerate() {
            let out = format!("{number}.tar");
            build(&world, &format!("{number}.0"), number as u64 + 1, rest, &out);
            std::fs::remove_file(world.path(&out)).unwrap();
            let keys = ["--key", "keys/rel.key.pem", "--countersign", "keys/rel.key.pem"];
            world.bundler(&[&["build", "--out", &out], &keys[..]].concat()).ok();
        }
        let plan = Receiver::at(&world).plan("1.tar");
        Sender { world, plan }
    })
}

/// A site that runs version 0.
struct Receiver<'a> {
    bundles: &'a World,
    world: World,
    registry: FakeRegistry,
}

/// What an apply has changed: files, tags, and what the site says of itself.
type State = (BTreeMap<PathBuf, String>, Vec<Option<Digest>>, BTreeMap<PathBuf, String>);

impl<'a> Receiver<'a> {
    fn new() -> Receiver<'static> {
        Receiver::at(&sender().world)
    }

    fn at(bundles: &'a World) -> Self {
        let (world, registry) = (another_site(bundles), FakeRegistry::start());
        std::fs::create_dir(world.path("root")).unwrap();
        site_yaml(
            &world,
            &[
                format!("registry: {{url: \"{}\", prefix: mirror}}", registry.url()),
                format!("files: {{root: {}}}", world.path("root").display()),
            ],
        );
        let receiver = Self { bundles, world, registry };
        receiver.apply("0.tar").ok();
        receiver
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.bundles.path(name)
    }

    /// Applies a bundle; what has failed before by itself was looked at first, as it has to be.
    fn apply(&self, bundle: &str) -> e2e::Ran {
        let status = self.world.installer(&["--output", "json", "status"]).ok().json();
        if !status["failed"].as_array().unwrap().is_empty() {
            self.world.acknowledge();
        }
        self.world.installer(&["apply", self.bundle(bundle).to_str().unwrap(), "--yes"])
    }

    fn with<T>(&self, bundle: &str, watch: &dyn Watch, act: impl FnOnce(&Run<'_>, Plan) -> T) -> T {
        with_run(&self.world, &self.bundle(bundle), watch, act)
    }

    fn plan(&self, bundle: &str) -> Plan {
        self.with(bundle, &Unwatched, |_, plan| plan)
    }

    /// Applies version 1 until the power goes.
    fn cut(&self, cut: &Cut) {
        let ended = self.with("1.tar", cut, |run, plan| run.start(&plan));
        assert!(matches!(ended, Err(ApplyError::PowerCut(_))), "{cut:?}: {ended:?}");
        cut.mend();
    }

    /// Goes on with what was cut off until the power goes once more, or to its end.
    fn cut_again(&self, cut: &Cut) {
        let found = journal::unfinished(&Site::at(self.world.path("site"))).unwrap().unwrap();
        let ended = self.with("1.tar", cut, |run, _| {
            if found.is_undoing() { run.take_back(&found) } else { run.resume(&found) }
        });
        assert!(matches!(ended, Ok(()) | Err(ApplyError::PowerCut(_))), "{cut:?}: {ended:?}");
    }

    fn state(&self) -> State {
        let signature = |seed| CompanionKind::CosignSignature.tag(&small(seed).root.digest).unwrap();
        let base = ["stable".to_string(), signature(10), signature(11), signature(12)];
        let extra = ["stable".to_string(), signature(20)];
        let names = base.map(|tag| (BASE, tag)).into_iter().chain(extra.map(|tag| (EXTRA, tag)));
        let tags = names.map(|(repository, tag)| self.registry.manifest(repository, &tag));
        let tags: Vec<_> = tags.map(|found| found.map(|(_, bytes)| Digest::of(&bytes))).collect();
        let own = tree(
            &self.world,
            "site",
            &["audit", "journal", "key", "lock", "site.yaml", "store/blobs", "store/bundles"],
        );
        (tree(&self.world, "root", &[]), tags, own)
    }

    fn store(&self) -> BTreeMap<PathBuf, String> {
        tree(&self.world, "site/store", &[])
    }
}

/// The state of a site to which these were applied, one after the other, in peace.
fn undisturbed(bundles: &[&str]) -> (State, BTreeMap<PathBuf, String>) {
    let receiver = Receiver::new();
    for bundle in bundles {
        receiver.apply(bundle).ok();
    }
    (receiver.state(), receiver.store())
}

// ---- the moments --------------------------------------------------------------------------------------

/// Cuts the power at one moment; before that, for moments of an undo, makes the step that publishes fail
/// by taking the bundle's evidence away.
#[derive(Debug)]
struct Cut {
    moment: &'static str,
    step: usize,
    fails_at: Option<(usize, PathBuf)>,
    hit: Cell<bool>,
}

impl Cut {
    fn at((moment, step): (&'static str, usize)) -> Self {
        Self { moment, step, fails_at: None, hit: Cell::new(false) }
    }

    fn while_undoing(step: usize, receiver: &Receiver<'_>) -> Self {
        let evidence = format!("site/store/bundles/{}", sender().plan.bundle.0.hex());
        let fails_at = Some((publish_step(), receiver.world.path(&evidence)));
        Self { moment: "undoing", step, fails_at, hit: Cell::new(false) }
    }

    fn mend(&self) {
        if let Some((_, evidence)) = &self.fails_at {
            std::fs::rename(evidence.with_extension("aside"), evidence).unwrap();
        }
    }
}

impl Watch for Cut {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        if let Some((fails_at, evidence)) = &self.fails_at
            && (moment, step) == ("begun", *fails_at)
        {
            std::fs::rename(evidence, evidence.with_extension("aside")).unwrap();
        }
        if (moment, step) == (self.moment, self.step) {
            self.hit.set(true);
            return Err(PowerCut);
        }
        Ok(())
    }
}

fn publish_step() -> usize {
    sender().plan.steps.iter().position(|step| matches!(step, plan::Step::Publish(_))).unwrap()
}

/// Writes down the moments of a run.
#[derive(Default)]
struct Moments(RefCell<Vec<(&'static str, usize)>>);

impl Watch for Moments {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        self.0.borrow_mut().push((moment, step));
        Ok(())
    }
}

fn moments() -> Vec<(&'static str, usize)> {
    let moments = Moments::default();
    Receiver::new().with("1.tar", &moments, |run, plan| run.start(&plan)).unwrap();
    moments.0.into_inner()
}

/// A site of version 0 on which version 1 was cut off, for each moment at which it can be.
fn interrupted() -> impl Iterator<Item = (String, Receiver<'static>)> {
    let forward = moments().into_iter().map(|(moment, step)| {
        let receiver = Receiver::new();
        receiver.cut(&Cut::at((moment, step)));
        (format!("{moment} {step}"), receiver)
    });
    let undoing = (0..=publish_step()).map(|step| {
        let receiver = Receiver::new();
        receiver.cut(&Cut::while_undoing(step, &receiver));
        (format!("undoing {step}"), receiver)
    });
    forward.chain(undoing)
}

#[test]
fn the_plan_has_a_step_of_each_kind_and_three_moments_for_each() {
    let plan = &sender().plan;
    let pushes = plan.steps.iter().filter(|step| matches!(step, plan::Step::Push(_))).count();
    let files = plan.steps.iter().filter(|step| matches!(step, plan::Step::File(_))).count();
    assert_eq!((pushes, files, plan.steps.len()), (2, 2, 6), "{plan:?}");
    assert_eq!(moments().len(), 3 * plan.steps.len());
}

#[test]
fn cut_off_anywhere_the_same_bundle_finishes_as_if_nothing_had_happened() {
    let (state, store) = undisturbed(&["1.tar"]);
    for (when, receiver) in interrupted() {
        let status = receiver.world.installer(&["status"]).ok();
        assert!(status.stdout.contains("was cut off"), "{when}: {}", status.stdout);
        receiver.apply("1.tar").ok();
        assert_eq!(receiver.state(), state, "{when}");
        assert_eq!(receiver.store(), store, "{when}");
        audit_holds(&receiver.world);
        let again = receiver.apply("1.tar").ok();
        assert!(again.stdout.contains("everything is in place already"), "{when}: {}", again.stdout);
    }
}

#[test]
fn cut_off_anywhere_the_next_bundle_is_applied_after_the_first_was_taken_back() {
    let (state, _) = undisturbed(&["2.tar"]);
    for (when, receiver) in interrupted() {
        receiver.apply("2.tar").ok();
        assert_eq!(receiver.state(), state, "{when}");
        audit_holds(&receiver.world);
    }
}

#[test]
fn cut_off_anywhere_the_previous_bundle_is_back_in_one_command() {
    let (state, _) = undisturbed(&[]);
    for (when, receiver) in interrupted() {
        let ran = receiver.apply("0.tar");
        let recorded = ["performed 5", "done 5"].contains(&when.as_str());
        if recorded {
            // Version 1 is in the ledger, and so version 0 is a rollback, which `apply` refuses.
            assert_eq!(ran.exit, Exit::Refused, "{when}: {}", ran.stderr);
            continue;
        }
        assert_eq!(ran.exit, Exit::Done, "{when}: {}", ran.stderr);
        assert_eq!(receiver.state(), state, "{when}");
        audit_holds(&receiver.world);
    }
}

/// Kills an apply of version 1 in the middle of its pushes: when the registry is asked for this and does not answer.
fn killed_while_pushing(method: &str, path: &str) -> Receiver<'static> {
    let receiver = Receiver::new();
    receiver.registry.fault_on(Fault::Silence, None, method, path);
    let asked = || receiver.registry.count(method, path);
    let before = asked();
    let (bundle, null) = (receiver.bundle("1.tar"), Stdio::null);
    let args = ["apply", bundle.to_str().unwrap(), "--yes"];
    let mut child = installer(&receiver.world, &args).stdout(null()).stderr(null()).spawn().unwrap();
    wait_until(Duration::from_secs(60), "the registry is asked", || asked() > before);
    child.kill().unwrap();
    child.wait().unwrap();
    receiver.registry.clear_faults();
    receiver
}

#[test]
fn killed_among_blobs_manifests_or_tags_of_two_images_the_same_bundle_finishes_or_the_previous_one_is_back() {
    // A process of its own has a clock of its own, and the ledger has the time in it.
    let timeless = |mut state: State| {
        state.2.retain(|path, _| !path.starts_with("ledger"));
        state
    };
    let (new, old) = (timeless(undisturbed(&["1.tar"]).0), timeless(undisturbed(&[]).0));
    for (method, path) in [
        ("PUT", "team/base/blobs/uploads/"),
        ("PUT", "team/extra/blobs/uploads/"),
        ("PUT", "team/base/manifests/sha256:"),
        ("PUT", "team/base/manifests/stable"),
        ("PUT", "team/extra/manifests/stable"),
    ] {
        for (bundle, state) in [("1.tar", &new), ("0.tar", &old)] {
            let receiver = killed_while_pushing(method, path);
            receiver.apply(bundle).ok();
            assert_eq!(timeless(receiver.state()), *state, "{bundle} after {method} {path}");
            audit_holds(&receiver.world);
        }
    }
}

#[test]
fn tags_that_were_put_before_the_power_went_are_left_alone_where_tags_cannot_be_moved() {
    let state = undisturbed(&["1.tar"]).0;
    let receiver = Receiver::new();
    receiver.cut(&Cut::at(("performed", 0)));
    receiver.registry.fault_on(Fault::Status(409), None, "PUT", "manifests/stable");
    receiver.apply("1.tar").ok();
    assert_eq!(receiver.state(), state);
}

#[test]
fn cut_off_twice_the_same_bundle_still_finishes() {
    let (state, store) = undisturbed(&["1.tar"]);
    for first in [("begun", 1), ("performed", 3), ("done", 4)] {
        for second in moments().into_iter().filter(|(_, step)| *step >= first.1) {
            let receiver = Receiver::new();
            receiver.cut(&Cut::at(first));
            receiver.cut_again(&Cut::at(second));
            receiver.apply("1.tar").ok();
            assert_eq!(
                (receiver.state(), receiver.store()),
                (state.clone(), store.clone()),
                "{first:?} {second:?}"
            );
            audit_holds(&receiver.world);
        }
    }
    for (first, second) in [(4, 3), (3, 0), (2, 2), (1, 0)] {
        let receiver = Receiver::new();
        receiver.cut(&Cut::while_undoing(first, &receiver));
        receiver.cut_again(&Cut::at(("undoing", second)));
        receiver.apply("1.tar").ok();
        assert_eq!(
            (receiver.state(), receiver.store()),
            (state.clone(), store.clone()),
            "undoing {first} {second}"
        );
        audit_holds(&receiver.world);
    }
}

#[test]
fn an_apply_that_fails_by_itself_leaves_the_site_as_it_was() {
    let (state, _) = undisturbed(&[]);
    let receiver = Receiver::new();
    let cut = Cut { moment: "never", ..Cut::while_undoing(0, &receiver) };
    let ended = receiver.with("1.tar", &cut, |run, plan| run.start(&plan));
    assert!(matches!(ended, Err(ApplyError::Undone { .. })), "{ended:?}");
    assert_eq!(receiver.state(), state);
}

// ---- lines that were cut off --------------------------------------------------------------------------

fn the_journal(receiver: &Receiver<'_>) -> PathBuf {
    let mut journals: Vec<PathBuf> = std::fs::read_dir(receiver.world.path("site/journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    journals.sort();
    journals.pop().unwrap()
}

/// How long the last line of a file is, with its line feed.
fn last_line(text: &[u8]) -> usize {
    text.len() - text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// A journal's last line, and a way to such a journal.
type Ending = (&'static str, Box<dyn Fn(&Receiver<'_>)>);

fn journals() -> Vec<Ending> {
    let cut = |at| Box::new(move |receiver: &Receiver<'_>| receiver.cut(&Cut::at(at)));
    let undoing =
        |step| Box::new(move |receiver: &Receiver<'_>| receiver.cut(&Cut::while_undoing(step, receiver)));
    let fails = |receiver: &Receiver<'_>| {
        let cut = Cut { moment: "never", ..Cut::while_undoing(0, receiver) };
        let ended = receiver.with("1.tar", &cut, |run, plan| run.start(&plan));
        assert!(matches!(ended, Err(ApplyError::Undone { .. })), "{ended:?}");
        cut.mend();
    };
    vec![
        // Images are pushed together: their lines are one write.
        ("{\"begin\":0}\n{\"begin\":1}", cut(("begun", 0))),
        ("{\"done\":0}\n{\"done\":1}", cut(("done", 1))),
        ("{\"done\":3}", cut(("done", 3))),
        ("\"committed\"", Box::new(|receiver| drop(receiver.apply("1.tar").ok()))),
        ("\"undo\"", undoing(publish_step())),
        ("{\"undone\":3}", undoing(2)),
        ("\"rolled-back\"", Box::new(fails)),
    ]
}

#[test]
fn a_journal_whose_last_line_was_cut_off_at_any_byte_is_gone_on_with() {
    let (state, _) = undisturbed(&["1.tar"]);
    let (next, _) = undisturbed(&["2.tar"]);
    for (line, make) in journals() {
        for cut in 1..=line.len() + 1 {
            let receiver = Receiver::new();
            make(&receiver);
            let journal = the_journal(&receiver);
            let text = std::fs::read(&journal).unwrap();
            assert!(text.ends_with(format!("{line}\n").as_bytes()), "{line}");
            std::fs::write(&journal, &text[..text.len() - cut]).unwrap();
            let (bundle, state) = if cut % 2 == 0 { ("1.tar", &state) } else { ("2.tar", &next) };
            // An apply that had only its last word left to write is over, and the next one follows it.
            let over = line == "\"committed\"" && cut == 1;
            receiver.apply(bundle).ok();
            if !over {
                assert_eq!(receiver.state(), *state, "{line}, {cut} bytes short, {bundle}");
            }
            audit_holds(&receiver.world);
            let status = receiver.world.installer(&["--output", "json", "status"]).ok().json();
            assert!(status["interrupted"].is_null());
        }
    }
}

#[test]
fn a_journal_whose_plan_was_cut_off_stands_for_an_apply_that_did_nothing() {
    let (state, _) = undisturbed(&["1.tar"]);
    let receiver = Receiver::new();
    receiver.cut(&Cut::at(("begun", 0)));
    let journal = the_journal(&receiver);
    let text = std::fs::read(&journal).unwrap();
    let plan = text.iter().position(|byte| *byte == b'\n').unwrap();
    for length in 0..plan {
        std::fs::write(&journal, &text[..length]).unwrap();
        assert!(journal::read(&journal).unwrap().is_none(), "{length}");
        assert!(journal::unfinished(&Site::at(receiver.world.path("site"))).unwrap().is_none());
    }
    receiver.apply("1.tar").ok();
    assert_eq!(receiver.state(), state);
}

#[test]
fn a_log_whose_last_line_was_cut_off_at_any_byte_is_mended_and_says_so() {
    let receiver = Receiver::new();
    let world = &receiver.world;
    // After the last checkpoint: a line that was signed and is gone was taken by no power cut.
    world.installer(&["inspect", receiver.bundle("0.tar").to_str().unwrap()]).ok();
    let path = world.path("site/audit/audit.jsonl");
    let whole = std::fs::read(&path).unwrap();
    let last = last_line(&whole);
    for cut in 1..last {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let torn = &whole[whole.len() - last..whole.len() - cut];
        let ran = world.installer(&["audit", "verify"]).expect_exit(Exit::Refused);
        assert!(ran.stderr.contains("was cut off"), "{cut}: {}", ran.stderr);

        world.installer(&["inspect", receiver.bundle("1.tar").to_str().unwrap()]).ok();
        audit_holds(world);
        let log = world.installer(&["--output", "json", "audit", "show", "--last", "2"]).ok().json();
        let repair = &log["entries"][0];
        assert_eq!((&repair["event"], &repair["outcome"]), (&"log.repair".into(), &"done".into()), "{cut}");
        assert_eq!(repair["about"]["torn_line"], Digest::of(torn).to_string());
        let aside = path.with_file_name(format!("torn-{}", Digest::of(torn).short()));
        assert_eq!(std::fs::read(aside).unwrap(), torn);
    }
}

// ---- what a kill leaves that no moment of ours shows ---------------------------------------------------

#[test]
fn a_half_written_file_that_a_kill_left_beside_its_place_goes_with_the_rest() {
    let (state, _) = undisturbed(&["2.tar"]);
    let new = sender().plan.steps.iter().position(|step| step.title().contains("new/deep/b")).unwrap();
    let receiver = Receiver::new();
    receiver.cut(&Cut::at(("performed", new)));
    // As far as the step comes before its content is whole: the step has begun, so its own mark is there.
    std::fs::remove_file(receiver.world.path("root/etc/demo/new/deep/b")).unwrap();
    receiver.world.write("root/etc/demo/new/deep/.b.airlock-new", "half");
    receiver.apply("2.tar").ok();
    assert_eq!(receiver.state().0, state.0);
}

#[test]
fn a_directory_that_a_kill_left_closed_is_open_to_everybody_in_the_end_or_gone() {
    use std::os::unix::fs::DirBuilderExt;
    let new = sender().plan.steps.iter().position(|step| step.title().contains("new/deep/b")).unwrap();
    for bundle in ["1.tar", "2.tar"] {
        let (state, _) = undisturbed(&[bundle]);
        let receiver = Receiver::new();
        receiver.cut(&Cut::at(("performed", new)));
        // As the step makes it where the umask is 077, before it sets the mode and gives it its name.
        std::fs::remove_dir_all(receiver.world.path("root/etc/demo/new")).unwrap();
        let half_made = receiver.world.path("root/etc/demo/.new.airlock-new");
        std::fs::DirBuilder::new().mode(0o700).create(half_made).unwrap();
        receiver.apply(bundle).ok();
        assert_eq!(receiver.state().0, state.0, "{bundle}");
    }
}

// ---- python -------------------------------------------------------------------------------------------

fn python_world(python: &Python) -> World {
    let world = World::new();
    world.trust();
    site_yaml(&world, &[python.as_target(&world)]);
    for (sequence, version) in [(1, "1.0"), (2, "2.0"), (3, "3.0")] {
        write_wheels(&world, "wheels", &greeting(version));
        let rest = "wheels: [{name: tools, source: wheels}]\n";
        build(&world, version, sequence, rest, &format!("{sequence}.tar"));
    }
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    world
}

fn environments(world: &World) -> Vec<String> {
    let entries = std::fs::read_dir(world.path("venvs")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn says_hello(world: &World) -> String {
    python_says(&world.path("venvs/tools/bin/python"), "import greet; print(greet.text())")
}

/// Leaves version 2's environment as the power may: half made, or in use.
fn leave_environment(world: &World, how: &str) {
    let watch = Cut::at((if how == "in use" { "performed" } else { "begun" }, 0));
    let plan = with_run(world, &world.path("2.tar"), &watch, |run, plan| {
        assert!(matches!(run.start(&plan), Err(ApplyError::PowerCut(_))));
        plan
    });
    let plan::Step::Venv(venv) = &plan.steps[0] else { panic!("{plan:?}") };
    if how == "half made" {
        std::fs::create_dir_all(venv.venv.join("bin")).unwrap();
        std::fs::write(venv.venv.join("bin/python"), "half").unwrap();
        std::os::unix::fs::symlink("nothing", venv.link.with_file_name(".tools.airlock-new")).unwrap();
    }
}

#[test]
fn an_environment_that_was_cut_off_is_finished_or_removed_and_the_old_one_is_in_use_until_then() {
    let Some(python) = Python::find() else { return };
    for how in ["half made", "in use"] {
        for (bundle, hello) in [("2.tar", "hello from 2.0"), ("3.tar", "hello from 3.0")] {
            let world = python_world(&python);
            let before = environments(&world);
            leave_environment(&world, how);
            if how != "in use" {
                assert_eq!(says_hello(&world), "hello from 1.0");
            }
            world.installer(&["apply", bundle, "--yes"]).ok();
            assert_eq!(says_hello(&world), hello, "{how}, {bundle}");
            let after = environments(&world);
            assert_eq!(after.len(), before.len() + 1, "{how}, {bundle}: {after:?}");
            audit_holds(&world);
        }
    }
}
