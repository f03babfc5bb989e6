//! php-fpm with one worker and the extension, beside a hub that runs already: it adopts that.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::Result;
use crate::reliability::fastcgi;
use crate::server::dying_with_us;

const SCRIPT: &str = "script.php";
const START_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Fpm {
    process: Child,
    directory: tempfile::TempDir,
}

impl Fpm {
    /// Starts it for a script, with these settings of PHP (`name=value`), without php.ini, and waits until it serves.
    pub(crate) fn start(script: &Path, settings: &[String]) -> Result<Fpm> {
        let directory = tempfile::tempdir()?;
        // Its worker is somebody else, and cannot read whatever directory this is built in.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        fs::copy(script, directory.path().join(SCRIPT))?;
        let place = directory.path().display();
        let user = if geteuid().is_root() { "user = www-data\ngroup = www-data\n" } else { "" };
        fs::write(
            directory.path().join("fpm.conf"),
            format!(
                "[global]\nerror_log = {place}/log\ndaemonize = no\n\
                 [bench]\n{user}listen = {place}/fpm.sock\npm = static\npm.max_children = 1\ncatch_workers_output = yes\n"
            ),
        )?;
        let program = std::env::var("PHP_FPM").unwrap_or_else(|_| "php-fpm8.2".to_owned());
        let output = File::create(directory.path().join("output"))?;
        let mut command = dying_with_us(&program);
        command.args(["-n", "-F", "-R", "-y"]).arg(directory.path().join("fpm.conf"));
        for setting in settings {
            command.args(["-d", setting]);
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let process = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let mut fpm = Fpm { process, directory };
        let deadline = Instant::now() + START_TIMEOUT;
        while std::os::unix::net::UnixStream::connect(fpm.socket()).is_err() {
            if Instant::now() > deadline || fpm.process.try_wait()?.is_some() {
                return Err(format!("php-fpm does not serve: {}", fpm.log()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(fpm)
    }

    /// Runs the script with `?0=...&1=...`; gives what it printed.
    pub(crate) fn run(&self, arguments: &[String]) -> Result<String> {
        let names = (0..arguments.len()).map(|place| place.to_string()).collect::<Vec<_>>();
        let arguments = names.iter().zip(arguments).map(|(name, value)| (name.as_str(), value.as_str()));
        let answer =
            fastcgi::request(&self.socket(), &self.directory.path().join(SCRIPT), &arguments.collect::<Vec<_>>());
        answer.map_err(|error| format!("{error}\n{}", self.log()).into())
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("fpm.sock")
    }

    fn log(&self) -> String {
        ["log", "output"].map(|name| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()).concat()
    }
}

impl Drop for Fpm {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let asked = pid.map(|pid| kill_process(pid, Signal::TERM));
        if let Err(error) = self.process.wait() {
            eprintln!("push-bench: php-fpm, {asked:?}: {error}");
        }
    }
}
