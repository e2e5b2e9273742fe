//! Image sources in skopeo's spelling: `TRANSPORT:REST`.

use std::path::PathBuf;

use manifests::Reference;

use super::ImageError;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// `docker://HOST/PATH:TAG`
    Registry(Reference),
    /// `oci:DIRECTORY[:NAME]`
    Layout {
        /// The directory.
        path: PathBuf,
        /// The name in its index.
        name: Option<String>,
    },
    /// `oci-archive:FILE[:NAME]`
    OciArchive {
        /// The file.
        path: PathBuf,
        /// The name in its index.
        name: Option<String>,
    },
    /// `docker-archive:FILE[:NAME:TAG]`
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// One of its `RepoTags`.
        name: Option<String>,
    },
    /// `docker-daemon:NAME[:TAG]`
    DockerDaemon {
        /// As the Engine knows it.
        name: String,
    },
}

/// The transports that skopeo has and we do not.
const OTHERS: [&str; 4] = ["containers-storage", "dir", "ostree", "tarball"];

impl ImageSource {
    /// Parses a source.
    ///
    /// # Errors
    /// Another transport, or a rest that the transport does not take.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let unknown = || ImageError::Transport { source_text: text.to_string() };
        let (transport, rest) = text.split_once(':').ok_or_else(unknown)?;
        let with_name = |rest: &str| match rest.split_once(':') {
            Some((path, name)) if !name.is_empty() => (PathBuf::from(path), Some(name.to_string())),
            _ => (PathBuf::from(rest.trim_end_matches(':')), None),
        };
        match transport {
            "docker" => {
                let reference = rest.strip_prefix("//").ok_or_else(unknown)?;
                Ok(Self::Registry(reference.parse()?))
            }
            "oci" | "oci-archive" | "docker-archive" | "docker-daemon" if rest.is_empty() => Err(unknown()),
            "oci" => {
                let (path, name) = with_name(rest);
                Ok(Self::Layout { path, name })
            }
            "oci-archive" => {
                let (path, name) = with_name(rest);
                Ok(Self::OciArchive { path, name })
            }
            "docker-archive" => {
                let (path, name) = with_name(rest);
                Ok(Self::DockerArchive { path, name })
            }
            "docker-daemon" => Ok(Self::DockerDaemon { name: rest.to_string() }),
            other if OTHERS.contains(&other) => {
                Err(ImageError::NotYet(format!("the image transport `{other}:`")))
            }
            _ => Err(unknown()),
        }
    }

    /// The name that the source itself gives the image, if it is a full one.
    #[must_use]
    pub fn own_name(&self) -> Option<Reference> {
        match self {
            Self::Registry(reference) => Some(reference.clone()),
            Self::DockerDaemon { name } if name.contains('/') => name.parse().ok(),
            Self::DockerDaemon { .. } => None,
            Self::Layout { name, .. } | Self::OciArchive { name, .. } | Self::DockerArchive { name, .. } => {
                // A bare tag or short name would become one of Docker's hub, which nobody meant.
                name.as_deref().filter(|name| name.contains('/')).and_then(|name| name.parse().ok())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_skopeos_spelling() {
        assert!(matches!(ImageSource::parse("docker://127.0.0.1:5000/a:v1"), Ok(ImageSource::Registry(_))));
        assert_eq!(
            ImageSource::parse("oci-archive:images/postgres.tar:postgres:15").unwrap(),
            ImageSource::OciArchive { path: "images/postgres.tar".into(), name: Some("postgres:15".into()) }
        );
        assert_eq!(
            ImageSource::parse("oci:dir").unwrap(),
            ImageSource::Layout { path: "dir".into(), name: None }
        );
    }

    #[test]
    fn an_unknown_transport_is_refused_and_a_known_one_is_not_there_yet() {
        for text in ["nginx", "docker:nginx", "ftp://x", "oci:", "oci-archive:", "docker-daemon:"] {
            assert!(matches!(ImageSource::parse(text), Err(ImageError::Transport { .. })), "{text}");
        }
        assert!(matches!(ImageSource::parse("containers-storage:nginx:1"), Err(ImageError::NotYet(_))));
    }

    #[test]
    fn a_short_name_in_an_archive_is_no_name_for_a_site() {
        let name = |text: &str| ImageSource::parse(text).unwrap().own_name().map(|name| name.to_string());
        assert_eq!(name("oci-archive:x.tar:postgres:15"), None);
        assert_eq!(name("docker-archive:x.tar:r.example.com/a:v1").as_deref(), Some("r.example.com/a:v1"));
    }
}
