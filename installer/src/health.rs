//! Health checks: what has to hold once everything is in place. Each is tried again until it holds or its time is
//! over; the last look decides, and what it saw is in the message and in the log.
//!
//! *It may never* change anything, ask another host than the check names, use a proxy, or wait beyond the time of
//! the check but for the end of one look. A program runs only where the site lets programs of bundles run.

mod rollout;

use std::path::Path;
use std::time::Duration;

use edge::Clock;
use edge::process::{GroupEnd, Program, last_lines};
use manifests::address::HostPort;
use manifests::health::{Check, CommandLine, HttpCheck, Rollout};
use manifests::text::printable_up_to;
use registry::http::{Method, Redirects, Request};
use registry::{Http, HttpSettings, Url};

use crate::apply::chain;
use crate::audit::{About, about};
use crate::cluster::Kubectl;
use crate::plan::HealthStep;
use crate::site::config::KubernetesTarget;
use crate::targets::scripts::{self, Interruption};
use crate::targets::{Context, TargetError, registry as site_registry};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// So soon a wish to stop is noticed while nothing is looked at.
const SLICE: Duration = Duration::from_millis(100);
/// One look over a network takes no longer.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// How much of a body is searched for a text.
const BODY_BYTES_MAX: u64 = 1024 * 1024;
/// How much is kept of what was seen.
const SEEN_CHARACTERS_MAX: usize = 1000;

/// What was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// In words.
    pub text: String,
    /// How often somebody looked.
    pub looks: u64,
    /// How long it took.
    pub took: Duration,
}

impl Seen {
    /// What the log gets.
    #[must_use]
    pub fn facts(&self) -> About {
        about([
            ("seen", self.text.clone()),
            ("looks", self.looks.to_string()),
            ("seconds", self.took.as_secs().to_string()),
        ])
    }
}

/// One look: what was seen, and whether it is good.
type Look = Result<String, String>;

/// How the waiting ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Good,
    TimeIsOver,
    Stopped,
}

/// Looks until the check holds.
///
/// # Errors
/// [`TargetError::Unhealthy`] when its time is over or somebody stops it; or nobody can look at all.
pub fn perform(step: &HealthStep, context: &Context<'_>) -> Result<About, TargetError> {
    let interruption = Interruption::watch();
    let stop = || interruption.is_asked_for();
    let within = Duration::from_secs(step.check.within.seconds());
    let clock = &*context.env.clock;
    let (end, mut seen) = match &step.check.check {
        Check::Http(check) => {
            let client = client(check, context)?;
            wait(within, clock, &stop, &mut |left| http(check, &client, left.min(LOOK_LIMIT)))
        }
        Check::Tcp(address) => wait(within, clock, &stop, &mut |left| tcp(address, left.min(LOOK_LIMIT))),
        Check::Command(command) => {
            if context.config.targets.scripts.is_none() {
                return Err(cannot_check(step, "scripts"));
            }
            wait(within, clock, &stop, &mut |left| run(command, step, context, left, &stop))
        }
        Check::Rollout(wanted) => {
            let target = context.config.targets.cluster().ok_or_else(|| cannot_check(step, "kubernetes"))?;
            wait_for_rollout(wanted, &target, within, context, &stop)
        }
    };
    seen.text = printable_up_to(&seen.text, SEEN_CHARACTERS_MAX);
    let how = match end {
        End::Good => return Ok(seen.facts()),
        End::TimeIsOver => format!("did not hold within {} s", within.as_secs()),
        End::Stopped => "was stopped".to_string(),
    };
    Err(TargetError::Unhealthy { check: step.check.check.to_string(), how, seen: Box::new(seen) })
}

fn cannot_check(step: &HealthStep, key: &'static str) -> TargetError {
    TargetError::CannotCheck { check: step.check.check.to_string(), key }
}

/// Looks at once, and then again and again. A look is told how much time is left.
fn wait(
    within: Duration,
    clock: &dyn Clock,
    stop: &dyn Fn() -> bool,
    look: &mut dyn FnMut(Duration) -> Look,
) -> (End, Seen) {
    let began = clock.monotonic();
    let took = || clock.monotonic().saturating_sub(began);
    let mut looks = 0_u64;
    loop {
        looks = looks.saturating_add(1);
        let (good, text) = match look(within.saturating_sub(took())) {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        let seen = Seen { text, looks, took: took() };
        if good {
            return (End::Good, seen);
        }
        let next = took().saturating_add(PAUSE);
        while took() < next && took() < within && !stop() {
            clock.sleep(SLICE);
        }
        if stop() {
            return (End::Stopped, seen);
        }
        if took() >= within {
            return (End::TimeIsOver, seen);
        }
    }
}

/// Its own client: no proxy, and nobody else's patience. `https` trusts whom the machine trusts, and the authority
/// that the site's registry hangs on.
fn client(check: &HttpCheck, context: &Context<'_>) -> Result<Http, TargetError> {
    let registry = context.config.targets.registry.as_ref();
    let is_encrypted = check.url.as_str().starts_with("https://");
    let ca_pem = registry.filter(|_| is_encrypted).map(site_registry::authorities).transpose()?.flatten();
    let settings = HttpSettings {
        connect_timeout: LOOK_LIMIT,
        response_timeout: LOOK_LIMIT,
        retries: 0,
        ca_pem,
        environment_proxy: false,
        ..HttpSettings::default()
    };
    Http::new(&settings).map_err(|source| {
        let seen = Seen { text: chain(&source), looks: 0, took: Duration::ZERO };
        let how = "cannot be asked".to_string();
        TargetError::Unhealthy { check: check.to_string(), how, seen: Box::new(seen) }
    })
}

/// A status that is a redirect is wanted as it is; otherwise redirects are followed on the host of the URL.
fn http(check: &HttpCheck, client: &Http, limit: Duration) -> Look {
    let url: Url = check.url.as_str().parse().map_err(|error| chain(&error))?;
    let wanted = check.status.code();
    let redirects = if (300..400).contains(&wanted) { Redirects::None } else { Redirects::SameHost };
    let request = Request::new(Method::Get, url).redirects(redirects).time_limit(limit);
    let response = client.send(request).map_err(|error| chain(&error))?;
    let seen = format!("HTTP {} from {}", response.status, response.url);
    if response.status != wanted {
        return Err(seen);
    }
    let Some(text) = &check.contains else { return Ok(seen) };
    // What is in the body is nobody's business but that of who asked: it stays out of messages.
    let body = response.beginning(BODY_BYTES_MAX);
    let text = text.as_str().as_bytes();
    if body.windows(text.len()).any(|window| window == text) {
        Ok(format!("{seen}, with the text"))
    } else {
        Err(format!("{seen}, without the text in its {} bytes", body.len()))
    }
}

fn tcp(address: &HostPort, limit: Duration) -> Look {
    match registry::connect::connect(&address.to_string(), limit) {
        Ok(_) => Ok(format!("{address} takes connections")),
        Err(error) => Err(format!("{address}: {error}")),
    }
}

/// Runs the program in the environment of scripts, in the root directory, until the time of the check is over.
fn run(
    command: &CommandLine,
    step: &HealthStep,
    context: &Context<'_>,
    left: Duration,
    stop: &dyn Fn() -> bool,
) -> Look {
    let mut program = Program::new(command.program(), Path::new("/"))
        .args(command.arguments())
        .var("PATH", scripts::PATH)
        .var("HOME", context.env.var("HOME").unwrap_or("/"))
        .var("AIRLOCK_SITE", context.site.dir())
        .var("AIRLOCK_BUNDLE", step.bundle.to_string())
        .var("AIRLOCK_PRODUCT", step.product.to_string())
        .var("AIRLOCK_VERSION", step.version.to_string());
    program.time_limit = left;
    let directory = context.site.run_dir();
    layout::durable::make_directory(&directory).map_err(|error| chain(&error))?;
    let mut started = |group: u32| scripts::note_process(&directory, group);
    let finished = program.run_group(&*context.env.clock, &mut started, stop);
    let removed = scripts::remove(&directory).map_err(|error| chain(&error));
    let finished = finished.map_err(|error| chain(&error))?;
    removed?;
    let said = last_lines(&finished.said);
    let said = if said.is_empty() { said } else { format!(": {said}") };
    match finished.end {
        GroupEnd::Code(0) => Ok(format!("exit code 0{said}")),
        GroupEnd::Code(code) => Err(format!("exit code {code}{said}")),
        GroupEnd::Signal(signal) => Err(format!("ended by signal {signal}{said}")),
        GroupEnd::TimeLimit => Err(format!("still running when its time was over{said}")),
        GroupEnd::Stopped => Err(format!("ended because it was stopped{said}")),
    }
}

/// Why it does not go on is in the pods: they are looked at once, at the end.
fn wait_for_rollout(
    wanted: &Rollout,
    target: &KubernetesTarget,
    within: Duration,
    context: &Context<'_>,
    stop: &dyn Fn() -> bool,
) -> (End, Seen) {
    let kubectl = Kubectl::of(target, context.env);
    let mut look = |left: Duration| rollout::look(wanted, &kubectl.within(left.max(PAUSE)));
    let (end, mut seen) = wait(within, &*context.env.clock, stop, &mut look);
    if end == End::TimeIsOver {
        for pod in rollout::pods_in_trouble(wanted, &kubectl.within(LOOK_LIMIT)) {
            seen.text.push_str(&format!("; {pod}"));
        }
    }
    (end, seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::Timestamp;
    use std::sync::Mutex;
    use testkit::fake_server::{FakeServer, Reply};

    /// Goes forward only when somebody sleeps.
    #[derive(Default)]
    struct Slept(Mutex<Duration>);

    impl Clock for Slept {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_seconds(0).unwrap()
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
        fn sleep(&self, duration: Duration) {
            *self.0.lock().unwrap() += duration;
        }
    }

    fn waited(within: u64, good_at: u64, stopped_at: u64) -> (End, Seen) {
        let (clock, mut look) = (Slept::default(), 0);
        let stop = || clock.monotonic() >= Duration::from_secs(stopped_at);
        wait(Duration::from_secs(within), &clock, &stop, &mut |_| {
            look += 1;
            if look >= good_at { Ok(format!("good at {look}")) } else { Err(format!("bad at {look}")) }
        })
    }

    #[test]
    fn a_check_is_tried_until_it_holds_or_its_time_is_over_or_somebody_stops_it() {
        let seen =
            |text: &str, looks, took| Seen { text: text.to_string(), looks, took: Duration::from_secs(took) };
        assert_eq!(waited(60, 1, 999), (End::Good, seen("good at 1", 1, 0)));
        assert_eq!(waited(60, 4, 999), (End::Good, seen("good at 4", 4, 3)));
        assert_eq!(waited(5, 9, 999), (End::TimeIsOver, seen("bad at 5", 5, 4)));
        assert_eq!(waited(60, 9, 2), (End::Stopped, seen("bad at 2", 2, 1)));
        assert_eq!(waited(1, 9, 999).1.looks, 1);
    }

    #[test]
    fn a_look_is_told_how_much_time_is_left() {
        let (clock, mut told) = (Slept::default(), Vec::new());
        wait(Duration::from_secs(3), &clock, &|| false, &mut |left| {
            told.push(left.as_secs());
            Err(String::new())
        });
        assert_eq!(told, [3, 2, 1]);
    }

    fn client() -> Http {
        let settings = HttpSettings { retries: 0, environment_proxy: false, ..HttpSettings::default() };
        Http::new(&settings).unwrap()
    }

    fn ask(url: &str, status: u16, contains: Option<&str>) -> Look {
        let contains = contains.map(|text| text.parse().unwrap());
        let check = HttpCheck { url: url.parse().unwrap(), status: status.try_into().unwrap(), contains };
        http(&check, &client(), LOOK_LIMIT)
    }

    #[test]
    fn an_answer_has_the_status_and_the_text_that_are_wanted() {
        let server = FakeServer::start(|request| match request.path.as_str() {
            "/ok" => Reply::ok("secret, and all is well"),
            "/late" => Reply::ok([&vec![b'x'; 1024 * 1024][..], b"all is well"].concat()),
            "/away" => Reply::status(302).header("Location", "/ok"),
            "/elsewhere" => Reply::status(302).header("Location", "http://127.0.0.2:1/ok"),
            _ => Reply::status(503).body("secret"),
        });
        let at = |path: &str| format!("{}{path}", server.url());
        assert_eq!(ask(&at("/ok"), 200, None), Ok(format!("HTTP 200 from {}", at("/ok"))));
        assert!(ask(&at("/ok"), 200, Some("all is well")).is_ok());
        assert!(ask(&at("/away"), 200, None).unwrap().ends_with("/ok"));
        assert!(ask(&at("/away"), 302, None).is_ok(), "who wants a redirect gets it");
        assert_eq!(ask(&at("/x"), 200, None), Err(format!("HTTP 503 from {}", at("/x"))));
        assert!(ask(&at("/x"), 503, None).is_ok());
        for (path, text, words) in [
            ("/ok", Some("gone"), "without the text in its 23 bytes"),
            ("/late", Some("all is well"), "without the text in its 1048576 bytes"),
            ("/elsewhere", None, "which is another host"),
        ] {
            let seen = ask(&at(path), 200, text).unwrap_err();
            assert!(seen.contains(words) && !seen.contains("secret"), "{path}: {seen}");
        }
        let closed = server.url();
        drop(server);
        assert!(ask(&closed, 200, None).unwrap_err().contains("cannot reach"));
    }

    #[test]
    fn a_port_takes_connections_or_says_why_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address: HostPort = listener.local_addr().unwrap().to_string().parse().unwrap();
        assert!(tcp(&address, LOOK_LIMIT).is_ok());
        drop(listener);
        assert!(tcp(&address, LOOK_LIMIT).unwrap_err().contains("refused"));
    }
}
