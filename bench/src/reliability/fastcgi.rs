//! One request to php-fpm.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::Result;

const BEGIN: u8 = 1;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// Runs `script` with these arguments; the answer is what it printed.
///
/// # Errors
/// php-fpm cannot be reached, or the worker died.
pub(crate) fn request(socket: &Path, script: &Path, arguments: &[(&str, &str)]) -> Result<String> {
    let query = arguments.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&");
    let script = script.to_str().ok_or("the script's path is not UTF-8")?;
    let mut parameters = Vec::new();
    for (name, value) in [("SCRIPT_FILENAME", script), ("REQUEST_METHOD", "GET"), ("QUERY_STRING", &query)] {
        for length in [name.len(), value.len()] {
            parameters.extend((length as u32 | 1 << 31).to_be_bytes());
        }
        parameters.extend(name.bytes().chain(value.bytes()));
    }
    let mut socket = UnixStream::connect(socket)?;
    let responder = [0, 1, 0, 0, 0, 0, 0, 0];
    let records = [(BEGIN, &responder[..]), (PARAMS, &parameters), (PARAMS, &[]), (STDIN, &[])];
    let bytes: Vec<u8> = records.into_iter().flat_map(|(kind, content)| record(kind, content)).collect();
    socket.write_all(&bytes)?;
    let mut output = Vec::new();
    loop {
        let mut header = [0; 8];
        socket.read_exact(&mut header)?;
        let length = u16::from_be_bytes([header[4], header[5]]);
        let mut content = vec![0; usize::from(length) + usize::from(header[6])];
        socket.read_exact(&mut content)?;
        match header[1] {
            STDOUT => output.extend(&content[..length.into()]),
            END => break,
            _ => {}
        }
    }
    let output = String::from_utf8_lossy(&output);
    let (head, body) = output.split_once("\r\n\r\n").ok_or_else(|| format!("php-fpm answered {output:?}"))?;
    if head.contains("Status:") {
        return Err(format!("php-fpm answered {output:?}").into());
    }
    Ok(body.to_owned())
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, kind, 0, 1];
    bytes.extend((content.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(content);
    bytes
}
