//! What happens in one history, all of it drawn from its seed before anything runs: the site, the moods of its nodes, the
//! directory's losses, who is moved, when mailferry restarts, and who logs in how.

use std::time::Duration;

use fastrand::Rng;
use mailferry::proto::Protocol;
use mailferry::routing::{FailBack, Policy};

/// How long clients come. Afterwards everything is given time to end.
pub const LENGTH: Duration = Duration::from_secs(30);

/// How a node behaves from some moment on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mood {
    /// As it should.
    Healthy,
    /// Its connections are cut when it begins, and new ones refused.
    Dead,
    /// Packets vanish: connections are never made, and those that exist are silent until it is over.
    Unplugged,
    /// Connections are made and octets taken, and nothing happens until it is over.
    Frozen,
    /// Greets late.
    Slow(Duration),
    /// Says nothing any more from this step on.
    Silent(Step),
    /// Closes at this step.
    Closes(Step),
    /// Says something that is none of its protocol.
    Babbles(Step),
    /// Says a line that does not end.
    Endless(Step),
    /// Says goodbye.
    Bye(Step),
    /// Greets with PREAUTH.
    Preauth,
    /// Answers a login with a referral.
    Refers,
    /// Answers a login with a temporary refusal.
    Unavailable,
}

/// The steps of a login on a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Instead of the greeting.
    Accept,
    /// In the middle of the greeting.
    Greeting,
    /// Behind the greeting.
    Greeted,
    /// Instead of the answer to the login.
    Login,
    /// In the middle of that answer.
    Answer,
}

#[derive(Clone, Debug)]
pub struct NodeScript {
    /// From when which mood; the first from the start.
    pub moods: Vec<(Duration, Mood)>,
    /// Whether it tells its capabilities unasked.
    pub tells: bool,
    /// Whether it knows AUTHENTICATE PLAIN.
    pub sasl: bool,
    /// Whether its answers come in pieces.
    pub pieces: bool,
    pub weight: u32,
    pub rank: u32,
    pub zone: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub struct IslandScript {
    pub policy: Policy,
    pub fail_back: FailBack,
    pub hedge: Option<Duration>,
    pub patience: Duration,
    pub rate: Option<u32>,
    pub fall: u32,
    pub rise: u32,
    pub nodes: Vec<NodeScript>,
}

#[derive(Clone, Debug)]
pub struct LoginScript {
    /// Which user; [`UNKNOWN`] is in no directory.
    pub user: usize,
    pub is_right: bool,
}

#[derive(Clone, Debug)]
pub struct ClientScript {
    pub at: Duration,
    pub protocol: Protocol,
    /// The last octet of its address.
    pub host: u8,
    /// One after the other, until one is accepted.
    pub logins: Vec<LoginScript>,
    /// Whether a command follows at once behind each login.
    pub pipelines: bool,
    /// Whether it sends in pieces.
    pub pieces: bool,
    /// Whether an IMAP client uses AUTHENTICATE.
    pub sasl: bool,
    /// How long it waits for an answer before it hangs up.
    pub waits: Duration,
    /// Commands in the relay, and the pause before each.
    pub commands: u32,
    pub pause: Duration,
    /// Whether it says goodbye at the end.
    pub is_polite: bool,
    /// Octets that fit between it and mailferry.
    pub window: usize,
}

#[derive(Clone, Debug)]
pub struct Script {
    pub seed: u64,
    pub zone: Option<&'static str>,
    pub islands: Vec<IslandScript>,
    /// The first island of each user.
    pub homes: Vec<usize>,
    /// When which user is moved where.
    pub moves: Vec<(Duration, usize, usize)>,
    /// From when to when the directory is away, and whether it hangs then.
    pub losses: Vec<(Duration, Duration, bool)>,
    pub ttl: Duration,
    pub restarts: Vec<Duration>,
    pub clients: Vec<ClientScript>,
    pub auth_failure_delay: Duration,
}

/// The user whom no directory knows.
pub const UNKNOWN: usize = 999;

/// Users of a site.
const USERS: usize = 300;

fn seconds(rng: &mut Rng, range: std::ops::Range<f64>) -> Duration {
    Duration::from_secs_f64(range.start + rng.f64() * (range.end - range.start))
}

fn one<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(0..of.len())]
}

impl Script {
    pub fn new(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let zone = one(rng, &[None, Some("x")]);
        let islands: Vec<IslandScript> = (0..rng.usize(2..=3)).map(|_| island(rng)).collect();
        let count = islands.len();
        let homes: Vec<usize> = (0..USERS).map(|_| rng.usize(0..count)).collect();
        let losses = (0..one(rng, &[0, 0, 1, 2])).map(|_| {
            let from = seconds(rng, 0.0..30.0);
            (from, from + seconds(rng, 0.5..15.0), rng.bool())
        });
        let losses = losses.collect();
        let mut restarts: Vec<Duration> =
            (0..one(rng, &[0, 0, 0, 1, 2])).map(|_| seconds(rng, 5.0..LENGTH.as_secs_f64())).collect();
        restarts.sort();
        // Few of the users come in one history, and some of them often.
        let regulars: Vec<usize> = (0..rng.usize(3..12)).map(|_| rng.usize(0..USERS)).collect();
        let moves =
            (0..one(rng, &[0, 1, 3])).map(|_| (seconds(rng, 2.0..28.0), one(rng, &regulars), rng.usize(0..count)));
        let mut moves: Vec<_> = moves.collect();
        moves.sort();
        let clients = (0..rng.usize(5..30)).map(|_| client(rng, &regulars)).collect();
        Self {
            seed,
            zone,
            islands,
            homes,
            moves,
            losses,
            ttl: one(rng, &[Duration::ZERO, Duration::from_secs(10), Duration::from_secs(300)]),
            restarts,
            clients,
            auth_failure_delay: one(rng, &[Duration::ZERO, Duration::from_millis(500)]),
        }
    }
}

fn island(rng: &mut Rng) -> IslandScript {
    let count = rng.usize(1..=3);
    // Some islands are well, in some one node is always well, in some anything goes.
    let trouble = one(rng, &[0, 1, 1, 2, 2]);
    let well = rng.usize(0..count);
    let nodes = (0..count).map(|place| {
        let troubles = if trouble == 0 || (trouble == 1 && place == well) { 0 } else { rng.usize(1..=3) };
        NodeScript {
            moods: moods(rng, troubles),
            tells: rng.bool(),
            sasl: rng.bool(),
            pieces: rng.u8(0..4) == 0,
            weight: rng.u32(1..4),
            rank: one(rng, &[place as u32, 0, 1]),
            zone: one(rng, &[None, Some("x"), Some("y")]),
        }
    });
    let nodes = nodes.collect();
    let rate = one(rng, &[None, None, None, Some(30), Some(200)]);
    IslandScript {
        policy: one(rng, &[Policy::Prefer, Policy::Balance, Policy::Sticky]),
        fail_back: one(rng, &[FailBack::Now, FailBack::After(Duration::from_secs(8)), FailBack::Manual]),
        hedge: one(rng, &[None, Some(Duration::from_millis(250)), Some(Duration::from_millis(250))]),
        patience: if rate.is_none() && rng.u8(0..5) == 0 { Duration::ZERO } else { seconds(rng, 2.0..6.0) },
        rate,
        fall: rng.u32(1..4),
        rise: rng.u32(1..4),
        nodes,
    }
}

fn moods(rng: &mut Rng, troubles: usize) -> Vec<(Duration, Mood)> {
    let mut moods = vec![(Duration::ZERO, Mood::Healthy)];
    let mut at = seconds(rng, 0.0..18.0);
    for _ in 0..troubles {
        moods.push((at, trouble(rng)));
        at += seconds(rng, 0.2..12.0);
        if rng.u8(0..4) > 0 {
            moods.push((at, Mood::Healthy));
            at += seconds(rng, 0.5..15.0);
        }
    }
    // What is silent keeps its connections for ever.
    moods.retain(|(at, _)| *at < LENGTH);
    moods.push((LENGTH + Duration::from_secs(5), Mood::Healthy));
    moods
}

fn trouble(rng: &mut Rng) -> Mood {
    use Step::{Accept, Answer, Greeted, Greeting, Login};
    match rng.u8(0..20) {
        0..=3 => Mood::Dead,
        4 => Mood::Unplugged,
        5..=7 => Mood::Frozen,
        8 => Mood::Slow(seconds(rng, 0.1..4.0)),
        9 => Mood::Silent(one(rng, &[Accept, Greeting, Greeted])),
        10..=11 => Mood::Silent(one(rng, &[Login, Answer])),
        12..=14 => Mood::Closes(one(rng, &[Accept, Greeting, Greeted, Login, Answer])),
        15 => Mood::Babbles(one(rng, &[Accept, Login])),
        16 => Mood::Endless(one(rng, &[Accept, Login])),
        17 => Mood::Bye(one(rng, &[Accept, Greeted, Login])),
        18 => one(rng, &[Mood::Preauth, Mood::Refers]),
        _ => Mood::Unavailable,
    }
}

fn client(rng: &mut Rng, regulars: &[usize]) -> ClientScript {
    let user = match rng.u8(0..20) {
        0 => UNKNOWN,
        1..=5 => rng.usize(0..USERS),
        _ => one(rng, regulars),
    };
    let logins = (0..rng.usize(1..=3)).map(|_| LoginScript { user, is_right: rng.u8(0..6) > 0 });
    let logins = logins.collect();
    ClientScript {
        at: seconds(rng, 0.0..LENGTH.as_secs_f64()),
        protocol: one(rng, &Protocol::ALL),
        host: rng.u8(1..6),
        logins,
        pipelines: rng.u8(0..3) == 0,
        pieces: rng.u8(0..3) == 0,
        sasl: rng.bool(),
        waits: if rng.u8(0..8) == 0 { seconds(rng, 0.0..3.0) } else { Duration::from_secs(90) },
        commands: rng.u32(0..5),
        pause: seconds(rng, 0.0..4.0),
        is_polite: rng.bool(),
        window: one(rng, &[256, 4096, 65536]),
    }
}
