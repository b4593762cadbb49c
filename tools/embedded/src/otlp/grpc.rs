//! OTLP over gRPC: the collector's trace service.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::{Request, Response, Status};

use super::{Edge, span};

#[async_trait::async_trait]
impl TraceService for Edge {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if !self.admits().await {
            return Err(Status::unavailable("this receiver takes no spans at present"));
        }
        self.store.keep(span::received(request.into_inner()));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
