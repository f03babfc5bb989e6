//! Keeps the cores of this machine awake while calls are timed.
//!
//! Waking a process on a virtual core that has gone to sleep takes 25 to 30 µs, ten times what the calls take, and whether the core
//! sleeps depends on whatever else the machine does. A loop per core that runs only when nobody else wants to (`SCHED_IDLE`)
//! makes the times those of the calls. The processes called still sleep and are woken.

use std::process::{Child, Command, Stdio};
use std::thread::available_parallelism;

use crate::Result;

/// Ends with this process, too.
const LOOP: &str = "while kill -0 $PPID; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done";

/// Awake as long as it lives.
pub(crate) struct Awake(Vec<Child>);

impl Awake {
    pub(crate) fn start() -> Result<Awake> {
        let mut awake = Awake(Vec::new());
        for _ in 0..available_parallelism()?.get() {
            let mut command = Command::new("chrt");
            command.args(["--idle", "0", "sh", "-c", LOOP]).stderr(Stdio::null());
            awake.0.push(command.spawn().map_err(|error| format!("chrt (of util-linux): {error}"))?);
        }
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for child in &mut self.0 {
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!("push-bench: ending what kept the cores awake: {error}");
            }
        }
    }
}
