use super::*;

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

fn rows(pairs: &[(&str, &str)]) -> Rows {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn running(io: &str, sql: &str, lag: Option<&str>) -> Channel {
    let mut row = rows(&[("slave_io_running", io), ("slave_sql_running", sql), ("master_host", "10.0.0.1")]);
    row.extend(lag.map(|lag| ("seconds_behind_master".to_owned(), lag.to_owned())));
    row
}

fn server(read_only: &str, channels: &[Channel]) -> ServerStatus {
    ServerStatus::new(rows(&[("read_only", read_only)]), Ok(channels.to_vec()), None)
}

fn judged(status: &ServerStatus, sort: Sort, most: Option<Duration>) -> (Fitness, String) {
    let (fitness, reason) = status.judge(sort, most, None, Instant::now());
    (fitness, reason.to_string())
}

#[test]
fn read_only_tells_the_writer() {
    assert!(server("OFF", &[]).is_writable() && server("0", &[]).is_writable());
    assert!(!server("ON", &[]).is_writable() && !server("NO_LOCK_NO_ADMIN", &[]).is_writable());
    let both = |super_read_only| rows(&[("read_only", "OFF"), ("super_read_only", super_read_only)]);
    assert!(!ServerStatus::new(both("ON"), Ok(Vec::new()), None).is_writable());
    assert!(ServerStatus::new(both("OFF"), Ok(Vec::new()), None).is_writable());
    let nothing = ServerStatus::new(Rows::new(), Ok(Vec::new()), None);
    assert!(!nothing.is_writable(), "unknown is not writable");
    assert_eq!(judged(&nothing, Sort::Server, None).0, Fitness::None);
}

#[test]
fn a_replica_serves_while_it_replicates_and_is_not_too_far_behind() {
    let full = |channel: Channel, most| judged(&server("ON", &[channel]), Sort::Replica, most).0 == Fitness::Full;
    assert!(full(running("Yes", "Yes", Some("7")), None));
    assert!(full(running("Yes", "Yes", Some("7000")), None), "0 is any lag");
    assert!(full(running("Yes", "Yes", Some("60")), MINUTE));
    assert!(!full(running("Yes", "Yes", Some("61")), MINUTE));
    assert!(!full(running("No", "Yes", None), None) && !full(running("Yes", "No", None), None));
    assert!(full(running("Connecting", "Yes", None), None), "any lag");
    let mysql = rows(&[("replica_io_running", "Yes"), ("replica_sql_running", "Yes"), ("seconds_behind_source", "61")]);
    assert!(full(mysql.clone(), None) && !full(mysql, MINUTE));
    assert!(!full(Channel::new(), None), "a row that cannot be read");
}

#[test]
fn a_replica_that_lost_its_source_is_as_far_behind_as_time_has_passed() {
    let cut = server("ON", &[running("Connecting", "Yes", None)]);
    let start = Instant::now();
    let at = |secs: u64| cut.judge(Sort::Replica, MINUTE, Some((start, 10)), start + Duration::from_secs(secs)).0;
    assert_eq!([at(0), at(50), at(51)], [Fitness::Full, Fitness::Full, Fitness::Spare]);
    assert_eq!(judged(&cut, Sort::Replica, MINUTE).0, Fitness::Spare, "never seen near");
}

#[test]
fn of_several_channels_the_worst_counts() {
    let good = running("Yes", "Yes", Some("1"));
    let late = running("Yes", "Yes", Some("100"));
    let stopped = running("Yes", "No", None);
    let said = |channels: &[Channel]| judged(&server("ON", channels), Sort::Replica, MINUTE).1;
    assert!(said(&[good.clone(), late.clone()]).contains("100 s behind"), "{}", said(&[good.clone(), late.clone()]));
    assert!(said(&[stopped, late, good]).contains("SQL_Running=No"));
}

#[test]
fn who_replicates_nothing_is_a_server_and_no_replica() {
    assert_eq!(judged(&server("ON", &[]), Sort::Server, MINUTE).0, Fitness::Full);
    assert_eq!(judged(&server("ON", &[]), Sort::Replica, None), (Fitness::None, "not a replica".to_owned()));
}

#[test]
fn what_cannot_be_read_is_not_healthy_and_the_reason_names_the_right() {
    let said = Err("error 1227 (42000): Access denied".to_owned());
    let denied = ServerStatus::new(rows(&[("read_only", "ON")]), said, None);
    let (fitness, said) = judged(&denied, Sort::Replica, None);
    assert_eq!(fitness, Fitness::None);
    assert!(said.contains("1227") && said.contains("GRANT SLAVE MONITOR"), "{said}");
}

#[test]
fn a_right_is_missed_whatever_the_server_takes() {
    for read_only in ["ON", "OFF"] {
        let denied = |said: &str| ServerStatus::new(rows(&[("read_only", read_only)]), Err(said.to_owned()), None);
        assert!(denied("1227").lacks_right());
        assert!(!server(read_only, &[]).lacks_right());
        let of_group =
            ServerStatus::new(rows(&[("read_only", read_only)]), Ok(Vec::new()), Some(Err("1142".to_owned())));
        assert!(of_group.lacks_right());
    }
}

#[test]
fn a_server_that_takes_writes_is_judged_by_its_replication_as_one_that_does_not() {
    let channels = [
        running("Yes", "Yes", Some("7")),
        running("Yes", "Yes", Some("61")),
        running("No", "Yes", None),
        running("Yes", "No", None),
        running("Connecting", "Yes", None),
        Channel::new(),
    ];
    for channel in channels {
        let of = |read_only| judged(&server(read_only, std::slice::from_ref(&channel)), Sort::Server, MINUTE);
        assert_eq!(of("OFF").0, of("ON").0, "{channel:?}");
    }
    let writes = |channels: &[Channel]| judged(&server("OFF", channels), Sort::Server, MINUTE).1;
    assert_eq!(writes(&[]), "takes writes (read_only=OFF)");
    assert_eq!(writes(&[running("Yes", "Yes", Some("0"))]), "takes writes and replicates (read_only=OFF)");
}

/// A channel whose threads were stopped with these numbers of errors.
fn halted(io: (&str, &str), sql: (&str, &str)) -> Channel {
    let mut row = running(io.0, sql.0, None);
    row.extend(rows(&[("last_io_errno", io.1), ("last_sql_errno", sql.1)]));
    row
}

#[test]
fn what_lacks_transactions_by_an_error_is_never_promoted_and_a_lost_source_is_no_hindrance() {
    for (channel, expected) in [
        (running("Yes", "Yes", Some("0")), Takeover::Ready),
        (running("Yes", "Yes", Some("100000")), Takeover::Ready),
        (halted(("Connecting", "2003"), ("Yes", "0")), Takeover::Ready),
        // MySQL gives up after SOURCE_RETRY_COUNT times.
        (halted(("No", "2003"), ("Yes", "0")), Takeover::Ready),
        // ER_SOURCE_FATAL_ERROR_READING_BINLOG: what it lacks it never gets.
        (halted(("No", "13114"), ("Yes", "0")), Takeover::Alone),
        (halted(("No", "1236"), ("Yes", "0")), Takeover::Alone),
        // STOP REPLICA.
        (halted(("No", "0"), ("No", "0")), Takeover::Alone),
        (halted(("Yes", "0"), ("No", "1062")), Takeover::Never),
        // STOP REPLICA after the error.
        (halted(("No", "0"), ("No", "1062")), Takeover::Never),
        // The error of another time.
        (halted(("Yes", "0"), ("Yes", "1062")), Takeover::Ready),
        (Channel::new(), Takeover::Alone),
    ] {
        assert_eq!(server("OFF", std::slice::from_ref(&channel)).takeover(), expected, "{channel:?}");
        let with_a_good_one = [running("Yes", "Yes", Some("0")), channel];
        assert_eq!(server("OFF", &with_a_good_one).takeover(), expected, "of several the worst");
    }
    assert_eq!(server("OFF", &[]).takeover(), Takeover::Ready);
    let unreadable = ServerStatus::new(rows(&[("read_only", "OFF")]), Err("error 1227".to_owned()), None);
    assert_eq!(unreadable.takeover(), Takeover::Alone, "nobody knows");
}

#[test]
fn the_rows_that_are_shown_hold_no_hosts() {
    let status = server("ON", &[running("Yes", "Yes", Some("7"))]);
    assert_eq!(status.rows.get("seconds_behind_master").map(String::as_str), Some("7"));
    assert!(!status.rows.contains_key("master_host"));
}

#[test]
fn a_server_in_offline_mode_is_taken_from_its_clients() {
    for sort in [Sort::Server, Sort::Replica] {
        let rows = |mode| rows(&[("read_only", "OFF"), ("offline_mode", mode)]);
        let status = |mode| ServerStatus::new(rows(mode), Ok(vec![running("Yes", "Yes", Some("0"))]), None);
        assert_eq!(judged(&status("ON"), sort, None), (Fitness::None, "offline_mode=ON".to_owned()));
        assert_eq!(judged(&status("OFF"), sort, None).0, Fitness::Full);
    }
}
