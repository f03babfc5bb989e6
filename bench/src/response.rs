//! One HTTP/1.1 response, as far as a subscriber or a publisher needs it.

use crate::{Result, message};

/// A complete response; it borrows the bytes it was read from.
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    /// The position to ask from next, as the server gave it; empty where it gave none.
    pub(crate) last_modified: &'a [u8],
    pub(crate) etag: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl Response<'_> {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The first message of an answer without end, as a response of its own, and where it ends.
pub(crate) fn message(bytes: &[u8], size: usize) -> Option<(Response<'_>, usize)> {
    let (body, end) = message::first(bytes, size)?;
    Some((Response { status: 200, last_modified: b"", etag: b"", body }, end))
}

/// The length of the head of an answer without end; `None` while it is incomplete.
pub(crate) fn open_head(bytes: &[u8]) -> Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
    match head.code {
        Some(101 | 200) => Ok(Some(length)),
        other => Err(format!("a subscription was answered {}", other.unwrap_or_default()).into()),
    }
}

/// The first response in `bytes` and how many bytes it takes; `None` while it is incomplete.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Response<'_>, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(bytes)? else { return Ok(None) };
    let status = head.code.unwrap_or_default();
    let (mut last_modified, mut etag, mut length) = (&b""[..], &b""[..], None);
    for header in head.headers.iter() {
        if header.name.eq_ignore_ascii_case("Last-Modified") {
            last_modified = header.value;
        } else if header.name.eq_ignore_ascii_case("Etag") {
            etag = header.value;
        } else if header.name.eq_ignore_ascii_case("Content-Length") {
            length = Some(str::from_utf8(header.value)?.parse()?);
        } else if header.name.eq_ignore_ascii_case("Transfer-Encoding") {
            return Err("the server answers in chunks; a Content-Length is needed here".into());
        }
    }
    let length: usize = match (status, length) {
        (204 | 304, _) => 0,
        (_, Some(length)) => length,
        (_, None) => return Err(format!("an answer {status} without Content-Length").into()),
    };
    let Some(body) = bytes[head_length..].get(..length) else { return Ok(None) };
    Ok(Some((Response { status, last_modified, etag, body }, head_length + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nLast-Modified: now\r\nETag: W/3\r\ncontent-length: 2\r\n\r\nhi";

    #[test]
    fn every_prefix_is_incomplete_and_the_rest_belongs_to_the_next() -> Result<()> {
        for end in 0..ANSWER.len() {
            assert!(parse(&ANSWER[..end])?.is_none(), "{end}");
        }
        let twice = [ANSWER, ANSWER].concat();
        let (response, length) = parse(&twice)?.ok_or("incomplete")?;
        assert_eq!((response.status, response.last_modified, response.etag), (200, &b"now"[..], &b"W/3"[..]));
        assert_eq!((response.body, length), (&b"hi"[..], ANSWER.len()));
        Ok(())
    }

    #[test]
    fn a_304_has_no_body_whatever_its_length_says() -> Result<()> {
        let answer = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n";
        let (response, length) = parse(answer)?.ok_or("incomplete")?;
        assert_eq!((response.status, response.body, length), (304, &b""[..], answer.len()));
        Ok(())
    }

    #[test]
    fn what_cannot_be_delimited_is_refused() {
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }
}
