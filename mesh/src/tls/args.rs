//! TLS as command line flags and environment variables.

use super::client::ClientTls;
use super::error::TlsError;
use super::files::TlsFiles;
use super::identity::PeerIdentity;
use super::server::ServerTls;

/// Mutual TLS of a service, to flatten into its arguments. Off unless the CA, the certificate and the key are given;
/// an empty value is as good as none.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Mesh TLS")]
pub struct TlsArgs {
    /// The CA whose peers are trusted, a PEM file that is read again when it changes
    #[arg(long = "mesh-tls-ca", env = "MESH_TLS_CA", value_name = "FILE")]
    pub ca: Option<String>,
    /// Our certificate, a PEM file that is read again when it changes
    #[arg(long = "mesh-tls-cert", env = "MESH_TLS_CERT", value_name = "FILE")]
    pub certificate: Option<String>,
    /// The key of our certificate, a PEM file that is read again when it changes
    #[arg(
        long = "mesh-tls-key",
        env = "MESH_TLS_KEY",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub key: Option<String>,
    /// Who the servers have to be that we call: a DNS name or a spiffe:// ID for all, or TARGET=IDENTITY for the one
    /// target; by default the host of the target's address
    #[arg(
        long = "mesh-tls-peer",
        env = "MESH_TLS_PEER",
        value_name = "IDENTITY",
        value_delimiter = ','
    )]
    pub peers: Vec<String>,
    /// Who the clients have to be that call us: DNS names or spiffe:// IDs; by default anybody of the CA
    #[arg(
        long = "mesh-tls-clients",
        env = "MESH_TLS_CLIENTS",
        value_name = "IDENTITY",
        value_delimiter = ','
    )]
    pub clients: Vec<String>,
}

// === impl TlsArgs ===

impl TlsArgs {
    /// The files, if TLS is on.
    ///
    /// # Errors
    /// [`TlsError::HalfConfigured`], which names what is missing.
    pub fn files(&self) -> Result<Option<TlsFiles>, TlsError> {
        let (ca, certificate, key) = (given(&self.ca), given(&self.certificate), given(&self.key));
        if let (Some(ca), Some(certificate), Some(key)) = (ca, certificate, key) {
            return Ok(Some(TlsFiles {
                ca: ca.into(),
                certificate: certificate.into(),
                key: key.into(),
            }));
        }
        let needed = [
            ("MESH_TLS_CA", ca.is_some()),
            ("MESH_TLS_CERT", certificate.is_some()),
            ("MESH_TLS_KEY", key.is_some()),
        ];
        let useless = [
            ("MESH_TLS_PEER", identities(&self.peers).next().is_some()),
            ("MESH_TLS_CLIENTS", identities(&self.clients).next().is_some()),
        ];
        let given = names(
            needed
                .into_iter()
                .chain(useless)
                .filter(|(_, is_given)| *is_given),
        );
        if given.is_empty() {
            return Ok(None);
        }
        Err(TlsError::HalfConfigured {
            missing: names(needed.into_iter().filter(|(_, is_given)| !is_given)),
            given,
        })
    }

    /// TLS for calls to a target, if it is on. `host` is the host of the target's address.
    ///
    /// # Errors
    /// As [`TlsArgs::files`] and [`ClientTls::open`].
    pub fn client(&self, target: &str, host: &str) -> Result<Option<ClientTls>, TlsError> {
        match self.files()? {
            Some(files) => Ok(Some(ClientTls::open(files, self.peer_of(target, host)?)?)),
            None => Ok(None),
        }
    }

    /// TLS for a server, if it is on.
    ///
    /// # Errors
    /// As [`TlsArgs::files`] and [`ServerTls::open`].
    pub fn server(&self) -> Result<Option<ServerTls>, TlsError> {
        let Some(files) = self.files()? else {
            return Ok(None);
        };
        let clients = identities(&self.clients)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        Ok(Some(ServerTls::open(files, clients)?))
    }

    /// Who the servers of a target have to be: what was given for it, else what was given for all, else its host.
    ///
    /// # Errors
    /// [`TlsError::Identity`].
    pub fn peer_of(&self, target: &str, host: &str) -> Result<PeerIdentity, TlsError> {
        let mut of_all = None;
        for entry in identities(&self.peers) {
            match entry.split_once('=') {
                Some((name, identity)) if name == target => return identity.parse(),
                Some(_) => {}
                None => of_all = Some(entry),
            }
        }
        of_all.unwrap_or(host).parse()
    }
}

fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

fn identities(values: &[String]) -> impl Iterator<Item = &str> {
    values
        .iter()
        .map(|value| value.trim())
        .filter(|value| !value.is_empty())
}

fn names(variables: impl Iterator<Item = (&'static str, bool)>) -> String {
    let names: Vec<&str> = variables.map(|(name, _)| name).collect();
    names.join(" and ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        tls: TlsArgs,
    }

    fn parse(line: &[&str]) -> TlsArgs {
        let line = std::iter::once("program").chain(line.iter().copied());
        Program::try_parse_from(line).unwrap().tls
    }

    #[test]
    fn without_arguments_tls_is_off() {
        assert_eq!(parse(&[]).files().unwrap(), None);
        assert!(parse(&[]).client("recognizer", "recognizer").unwrap().is_none());
        assert!(parse(&[]).server().unwrap().is_none());
    }

    #[test]
    fn an_empty_value_is_as_good_as_none() {
        let empty = [
            "--mesh-tls-ca=",
            "--mesh-tls-cert=",
            "--mesh-tls-key=",
            "--mesh-tls-peer=",
            "--mesh-tls-clients=",
        ];
        assert_eq!(parse(&empty).files().unwrap(), None);
    }

    #[test]
    fn with_all_three_files_tls_is_on() {
        let args = parse(&[
            "--mesh-tls-ca=/ca",
            "--mesh-tls-cert=/cert",
            "--mesh-tls-key=/key",
        ]);
        assert_eq!(
            args.files().unwrap(),
            Some(TlsFiles {
                ca: "/ca".into(),
                certificate: "/cert".into(),
                key: "/key".into(),
            })
        );
    }

    #[test]
    fn half_a_configuration_is_refused_with_what_is_missing() {
        for (line, told) in [
            (
                &["--mesh-tls-ca=/ca", "--mesh-tls-cert=/cert"][..],
                "TLS is half configured: missing MESH_TLS_KEY, given MESH_TLS_CA and MESH_TLS_CERT",
            ),
            (
                &["--mesh-tls-key=/key"],
                "missing MESH_TLS_CA and MESH_TLS_CERT, given MESH_TLS_KEY",
            ),
            (
                &["--mesh-tls-peer=recognizer"],
                "missing MESH_TLS_CA and MESH_TLS_CERT and MESH_TLS_KEY, given MESH_TLS_PEER",
            ),
            (
                &["--mesh-tls-clients=spiffe://example.org/a"],
                "given MESH_TLS_CLIENTS",
            ),
        ] {
            let refused = parse(line).files().unwrap_err().to_string();
            assert!(refused.contains(told), "{line:?}: {refused}");
        }
    }

    #[test]
    fn a_peer_is_that_of_the_target_or_of_all_or_the_host() {
        let line = "--mesh-tls-peer=spiffe://example.org/any,recognizer=spiffe://example.org/recognizer";
        let named = |args: &TlsArgs, target: &str| args.peer_of(target, "host").unwrap().to_string();
        let args = parse(&[line]);
        assert_eq!(named(&args, "recognizer"), "spiffe://example.org/recognizer");
        assert_eq!(named(&args, "processor"), "spiffe://example.org/any");
        let args = parse(&["--mesh-tls-peer=recognizer=spiffe://example.org/recognizer"]);
        assert_eq!(named(&args, "processor"), "host");
        assert!(args.peer_of("processor", "no host").is_err());
    }
}
