//! A server on a free port of the loopback address, ended when dropped.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use installer::serve::{Limits, ServeError, Stop, Trouble, run};

use super::client::{Reply, get};
use super::store::TestShelf;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) troubles: Arc<Mutex<Vec<Trouble>>>,
    pub(crate) stop: Stop,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    /// Every request reads the list of bundles again.
    pub(crate) fn start(shelf: &Arc<TestShelf>) -> Self {
        Self::within(shelf, Limits { refresh: std::time::Duration::ZERO, ..Limits::default() })
    }

    pub(crate) fn within(shelf: &Arc<TestShelf>, limits: Limits) -> Self {
        let (shelf, stop) = (Arc::clone(shelf), Stop::new());
        let troubles: Arc<Mutex<Vec<Trouble>>> = Arc::default();
        let (sender, ready) = mpsc::channel();
        let thread = {
            let (stop, troubles) = (stop.clone(), Arc::clone(&troubles));
            std::thread::spawn(move || {
                let report = move |trouble| troubles.lock().unwrap().push(trouble);
                let ready = move |address| sender.send(address).unwrap();
                run(shelf, "127.0.0.1:0".parse().unwrap(), limits, ready, &stop, report)
            })
        };
        let Ok(address) = ready.recv() else { panic!("the server did not start: {:?}", thread.join()) };
        Self { address, troubles, stop, thread: Some(thread) }
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        get(self.address, target, &[])
    }

    pub(crate) fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Reply {
        get(self.address, target, headers)
    }

    pub(crate) fn troubles(&self) -> Vec<String> {
        self.troubles.lock().unwrap().iter().map(ToString::to_string).collect()
    }

    /// Stops it and hands over what `run` returned.
    pub(crate) fn end(mut self) -> Result<(), ServeError> {
        self.stop.now();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.now();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
