//! The one door to a Kubernetes API. Behind the trait is `kubectl`, the program that the people of a site use:
//! it knows their logins, proxies and certificates, so this one need not (docs/adr/0022-kubectl.md). Which paths
//! of the API mean what is in the Kubernetes API reference.
//!
//! *It may never* hold a credential, or choose another cluster than `site.yaml` names: the file of the
//! configuration is always given, so nothing of the user's environment counts. Nor may it show a value of a
//! Secret or of settings: what a server says of such an object is quoted without them.

#[cfg(test)]
pub mod double;
pub mod kinds;
mod kubectl;
mod said;

use edge::process::ProcessError;
use edge::{Classified, Exit};
use serde_json::{Value, json};

pub use kubectl::Kubectl;

use crate::rendered::Object;

/// Whose fields the objects' fields are, to the API server, once this program has applied them.
pub const FIELD_MANAGER: &str = "airlock";

/// Why a cluster could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The program.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Nobody answered, or not in time.
    #[error("{doing}: the cluster cannot be reached: {said}")]
    Unreachable {
        /// What was asked.
        doing: String,
        /// What the program said.
        said: String,
    },
    /// Somebody answered whom the configuration does not trust, or whom we present a bad certificate.
    #[error("{doing}: the certificates do not fit: {said}")]
    Certificate {
        /// What was asked.
        doing: String,
        /// What the program said.
        said: String,
    },
    /// The cluster does not know who we are.
    #[error("{doing}: the cluster does not accept the login: {said}")]
    Login {
        /// What was asked.
        doing: String,
        /// What was answered.
        said: String,
    },
    /// It knows us, and does not let us.
    #[error("{doing}: {said}")]
    Forbidden {
        /// What was asked.
        doing: String,
        /// What was answered.
        said: String,
    },
    /// Fields belong to somebody else, or the object has changed meanwhile.
    #[error("{doing}: {said}")]
    Conflict {
        /// What was asked.
        doing: String,
        /// What was answered; for fields it names their manager and them.
        said: String,
    },
    /// There is no such thing there.
    #[error("{doing}: {said}")]
    Missing {
        /// What was asked.
        doing: String,
        /// What was answered.
        said: String,
    },
    /// The cluster, or the program, said no for another reason.
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

impl ClusterError {
    /// Whether the same thing may work later: nobody answered.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Process(ProcessError::TimeLimit { .. }))
    }
}

impl Classified for ClusterError {
    fn exit(&self) -> Exit {
        match self {
            Self::Conflict { .. } => Exit::NotReady,
            _ => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Process(ProcessError::Start { .. }) => {
                "install kubectl, or say where it is: `targets.kubernetes.kubectl` in site.yaml"
            }
            Self::Process(_) | Self::Unreachable { .. } => {
                "check `targets.kubernetes` in site.yaml, and that `kubectl` reaches the cluster with it"
            }
            Self::Certificate { .. } => {
                "get the kubeconfig of today from whoever runs the cluster; certificates in it expire"
            }
            Self::Login { .. } => "log in again, or get a new kubeconfig from whoever runs the cluster",
            Self::Forbidden { .. } => {
                "ask whoever runs the cluster for that permission (`cluster/rbac` lists all)"
            }
            Self::Conflict { .. } => {
                "find out who manages those fields; `targets.kubernetes.force: true` in site.yaml takes them"
            }
            Self::Missing { .. } | Self::Refused { .. } | Self::Answer { .. } => return None,
        };
        Some(hint.to_string())
    }
}

/// In which way an object is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Application {
    /// Nothing is changed; the answer is what would be there.
    pub dry_run: bool,
    /// Fields of others are taken.
    pub force: bool,
}

/// A Kubernetes API.
pub trait Cluster {
    /// Reads a path of the API, such as `/apis/apps/v1/namespaces/x/deployments/y`; `None` if there is nothing.
    ///
    /// # Errors
    /// It cannot be asked, or does not let us.
    fn get(&self, path: &str) -> Result<Option<Value>, ClusterError>;

    /// Reads a path of the API that is a plain text, such as the log of a container; `None` if there is nothing.
    ///
    /// # Errors
    /// It cannot be asked, or does not let us; the text is longer than `bytes_max`.
    fn text(&self, path: &str, bytes_max: usize) -> Result<Option<String>, ClusterError>;

    /// Creates an object at a path of the API, and tells what became of it. Reviews of permissions are created
    /// this way, too.
    ///
    /// # Errors
    /// It cannot be asked, or does not let us.
    fn create(&self, path: &str, object: &Value) -> Result<Value, ClusterError>;

    /// Replaces the object at a path of the API, which has to be there, and tells what became of it.
    ///
    /// # Errors
    /// It cannot be asked, or does not let us; the object has changed since it was read.
    fn replace(&self, path: &str, object: &Value) -> Result<Value, ClusterError>;

    /// Deletes the object at a path of the API, if it still has this UID, after what it owns. `false` if there
    /// was nothing. It may be there for a while after.
    ///
    /// # Errors
    /// It cannot be asked, or does not let us; another object has taken the name.
    fn delete(&self, path: &str, uid: &str) -> Result<bool, ClusterError>;

    /// Applies an object on the server's side, and tells what became of it.
    ///
    /// # Errors
    /// It cannot be asked, or does not let us; without force, also if fields belong to somebody else.
    fn apply(&self, object: &Object, how: Application) -> Result<Value, ClusterError>;
}

/// What is sent along with a deletion.
fn deletion(uid: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": uid},
        "propagationPolicy": "Foreground",
    })
}

/// The members of a list that was read.
#[must_use]
pub fn items(list: Option<Value>) -> Vec<Value> {
    match list {
        Some(Value::Object(mut list)) => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Whether we may do this, by the cluster's own word.
///
/// # Errors
/// It cannot be asked.
pub fn may(
    cluster: &dyn Cluster,
    verb: &str,
    (group, resource): (&str, &str),
    namespace: Option<&str>,
) -> Result<bool, ClusterError> {
    let mut attributes = json!({"verb": verb, "group": group, "resource": resource});
    if let (Some(namespace), Some(attributes)) = (namespace, attributes.as_object_mut()) {
        attributes.insert("namespace".to_string(), namespace.into());
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    });
    let answer = cluster.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review)?;
    answer.pointer("/status/allowed").and_then(Value::as_bool).ok_or_else(|| ClusterError::Answer {
        doing: format!("asking whether we may {verb} {resource}"),
        reason: "it says neither yes nor no".to_string(),
    })
}
