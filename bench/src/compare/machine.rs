//! The head of the results: on what machine, with which versions, and when.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use crate::Result;

pub(super) fn describe(hub: &Path, reached: usize, goals: usize) -> Result<String> {
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let processor = field(&processor, "model name").unwrap_or("unknown");
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory = field(&memory, "MemTotal").and_then(|value| value.trim_end_matches(" kB").parse::<u64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let versions = [
        said(hub, &["--version"])?,
        said("nginx", &["-v"])?,
        format!("nchan {}", said("dpkg-query", &["-W", "-f", "${Version}", "libnginx-mod-nchan"])?),
        said("php", &["-n", "-r", "echo 'PHP ', PHP_VERSION;"])?,
        said("rustc", &["--version"])?,
    ];
    Ok(format!(
        "# Results\n\nWritten by `make bench` ([how](README.md)) on {}.\n\n\
         - Machine: {} processors of \"{processor}\", {} GB, Linux {}; loopback only.\n\
         - {}.\n\
         - Each server has one thread for its clients, and the generator one. CPU and memory are those of all the server's \
         processes.\n\
         - Goals reached: {reached} of {goals}.\n",
        date(),
        std::thread::available_parallelism()?,
        memory.unwrap_or_default() / 1_000_000,
        kernel.trim(),
        versions.join(", "),
    ))
}

/// Of today, in UTC.
pub(super) fn date() -> String {
    // RFC 9110's begins with the day of the week: "Mon, 23 Nov 2026 03:05:00 GMT".
    let now = httpdate::fmt_http_date(SystemTime::now());
    format!("{} UTC", now.get(5..22).unwrap_or(&now))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find(|line| line.starts_with(name))?.split_once(':').map(|(_, value)| value.trim())
}

/// What a program prints, on one line.
fn said(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Result<String> {
    let output = Command::new(&program).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", program.as_ref().display()))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned())
}
