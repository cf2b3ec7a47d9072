//! The advice against the truth: invented lives of a cluster, what each storage engine then holds, and what the files
//! and logs say of it. The other properties compare the advice with its evidence, and evidence may be silent: a crash in
//! a DDL leaves a `grastate.dat` of zeros beside the newest data.
//!
//! What is modelled, with its sources: `grastate.dat` holds the history and -1 while a node runs, zeros while a DDL (TOI)
//! is applied and while a full state transfer is received (galera's `saved_state.cpp`, `mark_unsafe`; seen on 26.4.23),
//! its position while FLUSH TABLES WITH READ LOCK holds (seen on 26.4.23), and after an orderly stop. `gvwstate.dat` is there from the first Primary view to an orderly stop; a
//! power cut may leave it empty. Galera before 3.24 could leave an old position in `grastate.dat` while the node ran on.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::galera::cases;

/// What a node that runs is at.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Work {
    Idle,
    Ddl,
    Locked,
    /// Receives everything; of what it held before nothing is left to rely on.
    Sst,
    /// Receives what it lacks.
    Ist,
}

#[derive(Debug, Clone)]
struct Life {
    /// What its storage engine holds; `None`: no data of any cluster.
    data: Option<u64>,
    /// Whether that is whole: a full state transfer that was interrupted leaves a piece.
    whole: bool,
    /// What `--wsrep-recover` says while the data are not whole.
    piece: Option<u64>,
    running: Option<Work>,
    grastate: Option<Grastate>,
    gvwstate: View,
    /// The view it was in last, by its number.
    view: u64,
    member: u8,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum View {
    Missing,
    Written,
    Empty,
}

#[derive(Debug, Clone)]
enum Event {
    /// A node commits; how far each other one gets, if it applies at all.
    Commit(Index, Vec<u8>),
    DdlBegins(Index),
    DdlEnds(Index),
    /// FLUSH TABLES WITH READ LOCK, as a backup sets it: nothing is applied, and grastate.dat holds the position meanwhile.
    Lock(Index),
    Unlock(Index),
    /// Galera before 3.24, after a spell in a component without quorum.
    StaleSeqno(Index),
    Stop(Index),
    /// A crash; whether it takes the contents of gvwstate.dat with it.
    Crash(Index, bool),
    /// Joins those that run, by a full transfer or not.
    Join(Index, bool),
    TransferEnds(Index),
    /// A legitimate bootstrap: nothing runs, and the node that is furthest begins.
    Bootstrap,
}

/// The whole cluster.
struct World {
    nodes: Vec<Life>,
    seqno: u64,
    views: u64,
    members: Vec<Vec<u8>>,
    next_member: u8,
}

impl World {
    /// All run and have the same.
    fn new(count: usize) -> Self {
        let node = |_| Life {
            data: Some(10),
            whole: true,
            piece: None,
            running: Some(Work::Idle),
            grastate: None,
            gvwstate: View::Missing,
            view: 0,
            member: 0,
        };
        let nodes = (0..count).map(node).collect();
        let mut world = Self { nodes, seqno: 10, views: 0, members: Vec::new(), next_member: 1 };
        for i in 0..count {
            world.enter(i);
        }
        world.new_view();
        world
    }

    fn saved(uuid: u8, seqno: Option<u64>, safe: bool) -> Option<Grastate> {
        Some(Grastate { position: at(uuid, seqno), safe_to_bootstrap: Some(safe) })
    }

    /// Begins a life in the group, and says that it runs.
    fn enter(&mut self, i: usize) {
        let member = self.next_member;
        self.next_member = self.next_member.saturating_add(1);
        let node = &mut self.nodes[i];
        node.member = member;
        node.grastate = Self::saved(H, None, false);
        node.running = Some(Work::Idle);
    }

    fn new_view(&mut self) {
        let running: Vec<u8> = self.nodes.iter().filter(|n| n.running.is_some()).map(|n| n.member).collect();
        self.members.push(running);
        self.views += 1;
        for node in self.nodes.iter_mut().filter(|n| n.running.is_some()) {
            node.view = self.views;
            node.gvwstate = View::Written;
        }
    }

    fn running(&self) -> usize {
        self.nodes.iter().filter(|n| n.running.is_some()).count()
    }

    /// What is further than all that is whole is further than all that is not.
    fn furthest(&self) -> Option<u64> {
        self.nodes.iter().filter(|n| n.whole).filter_map(|n| n.data).max()
    }

    fn happen(&mut self, event: &Event) {
        let count = self.nodes.len();
        match event {
            Event::Commit(who, applied) => {
                let who = who.index(count);
                if self.nodes[who].running != Some(Work::Idle) || self.nodes[who].data != Some(self.seqno) {
                    return;
                }
                self.seqno += 3;
                for (i, node) in self.nodes.iter_mut().enumerate() {
                    let how_far = applied.get(i).copied().unwrap_or(3);
                    match node.running {
                        _ if i == who => node.data = Some(self.seqno),
                        // What is received is applied later: a crash takes it.
                        Some(Work::Idle | Work::Ist) => {
                            node.data = node.data.map(|d| (d + u64::from(how_far)).min(self.seqno));
                        }
                        Some(Work::Ddl | Work::Locked | Work::Sst) | None => {}
                    }
                }
            }
            Event::DdlBegins(who) => {
                let node = &mut self.nodes[who.index(count)];
                if node.running == Some(Work::Idle) {
                    node.running = Some(Work::Ddl);
                    node.grastate = Self::saved(0, None, false);
                }
            }
            Event::DdlEnds(who) => {
                let node = &mut self.nodes[who.index(count)];
                if node.running == Some(Work::Ddl) {
                    node.running = Some(Work::Idle);
                    node.grastate = Self::saved(H, None, false);
                }
            }
            Event::Lock(who) => {
                let node = &mut self.nodes[who.index(count)];
                if node.running == Some(Work::Idle) {
                    node.running = Some(Work::Locked);
                    node.grastate = Self::saved(H, node.data, false);
                }
            }
            Event::Unlock(who) => {
                let node = &mut self.nodes[who.index(count)];
                if node.running == Some(Work::Locked) {
                    node.running = Some(Work::Idle);
                    node.grastate = Self::saved(H, None, false);
                }
            }
            Event::StaleSeqno(who) => {
                let node = &mut self.nodes[who.index(count)];
                if matches!(node.running, Some(Work::Idle | Work::Ist)) {
                    node.grastate = Self::saved(H, node.data, false);
                }
            }
            Event::Stop(who) => {
                let who = who.index(count);
                let last = self.running() == 1;
                let node = &mut self.nodes[who];
                if matches!(node.running, Some(Work::Idle | Work::Ist)) {
                    node.grastate = Self::saved(H, node.data, last);
                    node.gvwstate = View::Missing;
                    node.running = None;
                    self.new_view();
                }
            }
            Event::Crash(who, empties) => {
                let who = who.index(count);
                if self.nodes[who].running.is_some() {
                    if *empties {
                        self.nodes[who].gvwstate = View::Empty;
                    }
                    self.nodes[who].running = None;
                }
            }
            Event::Join(who, full) => self.join(who.index(count), *full),
            Event::TransferEnds(who) => {
                let node = &mut self.nodes[who.index(count)];
                if matches!(node.running, Some(Work::Sst | Work::Ist)) {
                    (node.data, node.whole) = (Some(self.seqno), true);
                    node.running = Some(Work::Idle);
                    node.grastate = Self::saved(H, None, false);
                }
            }
            Event::Bootstrap => {
                let furthest = self.furthest();
                let who = self.nodes.iter().position(|n| n.whole && n.data.is_some() && n.data == furthest);
                if let (0, Some(who), Some(furthest)) = (self.running(), who, furthest) {
                    self.seqno = furthest;
                    self.enter(who);
                    self.new_view();
                }
            }
        }
    }

    /// Only where one that has everything is there to give it.
    fn join(&mut self, who: usize, full: bool) {
        let donor = self.nodes.iter().any(|n| n.running == Some(Work::Idle) && n.data == Some(self.seqno));
        if self.nodes[who].running.is_some() || !donor {
            return;
        }
        let saved = self.nodes[who].grastate.as_ref().map(|g| g.position.uuid);
        self.enter(who);
        let (most, node) = (self.seqno, &mut self.nodes[who]);
        // Without a position in grastate.dat there is no other way.
        if full || !node.whole || saved != Some(uuid(H)) {
            node.running = Some(Work::Sst);
            node.grastate = Self::saved(0, None, false);
            // Not begun yet, in the middle, or but for the end.
            node.piece = [None, node.data, Some(most)][who % 3];
            (node.data, node.whole) = (None, false);
        } else {
            node.running = Some(Work::Ist);
        }
        self.new_view();
    }

    /// What is left of a node, or its answer where it still runs; `logs` says which logs were given, and how good.
    fn evidence(&self, i: usize, log: Log) -> Evidence {
        let (node, name) = (&self.nodes[i], format!("db{i}"));
        if let Some(work) = node.running {
            let zero = work == Work::Sst;
            return answer(&name, 0, |a| {
                a.position = Some(if zero { at(0, None) } else { at(H, node.data) });
                a.joiner = work == Work::Sst;
                a.applying = node.data != Some(self.seqno);
                a.member = Some(uuid(node.member));
            });
        }
        let saved = node.grastate.as_ref().map(|g| g.position);
        let is_blank = saved.is_some_and(|p| p.uuid.is_zero());
        let is_stopped = node.gvwstate == View::Missing;
        // A server believes a seqno in its file, however old: the model does not start one that has an old one.
        if matches!(log, Log::Started) && (is_stopped || saved.is_some_and(|p| p.seqno.is_none())) {
            return answer(&name, 0, |a| {
                a.position = Some(if is_blank { at(0, None) } else { at(H, node.data) });
                a.member = Some(uuid(node.member));
            });
        }
        let held = if node.whole { node.data } else { node.piece };
        let position = held.map_or(at(0, None), |seqno| at(H, Some(seqno)));
        let recovered = match log {
            Log::None | Log::Started | Log::LeftOut => None,
            Log::Fresh => Some(super::log(position)),
            // From before the node last ran, which the same log shows.
            Log::Old => Some(Recovered { outdated_by: Some(90), ..super::log(at(H, Some(7))) }),
        };
        let files = Files { grastate: node.grastate.clone(), recovered, ..Files::default() };
        of_files(&name, self.with_view(node, files))
    }

    fn with_view(&self, node: &Life, files: Files) -> Files {
        let members =
            self.members.get(usize::try_from(node.view.saturating_sub(1)).unwrap()).cloned().unwrap_or_default();
        let view = Gvwstate {
            my_uuid: uuid(node.member),
            view_id: format!("3 x {}", node.view),
            members: members.into_iter().map(uuid).collect(),
        };
        match node.gvwstate {
            View::Missing => files,
            View::Written => Files { gvwstate: Some(view), ..files },
            View::Empty => Files { gvwstate_damage: Some("it is empty (0 bytes)".into()), ..files },
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Log {
    None,
    /// Nothing of that node is given: its machine burned, or so the operator says.
    LeftOut,
    /// There is none, since the server was started again; it finds no Primary component.
    Started,
    Fresh,
    Old,
}

fn event() -> impl Strategy<Value = Event> {
    let who = any::<Index>;
    let applied = || proptest::collection::vec(0..4_u8, 4);
    prop_oneof![
        8 => (who(), applied()).prop_map(|(who, applied)| Event::Commit(who, applied)),
        3 => who().prop_map(Event::DdlBegins),
        2 => who().prop_map(Event::DdlEnds),
        1 => who().prop_map(Event::Lock),
        1 => who().prop_map(Event::Unlock),
        1 => who().prop_map(Event::StaleSeqno),
        2 => who().prop_map(Event::Stop),
        3 => (who(), proptest::bool::weighted(0.2)).prop_map(|(who, empties)| Event::Crash(who, empties)),
        4 => (who(), any::<bool>()).prop_map(|(who, full)| Event::Join(who, full)),
        2 => who().prop_map(Event::TransferEnds),
        1 => Just(Event::Bootstrap),
    ]
}

/// A cluster's life, mostly with a crash of all at its end; and which logs of --wsrep-recover are given.
fn lives() -> impl Strategy<Value = (usize, Vec<Event>, bool, Vec<Log>)> {
    let log = || prop_oneof![2 => Just(Log::None), 1 => Just(Log::LeftOut), 1 => Just(Log::Started), 5 => Just(Log::Fresh), 1 => Just(Log::Old)];
    let events = proptest::collection::vec(event(), 0..24);
    (2..5_usize, events, proptest::bool::weighted(0.8), proptest::collection::vec(log(), 4))
}

fn live_through(count: usize, events: &[Event], all_crash: bool) -> World {
    let mut world = World::new(count);
    events.iter().for_each(|event| world.happen(event));
    if all_crash {
        world.nodes.iter_mut().for_each(|n| n.running = None);
    }
    world
}

fn given(world: &World, logs: &[Log]) -> impl Iterator<Item = usize> {
    (0..world.nodes.len()).filter(|i| !matches!(logs[*i], Log::LeftOut))
}

fn evidence(world: &World, logs: &[Log]) -> Vec<Evidence> {
    given(world, logs).map(|i| world.evidence(i, logs[i])).collect()
}

/// Whether the operator is told to make sure that the node was not in the middle of a state transfer: a `grastate.dat`
/// of zeros looks alike after that and after a crash in a DDL.
fn asks_for_its_transfer(advice: &Advice, name: &str) -> bool {
    advice.before.iter().any(|b| b.starts_with(name) && b.contains("state transfer"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(4000)))]

    #[test]
    fn the_node_that_is_named_holds_all_that_any_holds((count, events, all_crash, logs) in lives()) {
        let world = live_through(count, &events, all_crash);
        let nodes = evidence(&world, &logs);
        let advice = advise(&nodes);
        if let Verdict::Bootstrap(name) = &advice.verdict {
            let named = &world.nodes[name.strip_prefix("db").unwrap().parse::<usize>().unwrap()];
            prop_assert!(named.whole || asks_for_its_transfer(&advice, name), "{name} holds a piece: {advice:#?}");
            if named.whole {
                let whole = given(&world, &logs).map(|i| &world.nodes[i]).filter(|n| n.whole);
                prop_assert_eq!(named.data, whole.filter_map(|n| n.data).max(), "{} lacks something: {:#?}", name, advice);
            }
        }
    }

    #[test]
    fn a_bootstrap_carries_the_history_on((count, events, all_crash, logs) in lives()) {
        let world = live_through(count, &events, all_crash);
        let nodes = evidence(&world, &logs);
        let advice = advise(&nodes);
        if let Verdict::Bootstrap(name) = &advice.verdict {
            let named = &world.nodes[name.strip_prefix("db").unwrap().parse::<usize>().unwrap()];
            let zeros = named.grastate.as_ref().is_some_and(|g| g.position.uuid.is_zero());
            let written = commands(&advice).iter().any(|c| c.contains(&format!("uuid:    {}", uuid(H))));
            // The position on the command line counts only where grastate.dat names its history.
            prop_assert!(named.running.is_some() || !zeros || written, "a new history: {advice:#?}");
        }
    }

    #[test]
    fn a_view_is_restored_by_all_its_members_or_not_at_all((count, events, _, logs) in lives()) {
        // Every node is given, stopped: the last view is that of any of them.
        let stopped = |log: &Log| if matches!(log, Log::Started | Log::LeftOut) { Log::None } else { *log };
        let logs: Vec<Log> = logs.iter().map(stopped).collect();
        let world = live_through(count, &events, true);
        let nodes = evidence(&world, &logs);
        let advice = advise(&nodes);
        for step in advice.steps.iter().filter(|s| s.title.contains("pc.recovery")) {
            let last = world.nodes.iter().filter(|n| n.gvwstate == View::Written).map(|n| n.view).max().unwrap();
            let members = &world.members[usize::try_from(last).unwrap() - 1];
            for (i, node) in world.nodes.iter().enumerate() {
                let listed = step.title.split("start ").nth(1).unwrap().split(". ").next().unwrap();
                let is_listed = listed.contains(&format!("db{i}"));
                prop_assert_eq!(is_listed, members.contains(&node.member), "db{}: {}", i, step.title.clone());
                // One whose grastate.dat names no history would be given other data, though it may hold the most.
                let zeros = node.grastate.as_ref().is_some_and(|g| g.position.uuid.is_zero());
                prop_assert!(!(is_listed && zeros && node.whole && node.data.is_some()), "db{i}: {}", step.title);
            }
        }
    }

    #[test]
    fn once_every_position_was_read_a_node_is_named((count, events, _, _) in lives()) {
        let world = live_through(count, &events, true);
        let nodes = evidence(&world, &[Log::Fresh; 4]);
        let any = world.furthest().is_some();
        let advice = advise(&nodes);
        prop_assert_eq!(any, matches!(advice.verdict, Verdict::Bootstrap(_)), "{:#?}", advice);
    }
}
