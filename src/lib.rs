//! Services as message handlers on a worker pool, an etcd service, and a push manager built on both.

pub mod etcd_service;
pub mod framework;
pub mod services;
