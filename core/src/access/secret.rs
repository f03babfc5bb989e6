//! The secret that tokens are signed with: a file that only the hub reads, made at the first start.
//!
//! Each line is a secret. The first signs and all verify, so that another one can take its place: write the new one before
//! the old one, send SIGHUP, and take the old one away when its last token has expired.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};

use super::token::Keys;
use crate::keeper::StartError;

/// Lengths of a secret, in bytes. HS256 wants as many as its hash has (RFC 7518, section 3.2).
const LEAST: usize = 32;
const MOST: usize = 1024;
/// One signs, and the one before it still verifies.
const LINES: usize = 2;

/// The secrets of the file, which is made if it is not there.
///
/// # Errors
/// It is there and others may read it, this process may not, or it holds no secrets. Where it cannot be made, the text in
/// `Ok(Err(..))` says why.
pub(super) fn open(path: &Path) -> Result<Result<Keys, String>, StartError> {
    loop {
        match read(path) {
            Ok(keys) => return Ok(Ok(keys?)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let uid = rustix::process::geteuid().as_raw();
                return Err(refused(
                    path,
                    format!(
                        "cannot be read: {error}: let it belong to the user of the hub (chown {uid}), or set another"
                    ),
                ));
            }
        }
        match make(path) {
            Ok(()) => {}
            // Another hub was faster, and its secret is as good.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
}

/// Secrets that end with this process.
pub(super) fn of_this_process() -> io::Result<Keys> {
    Ok(Keys::new(&[random()?.as_bytes()]))
}

/// What the file holds; the outer error is the system's.
pub(super) fn read(path: &Path) -> io::Result<Result<Keys, StartError>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let stat = file.metadata()?;
    let (uid, mode) = (rustix::process::geteuid().as_raw(), stat.mode() & 0o7777);
    if !stat.is_file() {
        return Ok(Err(refused(path, "is no file: set the path of one")));
    }
    if mode & 0o077 != 0 {
        let text = format!("has mode {mode:04o}, so that others may read it and make tokens: chmod 600");
        return Ok(Err(refused(path, text)));
    }
    if stat.uid() != uid && stat.uid() != 0 {
        let text =
            format!("belongs to uid {}, who may make tokens: chown it to {uid}, the user of the hub", stat.uid());
        return Ok(Err(refused(path, text)));
    }
    let mut text = Vec::new();
    file.take(((MOST + 2) * LINES) as u64 + 1).read_to_end(&mut text)?;
    let lines: Vec<&[u8]> =
        text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() || lines.len() > LINES || lines.iter().any(|line| !(LEAST..=MOST).contains(&line.len())) {
        let text = format!(
            "must have one line, or two of which the first signs, each a secret of {LEAST} to {MOST} bytes; remove it and \
             the hub makes another"
        );
        return Ok(Err(refused(path, text)));
    }
    Ok(Ok(Keys::new(&lines)))
}

fn refused(path: &Path, why: impl std::fmt::Display) -> StartError {
    StartError::new(format!("secret_file = \"{}\": {why}", path.display()))
}

/// Makes the file with a new secret: whole, or not at all.
fn make(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let secret = random()?;
    let new = crate::keeper::beside(path, &format!(".{}", std::process::id()));
    // Of a hub with the same number that was killed here.
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let made = write(&mut file, &secret).and_then(|()| std::fs::hard_link(&new, path));
    let _ = std::fs::remove_file(&new);
    made
}

fn write(file: &mut File, secret: &str) -> io::Result<()> {
    file.write_all(secret.as_bytes())?;
    file.write_all(b"\n")?;
    // A file that is empty after a power failure would stop the next start.
    file.sync_all()
}

/// 256 random bits as text.
fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
