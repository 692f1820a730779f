//! Makes a test authority and a P-256 certificate for `localhost`, in the forms that the proxies want.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rcgen::{ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256};

/// Makes a test authority and a P-256 certificate for localhost and 127.0.0.1: ca.pem, chain.pem, key.pem, and both of
/// the latter in one file, both.pem.
#[derive(Args)]
pub(crate) struct Certificates {
    /// Where to write them; made if it is not there.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

impl Certificates {
    pub(crate) fn run(&self) -> Result<(), String> {
        write(&self.folder).map_err(|words| format!("{}: {words}", self.folder.display()))
    }
}

fn write(folder: &Path) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| error.to_string();
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| wrong(&error));
    let params = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        CertificateParams::new(names).map_err(|error| wrong(&error))
    };
    let mut ca = params(&[])?;
    ca.distinguished_name.push(DnType::CommonName, "benchmark authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let ca = CertifiedIssuer::self_signed(ca, key()?).map_err(|error| wrong(&error))?;
    let mut leaf = params(&["localhost", "127.0.0.1"])?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = key()?;
    let leaf = leaf.signed_by(&leaf_key, &ca).map_err(|error| wrong(&error))?;
    let (chain, key) = (leaf.pem(), leaf_key.serialize_pem());
    fs::create_dir_all(folder).map_err(|error| wrong(&error))?;
    let both = format!("{chain}{key}");
    for (name, text) in [("ca.pem", ca.pem()), ("chain.pem", chain), ("key.pem", key), ("both.pem", both)] {
        fs::write(folder.join(name), text).map_err(|error| wrong(&error))?;
    }
    Ok(())
}
