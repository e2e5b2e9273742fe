//! Lists of images: a file with one reference on each line, `#` before what is for people.

use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use manifests::text::{LongLine, printable};

use super::super::World;
use super::ImageError;
use super::transport::ImageSource;

/// Ten thousand images.
const LIST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// Not there, or not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line that is no image.
    #[error("{}:{line}: `{}` is not an image", path.display(), printable(text))]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
        /// What is wrong.
        source: ImageError,
    },
    /// Nothing but comments.
    #[error("{} lists no image", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

impl Classified for ListError {
    fn exit(&self) -> Exit {
        if matches!(self, Self::Read { .. }) { Exit::Unreachable } else { Exit::Usage }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Line { .. } => Some(
                "write one reference such as registry.example.com/team/app:v1 on a line; `#` starts a comment"
                    .to_string(),
            ),
            _ => None,
        }
    }
}

/// The sources that a list names, in its order.
///
/// # Errors
/// See [`ListError`].
pub fn read(path: &Path, world: &World<'_>) -> Result<Vec<LongLine>, ListError> {
    let failed = |source| ListError::Read { path: path.to_path_buf(), source };
    let bytes = layout::durable::read_bounded(&world.path(path), LIST_BYTES_MAX).map_err(failed)?;
    parse(path, &String::from_utf8_lossy(&bytes))
}

fn parse(path: &Path, text: &str) -> Result<Vec<LongLine>, ListError> {
    let mut sources = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // A reference holds no `#`.
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        let source = source(entry).map_err(|source| ListError::Line {
            path: path.to_path_buf(),
            line: number.saturating_add(1),
            text: entry.to_string(),
            source,
        })?;
        sources.push(source);
    }
    if sources.is_empty() { Err(ListError::Empty { path: path.to_path_buf() }) } else { Ok(sources) }
}

/// A source in skopeo's spelling, or a reference alone, which is one of a registry.
fn source(entry: &str) -> Result<LongLine, ImageError> {
    let spelled = match ImageSource::parse(entry) {
        Ok(_) => entry.to_string(),
        Err(ImageError::Transport { .. }) => {
            let spelled = format!("docker://{entry}");
            ImageSource::parse(&spelled)?;
            spelled
        }
        Err(error) => return Err(error),
    };
    spelled.parse().map_err(|_| ImageError::Transport { source_text: entry.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<String>, String> {
        let found = parse(Path::new("images.txt"), text).map_err(|error| error.to_string())?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_line_is_a_reference_or_a_source_and_the_rest_is_for_people() {
        let text = "# ours\n\nr.example.com:5000/a:v1  # the service\r\n  docker://r.example.com/b@sha256:0000000000000000000000000000000000000000000000000000000000000000\noci-archive:x.tar:r.example.com/c:v1";
        assert_eq!(
            parsed(text).unwrap(),
            [
                "docker://r.example.com:5000/a:v1",
                "docker://r.example.com/b@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "oci-archive:x.tar:r.example.com/c:v1"
            ]
        );
    }

    #[test]
    fn a_line_that_is_no_image_is_named_with_its_place() {
        assert_eq!(
            parsed("# x\nr.example.com/A B\n"),
            Err("images.txt:2: `r.example.com/A B` is not an image".to_string())
        );
        assert_eq!(parsed("# nothing\n"), Err("images.txt lists no image".to_string()));
    }
}
