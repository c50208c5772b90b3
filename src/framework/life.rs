//! `on_start` and `on_stop` as turns see them: what they are called, and who hears how they ended.

use std::any::type_name;
use std::marker::PhantomData;

use super::doing::What;
use super::envelope::Replied;
use super::error::StartError;
use super::frame::{Finish, Panic};
use super::service::Service;

/// What `on_start` and `on_stop` are called where messages have a type.
pub(crate) struct Life<S>(PhantomData<fn(S)>);

impl<S: Service> Life<S> {
    pub(crate) const START: &'static What = &What {
        service: type_name::<S>,
        message: || "on_start",
    };
    pub(crate) const STOP: &'static What = &What {
        service: type_name::<S>,
        message: || "on_stop",
    };
}

/// Hears of the end of `on_start`. Its error takes the way of a panic, and is told from one by its type.
pub(crate) struct Started;

impl Replied<Result<(), StartError>> for Started {
    fn returned(self, result: Result<(), StartError>) -> Finish {
        result.map_err(|error| Box::new(error) as Panic)
    }

    fn panicked(self) {}
}

/// Hears of the end of `on_stop`.
pub(crate) struct Done;

impl Replied<()> for Done {
    fn returned(self, (): ()) -> Finish {
        Ok(())
    }

    fn panicked(self) {}
}
