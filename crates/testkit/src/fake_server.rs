//! A small HTTP/1.1 server on the loopback interface whose answers a test writes: for lies and failures
//! that no real server offers.
//!
//! One thread per connection, everything in memory. It reads what clients of ours send, which always
//! states a `Content-Length`; it is no server for anybody else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A request as received.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// As sent, without the query.
    pub path: String,
    /// The query's pairs, percent-decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first query value of this key.
    #[must_use]
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }
}

/// What is answered. `Reply::status(404)`, `Reply::ok(body).header("x", "y")`.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Beside the framing, which follows from the rest.
    pub headers: Vec<(String, String)>,
    /// The body; for `HEAD` only its length is sent.
    pub body: Vec<u8>,
    /// How it comes.
    pub delivery: Delivery,
}

/// How an answer comes, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// With its `Content-Length`, whole.
    Whole,
    /// In chunks, without a `Content-Length`.
    Chunked,
    /// With its `Content-Length`, but the connection is closed after so many bytes.
    CutAfter(usize),
    /// The connection is closed instead of an answer.
    Hangup,
    /// Nothing, until the client or the test gives up.
    Silence,
    /// A header that never ends, one byte every ten milliseconds.
    DripHeader,
    /// So many bytes of the body, and then nothing.
    StallAfter(usize),
}

impl Reply {
    /// An empty body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), delivery: Delivery::Whole }
    }

    /// Status 200 and a body.
    #[must_use]
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::status(200) }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_string(), value.into()));
        self
    }

    /// With another body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Delivered another way.
    #[must_use]
    pub fn delivered(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }
}

/// Answers requests until it is dropped.
pub struct FakeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    handler: Box<dyn Fn(&Request) -> Reply + Send + Sync>,
    stopping: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    requests: Mutex<Vec<Request>>,
}

impl FakeServer {
    /// Listens on a free port of 127.0.0.1. The handler is called from many threads at once.
    ///
    /// # Panics
    /// Where there is no loopback interface.
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            stopping: AtomicBool::new(false),
            connections: Mutex::new(Vec::new()),
            requests: Mutex::new(Vec::new()),
        });
        let for_thread = Arc::clone(&shared);
        let listening = std::thread::spawn(move || listen(&listener, &for_thread));
        Self { address, shared, listening: Some(listening) }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`, without a slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, without its body.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().unwrap().len()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the listener from its wait for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        for connection in self.shared.connections.lock().unwrap().iter() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        shared.connections.lock().unwrap().push(stream.try_clone().unwrap());
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that goes away ends its connection and nothing else.
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        shared.requests.lock().unwrap().push(Request { body: Vec::new(), ..request.clone() });
        let reply = (shared.handler)(&request);
        if !answer(stream, &request, &reply)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(error) => {
            // A client that speaks TLS to us is told off in plain HTTP, as real servers do.
            reader.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
            return Err(error);
        }
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decoded(key), percent_decoded(value))
    });
    let mut request = Request {
        method: method.to_string(),
        path: path.to_string(),
        query: query.collect(),
        ..Request::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
    }
    assert!(request.header("transfer-encoding").is_none(), "clients of ours state a length");
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    reader.take(length).read_to_end(&mut request.body)?;
    if (request.body.len() as u64) < length {
        return Ok(None);
    }
    Ok(Some(request))
}

/// False where the connection ends here.
fn answer(mut stream: &TcpStream, request: &Request, reply: &Reply) -> std::io::Result<bool> {
    match reply.delivery {
        Delivery::Hangup => return Ok(false),
        Delivery::Silence => return wait_for_the_end(stream),
        Delivery::DripHeader => return drip(stream),
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {} Fake\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if reply.delivery == Delivery::Chunked {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    } else if matches!(reply.status, 204 | 304) {
        head.push_str("\r\n");
    } else {
        head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.body.len()));
    }
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    let first = |count: usize| &reply.body[..count.min(reply.body.len())];
    match reply.delivery {
        Delivery::Chunked => {
            for chunk in reply.body.chunks(50_000) {
                write!(stream, "{:x}\r\n", chunk.len())?;
                stream.write_all(chunk)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")?;
            Ok(true)
        }
        Delivery::CutAfter(count) => stream.write_all(first(count)).map(|()| false),
        // A body that is shorter comes whole, and the connection goes on.
        Delivery::StallAfter(count) if count < reply.body.len() => {
            stream.write_all(first(count))?;
            wait_for_the_end(stream)
        }
        _ => stream.write_all(&reply.body).map(|()| true),
    }
}

/// Until the client has had enough.
fn drip(mut stream: &TcpStream) -> std::io::Result<bool> {
    stream.write_all(b"HTTP/1.1 200 Slow\r\nX-Slow: ")?;
    loop {
        stream.write_all(b"x")?;
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn wait_for_the_end(mut stream: &TcpStream) -> std::io::Result<bool> {
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(false)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
