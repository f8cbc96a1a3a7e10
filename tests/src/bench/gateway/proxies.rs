//! The proxies, all before one server, each with one worker.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;
use std::{env, str};

use anyhow::{Context as _, Result, ensure};

use super::case::Case;
use crate::bench::process::Process;
use crate::bench::stage::Stage;
use crate::netns::Namespace;

/// The host that is asked for.
pub(super) const HOST: &str = "shop.example";

/// Where the proxies run, one after the other, and where the client and the server do.
const PROXY: usize = 0;
pub(super) const OTHERS: usize = 1;

const SERVER: u16 = 19_000;

/// The shop's, which its example has.
const EXAMPLE: &str = include_str!("../../../../policies/gateway/policy.yaml");

const fn loopback(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// Starts the server: nginx with a small and a large page.
pub(super) fn server(stage: &Stage, namespace: &Namespace) -> Result<Process> {
    let pages = stage.folder().join("pages");
    fs::create_dir_all(&pages)?;
    fs::write(pages.join("small"), "s".repeat(128))?;
    fs::write(pages.join("large"), "l".repeat(64 << 10))?;
    let text =
        format!("server {{ listen 127.0.0.1:{SERVER}; root {}; open_file_cache max=8; }}", pages.display());
    nginx(stage, namespace, "server", &text, (OTHERS, loopback(SERVER)))
}

/// Starts a proxy.
pub(super) fn start(stage: &Stage, namespace: &Namespace, case: Case) -> Result<Process> {
    let (clear, tls) = case.ports();
    let at = (PROXY, loopback(clear));
    match case {
        Case::Haproxy => {
            let pem = stage.write("haproxy.pem", &format!("{}{}", certificate()?, key()?))?;
            let config = format!(
                "global\n  nbthread 1\n  maxconn 6000\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n\
                 defaults\n  mode http\n  http-reuse always\n  option splice-auto\n  timeout connect 5s\n  \
                 timeout client 60s\n  timeout server 60s\n\
                 frontend front\n  bind 127.0.0.1:{clear}\n  bind 127.0.0.1:{tls} ssl crt {} alpn h2,http/1.1\n  \
                 default_backend back\nbackend back\n  server one 127.0.0.1:{SERVER}\n",
                pem.display()
            );
            let config = stage.write("haproxy.cfg", &config)?;
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(config);
            Process::start(stage, namespace, "haproxy", command, at)
        }
        Case::Nginx => {
            let text = format!(
                "upstream back {{ server 127.0.0.1:{SERVER}; keepalive 256; keepalive_requests 100000000; }}\n\
                 server {{ listen 127.0.0.1:{clear} backlog=4096; listen 127.0.0.1:{tls} ssl http2 backlog=4096;\n\
                 ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3;\n\
                 location / {{ proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ''; }} }}",
                stage.write("nginx.crt", &certificate()?)?.display(),
                stage.write("nginx.key", &key()?)?.display(),
            );
            nginx(stage, namespace, "nginx", &text, at)
        }
        Case::Bare | Case::Full | Case::Many => windrose(stage, namespace, case),
    }
}

/// nginx with one worker and no log.
fn nginx(
    stage: &Stage,
    namespace: &Namespace,
    name: &str,
    text: &str,
    at: (usize, SocketAddrV4),
) -> Result<Process> {
    let folder = stage.folder().join(format!("{name}-files"));
    fs::create_dir_all(&folder)?;
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        // Writing to a String cannot fail.
        let _ = writeln!(temporary, "{kind}_temp_path {}/{kind};", folder.display());
    }
    // As root its worker would become somebody who may not read our files.
    let config = format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid {0}/pid;\nerror_log stderr;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; keepalive_requests 100000000; {temporary}{text} }}\n",
        folder.display()
    );
    let config = stage.write(&format!("{name}.conf"), &config)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(config);
    Process::start(stage, namespace, name, command, at)
}

fn windrose(stage: &Stage, namespace: &Namespace, case: Case) -> Result<Process> {
    let (clear, tls) = case.ports();
    let name = format!("windrose-{}", case.routes());
    let policy = stage.folder().join(&name);
    fs::create_dir_all(&policy)?;
    fs::write(policy.join("policy.yaml"), documents(case)?)?;
    let mut command = Command::new(program()?);
    command.args(["run", "--gateway-only", "--gateway-workers", "1", "--policy"]).arg(&policy);
    command.args(["--admin", &format!("127.0.0.1:{}", tls + 1)]);
    if case != Case::Bare {
        command.arg("--access-log").arg(stage.folder().join(format!("{name}.access")));
    }
    Process::start(stage, namespace, &name, command, (PROXY, loopback(clear)))
}

/// The agent beside this program, or in `WINDROSE_BIN`.
fn program() -> Result<PathBuf> {
    let beside = || Ok::<_, anyhow::Error>(env::current_exe()?.with_file_name("windrose"));
    let program = env::var_os("WINDROSE_BIN").map_or_else(beside, |path| Ok(path.into()))?;
    ensure!(program.is_file(), "{} is missing: `cargo xtask bench` builds it", program.display());
    Ok(program)
}

/// The Gateway, its certificate, the server as a Service, and routes: the last is the one that is asked
/// for, each of the others is of a path of its own and looks at a header, too.
fn documents(case: Case) -> Result<String> {
    let (clear, tls) = case.ports();
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: outside}}\n\
         spec:\n  gatewayClassName: windrose\n  listeners:\n    - {{name: web, port: {clear}, protocol: HTTP}}\n    \
         - {{name: secure, port: {tls}, protocol: HTTPS, tls: {{certificateRefs: [{{name: shop}}]}}}}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: shop}}\ntype: kubernetes.io/tls\nstringData:\n  \
         tls.crt: |\n{}  tls.key: |\n{}\
         ---\napiVersion: v1\nkind: Service\n\
         metadata: {{name: back, annotations: {{windrose.dev/endpoints: '127.0.0.1'}}}}\n\
         spec: {{clusterIP: 10.9.0.1, ports: [{{port: 80, targetPort: {SERVER}}}]}}\n",
        indented(&certificate()?),
        indented(&key()?),
    );
    for number in 1..case.routes() {
        let _ = write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{number}}}\n\
             spec: {{parentRefs: [{{name: outside}}], rules: [{{matches: [{{path: {{value: /products/{number}}}, \
             headers: [{{name: x-version, value: '2'}}]}}], backendRefs: [{{name: back, port: 80}}]}}]}}\n"
        );
    }
    text.push_str(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n\
         spec: {parentRefs: [{name: outside}], rules: [{backendRefs: [{name: back, port: 80}]}]}\n",
    );
    Ok(text)
}

fn certificate() -> Result<String> {
    block("CERTIFICATE")
}

fn key() -> Result<String> {
    block("PRIVATE KEY")
}

/// A block of PEM of the example, without indentation.
fn block(kind: &str) -> Result<String> {
    let (begin, end) = (format!("-----BEGIN {kind}-----"), format!("-----END {kind}-----"));
    let from = EXAMPLE.find(&begin).with_context(|| format!("the example has no {kind}"))?;
    let to = EXAMPLE[from..].find(&end).with_context(|| format!("the example's {kind} has no end"))?;
    let lines = EXAMPLE[from..from + to + end.len()].lines();
    Ok(lines.flat_map(|line| [line.trim(), "\n"]).collect())
}

fn indented(block: &str) -> String {
    block.lines().flat_map(|line| ["    ", line, "\n"]).collect()
}
