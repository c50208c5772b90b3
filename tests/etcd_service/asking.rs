//! Asking the etcd service where the test knows how it must end.

use million::etcd_service::{Etcd, EtcdError};
use million::framework::{Handle, Handler, Message};

/// Asks for what must succeed.
pub(crate) async fn ok<M, T>(etcd: &Handle<Etcd>, message: M) -> T
where
    M: Message<Reply = Result<T, EtcdError>>,
    Etcd: Handler<M>,
    T: Send + 'static,
{
    etcd.call(message).await.unwrap().unwrap()
}

/// Asks for what must fail.
pub(crate) async fn refused<M, T>(etcd: &Handle<Etcd>, message: M) -> EtcdError
where
    M: Message<Reply = Result<T, EtcdError>>,
    Etcd: Handler<M>,
    T: Send + std::fmt::Debug + 'static,
{
    etcd.call(message).await.unwrap().unwrap_err()
}
