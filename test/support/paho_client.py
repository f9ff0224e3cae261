"""A client of MQTT.ClientsTest.

  subscribe PORT VERSION QOS FILTER COUNT   prints a line for each message, as `mosquitto_sub -F`
  publish PORT VERSION QOS TOPIC COUNT      with properties in MQTT 5.0
  refusals PORT VERSION                     prints what it is told about what it may not do
"""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCodes

SECONDS = 20
role, port, version = sys.argv[1], int(sys.argv[2]), sys.argv[3]
is_v5 = version == "5"
# What the callbacks were told, in order.
told = queue.Queue()


class Client(mqtt.Client):
    """Tells also the reason codes of messages, which paho-mqtt 1.6 reads and keeps to itself."""

    def _handle_pubackcomp(self, cmd):
        self.tell(cmd, PacketTypes.PUBACK if cmd == "PUBACK" else PacketTypes.PUBCOMP)
        return super()._handle_pubackcomp(cmd)

    def _handle_pubrec(self):
        self.tell("PUBREC", PacketTypes.PUBREC)
        return super()._handle_pubrec()

    def tell(self, name, packet_type):
        if role != "refusals":
            return
        packet = bytes(self._in_packet["packet"])
        code, properties = ReasonCodes(packet_type), Properties(packet_type)
        if len(packet) > 2:
            code.unpack(packet[2:])
        if len(packet) > 3:
            properties.unpack(packet[3:])
        told.put((name, code.value, reason_string(properties)))


def reason_string(properties):
    return getattr(properties, "ReasonString", "")


def make_properties(packet_type, **values):
    properties = Properties(packet_type)
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def make(**callbacks):
    protocol = mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311
    # Version 2 of paho-mqtt wants to be told which callbacks are meant.
    versions = getattr(mqtt, "CallbackAPIVersion", None)
    arguments = [versions.VERSION1] if versions else []
    client = Client(*arguments, protocol=protocol, reconnect_on_failure=False)
    client.on_connect = lambda *_: told.put("connected")
    for name, callback in callbacks.items():
        setattr(client, name, callback)
    return client


def connect(client):
    # So few that the server has to wait for this client.
    properties = make_properties(PacketTypes.CONNECT, ReceiveMaximum=7) if is_v5 else None
    client.connect("127.0.0.1", port, properties=properties)
    client.loop_start()
    expect("connected")


def expect(what):
    found = told.get(timeout=SECONDS)
    assert found == what, f"{found} instead of {what}"


def write_told():
    write(*told.get(timeout=SECONDS))


def write(*fields):
    fields = [f if isinstance(f, bytes) else str(f).encode() for f in fields]
    sys.stdout.buffer.write(b"\t".join(fields) + b"\n")
    sys.stdout.buffer.flush()


def write_message(message):
    properties = getattr(message, "properties", None)
    value = lambda name, default="": getattr(properties, name, default)
    write(
        message.topic,
        message.qos,
        int(message.retain),
        message.payload,
        value("MessageExpiryInterval"),
        value("ContentType"),
        value("ResponseTopic"),
        value("CorrelationData", b""),
        value("PayloadFormatIndicator"),
        " ".join(str(i) for i in value("SubscriptionIdentifier", [])),
        " ".join(f"{name}:{text}" for name, text in value("UserProperty", [])),
    )


def subscribe(qos, topic, count):
    messages = []

    def on_message(_client, _userdata, message):
        messages.append(message)
        if len(messages) == count:
            told.put("enough")

    client = make(
        on_message=on_message,
        on_subscribe=lambda *_: told.put("subscribed"),
        on_unsubscribe=lambda *_: told.put("unsubscribed"),
    )
    connect(client)
    if is_v5:
        identifier = make_properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=77)
        client.subscribe(topic, options=mqtt.SubscribeOptions(qos=qos), properties=identifier)
    else:
        client.subscribe(topic, qos)
    expect("subscribed")
    write("Subscribed")
    expect("enough")
    # What is sent twice comes before the answer to this.
    client.unsubscribe(topic)
    expect("unsubscribed")
    client.disconnect()
    for message in messages:
        write_message(message)


def publish(qos, topic, count):
    client = make()
    connect(client)
    sent = []
    for n in range(1, count + 1):
        properties = None
        if is_v5:
            properties = make_properties(
                PacketTypes.PUBLISH,
                MessageExpiryInterval=3600,
                ContentType="text/plain",
                ResponseTopic="answers/ü",
                CorrelationData=b"\xff\xfe%d" % n,
                PayloadFormatIndicator=1,
                UserProperty=[("unit", "°C"), ("a", "1"), ("unit", "K"), ("unit", "°C")],
            )
        sent.append(client.publish(topic, f"message {n}", qos, properties=properties))
    for message in sent:
        message.wait_for_publish(SECONDS)
        assert message.is_published(), "not acknowledged"
    client.disconnect()


def refusals():
    # Before MQTT 5.0 codes are numbers, and UNSUBACK has none.
    def tell(name, code, properties):
        told.put((name, getattr(code, "value", code), reason_string(properties)))

    def on_connect(_client, _userdata, _flags, code, properties=None):
        tell("CONNACK", code, properties)

    def on_subscribe(_client, _userdata, _mid, codes, properties=None):
        tell("SUBACK", codes[0], properties)

    def on_unsubscribe(_client, _userdata, _mid, properties=None, code=""):
        tell("UNSUBACK", code, properties)

    def on_disconnect(_client, _userdata, code, properties=None):
        tell("DISCONNECT", code, properties)

    rejected = make(on_connect=on_connect)
    rejected.username_pw_set("forbidden")
    rejected.connect("127.0.0.1", port)
    rejected.loop_start()
    write_told()

    client = make(
        on_subscribe=on_subscribe, on_unsubscribe=on_unsubscribe, on_disconnect=on_disconnect
    )
    connect(client)
    client.subscribe("forbidden/#", 1)
    write_told()
    client.unsubscribe("none")
    write_told()
    client.publish("forbidden/x", "x", 1)
    write_told()
    # This client goes on to PUBREL also when it is refused.
    client.publish("forbidden/x", "x", 2)
    write_told()
    write_told()
    client.publish("leave", "x", 0)
    write_told()


if role == "refusals":
    refusals()
else:
    play = {"subscribe": subscribe, "publish": publish}[role]
    play(int(sys.argv[4]), sys.argv[5], int(sys.argv[6]))
