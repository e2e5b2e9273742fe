//! A cluster as `kubectl` reaches it: one call for one request, without anything that it would remember
//! between them.

use std::path::Path;
use std::time::Duration;

use edge::Env;
use edge::process::{Finished, Program};
use manifests::text::printable;
use serde_json::Value;

use super::said::judge;
use super::{Application, Cluster, ClusterError, FIELD_MANAGER, deletion};
use crate::rendered::Object;
use crate::site::config::KubernetesTarget;

/// How many bytes of an answer are read: lists of all pods of a large cluster stay below it.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long the cluster may take to answer.
const REQUEST_TIMEOUT: &str = "--request-timeout=30s";
/// How long one call of the program may take: a login helper may ask somebody else first.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// The program would keep what it has learned of a cluster below the user's home. There is nothing to keep in
/// here, so it asks each time: a kind that came a moment ago is known, and nothing is written.
const NO_CACHE: &str = "--cache-dir=/dev/null";

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
        Self { target, env, limit: CALL_LIMIT }
    }

    /// The same with less patience for each call.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: limit.min(CALL_LIMIT), ..self }
    }

    /// A call of the program for this cluster.
    #[must_use]
    pub fn program(&self) -> Program {
        let name = self.target.kubectl.as_deref().unwrap_or(Path::new("kubectl"));
        let mut program = Program::new(name, &self.env.cwd)
            .arg("--kubeconfig")
            .arg(&self.target.kubeconfig)
            .args([REQUEST_TIMEOUT, NO_CACHE]);
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

    fn run(&self, program: &Program, doing: &str, sent: Option<&Value>) -> Result<Finished, ClusterError> {
        let finished = program.run(&*self.env.clock)?;
        if finished.succeeded() { Ok(finished) } else { Err(judge(doing, &finished.stderr, sent)) }
    }

    fn raw(&self, verb: &str, path: &str, object: &Value) -> Result<Value, ClusterError> {
        let doing = format!("{verb} {path}");
        let args = [verb, "--raw", path, "-f", "-"];
        let program = self.program().args(args).input(object.to_string());
        parsed(&doing, &self.run(&program, &doing, Some(object))?.stdout)
    }
}

/// What the answer is not understood for, without quoting it.
fn parsed(doing: &str, text: &str) -> Result<Value, ClusterError> {
    serde_json::from_str(text).map_err(|error| ClusterError::Answer {
        doing: doing.to_string(),
        reason: printable(&format!("no JSON in line {}, column {}", error.line(), error.column())),
    })
}

impl Cluster for Kubectl<'_> {
    fn get(&self, path: &str) -> Result<Option<Value>, ClusterError> {
        let doing = format!("get {path}");
        match self.run(&self.program().args(["get", "--raw", path]), &doing, None) {
            Ok(finished) => parsed(&doing, &finished.stdout).map(Some),
            Err(ClusterError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn text(&self, path: &str, bytes_max: usize) -> Result<Option<String>, ClusterError> {
        let mut program = self.program().args(["get", "--raw", path]);
        program.whole_output = Some(bytes_max);
        match self.run(&program, &format!("get {path}"), None) {
            Ok(finished) => Ok(Some(finished.stdout)),
            Err(ClusterError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &str, object: &Value) -> Result<Value, ClusterError> {
        self.raw("create", path, object)
    }

    fn replace(&self, path: &str, object: &Value) -> Result<Value, ClusterError> {
        self.raw("replace", path, object)
    }

    fn delete(&self, path: &str, uid: &str) -> Result<bool, ClusterError> {
        match self.raw("delete", path, &deletion(uid)) {
            Ok(_) => Ok(true),
            Err(ClusterError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn apply(&self, object: &Object, how: Application) -> Result<Value, ClusterError> {
        let doing = format!("{} {}", if how.dry_run { "trying to apply" } else { "applying" }, object.id());
        let manager = format!("--field-manager={FIELD_MANAGER}");
        let fixed = ["apply", "--server-side", "--output=json", "--show-managed-fields", "--filename=-"];
        let mut program = self.program().args(fixed).arg(manager).input(object.value().to_string());
        if how.dry_run {
            program = program.arg("--dry-run=server");
        }
        if how.force {
            program = program.arg("--force-conflicts");
        }
        parsed(&doing, &self.run(&program, &doing, Some(object.value()))?.stdout)
    }
}
