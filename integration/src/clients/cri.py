"""cri.py METHOD [JSON]: one call of the Container Runtime Interface, its answer as JSON. Only the fields that the rows use.

cri.py --stream Exec|Attach|PortForward JSON [SAY [AFTER]]...: the same, and then what a kubelet does with the address that it
gets: a websocket (RFC 6455) with the channels of `v4.channel.k8s.io`. Each SAY goes to the other's standard input when its AFTER
was heard. What is heard until the other closes is printed as JSON. With a terminal, its size is set to 97 columns and 41 rows.

cri.py --serve: makes the calls for the former, at $DIR/cri.sock; what they need takes long to load."""
# Runs with Debian's python3-grpcio and python3-protobuf; the messages are put together here, no generated code is needed.
import json
import os
import socket
import sys

# Message: field=number:type, `*` for a repeated one, `map` for strings by strings; types that are no scalars are messages.
MESSAGES = """
VersionRequest version=1:string
VersionResponse version=1:string runtime_name=2:string runtime_version=3:string
StatusRequest verbose=1:bool
StatusResponse status=1:RuntimeStatus
RuntimeStatus conditions=1:*RuntimeCondition
RuntimeCondition type=1:string status=2:bool reason=3:string message=4:string
Int64Value value=1:int64
UInt64Value value=1:uint64
NamespaceOption network=1:int32 pid=2:int32 ipc=3:int32 target_id=4:string
SecurityProfile profile_type=1:int32 localhost_ref=2:string
PodSandboxMetadata name=1:string uid=2:string namespace=3:string attempt=4:uint32
LinuxSandboxSecurityContext namespace_options=1:NamespaceOption run_as_user=3:Int64Value privileged=6:bool seccomp=9:SecurityProfile
LinuxPodSandboxConfig cgroup_parent=1:string security_context=2:LinuxSandboxSecurityContext sysctls=3:map
PodSandboxConfig metadata=1:PodSandboxMetadata hostname=2:string log_directory=3:string labels=6:map annotations=7:map linux=8:LinuxPodSandboxConfig
RunPodSandboxRequest config=1:PodSandboxConfig runtime_handler=2:string
RunPodSandboxResponse pod_sandbox_id=1:string
StopPodSandboxRequest pod_sandbox_id=1:string
StopPodSandboxResponse
RemovePodSandboxRequest pod_sandbox_id=1:string
RemovePodSandboxResponse
PodSandboxStatusRequest pod_sandbox_id=1:string verbose=2:bool
PodSandboxStatusResponse status=1:PodSandboxStatus info=2:map
PodSandboxStatus id=1:string metadata=2:PodSandboxMetadata state=3:int32 network=5:PodSandboxNetworkStatus runtime_handler=9:string
PodSandboxNetworkStatus ip=1:string
ListPodSandboxRequest
ListPodSandboxResponse items=1:*PodSandbox
PodSandbox id=1:string state=3:int32 runtime_handler=7:string
ImageSpec image=1:string
KeyValue key=1:string value=2:string
Mount container_path=1:string host_path=2:string readonly=3:bool propagation=5:int32
Device container_path=1:string host_path=2:string permissions=3:string
LinuxContainerResources cpu_period=1:int64 cpu_quota=2:int64 cpu_shares=3:int64 memory_limit_in_bytes=4:int64 oom_score_adj=5:int64 cpuset_cpus=6:string unified=9:map
Capability add_capabilities=1:*string drop_capabilities=2:*string
LinuxContainerSecurityContext capabilities=1:Capability privileged=2:bool namespace_options=3:NamespaceOption run_as_user=5:Int64Value readonly_rootfs=7:bool supplemental_groups=8:*int64 no_new_privs=11:bool run_as_group=12:Int64Value masked_paths=13:*string readonly_paths=14:*string seccomp=15:SecurityProfile
LinuxContainerConfig resources=1:LinuxContainerResources security_context=2:LinuxContainerSecurityContext
ContainerMetadata name=1:string attempt=2:uint32
ContainerConfig metadata=1:ContainerMetadata image=2:ImageSpec command=3:*string args=4:*string working_dir=5:string envs=6:*KeyValue mounts=7:*Mount devices=8:*Device log_path=11:string stdin=12:bool tty=14:bool linux=15:LinuxContainerConfig
CreateContainerRequest pod_sandbox_id=1:string config=2:ContainerConfig sandbox_config=3:PodSandboxConfig
CreateContainerResponse container_id=1:string
StartContainerRequest container_id=1:string
StartContainerResponse
StopContainerRequest container_id=1:string timeout=2:int64
StopContainerResponse
RemoveContainerRequest container_id=1:string
RemoveContainerResponse
ContainerStatusRequest container_id=1:string verbose=2:bool
ContainerStatusResponse status=1:ContainerStatus info=2:map
ContainerStatus id=1:string state=3:int32 exit_code=7:int32 reason=10:string message=11:string
ListContainersRequest
ListContainersResponse containers=1:*Container
Container id=1:string pod_sandbox_id=2:string state=6:int32
ContainerStatsRequest container_id=1:string
ContainerStatsResponse stats=1:ContainerStats
ContainerStats cpu=2:CpuUsage memory=3:MemoryUsage
CpuUsage usage_core_nano_seconds=2:UInt64Value
MemoryUsage working_set_bytes=2:UInt64Value
UpdateContainerResourcesRequest container_id=1:string linux=2:LinuxContainerResources
UpdateContainerResourcesResponse
ExecSyncRequest container_id=1:string cmd=2:*string timeout=3:int64
ExecSyncResponse stdout=1:bytes stderr=2:bytes exit_code=3:int32
ExecRequest container_id=1:string cmd=2:*string tty=3:bool stdin=4:bool stdout=5:bool stderr=6:bool
ExecResponse url=1:string
AttachRequest container_id=1:string stdin=2:bool tty=3:bool stdout=4:bool stderr=5:bool
AttachResponse url=1:string
PortForwardRequest pod_sandbox_id=1:string port=2:*int32
PortForwardResponse url=1:string
ListContainerStatsRequest
ListContainerStatsResponse stats=1:*ContainerStats
ReopenContainerLogRequest container_id=1:string
ReopenContainerLogResponse
"""

def describe():
    """Gives the class of a message by its name."""
    from google.protobuf import descriptor_pb2, descriptor_pool
    try:
        from google.protobuf.message_factory import GetMessageClass as message_class
    except ImportError:
        from google.protobuf.message_factory import MessageFactory
        message_class = MessageFactory().GetPrototype
    Field = descriptor_pb2.FieldDescriptorProto
    package = descriptor_pb2.FileDescriptorProto(name="cri.proto", package="runtime.v1", syntax="proto3")
    for line in MESSAGES.strip().splitlines():
        name, *fields = line.split()
        message = package.message_type.add(name=name)
        for field in fields:
            field, kind = field.split("=")
            number, kind = kind.split(":")
            many = kind.startswith("*")
            kind = kind.lstrip("*")
            entry = message.field.add(name=field, number=int(number))
            entry.label = Field.LABEL_REPEATED if many or kind == "map" else Field.LABEL_OPTIONAL
            if kind == "map":
                pair = message.nested_type.add(name=field.title().replace("_", "") + "Entry")
                pair.options.map_entry = True
                for part, at in ("key", 1), ("value", 2):
                    pair.field.add(name=part, number=at, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
                kind = name + "." + pair.name
            if hasattr(Field, "TYPE_" + kind.upper()):
                entry.type = getattr(Field, "TYPE_" + kind.upper())
            else:
                entry.type = Field.TYPE_MESSAGE
                entry.type_name = ".runtime.v1." + kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(package)
    return lambda name: message_class(pool.FindMessageTypeByName("runtime.v1." + name))


def call(message, method, text):
    """One call; its answer as JSON."""
    import grpc
    from google.protobuf import json_format
    request = json_format.Parse(text or "{}", message(method + "Request")())
    with grpc.insecure_channel("unix:///run/c.sock") as channel:
        answer = channel.unary_unary(
            "/runtime.v1.RuntimeService/" + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=message(method + "Response").FromString,
        )(request, timeout=60)
    # A field without presence is shown, too; the option has another name since protobuf 26.
    try:
        fields = json_format.MessageToDict(answer, including_default_value_fields=True, preserving_proto_field_name=True)
    except TypeError:
        fields = json_format.MessageToDict(answer, always_print_fields_with_no_presence=True, preserving_proto_field_name=True)
    for stream in "stdout", "stderr":
        if stream in fields:
            fields[stream] = getattr(answer, stream).decode(errors="replace")
    return json.dumps(fields)


class Stream:
    """The client's end of a websocket."""

    def __init__(self, url):
        import base64
        from urllib.parse import urlsplit
        where = urlsplit(url)
        self.socket = socket.create_connection((where.hostname, where.port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall("\r\n".join([
            "GET %s HTTP/1.1" % where.path, "Host: " + where.netloc, "Origin: http://" + where.netloc,
            "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key,
            "Sec-WebSocket-Protocol: v4.channel.k8s.io", "", ""]).encode())
        self.rest = self.socket.makefile("rb")
        status = self.rest.readline().decode().strip()
        while self.rest.readline().strip():
            pass
        if " 101 " not in status:
            raise OSError("no stream: " + status)

    def send(self, channel, data):
        import struct
        data = bytes([channel]) + data
        mask = os.urandom(4)
        head = struct.pack("!BB", 0x82, 0x80 | len(data)) if len(data) < 126 else struct.pack("!BBH", 0x82, 0xFE, len(data))
        self.socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)))

    def receive(self):
        """The channel and the data of one message; None at the end."""
        import struct
        while True:
            head = self.rest.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                return None
            length = head[1] & 127
            if length > 125:
                length, = struct.unpack("!H" if length == 126 else "!Q", self.rest.read(2 if length == 126 else 8))
            data = self.rest.read(length)
            if head[0] & 15 in (1, 2) and data:
                return data[0], data[1:]


def stream(message, kind, text, *talk):
    """What is heard on each channel, as JSON."""
    turns = [(say, after) for say, after in zip(talk[::2], [*talk[1::2], ""]) if say]
    request = json.loads(text)
    link = Stream(json.loads(call(message, kind, text))["url"])
    # A forwarded port has its data on 0 and errors on 1, each with its number first.
    names = {0: "data", 1: "error"} if kind == "PortForward" else {1: "stdout", 2: "stderr", 3: "status"}
    heard = {name: "" for name in names.values()}
    if request.get("tty"):
        link.send(4, b'{"Width":97,"Height":41}')
    numbered = set()
    while True:
        while turns and turns[0][1] in "".join(heard.values()):
            link.send(0, turns.pop(0)[0].encode())
        got = link.receive()
        if got is None:
            return json.dumps(heard)
        channel, data = got
        if kind == "PortForward" and channel not in numbered:
            numbered.add(channel)
            continue
        heard[names[channel]] += data.decode(errors="replace")


def serve(path):
    import threading

    import grpc
    message = describe()

    def answer(connection):
        with connection, connection.makefile("rw") as asker:
            words = json.loads(asker.read())
            try:
                if words[0] == "--stream":
                    asker.write("0" + stream(message, *words[1:]))
                else:
                    asker.write("0" + call(message, words[0], "".join(words[1:])))
            except grpc.RpcError as error:
                asker.write("1%s: %s" % (error.code().name, error.details()))
            except Exception as error:
                asker.write("1%r" % error)

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],)).start()


def main():
    path = os.environ["DIR"] + "/cri.sock"
    if sys.argv[1] == "--serve":
        return serve(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        server.sendall(json.dumps(sys.argv[1:]).encode())
        server.shutdown(socket.SHUT_WR)
        with server.makefile() as answer:
            said = answer.read()
    if not said.startswith("0"):
        sys.exit(said[1:] or "no answer")
    print(said[1:])


main()
