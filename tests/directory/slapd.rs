//! A real slapd with a small tree, for one test: own directory, own ports, own certificate. It dies with its handle.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mailferry::directory::ldap::Url;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, sleep};

/// Where Debian, Fedora and Alpine put it.
const PLACES: [&str; 4] = ["/usr/sbin/slapd", "/usr/libexec/slapd", "/usr/lib/slapd", "/usr/local/libexec/slapd"];
const SCHEMAS: [&str; 2] = ["/etc/ldap/schema", "/etc/openldap/schema"];
/// Within which anything that is bound to happen has happened, on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const PORT_ATTEMPTS: usize = 5;

/// The password of `cn=mailferry,dc=example,dc=net`.
pub(crate) const BIND_PASSWORD: &str = "open-sesame-7";
/// Another one, which slapd does not know.
pub(crate) const WRONG_PASSWORD: &str = "wrong-password-8";
pub(crate) const BIND_DN: &str = "cn=mailferry,dc=example,dc=net";

/// A running or stopped slapd.
pub(crate) struct Slapd {
    directory: tempfile::TempDir,
    child: Child,
    ldap: u16,
    ldaps: u16,
    ca: rustls::pki_types::CertificateDer<'static>,
}

impl Slapd {
    /// With TLS, and the tree of [`TREE`].
    pub(crate) async fn start() -> Self {
        Self::start_with(true).await
    }

    /// Refuses StartTLS.
    pub(crate) async fn start_without_tls() -> Self {
        Self::start_with(false).await
    }

    async fn start_with(tls: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ca = write_certificate(directory.path());
        write_configuration(directory.path(), tls);
        fill(directory.path());
        for _ in 0..PORT_ATTEMPTS {
            let (ldap, ldaps) = (free_port(), free_port());
            let mut child = spawn(directory.path(), ldap, ldaps);
            if listens(directory.path(), &mut child, ldap).await {
                return Self { directory, child, ldap, ldaps, ca };
            }
        }
        panic!("slapd does not start; its configuration:\n{}", configuration(directory.path(), tls));
    }

    pub(crate) fn ldap(&self) -> Url {
        Url::parse(&format!("ldap://127.0.0.1:{}", self.ldap)).unwrap()
    }

    /// By the name that the certificate has.
    pub(crate) fn ldap_by_name(&self) -> Url {
        Url::parse(&format!("ldap://localhost:{}", self.ldap)).unwrap()
    }

    pub(crate) fn ldaps(&self) -> Url {
        Url::parse(&format!("ldaps://localhost:{}", self.ldaps)).unwrap()
    }

    /// By an address that the certificate does not have.
    pub(crate) fn ldaps_by_address(&self) -> Url {
        Url::parse(&format!("ldaps://127.0.0.1:{}", self.ldaps)).unwrap()
    }

    /// Trusts this server's authority and no other.
    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    }

    /// A file with this content, gone with the server.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same ports again.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.directory.path(), self.ldap, self.ldaps);
        assert!(listens(self.directory.path(), &mut self.child, self.ldap).await, "slapd does not come back");
    }

    /// The kernel goes on accepting connections for it. Waits until all its threads stand still, which takes a while
    /// after the signal: until then they may still serve a connection.
    pub(crate) async fn freeze(&self) {
        self.signal("STOP");
        eventually("slapd stands still", async || self.stands_still().then_some(())).await;
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn stands_still(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let stat = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which stands in parentheses.
        threads.flatten().map(stat).all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    }

    fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success(), "{command}");
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            super::search().assert_nothing_found(0);
        }
    }
}

/// Tries again until it is `Some`, for [`PATIENCE`] at most.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < deadline, "still not so: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn slapd() -> &'static str {
    let found = PLACES.into_iter().find(|place| Path::new(place).exists());
    found.expect("these tests need a real slapd: apt-get install slapd (or: dnf install openldap-servers)")
}

fn schemas() -> &'static str {
    let found = SCHEMAS.into_iter().find(|place| Path::new(place).join("misc.schema").exists());
    found.expect("slapd's schema files are missing: apt-get install slapd (or: dnf install openldap-servers)")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(directory: &Path, ldap: u16, ldaps: u16) -> Child {
    Command::new(slapd())
        // Foreground, silent.
        .args(["-d", "0", "-f"])
        .arg(directory.join("slapd.conf"))
        .args(["-h", &format!("ldap://127.0.0.1:{ldap} ldaps://127.0.0.1:{ldaps}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("slapd starts")
}

/// Waits for the file that slapd writes when all its sockets are bound, and then until they listen. `false` when it
/// ended instead, as it does when another process took a port: a connection alone might be to that one.
async fn listens(directory: &Path, child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let own = child.id().to_string();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        let bound = fs::read_to_string(directory.join("slapd.pid")).is_ok_and(|pid| pid.trim() == own);
        if bound && tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return true;
        }
        assert!(Instant::now() < deadline, "slapd neither listens nor ends");
        sleep(Duration::from_millis(10)).await;
    }
}

fn write_certificate(directory: &Path) -> rustls::pki_types::CertificateDer<'static> {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    fs::write(directory.join("certificate.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    ca_certificate.der().clone()
}

fn write_configuration(directory: &Path, tls: bool) {
    fs::create_dir(directory.join("data")).unwrap();
    fs::write(directory.join("slapd.conf"), configuration(directory, tls)).unwrap();
}

fn configuration(directory: &Path, tls: bool) -> String {
    let (here, schemas) = (directory.display(), schemas());
    let certificate =
        format!("TLSCertificateFile {here}/certificate.pem\nTLSCertificateKeyFile {here}/key.pem").repeat(tls.into());
    format!(
        r#"include {schemas}/core.schema
include {schemas}/cosine.schema
include {schemas}/inetorgperson.schema
include {schemas}/misc.schema
attributetype ( 1.3.6.1.4.1.4203.666.1.77 NAME 'testName' DESC 'octets, as they come'
  EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.4203.666.3.77 NAME 'testUser' SUP top AUXILIARY MAY testName )
pidfile {here}/slapd.pid
argsfile {here}/slapd.args
{certificate}
database ldif
suffix "dc=example,dc=net"
directory {here}/data
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=private,dc=example,dc=net" by dn.exact="{BIND_DN}" read by * none
access to * by * read
"#
    )
}

fn fill(directory: &Path) {
    fs::write(directory.join("tree.ldif"), TREE.replace("BIND_PASSWORD", BIND_PASSWORD)).unwrap();
    // slapadd is slapd by another name: `-T add`.
    let output = Command::new(slapd())
        .args(["-T", "add", "-f"])
        .arg(directory.join("slapd.conf"))
        .arg("-l")
        .arg(directory.join("tree.ldif"))
        .output()
        .expect("slapadd starts");
    assert!(output.status.success(), "slapadd: {}", String::from_utf8_lossy(&output.stderr));
}

/// `testName` of jürgen is Latin-1: 6a fc 72 67 65 6e.
const TREE: &str = r"dn: dc=example,dc=net
objectClass: organization
objectClass: dcObject
o: example
dc: example

dn: cn=mailferry,dc=example,dc=net
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: mailferry
userPassword: BIND_PASSWORD

dn: ou=people,dc=example,dc=net
objectClass: organizationalUnit
ou: people

dn: uid=bob,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: bob
cn: bob
sn: bob
mail: bob@example.net
mail: robert@example.net
mailHost: a
departmentNumber: 7

dn: uid=carol,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: carol
cn: carol
sn: carol
mailHost: b

dn: uid=homeless,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
uid: homeless
cn: homeless
sn: homeless

dn: uid=torn,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
uid: torn
uid: torn2
cn: torn
sn: torn
departmentNumber: a
departmentNumber: b

dn: cn=twin 1,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
cn: twin 1
sn: twin
uid: twin
uid: triplet
mailHost: a

dn: cn=twin 2,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
cn: twin 2
sn: twin
uid: twin
uid: triplet
mailHost: a

dn: cn=twin 3,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
cn: twin 3
sn: twin
uid: triplet
mailHost: a

dn: cn=odd,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
cn: odd
sn: odd
uid: b*(b)\c
mailHost: odd

dn: cn=latin,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
objectClass: testUser
cn: latin
sn: latin
testName:: avxyZ2Vu
mailHost: latin

dn: ou=private,dc=example,dc=net
objectClass: organizationalUnit
ou: private

dn: uid=hidden,ou=private,dc=example,dc=net
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: hidden
cn: hidden
sn: hidden
mailHost: h

dn: ou=elsewhere,dc=example,dc=net
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://other.example.net/ou=elsewhere,dc=example,dc=net
";
