//! What holds in every state, whatever came before: random histories.

use super::*;

/// One step of a random history.
#[derive(Clone, Debug)]
enum Event {
    Signal(Signal),
    Seconds(u32),
    Trial,
}

fn any_witness(clients: u8) -> impl Strategy<Value = Witness> {
    (0..clients, 0..4u8).prop_map(|(client, user)| witness(client, user))
}

/// Failures behind the connect of so many clients.
fn behind_the_connect(clients: u8) -> impl Strategy<Value = Signal> {
    any_witness(clients).prop_flat_map(|it| {
        prop_oneof![Just(Signal::LoginFailed(it.clone())), Just(Signal::NotReady(it.clone())), Just(Signal::Slow(it))]
    })
}

fn any_signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        2 => Just(Signal::Unreachable),
        5 => behind_the_connect(4),
        1 => Just(Signal::Served),
        2 => Just(Signal::ProbeFailed),
        3 => any::<bool>().prop_map(|logged_in| Signal::ProbePassed { logged_in }),
        1 => Just(Signal::Doubt),
    ]
}

fn history(signal: impl Strategy<Value = Signal>) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => signal.prop_map(Event::Signal),
        2 => (1..70u32).prop_map(Event::Seconds),
        1 => Just(Event::Trial),
    ];
    prop::collection::vec(event, 0..80)
}

/// A health and its clock, moved by a history.
struct Life {
    health: Health,
    probe: Probe,
    now: Instant,
}

impl Life {
    fn new(fall: u32, rise: u32) -> Self {
        let now = Instant::now();
        Self { health: Health::new(now), probe: probe(fall, rise), now }
    }

    fn live(&mut self, event: Event) -> Option<Outcome> {
        match event {
            Event::Signal(signal) => return Some(self.health.signal(signal, &self.probe, self.now)),
            Event::Seconds(seconds) => self.now += seconds * SECOND,
            Event::Trial => {
                if is_trial_due(&self.health, &self.probe, self.now) {
                    assert!(self.health.begin_trial(), "due, although one is under way");
                    assert_eq!(self.health.state(), State::Probation);
                    self.health.end_trial();
                }
            }
        }
        None
    }
}

proptest! {
    #[test]
    fn never_down_before_fall_failures_without_a_served_login_between(
        fall in 1..5u32, rise in 1..4u32, events in history(any_signal()),
    ) {
        let mut life = Life::new(fall, rise);
        let mut failures = 0;
        for event in events {
            let before = life.health.state();
            let signal = if let Event::Signal(signal) = &event { Some(signal.clone()) } else { None };
            match signal {
                Some(Signal::Unreachable | Signal::ProbeFailed | Signal::LoginFailed(_) | Signal::NotReady(_) | Signal::Unanswered { .. }) => failures += 1,
                Some(Signal::Served | Signal::ProbePassed { logged_in: true }) => failures = 0,
                Some(Signal::Slow(_) | Signal::ProbePassed { logged_in: false } | Signal::Doubt) | None => {}
            }
            let outcome = life.live(event);
            let state = life.health.state();
            if state == State::Down && matches!(before, State::InService | State::Suspect) {
                prop_assert!(failures >= fall, "down after {failures} of {fall}");
            }
            if state == State::InService {
                failures = 0;
            }
            if let Some(outcome) = outcome {
                prop_assert_eq!(outcome.was, (before != state).then_some(before));
            } else {
                prop_assert_eq!(before, state, "time and trials alone change nothing");
            }
        }
    }

    #[test]
    fn one_client_alone_takes_no_node_out_of_service(
        fall in 1..4u32, events in history(behind_the_connect(1)),
    ) {
        let mut life = Life::new(fall, 1);
        for event in events {
            life.live(event);
            prop_assert_eq!(life.health.state(), State::InService);
        }
    }

    #[test]
    fn one_user_alone_takes_no_node_out_of_service(fall in 1..4u32, clients in prop::collection::vec(0..255u8, 0..80)) {
        let mut life = Life::new(fall, 1);
        for client in clients {
            life.live(Event::Signal(Signal::LoginFailed(witness(client, 7))));
            prop_assert_eq!(life.health.state(), State::InService);
        }
    }

    #[test]
    fn rise_passed_probes_always_lead_back_or_to_a_trial(
        fall in 1..4u32, rise in 1..4u32, events in history(any_signal()),
    ) {
        let mut life = Life::new(fall, rise);
        for event in events {
            life.live(event);
        }
        for _ in 0..rise {
            life.live(Event::Signal(Signal::ProbePassed { logged_in: false }));
        }
        if life.health.state() == State::Probation {
            // At the latest when the longest pause is over.
            prop_assert!(is_trial_due(&life.health, &life.probe, life.now + TRIAL_PAUSE_MAX));
        } else {
            prop_assert_eq!(life.health.state(), State::InService);
        }
    }

    #[test]
    fn rise_logins_of_the_probe_always_lead_back(fall in 1..4u32, rise in 1..4u32, events in history(any_signal())) {
        let mut life = Life::new(fall, rise);
        for event in events {
            life.live(event);
        }
        for _ in 0..rise {
            life.live(Event::Signal(Signal::ProbePassed { logged_in: true }));
        }
        prop_assert_eq!(life.health.state(), State::InService);
    }

    #[test]
    fn a_served_login_always_leads_back_and_forgets_all_failures(
        fall in 2..4u32, rise in 1..4u32, events in history(any_signal()),
    ) {
        let mut life = Life::new(fall, rise);
        for event in events {
            life.live(event);
        }
        // From anywhere at once, but for one that fails by turns.
        for _ in 0..if life.health.state() == State::Suspect { rise } else { 1 } {
            life.live(Event::Signal(Signal::Served));
        }
        prop_assert_eq!(life.health.state(), State::InService);
        for _ in 1..fall {
            life.live(Event::Signal(Signal::Unreachable));
            prop_assert_eq!(life.health.state(), State::Suspect);
        }
        life.live(Event::Signal(Signal::Unreachable));
        prop_assert_eq!(life.health.state(), State::Down);
    }
}
