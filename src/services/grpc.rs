//! What every gRPC server of this project serves beside its own services: health and reflection.

use tonic::service::RoutesBuilder;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::services::generated::FILE_DESCRIPTOR_SET;

/// Served beside a server's own services, and listed with them.
const COMMON_SERVICES: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The health of a server's services, as its callers see it.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    names: &'static [&'static str],
}

impl Health {
    /// Adds health and reflection to `routes`. All of `names`, and the server itself, have `status`.
    pub(crate) async fn add_to(
        routes: &mut RoutesBuilder,
        names: &'static [&'static str],
        status: ServingStatus,
    ) -> Self {
        let (reporter, service) = tonic_health::server::health_reporter();
        let health = Self { reporter, names };
        health.announce(status).await;
        let readable =
            "the committed descriptors are whole, which listing the services in a test holds";
        routes
            .add_service(service)
            .add_service(reflection(names).build_v1().expect(readable))
            .add_service(reflection(names).build_v1alpha().expect(readable));
        health
    }

    /// Sets the status of all names, and of the server itself.
    pub(crate) async fn announce(&self, status: ServingStatus) {
        for name in self.all_names() {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Says that nothing is served any more, and ends the streams of those who watch, which would hold their
    /// connections open.
    pub(crate) async fn stop(mut self) {
        self.announce(ServingStatus::NotServing).await;
        for name in self.all_names() {
            self.reporter.clear_service_status(name).await;
        }
    }

    fn all_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        // The empty name is the server as a whole.
        self.names.iter().copied().chain([""])
    }
}

fn reflection(names: &[&str]) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
    names
        .iter()
        .chain(&COMMON_SERVICES)
        .fold(builder, |builder, name| builder.with_service_name(*name))
}
