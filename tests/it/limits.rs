//! What sessions cost, and how they spread over the workers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use galeway::config;
use galeway::lifecycle::Instance;

use crate::fakes::{Fakes, LONG, greeting, raw, service, wait_service};
use crate::harness::{Galeway, Settings, secs, until};
use crate::peer::FakeNode;

/// Bytes of the process's memory that an idle session may cost.
const IDLE_MOST: u64 = 4096;

/// Opens `n` sessions, each greeted and then idle.
fn idle(galeway: &Galeway, n: usize) -> Vec<TcpStream> {
    let length = greeting(1).packet().len();
    let open = |_| {
        let mut client = raw(galeway);
        client.read_exact(&mut vec![0; length]).unwrap();
        client
    };
    (0..n).map(open).collect()
}

#[test]
fn an_idle_session_costs_at_most_four_kilobytes() {
    const SESSIONS: usize = 2000;
    let (fakes, _data) = Fakes::good(1);
    // One worker: which of several accepts is the scheduler's choice, and handing a connection over cuts the heap up.
    let galeway = fakes.galeway(Settings { process: "workers = 1", ..Settings::default() });
    // What is made once (the thread's arena, series, the log's buffers) is made before. These stay open: sessions that
    // end leave memory behind, and those measured would get it for nothing.
    let mut sessions = idle(&galeway, 500);
    let mut round = || {
        wait_service(&galeway, "active", sessions.len() as u64);
        let before = galeway.memory();
        sessions.extend(idle(&galeway, SESSIONS));
        wait_service(&galeway, "active", sessions.len() as u64);
        let cost = galeway.memory().saturating_sub(before) / SESSIONS as u64;
        println!("an idle session costs {cost} bytes");
        cost
    };
    // Other memory of the process may grow meanwhile, and none of a session's is missing: the least is the truest.
    let within_limit = (0..3).map(|_| round()).find(|cost| *cost <= IDLE_MOST);
    assert!(within_limit.is_some(), "more than {IDLE_MOST} bytes in every round");
}

/// The largest share among these.
fn largest_share(parts: &[f64]) -> f64 {
    parts.iter().copied().fold(0.0, f64::max) / parts.iter().sum::<f64>()
}

#[test]
fn long_sessions_spread_over_the_workers() {
    let node = FakeNode::start("n1");
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings { process: "workers = 2", ..Settings::default() };
    let text = settings.text(&[("n1".to_owned(), node.addr())], local, local);
    let config = config::parse(&text, std::path::Path::new("here.toml")).unwrap().config;
    let handle = Instance::start(&config, galeway::net::Inherited::default()).unwrap();
    assert!(handle.wait_accepting(LONG));
    let config::Listen::Tcp(accept) = handle.view().layout().services[0].accept[0] else {
        panic!("TCP was configured")
    };
    // One after the other, as pools open them, and then all at once.
    for burst in [false, true] {
        let sessions: Vec<_> = if burst {
            let open = |_| thread::spawn(move || TcpStream::connect(accept).unwrap());
            (0..64).map(open).collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).collect()
        } else {
            (0..64).map(|_| TcpStream::connect(accept).unwrap()).collect()
        };
        until(LONG, "64 sessions", || (handle.sessions().iter().sum::<usize>() == 64).then_some(()));
        let counts = handle.sessions();
        println!("64 sessions on two workers: {counts:?}");
        let share = largest_share(&counts.iter().map(|n| *n as f64).collect::<Vec<_>>());
        assert!(share <= 0.6, "{counts:?}");
        drop(sessions);
        until(LONG, "no session", || (handle.sessions().iter().sum::<usize>() == 0).then_some(()));
    }
    handle.stop();
}

/// Processor time so far of each worker.
fn workers(galeway: &Galeway) -> BTreeMap<String, f64> {
    galeway.cpu().into_values().filter(|(name, _)| name.starts_with("worker-")).collect()
}

#[test]
fn the_work_of_long_sessions_spreads_over_the_workers() {
    let fakes = Fakes::new(1);
    let listener = fakes.listen(1);
    let settings = Settings { process: "workers = 2", ..service("protocol = \"tcp\"") };
    let galeway = fakes.galeway(settings);
    let clients: Vec<_> = (0..64).map(|_| raw(&galeway)).collect();
    let nodes: Vec<_> = (0..64).map(|_| listener.accept().unwrap().0).collect();
    let start = workers(&galeway);
    let spent = || -> Vec<f64> {
        workers(&galeway).into_iter().map(|(name, now)| now - start.get(&name).copied().unwrap_or(0.0)).collect()
    };
    // Every session moves the same bytes, in turns; which session is which node's does not matter.
    let (deadline, chunk) = (Instant::now() + secs(60), [7; 1000]);
    while spent().iter().sum::<f64>() < 1.0 {
        assert!(Instant::now() < deadline, "two workers have spent {:?} s only", spent());
        for _ in 0..20 {
            for mut from in clients.iter().chain(&nodes) {
                from.write_all(&chunk).unwrap();
            }
            for mut to in nodes.iter().chain(&clients) {
                to.read_exact(&mut [0; 1000]).unwrap();
            }
        }
    }
    let parts = spent();
    println!("processor time of two workers under 64 long sessions: {parts:?} s");
    assert!(largest_share(&parts) <= 0.6, "{parts:?}");
}
