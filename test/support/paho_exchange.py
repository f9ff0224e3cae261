"""Publishes messages with one client and checks that another gets all of them, in order."""

import sys
import threading

import paho.mqtt.client as mqtt

port, version, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
protocol = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311}[version]
subscribed, done = threading.Event(), threading.Event()
received = []


def client(name):
    # Version 2 of paho-mqtt wants to be told which callbacks are meant.
    versions = getattr(mqtt, "CallbackAPIVersion", None)
    arguments = [versions.VERSION1] if versions else []
    made = mqtt.Client(*arguments, client_id=name, protocol=protocol)
    return made


def on_message(_client, _userdata, message):
    received.append(message.payload)
    if len(received) == count:
        done.set()


subscriber = client("paho-subscriber")
subscriber.on_message = on_message
subscriber.on_connect = lambda c, *_: c.subscribe("paho/+/x")
subscriber.on_subscribe = lambda *_: subscribed.set()
subscriber.connect("127.0.0.1", port)
subscriber.loop_start()
assert subscribed.wait(10), "no SUBACK"

publisher = client("paho-publisher")
connected = threading.Event()
publisher.on_connect = lambda *_: connected.set()
publisher.connect("127.0.0.1", port)
publisher.loop_start()
assert connected.wait(10), "no CONNACK"

sent = [b"message %d" % n for n in range(count)]
for payload in sent:
    publisher.publish("paho/a/x", payload)

assert done.wait(60), f"{len(received)} of {count} messages came"
assert received == sent, "out of order"
publisher.disconnect()
subscriber.unsubscribe("paho/+/x")
subscriber.disconnect()
print(count, "messages in order")
