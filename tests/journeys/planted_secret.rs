//! A secret appears nowhere: secrets are planted wherever one can stand at a site, the site lives through everything
//! that can happen to it, and every byte that comes out is searched for each of them: what commands print, the log,
//! the journals, and every file that a command writes for somebody.
//!
//! Two things hold secrets because that is what they are for, and are not searched: the store, which has what the
//! bundle brought, and `journal/*.kept`, which has what an undo puts back, for its owner only. What a script prints
//! of itself is in the log and in messages (docs/threats.md, row 21), and so it is searched for in a diagnosis only.

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
mod versions;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use e2e::{Ran, World};
use edge::Exit;
use ingredients::{image, layer, write_layout};
use onsite::site_yaml;
use serde_json::{Value, json};
use testkit::{Cluster, REAL_PASSWORD, REAL_USER, RealRegistry, RealRegistryOptions, real_part};
use versions::{bundle, site};

/// What looks at a site and changes nothing of it, as it is typed. A new command gets a line here.
const LOOKS: &[&str] = &[
    "status",
    "history",
    "drift",
    "trust show",
    "trust key show",
    "gc",
    "rollback",
    "remove demo",
    "abandon",
    "audit show",
    "audit verify",
    "audit checkpoint --out OUT",
    "audit export --format jsonl --out OUT",
    "audit export --format cef --out OUT",
    "audit export --format syslog --out OUT",
    "report --out OUT.html --evidence OUT",
    "report --out OUT.json",
    "receipt --out OUT.json",
    "receipt --out OUT.txt",
    "diagnose --list --pod-logs",
    "diagnose --pod-logs --out OUT",
];

/// The same with a bundle.
const LOOKS_AT_A_BUNDLE: &[&str] = &[
    "verify",
    "inspect --review OUT.json",
    "audit explain",
    "plan -v",
    "preflight --junit OUT",
    "report --out OUT.html",
];

/// A site, what was planted at it, and what has come out.
struct Life {
    world: World,
    secrets: Vec<(&'static str, String)>,
    /// What is searched for in a diagnosis only.
    told: Vec<(&'static str, String)>,
    outs: usize,
}

impl Life {
    fn new(world: World) -> Self {
        let mut life = Self { world, secrets: Vec::new(), told: Vec::new(), outs: 0 };
        life.environment();
        life.site_key();
        life
    }

    fn plant(&mut self, what: &'static str, secret: impl Into<String>) {
        self.secrets.push((what, secret.into()));
    }

    /// Variables that other programs read, and one that nobody knows.
    fn environment(&mut self) {
        for (name, value) in [
            ("AWS_SECRET_ACCESS_KEY", "cnry-env/Key+1"),
            ("CNRY_VARIABLE", "cnry-env-other"),
            ("HTTPS_PROXY", "http://user:cnry-proxy@127.0.0.1:1"),
            ("PIP_INDEX_URL", "http://user:cnry-pip@127.0.0.1:1/simple"),
        ] {
            self.world.vars.insert(name.into(), value.into());
        }
        self.plant("a variable", "cnry-env/Key+1");
        self.plant("an unknown variable", "cnry-env-other");
        self.plant("the password of a proxy", "cnry-proxy");
        self.plant("the password of an index", "cnry-pip");
    }

    /// The site's own private key, line by line.
    fn site_key(&mut self) {
        let files = self.world.snapshot("site/key").into_keys().filter(|path| path.is_file());
        let texts: Vec<String> = files.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        let private: Vec<&String> = texts.iter().filter(|text| text.contains("PRIVATE KEY")).collect();
        assert!(!private.is_empty(), "the site has no key to look for");
        let lines: Vec<String> = private
            .iter()
            .flat_map(|text| text.lines())
            .filter(|line| !line.starts_with("-----") && line.len() > 16)
            .map(str::to_string)
            .collect();
        lines.into_iter().for_each(|line| self.plant("the site's key", line));
    }

    /// Runs a command for people and once more for programs; nothing of what it prints is a secret.
    fn run(&mut self, line: &str) -> Ran {
        let args: Vec<String> = line
            .split(' ')
            .map(|word| match word.strip_prefix("OUT") {
                Some(extension) => {
                    self.outs += 1;
                    format!("outs/{}{extension}", self.outs)
                }
                None => word.to_string(),
            })
            .collect();
        std::fs::create_dir_all(self.world.path("outs")).unwrap();
        let ran = self.world.installer(&args.iter().map(String::as_str).collect::<Vec<_>>());
        self.search(line, ran.stdout.as_bytes());
        self.search(line, ran.stderr.as_bytes());
        ran
    }

    fn look(&mut self, bundle: Option<&str>) {
        for look in LOOKS {
            self.run(look);
            if !look.contains("OUT") {
                self.run(&format!("--output json {look}"));
            }
        }
        for look in LOOKS_AT_A_BUNDLE.iter().filter(|_| bundle.is_some()) {
            self.run(&format!("{look} {}", bundle.unwrap()));
        }
        self.search_files();
    }

    fn search(&self, what: &str, bytes: &[u8]) {
        for (kind, secret) in &self.secrets {
            for form in forms(secret) {
                let found = bytes.windows(form.len()).any(|window| window == form.as_bytes());
                assert!(!found, "{kind} as `{form}` in {what}: {}", String::from_utf8_lossy(bytes));
            }
        }
    }

    fn search_files(&self) {
        for below in ["site/audit", "site/journal", "site/ledger", "outs"] {
            for path in self.world.snapshot(below).into_keys().filter(|path| path.is_file()) {
                if is_kept(&path) {
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                self.search(&path.display().to_string(), &bytes);
                if bytes.starts_with(b"CONTENTS.txt") {
                    for (kind, told) in &self.told {
                        let found = bytes.windows(told.len()).any(|window| window == told.as_bytes());
                        assert!(!found, "{kind} in {}", path.display());
                    }
                }
            }
        }
    }
}

/// What an undo puts back.
fn is_kept(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().ends_with(".kept"))
}

/// A secret as it may be written: plain, in Base64 wherever it begins in the text around it, and in a URL.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_string()];
    for before in 0..3_usize {
        let text = format!("{}{secret}", "x".repeat(before));
        for engine in [STANDARD, URL_SAFE] {
            let encoded = engine.encode(&text);
            // The first and last letters depend on what stands around it.
            let whole = encoded.trim_end_matches('=');
            let from = if before == 0 { 0 } else { 4 };
            let inner = whole.get(from..whole.len().saturating_sub(2)).unwrap_or_default();
            forms.extend((inner.len() >= 6).then(|| inner.to_string()));
        }
    }
    let in_url: String = secret
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect();
    forms.push(in_url);
    forms
}

#[test]
fn a_secret_is_found_in_each_of_its_forms() {
    let secret = "cnry/Secret+1";
    for text in [
        format!("a {secret} b"),
        STANDARD.encode(format!("user:{secret}")),
        STANDARD.encode(format!("ab{secret}xyz")),
        URL_SAFE.encode(secret),
        "x=cnry%2FSecret%2B1".to_string(),
    ] {
        assert!(forms(secret).iter().any(|form| text.contains(form)), "{text}");
    }
    assert!(!forms(secret).iter().any(|form| "something else".contains(form)));
}

#[test]
fn nothing_of_a_registrys_login_the_environment_a_script_or_an_old_file_comes_out() {
    let options = RealRegistryOptions { delete: true, htpasswd: true, ..RealRegistryOptions::default() };
    let Some(registry) = RealRegistry::start(options) else { return };
    let mut life = Life::new(site(&[]));
    let login = |password: &str| {
        let auth = STANDARD.encode(format!("{REAL_USER}:{password}"));
        json!({"auths": {registry.host(): {"auth": auth}}}).to_string()
    };
    life.world.write("home/.docker/config.json", login(REAL_PASSWORD));
    life.plant("the login of the registry", REAL_PASSWORD);
    life.world.write("root/etc/app/a", "password: cnry-old-file\n");
    // Whoever may not read it is not shown a line of it either, also with -v.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(life.world.path("root/etc/app/a"), private).unwrap();
    life.plant("what a file held before", "cnry-old-file");
    life.told.push(("what a script prints", "cnry-printed".to_string()));
    let config = |url: &str| {
        let files = format!("files: {{root: {}}}", life.world.path("root").display());
        site_yaml(
            &life.world,
            &[files, "scripts: {}".into(), format!("registry: {{url: \"{url}\", auth: docker-config}}")],
        );
    };
    config(&registry.url());

    let script = |name: &str, end: &str| {
        life.world.write(name, format!("#!/bin/sh\necho cnry-printed\n[ $AIRLOCK_STEP = undo ] || {end}\n"));
        format!("scripts: [{{source: {name}, undo: {name}, when: after}}]\n")
    };
    let (works, fails) = (script("works.sh", "exit 0"), script("fails.sh", "exit 3"));
    write_layout(&life.world, "images", &[("app", &image("amd64", &[layer(1, 500)]))]);
    let images = "images: [{source: 'oci:images:app', name: 'registry.example.com/team/app:1'}]\n";
    bundle(&life.world, "demo", 1, &[("a", "1")], &format!("{images}{works}"));
    bundle(&life.world, "demo", 2, &[("a", "2")], &format!("{images}{fails}"));
    bundle(&life.world, "demo", 3, &[("a", "3")], &format!("{images}{works}"));

    life.look(Some("demo-1.tar"));
    let _ = life.run("apply demo-1.tar --yes").ok();
    let failed = life.run("apply demo-2.tar --yes").expect_exit(Exit::Undone);
    assert!(failed.stderr.contains("cnry-printed"), "the script did not print it: {}", failed.stderr);
    life.look(Some("demo-3.tar"));
    let _ = life.run("acknowledge --reason looked").ok();
    let _ = life.run("apply demo-3.tar --yes").ok();
    let _ = life.run("rollback --yes").ok();
    // Somebody's login is wrong, and somebody has written one into the address.
    life.world.write("home/.docker/config.json", login("cnry-wrong"));
    life.plant("a login that is wrong", "cnry-wrong");
    let _ = life.run("apply demo-3.tar --yes").expect_exit(Exit::NotReady);
    let config = |url: &str| {
        let files = format!("files: {{root: {}}}", life.world.path("root").display());
        site_yaml(&life.world, &[files, "scripts: {}".into(), format!("registry: {{url: \"{url}\"}}")]);
    };
    config(&format!("http://user:cnry-url@{}", registry.host()));
    life.plant("a password in an address", "cnry-url");
    let refused = life.run("apply demo-3.tar --yes").expect_exit(Exit::Usage);
    assert!(refused.stderr.contains("there is a login in `targets.registry.url`"), "{}", refused.stderr);
    life.look(Some("demo-3.tar"));
}

/// What in a kubeconfig is secret.
fn secrets_of(kubeconfig: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let value = |line: &str| {
        let (key, value) = line.trim().split_once(':')?;
        let key = key.trim_start_matches("- ").trim_matches('"');
        ["client-key-data", "token", "password"]
            .contains(&key)
            .then(|| value.trim().trim_matches('"').to_string())
    };
    text.lines().filter_map(value).collect()
}

#[test]
fn nothing_of_a_kubeconfig_a_secret_or_a_sites_values_comes_out() {
    let (Some(cluster), Some(_)) = (Cluster::shared(), real_part("helm")) else { return };
    let namespace = cluster.namespace("planted");
    let mut life = Life::new(site(&[]));
    let kubeconfig = cluster.kubeconfig();
    let keys = secrets_of(&kubeconfig);
    assert!(!keys.is_empty(), "the kubeconfig has nothing secret in it");
    keys.into_iter().for_each(|key| life.plant("the kubeconfig", key));
    life.plant("a value of a Secret that came along", "cnry-secret-one");
    life.plant("a value of a Secret that came along later", "cnry-secret-two");
    life.plant("a value of a Secret that was there", "cnry-secret-there");
    life.plant("a value of the site's own values", "cnry-values");
    cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "there",
        "--from-literal=password=cnry-secret-there",
        "--namespace",
        &namespace,
    ]);

    let place = kubeconfig.display();
    let files = format!("files: {{root: {}}}", life.world.path("root").display());
    site_yaml(
        &life.world,
        &[
            files,
            format!("kubernetes: {{kubeconfig: {place}, within: 30s}}"),
            "helm: {timeout: 1m}".into(),
            "scripts: {}".into(),
        ],
    );
    let yaml = std::fs::read_to_string(life.world.path("site/site.yaml")).unwrap();
    life.world.write("site/site.yaml", format!("{yaml}values: {{web: [overlay.yaml]}}\n"));
    life.world.write("site/overlay.yaml", "password: cnry-values\n");
    life.world.write("chart/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n");
    life.world.write("chart/values.yaml", "password: none\n");
    life.world.write(
        "chart/templates/secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: web}\nstringData: {password: {{ .Values.password | quote }}}\n",
    );
    life.world.write("fails.sh", "#!/bin/sh\n[ $AIRLOCK_STEP = undo ]\n");
    for (sequence, password, more) in [
        (1, "cnry-secret-one", ""),
        (2, "cnry-secret-two", "scripts: [{source: fails.sh, undo: fails.sh, when: after}]\n"),
        (3, "cnry-secret-two", ""),
    ] {
        let secret = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"n": sequence.to_string()}});
        life.world.write("k8s/a.json", secret("login", json!({"password": password})).to_string());
        life.world.write("k8s/b.json", settings.to_string());
        let rest = format!(
            "charts: [{{source: chart, release: web, namespace: {namespace}}}]\nmanifests: [{{source: k8s, namespace: {namespace}}}]\n{more}"
        );
        bundle(&life.world, "demo", sequence, &[("a", &sequence.to_string())], &rest);
    }
    let _ = life.run("apply demo-1.tar --yes").ok();
    life.look(Some("demo-2.tar"));
    let _ = life.run("apply demo-2.tar --yes").expect_exit(Exit::Undone);
    life.look(Some("demo-3.tar"));
    let _ = life.run("acknowledge --reason looked").ok();
    let _ = life.run("apply demo-3.tar --yes").ok();
    life.look(Some("demo-3.tar"));
    let _ = life.run("rollback --yes").ok();
    let _ = life.run("remove demo --yes").ok();
    life.look(None);
}
