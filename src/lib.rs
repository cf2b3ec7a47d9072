//! Galeway: a layer-4 load balancer made for Galera clusters.
//!
//! The rooms, and who may use whom (imports go down only; `tests/it/rooms.rs` reads this table and holds the code to it):
//!
//! | room | what lives there | may use |
//! |---|---|---|
//! | `main.rs` | arguments to exit code | `cli` |
//! | [`cli`] | a file per subcommand, thin | all below |
//! | [`lifecycle`] | start, drain, stop | all below |
//! | [`admin`] | HTTP routes, the status, who may change what | pool, telemetry, config |
//! | [`health`] | monitor tasks; the only publisher of snapshots | galera, mysql, pool, net, config, telemetry |
//! | [`service`] | workers, and one session from accept to close | pool, mysql (greeting only), net, config, telemetry |
//! | [`pool`] | nodes, the snapshot, balance policies, the kill switch | galera's types, config |
//! | [`galera`] | pure: rows → status → verdict → effects; which node to bootstrap | std |
//! | [`mysql`] | packets: greeting, ERR, login, one text query | net |
//! | [`net`] | listeners, streams, TLS configurations, the relay | config |
//! | [`config`] | the file as written, resolution, diagnostics | std |
//! | [`telemetry`] | metric names and handles, access log, tracing set-up | – |

pub mod admin;
pub mod cli;
pub mod config;
pub mod galera;
pub mod health;
pub mod lifecycle;
pub mod mysql;
pub mod net;
pub mod pool;
pub mod service;
pub mod telemetry;
