//! Secrets in the data directory: made on the first start, readable by the owner only.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::backplane::token::SECRET_BYTES_MIN;

/// Where the token secret of a data directory lies.
#[must_use]
pub fn token_secret_path(data_dir: &Path) -> PathBuf {
    data_dir.join("secrets").join("jwt_secret_key")
}

/// Makes sure that the data directory has a token secret (two random UUIDs, 244 random bits, hexadecimal) and gives
/// its path. The file has mode 0600, its directory 0700.
///
/// # Errors
/// When the directory or the file cannot be made.
pub fn ensure_token_secret(data_dir: &Path) -> io::Result<PathBuf> {
    let path = token_secret_path(data_dir);
    if path.exists() {
        return whole(path);
    }
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let secret = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    // Written whole under another name first: nobody ever sees half a secret.
    let draft = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, &path);
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => whole(path),
        Err(error) => Err(error),
    }
}

/// The path, if the secret there is long enough to be one.
fn whole(path: PathBuf) -> io::Result<PathBuf> {
    if read_secret(&path)?.len() >= SECRET_BYTES_MIN {
        return Ok(path);
    }
    let message = format!("{} is too short; remove it to get a new one", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// Reads a secret from a file, without the line's end.
///
/// # Errors
/// When the file cannot be read.
pub fn read_secret(path: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = ensure_token_secret(dir.path()).unwrap();
        let secret = read_secret(&path).unwrap();
        assert!(secret.len() >= SECRET_BYTES_MIN);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        ensure_token_secret(dir.path()).unwrap();
        assert_eq!(read_secret(&path).unwrap(), secret);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
        fs::write(&path, "").unwrap();
        let error = ensure_token_secret(dir.path()).unwrap_err();
        assert!(error.to_string().contains("too short"), "{error}");
    }
}
