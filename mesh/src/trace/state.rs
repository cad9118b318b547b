//! `tracestate`: checked, joined, and not understood (section 3.3 of the specification).

use std::sync::Arc;

use http::HeaderMap;

use super::TRACESTATE;

/// As many members a list may have.
const MOST_MEMBERS: usize = 32;

/// What is passed on at most, in bytes. The specification asks for at least 512.
const LONGEST: usize = 8 << 10;

/// The list that the headers make together; `None` if there is none, or a part of it is wrong.
pub(super) fn read(headers: &HeaderMap) -> Option<Arc<str>> {
    let mut members: Vec<&str> = Vec::new();
    for header in headers.get_all(TRACESTATE) {
        let list = header.to_str().ok()?;
        // Empty members are allowed, and say nothing.
        let given = list
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty());
        members.extend(given);
    }
    let length: usize = members.iter().map(|member| member.len() + 1).sum();
    if members.is_empty() || members.len() > MOST_MEMBERS || length > LONGEST {
        return None;
    }
    let mut keys: Vec<&str> = Vec::with_capacity(members.len());
    for member in &members {
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || keys.contains(&key) {
            return None;
        }
        keys.push(key);
    }
    Some(members.join(",").into())
}

/// A simple key of at most 256 characters, or a tenant of at most 241 and a system of at most 14.
fn is_key(key: &str) -> bool {
    match key.split_once('@') {
        Some((tenant, system)) => {
            is_name(tenant, 241, |first| {
                first.is_ascii_lowercase() || first.is_ascii_digit()
            }) && is_name(system, 14, |first| first.is_ascii_lowercase())
        }
        None => is_name(key, 256, |first| first.is_ascii_lowercase()),
    }
}

fn is_name(name: &str, longest: usize, may_begin: impl Fn(u8) -> bool) -> bool {
    let may_follow = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    name.len() <= longest && name.bytes().next().is_some_and(may_begin) && name.bytes().all(may_follow)
}

/// 1 to 256 printable characters of ASCII without `,` and `=`; the spaces around it are gone already.
fn is_value(value: &str) -> bool {
    let may_be = |byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(may_be)
}
