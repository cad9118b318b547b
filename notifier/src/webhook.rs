//! Calling an address, once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::address_guard::AddressGuard;

/// How long a call may take, from the look-up of the name to the answer.
const LIMIT: Duration = Duration::from_secs(20);
/// The longest time that an answer may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What calls addresses. They are looked up once, checked, and called at just what was checked; redirects are not
/// followed.
pub(crate) struct Caller {
    guard: AddressGuard,
    /// Whether `http://` may be called, where everybody on the way can read along.
    plain: bool,
    tls: TlsConnector,
}

/// What is sent.
pub(crate) struct Call<'a> {
    pub(crate) url: &'a str,
    pub(crate) id: &'a str,
    pub(crate) timestamp: u64,
    pub(crate) signature: &'a str,
    pub(crate) body: Vec<u8>,
}

/// Why a call was not answered well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// It will never be called, for this reason.
    Refused(String),
    /// It asked not to be called again.
    Gone,
    /// Not this time.
    Later {
        why: String,
        /// How long it asked us to wait.
        wait: Option<Duration>,
    },
}

// === impl Caller ===

impl Caller {
    /// One that trusts the certificates that the system trusts, and those in `authority` (PEM).
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub(crate) fn new(guard: AddressGuard, plain: bool, authority: Option<&[u8]>) -> Result<Self, String> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;

        let mut roots = RootCertStore::empty();
        let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for certificate in authority
            .map(CertificateDer::pem_slice_iter)
            .into_iter()
            .flatten()
        {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            guard,
            plain,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Calls. `Ok` says that it was taken.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<(), NotTaken> {
        let place = self.place(call.url)?;
        match tokio::time::timeout(LIMIT, self.exchange(&place, call)).await {
            Ok(Ok(answer)) => judge(&answer, SystemTime::now()),
            Ok(Err(not_taken)) => Err(not_taken),
            Err(_) => Err(later(format!("no answer within {} s", LIMIT.as_secs()))),
        }
    }

    fn place(&self, url: &str) -> Result<Place, NotTaken> {
        let refused = |why: &str| NotTaken::Refused(format!("the address cannot be called: {why}"));
        let url = Url::parse(url).map_err(|error| refused(&error.to_string()))?;
        let secure = match url.scheme() {
            "https" => true,
            "http" if self.plain => false,
            "http" => return Err(refused("it is not https")),
            other => return Err(refused(&format!("{other} is no scheme that can be called"))),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it holds a user or a password"));
        }
        let host = url.host().ok_or_else(|| refused("it names no host"))?.to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        Ok(Place {
            authority: match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_string(),
            },
            path: match url.query() {
                Some(query) => format!("{}?{query}", url.path()),
                None => url.path().to_owned(),
            },
            host,
            port,
            secure,
        })
    }

    async fn exchange(&self, place: &Place, call: Call<'_>) -> Result<Response<Incoming>, NotTaken> {
        let address = self.find(place).await?;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| later(format!("cannot connect: {error}")))?;
        let request = Request::post(&place.path)
            .header(header::HOST, &place.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("Safelight/", env!("CARGO_PKG_VERSION")),
            )
            .header("webhook-id", call.id)
            .header("webhook-timestamp", call.timestamp)
            .header("webhook-signature", call.signature)
            .body(Full::new(Bytes::from(call.body)))
            .map_err(|error| NotTaken::Refused(format!("the address cannot be called: {error}")))?;
        if !place.secure {
            return send(stream, request).await;
        }
        let name = match &place.host {
            Host::Domain(name) => ServerName::try_from(name.clone())
                .map_err(|error| NotTaken::Refused(format!("the address cannot be called: {error}")))?,
            Host::Ipv4(address) => ServerName::IpAddress(IpAddr::V4(*address).into()),
            Host::Ipv6(address) => ServerName::IpAddress(IpAddr::V6(*address).into()),
        };
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(|error| later(insecure(&error)))?;
        send(stream, request).await
    }

    /// The one look-up: what it gives and is permitted is what is connected to.
    async fn find(&self, place: &Place) -> Result<SocketAddr, NotTaken> {
        let found: Vec<SocketAddr> = match &place.host {
            Host::Ipv4(address) => vec![SocketAddr::from((*address, place.port))],
            Host::Ipv6(address) => vec![SocketAddr::from((*address, place.port))],
            Host::Domain(name) => tokio::net::lookup_host((name.as_str(), place.port))
                .await
                .map_err(|error| later(format!("cannot look up {name}: {error}")))?
                .collect(),
        };
        let permitted = found.iter().find(|address| self.guard.permits(address.ip()));
        match (permitted, found.first()) {
            (Some(address), _) => Ok(*address),
            (None, Some(_)) => Err(NotTaken::Refused(format!(
                "the address cannot be called: {} lies in a private network",
                place.host
            ))),
            (None, None) => Err(later(format!("{} has no address", place.host))),
        }
    }
}

/// Where a URL leads.
struct Place {
    host: Host<String>,
    port: u16,
    secure: bool,
    authority: String,
    path: String,
}

fn later(why: String) -> NotTaken {
    NotTaken::Later { why, wait: None }
}

/// Why there is no secure connection, in words of what can be done about it.
fn insecure(error: &std::io::Error) -> String {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer,
    };
    let inner = error.get_ref().and_then(|error| error.downcast_ref());
    let why = match inner {
        Some(rustls::Error::InvalidCertificate(UnknownIssuer)) => {
            "its certificate is signed by nobody that is trusted".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
            "its certificate is for another host".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. })) => {
            "the time of its certificate is over".to_owned()
        }
        _ => error.to_string(),
    };
    format!("no secure connection: {why}")
}

/// Sends a request and waits for the head of its answer. The rest of the answer is not read: nothing depends on it.
async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, NotTaken>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| later(format!("the connection broke: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        biased;
        answer = &mut answer => return answer.map_err(broken),
        _ = &mut connection => {}
    }
    // The connection is over, and has left what came before its end.
    answer.await.map_err(broken)
}

/// What an answer means.
fn judge<B>(answer: &Response<B>, now: SystemTime) -> Result<(), NotTaken> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    if status == StatusCode::GONE {
        return Err(NotTaken::Gone);
    }
    let why = if status.is_redirection() {
        format!("it answers {status}, and redirects are not followed")
    } else {
        format!("it answers {status}")
    };
    let asked = match status.as_u16() {
        429 | 502 | 503 | 504 => answer.headers().get(header::RETRY_AFTER),
        _ => None,
    };
    let wait = asked.and_then(|value| wait_of(value.to_str().ok()?, now));
    Err(NotTaken::Later { why, wait })
}

/// What `Retry-After` asks for: seconds or a date (RFC 9110, section 10.2.3), at most a day.
fn wait_of(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Result<(), NotTaken> {
        let mut builder = Response::builder().status(status);
        if let Some(value) = retry_after {
            builder = builder.header(header::RETRY_AFTER, value);
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        judge(&builder.body(()).unwrap(), now)
    }

    fn wait(status: u16, retry_after: &str) -> Option<Duration> {
        match answer(status, Some(retry_after)) {
            Err(NotTaken::Later { wait, .. }) => wait,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_well_gone_or_not_now() {
        assert_eq!(answer(200, None), Ok(()));
        assert_eq!(answer(204, None), Ok(()));
        assert_eq!(answer(410, None), Err(NotTaken::Gone));
        for status in [301, 307, 400, 404, 429, 500, 503] {
            assert!(
                matches!(answer(status, None), Err(NotTaken::Later { wait: None, .. })),
                "{status}"
            );
        }
    }

    #[test]
    fn an_answer_says_how_long_to_wait_in_seconds_or_by_a_date() {
        assert_eq!(wait(503, "120"), Some(Duration::from_secs(120)));
        // The moment of the specification's example is ten seconds later than `now`.
        assert_eq!(
            wait(429, "Sun, 06 Nov 1994 08:49:47 GMT"),
            Some(Duration::from_secs(10))
        );
        assert_eq!(wait(429, "Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait(503, "99999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait(503, "soon"), None);
        assert_eq!(wait(500, "120"), None);
    }

    #[tokio::test]
    async fn what_must_not_be_called_is_refused_before_anybody_is_asked() {
        let caller = Caller::new(AddressGuard::default(), false, None).unwrap();
        for (url, why) in [
            ("http://hooks.example/", "it is not https"),
            ("ftp://hooks.example/", "ftp is no scheme"),
            ("https://user:password@hooks.example/", "it holds a user"),
            ("nowhere", "relative URL"),
            ("https://127.0.0.1/", "private network"),
            ("https://0x7f.1/", "private network"),
            ("https://2130706433/", "private network"),
            ("https://[::ffff:10.0.0.1]/", "private network"),
            ("https://localhost/", "private network"),
            ("https://169.254.169.254/latest/meta-data", "private network"),
        ] {
            let call = Call {
                url,
                id: "msg_1",
                timestamp: 1,
                signature: "v1,",
                body: Vec::new(),
            };
            match caller.call(call).await {
                Err(NotTaken::Refused(told)) => assert!(told.contains(why), "{url}: {told}"),
                other => panic!("{url}: {other:?}"),
            }
        }
    }
}
