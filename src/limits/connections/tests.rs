//! Who goes, against a naive model that searches a list.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::testkit::settings;

fn some(limit: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(limit)
}

/// Caps: all, of a network, strangers in all, of a network.
fn settings_of([all, network, strangers, network_strangers]: [u32; 4]) -> Settings {
    Settings {
        connections: some(all),
        connections_per_network: some(network),
        unauthenticated: some(strangers).unwrap(),
        unauthenticated_per_network: some(network_strangers).unwrap(),
        ..settings::limits()
    }
}

fn network(number: u8) -> Network {
    Network::of([10, 0, 0, number].into())
}

/// One connection of the model.
#[derive(Clone, Debug)]
struct Known {
    id: Id,
    network: Option<u8>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Stranger,
    Leaving,
    Authenticated,
}

/// All connections in the order of their age, and nothing else.
struct Model {
    caps: [u32; 4],
    places: u32,
    all: Vec<Known>,
}

impl Model {
    fn count(&self, of: impl Fn(&Known) -> bool) -> u32 {
        self.all.iter().filter(|it| of(it)).count() as u32
    }

    /// Whether a group takes one more, and which of it must go.
    fn room(&self, cap: u32, strangers_cap: u32, of: impl Fn(&Known) -> bool) -> Result<Option<usize>, ()> {
        let staying = self.count(|it| of(it) && it.standing != Standing::Leaving);
        let strangers = self.count(|it| of(it) && it.standing == Standing::Stranger);
        if staying < cap && strangers < strangers_cap {
            return Ok(None);
        }
        self.all.iter().position(|it| of(it) && it.standing == Standing::Stranger).map(Some).ok_or(())
    }

    fn enter(&mut self) -> Result<Option<Id>, ()> {
        if self.all.len() as u32 >= self.places {
            return Err(());
        }
        let evicted = self.room(self.caps[0], self.caps[2], |_| true)?;
        Ok(evicted.map(|place| self.send_away(place)))
    }

    fn send_away(&mut self, place: usize) -> Id {
        self.all[place].standing = Standing::Leaving;
        self.all[place].id
    }
}

/// What happens; the number says to which connection.
#[derive(Clone, Copy, Debug)]
enum Event {
    Enter,
    Join(usize, u8),
    LogIn(usize),
    Leave(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Enter),
        4 => (0_usize..40, 0_u8..3).prop_map(|(which, network)| Event::Join(which, network)),
        2 => (0_usize..40).prop_map(Event::LogIn),
        2 => (0_usize..40).prop_map(Event::Leave),
    ]
}

proptest! {
    #[test]
    fn the_oldest_stranger_goes_whatever_happens(
        caps in [1_u32..9, 1_u32..6, 1_u32..7, 1_u32..5],
        descriptors in 1_u32..12,
        events in prop::collection::vec(event(), 1..200),
    ) {
        let mut real = Connections::new(&settings_of(caps), descriptors);
        let caps = [caps[0].min(descriptors), caps[1], caps[2], caps[3]];
        let mut model = Model { caps, places: descriptors + (descriptors / 4).max(1), all: Vec::new() };
        let mut words = HashMap::new();
        for event in events {
            let place = |which: usize| which % model.all.len().max(1);
            match event {
                Event::Enter => match (real.enter(), model.enter()) {
                    (Ok((id, word, evicted)), Ok(expected)) => {
                        let evicted = evicted.map(|word| told(&words, word));
                        prop_assert_eq!(evicted, expected);
                        words.insert(id, word);
                        model.all.push(Known { id, network: None, standing: Standing::Stranger });
                    }
                    (Err(full), Err(())) => prop_assert_eq!(full, Full::Connections),
                    (real, expected) => prop_assert!(false, "{:?} {:?}", real.is_ok(), expected),
                },
                Event::Join(which, to) if which < model.all.len() => {
                    let at = place(which);
                    let Known { id, network: old, standing } = model.all[at].clone();
                    if standing == Standing::Authenticated || old == Some(to) {
                        continue;
                    }
                    if let Some(old) = old {
                        real.part(id, network(old));
                        model.all[at].network = None;
                    }
                    let expected = match standing {
                        Standing::Stranger => model.room(caps[1], caps[3], |it| it.network == Some(to)),
                        _ => Ok(None),
                    };
                    match (real.join(id, network(to)), expected) {
                        (Ok(Joined::Member(evicted)), Ok(expected)) => {
                            prop_assert_eq!(standing, Standing::Stranger);
                            prop_assert_eq!(
                                evicted.map(|word| told(&words, word)),
                                expected.map(|place| model.send_away(place))
                            );
                            model.all[at].network = Some(to);
                        }
                        (Ok(Joined::NotAny), Ok(None)) => prop_assert_eq!(standing, Standing::Leaving),
                        (Err(full), Err(())) => {
                            prop_assert_eq!(full, Full::Network);
                            model.send_away(at);
                        }
                        (real, expected) => prop_assert!(false, "{:?} {:?}", real.is_ok(), expected),
                    }
                }
                Event::LogIn(which) if which < model.all.len() => {
                    let it = &mut model.all[which];
                    if it.standing != Standing::Authenticated {
                        real.authenticated(it.id, it.network.map(network));
                        it.standing = Standing::Authenticated;
                    }
                }
                Event::Leave(which) if which < model.all.len() => {
                    let it = model.all.remove(which);
                    real.leave(it.id, it.network.map(network), it.standing == Standing::Authenticated);
                }
                Event::Join(..) | Event::LogIn(_) | Event::Leave(_) => {}
            }
            prop_assert_eq!(real.count.all, model.all.len() as u32);
            prop_assert_eq!(real.count.leaving, model.count(|it| it.standing == Standing::Leaving));
            prop_assert_eq!(real.strangers.len() as u32, model.count(|it| it.standing == Standing::Stranger));
            for to in 0..3 {
                let (all, leaving, strangers) = real.networks.get(&network(to)).map_or((0, 0, 0), |it| {
                    (it.count.all, it.count.leaving, it.strangers.len() as u32)
                });
                let of = |it: &Known| it.network == Some(to);
                prop_assert_eq!(all, model.count(of));
                prop_assert_eq!(leaving, model.count(|it| of(it) && it.standing == Standing::Leaving));
                prop_assert_eq!(strangers, model.count(|it| of(it) && it.standing == Standing::Stranger));
            }
        }
        for it in model.all {
            real.leave(it.id, it.network.map(network), it.standing == Standing::Authenticated);
        }
        prop_assert!(real.networks.is_empty() && real.strangers.is_empty());
        prop_assert_eq!((real.count.all, real.count.leaving), (0, 0));
    }
}

/// Whose word it is.
fn told(words: &HashMap<Id, Eviction>, word: Eviction) -> Id {
    *words.iter().find(|(_, it)| it.is(&word)).expect("a word of a connection that is there").0
}

#[test]
fn a_hundred_thousand_connections_are_no_more_work_each_than_ten() {
    let count = 100_000;
    let mut real = Connections::new(&settings_of([count, count, count, 50]), count);
    // Everybody is evicted once, in the order of age, by somebody of the same network.
    for round in 0..2 {
        for place in 0..count {
            let of = Network::of((place / 50).to_be_bytes().into());
            let (id, _, evicted) = real.enter().ok().unwrap();
            let Ok(Joined::Member(by_network)) = real.join(id, of) else { panic!("no place in the network") };
            assert_eq!(evicted.is_some() || by_network.is_some(), round == 1, "{round} {place}");
            if round == 1 {
                real.leave(u64::from(place), Some(of), false);
            }
        }
    }
    assert_eq!(real.count.all, count);
}
