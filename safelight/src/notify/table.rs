//! Mails and webhooks as a table, and what became of a wish to send them again.

use safelight_database::{ListedNotification, Resend};

use crate::terminal::printable_cut;

const HEAD: [&str; 7] = ["id", "job", "channel", "state", "tries", "recipient", "reason"];
/// How much of an address, and of a reason, is shown, in characters.
const LONGEST: usize = 80;

/// A line for each; only the head where there is none.
pub(crate) fn table(listed: &[ListedNotification]) -> String {
    let rows: Vec<[String; 7]> = listed.iter().map(row).collect();
    let width = |column: usize| {
        let widest = rows.iter().map(|row| row[column].chars().count()).max();
        widest.unwrap_or(0).max(HEAD[column].len())
    };
    let widths = [0, 1, 2, 3, 4, 5].map(width);
    let line = |row: [&str; 7]| {
        let [id, job, channel, state, tries, recipient, reason] = row;
        let [w0, w1, w2, w3, w4, w5] = widths;
        let line = format!(
            "{id:>w0$}  {job:>w1$}  {channel:w2$}  {state:w3$}  {tries:>w4$}  {recipient:w5$}  {reason}"
        );
        format!("{}\n", line.trim_end())
    };
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(HEAD)).chain(rows).collect()
}

/// What became of one that was to be sent again.
pub(crate) fn said(resend: Resend) -> &'static str {
    match resend {
        Resend::Again => "is sent again",
        Resend::Waits => "waits to be sent as it is",
        Resend::Disabled => "not sent: its address asked not to be called again; --enable lets it be called",
        Resend::Unknown => "there is no such number; safelight notify list shows those that are there",
    }
}

fn row(one: &ListedNotification) -> [String; 7] {
    let state = if one.disabled {
        format!("{}, closed", one.state.as_str())
    } else {
        one.state.as_str().to_owned()
    };
    [
        one.id.to_string(),
        one.batch_id.to_string(),
        one.channel.as_str().to_owned(),
        state,
        one.tries.to_string(),
        printable_cut(&one.recipient, LONGEST),
        printable_cut(one.reason.as_deref().unwrap_or_default(), LONGEST),
    ]
}

#[cfg(test)]
mod tests {
    use safelight_database::{Channel, NotificationState};

    use super::*;

    #[test]
    fn the_table_shows_whom_and_why_and_what_is_closed() {
        let mail = ListedNotification {
            id: 12,
            batch_id: 3,
            channel: Channel::Mail,
            recipient: "a@example.org".to_owned(),
            state: NotificationState::Sent,
            tries: 0,
            reason: None,
            created_at_ms: 1,
            ended_at_ms: Some(2),
            disabled: false,
        };
        let called = ListedNotification {
            id: 7,
            channel: Channel::Webhook,
            recipient: "https://b.example/".to_owned(),
            state: NotificationState::Failed,
            tries: 11,
            reason: Some("\x1b[2Jgone".to_owned()),
            disabled: true,
            ..mail.clone()
        };
        assert_eq!(
            table(&[mail, called]),
            "id  job  channel  state           tries  recipient           reason\n\
             12    3  mail     sent                0  a@example.org\n\
             \u{20}7    3  webhook  failed, closed     11  https://b.example/   [2Jgone\n"
        );
    }
}
