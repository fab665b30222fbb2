//! What fairness means, counted; no clock and no task.

use super::super::deal::hash;
use super::*;

const SHAPE: Shape = Shape { queues: 64, hand: 6, length_max: 50 };
const MS: i64 = 1_000_000;

/// A level whose requests are played one after the other: whoever ends gives up the seat that the next takes.
struct Play {
    level: Queues<(&'static str, u32)>,
    running: VecDeque<(&'static str, Option<usize>, u32)>,
}

impl Play {
    fn new(shape: Shape, seats: u32) -> Self {
        Self { level: Queues::new(shape, seats), running: VecDeque::new() }
    }

    fn ask(&mut self, user: &'static str, seats: u32) -> Result<Option<Place>, Refusal> {
        if self.level.try_start(seats) {
            self.running.push_back((user, None, seats));
            return Ok(None);
        }
        let place = self.level.wait(hash("schema", user), seats, (user, seats))?;
        self.fill();
        Ok(Some(place))
    }

    fn fill(&mut self) {
        while let Some((user, seats)) = self.level.start_next() {
            // Its own hand is not known here: any queue of its flow does for the count.
            let queue = self.level.last;
            self.running.push_back((user, Some(queue), seats));
        }
    }

    /// Ends the request that runs longest; gives its user.
    fn end(&mut self, took_ms: i64) -> &'static str {
        let (user, queue, seats) = self.running.pop_front().unwrap();
        self.level.finish(queue, seats, took_ms * MS);
        self.fill();
        user
    }
}

#[test]
fn a_flood_of_one_leaves_the_other_the_next_seats() {
    let mut play = Play::new(SHAPE, 4);
    for _ in 0..64 {
        play.ask("flood", 1).unwrap();
    }
    for round in 0..50 {
        play.ask("light", 1).unwrap();
        // Four run, and the flood has six queues: the light one starts when each of these has had its turn at most,
        // although sixty requests were there before it.
        let ends: Vec<&str> = (0..4 + 7).map(|_| play.end(5)).collect();
        assert!(ends.contains(&"light"), "round {round}: {ends:?}");
        for _ in 0..10 {
            play.ask("flood", 1).unwrap();
        }
    }
}

#[test]
fn two_floods_share_by_time_and_not_by_count() {
    // One queue each, so that what is counted is the sharing and not the dealing.
    let mut play = Play::new(Shape { hand: 1, ..SHAPE }, 2);
    let mut served = std::collections::BTreeMap::<&str, i64>::new();
    for user in ["long", "short"] {
        for _ in 0..40 {
            play.ask(user, 1).unwrap();
        }
    }
    for _ in 0..2000 {
        let next = play.running.front().unwrap().0;
        let took = if next == "long" { 30 } else { 10 };
        *served.entry(play.end(took)).or_default() += took;
        play.ask(next, 1).unwrap();
    }
    let (long, short) = (served["long"], served["short"]);
    assert!((long - short).abs() * 10 < long, "{served:?}");
}

#[test]
fn a_wide_request_is_not_overtaken_for_ever() {
    let mut play = Play::new(SHAPE, 4);
    for _ in 0..4 {
        play.ask("narrow", 1).unwrap();
    }
    play.ask("wide", 4).unwrap();
    let mut ends = Vec::new();
    while !play.running.iter().any(|(user, ..)| *user == "wide") {
        ends.push(play.end(1));
        play.ask("narrow", 1).unwrap();
        assert!(ends.len() < 12, "{ends:?}");
    }
    assert_eq!(play.level.seats(), (4, 4));
}

#[test]
fn wider_than_the_level_runs_alone() {
    let mut play = Play::new(SHAPE, 2);
    assert_eq!(play.ask("wide", 10), Ok(None));
    assert!(play.ask("other", 1).unwrap().is_some());
    assert_eq!(play.end(1), "wide");
    assert_eq!(play.end(1), "other");
}

#[test]
fn what_cannot_wait_is_refused() {
    let mut none = Play::new(Shape::default(), 1);
    assert_eq!(none.ask("a", 1), Ok(None));
    assert_eq!(none.ask("a", 1), Err(Refusal::ConcurrencyLimit));
    let mut short = Play::new(Shape { queues: 8, hand: 2, length_max: 3 }, 1);
    for _ in 0..1 + 2 * 3 {
        short.ask("a", 1).unwrap();
    }
    assert_eq!(short.ask("a", 1), Err(Refusal::QueueFull));
    let mut closed = Play::new(SHAPE, 0);
    assert!(closed.ask("a", 1).unwrap().is_some(), "a level without seats lets nobody start");
    assert!(closed.running.is_empty());
}

#[test]
fn who_gives_up_frees_the_place_and_who_has_started_cannot() {
    let mut play = Play::new(Shape { queues: 1, hand: 1, length_max: 1 }, 1);
    play.ask("a", 1).unwrap();
    let place = play.ask("b", 1).unwrap().unwrap();
    assert_eq!(play.ask("c", 1), Err(Refusal::QueueFull));
    assert!(play.level.give_up(place));
    let place = play.ask("c", 1).unwrap().unwrap();
    assert_eq!((play.end(1), play.end(1)), ("a", "c"));
    assert!(!play.level.give_up(place));
    assert_eq!(play.level.seats(), (1, 0));
}

#[test]
fn more_seats_let_those_start_who_wait_and_demand_is_remembered() {
    let mut play = Play::new(SHAPE, 1);
    for _ in 0..5 {
        play.ask("a", 1).unwrap();
    }
    play.level.resize(3);
    play.fill();
    assert_eq!(play.level.seats(), (3, 3));
    assert_eq!(play.level.take_demand(), 5);
    while !play.running.is_empty() {
        play.end(1);
    }
    assert_eq!(play.level.take_demand(), 5);
    assert_eq!(play.level.take_demand(), 0);
}
