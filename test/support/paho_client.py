"""A client of MQTT.Test.Clients.

  subscribe PORT VERSION QOS FILTER COUNT   prints a line for each message, as `mosquitto_sub -F`
  publish PORT VERSION QOS TOPIC COUNT      with properties in MQTT 5.0
  answer PORT VERSION QOS TOPIC COUNT       answers so many requests, in MQTT 5.0
  refusals PORT VERSION                     prints what it is told about what it may not do

Behind them options: id=NAME, session=SECONDS, will=TOPIC, retain=1, expiry=SECONDS, and reconnect=1
for a client that comes back when the connection breaks.
"""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCodes

SECONDS = 60
role, port, version = sys.argv[1], int(sys.argv[2]), sys.argv[3]
options = dict(argument.split("=", 1) for argument in sys.argv[7:])
is_v5 = version == "5"
# What the callbacks were told, in order.
told = queue.Queue()


class Client(mqtt.Client):
    """Tells also the reason codes of messages, which paho-mqtt 1.6 reads and keeps to itself.

    That of DISCONNECT it does not read unless there are properties behind it.
    """

    disconnect_code = ""

    def _handle_disconnect(self):
        self.disconnect_code = bytes(self._in_packet["packet"][:1] or [0])[0]
        return super()._handle_disconnect()

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
    # In MQTT 5.0 that is said when it connects.
    clean = None if is_v5 else "session" not in options
    client = Client(
        *arguments,
        client_id=options.get("id", ""),
        clean_session=clean,
        protocol=protocol,
        reconnect_on_failure="reconnect" in options,
    )
    client.reconnect_delay_set(min_delay=0.02, max_delay=0.1)
    client.on_connect = lambda *_: told.put("connected")
    if "will" in options:
        client.will_set(options["will"], "gone", 1)
    for name, callback in callbacks.items():
        setattr(client, name, callback)
    return client


def connect(client):
    if is_v5:
        # So few that the server has to wait for this client.
        properties = make_properties(PacketTypes.CONNECT, ReceiveMaximum=7)
        if "session" in options:
            properties.SessionExpiryInterval = int(options["session"])
        clean = "session" not in options
        client.connect("127.0.0.1", port, properties=properties, clean_start=clean)
    else:
        client.connect("127.0.0.1", port)
    client.loop_start()
    expect("connected")


def leave(client):
    client.disconnect()
    # Not before DISCONNECT is sent.
    client.loop_stop()


def expect(what):
    found = told.get(timeout=SECONDS)
    # It says so again when it has come back.
    while found == "connected" != what:
        found = told.get(timeout=SECONDS)
    if isinstance(found, tuple):
        write(*found)
        sys.exit()
    assert found == what, f"{found} instead of {what}"


def write_told():
    write(*told.get(timeout=SECONDS))


def write_subscribed(*_):
    # Before the messages that come behind SUBACK.
    write("Subscribed")


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
    number = 0

    def on_message(_client, _userdata, message):
        nonlocal number
        number += 1
        write_message(message)
        if number == count:
            told.put("enough")

    def on_disconnect(client, *_):
        if "reconnect" not in options:
            told.put(("DISCONNECT", client.disconnect_code))

    client = make(
        on_message=on_message,
        on_subscribe=write_subscribed,
        on_unsubscribe=lambda *_: told.put("unsubscribed"),
        on_disconnect=on_disconnect,
    )
    connect(client)
    if is_v5:
        identifier = make_properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=77)
        client.subscribe(topic, options=mqtt.SubscribeOptions(qos=qos), properties=identifier)
    else:
        client.subscribe(topic, qos)
    expect("enough")
    # What is sent twice comes before the answer to this.
    client.unsubscribe("none" if "session" in options else topic)
    expect("unsubscribed")
    leave(client)


def publish(qos, topic, count):
    client = make()
    connect(client)
    sent = []
    for n in range(1, count + 1):
        properties = None
        if is_v5:
            properties = make_properties(
                PacketTypes.PUBLISH,
                MessageExpiryInterval=int(options.get("expiry", 3600)),
                ContentType="text/plain",
                ResponseTopic="answers/ü",
                CorrelationData=b"\xff\xfe%d" % n,
                PayloadFormatIndicator=1,
                UserProperty=[("unit", "°C"), ("a", "1"), ("unit", "K"), ("unit", "°C")],
            )
        retain = "retain" in options
        sent.append(client.publish(topic, f"message {n}", qos, retain, properties=properties))
    acknowledged(sent)
    leave(client)


def acknowledged(sent):
    for message in sent:
        message.wait_for_publish(SECONDS)
        assert message.is_published(), "not acknowledged"


def answer(qos, topic, count):
    sent = queue.Queue()

    def on_message(client, _userdata, message):
        asked = message.properties
        properties = make_properties(PacketTypes.PUBLISH, CorrelationData=asked.CorrelationData)
        payload = b"answer to " + message.payload
        sent.put(client.publish(asked.ResponseTopic, payload, qos, properties=properties))

    client = make(on_message=on_message, on_subscribe=write_subscribed)
    connect(client)
    client.subscribe(topic, qos)
    acknowledged([sent.get(timeout=SECONDS) for _ in range(count)])
    leave(client)


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
    play = {"subscribe": subscribe, "publish": publish, "answer": answer}[role]
    play(int(sys.argv[4]), sys.argv[5], int(sys.argv[6]))
