//! The program of the demo: small, static, and really running.
//!
//! `greeter` prints a greeting; `greeter serve PORT` answers every HTTP request with it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;

const VERSION: &str = match option_env!("GREETER_VERSION") {
    Some(version) => version,
    None => "1.0.0",
};

fn greeting() -> String {
    format!("Hello from greeter {VERSION} on {}.\n", std::env::consts::ARCH)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut line = String::new();
    let mut request = BufReader::new(&stream);
    while request.read_line(&mut line)? > 0 && line != "\r\n" {
        line.clear();
    }
    let body = greeting();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    println!("listening on port {}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(answer) {
            eprintln!("greeter: {error}");
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => io::stdout().write_all(greeting().as_bytes()),
        ["serve", port] => port.parse().map_err(io::Error::other).and_then(serve),
        _ => Err(io::Error::other("usage: greeter [serve PORT]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("greeter: {error}");
            ExitCode::FAILURE
        }
    }
}
