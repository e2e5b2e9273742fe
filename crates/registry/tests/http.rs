//! The client below the registry protocol: waiting, retrying, redirecting, giving up.
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

use std::io::{self, Read};
use std::net::TcpListener;
use std::time::Duration;

use registry::http::{Method, Redirects, Request};
use registry::{Http, HttpError, HttpSettings, Url};
use support::{client, full, settings};
use testkit::fake_server::{Delivery, FakeServer, Reply};

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn serve(reply: Reply) -> FakeServer {
    FakeServer::start(move |_| reply.clone())
}

/// Answers the first `count` requests one way and the others with 200.
fn first(count: usize, reply: Reply) -> FakeServer {
    let left = std::sync::atomic::AtomicUsize::new(count);
    FakeServer::start(move |_| {
        let order = std::sync::atomic::Ordering::SeqCst;
        let failing = left.fetch_update(order, order, |left| left.checked_sub(1)).is_ok();
        if failing { reply.clone() } else { Reply::ok("fine") }
    })
}

#[test]
fn says_who_it_is_and_asks_for_bytes_as_they_are() {
    let server = serve(Reply::ok("x"));
    client().get(&url(&server.url())).unwrap();
    let request = &server.requests()[0];
    assert!(request.header("user-agent").unwrap().starts_with("airlock/"));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("host"), Some(server.host().as_str()));
}

#[test]
fn does_not_decode_what_claims_to_be_compressed() {
    let server = serve(Reply::ok("not gzip at all").header("Content-Encoding", "gzip"));
    let fetched = client().get_bytes(&url(&server.url()), "*/*", 100).unwrap();
    assert_eq!(fetched.bytes, b"not gzip at all");
}

#[test]
fn fetches_a_small_document_with_its_type_and_final_place() {
    let server = FakeServer::start(|request| match request.path.as_str() {
        "/simple/a" => Reply::status(301).header("Location", "./a/"),
        "/simple/a/" => Reply::ok("{}").header("Content-Type", "Application/JSON; charset=utf-8"),
        _ => Reply::status(404),
    });
    let fetched =
        client().get_bytes(&url(&format!("{}/simple/a", server.url())), "application/json", 2).unwrap();
    assert_eq!(fetched.content_type.as_deref(), Some("application/json"));
    assert_eq!(fetched.url, url(&format!("{}/simple/a/", server.url())));
    assert_eq!(fetched.bytes, b"{}");
    assert_eq!(server.requests()[1].header("accept"), Some("application/json"));
    assert_eq!(server.connections(), 1, "the connection is used again");
}

#[test]
fn refuses_a_document_over_the_limit_whether_announced_or_not() {
    for delivery in [Delivery::Whole, Delivery::Chunked] {
        let server = serve(Reply::ok("x".repeat(101)).delivered(delivery));
        let error = client().get_bytes(&url(&server.url()), "*/*", 100).unwrap_err();
        assert!(matches!(error, HttpError::TooLarge { limit: 100, .. }), "{error}");
    }
}

#[test]
fn a_status_is_an_error_that_names_it_and_hides_secrets() {
    let server = serve(Reply::status(404));
    let address = format!("http://user:hunter2@{}/file?token=hunter2", server.host());
    let error = client().get(&url(&address)).unwrap_err();
    assert_eq!(error.to_string(), format!("http://***@{}/file?*** answered 404 Not Found", server.host()));
    assert_eq!(server.requests().len(), 1, "404 is final");
    assert_eq!(server.requests()[0].header("authorization"), Some("Basic dXNlcjpodW50ZXIy"));
}

#[test]
fn tries_again_after_an_overloaded_answer_as_long_as_asked() {
    let server = first(2, Reply::status(429).header("Retry-After", "7"));
    let (settings, pauses) = settings();
    let response = Http::new(&settings).unwrap().get(&url(&server.url())).unwrap();
    assert_eq!(response.bytes(10).unwrap(), b"fine");
    assert_eq!(*pauses.lock().unwrap(), [Duration::from_secs(7); 2]);
    assert_eq!(server.connections(), 1);
}

#[test]
fn gives_up_after_the_last_retry_with_the_last_answer() {
    let server = serve(Reply::status(503));
    let (settings, pauses) = settings();
    let error = Http::new(&settings).unwrap().get(&url(&server.url())).unwrap_err();
    assert!(matches!(error, HttpError::Status { status: 503, retry_after: None, .. }), "{error}");
    assert_eq!(pauses.lock().unwrap().len(), 4);
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn does_not_wait_for_an_hour_and_says_what_was_asked() {
    let server = serve(Reply::status(429).header("Retry-After", "3600"));
    let (settings, pauses) = settings();
    let error = Http::new(&settings).unwrap().get(&url(&server.url())).unwrap_err();
    let HttpError::Status { status: 429, retry_after: Some(asked), .. } = error else { panic!("{error}") };
    assert_eq!(asked, Duration::from_secs(3600));
    assert!(pauses.lock().unwrap().is_empty());
}

#[test]
fn tries_again_where_the_connection_broke_before_an_answer() {
    let server = first(1, Reply::status(0).delivered(Delivery::Hangup));
    assert_eq!(client().get(&url(&server.url())).unwrap().status, 200);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn nobody_listening_is_unreachable_after_all_retries() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let (settings, pauses) = settings();
    let error = Http::new(&settings).unwrap().get(&url(&address)).unwrap_err();
    assert!(matches!(error, HttpError::Unreachable { .. }) && error.is_unreachable(), "{error:?}");
    assert_eq!(pauses.lock().unwrap().len(), 4);
    assert!(full(&error).contains("refused"), "{}", full(&error));
}

#[test]
fn a_name_without_an_address_is_unreachable() {
    let (settings, _) = settings();
    let error = Http::new(&settings).unwrap().get(&url("http://no-such-host.invalid/")).unwrap_err();
    assert!(matches!(error, HttpError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.to_string(), "cannot reach http://no-such-host.invalid/");
}

#[test]
fn a_silent_server_ends_in_a_timeout_and_is_not_asked_again() {
    let server = serve(Reply::status(0).delivered(Delivery::Silence));
    let (settings, pauses) = settings();
    let settings = HttpSettings { response_timeout: Duration::from_millis(100), ..settings };
    let error = Http::new(&settings).unwrap().get(&url(&server.url())).unwrap_err();
    assert!(matches!(error, HttpError::TimedOut { .. }) && error.is_unreachable(), "{error:?}");
    assert!(error.to_string().contains("longer than 0.1 s"), "{error}");
    assert!(pauses.lock().unwrap().is_empty());
}

#[test]
fn a_body_that_stalls_ends_in_a_timeout() {
    let server = serve(Reply::ok("0123456789").delivered(Delivery::StallAfter(4)));
    let settings = HttpSettings { response_timeout: Duration::from_millis(100), ..settings().0 };
    let mut response = Http::new(&settings).unwrap().get(&url(&server.url())).unwrap();
    let mut seen = Vec::new();
    let error = response.body.read_to_end(&mut seen).unwrap_err();
    assert_eq!((seen.as_slice(), error.kind()), (&b"0123"[..], io::ErrorKind::TimedOut));
    assert!(error.to_string().contains("the next bytes"), "{error}");
}

#[test]
fn a_body_cut_short_is_an_unexpected_end() {
    let server = serve(Reply::ok("0123456789").delivered(Delivery::CutAfter(4)));
    let mut response = client().get(&url(&server.url())).unwrap();
    let error = response.body.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains(&server.host()), "{error}");
    let error = client().get_bytes(&url(&server.url()), "*/*", 100).unwrap_err();
    assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");
}

#[test]
fn an_upload_states_its_length_even_when_it_is_empty() {
    let server = serve(Reply::status(201));
    let target = url(&server.url());
    let mut three: &[u8] = b"three more";
    client().send(Request::new(Method::Put, target.clone()).stream(5, &mut three)).unwrap();
    assert_eq!(three, b" more", "exactly the announced bytes are taken");
    client().send(Request::new(Method::Post, target.clone())).unwrap();
    client().send(Request::new(Method::Patch, target.clone()).bytes(b"ab")).unwrap();
    client().send(Request::new(Method::Delete, target)).unwrap();
    let lengths: Vec<_> =
        server.requests().iter().map(|r| r.header("content-length").map(str::to_string)).collect();
    assert_eq!(lengths, [Some("5".into()), Some("0".into()), Some("2".into()), None]);
}

#[test]
fn an_upload_whose_source_is_too_short_fails_instead_of_spinning() {
    let server = serve(Reply::status(201));
    let mut short: &[u8] = b"abc";
    let request = Request::new(Method::Put, url(&server.url())).stream(4, &mut short);
    let error = client().send(request).unwrap_err();
    let HttpError::Upload { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::UnexpectedEof);
    assert!(!error.is_unreachable(), "our own side failed");
}

#[test]
fn an_upload_is_sent_again_only_while_nothing_was_taken_from_its_source() {
    let server = first(1, Reply::status(503));
    let mut source: &[u8] = b"abcd";
    let request = Request::new(Method::Put, url(&server.url())).stream(4, &mut source);
    assert_eq!(client().send(request).unwrap().status, 503);
    assert_eq!(server.requests().len(), 1);
    let server = first(1, Reply::status(503));
    let request = Request::new(Method::Put, url(&server.url())).bytes(b"abcd");
    assert_eq!(client().send(request).unwrap().status, 200);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn credentials_stay_with_the_host_they_are_for() {
    let other = serve(Reply::ok("x"));
    let target = format!("{}/there", other.url());
    let server = FakeServer::start(move |request| match request.path.as_str() {
        "/out" => Reply::status(302).header("Location", &target),
        "/in" => Reply::status(307).header("Location", "/here"),
        _ => Reply::ok("x"),
    });
    for path in ["/out", "/in"] {
        let request = Request::new(Method::Get, url(&format!("{}{path}", server.url())));
        client().send(request.header("authorization", "Bearer hunter2").header("range", "bytes=1-")).unwrap();
    }
    let there = &other.requests()[0];
    assert_eq!((there.header("authorization"), there.header("range")), (None, Some("bytes=1-")));
    let here = server.requests().into_iter().find(|request| request.path == "/here").unwrap();
    assert_eq!(here.header("authorization"), Some("Bearer hunter2"));
}

#[test]
fn a_password_in_the_url_does_not_go_to_another_host() {
    let other = serve(Reply::ok("x"));
    let target = other.url();
    let server = FakeServer::start(move |_| Reply::status(302).header("Location", &target));
    client().get(&url(&format!("http://user:hunter2@{}/", server.host()))).unwrap();
    assert_eq!(other.requests()[0].header("authorization"), None);
}

#[test]
fn a_redirect_loop_ends() {
    let server = FakeServer::start(|_| Reply::status(302).header("Location", "/again"));
    let error = client().get(&url(&server.url())).unwrap_err();
    assert!(matches!(error, HttpError::Redirects { .. }), "{error:?}");
    assert_eq!(server.requests().len(), 9);
}

#[test]
fn a_redirect_to_something_else_than_http_is_refused() {
    let server = FakeServer::start(|_| Reply::status(302).header("Location", "file:///etc/passwd"));
    let error = client().get(&url(&server.url())).unwrap_err();
    assert!(matches!(error, HttpError::Location { .. }), "{error:?}");
}

#[test]
fn what_is_pushed_does_not_follow_redirects() {
    let server = FakeServer::start(|_| Reply::status(307).header("Location", "/elsewhere"));
    let request = Request::new(Method::Put, url(&server.url())).bytes(b"x");
    assert_eq!(client().send(request).unwrap().status, 307);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn something_that_speaks_no_http_is_named_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        io::Write::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.2\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0; 1000]);
    });
    let error = client().get(&url(&address)).unwrap_err();
    assert!(matches!(error, HttpError::Protocol { .. }), "{error:?}");
    thread.join().unwrap();
}

#[test]
fn tls_to_a_server_without_tls_is_named_so_and_not_tried_again() {
    let server = serve(Reply::ok("x"));
    let (settings, pauses) = settings();
    let target = url(&format!("https://{}/", server.host()));
    let error = Http::new(&settings).unwrap().get(&target).unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. }), "{error:?}");
    assert!(pauses.lock().unwrap().is_empty());
}

#[test]
fn trust_roots_without_a_certificate_are_refused_at_once() {
    let settings = HttpSettings { ca_pem: Some(b"nothing".to_vec()), ..settings().0 };
    assert!(matches!(Http::new(&settings), Err(HttpError::Roots { .. })));
}

#[test]
fn clones_work_from_many_threads_at_once() {
    let server = FakeServer::start(|request| Reply::ok(request.path.clone()));
    let http = client();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (http, base) = (http.clone(), server.url());
            scope.spawn(move || {
                for _ in 0..10 {
                    let path = format!("/{number}");
                    let body = http.get(&url(&format!("{base}{path}"))).unwrap().bytes(100).unwrap();
                    assert_eq!(body, path.as_bytes());
                }
            });
        }
    });
    assert!(server.connections() <= 16, "{} connections for 80 requests", server.connections());
}

#[test]
fn a_redirect_stays_on_the_host_or_is_the_answer_where_that_is_wanted() {
    let here = FakeServer::start(|request| match request.path.as_str() {
        "/near" => Reply::status(302).header("Location", "/there"),
        "/there" => Reply::ok("fine"),
        port => Reply::status(307).header("Location", format!("http://127.0.0.2:1{port}")),
    });
    let ask = |path: &str, redirects| {
        let request = Request::new(Method::Get, url(&format!("{}{path}", here.url()))).redirects(redirects);
        client().send(request).map(|response| response.status)
    };
    assert_eq!(ask("/near", Redirects::SameHost).unwrap(), 200);
    assert_eq!(ask("/near", Redirects::None).unwrap(), 302);
    let error = ask("/far", Redirects::SameHost).unwrap_err();
    assert!(matches!(&error, HttpError::OtherHost { to, .. } if to == "http://127.0.0.2:1/far"), "{error}");
}

#[test]
fn a_request_with_a_limit_ends_whatever_the_server_does() {
    let replies = [
        Reply::ok("x").delivered(Delivery::Silence),
        Reply::ok("x").delivered(Delivery::DripHeader),
        Reply::ok("x".repeat(100)).delivered(Delivery::StallAfter(50)),
    ];
    for reply in replies {
        let server = serve(reply);
        let request = Request::new(Method::Get, url(&server.url())).time_limit(Duration::from_millis(300));
        let result = client().send(request).and_then(|response| response.bytes(1000));
        let text = result.unwrap_err().to_string();
        assert!(text.contains("all of it took longer than 0.3 s"), "{text}");
    }
    let server = serve(Reply::status(302).header("Location", "/again"));
    let request = Request::new(Method::Get, url(&server.url())).time_limit(Duration::ZERO);
    assert!(matches!(client().send(request), Err(HttpError::TimedOut { .. })));
    assert!(server.requests().is_empty());
}
