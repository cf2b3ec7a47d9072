//! From what a node answers its check to who gets clients, and what becomes of the sessions that are there.

use std::time::Instant;

use crate::fakes::{FAST, Fakes, LONG, connect, greeted_by, service, wait_service};
use crate::harness::process::Signal;
use crate::harness::{Conn, Galeway, Settings, millis, secs, until};
use crate::peer::{Mode, Peer};

/// Two good nodes and Galeway before them.
fn two(settings: Settings<'_>) -> (Fakes, Vec<Peer>, Galeway) {
    let (fakes, peers) = Fakes::good(2);
    let galeway = fakes.galeway(settings);
    (fakes, peers, galeway)
}

/// With these lines in the monitor's section.
fn monitor(lines: &str) -> Settings<'_> {
    Settings { monitor: lines, ..Settings::default() }
}

/// A session on each of two nodes, which take turns.
fn one_each(galeway: &Galeway) -> [Conn; 2] {
    let conns = [connect(galeway), connect(galeway)];
    assert_eq!(conns.each_ref().map(greeted_by), ["n1", "n2"]);
    conns
}

/// Sessions of a node.
fn active(galeway: &Galeway, node: &str) -> u64 {
    galeway.node(node)["connections"]["active"].as_u64().unwrap()
}

fn changes(galeway: &Galeway) -> f64 {
    galeway.metric("galeway_verdict_changes_total", &[])
}

fn reason(galeway: &Galeway, node: &str) -> String {
    galeway.node(node)["reason"].as_str().unwrap().to_owned()
}

/// Failed checks of a node so far.
fn failures(galeway: &Galeway, node: &str) -> f64 {
    galeway.metric("galeway_probe_failures_total", &[("node", node)])
}

/// Lets many times a `down_after` of 500 ms pass, counted in failed checks: nothing may spin meanwhile.
#[track_caller]
fn goes_on_failing_calmly(galeway: &Galeway, node: &str) {
    let target = failures(galeway, node) + 12.0;
    let control = || galeway.cpu().into_values().find(|(name, _)| name == "control").unwrap().1;
    let (busy, start) = (control(), Instant::now());
    until(LONG, "it goes on failing", || {
        std::thread::sleep(millis(100));
        (failures(galeway, node) >= target).then_some(())
    });
    let share = (control() - busy) / start.elapsed().as_secs_f64();
    assert!(share < 0.4, "the control thread is busy for {share:.2} of the time");
}

/// Waits until a node was checked some times more.
fn wait_checks(fakes: &Fakes, node: u8, more: usize) {
    let target = fakes.check(node).commands() + 2 * more;
    until(LONG, "checks go on", || (fakes.check(node).commands() >= target).then_some(()));
}

#[test]
fn a_node_that_hangs_in_its_check_is_excluded_after_fall_and_its_sessions_end_after_down_after() {
    let lines = "interval = \"50ms\"\nfast_interval = \"50ms\"\ntimeout = \"200ms\"\nfall = 3\ndown_after = \"2s\"";
    let (fakes, _data, galeway) = two(Settings { monitor: lines, ..service("balance = \"round-robin\"") });
    let _sessions = one_each(&galeway);
    let hung = Instant::now();
    fakes.check(1).set_mode(Mode::HangInQueries);
    galeway.wait_verdict("n1", "excluded", LONG);
    let (excluded, failed) = (hung.elapsed(), failures(&galeway, "n1"));
    assert!(failed >= 3.0 && excluded >= millis(600), "after {failed} failures, {excluded:?}");
    assert_eq!(reason(&galeway, "n1"), "unreachable (no answer: query timed out)");
    // Its session is there until down_after has passed since the first failed check began.
    let ended = until(LONG, "its session ends", || {
        let now = hung.elapsed();
        (active(&galeway, "n1") == 0).then_some(now)
    });
    assert!(ended >= secs(2), "{ended:?}");
    assert_eq!(active(&galeway, "n2"), 1);
    assert_eq!(galeway.metric("galeway_sessions_killed_total", &[("node", "n1"), ("reason", "unreachable")]), 1.0);
    assert_eq!(galeway.node("n1")["connections"]["killed"], 1);
}

#[test]
fn a_node_that_answers_again_before_down_after_keeps_its_sessions() {
    let lines = "interval = \"50ms\"\nfast_interval = \"50ms\"\ntimeout = \"200ms\"\nrise = 3\ndown_after = \"1h\"";
    let (fakes, _data, galeway) = two(Settings { monitor: lines, ..service("balance = \"round-robin\"") });
    let _sessions = one_each(&galeway);
    fakes.check(1).set_mode(Mode::HangInQueries);
    galeway.wait_verdict("n1", "excluded", LONG);
    fakes.check(1).set_mode(Mode::Serve);
    galeway.wait_verdict("n1", "eligible", LONG);
    assert_eq!((active(&galeway, "n1"), active(&galeway, "n2")), (1, 1), "{}", galeway.log());
}

#[test]
fn a_node_that_comes_back_serves_after_rise_good_checks() {
    let lines = "interval = \"50ms\"\nfast_interval = \"50ms\"\ntimeout = \"200ms\"\nrise = 5";
    let (fakes, _data, galeway) = two(monitor(lines));
    fakes.check(1).set_mode(Mode::Hang);
    galeway.wait_verdict("n1", "excluded", LONG);
    let before = fakes.check(1).commands();
    fakes.check(1).set_mode(Mode::Serve);
    galeway.wait_verdict("n1", "eligible", LONG);
    // Two queries a check, and the fifth check decides.
    assert!(fakes.check(1).commands() - before >= 2 * 5, "{}", fakes.check(1).commands() - before);
}

#[test]
fn a_single_failed_check_changes_nothing() {
    let lines = "interval = \"50ms\"\nfast_interval = \"50ms\"\nfall = 2";
    let (fakes, _data, galeway) = two(monitor(lines));
    let before = changes(&galeway);
    fakes.check(1).hang_once();
    until(LONG, "a check fails", || (failures(&galeway, "n1") >= 1.0).then_some(()));
    wait_checks(&fakes, 1, 2);
    assert_eq!((failures(&galeway, "n1"), changes(&galeway)), (1.0, before));
}

#[test]
fn a_closed_check_connection_that_cannot_be_redialled_is_down_at_once() {
    let lines = "interval = \"1h\"\nfast_interval = \"1h\"\nfall = 100\ndown_after = \"1h\"";
    for mode in [Mode::Reset, Mode::Close] {
        let (fakes, _data, galeway) = two(Settings { monitor: lines, ..service("balance = \"round-robin\"") });
        let _sessions = one_each(&galeway);
        fakes.check(1).set_mode(mode);
        fakes.check(1).cut_connections();
        galeway.wait_verdict("n1", "excluded", LONG);
        until(LONG, "its session ends", || (active(&galeway, "n1") == 0).then_some(()));
        assert_eq!((failures(&galeway, "n1"), active(&galeway, "n2")), (1.0, 1));
    }
}

#[test]
fn a_closed_check_connection_that_logs_in_again_means_nothing() {
    let (fakes, _data, galeway) = two(monitor("interval = \"1h\"\nfast_interval = \"10ms\""));
    let before = (changes(&galeway), failures(&galeway, "n1"));
    assert_eq!(fakes.check(1).logins(), 1);
    let session = connect(&galeway);
    for logins in 2..=4 {
        // Cut each time as soon as it is there it would be dialled no faster than the interval.
        std::thread::sleep(millis(50));
        fakes.check(1).cut_connections();
        until(LONG, "it logs in again", || (fakes.check(1).logins() == logins).then_some(()));
        wait_service(&galeway, "active", 1);
    }
    assert_eq!((changes(&galeway), failures(&galeway, "n1")), before);
    drop(session);
}

#[test]
fn the_check_stays_on_one_login() {
    let (fakes, _data, galeway) = two(monitor("interval = \"20ms\"\nfast_interval = \"20ms\""));
    wait_checks(&fakes, 1, 50);
    assert_eq!((fakes.check(1).logins(), fakes.check(2).logins(), fakes.check(1).connections()), (1, 1, 1));
    drop(galeway);
}

#[test]
fn the_checks_session_takes_nothing_over_from_the_servers_settings() {
    let fakes = Fakes::new(3);
    fakes.check(2).set_unknown(&["wsrep_dirty_reads"]);
    // What it answers with otherwise comes to the question itself.
    fakes.check(3).set_mode(Mode::AnswerWithErr(1047, "WSREP has not yet prepared node".into()));
    let galeway = fakes.galeway(monitor("interval = \"20ms\"\nfast_interval = \"20ms\""));
    galeway.wait_verdict("n2", "eligible", LONG);
    let sets = |i| -> Vec<String> {
        let queries = fakes.check(i).queries().into_iter();
        queries.filter_map(|sql| sql.strip_prefix("SET SESSION ").map(str::to_owned)).collect()
    };
    let wanted = [
        "autocommit = 1",
        "wsrep_sync_wait = 0",
        "tx_isolation = 'READ-COMMITTED'",
        "tx_read_only = 0",
        "sql_mode = ''",
        "max_statement_time = 0",
        "lock_wait_timeout = 1",
    ];
    let all = sets(1);
    assert_eq!(all.len(), 1, "once, in one statement: {all:?}");
    assert!(fakes.check(1).queries()[0].starts_with("SET SESSION "), "before anything else is asked");
    assert!(wanted.iter().all(|one| all[0].contains(one)), "{all:?}");
    let each = sets(2);
    assert!(
        wanted.iter().all(|one| each.iter().any(|set| set == one)),
        "a variable that is unknown costs no other: {each:?}"
    );
    assert_eq!(reason(&galeway, "n3"), "unreachable (it answers: error 1047 (42000): WSREP has not yet prepared node)");
}

#[test]
fn a_refused_login_excludes_backs_off_and_keeps_the_sessions() {
    let lines = "interval = \"20ms\"\nfast_interval = \"20ms\"";
    let (fakes, _data, galeway) = two(Settings { monitor: lines, ..service("balance = \"round-robin\"") });
    let _sessions = one_each(&galeway);
    fakes.check(1).set_mode(Mode::RefuseLogin(1045, "Access denied".into()));
    fakes.check(1).cut_connections();
    galeway.wait_verdict("n1", "excluded", LONG);
    let refused = Instant::now();
    assert_eq!(reason(&galeway, "n1"), "check's login refused (1045 Access denied)");
    // The first of the new logins, then one after 1 s and one after 2 s more.
    until(LONG, "it tries again", || (fakes.check(1).connections() >= 4).then_some(()));
    assert!(refused.elapsed() >= millis(2500), "{:?}", refused.elapsed());
    assert_eq!((active(&galeway, "n1"), active(&galeway, "n2")), (1, 1));
    assert_eq!(galeway.get("/readyz").0, 200);
}

#[test]
fn nodes_that_all_refuse_the_login_serve_on_as_a_last_resort_and_loudly() {
    let (fakes, _data, galeway) = two(service("balance = \"round-robin\""));
    let _sessions = one_each(&galeway);
    for i in [1, 2] {
        fakes.check(i).set_mode(Mode::RefuseLogin(1045, "Access denied".into()));
        fakes.check(i).cut_connections();
    }
    galeway.wait_verdict("n1", "last-resort", LONG);
    galeway.wait_verdict("n2", "last-resort", LONG);
    assert_eq!((active(&galeway, "n1"), active(&galeway, "n2")), (1, 1));
    connect(&galeway);
    let loud = galeway.log().lines().filter(|l| l.contains("\"ERROR\"") && l.contains("last resort")).count();
    assert!(loud >= 2, "{}", galeway.log());
}

#[test]
fn nodes_that_refused_the_login_from_the_start_serve_nobody() {
    let (fakes, _data) = Fakes::good(2);
    for i in [1, 2] {
        fakes.check(i).set_mode(Mode::RefuseLogin(1045, "Access denied".into()));
    }
    let galeway = fakes.spawn(Settings::default());
    let excluded = || Some(()).filter(|()| galeway.try_get("/readyz").is_some_and(|(_, why)| why.contains("1045")));
    until(LONG, "it says why it is not ready", excluded);
    assert_eq!(galeway.node("n1")["verdict"], "excluded");
}

#[test]
fn a_node_that_is_too_full_for_its_check_keeps_its_verdict() {
    for mode in [Mode::RefuseLogin(1040, "Too many connections".into()), Mode::GreetWithErr(1129, "blocked".into())] {
        let (fakes, _data, galeway) = two(service("balance = \"round-robin\""));
        let _sessions = one_each(&galeway);
        let before = changes(&galeway);
        fakes.check(1).set_mode(mode);
        fakes.check(1).cut_connections();
        until(LONG, "checks are turned away", || {
            (galeway.metric("galeway_probe_failures_total", &[("node", "n1"), ("reason", "no_entry")]) >= 4.0)
                .then_some(())
        });
        let node = galeway.node("n1");
        assert_eq!(node["verdict"], "eligible");
        assert!(node["reason"].as_str().unwrap().starts_with("Synced"), "{node}");
        assert_eq!((changes(&galeway), active(&galeway, "n1")), (before, 1));
    }
}

/// MAX_QUERIES_PER_HOUR is a limit of the monitor's account, and it strikes on all nodes alike.
#[test]
fn a_check_whose_account_has_used_its_queries_up_keeps_the_verdict_and_says_so() {
    let (fakes, _data, galeway) = two(service("balance = \"round-robin\""));
    let _sessions = one_each(&galeway);
    let before = changes(&galeway);
    fakes.check(1).set_mode(Mode::AnswerWithErr(1226, "User 'm' has exceeded 'max_queries_per_hour'".into()));
    until(LONG, "checks are turned away", || {
        (galeway.metric("galeway_probe_failures_total", &[("node", "n1"), ("reason", "no_entry")]) >= 4.0).then_some(())
    });
    assert_eq!(galeway.node("n1")["verdict"], "eligible");
    assert_eq!((changes(&galeway), active(&galeway, "n1")), (before, 1));
    assert_eq!(galeway.log().matches("no check: the verdict stays as it was").count(), 1, "{}", galeway.log());
    fakes.check(1).set_mode(Mode::Serve);
    until(LONG, "it is checked again", || galeway.node("n1")["probe"]["error"].is_null().then_some(()));
}

/// MariaDB lets an account with an expired password in and answers nothing else, on that session for ever.
#[test]
fn a_check_is_made_again_once_an_expired_password_is_mended() {
    let (fakes, _data, galeway) = two(Settings::default());
    fakes.check(1).set_mode(Mode::AnswerWithErr(1820, "You must SET PASSWORD".into()));
    fakes.check(1).cut_connections();
    galeway.wait_verdict("n1", "excluded", LONG);
    assert_eq!(reason(&galeway, "n1"), "check's login refused (1820 You must SET PASSWORD)");
    fakes.check(1).set_mode(Mode::Serve);
    galeway.wait_verdict("n1", "eligible", LONG);
}

#[test]
fn what_a_server_answers_in_place_of_rows_is_told() {
    let (fakes, _data, galeway) = two(Settings::default());
    fakes.check(1).set_mode(Mode::AnswerWithErr(1290, "The server is running with some option".into()));
    galeway.wait_verdict("n1", "excluded", LONG);
    let told = "unreachable (it answers: error 1290 (42000): The server is running with some option)";
    assert_eq!(reason(&galeway, "n1"), told);
}

/// As a proxy does that lends a server's connection for one exchange.
#[test]
fn a_server_that_ends_each_checks_connection_is_logged_in_to_once_an_interval() {
    let (fakes, _data) = Fakes::good(1);
    fakes.check(1).set_mode(Mode::CloseAfterCheck);
    let galeway = fakes.galeway(monitor("interval = \"300ms\"\nfast_interval = \"100ms\""));
    let (logins, begun) = (fakes.check(1).logins(), Instant::now());
    until(LONG, "checks go on", || (fakes.check(1).logins() >= logins + 5).then_some(()));
    assert!(begun.elapsed() >= millis(4 * 270), "{:?}", begun.elapsed());
    assert_eq!(galeway.node("n1")["verdict"], "eligible");
    assert_eq!(galeway.log().matches("every check is a login").count(), 1, "{}", galeway.log());
}

#[test]
fn a_node_whose_checks_are_logins_gets_its_share_of_the_clients() {
    let (fakes, _data) = Fakes::good(2);
    fakes.check(1).set_mode(Mode::CloseAfterCheck);
    let lines = "interval = \"300ms\"\nfast_interval = \"100ms\"";
    let galeway = fakes.galeway(Settings { monitor: lines, ..service("balance = \"round-robin\"") });
    until(LONG, "it is noticed", || galeway.log().contains("every check is a login").then_some(()));
    let clients: Vec<_> = (0..40).map(|_| connect(&galeway)).collect();
    assert_eq!(clients.iter().filter(|c| greeted_by(c) == "n1").count(), 20);
}

#[test]
fn a_node_near_its_max_connections_gets_nobody_while_another_has_room() {
    let (fakes, _data) = Fakes::good(2);
    let settings = Settings { eligibility: "connection_margin = 5", ..service("balance = \"round-robin\"") };
    fakes.check(1).set_status("Threads_connected", "146");
    let galeway = fakes.galeway(settings);
    assert_eq!(galeway.node("n1")["verdict"], "eligible");
    for _ in 0..6 {
        assert_eq!(greeted_by(&connect(&galeway)), "n2");
    }
    // 145 + 5 < 151: room again.
    fakes.check(1).set_status("Threads_connected", "145");
    until(LONG, "n1 is used again", || (greeted_by(&connect(&galeway)) == "n1").then_some(()));
    // Neither has room: both serve.
    for i in [1, 2] {
        fakes.check(i).set_status("Threads_connected", "150");
        wait_checks(&fakes, i, 2);
    }
    let both: Vec<_> = (0..4).map(|_| greeted_by(&connect(&galeway)).to_owned()).collect();
    assert!(both.contains(&"n1".to_owned()) && both.contains(&"n2".to_owned()), "{both:?}");
}

#[test]
fn while_every_node_is_unreachable_sessions_are_kept_until_one_is_eligible_and_nothing_spins() {
    let lines = "interval = \"50ms\"\nfast_interval = \"50ms\"\ntimeout = \"200ms\"\ndown_after = \"500ms\"";
    let (fakes, _data, galeway) = two(Settings { monitor: lines, ..service("balance = \"round-robin\"") });
    let _sessions = one_each(&galeway);
    for i in [1, 2] {
        fakes.check(i).set_mode(Mode::HangInQueries);
    }
    for name in ["n1", "n2"] {
        galeway.wait_verdict(name, "excluded", LONG);
    }
    goes_on_failing_calmly(&galeway, "n1");
    assert_eq!((active(&galeway, "n1"), active(&galeway, "n2")), (1, 1), "the fault may be ours");
    assert_eq!(galeway.status()["clusters"][0]["verdict"], "unknown");
    fakes.check(2).set_mode(Mode::Serve);
    galeway.wait_verdict("n2", "eligible", LONG);
    until(LONG, "the session of the node that stays away ends", || (active(&galeway, "n1") == 0).then_some(()));
    assert_eq!(active(&galeway, "n2"), 1);
}

#[test]
fn on_down_keep_leaves_sessions_alone_and_nothing_spins() {
    let lines = "interval = \"50ms\"\nfast_interval = \"50ms\"\ntimeout = \"200ms\"\ndown_after = \"500ms\"";
    let settings = Settings { monitor: lines, sessions: "on_down = \"keep\"", ..service("balance = \"round-robin\"") };
    let (fakes, _data, galeway) = two(settings);
    let _sessions = one_each(&galeway);
    fakes.check(1).set_mode(Mode::HangInQueries);
    galeway.wait_verdict("n1", "excluded", LONG);
    goes_on_failing_calmly(&galeway, "n1");
    assert_eq!(active(&galeway, "n1"), 1);
}

#[test]
fn a_name_that_does_not_resolve_is_an_unreachable_node_while_others_serve() {
    let (fakes, _data) = Fakes::good(1);
    let (accept, admin) = (crate::harness::ports::free(), crate::harness::ports::free());
    let local = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let text = Settings { monitor: FAST, ..Settings::default() }.text(
        &[("n1".to_owned(), fakes.check(1).addr())],
        local(accept),
        local(admin),
    );
    let text = text.replacen("nodes = [", "nodes = [\"nowhere.invalid\", ", 1);
    let galeway = Galeway::spawn_text(&text, local(accept), local(admin));
    galeway.wait_ready();
    let node = galeway.wait_verdict("nowhere.invalid", "excluded", LONG);
    assert_eq!(node["reason"], "unreachable (cannot resolve)", "{node}");
    connect(&galeway);
}

#[test]
fn twenty_five_broken_handshakes_bring_one_more_login_to_that_node() {
    let (fakes, _data, galeway) = two(service("balance = \"round-robin\""));
    // Turns: the odd ones go to n1.
    for _ in 0..48 {
        connect(&galeway);
    }
    wait_service(&galeway, "active", 0);
    wait_checks(&fakes, 1, 3);
    assert_eq!((fakes.check(1).logins(), fakes.check(2).logins()), (1, 1), "24 each");
    connect(&galeway);
    until(LONG, "n1 is logged in to once more", || (fakes.check(1).logins() == 2).then_some(()));
    wait_checks(&fakes, 1, 3);
    assert_eq!((fakes.check(1).logins(), fakes.check(2).logins()), (2, 1));
}

#[test]
fn a_suspended_galeway_blames_no_node() {
    let lines = "interval = \"20ms\"\nfast_interval = \"20ms\"\ntimeout = \"300ms\"\nfall = 1\ndown_after = \"1s\"";
    let (fakes, _data, mut galeway) = two(Settings { monitor: lines, ..service("balance = \"round-robin\"") });
    let _sessions = one_each(&galeway);
    let before = changes(&galeway);
    for _ in 0..3 {
        galeway.signal(Signal::STOP);
        // The length of the fault itself.
        std::thread::sleep(millis(1400));
        galeway.signal(Signal::CONT);
        wait_checks(&fakes, 1, 3);
    }
    assert_eq!(changes(&galeway), before, "{}", galeway.log());
    assert_eq!((active(&galeway, "n1"), active(&galeway, "n2")), (1, 1));
}

#[test]
fn a_warning_of_the_configuration_is_one_event_of_the_log() {
    let (fakes, _data) = Fakes::good(1);
    let monitor = "interval = \"100ms\"\ndown_after = \"500ms\"";
    let galeway = fakes.galeway(Settings { monitor, ..Settings::default() });
    let log = galeway.log();
    let event = log.lines().find(|l| l.contains("down_after")).unwrap();
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["level"], "WARN");
    assert_eq!(event["message"], "configuration: `down_after` is shorter than `timeout`: 500ms < 1s");
    assert!(event["place"].as_str().unwrap().contains(".toml:"), "{event}");
}
