//! ID (RFC 2971) with the fields in which Dovecot is told of the client by proxies that it trusts.
//!
//! The keys and the form of each value are those that Dovecot reads; it calls the whole command bad for one value that it
//! cannot read, so what could be such a value is left out. `x-multiplex` must never be among them: it changes the
//! framing of everything that follows.

use crate::proto::Introduction;

/// The command, with its line end.
pub(super) fn id(tag: &[u8], client: &Introduction) -> Vec<u8> {
    let transport = if client.tls.is_some() { "TLS" } else { "insecure" };
    let mut fields = vec![
        ("x-session-id", client.session.to_string()),
        ("x-originating-ip", client.client.ip().to_string()),
        ("x-connected-ip", client.connected.ip().to_string()),
        ("x-proxy-ttl", client.ttl.to_string()),
        ("x-client-transport", transport.to_owned()),
    ];
    for (key, port) in [("x-originating-port", client.client.port()), ("x-connected-port", client.connected.port())] {
        if port != 0 {
            fields.push((key, port.to_string()));
        }
    }
    if let Some(name) = client.server_name() {
        fields.push(("x-connected-name", name.to_owned()));
    }
    let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("\"{key}\" \"{value}\"")).collect();
    [tag, b" ID (", fields.join(" ").as_bytes(), b")\r\n"].concat()
}
