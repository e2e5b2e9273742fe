//! Logins: against a real registry with passwords, and against token servers that are honest or are not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    dead_code,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};

use manifests::Digest;
use manifests::oci::MEDIA_MANIFEST;
use registry::login::SharedLogins;
use registry::{
    Credential, Http, HttpError, HttpSettings, Login, LoginError, Logins, Registry, RegistryError,
    Repository, Secret,
};
use support::{by, client, full, image_manifest, settings};
use testkit::fake_server::Request;
use testkit::{FakeServer, REAL_PASSWORD, REAL_USER, RealRegistry, RealRegistryOptions, Reply};

const PATH: &str = "acme/app";
/// `user:hunter2`
const BASIC: &str = "Basic dXNlcjpodW50ZXIy";

/// One login for one registry, and who was asked about.
struct One {
    registry: String,
    credential: Credential,
    asked: Mutex<Vec<String>>,
}

impl Logins for One {
    fn login(&self, registry: &str, repository: &str) -> Result<Option<Login>, LoginError> {
        self.asked.lock().unwrap().push(format!("{registry}/{repository}"));
        let login = || Login { credential: self.credential.clone(), from: "auth.json".to_string() };
        Ok((registry == self.registry).then(login))
    }
}

fn password(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.to_string(), password: Secret::new(password.to_string()) }
}

fn logins(registry: &str, credential: Credential) -> SharedLogins {
    Arc::new(One { registry: registry.to_string(), credential, asked: Mutex::default() })
}

fn hunter(registry: &str) -> SharedLogins {
    logins(registry, password("user", "hunter2"))
}

fn with(url: &str, logins: SharedLogins) -> Repository {
    Registry::new(client(), url).unwrap().with_logins(logins, false).repository(PATH).unwrap()
}

/// A registry with one manifest that asks for tokens of its own `/token`, each good for `uses` requests.
fn token_registry(uses: usize, accepts: fn(&Request) -> bool) -> FakeServer {
    let state = Mutex::new((0_usize, 0_usize));
    FakeServer::start(move |request| {
        let host = request.header("host").unwrap();
        let mut state = state.lock().unwrap();
        if request.path == "/token" {
            if !accepts(request) {
                return Reply::status(401);
            }
            *state = (state.0 + 1, uses);
            return Reply::ok(format!("{{\"token\":\"t{}\",\"expires_in\":300}}", state.0));
        }
        let good = request.header("authorization") == Some(format!("Bearer t{}", state.0).as_str());
        if !good || state.1 == 0 {
            let demand = format!(
                "Bearer realm=\"http://{host}/token\",service=\"the registry\",scope=\"repository:{PATH}:pull\""
            );
            return Reply::status(401).header("WWW-Authenticate", demand);
        }
        state.1 -= 1;
        let (bytes, _) = image_manifest(b"{}", b"layer");
        Reply::ok(bytes).header("Content-Type", MEDIA_MANIFEST)
    })
}

fn paths(server: &FakeServer) -> Vec<String> {
    server.requests().iter().map(|request| format!("{} {}", request.method, request.path)).collect()
}

#[test]
fn a_real_registry_takes_a_password_for_pulling_and_pushing_and_over_tls() {
    for tls in [false, true] {
        let options = RealRegistryOptions { tls, htpasswd: true, ..RealRegistryOptions::default() };
        let Some(real) = RealRegistry::start(options) else { return };
        let ca_pem = real.ca_pem().map(<[u8]>::to_vec);
        let http = Http::new(&HttpSettings { ca_pem, ..settings().0 }).unwrap();
        let registry = |password_: &str| {
            let logins = logins(real.host(), password(REAL_USER, password_));
            Registry::new(http.clone(), &real.url()).unwrap().with_logins(logins, false)
        };
        let good = registry(REAL_PASSWORD);
        good.ping().unwrap();
        let repository = good.repository(PATH).unwrap();
        for bytes in [&b"{}"[..], b"layer"] {
            repository.upload_blob(&Digest::of(bytes), bytes.len() as u64, &mut &bytes[..]).unwrap();
        }
        let (bytes, digest) = image_manifest(b"{}", b"layer");
        repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap();
        assert_eq!(repository.get_manifest(&by("v1")).unwrap().digest, digest);
        let mut back = Vec::new();
        repository.open_blob(&Digest::of(b"layer"), 5).unwrap().read_to_end(&mut back).unwrap();
        assert_eq!(back, b"layer");

        let error = registry("wrong").repository(PATH).unwrap().get_manifest(&by("v1")).unwrap_err();
        assert!(error.to_string().contains("does not take the login from auth.json for"), "{error}");
        let nobody = Registry::new(http.clone(), &real.url()).unwrap().ping().unwrap_err();
        assert!(nobody.to_string().contains("asks for a login, and there is none"), "{nobody}");
        assert!(error.is_login() && nobody.is_login());
    }
}

#[test]
fn a_token_is_asked_for_once_and_used_again() {
    let server = token_registry(usize::MAX, |_| true);
    let repository = with(&server.url(), hunter("another.example.com"));
    for _ in 0..3 {
        repository.get_manifest(&by("v1")).unwrap();
    }
    let get = format!("GET /v2/{PATH}/manifests/v1");
    assert_eq!(paths(&server), [get.as_str(), "GET /token", &get, &get, &get]);
    let token = &server.requests()[1];
    assert_eq!(token.query("service"), Some("the registry"));
    assert_eq!(token.query("scope"), Some("repository:acme/app:pull"));
    assert_eq!(token.header("authorization"), None, "nobody has a login for this registry");
}

#[test]
fn a_token_that_has_run_out_is_replaced() {
    let server = token_registry(1, |_| true);
    let repository = with(&server.url(), hunter("another.example.com"));
    repository.get_manifest(&by("v1")).unwrap();
    repository.get_manifest(&by("v1")).unwrap();
    assert_eq!(paths(&server).iter().filter(|path| *path == "GET /token").count(), 2);
}

/// Gives a login at once to the first who asks; the second waits until it may go on.
struct SecondWaits {
    asked: AtomicU32,
    second_asks: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Logins for SecondWaits {
    fn login(&self, _: &str, _: &str) -> Result<Option<Login>, LoginError> {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 1 {
            self.second_asks.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
        Ok(Some(Login { credential: password("user", "hunter2"), from: "auth.json".to_string() }))
    }
}

#[test]
fn one_upload_that_logs_in_does_not_take_the_login_of_another_away() {
    // Both begin without a login and are asked for one. While the second looks for its own, the first sends its
    // bytes. They can be sent only once: a login that is not there in that moment would fail it.
    let (second_asks, asked) = mpsc::channel();
    let (sent, go_on) = mpsc::channel();
    let (asked, both_begin, posts) = (Mutex::new(asked), Barrier::new(2), AtomicU32::new(0));
    let server = FakeServer::start(move |request| {
        let known = request.header("authorization") == Some(BASIC);
        match (request.method.as_str(), known) {
            ("POST", false) => {
                both_begin.wait();
            }
            ("POST", true) if posts.fetch_add(1, Ordering::SeqCst) == 0 => {
                asked.lock().unwrap().recv().unwrap()
            }
            // The second's own comes when nobody waits for it any more.
            ("PUT", _) => drop(sent.send(())),
            _ => {}
        }
        match request.method.as_str() {
            _ if !known => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
            "POST" => Reply::status(202).header("Location", "/v2/acme/app/blobs/uploads/1"),
            "PUT" => Reply::status(201),
            _ => Reply::ok(""),
        }
    });
    let go_on = Mutex::new(go_on);
    let logins = Arc::new(SecondWaits { asked: AtomicU32::new(0), second_asks, go_on });
    let repository = with(&server.url(), logins);
    let upload = |bytes: &[u8]| {
        repository
            .upload_blob(&Digest::of(bytes), bytes.len() as u64, &mut &*bytes)
            .map_err(|e| e.to_string())
    };
    let both = std::thread::scope(|scope| {
        let other = scope.spawn(|| upload(b"other"));
        [upload(b"one"), other.join().unwrap()]
    });
    assert_eq!(both, [Ok(()), Ok(())]);
}

/// A registry that asks for tokens, numbered from 1. Each begins an upload; only with those of which `ends` says so
/// can the upload also be ended.
fn registry_whose_tokens_run_out(ends: fn(u32) -> bool) -> FakeServer {
    let tokens = AtomicU32::new(0);
    FakeServer::start(move |request| {
        let host = request.header("host").unwrap();
        if request.path == "/token" {
            let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
            return Reply::ok(format!("{{\"token\":\"{number}\"}}"));
        }
        let token: Option<u32> = request
            .header("authorization")
            .and_then(|header| header.strip_prefix("Bearer "))
            .and_then(|token| token.parse().ok());
        match (request.method.as_str(), token) {
            ("POST", Some(_)) => Reply::status(202).header("Location", "/v2/acme/app/blobs/uploads/1"),
            ("PUT", Some(token)) if ends(token) => Reply::status(201),
            ("HEAD", Some(_)) => Reply::ok(""),
            _ => {
                let demand = format!("Bearer realm=\"http://{host}/token\",service=\"r\"");
                Reply::status(401).header("WWW-Authenticate", demand)
            }
        }
    })
}

#[test]
fn a_token_that_runs_out_while_a_blob_is_sent_is_replaced_once() {
    let send = |server: &FakeServer| {
        let repository = with(&server.url(), hunter(&server.host()));
        repository.upload_blob_from(&Digest::of(b"layer"), 5, |from| Ok(&b"layer"[from as usize..]))
    };
    let sent = |server: &FakeServer| paths(server).iter().filter(|path| path.starts_with("PUT ")).count();

    let server = registry_whose_tokens_run_out(|token| token > 1);
    send(&server).unwrap();
    assert_eq!(sent(&server), 2, "{:?}", paths(&server));

    let server = registry_whose_tokens_run_out(|_| false);
    let error = send(&server).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert_eq!(sent(&server), 2, "{:?}", paths(&server));
}

#[test]
fn the_token_server_is_shown_the_password_and_the_registry_is_not() {
    let server = token_registry(9, |request| request.header("authorization") == Some(BASIC));
    let repository = with(&server.url(), hunter(&server.host()));
    repository.get_manifest(&by("v1")).unwrap();
    let with_password: Vec<String> = server
        .requests()
        .iter()
        .filter(|request| request.header("authorization") == Some(BASIC))
        .map(|request| request.path.clone())
        .collect();
    assert_eq!(with_password, ["/token"]);
    assert_eq!(server.requests()[1].query("account"), Some("user"));
}

#[test]
fn an_identity_token_is_posted_as_a_form() {
    let seen = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&seen);
    let server = FakeServer::start(move |request| {
        if request.path == "/token" {
            *sink.lock().unwrap() = String::from_utf8(request.body.clone()).unwrap();
            return Reply::ok("{\"access_token\":\"t\"}");
        }
        if request.header("authorization") == Some("Bearer t") {
            return Reply::status(404);
        }
        let realm = format!("http://{}/token", request.header("host").unwrap());
        let demand = format!("Bearer realm=\"{realm}\",service=\"r\",scope=\"repository:a/b:pull\"");
        Reply::status(401).header("WWW-Authenticate", demand)
    });
    let identity = Credential::Identity(Secret::new("id+token&x".to_string()));
    let repository = with(&server.url(), logins(&server.host(), identity));
    assert!(matches!(repository.get_manifest(&by("v1")), Err(RegistryError::NotFound { .. })));
    let form = seen.lock().unwrap().clone();
    assert_eq!(
        form,
        "grant_type=refresh_token&client_id=airlock&refresh_token=id%2Btoken%26x&service=r&scope=repository:a/b:pull"
    );
    assert_eq!(paths(&server)[1], "POST /token");
}

#[test]
fn a_token_server_that_does_not_take_the_login_is_named_with_the_file_and_without_the_password() {
    let server = token_registry(1, |_| false);
    let error = with(&server.url(), hunter(&server.host())).get_manifest(&by("v1")).unwrap_err();
    let text = full(&error);
    assert!(
        text.contains("/token") && text.contains("auth.json") && text.contains("does not take"),
        "{text}"
    );
    assert!(!text.contains("hunter2") && !text.contains("dXNlcjpodW50ZXIy"), "{text}");
    assert!(error.is_login());
}

#[test]
fn a_token_server_that_answers_nonsense_is_refused() {
    for body in ["", "{}", "{\"token\":\"\"}", "{\"token\":\"a\\r\\nX: y\"}", "{\"token\":7}", "<html>"] {
        let server = FakeServer::start(move |request| {
            if request.path == "/token" {
                return Reply::ok(body);
            }
            let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap());
            Reply::status(401).header("WWW-Authenticate", realm)
        });
        let error = with(&server.url(), hunter("x")).get_manifest(&by("v1")).unwrap_err();
        assert!(error.to_string().ends_with("its answer holds no token"), "{body:?}: {error}");
    }
}

#[test]
fn no_login_and_no_token_goes_to_another_machine_unencrypted() {
    let demand = "Bearer realm=\"http://auth.example.com/token?x=hunter2\",service=\"r\"";
    let server = FakeServer::start(move |_| Reply::status(401).header("WWW-Authenticate", demand));
    let error = with(&server.url(), hunter(&server.host())).get_manifest(&by("v1")).unwrap_err();
    assert!(matches!(error, RegistryError::Unencrypted { .. }), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_blob_store_that_a_registry_redirects_to_sees_no_login_and_gets_none_by_asking() {
    let store = FakeServer::start(|request| match request.path.as_str() {
        "/greedy" => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"give\""),
        _ => Reply::ok("layer"),
    });
    for (place, takes) in [("/honest", true), ("/greedy", false)] {
        let location = format!("{}{place}", store.url());
        let server = FakeServer::start(move |request| {
            if request.header("authorization") != Some(BASIC) {
                return Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\"");
            }
            Reply::status(307).header("Location", location.clone())
        });
        let repository = with(&server.url(), hunter(&server.host()));
        let read = repository.open_blob(&Digest::of(b"layer"), 5);
        assert_eq!(read.is_ok(), takes);
        assert_eq!(server.requests().len(), 2, "asked, and asked with a login");
    }
    assert!(store.requests().iter().all(|request| request.header("authorization").is_none()));
    assert_eq!(store.requests().len(), 2);
}

#[test]
fn a_password_that_is_not_taken_is_not_sent_for_ever() {
    let server = FakeServer::start(|_| Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""));
    let repository = with(&server.url(), hunter(&server.host()));
    let error = repository.get_manifest(&by("v1")).unwrap_err();
    assert!(matches!(&error, RegistryError::Unauthorized { login: Some(from), .. } if from == "auth.json"));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_login_is_looked_up_for_the_registry_and_the_repository() {
    let one =
        Arc::new(One { registry: String::new(), credential: password("u", "p"), asked: Mutex::default() });
    let server = FakeServer::start(|_| Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""));
    let _ = with(&server.url(), Arc::clone(&one) as SharedLogins).get_manifest(&by("v1"));
    assert_eq!(*one.asked.lock().unwrap(), [format!("{}/{PATH}", server.host())]);
}

#[test]
fn a_registry_over_its_limit_is_waited_for_and_said_and_then_named() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&said);
    let (mut settings, pauses) = settings();
    settings.notice = Some(Arc::new(move |text: &str| sink.lock().unwrap().push(text.to_string())));
    settings.retries = 1;
    let server = FakeServer::start(|_| {
        Reply::status(429)
            .header("Date", "Fri, 20 Nov 2026 12:00:00 GMT")
            .header("Retry-After", "Fri, 20 Nov 2026 12:00:20 GMT")
    });
    let http = Http::new(&settings).unwrap();
    let repository = Registry::new(http, &server.url()).unwrap().repository(PATH).unwrap();
    let error = repository.get_manifest(&by("v1")).unwrap_err();
    assert_eq!(pauses.lock().unwrap()[0].as_secs(), 20);
    assert!(said.lock().unwrap()[0].contains("asks for patience (429 Too Many Requests)"));
    assert!(error.to_string().contains("limits how often it may be asked"), "{error}");
    assert!(error.to_string().contains("20 s"), "{error}");
}

#[test]
fn a_client_certificate_that_is_none_is_refused() {
    let identity = registry::http::Identity {
        certificate_pem: b"nonsense".to_vec(),
        key_pem: b"nonsense".to_vec().into(),
    };
    let error = Http::new(&HttpSettings { identity: Some(identity), ..settings().0 }).err().unwrap();
    assert!(matches!(error, HttpError::Roots { .. }), "{error}");
}

#[test]
fn a_blob_is_continued_by_another_run() {
    let fake = testkit::FakeRegistry::start();
    let bytes = support::noise(500_000);
    let digest = fake.store_blob(PATH, &bytes);
    let repository = support::repository(&fake.url(), PATH);
    let mut hasher = manifests::Hasher::new();
    hasher.update(&bytes[..400_000]);
    let mut rest = Vec::new();
    repository.resume_blob(&digest, 500_000, hasher.clone()).unwrap().read_to_end(&mut rest).unwrap();
    assert!(rest == bytes[400_000..]);
    assert_eq!(fake.traffic(&digest).bytes_sent, 100_000);
    hasher.update(&bytes[400_000..]);
    let mut nothing = Vec::new();
    repository.resume_blob(&digest, 500_000, hasher).unwrap().read_to_end(&mut nothing).unwrap();
    assert!(nothing.is_empty());
    let mut wrong = manifests::Hasher::new();
    wrong.update(b"other bytes");
    let read = repository.resume_blob(&digest, 500_000, wrong).unwrap().read_to_end(&mut nothing);
    assert!(read.is_err(), "the digest is that of the whole blob");
}
