// SPDX-License-Identifier: GPL-2.0

//! Parameters on the command line of a kernel that switch something on or off.

/// Splits one parameter off, as the kernel does: at white space outside of quotes. Returns its name
/// and its value, without quotes around them, and what follows.
fn next_parameter(line: &[u8]) -> (&[u8], Option<&[u8]>, &[u8]) {
    let (line, quoted) = match line.strip_prefix(b"\"") {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let mut in_quotes = quoted;
    let end = line.iter().position(|byte| {
        in_quotes ^= *byte == b'"';
        is_space(*byte) && !in_quotes
    });
    let (parameter, rest) = line
        .split_at_checked(end.unwrap_or(line.len()))
        .unwrap_or((line, &[]));
    // A parameter that begins with it has no name.
    let equals = parameter.iter().skip(1).position(|byte| *byte == b'=');
    let split = equals.and_then(|at| parameter.split_at_checked(at.saturating_add(1)));
    let unquote = |bytes| <[u8]>::strip_suffix(bytes, b"\"").unwrap_or(bytes);

    match split {
        Some((name, value)) => {
            let value = value.strip_prefix(b"=").unwrap_or(value);
            let value = match value.strip_prefix(b"\"") {
                Some(value) => unquote(value),
                None if quoted => unquote(value),
                None => value,
            };
            (name, Some(value), rest)
        }
        None if quoted => (unquote(parameter), None, rest),
        None => (parameter, None, rest),
    }
}

/// What `isspace()` of the kernel takes for white space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0xa0)
}

/// What `kstrtobool()` of the kernel understands.
fn boolean(value: &[u8]) -> Option<bool> {
    match value {
        [b'e' | b'E' | b'y' | b'Y' | b't' | b'T' | b'1', ..] => Some(true),
        [b'd' | b'D' | b'n' | b'N' | b'f' | b'F' | b'0', ..] => Some(false),
        [b'o' | b'O', b'n' | b'N', ..] => Some(true),
        [b'o' | b'O', b'f' | b'F', ..] => Some(false),
        _ => None,
    }
}

/// Returns how the early parameter `name` is set on the command line `line`, which ends with it or
/// at the first zero byte. Of several values the last one counts.
///
/// Returns [`None`] if the parameter is not there, or never with a value that is understood.
pub fn switch(line: &[u8], name: &str) -> Option<bool> {
    let mut line = line.split(|byte| *byte == 0).next().unwrap_or(&[]);
    let mut set = None;

    while let Some(start) = line.iter().position(|byte| !is_space(*byte)) {
        let (parameter, value, rest) = next_parameter(line.get(start..).unwrap_or(&[]));
        // What follows is for the first process.
        if value.is_none() && parameter == b"--" {
            break;
        }
        if parameter == name.as_bytes() {
            set = value.and_then(boolean).or(set);
        }
        line = rest;
    }
    set
}
