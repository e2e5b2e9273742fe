//! Image discovery through the command line, with the real Helm 3 and Helm 4: what a chart needs is found
//! wherever it stands, and a bundle that lacks it is not locked.

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

use std::collections::BTreeSet;

use e2e::{Ran, World};
use edge::Exit;
use ingredients::{Image, gzip, image, index, layer, tar_of, write_layout};
use serde_json::Value;
use testkit::{FakeRegistry, real_part};

/// A world for each Helm that is here.
fn worlds() -> Vec<World> {
    let helms = ["helm", "helm4"].into_iter().filter_map(real_part);
    let world = |helm: std::path::PathBuf| {
        let mut world = World::new();
        world.vars.insert("AIRLOCK_HELM".into(), helm.into());
        world
    };
    helms.map(world).collect()
}

fn chart(world: &World, files: &[(&str, &str)]) {
    world.write("chart/Chart.yaml", "apiVersion: v2\nname: fraud\nversion: 1.0.0\n");
    for (name, text) in files {
        world.write(&format!("chart/{name}"), text);
    }
}

fn listed(ran: Ran) -> Vec<(String, String)> {
    let json = ran.ok().json();
    let images = json["components"][0]["images"].as_array().unwrap().clone();
    let text = |image: &Value, key: &str| image[key].as_str().unwrap().to_string();
    images.iter().map(|image| (text(image, "image"), text(image, "class"))).collect()
}

fn images(world: &World, more: &[&str]) -> Vec<(String, String)> {
    let command = ["--output", "json", "images", "chart", "--kubernetes", "1.30"];
    listed(world.bundler(&[&command[..], more].concat()))
}

/// A custom resource of an operator, with the image that nobody sees.
const HIDDEN: &str = "apiVersion: db.example.com/v1\nkind: Database\nmetadata:\n  name: main\nspec:\n  engine:\n    env:\n      - name: BACKUP_AGENT\n        value: registry.example.com:5000/db/backup:2.1\n";

fn pod(image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n    - name: a\n      image: {image}\n"
    )
}

// ---- what is found ------------------------------------------------------------------------------------

#[test]
fn an_image_in_an_environment_variable_of_a_custom_resource_is_found_and_stops_the_lock() {
    for world in worlds() {
        chart(&world, &[("templates/db.yaml", HIDDEN)]);
        world.spec("1.0.0", 1, "charts: [{source: chart, kubernetes: [\"1.30\"]}]\n");
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Usage);
        for text in [
            "error: an image that is needed is not in the bundle",
            "chart fraud 1.0.0:",
            "registry.example.com:5000/db/backup:2.1 (probable)",
            "at Database/main spec.engine.env[0].value (fraud/templates/db.yaml), Kubernetes 1.30",
            "images:   - docker://registry.example.com:5000/db/backup:2.1",
            "waivers:   - {image: 'registry.example.com:5000/db/backup:2.1', reason: …}",
            "hint: add each line to `images` in bundle.yaml",
        ] {
            assert!(ran.stderr.contains(text), "`{text}` is not in {}", ran.stderr);
        }
        assert!(!world.path("bundle.lock").exists());
        let json = world.bundler(&["--output", "json", "lock"]).expect_exit(Exit::Usage).json();
        let message = json["error"]["message"].as_str().unwrap();
        assert!(message.contains("- docker://registry.example.com:5000/db/backup:2.1"), "{message}");
    }
}

/// Everything that a chart can hide an image in, each with a name of its own.
fn everything(world: &World) {
    chart(
        world,
        &[
            ("values.yaml", "extra: false\nimage: {registry: r.example.com, repository: a/split, tag: 7}\n"),
            (
                "templates/hook.yaml",
                "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: h\n  annotations: {helm.sh/hook: pre-delete}\nspec:\n  template:\n    spec:\n      containers: [{name: a, image: 'r.example.com/hook:1'}]\n",
            ),
            (
                "templates/tests/test.yaml",
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: t\n  annotations: {helm.sh/hook: test}\nspec:\n  containers: [{name: a, image: 'r.example.com/test:1'}]\n",
            ),
            (
                "templates/operator.yaml",
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: o}\nspec:\n  template:\n    spec:\n      containers:\n        - name: o\n          image: r.example.com/operator:1\n          args: ['--sidecar-image=r.example.com/sidecar:1']\n          env: [{name: RELATED_IMAGE_PROXY, value: r.example.com/related}]\n",
            ),
            (
                "templates/cron.yaml",
                "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          containers: [{name: a, image: 'r.example.com/cron:1'}]\n          volumes: [{name: v, image: {reference: 'r.example.com/volume:1'}}]\n",
            ),
            (
                "templates/config.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  pod.yaml: |\n    spec:\n      containers: [{image: r.example.com/embedded:1}]\n  weird: =\n",
            ),
            (
                "templates/custom.yaml",
                "apiVersion: x.example.com/v1\nkind: X\nmetadata: {name: x}\nspec:\n  image:\n    {{- toYaml .Values.image | nindent 4 }}\n",
            ),
            (
                "templates/extra.yaml",
                "{{ if .Values.extra }}\napiVersion: v1\nkind: Pod\nmetadata: {name: e}\nspec: {containers: [{name: a, image: 'r.example.com/extra:1'}]}\n{{ end }}\n",
            ),
            (
                "templates/old.yaml",
                "{{ if semverCompare \"<1.29-0\" .Capabilities.KubeVersion.Version }}\napiVersion: v1\nkind: Pod\nmetadata: {name: old}\nspec: {containers: [{name: a, image: 'r.example.com/old:1'}]}\n{{ end }}\n",
            ),
            (
                "templates/monitor.yaml",
                "{{ if .Capabilities.APIVersions.Has \"monitoring.coreos.com/v1\" }}\napiVersion: v1\nkind: Pod\nmetadata: {name: m}\nspec: {containers: [{name: a, image: 'r.example.com/monitor:1'}]}\n{{ end }}\n",
            ),
            (
                "templates/list.yaml",
                "apiVersion: v1\nkind: List\nitems:\n  - {apiVersion: v1, kind: Pod, metadata: {name: l}, spec: {containers: [{name: a, image: 'r.example.com/listed:1'}]}}\n",
            ),
            (
                "crds/x.yaml",
                "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: xs.x.example.com}\nspec:\n  versions:\n    - schema: {openAPIV3Schema: {properties: {image: {type: string, default: 'r.example.com/default:1'}}}}\n",
            ),
            (
                "charts/db/Chart.yaml",
                "apiVersion: v2\nname: db\nversion: 1.0.0\nannotations:\n  images: |\n    - {name: x, image: 'r.example.com/annotated:1'}\n",
            ),
            (
                "charts/db/templates/pod.yaml",
                "apiVersion: v1\nkind: Pod\nmetadata: {name: '{{ .Release.Name }}-db'}\nspec: {containers: [{name: a, image: 'r.example.com/sub:{{ .Values.tag }}'}]}\n",
            ),
            ("charts/db/values.yaml", "tag: 1\n"),
            (
                "Images.lock",
                "apiVersion: v0\nkind: ImagesLock\nimages:\n  - {name: a, image: 'r.example.com/locked:1', chart: fraud}\n",
            ),
        ],
    );
    world.write(
        "chart/Chart.yaml",
        "apiVersion: v2\nname: fraud\nversion: 1.0.0\ndependencies:\n  - {name: db, version: 1.0.0, alias: ledger}\n  - {name: db, version: 1.0.0, alias: archive}\n",
    );
    world.write("large.yaml", "extra: true\nledger: {tag: 2}\n");
}

#[test]
fn every_place_that_can_hide_an_image_is_looked_at() {
    let (certain, probable) = ("certain", "probable");
    for world in worlds() {
        everything(&world);
        let expected = [
            ("annotated:1", probable),
            ("a/split:7", probable),
            ("cron:1", certain),
            ("default:1", probable),
            ("embedded:1", probable),
            ("hook:1", certain),
            ("listed:1", certain),
            ("locked:1", certain),
            ("operator:1", certain),
            ("related:latest", certain),
            ("sidecar:1", probable),
            ("sub:1", certain),
            ("test:1", certain),
            ("volume:1", certain),
        ];
        let wanted: BTreeSet<(String, String)> = expected
            .iter()
            .map(|(name, class)| (format!("r.example.com/{name}"), (*class).to_string()))
            .collect();
        assert_eq!(images(&world, &[]).into_iter().collect::<BTreeSet<_>>(), wanted);

        let more =
            ["--kubernetes", "1.28", "--api-versions", "monitoring.coreos.com/v1", "--values", "large.yaml"];
        let found: BTreeSet<(String, String)> = images(&world, &more).into_iter().collect();
        let added: Vec<&str> =
            found.difference(&wanted).map(|(name, _)| name.trim_start_matches("r.example.com/")).collect();
        assert_eq!(added, ["extra:1", "monitor:1", "old:1", "sub:2"]);
    }
}

#[test]
fn both_versions_of_helm_find_the_same() {
    let lists: Vec<_> = worlds()
        .iter()
        .map(|world| {
            everything(world);
            let command = ["--output", "json", "images", "chart", "--kubernetes", "1.30"];
            world.bundler(&command).ok().stdout
        })
        .collect();
    assert!(lists.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn each_profile_is_rendered_on_top_of_the_values_and_named() {
    for world in worlds() {
        chart(
            &world,
            &[(
                "templates/pods.yaml",
                "{{ range .Values.images }}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: '{{ . }}'}]}\n{{ end }}\n{{ required \"name\" .Values.name }}: {}\n",
            )],
        );
        world.write("base.yaml", "name: x\nimages: [\"r.example.com/base:1\"]\n");
        world.write("one.yaml", "images: [\"r.example.com/one:1\"]\n");
        world.write("both.yaml", "images: [\"r.example.com/one:1\", \"r.example.com/two:1\"]\n");
        world.spec("1.0.0", 1, "charts:\n  - source: chart\n    values: [base.yaml]\n    kubernetes: [\"1.28\", \"1.31\"]\n    profiles: {plain: [], small: [one.yaml], large: [both.yaml]}\n");
        let json = world.bundler(&["--output", "json", "images"]).ok().json();
        let shown: Vec<String> = json["components"][0]["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| {
                format!(
                    "{} {} {} {}",
                    image["image"],
                    image["verdict"],
                    image["places"][0]["profiles"],
                    image["places"][0]["kubernetes"]
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#""r.example.com/base:1" "missing" ["plain"] ["1.28","1.31"]"#,
                r#""r.example.com/one:1" "missing" ["large","small"] ["1.28","1.31"]"#,
                r#""r.example.com/two:1" "missing" ["large"] ["1.28","1.31"]"#,
            ]
        );
        let lines = world.bundler(&["images", "--as", "lines"]).ok().stdout;
        assert_eq!(lines, "r.example.com/base:1\nr.example.com/one:1\nr.example.com/two:1\n");
    }
}

// ---- what becomes of it -------------------------------------------------------------------------------

fn two_platforms() -> (Image, Image, Image) {
    let (amd64, arm64) = (image("amd64", &[layer(1, 100)]), image("arm64", &[layer(2, 100)]));
    (index(&[("amd64", &amd64), ("arm64", &arm64)]), amd64, arm64)
}

#[test]
fn the_line_that_the_lock_names_makes_it_pass_and_so_does_a_list_of_such_lines() {
    let registry = FakeRegistry::start();
    let (both, _, _) = two_platforms();
    both.store_in(&registry, "team/app", "v1");
    for world in worlds() {
        let name = format!("{}/team/app:v1", registry.host());
        chart(&world, &[("templates/pod.yaml", &pod(&name))]);
        let charts = "charts: [{source: chart, kubernetes: [\"1.30\"]}]\n";
        world.spec("1.0.0", 1, charts);
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Usage);
        let line = ran.stderr.lines().find_map(|line| line.trim().strip_prefix("images:   ")).unwrap();
        assert!(!ran.stderr.contains("waivers"), "{}", ran.stderr);
        world.spec("1.0.0", 1, &format!("images:\n  {line}\n{charts}"));
        world.bundler(&["lock"]).ok();

        let list = world.bundler(&["images", "chart", "--as", "lines"]).ok().stdout;
        world.write("images.txt", &list);
        world.spec("1.0.0", 1, &format!("images: [{{list: images.txt}}]\n{charts}"));
        world.bundler(&["lock"]).ok();
    }
}

#[test]
fn a_locked_bundle_says_what_its_charts_need_and_the_same_each_time() {
    for world in worlds() {
        let (both, _, arm64) = two_platforms();
        write_layout(&world, "images/app", &[("app", &both)]);
        let pinned = format!("registry.example.com/team/app:v9@{}", arm64.root.digest);
        chart(
            &world,
            &[
                ("templates/a.yaml", &pod("registry.example.com/team/app:v1")),
                ("templates/b.yaml", &pod(&pinned)),
                ("templates/db.yaml", HIDDEN),
            ],
        );
        world.spec("1.0.0", 1, "images: [{source: 'oci:images/app:app', name: 'registry.example.com/team/app:v1'}]\ncharts: [{source: chart, kubernetes: ['1.30']}]\nwaivers: [{image: 'registry.example.com:5000/db/backup:2.1', reason: backups are off here, chart: fraud}]\n");
        world.bundler(&["lock"]).ok();
        let first = std::fs::read(world.path("bundle.lock")).unwrap();
        world.bundler(&["lock"]).ok();
        assert_eq!(std::fs::read(world.path("bundle.lock")).unwrap(), first);

        world.bundler(&["build", "--out", "b.tar"]).ok();
        let seen = world.bundler(&["--output", "json", "inspect", "b.tar"]).ok().json();
        let components = seen["inventory"]["components"].as_array().unwrap();
        let chart = components.iter().find(|component| component["kind"] == "chart").unwrap();
        let expected = serde_json::json!([
            {
                "carried": both.root.digest, "class": "certain", "image": "registry.example.com/team/app:v1", "places_total": 1,
                "places": [{"file": "fraud/templates/a.yaml", "kubernetes": ["1.30"], "object": "Pod/p", "path": "spec.containers[0].image"}],
            },
            {
                "carried": arm64.root.digest, "class": "certain", "image": pinned, "places_total": 1,
                "places": [{"file": "fraud/templates/b.yaml", "kubernetes": ["1.30"], "object": "Pod/p", "path": "spec.containers[0].image"}],
            },
            {
                "waived": "backups are off here", "class": "probable", "image": "registry.example.com:5000/db/backup:2.1", "places_total": 1,
                "places": [{"file": "fraud/templates/db.yaml", "kubernetes": ["1.30"], "object": "Database/main", "path": "spec.engine.env[0].value"}],
            },
        ]);
        assert_eq!(chart["images"], expected);
        let shown = world.bundler(&["images"]).ok().stdout;
        assert!(shown.contains("probable  waived       registry.example.com:5000/db/backup:2.1"), "{shown}");
        assert!(shown.lines().all(|line| !line.contains("missing")), "{shown}");
    }
}

#[test]
fn an_image_with_another_digest_is_not_the_one() {
    for world in worlds() {
        let (both, amd64, arm64) = two_platforms();
        write_layout(&world, "images/app", &[("app", &both)]);
        let pinned = format!("registry.example.com/team/app:v1@{}", arm64.root.digest);
        chart(&world, &[("templates/a.yaml", &pod(&pinned))]);
        // Of two platforms one is taken, and the chart wants the other.
        world.spec("1.0.0", 1, "images: [{source: 'oci:images/app:app', name: 'registry.example.com/team/app:v1', platforms: linux/amd64}]\ncharts: [{source: chart, kubernetes: ['1.30']}]\n");
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Usage);
        let says = format!("carried with another digest: {}", amd64.root.digest);
        assert!(ran.stderr.contains(&says), "{}", ran.stderr);
        world.spec("1.0.0", 1, "images: [{source: 'oci:images/app:app', name: 'registry.example.com/team/app:v1'}]\ncharts: [{source: chart, kubernetes: ['1.30']}]\n");
        world.bundler(&["lock"]).ok();
    }
}

#[test]
fn every_missing_image_of_every_chart_is_in_one_message() {
    for world in worlds() {
        chart(&world, &[("templates/a.yaml", &pod("a:1")), ("templates/b.yaml", HIDDEN)]);
        world.write("other/Chart.yaml", "apiVersion: v2\nname: other\nversion: 2.0.0\n");
        world.write("other/templates/a.yaml", pod("'{{ .Values.image }}'"));
        world.write("other/values.yaml", "image: b:2\n");
        world.spec(
            "1.0.0",
            1,
            "charts:\n  - {source: chart, kubernetes: ['1.30']}\n  - {source: other, kubernetes: ['1.30']}\n",
        );
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Usage);
        for text in [
            "error: images that are needed are not in the bundle",
            "chart fraud 1.0.0:",
            "docker.io/library/a:1 (certain)",
            "- docker://docker.io/library/a:1",
            "registry.example.com:5000/db/backup:2.1 (probable)",
            "chart other 2.0.0:",
            "- docker://docker.io/library/b:2",
        ] {
            assert!(ran.stderr.contains(text), "`{text}` is not in {}", ran.stderr);
        }
    }
}

#[test]
fn what_is_certain_cannot_be_waived_and_a_waiver_for_nothing_is_said() {
    for world in worlds() {
        chart(&world, &[("templates/a.yaml", &pod("registry.example.com/a:1"))]);
        let charts = "charts: [{source: chart, kubernetes: ['1.30']}]\n";
        world.spec(
            "1.0.0",
            1,
            &format!("{charts}waivers: [{{image: 'registry.example.com/a:1', reason: no}}]\n"),
        );
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Usage);
        for text in
            ["registry.example.com/a:1 (certain)", "cannot be waived", "- docker://registry.example.com/a:1"]
        {
            assert!(ran.stderr.contains(text), "`{text}` is not in {}", ran.stderr);
        }

        let (both, _, _) = two_platforms();
        write_layout(&world, "images/app", &[("app", &both)]);
        let carried =
            format!("images: [{{source: 'oci:images/app:app', name: 'registry.example.com/a:1'}}]\n{charts}");
        world.spec(
            "1.0.0",
            1,
            &format!("{carried}waivers: [{{image: 'registry.example.com/b:1', reason: no}}]\n"),
        );
        let ran = world.bundler(&["lock"]).ok();
        assert!(ran.stderr.contains("note: the waiver for registry.example.com/b:1"), "{}", ran.stderr);
    }
}

// ---- what cannot be looked through --------------------------------------------------------------------

#[test]
fn a_chart_that_does_not_render_is_an_error_with_helms_words() {
    for world in worlds() {
        chart(
            &world,
            &[(
                "templates/a.yaml",
                "{{ if semverCompare \">=1.31-0\" .Capabilities.KubeVersion.Version }}{{ fail \"the password is missing\" }}{{ end }}\n",
            )],
        );
        world.write("empty.yaml", "{}\n");
        world.spec(
            "1.0.0",
            1,
            "charts: [{source: chart, kubernetes: ['1.30', '1.31'], profiles: {large: [empty.yaml]}}]\n",
        );
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Usage);
        for text in [
            "chart fraud 1.0.0 cannot be rendered (profile large, Kubernetes 1.31)",
            "the password is missing",
        ] {
            assert!(ran.stderr.contains(text), "`{text}` is not in {}", ran.stderr);
        }
        assert!(!world.path("bundle.lock").exists());
        world.spec(
            "1.0.0",
            1,
            "charts: [{source: chart, kubernetes: ['1.30'], profiles: {large: [gone.yaml]}}]\n",
        );
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Unreachable);
        assert!(ran.stderr.contains("gone.yaml"), "{}", ran.stderr);
    }
}

#[test]
fn without_helm_nothing_is_locked_and_without_templates_helm_is_not_needed() {
    let mut world = World::new();
    world.vars.insert("AIRLOCK_HELM".into(), "/nowhere/helm".into());
    chart(&world, &[("values.yaml", "a: 1\n")]);
    world.spec("1.0.0", 1, "charts: [{source: chart}]\n");
    world.bundler(&["lock"]).ok();
    world.write("chart/templates/a.yaml", pod("a:1"));
    let ran = world.bundler(&["lock"]).expect_exit(Exit::Unreachable);
    for text in ["chart fraud 1.0.0", "cannot run helm", "/nowhere/helm", "hint: install helm 3 or 4"] {
        assert!(ran.stderr.contains(text), "`{text}` is not in {}", ran.stderr);
    }
    world.vars.insert("AIRLOCK_HELM".into(), "/bin/true".into());
    let ran = world.bundler(&["lock"]).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains("expected helm 3 or 4"), "{}", ran.stderr);
}

#[test]
fn keys_that_helm_would_take_for_something_else_are_refused() {
    let world = World::new();
    for (keys, says) in [
        ("kubernetes: [latest]", "kubernetes: `latest` is not a version"),
        ("kubernetes: [\"1\"]", "is not a version"),
        ("apiVersions: [\"a,b\"]", "apiVersions: `a,b` is not one"),
        ("apiVersions: [\"--debug\"]", "is not one"),
    ] {
        world.spec("1.0.0", 1, &format!("charts: [{{source: chart, {keys}}}]\n"));
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Usage);
        assert!(ran.stderr.contains(says), "`{says}` is not in {}", ran.stderr);
    }
    world.write("bundle.yaml", "");
    let ran = world.bundler(&["images", "bundle.yaml", "--values", "a.yaml"]).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("no --values"), "{}", ran.stderr);
}

// ---- charts that mean harm ----------------------------------------------------------------------------

#[test]
fn a_chart_reaches_nothing_while_it_is_rendered() {
    for mut world in worlds() {
        chart(
            &world,
            &[
                (
                    "templates/a.yaml",
                    "{{ $address := getHostByName \"localhost\" }}\n{{ $pods := lookup \"v1\" \"Pod\" \"\" \"\" }}\nimage: 'registry.example.com/a{{ $address }}{{ len $pods }}:1'\n",
                ),
                (
                    "templates/b.yaml",
                    "image: 'registry.example.com/b{{ .Files.Get \"../../secret.txt\" }}{{ .Files.Get \"/etc/hostname\" }}:1'\n",
                ),
            ],
        );
        world.write("secret.txt", "secret\n");
        // Settings and plugins of the person at the keyboard have no effect either.
        world.write("home/plugins/evil/plugin.yaml", "name: evil\nversion: 1\ncommand: /bin/false\n");
        for (name, value) in
            [("HELM_NAMESPACE", "evil"), ("HELM_DEBUG", "true"), ("HELM_KUBEAPISERVER", "http://127.0.0.1:1")]
        {
            world.vars.insert(name.into(), value.into());
        }
        world.vars.insert("HELM_PLUGINS".into(), world.path("home/plugins").into());
        let found = images(&world, &[]);
        let probable = |name: &str| (format!("registry.example.com/{name}:1"), "probable".to_string());
        assert_eq!(found, [probable("a0"), probable("b")]);

        world.write("chart/values.schema.json", "{\"$ref\": \"http://schemas.example.com/x.json\"}");
        let ran = world.bundler(&["images", "chart", "--kubernetes", "1.30"]).expect_exit(Exit::Usage);
        assert!(ran.stderr.contains("schemas.example.com"), "{}", ran.stderr);
    }
}

#[test]
fn what_a_chart_blows_up_is_bounded() {
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\ng: [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]\n";
    let deep = format!("a: {}1{}\n", "[".repeat(150), "]".repeat(150));
    let endless = "{{ range until 100000000 }}a: {{ randAlphaNum 100 }}\n{{ end }}\n";
    let itself = "{{ define \"a\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}\n";
    let long = "{{ range until 700000 }}\n# {{ repeat 100 \"x\" }}\n{{ end }}\na: 1\n";
    for world in worlds() {
        for (what, text) in
            [("bomb", bomb), ("deep", &deep), ("endless", endless), ("itself", itself), ("long", long)]
        {
            chart(&world, &[("templates/a.yaml", text)]);
            let ran = world.bundler(&["images", "chart", "--kubernetes", "1.30"]);
            assert_eq!(ran.exit, Exit::Usage, "{what}: {ran:?}");
            assert!(
                ran.stderr.contains("chart fraud 1.0.0") && ran.stderr.len() < 8000,
                "{what}: {}",
                ran.stderr
            );
        }
    }
}

#[test]
fn a_chart_that_leads_out_of_itself_is_refused_before_helm_sees_it() {
    let world = World::new();
    chart(&world, &[("templates/a.yaml", "a: 1\n")]);
    std::os::unix::fs::symlink("/etc/hostname", world.path("chart/templates/b.yaml")).unwrap();
    let ran = world.bundler(&["images", "chart"]).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains("is a link or a device"), "{}", ran.stderr);
    let packed = gzip(&tar_of(&[
        ("fraud/Chart.yaml", "apiVersion: v2\nname: fraud\nversion: 1.0.0\n"),
        ("fraud/charts/x.tgz", "no archive"),
    ]));
    world.write("bad.tgz", packed);
    let ran = world.bundler(&["images", "bad.tgz"]).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("x.tgz is not a Helm chart"), "{}", ran.stderr);
}
