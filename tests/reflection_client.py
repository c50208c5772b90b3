"""A client that knows nothing of the push manager but what gRPC reflection tells: lists the services and makes a Broadcast.

Usage: reflection_client.py HOST:PORT (with the packages grpcio and grpcio-reflection)
"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

LIMIT = 10


def main(address):
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=LIMIT)
        reflection = ProtoReflectionDescriptorDatabase(channel)
        services = sorted(reflection.get_services())
        print("services:", ", ".join(services))
        assert "protocol.PushServer" in services, services
        assert "grpc.health.v1.Health" in services, services

        pool = DescriptorPool(reflection)
        service = pool.FindServiceByName("protocol.PushServer")
        method = service.FindMethodByName("Broadcast")
        request_class = GetMessageClass(method.input_type)
        reply_class = GetMessageClass(method.output_type)
        broadcast = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=reply_class.FromString,
        )
        request = request_class()
        request.proto.ver = 1
        request.proto.op = 7
        request.proto.body = b"from a client with reflection"
        reply = broadcast(request, timeout=LIMIT)
        print("reply:", str(reply).replace("\n", " "))
        assert (reply.code, reply.msg) == ("0", "OK"), reply
        assert reply.accepted_nodes == 3, reply

        try:
            broadcast(request_class(), timeout=LIMIT)
        except grpc.RpcError as error:
            print("without a message:", error.code().name, error.details())
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        else:
            raise AssertionError("a broadcast without a message was accepted")


if __name__ == "__main__":
    main(sys.argv[1])
