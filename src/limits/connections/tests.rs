//! Who goes, against a naive model that searches a list.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::limits::PER_LEAVING;
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

/// Two IPv4 addresses, two networks of one IPv6 /48, and one of another.
fn network(number: u8) -> Network {
    let addresses = ["10.0.0.1", "10.0.0.2", "2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:2::1"];
    Network::of(addresses[usize::from(number)].parse().unwrap())
}

/// One connection of the model.
#[derive(Clone, Debug)]
struct Known {
    id: Id,
    whose: Whose,
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

    /// Whether a group takes one more, and whether somebody of it must go.
    fn room(&self, cap: u32, strangers_cap: u32, of: impl Fn(&Known) -> bool) -> Result<bool, Full> {
        let staying = self.count(|it| of(it) && it.standing != Standing::Leaving);
        let strangers = self.count(|it| of(it) && it.standing == Standing::Stranger);
        match strangers {
            _ if staying < cap && strangers < strangers_cap => Ok(false),
            0 => Err(Full::Connections),
            _ => Ok(true),
        }
    }

    fn room_in(&mut self, whose: Whose) -> Result<Option<Id>, Full> {
        if whose.network().is_none() {
            return Ok(None);
        }
        let must = self.room(self.caps[1], self.caps[3], |it| it.whose == whose).map_err(|_| Full::Network)?;
        let oldest = |model: &Self| model.strangers().into_iter().find(|it| it.whose == whose).map(|it| it.id);
        Ok(must.then(|| oldest(self).unwrap()).map(|id| self.send_away(id)))
    }

    fn enter(&mut self, id: Id, whose: Whose) -> Result<Vec<Id>, Full> {
        let room = self.room(self.caps[0], self.caps[2], |_| true);
        if self.all.len() as u32 >= self.places || room.is_err() {
            return Err(Full::Connections);
        }
        let mut evicted: Vec<Id> = self.room_in(whose)?.into_iter().collect();
        let must = self.room(self.caps[0], self.caps[2], |_| true);
        self.all.push(Known { id, whose, standing: Standing::Stranger });
        if must == Ok(true) {
            let first = self.first();
            evicted.push(self.send_away(first));
        }
        Ok(evicted)
    }

    fn strangers(&self) -> Vec<&Known> {
        self.all.iter().filter(|it| it.standing == Standing::Stranger).collect()
    }

    /// The oldest one of those who are the most: first of a crowd, then of a network in it.
    fn first(&self) -> Id {
        let crowd = |it: &Known| match it.whose {
            Whose::Unknown => "?".to_owned(),
            Whose::Exempt => format!("alone {}", it.id),
            Whose::Of(network) => network.wide().unwrap_or(network).to_string(),
        };
        let crowded = most(self.strangers(), crowd);
        most(crowded, |it| format!("{:?}", it.whose))[0].id
    }

    fn send_away(&mut self, id: Id) -> Id {
        self.all.iter_mut().find(|it| it.id == id).unwrap().standing = Standing::Leaving;
        id
    }
}

/// The largest group; of groups of one size, that of the oldest one.
fn most(of: Vec<&Known>, group: impl Fn(&Known) -> String) -> Vec<&Known> {
    let members = |one: &Known| -> Vec<&Known> { of.iter().copied().filter(|it| group(it) == group(one)).collect() };
    let size = of.iter().map(|it| members(it).len()).max().unwrap();
    members(of.iter().find(|it| members(it).len() == size).unwrap())
}

/// What happens; the number says to which connection.
#[derive(Clone, Copy, Debug)]
enum Event {
    Enter(Whose),
    Change(usize, Whose),
    LogIn(usize),
    Leave(usize),
}

fn whose() -> impl Strategy<Value = Whose> {
    prop_oneof![
        1 => Just(Whose::Unknown),
        1 => Just(Whose::Exempt),
        5 => (0_u8..5).prop_map(|number| Whose::Of(network(number))),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => whose().prop_map(Event::Enter),
        3 => (0_usize..40, whose()).prop_map(|(which, whose)| Event::Change(which, whose)),
        2 => (0_usize..40).prop_map(Event::LogIn),
        2 => (0_usize..40).prop_map(Event::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_has_the_most_goes_first_whatever_happens(
        caps in [1_u32..12, 1_u32..6, 1_u32..12, 1_u32..5],
        descriptors in 1_u32..16,
        events in prop::collection::vec(event(), 1..200),
    ) {
        let mut real = Connections::new(&settings_of(caps), descriptors);
        let caps = [caps[0].min(descriptors), caps[1], caps[2], caps[3]];
        let mut model = Model { caps, places: descriptors + (descriptors / PER_LEAVING).max(1), all: Vec::new() };
        let mut words = HashMap::new();
        for event in events {
            let place = |which: usize| which % model.all.len().max(1);
            match event {
                Event::Enter(whose) => match (real.enter(whose), model.enter(real.next.wrapping_sub(1), whose)) {
                    (Ok(Entered { id, eviction, evicted }), Ok(expected)) => {
                        words.insert(id, eviction);
                        let evicted: Vec<Id> = evicted.into_iter().map(|word| told(&words, word)).collect();
                        prop_assert_eq!(evicted, expected);
                        prop_assert_eq!(model.all.last().unwrap().id, id);
                    }
                    (Err(full), Err(expected)) => prop_assert_eq!(full, expected),
                    (real, expected) => prop_assert!(false, "{:?} {:?}", real.is_ok(), expected),
                },
                Event::Change(which, to) if which < model.all.len() => {
                    let at = place(which);
                    let Known { id, whose: from, standing } = model.all[at].clone();
                    if standing == Standing::Authenticated || from == to {
                        continue;
                    }
                    model.all[at].whose = Whose::Unknown;
                    match (real.change(id, from, to), standing) {
                        (Ok(Changed::NotAny), Standing::Leaving) => {}
                        (Ok(Changed::Member(evicted)), Standing::Stranger) => {
                            let evicted = evicted.map(|word| told(&words, word));
                            prop_assert_eq!(Ok(evicted), model.room_in(to));
                            model.all[at].whose = to;
                        }
                        (Err(full), Standing::Stranger) => {
                            prop_assert_eq!(Err(full), model.room_in(to));
                            model.send_away(id);
                        }
                        (real, _) => prop_assert!(false, "{:?} {:?}", real.is_ok(), standing),
                    }
                }
                Event::LogIn(which) if which < model.all.len() => {
                    let it = &mut model.all[which];
                    if it.standing != Standing::Authenticated {
                        real.authenticated(it.id, it.whose);
                        it.standing = Standing::Authenticated;
                    }
                }
                Event::Leave(which) if which < model.all.len() => {
                    let it = model.all.remove(which);
                    real.leave(it.id, it.whose, it.standing == Standing::Authenticated);
                }
                Event::Change(..) | Event::LogIn(_) | Event::Leave(_) => {}
            }
            prop_assert_eq!(real.count.all, model.all.len() as u32);
            prop_assert_eq!(real.count.leaving, model.count(|it| it.standing == Standing::Leaving));
            prop_assert_eq!(real.strangers.len() as u32, model.count(|it| it.standing == Standing::Stranger));
            for to in (0..5).map(network) {
                let Count { all, leaving } = real.networks.get(&to).copied().unwrap_or_default();
                let of = |it: &Known| it.whose == Whose::Of(to);
                prop_assert_eq!(all, model.count(of));
                prop_assert_eq!(leaving, model.count(|it| of(it) && it.standing == Standing::Leaving));
                prop_assert_eq!(
                    real.crowds.size_of(to) as u32,
                    model.count(|it| of(it) && it.standing == Standing::Stranger)
                );
            }
        }
        for it in model.all {
            real.leave(it.id, it.whose, it.standing == Standing::Authenticated);
        }
        prop_assert!(real.networks.is_empty() && real.strangers.is_empty() && real.crowds.is_empty());
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
            let of = Whose::Of(Network::of((place / 50).to_be_bytes().into()));
            let Entered { evicted, .. } = real.enter(of).ok().unwrap();
            assert_eq!(evicted.len(), round, "{round} {place}");
            if round == 1 {
                real.leave(u64::from(place), of, false);
            }
        }
    }
    assert_eq!(real.count.all, count);
}

#[test]
fn who_comes_often_pushes_himself_out_wherever_in_a_48_he_comes_from() {
    let of = |address: String| Whose::Of(Network::of(address.parse().unwrap()));
    let attackers: [fn(u32) -> String; 2] =
        [|_| "198.51.100.7".to_owned(), |number| format!("2001:db8:666:{:x}::1", number % 0x1_0000)];
    for attacker in attackers {
        let mut real = Connections::new(&settings_of([1000, 1000, 300, 300]), 1000);
        let good: Vec<(Id, Whose)> = (0..100)
            .map(|number| of(format!("203.0.113.{number}")))
            .chain((0..100).map(|number| of(format!("2001:db8:{number:x}::1"))))
            .map(|whose| (real.enter(whose).ok().unwrap().id, whose))
            .collect();
        for number in 0..10_000 {
            let Entered { id, evicted, .. } = real.enter(of(attacker(number))).ok().unwrap();
            assert_eq!(evicted.len(), usize::from(number >= 100));
            // Whoever is told to go goes.
            if number >= 100 {
                real.leave(id - 100, of(attacker(number - 100)), false);
            }
        }
        assert!(good.iter().all(|(id, _)| real.strangers.contains_key(id)));
    }
}
