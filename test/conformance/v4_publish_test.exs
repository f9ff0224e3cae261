defmodule MQTT.Conformance.V4PublishTest do
  # Sections 3.3 and 3.6: PUBLISH and PUBREL.
  use MQTT.Test.Conformance, version: "3.1.1"

  # A publisher, and a subscriber to a topic.
  defp pair(filter, qos) do
    port = broker()
    {port, connected(port, "P"), connected(port, "S") |> subscribed([{filter, qos}])}
  end

  # What the publisher has sent is handled: an answer comes behind it, and the handler is told of it.
  defp handled(publisher, count) do
    assert_open(publisher)
    for _ <- 1..count, do: assert_receive({:publish, "P", _, _, _})
  end

  statement "MQTT-3.3.1-1", "what is sent again has DUP 1" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S", 0x00) |> subscribed([{"a", 2}])
    publish_fully(publisher, 0x32, "a", 1, "one")
    publish_fully(publisher, 0x34, "a", 2, "two")
    assert {0x32, "a", one, "one"} = recv_publish(subscriber)
    assert {0x34, "a", two, "two"} = recv_publish(subscriber)
    abort(subscriber)
    assert_receive {:ended, "S", _}
    subscriber = resumed(port, "S")
    assert {0x3A, "a", ^one, "one"} = recv_publish(subscriber)
    assert {0x3C, "a", ^two, "two"} = recv_publish(subscriber)
  end

  statement "MQTT-3.3.1-2", "DUP 1 at QoS 0 closes the connection" do
    port = broker()
    assert_disconnected(port, publish(0x38, "a", "x"))
    assert_disconnected(port, publish(0x39, "a", "x"))
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.3.1-2", "at QoS 0 the server sends DUP 0" do
    {_port, publisher, subscriber} = pair("a", 0)
    publish_fully(publisher, 0x3A, "a", 1, "x")
    assert recv(subscriber) == publish(0x30, "a", "x")
  end

  statement "MQTT-3.3.1-3", "the DUP of the publisher is not passed on" do
    {_port, publisher, subscriber} = pair("a", 2)
    publish_fully(publisher, 0x3A, "a", 1, "one")
    publish_fully(publisher, 0x3C, "a", 2, "two")
    assert {0x32, "a", _, "one"} = recv_publish(subscriber)
    assert {0x34, "a", _, "two"} = recv_publish(subscriber)
  end

  statement "MQTT-3.3.1-4", "QoS 3 closes the connection" do
    port = broker()

    for first <- [0x36, 0x37, 0x3E, 0x3F],
        do: assert_disconnected(port, publish(first, "a", 1, "x"))

    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.3.1-5", "a message to retain is kept with its QoS" do
    port = broker()
    publisher = connected(port, "P")
    for qos <- 1..2, do: publish_fully(publisher, 0x31 + 2 * qos, "a/#{qos}", qos, "kept")
    subscriber = connected(port, "S") |> subscribed([{"a/1", 2}])
    assert {0x33, "a/1", _, "kept"} = recv_publish(subscriber)
    subscribed(subscriber, [{"a/2", 2}])
    assert {0x35, "a/2", _, "kept"} = recv_publish(subscriber)
  end

  @tag :callbacks
  statement "MQTT-3.3.1-6", "a new subscription gets the last message retained for each topic" do
    port = broker()
    publisher = connected(port, "P")
    kept = [publish(0x31, "a/1", "old"), publish(0x31, "a/1", "new"), publish(0x31, "a/2", "two")]
    send_bytes(publisher, [kept, publish(0x31, "b/1", "other")])
    handled(publisher, 4)
    subscriber = connected(port, "S") |> subscribed([{"a/+", 0}])
    got = for _ <- 1..2, do: recv(subscriber)
    assert Enum.sort(got) == [publish(0x31, "a/1", "new"), publish(0x31, "a/2", "two")]
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.1.2-7", "what is retained outlives the session that published it" do
    port = broker()
    publisher = connected(port, "P")
    send_bytes(publisher, [publish(0x31, "a", "x"), <<0xE0, 0>>])
    assert_receive {:ended, "P", :normal}
    assert recv(connected(port, "S") |> subscribed([{"a", 0}])) == publish(0x31, "a", "x")
    assert recv(connected(port, "P") |> subscribed([{"a", 0}])) == publish(0x31, "a", "x")
  end

  @tag :callbacks
  statement "MQTT-3.3.1-7", "a message to retain at QoS 0 takes the place of any before it" do
    port = broker()
    publisher = connected(port, "P")
    publish_fully(publisher, 0x33, "a", 1, "old")
    send_bytes(publisher, publish(0x31, "a", "new"))
    handled(publisher, 2)
    subscriber = connected(port, "S") |> subscribed([{"a", 1}])
    assert recv(subscriber) == publish(0x31, "a", "new")
  end

  @tag :callbacks
  statement "MQTT-3.3.1-8", "what comes because of a new subscription has RETAIN 1" do
    port = broker()
    publisher = connected(port, "P")
    send_bytes(publisher, publish(0x31, "a", "x"))
    handled(publisher, 1)
    subscriber = connected(port, "S") |> subscribed([{"#", 0}])
    assert recv(subscriber) == publish(0x31, "a", "x")
  end

  statement "MQTT-3.3.1-9", "what comes to a subscription that is there has RETAIN 0" do
    {_port, publisher, subscriber} = pair("a", 0)
    send_bytes(publisher, [publish(0x31, "a", "one"), publish(0x30, "a", "two")])
    assert recv(subscriber) == publish(0x30, "a", "one")
    assert recv(subscriber) == publish(0x30, "a", "two")
  end

  statement "MQTT-3.3.1-10",
            "a message to retain with no payload is delivered, and removes the one retained" do
    {port, publisher, subscriber} = pair("a", 0)
    send_bytes(publisher, [publish(0x31, "a", "kept"), publish(0x31, "a", "")])
    assert recv(subscriber) == publish(0x30, "a", "kept")
    assert recv(subscriber) == publish(0x30, "a", "")
    late = connected(port, "S2") |> subscribed([{"a", 0}])
    assert_nothing(late, publisher)
  end

  statement "MQTT-3.3.1-11", "a message with no payload is not retained" do
    {port, publisher, subscriber} = pair("a", 0)
    send_bytes(publisher, publish(0x31, "a", ""))
    assert recv(subscriber) == publish(0x30, "a", "")
    late = connected(port, "S2") |> subscribed([{"a", 0}])
    assert_nothing(late, publisher)
  end

  statement "MQTT-3.3.1-12", "a message with RETAIN 0 leaves the one retained" do
    {port, publisher, subscriber} = pair("#", 0)
    send_bytes(publisher, [publish(0x31, "a", "old"), publish("a", "new"), publish("b", "new")])
    for _ <- 1..3, do: assert(<<0x30, _::binary>> = recv(subscriber))
    late = connected(port, "S2") |> subscribed([{"#", 0}])
    assert recv(late) == publish(0x31, "a", "old")
    assert_nothing(late, publisher)
  end

  statement "MQTT-3.3.2-1",
            "the topic name comes first; one that is not UTF-8 closes the connection" do
    {port, publisher, subscriber} = pair("ä/€/𝄞", 0)
    send_bytes(publisher, publish("ä/€/𝄞", "x"))
    assert recv(subscriber) == <<0x30, 14, 0, 11, "ä/€/𝄞", "x">>
    assert_disconnected(port, publish(<<0xFF, 0xFE>>, "x"))
    refute_received {:publish, "broken", _, _, _}
  end

  statement "MQTT-3.3.2-2", "a topic name with a wildcard closes the connection" do
    port = broker()

    for topic <- ["a/+", "a/#", "+", "#", "a+", "#/a"],
        do: assert_disconnected(port, publish(topic, "x"))

    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-3.3.2-3", "what is delivered matches the filter" do
    {_port, publisher, subscriber} = pair("a/+/c", 0)

    for topic <- ["a/b/d", "a/c", "a/b/b/c", "a/b/c", "b/b/c"],
        do: send_bytes(publisher, publish(topic, "x"))

    assert recv(subscriber) == publish("a/b/c", "x")
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.3.4-1", "QoS 0 is not answered, QoS 1 with PUBACK, QoS 2 with PUBREC" do
    client = connected(broker(), "C")
    send_bytes(client, [publish("a", "x"), <<0xC0, 0>>])
    assert recv(client) == <<0xD0, 0>>
    send_bytes(client, publish(0x32, "a", 1, "x"))
    assert recv(client) == <<0x40, 2, 0, 1>>
    send_bytes(client, publish(0x34, "a", 2, "x"))
    assert recv(client) == <<0x50, 2, 0, 2>>
  end

  statement "MQTT-3.3.5-1", "of subscriptions that overlap the best QoS counts" do
    {_port, publisher, subscriber} = pair("a/#", 0)
    subscribed(subscriber, [{"a/+", 2}, {"a/b", 1}])
    publish_fully(publisher, 0x34, "a/b", 1, "x")
    # The broker of these tests sends one copy for all of them.
    assert {0x34, "a/b", _, "x"} = recv_publish(subscriber)
    assert_nothing(subscriber, publisher)
  end

  @tag :callbacks
  statement "MQTT-3.3.5-2", "a message that is not allowed is acknowledged and goes nowhere" do
    {_port, publisher, subscriber} = pair("#", 2)
    publish_fully(publisher, 0x32, "denied/a", 1, "x")
    publish_fully(publisher, 0x34, "denied/a", 2, "x")
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.6.1-1", "PUBREL with other flags closes the connection" do
    port = broker()

    for first <- [0x60, 0x61, 0x63, 0x66, 0x6A] do
      client = connected(port, "C")
      send_bytes(client, publish(0x34, "a", 1, "x"))
      assert recv(client) == <<0x50, 2, 0, 1>>
      send_bytes(client, <<first, 2, 0, 1>>)
      assert_closed(client)
    end
  end
end
