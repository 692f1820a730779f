//! What each number is called and what it means: docs/metrics.md is written from this list, and a test holds the dashboard
//! and the alerts to it.
//!
//! Names follow Prometheus' rules: the unit, a base unit, stands at the end; a counter is `…_total`.

/// All samples of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Without `_total`, `_info` and the like.
    pub name: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, in one line.
    pub help: &'static str,
}

/// What a family's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from the start of the process or of what it belongs to.
    Counter,
    /// What is now.
    Gauge,
    /// How many took how long.
    Histogram,
    /// Always 1: what it says stands in the labels.
    Info,
}

impl Kind {
    /// As the text formats call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

impl Family {
    /// What its numbers are measured in.
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| self.name.ends_with(&format!("_{unit}")))
    }

    /// What is behind the name in a sample that is no histogram's.
    pub(super) fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        }
    }

    /// The names of its samples.
    pub fn samples(&self) -> Vec<String> {
        match self.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", self.name)).into(),
            Kind::Counter | Kind::Gauge | Kind::Info => vec![format!("{}{}", self.name, self.suffix())],
        }
    }
}

macro_rules! families {
    ($($about:literal { $($constant:ident = $kind:ident $name:literal [$($label:literal)*] $help:literal;)* })*) => {
        $($(#[doc = $help] pub static $constant: Family = Family {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*)*

        /// Each group with its families, in the order of the page.
        pub static GROUPS: &[(&str, &[&Family])] = &[$(($about, &[$(&$constant),*])),*];
    };
}

families! {
    "The process" {
        BUILD = Info "mailferry_build" ["version"] "Always 1; the version stands in the label.";
        START_TIME = Gauge "process_start_time_seconds" [] "When the process began, in seconds since 1970.";
        CPU = Counter "process_cpu_seconds" [] "Processor time that the process has used. Linux only.";
        RESIDENT = Gauge "process_resident_memory_bytes" [] "Memory of the process that is in RAM. Linux only.";
        VIRTUAL = Gauge "process_virtual_memory_bytes" [] "Address space of the process. Linux only.";
        OPEN_FDS = Gauge "process_open_fds" [] "Descriptors that are open. Linux only.";
        MAX_FDS = Gauge "process_max_fds" [] "Most descriptors that there may be.";
    }
    "Connections and sessions" {
        CONNECTIONS = Gauge "mailferry_connections" ["state"]
            "Connections of clients now: before_login, or authenticated.";
        ACCEPTED = Counter "mailferry_connections_accepted" [] "Connections that found a place.";
        ENDED = Counter "mailferry_connections_ended" ["protocol" "who" "stage" "why"]
            "Connections that ended: who ended them, in which stage, and why, in the words of the log.";
        LOOKS = Counter "mailferry_balancer_checks" ["protocol"]
            "Connections of balancers that only looked whether mailferry is there; not among those that ended.";
        HANDSHAKES = Histogram "mailferry_tls_handshake_duration_seconds" ["protocol"]
            "TLS handshakes with clients that came to their end.";
        SESSIONS = Gauge "mailferry_sessions" ["island" "node" "protocol"] "Sessions in the relay now.";
        BYTES = Counter "mailferry_relay_bytes" ["island" "node" "protocol" "direction"]
            "Octets that were moved after the login: to_node or to_client.";
        LIMITS = Counter "mailferry_limit_hits" ["limit"]
            "How often somebody had to wait, go or stay away because of a limit, by its key in the configuration.";
    }
    "Logins" {
        LOGINS = Counter "mailferry_logins" ["protocol" "island" "outcome" "stage"]
            "Logins by what came of them, in the words of the log, and the furthest stage that they came to. island is empty where none is known.";
        LOGIN_TIME = Histogram "mailferry_login_duration_seconds" ["island"]
            "Accepted logins, from the whole login to the node's word.";
        CONNECT_TIME = Histogram "mailferry_connect_duration_seconds" ["island"]
            "From the dial to the greeting of the node that gets the login, or to the failure of the last one.";
        REPLAY_TIME = Histogram "mailferry_replay_duration_seconds" ["island"]
            "From the greeting to the node's word on the login, or to its failure.";
        WAIT_TIME = Histogram "mailferry_wait_duration_seconds" ["island"]
            "Waits of logins for a node to return (patience), until another node is tried; waits that end with the client's refusal are among them.";
        HEDGES = Counter "mailferry_hedges" ["island"] "Nodes dialled beside another one that was slow or had failed.";
        RETRIES = Counter "mailferry_retries" ["island"]
            "Nodes dialled because another one, or the same a moment before, had failed the login.";
    }
    "Nodes" {
        IN_SERVICE = Gauge "mailferry_node_in_service" ["island" "node" "protocol"]
            "1: the node takes logins, by its health and by the operator's word.";
        STATE = Gauge "mailferry_node_state" ["island" "node" "protocol" "state"]
            "1 for the state of the node's health: in-service, suspect, down or probation.";
        OPERATOR_STATE = Gauge "mailferry_node_operator_state" ["island" "node" "state"]
            "1 for what the operator wants of the node: in-service, draining or maintenance.";
        NODE_LOGINS = Counter "mailferry_node_logins" ["island" "node" "protocol" "result"]
            "Logins that were tried at the node: accepted, refused (judged), or failed (the next node was tried).";
        PROBES = Counter "mailferry_probes" ["island" "node" "protocol" "result"] "Probes of the node: passed or failed.";
        GREETING = Gauge "mailferry_probe_greeting_seconds" ["island" "node" "protocol"]
            "From the connect to the greeting, of the last probe that was greeted.";
    }
    "Directory" {
        LOOKUPS = Histogram "mailferry_directory_lookup_duration_seconds" ["result"]
            "Look-ups of logins, the cache included, by how they ended.";
        CACHE = Counter "mailferry_cache_lookups" ["result"]
            "What the cache had: hit, negative (no such user), stale (an old route, the directory is unavailable), miss, or doubt (asked again after a refusal).";
        CACHE_USERS = Gauge "mailferry_cache_users" [] "Users in the cache now.";
        CACHE_CAPACITY = Gauge "mailferry_cache_capacity_users" [] "Most users in the cache.";
        SERVER_UP = Gauge "mailferry_directory_server_up" ["server"] "1: the server is asked. A file is always.";
        SEARCHES = Histogram "mailferry_directory_search_duration_seconds" ["server"]
            "Searches that the LDAP server answered, whatever it said.";
        SEARCHES_FAILED = Counter "mailferry_directory_searches_failed" ["server"]
            "Searches that the LDAP server did not answer, or not so that it could be read.";
    }
    "Upkeep" {
        CERTIFICATES = Gauge "mailferry_certificate_expiry_timestamp_seconds" ["certificate"]
            "When the first certificate of this file expires, in seconds since 1970.";
        CERTIFICATES_READ = Counter "mailferry_certificate_reloads" ["result"]
            "Changed files with certificates that were read: success, or failure (the old one is used still).";
        RELOADS = Counter "mailferry_reloads" ["result"] "Reloads of the configuration: success or failure.";
        RELOAD_OK = Gauge "mailferry_config_last_reload_successful" []
            "0: the last reload failed, and an older configuration is in use.";
        RELOAD_TIME = Gauge "mailferry_config_last_reload_success_timestamp_seconds" []
            "When a configuration was taken up for the last time, in seconds since 1970.";
        UNTOLD = Counter "mailferry_log_warnings_suppressed" []
            "Warnings that were not written as such because one of their kind had just been.";
    }
}

/// All families, in the order of the page.
pub fn all() -> impl Iterator<Item = &'static Family> {
    GROUPS.iter().flat_map(|(_, families)| families.iter().copied())
}
