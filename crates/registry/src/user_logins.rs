//! Logins where Docker and Podman keep them: their files, and the programs that they name.
//!
//! For whoever names no login: the person at the keyboard is logged in already, by `docker login` or
//! `podman login`. The order is that of `containers-auth.json(5)`: `$REGISTRY_AUTH_FILE` alone where it is set; else
//! Podman's `auth.json` of this session and of this user, then Docker's `config.json`. The first that knows
//! the registry counts.
//!
//! **What this module may never do:** show a secret, or keep one in a file.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge::Env;
use edge::process::Program;

use crate::login::{
    Credential, Found, LOGIN_FILE_BYTES_MAX, Login, LoginError, LoginFile, Logins, helper_answer,
};

/// A helper may ask a person for a passphrase.
const HELPER_TIME_LIMIT: Duration = Duration::from_secs(60);
/// What a helper says when it has nothing.
const HELPER_HAS_NOTHING: &str = "credentials not found";

/// The logins of the person at the keyboard.
pub struct UserLogins {
    files: Vec<PathBuf>,
    /// Somebody named the only file: then it must be there.
    named: bool,
    vars: Vec<(OsString, OsString)>,
    cwd: PathBuf,
}

impl UserLogins {
    /// Finds out where they are; reads nothing yet.
    #[must_use]
    pub fn of(env: &Env) -> Self {
        let named = env.var("REGISTRY_AUTH_FILE").map(|file| env.path(Path::new(file)));
        let home = env.var("HOME").map(PathBuf::from);
        let session = env.var("XDG_RUNTIME_DIR").map_or_else(
            || PathBuf::from(format!("/run/containers/{}", env.uid)),
            |run| Path::new(run).join("containers"),
        );
        let user =
            env.var("XDG_CONFIG_HOME").map(PathBuf::from).or(home.as_ref().map(|home| home.join(".config")));
        let docker = env.var("DOCKER_CONFIG").map(PathBuf::from).or(home.map(|home| home.join(".docker")));
        let usual = [
            Some(session.join("auth.json")),
            user.map(|user| user.join("containers/auth.json")),
            docker.map(|docker| docker.join("config.json")),
        ];
        Self {
            named: named.is_some(),
            files: named.map_or_else(|| usual.into_iter().flatten().collect(), |file| vec![file]),
            vars: env.vars.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cwd: env.cwd.clone(),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<LoginFile>, LoginError> {
        let failed = |problem: String| LoginError { from: path.display().to_string(), problem };
        match layout::durable::read_bounded(path, LOGIN_FILE_BYTES_MAX) {
            Ok(bytes) => LoginFile::parse(&bytes).map(Some).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.named => Ok(None),
            // `/run/containers` of another user, for instance.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !self.named => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// `docker-credential-NAME get`, with the server on its standard input.
    fn ask(&self, name: &str, server: &str) -> Result<Option<Credential>, LoginError> {
        let program = format!("docker-credential-{name}");
        let failed = |problem: String| LoginError { from: program.clone(), problem };
        let mut helper = Program::new(&program, &self.cwd).arg("get").input(server);
        helper.env.clone_from(&self.vars);
        helper.time_limit = HELPER_TIME_LIMIT;
        let finished = helper.run(&*edge::env::system_clock()).map_err(|error| failed(edge_chain(&error)))?;
        if finished.succeeded() {
            return helper_answer(finished.stdout.as_bytes()).map_err(failed);
        }
        if finished.stdout.contains(HELPER_HAS_NOTHING) || finished.stderr.contains(HELPER_HAS_NOTHING) {
            return Ok(None);
        }
        // Its own words are not shown: nobody promises that they hold no secret.
        let code = finished.code.map_or("a signal".to_string(), |code| format!("exit code {code}"));
        Err(failed(format!("it ended with {code} when it was asked about {server}")))
    }
}

fn edge_chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map_or(String::new(), |cause| format!(": {cause}"));
    format!("{error}{cause}")
}

impl Logins for UserLogins {
    fn login(&self, registry: &str, repository: &str) -> Result<Option<Login>, LoginError> {
        for path in &self.files {
            let Some(file) = self.read(path)? else { continue };
            let from = path.display().to_string();
            let found = file
                .find(registry, repository)
                .map_err(|problem| LoginError { from: from.clone(), problem })?;
            match found {
                Found::Login(credential) => return Ok(Some(Login { credential, from })),
                Found::Helper { name, server } => {
                    if let Some(credential) = self.ask(&name, &server)? {
                        let from = format!("docker-credential-{name} (named in {from})");
                        return Ok(Some(Login { credential, from }));
                    }
                }
                Found::Nothing => {}
            }
        }
        Ok(None)
    }
}
