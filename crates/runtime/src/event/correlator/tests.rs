use super::*;

impl Correlator {
    /// Returns what this correlator takes in memory.
    pub(in crate::event) fn bytes(&self) -> usize {
        let waiting = self.series.values().filter_map(|series| series.waiting.as_ref());
        let waiting: usize = waiting.map(|waiting| waiting.bytes()).sum();
        assert_eq!(waiting, self.waiting_bytes);
        let groups = self.groups.values();
        waiting
            + self.series.capacity() * size_of::<(Digest, Series)>()
            + self.groups.capacity() * size_of::<(Digest, Messages)>()
            + self.budgets.capacity() * size_of::<(Digest, Budget)>()
            + groups
                .map(|group| group.different.capacity() * size_of::<u64>())
                .sum::<usize>()
            + self.delayed.len() * 2 * size_of::<(Instant, Digest)>()
            + self.ready.len() * 4 * size_of::<Digest>()
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A correlator and its time.
struct World {
    correlator: Correlator,
    now: Instant,
    start: Instant,
    written: Vec<EventWrite>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            correlator: Correlator::default(),
            now,
            start: now,
            written: Vec::new(),
        }
    }

    fn say(&mut self, name: &str, reason: &'static str, message: &str) {
        self.emit("default", name, reason, message);
        self.write();
    }

    /// Emits an event that is not written yet. Returns how many others were dropped.
    fn emit(&mut self, namespace: &str, name: &str, reason: &'static str, message: &str) -> u64 {
        let elapsed = self.now.duration_since(self.start);
        let wall = Timestamp::UNIX_EPOCH + jiff::SignedDuration::try_from(elapsed).expect("a short time");
        let record = record(namespace, name, reason, message);
        self.correlator.handle(record, self.now, wall)
    }

    fn write(&mut self) {
        while let Some(write) = self.correlator.poll(self.now) {
            self.written.push(write);
        }
    }

    /// Advances the time and writes what becomes due.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.correlator.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.write();
        }
        self.now = until;
    }
}

fn record(namespace: &str, name: &str, reason: &'static str, message: &str) -> EventRecord {
    EventRecord {
        about: ObjectReference {
            kind: Some("Service".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        },
        severity: Severity::Normal,
        reason,
        message: message.to_owned(),
    }
}

#[test]
fn a_repetition_is_counted_on_the_same_event_with_a_delay() {
    let mut world = World::new();
    world.say("web", "Assigned", "one");
    assert_eq!(world.written.len(), 1);
    assert!(!world.written[0].exists);
    for _ in 0..9 {
        world.say("web", "Assigned", "one");
    }
    assert_eq!(world.written.len(), 1);
    world.pass(SECOND);
    assert_eq!(world.written.len(), 2);
    let (first, second) = (&world.written[0], &world.written[1]);
    assert_eq!(
        (second.first, second.exists, second.count),
        (first.first, true, 10)
    );
}

#[test]
fn other_messages_reasons_and_objects_are_other_events() {
    let mut world = World::new();
    world.say("web", "Assigned", "one");
    world.say("web", "Assigned", "two");
    world.say("web", "Cleared", "one");
    world.say("other", "Assigned", "one");
    assert_eq!(world.written.len(), 4);
    assert!(
        world
            .written
            .iter()
            .all(|write| !write.exists && write.count == 1)
    );
}

#[test]
fn a_repetition_after_a_long_time_is_a_new_event() {
    let mut world = World::new();
    world.say("web", "Assigned", "one");
    world.pass(WINDOW + SECOND);
    world.say("web", "Assigned", "one");
    assert_eq!(world.written.len(), 2);
    assert_eq!((world.written[1].exists, world.written[1].count), (false, 1));
    assert_ne!(world.written[0].first, world.written[1].first);
}

#[test]
fn many_messages_of_one_reason_are_combined() {
    let mut world = World::new();
    for i in 0..30 {
        world.say("web", "Failed", &format!("attempt {i}"));
        world.pass(SECOND);
    }
    world.pass(LONGEST_GAP);
    let apart: Vec<&EventWrite> = world
        .written
        .iter()
        .filter(|w| !w.record.message.starts_with(COMBINED))
        .collect();
    assert_eq!(apart.len(), SIMILAR);
    let last = world.written.last().expect("something was written");
    assert_eq!(last.record.message, format!("{COMBINED}attempt 29"));
    assert_eq!(last.count, 20);
}

#[test]
fn a_service_that_flaps_for_a_day_causes_a_few_hundred_writes_with_the_right_counts() {
    let mut world = World::new();
    for i in 0..864_000 {
        let reason = ["IPAllocated", "ClearAssignment"][i % 2];
        world.say("web", reason, "to and fro");
        world.pass(SECOND / 10);
    }
    world.pass(2 * REFILL);
    let day = 24 * 3600 / usize::try_from(REFILL.as_secs()).expect("small");
    assert!(
        world.written.len() <= day + 2 + BURST as usize,
        "{}",
        world.written.len()
    );
    let mut counts: HashMap<Timestamp, i32> = HashMap::new();
    for write in &world.written {
        counts.insert(write.first, write.count);
    }
    assert_eq!(counts.values().sum::<i32>(), 864_000);
}

#[test]
fn events_about_one_object_do_not_delay_those_about_another() {
    let mut world = World::new();
    for i in 0..100 {
        world.say("noisy", format!("Reason{i}").leak(), "x");
    }
    assert_eq!(world.written.len(), BURST as usize);
    world.say("quiet", "Assigned", "one");
    assert_eq!(world.written.len(), BURST as usize + 1);
    // Nothing of it is lost.
    world.pass(REFILL * 100);
    assert_eq!(world.written.len(), 101);
}

#[test]
fn the_next_repetition_creates_an_event_that_was_lost() {
    let mut world = World::new();
    world.say("web", "Assigned", "one");
    let lost = world.written[0].clone();
    world.correlator.handle_lost(&lost);
    world.pass(SECOND);
    world.say("web", "Assigned", "one");
    assert_eq!((world.written[1].exists, world.written[1].count), (false, 1));
}

#[test]
fn a_namespace_with_many_events_delays_others_by_one_round() {
    let mut world = World::new();
    for i in 0..1000 {
        world.now += Duration::from_nanos(1);
        world.emit("noisy", &format!("service-{i}"), "Assigned", "one");
    }
    world.written.extend(world.correlator.poll(world.now));
    world.emit("quiet", "web", "Assigned", "one");
    world.emit("other", "web", "Assigned", "one");
    world.write();
    let namespaces: Vec<&str> = world
        .written
        .iter()
        .filter_map(|write| write.record.about.namespace.as_deref())
        .collect();
    let place = |namespace| namespaces.iter().position(|n| *n == namespace);
    assert!(
        place("quiet") <= Some(3) && place("other") <= Some(3),
        "{:?}",
        &namespaces[..5]
    );
    assert_eq!((world.written.len(), world.correlator.waiting_bytes), (1002, 0));
    let of_first = world.written[0].record.about.name.as_deref();
    assert_eq!(of_first, Some("service-0"));
}

#[test]
fn a_namespace_that_floods_loses_its_own_events_only_and_they_are_counted() {
    let mut world = World::new();
    let long = "x".repeat(1000);
    for i in 0..100 {
        world.emit("quiet", &format!("service-{i}"), "Assigned", "one");
    }
    let (mut emitted, mut dropped) = (100, 0);
    while dropped == 0 || emitted % 10_000 != 0 {
        dropped += world.emit("noisy", &format!("service-{emitted}"), "Failed", &long);
        emitted += 1;
        assert!(world.correlator.waiting_bytes <= WAITING_BYTES);
    }
    world.write();
    assert_eq!(world.written.len() as u64 + dropped, emitted);
    let quiet = world
        .written
        .iter()
        .filter(|write| write.record.reason == "Assigned");
    assert_eq!(quiet.count(), 100);
    assert_eq!(world.correlator.waiting_bytes, 0);
    assert!(world.correlator.ready.is_empty());
}

#[test]
fn entries_are_bounded_for_any_events() {
    let mut world = World::new();
    for i in 0..3 * CAPACITY {
        world.say(&format!("service-{i}"), "Assigned", "one");
    }
    let correlator = &world.correlator;
    assert_eq!(world.written.len(), 3 * CAPACITY);
    assert!(correlator.series.len() <= CAPACITY);
    assert!(correlator.groups.len() <= CAPACITY);
    assert!(correlator.budgets.len() <= CAPACITY);
    assert!(correlator.delayed.len() <= CAPACITY);
}
