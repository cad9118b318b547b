//! The scenarios.

use std::time::Duration;

use crate::scenario::{Scenario, Step, Turn};
use crate::server::Manner;
use crate::strategy::METHODS;

const RATE: f64 = 150.0;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        black_hole(),
        drastic_slowdown(),
        fast_failures_then_revert(),
        one_big_spike(),
        one_method_dies(),
        uncommon_flakes(),
        rolling_restart(),
    ]
}

fn black_hole() -> Scenario {
    Scenario {
        name: "black_hole",
        story: "From 5 s to 20 s the network swallows all that goes to and from the first server. Its \
                connections stay open.",
        lesson: "Ours loses what was under way when the network fell silent, and hardly a call more: the longer \
                calls wait for an answer, the more the server repels others, before any timeout; the health \
                check then shuts it out. A hedge saves even these. Without that, every third call goes into \
                the hole and waits for its whole 2 s. tower's load learns from the first timeouts as well, but \
                remembers them for so long that the server, well again at 20 s, has hardly a call by 30 s.",
        length: seconds(30.0),
        rate: RATE,
        spike: None,
        script: vec![step(5.0, 0, Turn::Swallow), step(20.0, 0, Turn::Deliver)],
    }
}

fn drastic_slowdown() -> Scenario {
    Scenario {
        name: "drastic_slowdown",
        story: "From 5 s to 20 s everything takes 25 times as long on the first server, so that it can do 8 \
                calls a second.",
        lesson: "Nothing breaks, so nothing but the load counts: ours and tower's go around the server, \
                `balance_list` and round robin let 100 calls and more wait there. Ours loses to tower's by a \
                millisecond: it tries the slow server again every second or so, and that is how it has its \
                full share back from 21 s on, where tower's is still waiting. A hedge makes these trials \
                cheaper for their callers, but there are more of them, for what is given up after 50 ms shows \
                only that it took longer than that: p99 is worse by it than without.",
        length: seconds(30.0),
        rate: RATE,
        spike: None,
        script: vec![
            step(5.0, 0, Turn::Behave(Manner::Slow(25.0))),
            step(20.0, 0, Turn::Behave(Manner::Well)),
        ],
    }
}

fn fast_failures_then_revert() -> Scenario {
    Scenario {
        name: "fast_failures_then_revert",
        story: "From 5 s to 20 s the first server answers every call `UNAVAILABLE` at once, while its health \
                check passes.",
        lesson: "Failing is quick, and tower's load takes quick for good: it sends the failing server *more*. \
                Ours pays five calls for opening the circuit, and one for each break after that, which are \
                twice as long each time; callers of idempotent methods see none of it. The price of longer \
                breaks: the server that is well again waits for the end of the last one, here until 21 s to 24 \
                s. A health check that had failed with the calls and passed again would have ended it at once.",
        length: seconds(30.0),
        rate: RATE,
        spike: None,
        script: vec![
            step(5.0, 0, Turn::Behave(Manner::Flaky(1.0))),
            step(20.0, 0, Turn::Behave(Manner::Well)),
        ],
    }
}

fn one_big_spike() -> Scenario {
    Scenario {
        name: "one_big_spike",
        story: "50 calls a second, and at 5 s 600 calls more in one moment. Nothing is broken.",
        lesson: "Nobody has an answer while the 600 are spread, so that the best guess is that all servers are \
                alike, which `balance_list` and round robin make always. Round robin spreads them exactly and is \
                the best here. Ours, and tower's, weigh what the last few calls took as well, which says little \
                about the next ones: it is the other side of going around slow servers.",
        length: seconds(15.0),
        rate: RATE / 3.0,
        spike: Some((seconds(5.0), 600)),
        script: Vec::new(),
    }
}

fn one_method_dies() -> Scenario {
    Scenario {
        name: "one_method_dies",
        story: "From 5 s to 20 s the first server answers one of the two methods with `INTERNAL` at once.",
        lesson: "A circuit is an endpoint's, and the method that works closes it again. What helps in between \
                is that a failure never makes a server look quick. `INTERNAL` is not repeated, since the call \
                may have done its work, so that idempotence does not help; what differs between the rows of \
                ours is which method the trials happened to call.",
        length: seconds(30.0),
        rate: RATE,
        spike: None,
        script: vec![
            step(5.0, 0, Turn::Behave(Manner::Without(METHODS[1]))),
            step(20.0, 0, Turn::Behave(Manner::Well)),
        ],
    }
}

fn uncommon_flakes() -> Scenario {
    let script = (0..3).map(|server| step(0.0, server, Turn::Behave(Manner::Flaky(0.01))));
    Scenario {
        name: "uncommon_flakes",
        story: "All the time, every server answers one call in a hundred `UNAVAILABLE` at once.",
        lesson: "No server is better than another, and nobody should shut one out; ours does not. Only \
                repeating helps, for which the methods must be known to be idempotent.",
        length: seconds(30.0),
        rate: RATE,
        spike: None,
        script: script.collect(),
    }
}

fn rolling_restart() -> Scenario {
    let script = (0..3).flat_map(|server| {
        let stop = 5.0 + 6.0 * server as f64;
        [
            step(stop, server, Turn::Stop),
            step(stop + 3.0, server, Turn::Start),
        ]
    });
    Scenario {
        name: "rolling_restart",
        story: "One after the other, at 5 s, 11 s and 17 s, each server ends in good order (GOAWAY, and what \
                runs is finished) and is back 3 s later.",
        lesson: "`balance_list` and round robin lose a third of the calls for as long as a server is away. To \
                tower's load a refused connection even looks good, since it takes no time. Ours picks among \
                live connections only, and sends what GOAWAY turned away to another server.",
        length: seconds(30.0),
        rate: RATE,
        spike: None,
        script: script.collect(),
    }
}

fn step(at: f64, server: usize, turn: Turn) -> Step {
    let at = seconds(at);
    Step { at, server, turn }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
