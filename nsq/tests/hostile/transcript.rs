//! What a client has sent, cut into commands.

/// One command: its line and, where it has one, its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) line: String,
    pub(crate) body: Vec<u8>,
}

/// Reads everything that was sent on one connection; panics where it does not end with a whole command.
pub(crate) fn commands(sent: &[u8]) -> Vec<Sent> {
    let (commands, rest) = whole_commands(sent);
    assert!(
        rest.is_empty(),
        "half a command: {:?}",
        String::from_utf8_lossy(rest)
    );
    commands
}

/// The commands that are whole, and what is left.
pub(crate) fn whole_commands(sent: &[u8]) -> (Vec<Sent>, &[u8]) {
    let Some(mut rest) = sent.strip_prefix(b"  V2") else {
        return (Vec::new(), sent);
    };
    let mut commands = Vec::new();
    while let Some((command, behind)) = first_command(rest) {
        commands.push(command);
        rest = behind;
    }
    (commands, rest)
}

fn first_command(bytes: &[u8]) -> Option<(Sent, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end])
        .expect("a command is text")
        .to_owned();
    let rest = &bytes[end + 1..];
    let word = line.split(' ').next().unwrap_or_default();
    let sized = match word {
        "IDENTIFY" | "AUTH" | "PUB" | "MPUB" | "DPUB" => true,
        "SUB" | "RDY" | "FIN" | "REQ" | "TOUCH" | "CLS" | "NOP" => false,
        other => panic!("not a command: {other:?}"),
    };
    if !sized {
        return Some((
            Sent {
                line,
                body: Vec::new(),
            },
            rest,
        ));
    }
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(i32::from_be_bytes(*len)).expect("a length");
    let (body, rest) = rest.split_at_checked(len)?;
    let body = body.to_vec();
    Some((Sent { line, body }, rest))
}
