defmodule MQTT.Conformance.V4SubscribeTest do
  # Sections 3.8 to 3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.
  use MQTT.Test.Conformance, version: "3.1.1"

  defmodule NoWildcards do
    use MQTT.Server

    @impl true
    def init(_args, _params), do: {:ok, nil}

    @impl true
    def handle_subscribe(filter, qos, state) do
      granted = if String.contains?(filter, ["+", "#"]), do: :failed, else: qos
      {:ok, granted, state}
    end
  end

  statement "MQTT-3.8.1-1", "SUBSCRIBE with other flags closes the connection" do
    port = broker()
    <<0x82, rest::binary>> = subscribe(1, [{"a", 0}])

    for first <- [0x80, 0x81, 0x83, 0x86, 0x8A],
        do: assert_disconnected(port, <<first, rest::binary>>)
  end

  statement "MQTT-3.8.3-1", "a topic filter that is not UTF-8 closes the connection" do
    port = broker()
    assert_disconnected(port, subscribe(1, [{<<0xC3, 0x28>>, 0}]))
    assert_disconnected(port, subscribe(1, [{"a", 0}, {<<0xC3, 0x28>>, 0}]))
  end

  statement "MQTT-3.8.3-2", "a handler without wildcards rejects filters that have them" do
    server = [transport: :listener, module: NoWildcards, args: nil]
    client = server |> MQTT.Test.Acceptor.start() |> connected("C")
    send_bytes(client, subscribe(1, [{"a/#", 0}, {"a", 0}, {"+", 0}]))
    assert recv(client) == <<0x90, 5, 0, 1, 0x80, 0, 0x80>>
  end

  statement "MQTT-3.8.3-3", "SUBSCRIBE without a topic filter closes the connection" do
    assert_disconnected(broker(), <<0x82, 2, 0, 1>>)
  end

  statement "MQTT-3.8.3-4", "reserved bits beside the QoS, and QoS 3, close the connection" do
    port = broker()

    for qos <- [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF],
        do: assert_disconnected(port, subscribe(1, [{"a", 0}, {"b", qos}]))
  end

  statement ["MQTT-3.8.4-1", "MQTT-3.8.4-2"],
            "SUBACK has the packet identifier of its SUBSCRIBE" do
    client = connected(broker(), "C")
    send_bytes(client, [subscribe(1, [{"a", 0}]), subscribe(0xFFFF, [{"b", 0}, {"c", 0}])])
    assert recv(client) == <<0x90, 3, 0, 1, 0>>
    assert recv(client) == <<0x90, 4, 0xFF, 0xFF, 0, 0>>
  end

  # While messages are on their way the subscriber subscribes once more, with another QoS.
  defp resubscribe_under_way(qos, number) do
    port = broker()
    publisher = connected(port, "P")
    send_bytes(publisher, publish(0x31, "a", "kept"))
    assert_open(publisher)
    assert_receive {:publish, "P", "a", "kept", _}
    subscriber = connected(port, "S") |> subscribed([{"a", 0}])
    assert recv(subscriber) == publish(0x31, "a", "kept")

    for n <- 1..500, do: send_bytes(publisher, number.(n))
    first = for _ <- 1..10, do: recv(subscriber)
    send_bytes(subscriber, subscribe(2, [{"a", qos}]))
    for n <- 501..1_000, do: send_bytes(publisher, number.(n))
    # The thousand, SUBACK and what is retained.
    rest = for _ <- 1..992, do: recv(subscriber)

    {others, live} = Enum.split_with(first ++ rest, &(:binary.first(&1) in [0x90, 0x31]))
    assert Enum.sort(others) == [publish(0x31, "a", "kept"), <<0x90, 3, 0, 2, qos>>]
    assert_nothing(subscriber, publisher)
    {publisher, subscriber, live}
  end

  @tag :callbacks
  statement "MQTT-3.8.4-3",
            "the same filter again gets what is retained again, and loses nothing" do
    number = &publish("a", "#{&1}")
    {_publisher, _subscriber, live} = resubscribe_under_way(0, number)
    assert live == Enum.map(1..1_000, number)
  end

  statement "MQTT-3.8.4-3", "the same filter again replaces the QoS" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 0}]) |> subscribed([{"a", 1}])
    publish_fully(publisher, 0x34, "a", 1, "x")
    assert {0x32, "a", _, "x"} = recv_publish(subscriber)
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.8.4-4", "several filters in one SUBSCRIBE all count, and share a SUBACK" do
    port = broker()
    subscriber = connected(port, "S")
    send_bytes(subscriber, subscribe(1, [{"a", 0}, {"b", 0}, {"c", 0}]))
    assert recv(subscriber) == <<0x90, 5, 0, 1, 0, 0, 0>>
    publisher = connected(port, "P")
    topics = ["a", "b", "c"]
    for topic <- topics, do: send_bytes(publisher, publish(topic, "x"))
    for topic <- topics, do: assert(recv(subscriber) == publish(topic, "x"))
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.8.4-4", "of one filter twice in a SUBSCRIBE the last one counts" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 0}, {"b", 0}, {"a", 1}])
    publish_fully(publisher, 0x34, "a", 1, "x")
    assert {0x32, "a", _, "x"} = recv_publish(subscriber)
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.8.4-5", "SUBACK has a code for each filter, the granted QoS or 0x80" do
    client = connected(broker(), "C")
    send_bytes(client, subscribe(1, [{"a", 1}, {"denied/a", 1}, {"b", 2}]))
    assert recv(client) == <<0x90, 5, 0, 1, 1, 0x80, 2>>
  end

  statement "MQTT-3.8.4-6", "a message comes at the lower of its QoS and the granted one" do
    port = broker()
    publisher = connected(port, "P")

    subscriber =
      connected(port, "S") |> subscribed(for granted <- 0..2, do: {"#{granted}", granted})

    for granted <- 0..2, qos <- 0..2 do
      first = 0x31 + 2 * qos

      if qos == 0,
        do: send_bytes(publisher, publish(first, "#{granted}", "x")),
        else: publish_fully(publisher, first, "#{granted}", 1, "x")

      topic = "#{granted}"
      expected = 0x30 + 2 * min(granted, qos)
      assert {^expected, ^topic, id, "x"} = recv_publish(subscriber)
      acknowledge(subscriber, min(granted, qos), id)

      # What is retained, too.
      late = connected(port, "late") |> subscribed([{topic, granted}])
      retained = expected + 1
      assert {^retained, ^topic, _, "x"} = recv_publish(late)
    end
  end

  defp acknowledge(_client, 0, _id), do: :ok
  defp acknowledge(client, 1, id), do: send_bytes(client, <<0x40, 2, id::16>>)

  defp acknowledge(client, 2, id) do
    send_bytes(client, <<0x50, 2, id::16>>)
    assert recv(client) == <<0x62, 2, id::16>>
    send_bytes(client, <<0x70, 2, id::16>>)
  end

  statement "MQTT-3.9.3-1", "the codes of SUBACK are in the order of the filters" do
    client = connected(broker(), "C")
    send_bytes(client, subscribe(1, [{"b", 2}, {"c", 0}, {"denied/a", 2}, {"a", 1}]))
    assert recv(client) == <<0x90, 6, 0, 1, 2, 0, 0x80, 1>>
  end

  statement "MQTT-3.9.3-2", "SUBACK has no other codes than 0x00, 0x01, 0x02 and 0x80" do
    client = connected(broker(), "C")
    filters = for topic <- ["a", "denied/a", "$share/g/a"], qos <- 0..2, do: {topic, qos}
    send_bytes(client, subscribe(1, filters))
    assert <<0x90, 11, 0, 1, codes::binary>> = recv(client)
    for <<code <- codes>>, do: assert(code in [0, 1, 2, 0x80])
  end

  statement "MQTT-3.10.1-1", "UNSUBSCRIBE with other flags closes the connection" do
    port = broker()
    <<0xA2, rest::binary>> = unsubscribe(1, ["a"])

    for first <- [0xA0, 0xA1, 0xA3, 0xA6, 0xAA],
        do: assert_disconnected(port, <<first, rest::binary>>)
  end

  statement "MQTT-3.10.3-1",
            "UNSUBSCRIBE with filters that are not UTF-8, or too long, closes the connection" do
    port = broker()
    assert_disconnected(port, unsubscribe(1, ["a", <<0xC3, 0x28>>]))
    assert_disconnected(port, <<0xA2, 5, 0, 1, 0, 2, "a">>)
    assert_disconnected(port, <<0xA2, 6, 0, 1, 0, 1, "a", 0>>)
  end

  statement "MQTT-3.10.3-2", "UNSUBSCRIBE without a topic filter closes the connection" do
    assert_disconnected(broker(), <<0xA2, 2, 0, 1>>)
  end

  # A subscriber to a filter, which then unsubscribes.
  defp unsubscribed(port, filter, filters) do
    subscriber = connected(port, "S") |> subscribed([{filter, 0}])
    send_bytes(subscriber, unsubscribe(1, filters))
    assert recv(subscriber) == <<0xB0, 2, 0, 1>>
    subscriber
  end

  statement "MQTT-3.10.4-1",
            "UNSUBSCRIBE ends the subscription with that very filter, and no other" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = unsubscribed(port, "a/+", ["a/#", "a/b", "A/+", "+/+", "#"])
    send_bytes(publisher, publish("a/b", "x"))
    assert recv(subscriber) == publish("a/b", "x")
    send_bytes(subscriber, unsubscribe(2, ["a/+"]))
    assert recv(subscriber) == <<0xB0, 2, 0, 2>>
    send_bytes(publisher, publish("a/b", "x"))
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.10.4-2", "after UNSUBACK nothing more comes" do
    port = broker()
    subscriber = unsubscribed(port, "a", ["a"])
    publisher = connected(port, "P")
    send_bytes(publisher, publish("a", "x"))
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.10.4-3", "what was under way is completed after UNSUBSCRIBE" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S", 0x00) |> subscribed([{"a", 2}])
    publish_fully(publisher, 0x32, "a", 1, "one")
    publish_fully(publisher, 0x34, "a", 2, "two")
    assert {0x32, "a", one, "one"} = recv_publish(subscriber)
    assert {0x34, "a", two, "two"} = recv_publish(subscriber)
    send_bytes(subscriber, unsubscribe(1, ["a"]))
    assert recv(subscriber) == <<0xB0, 2, 0, 1>>
    send_bytes(subscriber, <<0x50, 2, two::16>>)
    assert recv(subscriber) == <<0x62, 2, two::16>>
    close(subscriber)
    assert_receive {:ended, "S", _}
    subscriber = resumed(port, "S")
    assert {0x3A, "a", ^one, "one"} = recv_publish(subscriber)
    assert recv(subscriber) == <<0x62, 2, two::16>>
    send_bytes(subscriber, [<<0x40, 2, one::16>>, <<0x70, 2, two::16>>])
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.10.4-4", "UNSUBACK has the packet identifier of its UNSUBSCRIBE" do
    client = connected(broker(), "C") |> subscribed([{"a", 0}])
    send_bytes(client, [unsubscribe(0x1234, ["a"]), unsubscribe(1, ["a"])])
    assert recv(client) == <<0xB0, 2, 0x12, 0x34>>
    assert recv(client) == <<0xB0, 2, 0, 1>>
  end

  statement "MQTT-3.10.4-5", "UNSUBACK comes also if no subscription ended" do
    client = connected(broker(), "C")
    send_bytes(client, unsubscribe(7, ["never/subscribed"]))
    assert recv(client) == <<0xB0, 2, 0, 7>>
    assert_open(client)
  end

  statement "MQTT-3.10.4-6",
            "several filters in one UNSUBSCRIBE all count, and share an UNSUBACK" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 0}, {"b", 0}, {"c", 0}])
    send_bytes(subscriber, unsubscribe(1, ["a", "x", "b"]))
    assert recv(subscriber) == <<0xB0, 2, 0, 1>>
    for topic <- ["a", "b", "c"], do: send_bytes(publisher, publish(topic, "x"))
    assert recv(subscriber) == publish("c", "x")
    assert_nothing(subscriber, publisher)
  end
end
