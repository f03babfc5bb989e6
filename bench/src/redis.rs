//! Redis, whose `PUBLISH` is what many use instead.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::server::dying_with_us;

/// A `redis-server` on a unix socket that stores nothing.
pub(crate) struct Redis {
    process: Child,
    directory: tempfile::TempDir,
}

impl Redis {
    pub(crate) fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        // For the workers of php-fpm, which are somebody else.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        let mut command = dying_with_us("redis-server");
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocketperm", "777", "--dir"])
            .arg(directory.path());
        command.arg("--unixsocket").arg(directory.path().join("redis.sock")).stdout(Stdio::null());
        let redis = Self { process: command.spawn().map_err(|error| format!("redis-server: {error}"))?, directory };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(redis.socket()).is_err() {
            if Instant::now() > deadline {
                return Err("redis-server does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(redis)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
