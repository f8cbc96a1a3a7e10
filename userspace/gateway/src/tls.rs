//! TLS that ends here: which certificate for which name, and how handshakes fail.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert, ServerConfig,
};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use windrose_policy::model::{Hostname, Model, ObjectName, TlsSecret};
use windrose_policy::routing::{Bind, ConditionType, Reason, Statuses};

use crate::conditions;

/// What is offered by ALPN, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];

/// HTTP/2 (RFC 9113, section 3.2).
pub(crate) const HTTP2: &[u8] = b"h2";

/// Why a handshake failed. Nothing of it is the client's to choose freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandshakeFault {
    /// It took too long.
    Timeout,
    /// The client ended the connection.
    Ended,
    /// What came is not TLS: HTTP in clear text, for one.
    NotTls,
    /// No certificate is for the name that the client asks for.
    NoCertificate,
    /// Client and gateway have no version, cipher or protocol in common.
    Incompatible,
    /// The client refused: our certificate, for one.
    Refused,
    /// Something else.
    Other,
}

impl HandshakeFault {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Timeout,
        Self::Ended,
        Self::NotTls,
        Self::NoCertificate,
        Self::Incompatible,
        Self::Refused,
        Self::Other,
    ];

    /// A word for logs and counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Ended => "ended",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::Incompatible => "incompatible",
            Self::Refused => "refused",
            Self::Other => "other",
        }
    }

    fn of(error: &io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            None => Self::Ended,
            Some(rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. }) => {
                Self::NotTls
            }
            // What rustls says when the resolver has none.
            Some(rustls::Error::General(_)) => Self::NoCertificate,
            Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
                Self::Incompatible
            }
            Some(rustls::Error::AlertReceived(_)) => Self::Refused,
            Some(_) => Self::Other,
        }
    }
}

/// Keys of session tickets: one set for all workers, listeners and snapshots, changed every six hours.
pub(crate) struct Tickets(Option<Arc<dyn ProducesTickets>>);

impl Tickets {
    /// Without randomness there are none, and clients begin anew.
    pub(crate) fn new() -> Self {
        let tickets = rustls::crypto::ring::Ticketer::new();
        if let Err(error) = &tickets {
            tracing::warn!(%error, "there are no TLS session tickets");
        }
        Self(tickets.ok())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tickets").finish_non_exhaustive()
    }
}

/// How TLS is spoken at a bind.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Option<Arc<ServerConfig>>,
    faults: Vec<Fault>,
}

/// A certificate that cannot be used.
#[derive(Debug)]
struct Fault {
    gateway: ObjectName,
    listener: String,
    message: String,
    /// The listener has no other.
    is_last: bool,
}

impl Tls {
    /// Reads the certificates of a bind. One that cannot be used does not keep the others from being.
    pub(crate) fn new(model: &Model, bind: &Bind, tickets: &Tickets) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut faults = Vec::new();
        let mut names = Vec::new();
        for listener in &bind.listeners {
            let mut certificates = Vec::new();
            let before = faults.len();
            for name in &listener.certificates {
                let Some(secret) = model.secrets.get(name) else { continue };
                match certificate(secret, &provider) {
                    Ok(certificate) => certificates.push(certificate),
                    Err(why) => faults.push(Fault {
                        gateway: listener.gateway.clone(),
                        listener: listener.name.clone(),
                        message: format!("{}: {}/{} {why}", secret.place, name.namespace, name.name),
                        is_last: false,
                    }),
                }
            }
            if certificates.is_empty() {
                for fault in &mut faults[before..] {
                    fault.is_last = true;
                }
            } else {
                names.push((listener.hostname.clone(), certificates));
            }
        }
        // The most specific first.
        names.sort_by_key(|(hostname, _)| std::cmp::Reverse(hostname.as_ref().map(Hostname::specificity)));
        let resolver = Resolver(names);
        let config = if resolver.0.is_empty() { None } else { config(provider, resolver, tickets) };
        Self { config, faults }
    }

    /// Tells of certificates that cannot be used.
    pub(crate) fn tell(&self, statuses: &mut Statuses) {
        for Fault { gateway, listener, message, is_last } in &self.faults {
            let which = (gateway, listener.as_str());
            let why = (Reason::InvalidCertificateRef, message.clone());
            conditions::refuse(statuses, which, ConditionType::ResolvedRefs, why);
            if *is_last {
                let why = (Reason::Invalid, "it has no certificate that can be used".to_owned());
                conditions::refuse(statuses, which, ConditionType::Programmed, why);
            }
        }
    }

    /// What handshakes begin with; `None`: there is no certificate at all.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.config.clone().map(TlsAcceptor::from)
    }
}

fn config(provider: Arc<CryptoProvider>, resolver: Resolver, tickets: &Tickets) -> Option<Arc<ServerConfig>> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let builder = match ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions) {
        Ok(builder) => builder,
        Err(error) => {
            tracing::error!(%error, "TLS cannot be set up");
            return None;
        }
    };
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    // Tickets are the clients' to keep: no table here that somebody could fill.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if let Some(tickets) = &tickets.0 {
        config.ticketer = tickets.clone();
    }
    Some(Arc::new(config))
}

fn certificate(secret: &TlsSecret, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&secret.certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("has a certificate that is no PEM: {error}"))?;
    // Nothing of the key is said but what is wrong with it.
    let key = PrivateKeyDer::from_pem_slice(&secret.key)
        .map_err(|_| "has a private key that is no PEM of PKCS#8, PKCS#1 or SEC1".to_owned())?;
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "has a private key of another certificate".to_owned(),
        error => format!("has a certificate or key that cannot be used: {error}"),
    })
}

/// Certificates by the listeners' hostnames, the most specific first.
#[derive(Debug)]
struct Resolver(Vec<(Option<Hostname>, Vec<Arc<CertifiedKey>>)>);

impl ResolvesServerCert for Resolver {
    /// The listener is that of the name; of its certificates the first that is for the name and of an
    /// algorithm that the client takes, else the first that it takes. A client that names nobody gets
    /// the listener without hostname, if there is one.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let is_for = |hostname: &Option<Hostname>| match (hostname, &name) {
            (None, _) => true,
            (Some(hostname), Some(name)) => hostname.matches(name),
            (Some(_), None) => false,
        };
        let (_, certificates) = self.0.iter().find(|(hostname, _)| is_for(hostname))?;
        let schemes = hello.signature_schemes();
        let mut fitting =
            certificates.iter().filter(|certificate| certificate.key.choose_scheme(schemes).is_some());
        let first = fitting.next()?;
        let is_named =
            |certificate: &CertifiedKey| name.as_ref().is_some_and(|name| names(certificate, name));
        if certificates.len() == 1 || is_named(first) {
            return Some(first.clone());
        }
        Some(fitting.find(|certificate| is_named(certificate)).unwrap_or(first).clone())
    }
}

/// Whether a certificate is for a name.
fn names(certificate: &CertifiedKey, name: &str) -> bool {
    let parsed = certificate.end_entity_cert().ok().and_then(|der| ParsedCertificate::try_from(der).ok());
    let name = ServerName::try_from(name).ok();
    parsed.zip(name).is_some_and(|(parsed, name)| rustls::client::verify_server_name(&parsed, &name).is_ok())
}

/// Speaks the handshake.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    acceptor: TlsAcceptor,
    stream: S,
    patience: Duration,
) -> Result<TlsStream<S>, HandshakeFault> {
    match tokio::time::timeout(patience, acceptor.accept(stream)).await {
        Err(_) => Err(HandshakeFault::Timeout),
        Ok(Err(error)) => Err(HandshakeFault::of(&error)),
        Ok(Ok(stream)) => Ok(stream),
    }
}
