//! Which process is at the other end of a loopback connection, so that a proxy can tell the members of a cluster apart: they all connect from
//! the same address.

use std::fs;
use std::net::SocketAddr;

/// Which of `processes` holds the socket that connects from `from` to `to`; `None` if it is none of them, or gone.
pub(super) fn owner(from: SocketAddr, to: SocketAddr, processes: &[u32]) -> Option<u32> {
    let socket = format!("socket:[{}]", inode(from, to)?);
    processes.iter().copied().find(|process| {
        fs::read_dir(format!("/proc/{process}/fd"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| {
                fs::read_link(entry.path())
                    .is_ok_and(|target| target.as_os_str() == socket.as_str())
            })
    })
}

/// The number of the socket that connects from `from` to `to`, as the kernel's table has it.
fn inode(from: SocketAddr, to: SocketAddr) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let (from, to) = (hexadecimal(from)?, hexadecimal(to)?);
    table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, ..] = columns[..] else {
            return None;
        };
        if local == from && remote == to {
            columns.get(9)?.parse().ok()
        } else {
            None
        }
    })
}

/// An address as that table writes it: each in hexadecimal, the bytes of the address in the order of the machine.
fn hexadecimal(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let number = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{number:08X}:{:04X}", address.port()))
}
