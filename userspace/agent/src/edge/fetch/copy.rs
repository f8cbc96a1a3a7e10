//! The last good copy of a list on disk, so that a start without network has it.
//!
//! A line of JSON, then the list as it came, unpacked. The time of the file's last change is when the
//! server last said that this is its list.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::get::Validators;
use super::url::Url;

/// Of the first line; another one is passed over.
const FORMAT: u32 = 1;

/// A list that was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) text: String,
    pub(super) validators: Validators,
    /// When the list changed, as far as that is known.
    pub(super) changed: SystemTime,
    /// When the server last said that this is its list.
    pub(super) confirmed: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    etag: Option<String>,
    last_modified: Option<String>,
    /// Seconds since 1970.
    changed: u64,
}

/// Where the copy of a list is. Its name tells nothing of the URL, which may hold secrets.
pub(super) fn path(state: &Path, url: &Url) -> PathBuf {
    let digest = Sha256::digest(url.secret_text());
    let half = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    state.join("lists").join(format!("{half:032x}"))
}

/// Reads a copy; `None`: there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Copy>> {
    let content = match fs::read_to_string(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let confirmed = fs::metadata(path)?.modified()?;
    let (head, text) = content.split_once('\n').unwrap_or((&content, ""));
    let head: Head = serde_json::from_str(head)?;
    if head.format != FORMAT {
        return Err(io::Error::other("it is of another version"));
    }
    Ok(Some(Copy {
        text: text.to_owned(),
        validators: Validators { etag: head.etag, last_modified: head.last_modified },
        changed: UNIX_EPOCH + Duration::from_secs(head.changed),
        confirmed,
    }))
}

/// Replaces a copy as one change. Others than the owner are not to read it: not every list is public.
pub(super) fn write(path: &Path, copy: &Copy) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = path.with_extension("draft");
    let head = Head {
        format: FORMAT,
        etag: copy.validators.etag.clone(),
        last_modified: copy.validators.last_modified.clone(),
        changed: copy.changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    };
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(serde_json::to_string(&head)?.as_bytes())?;
    file.write_all(b"\n")?;
    file.write_all(copy.text.as_bytes())?;
    file.set_modified(copy.confirmed)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

/// Notes that the server has said again that this is its list.
pub(super) fn confirm(path: &Path, at: SystemTime) -> io::Result<()> {
    File::options().write(true).open(path)?.set_modified(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("windrose-copy-{}", std::process::id()));
        let path = path(&folder, &Url::parse("https://me:secret@a.example/x").unwrap());
        assert!(!path.to_string_lossy().contains("secret"));
        assert_eq!(read(&path).unwrap(), None);
        let copy = Copy {
            text: "192.0.2.7\n\n# end".to_owned(),
            validators: Validators { etag: Some("\"1\"".to_owned()), last_modified: None },
            changed: UNIX_EPOCH + Duration::from_secs(7),
            confirmed: UNIX_EPOCH + Duration::from_secs(70),
        };
        write(&path, &copy).unwrap();
        assert_eq!(read(&path).unwrap(), Some(copy.clone()));
        let later = UNIX_EPOCH + Duration::from_secs(71);
        confirm(&path, later).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().confirmed, later);
        fs::write(&path, "192.0.2.7\n").unwrap();
        assert!(read(&path).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
