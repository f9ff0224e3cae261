defmodule MQTT.Conformance.V5SubscribeTest do
  # Sections 3.8 to 3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.
  use MQTT.Test.Conformance, version: "5.0"

  statement "MQTT-3.8.1-1", "SUBSCRIBE with other flags closes the connection" do
    port = broker()
    <<0x82, rest::binary>> = subscribe(1, [{"a", 0}])

    for first <- [0x80, 0x81, 0x83, 0x86, 0x8A],
        do: assert_disconnected(port, <<first, rest::binary>>, [0x81])
  end

  statement "MQTT-3.8.3-1", "a topic filter that is not UTF-8 closes the connection" do
    port = broker()
    assert_disconnected(port, subscribe(1, [{<<0xC3, 0x28>>, 0}]), [0x81])
    assert_disconnected(port, subscribe(1, [{"a", 0}, {<<0xC3, 0x28>>, 0}]), [0x81])
  end

  statement "MQTT-3.8.3-2", "SUBSCRIBE without a topic filter closes the connection" do
    assert_disconnected(broker(), <<0x82, 3, 0, 1, 0>>, [0x82])
  end

  statement "MQTT-3.8.3-3", "with No Local a client's own messages do not come back" do
    port = broker()
    other = connected(port, "S2") |> subscribed([{"a", 1}])
    client = with_session(port, "C") |> subscribed([{"a", 0x05}])
    publish_fully(client, "a", 1, "x")
    assert {:publish, 0x32, "a", _, "x", _} = recv_packet(other)
    assert_nothing(client, other)

    # The option is part of the session.
    leave(client, "C")
    client = resumed(port, "C")
    publish_fully(client, "a", 1, "y")
    assert {:publish, 0x32, "a", _, "y", _} = recv_packet(other)
    assert_nothing(client, client)
    send_bytes(other, unsubscribe(2, ["a"]))
    assert {:unsuback, 2, [0], _} = recv_packet(other)
    publish_fully(other, "a", 1, "z")
    assert {:publish, 0x32, "a", id, "z", _} = recv_packet(client)
    send_bytes(client, <<0x40, 2, id::16>>)

    # It does not count for another subscription.
    subscribed(client, [{"#", 0}])
    send_bytes(client, publish("a", "mine"))
    assert {:publish, 0x30, "a", nil, "mine", _} = recv_packet(client)
  end

  statement "MQTT-3.8.3-4", "No Local on a shared subscription disconnects the client" do
    assert_disconnected(broker(), subscribe(1, [{"$share/g/a", 0x05}]), [0x82])
  end

  statement "MQTT-3.8.3-5",
            "reserved option bits, QoS 3 and Retain Handling 3 close the connection" do
    port = broker()

    for options <- [0x40, 0x41, 0x81, 0xC1],
        do: assert_disconnected(port, subscribe(1, [{"a", options}]), [0x81])

    for options <- [0x03, 0x30, 0x31],
        do: assert_disconnected(port, subscribe(1, [{"a", 0}, {"b", options}]), [0x81, 0x82])
  end

  statement ["MQTT-3.8.4-1", "MQTT-3.8.4-2"],
            "SUBACK has the packet identifier of its SUBSCRIBE" do
    client = connected(broker(), "C")
    send_bytes(client, [subscribe(1, [{"a", 0}]), subscribe(0xFFFF, [{"b", 0}, {"c", 0}])])
    assert recv(client) == <<0x90, 4, 0, 1, 0, 0>>
    assert recv(client) == <<0x90, 5, 0xFF, 0xFF, 0, 0, 0>>
  end

  statement "MQTT-3.8.4-3", "the same filter again replaces the subscription" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 0}], <<0x0B, 7>>)
    subscribed(subscriber, [{"a", 1}], <<0x0B, 9>>)
    publish_fully(publisher, 0x34, "a", 1, "x")
    assert {:publish, 0x32, "a", _, "x", [{0x0B, 9}]} = recv_packet(subscriber)
    assert_nothing(subscriber, publisher)
    subscribed(subscriber, [{"a", 1}])
    publish_fully(publisher, 0x34, "a", 1, "y")
    assert {:publish, 0x32, "a", _, "y", []} = recv_packet(subscriber)
    send_bytes(subscriber, unsubscribe(2, ["a"]))
    assert {:unsuback, 2, [0], _} = recv_packet(subscriber)
    publish_fully(publisher, 0x34, "a", 1, "z")
    assert_nothing(subscriber, publisher)
  end

  @tag :callbacks
  statement "MQTT-3.8.4-4",
            "the same filter again gets what is retained again, and loses nothing" do
    port = broker()
    publisher = connected(port, "P")
    kept = publish(0x31, "a", "kept")
    send_bytes(publisher, kept)
    assert_open(publisher)
    assert_receive {:publish, "P", "a", "kept", _}
    subscriber = connected(port, "S") |> subscribed([{"a", 0}])
    assert recv(subscriber) == kept

    messages = for n <- 1..1_000, do: publish("a", "#{n}")
    {before, behind} = Enum.split(messages, 500)
    send_bytes(publisher, before)
    first = for _ <- 1..10, do: recv(subscriber)
    send_bytes(subscriber, subscribe(2, [{"a", 0x08}]))
    send_bytes(publisher, behind)
    # The thousand, SUBACK and what is retained.
    rest = for _ <- 1..992, do: recv(subscriber)

    {others, live} = Enum.split_with(first ++ rest, &(:binary.first(&1) in [0x90, 0x31]))
    assert Enum.sort(others) == [kept, <<0x90, 4, 0, 2, 0, 0>>]
    assert live == messages
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.8.4-5",
            "several filters in one SUBSCRIBE act as one after the other, and share a SUBACK" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 0x00}, {"b", 0x02}, {"a", 0x01}])
    publish_fully(publisher, 0x34, "a", 1, "x")
    assert {:publish, 0x32, "a", _, "x", _} = recv_packet(subscriber)
    publish_fully(publisher, 0x34, "b", 1, "x")
    assert {:publish, 0x34, "b", _, "x", _} = recv_packet(subscriber)
    assert_nothing(subscriber, publisher)
  end

  statement ["MQTT-3.8.4-6", "MQTT-3.8.4-7"],
            "SUBACK has a code for each filter, the granted QoS or a failure" do
    client = connected(broker(), "C")
    send_bytes(client, subscribe(1, [{"a", 1}, {"denied/a", 1}, {"b", 2}]))
    assert {:suback, 1, [1, 0x87, 2], _} = recv_packet(client)
  end

  statement "MQTT-3.8.4-8", "a message comes at the lower of its QoS and the granted one" do
    port = broker()
    publisher = connected(port, "P")
    filters = for granted <- 0..2, do: {"#{granted}", granted}
    with_session(port, "absent") |> subscribed(filters) |> leave("absent")
    subscriber = connected(port, "S") |> subscribed(filters)

    for granted <- 0..2, qos <- 0..2 do
      topic = "#{granted}"
      send_at(publisher, qos, topic)
      expected = 0x30 + 2 * min(granted, qos)
      assert {:publish, ^expected, ^topic, id, "x", _} = recv_packet(subscriber)
      acknowledge(subscriber, min(granted, qos), id)

      # What is retained, too.
      late = connected(port, "late") |> subscribed([{topic, granted}])
      retained = expected + 1
      assert {:publish, ^retained, ^topic, _, "x", _} = recv_packet(late)
    end

    # And what waited for a session. What comes at QoS 0 need not wait.
    absent = resumed(port, "absent")
    kept = for granted <- 1..2, qos <- 1..2, do: 0x30 + 2 * min(granted, qos)
    assert recv_above_qos_0(absent, length(kept)) == kept
  end

  defp send_at(publisher, 0, topic), do: send_bytes(publisher, publish(0x31, topic, "x"))
  defp send_at(publisher, qos, topic), do: publish_fully(publisher, 0x31 + 2 * qos, topic, 1, "x")

  defp recv_above_qos_0(_client, 0), do: []

  defp recv_above_qos_0(client, count) do
    case recv_packet(client) do
      {:publish, 0x30, _, nil, _, _} -> recv_above_qos_0(client, count)
      {:publish, first, _, _, _, _} -> [first | recv_above_qos_0(client, count - 1)]
    end
  end

  defp acknowledge(_client, 0, _id), do: :ok
  defp acknowledge(client, 1, id), do: send_bytes(client, <<0x40, 2, id::16>>)

  defp acknowledge(client, 2, id) do
    send_bytes(client, <<0x50, 2, id::16>>)
    assert {:pubrel, ^id, 0, _} = recv_packet(client)
    send_bytes(client, <<0x70, 2, id::16>>)
  end

  statement "MQTT-3.9.3-1", "the codes of SUBACK are in the order of the filters" do
    client = connected(broker(), "C")
    send_bytes(client, subscribe(1, [{"b", 2}, {"denied/a", 2}, {"c", 0}, {"a", 1}]))
    assert {:suback, 1, [2, 0x87, 0, 1], _} = recv_packet(client)
  end

  statement "MQTT-3.9.3-2", "SUBACK has codes of its own only" do
    client = connected(broker(), "C")
    filters = for topic <- ["a", "denied/a", "$share/g/a", "#"], qos <- 0..2, do: {topic, qos}
    send_bytes(client, subscribe(1, filters))
    assert {:suback, 1, codes, _} = recv_packet(client)
    assert length(codes) == length(filters)
    allowed = [0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]
    for code <- codes, do: assert(code in allowed)
  end

  statement "MQTT-3.10.1-1", "UNSUBSCRIBE with other flags closes the connection" do
    port = broker()
    <<0xA2, rest::binary>> = unsubscribe(1, ["a"])

    for first <- [0xA0, 0xA1, 0xA3, 0xA6, 0xAA],
        do: assert_disconnected(port, <<first, rest::binary>>, [0x81])
  end

  statement "MQTT-3.10.3-1",
            "UNSUBSCRIBE with a filter that is not UTF-8 closes the connection" do
    assert_disconnected(broker(), unsubscribe(1, ["a", <<0xC3, 0x28>>]), [0x81])
  end

  statement "MQTT-3.10.3-2", "UNSUBSCRIBE without a topic filter closes the connection" do
    assert_disconnected(broker(), <<0xA2, 3, 0, 1, 0>>, [0x82])
  end

  defp unsubscribed(client, filters) do
    send_bytes(client, unsubscribe(1, filters))
    assert {:unsuback, 1, codes, _} = recv_packet(client)
    codes
  end

  statement "MQTT-3.10.4-1",
            "UNSUBSCRIBE ends the subscription with that very filter, and no other" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a/+", 1}])

    assert unsubscribed(subscriber, ["a/#", "a/b", "A/+", "+/+", "#"]) == [
             0x11,
             0x11,
             0x11,
             0x11,
             0x11
           ]

    publish_fully(publisher, "a/b", 1, "x")
    assert {:publish, 0x32, "a/b", _, "x", _} = recv_packet(subscriber)
    assert unsubscribed(subscriber, ["a/+"]) == [0]
    publish_fully(publisher, "a/b", 1, "x")
    assert_nothing(subscriber, publisher)
  end

  statement "MQTT-3.10.4-2", "after UNSUBACK nothing more comes, nor waits" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = with_session(port, "S") |> subscribed([{"a", 1}])
    assert unsubscribed(subscriber, ["a"]) == [0]
    publish_fully(publisher, "a", 1, "x")
    assert_nothing(subscriber, publisher)
    leave(subscriber, "S")
    publish_fully(publisher, "a", 1, "x")
    assert_nothing(resumed(port, "S"), publisher)
  end

  statement "MQTT-3.10.4-3", "what was under way is completed after UNSUBSCRIBE" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = with_session(port, "S") |> subscribed([{"a", 2}])
    publish_fully(publisher, 0x32, "a", 1, "one")
    publish_fully(publisher, 0x34, "a", 2, "two")
    assert {:publish, 0x32, "a", one, "one", _} = recv_packet(subscriber)
    assert {:publish, 0x34, "a", two, "two", _} = recv_packet(subscriber)
    assert unsubscribed(subscriber, ["a"]) == [0]
    send_bytes(subscriber, <<0x50, 2, two::16>>)
    assert {:pubrel, ^two, 0, _} = recv_packet(subscriber)
    leave(subscriber, "S")
    subscriber = resumed(port, "S")
    packets = for _ <- 1..2, do: recv_packet(subscriber)

    assert [{:publish, 0x3A, "a", ^one, "one", _}, {:pubrel, ^two, 0, _}] =
             Enum.sort_by(packets, &elem(&1, 0))

    send_bytes(subscriber, [<<0x40, 2, one::16>>, <<0x70, 2, two::16>>])
    assert_nothing(subscriber, publisher)
  end

  statement ["MQTT-3.10.4-4", "MQTT-3.10.4-5"],
            "UNSUBACK has the packet identifier of its UNSUBSCRIBE, also if no subscription ended" do
    client = connected(broker(), "C") |> subscribed([{"a", 0}])
    send_bytes(client, [unsubscribe(0x1234, ["a"]), unsubscribe(1, ["never/subscribed"])])
    assert recv(client) == <<0xB0, 4, 0x12, 0x34, 0, 0>>
    assert recv(client) == <<0xB0, 4, 0, 1, 0, 0x11>>
    assert_open(client)
  end

  statement "MQTT-3.10.4-6",
            "several filters in one UNSUBSCRIBE act as one after the other, and share an UNSUBACK" do
    port = broker()
    publisher = connected(port, "P")
    subscriber = connected(port, "S") |> subscribed([{"a", 0}, {"b", 0}, {"c", 0}])
    assert unsubscribed(subscriber, ["a", "x", "b", "a"]) == [0, 0x11, 0, 0x11]
    for topic <- ["a", "b", "c"], do: send_bytes(publisher, publish(topic, "x"))
    assert recv(subscriber) == publish("c", "x")
    assert_nothing(subscriber, publisher)
  end

  statement ["MQTT-3.11.3-1", "MQTT-3.11.3-2"],
            "UNSUBACK has a code of its own for each filter, in their order" do
    client = connected(broker(), "C") |> subscribed([{"b", 0}])
    assert unsubscribed(client, ["a", "b", "c"]) == [0x11, 0, 0x11]
  end
end
