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
pub(crate) struct Health {
    reporter: HealthReporter,
    names: &'static [&'static str],
}

impl Health {
    /// Adds health and reflection to `routes`. All of `names`, and the server itself, are serving.
    pub(crate) async fn add_to(routes: &mut RoutesBuilder, names: &'static [&'static str]) -> Self {
        let (reporter, health) = tonic_health::server::health_reporter();
        for name in names {
            reporter
                .set_service_status(name, ServingStatus::Serving)
                .await;
        }
        let readable =
            "the committed descriptors are whole, which listing the services in a test holds";
        routes
            .add_service(health)
            .add_service(reflection(names).build_v1().expect(readable))
            .add_service(reflection(names).build_v1alpha().expect(readable));
        Self { reporter, names }
    }

    /// Says that nothing is served any more, and ends the streams of those who watch, which would hold their
    /// connections open.
    pub(crate) async fn stop(&mut self) {
        for name in self.names.iter().chain(&[""]) {
            self.reporter
                .set_service_status(name, ServingStatus::NotServing)
                .await;
            self.reporter.clear_service_status(name).await;
        }
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
