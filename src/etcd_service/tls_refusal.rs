//! Telling from the words of the TLS library who refused whom, and where to look.
//!
//! The words are all there is: on the way through HTTP/2 an error loses its type. `tests/etcd_security` holds them against
//! real servers.

/// What the library says, and what that means.
const MEANINGS: &[(&str, &str)] = &[
    (
        "UnknownIssuer",
        "the server's certificate was signed by an authority that is not in etcd.tls.ca_file",
    ),
    (
        "BadSignature",
        "the server's certificate was signed by another authority of the same name as that in etcd.tls.ca_file",
    ),
    (
        "certificate expired",
        "the server's certificate has expired, or the clock of this machine is wrong",
    ),
    (
        "certificate not valid yet",
        "the server's certificate is not valid yet, or the clock of this machine is wrong",
    ),
    (
        "certificate not valid for name",
        "the server's certificate does not name the host in etcd.endpoints",
    ),
    (
        "invalid peer certificate",
        "the server's certificate is not good",
    ),
    (
        "alert: CertificateRequired",
        "the server wants a certificate of this client: etcd.tls.cert_file",
    ),
    (
        "alert: BadCertificate",
        "the server wants a certificate of this client, or refuses the one it got: etcd.tls.cert_file",
    ),
    (
        "alert: CertificateExpired",
        "the certificate of this client has expired: etcd.tls.cert_file",
    ),
    (
        "alert: CertificateUnknown",
        "the server refuses the certificate of this client: etcd.tls.cert_file",
    ),
    (
        "alert: UnsupportedCertificate",
        "the server refuses the kind of certificate that this client has: etcd.tls.cert_file",
    ),
    (
        "alert: UnknownCA",
        "the server does not know the authority that signed etcd.tls.cert_file",
    ),
    (
        "alert: DecryptError",
        "the server does not know the authority that signed etcd.tls.cert_file, or its key does not fit it",
    ),
    (
        "alert: HandshakeFailure",
        "the two ends have no way of encryption in common",
    ),
    (
        "alert: ProtocolVersion",
        "the two ends have no version of TLS in common",
    ),
    (
        "peer is incompatible",
        "the two ends have no version of TLS in common",
    ),
    ("received corrupt message", "the server does not speak TLS"),
    (
        "HTTP/2 was not negotiated",
        "the server speaks TLS, but is no etcd",
    ),
];

/// How a connection ends that had passed the handshake and brought no answer: in words of this crate, for the library has none.
/// Why the server did it is told in an alert, which is lost when the connection ends before the alert is read.
pub(super) const ENDED_AFTER_HANDSHAKE: &str = "the connection ended after the TLS handshake";

/// What looks like a refusal, but may be a server that is just going down.
const LIKELY_MEANINGS: &[(&str, &str)] = &[
    (
        "tls handshake eof",
        "the server does not speak TLS: it ends the connection instead of the handshake",
    ),
    (
        ENDED_AFTER_HANDSHAKE,
        "the server wants a certificate of this client, or refuses the one it got: etcd.tls.cert_file",
    ),
];

/// Whether `text` is the end of a connection over which nothing was done yet, because of TLS.
pub(super) fn is_refusal(text: &str) -> bool {
    find(MEANINGS, text).is_some()
}

/// Whether `text` looks like one, and may mend itself.
pub(super) fn is_likely_refusal(text: &str) -> bool {
    find(LIKELY_MEANINGS, text).is_some()
}

/// `text`, after what it means.
pub(super) fn explain(text: String) -> String {
    match find(MEANINGS, &text).or_else(|| find(LIKELY_MEANINGS, &text)) {
        Some(meaning) => format!("{meaning} ({text})"),
        None => text,
    }
}

fn find(meanings: &'static [(&str, &str)], text: &str) -> Option<&'static str> {
    let known = |words: &&(&str, &str)| text.contains(words.0);
    meanings.iter().find(known).map(|&(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_that_may_come_in_the_middle_is_no_refusal() {
        assert!(is_refusal(
            "error: received fatal alert: CertificateRequired"
        ));
        assert!(!is_refusal("error: received fatal alert: BadRecordMac"));
        assert!(!is_refusal("connection refused"));
    }

    #[test]
    fn the_more_telling_words_win() {
        let text = explain("invalid peer certificate: UnknownIssuer".to_owned());
        assert!(
            text.contains("ca_file") && text.contains("UnknownIssuer"),
            "{text}"
        );
    }
}
