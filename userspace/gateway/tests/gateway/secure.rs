//! Sentences about TLS: certificates by name, reloads, sessions, failures.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use windrose_gateway::{HandshakeFault, Limits};

use crate::door::{Door, service, until_true};
use crate::world::{route, upstream};

pub(crate) const TLS: u16 = 18_443;

const CA: &str = include_str!("certificates/ca.crt");

/// A Secret of these files.
macro_rules! secret {
    ($name:literal, $file:literal) => {
        secret_of(
            $name,
            include_str!(concat!("certificates/", $file, ".crt")),
            include_str!(concat!("certificates/", $file, ".key")),
        )
    };
}

fn secret_of(name: &str, certificate: &str, key: &str) -> String {
    let data = serde_json::json!({"tls.crt": certificate, "tls.key": key});
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\nstringData: {data}\n"
    )
}

/// An upstream, and listeners of HTTPS: one by name, one by wildcard.
pub(crate) fn shop(door: &Door) -> String {
    let (at, _) = door.runtime.block_on(upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let listener = |name: &str, hostname: &str, certificate: &str| {
        format!(
            "{{name: {name}, port: {TLS}, protocol: HTTPS, hostname: '{hostname}', tls: {{certificateRefs: \
             [{{name: {certificate}}}]}}}}"
        )
    };
    let listeners = [
        listener("shop", "shop.example", "shop"),
        listener("others", "*.shop.example", "wildcard"),
        listener("missing", "missing.example", "missing"),
    ];
    door.listeners(&listeners.join(", "))
        + &service("a", at)
        + &route("rules: [{backendRefs: [{name: a, port: 80}]}]")
}

pub(crate) fn secrets() -> String {
    secret!("shop", "shop") + &secret!("wildcard", "wildcard")
}

pub(crate) fn client(versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) async fn connect(
    config: &Arc<ClientConfig>,
    at: SocketAddr,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(at).await?;
    TlsConnector::from(config.clone()).connect(ServerName::try_from(name).unwrap(), stream).await
}

async fn get(stream: &mut TlsStream<TcpStream>, host: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The certificate's own name, as far as the tests tell them apart.
fn shown(stream: &TlsStream<TcpStream>) -> &'static str {
    let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
    let is = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap() == *shown;
    if is(include_str!("certificates/shop.crt")) {
        "shop"
    } else if is(include_str!("certificates/renewed.crt")) {
        "renewed"
    } else if is(include_str!("certificates/wildcard.crt")) {
        "wildcard"
    } else {
        panic!("a certificate of nobody")
    }
}

#[test]
fn the_certificate_is_that_of_the_name_in_both_versions() {
    let door = Door::open();
    door.publish(&(shop(&door) + &secrets()));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = client(&[version], &["http/1.1"]);
        door.runtime.block_on(async {
            for (name, expected) in [("shop.example", "shop"), ("a.shop.example", "wildcard")] {
                let mut stream = connect(&config, door.at(TLS), name).await.unwrap();
                assert_eq!(shown(&stream), expected);
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                assert!(get(&mut stream, name).await.ends_with("ok"));
            }
        });
    }
    assert_eq!(door.gateway.total(|counters| counters.handshakes.load(Ordering::Relaxed)), 4);
}

#[test]
fn a_certificate_that_cannot_be_used_is_its_listeners_condition_alone() {
    let door = Door::open();
    // The key is of another certificate.
    let wrong =
        secret_of("shop", include_str!("certificates/shop.crt"), include_str!("certificates/wildcard.key"));
    door.publish(&(shop(&door) + &wrong + &secret!("wildcard", "wildcard")));
    for listener in ["shop", "missing"] {
        let resolved = door.condition(Some(listener), "ResolvedRefs");
        assert!(!resolved.is_true && resolved.reason.name() == "InvalidCertificateRef", "{resolved:?}");
        assert!(!door.condition(Some(listener), "Programmed").is_true);
    }
    let resolved = door.condition(Some("shop"), "ResolvedRefs").message;
    assert!(resolved.starts_with("shop.yaml:") && resolved.contains("private key of another"), "{resolved}");
    assert!(!resolved.contains("PRIVATE"));
    assert!(door.condition(Some("others"), "Programmed").is_true);
    let config = client(&[&rustls::version::TLS13], &[]);
    door.runtime.block_on(async {
        assert!(connect(&config, door.at(TLS), "a.shop.example").await.is_ok());
        assert!(connect(&config, door.at(TLS), "shop.example").await.is_err());
    });
}

#[test]
fn a_new_certificate_is_that_of_the_next_connection() {
    let door = Door::open();
    let shop = shop(&door);
    door.publish(&(shop.clone() + &secrets()));
    let config = client(&[&rustls::version::TLS13], &[]);
    door.runtime.block_on(async {
        let mut before = connect(&config, door.at(TLS), "shop.example").await.unwrap();
        tokio::task::block_in_place(|| {
            door.publish(&(shop + &secret!("shop", "renewed") + &secret!("wildcard", "wildcard")));
        });
        // Of a client without a session: one that has a session is shown no certificate.
        let config = client(&[&rustls::version::TLS13], &[]);
        let after = connect(&config, door.at(TLS), "shop.example").await.unwrap();
        assert_eq!((shown(&before), shown(&after)), ("shop", "renewed"));
        assert!(get(&mut before, "shop.example").await.ends_with("ok"));
    });
}

#[test]
fn sessions_are_resumed_whichever_worker_takes_the_connection() {
    let door = Door::open();
    let shop = shop(&door) + &secrets();
    door.publish(&shop);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = client(&[version], &[]);
        door.runtime.block_on(async {
            for round in 0..12 {
                let mut stream = connect(&config, door.at(TLS), "shop.example").await.unwrap();
                let expected = if round == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
                // Tickets of TLS 1.3 come with the first bytes.
                assert!(get(&mut stream, "shop.example").await.ends_with("ok"));
                assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{version:?} {round}");
                // A reload changes no keys of tickets.
                tokio::task::block_in_place(|| door.publish(&shop));
            }
        });
    }
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let limits = Limits { handshake: std::time::Duration::from_millis(50), ..Limits::default() };
    let door = Door::open_with(limits);
    door.publish(&(shop(&door) + &secrets()));
    let mut silent = door.connect(TLS);
    assert_eq!(std::io::Read::read(&mut silent, &mut [0; 16]).unwrap_or(0), 0);
    let count = || door.gateway.total(|counters| counters.handshake_faults(HandshakeFault::Timeout));
    until_true("it is counted", || count() == 1);
}

#[test]
fn failed_handshakes_are_counted_by_their_reason() {
    let door = Door::open();
    door.publish(&(shop(&door) + &secrets()));
    let count = |fault| door.gateway.total(|counters| counters.handshake_faults(fault));
    let mut clear = door.connect(TLS);
    clear.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
    until_true("clear text is counted", || count(HandshakeFault::NotTls) == 1);
    drop(door.connect(TLS));
    until_true("an early end is counted", || count(HandshakeFault::Ended) == 1);
    let with = |alpn: &[&str]| client(&[&rustls::version::TLS13], alpn);
    door.runtime.block_on(async {
        assert!(connect(&with(&[]), door.at(TLS), "other.example").await.is_err());
        assert!(connect(&with(&["spdy/1"]), door.at(TLS), "shop.example").await.is_err());
        // The certificate is not for two labels below.
        assert!(connect(&with(&[]), door.at(TLS), "a.b.shop.example").await.is_err());
    });
    until_true("a name of nobody is counted", || count(HandshakeFault::NoCertificate) == 1);
    until_true("a protocol of nobody is counted", || count(HandshakeFault::Incompatible) == 1);
    until_true("a client's refusal is counted", || count(HandshakeFault::Refused) == 1);
}
