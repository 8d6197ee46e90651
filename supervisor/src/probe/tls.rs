//! How a probe verifies a server: authorities from a file, those of the host, or not at all. Reads certificates.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Tls;

/// The files in which systems keep all authorities, most common first.
const OF_THE_HOST: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The longest file of certificates; that of a host has 200 to 400 KB.
const FILE_MAX: u64 = 2 << 20;
/// Configurations that are kept, of different files: a host has one or two.
const KEPT_MAX: usize = 8;

/// By what a file is known to be the same: device, number, size, time of its last change.
type Stamp = (u64, u64, u64, i64, i64);

/// A configuration is made anew when its file is another: to read one costs milliseconds.
static KEPT: Mutex<Vec<(PathBuf, Stamp, Arc<ClientConfig>)>> = Mutex::new(Vec::new());

/// # Errors
/// One line: there are no authorities, or what is in the file is none.
pub(super) fn config(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    if !tls.verify {
        let provider = Arc::new(ring::default_provider());
        return make(provider.clone(), |builder| {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        });
    }
    let path = match &tls.ca {
        Some(path) => path.as_path(),
        None => OF_THE_HOST.iter().map(Path::new).find(|p| p.exists()).ok_or_else(|| {
            format!("tls: this host has no file of authorities such as {}; name one with ca", OF_THE_HOST[0])
        })?,
    };
    kept(path, tls.ca.is_some()).map_err(|e| format!("tls ca {}: {e}", path.display()))
}

/// The configuration of a file, read when it is not known yet. `strict` = one certificate that cannot be used is an error;
/// in a host's own list there may be such.
fn kept(path: &Path, strict: bool) -> Result<Arc<ClientConfig>, String> {
    let mut file = crate::sys::file::open_read(path).map_err(|e| e.to_string())?;
    let stamp = stamp(&file)?;
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, _, config)) = all.iter().find(|(p, s, _)| p == path && *s == stamp) {
        return Ok(config.clone());
    }
    let roots = authorities(&mut file, strict)?;
    let config = make(Arc::new(ring::default_provider()), |builder| builder.with_root_certificates(roots))?;
    all.retain(|(p, _, _)| p != path);
    if all.len() >= KEPT_MAX {
        all.remove(0);
    }
    all.push((path.to_owned(), stamp, config.clone()));
    Ok(config)
}

fn stamp(file: &File) -> Result<Stamp, String> {
    let m = file.metadata().map_err(|e| e.to_string())?;
    if !m.is_file() {
        return Err("got no regular file".into());
    }
    if m.len() > FILE_MAX {
        return Err(format!("got a file of {} bytes, want at most {FILE_MAX}", m.len()));
    }
    Ok((m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec()))
}

fn authorities(file: &mut File, strict: bool) -> Result<RootCertStore, String> {
    let mut pem = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut pem).map_err(|e| e.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added =
            certificate.map_err(|e| e.to_string()).and_then(|c| roots.add(c).map_err(|e| e.to_string()));
        if let Err(e) = added
            && strict
        {
            return Err(format!("certificate {}: {e}", roots.len() + 1));
        }
    }
    if roots.is_empty() { Err("got no certificate, want at least one in PEM".into()) } else { Ok(roots) }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;
type Verified = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn make(
    provider: Arc<CryptoProvider>,
    verified: impl FnOnce(Builder) -> Verified,
) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("tls: {e}"))?;
    let mut config = verified(builder).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each look verifies for itself, and nothing is kept between them.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Takes any certificate, as `verify = false` asks. The server still has to have its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
