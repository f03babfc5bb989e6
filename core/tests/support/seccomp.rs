//! What a process may ask of the kernel, for tests of what happens when it may not.

use std::io::Error;

/// A filter that does `verdict` with these system calls, and lets all others pass.
pub fn filter(calls: &[libc::c_long], verdict: u32) -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, jt, k| libc::sock_filter { code, jt, jf: 0, k };
    let tests = calls.iter().enumerate().map(|(at, call)| line(EQUAL, (calls.len() - at) as u8, *call as u32));
    let returns = [line(RETURN, 0, libc::SECCOMP_RET_ALLOW), line(RETURN, 0, verdict)];
    std::iter::once(line(LOAD, 0, 0)).chain(tests).chain(returns).collect()
}

/// Holds this process and its children to the filter, beside those it has; with
/// [`libc::SECCOMP_FILTER_FLAG_NEW_LISTENER`] the answer is a descriptor. Makes system calls only.
pub fn hold_to(filter: &[libc::sock_filter], flags: libc::c_ulong) -> std::io::Result<i32> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the pointers are to what the caller has; the kernel only reads the filter.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if done < 0 { Err(Error::last_os_error()) } else { Ok(done as i32) }
}
