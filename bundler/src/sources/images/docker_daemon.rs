//! `docker-daemon:`: an image of a Docker Engine on this machine, over its socket. The Engine gives what
//! `docker save` writes; it is taken in as such an archive, into the cache.
//!
//! **What this module may never do:** change anything in the Engine.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use edge::Env;
use manifests::text::printable;
use registry::engine::{Engine, EngineError, SOCKET, encoded};

use super::super::World;
use super::ImageError;
use super::docker_archive::DockerArchive;
use crate::lock::Origin;

/// The image of this name, its blobs in the cache.
///
/// # Errors
/// No Engine there, no such image, or one that is not what its configuration says.
pub fn open(name: &str, world: &World<'_>) -> Result<DockerArchive, ImageError> {
    let engine = Engine::at(socket(world.env)?);
    let failed =
        |source| ImageError::Daemon { socket: engine.socket().to_path_buf(), image: printable(name), source };
    let broken = |error| failed(EngineError::Answer(error));
    std::fs::create_dir_all(world.cache.root()).map_err(ImageError::Cache)?;
    let mut file = tempfile::NamedTempFile::new_in(world.cache.root()).map_err(ImageError::Cache)?;
    let wanted = with_tag(name);
    let mut body = engine.get(&format!("/images/{}/get", encoded(&wanted))).map_err(failed)?;
    let mut buffer = vec![0_u8; layout::writer::CHUNK_BYTES];
    loop {
        let count = body.read(&mut buffer).map_err(broken)?;
        if count == 0 {
            break;
        }
        if (world.interrupted)() {
            return Err(broken(io::Error::other("interrupted")));
        }
        file.write_all(buffer.get(..count).unwrap_or_default()).map_err(ImageError::Cache)?;
    }
    let archive = DockerArchive::open(file.path().to_path_buf(), None, world)?;
    archive.kept(format!("docker-daemon:{name}"), &Origin::Daemon(name.to_string()), world)
}

/// `DOCKER_HOST`, if it names a socket of this machine.
fn socket(env: &Env) -> Result<PathBuf, ImageError> {
    match env.var("DOCKER_HOST") {
        None => Ok(PathBuf::from(SOCKET)),
        Some(host) => match host.strip_prefix("unix://") {
            Some(path) => Ok(PathBuf::from(path)),
            None => Err(ImageError::DaemonHost { host: printable(host) }),
        },
    }
}

/// Without a tag the Engine would send every image of that repository.
fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_string() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_the_latest() {
        assert_eq!(with_tag("team/app"), "team/app:latest");
        assert_eq!(with_tag("r.example.com:5000/app"), "r.example.com:5000/app:latest");
        assert_eq!(with_tag("app:v1"), "app:v1");
    }
}
