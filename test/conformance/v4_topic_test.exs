defmodule MQTT.Conformance.V4TopicTest do
  # Section 4.7: topic names and topic filters.
  use MQTT.Test.Conformance, version: "3.1.1"

  # Invalid filters close the connection here; SUBACK with 0x80 would do as well.
  defp assert_not_granted(port, filters) do
    for filter <- filters, do: assert_disconnected(port, subscribe(1, [{filter, 0}]))
  end

  statement "MQTT-4.7.1-1", "wildcards are for filters, and not for topic names" do
    port = broker()
    connected(port, "S") |> subscribed([{"a/+", 0}, {"a/#", 0}])
    for topic <- ["a/+", "a/#", "+/a"], do: assert_disconnected(port, publish(topic, "x"))
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-4.7.1-2", "# stands alone in the last level" do
    port = broker()
    assert_not_granted(port, ["a#", "a/#/b", "#/a", "a/b#", "##", "#a", "a/+#"])
    connected(port, "S") |> subscribed([{"#", 0}, {"a/#", 0}, {"+/#", 0}, {"/#", 0}])
  end

  statement "MQTT-4.7.1-3", "+ fills a level" do
    port = broker()
    assert_not_granted(port, ["a+", "+a/b", "a/b+/c", "++", "a/+b", "+#"])

    connected(port, "S")
    |> subscribed([{"+", 0}, {"+/a", 0}, {"a/+", 0}, {"a/+/b", 0}, {"/+", 0}])
  end

  statement "MQTT-4.7.2-1",
            "a filter that begins with a wildcard matches no topic that begins with $" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"#", 0}, {"+/x", 0}, {"+/#", 0}])
    send_bytes(publisher, publish("$T/x", "x"))
    assert_nothing(subscriber, publisher)

    for filter <- ["$T/x", "$T/#", "$T/+"] do
      subscriber = connected(port, "S") |> subscribed([{filter, 0}])
      send_bytes(publisher, publish("$T/x", "x"))
      assert recv(subscriber) == publish("$T/x", "x")
    end
  end

  statement "MQTT-4.7.3-1", "topic names and filters have a character at least" do
    port = broker()
    assert_disconnected(port, publish("", "x"))
    assert_not_granted(port, [""])
    assert_disconnected(port, unsubscribe(1, [""]))
    assert_not_connected(port, connect(0x06, ["C", "", "gone"]))
    client = connected(port, "C") |> subscribed([{"/", 0}])
    send_bytes(client, publish("/", "x"))
    assert recv(client) == publish("/", "x")
  end

  statement "MQTT-4.7.3-2", "topic names and filters have no U+0000" do
    port = broker()
    assert_disconnected(port, publish(<<"a", 0>>, "x"))
    assert_not_granted(port, [<<"a", 0>>, <<0>>])
    assert_disconnected(port, unsubscribe(1, [<<"a", 0>>]))
    refute_received {:publish, _, _, _, _}
  end

  statement "MQTT-4.7.3-3", "topic names and filters may have 65,535 bytes" do
    longest = :binary.copy("a", 65_535)
    client = connected(broker(), "C") |> subscribed([{longest, 0}])
    send_bytes(client, publish(longest, "x"))
    assert recv(client) == publish(longest, "x")
    send_bytes(client, unsubscribe(2, [longest]))
    assert recv(client) == <<0xB0, 2, 0, 2>>
  end

  statement "MQTT-4.7.3-4", "topics are compared as they are" do
    port = broker()
    publisher = connected(port, "P")

    # Two forms of é, and what differs in case or in an empty level.
    topics = [
      <<0xC3, 0xA9>>,
      <<0x65, 0xCC, 0x81>>,
      "a",
      "A",
      "/a",
      "a/",
      "a//b",
      "a/b",
      "a b",
      " a"
    ]

    for topic <- topics do
      subscriber = connected(port, "S") |> subscribed([{topic, 0}])
      for topic <- topics, do: send_bytes(publisher, publish(topic, "x"))
      assert recv(subscriber) == publish(topic, "x")
      assert_nothing(subscriber, publisher)
    end
  end
end
