//! The transition table of an address' machine: every stage with every event.
//!
//! `table.txt` is the table. A mismatch prints the whole table as it is now.

use super::*;
use alloc::format;
use alloc::string::String;

/// A stage, with the duty and the history, as far as they make a difference to what follows.
type Stage = (&'static str, fn() -> World);

/// An event.
type Event = (&'static str, fn(&mut World) -> Vec<Effect>);

/// Makes the peer of better rank down and keeps the peer of worse rank alive.
fn first_is_down(mut world: World) -> World {
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    world.effects();
    world
}

fn backup() -> Role {
    Role::Backup {
        of: FIRST.into(),
        grant: grant(),
    }
}

fn monitoring() -> World {
    let mut world = World::new();
    world.role(Some(backup()));
    world.until_due();
    world.probed(ProbeResult::Answered(mac(FIRST)));
    world
}

fn probing_as_backup() -> World {
    let mut world = monitoring();
    let unanswered = ProbeResult::Unanswered {
        last_frame: Some(Duration::ZERO),
    };
    while world.probed(unanswered) != [probe()] {
        world.until_due();
    }
    world
}

fn acting() -> World {
    let mut world = probing_as_backup();
    world.probed(ProbeResult::Silence);
    world
}

fn handing_over_as_backup() -> World {
    let mut world = acting();
    world.until_due();
    world.probed(ProbeResult::Answered(mac(FIRST)));
    world
}

fn after_a_dispute() -> World {
    let mut world = World::active();
    world.replied(FIRST, true);
    while world.takeover.announces(ip()) {
        world.until_due();
        world.replied(FIRST, true);
    }
    world
}

const STAGES: [Stage; 11] = [
    ("Idle", || first_is_down(World::new())),
    ("Monitoring", || first_is_down(monitoring())),
    ("Probing, elected", || first_is_down(World::probing())),
    ("Probing, backup", || first_is_down(probing_as_backup())),
    ("Deferred, to a peer", || World::deferred(Liveness::Down)),
    ("Deferred, conflict", || first_is_down(World::in_conflict())),
    ("Deferred, after a dispute", || first_is_down(after_a_dispute())),
    ("Active, elected", || first_is_down(World::active())),
    ("Active, acting owner", || first_is_down(acting())),
    ("HandingOver, standby", || first_is_down(World::handing_over())),
    ("HandingOver, backup", || first_is_down(handing_over_as_backup())),
];

const EVENTS: [Event; 23] = [
    ("elected", |world| world.role(Some(elected()))),
    ("backup", |world| world.role(Some(backup()))),
    ("standby", |world| world.role(Some(standby()))),
    ("unowned", |world| {
        world.role(Some(Role::Unowned(Exclusion::NoEndpoints)))
    }),
    ("gone", |world| world.role(None)),
    ("silence", |world| world.probed(ProbeResult::Silence)),
    ("no link", |world| world.probed(ProbeResult::NoLink)),
    ("answer of an alive peer", |world| {
        world.probed(ProbeResult::Answered(mac(LAST)))
    }),
    ("answer of a starting peer", |world| {
        let starting = Member {
            state: NodeState::Starting,
            ..member(LAST, Liveness::Alive)
        };
        let members = [
            member(FIRST, Liveness::Down),
            member(ME, Liveness::Alive),
            starting,
        ];
        world.takeover.set_members(&members, world.now);
        world.probed(ProbeResult::Answered(mac(LAST)))
    }),
    ("answer of a lost peer", |world| {
        world.probed(ProbeResult::Answered(mac(FIRST)))
    }),
    ("answer of a foreign host", |world| {
        world.probed(ProbeResult::Answered(FOREIGN))
    }),
    ("contention", |world| {
        world.probed(ProbeResult::Contended(FOREIGN))
    }),
    ("no answer to a check", |world| {
        world.probed(ProbeResult::Unanswered { last_frame: None })
    }),
    ("claim of an alive peer", |world| world.handle_claim_of(mac(LAST))),
    ("claim of a lost peer", |world| world.handle_claim_of(mac(FIRST))),
    ("claim of a foreign host", |world| world.handle_claim_of(FOREIGN)),
    ("yes of an alive peer", |world| world.replied(LAST, true)),
    ("no of an alive peer", |world| world.replied(LAST, false)),
    ("yes of a lost peer", |world| world.replied(FIRST, true)),
    ("no of a lost peer", |world| world.replied(FIRST, false)),
    ("check", |world| {
        world.takeover.handle(ip(), machine::Event::Check, world.now);
        world.effects()
    }),
    ("timeout", |world| {
        world.now = world.now + HANDOVER_LIMIT;
        world.takeover.handle(ip(), machine::Event::Timeout, world.now);
        world.effects()
    }),
    ("absence", |world| {
        world.takeover.handle_absence(world.now);
        world.effects()
    }),
];

/// Names the stage, and the duty where it is not the elected node's.
fn stage(world: &World) -> String {
    let Some(machine) = world.takeover.machines.get(&ip()) else {
        return "Idle".into();
    };
    match machine.stage() {
        machine::Stage::HandingOver { .. } => "HandingOver".into(),
        stage @ (machine::Stage::Idle
        | machine::Stage::Monitoring
        | machine::Stage::Probing
        | machine::Stage::Deferred
        | machine::Stage::Active) => format!("{stage:?}"),
    }
}

fn describe(effect: &Effect) -> String {
    let text = match effect {
        Effect::Command(Command::Check { target: None, .. }) => "Check",
        Effect::Command(Command::Check { .. }) => "Check the sender",
        Effect::Command(Command::Announce(_)) => "Announce",
        Effect::Command(Command::Probe(_)) => "Probe",
        Effect::Command(Command::Withdraw(_)) => "Withdraw",
        Effect::Command(Command::Defend(_) | Command::DefendAgainstForged(_) | Command::DefendAtOnce(_)) => {
            "Defend"
        }
        Effect::Command(Command::CancelProbe(_)) => "CancelProbe",
        Effect::Command(Command::Reannounce(_)) => "Reannounce",
        Effect::Command(Command::WithdrawAll) => "WithdrawAll",
        Effect::Gained(..) => "+gained",
        Effect::Lost(..) => "+lost",
        Effect::TookOver(..) => "+took over",
        Effect::QueryPeer(..) => "QueryPeer",
        Effect::Event(_, event) => return format!("+{}", event.reason()),
    };
    text.into()
}

#[test]
fn every_stage_handles_every_event_as_the_table_says() {
    let mut table = String::new();
    for (name, start) in STAGES {
        table += &format!("{name}\n");
        for (event, handle) in EVENTS {
            let mut world = start();
            assert_eq!(stage(&world), name.split(',').next().expect("a stage"));
            let effects = handle(&mut world);
            let effects: Vec<String> = effects.iter().map(describe).collect();
            let row = format!("  {event:<25} {:<12} {}", stage(&world), effects.join(", "));
            table += row.trim_end();
            table += "\n";
        }
    }
    assert!(table == include_str!("table.txt"), "the table is now:\n{table}");
}
