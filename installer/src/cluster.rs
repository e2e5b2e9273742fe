//! The one door to a Kubernetes API. Behind the trait is `kubectl`, the program that the people of a site use:
//! it knows their logins, proxies and certificates, so this one need not. Which paths of the API mean what is in
//! the Kubernetes API reference.
//!
//! *It may never* hold a credential, or choose another cluster than `site.yaml` names: the file of the
//! configuration is always given, so nothing of the user's environment counts.

use std::path::Path;
use std::time::Duration;

use edge::process::{Finished, ProcessError, Program};
use edge::{Classified, Env, Exit};
use manifests::text::printable;

use crate::site::config::KubernetesTarget;

/// How many bytes of an answer are read: lists of all pods of a large cluster stay below it.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// Why a cluster could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The program.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The cluster, or the program, said no.
    #[error("{doing}: {said}")]
    Refused {
        /// What was asked.
        doing: String,
        /// What was answered.
        said: String,
    },
    /// The answer is not what the API's reference says.
    #[error("{doing}: the answer cannot be understood: {reason}")]
    Answer {
        /// What was asked.
        doing: String,
        /// Why not.
        reason: String,
    },
}

impl Classified for ClusterError {
    fn exit(&self) -> Exit {
        Exit::Unreachable
    }

    fn hint(&self) -> Option<String> {
        Some(
            "check `targets.kubernetes` in site.yaml, and that `kubectl` reaches the cluster with it"
                .to_string(),
        )
    }
}

/// A Kubernetes API.
pub trait Cluster {
    /// Reads a path of the API, such as `/apis/apps/v1/namespaces/x/deployments/y`; `None` if there is nothing.
    ///
    /// # Errors
    /// It cannot be asked, or does not let us.
    fn get(&self, path: &str) -> Result<Option<serde_json::Value>, ClusterError>;

    /// Creates an object at a path of the API, and tells what became of it. Reviews of permissions are created
    /// this way, too.
    ///
    /// # Errors
    /// It cannot be asked, or does not let us.
    fn create(&self, path: &str, object: &serde_json::Value) -> Result<serde_json::Value, ClusterError>;
}

/// A cluster as `kubectl` reaches it.
#[derive(Clone, Copy)]
pub struct Kubectl<'a> {
    target: &'a KubernetesTarget,
    env: &'a Env,
    limit: Duration,
}

impl<'a> Kubectl<'a> {
    /// The cluster that `site.yaml` names.
    #[must_use]
    pub fn of(target: &'a KubernetesTarget, env: &'a Env) -> Self {
        Self { target, env, limit: REQUEST_LIMIT }
    }

    /// The same with less patience for each request.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: limit.min(REQUEST_LIMIT), ..self }
    }

    /// A call of the program for this cluster.
    #[must_use]
    pub fn program(&self) -> Program {
        let name = self.target.kubectl.as_deref().unwrap_or(Path::new("kubectl"));
        let mut program = Program::new(name, &self.env.cwd).arg("--kubeconfig").arg(&self.target.kubeconfig);
        if let Some(context) = &self.target.context {
            program = program.arg("--context").arg(context);
        }
        // What a login helper in the file needs to be found; nothing that could name another cluster.
        for name in ["PATH", "HOME"] {
            if let Some(value) = self.env.var(name) {
                program = program.var(name, value);
            }
        }
        program.whole_output = Some(ANSWER_BYTES_MAX);
        program.time_limit = self.limit;
        program
    }

    fn run(&self, program: &Program, doing: &str) -> Result<Finished, ClusterError> {
        let finished = program.run(&*self.env.clock)?;
        if finished.succeeded() {
            return Ok(finished);
        }
        Err(ClusterError::Refused { doing: doing.to_string(), said: finished.last_words() })
    }
}

fn parsed(doing: &str, text: &str) -> Result<serde_json::Value, ClusterError> {
    serde_json::from_str(text).map_err(|error| ClusterError::Answer {
        doing: doing.to_string(),
        reason: printable(&error.to_string()),
    })
}

impl Cluster for Kubectl<'_> {
    fn get(&self, path: &str) -> Result<Option<serde_json::Value>, ClusterError> {
        let doing = format!("reading {path}");
        match self.run(&self.program().args(["get", "--raw", path]), &doing) {
            Ok(finished) => parsed(&doing, &finished.stdout).map(Some),
            // kubectl has no other way to say it, in any of its versions.
            Err(ClusterError::Refused { said, .. }) if said.contains("(NotFound)") => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &str, object: &serde_json::Value) -> Result<serde_json::Value, ClusterError> {
        let doing = format!("creating at {path}");
        let program = self.program().args(["create", "--raw", path, "-f", "-"]).input(object.to_string());
        let finished = self.run(&program, &doing)?;
        parsed(&doing, &finished.stdout)
    }
}
