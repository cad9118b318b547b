use std::collections::HashSet;
use std::time::Duration;

use crate::back_end::{LONG, eventually, on_both_back_ends};

on_both_back_ends! {
    async fn messages_come_oldest_first_and_only_once_while_the_lease_runs(back_end: &BackEnd) {
        let accepted = back_end.accept_all((0..5).map(|number| format!("/{number}.jpg"))).await;
        let outbox = back_end.database.outbox();
        let first = outbox.claim(3, LONG).await.unwrap();
        let rest = outbox.claim(10, LONG).await.unwrap();
        let bodies: Vec<_> = first.iter().chain(&rest).map(|entry| entry.body.clone()).collect();
        let ids: Vec<_> = accepted.iter().map(|image| image.id.to_le_bytes().to_vec()).collect();
        assert_eq!((first.len(), bodies), (3, ids));
        assert_eq!(outbox.claim(10, LONG).await.unwrap(), []);
        assert_eq!(outbox.pending().await.unwrap(), 5);
    }

    async fn what_was_published_is_gone_and_may_be_marked_again(back_end: &BackEnd) {
        back_end.accept_all(["/a.jpg", "/b.jpg", "/c.jpg"]).await;
        let outbox = back_end.database.outbox();
        let taken: Vec<_> = outbox.claim(2, LONG).await.unwrap().iter().map(|entry| entry.id).collect();
        outbox.mark_published(&taken).await.unwrap();
        outbox.mark_published(&taken).await.unwrap();
        outbox.mark_published(&[]).await.unwrap();
        assert_eq!(outbox.pending().await.unwrap(), 1);
        assert_eq!(outbox.claim(10, LONG).await.unwrap().len(), 1);
    }

    async fn what_a_dead_relay_had_taken_comes_again(back_end: &BackEnd) {
        back_end.accept("/a.jpg").await;
        let outbox = back_end.database.outbox();
        let first = outbox.claim(10, Duration::from_millis(50)).await.unwrap();
        let again = eventually("the lease runs out", async || {
            Some(outbox.claim(10, LONG).await.unwrap()).filter(|entries| !entries.is_empty())
        });
        assert_eq!(again.await, first);
    }

    async fn relays_at_once_share_the_messages(back_end: &BackEnd) {
        back_end.accept_all((0..200).map(|number| format!("/{number}.jpg"))).await;
        let relays: Vec<_> = (0..4)
            .map(|_| {
                let outbox = back_end.database.outbox();
                tokio::spawn(async move {
                    let mut taken = Vec::new();
                    for _ in 0..5 {
                        let entries = outbox.claim(10, LONG).await.unwrap();
                        assert_eq!(entries.len(), 10, "a relay went without");
                        let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
                        outbox.mark_published(&ids).await.unwrap();
                        taken.extend(ids);
                    }
                    taken
                })
            })
            .collect();
        let mut taken = HashSet::new();
        for relay in relays {
            for id in relay.await.unwrap() {
                assert!(taken.insert(id), "message {id} was taken twice");
            }
        }
        assert_eq!((taken.len(), back_end.database.outbox().pending().await.unwrap()), (200, 0));
    }
}
