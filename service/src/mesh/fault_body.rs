//! Faults as JSON.

use std::time::Duration;

use safelight_mesh::{Fault, FaultKind, InjectedFaults};
use serde::{Deserialize, Serialize};
use tonic::Code;

/// The body of `PUT …/faults`. A field that is not known is refused: `endpont` would hit every endpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultsGiven {
    faults: Vec<FaultBody>,
    /// After how many seconds they end by themselves.
    for_seconds: Option<f64>,
}

/// The answer of `GET` and `PUT …/faults`.
#[derive(Debug, Serialize)]
pub(super) struct FaultsBody {
    faults: Vec<FaultBody>,
    /// After how many seconds they end by themselves; `null` where there are none.
    end_in_seconds: Option<f64>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FaultBody {
    /// An address, or `all`.
    #[serde(default = "all")]
    endpoint: String,
    percent: f64,
    kind: KindBody,
    /// For a delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    /// For an abort: `UNAVAILABLE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// For an abort, if it is to have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum KindBody {
    Delay,
    Abort,
    BlackHole,
}

/// By number, as the gRPC specification names them.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const LONGEST_MESSAGE: usize = 1_000;
const MOST_FAULTS: usize = 100;

fn all() -> String {
    safelight_mesh::EndpointHandle::ALL.to_owned()
}

// === impl FaultsGiven ===

impl FaultsGiven {
    /// The faults and how long they last, or what cannot be in words.
    pub(super) fn into_faults(self) -> Result<(Vec<Fault>, Duration), String> {
        if self.faults.len() > MOST_FAULTS {
            return Err(format!("at most {MOST_FAULTS} faults at once"));
        }
        let faults = self.faults.into_iter().map(FaultBody::into_fault);
        let faults = faults.collect::<Result<_, _>>()?;
        let time = match self.for_seconds {
            None => Fault::USUAL,
            Some(seconds) => Duration::try_from_secs_f64(seconds)
                .map_err(|_| format!("for_seconds is {seconds}; expected more than 0 and at most 3600"))?,
        };
        Ok((faults, time))
    }
}

// === impl FaultBody ===

impl FaultBody {
    fn into_fault(self) -> Result<Fault, String> {
        let kind = match (self.kind, self.delay_ms, self.code, self.message) {
            (KindBody::Delay, Some(millis), None, None) => FaultKind::Delay(Duration::from_millis(millis)),
            (KindBody::Delay, ..) => return Err("a delay has delay_ms, and no code or message".to_owned()),
            (KindBody::Abort, None, Some(code), message) => {
                let message = message.unwrap_or_else(|| "an injected fault".to_owned());
                if message.len() > LONGEST_MESSAGE {
                    return Err(format!("a message is of at most {LONGEST_MESSAGE} bytes"));
                }
                FaultKind::Abort(parse_code(&code)?, message)
            }
            (KindBody::Abort, ..) => {
                return Err("an abort has a code, a message if you like, and no delay_ms".to_owned());
            }
            (KindBody::BlackHole, None, None, None) => FaultKind::BlackHole,
            (KindBody::BlackHole, ..) => {
                return Err("a black_hole has neither delay_ms nor code nor message".to_owned());
            }
        };
        Ok(Fault {
            endpoint: Some(self.endpoint),
            percent: self.percent,
            kind,
        })
    }
}

fn parse_code(name: &str) -> Result<Code, String> {
    let number = CODES.iter().position(|code| *code == name);
    let number = number.and_then(|number| i32::try_from(number).ok());
    number.map(Code::from_i32).ok_or_else(|| {
        format!(
            "{name} is no code of gRPC; expected one of {}",
            CODES[1..].join(", ")
        )
    })
}

impl From<Fault> for FaultBody {
    fn from(fault: Fault) -> Self {
        let mut body = Self {
            endpoint: fault.endpoint.unwrap_or_else(all),
            percent: fault.percent,
            kind: KindBody::BlackHole,
            delay_ms: None,
            code: None,
            message: None,
        };
        match fault.kind {
            FaultKind::Delay(delay) => {
                body.kind = KindBody::Delay;
                body.delay_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
            }
            FaultKind::Abort(code, message) => {
                body.kind = KindBody::Abort;
                body.code = CODES.get(code as usize).map(|&name| name.to_owned());
                body.message = Some(message);
            }
            FaultKind::BlackHole => {}
        }
        body
    }
}

// === impl FaultsBody ===

impl From<InjectedFaults> for FaultsBody {
    fn from(injected: InjectedFaults) -> Self {
        Self {
            faults: injected.faults.into_iter().map(FaultBody::from).collect(),
            end_in_seconds: injected.end_in.map(|time| time.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn every_code_has_its_name() {
        for (number, name) in CODES.iter().enumerate() {
            let code = parse_code(name).unwrap();
            assert_eq!(code as usize, number);
            // Tonic writes them in its own way, and in the same order.
            let ours = name.replace('_', "").to_lowercase();
            assert_eq!(
                format!("{code:?}").to_lowercase(),
                if number == 0 { "ok".to_owned() } else { ours }
            );
        }
        assert!(parse_code("Unavailable").unwrap_err().contains("UNAVAILABLE"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let kinds = [
            FaultKind::Delay(Duration::from_millis(250)),
            FaultKind::Abort(Code::DataLoss, "gone".to_owned()),
            FaultKind::BlackHole,
        ];
        for kind in kinds {
            let fault = Fault {
                endpoint: Some("10.0.0.1:50051".to_owned()),
                percent: 12.5,
                kind,
            };
            let json = serde_json::to_string(&FaultBody::from(fault.clone())).unwrap();
            let read: FaultBody = serde_json::from_str(&json).unwrap();
            assert_eq!(read.into_fault().unwrap(), fault, "{json}");
        }
    }
}
